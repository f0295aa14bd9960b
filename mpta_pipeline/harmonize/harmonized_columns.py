"""The columns of a harmonized wave, and what the options say about their answers."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mpta_pipeline.harmonize.recode import CODE_SUFFIX


def trait_columns(frame: pl.DataFrame | pl.LazyFrame) -> list[str]:
    """The harmonized columns of a frame, in its order."""
    names = frame.collect_schema().names()
    return [name.removesuffix(CODE_SUFFIX) for name in names if name.endswith(CODE_SUFFIX)]


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
