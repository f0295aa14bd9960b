"""What runs by the clock: when, what it shows in the UI, and that it sets nothing off which was in step."""

from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest
import yaml

from mpta_pipeline import definitions
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.orchestration import jobs
from mpta_pipeline.orchestration.event_log import purge
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.publication import withdrawal
from tests.factories.deployment import STUDY
from tests.factories.producer_site import serving_site
from tests.orchestration.ticks import partitions


def built():
    return definitions.build(Deployment.from_env())


# --- when -------------------------------------------------------------------------------------------------------------


def test_watch_and_check_run_by_default_and_the_refresh_waits_for_a_time(world):
    found = {s.name: s for s in built().schedules}
    running, stopped = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED
    assert {n: (s.cron_schedule, s.default_status) for n, s in found.items()} == {
        "release_watch_schedule": ("0 6 * * 1", running),
        "full_check_schedule": ("0 3 * * *", running),
        "refresh_schedule": ("0 4 * * 0", stopped),
    }


def test_a_user_moves_a_schedule_and_stops_one_in_study_yaml(world):
    world.study(STUDY | {"schedules": {"refresh": "30 1 * * *", "watch": None, "timezone": "Europe/Berlin"}})
    found = {s.name: s for s in built().schedules}
    refresh = found["refresh_schedule"]
    assert (refresh.cron_schedule, refresh.execution_timezone) == ("30 1 * * *", "Europe/Berlin")
    assert refresh.default_status == dg.DefaultScheduleStatus.RUNNING
    assert found["release_watch_schedule"].default_status == dg.DefaultScheduleStatus.STOPPED


@pytest.mark.parametrize(
    ("key", "value"), [("check", "every night"), ("watch", "99 * * * *"), ("timezone", "Mars/Base")]
)
def test_a_time_that_is_none_is_refused_with_key_and_remedy(world, key, value):
    world.study(STUDY | {"schedules": {key: value}})
    with pytest.raises(ConfigError, match=r"study\.yaml, variable schedules\..*Remedy"):
        built()


def test_survey_files_and_published_figures_have_freshness_policies_that_a_user_sets(world):
    world.study(STUDY | {"schedules": {"waves_stale_after": 30, "figures_stale_after": 9}})
    graph = built().resolve_asset_graph()
    policies = {k.to_user_string(): p for k in graph.get_all_asset_keys() if (p := graph.get(k).freshness_policy)}
    windows = {n: (p.fail_window.to_timedelta(), p.warn_window.to_timedelta()) for n, p in policies.items()}
    assert windows == {
        "survey_file": (timedelta(days=30), timedelta(days=20)),
        "warehouse": (timedelta(days=9), timedelta(days=6)),
        "report": (timedelta(days=9), timedelta(days=6)),
    }
    settings = yaml.safe_load((world.config / "dagster.yaml").read_text())
    assert settings["freshness"] == {"enabled": True}, "Dagster looks at no policy otherwise"


def test_no_run_of_an_asset_takes_these_checks_along(world):
    definitions_ = built()
    graph = definitions_.resolve_asset_graph()
    mine = {key for check in jobs.CHECKS for key in check.check_keys}
    assert len(mine) == len(integrity.CHECKS) + 1, "and the release watch"
    for asset in {key.asset_key for key in mine}:
        assert not graph.get(asset).is_materializable
    assert {s.job_name for s in definitions_.schedules} == {"release_watch", "full_check", "refresh"}


# --- what -------------------------------------------------------------------------------------------------------------


def run(daemon, job):
    result = daemon.definitions.resolve_job_def(job).execute_in_process(instance=daemon.instance, raise_on_error=False)
    return result, {c.check_name: c for c in result.get_asset_check_evaluations()}


