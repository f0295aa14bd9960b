"""A held release waits for a person: terminal, check and report name both releases, their numbers and how to accept."""

import re

import polars as pl
import yaml
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.pipeline import graph, integrity
from mpta_pipeline.pipeline.held_releases import HeldRelease
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import made
from tests.factories.deployment import STUDY, respondents, write_wave
from tests.plain_run import bring_up_to_date

WAVE = "gss_extract-2018"
TASK = {"value_alignment": STUDY["tasks"]["value_alignment"]}


def fewer_and_other() -> pl.DataFrame:
    """The respondents of 2018 without ten of them, half of the others with another education."""
    return respondents(2018).with_columns(educ=(pl.col("educ") + pl.col("id") % 2) % 21).head(50)


def test_whoever_looks_sees_both_releases_and_how_to_accept(world):
    world.study(STUDY | {"tasks": TASK})
    write_wave(world.surveys, respondents(2018))
    deployment, _ = bring_up_to_date()
    assert "is held" not in deployment.layout.report.read_text()
    in_use = made(deployment, Node("harmonized_wave", WAVE)).notes["parts"]
    write_wave(world.surveys, fewer_and_other())
    deployment, rebuilt = bring_up_to_date()
    # No estimate changes, and the page that people read says that there is something to decide.
    of_wave = [f"{table}|{WAVE}" for table in ("raw_wave", "harmonized_wave", "survey_changelog")]
    assert rebuilt == [*of_wave, "warehouse", "report"]

    (waiting,) = (f for f in integrity.check_all(deployment) if not f.passed)
    assert (waiting.check, waiting.severity) == ("releases", "decide")
    assert waiting.subject == f"{WAVE}: wave_2018.sav is held"
    said = waiting.message
    assert f"{next(iter(in_use))} with 60 respondents stays in use" in said and "has 50 respondents" in said
    assert "10 of 60 respondents are gone (17%; up to 5% may be)" in said
    assert "50% of the answers to education_years_gss differ (up to 10% may)" in said
    accept = re.search(r"surveys\.yaml: (.*)\.$", said)[1]

    terminal = CliRunner(env={"COLUMNS": "1000"})
    run = terminal.invoke(cli.app, ["run"])
    assert run.exit_code == 0, run.output
    # In the last line, below report and warehouse, where a mail of cron is looked at.
    last = run.output.strip().splitlines()[-1]
    assert last == f"warning: {waiting.subject}: {said}"
    check = terminal.invoke(cli.app, ["check"])
    assert check.exit_code == 1 and "TO DECIDE" in check.output and said in check.output
    surveys = terminal.invoke(cli.app, ["surveys"])
    assert "held" in next(line for line in surveys.output.splitlines() if "60" not in line and " 50 " in line)
    assert said in surveys.output
    report = deployment.layout.report.read_text()
    assert waiting.subject in report and said in report.replace("&#34;", '"')

    # The remedy's own words, pasted.
    (world.config / "surveys.yaml").write_text(yaml.safe_dump(yaml.safe_load("{" + accept + "}")))
    deployment, _ = bring_up_to_date()
    assert terminal.invoke(cli.app, ["check"]).exit_code == 0
    assert "is held" not in deployment.layout.report.read_text()
    assert all(is_current(deployment, node) for node in graph.nodes(deployment))


def test_a_release_that_cannot_be_accepted_says_what_is_wrong_and_offers_no_acceptance():
    facts = {
        "file": "a.sav",
        "held": "w-1@b",
        "respondents held": 1,
        "in use": [],
        "respondents in use": 0,
        "how to accept": "correct what the message names; it cannot be accepted as it is",
    }
    said = HeldRelease("w-1", facts, "3 respondent(s) have a negative weight (file a.sav).").message
    assert "has 1 respondent, and no earlier release has its countries" in said
    assert "Reason: 3 respondent(s) have a negative weight (file a.sav). Remedy: correct" in said
    assert "if the release is right" not in said


def test_a_release_that_is_read_in_another_way_and_refused_is_not_said_to_replace_itself():
    facts = {"file": "a.sav", "held": "w-1@b", "respondents held": 60, "in use": ["w-1@b"], "respondents in use": 60}
    one = HeldRelease("w-1", facts, "it fails")
    assert one.in_use == "its release w-1@b is read in another way than before, and the wave stays as it was"


def test_answers_that_a_release_lost_are_named_but_not_all_of_them():
    lost = [f"column_{n} in USA: 100.0% to {n}.0%" for n in range(5)]
    facts = {
        "file": "a.sav",
        "held": "w-1@b",
        "respondents held": 1200,
        "in use": ["w-1@a", "w-1@c"],
        "respondents in use": 1300,
        "release_changes": {"removed": 10, "columns_changed": {}},
        "coverage": {"lost": lost, "n_lost": 25},
        "how to accept": "say why in surveys.yaml: x",
    }
    one = HeldRelease("w-1", facts, "")
    assert (
        one.in_use == "its release w-1@b has 1,200 respondents, and w-1@a and w-1@c with 1,300 respondents stay in use"
    )
    assert one.why.count("column_") == 3 and ", and 22 more" in one.why and "gone" not in one.why
