"""Detect reversed scales by correlations whose sign is known wherever two questions are both asked.

Labels decide the direction of a scale. This module covers files without labels, and labels that the producer reversed:
a concept's file names its partners (`polarity`), and a reversed column correlates with them in the wrong direction.
Correlations are computed within countries, so that differences between countries do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mpta_pipeline.harmonize.crosswalk import Rule

MIN_PAIRS = 100  # respondents who answered both questions
MIN_CORRELATION = 0.05  # mean over the partners, in the wrong direction
MIN_Z = 3.0  # of that mean over the standard error of one correlation; that of several is no larger
MOST_ROWS = 40_000  # of a larger wave, every k-th respondent is used
MIN_Z_DIRECTION = 5.0  # to reverse a scale, not only to doubt it


@dataclass(frozen=True)
class Evidence:
    """What a column's partners say about its direction.

    Attributes:
        column: Harmonized column.
        correlation: Mean over the partners of correlation times known sign; negative if it runs against them.
        z: The mean over its standard error, for the smallest number of respondents who answered both.
        partners: Partner column → its correlation, as measured.
    """

    column: str
    correlation: float
    z: float
    partners: dict[str, float]

    @property
    def contrary(self) -> bool:
        """Whether the column runs against its partners, by more than chance or a weak item explains."""
        return self.correlation < -MIN_CORRELATION and self.z < -MIN_Z

    def __str__(self) -> str:
        against = ", ".join(f"{name} {r:+.2f}" for name, r in sorted(self.partners.items()))
        return f"{self.column} runs against its partners ({against})"


def known_pairs(rules: Iterable[Rule]) -> dict[str, dict[str, int]]:
    """Column → partner column in the same codebook → known sign, as far as both have an order."""
    ordered = [r for r in rules if has_order(r)]
    columns: dict[str, list[Rule]] = {}
    for rule in ordered:
        columns.setdefault(rule.concept.concept, []).append(rule)
    pairs: dict[str, dict[str, int]] = {}
    for rule in ordered:
        for partner in rule.partners:
            for other in columns.get(partner.concept, ()):
                # Another wording in the same file may be reversed; the concept's sign is for its own wording.
                if other.column != rule.column and not _turned_wording(other):
                    pairs.setdefault(rule.column, {})[other.column] = partner.sign
                    if not other.row.numeric:  # a number cannot be reversed
                        pairs.setdefault(other.column, {}).setdefault(rule.column, partner.sign)
    return pairs


def scores(frame: pl.DataFrame, rules: Iterable[Rule]) -> pl.DataFrame:
    """Position of each answer on its column's scale (Float64), for columns with an order; null if it has none."""
    wanted = {r.column: r for r in rules if r.column in frame.columns and has_order(r)}.values()
    return frame.select(
        pl.col(r.column).cast(pl.Float64)
        if r.row.numeric
        else pl.col(r.column).replace_strict(places(r), default=None, return_dtype=pl.Float64)
        for r in wanted
    )


def places(rule: Rule) -> Mapping[str, float]:
    """Value → position from 0 to 1. Of two unordered answers, the second is higher."""
    return rule.scores or {value: float(n) for n, value in enumerate(rule.values)}


def judge(values: pl.DataFrame, country: pl.Series, pairs: Mapping[str, Mapping[str, int]]) -> list[Evidence]:
    """Judge the direction of the columns in `values` by their partners.

    A column found contrary is not used as evidence against others: the worst is removed first, and the rest are judged
    without it.

    Returns:
        One entry per column with a partner that enough respondents answered, contrary ones in the order found.
    """
    return _judge(_within(values, country), pairs)


