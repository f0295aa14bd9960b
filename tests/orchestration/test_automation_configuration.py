"""Configuration changes under the daemon: what runs, and that it ends where a deployment made from scratch would."""

from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

import mpta_pipeline
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.orchestration.source_observations import look
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import stacked
from tests.factories.deployment import STUDY, model
from tests.orchestration.ticks import CELLS, partitions

FIGURES = STUDY["figures"]
CHANGES = {
    "dimensions": ["sex", "age_band"],
    "min_personas": 7,
    "min_items": 2,
    "equivalence_margin": 0.2,
    "level": 0.1,
    "bootstrap": 60,
    "country_groups": {"North": ["USA", "CAN"]},
    "retest": "retest.csv",
}


def out_of_step() -> list[str]:
    return [f.subject for f in integrity.check_all(Deployment.from_env(), "in_step") if not f.passed]


def published_models() -> set[str]:
    """The models in any table of the warehouse that the daemon published."""
    with duckdb.connect(str(Layout.from_env().warehouse), read_only=True) as con:
        named = con.execute(
            "select table_name, column_name from duckdb_columns() join duckdb_tables() using (table_name) "
            "where column_name in ('model', 'other_model')"
        ).fetchall()
        assert {"responses", "scores", "subgroup_metrics", "pockets", "model_comparison"} <= {
            table for table, _ in named
        }
        return {
            model
            for table, column in named
            for (model,) in con.execute(
                f'select distinct "{column}" from "{table}" where "{column}" is not null'
            ).fetchall()
        }


def change(world, *keys: str) -> None:
    (world.config / "retest.csv").write_text("column,retest\nabany,0.9\n")
    world.study(STUDY | {"figures": FIGURES | {key: CHANGES[key] for key in keys}})


@pytest.mark.usefixtures("filled")
def test_every_key_of_figures_is_seen_by_the_sensor_and_makes_figures_stale(daemon, world):
    assert set(CHANGES) == set(EstimateRules.model_fields), "a new key is tried here, too"
    change(world)
    assert look(Deployment.from_env(), daemon.instance).events == [] and out_of_step() == []
    for key in CHANGES:  # nothing is applied, so each is a change of the deployment at rest
        change(world, key)
        told = {event.asset_key.to_user_string() for event in look(Deployment.from_env(), daemon.instance).events}
        assert "figures_card" in told, key
        stale = out_of_step()
        for asset in ("subgroup_metrics", "pockets", "model_comparison", "warehouse", "report"):
            assert any(subject.split("|")[0] == asset for subject in stale), (key, asset)


@pytest.mark.usefixtures("filled")
def test_a_change_of_figures_runs_what_is_made_by_them_once_and_asks_nobody(daemon, world, server):
    calls = server.calls
    change(world, "min_personas", "level")
    ran = daemon.settle()
    assert not daemon.failed
    assert out_of_step() == [], "the daemon and `mpta run` agree on what is stale"
    assert set(partitions(ran, "subgroup_metrics")) == CELLS
    assert "report" in daemon.assets_run()
    assert len(ran) == len(set(ran)), f"ran twice: {sorted(r for r in set(ran) if ran.count(r) > 1)}"
    assert server.calls == calls, "no model is asked for a figure"


@pytest.mark.usefixtures("filled")
def test_the_daemon_rebuilds_whatever_mpta_run_would(daemon, world):
    """Both derive from the graph: any change of the study is requested, and nothing stays out of date."""
    study = STUDY
    for keys in (
        {"least_readable": 0.3},
        {"traits": {"min": 3, "max": 6}},
        {"paraphrases": 2, "styles": ["bullets"]},
        {"seed": 7},
        {"panel": {"size": 9, "strata": ["sex"]}},
    ):
        world.study(STUDY | keys)
        stale = {subject.partition("|")[0] for subject in out_of_step()}
        daemon.look()
        requested = daemon.evaluate()
        assert requested and requested.keys() <= stale, keys
        daemon.requests.clear()
        study = study | keys
    world.study(study)
    ran = daemon.settle()
    assert not daemon.failed and out_of_step() == []
    asked = partitions(ran, "responses")
    assert len(asked) == len(set(asked)), "no model is asked prompts that another run replaces"


def edit_of(package: str, name: str, old: str, new: str) -> str:
    """A packaged record with a change, as a deployment's own record that replaces it."""
    text = (Path(mpta_pipeline.__file__).parent / package / f"{name}.yaml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new)


@pytest.mark.usefixtures("filled")
def test_the_daemon_hears_of_an_edit_of_any_other_file_and_rebuilds_whatever_mpta_run_would(daemon, world, server):
    """The study itself is tried above; every key of every file, without the daemon, in tests/pipeline."""
    world.study(STUDY | {"figures": FIGURES | {"retest": "retest.csv"}})
    (world.config / "retest.csv").write_text("column,retest\nabany,0.9\n")
    daemon.settle()
    edits = {
        "surveys.yaml": ("sources: {gss_extract: {data_use: local_only}}\n", {"survey_file", "study_card"}),
        "sources/gss_extract.yaml": (
            edit_of("surveys/sources", "gss_extract", "title: ", "title: The "),
            {"survey_file", "crosswalk_card", "report_card"},
        ),
        "concepts/abortion_poor.yaml": (
            edit_of("harmonize/concepts", "abortion_poor", "statement: '", "statement: 'Asked again: "),
            {"crosswalk_card", "report_card"},
        ),
        "retest.csv": ("column,retest\nabany,0.7\n", {"figures_card"}),
        "models.yaml": (
            yaml.safe_dump({"models": {"loopback": model(server.url) | {"parameters": {"temperature": 0.5}}}}),
            {"model_card"},
        ),
    }
    known: dict[str, set[str]] = {}
    for name, (text, cards) in edits.items():
        before = {str(event) for event in look(Deployment.from_env(), daemon.instance).events}
        (world.config / name).parent.mkdir(exist_ok=True)
        (world.config / name).write_text(text)
        events = look(Deployment.from_env(), daemon.instance).events
        known[name] = {event.asset_key.to_user_string() for event in events if str(event) not in before}
        assert known[name] >= cards, name
    assert out_of_step() != []
    daemon.settle()
    assert not daemon.failed and out_of_step() == []


@pytest.mark.usefixtures("filled")
def test_a_model_that_leaves_is_published_no_more_and_comes_back_unasked(daemon, world, server):
    guest = model(server.url) | {"model": "guest"}
    world.models({"loopback": model(server.url), "guest": guest})
    daemon.settle()
    world.models({"loopback": model(server.url)})
    daemon.settle()
    assert out_of_step() == []
    comparison = pl.read_parquet(Layout.from_env().table("model_comparison"))
    assert comparison.filter(pl.any_horizontal(pl.col(pl.String) == "guest")).is_empty()
    assert "guest" not in stacked(Deployment.from_env(), "subgroup_metrics")["model"]
    assert published_models() == {"loopback"}
    assert "guest" not in Layout.from_env().report.read_text(encoding="utf-8")
    calls = server.calls
    world.models({"loopback": model(server.url), "guest": guest})
    ran = daemon.settle()
    assert out_of_step() == [] and server.calls == calls
    twice = {asset for asset, key in ran if ran.count((asset, key)) > 1}
    assert twice <= {"subgroup_metrics", "pockets"}, "a second run finds these figures standing and leaves them"
    assert "guest" in Layout.from_env().report.read_text(encoding="utf-8")
    assert published_models() == {"loopback", "guest"}
