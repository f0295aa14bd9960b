"""What items say about themselves beyond their text: context, bias of each option, place of each option."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.zones import ZONES

COLUMNS: dict[str, pl.DataType] = {
    "context": pl.String(),
    "gold_bias": pl.Float64(),
    "places": pl.List(pl.Float64),
    "true_share": pl.Float64(),
    "story_country": pl.String(),
    "story_zone": pl.String(),
    "context_level": pl.String(),
    "retest": pl.Float64(),
}


def with_facts(units: pl.DataFrame, items: pl.DataFrame | None, retest: pl.DataFrame | None = None) -> pl.DataFrame:
    """Add the columns of `COLUMNS` to the answers; null without items.

    Args:
        units: Balanced answers.
        items: ITEMS, whose `metadata` may carry `context_condition` (ambig, disambig), `option_bias` (+1, −1 or 0 for
            each canonical option), `credit` (1 for each right option, where several are) and, of NormAd's stories,
            `country` and `context_level`.
        retest: column and retest accuracy, for items about a `column`.
    """
    if items is None:
        return units.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items())
    metadata = pl.col("metadata")
    facts = items.select(
        "item_id",
        "column",
        metadata.str.json_path_match("$.context_condition").alias("context"),
        metadata.str.json_path_match("$.option_bias").str.json_decode(pl.List(pl.Float64)).alias("option_bias"),
        metadata.str.json_path_match("$.credit").str.json_decode(pl.List(pl.Float64)).list.mean().alias("true_share"),
        pl.col("option_scores").alias("places"),
        pl.when(pl.col("kind").str.starts_with("normad"))
        .then(metadata.str.json_path_match("$.country"))
        .alias("story_country"),
        metadata.str.json_path_match("$.context_level").alias("context_level"),
    ).with_columns(
        pl.col("story_country").replace_strict(ZONES, default=None, return_dtype=pl.String).alias("story_zone")
    )
    again = pl.DataFrame(schema={"column": pl.String, "retest": pl.Float64}) if retest is None else retest
    facts = facts.join(again.select("column", "retest"), on="column", how="left").drop("column")
    return (
        units.join(facts, on="item_id", how="left", maintain_order="left")
        .with_columns(pl.col("option_bias").list.get(pl.col("gold_idx"), null_on_oob=True).alias("gold_bias"))
        .drop("option_bias")
    )
