"""Set aside what the crosswalk does not understand: cells, a column in some countries, or a whole column."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from mpta_pipeline.harmonize.crosswalk import Rule
from mpta_pipeline.harmonize.recode.codes import Recode
from mpta_pipeline.surveys import Coded

# Share of a country's answers in a column: if more have a code that is not understood, the others are doubtful as well
# (New Zealand's education in four groups, whose first three are not those of other countries). A number out of bounds
# is weaker evidence about the others.
MAX_CELLS = 0.01
MAX_NUMBERS = 0.05
# A column is set aside as a whole if countries with more than this share of its answers are.
MAX_COUNTRIES = 0.5
SET_ASIDE = "invalid"
"""Missing kind of cells that are set aside; their native code is kept."""


def set_aside(recode: Recode, found: Coded, countries: pl.Series) -> tuple[Recode, Coded]:
    """Set aside the cells, the column in some countries, or the whole column that a recode's problems concern."""
    table = found.table
    doubted = {p.code: p for p in recode.problems if not p.whole}
    counts = (
        pl.DataFrame({"place": found.places, "country": countries})
        .group_by("place", "country")
        .len()
        .join(
            table.select(
                pl.int_range(pl.len(), dtype=pl.UInt32).alias("place"),
                "code",
                (pl.col("missing").is_null() & ~pl.col("code").is_in(list(recode.missing))).alias("answered"),
            ),
            on="place",
        )
        .filter("answered")
        .with_columns(
            pl.col("code").is_in(list(doubted)).alias("doubted"),
            pl.col("code").is_in([c for c, p in doubted.items() if p.expected is not None]).alias("relabelled"),
        )
    )
    by_code = dict(counts.group_by("code").agg(pl.col("len").sum()).iter_rows())
    whole = any(p.whole for p in recode.problems)
    n, bad, relabelled = pl.col("len"), pl.col("len").filter("doubted"), pl.col("len").filter("relabelled")
    by_country = counts.group_by("country").agg(
        n.sum().alias("n"), bad.sum().alias("bad"), relabelled.sum().alias("re")
    )
    # A single such cell in a country counts as a typing error, unless its label differs.
    spared = pl.when(pl.col("re") == 0).then(1).otherwise(0)
    lost = by_country.filter(
        (pl.col("bad") == pl.col("n"))
        | (pl.col("bad") > pl.max_horizontal(spared, _tolerated(recode.rule) * pl.col("n")))
    )
    whole |= int(lost["n"].sum()) > MAX_COUNTRIES * int(by_country["n"].sum())
    if whole:
        everything = int(by_country["n"].sum())
        answers = {c: by_code.get(c, 0) for c in doubted}
        told = [replace(p, whole=True, answers=answers.get(p.code, everything)) for p in recode.problems]
        return replace(recode, problems=tuple(told)), found
    names = sorted(lost["country"].to_list()) if not recode.rule.row.from_labels else []
    told = []
    for problem in recode.problems:
        mine = counts.filter(pl.col("code") == problem.code)
        there = sorted(set(names) & set(mine["country"].to_list()))
        cells_elsewhere = int(mine.filter(~pl.col("country").is_in(there))["len"].sum())
        with_country = int(counts.filter(pl.col("country").is_in(there))["len"].sum())
        told.append(replace(problem, countries=tuple(there), answers=cells_elsewhere + with_country))
    cells_of = enumerate(table.select("code", "missing").iter_rows())
    strange = {place: SET_ASIDE for place, (code, kind) in cells_of if kind is None and code in doubted}
    found = found.moved(strange, pl.Series([True]).new_from_index(0, len(countries)))
    if names:
        answered = {
            place: SET_ASIDE
            for place, (code, kind) in enumerate(found.table.select("code", "missing").iter_rows())
            if kind is None and code not in recode.missing
        }
        found = found.moved(answered, countries.is_in(names))
    return replace(recode, problems=tuple(told)), found


def _tolerated(rule: Rule) -> float:
    """The tolerated share of a country's answers with a code that is not understood."""
    if rule.row.from_labels:
        return MAX_COUNTRIES  # each label is independent of the others
    return MAX_NUMBERS if rule.row.numeric else MAX_CELLS
