"""Measure, in conversations whose questions are in random order, what the order does to the answers.

Only questions whose order is drawn together (`shuffled_with`) are compared. Whatever they ask about, each of those that
came earlier is equally likely to be the one just before, and each is equally likely to be first or last. Without an
effect of the order, both measures are therefore 0 on average, however similar the questions are.
"""

from __future__ import annotations

import polars as pl

COLUMNS = {"pull": pl.Float64(), "turn_product": pl.Float64(), "turn_square": pl.Float64()}
_SET = ["conversation", "shuffled_with"]


def order_effects(scores: pl.DataFrame) -> pl.DataFrame:
    """What the order does to each answer.

    Args:
        scores: SCORES of one model and task.

    Returns:
        One row per row of `scores`, in their order. `pull`: mean distance on the scale to earlier answers but the one
        just before, minus the distance to that one; null unless the question just before has a place on a scale and
        is of the same set, and so is an earlier one. `turn_product` and `turn_square`: place on the scale, relative to
        the mean of the set's answers, × place in the order (first -.5, last .5), and the square of the latter; null for
        answers without a place on a scale, and for sets with a single one. All are null outside conversations.
    """
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items()]
    known = {"conversation", "shuffled_with", "turn"} <= set(scores.columns)
    if not known or scores["shuffled_with"].null_count() == scores.height:
        return scores.with_columns(absent).select(list(COLUMNS))
    rows = scores.select("conversation", "shuffled_with", "turn", "scale_place").with_row_index("row")
    asked = rows.drop_nulls("conversation").sort("conversation", "turn")
    asked = asked.with_columns(pl.int_range(pl.len()).over("conversation").alias("nth"))
    placed = asked.filter(pl.col("shuffled_with").is_not_null() & pl.col("scale_place").is_not_null())
    earlier = placed.select(*_SET, pl.col("nth").alias("earlier"), pl.col("scale_place").alias("place"))
    pairs = placed.join(earlier, on=_SET).filter(pl.col("earlier") < pl.col("nth"))
    distance = (pl.col("scale_place") - pl.col("place")).abs()
    before = pl.col("earlier") == pl.col("nth") - 1
    pulls = (
        pairs.group_by("row")
        .agg((distance.filter(~before).mean() - distance.filter(before).first()).alias("pull"))
    )  # fmt: skip
    m, rank = pl.len().over(_SET), pl.int_range(pl.len()).over(_SET)
    at = (rank / (m - 1) - 0.5).alias("at")
    slopes = placed.filter(pl.len().over(_SET) > 1).with_columns(at)
    deviation = pl.col("scale_place") - pl.col("scale_place").mean().over(_SET)
    slopes = slopes.select(
        "row", (deviation * pl.col("at")).alias("turn_product"), (pl.col("at") ** 2).alias("turn_square")
    )
    found = rows.select("row").join(pulls, on="row", how="left", maintain_order="left")
    return found.join(slopes, on="row", how="left", maintain_order="left").select(list(COLUMNS))
