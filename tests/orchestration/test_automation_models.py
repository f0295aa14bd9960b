"""Models, tasks and code come and change: what runs by itself, by real automation ticks over the real definitions."""

from dataclasses import replace

import dagster as dg
import duckdb
import pytest
import yaml

from mpta_pipeline.core.storage import Layout
from mpta_pipeline.pipeline import graph
from tests.factories.deployment import STUDY, model, respondents, write_wave
from tests.orchestration.ticks import CELLS, partitions, tables


@pytest.mark.usefixtures("filled")
def test_a_model_and_a_task_that_return_are_made_anew_from_their_ledgers(daemon, world, server):
    two = {"loopback": model(server.url), "second": model(server.url) | {"model": "second"}}
    world.models(two)
    daemon.settle()
    made, calls = tables(world), server.calls
    one_task = STUDY | {"tasks": {"value_alignment": STUDY["tasks"]["value_alignment"]}}
    world.study(one_task)
    world.models({"loopback": two["loopback"]})
    daemon.settle()
    daemon.reload()
    assert not daemon.failed
    # Something else is published meanwhile, without them.
    write_wave(world.surveys, respondents(2014))
    daemon.settle()
    assert not daemon.failed
    kept = {path: content for path, content in made.items() if "second" in path or "sample_myths" in path}
    assert kept and kept.items() <= tables(world).items(), "nothing of what left is deleted or changed"
    with duckdb.connect(str(Layout.from_env().warehouse), read_only=True) as con:
        published = con.sql("select distinct model, task from responses").fetchall()
    assert published == [("loopback", "value_alignment")], "but it is not published"
    (world.surveys / "wave_2014.sav").unlink()
    world.models(two)
    world.study(STUDY)
    daemon.settle()
    daemon.reload()
    daemon.settle()
    assert tables(world) == made, "all that was there before is there again"
    assert max(server.asked.values()) == 1, "and nothing of it was asked again"
    assert server.calls > calls, "but the wave that came and went"


@pytest.mark.usefixtures("filled")
def test_a_new_model_is_the_only_one_asked(daemon, world, server):
    before = server.calls
    world.models({"loopback": model(server.url), "second": model(server.url) | {"model": "second"}})
    ran = daemon.settle()
    assert set(partitions(ran, "responses")) == {c.replace("loopback", "second") for c in CELLS}
    assert server.calls - before == sum(n for text, n in server.asked.items() if text.endswith("second"))
    assert not daemon.assets_run() & {"raw_wave", "harmonized_wave", "personas", "panel", "items", "prompts"}
    before = server.by_model.copy()
    warmer = model(server.url) | {"model": "second", "parameters": {"temperature": 0.5}}
    world.models({"loopback": model(server.url), "second": warmer})
    ran = daemon.settle()
    assert set(partitions(ran, "responses")) == {c.replace("loopback", "second") for c in CELLS}
    assert server.by_model["second"] == 2 * before["second"] and server.by_model["loopback"] == before["loopback"]


@pytest.mark.usefixtures("filled")
def test_a_changed_task_runs_that_task_again_and_nothing_else(daemon, world):
    study = yaml.safe_load(yaml.safe_dump(STUDY))
    study["tasks"]["sample_myths"]["items"] = 3
    world.study(study)
    ran = daemon.settle()
    assert set(partitions(ran, "prompts")) == {"sample_myths"}
    assert set(partitions(ran, "responses")) == {"loopback|sample_myths"}
    assert not daemon.assets_run() & {"raw_wave", "harmonized_wave", "personas"}
    assert len(ran) == len(set(ran)), f"ran twice: {sorted(r for r in set(ran) if ran.count(r) > 1)}"


@pytest.mark.usefixtures("filled")
def test_a_key_that_is_not_in_the_registry_fails_with_the_remedy(daemon, world):
    daemon.instance.add_dynamic_partitions("model", ["typo"])
    result = daemon.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=daemon.instance,
        asset_selection=[dg.AssetKey("responses")],
        partition_key="typo|sample_myths",
        raise_on_error=False,
    )
    assert not result.success
    failure = result.get_step_failure_events()[0].step_failure_data.error
    while failure.cause:
        failure = failure.cause
    assert "models.yaml" in failure.message and "typo" in failure.message and "Remedy" in failure.message


@pytest.mark.usefixtures("filled")
def test_new_code_runs_what_it_makes_and_stops_where_the_content_is_the_same(daemon, world, server, monkeypatch):
    before = server.calls
    changed = replace(graph.TABLES["items"], code=("mpta_pipeline.tasks", "mpta_pipeline.core.hashing"))
    monkeypatch.setitem(graph.TABLES, "items", changed)
    daemon.reload()
    ran = daemon.settle()
    assert {asset for asset, _ in ran} == {"items", "prompts"}, "equal content goes no further than its run"
    assert server.calls == before
