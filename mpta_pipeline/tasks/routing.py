"""Route personas through a questionnaire: who is asked an item that has conditions."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.errors import TaskError


def routing(items: pl.DataFrame) -> pl.DataFrame:
    """The conditions of items: item_id, name (dimension of people) and values; none for most tasks."""
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "item_id": pl.String,
        "name": pl.String,
        "values": pl.List(pl.String),
    }
    if "asked_if" not in items.columns or items["asked_if"].null_count() == items.height:
        return pl.DataFrame(schema=schema)
    long = items.select("item_id", "asked_if").explode("asked_if").drop_nulls("asked_if")
    return long.unnest("asked_if").select(list(schema))


def routed(pairs: pl.DataFrame, routes: pl.DataFrame, groups: pl.DataFrame | None) -> pl.DataFrame:
    """Keep the pairs of persona and item whose conditions all hold. Without a value, a condition does not hold.

    Args:
        pairs: Rows with respondent_id and item_id.
        routes: Conditions (`routing`).
        groups: GROUPS.

    Raises:
        TaskError: A condition names a dimension that the study does not use.
    """
    if routes.is_empty():
        return pairs
    known = [] if groups is None else [c for c in groups.columns if c != "respondent_id"]
    for name, part in routes.group_by("name", maintain_order=True):
        if groups is None or name[0] not in known:
            raise TaskError(
                "A condition of the questionnaire names a dimension that the study does not use",
                variable="show_if",
                value=name[0],
                remedy=f"add {name[0]} to figures.dimensions or panel.strata of study.yaml (now: {', '.join(known)}), "
                "or correct the condition",
            )
        wanted = part.explode("values").select("item_id", pl.col("values").alias(str(name[0])))
        having = groups.select("respondent_id", str(name[0])).join(wanted, on=str(name[0]))
        named = pl.col("item_id").is_in(part["item_id"].unique().to_list())
        held = pairs.filter(named).join(
            having.select("respondent_id", "item_id").unique(), on=["respondent_id", "item_id"]
        )
        pairs = pl.concat([pairs.filter(~named), held.select(pairs.columns)])
    return pairs