def events(daemon, kind):
    """The survey file's materializations or observations."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("survey_file"), asset_partitions=["gss_extract-2018"])
    return getattr(daemon.instance, f"fetch_{kind}s")(wanted, limit=20).records


def test_a_new_release_is_told_in_the_ui_and_one_that_is_not_new_sets_nothing_off(daemon, world):
    with serving_site() as site:
        site.body, site.headers = b"x" * 10, {"ETag": '"one"'}
        policy = {"watch": [{"file": f"{site.url}/gss.sav", "get_from": "https://example.org/data"}]}
        (world.config / "surveys.yaml").write_text(yaml.safe_dump({"sources": {"gss_extract": policy}}))
        daemon.look()
        known = len(events(daemon, "materialization"))
        result, checks = run(daemon, "release_watch")
        assert result.success and checks["newest_release"].passed
        told = events(daemon, "materialization")
        assert len(told) == known + 1, "the file is confirmed, so that it stays fresh"
        versions = {r.asset_materialization.tags["dagster/data_version"] for r in told}
        assert len(versions) == 1, "and counts as the same"
        assert daemon.evaluate().keys() >= {"raw_wave"}, "a fresh clone: everything is missing"
        site.headers = {"ETag": '"two"'}
        result, checks = run(daemon, "release_watch")
        check = checks["newest_release"]
        assert result.success and not check.passed and check.severity == dg.AssetCheckSeverity.WARN
        assert "download it by hand from https://example.org/data" in check.description
        (observed,) = events(daemon, "observation")
        metadata = observed.asset_observation.metadata
        assert metadata["release watch"].value == "new release" and "by hand" in metadata["what to do"].value
        assert len(events(daemon, "materialization")) == known + 1, "a file that is not the newest is not confirmed"


def test_the_refresh_brings_up_to_date_and_the_full_check_finds_everything_in_step(daemon, world):
    result, _ = run(daemon, "refresh")
    assert result.success and (world.data / "report.html").exists()
    made = {r.job_name: r for r in daemon.instance.get_runs()}
    assert "refresh" in made and len(daemon.instance.get_runs()) > 5, "its runs stand in the UI beside it"
    result, checks = run(daemon, "full_check")
    assert result.success and set(checks) == set(integrity.CHECKS) and all(c.passed for c in checks.values())
    before = (world.data / "report.html").stat().st_mtime_ns
    result, _ = run(daemon, "refresh")
    assert result.success and (world.data / "report.html").stat().st_mtime_ns > before, "published anew: confirmed"
    (world.surveys / "wave_2016.sav").write_bytes(b"$FL2 broken")
    path = world.data / "tables" / "scores" / "loopback" / "sample_myths.parquet"
    pl.read_parquet(path).with_columns(status=pl.lit("splendid")).write_parquet(path)
    _, checks = run(daemon, "full_check")
    failed = checks["stored_tables"]
    assert not failed.passed and failed.severity == dg.AssetCheckSeverity.ERROR
    assert "scores/loopback/sample_myths" in failed.description


@pytest.mark.usefixtures("filled")
def test_a_withdrawal_is_carried_out_by_the_automation(daemon, world, server):
    deployment = Deployment.from_env()
    run(daemon, "release_watch")
    assert daemon.settle() == [], "a confirmed file sets nothing off"
    # The persona that the UI previews: the withdrawal has to reach the event log, too.
    who = withdrawal.find(
        deployment.layout,
        deployment.sources,
        pl.read_parquet(deployment.layout.table("personas"))["respondent_id"].min(),
    )
    (wave,) = who.waves
    texts = withdrawal.texts_of(deployment.layout, who.id, deployment.study)
    asked = server.asked.copy()
    withdrawal.forget(deployment.layout, deployment.sources, deployment.models, who, on=date(2026, 11, 23))
    assert purge(daemon.instance, texts) >= 1
    ran = daemon.settle()
    assert not daemon.failed
    assert set(partitions(ran, "raw_wave")) == set(partitions(ran, "harmonized_wave")) == {wave}
    assert "personas" in daemon.assets_run() and "report" in daemon.assets_run()
    assert max(server.asked.values()) == 1 and set(asked) <= set(server.asked), "nobody is asked twice"
    for text in texts:
        assert withdrawal.tables_with(deployment.layout, text) == []
        for path in world.root.rglob("*"):
            if path.is_file() and path.suffix != ".sav":
                assert text.encode() not in path.read_bytes(), path
