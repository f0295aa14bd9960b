"""Compute the ids of estimates and pockets, so that a cited number leads back to its row or to its replacement."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mpta_pipeline.core.hashing import hash_rows

ESTIMATE_KEY = ("model", "task", "survey", "metric", "condition", "dimensions", "subgroup")
POCKET_KEY = ("model", "task", "survey", "condition", "outcome", "dimensions", "subgroup")
# Decimals of the value that enter an id. Machines differ in the last bits of a sum.
DIGITS = 9


def estimate_ids(estimates: pl.DataFrame, study: str) -> pl.Series:
    """The id of each estimate, as `mpta trace` takes it: `f_` and ten digits of a hash.

    The hash covers the study, the key, the weighting, the releases of the data and the value itself. Two studies never
    share an id, a weighted and an unweighted estimate have different ids, and a cited id never comes to mean another
    number. The prefix and the key text of the hash date from when estimates were called figures: ids must not change.

    Args:
        estimates: SUBGROUP_METRICS, without ids.
        study: Name of the study.
    """
    parts: Sequence[str | pl.Expr] = [
        pl.lit(study),
        *ESTIMATE_KEY,
        "weighted",
        pl.col("release_ids").list.join(","),
        pl.col("estimate").round(DIGITS),
        "n_answers",
    ]
    return ("f_" + hash_rows(estimates, parts, key="figure of a study", length=10)).alias("estimate_id")


def pocket_ids(pockets: pl.DataFrame, study: str) -> pl.Series:
    """The id of each pocket: `p_` and ten digits of a hash of study, key, difference and the number of answers."""
    parts: Sequence[str | pl.Expr] = [
        pl.lit(study), *POCKET_KEY, pl.col("difference").round(DIGITS), "n_answers"
    ]  # fmt: skip
    return ("p_" + hash_rows(pockets, parts, key="pocket of a study", length=10)).alias("pocket_id")


def estimate_ids_by_key(estimates: pl.DataFrame) -> pl.Series:
    """The ids that reports before version 0.2 showed: a hash of the key alone."""
    return ("f_" + hash_rows(estimates, list(ESTIMATE_KEY), key="figure", length=10)).alias("estimate_id")
