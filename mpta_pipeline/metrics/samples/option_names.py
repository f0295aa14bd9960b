"""Find the option that an answer names: by text, letter or number."""

from __future__ import annotations

import polars as pl

# A letter or number alone: "B", "(b)", "1.", and "1.0", as tables with missing values write whole numbers.
BARE = r"^\(?([a-z]|\d{1,3})(?:\.0+)?\)?[.:)]?$"
# A letter or number before the option's text: "B) no", "(2) no", "B: no".
LABELLED = r"^[(\[]?(?:[a-z]|\d{1,3})[)\].:]\s*(\S.*)$"


def tidy(text: pl.Expr) -> pl.Expr:
    """Lower case, single spaces, no surrounding space or quotes, no final full stop; a whole number without ".0"."""
    return (
        text.str.to_lowercase()
        .str.replace_all(r"\s+", " ")
        .str.strip_chars(" \"'“”‘’*`")
        .str.strip_suffix(".")
        .str.strip_chars()
        .str.replace(r"^([+-]?\d+)\.0+$", "$1")
    )


def read_names(rows: pl.DataFrame, options: pl.DataFrame) -> pl.DataFrame:
    """Read each answer in every possible way: as text, as a letter and as a number.

    Args:
        rows: `item_id` and `answer`.
        options: `item_id` and `options`, one row per item.

    Returns:
        One row per input row, in order: `by_text` (canonical index of the only option with this text), `letter` (index
        from the letter) and `number` (the number as written, counted from 0 or from 1), each null if it does not
        apply, and `k`. An answer that is an option's text, with or without its letter or number, has `by_text`.
        Options that are numbers or letters themselves (codes of a scale) are identified by their text alone.
    """
    keyed = rows.select("item_id", pl.col("answer").cast(pl.String))
    pairs = keyed.unique(maintain_order=True).drop_nulls("answer")
    pairs = pairs.join(options.select("item_id", "options"), on="item_id", how="left", maintain_order="left")
    said = tidy(pl.col("answer"))
    pairs = pairs.with_row_index("pair").with_columns(
        said.alias("said"),
        said.str.extract(LABELLED, 1).alias("after_label"),
        pl.col("options").list.len().cast(pl.Int64).alias("k"),
    )
    long = (
        pairs.select("pair", "said", "after_label", "options", pl.int_ranges(pl.col("options").list.len()).alias("at"))
        .explode("options", "at")
        .with_columns(tidy(pl.col("options")).alias("option"))
    )
    found = long.group_by("pair").agg(
        pl.col("option").str.contains(r"^([+-]?\d+|[a-z])$").all().alias("coded"),
        *(
            pl.when((pl.col("option") == pl.col(name)).sum() == 1)
            .then(pl.col("at").filter(pl.col("option") == pl.col(name)).first())
            .cast(pl.Int64)
            .alias(f"by_{name}")
            for name in ("said", "after_label")
        ),
    )
    bare = pl.col("said").str.extract(BARE, 1)
    plain = ~pl.col("coded").fill_null(False)
    named = pairs.join(found, on="pair", how="left", maintain_order="left").with_columns(
        pl.coalesce("by_said", "by_after_label").alias("by_text")
    )
    alone = plain & pl.col("by_text").is_null()
    named = named.select(
        "item_id",
        "answer",
        "by_text",
        pl.when(alone & bare.str.contains("^[a-z]$"))
        .then(bare.str.to_integer(base=36, strict=False).cast(pl.Int64) - 10)
        .alias("letter"),
        pl.when(alone & bare.str.contains(r"^\d+$"))
        .then(bare.str.to_integer(strict=False).cast(pl.Int64))
        .alias("number"),
        "k",
    )
    return keyed.join(named, on=["item_id", "answer"], how="left", maintain_order="left").select(
        "by_text", "letter", "number", "k"
    )
