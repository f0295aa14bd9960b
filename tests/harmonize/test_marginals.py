"""Protects the figures themselves: what NORC's files give must be what is published, to the digit."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.harmonize.marginals import compare_marginals, read_marginals
from mpta_pipeline.surveys import RawWave
from tests.factories.raw_waves import MakeRaw

# File → how many published figures it can answer. 2016 has none in the specification.
FILES = {
    "gss/GSS2018.dta": 42,
    "gss/GSS2021.dta": 40,
    "gss/GSS2024.dta": 38,
    "gss_rerelease/GSS2010_r1.dta": 1,
}


@pytest.mark.parametrize(("name", "figures"), FILES.items())
def test_every_published_figure_of_the_gss_is_reproduced(
    name: str, figures: int, gss_wave: Callable[[str], RawWave], crosswalk: Crosswalk
) -> None:
    raw = gss_wave(name)
    frame = harmonize.harmonize(raw, crosswalk)
    compared = compare_marginals(frame, raw, crosswalk)
    off = compared.filter(~pl.col("agrees")).select("column", "value", "expected", "found").rows()
    assert not off
    assert compared.height == figures


@pytest.mark.parametrize("name", ["gss/GSS2016.dta", "gss/GSS2018.dta", "gss/GSS2021.dta", "gss/GSS2024.dta"])
def test_norcs_files_pass_every_check(name: str, gss_wave: Callable[[str], RawWave], crosswalk: Crosswalk) -> None:
    raw = gss_wave(name)
    frame = harmonize.harmonize(raw, crosswalk)
    failed = [(c.name, c.metadata) for c in harmonize.check_wave(frame, raw, crosswalk) if not c.passed]
    assert not failed


def test_the_split_wordings_of_trust_give_their_own_series(
    gss_wave: Callable[[str], RawWave], crosswalk: Crosswalk
) -> None:
    # Counts of the first release of 2024 (gssrdoc), which the single-year file holds; later ones withdrew trust.
    frame = harmonize.harmonize(gss_wave("gss/GSS2024.dta"), crosswalk)
    for column, counts in (("trust_general_gss", (236, 604, 108)), ("trust_general_gss_v", (96, 275, 216))):
        found = dict(frame[column].drop_nulls().value_counts().rows())
        assert tuple(found.get(v, 0) for v in ("trust", "careful", "depends")) == counts
    assert (frame["trust_general_gss_nv"] == "trust").sum() == 217


def test_every_published_row_names_a_column_that_is_there(crosswalk: Crosswalk) -> None:
    published = read_marginals()
    assert published.height == 673
    known = {(r.column, d) for d, rules in crosswalk.rules.items() for r in rules}
    assert {(c, d) for c, d in published.select("column", "codebook").rows()} <= known
    options = crosswalk.options.select("column", "codebook", "value").unique()
    asked = published.filter(pl.col("value").is_not_null()).select("column", "codebook", "value").unique()
    assert asked.join(options, on=["column", "codebook", "value"], how="anti").is_empty()


def test_weight_and_denominator_are_those_stated(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("joint", {"A008": [1, 1, 2, -1], "gwght": [2.0, 1.0, 1.0, 1.0], "E033": [1, 10, 4, -2]})
    frame = harmonize.harmonize(raw, crosswalk)
    rows = [
        ("happiness", "percent", "very", None, 60.0, "all", "survey"),
        ("happiness", "percent", "very", None, 75.0, "valid", "survey"),
        ("happiness", "percent", "very", None, 50.0, "all", "none"),
        ("happiness", "percent", None, "dont_know", 20.0, "all", "survey"),
        ("left_right", "mean", None, None, 4.0, "valid", "survey"),
        ("happiness", "count", "very", None, 2.0, "valid", "none"),
    ]
    published = pl.DataFrame(
        [("joint", c, s, v, m, e, d, w) for c, s, v, m, e, d, w in rows],
        schema=["codebook", "column", "statistic", "value", "missing", "expected", "denominator", "weight"],
        orient="row",
    ).with_columns(
        variable=pl.lit(""), year=pl.lit(None, pl.Int64), country=pl.lit("USA"), study=pl.lit("wvs"), decimals=1,
        base=pl.lit(None, pl.Float64), rows=4, evidence=pl.lit("invented"),
    )  # fmt: skip
    compared = compare_marginals(frame, raw, crosswalk, published=published)
    assert compared.height == len(rows)
    off = compared.filter(~pl.col("agrees"))
    assert off.is_empty(), off.rows()
