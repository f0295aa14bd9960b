"""Protects the smallest unit: what is not understood costs a cell, a country's column or a column, and no wave."""

from __future__ import annotations

import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.harmonize.recode import MAX_SET_ASIDE
from tests.factories.raw_waves import MakeRaw

EDUCATION = {"1": "Lower", "2": "Middle", "3": "Higher"}


def test_one_household_of_sixteen_costs_one_cell_of_the_year(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    sizes = [2, 3, 4, 1] * 25 + [16]
    raw = make_raw("gss", {"hompop": sizes, "happy": [1, 2, 3, 1] * 25 + [2]}, year=1975)
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["household_size"].to_list() == [*map(float, sizes[:-1]), None]
    assert frame["household_size__missing"][-1] == "invalid"
    assert frame["household_size__code"][-1] == "16"
    assert frame["happiness_gss"].null_count() == 0
    check = next(c for c in harmonize.check_wave(frame, raw, crosswalk) if c.name == "columns_set_aside")
    assert (check.passed, check.severity) == (False, "warn")
    assert check.metadata["columns_with_cells"] == ["household_size"]
    assert check.metadata["columns"] == []
    assert check.metadata["problems"][0] | {"unit": "cells", "answers": 1} == check.metadata["problems"][0]


@pytest.mark.parametrize("labels", [{"Q275R": EDUCATION}, {"Q275R": {**EDUCATION, "4": "Postgraduate"}}, None])
def test_a_country_with_a_scale_of_its_own_costs_its_own_column(
    labels: dict[str, dict[str, str]] | None, make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    """New Zealand's education in four groups: its first three are not those of the others, either."""
    countries = [554] * 20 + [36] * 30 + [840] * 30
    groups = [1, 2, 3, 4] * 5 + [1, 2, 3] * 20
    raw = make_raw("wvs7", {"B_COUNTRY": countries, "Q275R": groups, "Q57": [1, 2] * 40}, labels)
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    known = dict(frame.group_by("country").agg(pl.col("education_3").count()).iter_rows())
    assert known == {"NZL": 0, "AUS": 30, "USA": 30}
    zealand = frame.filter(pl.col("country") == "NZL")
    assert zealand["education_3__missing"].unique().to_list() == ["invalid"]
    assert zealand["education_3__code"].to_list() == [str(g) for g in groups[:20]]
    assert frame["trust_general"].null_count() == 0
    (problem,) = harmonize.columns_set_aside(raw, crosswalk)
    assert (problem.unit, problem.countries, problem.answers) == ("country", ("NZL",), 20)
    (line,) = harmonize.describe_set_aside([problem])
    assert line.startswith("education_3 in NZL (20 answers): Q275R 4 = ")
    schema = next(c for c in harmonize.check_wave(frame, raw, crosswalk) if c.name == "schema")
    assert schema.passed, schema.metadata


def test_a_slip_in_a_few_of_a_country_costs_their_cells(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("wvs7", {"B_COUNTRY": [554] * 300 + [840] * 300, "Q275R": [1, 2, 3] * 99 + [4, 4, 4] + [2] * 300})
    frame = harmonize.harmonize(raw, crosswalk)
    assert frame["education_3"].null_count() == 3
    (problem,) = harmonize.columns_set_aside(raw, crosswalk)
    assert (problem.unit, problem.answers) == ("cells", 3)


def test_a_scale_strange_in_most_countries_is_set_aside_everywhere(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("wvs7", {"B_COUNTRY": [554] * 20 + [36] * 20 + [840] * 10, "Q275R": [1, 4] * 20 + [1, 2] * 5})
    assert "education_3" not in harmonize.harmonize(raw, crosswalk).columns
    assert [p.unit for p in harmonize.columns_set_aside(raw, crosswalk)] == ["column"]


def test_codes_without_a_label_never_become_an_answer(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    """Files without labels have languages as bare numbers, which stopped the personas of all surveys."""
    raw = make_raw("wvs_ts", {"G016": [3630, 1240, 3630], "X001": [1, 2, 1]})
    frame = harmonize.harmonize(raw, crosswalk)
    assert "language_home_wvs" not in frame.columns
    (problem,) = harmonize.columns_set_aside(raw, crosswalk)[:1]
    assert not problem.strange, "it is no sign of another codebook"
    some = {"G016": {"3630": "Russian", "1240": "English"}}
    raw = make_raw("wvs_ts", {"G016": [3630, 1240, 840], "X001": [1, 2, 1]}, some)
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["language_home_wvs"].to_list() == ["Russian", "English", None]
    assert frame["language_home_wvs__missing"].to_list() == [None, None, "invalid"]


def test_a_computed_index_may_leave_its_bounds_a_little(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    """The producer's own DISBELIEF reaches 1.014; 1.4 is none, nor is an age of 111."""
    raw = make_raw("wvs7", {"DISBELIEF": [0.5, 1.014] * 10 + [1.4], "Q262": [40] * 20 + [111]})
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["index_disbelief"].to_list() == [0.5, 1.014] * 10 + [None]
    assert frame["age"].to_list() == [40.0] * 20 + [None]
    checks = {c.name: c for c in harmonize.check_wave(frame, raw, crosswalk)}
    assert checks["schema"].passed, checks["schema"].metadata


def test_a_number_whose_label_says_that_it_is_none(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    labels = {"Q270": {"97": "Lives in an institution", "7": "7 persons or more"}}
    frame = harmonize.harmonize(make_raw("wvs7", {"Q270": [1, 7] * 20 + [97]}, labels), crosswalk).sort("row_index")
    assert frame["household_size"].to_list() == [1.0, 7.0] * 20 + [None]


def test_a_codebook_of_another_kind_stops_the_wave_and_says_which_share(
    make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    variables = ["Q46", "Q57", "Q48", "Q49", "Q50", "Q131"]
    strange = {v: {"1": "blue", "2": "green"} for v in variables[:3]}
    raw = make_raw("wvs7", {v: [1, 2] for v in variables}, strange)
    with pytest.raises(CrosswalkError, match="3 of 7 columns are not understood"):
        harmonize.harmonize(raw, crosswalk)
    assert MAX_SET_ASIDE == 0.25, "docs/methods/survey-files.md states it"


def test_set_aside_answers_are_no_matter_of_a_row_that_was_verified(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    """Rows seen in a producer's file stopped the wave before; now they are treated as all others."""
    labels = {"partyid": {"0": "strong democrat", "9": "tea party"}}
    raw = make_raw("gss", {"partyid": [0] * 200 + [9], "happy": [1] * 201}, labels)
    frame = harmonize.harmonize(raw, crosswalk)
    told = harmonize.describe_set_aside(harmonize.columns_set_aside(raw, crosswalk))
    assert frame.height == 201
    assert any("partyid 9 = 'tea party'" in line for line in told)
