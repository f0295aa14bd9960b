"""Simulated respondents in a study: they change nothing about its models, and follow what they know."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.steps.inference import prompts_for
from mpta_pipeline.pipeline.stored import read, stacked
from mpta_pipeline.publication import withdrawal
from tests.factories.deployment import STUDY, model
from tests.plain_run import bring_up_to_date

ECHO = {"provider": "simulated", "accuracy": 0.8, "accuracy_by": {"sex": {"female": 0.5}}}
FIGURES = ("scores", "subgroup_metrics", "pockets")


@pytest.fixture(scope="module")
def echoing(finished, tmp_path_factory):
    """The finished deployment with a control beside its model, and which files were written for it."""
    made = finished.changed(
        tmp_path_factory.mktemp("echo"), lambda world: world.models({"loopback": model(world.url), "echo": ECHO})
    )
    assert made.asked == finished.asked, "the model is not asked again"
    return made


@pytest.fixture
def with_echo(finished, echoing, world):
    """A copy of that; returns the tables before and the stored files that are others now."""
    before = {name: stacked(Deployment.from_env(), name) for name in (*FIGURES, "model_comparison")}
    written = {path: path.stat().st_mtime_ns for path in world.data.rglob("*.parquet")}
    echoing.copy_to(world)
    made = [path for path in world.data.rglob("*.parquet") if path.stat().st_mtime_ns != written.get(path)]
    return Deployment.from_env(), before, {path.relative_to(world.data).as_posix() for path in made}


def test_a_control_changes_no_figure_of_a_model(with_echo):
    deployment, before, made = with_echo
    for name in FIGURES:
        now = stacked(deployment, name)
        assert now.filter(model="loopback").equals(before[name].filter(model="loopback")), name
        assert "echo" in now["model"] or name == "pockets"
        assert not any(f"{name}/loopback" in path for path in made), "nothing of the model is made again"
    comparison = read(deployment, "model_comparison", "")
    assert comparison.equals(before["model_comparison"])
    assert read(deployment, "models", "").select("model", "control").rows() == [("echo", True), ("loopback", False)]


def test_it_answers_once_and_again_when_what_it_knows_changes(with_echo, world):
    deployment, *_ = with_echo
    node = Node("responses", "echo|value_alignment")
    assert bring_up_to_date()[1] == [], "nothing is left to do"
    answers = stacked(deployment, "responses").filter(model="echo")
    assert answers["error"].null_count() == answers.height
    world.study(STUDY | {"panel": {"size": 12, "strata": ["sex", "age_band"]}})
    assert is_current(Deployment.from_env(), node)
    bring_up_to_date()
    # The groups have a further column. What the control knows has changed version, what it answers has not.
    again = stacked(Deployment.from_env(), "responses").filter(model="echo")
    both = answers.join(again, on="prompt_id", suffix="_again")
    assert both.height and both["text"].equals(both["text_again"])


def test_its_accuracy_is_what_was_planted_on_the_survey_s_own_questions(world, server, finished):
    """Through survey file, harmonization, personas and prompts: it knows what the persona's respondent said."""
    world.models({"loopback": model(server.url), "sure": {"provider": "simulated"}, "half": ECHO})
    deployment, _ = bring_up_to_date()
    scores = stacked(deployment, "scores").filter(condition="persona", status="ok")
    assert set(scores.filter(model="sure")["score"]) == {1.0}, "every persona's answer, and every key of an item"
    half = scores.filter(model="half").join(read(deployment, "groups", ""), on="respondent_id")
    right = dict(half.group_by("sex").agg(pl.col("score").mean()).iter_rows())
    assert right["female"] < right["male"] <= 1.0


def test_a_share_of_the_panel_is_asked_and_a_larger_one_asks_only_the_rest(world, server, finished):
    entry = model(server.url) | {"model": "slow"}

    def asked(share: float) -> tuple[set[str], int]:
        world.models({"loopback": model(server.url), "slow": entry | {"panel_share": share}})
        calls = server.calls
        deployment, _ = bring_up_to_date()
        of_slow = stacked(deployment, "scores").filter(model="slow")
        return set(of_slow["respondent_id"]), server.calls - calls

    some, calls_some = asked(0.4)
    everybody, calls_rest = asked(1.0)
    assert some and some < everybody and len(everybody) == 12
    assert calls_some > 0 and calls_rest > 0
    prompts = stacked(Deployment.from_env(), "prompts")
    assert calls_some + calls_rest == prompts["content_hash"].n_unique(), "no prompt is asked twice"
    back, calls_back = asked(0.4)
    assert back == some and calls_back == 0


def test_the_answers_of_a_control_go_when_somebody_withdraws(with_echo):
    """It knew what they had answered; it answers again at no cost."""
    deployment, *_ = with_echo
    layout = Layout.from_env()
    person = stacked(deployment, "panel")["respondent_id"][0]
    ledger = Ledger(layout.ledger("echo"))
    assert ledger.read_all().height > 0
    found = withdrawal.find(layout, deployment.sources, person)
    withdrawal.forget(layout, deployment.sources, deployment.models, found, on=date(2026, 11, 30))
    assert set(ledger.read_all()["error"]) == {"withdrawn"}
    bring_up_to_date()
    assert person not in stacked(Deployment.from_env(), "scores").filter(model="echo")["respondent_id"]


def test_plans_know_the_requests_of_a_control(with_echo):
    deployment, *_ = with_echo
    spec = deployment.models["echo"]
    prompts = prompts_for(spec, stacked(deployment, "prompts"), deployment)
    plan = inference.plan(spec, prompts, deployment.layout.ledger("echo"))
    assert plan.requests == plan.cached > 0 and plan.calls == 0
