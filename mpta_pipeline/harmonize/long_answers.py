"""The harmonized wave in long form: one row per answer or missing answer, with its native code and text."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.harmonize.recode import CODE_SUFFIX, MISSING_SUFFIX


def trait_columns(frame: pl.DataFrame | pl.LazyFrame) -> list[str]:
    """The harmonized columns of a frame, in its order."""
    names = frame.collect_schema().names()
    return [name.removesuffix(CODE_SUFFIX) for name in names if name.endswith(CODE_SUFFIX)]


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


def with_option(long: pl.LazyFrame, options: pl.DataFrame, fields: Mapping[str, str]) -> pl.LazyFrame:
    """Answers with fields of their options.

    The option is that of the native code, if the code means that answer. If the file numbers the answers differently
    from the crosswalk (7 is "never" in one release, "less often" in the next), it is the first option with the same
    value: the meaning of a code was decided when the wave was harmonized.

    Args:
        long: Frame with column, codebook, code and value (text).
        options: OPTIONS rows.
        fields: Name of a field of OPTIONS → name in the result; null if there is no option.
    """
    same = options.lazy().select(
        "column", "codebook", "code", "value", *(pl.col(f).alias(name) for f, name in fields.items())
    )
    first = (
        options.lazy()
        .sort("position", "code")
        .unique(["column", "codebook", "value"], keep="first", maintain_order=True)
        .select("column", "codebook", "value", *(pl.col(f).alias(f"{name} first") for f, name in fields.items()))
    )
    return (
        long.join(same, on=["column", "codebook", "code", "value"], how="left", maintain_order="left")
        .join(first, on=["column", "codebook", "value"], how="left", maintain_order="left")
        .with_columns(pl.coalesce(name, f"{name} first").alias(name) for name in fields.values())
        .drop(f"{name} first" for name in fields.values())
    )


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        return pl.col(name)
    number = pl.col(name)
    integral = number.cast(pl.Int64, strict=False)
    return pl.when(integral.cast(pl.Float64) == number).then(integral.cast(pl.String)).otherwise(number.cast(pl.String))
