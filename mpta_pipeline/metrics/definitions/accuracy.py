"""How often the answer is the one that counts: the answer key, or the person's own."""

from __future__ import annotations

import numpy as np
import polars as pl

from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.statistics.arrays import Floats, ratio

# MC2 has several right options: its score is a mass, not a share of right picks.
_ONE_KEY = pl.col("scoring") != "probability_mass"
_ANSWERED = _ONE_KEY & (pl.col("n_orders") > pl.col("n_error"))


def _skill_features(units: Units) -> Floats:
    """Credit, mode's credit and ceiling of the answers that have all three."""
    known = _ANSWERED & pl.col("item_mode").is_not_null() & pl.col("ceiling").is_not_null()
    frame = units.frame.select(
        *(pl.when(known).then(pl.col(c)).otherwise(0.0).alias(c) for c in ("credit", "item_mode", "ceiling")),
        known.cast(pl.Float64).alias("n"),
    )
    return frame.to_numpy()


def _skill(totals: Floats) -> tuple[Floats, Floats]:
    """What the model's credit, and the ceiling, are above the mode's per answer."""
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
        definition="Share of items answered right after balancing the option orders: probabilities (or, where there "
        "are "
        "none, picks) are averaged over the orders of one item before the largest is taken; ties share the credit, "
        "orders without a readable answer count as wrong, so always naming one position comes out at chance. "
        "For survey tasks right means the person's own answer",
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
        definition="Share of single answers that are right; refused and unreadable replies count as wrong",
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
        definition="Share of readable answers that are right; says nothing about replies that were refused or "
        "unreadable",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="own definition: no reply is dropped",
        family="accuracy_per_answer",
        chance="1/k, k options",
        value=pl.col("n_right"),
        count=pl.col("n_ok"),
        where=_ONE_KEY & (pl.col("n_ok") > 0),
        proportion=True,
        baselines={"chance": pl.col("chance")},
    ),
    Metric(
        name="normalized_accuracy",
        definition="Accuracy over the share of people who give their own answer again when asked twice, on the items "
        "for which figures.retest of study.yaml names it; never assumed where it does not",
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
        definition="Accuracy between that of the most frequent answer (0) and that of a model fitted on other "
        "respondents' "
        "visible traits (1), on the answers that have all three; null where that model is not better than the most "
        "frequent answer by more than its own noise",
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
