"""A data-use policy that changes after a first run: what is sent follows the policy at the moment of sending."""

import dagster as dg
import polars as pl
import pytest
import yaml

from mpta_pipeline import inference
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import stacked
from mpta_pipeline.surveys import load_sources
from tests.factories.deployment import model
from tests.orchestration.ticks import CELLS, Daemon
from tests.plain_run import bring_up_to_date

# A host that is not this machine by name; the loopback server answers for it.
REMOTE = "remote"


def _policy(world, use: str) -> None:
    (world.config / "surveys.yaml").write_text(yaml.safe_dump({"sources": {"gss_extract": {"data_use": use}}}))


@pytest.fixture
def remote(finished, world, monkeypatch):
    """A finished deployment, and a second model that counts as one on another machine."""
    world.models({"loopback": model(world.url), REMOTE: model(world.url) | {"model": REMOTE}})
    _far(monkeypatch)
    return world


def _far(patch) -> None:
    """Let the second model count as one on another machine."""
    local = inference.ModelSpec.is_local
    patch.setattr(inference.ModelSpec, "is_local", property(lambda spec: spec.name != REMOTE and local.fget(spec)))


def test_what_is_tightened_is_not_sent_to_a_model_that_comes_later(remote, server):
    remote.models({"loopback": model(remote.url)})
    _policy(remote, "any")
    bring_up_to_date()
    _policy(remote, "local_only")
    remote.models({"loopback": model(remote.url), REMOTE: model(remote.url) | {"model": REMOTE}})
    deployment, _ = bring_up_to_date()
    assert server.by_model[REMOTE] > 0, "prompts without a persona may go anywhere"
    answers = stacked(deployment, "responses").filter(pl.col("model") == REMOTE, pl.col("text").is_not_null())
    prompts = stacked(deployment, "prompts").join(answers, on="prompt_id", how="semi")
    assert prompts["shown_respondent_id"].null_count() == prompts.height, "no persona was sent"
    waiting = [f for f in integrity.check_all(deployment, "policy") if not f.passed]
    assert waiting and all("gss_extract" in f.message and REMOTE in f.message for f in waiting)


def _close(world) -> None:
    world.models({"loopback": model(world.url), REMOTE: model(world.url) | {"model": REMOTE}})
    _policy(world, "local_only")


@pytest.fixture(scope="module")
def shut(finished, tmp_path_factory):
    """A deployment whose second model was asked under a policy that keeps every persona from it."""
    with pytest.MonkeyPatch.context() as patch:
        _far(patch)
        return finished.changed(tmp_path_factory.mktemp("shut"), _close)


@pytest.fixture
def closed(shut, remote):
    """A copy of that."""
    shut.copy_to(remote)
    return remote


def test_what_is_loosened_is_asked_and_nothing_is_asked_twice(closed, server):
    remote, before = closed, server.by_model[REMOTE]
    _policy(remote, "any")
    deployment, _ = bring_up_to_date()
    assert server.by_model[REMOTE] > before
    assert all(times == 1 for times in server.asked.values())
    assert not [f for f in integrity.check_all(deployment, "policy") if not f.passed]
    _policy(remote, "local_only")
    deployment, _ = bring_up_to_date()
    told = " ".join(f.message for f in integrity.check_all(deployment, "policy"))
    assert "were sent to remote before surveys.yaml closed their source to it" in told


def test_the_trust_in_a_model_is_looked_at_again(closed, server):
    remote, before = closed, server.by_model[REMOTE]
    trusted = model(remote.url) | {"model": REMOTE, "trusted": True}
    remote.models({"loopback": model(remote.url), REMOTE: trusted})
    deployment, made = bring_up_to_date()
    assert server.by_model[REMOTE] > before
    assert {m for m in made if m.startswith("responses")} == {f"responses|{REMOTE}|{t}" for t in deployment.study.tasks}


def test_a_policy_that_is_tightened_while_prompts_stand_counts_at_the_moment_of_sending(remote, server):
    """As a process of the daemon that was started before: its configuration was read, its prompts are old."""
    _policy(remote, "any")
    remote.models({"loopback": model(remote.url)})
    bring_up_to_date()
    remote.models({"loopback": model(remote.url), REMOTE: model(remote.url) | {"model": REMOTE}})
    deployment = Deployment.from_env()
    assert deployment.sources.permitted["gss_extract"] == "any" and deployment.models
    _policy(remote, "local_only")
    for task in deployment.study.tasks:
        record = make(deployment, "responses", f"{REMOTE}|{task}").record
        assert record.notes["withheld"] > 0


@pytest.mark.parametrize("source", [s.codebook for s in load_sources()])
@pytest.mark.parametrize("use", ["any", "local_only"])
def test_the_policy_of_every_source_is_the_one_of_today(source, use, tmp_path):
    file = tmp_path / "surveys.yaml"
    file.write_text(yaml.safe_dump({"sources": {source: {"data_use": use}}}))
    registry = load_sources(file)
    closed = registry.closed(registry[source]) is not None
    assert registry.permitted[source] == ("local_only" if closed else use)
    file.write_text(yaml.safe_dump({"sources": {source: {"data_use": use, "use": False}}}))
    assert load_sources(file).permitted[source] == "local_only"


def test_the_daemon_follows_the_policy(remote, server):
    _policy(remote, "local_only")
    with dg.instance_for_test() as instance:
        daemon = Daemon(instance)
        daemon.settle()
        before = server.by_model[REMOTE]
        asked = {str(key) for asset, key in daemon.ran if asset == "responses"}
        assert asked >= {cell.replace("loopback", REMOTE) for cell in CELLS}
        _policy(remote, "any")
        daemon.settle()
        assert server.by_model[REMOTE] > before
        assert all(times == 1 for times in server.asked.values())
        assert is_current(Deployment.from_env(), Node("personas"))
