"""Polarity of the concepts on democracy, confidence, aims, immigration, economy, belief, action, closeness, portraits.

What is protected: no scale of these concepts is upside down in any source, and every row of the reference crosswalk has
its decision. The poles below are written down by hand from the producers' codebooks; the reference crosswalk and the
NORC files are read where they lie beside the repository, and skipped where they do not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import polars as pl
import pyreadstat
import pytest

from mpta_pipeline.harmonize import load_crosswalk
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.personas.wording import third_person
from tests.shared_data import REFERENCE_CROSSWALK, gss_file, present

CODEBOOKS = {"WVS7": "wvs7", "WVS_TS": "wvs_ts", "JOINT": "joint", "EVS2017": "evs2017", "GSS": "gss"}

WVS = ("wvs7", "wvs_ts")
CORE = (*WVS, "joint", "evs2017")
ESSENTIALS = [
    "tax_rich",
    "religious_law",
    "free_elections",
    "unemployment_aid",
    "army_takeover",
    "civil_rights",
    "incomes_equal",
    "obey_rulers",
    "women_equal",
]
PORTRAITS = [
    "self_direction",
    "power",
    "security",
    "hedonism",
    "benevolence",
    "achievement",
    "stimulation",
    "conformity",
    "universalism",
    "tradition",
]
INDICES = [
    "emancipative_values",
    "secular_values",
    "evi_autonomy",
    "evi_equality",
    "evi_choice",
    "evi_voice",
    "defiance",
    "disbelief",
    "relativism",
    "scepticism",
    "autonomy_index",
]

# Concept → codebooks → (code at the bottom, code at the top) of what the column's label names.
POLES: dict[str, dict[tuple[str, ...], tuple[str, str]]] = {
    "system_army_rule": {CORE: ("4", "1")},
    "system_democratic_system": {CORE: ("4", "1")},
    "democracy_importance": {CORE: ("1", "10")},
    "democracy_own_country": {CORE: ("1", "10"), ("gss",): ("0", "10")},
    "political_system_satisfaction": {CORE: ("1", "10")},
    **{f"demo_essential_{name}": {CORE: ("1", "10")} for name in ESSENTIALS},
    **{
        f"confidence_{name}": {CORE: ("4", "1")}
        for name in ("police", "parties", "civil_service", "environmental_orgs", "un")
    },
    "confidence_elections": {WVS: ("4", "1")},
    # 1 = very secure; GSS fear: 1 = yes, afraid, in a column of its own.
    "security_neighbourhood": {WVS: ("4", "1"), ("gss",): ("2", "1")},
    # One of the few in which the first code is the bad end. GSS immameco: 1 = agree strongly that they are good.
    "immigrants_impact": {CORE: ("1", "5"), ("gss",): ("5", "1")},
    # Restrictiveness: anyone may come … nobody; numbers up … numbers down.
    "immigration_policy": {WVS: ("1", "4"), ("gss",): ("1", "5")},
    # 0 = disagree is a value; EVS 1 = crime gets worse; GSS 1 = agree strongly.
    "immigration_increases_crime": {WVS: ("0", "2"), ("evs2017",): ("10", "1"), ("gss",): ("5", "1")},
    "econ_income_equality": {CORE: ("1", "10"), ("gss",): ("1", "7")},
    "econ_private_vs_state": {CORE: ("1", "10")},
    "econ_competition": {CORE: ("1", "10")},
    # Trap 1: the government is 1 in WVS-7 and in GSS, and 10 in the time series, the Joint file and EVS.
    "econ_government_responsibility": {
        ("wvs7",): ("10", "1"),
        ("wvs_ts", "joint", "evs2017"): ("1", "10"),
        ("gss",): ("5", "1"),
    },
    "econ_hard_work": {WVS: ("1", "10"), ("gss",): ("1", "3")},
    # Trap 6: no is 2 in WVS-7 and EVS, 0 in the time series and the Joint file.
    **{
        f"believe_{name}": {
            ("wvs7", "evs2017", "wvs_w4"): ("2", "1"),
            ("wvs_ts", "joint"): ("0", "1"),
            ("gss",): ("4", "1"),
        }
        for name in ("hell", "heaven")
    },
    "religion_over_science": {WVS: ("4", "1")},
    "only_my_religion": {WVS: ("4", "1")},
    **{f"government_right_{name}": {CORE: ("4", "1")} for name in ("video", "emails", "secret_data")},
    "action_petition": {CORE: ("3", "1"), ("gss",): ("2", "1")},
    **{f"action_{name}": {CORE: ("3", "1")} for name in ("boycott", "demonstration", "strike")},
    **{f"close_to_{name}": {CORE: ("4", "1")} for name in ("town", "region", "country", "continent", "world")},
    "election_votes_fair": {CORE: ("4", "1")},
    **{f"schwartz_{name}": {("wvs_ts", "wvs_w6", "wvs_w5"): ("6", "1")} for name in PORTRAITS},
}
# Nominal concepts: code → value, the same in all four.
NOMINAL: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "environment_vs_growth": (CORE, {"1": "environment", "2": "growth", "3": "other"}),
    "aims_respondent_first": (CORE, {"1": "order", "2": "say", "3": "prices", "4": "speech"}),
    "aims_respondent_second": (CORE, {"1": "order", "2": "say", "3": "prices", "4": "speech"}),
    "aims_country_first": (CORE, {"1": "growth", "2": "defence", "3": "say", "4": "beauty"}),
    "freedom_vs_equality": (WVS, {"1": "freedom", "2": "equality"}),
    "freedom_vs_security": (WVS, {"1": "freedom", "2": "security"}),
}
CONCEPTS = {*POLES, *NOMINAL, *(f"index_{name}" for name in INDICES)}

# Labels as the producers' files write them (WVS-7 codebook; time series; EVS), in the order of the codes from `first`.
LABELS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "system_army_rule": ("wvs7", 1, ("Very good", "Fairly good", "Fairly bad", "Very bad")),
    "confidence_police": ("wvs7", 1, ("A great deal", "Quite a lot", "Not very much", "None at all")),
    "aims_respondent_first": (
        "wvs_ts",
        1,
        (
            "Maintaining order in the nation",
            "Give people more say",
            "Fighting rising prices",
            "Protecting freedom of speech",
        ),
    ),
    "security_neighbourhood": ("wvs7", 1, ("Very Secure", "Quite secure", "Not very secure", "Not at all secure")),
    "immigrants_impact": ("wvs7", 1, ("Rather bad", "Quite bad", "Neither good, nor bad", "Quite good", "Very good")),
    "immigration_increases_crime": ("wvs7", 0, ("Disagree", "Hard to say", "Agree")),
    "believe_hell": ("wvs7", 1, ("Yes", "No")),
    "religion_over_science": ("wvs7", 1, ("Strongly agree", "Agree", "Disagree", "Strongly disagree")),
    "only_my_religion": ("wvs_ts", 1, ("Agree strongly", "Agree", "Disagree", "Disagree strongly")),
    "government_right_video": (
        "wvs7",
        1,
        (
            "Definitely should have the right",
            "Probably should have the right",
            "Probably should not have the right",
            "Definitely should not have the right",
        ),
    ),
    "action_petition": ("wvs7", 1, ("Have done", "Might do", "Would never do")),
    "close_to_town": ("wvs7", 1, ("Very close", "Close", "Not very close", "Not close at all")),
    "election_votes_fair": ("wvs7", 1, ("Very often", "Fairly often", "Not often", "Not at all often")),
    "freedom_vs_equality": ("wvs7", 1, ("Freedom", "Equality")),
    "schwartz_power": (
        "wvs_ts",
        1,
        ("Very much like me", "Like me", "Somewhat like me", "A little like me", "Not like me", "Not at all like me"),
    ),
}
# The same for scales of which only the ends have labels.
ENDS: dict[tuple[str, str], tuple[str, str]] = {
    ("econ_government_responsibility", "wvs7"): (
        "The government should take more responsibility to ensure that everyone is provided for",
        "People should take more responsibility to provide for themselves",
    ),
    ("econ_government_responsibility", "wvs_ts"): (
        "People should take more responsibility",
        "The government should take more responsibility",
    ),
    ("econ_government_responsibility", "evs2017"): (
        "individuals should take more responsibility for providing for themselves",
        "the state should take more responsibility to ensure that everyone is provided for",
    ),
    ("econ_income_equality", "wvs7"): ("Incomes more equal", "Larger income differences"),
    ("econ_income_equality", "wvs_ts"): (
        "Incomes should be made more equal",
        "We need larger income differences as incentives",
    ),
    ("econ_private_vs_state", "wvs7"): (
        "Private ownership of business should be increased",
        "Government ownership of business should be increased",
    ),
    ("econ_competition", "wvs7"): ("Competition is good", "Competition is harmful"),
    ("econ_hard_work", "wvs7"): (
        "In the long run, hard work usually brings a better life",
        "Hard work doesn't generally bring success - it's more a matter of luck and connections",
    ),
    ("democracy_importance", "wvs7"): ("Not at all important", "Absolutely important"),
    ("democracy_own_country", "wvs7"): ("Not at all democratic", "Completely democratic"),
    ("political_system_satisfaction", "wvs7"): ("Not satisfied at all", "Completely satisfied"),
    ("immigration_increases_crime", "evs2017"): (
        "make crime problems worse",
        "do not make crime problems worse",
    ),
    **{
        (f"demo_essential_{name}", "wvs7"): (
            "Not an essential characteristic of democracy",
            "An essential characteristic of democracy",
        )
        for name in ESSENTIALS
    },
}


@pytest.fixture(scope="module")
def crosswalk() -> Crosswalk:
    return load_crosswalk()


@pytest.fixture(scope="module")
def reference() -> list[dict[str, str]]:
    with present(REFERENCE_CROSSWALK).open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["concept"] in CONCEPTS]


def _rule(crosswalk: Crosswalk, concept: str, codebook: str, variable: str | None = None) -> Rule:
    """The rule of a concept in a codebook, its first one unless a variable is named."""
    found = (r for r in crosswalk.rules[codebook] if r.concept.concept == concept)
    return next(r for r in found if variable is None or variable in r.variables)


def _scores(rule: Rule) -> dict[str, float | None]:
    return {o.code: None if o.off_scale else rule.scores.get(o.value) for o in rule.options}


def _cases() -> Iterator[tuple[str, str, str, str]]:
    for concept, sources in POLES.items():
        for codebooks, (bottom, top) in sources.items():
            yield from ((concept, codebook, bottom, top) for codebook in codebooks)


@pytest.mark.parametrize(("concept", "codebook", "bottom", "top"), list(_cases()))
def test_poles(crosswalk: Crosswalk, concept: str, codebook: str, bottom: str, top: str) -> None:
    scores = _scores(_rule(crosswalk, concept, codebook))
    assert (scores[bottom], scores[top]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("concept", "codebook"), [(concept, d) for concept, (codebooks, _) in NOMINAL.items() for d in codebooks]
)
def test_nominal_codes(crosswalk: Crosswalk, concept: str, codebook: str) -> None:
    rule = _rule(crosswalk, concept, codebook)
    assert {o.code: o.value for o in rule.options} == NOMINAL[concept][1]


def test_points_between_the_poles_keep_their_order(crosswalk: Crosswalk) -> None:
    """No scale goes up and down: over the codes of a row the scores rise or fall throughout."""
    for rules in crosswalk.rules.values():
        for rule in rules:
            if rule.concept.concept not in POLES:
                continue
            by_code = [s for _, s in sorted(_scores(rule).items(), key=lambda item: int(item[0])) if s is not None]
            assert by_code in (sorted(by_code), sorted(by_code, reverse=True)), rule.column


def test_government_responsibility_is_turned_only_where_it_must_be(crosswalk: Crosswalk) -> None:
    """A respondent who leaves it to the government has 1 in WVS-7 and 10 in the other three, and the same value."""
    concept = "econ_government_responsibility"
    values = {d: {o.code: o.value for o in _rule(crosswalk, concept, d).options} for d in CORE}
    assert values["wvs7"]["1"] == values["joint"]["10"] == values["evs2017"]["10"] == values["wvs_ts"]["10"]
    assert values["wvs7"]["3"] == values["joint"]["8"]
    # The files of a wave, as the labels of country files have it: wave 2 as the series, waves 3 to 6 as wave 7.
    waves = {d: {o.code: o.value for o in _rule(crosswalk, concept, d).options} for d in ("wvs_w2", "wvs_w3", "wvs_w4")}
    assert waves["wvs_w2"] == values["wvs_ts"]
    assert waves["wvs_w3"] == waves["wvs_w4"] == values["wvs7"]
    for codebook in ("wvs_w5", "wvs_w6"):
        unlabelled = _rule(crosswalk, concept, codebook).row.unlabelled
        assert unlabelled and unlabelled.direction


@pytest.mark.parametrize("name", ESSENTIALS)
def test_against_democracy_is_an_answer_without_a_place(crosswalk: Crosswalk, name: str) -> None:
    for codebook in CORE:
        zero = next(o for o in _rule(crosswalk, f"demo_essential_{name}", codebook).options if o.code == "0")
        assert (zero.value, zero.off_scale) == ("against", True)


def test_yes_and_no_are_decoded_by_label(crosswalk: Crosswalk) -> None:
    for concept in ("believe_hell", "believe_heaven"):
        rows = [s for s in crosswalk.items[concept].sources if s.pool]
        assert {s.decode for s in rows} == {"label"}


def test_belief_of_norc_keeps_its_four_degrees(crosswalk: Crosswalk) -> None:
    for concept in ("believe_hell", "believe_heaven"):
        scores = _scores(_rule(crosswalk, concept, "gss"))
        assert [scores[c] for c in "1234"] == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_first_and_second_aim_hide_each_other(crosswalk: Crosswalk) -> None:
    battery = crosswalk.batteries.filter(pl.col("column").str.starts_with("aims_respondent_"))
    assert battery["one_choice"].all() and battery["battery"].n_unique() == 1


def test_lowest_points_of_the_autonomy_index_are_values(crosswalk: Crosswalk) -> None:
    for codebook in (*WVS, "wvs_usa_extract"):
        source = _rule(crosswalk, "index_autonomy_index", codebook).row
        assert source.numeric is not None
        assert (source.numeric.min, source.numeric.max) == (-2, 2)
        assert not {"-1", "-2"} & {m.code for m in source.missing}


@pytest.mark.parametrize("name", INDICES)
def test_indices_of_the_producer_are_no_traits(crosswalk: Crosswalk, name: str) -> None:
    """Nobody answered them: they are there for groups, and are never asked nor told of a person."""
    rows = crosswalk.concepts.filter((pl.col("concept") == f"index_{name}") & pl.col("column").is_not_null())
    assert rows["domain"].unique().to_list() == ["design"]


def test_norc_questions_never_share_a_column(crosswalk: Crosswalk) -> None:
    mine = crosswalk.concepts.filter(pl.col("concept").is_in(list(CONCEPTS)) & pl.col("column").is_not_null())
    gss = set(mine.filter(pl.col("codebook") == "gss")["column"])
    assert gss and not gss & set(mine.filter(pl.col("codebook") != "gss")["column"])


def test_wordings_of_getting_ahead_stay_apart(crosswalk: Crosswalk) -> None:
    columns = {r.variables: r.column for r in crosswalk.rules["gss"] if r.concept.concept == "econ_hard_work"}
    assert len(set(columns.values())) == len(columns) == 3


@pytest.mark.parametrize("concept", LABELS)
def test_labels_are_accepted_and_reversed_ones_refused(crosswalk: Crosswalk, concept: str) -> None:
    codebook, first, labels = LABELS[concept]
    options = {o.code: o for o in _rule(crosswalk, concept, codebook).options}
    told = {str(first + place): label for place, label in enumerate(labels)}
    reverse = dict(zip(told, reversed(labels), strict=True))
    for code, label in told.items():
        pattern = options[code].label
        assert pattern is not None and pattern.accepts(label), (code, label)
        assert reverse[code] == label or not pattern.accepts(reverse[code]), (code, reverse[code])
        others = [o.code for o in options.values() if o.code != code and o.label and o.label.accepts(label)]
        assert not others, (label, others)


@pytest.mark.parametrize(("concept", "codebook"), ENDS)
def test_end_labels_are_accepted_and_swapped_ones_refused(crosswalk: Crosswalk, concept: str, codebook: str) -> None:
    ends = _rule(crosswalk, concept, codebook).row.range
    assert ends is not None and ends.low_label and ends.high_label
    low, high = ENDS[concept, codebook]
    assert ends.low_label.accepts(low) and ends.high_label.accepts(high)
    assert not ends.low_label.accepts(high) and not ends.high_label.accepts(low)


def test_every_reference_row_is_covered(crosswalk: Crosswalk, reference: list[dict[str, str]]) -> None:
    """Source, variable and equivalence as the reference crosswalk has them; a gap is a decision with its reason."""
    assert {row["concept"] for row in reference} == CONCEPTS
    have = {
        (concept, row.codebook, variable, row.equivalence)
        for concept in CONCEPTS
        for row in crosswalk.items[concept].rows
        for variable in row.variables or ("",)
    }
    want = {(r["concept"], CODEBOOKS[r["source"]], r["variable"], r["equivalence"]) for r in reference}
    assert not want - have
    assert all(
        row.notes for concept in CONCEPTS for row in crosswalk.items[concept].rows if row.equivalence == "absent"
    )


def test_every_single_wave_variable_is_covered(crosswalk: Crosswalk, reference: list[dict[str, str]]) -> None:
    have = {(r.concept.concept, r.codebook, v) for rs in crosswalk.rules.values() for r in rs for v in r.variables}
    want = {
        (row["concept"], f"wvs_w{wave}", variable)
        for row in reference
        if row["source"] == "WVS_TS" and row["concept"] != "econ_government_responsibility"
        for pattern in (r"W(\d)=(\w+)", r"wave (\d) (V\w+)")
        for wave, variable in re.findall(pattern, row["notes"])
    }
    assert len(want) > 200
    assert not want - have


def test_scores_are_those_of_the_reference_recodes(crosswalk: Crosswalk, reference: list[dict[str, str]]) -> None:
    """The reference's formulas (u = (4-x)/3 …), evaluated at each code, give the same place on the scale."""
    compared = 0
    for row in reference:
        falling = re.search(r"u=\((\d+)-x\)/(\d+)", row["recode"])
        rising = re.search(r"u=\(x-(\d+)\)/(\d+)|u=()x/(\d+)", row["recode"])
        if not (falling or rising):
            continue
        rule = _rule(crosswalk, row["concept"], CODEBOOKS[row["source"]], row["variable"])
        for code, score in _scores(rule).items():
            if score is None:
                continue
            if falling:
                expected = (int(falling[1]) - int(code)) / int(falling[2])
            else:
                assert rising
                zero, span = (g for g in rising.groups() if g is not None)
                expected = (int(code) - int(zero or 0)) / int(span)
            assert score == pytest.approx(expected), (row["concept"], row["source"], code)
            compared += 1
    assert compared > 900


