"""Define accuracy metrics: how often the answer equals the answer key or the person's own answer."""

from __future__ import annotations

import numpy as np
import polars as pl

from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import ONE_KEY, Units
from mpta_pipeline.metrics.statistics.arrays import Floats, ratio

_ANSWERED = ONE_KEY & (pl.col("n_orders") > pl.col("n_error"))


def _skill_features(units: Units) -> Floats:
    """Credit, credit of the most frequent answer, and ceiling, of the answers that have all three."""
    known = _ANSWERED & pl.col("item_mode").is_not_null() & pl.col("ceiling").is_not_null()
    frame = units.frame.select(
        *(pl.when(known).then(pl.col(c)).otherwise(0.0).alias(c) for c in ("credit", "item_mode", "ceiling")),
        known.cast(pl.Float64).alias("n"),
    )
    return frame.to_numpy()


def _skill(totals: Floats) -> tuple[Floats, Floats]:
    """Excess of the model's credit, and of the ceiling, over the most frequent answer's credit, per answer."""
    credit, mode, ceiling, n = np.moveaxis(totals, -1, 0)
    return ratio(credit - mode, n), ratio(ceiling - mode, n)


def _normalized_features(units: Units) -> Floats:
    """Credit and test–retest accuracy of the answers that have both."""
    known = _ANSWERED & pl.col("retest").is_not_null()
    frame = units.frame.select(
        *(pl.when(known).then(pl.col(c)).otherwise(0.0).alias(c) for c in ("credit", "retest")),
        known.cast(pl.Float64).alias("n"),
    )
    return frame.to_numpy()


def _normalized(totals: Floats) -> tuple[Floats, Floats]:
    return ratio(totals[..., 0], totals[..., 2]), ratio(totals[..., 1], totals[..., 2])


METRICS = (
    Metric(
        name="accuracy",
        definition="Share of items answered right after balancing the option orders: probabilities (picks if there "
        "are none) are averaged over the orders of an item, and the largest counts as the answer. Ties share the "
        "credit. Orders without a readable answer count as wrong. Always choosing the same position therefore scores "
        "at chance level. For survey tasks, the right answer is the person's own",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="orders averaged as in Zheng et al. 2023 (arXiv 2309.03882)",
        family="accuracy",
        chance="1/k, k options",
        value=pl.col("credit"),
        where=_ANSWERED,
        proportion=True,
        paired=True,
        gap=True,
        baselines={
            "chance": pl.col("chance"),
            "proportional": pl.col("proportional"),
            "item_mode": pl.col("item_mode"),
            "group_mode": pl.col("group_mode"),
            "ceiling": pl.col("ceiling"),
            "retest": pl.col("retest"),
        },
    ),
    Metric(
        name="accuracy_strict",
        label="accuracy of single answers",
        definition="Share of single answers that are right. Refused and unreadable replies count as wrong",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="own definition: no reply is dropped",
        family="accuracy_per_answer",
        chance="1/k, k options",
        value=pl.col("n_right"),
        count=pl.col("n_orders") - pl.col("n_error"),
        where=_ANSWERED,
        proportion=True,
        paired=True,
        gap=True,
        baselines={
            "chance": pl.col("chance"),
            "always_first": pl.col("gold_first"),
            "always_last": pl.col("gold_last"),
            "item_mode": pl.col("item_mode"),
        },
    ),
    Metric(
        name="accuracy_answered",
        label="accuracy of readable answers",
        definition="Share of readable answers that are right. Refused and unreadable replies are left out",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="own definition: no reply is dropped",
        family="accuracy_per_answer",
        chance="1/k, k options",
        value=pl.col("n_right"),
        count=pl.col("n_ok"),
        where=ONE_KEY & (pl.col("n_ok") > 0),
        proportion=True,
        baselines={"chance": pl.col("chance")},
    ),
    Metric(
        name="normalized_accuracy",
        definition="Accuracy over the share of people who repeat their own answer when asked twice, on the items for "
        "which figures.retest in study.yaml gives this share",
        unit="ratio",
        low=0.0,
        high=None,
        direction="higher",
        source="Park et al. 2024 (arXiv 2411.10109)",
        family="skill",
        chance="chance over the same share",
        features=_normalized_features,
        parts=_normalized,
        meaningless="people do not give their own answer again more often than never",
    ),
    Metric(
        name="skill",
        definition="Accuracy on a scale from that of the most frequent answer (0) to that of a model fitted on other "
        "respondents' visible traits (1), on the answers that have all three; null if that model does not beat the "
        "most frequent answer by more than its own noise",
        unit="ratio",
        low=None,
        high=None,
        direction="higher",
        source="own definition",
        family="skill",
        chance="below 0",
        features=_skill_features,
        parts=_skill,
        meaningless="traits foretell no better than the most frequent answer",
    ),
)
