"""The end of a run says what was found, in the words of the report."""

import html
import json

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.provenance import Node, read_record, record_path
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import made
from tests.factories.deployment import STUDY

pytestmark = pytest.mark.usefixtures("finished")


def test_terminal_and_report_say_the_same(world):
    done = CliRunner().invoke(cli.app, ["report", "--json"], catch_exceptions=False)
    document = json.loads(done.stdout)
    page = html.unescape(Layout.from_env().report.read_text())
    assert document["looked_for"], "a study without findings says what would have been found"
    assert all(text in page for text in document["looked_for"])
    assert all(row["sentence"] in page for row in document["found"])


def test_findings_are_shown_ranked_with_how_sure_and_where_they_come_from(world):
    path = Layout.from_env().report
    record = json.loads(record_path(path).read_text())
    finding = {
        "kind": "Hidden pocket", "sentence": "Women 65 and over: 50 % right, everyone else 82 %", "sure": "q < .001.",
        "model": "loopback", "task": "value_alignment", "survey": "gss_extract", "control": False, "q": 0.0001,
        "anchor": "x", "trace": "p_0123456789",
    }  # fmt: skip
    record["notes"] |= {"found": [finding] * 9, "looked_for": ["Refusals: no group differs."]}
    record_path(path).write_text(json.dumps(record))
    assert read_record(path) is not None and len(made(Deployment.from_env(), Node("report")).notes["found"]) == 9
    from mpta_pipeline.cli import output, study_state
    from mpta_pipeline.cli.result import Result

    result = Result()
    study_state.add_found(result, Deployment.from_env())
    with output.out.capture() as shown, output.mode(json=False, quiet=True):
        output.finish(result)
    said = shown.get()
    assert "What we found" in said and said.count("Women 65 and over: 50 % right") == 8
    assert "1 more in the report" in said and "mpta trace p_0123456789" in said and "q < .001" in said


def test_results_of_before_are_called_so(world):
    fresh = CliRunner().invoke(cli.app, ["report"], catch_exceptions=False)
    assert "out of date" not in fresh.output
    world.study(STUDY | {"seed": 7})
    done = CliRunner().invoke(cli.app, ["report"], catch_exceptions=False)
    assert "out of date, so the results are those of before" in " ".join(done.output.split())
