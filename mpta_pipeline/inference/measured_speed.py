"""Measure how fast a model answered in earlier runs, with the range over blocks of responses."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from mpta_pipeline.inference.ledger import Ledger

LEAST = 20  # responses from which a speed is read
BLOCK = 25  # responses whose mean counts as one measurement of the range
LONGEST_PAUSE = 30.0  # seconds between two responses of one run, or
TIMES_MEDIAN = 20.0  # this many times the median; what takes longer lies between two runs
RANGE = (0.1, 0.9)  # quantiles of the blocks
FEW_BLOCKS = 4  # with fewer blocks the range is widened, because a machine's load changes between runs
WIDER = 1.5


@dataclass(frozen=True)
class Speed:
    """Seconds per request in earlier runs.

    Attributes:
        seconds: Mean.
        low: Seconds in a fast block of responses.
        high: Seconds in a slow one.
        prompt_tokens: Mean tokens of the prompts; null if the endpoint does not report them.
        responses: Responses that were measured.
    """

    seconds: float
    low: float
    high: float
    prompt_tokens: float | None
    responses: int


def measured_speed(ledger: Ledger, *, one_by_one: bool) -> Speed | None:
    """Return the speed of a model's earlier runs; None if its ledger has too few responses.

    Args:
        ledger: The model's ledger.
        one_by_one: Its requests are sent one after the other: the time from one to the next counts, which includes
            everything that a request takes. Otherwise the latency counts.
    """
    times = ledger.times().sort("asked_at")
    seconds = (pl.col("asked_at").diff() / 1000.0) if one_by_one else pl.col("latency")
    measured = times.with_columns(seconds.alias("seconds")).drop_nulls("seconds")
    if one_by_one and measured.height:
        median = measured["seconds"].median()
        assert isinstance(median, float)
        measured = measured.filter(pl.col("seconds") <= max(LONGEST_PAUSE, TIMES_MEDIAN * median))
    if measured.height < LEAST - 1:
        return None
    blocks = (
        measured.with_row_index("row")
        .group_by(pl.col("row") // BLOCK)
        .agg(pl.col("seconds").mean(), n=pl.len())
        .filter((pl.col("n") == BLOCK) | (pl.col("row") == 0))
    )
    mean, low, high, tokens = (
        *measured.select(pl.col("seconds").mean()).row(0),
        *blocks.select(*(pl.col("seconds").quantile(q, "linear").alias(str(q)) for q in RANGE)).row(0),
        measured.select(pl.col("prompt_tokens").mean()).item(),
    )
    wider = WIDER if blocks.height < FEW_BLOCKS else 1.0
    return Speed(mean, min(low, mean) / wider, max(high, mean) * wider, tokens, measured.height)
