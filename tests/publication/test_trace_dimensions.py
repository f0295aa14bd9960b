"""A trace finds the answers behind an estimate of every dimension that estimates can be cut by."""

from __future__ import annotations

import polars as pl
import pytest

from mpta_pipeline.core import tables
from mpta_pipeline.core.row_dimensions import NAMES, ROW_DIMENSIONS
from mpta_pipeline.core.storage import Layout, read_parquet, write_parquet
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compute_estimates
from mpta_pipeline.publication import warehouse
from tests.factories import stored_study as fab

MODEL, TASK = fab.MODELS[0], "values"
# Each dimension of the question with columns of items that half of the items, or of the answers, have.
OF_ITEMS = {"context_condition": "ambig", "context_level": "country", "story_country": "USA"}
OF_SCORES = ("category", "style", "framing", "elicitation")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, pl.DataFrame]:
    """A study with estimates of all dimensions of the question, each cutting its answers in two."""
    layout = fab.store(tmp_path_factory.mktemp("data"))
    paths = {name: layout.table(name, TASK) for name in ("items",)} | {"scores": layout.table("scores", MODEL, TASK)}
    items, scores = (read_parquet(paths[name]) for name in ("items", "scores"))
    items = items.with_columns(**{name: pl.lit(value) for name, value in OF_ITEMS.items()})
    halves = pl.col("respondent_id").str.slice(-1).cast(pl.Int64) % 2 == 0
    scores = scores.with_columns(
        pl.when(halves).then(pl.lit(f"{name} a")).otherwise(pl.lit(f"{name} b")).alias(name) for name in OF_SCORES
    )
    groups = fab.groups().with_columns(
        country=pl.when(pl.col("respondent_id").str.slice(-1).cast(pl.Int64) < 5)
        .then(pl.lit("USA"))
        .otherwise(pl.lit("MEX"))
    )
    write_parquet(tables.ITEMS.conform(items), paths["items"])
    write_parquet(tables.SCORES.conform(scores), paths["scores"])
    write_parquet(groups, layout.table("groups"))
    gold = tables.GOLD.empty()
    rules = EstimateRules(dimensions=(*NAMES, "sex×in_culture"), min_personas=1, bootstrap=50)
    estimates = compute_estimates(scores, groups, gold, rules=rules, items=items)
    write_parquet(estimates, layout.table("subgroup_metrics", MODEL, TASK))
    return layout, estimates


def test_all_dimensions_are_tried(stored: tuple[Layout, pl.DataFrame]) -> None:
    _, estimates = stored
    assert len(ROW_DIMENSIONS) == 9
    assert set(NAMES) <= set(estimates["dimensions"]), "every dimension has estimates"


@pytest.mark.parametrize("dimension", [*NAMES, "sex×in_culture"])
def test_a_trace_has_the_answers_that_the_estimate_counts(stored: tuple[Layout, pl.DataFrame], dimension: str) -> None:
    layout, estimates = stored
    rows = estimates.filter(
        metric="parse_rate", condition="persona", dimensions=dimension, baseline="", weighted=False
    ).filter(pl.col("subgroup") != "all")
    assert rows.height
    for row in rows.iter_rows(named=True):
        found = warehouse.trace(layout, row["estimate_id"]).frame
        assert found["respondent_id"].n_unique() == row["n_personas"], row["subgroup"]
        assert found["item_id"].n_unique() == row["n_items"], row["subgroup"]
