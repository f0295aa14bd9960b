"""Define proper scoring rules of the model's probabilities for the options."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import LEAST_PROBABILITY, ONE_KEY

_K = 1 / pl.col("chance")


def _record(
    name: str, definition: str, source: str, *, high: float | None, uniform: str, baselines: dict[str, pl.Expr]
) -> Metric:
    return Metric(
        name=name,
        definition=f"{definition}; probabilities are averaged over the option orders, for answers that have any",
        unit="nats" if name == "log_score" else "score",
        low=0.0,
        high=high,
        direction="lower",
        source=source,
        family="probabilities",
        chance=uniform,
        value=pl.col(name),
        where=ONE_KEY & pl.col(name).is_not_null(),
        paired=True,
        gap=True,
        baselines=baselines,
    )


METRICS = (
    _record(
        "brier",
        "Brier score: squared distance between the probabilities and 1 at the key, 0 elsewhere",
        "Brier 1950",
        high=2.0,
        uniform="1 − 1/k",
        baselines={"chance": 1 - pl.col("chance")},
    ),
    _record(
        "log_score",
        f"Log score: −ln of the probability at the key, which counts as at least {LEAST_PROBABILITY}",
        "Good 1952",
        high=None,
        uniform="ln k",
        baselines={"chance": _K.log()},
    ),
    _record(
        "crps",
        "Continuous ranked probability score over the steps of the scale, divided by their number; equals mae_n for "
        "an answer with probability 1; ordinal items",
        "Epstein 1969, Gneiting and Raftery 2007",
        high=1.0,
        uniform="(2k − 1)/(6k) if the key is an end of the scale, smaller in its middle",
        baselines={},
    ),
)
