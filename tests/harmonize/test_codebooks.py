"""Protects every row of the crosswalk: in every codebook each mapped code becomes its value."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.personas import traits
from tests.factories.raw_waves import IDENTITY, MakeRaw

# Where one variable serves several columns the first rule's codes stand for it.
CODEBOOKS = sorted(set(IDENTITY) - {"gss_lon"})


def codes_of(rule: Rule) -> list[str]:
    """Codes that the rule maps; of a number its bounds."""
    if (numeric := rule.row.numeric) is not None:
        return [f"{numeric.min:g}", f"{numeric.max:g}"]
    if rule.row.from_labels:
        return ["1", "2"]
    return [o.code for o in rule.options]


def as_number(code: str) -> float:
    return float(code)


@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_every_mapped_code_becomes_its_value(codebook: str, crosswalk: Crosswalk, make_raw: MakeRaw) -> None:
    taken: dict[str, Rule] = {}
    for rule in crosswalk.rules[codebook]:
        if not rule.row.country and not rule.row.where and rule.variables:
            taken.setdefault(rule.variables[0].lower(), rule)
    identity = {name.lower() for name in IDENTITY[codebook](1)}
    rules = [r for name, r in taken.items() if name not in identity]
    n = max(len(codes_of(r)) for r in rules)
    columns: dict[str, Any] = {}
    for rule in rules:
        codes = codes_of(rule)
        columns[rule.variables[0]] = pl.Series([as_number(codes[i % len(codes)]) for i in range(n)])
    raw = make_raw(codebook, columns)
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    for rule in rules:
        if rule.column not in frame.columns and (rule.row.from_labels or rule.row.unlabelled):
            continue
        if rule.row.numeric or rule.row.from_labels:
            assert frame[rule.column].null_count() < n
            continue
        expected = {o.code: o.value for o in rule.options}
        found = dict(
            frame.filter(pl.col(rule.column + "__missing").is_null())
            .select(rule.column + "__code", rule.column)
            .unique()
            .rows()
        )
        assert found == {c: v for c, v in expected.items() if c in found}
        # A code may be missing by the codebook's convention (-1 in an index), but never silently null.
        assert set(expected) - set(found) <= {"-1", "-2", "-3", "-4", "-5"}
    # Lists that have nothing but labels say nothing without them, nor do codes that releases number in their own ways.
    bare = {p.column for p in harmonize.columns_set_aside(raw, crosswalk)}
    assert bare <= {r.column for r in rules if r.row.from_labels or r.row.unlabelled}
    # Whatever is harmonized can be said: no code without words stops anybody's personas.
    facts = traits.column_facts(crosswalk).filter((pl.col("codebook") == codebook) & (pl.col("domain") != "design"))
    long = traits.answers(frame, [c for c in facts["column"] if c in frame.columns])
    assert traits.word(long, facts, crosswalk.options, codebook=codebook).height == long.height
    schema = next(c for c in harmonize.check_wave(frame.sort("respondent_id"), raw, crosswalk) if c.name == "schema")
    assert schema.passed, schema.metadata
