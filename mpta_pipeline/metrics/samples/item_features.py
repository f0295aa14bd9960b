"""Add item features to the answers: context, bias of each option, position of each option on the scale."""

from __future__ import annotations

import numpy as np
import polars as pl

from mpta_pipeline.core import row_dimensions
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.samples.compact import CompactFrame

COLUMNS: dict[str, pl.DataType] = {
    "context": pl.String(),
    "gold_bias": pl.Float64(),
    "targeted": pl.Boolean(),
    "one_group": pl.Boolean(),
    "places": pl.List(pl.Float64),
    "true_share": pl.Float64(),
    "story_country": pl.String(),
    "story_zone": pl.String(),
    "context_level": pl.String(),
    "retest": pl.Float64(),
}


def with_facts(units: Units, items: pl.DataFrame | None, retest: pl.DataFrame | None = None) -> pl.DataFrame:
    """Add the columns of `COLUMNS` to the answers; null without items.

    `targeted`: an option of the item goes with or against a stereotype; `one_group`: two of them in the same direction.
    If options have a bias, `n_biased`, `n_counter` and `n_unknown` are recounted, so that tied answers are split.

    Args:
        units: Balanced answers.
        items: ITEMS.
        retest: column and retest accuracy, for items about a `column`.
    """
    assert isinstance(units.frame, pl.DataFrame)
    if items is None:
        return units.frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items())
    facts = items.select(
        "item_id",
        "column",
        pl.col("option_bias").cast(pl.List(pl.Float64)),
        pl.col("option_credit").list.mean().alias("true_share"),
        pl.col("option_scores").alias("places"),
        "story_country",
        *row_dimensions.values("items"),
    )
    again = pl.DataFrame(schema={"column": pl.String, "retest": pl.Float64}) if retest is None else retest
    facts = facts.join(again.select("column", "retest"), on="column", how="left").drop("column")
    bias = pl.col("option_bias")
    made = units.frame.join(facts, on="item_id", how="left", maintain_order="left").with_columns(
        bias.list.get(pl.col("gold_idx"), null_on_oob=True).alias("gold_bias"),
        bias.list.eval(pl.element().abs() == 1).list.any().alias("targeted"),
        ((bias.list.count_matches(1.0) > 1) | (bias.list.count_matches(-1.0) > 1)).alias("one_group"),
    )
    return made.with_columns(_votes_by_bias(units, made.get_column("option_bias"))).drop("option_bias")


def with_places(units: CompactFrame, items: pl.DataFrame | None) -> CompactFrame:
    """Add `places` to answers without it, stored once per item."""
    if items is None:
        return units.with_columns(pl.Series("places", [None], COLUMNS["places"]).new_from_index(0, units.height))
    return units.looked_up("item_id", items.select("item_id", pl.col("option_scores").alias("places")))


def _votes_by_bias(units: Units, option_bias: pl.Series) -> list[pl.Series]:
    """Count votes with, against and without the stereotype. Counts stay unchanged if the options have no bias."""
    known = option_bias.is_not_null().to_numpy()
    if not known.any():
        return []
    width = units.votes.shape[1]
    bias = np.full((len(option_bias), width), np.nan)
    for option in range(width):
        bias[:, option] = option_bias.list.get(option, null_on_oob=True).fill_null(np.nan).to_numpy()
    return [
        pl.Series(
            name,
            np.where(known, (units.votes * (bias == sign)).sum(axis=1), units.frame.get_column(name).to_numpy()),
        )
        for name, sign in (("n_biased", 1.0), ("n_counter", -1.0), ("n_unknown", 0.0))
    ]
