"""Ids of figures and pockets: what is quoted must lead back to that very figure, or to what became of it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mpta_pipeline.core.hashing import hash_rows

FIGURE_KEY = ("model", "task", "survey", "metric", "condition", "dimensions", "subgroup")
POCKET_KEY = ("model", "task", "survey", "condition", "outcome", "dimensions", "subgroup")
# Digits of a figure that its id depends on: machines differ in the last bits of a sum.
DIGITS = 9


def figure_ids(figures: pl.DataFrame, study: str) -> pl.Series:
    """The id of each figure, as `mpta trace` takes it: `f_` and ten digits of a hash.

    It binds the study, the key, the weighting, the releases of the data and the figure itself: two studies never share
    one, nor do a weighted and an unweighted figure, and an id that was quoted never comes to mean another number.

    Args:
        figures: SUBGROUP_METRICS, without ids.
        study: Name of the study.
    """
    parts: Sequence[str | pl.Expr] = [
        pl.lit(study),
        *FIGURE_KEY,
        "weighted",
        pl.col("release_ids").list.join(","),
        pl.col("estimate").round(DIGITS),
        "n_answers",
    ]
    return ("f_" + hash_rows(figures, parts, key="figure of a study", length=10)).alias("figure_id")


def pocket_ids(pockets: pl.DataFrame, study: str) -> pl.Series:
    """The id of each pocket: `p_` and ten digits of a hash of study, key, difference and the number of answers."""
    parts: Sequence[str | pl.Expr] = [
        pl.lit(study), *POCKET_KEY, pl.col("difference").round(DIGITS), "n_answers"
    ]  # fmt: skip
    return ("p_" + hash_rows(pockets, parts, key="pocket of a study", length=10)).alias("pocket_id")


def figure_ids_by_key(figures: pl.DataFrame) -> pl.Series:
    """Ids as reports before version 0.2 had them, which bound the key alone."""
    return ("f_" + hash_rows(figures, list(FIGURE_KEY), key="figure", length=10)).alias("figure_id")
