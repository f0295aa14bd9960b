"""Assignment: which persona is asked which items. Balanced over items, stable, and independent of row order."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.hashing import hash_uniform

# Items a persona may propose to before it takes its first choices regardless: all of a usual task, and of a long one
# enough that nearly everybody is placed.
_REACH = 64


def balanced_blocks(pairs: pl.DataFrame, size: int, *, seed: int, by: str = "survey") -> pl.DataFrame:
    """Choose `size` items for each persona so that within each survey every item is asked about equally often.

    Deferred acceptance (Gale and Shapley 1962): each persona ranks its items by keyed hash, each item ranks personas
    by another, and an item holds its equal share. The outcome is unique whatever the order of rows, and where
    a persona comes or goes only short chains of others change. Where eligibility (split ballots, missing answers)
    leaves a persona short of `size`, it takes its first choices beyond the shares.

    Args:
        pairs: One row an eligible persona × item, with persona_id, item_id and the `by` column.
        size: Items a persona, fewer where it has fewer eligible ones.
        seed: The study's seed.
        by: Groups within which items are balanced.

    Returns:
        The chosen rows of `pairs`.
    """
    frame = pairs.select("persona_id", "item_id", by)
    frame = frame.with_columns(hash_uniform(frame, ["persona_id", "item_id"], key=f"wish\x1f{seed}").alias("wish"))
    frame = frame.with_columns(pl.col("wish").rank("ordinal").over("persona_id").alias("choice"))
    demand = frame.group_by(by, "persona_id").agg(pl.len().clip(upper_bound=size).alias("n"))
    demand = demand.group_by(by).agg(pl.col("n").sum().cast(pl.Int64).alias("demand"))
    share = frame.select(by, "item_id").unique().join(demand, on=by)
    share = share.with_columns(hash_uniform(share, [by, "item_id"], key=f"share\x1f{seed}").alias("tie"))
    # Shares are whole and sum to the demand: the items with the lowest hashes take one more.
    n_items, place = pl.len().over(by), pl.col("tie").rank("ordinal").over(by)
    one_more = (place <= pl.col("demand") % n_items).cast(pl.Int64)
    share = share.select(by, "item_id", (pl.col("demand") // n_items + one_more).alias("share"))
    reach = max(_REACH, 4 * size)
    near = frame.filter(pl.col("choice") <= reach).join(share, on=[by, "item_id"])
    near = near.with_columns(
        hash_uniform(near, ["item_id", "persona_id"], key=f"rank\x1f{seed}").alias("rank"),
        pl.lit("free").alias("state"),
    ).sort("persona_id", "choice")
    held = pl.col("state") == "held"
    while True:
        n_held = held.sum().over("persona_id")
        free = pl.col("state") == "free"
        turn = free.cum_sum().over("persona_id")
        proposes = free & (turn <= size - n_held)
        if not near.select(proposes.any()).item():
            break
        near = near.with_columns(pl.when(proposes).then(pl.lit("held")).otherwise("state").alias("state"))
        over = near.filter(held).filter(pl.col("rank").rank("ordinal").over(by, "item_id") > pl.col("share"))
        near = near.join(
            over.select("persona_id", "item_id", pl.lit(True).alias("out")),
            on=["persona_id", "item_id"],
            how="left",
            maintain_order="left",
        )
        near = near.with_columns(pl.when("out").then(pl.lit("full")).otherwise("state").alias("state")).drop("out")
    placed = near.filter(held).select("persona_id", "item_id", pl.lit(0.0).alias("order"))
    # `wish` below 1 orders the rest behind those placed.
    rest = frame.join(placed, on=["persona_id", "item_id"], how="anti").select(
        "persona_id", "item_id", (1 + pl.col("wish")).alias("order")
    )
    chosen = pl.concat([placed, rest]).filter(
        pl.col("order").rank("ordinal").over("persona_id", order_by=["order", "item_id"]) <= size
    )
    return pairs.join(chosen.select("persona_id", "item_id"), on=["persona_id", "item_id"], how="semi")


def sweep(pairs: pl.DataFrame, size: int, *, seed: int, by: str = "survey") -> pl.DataFrame:
    """Ask each item of `size` personas of each survey, those with the lowest keyed hash."""
    chosen = pairs.with_columns(hash_uniform(pairs, ["item_id", "persona_id"], key=f"sweep\x1f{seed}").alias("rank"))
    return chosen.filter(pl.col("rank").rank("ordinal").over(by, "item_id") <= size).drop("rank")