def inversions_missed(values: pl.DataFrame, country: pl.Series, pairs: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The columns of `values` that would not be found if they were reversed.

    Each column in turn is reversed, which changes the signs of its correlations, and all are judged again.
    """
    return judge_and_missed(values, country, pairs)[1]


def judge_and_missed(
    values: pl.DataFrame, country: pl.Series, pairs: Mapping[str, Mapping[str, int]]
) -> tuple[list[Evidence], list[str]]:
    """What `judge` and `inversions_missed` return, from correlations that are computed once."""
    measured = _within(values, country)
    left = _present(measured, pairs)
    alone = _each(measured, left)
    evidence = _judged(measured, left, alone)
    found = {e.column for e in evidence}

    def named(column: str) -> bool:
        inverted = measured.inverted(column)
        # Only the column's own correlations change: those of columns that it is no partner of stay.
        changed = {c: of for c, of in left.items() if c == column or column in of}
        new = {c: e for c, e in alone.items() if c not in changed} | _each(inverted, changed)
        known = {c: new[c] for c in left if c in new}
        return any(e.contrary and e.column == column for e in _judged(inverted, left, known))

    return evidence, sorted(c for c in values.columns if c not in found or not named(c))


def _judge(measured: _Correlations, pairs: Mapping[str, Mapping[str, int]]) -> list[Evidence]:
    left = _present(measured, pairs)
    return _judged(measured, left, _each(measured, left))


def _present(measured: _Correlations, pairs: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """The pairs of columns that are there."""
    return {c: {p: s for p, s in of.items() if p in measured.at} for c, of in pairs.items() if c in measured.at}


def _each(measured: _Correlations, pairs: Mapping[str, Mapping[str, int]]) -> dict[str, Evidence]:
    """What the partners of each column say of it."""
    return {c: e for c, of in pairs.items() if (e := _evidence(c, of, measured)) is not None}


def _judged(
    measured: _Correlations, left: Mapping[str, Mapping[str, int]], known: Mapping[str, Evidence]
) -> list[Evidence]:
    """Judge columns by what their partners say of them (`known`); see `judge`."""
    known = dict(known)
    found: list[Evidence] = []
    while against := [e for e in known.values() if e.contrary]:
        worst = min(against, key=lambda e: (e.correlation, e.column))
        # Two columns that are each other's only partners are equally suspect: either may be the reversed one.
        gone = [worst, *(e for e in against if set(e.partners) == {worst.column} and set(worst.partners) == {e.column})]
        found += gone
        out = {e.column for e in gone}
        touched = {c for c, of in left.items() if out & of.keys()}
        left = {c: {p: s for p, s in of.items() if p not in out} for c, of in left.items() if c not in out}
        for column in (touched | out) & known.keys():
            evidence = _evidence(column, left[column], measured) if column in left else None
            if evidence is None:
                del known[column]
            else:
                known[column] = evidence
    return [*found, *known.values()]


def direction(values: pl.DataFrame, country: pl.Series, pairs: Mapping[str, Mapping[str, int]]) -> int:
    """The direction of columns that a release codes in the same direction.

    Args:
        values: The columns as listed in the crosswalk, and their partners.
        country: Country of each row.
        pairs: Column → partner that is not among the columns → known sign.

    Returns:
        1: as listed; -1: reversed; 0: inconclusive.
    """
    measured = _within(values, country)
    evidence = [e for c, of in pairs.items() if c in measured.at and (e := _evidence(c, of, measured)) is not None]
    if not evidence:
        return 0
    z = sum(e.z for e in evidence) / sqrt(len(evidence))
    for sign in (1, -1):
        agreeing = sum(e.correlation * sign > 0 for e in evidence)
        if sign * z > MIN_Z_DIRECTION and agreeing > 0.5 * len(evidence):
            return sign
    return 0


def has_order(rule: Rule) -> bool:
    """Whether the answers of a column have an order: numbers, an ordinal scale, or two answers."""
    return bool(rule.row.numeric or rule.scores or len(rule.values) == 2)


def _turned_wording(rule: Rule) -> bool:
    battery = rule.concept.battery
    return bool(battery and battery.sign and rule.row.sign == -battery.sign)


def _evidence(column: str, partners: Mapping[str, int], measured: _Correlations) -> Evidence | None:
    at, r, n = measured.at, measured.r, measured.n
    i = at[column]
    usable = [
        (p, float(r[i, at[p]]) * s, float(n[i, at[p]]))
        for p, s in partners.items()
        if p in at and n[i, at[p]] >= MIN_PAIRS and np.isfinite(r[i, at[p]])
    ]
    if not usable:
        return None
    mean = sum(signed for _, signed, _ in usable) / len(usable)
    cases = min(both for _, _, both in usable)
    return Evidence(column, mean, mean * sqrt(cases), {p: round(float(r[i, at[p]]), 3) for p, _, _ in usable})


@dataclass(frozen=True)
class _Correlations:
    """Correlations of each pair of columns, and how many respondents answered both; `at`: column → index."""

    at: Mapping[str, int]
    r: NDArray[np.float64]
    n: NDArray[np.float64]

    def inverted(self, column: str) -> _Correlations:
        """The correlations if the column were reversed."""
        r, place = self.r.copy(), self.at[column]
        r[place, :] *= -1
        r[:, place] *= -1
        return replace(self, r=r)


def _within(values: pl.DataFrame, country: pl.Series) -> _Correlations:
    """Correlations within countries among those who answered both, and their number.

    With x centred on the country's mean over those who answered both: r = Σ xy / √(Σ x² Σ y²), all sums over countries.
    """
    step = 1 + (values.height - 1) // MOST_ROWS
    matrix, country = values.gather_every(step).to_numpy(), country.gather_every(step)
    k = matrix.shape[1]
    xy, xx, count = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
    codes = country.rank("dense").to_numpy()
    found = np.unique(codes)
    with threadpool_limits(1, user_api="blas"):  # small matrices: more threads only wait for each other
        for code in found:
            part = matrix if len(found) == 1 else matrix[codes == code]
            known = np.isfinite(part)
            mask = known.astype(np.float64)
            filled = np.where(known, part, 0.0)
            # Centred on the column's own mean first, so that large numbers (years) keep their digits.
            filled -= filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            filled *= mask
            n = mask.T @ mask
            sums = filled.T @ mask  # [i, j]: sum of i where j is known
            safe = np.maximum(n, 1.0)
            xy += filled.T @ filled - sums * sums.T / safe
            xx += np.square(filled, out=filled).T @ mask - sums**2 / safe
            count += n
    scale = np.sqrt(np.maximum(xx, 0.0) * np.maximum(xx.T, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.where(scale > 1e-9, xy / scale, np.nan)
    return _Correlations({name: place for place, name in enumerate(values.columns)}, r, count)
