"""One renderer for all commands: the terminal, `--json` and `--quiet`."""

import json

import polars as pl
import pytest
from rich.text import Text
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.cli import output
from mpta_pipeline.cli.result import Result
from tests.cli.command_line import mpta


@pytest.fixture
def result():
    made = Result(facts={"path": "a/b"})
    made.table(
        "files",
        pl.DataFrame({"file": ["[red]x\x1b[2J.sav"], "share": [float("nan")], "countries": [["DEU", "USA"]]}),
        title="Files",
    )
    made.table("findings", [{"what": "disk"}], shown=[Text("good  disk")])
    made.info("3 tables built")
    made.note("licence", subject="gss")
    made.warning("cannot be read", subject="b.sav")
    made.error("no respondents", subject="failed personas")
    return made


def test_results_go_to_standard_output_and_problems_to_standard_error(result, capsys):
    with output.mode(json=False, quiet=False):
        output.finish(result)
    shown = capsys.readouterr()
    assert [word in shown.out for word in ("Files", "DEU, USA", "good  disk", "3 tables built", "gss: licence")]
    assert "[red]x\\x1b[2J.sav" in shown.out, "foreign text is neither markup nor a control sequence"
    assert shown.err.splitlines() == ["warning: b.sav: cannot be read", "error: failed personas: no respondents"]


def test_quiet_leaves_tables_and_problems(result, capsys):
    with output.mode(json=False, quiet=True):
        output.progress("0.1 s personas")
        output.finish(result)
    shown = capsys.readouterr()
    assert "Files" in shown.out and "good  disk" in shown.out
    assert not any(word in shown.out + shown.err for word in ("3 tables built", "licence", "0.1 s"))
    assert "warning: b.sav" in shown.err and "error: failed personas" in shown.err


def test_json_is_one_document_and_progress_stands_beside_it(result, capsys):
    with output.mode(json=True, quiet=False):
        output.progress("0.1 s personas")
        output.show(result)
        output.finish(result)
    shown = capsys.readouterr()
    assert shown.err.strip() == "0.1 s personas"
    document = json.loads(shown.out)
    assert document["files"] == [{"file": "[red]x\x1b[2J.sav", "share": None, "countries": ["DEU", "USA"]}]
    assert document["findings"] == [{"what": "disk"}] and document["path"] == "a/b" and document["ok"] is False
    assert [m["level"] for m in document["messages"]] == ["info", "note", "warning", "error"]


def test_what_was_shown_early_is_not_shown_again(result, capsys):
    with output.mode(json=False, quiet=False):
        output.show(result)
        result.info("and more")
        output.finish(result)
    shown = capsys.readouterr()
    assert shown.out.count("3 tables built") == 1 and shown.out.rstrip().endswith("and more")


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        (["surveys"], "files"),
        (["models"], "models"),
        (["doctor"], "findings"),
        (["check"], "checks"),
        (["plan"], "plan"),
    ],
)
def test_every_table_is_there_as_json(world, arguments, table):
    (world.surveys / "broken.sav").write_bytes(b"$FL2 this is no survey")
    done = CliRunner().invoke(cli.app, [*arguments, "--json"])
    document = json.loads(done.stdout)
    assert isinstance(document[table], list)
    assert done.exit_code == (0 if document["ok"] else 1)
    if table == "files":
        assert {row["wave"] for row in document["files"]} == {"gss_extract-2016", "gss_extract-2018"}
        assert document["files"][0]["years"] == [2016]
        assert "broken.sav" in document["problems"]


def test_quiet_surveys_say_no_licence(world):
    loud, quiet = (CliRunner().invoke(cli.app, ["surveys", *option]).output for option in ([], ["--quiet"]))
    assert "Personas may be sent to" in loud and "Personas may be sent to" not in quiet
    assert "gss_extract-2016" in quiet


@pytest.mark.usefixtures("finished")
def test_a_trace_as_json(world):
    """A run and a plan as JSON: tests/cli/test_run.py."""
    traced = json.loads(mpta(world, "trace", "gss_extract-2018:abany", "--json").stdout)
    assert traced["kind"] == "variable" and traced["sections"][0]["rows"]
    slips = {"gss_extract-2081": "gss_extract-2018", "gss_extract-2018:abony": "gss_extract-2018:abany"}
    for slip, meant in slips.items():
        assert f'did you mean "{meant}"?' in " ".join(mpta(world, "trace", slip).stderr.split())


def test_a_table_that_is_too_wide_for_the_window_is_shown_row_by_row(monkeypatch):
    made = Result()
    made.table("plan", [{"model": "gpt", "requests": 1200, "prompt_tokens": 300000, "price": None}], title="Plan")
    for width, drawn in ((100, True), (30, False)):
        monkeypatch.setattr(output.out, "width", width)
        with output.out.capture() as shown, output.mode(json=False, quiet=False):
            output.finish(made)
        said = shown.get()
        assert ("┃" in said) is drawn
        assert "prompt tokens" in said.replace("\n", " ") and "300000" in said
        assert all(len(line) <= width for line in said.splitlines())
