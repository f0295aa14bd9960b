"""Define NormAd metrics: is a story's behaviour acceptable in its country? Labels in order: yes, no, neither."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from mpta_pipeline.core.cultural_zones import ZONES
from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.statistics.arrays import Floats, difference_of_ratios, ratio

_NORMAD = (pl.col("answer_set") == "acceptability").fill_null(False)
_LABELS = 3


def _label_features(units: Units) -> Floats:
    """Counts of right, given and correct answers per label (9 columns), over all stories."""
    frame = units.frame
    of_kind = frame.select(_NORMAD & (pl.col("n_ok") > 0)).to_series().to_numpy()
    if not of_kind.any():
        return np.zeros((frame.height, 3 * _LABELS))
    answer = units.answer[:, :_LABELS]
    due = (frame.get_column("gold_idx").to_numpy()[:, None] == np.arange(_LABELS)).astype(float)
    return np.asarray(np.hstack([answer * due, answer, due]) * of_kind[:, None])


def _macro_f1(totals: Floats) -> Floats:
    right, answered, due = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, _LABELS), -2, 0)
    each = ratio(2 * right, answered + due)
    known = np.isfinite(each)
    return ratio(np.where(known, each, 0.0).sum(axis=-1), known.sum(axis=-1).astype(float))


def _recall(label: int, totals: Floats) -> Floats:
    return ratio(totals[..., label], totals[..., 2 * _LABELS + label])


def _zone_features(units: Units) -> Floats:
    """Credit and stories of each zone (2 × zones columns), in the zones' order."""
    names = sorted(set(ZONES.values()))
    frame = units.frame
    zone = frame.get_column("story_zone").cast(pl.Enum(names)).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    used = frame.select(_NORMAD & (pl.col("n_orders") > pl.col("n_error"))).to_series().to_numpy()
    row = np.flatnonzero(used & (zone >= 0))
    credit = frame.get_column("credit").to_numpy()[row]
    out = np.zeros((frame.height, 2 * len(names)))
    out[row, zone[row]], out[row, len(names) + zone[row]] = credit, 1.0
    return out


def _zone_gap(totals: Floats) -> Floats:
    """Largest minus smallest accuracy of the zones that have stories; nan with fewer than two zones."""
    credit, n = np.moveaxis(totals.reshape(*totals.shape[:-1], 2, -1), -2, 0)
    known = n > 0
    each = ratio(credit, n)
    gap = np.where(known, each, -np.inf).max(axis=-1) - np.where(known, each, np.inf).min(axis=-1)
    return np.asarray(np.where(known.sum(axis=-1) > 1, gap, np.nan))


def _adaptability_features(units: Units) -> Floats:
    """Credit and stories with the rule of thumb, and with the country alone."""
    used = _NORMAD & (pl.col("n_orders") > pl.col("n_error"))
    return units.frame.select(
        pl.when(used & (pl.col("context_level") == level)).then(value).fill_null(0.0).alias(f"{level} {i}")
        for level in ("rule_of_thumb", "country")
        for i, value in enumerate((pl.col("credit"), pl.lit(1.0)))
    ).to_numpy()


METRICS = (
    Metric(
        name="zone_gap",
        definition="Accuracy in the cultural zone with the highest minus that in the zone with the lowest, by the "
        "country of the story. It grows with the zones' errors: read it together with the zones' own intervals "
        "(dimension story_zone)",
        unit="difference of shares",
        low=0.0,
        high=1.0,
        direction="lower",
        source="NormAd's get_cultural_bin_differences.py",
        family="normad",
        chance="above 0, the more the fewer stories",
        features=_zone_features,
        statistic=_zone_gap,
    ),
    Metric(
        name="adaptability",
        definition="Accuracy with the rule of thumb minus accuracy with the country alone: how much knowing the norm "
        "helps the model. The task needs both contexts (options: {context: [rule_of_thumb, country]})",
        unit="difference of shares",
        low=-1.0,
        high=1.0,
        direction="none",
        source="own definition, on NormAd's levels of context",
        family="normad",
        chance="0",
        features=_adaptability_features,
        statistic=difference_of_ratios,
    ),
    Metric(
        name="yes_bias",
        definition="Share of stories answered yes minus the share for which yes is right; readable order-balanced "
        "answers",
        unit="difference of shares",
        low=-1.0,
        high=1.0,
        direction="zero",
        source="own definition, on NormAd's labels",
        family="normad",
        chance="1/3 minus the share of yes",
        value=pl.col("first_option") - (pl.col("gold_idx") == 0).cast(pl.Float64),
        where=_NORMAD & (pl.col("n_ok") > 0),
        paired=True,
        gap=True,
    ),
    Metric(
        name="label_macro_f1",
        definition="Mean of the F1 scores of yes, no and neither over all stories; readable order-balanced answers",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="scikit-learn's macro average",
        family="normad",
        chance="about 1/3",
        features=_label_features,
        statistic=_macro_f1,
    ),
    *(
        Metric(
            name=f"recall_{name}",
            definition=f"Share of the stories with label {name} that get this answer; readable order-balanced answers",
            unit="share",
            low=0.0,
            high=1.0,
            direction="higher",
            source="own definition, on NormAd's labels",
            family="normad",
            chance="1/3",
            features=_label_features,
            statistic=partial(_recall, label),
        )
        for label, name in enumerate(("yes", "no", "neither"))
    ),
)
