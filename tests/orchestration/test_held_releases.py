"""A release that a check refuses is held: no failure, no retry; what is in use stays, and every table names that."""

import shutil

import dagster as dg
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from mpta_pipeline import cli, surveys
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.publication import warehouse
from tests.factories.deployment import respondents, write_wave
from tests.orchestration.ticks import CELLS, partitions, tables

WAVE = "gss_extract-2018"


def turned(world) -> None:
    """A release in which the education of half of the respondents is another one."""
    write_wave(world.surveys, respondents(2018).with_columns(educ=(pl.col("educ") + pl.col("id") % 2) % 21))


def release_ids() -> dict[str, set[str]]:
    """Every place that names releases → those of the wave."""
    layout = Layout.from_env()
    estimates = pl.concat(
        [pl.read_parquet(layout.table("subgroup_metrics", *cell.split("|"))) for cell in sorted(CELLS)]
    )
    with warehouse.connect(layout) as con:
        published = {
            name: con.sql(f"select distinct release_id from {name} where wave = '{WAVE}'").pl()["release_id"]
            for name in ("waves", "variables", "respondents", "personas")
        }
    return {
        "estimates": {r for r in estimates["release_ids"].explode().unique() if r.startswith(WAVE)},
        "releases": set(pl.read_parquet(layout.table("releases")).filter(wave=WAVE)["release_id"]),
    } | {name: set(found) for name, found in published.items()}


@pytest.mark.usefixtures("filled")
def test_a_held_release_is_no_failure_and_every_table_names_the_release_in_use(daemon, world, server):
    path = world.surveys / "wave_2018.sav"
    shutil.copy2(path, world.root / "old.sav")
    before, named, calls = tables(world), release_ids(), server.calls
    (in_use,) = named["respondents"]
    assert all(found == {in_use} for found in named.values()), named

    turned(world)
    shutil.copy2(path, world.root / "new.sav")
    ran = daemon.settle()
    assert daemon.failed == []
    assert not daemon.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert partitions(ran, "harmonized_wave") == [WAVE], "one run, and no second attempt"
    assert daemon.settle() == [], "nothing is tried again until something changes"
    assert not daemon.assets_run() & {"personas", "items", "responses", "subgroup_metrics"}
    assert release_ids() == named
    held = surveys.load_raw(Layout.from_env(), WAVE).release_id
    assert held != in_use
    (record,) = daemon.instance.fetch_observations(dg.AssetKey("harmonized_wave"), limit=5).records
    shown = {name: value.value for name, value in record.asset_observation.metadata.items()}
    assert (shown["held"], shown["in use"]) == (held, [in_use])
    assert shown["respondents held"] == shown["respondents in use"] == 60
    assert 0.1 < shown["release_changes"]["columns_changed"]["education_years_gss"] < 0.9
    assert f'accept: {{"{held}"' in shown["how to accept"]
    check = daemon.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(dg.AssetKey("harmonized_wave"), "release_in_use")]
    )
    (found,) = check.values()
    evaluation = found.event.dagster_event.event_specific_data
    assert not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.WARN
    assert "is held" in evaluation.description and in_use in evaluation.description

    (waiting,) = (f for f in integrity.check_all(Deployment.from_env()) if not f.passed)
    assert waiting.check == "releases" and waiting.severity == "decide"
    said = CliRunner().invoke(cli.app, ["run"])
    assert said.exit_code == 0, said.output
    assert "is held" in said.output and "accept" in said.output and "Traceback" not in said.output

    shutil.copy2(world.root / "old.sav", path)
    daemon.settle()
    assert tables(world) == before, "as a deployment that never saw the held release"
    assert server.calls == calls
    assert surveys.load_raw(Layout.from_env(), WAVE).release_id == in_use
    assert list(surveys.previous_releases(Layout.from_env(), WAVE).values()) == [[]], "it superseded nothing"

    shutil.copy2(world.root / "new.sav", path)
    daemon.settle()
    advice = yaml.safe_load("{" + shown["how to accept"].removeprefix("say why in surveys.yaml: ") + "}")
    (world.config / "surveys.yaml").write_text(yaml.safe_dump(advice))
    ran = daemon.settle()
    assert daemon.failed == [] and partitions(ran, "harmonized_wave") == [WAVE]
    assert all(found == {held} for found in release_ids().values()), release_ids()
    (superseded,) = surveys.previous_releases(Layout.from_env(), WAVE).values()
    assert [f"{WAVE}@{release}" for release, _ in superseded] == [in_use]
