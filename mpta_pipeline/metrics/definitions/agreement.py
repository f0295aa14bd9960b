"""Define metrics of agreement beyond exact matches: collapsed scales, kappa, F1 and balanced accuracy."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
from scipy import sparse

from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.statistics.arrays import Features, Floats, ratio

# A mean over classes suits few items with few options (traits, labels). Beyond these limits it costs memory and is
# hard to interpret.
MOST_ITEMS, MOST_OPTIONS = 60, 12


def _kappa_features(units: Units) -> Floats:
    """Moments of answer and key on the scale from 0 to 1, for ordinal items with a readable answer."""
    frame = units.frame
    k = frame.get_column("k_options").to_numpy()
    used = (frame.get_column("ordinal") & (frame.get_column("n_ok") > 0)).to_numpy().astype(float)
    place = np.arange(units.answer.shape[1])
    key = frame.get_column("gold_idx").to_numpy() / (k - 1)
    answer = (units.answer * place).sum(axis=1) / (k - 1)
    square = (units.answer * place**2).sum(axis=1) / (k - 1) ** 2
    return np.column_stack([column * used for column in (np.ones(len(k)), answer, square, key, key**2, answer * key)])


def _kappa(totals: Floats) -> Floats:
    """1 − E(a − g)² / E(a − g′)², where g′ is a key independent of a: quadratic weights need no table."""
    n = totals[..., 0]
    a, aa, g, gg, ag = (ratio(totals[..., i], n) for i in range(1, 6))
    by_chance = aa + gg - 2 * a * g
    return np.asarray(1 - ratio(aa + gg - 2 * ag, np.where(by_chance > 1e-12, by_chance, 0.0)))


def _class_features(units: Units) -> Features:
    """Right, given and correct answers per option: 3 × items × MOST_OPTIONS columns; none beyond the limits."""
    frame = units.frame
    names = frame.get_column("item_id").unique().sort().to_list()
    if not names or len(names) > MOST_ITEMS or units.answer.shape[1] > MOST_OPTIONS:
        return sparse.csr_matrix((frame.height, 1))
    item = frame.get_column("item_id").cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy()
    used = (frame.get_column("n_ok") > 0).to_numpy()
    classes = len(names) * MOST_OPTIONS
    row, option = np.nonzero((units.answer > 0) & used[:, None])
    share = units.answer[row, option]
    key = frame.get_column("gold_idx").to_numpy()
    asked = np.flatnonzero(used)
    parts = (
        (share * (option == key[row]), row, item[row] * MOST_OPTIONS + option),
        (share, row, classes + item[row] * MOST_OPTIONS + option),
        (np.ones(len(asked)), asked, 2 * classes + item[asked] * MOST_OPTIONS + key[asked]),
    )
    values, rows, columns = (np.concatenate([p[i] for p in parts]) for i in range(3))
    return sparse.csr_matrix((values, (rows, columns)), shape=(frame.height, 3 * classes))


def _macro(totals: Floats, *, f1: bool) -> Floats:
    """F1 or recall of each option, averaged over the options that are given or correct, then over items."""
    if totals.shape[-1] < 3 * MOST_OPTIONS:
        return np.full(totals.shape[:-1], np.nan)
    right, answered, due = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, -1, MOST_OPTIONS), -3, 0)
    each = ratio(2 * right, answered + due) if f1 else ratio(right, due)
    known = np.isfinite(each)
    of_item = ratio(np.where(known, each, 0.0).sum(axis=-1), known.sum(axis=-1).astype(float))
    known = np.isfinite(of_item)
    return ratio(np.where(known, of_item, 0.0).sum(axis=-1), known.sum(axis=-1).astype(float))


def _class_metric(name: str, definition: str, *, f1: bool) -> Metric:
    return Metric(
        name=name,
        definition=f"{definition}, averaged over options and then over items; readable order-balanced answers, at most "
        f"{MOST_ITEMS} items of {MOST_OPTIONS} options",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="scikit-learn's macro average",
        family="classes",
        chance="1/k, about",
        features=_class_features,
        statistic=partial(_macro, f1=f1),
    )


METRICS = (
    Metric(
        name="accuracy_collapsed",
        definition="Share of order-balanced answers on the same half of the scale as the key, with halves split after "
        "option (k − 1) // 2. Orders without a readable answer count as wrong. Ordinal items only",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="Hwang et al. 2023 (arXiv 2305.14929)",
        family="ordinal",
        chance="1/2, about",
        value=pl.col("credit_half"),
        where=pl.col("ordinal") & (pl.col("n_orders") > pl.col("n_error")),
        proportion=True,
        paired=True,
        gap=True,
    ),
    Metric(
        name="qwk",
        label="agreement on the scale (quadratic weighted kappa)",
        definition="Quadratic weighted kappa between order-balanced answer and key, positions scaled to 0–1; ordinal "
        "items with a readable answer",
        unit="kappa",
        low=-1.0,
        high=1.0,
        direction="higher",
        source="Cohen 1968",
        family="ordinal",
        chance="0",
        features=_kappa_features,
        statistic=_kappa,
    ),
    _class_metric("macro_f1", "F1 of each option", f1=True),
    _class_metric("balanced_accuracy", "Recall: share of the answers with an option as key that are right", f1=False),
)
