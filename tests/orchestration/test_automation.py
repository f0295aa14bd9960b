"""What runs by itself, by real automation ticks over the real definitions (issue: it runs itself)."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from mpta_pipeline import harmonize
from mpta_pipeline.errors import ConfigError
from mpta_pipeline.orchestration import steps
from mpta_pipeline.storage import Layout
from tests.orchestration.ticks import Daemon, partitions
from tests.world import STUDY, World, model, respondents, write_wave

ROOT = Path(__file__).parents[2]
WAVES = {"gss_extract-2016", "gss_extract-2018"}
CELLS = {"loopback|value_alignment", "loopback|sample_myths"}


@pytest.fixture
def daemon(world):
    with dg.instance_for_test(temp_dir=str(world.config)) as instance:
        yield Daemon(instance)


def test_everything_that_is_missing_is_requested_at_the_first_ticks(daemon, world):
    ran = daemon.settle()
    assert not daemon.failed
    assert set(partitions(ran, "raw_wave")) == set(partitions(ran, "harmonized_wave")) == WAVES
    assert set(partitions(ran, "responses")) == set(partitions(ran, "subgroup_metrics")) == CELLS
    for asset in ("raw_wave", "personas", "responses", "subgroup_metrics"):
        keys = partitions(ran, asset)
        assert len(keys) == len(set(keys)), f"{asset} ran twice: {keys}"
    assert Layout.from_env().report.exists() and Layout.from_env().warehouse.exists()
    assert daemon.settle() == [], "settled means settled"


def test_a_file_that_is_touched_or_copied_again_runs_nothing(daemon, world):
    daemon.settle()
    path = world.surveys / "wave_2018.sav"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    os.utime(path, (time.time() + 60,) * 2)
    assert daemon.settle() == []


def test_a_crosswalk_edit_runs_the_waves_and_asks_the_prompts_that_it_touches(
    daemon, world, server, monkeypatch, tmp_path
):
    daemon.settle()
    before, asked = prompts(), server.calls
    folder = Path(shutil.copytree(harmonize.crosswalk.CONCEPT_FOLDER, tmp_path / "concepts"))
    load = harmonize.load_crosswalk
    monkeypatch.setattr(harmonize, "load_crosswalk", lambda: load(folder))
    # A row of a dialect that no wave has.
    party = folder / "party.yaml"
    party.write_text(party.read_text().replace("variable: v174_cs", "variable: v174_css"))
    assert daemon.settle() == []
    # The wording of one concept, which changes no harmonized value.
    concept = folder / "abortion_poor.yaml"
    concept.write_text(concept.read_text().replace("afford", "pay for"))
    ran = daemon.settle()
    assert not daemon.failed
    assert "raw_wave" not in daemon.assets_run()
    assert set(partitions(ran, "harmonized_wave")) == WAVES
    assert len(ran) == len(set(ran)), f"each ran once: {ran}"
    new = prompts().join(before, on="content_hash", how="anti")
    text = new.select(pl.concat_str(pl.col("system").fill_null(""), "user")).to_series()
    assert text.str.contains("pay for").all(), "only prompts that hold the wording are new"
    assert 0 < server.calls - asked == new["content_hash"].n_unique() < before["content_hash"].n_unique()
    assert max(server.asked.values()) == 1


def prompts():
    return pl.concat([pl.read_parquet(Layout.from_env().table("prompts", task)) for task in STUDY["tasks"]])


def test_a_new_wave_runs_what_depends_on_it_and_asks_only_what_is_new(daemon, world, server):
    daemon.settle()
    before = server.calls
    write_wave(world.surveys, respondents(2014))
    ran = daemon.settle()
    assert set(partitions(ran, "raw_wave")) == {"gss_extract-2014"}
    assert set(partitions(ran, "responses")) <= CELLS
    assert max(server.asked.values()) == 1, "nothing is asked twice"
    assert server.calls > before
    assert len(ran) == len(set(ran)), f"ran twice: {sorted(r for r in set(ran) if ran.count(r) > 1)}"
    assert "gss_extract-2014" in pl.read_parquet(Layout.from_env().table("personas"))["wave"].unique()


def test_a_new_release_replaces_its_wave_and_says_what_changed(daemon, world, server):
    daemon.settle()
    changed = respondents(2018).with_columns(
        pl.when(pl.col("id") == 7).then(1 - pl.col("abany")).otherwise(pl.col("abany")).alias("abany")
    )
    write_wave(world.surveys, changed)
    before = server.calls
    ran = daemon.settle()
    assert set(partitions(ran, "raw_wave")) == {"gss_extract-2018"}
    log = pl.read_parquet(Layout.from_env().table("survey_changelog", "gss_extract-2018"))
    assert log.filter(pl.col("change") == "changed").select("variable").to_series().to_list() == ["abany"]
    share = 1 / 120
    prompts = sum(pl.read_parquet(Layout.from_env().table("prompts", t)).height for t in STUDY["tasks"])
    assert server.calls - before <= max(1.5 * share * prompts, 12), "asked no more than the change touches"


def test_a_removed_wave_leaves_the_study_and_comes_back_without_a_question(daemon, world, server):
    daemon.settle()
    before, made = server.calls, tables(world)
    path = world.surveys / "wave_2016.sav"
    data = path.read_bytes()
    path.unlink()
    daemon.settle()
    assert set(pl.read_parquet(Layout.from_env().table("personas"))["wave"]) == {"gss_extract-2018"}
    path.write_bytes(data)
    calls = server.calls
    ran = daemon.settle()
    assert set(pl.read_parquet(Layout.from_env().table("personas"))["wave"]) == WAVES, "the wave is back"
    assert len(ran) == len(set(ran)), "and each step of its way ran once"
    assert server.calls == calls, "all answers were still in the ledger"
    assert calls >= before
    assert tables(world) == made, "the same tables as before"


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
    gone = [path for path in made if "second" in path or "sample_myths" in path]
    assert gone and not any(path in tables(world) for path in gone)
    (world.surveys / "wave_2014.sav").unlink()
    world.models(two)
    world.study(STUDY)
    daemon.settle()
    daemon.reload()
    daemon.settle()
    assert tables(world) == made, "all that was there before is there again"
    assert max(server.asked.values()) == 1, "and nothing of it was asked again"
    assert server.calls > calls, "but the wave that came and went"


def test_a_corrupt_file_stops_only_its_wave_and_is_picked_up_when_mended(daemon, world):
    daemon.settle()
    layout = Layout.from_env()
    path = world.surveys / "wave_2018.sav"
    good = path.read_bytes()
    stored = layout.harmonized("gss_extract-2018").read_bytes()
    path.write_bytes(good[: len(good) // 2])
    write_wave(world.surveys, respondents(2014))
    daemon.settle()
    assert layout.harmonized("gss_extract-2018").read_bytes() == stored, "the last good table stays"
    assert "gss_extract-2014" in pl.read_parquet(layout.table("personas"))["wave"].unique(), "others go on"
    path.write_bytes(good)
    daemon.settle()
    assert not daemon.failed


def test_a_new_model_is_the_only_one_asked(daemon, world, server):
    daemon.settle()
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


def test_a_configuration_that_cannot_be_read_is_told_and_nothing_is_lost(daemon, world):
    daemon.settle()
    path = world.config / "models.yaml"
    good = path.read_text()
    path.write_text("models:\n  a: {provider: openai\n  b: [")
    write_wave(world.surveys, respondents(2014))
    with pytest.raises(ConfigError, match=r"not YAML.*models\.yaml.*Remedy"):
        daemon.look()
    assert daemon.evaluate() == {}, "what is there stays"
    path.write_text(good)
    ran = daemon.settle()
    assert partitions(ran, "raw_wave") == ["gss_extract-2014"] and not daemon.failed


def test_a_removal_two_waves_and_a_model_at_once_ask_once(daemon, world, server):
    daemon.settle()
    (world.surveys / "wave_2016.sav").unlink()
    for year in (2012, 2014):
        write_wave(world.surveys, respondents(year))
    world.models({"loopback": model(server.url), "second": model(server.url) | {"model": "second"}})
    ran = daemon.settle()
    assert not daemon.failed
    twice = {asset for asset, key in ran if ran.count((asset, key)) > 1}
    assert twice <= {"personas", "panel", "items"}, "the removal counts at once, the new waves when they are read"
    waves = set(pl.read_parquet(Layout.from_env().table("personas"))["wave"])
    assert waves == {"gss_extract-2012", "gss_extract-2014", "gss_extract-2018"}
    assert max(server.asked.values()) == 1


def test_a_changed_task_runs_that_task_again_and_nothing_else(daemon, world):
    daemon.settle()
    study = yaml.safe_load(yaml.safe_dump(STUDY))
    study["tasks"]["sample_myths"]["items"] = 3
    world.study(study)
    ran = daemon.settle()
    assert set(partitions(ran, "prompts")) == {"sample_myths"}
    assert set(partitions(ran, "responses")) == {"loopback|sample_myths"}
    assert not daemon.assets_run() & {"raw_wave", "harmonized_wave", "personas"}
    assert len(ran) == len(set(ran)), f"ran twice: {sorted(r for r in set(ran) if ran.count(r) > 1)}"


def test_a_key_that_is_not_in_the_registry_fails_with_the_remedy(daemon, world):
    daemon.settle()
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


def test_new_code_runs_what_it_makes_and_stops_where_the_content_is_the_same(daemon, world, server, monkeypatch):
    daemon.settle()
    before = server.calls
    monkeypatch.setitem(steps._CODE, "items", ("mpta_pipeline.tasks", "mpta_pipeline.hashing"))
    daemon.reload()
    ran = daemon.settle()
    assert {asset for asset, _ in ran} == {"items", "prompts"}, "equal content goes no further than its run"
    assert server.calls == before


def test_a_change_that_lands_while_a_model_is_asked_is_not_lost_and_nothing_runs_twice(daemon, world, server):
    daemon.settle()
    write_wave(world.surveys, respondents(2014))
    requested: list[dict[str, set[str | None]]] = []

    def meanwhile() -> None:
        """What the daemon does while the run asks: a second wave is dropped, and two ticks pass."""
        write_wave(world.surveys, respondents(2012))
        for _ in range(2):
            daemon.look()
            requested.append(daemon.evaluate())

    for _ in range(8):
        daemon.look()
        now = daemon.evaluate()
        if "responses" in now:
            break
        daemon.execute(now)
    server.meanwhile = meanwhile
    daemon.ran = []
    daemon.execute(now)
    asked_first = partitions(daemon.ran, "responses")
    assert len(requested) == 2, "the change landed while the run was asking"
    assert set(requested[0]) == {"raw_wave", "harmonized_wave", "survey_changelog"}, requested
    assert not requested[1], "what was requested is not requested again; what is running is left alone"
    daemon.execute(requested[0])
    ran = daemon.settle()
    assert "gss_extract-2012" in pl.read_parquet(Layout.from_env().table("personas"))["wave"].unique()
    assert max(server.asked.values()) == 1
    twice = {asset for asset, key in ran if ran.count((asset, key)) > 1}
    assert twice <= {"model_comparison", "warehouse", "report"}, "only what publishes: once for either wave"
    assert set(partitions(ran, "responses")) <= set(asked_first) | CELLS


def test_a_failed_partition_is_retried_once_and_then_waits(daemon, world, server):
    world.models({"loopback": model(server.url), "refused": model(server.url) | {"model": "refused"}})
    server.refuse = "refused"
    daemon.settle()
    assert partitions(daemon.ran, "responses").count("refused|value_alignment") == 2, "once, and once again"
    assert (Layout.from_env().table("subgroup_metrics", "loopback", "value_alignment")).exists(), "the other goes on"
    assert daemon.settle() == [], "then it waits for a person"
    server.refuse = None
    daemon.execute({"responses": {f"refused|{task}" for task in STUDY["tasks"]}})
    daemon.settle()
    assert (Layout.from_env().table("subgroup_metrics", "refused", "value_alignment")).exists()
    assert max(server.asked.values()) == 1, "what was answered before the failure is not asked again"


def test_a_task_whose_items_are_absent_holds_back_nothing_else(daemon, world):
    world.study(STUDY | {"tasks": STUDY["tasks"] | {"absent": {"kind": "truthfulqa_binary", "path": "absent.csv"}}})
    daemon.reload()
    daemon.settle()
    assert "items|absent" in daemon.failed
    write_wave(world.surveys, respondents(2014))
    ran = daemon.settle()
    assert ("report", None) in ran
    assert "gss_extract-2014" in pl.read_parquet(Layout.from_env().table("personas"))["wave"].unique()


def test_killed_in_a_tick_or_in_a_run_it_ends_in_the_same_state(daemon, world, server, tmp_path):
    few = {"loopback": model(server.url) | {"connections": 4}}
    world.models(few)
    whole = World(tmp_path / "whole", server.url)
    whole.models(few)
    for path in sorted(world.surveys.iterdir()):
        shutil.copy(path, whole.surveys)
    run = [sys.executable, "-m", "mpta_pipeline.cli", "run"]
    subprocess.run(run, env=os.environ | whole.environment, check=True, capture_output=True)
    needed = server.calls
    server.asked.clear()

    requested = {}
    while "responses" not in requested:
        daemon.look()
        before = dict(daemon.cursors)
        daemon.evaluate()
        # Killed before the tick was stored: the next one starts from the cursor before, and must ask for the same.
        daemon.cursors = before
        requested = daemon.evaluate()
        if "responses" not in requested:
            daemon.execute(requested)
    # Killed with the run in the midst of asking.
    server.delay = 0.05
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.orchestration.ticks", json.dumps({a: sorted(k) for a, k in requested.items()})],
        env=os.environ | world.environment,
        cwd=ROOT,
    )
    while server.calls < 10:
        time.sleep(0.02)
    child.kill()
    child.wait()
    server.delay = 0.0
    asked = server.calls
    assert asked < needed
    daemon.look()
    assert "responses" not in daemon.evaluate(), "the run counts as in progress until it is known to be gone"
    (cut_off,) = [r for r in daemon.instance.get_runs() if not r.is_finished]
    daemon.instance.report_run_failed(cut_off, "what run monitoring says of it (test_launcher.py)")
    daemon.settle()
    assert server.calls <= needed + 8, "asked twice at most what was in flight"
    assert tables(world) == tables(whole)


def tables(world):
    """Bytes of every stored table."""
    folder = world.data / "tables"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.parquet") if ".tmp" not in p.name}
