"""Decide the direction of scales without labels from the answers to related questions (partners)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from mpta_pipeline.harmonize.polarity import direction, has_order, judge, known_pairs, scores
from mpta_pipeline.harmonize.recode.codes import Recode
from mpta_pipeline.surveys import Coded

DOUBTED, DOUBTED_Z = 0.15, 4.0  # mean correlation with the partners and its z, beyond which a column is set aside


def settle(
    recodes: Sequence[Recode], found: Mapping[str, Coded], unlabelled: Iterable[str], country: pl.Series
) -> tuple[list[Recode], dict[str, str]]:
    """Reverse columns without labels if their partners indicate it, and report those without a clear direction.

    Args:
        recodes: The recodes of the wave.
        found: Name → cells.
        unlabelled: Variables whose codes the file does not label.
        country: Country of each row.

    Returns:
        The recodes, reversed if the answers indicate it; and column → why its codes cannot be used.
    """
    bare = set(unlabelled)
    mine = [r for r in recodes if r.variable in bare and found[r.cells].answered]
    doubts = {r.column: why for r in mine if (why := _lacking(r, found))}
    either = [r for r in mine if (r.rule.row.unlabelled and r.rule.row.unlabelled.direction) and r.column not in doubts]
    if not any(r.rule.scores for r in mine):
        return list(recodes), doubts
    pairs = known_pairs(r.rule for r in recodes)
    values = _places_of([r for r in recodes if not r.problems and r.column not in doubts], found)
    turned: set[str] = set()
    batteries: dict[str, list[Recode]] = {}
    for recode in either:
        battery = recode.rule.concept.battery
        batteries.setdefault(battery.name if battery else recode.column, []).append(recode)
    for members in batteries.values():
        columns = {r.column for r in members}
        outside = {c: {p: s for p, s in pairs.get(c, {}).items() if p not in columns} for c in sorted(columns)}
        used = [c for c in values.columns if c in columns or any(c in of for of in outside.values())]
        sign = direction(values.select(used), country, outside)
        if sign == -1:
            turned |= columns
        elif sign == 0:
            why = "has no labels, its direction differs between releases, and the answers are inconclusive"
            doubts |= dict.fromkeys(columns, why)
    values = values.select(
        (1.0 - pl.col(c) if c in turned else pl.col(c)).alias(c) for c in values.columns if c not in doubts
    )
    names = {r.column for r in mine}
    for evidence in judge(values, country, pairs):
        if evidence.column in names and evidence.correlation < -DOUBTED and evidence.z < -DOUBTED_Z:
            told = ", ".join(f"{name} {r:+.2f}" for name, r in sorted(evidence.partners.items()))
            doubts[evidence.column] = f"has no labels, and its answers contradict those of related questions ({told})"
    return [_turned(r) if r.column in turned else r for r in recodes], doubts


def _lacking(recode: Recode, found: Mapping[str, Coded]) -> str | None:
    """Why a variable without labels may be numbered as in another release; None if it is not."""
    asked, cells = recode.rule.row.unlabelled, found[recode.cells]
    if asked is None:
        return None
    if asked.refuse:
        return "has no labels, and its codes have different meanings in different releases"
    codes = set(cells.table.filter(pl.col("missing").is_null()).get_column("code"))
    lacking = [code for code in asked.needs if code not in codes]
    if not lacking:
        return None
    return f"has no labels, and no respondent has code {lacking[0]}: it may be numbered as in another release"


def _turned(recode: Recode) -> Recode:
    """The recode with the values of its codes in reverse order."""
    order = recode.rule.values
    opposite = dict(zip(order, reversed(order), strict=True))
    return replace(recode, values={code: opposite.get(v, v) for code, v in recode.values.items()})


def _places_of(recodes: Sequence[Recode], found: Mapping[str, Coded]) -> pl.DataFrame:
    """Positions of all answers, one Float64 column per harmonized column with an order."""
    columns = {}
    for recode in recodes:
        if not has_order(recode.rule):
            continue
        cells = found[recode.cells]
        table = scores(recode.table(cells).select(recode.column), [recode.rule])
        columns[recode.column] = table.get_column(recode.column).gather(cells.places)
    return pl.DataFrame(columns)
