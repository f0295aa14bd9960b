"""Protects the recoding of a wave: by asserted labels, with every kind of missing answer kept, and nothing guessed."""

from __future__ import annotations

import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.tables import RESPONDENTS
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from tests.factories.raw_waves import MakeRaw
from tests.harmonize.long_answers import answers_long

HAPPY = {"1": "very happy", "2": "pretty happy", "3": "not too happy"}


def test_a_code_that_many_have_and_nobody_knows_sets_its_column_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("gss", {"happy": [1, 2, 4, 4], "age": [20, 30, 40, 50]}, {"happy": {**HAPPY, "4": "ecstatic"}})
    assert "happiness_gss" not in harmonize.harmonize(raw, crosswalk).columns
    (line,) = harmonize.describe_set_aside(harmonize.columns_set_aside(raw, crosswalk))
    assert line == "happiness_gss: happy 4 = 'ecstatic' is not mapped"


def test_a_changed_label_sets_its_column_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    turned = {"1": "not too happy", "2": "pretty happy", "3": "very happy"}
    raw = make_raw("gss", {"happy": [1, 2, 3], "age": [20, 30, 40]}, {"happy": turned})
    frame = harmonize.harmonize(raw, crosswalk)
    assert "happiness_gss" not in frame.columns
    assert "age" in frame.columns
    first, second = harmonize.columns_set_aside(raw, crosswalk)
    assert str(first) == "happy 1 = 'not too happy', expected very happy"
    assert (first.unit, second.code) == ("column", "3")


