"""Plan conversations: which question comes when, which option order is shown, and what each turn follows.

A conversation is one persona (or none) under one condition, style, framing, wording and repeat, asked all its questions
one after the other. Its prompts hold the questions only. What the model has answered before is added when a turn is
sent (`turns.py`).
"""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import hash_rows, hash_uniform
from mpta_pipeline.core.study import TaskConfig

LEVELS = 3
"""Places of a question: of its block, of the question or battery in the block, of the statement in the battery."""
COLUMNS = ("conversation", "turn", "shuffled_with", "asked_after")
_CELL = ("task", "respondent_id", "condition", "style", "framing", "paraphrase_id", "repeat_id")


def are_conversations(items: pl.DataFrame) -> bool:
    """Whether the items are asked in one conversation."""
    return "sequence" in items.columns and items["sequence"].null_count() < items.height


def conversations_per_person(config: TaskConfig, shown: pl.DataFrame) -> int:
    """How many conversations differ in nothing but their option orders: `max_orders`, by default one.

    Args:
        config: The task's configuration.
        shown: Each item in each order, with n_orders.

    Raises:
        TaskError: An item has fewer orders.
    """
    most = int(config.options.get("max_orders", 1))
    several = shown.filter(pl.col("n_orders") > 1)["n_orders"]
    fewest = int(several.min() or 1)  # type: ignore[arg-type]
    if most > fewest:
        raise TaskError(
            "Each person would be asked more conversations than there are option orders",
            variable="options.max_orders",
            value=most,
            remedy=f"use at most {fewest}: the orders of the question that has fewest",
        )
    return most


def in_sequence(pairs: pl.DataFrame, items: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Number each persona's questions in the order in which they are asked.

    Units of the questionnaire whose order is random are ordered by hash of person and unit, so that the order stays
    when other persons or questions come or go. The twin without a persona is asked in the same order.

    Args:
        pairs: Which persona is asked which item.
        items: ITEMS with `sequence`.
        seed: The study's seed.

    Returns:
        The same rows with `turn`, `shuffled_with` and `asked_after`.
    """
    levels = [
        pl.col("sequence").list.get(level).struct.rename_fields([f"{n}{level}" for n in _OF_PLACE])
        for level in range(LEVELS)
    ]
    places = items.select("item_id", "asked_after", *(one.struct.unnest() for one in levels))
    frame = pairs.select("respondent_id", "item_id").join(places, on="item_id", maintain_order="left")
    order = []
    for level in range(LEVELS):
        drawn = hash_uniform(frame, ["respondent_id", f"unit{level}"], key=f"turn\x1f{seed}")
        place = pl.when(f"shuffled{level}").then(drawn).otherwise(pl.col(f"place{level}").cast(pl.Float64))
        order += [place.alias(f"order{level}"), pl.col(f"unit{level}").alias(f"tie{level}")]
    frame = frame.with_columns(order)
    by = [name for level in range(LEVELS) for name in (f"order{level}", f"tie{level}")]
    frame = frame.sort("respondent_id", *by, maintain_order=True).with_columns(
        pl.int_range(1, pl.len() + 1).over("respondent_id").cast(pl.Int64).alias("turn")
    )
    # Statements of a shuffled battery are exchangeable with each other, and so are single questions of such a block.
    battery, block, alone = pl.col("unit1"), pl.col("unit0"), pl.col("alone")
    frame = frame.with_columns((pl.col("unit2").n_unique().over("respondent_id", "unit1") == 1).alias("alone"))
    together = pl.when(~alone & pl.col("shuffled2")).then(battery).when(alone & pl.col("shuffled1")).then(block)
    told = frame.select("respondent_id", "item_id", "turn", together.alias("shuffled_with"), "asked_after")
    return pairs.join(told, on=["respondent_id", "item_id"], how="left", maintain_order="left")


_OF_PLACE = ("unit", "place", "shuffled")


def hidden_throughout(hidden: pl.DataFrame) -> pl.DataFrame:
    """Hide for all questions of a conversation what any of them hides, because they share the persona's text.

    Args:
        hidden: item_id, codebook, hidden and masked (`personas.masks`).
    """
    shared = hidden.group_by("codebook").agg(
        pl.col(name).explode().drop_nulls().unique().sort() for name in ("hidden", "masked")
    )
    return (
        hidden.drop("hidden", "masked")
        .join(shared, on="codebook", how="left", maintain_order="left", nulls_equal=True)
        .select(hidden.columns)
    )


def orders_of_conversations(asked: pl.LazyFrame, n: int, *, seed: int) -> pl.LazyFrame:
    """Choose the option order of each question: one per conversation, so that all scales run in one direction.

    Args:
        asked: Rows with respondent_id, order_id, n_orders and repeat_id: each question in each order.
        n: Conversations per person that differ in their orders.
        seed: The study's seed.

    Returns:
        The rows of `n` conversations per person and repeat, numbered by `repeat_id`.
    """
    people = asked.select("respondent_id").unique().collect()
    start = people.with_columns(
        hash_uniform(people, ["respondent_id"], key=f"conversation order\x1f{seed}").alias("start")
    )
    which = pl.LazyFrame({"which": range(n)}, schema={"which": pl.Int64})
    place = (pl.col("start") + pl.col("which") / n) % 1.0
    chosen = (place * pl.col("n_orders")).floor().cast(pl.Int64)
    return (
        asked.join(start.lazy(), on="respondent_id", how="left")
        .join(which, how="cross")
        .filter(pl.col("order_id") == chosen)
        .with_columns((pl.col("repeat_id") * n + pl.col("which")).alias("repeat_id"))
        .drop("start", "which")
    )


def as_turns(prompts: pl.DataFrame) -> pl.DataFrame:
    """Name the conversation of each prompt, and let its `user_hash` stand for all questions up to its own.

    Args:
        prompts: Prompts of one task; rows without `turn` stand alone and stay as they are.
    """
    prompts = prompts.with_columns(hash_rows(prompts, _CELL, key="conversation").alias("conversation"))
    prompts = prompts.with_columns(pl.when(pl.col("turn").is_not_null()).then("conversation").alias("conversation"))
    rows = prompts.with_row_index("row").filter(pl.col("turn").is_not_null()).sort("conversation", "turn")
    found = []
    before = pl.DataFrame(schema={"conversation": pl.String, "before": pl.String})
    rows = rows.with_columns(pl.int_range(pl.len()).over("conversation").alias("nth"))
    for (nth,), part in rows.select("row", "conversation", "nth", "user_hash").group_by("nth", maintain_order=True):
        told = part.sort("row").join(before, on="conversation", how="left", maintain_order="left")
        if nth:
            told = told.with_columns(hash_rows(told, ["before", "user_hash"], key="turn").alias("user_hash"))
        found.append(told.select("row", "user_hash"))
        before = told.select("conversation", pl.col("user_hash").alias("before"))
    if not found:
        return prompts
    made = pl.concat(found).rename({"user_hash": "of turns"})
    return (
        prompts.with_row_index("row")
        .join(made, on="row", how="left", maintain_order="left")
        .with_columns(pl.coalesce("of turns", "user_hash").alias("user_hash"))
        .drop("row", "of turns")
    )
