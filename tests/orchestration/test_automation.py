"""Survey files come, change and go: what runs by itself, by real automation ticks over the real definitions."""

import os
import shutil
import time
from pathlib import Path

import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.core.storage import Layout
from tests.factories.deployment import STUDY, model, respondents, write_wave
from tests.orchestration.ticks import CELLS, WAVES, partitions, tables


def test_everything_that_is_missing_is_requested_at_the_first_ticks(filled, daemon, world):
    ran = filled.ran
    assert set(partitions(ran, "raw_wave")) == set(partitions(ran, "harmonized_wave")) == WAVES
    assert set(partitions(ran, "responses")) == set(partitions(ran, "subgroup_metrics")) == CELLS
    for asset in ("raw_wave", "personas", "responses", "subgroup_metrics"):
        keys = partitions(ran, asset)
        assert len(keys) == len(set(keys)), f"{asset} ran twice: {keys}"
    assert Layout.from_env().report.exists() and Layout.from_env().warehouse.exists()
    assert daemon.settle() == [], "settled means settled"


@pytest.mark.usefixtures("filled")
def test_a_file_that_is_touched_or_copied_again_runs_nothing(daemon, world):
    path = world.surveys / "wave_2018.sav"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    os.utime(path, (time.time() + 60,) * 2)
    assert daemon.settle() == []


@pytest.mark.usefixtures("filled")
def test_a_crosswalk_edit_runs_the_waves_and_asks_the_prompts_that_it_touches(
    daemon, world, server, monkeypatch, tmp_path
):
    before, asked = prompts(), server.calls
    folder = Path(shutil.copytree(harmonize.crosswalk.CONCEPT_FOLDER, tmp_path / "concepts"))
    load = harmonize.load_crosswalk
    monkeypatch.setattr(harmonize, "load_crosswalk", lambda **given: load(folder, **given))
    # A row of a codebook that no wave has: the warehouse publishes the crosswalk as a whole.
    party = folder / "party.yaml"
    party.write_text(party.read_text().replace("variable: v174_cs", "variable: v174_css"))
    assert [asset for asset, _ in daemon.settle()] == ["warehouse", "report"]
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


@pytest.mark.usefixtures("filled")
def test_a_new_wave_runs_what_depends_on_it_and_asks_only_what_is_new(daemon, world, server):
    before = server.calls
    write_wave(world.surveys, respondents(2014))
    ran = daemon.settle()
    assert set(partitions(ran, "raw_wave")) == {"gss_extract-2014"}
    assert set(partitions(ran, "responses")) <= CELLS
    assert max(server.asked.values()) == 1, "nothing is asked twice"
    assert server.calls > before
    assert len(ran) == len(set(ran)), f"ran twice: {sorted(r for r in set(ran) if ran.count(r) > 1)}"
    assert "gss_extract-2014" in pl.read_parquet(Layout.from_env().table("personas"))["wave"].unique()


@pytest.mark.usefixtures("filled")
def test_a_new_release_replaces_its_wave_and_says_what_changed(daemon, world, server):
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


@pytest.mark.usefixtures("filled")
def test_a_removed_wave_leaves_the_study_and_comes_back_without_a_question(daemon, world, server):
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


@pytest.mark.usefixtures("filled")
def test_a_removal_two_waves_and_a_model_at_once_ask_once(daemon, world, server):
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
