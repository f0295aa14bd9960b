"""Protects experiments and questionnaires from study.yaml to the report: asked once, estimated, listed, shown."""

import json
from datetime import date

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.steps.tasks import items_left_out, redrawn_arms
from mpta_pipeline.pipeline.stored import read
from mpta_pipeline.publication import withdrawal
from tests.factories import qualtrics_file
from tests.factories.deployment import STUDY
from tests.plain_run import bring_up_to_date

TASKS = {
    "framed": {
        "kind": "value_alignment", "items_per_persona": 2, "orders": "scale",
        "arms": {
            "plain": {"people": {"where": {"sex": ["male"]}}},
            "crime": {"text": "Crime rose last year.", "people": {"where": {"sex": ["female"]}}},
        },
    },
    "own": {
        "kind": "questionnaire", "path": "own.qsf",
        "options": {"fields": {"party": "the Greens"}, "asked": "battery"},
    },
    "trains": {
        "kind": "conjoint", "items_per_persona": 2,
        "options": {
            "question": "Which train?", "attributes": {"price": ["10", "30"], "time": ["1 h", "2 h"]}, "pool": 6,
        },
    },
}  # fmt: skip


def run(*arguments):
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def study(world):
    """Twenty personas, asked of a simulated respondent."""
    figures = {"dimensions": ["sex"], "min_personas": 3, "bootstrap": 50}
    (world.config / "own.qsf").write_text(qualtrics_file.whole())
    world.study(
        STUDY
        | {"tasks": TASKS, "figures": figures, "conditions": ["persona"], "panel": {"size": 20, "strata": ["sex"]}}
    )
    world.models({"echo": {"provider": "simulated", "accuracy": 0.8}})
    return world


def test_a_study_with_experiments_is_asked_estimated_and_shown(study):
    bring_up_to_date()
    plan = json.loads(run("plan", "--json"))
    arms = {row["arm"]: row["personas"] for row in plan["by_arm"]}
    assert all(row["people"] > 10 for row in plan["by_arm"]), "men and women, as if they had been assigned"
    assert set(arms) == {"plain", "crime"} and sum(arms.values()) == 20 and abs(arms["plain"] - arms["crime"]) <= 2
    told = [message for task, message in items_left_out(Deployment.from_env()) if task == "own"]  # plan and doctor
    assert "The questionnaire has text entry (TE) (1): left out: open" in told
    assert "The questionnaire has skip logic (1): asked of everyone: god" in told
    with duckdb.connect(str(study.data / "warehouse.duckdb"), read_only=True) as warehouse:
        effects = dict(warehouse.sql("select effect, count(*) from experiments group by all").fetchall())
        ((treated,),) = warehouse.sql("select count(*) from scores where treated").fetchall()
        answers = warehouse.sql(
            "select sum(share) from answer_shares where dimensions = 'all' and not weighted group by item_id"
        ).fetchall()
        own = warehouse.sql("select distinct item_id from answer_shares").fetchall()
        n = warehouse.sql(
            "select distinct n_personas from subgroup_metrics where task = 'framed' and metric = 'parse_rate' "
            "and dimensions = 'all'"
        ).fetchall()
        beside = warehouse.sql(
            "select e.people_estimate - p.estimate, e.beyond_people - (e.estimate - e.people_estimate), people_verdict "
            "from experiments e join people_effects p using (survey, level, outcome, item_id, answer, dimensions, "
            "subgroup, weighted) where e.task = 'framed' and dimensions = 'all'"
        ).fetchall()
    assert set(effects) == {"arm", "amce", "marginal_mean"} and treated > 0
    assert all(row[:2] == pytest.approx((0, 0)) for row in beside) and any(row[2] for row in beside)
    assert {row[0] for row in own} == {"god", "fast", "trains_2", "nps", "party", "routed"}
    assert all(row[0] == pytest.approx(1) for row in answers)
    assert max(row[0] for row in n) <= arms["plain"], "other estimates are about the control"
    page = (study.data / "report.html").read_text(encoding="utf-8")
    for text in (
        "Beside people's own effects",
        "can be compared with those on the survey",
        "“crime” against “plain”: an effect on",
        "Marginal mean",
        "What the models answered to 6 questions",
    ):
        assert text in page
    assert not plan["total"]["requests"]


_UNTIL = ("raw_wave", "harmonized_wave", "personas", "panel", "items", "prompts")


def prompts_of(deployment):
    """Make all that is out of date up to the prompts."""
    deployment.look()
    for node in graph.nodes(deployment):
        if node.asset in _UNTIL and not is_current(deployment, node):
            make(deployment, node.asset, node.partition)
    frame = read(deployment, "prompts", "framed").filter(condition="persona")
    return frame.select("respondent_id", "arm", "content_hash").unique()


def test_one_who_withdraws_changes_nobody_elses_arm(study):
    """Arms drawn anew would be new requests of most of the stratum, paid for, and other figures."""
    # All questions: with `items_per_persona`, a few others take over those of the one who left.
    framed = {name: value for name, value in TASKS["framed"].items() if name != "items_per_persona"} | {"items": 3}
    framed["arms"] = {"plain": {}, "crime": {"text": "Crime rose last year."}}
    settings = STUDY | {"conditions": ["persona"], "panel": {"size": 20, "strata": ["sex"]}}
    study.study(settings | {"tasks": {"framed": framed}})
    deployment = Deployment.from_env()
    before = prompts_of(deployment)
    who = read(deployment, "panel").sort("stratum", "rank")[0, "respondent_id"]
    found = withdrawal.find(deployment.layout, deployment.sources, who)
    withdrawal.forget(deployment.layout, deployment.sources, {}, found, on=date(2026, 11, 23))
    deployment = Deployment.from_env()
    after = prompts_of(deployment)
    assert who not in set(after["respondent_id"]) and after["respondent_id"].n_unique() == 20
    others = before.filter(pl.col("respondent_id") != who)
    assert others.join(after, on=others.columns).height == others.height, "same arms, same requests"
    # An arm with another name is another arm, and says so before anything is sent, unless it has the earlier id.
    for more, says in (({}, True), ({"id": "crime"}, False)):
        arms = {"plain": {}, "theft": {"text": "Crime rose last year."} | more}
        study.study(settings | {"tasks": {"framed": framed | {"arms": arms}}})
        told = dict(redrawn_arms(Deployment.from_env()))
        assert bool(told) is says
        assert not says or "The arms were crime, plain and are plain, theft now" in told["framed"]
    renamed = prompts_of(Deployment.from_env())
    assert set(renamed["content_hash"]) == set(after["content_hash"]), "nothing is asked again"
