"""Protects the money guard where it works: runs without a person, `mpta run`, `mpta approve`, `mpta check`."""

import copy
import json
import os

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.errors import ApprovalError
from mpta_pipeline.core.provenance import Node, read_record
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import current_record, is_current
from mpta_pipeline.pipeline.stored import path_of
from tests.factories.deployment import STUDY, model

pytestmark = pytest.mark.usefixtures("finished")
PAIR = "paid|value_alignment"


def mpta(*words):
    """Run a command in this process; its exit code and its JSON."""
    done = CliRunner().invoke(cli.app, [*words, "--json"], catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def paid(world, server):
    """The finished deployment with a second model, which has a price."""

    def write(**fields):
        entry = model(server.url) | {"model": "paid", "price": {"input": 100.0, "output": 100.0}, "max_tokens": 2}
        world.models({"loopback": model(server.url), "paid": entry | fields})

    write()
    return write


def make_responses():
    """What the daemon does for the model and a task."""
    return make(Deployment.from_env(), "responses", PAIR).record


def test_without_a_person_nothing_is_paid_before_an_approval(paid, world, server):
    with pytest.raises(ApprovalError, match="mpta approve paid") as waits:
        make_responses()
    assert server.by_model["paid"] == 0
    assert not path_of(Deployment.from_env(), Node("responses", PAIR)).exists(), "no half-written state"
    named = [f for f in integrity.check_all(Deployment.from_env(), "policy") if "paid" in f.subject]
    assert {f.subject for f in named} == {f"approval: paid|{task}" for task in ("value_alignment", "sample_myths")}
    assert all(f.severity == "warn" and "US$" in f.message for f in named)
    _, listed = mpta("approve")
    (row,) = listed["waiting"]
    assert row["model"] == "paid" and row["requests"] > waits.value.requests and row["dollars"] > 0
    code, _ = mpta("approve", "paid")
    assert code == 0
    record = make_responses()
    assert record.notes["asked"] == server.by_model["paid"] == waits.value.requests
    assert mpta("approve")[1]["waiting"] == []


def test_an_approval_changes_the_version_of_what_waits_for_it_and_of_nothing_else(paid):
    deployment = Deployment.from_env()
    mpta("approve", "paid")
    make_responses()
    node, other = Node("responses", PAIR), Node("responses", "loopback|value_alignment")
    assert is_current(deployment, node) and is_current(deployment, other)
    assert "approval|loopback" not in read_record(path_of(deployment, other)).parents, "it costs nothing"
    mpta("approve", "paid", "--revoke")
    assert not is_current(deployment, node) and is_current(deployment, other)
    assert make_responses().notes["reused"] > 0, "what was received stays"
    mpta("approve", "paid")
    assert not is_current(deployment, node), "so that the daemon goes on"


def test_a_budget_in_the_entry_is_an_approval_up_to_it_and_the_rest_waits(paid, server):
    paid(budget=0.05)
    record = make_responses()
    assert 0 < record.notes["asked"] == server.by_model["paid"]
    assert record.notes["left"] > 0 and record.notes["cost_usd"] <= 0.05
    before = server.by_model["paid"]
    assert make_responses().notes["left"] == record.notes["left"]
    assert server.by_model["paid"] == before
    paid(budget=500)
    assert not is_current(Deployment.from_env(), Node("responses", PAIR)), "a raised budget makes the daemon go on"
    assert "left" not in make_responses().notes


def test_a_risen_price_asks_again_and_a_lower_one_does_not(paid, server):
    mpta("approve", "paid")
    paid(price={"input": 50.0, "output": 100.0})
    assert Deployment.from_env().spending_permission("paid").granted
    paid(price={"input": 101.0, "output": 100.0})
    with pytest.raises(ApprovalError, match="costs more"):
        make_responses()
    assert server.by_model["paid"] == 0


def test_a_person_who_types_run_is_shown_the_price_and_approves_nothing_for_later(paid, server):
    done = CliRunner().invoke(cli.app, ["run", "--models", "paid", "--quiet"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert server.by_model["paid"] > 0
    assert "paid on value_alignment: sends" in done.stderr and "US$" in done.stderr
    assert not Deployment.from_env().spending_permission("paid").granted
    calls = server.by_model["paid"]
    record = make_responses()
    assert record.notes["reused"] == record.notes["requests"] and "awaiting_approval" not in record.notes
    assert server.by_model["paid"] == calls


def test_mpta_run_sends_what_waits_beside_responses_that_are_there(paid, world, server):
    mpta("approve", "paid")
    before = make_responses()
    mpta("approve", "paid", "--revoke")
    study = copy.deepcopy(STUDY)
    study["tasks"]["value_alignment"]["items_per_persona"] = 3
    world.study(study)
    for table in ("items", "prompts"):
        make(Deployment.from_env(), table, "value_alignment")
    calls = server.by_model["paid"]
    record = make_responses()
    assert server.by_model["paid"] == calls
    assert record.rows >= before.rows, "what was received is stored"
    assert record.notes["awaiting_approval"] > 0 and "mpta approve paid" in record.notes["awaiting_because"]
    assert current_record(Deployment.from_env(), Node("responses", PAIR)) is None, "not complete"
    code, done = mpta("run", "--models", "paid", "--tasks", "value_alignment", "--until", "responses")
    assert code == 0, done
    notes = read_record(path_of(Deployment.from_env(), Node("responses", PAIR))).notes
    assert notes["asked"] == record.notes["awaiting_approval"] == server.by_model["paid"] - calls
    assert "awaiting_approval" not in notes


def test_names_of_models_are_checked_and_free_models_need_none(paid):
    done = CliRunner().invoke(cli.app, ["approve", "piad"])
    assert 'did you mean "paid"' in str(done.exception)
    code, told = mpta("approve", "loopback")
    assert code == 0 and "no price" in told["messages"][0]["text"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_cannot_be_written_is_a_message(paid, world):
    world.data.chmod(0o500)
    try:
        done = CliRunner().invoke(cli.app, ["approve", "paid"])
        assert isinstance(done.exception, PermissionError)
    finally:
        world.data.chmod(0o700)
