"""Protects against what bites in the crosswalk (harmonization.md, section 2): same name or number, other meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from tests.factories.raw_waves import MakeRaw
from tests.harmonize.long_answers import answers_long


def recode(
    make: MakeRaw,
    crosswalk: Crosswalk,
    codebook: str,
    variable: str,
    codes: Sequence[Any],
    column: str,
    labels: Mapping[str, str] | None = None,
) -> list[Any]:
    frame = harmonize.harmonize(make(codebook, {variable: codes}, {variable: labels} if labels else None), crosswalk)
    return frame.sort("row_index")[column].to_list()


CASES = [
    # 1: the poles of government responsibility
    ("wvs7", "Q108", [1, 10], "econ_government_responsibility", None),
    ("joint", "E037", [10, 1], "econ_government_responsibility", None),
    ("evs2017", "v103", [10, 1], "econ_government_responsibility", None),
    # 2: never attends
    ("wvs7", "Q171", [7, 1], "religious_attendance", ["never", "more_than_weekly"]),
    ("evs2017", "v54", [7, 1], "religious_attendance", ["never", "more_than_weekly"]),
    ("joint", "F028", [8, 7], "religious_attendance", ["never", "less_often"]),
    ("gss", "attend", [0, 8], "religious_attendance_gss", ["never", "several_times_a_week"]),
    # 3: the middle answer on respect for authority
    ("evs2017", "v114", [1, 2, 3], "respect_authority_good", ["good", "bad", "neutral"]),
    ("wvs7", "Q45", [1, 2, 3], "respect_authority_good", ["good", "neutral", "bad"]),
    ("joint", "E018", [1, 2, 3], "respect_authority_good", ["good", "neutral", "bad"]),
    # 8: employment
    (
        "evs2017",
        "v244",
        [4, 5, 6, 7, 8],
        "employment_status",
        ["other", "retired", "homemaker", "student", "unemployed"],
    ),
    ("wvs7", "Q279", [4, 5, 6, 7, 8], "employment_status", ["retired", "homemaker", "student", "unemployed", "other"]),
    # 9: marital status
    ("evs2017", "v234", [3, 4, 5], "marital_status_evs", ["widowed", "divorced", "separated"]),
    ("wvs7", "Q273", [3, 4, 5], "marital_status", ["divorced", "separated", "widowed"]),
    ("gss", "marital", [2, 3], "marital_status_gss", ["widowed", "divorced"]),
    # 10: not allowed to vote is an answer
    ("wvs7", "Q222", [4], "vote_national", ["not_eligible"]),
    ("evs2017", "v172", [7], "vote_national", ["not_eligible"]),
    ("joint", "E264", [4], "vote_national", ["not_eligible"]),
    # 12: zero is a value
    ("wvs7", "Q275", [0], "education_isced", ["early"]),
    ("wvs7", "Q289", [0], "religion_denomination", ["none"]),
    ("gss", "degree", [0], "degree_gss", ["less_than_high_school"]),
    # 15: class
    ("wvs7", "Q287", [1, 5], "social_class", ["upper", "lower"]),
    ("gss", "class", [1, 4], "social_class_gss", ["lower", "upper"]),
    # 16: the official cut of education
    ("wvs7", "Q275R", [1, 2, 3], "education_3", ["lower", "middle", "upper"]),
]


@pytest.mark.parametrize(("codebook", "variable", "codes", "column", "values"), [c for c in CASES if c[4]])
def test_codes_that_differ_between_sources(
    codebook: str,
    variable: str,
    codes: list[int],
    column: str,
    values: list[str],
    make_raw: MakeRaw,
    crosswalk: Crosswalk,
) -> None:
    assert recode(make_raw, crosswalk, codebook, variable, codes, column) == values


def test_government_responsibility_has_one_direction(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    found = {
        d: recode(make_raw, crosswalk, d, v, codes, column) for d, v, codes, column, values in CASES if values is None
    }
    assert found["wvs7"] == found["joint"] == found["evs2017"]


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        ({"0": "Not mentioned", "1": "Mentioned"}, [1, 0]),
        ({"1": "Mentioned", "2": "Not mentioned"}, [1, 2]),
        ({"1": "Important", "2": "Not mentioned"}, [1, 2]),
    ],
)
def test_mentions_are_decoded_by_label(
    labels: dict[str, str], codes: list[int], make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    # 5: WVS-7 numbers mentions 1 and 2, the Joint file and the time series 0 and 1.
    first = [
        recode(make_raw, crosswalk, d, v, codes, "child_obedience", labels)
        for d, v in (("wvs7", "Q17"), ("joint", "A042"), ("wvs_ts", "A042"), ("evs2017", "v95"))
    ]
    assert all(values == first[0] and values[0] != values[1] for values in first), first


def test_yes_and_no_are_numbered_in_two_ways(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # 6
    assert recode(make_raw, crosswalk, "wvs7", "Q165", [1, 2], "believe_god") == ["yes", "no"]
    assert recode(make_raw, crosswalk, "joint", "F050", [1, 0], "believe_god") == ["yes", "no"]
    assert recode(make_raw, crosswalk, "wvs_w6", "V148", [1, 2], "believe_god") == ["yes", "no"]
    with_labels = recode(make_raw, crosswalk, "joint", "F050", [1, 2], "believe_god", {"1": "no", "2": "yes"})
    assert with_labels == ["no", "yes"]


def test_parents_are_asked_after_with_opposite_polarity(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # 7: immigrant parent (1 no, 2 yes) against parent born in the country (0 no, 1 yes)
    wvs = recode(make_raw, crosswalk, "wvs7", "Q264", [1, 2], "mother_born_in_country")
    joint = recode(make_raw, crosswalk, "joint", "V002", [1, 0], "mother_born_in_country")
    assert wvs == joint == ["yes", "no"]


def test_a_parent_who_lives_elsewhere_was_not_born_here(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # -3 was "not applicable": 45 % of Andorra. The official tables count it as not born in the country.
    labels = {
        "Q264": {"-3": "INAP; Mother does not live in country"},
        "Q276": {"-3": "Not applicable; No spouse/partner"},
    }
    columns = {"Q264": [1, 2, -3, -2], "Q265": [-3, 1, -1, 2], "Q276": [-3, 3, 3, 3], "A_STUDY": [2, 2, 2, 2]}
    frame = harmonize.harmonize(make_raw("wvs7", columns, labels), crosswalk).sort("row_index")
    assert frame["mother_born_in_country"].to_list() == ["yes", "no", "no", None]
    assert frame["mother_born_in_country__missing"].to_list() == [None, None, None, "refused_or_no_answer"]
    assert frame["father_born_in_country"].to_list() == ["no", "yes", None, "no"]
    # Who has no spouse has no answer about one.
    assert frame["spouse_education__missing"].to_list()[0] == "not_applicable"
    said = answers_long(frame, crosswalk).collect().filter(column="mother_born_in_country", code="-3")
    assert said["text"].to_list() == ["does not live in the country you live in"]
    other = harmonize.harmonize(make_raw("wvs7", {"Q264": [-3, 1]}, {"Q264": {"-3": "Not applicable"}}), crosswalk)
    assert other.sort("row_index")["mother_born_in_country__missing"].to_list() == ["not_applicable", None]


# Codes of country files of waves 2 to 4, as their own labels have them.
OLD_FILES = [
    ("wvs_w4", "V78", "gender_men_right_to_job_3pt", ["agree", "neither", "disagree"]),
    ("wvs_w4", "V79", "jobs_nationals_first_3pt", ["agree", "neither", "disagree"]),
    ("wvs_w3", "V61", "gender_men_right_to_job_3pt", ["agree", "neither", "disagree"]),
    ("wvs_w3", "V63", "jobs_nationals_first_3pt", ["agree", "neither", "disagree"]),
    ("wvs_w2", "V128", "gender_men_right_to_job_3pt", ["agree", "neither", "disagree"]),
    ("wvs_ts", "C001", "gender_men_right_to_job_3pt", ["agree", "disagree", "neither"]),
    ("wvs_w3", "V28", "member_church", ["active", "inactive", "none"]),
    ("wvs_w3", "V217", "education_wvs", ["no_formal", "primary_incomplete", "primary"]),
    ("wvs_w4", "V226", "education_wvs", ["no_formal", "primary_incomplete", "primary"]),
    ("wvs_ts", "X025", "education_wvs", ["primary_incomplete", "primary", "technical_incomplete"]),
]


@pytest.mark.parametrize(("codebook", "variable", "column", "values"), OLD_FILES)
def test_older_waves_have_their_own_codes(
    codebook: str, variable: str, column: str, values: list[str], make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    # The eighth step is there so that a series without labels is known for one.
    codes = [1, 2, 3, *([8] if variable == "X025" else [])]
    assert recode(make_raw, crosswalk, codebook, variable, codes, column)[:3] == values


def test_governments_come_first_in_waves_3_and_4_and_last_in_wave_2(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    column = "econ_government_responsibility"
    found = {
        d: recode(make_raw, crosswalk, d, v, [1, 10], column)
        for d, v in (("wvs7", "Q108"), ("wvs_w4", "V143"), ("wvs_w3", "V127"), ("wvs_w2", "V252"))
    }
    assert found["wvs7"] == found["wvs_w4"] == found["wvs_w3"] == found["wvs_w2"][::-1]


def test_an_item_with_the_title_of_another_is_set_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # V289 of wave 2 is titled "Confidence: The Government"; in Chile its answers are always, most, some, never.
    answers = {"1": "always", "2": "most", "3": "some", "4": "never"}
    for labels in ({"V289": answers}, None):
        raw = make_raw("wvs_w2", {"V289": [1, 2, 3, 4], "V4": [1, 2, 3, 4], "V5": [1, 2, 3, 4]}, labels)
        assert {p.column for p in harmonize.columns_set_aside(raw, crosswalk) if p.whole} == {"confidence_government"}


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("Spanish; Castilian", "Spanish"),
        ("Bengali; Bangla", "Bengali"),
        ("Other European", "another European language"),
        ("Other", "another language"),
        ("Other language, please specify", "another language"),
    ],
)
def test_languages_are_said_by_one_name(label: str, said: str, make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    labels = {"Q272": {"1": label, "2": "Chechen"}}
    found = harmonize.harmonize(make_raw("wvs7", {"Q272": [1, 2]}, labels), crosswalk).sort("row_index")
    assert found["language_home_wvs"].to_list() == [said, "Chechen"]


def test_a_number_is_a_top_code_only_where_the_file_says_so(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # Q274 goes to 10 and beyond in the country files: seven children are seven, not "7 or more".
    frame = harmonize.harmonize(make_raw("wvs7", {"Q274": [7, 11], "Q270": [7, 12]}), crosswalk)
    long = answers_long(frame, crosswalk).collect().filter(pl.col("column").is_in(["n_children", "household_size"]))
    assert sorted(long["text"].to_list()) == ["11", "12", "7", "7"]


def test_pride_of_those_who_are_no_nationals_is_not_applicable(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # 11
    frame = harmonize.harmonize(
        make_raw("wvs7", {"Q254": [1, 5]}, {"Q254": {"5": "I am not [nationality]"}}), crosswalk
    )
    assert frame.sort("row_index")["national_pride__missing"].to_list() == [None, "not_applicable"]


def test_what_is_not_the_same_question_stays_apart(crosswalk: Crosswalk) -> None:
    # 14 and the list of what never pools
    columns = dict.fromkeys(crosswalk.concepts["column"])
    for name in (
        *("income_scale_wvs", "income_decile_evs", "income_scale_joint_wvs", "income_decile_joint_evs"),
        *("prayer_wvs", "prayer_evs", "prayer_joint_wvs", "prayer_joint_evs", "party_joint_wvs", "party_joint_evs"),
        *("happiness_gss", "self_rated_health_gss", "political_views_gss", "abortion_any_reason_gss"),
        *("death_penalty_gss", "euthanasia_gss", "suicide_incurable_gss", "social_class_gss"),
        *("trust_general_gss", "trust_general_gss_nv", "trust_general_gss_v", "justifiable_homosexuality_gss"),
    ):
        assert name in columns, name


def test_volunteered_answers_are_answers(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    assert recode(make_raw, crosswalk, "gss", "trust", [1, 2, 3], "trust_general_gss") == [
        "trust",
        "careful",
        "depends",
    ]
    essential = harmonize.harmonize(make_raw("wvs7", {"Q241": [0, 1, 10]}), crosswalk).sort("row_index")
    column = next(
        c
        for c in essential.columns
        if c.startswith("demo_essential_tax_rich") and not c.endswith(("__missing", "__code"))
    )
    assert essential[column].null_count() == 0
    scores = crosswalk.options.filter(column=column, codebook="wvs7", code="0")["score"]
    assert scores.to_list() == [None]


def test_wording_splits_of_the_gss_are_never_merged(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    frame = harmonize.harmonize(make_raw("gss", {"trustnv": [1, ".i"], "trustv": [".i", 3]}), crosswalk)
    assert {"trust_general_gss_nv", "trust_general_gss_v"} <= set(frame.columns)
    assert "trust_general_gss" not in frame.columns


def test_body_weight_is_no_survey_weight(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    frame = harmonize.harmonize(make_raw("gss", {"weight": [180, 95], "happy": [1, 2]}), crosswalk)
    assert frame["weight"].to_list() == [1.0, 1.0]


def test_the_three_point_item_codes_its_middle_last(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # 4: C001 and C002 write "neither" as 3; the middle answer must have the middle place.
    for codebook, variable in (("wvs_ts", "C001"), ("joint", "C001"), ("wvs_ts", "C002")):
        rule = next((r for r in crosswalk.rules[codebook] if variable in r.variables), None)
        if rule is None:
            continue
        score = {o.code: rule.scores.get(o.value) for o in rule.options}
        assert score["3"] is not None, (codebook, variable)
        assert sorted((score["1"], score["2"], score["3"]), key=float)[1] == score["3"]  # type: ignore[arg-type]


def test_a_scale_that_was_turned_is_set_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # 18: an inverted file that came under the regular names is found by its labels.
    turned = {"Q46": {"1": "Not at all happy", "4": "Very happy"}}
    raw = make_raw("wvs7", {"Q46": [1, 4], "Q57": [1, 2]}, turned)
    assert "happiness" not in harmonize.harmonize(raw, crosswalk).columns
    assert {p.column for p in harmonize.columns_set_aside(raw, crosswalk)} == {"happiness"}
