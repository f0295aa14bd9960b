"""What items say about themselves beyond their text: context, bias of each option, place of each option."""

from __future__ import annotations

import polars as pl

COLUMNS: dict[str, pl.DataType] = {
    "context": pl.String(),
    "gold_bias": pl.Float64(),
    "places": pl.List(pl.Float64),
    "true_share": pl.Float64(),
    "story_country": pl.String(),
}


def with_facts(units: pl.DataFrame, items: pl.DataFrame | None) -> pl.DataFrame:
    """Add `context`, `gold_bias`, `places`, `true_share` and `story_country` to the answers; null without items.

    Args:
        units: Balanced answers.
        items: ITEMS, whose `metadata` may carry `context_condition` (ambig, disambig), `option_bias` (+1, −1 or 0 for
            each canonical option), `credit` (1 for each right option, where several are) and, of NormAd's stories,
            `country`.
    """
    if items is None:
        return units.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items())
    metadata = pl.col("metadata")
    facts = items.select(
        "item_id",
        metadata.str.json_path_match("$.context_condition").alias("context"),
        metadata.str.json_path_match("$.option_bias").str.json_decode(pl.List(pl.Float64)).alias("option_bias"),
        metadata.str.json_path_match("$.credit").str.json_decode(pl.List(pl.Float64)).list.mean().alias("true_share"),
        pl.col("option_scores").alias("places"),
        pl.when(pl.col("kind").str.starts_with("normad"))
        .then(metadata.str.json_path_match("$.country"))
        .alias("story_country"),
    )
    return (
        units.join(facts, on="item_id", how="left", maintain_order="left")
        .with_columns(pl.col("option_bias").list.get(pl.col("gold_idx"), null_on_oob=True).alias("gold_bias"))
        .drop("option_bias")
    )