def test_a_changed_label_on_a_code_that_nobody_has_is_told(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("gss", {"happy": [1, 1]}, {"happy": {**HAPPY, "3": "gloomy"}})
    frame = harmonize.harmonize(raw, crosswalk)
    assert [str(p) for p in harmonize.label_drift(raw, crosswalk)] == ["happy 3 = 'gloomy', expected not too happy"]
    drift = next(c for c in harmonize.check_wave(frame, raw, crosswalk) if c.name == "label_drift")
    assert not drift.passed
    assert drift.severity == "warn"


def test_missing_answers_keep_their_kind_and_code(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    codes = ["1", ".d", ".n", ".i", ".x", ".y", ".s", ".r"]
    frame = harmonize.harmonize(make_raw("gss", {"happy": codes}, {"happy": HAPPY}), crosswalk).sort("row_index")
    assert frame["happiness_gss"].to_list() == ["very", *[None] * 7]
    kinds = frame["happiness_gss__missing"].to_list()
    assert kinds[0] is None
    assert kinds[1:3] == ["dont_know", "refused_or_no_answer"]
    assert kinds[4:6] == ["not_available_release", "not_asked"]
    assert None not in kinds[1:]
    assert frame["happiness_gss__code"].to_list() == codes


def test_a_code_that_is_missing_by_label_only(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("gss", {"rincom16": [26, 27]}, {"rincom16": {"26": "$170000 or over", "27": "refused"}})
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["income_own_gss"].to_list() == ["bracket_26", None]
    assert frame["income_own_gss__missing"].to_list() == [None, "refused_or_no_answer"]


def test_one_code_with_two_meanings_goes_to_two_columns(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    four = {"1": "northeast", "2": "midwest", "3": "south", "4": "west"}
    nine = {"1": "new england", "2": "middle atlantic", "3": "e. nor. central"}
    now = harmonize.harmonize(make_raw("gss", {"region": [1, 2]}, {"region": four}), crosswalk)
    then = harmonize.harmonize(make_raw("gss", {"region": [1, 2]}, {"region": nine}), crosswalk)
    assert "region_gss" in now.columns
    assert "census_division_gss" not in now.columns
    assert "census_division_gss" in then.columns
    assert "region_gss" not in then.columns
    unknown = harmonize.harmonize(make_raw("gss", {"region": [1], "happy": [1]}), crosswalk)
    assert not {"region_gss", "census_division_gss"} & set(unknown.columns)
    strange = make_raw("gss", {"region": [1], "happy": [1]}, {"region": {"1": "the moon"}})
    (problem,) = harmonize.columns_set_aside(strange, crosswalk)
    assert "'the moon'" in str(problem)


def test_numbers_keep_their_top_code_and_what_is_out_of_range_is_set_aside(
    make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    frame = harmonize.harmonize(make_raw("gss", {"age": [18, 89]}, {"age": {"89": "89 or older"}}), crosswalk)
    assert sorted(frame["age"].to_list()) == [18.0, 89.0]
    said = answers_long(frame, crosswalk).filter(pl.col("column") == "age").collect()
    assert sorted(said["text"].to_list()) == ["18", "89 or older"]
    raw = make_raw("gss", {"age": [18, 120]})
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["age"].to_list() == [18.0, None]
    assert frame["age__missing"].to_list() == [None, "invalid"]
    assert frame["age__code"].to_list() == ["18", "120"]


def test_open_lists_take_the_labels_of_the_file(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("wvs7", {"Q223": [840001, 5]}, {"Q223": {"840001": "US: Republican", "5": "Other"}})
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["party_wvs"].to_list() == ["US: Republican", "Other"]


def test_order_of_rows_and_columns_changes_nobody(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    columns = {"happy": [1, 2, 3], "age": [30, 40, 50], "id": [7, 8, 9]}
    reverse = {name: values[::-1] for name, values in reversed(columns.items())}
    one = harmonize.harmonize(make_raw("gss", columns), crosswalk)
    two = harmonize.harmonize(make_raw("gss", reverse), crosswalk)
    kept = [c for c in one.columns if c != "row_index"]
    assert one.select(kept).equals(two.select(kept))


def test_a_changed_answer_changes_one_revision_and_no_id(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    one = harmonize.harmonize(make_raw("gss", {"happy": [1, 2, 3]}), crosswalk)
    two = harmonize.harmonize(make_raw("gss", {"happy": [1, 2, 2]}), crosswalk)
    assert one["respondent_id"].equals(two["respondent_id"])
    assert (one["revision"] != two["revision"]).sum() == 1


def test_the_frame_conforms_and_the_country_can_be_said(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    frame = harmonize.harmonize(make_raw("wvs7", {"Q46": [1, 2], "B_COUNTRY": [840, 909]}), crosswalk)
    assert RESPONDENTS.validate(frame).height == 2
    long = answers_long(frame, crosswalk).collect()
    said = dict(long.filter(pl.col("column") == "country").select("code", "text").rows())
    assert said == {"840": "the United States", "909": "Northern Ireland, in the United Kingdom"}
    assert set(long.filter(pl.col("column") == "country")["value"]) == {"USA", "GBR"}


def test_a_wave_without_any_known_variable_is_refused(make_raw: MakeRaw) -> None:
    from mpta_pipeline.core.tables import CONCEPTS, OPTIONS
    from mpta_pipeline.harmonize.crosswalk import Crosswalk as Empty

    with pytest.raises(CrosswalkError, match="no rows for this wave"):
        harmonize.harmonize(make_raw("gss", {"happy": [1]}), Empty({}, CONCEPTS.empty(), OPTIONS.empty(), {}))


def test_which_variable_filled_a_column(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    raw = make_raw("gss", {"vote16": [1, 2], "HAPPY": [1, 2]})
    used = dict(harmonize.column_sources(raw, crosswalk).select("column", "variable").rows())
    assert used["voted_last_presidential_gss"] == "vote16"
    assert used["happiness_gss"] == "HAPPY"


def test_a_hostile_label_is_cut_and_cleaned(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    label = "'; drop table respondents; --\x00\x1b[31m" + "x" * 1_000_000
    raw = make_raw("gss", {"happy": [1], "age": [30]}, {"happy": {"1": label}})
    (line,) = harmonize.describe_set_aside(harmonize.columns_set_aside(raw, crosswalk))
    assert len(line) < 1000
    assert line.isprintable()
    frame = harmonize.harmonize(make_raw("wvs7", {"Q223": [1]}, {"Q223": {"1": label}}), crosswalk)
    assert len(frame["party_wvs"].item()) <= 201


def test_text_where_numbers_belong_is_set_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    words = ["forty", "nan", "2018-01-01", "1e9", "inf"]
    raw = make_raw("gss", {"age": words, "happy": [1] * 5})
    assert "age" not in harmonize.harmonize(raw, crosswalk).columns
    for variable, cells, column in (("Q1", ["1", "hello"], "importance_family"), ("Q262", ["40", "2018-01-01"], "age")):
        frame = harmonize.harmonize(make_raw("wvs7", {variable: cells}), crosswalk).sort("row_index")
        assert frame[column + "__missing"].to_list() == [None, "invalid"]
        assert frame[column + "__code"].to_list() == cells


def test_who_is_in_no_denomination_has_no_religion(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    """EVS asks membership first; the second question is not applicable for those who said no, and for no answer."""
    columns = {"v51": [1, 2, -1, 1], "v52": [1, -3, -3, -3]}
    labels = {"v51": {"1": "yes", "2": "no"}, "v52": {"1": "Roman catholic", "-3": "not applicable"}}
    for said in (labels, None):
        raw = make_raw("evs2017", columns, said)
        frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
        assert frame["religion_denomination_evs"].to_list() == ["catholic", "none", None, None]
        assert frame["religion_denomination_evs__missing"].to_list() == [None, None, *["not_applicable"] * 2]
        assert frame["religion_denomination_evs__code"].to_list() == ["1", "-3", "-3", "-3"]
        said_none = answers_long(frame, crosswalk).filter(pl.col("value") == "none").collect()
        assert said_none["text"].to_list() == ["none"]
    alone = harmonize.harmonize(make_raw("evs2017", {"v52": [1, -3]}), crosswalk).sort("row_index")
    assert alone["religion_denomination_evs__missing"].to_list() == [None, "not_applicable"]
    turned = make_raw("evs2017", {**columns, "v7": [1] * 4, "v225": [1] * 4, "v1": [1] * 4}, {"v51": {"2": "yes"}})
    (problem,) = harmonize.columns_set_aside(turned, crosswalk)
    assert str(problem) == "v51 2 = 'yes', expected /^no\\b/"


def test_of_several_variables_the_first_with_answers_in_the_wave_counts(
    make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    """A cumulative file has the variables of all its years, most of them empty in a given one."""
    raw = make_raw("gss", {"vote20": [".y", ".i"], "vote16": ["1", "2"], "isco08": ["2310", ".n"], "occ10": ["5", "6"]})
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["voted_last_presidential_gss__code"].to_list() == ["1", "2"]
    assert frame["occupation_gss__code"].to_list() == ["2310", ".n"]
    sources = dict(harmonize.column_sources(raw, crosswalk).select("column", "variable").iter_rows())
    assert sources["voted_last_presidential_gss"] == "vote16"
    assert sources["occupation_gss"] == "isco08"


def test_the_title_of_a_variable_can_be_asserted(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # The time series ask whether a parent is an immigrant, the Joint file whether they were born in the country.
    wrong = make_raw("joint", {"V002": [1, 0], "A001": [1, 2]}, titles={"V002": "mother immigrant"})
    (problem,) = harmonize.columns_set_aside(wrong, crosswalk)
    assert "titled" in str(problem)
    assert "mother_born_in_country" not in harmonize.harmonize(wrong, crosswalk).columns
    right = make_raw("joint", {"V002": [1, 0]}, titles={"V002": "mother born in country"})
    assert harmonize.harmonize(right, crosswalk).sort("row_index")["mother_born_in_country"].to_list() == ["yes", "no"]


# --- what the crosswalk does not know ---------------------------------------------------------------------------------

TRUST = {"1": "Most people can be trusted", "2": "Need to be very careful"}


def test_an_unknown_wording_sets_its_column_aside_and_no_other(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    columns = {"Q46": [1, 2], "Q57": [1, 2], "Q48": [1, 10], "Q49": [1, 10], "Q50": [1, 10]}
    raw = make_raw("wvs7", columns, {"Q46": {"1": "Ecstatic", "2": "Quite happy"}, "Q57": TRUST})
    frame = harmonize.harmonize(raw, crosswalk)
    assert "trust_general" in frame.columns
    assert not [c for c in frame.columns if c.startswith("happiness")]
    (problem,) = harmonize.columns_set_aside(raw, crosswalk)
    assert problem.row() == {
        "column": "happiness",
        "variable": "Q46",
        "code": "1",
        "found": "Ecstatic",
        "expected": problem.expected,
        "unit": "column",
        "countries": None,
        "answers": 1,
    }
    check = next(c for c in harmonize.check_wave(frame, raw, crosswalk) if c.name == "columns_set_aside")
    assert not check.passed
    assert check.severity == "warn"
    assert check.metadata["columns"] == ["happiness"]
    assert check.metadata["problems"] == [problem.row()]
    assert "concept" in check.metadata["remedy"]


@pytest.mark.parametrize(("variable", "code"), [("Q1", 7), ("Q262", 200), ("Q46", 5)])
def test_a_code_that_neither_codebook_nor_file_knows_sets_its_cell_aside(
    variable: str, code: int, make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    column = {"Q1": "importance_family", "Q262": "age", "Q46": "happiness"}[variable]
    raw = make_raw("wvs7", {variable: [40 if variable == "Q262" else 1, code], "Q57": [1, 2]})
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame[column].is_null().to_list() == [False, True]
    assert frame[column + "__missing"].to_list() == [None, "invalid"]
    (problem,) = harmonize.columns_set_aside(raw, crosswalk)
    assert (problem.unit, problem.answers) == ("cells", 1)
    (line,) = harmonize.describe_set_aside([problem])
    assert line == f"{column} (1 answer): {variable} {code} = None is not mapped"


def test_a_code_that_only_the_file_knows_is_set_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    labels = {"Q46": {"1": "Very happy", "5": "It depends"}}
    raw = make_raw("wvs7", {"Q46": [1] * 7 + [5] * 3}, labels)
    assert [str(p) for p in harmonize.columns_set_aside(raw, crosswalk)] == ["Q46 5 = 'It depends' is not mapped"]
    assert "happiness" not in harmonize.harmonize(raw, crosswalk).columns


@pytest.mark.parametrize(
    ("codebook", "variable", "labels"),
    [
        ("wvs7", "Q46", {"1": "Not at all happy", "2": "Quite happy"}),
        ("evs_trend", "A008", {"1": "Not at all happy", "2": "Quite happy"}),
        ("wvs7", "Q108", {"1": "People should take more responsibility to provide for themselves"}),
    ],
)
def test_a_label_that_moved_to_another_code_sets_its_column_aside(
    codebook: str, variable: str, labels: dict[str, str], make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    # However few have it: the other codes are no surer than that one.
    raw = make_raw(codebook, {variable: [2] * 500 + [1]} | dict.fromkeys(("Q1", "A001"), [1] * 501), {variable: labels})
    problems = harmonize.columns_set_aside(raw, crosswalk)
    assert {p.unit for p in problems} == {"column"}
    assert problems[0].column not in harmonize.harmonize(raw, crosswalk).columns


@pytest.mark.parametrize(
    ("variable", "said", "column", "values"),
    [
        ("Q46", ["very", "quite"], "happiness", ["very", "quite"]),
        ("Q254", ["very", "quite"], "national_pride", ["very", "quite"]),
        ("Q57", ["can be trusted", "need to be very careful"], "trust_general", ["trust", "careful"]),
        ("Q171", ["more than weekly", "weekly", "monthly"], "religious_attendance", None),
        ("G_TOWNSIZE2", ["<5k", "5-20k", "20-100k", "100-500k", "500k+"], "settlement_size", None),
        ("Q111", ["environment", "growth"], "environment_vs_growth", ["environment", "growth"]),
    ],
)
def test_the_short_words_of_a_codebook_are_labels_too(
    variable: str, said: list[str], column: str, values: list[str] | None, make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    """People who make a file themselves label it as the codebook's tables do."""
    codes = list(range(1, len(said) + 1))
    labels = {variable: {str(c): text for c, text in zip(codes, said, strict=True)}}
    frame = harmonize.harmonize(make_raw("wvs7", {variable: codes}, labels), crosswalk).sort("row_index")
    assert frame[column].null_count() == 0
    assert frame[column].n_unique() == len(codes)
    assert values is None or frame[column].to_list() == values
    turned = {variable: {str(c): text for c, text in zip(codes, reversed(said), strict=True)}}
    if len(said) == 2:
        problems = harmonize.columns_set_aside(make_raw("wvs7", {variable: codes}, turned), crosswalk)
        assert {p.unit for p in problems} == {"column"}


def test_too_many_strange_columns_stop_the_wave(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    strange = {v: {"1": "blue", "2": "green"} for v in ("Q1", "Q2", "Q46", "Q57")}
    columns = {v: [1, 2] for v in ("Q1", "Q2", "Q46", "Q57", "Q3", "Q4")}
    with pytest.raises(CrosswalkError, match="4 of 7 columns are not understood") as stop:
        harmonize.harmonize(make_raw("wvs7", columns, strange), crosswalk)
    assert all(v in str(stop.value) for v in strange)
