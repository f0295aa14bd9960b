"""Define metrics of whether replies can be read, and of how much answers depend on option positions."""

from __future__ import annotations

import numpy as np
import polars as pl

from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import N_REPLIES, Units
from mpta_pipeline.metrics.statistics.arrays import Floats, ratio


def _position_features(units: Units) -> Floats:
    """Picks of each position minus those expected under equal use of the positions shown, and the number of picks."""
    n_ok = units.positions.sum(axis=1)
    k = np.maximum(units.frame.get_column("k_options").to_numpy(), 1)
    even = (np.arange(units.positions.shape[1]) < k[:, None]) * (n_ok / k)[:, None]
    return np.column_stack([units.positions - even, n_ok])


def _position_tv(totals: Floats) -> Floats:
    return ratio(0.5 * np.abs(totals[..., :-1]).sum(axis=-1), totals[..., -1])


METRICS = (
    Metric(
        name="parse_rate",
        definition="Share of replies that name one of the options; failed requests are left out",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="own definition: no reply is dropped",
        family="replies",
        chance="none",
        value=pl.col("n_ok"),
        count=N_REPLIES,
        where=N_REPLIES > 0,
        proportion=True,
        paired=True,
        gap=True,
        keyless=True,
    ),
    Metric(
        name="refusal_rate",
        definition="Share of replies that refuse to answer; failed requests are left out",
        unit="share",
        low=0.0,
        high=1.0,
        direction="lower",
        source="own definition: no reply is dropped",
        family="replies",
        chance="none",
        value=pl.col("n_refused"),
        count=N_REPLIES,
        where=N_REPLIES > 0,
        proportion=True,
        paired=True,
        gap=True,
        keyless=True,
    ),
    Metric(
        name="condescension_rate",
        label="replies that speak down to the person",
        definition="Share of replies that speak down to the person, by fixed phrases; failed requests are left out",
        unit="share",
        low=0.0,
        high=1.0,
        direction="lower",
        source="Targeted Underperformance, AAAI 2026; phrases in mpta_pipeline/tasks/replies.yaml",
        family="replies",
        chance="none",
        value=pl.col("n_condescending"),
        count=N_REPLIES,
        where=N_REPLIES > 0,
        proportion=True,
        paired=True,
        gap=True,
        keyless=True,
    ),
    Metric(
        name="error_rate",
        definition="Share of requests that failed after all retries, so that there is no reply",
        unit="share",
        low=0.0,
        high=1.0,
        direction="lower",
        source="own definition: no reply is dropped",
        family="replies",
        chance="none",
        value=pl.col("n_error"),
        count=pl.col("n_orders"),
        proportion=True,
        keyless=True,
    ),
    Metric(
        name="order_flip_rate",
        definition="Probability that two option orders of the same prompt get different answers",
        unit="share",
        low=0.0,
        high=1.0,
        direction="lower",
        source="own definition",
        family="positions",
        chance="1 − 1/k for a model that answers at random",
        value=pl.col("order_flips"),
        where=pl.col("order_pairs") > 0,
        proportion=True,
        baselines={"chance": 1 - pl.col("chance")},
        keyless=True,
    ),
    Metric(
        name="position_tv",
        definition="Total variation between the positions picked and a uniform distribution over the positions shown",
        unit="distance",
        low=0.0,
        high=1.0,
        direction="lower",
        source="own definition",
        family="positions",
        chance="0, up to sampling",
        features=_position_features,
        statistic=_position_tv,
        keyless=True,
    ),
)
