"""Explain the table `power`, for the command and for the report."""

from __future__ import annotations

import numpy as np
import polars as pl

POCKET = "pocket"
MIN_CLUSTERS_TO_SPLIT = 8
"""With fewer batteries of questions, half of them are too few for an error: pockets are sought in half the people."""
_CELL = ["task", "survey", "what", "dimensions", "subgroup"]


def why_more_finds_less(power: pl.DataFrame) -> list[str]:
    """Say why more questions make a difference larger that must be there to be found, where they do; one sentence each.

    Args:
        power: POWER of any tasks.
    """
    rows = power.filter(people=1).select(*_CELL, "questions", "n_clusters", "detectable")
    now = rows.filter(questions=1).drop("questions")
    both = now.join(rows.filter(pl.col("questions") > 1), on=_CELL, suffix="_more").drop_nulls("detectable")
    larger = both.filter(pl.col("detectable_more").fill_null(np.inf) > pl.col("detectable"))
    said = []
    halved = larger.filter(
        (pl.col("what") == POCKET)
        & (pl.col("n_clusters") < MIN_CLUSTERS_TO_SPLIT)
        & (pl.col("n_clusters_more") >= MIN_CLUSTERS_TO_SPLIT)
    )
    if halved.height:
        said.append(
            f"From {MIN_CLUSTERS_TO_SPLIT} batteries of questions on, a pocket must be confirmed on other questions as "
            "well as on other people: the search halves both. This is a stronger claim and takes a larger pocket, so "
            "that somewhat more questions can find less."
        )
    if larger.filter(pl.col("n_clusters") == 1).height:
        said.append(
            "With one battery of questions, what is found holds for its questions alone; with several, for batteries "
            "like them, which takes more than two or three of them."
        )
    return said
