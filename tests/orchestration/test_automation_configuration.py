"""Configuration changes under the daemon: what runs, and that it ends where a deployment made from scratch would."""

import polars as pl
import pytest

from mpta_pipeline.orchestration import integrity, steps
from mpta_pipeline.orchestration.project import Project
from mpta_pipeline.storage import Layout
from tests.orchestration.ticks import CELLS, partitions
from tests.world import STUDY, model

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
    return [f.subject for f in integrity.check_all(Project.from_env(), "in_step") if not f.passed]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("key", CHANGES)
def test_every_key_of_figures_reaches_what_is_made_by_it(daemon, world, server, key):
    calls = server.calls
    (world.config / "retest.csv").write_text("column,retest\nabany,0.9\n")
    world.study(STUDY | {"figures": FIGURES | {key: CHANGES[key]}})
    assert any(s.startswith("subgroup_metrics") for s in out_of_step())
    ran = daemon.settle()
    assert not daemon.failed
    assert out_of_step() == [], "the daemon and `mpta run` agree on what is stale"
    assert set(partitions(ran, "subgroup_metrics")) == CELLS
    assert "report" in daemon.assets_run()
    assert len(ran) == len(set(ran)), f"ran twice: {sorted(r for r in set(ran) if ran.count(r) > 1)}"
    assert server.calls == calls, "no model is asked for a figure"


@pytest.mark.usefixtures("filled")
def test_a_model_that_leaves_is_published_no_more_and_comes_back_unasked(daemon, world, server):
    second = model(server.url) | {"model": "second"}
    world.models({"loopback": model(server.url), "second": second})
    daemon.settle()
    world.models({"loopback": model(server.url)})
    daemon.settle()
    assert out_of_step() == []
    comparison = pl.read_parquet(Layout.from_env().table("model_comparison"))
    assert comparison.filter(pl.any_horizontal(pl.col(pl.String) == "second")).is_empty()
    assert "second" not in steps.stacked(Project.from_env(), "subgroup_metrics")["model"]
    assert "second" not in Layout.from_env().report.read_text(encoding="utf-8")
    calls = server.calls
    world.models({"loopback": model(server.url), "second": second})
    ran = daemon.settle()
    assert out_of_step() == [] and server.calls == calls
    twice = {asset for asset, key in ran if ran.count((asset, key)) > 1}
    assert twice <= {"subgroup_metrics", "pockets"}, "a second run finds these figures standing and leaves them"
    assert "second" in Layout.from_env().report.read_text(encoding="utf-8")
