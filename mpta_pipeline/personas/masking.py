"""Mask traits: find what a persona must not show for a given item."""

from __future__ import annotations

import polars as pl

_IN_ARMS = "answers_in_arms"


def masks(items: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Find the columns to keep out of the persona text, per item and codebook whose personas can be asked.

    These are the item's own column, every column made from the same variable or with the same label (another wording
    of the same question), and every column that shares a `reveals` group with the item (party, vote and left-right;
    age and birth year; …). In an experiment with people's own answers, they are also the columns of these answers.

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
        (pl.col(_IN_ARMS) if _IN_ARMS in items.columns else pl.lit(None, pl.List(pl.String))).alias(_IN_ARMS),
        pl.col("codebook").alias("item_codebook"),
        pl.col("variables").alias("own_variables"),
        pl.col("label").alias("own_label"),
    )
    pairs = asked.join(shown.select("codebook").unique(), how="cross").filter(
        pl.col("item_codebook").is_null() | (pl.col("item_codebook") == pl.col("codebook"))
    )
    columns = shown.select(
        "codebook", pl.col("column").alias("other"), pl.col("reveals").alias("gives"), "variables", "label"
    )
    hidden = (
        pairs.filter(pl.col("column").is_not_null() | pl.col(_IN_ARMS).is_not_null())
        .join(columns, on="codebook")
        .filter(
            (pl.col("other") == pl.col("column")).fill_null(False)
            | pl.col("other").is_in(pl.col(_IN_ARMS)).fill_null(False)
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
