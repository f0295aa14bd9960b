"""NormAd: is a story acceptable where it happens? Its labels are yes, no and neither, in this order."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
from scipy import sparse

from mpta_pipeline.metrics.answers import Units
from mpta_pipeline.metrics.arrays import Floats, ratio
from mpta_pipeline.metrics.registry import Metric

_NORMAD = pl.col("kind").str.starts_with("normad")
_LABELS = 3


def _label_features(units: Units) -> sparse.csr_matrix:
    """Right, answered and due of each label (9 columns), over all stories."""
    frame = units.frame
    of_kind = frame.select(_NORMAD & (pl.col("n_ok") > 0)).to_series().to_numpy()
    if not of_kind.any():
        return sparse.csr_matrix((frame.height, 3 * _LABELS))
    answer = units.answer[:, :_LABELS]
    due = (frame.get_column("gold_idx").to_numpy()[:, None] == np.arange(_LABELS)).astype(float)
    return sparse.csr_matrix(np.hstack([answer * due, answer, due]) * of_kind[:, None])


def _macro_f1(totals: Floats) -> Floats:
    right, answered, due = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, _LABELS), -2, 0)
    each = ratio(2 * right, answered + due)
    known = np.isfinite(each)
    return ratio(np.where(known, each, 0.0).sum(axis=-1), known.sum(axis=-1).astype(float))


def _recall(label: int, totals: Floats) -> Floats:
    return ratio(totals[..., label], totals[..., 2 * _LABELS + label])


METRICS = (
    Metric(
        name="yes_bias",
        definition="Share of stories answered yes less the share for which yes is right; readable order-balanced "
        "answers",
        unit="difference of shares",
        low=-1.0,
        high=1.0,
        direction="zero",
        source="metrics.md 3",
        family="normad",
        chance="1/3 less the share of yes",
        value=pl.col("first_option") - (pl.col("gold_idx") == 0).cast(pl.Float64),
        where=_NORMAD & (pl.col("n_ok") > 0),
        paired=True,
        gap=True,
    ),
    Metric(
        name="label_macro_f1",
        definition="F1 of yes, no and neither over all stories, mean of the three; readable order-balanced answers",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="metrics.md 3; scikit-learn's macro average",
        family="normad",
        chance="1/3, about",
        features=_label_features,
        statistic=_macro_f1,
    ),
    *(
        Metric(
            name=f"recall_{name}",
            definition=f"Share of the stories whose label is {name} that get it; readable order-balanced answers",
            unit="share",
            low=0.0,
            high=1.0,
            direction="higher",
            source="metrics.md 3",
            family="normad",
            chance="1/3",
            features=_label_features,
            statistic=partial(_recall, label),
        )
        for label, name in enumerate(("yes", "no", "neither"))
    ),
)
