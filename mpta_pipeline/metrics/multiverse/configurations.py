"""List the configurations of a multiverse, and count the requests of each."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mpta_pipeline.core.multiverse import Configuration, level_text
from mpta_pipeline.core.tables import CONFIGURATIONS, SPECIFICATION_CURVE


def configuration_frame(configurations: Sequence[Configuration]) -> pl.DataFrame:
    """One row per configuration: task, model, configuration, levels, over, asked_task, asked_model."""
    rows = [
        (
            c.task,
            c.model,
            c.name,
            [{"factor": factor, "level": level_text(level)} for factor, level in c.levels.items()],
            c.over,
            c.asked_task,
            c.asked_model,
        )
        for c in configurations
    ]
    names = ("task", "model", "configuration", "levels", "over", "asked_task", "asked_model")
    levels = SPECIFICATION_CURVE.schema["levels"]
    return pl.DataFrame(rows, schema={n: levels if n == "levels" else pl.String() for n in names}, orient="row")


def with_requests(configurations: Sequence[Configuration], asked: pl.DataFrame) -> pl.DataFrame:
    """CONFIGURATIONS: each with the number of its requests, and of those that nothing before it shares.

    Args:
        configurations: The configurations.
        asked: Different rows of model, task and request_hash, of the study's own tasks as well.
    """
    frame = configuration_frame(configurations).with_row_index("order")
    own = asked.join(frame, left_on=["model", "task"], right_on=["asked_model", "asked_task"], how="anti")
    of_each = frame.join(
        asked.rename({"model": "asked_model", "task": "asked_task"}), on=["asked_model", "asked_task"]
    ).select("order", "asked_model", "request_hash")
    # A ledger belongs to a model: equal requests of two models are two requests.
    known = own.select(pl.col("model").alias("asked_model"), "request_hash").unique()
    first = of_each.group_by("asked_model", "request_hash").agg(pl.col("order").min())
    new = first.join(known, on=["asked_model", "request_hash"], how="anti")
    for name, rows in (("requests", of_each), ("new_requests", new)):
        counts = rows.group_by("order").agg(pl.len().cast(pl.Int64).alias(name))
        frame = frame.join(counts, on="order", how="left", maintain_order="left").with_columns(
            pl.col(name).fill_null(0)
        )
    return CONFIGURATIONS.conform(frame.select(list(CONFIGURATIONS.schema)))
