"""Every code block of the pages works as it is printed: commands, SQL and Python are run, YAML is read and validated.

Commands run on a small finished deployment with a loopback model; names of the reader's own (FILE, my-model, f_…) are
replaced by those of this deployment. A block that needs something else says so in a comment before it (`blocks.py`),
and its `mpta` commands are still read by the command line.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path

import duckdb
import jsonschema
import polars as pl
import pytest
import typer
import yaml
from typer.testing import CliRunner

from mpta_pipeline import cli, inference
from mpta_pipeline.core.published_figures import PublishedStudy
from mpta_pipeline.core.study import Study
from mpta_pipeline.pipeline import configuration_schemas
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.surveys import load_sources
from mpta_pipeline.tasks.questionnaires import read_instrument
from tests.docs import blocks
from tests.factories.deployment import World, model

LANGUAGES = {"sh", "yaml", "python", "sql", "csv", "json", "text", "bibtex", "mermaid", "jsonl"}
# Pages whose commands another test runs with the files that the page prints.
ELSEWHERE = {"docs/how-to/score-answers.md": "tests/external/test_readme.py", "CONTRIBUTING.md": "test_contributing.py"}
# Commands that are not run here, and what runs them.
NOT_HERE = {
    "mpta demo": "takes minutes: nox -s demo runs it",
    "mpta forget gss-2018:317": "also runs the pipeline: tests/attack/test_parents_that_change.py; here, --no-run",
    "mpta open ui": "needs a UI that runs: tests/cli/test_status.py",
    "mpta plan --budget": "needs a multiverse: tests/cli/test_plan.py",
    "mpta plan --requests": "needs a multiverse: tests/cli/test_plan.py",
    "mpta score preds.jsonl": "needs BBQ's own files: tests/external/test_answers.py",
    "mpta score log.eval": "needs a log of inspect_ai: tests/external/test_logs.py",
}
SCHEMAS = configuration_schemas.schemas() | {"published.yaml": configuration_schemas.published()}
STUDY = {"name": "a", "tasks": {"t": {"kind": "value_alignment"}}}
GENERATED = ("docs/reference/", "docs/graph.md")


def test_every_block_has_a_language_and_every_reason_is_a_sentence():
    for block in blocks.blocks():
        assert block.language in LANGUAGES, block.id
        if block.reason is not None:
            assert block.language in {"sh", "python", "yaml", "sql"}, f"{block.id}: a {block.language} is never run"
            assert len(block.reason.split()) >= 4, f"{block.id}: say why"


def test_no_command_hides_in_a_text_block():
    for block in blocks.of("text"):
        if not block.page.startswith(GENERATED):
            assert not re.search(r"^(mpta|pip|python3?|nox|export) ", block.text, re.MULTILINE), block.id


# --- commands -------------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    """Every distinct command of `mpta` that is to be run, as it is printed; those that remove something come last."""
    found = [
        line
        for block in blocks.of("sh")
        if block.reason is None and block.page not in ELSEWHERE
        for line in block.lines
        if re.match(r"(\w+=\S+ )*mpta ", line) and not line.startswith(tuple(NOT_HERE))
    ]
    return sorted(dict.fromkeys(found), key=lambda line: ("forget" in line, "retry" in line))


def test_every_line_of_a_command_block_is_run_or_has_a_reason():
    for block in blocks.of("sh"):
        for line in block.lines:
            if block.reason is None and block.page not in ELSEWHERE:
                known = "mpta " in line or line in {"python -m pytest"} or line.startswith(("python3 -m venv", "nox "))
                assert known, f"{block.id}: nothing runs {line!r}; say why with <!-- not run: … -->"


def option_names(words: list[str]) -> None:
    """Have the command line read a command; it refuses commands and options that do not exist."""
    group = typer.main.get_command(cli.app)
    name, *rest = words
    assert name in group.commands, f"there is no command mpta {name}"
    known = {option for one in group.commands[name].params for option in (*one.opts, *one.secondary_opts)}
    for word in rest:
        if word.startswith("-"):
            assert word.partition("=")[0] in known | {"--help", "-h"}, f"mpta {name} has no option {word}"


def of_mpta(line: str) -> list[list[str]]:
    """The words after `mpta` of each command in a line."""
    found = []
    for part in re.split(r"&&|;|\|", line):
        words = shlex.split(part.replace("…", "x"))
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words and words[0] == "mpta" and words[1:]:
            found.append(words[1:])
    return found


@pytest.mark.parametrize("block", blocks.of("sh"), ids=lambda block: block.id)
def test_commands_and_options_exist(block):
    for line in block.lines:
        for words in of_mpta(line):
            option_names(words)


@pytest.mark.parametrize(("page", "command"), blocks.inline_commands(), ids=lambda value: value)
def test_commands_within_sentences_exist(page, command):
    for words in of_mpta(command):
        if not words[0].isupper() and not words[0].startswith("-"):  # `mpta COMMAND --help`, `mpta --version`
            option_names(words)


@pytest.fixture(scope="module")
def deployment(finished, tmp_path_factory):
    """A copy of the finished deployment for all commands of all pages, in a folder like that of the project."""
    with pytest.MonkeyPatch.context() as patch:
        made = finished.copy(tmp_path_factory.mktemp("pages"), patch)
        made.models({"loopback": model(made.url), "my-model": model(made.url) | {"model": "second"}})
        Deployment.from_env().look()
        (made.root / "dagster_home").symlink_to(made.config)
        (made.root / "answers.csv").write_text(ANSWERS, encoding="utf-8")
        for block in blocks.blocks():
            if block.file and block.page == "docs/how-to/score-answers.md":
                (made.root / block.file).write_text(block.text, encoding="utf-8")
        patch.setattr("os.execv", lambda *words: None)
        patch.setattr("webbrowser.open", lambda address: True)
        patch.chdir(made.root)
        yield made


ANSWERS = """respondent_id,sex,age,region,question,options,answer,own_answer
p1,female,young,north,Is it so?,"[""yes"", ""no""]",yes,yes
p2,male,old,south,Is it so?,"[""yes"", ""no""]",no,yes
p3,female,old,south,Is it so?,"[""yes"", ""no""]",no,no
p4,male,young,north,Is it so?,"[""yes"", ""no""]",no,no
"""


def replaced(text: str, world: World) -> str:
    """Names of the reader's own become those of the small deployment."""
    with duckdb.connect(str(world.data / "warehouse.duckdb"), read_only=True) as con:
        (estimate,), (response,), (respondent, native) = (
            con.sql(query).fetchall()[0]
            for query in (
                "select estimate_id from estimates where metric = 'accuracy' and task = 'value_alignment'",
                "select prompt_id from scores",
                "select respondent_id, native_key from respondents join panel using (respondent_id)",
            )
        )
    wave = "gss_extract-2018"
    for theirs, ours in {
        r"gss-20\d\d:317\b": f"gss_extract-{native}",
        r"gss-20(16|18|24)\b": wave,
        r"\bf_(…|[0-9a-f]{10,})": estimate,
        r"\br_(…|[0-9a-f]{10,})": respondent,
        r"\bq_(…|[0-9a-f]{10,})": response,
        r"\bFILE\b|\bfile\.sav\b|~?[\w/]*/gss7224_r1\.sav": str(world.surveys / "wave_2018.sav"),
        r"\bFOLDER\b": "exported",
        r"--min-k 5": "--min-k 1",
        r"\bsmollm2\b": "loopback",
        r"'gpt'|\"gpt\"": '"my-model"',
    }.items():
        text = re.sub(theirs, ours.replace("\\", "\\\\"), text)
    return text


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("command", commands())
def test_a_command_works_as_printed(deployment, command):
    variables, line = re.match(r"((?:\w+=\S+ )*)mpta (.*)", command).groups()
    environment = dict(one.split("=", 1) for one in variables.split())
    if "MPTA_CONFIG_DIR" in environment:
        environment["MPTA_CONFIG_DIR"] = str(deployment.root / environment["MPTA_CONFIG_DIR"])
    words = shlex.split(replaced(line, deployment).partition(" > ")[0])
    if words[0] == "ui" and "--port" not in words:
        words += ["--port", str(free_port())]
    done = CliRunner().invoke(cli.app, words, env=environment, input="y\n")
    assert done.exit_code == 0, f"{words}\n{done.output}\n{done.exception!r}"
    if "--json" in words:
        json.loads(done.stdout)


