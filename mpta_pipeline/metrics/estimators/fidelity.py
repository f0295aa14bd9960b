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
from mpta_pipeline.metrics.statistics.distances import WassersteinOver

PARTS = ("pfs_accuracy", "pfs_adaptability", "pfs_structure")
# Minimum answers of a group on each side, by the paper's retention rule, and minimum groups of a question: two groups
# have a single distance, which has no rank order.
LEAST_ANSWERS, LEAST_GROUPS = 20, 3
# Draws of a second sample of people, and the limit of pairs of groups × draws.
DRAWS, MOST_PAIRS = 10, 100_000
# Pairs of groups × options that are compared at a time, which bounds the memory.
MOST_VALUES = 1_000_000
# Decimals to round distances to. Otherwise rounding errors would give exact ties different ranks.
DIGITS = 10


def parts(people: Floats, model: Floats, places: Floats) -> Floats:
    """Compute accuracy, adaptability and structure of one question; nan where undefined.

    Args:
        people: (groups × K) shares of the people's answers.
        model: (groups × K) shares of the model's answers.
        places: (K,) position of each option on the scale; nan beyond the options.
    """
    return np.asarray(_Questions(people[None], places[None]).parts(model[None])[0])


class _Questions:
    """Questions with the same number of groups. What depends on the people alone is computed once.

    Args:
        people: (questions × groups × K) shares of the people's answers.
        places: (questions × K) position of each option on the scale; nan beyond the options.
    """

    def __init__(self, people: Floats, places: Floats) -> None:
        self._people = _options_first(people)
        self._distance = WassersteinOver(np.ascontiguousarray(places.T)[:, :, None])
        self._pairs = np.triu_indices(people.shape[1], 1)
        if people.shape[1] > 1:
            self._theirs = self._between_groups(self._people)
            self._wide_theirs, self._range_theirs = np.median(self._theirs, axis=1), np.ptp(self._theirs, axis=1)
            self._rank_theirs = _ranks(self._theirs)

    def parts(self, model: Floats) -> Floats:
        """Compute (questions × 3) parts of the model's (questions × groups × K) shares."""
        model = _options_first(model)
        accuracy = 1 - self._distance(self._people, model).mean(axis=1)
        if model.shape[2] < 2:
            return np.column_stack([accuracy, np.full((len(accuracy), 2), np.nan)])
        ours = self._between_groups(model)
        wide, wide_theirs = np.median(ours, axis=1), self._wide_theirs
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(wide_theirs < wide, wide_theirs / wide, wide / wide_theirs)
            adaptability = np.where(wide_theirs > 0, ratios, np.nan)
            # Spearman's ρ as in scipy, without the cost of its test.
            x, y = _ranks(ours), self._rank_theirs
            rho = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
        # If the model's groups do not differ, structure is 0. If people's groups do not differ, it is undefined.
        ranges = np.ptp(ours, axis=1)
        smaller = np.where(self._range_theirs < ranges, self._range_theirs, ranges)
        flat = np.where(self._range_theirs == 0, np.nan, 0.0)
        structure = np.where(smaller > 0, np.where(rho > 0, rho, 0.0), flat)
        return np.column_stack([accuracy, adaptability, structure])

    def _between_groups(self, shares: Floats) -> Floats:
        """(questions × pairs of groups) rounded distances between the groups' (K × questions × groups) shares."""
        i, j = self._pairs
        return np.round(self._distance(shares[:, :, i], shares[:, :, j]), DIGITS)


def _options_first(shares: Floats) -> Floats:
    return np.ascontiguousarray(np.moveaxis(shares, 2, 0))


def _ranks(distances: Floats) -> Floats:
    """Mid-ranks within each row, centred on 0."""
    return np.asarray(stats.rankdata(distances, axis=1) - (distances.shape[1] + 1) / 2)


def _batches(chosen: list[Ints], width: int) -> Iterator[Ints]:
    """Yield positions in `chosen` of questions with equally many groups, as many as fit into memory together."""
    sizes = np.array([len(q) for q in chosen])
    for groups in np.unique(sizes):
        same = np.flatnonzero(sizes == groups)
        room = max(MOST_VALUES // (int(groups) * (int(groups) - 1) // 2 * width), 1)
        yield from (same[start : start + room] for start in range(0, len(same), room))


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
    seed = int(digest("fidelity", view.block.survey, view.cut.dimension, view.condition, length=12), 16)
    own, again = _own_and_second(cells, chosen, seed)
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


def _own_and_second(cells: Cells, chosen: list[Ints], seed: int) -> tuple[Floats, Floats]:
    """Compute the parts of people against the model, and against second samples of the model's effective size.

    Returns:
        (questions × 3) parts of the model, and (draws × questions × 3) parts of the second samples.
    """
    rng = np.random.default_rng(seed)
    n_pairs = sum(len(q) * (len(q) - 1) // 2 for q in chosen)
    draws = int(np.clip(MOST_PAIRS // max(n_pairs, 1), 3, DRAWS))
    whole = np.concatenate(chosen)
    first = np.cumsum([0, *(len(q) for q in chosen)])
    n = np.maximum(np.rint(cells.n_model[whole]), 1).astype(np.int64)
    people = cells.human[whole]
    second = np.stack([rng.multinomial(n, people) / n[:, None] for _ in range(draws)])
    own, again = np.empty((len(chosen), 3)), np.empty((draws, len(chosen), 3))
    for batch in _batches(chosen, people.shape[1]):
        rows = first[batch][:, None] + np.arange(len(chosen[batch[0]]))
        questions = _Questions(people[rows], cells.places[whole[rows[:, 0]]])
        own[batch] = questions.parts(cells.model[whole[rows]])
        for draw in range(draws):
            again[draw, batch] = questions.parts(second[draw, rows])
    return own, again
