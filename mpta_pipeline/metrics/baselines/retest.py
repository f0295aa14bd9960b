"""Compute how often people repeat their own answer, an upper bound for what predictions can achieve."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.storage import UNREADABLE

_SCHEMA = {"column": pl.String, "retest": pl.Float64, "n": pl.Int64}


def retest(first: pl.DataFrame, again: pl.DataFrame) -> pl.DataFrame:
    """Compute the share of people who give the same answer to a question in two interviews.

    Args:
        first: `person`, `column`, `value` of the first interview; optionally `weight`.
        again: `person`, `column`, `value` of the second interview of the same people.

    Returns:
        column, retest (0–1), n people with both answers, sorted by column.
    """
    both = first.join(again.select("person", "column", pl.col("value").alias("again")), on=["person", "column"])
    both = both.filter(pl.col("value").is_not_null() & pl.col("again").is_not_null())
    if "weight" not in both.columns:
        both = both.with_columns(pl.lit(1.0).alias("weight"))
    weight = pl.col("weight")
    same = (pl.col("value") == pl.col("again")).cast(pl.Float64)
    return (
        both.group_by("column")
        .agg(((same * weight).sum() / weight.sum()).alias("retest"), pl.len().cast(pl.Int64).alias("n"))
        .select(list(_SCHEMA))
        .sort("column")
    )


def read_retest(path: Path) -> pl.DataFrame:
    """Read a table of test–retest accuracies: CSV with `column` and `retest` (0–1), as `retest` returns it.

    Returns:
        column, retest.

    Raises:
        ConfigError: The file is missing, lacks a column, repeats a value of `column`, or has a value outside 0–1.
    """

    def wrong(problem: str, variable: str | None = None, value: object = None) -> ConfigError:
        return ConfigError(
            problem,
            file=path,
            variable=variable,
            value=value,
            remedy="give a CSV with column and retest, the share of people who answer alike twice; or "
            "remove figures.retest from study.yaml",
        )

    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, *UNREADABLE):
        raise wrong("The table of test–retest accuracies cannot be read") from None
    if absent := [c for c in ("column", "retest") if c not in table.columns]:
        raise wrong("The table of test–retest accuracies lacks a column", absent[0])
    share = pl.col("retest").cast(pl.Float64, strict=False)
    if (bad := table.filter(~share.is_between(0, 1).fill_null(False))).height:
        raise wrong("A test–retest accuracy is not between 0 and 1", str(bad.item(0, "column")), bad.item(0, "retest"))
    if (twice := table.filter(pl.col("column").is_duplicated())).height:
        raise wrong("A column has two test–retest accuracies", str(twice.item(0, "column")))
    return table.select("column", share)
