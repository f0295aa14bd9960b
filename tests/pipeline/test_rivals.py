"""Protects the condition `group` from study.yaml to the report: asked once each, compared, shown, traced."""

import json

import duckdb
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from tests.factories.deployment import STUDY, model
from tests.plain_run import bring_up_to_date

TASKS = {"value_alignment": {"kind": "value_alignment", "items_per_persona": 3, "orders": "scale"}}
FIGURES = {"dimensions": ["sex", "age_band"], "min_personas": 5, "bootstrap": 50}


def run(*arguments):
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def study(world):
    """Forty personas beside their groups, asked of simulated respondents."""
    world.study(
        STUDY
        | {"tasks": TASKS, "figures": FIGURES, "conditions": ["persona", "no_persona", "group"]}
        | {"panel": {"size": 40, "strata": ["sex"]}}
    )
    world.models({"echo": {"provider": "simulated", "accuracy": 0.8}})
    return world


def test_a_model_that_states_no_shares_is_asked_everything_else_and_the_report_says_why(study):
    """An endpoint for letters alone must not lose its whole task under the condition `group`."""
    items = {"value_alignment": TASKS["value_alignment"] | {"items": 2}}
    study.study(STUDY | {"tasks": items, "figures": FIGURES, "conditions": ["persona", "no_persona", "group"]})
    study.models(
        {"echo": {"provider": "simulated", "accuracy": 0.8}, "plain": model(study.url) | {"elicitations": ["letter"]}}
    )
    bring_up_to_date()
    said = json.loads(run("status", "--json"))["waiting"]
    (told,) = [one for one in said if one["what"] == "left out"]
    assert told["subject"] == "plain on value_alignment"
    assert "questions about groups" in told["message"] and "`elicitations`" in told["message"]
    number = int(told["message"].split()[0].replace(",", ""))
    plan = json.loads(run("plan", "--json"))
    sizes = {row["condition"]: row["requests"] for row in plan["by_condition"]}
    assert number == sizes["group"]
    assert {row["model"]: row["requests"] for row in plan["plan"]} == {
        "echo": sum(sizes.values()),
        "plain": sum(sizes.values()) - number,
    }
    assert told["message"] in run("plan").replace("\n", " ")
    with duckdb.connect(str(study.data / "warehouse.duckdb"), read_only=True) as warehouse:
        asked = warehouse.sql("select distinct model, condition from scores order by all").fetchall()
        figures = warehouse.sql("select count(*) from subgroup_metrics where model = 'plain'").fetchall()
    assert asked == [
        ("echo", "group"), ("echo", "no_persona"), ("echo", "persona"), ("plain", "no_persona"), ("plain", "persona"),
    ]  # fmt: skip
    assert figures[0][0] > 0
    page = (study.data / "report.html").read_text(encoding="utf-8")
    assert "the rung “asked once” is missing" in page and "The persona panel of plain" not in page


def test_a_study_with_the_rival_is_asked_compared_shown_and_traced(study):
    bring_up_to_date()
    plan = json.loads(run("plan", "--json"))
    sizes = {row["condition"]: row["requests"] for row in plan["by_condition"]}
    # Everyone, two sexes and four ages, each question once per group and direction: far fewer than personas.
    assert 0 < sizes["group"] <= 7 * 7 * 2
    assert plan["plan"][0]["requests"] == sum(sizes.values())
    with duckdb.connect(str(study.data / "warehouse.duckdb"), read_only=True) as warehouse:
        gains = warehouse.sql(
            "select subgroup, estimate, ci_low, ci_high, estimate_id from subgroup_metrics "
            "where metric = 'panel_gain' and baseline = '' and condition = 'persona' and not weighted"
        ).fetchall()
        conditions = warehouse.sql("select distinct condition from subgroup_metrics").fetchall()
        ladder = warehouse.sql(
            "select distinct rival from rivals where dimensions = 'sex' and item_id <> 'all'"
        ).fetchall()
        rungs = dict(
            warehouse.sql(
                "select rival, distance from rivals where dimensions = 'all' and item_id = 'all' and not weighted"
            ).fetchall()
        )
        stated = warehouse.sql("select distinct status from scores where condition = 'group'").fetchall()
    assert {"all", "female", "male"} <= {row[0] for row in gains}
    assert sorted(conditions) == [("no_persona",), ("persona",)]
    assert stated == [("ok",)]
    # Two waves, so that the one before is known; no retest was given.
    assert {"chance", "group_mode", "last_wave", "direct_estimate", "persona", "ceiling"} <= {row[0] for row in ladder}
    # The gain is the difference of two rungs of the ladder.
    everyone = next(row for row in gains if row[0] == "all")
    assert everyone[1] == pytest.approx(rungs["direct_estimate"] - rungs["persona"])
    page = (study.data / "report.html").read_text(encoding="utf-8")
    assert "Does a persona tell more than a sentence about its group?" in page
    assert "The persona panel of echo" in page and "asking once about the group" in page
    assert "Replies about described groups" in page
    traced = run("trace", everyone[4])
    assert everyone[4] in traced and "What the model stated about the group" in traced
    assert not json.loads(run("plan", "--json"))["total"]["requests"]


def test_figures_of_a_study_do_not_change_when_the_rival_joins(study):
    def figures():
        bring_up_to_date()
        with duckdb.connect(str(study.data / "warehouse.duckdb"), read_only=True) as warehouse:
            return warehouse.sql("select * from subgroup_metrics where metric <> 'panel_gain' order by all").fetchall()

    with_rival = figures()
    document = STUDY | {"tasks": TASKS, "figures": FIGURES, "panel": {"size": 40, "strata": ["sex"]}}
    study.study(document | {"conditions": ["persona", "no_persona"]})
    assert figures() == with_rival
