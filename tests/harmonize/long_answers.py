"""The harmonized wave in long form, computed apart from the view `answers` of the warehouse."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.harmonize import trait_columns, with_option
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.harmonize.recode import CODE_SUFFIX, MISSING_SUFFIX


def answers_long(frame: pl.DataFrame | pl.LazyFrame, crosswalk: Crosswalk) -> pl.LazyFrame:
    """One row per respondent and column of the wave.

    Args:
        frame: A harmonized wave, or several of them.
        crosswalk: The crosswalk with which they were made.

    Returns:
        `respondent_id`, `wave`, `codebook`, `column`, `value` (numbers as text, integral ones without a point),
        `missing` (kind; null if answered), `code` (native) and `text`, the answer in a person's words: the option's
        text, else the value; null if missing. Rows with neither value nor kind (another wave's column) are left out.
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    parts = [
        lazy.select(
            "respondent_id",
            "wave",
            "codebook",
            pl.lit(name).alias("column"),
            _as_text(name, schema[name]).alias("value"),
            pl.col(name + MISSING_SUFFIX).alias("missing"),
            pl.col(name + CODE_SUFFIX).alias("code"),
        ).filter(pl.col("value").is_not_null() | pl.col("missing").is_not_null())
        for name in trait_columns(lazy)
    ]
    return (
        with_option(pl.concat(parts), crosswalk.options, {"text": "said"})
        .with_columns(text=pl.when(pl.col("missing").is_null()).then(pl.coalesce("said", "value")))
        .drop("said")
    )


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        return pl.col(name)
    number = pl.col(name)
    integral = number.cast(pl.Int64, strict=False)
    return pl.when(integral.cast(pl.Float64) == number).then(integral.cast(pl.String)).otherwise(number.cast(pl.String))
