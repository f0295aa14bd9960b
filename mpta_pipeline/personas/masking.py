"""Mask traits: find what a persona must not show for a given item."""

from __future__ import annotations

import polars as pl

_ALSO = ("hides", "answers_in_arms")
"""Columns of ITEMS that list further columns to hide."""


def masks(items: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Find the columns to keep out of the persona text, per item and codebook whose personas can be asked.

    These are the item's own column, every column made from the same variable or with the same label (another wording
    of the same question), and every column that shares a `reveals` group with the item (party, vote and left-right;
    age and birth year; …). An item without a column of its own hides only what it lists (`hides`), and what shares a
    `reveals` group with that. In an experiment with people's own answers, the columns of these answers are hidden, too.

    Args:
        items: ITEMS rows.
        shown: codebook, column, label, variables (list), reveals (list) of all columns that a persona may show.

    Returns:
        item_id, codebook, hidden (those that a persona could show, sorted; texts depend on them), masked (hidden and
        the item's own column, for the record).
    """
    asked = items.select(
        "item_id",
        "column",
        "reveals",
        pl.col("codebook").alias("item_codebook"),
        pl.col("variables").alias("own_variables"),
        pl.col("label").alias("own_label"),
        pl.concat_list(pl.col(name).fill_null([]) for name in _ALSO if name in items.columns).alias("also")
        if any(name in items.columns for name in _ALSO)
        else pl.lit([], pl.List(pl.String)).alias("also"),
    )
    pairs = asked.join(shown.select("codebook").unique(), how="cross").filter(
        pl.col("item_codebook").is_null() | (pl.col("item_codebook") == pl.col("codebook"))
    )
    columns = shown.select(
        "codebook", pl.col("column").alias("other"), pl.col("reveals").alias("gives"), "variables", "label"
    )
    hidden = (
        pairs.filter(pl.col("column").is_not_null() | (pl.col("also").list.len() > 0))
        .join(columns, on="codebook")
        .filter(
            (pl.col("other") == pl.col("column")).fill_null(False)
            | pl.col("other").is_in(pl.col("also"))
            | (pl.col("label") == pl.col("own_label")).fill_null(False)
            | (pl.col("reveals").list.set_intersection("gives").list.len() > 0)
            | (pl.col("own_variables").list.set_intersection("variables").list.len() > 0).fill_null(False)
        )
        .group_by("item_id", "codebook")
        .agg(pl.col("other").unique().sort().alias("hidden"))
    )
    nothing = pl.lit([], pl.List(pl.String))
    own_column = pl.when(pl.col("column").is_null()).then(nothing).otherwise(pl.concat_list("column"))
    return (
        pairs.select("item_id", "codebook", "column")
        .join(hidden, on=["item_id", "codebook"], how="left")
        .with_columns(pl.col("hidden").fill_null(nothing))
        .select(
            "item_id", "codebook", "hidden", pl.col("hidden").list.set_union(own_column).list.sort().alias("masked")
        )
        .sort("item_id", "codebook")
    )
