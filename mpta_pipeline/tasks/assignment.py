"""Assign items to personas: balanced over items, stable, and independent of row order."""

from __future__ import annotations

from heapq import heappush, heappushpop

import polars as pl

from mpta_pipeline.core.hashing import hash_uniform

# Items that a persona may propose to before it takes its first choices regardless: all items of a usual task, and
# enough of a long task that nearly every persona is placed.
_REACH = 64


def balanced_blocks(pairs: pl.DataFrame, size: int, *, seed: int, by: str = "survey") -> pl.DataFrame:
    """Choose `size` items for each persona so that within each survey every item is asked about equally often.

    Deferred acceptance (Gale and Shapley 1962): each persona ranks its items by one keyed hash, each item ranks
    personas by another, and an item accepts its equal share. The outcome does not depend on the order of rows, and
    only short chains of others change if a persona comes or goes. A persona that eligibility (split ballots, missing
    answers) leaves with fewer than `size` items takes its first choices beyond the shares.

    Args:
        pairs: One row per eligible persona × item, with respondent_id, item_id and the `by` column.
        size: Items per persona; fewer if it has fewer eligible ones.
        seed: The study's seed.
        by: Groups within which items are balanced.

    Returns:
        The chosen rows of `pairs`.
    """
    frame = pairs.select("respondent_id", "item_id", by)
    frame = frame.with_columns(hash_uniform(frame, ["respondent_id", "item_id"], key=f"wish\x1f{seed}").alias("wish"))
    frame = frame.with_columns(pl.col("wish").rank("ordinal").over("respondent_id").alias("choice"))
    demand = frame.group_by(by, "respondent_id").agg(pl.len().clip(upper_bound=size).alias("n"))
    demand = demand.group_by(by).agg(pl.col("n").sum().cast(pl.Int64).alias("demand"))
    share = frame.select(by, "item_id").unique().join(demand, on=by)
    share = share.with_columns(hash_uniform(share, [by, "item_id"], key=f"share\x1f{seed}").alias("tie"))
    # Shares are whole numbers that sum to the demand: the items with the lowest hashes take one more.
    n_items, place = pl.len().over(by), pl.col("tie").rank("ordinal").over(by)
    one_more = (place <= pl.col("demand") % n_items).cast(pl.Int64)
    share = share.select(by, "item_id", (pl.col("demand") // n_items + one_more).alias("share"))
    reach = max(_REACH, 4 * size)
    near = frame.filter(pl.col("choice") <= reach).join(share, on=[by, "item_id"])
    near = near.with_columns(
        hash_uniform(near, ["item_id", "respondent_id"], key=f"rank\x1f{seed}").alias("rank"),
        pl.col("respondent_id").rank("dense").alias("persona") - 1,
        pl.struct(by, "item_id").rank("dense").alias("item") - 1,
    ).sort("persona", "choice")
    held = _match(
        near["persona"].to_list(), near["item"].to_list(), near["rank"].to_list(), near["share"].to_list(), size
    )
    placed = near.filter(pl.Series(held)).select("respondent_id", "item_id", pl.lit(0.0).alias("order"))
    # `wish` is below 1, so the others follow those that are placed.
    rest = frame.join(placed, on=["respondent_id", "item_id"], how="anti").select(
        "respondent_id", "item_id", (1 + pl.col("wish")).alias("order")
    )
    chosen = pl.concat([placed, rest]).filter(
        pl.col("order").rank("ordinal").over("respondent_id", order_by=["order", "item_id"]) <= size
    )
    return pairs.join(chosen.select("respondent_id", "item_id"), on=["respondent_id", "item_id"], how="semi")


def _match(personas: list[int], items: list[int], ranks: list[float], shares: list[int], size: int) -> list[bool]:
    """Which pairs are matched; pairs are sorted by persona and then by its preference.

    Deferred acceptance is sequential, hence a loop; it takes a microsecond per proposal.
    """
    start: dict[int, int] = {}
    for place, persona in enumerate(personas):
        start.setdefault(persona, place)
    turn = dict(start)
    open_ = [persona for persona in start for _ in range(size)]
    holds: dict[int, list[tuple[float, int]]] = {}
    while open_:
        persona = open_.pop()
        while (place := turn[persona]) < len(personas) and personas[place] == persona:
            turn[persona] = place + 1
            queue = holds.setdefault(items[place], [])
            if len(queue) < shares[place]:
                heappush(queue, (-ranks[place], place))
                break
            if queue and -ranks[place] > queue[0][0]:
                _, rejected = heappushpop(queue, (-ranks[place], place))
                open_.append(personas[rejected])
                break
    held = [False] * len(personas)
    for queue in holds.values():
        for _, place in queue:
            held[place] = True
    return held


def sweep(pairs: pl.DataFrame, size: int, *, seed: int, by: str = "survey") -> pl.DataFrame:
    """Ask each item of `size` personas of each survey, those with the lowest keyed hash."""
    chosen = pairs.with_columns(hash_uniform(pairs, ["item_id", "respondent_id"], key=f"sweep\x1f{seed}").alias("rank"))
    return chosen.filter(pl.col("rank").rank("ordinal").over(by, "item_id") <= size).drop("rank")
