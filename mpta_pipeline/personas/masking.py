"""Masking: what a persona must not show when a given item is asked."""

from __future__ import annotations

import polars as pl


def masks(items: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """The columns to keep out of the persona text, for each item and dialect that it can be asked of.

    Hidden are the item's own column, every column made from the same native variable, and every column that shares a
    `reveals` group with the item (party, vote and left-right; age and birth year; …).

    Args:
        items: ITEMS rows.
        facts: `traits.column_facts`.

    Returns:
        item_id, dialect, masked (sorted list of columns; empty where nothing is to be hidden).
    """
    asked = items.select("item_id", "column", "reveals", pl.col("dialect").alias("item_dialect"))
    dialects = facts.select("dialect").unique()
    pairs = asked.join(dialects, how="cross").filter(
        pl.col("item_dialect").is_null() | (pl.col("item_dialect") == pl.col("dialect"))
    )
    columns = facts.select("dialect", pl.col("column").alias("other"), pl.col("reveals").alias("other_reveals"), "variables")
    own = columns.select("dialect", pl.col("other").alias("column"), pl.col("variables").alias("own_variables"))
    hidden = (
        pairs.join(own, on=["dialect", "column"], how="left")
        .join(columns, on="dialect")
        .filter(
            (pl.col("other") == pl.col("column")).fill_null(False)
            | (pl.col("reveals").list.set_intersection("other_reveals").list.len() > 0)
            | (pl.col("own_variables").list.set_intersection("variables").list.len() > 0).fill_null(False)
        )
        .group_by("item_id", "dialect")
        .agg(pl.col("other").unique().sort().alias("masked"))
    )
    return (
        pairs.select("item_id", "dialect")
        .join(hidden, on=["item_id", "dialect"], how="left")
        .with_columns(pl.col("masked").fill_null(pl.lit([], pl.List(pl.String))))
        .sort("item_id", "dialect")
    )