# --- YAML -----------------------------------------------------------------------------------------------------------


def kind_of(document: dict[str, object]) -> str | None:
    """The configuration file that a block is a part of, by its keys."""
    keys = set(document)
    if keys == {"models"} and isinstance(document["models"], dict):
        return "models.yaml"
    if keys <= {"directories", "sources"}:
        return "surveys.yaml"
    if "blocks" in keys:
        return "questionnaire.yaml"
    if keys <= set(PublishedStudy.model_fields) and isinstance(document.get("figures", []), list):
        return "published.yaml"
    return "study.yaml" if keys <= set(Study.model_fields) else None


@pytest.mark.parametrize(
    "block", [b for b in blocks.of("yaml") if b.page not in ELSEWHERE and b.reason is None], ids=lambda block: block.id
)
def test_yaml_is_what_the_schema_and_the_code_accept(block, tmp_path):
    document = yaml.safe_load(block.text)
    file = kind_of(document)
    assert file, f"{block.id}: no configuration file has these keys; say what it is with <!-- not run: … -->"
    if file == "questionnaire.yaml":
        (tmp_path / file).write_text(block.text, encoding="utf-8")
        made = read_instrument(tmp_path / file, {})
        assert made.questions
        return
    if file == "study.yaml":
        document = STUDY | document
    jsonschema.Draft7Validator(SCHEMAS[file]).validate(document)
    (tmp_path / file).write_text(yaml.safe_dump(document), encoding="utf-8")
    match file:
        case "models.yaml":
            inference.load_models(tmp_path / file)
        case "surveys.yaml":
            load_sources(tmp_path / file)
        case "published.yaml":
            PublishedStudy.model_validate(document)
        case _:
            Study.model_validate(document)


