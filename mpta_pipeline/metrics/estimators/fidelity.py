"""Compute the Population Fidelity Score: do a model's groups answer, and differ from each other, as people's do?

Source: da Silva et al. 2026 (arXiv 2609.36253). For each question, with nEMD the Wasserstein-1 distance over the scale
from 0 to 1: accuracy = 1 − mean nEMD of the groups; adaptability = min(A, 1/A), where A is the median nEMD between the
model's groups over that between people's; structure = max(0, Spearman's ρ of the two vectors of pairwise distances).
A question's score is the geometric mean of the three parts. Scores are combined over questions by the geometric mean,
parts by the arithmetic mean. The smallest part is the binding one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy import stats

from mpta_pipeline.core.hashing import digest
from mpta_pipeline.metrics.samples.answer_distributions import Cells
from mpta_pipeline.metrics.samples.survey_answers import View
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints
from mpta_pipeline.metrics.statistics.distances import wasserstein

PARTS = ("pfs_accuracy", "pfs_adaptability", "pfs_structure")
# Minimum answers of a group on each side, by the paper's retention rule, and minimum groups of a question: two groups
# have a single distance, which has no rank order.
LEAST_ANSWERS, LEAST_GROUPS = 20, 3
# Draws of a second sample of people, and the limit of pairs of groups × draws.
DRAWS, MOST_PAIRS = 10, 100_000
# Decimals to round distances to. Otherwise rounding errors would give exact ties different ranks.
DIGITS = 10


def parts(people: Floats, model: Floats, places: Floats) -> Floats:
    """Compute accuracy, adaptability and structure of one question; nan where undefined.

    Args:
        people: (groups × K) shares of the people's answers.
        model: (groups × K) shares of the model's answers.
        places: (K,) position of each option on the scale; nan beyond the options.
    """
    accuracy = 1 - float(wasserstein(people.T, model.T, places[:, None]).mean())
    if len(people) < 2:
        return np.array([accuracy, np.nan, np.nan])
    i, j = np.triu_indices(len(people), 1)
    ours, theirs = (np.round(wasserstein(d[i].T, d[j].T, places[:, None]), DIGITS) for d in (model, people))
    wide, wide_theirs = float(np.median(ours)), float(np.median(theirs))
    low, high = sorted((wide, wide_theirs))
    adaptability = low / high if wide_theirs > 0 else float("nan")
    # If the model's groups do not differ, structure is 0. If people's groups do not differ, it is undefined.
    flat = np.nan if np.ptp(theirs) == 0 else 0.0
    structure = max(0.0, _spearman(ours, theirs)) if min(np.ptp(ours), np.ptp(theirs)) > 0 else flat
    return np.array([accuracy, adaptability, structure])


def _spearman(a: Floats, b: Floats) -> float:
    """Spearman's ρ as in scipy, without the cost of its test."""
    x, y = (stats.rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
    return float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))


def score(of_question: Floats) -> float:
    """Geometric mean over questions of the geometric means of their parts; 0 if any part is 0, nan without questions.

    Args:
        of_question: (questions × 3) parts.
    """
    known = of_question[np.isfinite(of_question).all(axis=1)]
    if not len(known):
        return float("nan")
    return float(np.exp(np.log(known).mean())) if (known > 0).all() else 0.0


def binding(of_parts: Floats) -> str:
    """Return the name of the smallest part."""
    return PARTS[int(np.nanargmin(of_parts))].removeprefix("pfs_")


def fidelity_estimates(view: View, cells: Cells) -> dict[str, pl.DataFrame]:
    """Compute the score and its parts for one dimension, beside those of a second sample of people of the model's size.

    It uses questions with a scale and at least three groups that each have enough answers on both sides.
    """
    if view.n < LEAST_GROUPS:
        return {}
    chosen = list(_questions(cells))
    if not chosen:
        return {}
    own = np.stack([parts(cells.human[q], cells.model[q], cells.places[q[0]]) for q in chosen])
    seed = int(digest("fidelity", view.block.survey, view.cut.dimension, view.condition, length=12), 16)
    again = _second_samples(cells, chosen, seed)
    mean, null = np.nanmean(own, axis=0), np.nanmean(again, axis=(0, 1))
    estimates = dict(zip(PARTS, mean, strict=True)) | {"pfs": score(own)}
    nulls = dict(zip(PARTS, null, strict=True)) | {"pfs": float(np.nanmean([score(one) for one in again]))}
    used = np.concatenate(chosen)
    block = view.block
    pairs = set(zip(cells.owner[used].tolist(), cells.item[used].tolist(), strict=True))
    inside = np.zeros((view.n, len(block.matched)), dtype=bool)
    inside[cells.owner[used], cells.item[used]] = True
    rows = (view.cut.codes >= 0) & block.compared
    rows &= inside[np.maximum(view.cut.codes, 0), np.maximum(block.matched_item, 0)]
    words = (
        f"point estimate over {len(chosen)} questions and {len(pairs)} cells; {binding(mean)} binds; "
        f"second sample of people drawn {len(again)} times; {block.note}"
    )
    base = {
        "slice": [-1, -1],
        "baseline": ["", "second_sample"],
        "n_answers": [round(float(block.orders[rows].sum()))] * 2,
        "n_personas": [len(np.unique(block.persona[rows]))] * 2,
        "n_items": [len(chosen)] * 2,
        "method": [words] * 2,
    }
    return {
        name: pl.DataFrame(base | {"estimate": [estimate] * 2, "baseline_estimate": [None, nulls[name]]})
        for name, estimate in estimates.items()
        if np.isfinite(estimate)
    }


def _questions(cells: Cells) -> Iterator[Ints]:
    """Yield the cells of each question that can be scored."""
    enough = (np.minimum(cells.n_model, cells.n_human) >= LEAST_ANSWERS) & (np.isfinite(cells.places).sum(axis=1) > 1)
    usable = np.flatnonzero(enough)
    order = usable[np.lexsort((cells.owner[usable], cells.item[usable]))]
    for question in np.split(order, np.flatnonzero(np.diff(cells.item[order])) + 1):
        if len(question) >= LEAST_GROUPS:
            yield question


def _second_samples(cells: Cells, chosen: list[Ints], seed: int) -> Floats:
    """Compute (draws × questions × 3) parts of people against second samples of the model's effective size."""
    rng = np.random.default_rng(seed)
    n_pairs = sum(len(q) * (len(q) - 1) // 2 for q in chosen)
    draws = int(np.clip(MOST_PAIRS // max(n_pairs, 1), 3, DRAWS))
    out = np.empty((draws, len(chosen), 3))
    for draw in range(draws):
        for i, q in enumerate(chosen):
            n = np.maximum(np.rint(cells.n_model[q]), 1).astype(np.int64)
            second = rng.multinomial(n, cells.human[q]) / n[:, None]
            out[draw, i] = parts(cells.human[q], second, cells.places[q[0]])
    return out
