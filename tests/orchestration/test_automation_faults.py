"""Broken files, failures, kills and changes while models are asked: what automation ticks make of them."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.storage import Layout
from tests.factories.deployment import STUDY, World, model, respondents, write_wave
from tests.orchestration.ticks import CELLS, partitions, tables
from tests.plain_run import bring_up_to_date

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("filled")
def test_a_corrupt_file_stops_only_its_wave_and_is_picked_up_when_mended(daemon, world):
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


def test_a_problem_is_told_once_per_state_and_each_tick_shows_it_while_it_lasts(daemon, world):
    """A refused file was warned of at every look: 95 times for one."""
    path = world.surveys / "wave_2018.sav"
    for content in (b"no survey at all", path.read_bytes()[:300]):
        path.write_bytes(content)
        daemon.log.warnings.clear()
        for _ in range(4):
            daemon.look()
        assert len([w for w in daemon.log.warnings if "wave_2018.sav" in w]) == 1, daemon.log.warnings
        assert "wave_2018.sav" in daemon.skipped, "the state stays visible"
    world.study(STUDY | {"tasks": {"sample_myths": STUDY["tasks"]["sample_myths"]}})
    daemon.log.warnings.clear()
    for _ in range(3):
        daemon.look()
    assert len(daemon.log.warnings) == 1 and "Reload the code location" in daemon.skipped
    world.study(STUDY)
    path.unlink()
    write_wave(world.surveys, respondents(2018))
    daemon.log.warnings.clear()
    for _ in range(3):
        daemon.look()
    assert daemon.log.warnings == [] and "wave_2018" not in daemon.skipped
    observed = [
        {name: value.value for name, value in record.asset_observation.metadata.items()}
        for record in daemon.instance.fetch_observations(dg.AssetKey("survey_file"), limit=20).records
    ]
    told = [seen for seen in observed if seen["file"] == "wave_2018.sav"]
    assert len(told) == len({seen["problem"] for seen in told}), told
    assert told[0]["problem"] == "none any more", "the newest first: it is solved"


@pytest.mark.usefixtures("filled")
def test_a_configuration_that_cannot_be_read_is_told_and_nothing_is_lost(daemon, world):
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


@pytest.mark.usefixtures("filled")
def test_a_change_that_lands_while_a_model_is_asked_is_not_lost_and_nothing_runs_twice(daemon, world, server):
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
        daemon.execute()
    server.meanwhile = meanwhile
    daemon.ran = []
    daemon.execute()
    asked_first = partitions(daemon.ran, "responses")
    assert len(requested) == 2, "the change landed while the run was asking"
    assert requested[0] == {"raw_wave": {"gss_extract-2012"}}, requested
    assert not requested[1], "what was requested is not requested again; what is running is left alone"
    daemon.execute()
    ran = daemon.settle()
    assert "gss_extract-2012" in pl.read_parquet(Layout.from_env().table("personas"))["wave"].unique()
    assert max(server.asked.values()) == 1
    twice = {asset for asset, key in ran if ran.count((asset, key)) > 1}
    assert twice <= {"model_comparison", "warehouse", "report"}, "only what publishes: once for either wave"
    assert set(partitions(ran, "responses")) <= set(asked_first) | CELLS


@pytest.mark.usefixtures("filled")
def test_a_failed_partition_is_retried_once_and_then_waits(daemon, world, server):
    world.models({"loopback": model(server.url), "refused": model(server.url) | {"model": "refused"}})
    server.refuse = "refused"
    daemon.settle()
    assert partitions(daemon.ran, "responses").count("refused|value_alignment") == 2, "once, and once again"
    assert (Layout.from_env().table("subgroup_metrics", "loopback", "value_alignment")).exists(), "the other goes on"
    assert daemon.settle() == [], "then it waits for a person"
    server.refuse = None
    for task in STUDY["tasks"]:  # as from the UI
        daemon.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=daemon.instance, asset_selection=[dg.AssetKey("responses")], partition_key=f"refused|{task}"
        )
    daemon.settle()
    assert (Layout.from_env().table("subgroup_metrics", "refused", "value_alignment")).exists()
    assert max(server.asked.values()) == 1, "what was answered before the failure is not asked again"


@pytest.mark.usefixtures("filled")
def test_a_task_whose_items_are_absent_holds_back_nothing_else(daemon, world):
    world.study(STUDY | {"tasks": STUDY["tasks"] | {"absent": {"kind": "truthfulqa_binary", "path": "absent.csv"}}})
    daemon.reload()
    daemon.settle()
    assert "items|absent" in daemon.failed
    write_wave(world.surveys, respondents(2014))
    ran = daemon.settle()
    assert ("report", None) in ran
    assert "gss_extract-2014" in pl.read_parquet(Layout.from_env().table("personas"))["wave"].unique()


def test_killed_in_a_tick_or_in_a_run_it_ends_in_the_same_state(daemon, world, server, tmp_path, monkeypatch):
    few = {"loopback": model(server.url) | {"connections": 4}}
    world.models(few)
    whole = World(tmp_path / "whole", server.url)
    whole.models(few)
    for path in sorted(world.surveys.iterdir()):
        shutil.copy(path, whole.surveys)
    with monkeypatch.context() as patch:
        for name, value in whole.environment.items():
            patch.setenv(name, value)
        bring_up_to_date()
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
            daemon.execute()
    # Killed with the run in the midst of asking.
    server.delay = 0.05
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.orchestration.ticks", "models_to_report"],
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
    (cut_off,) = [r for r in daemon.instance.get_runs() if not r.is_finished and r.job_name == "models_to_report"]
    daemon.instance.report_run_failed(cut_off, "what run monitoring says of it (test_launcher.py)")
    daemon.settle()
    assert server.calls <= needed + 8, "asked twice at most what was in flight"
    assert tables(world) == tables(whole)