# --- SQL and Python -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weighted(deployment, tmp_path_factory) -> Path:
    """The published file with weighted estimates and a second model, whose survey the small deployment lacks."""
    file = tmp_path_factory.mktemp("weighted") / "warehouse.duckdb"
    file.write_bytes((deployment.data / "warehouse.duckdb").read_bytes())
    with duckdb.connect(str(file)) as con:
        for table in ("subgroup_metrics", "people_shares"):
            con.execute(f"delete from {table} where weighted")
            con.execute(f"insert into {table} select * replace (true as weighted) from {table}")
        con.execute("delete from subgroup_metrics where model <> 'loopback'")
        con.execute("insert into subgroup_metrics select * replace ('other' as model) from subgroup_metrics")
    return file


@pytest.mark.parametrize("block", [b for b in blocks.of("sql") if b.reason is None], ids=lambda block: block.id)
def test_sql_gives_each_row_once(block, deployment, weighted):
    """A figure has rows with weights and without, per baseline and per model: a query that forgets it counts twice."""
    with duckdb.connect(str(weighted), read_only=True) as con:
        for statement in filter(None, (s.strip() for s in block.text.split(";"))):
            frame = con.sql(replaced(statement, deployment)).pl()
            assert frame.height > 0, f"{block.id}: the query finds nothing"
            names = [name for name, kind in frame.schema.items() if not kind.is_float() and not kind.is_nested()]
            repeated = frame.filter(pl.struct(names).is_duplicated()) if names else frame.clear()
            assert repeated.is_empty(), f"{block.id}: rows occur more than once\n{repeated}"


@pytest.mark.parametrize(
    "page", dict.fromkeys(b.page for b in blocks.of("python") if b.page not in ELSEWHERE), ids=lambda page: page
)
def test_python_runs_from_top_to_bottom(page, deployment):
    names: dict[str, object] = {}
    for block in blocks.of("python"):
        if block.page == page and block.reason is None:
            code = compile("\n" * block.line + replaced(block.text, deployment), str(blocks.ROOT / page), "exec")
            exec(code, names)
