"""Protects the concepts of life, neighbours, trust, justifiability, work, science and origin: coverage and polarity.

Where the producers' own files or codebooks are at hand, every label of theirs is put to the concept files.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator

import pytest

from mpta_pipeline.harmonize import load_crosswalk
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from tests.shared_data import REFERENCE_CROSSWALK, WVS_CODEBOOK, gss_file, needs, present

CODEBOOKS = {"WVS7": "wvs7", "WVS_TS": "wvs_ts", "JOINT": "joint", "EVS2017": "evs2017", "GSS": "gss"}
CONCEPTS = (
    *("citizenship", "birth_country", "mother_born_in_country", "father_born_in_country", "language_home"),
    *("interest_politics", "fight_for_country", "control_over_life", "less_importance_work", "parents_proud"),
    *(f"importance_{x}" for x in ("family", "friends", "leisure", "politics", "work", "religion")),
    *(f"child_{x}" for x in ("good_manners", "independence", "hard_work", "responsibility", "imagination")),
    *(f"child_{x}" for x in ("tolerance", "thrift", "determination", "religious_faith", "unselfishness", "obedience")),
    *(f"neighbour_{x}" for x in ("drug_addicts", "different_race", "aids", "immigrants", "homosexuals")),
    *(f"neighbour_{x}" for x in ("different_religion", "heavy_drinkers", "unmarried_couples", "different_language")),
    *(f"trust_{x}" for x in ("family", "neighbourhood", "known_personally", "first_met")),
    *(f"trust_{x}" for x in ("other_religion", "other_nationality")),
    *(f"justifiable_{x}" for x in ("claim_benefits", "fare_dodging", "stealing", "tax_cheating", "bribe")),
    *(f"justifiable_{x}" for x in ("prostitution", "wife_beating", "parents_beating_children", "violence")),
    *(f"justifiable_{x}" for x in ("terrorism", "political_violence")),
    *("gender_university_boy", "gender_men_better_executives", "gender_men_right_to_job", "jobs_nationals_first"),
    *("woman_earns_more_problem", "homosexual_parents", "duty_children", "duty_care_parents"),
    *("work_lazy", "work_duty", "work_first"),
    *(f"science_{x}" for x in ("healthier", "opportunities", "vs_faith", "right_wrong", "not_important")),
    *("science_world_better", "system_strong_leader", "system_experts"),
)


@pytest.fixture(scope="module")
def crosswalk() -> Crosswalk:
    return load_crosswalk()


def rule_of(crosswalk: Crosswalk, codebook: str, variable: str, concept: str | None = None) -> Rule:
    """The rule that reads a variable; `concept` where one variable serves two."""
    found = [
        r
        for r in crosswalk.rules[codebook]
        if variable in r.variables and r.concept.concept in (CONCEPTS if concept is None else (concept,))
    ]
    assert len(found) == 1, f"{codebook} {variable}: {[r.column for r in found]}"
    return found[0]


def values_of(crosswalk: Crosswalk, codebook: str, variable: str, concept: str | None = None) -> dict[str, str]:
    """Code → canonical value."""
    return {o.code: o.value for o in rule_of(crosswalk, codebook, variable, concept).options}


def scores_of(crosswalk: Crosswalk, codebook: str, variable: str, concept: str | None = None) -> dict[str, float]:
    """Code → place on the canonical scale."""
    rule = rule_of(crosswalk, codebook, variable, concept)
    return {o.code: rule.scores[o.value] for o in rule.options if not o.off_scale}


def rules_of_batch(crosswalk: Crosswalk) -> Iterator[Rule]:
    for rules in crosswalk.rules.values():
        yield from (r for r in rules if r.concept.concept in CONCEPTS)


def decoded(rule: Rule, code: str, label: str) -> str | None:
    """What a code with a label becomes: a value, `missing`, or null where the label contradicts."""
    if any(m.code == code and m.label and m.label.accepts(label) for m in rule.row.missing):
        return "missing"
    if rule.row.decode == "label":
        fitting = {o.value for o in rule.options if o.label and o.label.accepts(label)}
        return fitting.pop() if len(fitting) == 1 else None
    return next((o.value for o in rule.options if o.code == code and (o.label is None or o.label.accepts(label))), None)


def test_every_concept_of_the_batch_is_there(crosswalk: Crosswalk) -> None:
    assert len(CONCEPTS) == len(set(CONCEPTS)) == 72
    assert set(CONCEPTS) <= set(crosswalk.items)


@needs(REFERENCE_CROSSWALK)
def test_every_row_of_the_reference_crosswalk_is_covered(crosswalk: Crosswalk) -> None:
    with REFERENCE_CROSSWALK.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["concept"] in CONCEPTS]
    assert len(rows) == 361
    lacking = []
    for row in rows:
        concept = crosswalk.items[row["concept"]]
        codebook = CODEBOOKS[row["source"]]
        if row["equivalence"] == "absent":
            covered = bool(concept.absent.get(codebook))
        else:
            wanted = {v.strip() for v in row["variable"].split("/")}
            # In one row, of which the first with answers counts, or each in a column of its own.
            alike = [s for s in concept.sources if s.codebook == codebook and s.equivalence == row["equivalence"]]
            covered = wanted <= {v for s in alike for v in s.variables}
        if not covered or concept.domain != row["domain"]:
            lacking.append((row["concept"], codebook, row["variable"]))
        for wave, variable in re.findall(r"\bW([1-6])=(\w+)", row["notes"]):
            reads = [r for r in crosswalk.rules.get(f"wvs_w{wave}", ()) if r.concept is concept]
            if [r.variables for r in reads] != [(variable,)]:
                lacking.append((row["concept"], f"wvs_w{wave}", variable))
    assert lacking == []


def test_what_is_not_equivalent_or_american_is_never_pooled(crosswalk: Crosswalk) -> None:
    for rule in rules_of_batch(crosswalk):
        if rule.codebook == "gss" or rule.row.equivalence in ("not_equivalent", "approximate", "source_specific"):
            assert rule.column != rule.concept.concept, f"{rule.codebook} {rule.variables} pooled"


def test_all_european_and_world_rows_that_are_identical_share_a_column(crosswalk: Crosswalk) -> None:
    for rule in rules_of_batch(crosswalk):
        if rule.row.equivalence == "identical":
            assert rule.column == rule.concept.concept


@pytest.mark.parametrize(
    ("codebook", "variable", "expected"),
    [
        # Codes 2 and 3 are swapped between EVS and WVS.
        ("wvs7", "Q43", {"1": "good", "2": "neutral", "3": "bad"}),
        ("wvs_ts", "E015", {"1": "good", "2": "neutral", "3": "bad"}),
        ("joint", "E015", {"1": "good", "2": "neutral", "3": "bad"}),
        ("evs2017", "v113", {"1": "good", "2": "bad", "3": "neutral"}),
        # Of three points the middle is coded last; of five it is in the middle.
        ("wvs_ts", "C001", {"1": "agree", "2": "disagree", "3": "neither"}),
        ("wvs_ts", "C002", {"1": "agree", "2": "disagree", "3": "neither"}),
        ("joint", "C001", {"1": "agree", "2": "disagree", "3": "neither"}),
        ("wvs7", "Q34_3", {"1": "agree", "2": "disagree", "3": "neither"}),
        # Yes and no: 1/2 in WVS-7, EVS and single waves, 0/1 in the Joint file, and 2 = depends in the time series.
        ("wvs7", "Q151", {"1": "yes", "2": "no"}),
        ("wvs_w6", "V66", {"1": "yes", "2": "no"}),
        ("evs2017", "v112", {"1": "yes", "2": "no"}),
        ("joint", "E012", {"0": "no", "1": "yes"}),
        ("wvs_ts", "E012", {"0": "no", "1": "yes", "2": "depends"}),
        # Parents: not an immigrant first, parent an immigrant, parent born in the country.
        ("wvs7", "Q264", {"1": "yes", "2": "no", "-3": "no"}),
        ("wvs7", "Q265", {"1": "yes", "2": "no", "-3": "no"}),
        ("wvs_ts", "G026", {"0": "yes", "1": "no"}),
        ("wvs_ts", "G027", {"0": "yes", "1": "no"}),
        ("joint", "V002", {"0": "no", "1": "yes"}),
        ("joint", "V001", {"0": "no", "1": "yes"}),
        ("evs2017", "v232", {"1": "yes", "2": "no"}),
        ("evs2017", "v230", {"1": "yes", "2": "no"}),
        ("wvs7", "Q269", {"1": "yes", "2": "no", "3": "no"}),
        ("joint", "G005", {"0": "no", "1": "yes"}),
        # Mentions: 1/2 or 0/1.
        ("wvs7", "Q7", {"1": "mentioned", "2": "not_mentioned"}),
        ("joint", "A027", {"1": "mentioned", "0": "not_mentioned"}),
        ("wvs_ts", "A124_06", {"1": "mentioned", "0": "not_mentioned"}),
        ("wvs_w6", "V39", {"1": "mentioned", "2": "not_mentioned", "0": "not_mentioned"}),
        ("evs2017", "v24", {"1": "mentioned", "2": "not_mentioned"}),
    ],
)
def test_codes_that_mean_other_things_elsewhere(
    crosswalk: Crosswalk, codebook: str, variable: str, expected: dict[str, str]
) -> None:
    assert values_of(crosswalk, codebook, variable) == expected


def test_one_variable_on_both_parents_is_split_between_them(crosswalk: Crosswalk) -> None:
    mother = values_of(crosswalk, "gss", "parborn", "mother_born_in_country")
    father = values_of(crosswalk, "gss", "parborn", "father_born_in_country")
    assert mother == {"0": "yes", "1": "yes", "2": "no", "3": "yes", "4": "no", "8": "no"}
    assert father == {"0": "yes", "1": "no", "2": "yes", "5": "yes", "6": "no", "8": "no"}
    for concept, unknown in (("mother_born_in_country", "567"), ("father_born_in_country", "347")):
        missing = rule_of(crosswalk, "gss", "parborn", concept).row.missing
        assert {m.code for m in missing} == set(unknown)
        assert {m.kind for m in missing} == {"dont_know"}


@pytest.mark.parametrize(
    ("codebook", "variable", "lowest", "highest"),
    [
        # Native code that stands for the least and for the most of what the column is called.
        ("wvs7", "Q1", "4", "1"),
        ("wvs_ts", "A001", "4", "1"),
        ("joint", "A006", "4", "1"),
        ("evs2017", "v6", "4", "1"),
        ("wvs7", "Q61", "4", "1"),
        ("evs2017", "v37", "4", "1"),
        ("wvs7", "Q48", "1", "10"),
        ("evs2017", "v38", "1", "10"),
        ("wvs7", "Q199", "4", "1"),
        ("gss", "polint1", "4", "1"),
        ("gss", "polint", "5", "1"),
        ("wvs7", "Q177", "1", "10"),
        ("evs2017", "v162", "1", "10"),
        ("gss", "taxcheat", "4", "1"),
        ("gss", "spanking", "4", "1"),
        ("wvs7", "Q30", "4", "1"),
        ("evs2017", "v78", "4", "1"),
        ("wvs7", "Q36", "5", "1"),
        ("gss", "marsame", "5", "1"),
        ("gss", "marhomo", "5", "1"),
        ("joint", "C002_01", "5", "1"),
        ("wvs7", "Q158", "1", "10"),
        ("wvs7", "Q162", "1", "10"),
        ("wvs7", "Q163", "1", "10"),
        ("gss", "nextgen", "4", "1"),
        ("gss", "scifaith", "5", "1"),
        ("wvs7", "Q235", "4", "1"),
        ("evs2017", "v146", "4", "1"),
        ("gss", "thnkself", "5", "1"),
        ("gss", "obey", "5", "1"),
        ("wvs7", "Q18", "2", "1"),
        ("joint", "A124_08", "0", "1"),
        ("evs2017", "v113", "2", "1"),
    ],
)
def test_scales_run_from_least_to_most(
    crosswalk: Crosswalk, codebook: str, variable: str, lowest: str, highest: str
) -> None:
    scores = scores_of(crosswalk, codebook, variable)
    assert [c for c, s in scores.items() if s == 0] == [lowest]
    assert [c for c, s in scores.items() if s == 1] == [highest]


@pytest.mark.parametrize(
    ("variable", "labels"),
    [
        ("Q2", ["Very important", "Rather important", "Not very important", "Not at all important"]),
        ("Q63", ["Trust completely", "Trust somewhat", "Do not trust very much", "Do not trust at all"]),
        ("Q31", ["Agree strongly", "Agree", "Disagree", "Disagree strongly"]),
        ("Q31", ["Strongly agree", "Agree", "Disagree", "Strongly disagree"]),
        ("Q35", ["Strongly agree", "Agree", "Neither agree nor disagree", "Disagree", "Disagree strongly"]),
        ("Q236", ["Very good", "Fairly good", "Fairly bad", "Very bad"]),
        ("Q199", ["Very interested", "Somewhat interested", "Not very interested", "Not at all interested"]),
        ("Q264", ["Not an immigrant", "Immigrant"]),
        ("Q269", ["Yes, I am a citizen of this country", "Not, I am not a citizen of this country"]),
        ("Q7", ["Important", "Not mentioned"]),
        ("Q18", ["Mentioned", "Not mentioned"]),
        ("Q33_3", ["Agree", "Disagree", "Neither agree nor disagree"]),
        ("Q43", ["Good thing", "Don't mind", "Bad thing"]),
    ],
)
def test_a_label_fits_its_own_code_and_no_other(crosswalk: Crosswalk, variable: str, labels: list[str]) -> None:
    rule = rule_of(crosswalk, "wvs7", variable)
    patterns = {o.code: o.label for o in rule.options}
    for code, label in enumerate(labels, 1):
        fitting = [c for c, pattern in patterns.items() if pattern is not None and pattern.accepts(label)]
        assert fitting == [str(code)], label


@pytest.mark.parametrize(
    ("variable", "labels"),
    [
        # The EVS says "quite" and plain "not important".
        ("v1", ["Very important", "Quite important", "Not important", "Not at all important"]),
        ("v97", ["Very interested", "Somewhat interested", "Not very interested", "Not at all interested"]),
        ("v79", ["Agree strongly", "Agree", "Disagree", "Disagree strongly"]),
        ("v80", ["Agree strongly", "Agree", "Neither agree nor disagree", "Disagree", "Disagree strongly"]),
        ("v22", ["Mentioned", "Not mentioned"]),
        ("v113", ["Good", "Bad", "Don't mind"]),
    ],
)
def test_a_label_of_the_evs_fits_its_own_code_and_no_other(
    crosswalk: Crosswalk, variable: str, labels: list[str]
) -> None:
    patterns = {o.code: o.label for o in rule_of(crosswalk, "evs2017", variable).options}
    for code, label in enumerate(labels, 1):
        fitting = [c for c, pattern in patterns.items() if pattern is not None and pattern.accepts(label)]
        assert fitting == [str(code)], label


def test_an_immigrant_flag_is_not_read_as_born_in_the_country(crosswalk: Crosswalk) -> None:
    for codebook, variable in (("joint", "V002"), ("joint", "V001")):
        rule = rule_of(crosswalk, codebook, variable)
        assert decoded(rule, "1", "Immigrant to this country") is None
        assert decoded(rule, "0", "Not an immigrant") is None
    for codebook, variable in (("wvs_ts", "G026"), ("wvs_ts", "G027"), ("wvs_w6", "V243"), ("wvs_w5", "V216")):
        rule = rule_of(crosswalk, codebook, variable)
        assert decoded(rule, "1", "Immigrant") == "no"
        assert decoded(rule, "0", "Not an immigrant") == "yes"
        assert decoded(rule, "1", "Born in this country") is None


def test_mentions_are_decoded_by_label_in_every_world_and_european_file(crosswalk: Crosswalk) -> None:
    for rule in rules_of_batch(crosswalk):
        if rule.concept.concept.startswith(("child_", "neighbour_")) and rule.codebook != "gss":
            assert rule.row.decode == "label", f"{rule.codebook} {rule.variables}"
            assert decoded(rule, "0", "Not mentioned") == "not_mentioned"
            assert decoded(rule, "1", "Not mentioned") == "not_mentioned"
            assert decoded(rule, "2", "Mentioned") == "mentioned"


def test_american_ranks_of_five_give_each_other_away(crosswalk: Crosswalk) -> None:
    batteries = {r["column"]: r for r in crosswalk.batteries.iter_rows(named=True) if r["codebook"] == "gss"}
    for quality in ("independence", "hard_work", "unselfishness", "obedience"):
        assert batteries[f"child_{quality}_gss"]["one_choice"] is True


@needs(WVS_CODEBOOK)
def test_every_label_of_the_wvs7_codebook_is_understood(crosswalk: Crosswalk) -> None:
    codebook = json.loads(WVS_CODEBOOK.read_text(encoding="utf-8"))
    strange, seen = [], 0
    for rule in crosswalk.rules["wvs7"]:
        if rule.concept.concept not in CONCEPTS or not rule.row.all_options or rule.row.country:
            continue
        choices = codebook[rule.variables[0]]["choices"]
        codes = {o.code for o in rule.options if int(o.code) >= 0}
        assert codes == {c for c in choices if int(c) >= 0}, rule.variables
        for code, label in choices.items():
            if int(code) >= 0:
                seen += 1
                own = next(o.value for o in rule.options if o.code == code)
                if decoded(rule, code, label) != own:
                    strange.append((rule.variables[0], code, label))
    assert strange == []
    assert seen > 300


@pytest.mark.parametrize("year", [2016, 2018, 2021, 2024])
def test_every_label_of_the_gss_files_is_understood(crosswalk: Crosswalk, year: int) -> None:
    path = present(gss_file(year))
    pyreadstat = pytest.importorskip("pyreadstat")
    encoding = {"encoding": "cp1252"} if year == 2021 else {}
    _, meta = pyreadstat.read_dta(str(path), metadataonly=True, **encoding)
    strange, seen = [], set()
    for rule in crosswalk.rules["gss"]:
        variable = next((v for v in rule.variables if v in meta.column_names), None)
        if rule.concept.concept not in CONCEPTS or variable is None:
            continue
        for code, label in meta.variable_value_labels[variable].items():
            if isinstance(code, str):
                continue
            seen.add(variable)
            native = str(int(code))
            own = next((o.value for o in rule.options if o.code == native), "missing")
            if decoded(rule, native, label) != own:
                strange.append((variable, native, label))
    assert strange == []
    expected = {"thnkself", "workhard", "helpoth", "obey", "spanking", "othlang"}
    assert expected <= seen
    assert seen & {"marsame", "marhomo"}


# Counts of the cumulative file (R3) as printed on the gssrdoc pages of the variables.
GSS_COUNTS = [
    (2016, "citizenship_gss", "uscitzn", {"yes": 197, "no": 148}),
    (2018, "citizenship_gss", "uscitzn", {"yes": 167, "no": 131}),
    (2024, "citizenship_gss", "uscitzn", {"yes": 263, "no": 172}),
    (2016, "speaks_other_language_gss", "othlang", {"yes": 816, "no": 2045}),
    (2024, "speaks_other_language_gss", "othlang", {"yes": 904, "no": 2393}),
    (
        2018,
        "child_independence_gss",
        "thnkself",
        {"first": 643, "second": 308, "third": 269, "fourth": 243, "fifth": 79},
    ),
    (
        2021,
        "child_independence_gss",
        "thnkself",
        {"first": 1268, "second": 581, "third": 411, "fourth": 262, "fifth": 51},
    ),
    (
        2021,
        "same_sex_marriage_gss",
        "marhomo",
        {"agree_strongly": 1265, "agree": 500, "neither": 419, "disagree": 179, "disagree_strongly": 295},
    ),
    (
        2024,
        "same_sex_marriage_gss",
        "marsame",
        {"agree_strongly": 460, "agree": 262, "neither": 175, "disagree": 83, "disagree_strongly": 147},
    ),
]


@pytest.mark.parametrize(("year", "column", "variable", "expected"), GSS_COUNTS)
def test_gss_answers_count_as_the_cumulative_file_prints_them(
    crosswalk: Crosswalk, year: int, column: str, variable: str, expected: dict[str, int]
) -> None:
    path = present(gss_file(year))
    pyreadstat = pytest.importorskip("pyreadstat")
    encoding = {"encoding": "cp1252"} if year == 2021 else {}
    frame, _ = pyreadstat.read_dta(str(path), usecols=[variable], **encoding)
    (rule,) = (r for r in crosswalk.rules["gss"] if r.column == column)
    values = {float(o.code): o.value for o in rule.options}
    answers = frame[variable].dropna().map(values)
    assert answers.value_counts().to_dict() == expected