def test_ranges_are_those_of_the_reference(crosswalk: Crosswalk, reference: list[dict[str, str]]) -> None:
    for row in reference:
        if row["min"]:
            rule = _rule(crosswalk, row["concept"], CODEBOOKS[row["source"]], row["variable"])
            codes = [int(o.code) for o in rule.options]
            assert (min(codes), max(codes)) == (int(row["min"]), int(row["max"])), (row["concept"], row["source"])


@pytest.mark.parametrize("year", [2016, 2018, 2021, 2024])
def test_labels_hold_in_the_norc_files(crosswalk: Crosswalk, year: int) -> None:
    file = present(gss_file(year))
    _, meta = pyreadstat.read_dta(str(file), metadataonly=True, encoding="cp1252" if year == 2021 else None)
    names = {name.lower(): name for name in meta.column_names}
    checked = 0
    for rule in crosswalk.rules["gss"]:
        name = names.get(rule.variables[0]) if rule.concept.concept in CONCEPTS else None
        if name is None:
            continue
        options = {o.code: o for o in rule.options}
        for code, label in meta.variable_value_labels.get(name, {}).items():
            if isinstance(code, str):  # a tagged missing code
                continue
            option = options[str(int(code))]
            assert option.label is None or option.label.accepts(label), (name, code, label)
            checked += option.label is not None
    assert checked >= 15


def test_statements_fit_second_and_third_person(crosswalk: Crosswalk) -> None:
    mine = crosswalk.concepts.filter(pl.col("concept").is_in(list(CONCEPTS)) & pl.col("column").is_not_null())
    for statement in mine["statement"].unique():
        assert statement.startswith(("You ", "Your ")) and statement.endswith(".")
        assert not re.search(r"\b[Yy]ou(r|rs|rself)?\b", third_person(statement))
    assert all(question.endswith("?") for question in mine["question"].unique())


def test_answers_of_a_row_are_told_apart_by_their_text(crosswalk: Crosswalk) -> None:
    mine = pl.Series([r.column for rs in crosswalk.rules.values() for r in rs if r.concept.concept in CONCEPTS])
    texts = crosswalk.options.filter(pl.col("column").is_in(mine.unique().to_list())).group_by("column", "codebook")
    counts = texts.agg(pl.col("text").n_unique(), pl.len().alias("codes"))
    assert (counts["text"] == counts["codes"]).all()
