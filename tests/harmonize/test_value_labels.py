"""Protects the reading of labels as producers write them: cut, squeezed, misspelt, in Spanish; never by a guess."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.harmonize.value_labels import LabelPattern, completions, fitting, normal_label
from tests.factories.raw_waves import IDENTITY, MakeRaw
from tests.shared_data import SKELETONS, needs_skeletons

pytestmark = pytest.mark.slow

# codebook, variable, column, label of each code, value of each code
AS_WRITTEN = [
    ("wvs_w2", "V132", "financial_satisfaction", ["Satisfy-", "Satisfy+"], [1, 10], ["1", "10"]),
    ("wvs_w2", "V242", "action_petition", ["Havedone", "Mightdo", "Never"], [1, 2, 3], None),
    ("wvs_w2", "V273", "confidence_armed_forces", ["A lot", "Quite", "Not very", "Notatall"], [1, 2, 3, 4], None),
    ("wvs_w2", "V219", "gender_child_suffers_working_mother", ["Agree+", "Agree", "Disagree", "Disagree+"], None, None),
    ("wvs_w2", "V358", "employment_status", [">30hr/wk", "<30hr/wk", "Self-emp", "Retired", "Hwife"], None, None),
    ("wvs_w2", "V147", "religious_attendance", ["once+/wk", "once/wk", "once/mo", "xmas/eas"], None, None),
    ("wvs_w2", "V181", "marital_status", ["Married", "Living", "Divorced", "Separate", "Widow", "Single"], None, None),
    ("wvs_w2", "V176", "importance_of_god", ["Hotatall", "Very"], [1, 10], ["1", "10"]),
    ("wvs_w3", "V181", "religious_attendance", ["More than once a week", "Once a week", "Once month"], None, None),
    ("wvs_w3", "V182", "religious_person", ["A religious person", "Not a religous person"], None, None),
    ("wvs_w3", "V155", "system_experts", ["Very good", "Fairly good", "Fairly ba", "Very bad"], None, None),
    ("wvs_w4", "V133", "interest_politics", ["Muy interesado", "Algo interesado", "No muy interesado"], None, None),
    ("wvs_w4", "V236", "income_scale_wvs", ["C", "L"], [1, 10], ["1", "10"]),
]


@pytest.mark.parametrize(("codebook", "variable", "column", "said", "codes", "values"), AS_WRITTEN)
def test_labels_as_producers_write_them(
    codebook: str,
    variable: str,
    column: str,
    said: list[str],
    codes: list[int] | None,
    values: list[str] | None,
    make_raw: MakeRaw,
    crosswalk: Crosswalk,
) -> None:
    codes = codes or list(range(1, len(said) + 1))
    labels = {variable: {str(c): text for c, text in zip(codes, said, strict=True)}}
    raw = make_raw(codebook, {variable: codes}, labels)
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert harmonize.columns_set_aside(raw, crosswalk) == []
    rule = next(r for r in crosswalk.rules[codebook] if r.column == column)
    expected = values or [next(o.value for o in rule.options if o.code == str(c)) for c in codes]
    assert frame[column].to_list() == expected
    # The same labels the other way round are never taken for the scale as it is.
    turned = make_raw(codebook, {variable: codes}, {variable: dict(zip(map(str, codes), said[::-1], strict=True))})
    found = harmonize.harmonize(make_raw(codebook, {variable: codes, "V2": [840] * len(codes)}, labels), crosswalk)
    assert column in found.columns
    if rule.row.decode == "code":
        assert {p.column for p in harmonize.columns_set_aside(turned, crosswalk)} == {column}
    else:
        assert harmonize.harmonize(turned, crosswalk).sort("row_index")[column].to_list() == expected[::-1]


def test_a_beginning_counts_only_where_it_is_of_one_answer() -> None:
    agree, disagree = LabelPattern.parse("/strongly agree/"), LabelPattern.parse("/strongly disagree/")
    assert isinstance(agree, LabelPattern)
    assert isinstance(disagree, LabelPattern)
    assert fitting("Strongly ag", [agree, disagree]) == ([0], True)
    assert fitting("Strongly", [agree, disagree]) == ([0, 1], True)  # nobody can tell
    assert fitting("Strongly agree", [agree, disagree]) == ([0], False)


def test_a_cut_label_alone_never_tells_which_end_is_which(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    """Where labels decide, one of the item's has to be whole."""
    cut = {"V181": {"1": "More than", "2": "Once a we"}}
    raw = make_raw("wvs_w3", {"V181": [1, 2], "V214": [1, 2]}, cut)
    assert "religious_attendance" not in harmonize.harmonize(raw, crosswalk).columns
    whole = {"V181": {"1": "More than", "2": "Once a week"}}
    raw = make_raw("wvs_w3", {"V181": [1, 2], "V214": [1, 2]}, whole)
    frame = harmonize.harmonize(raw, crosswalk).sort("row_index")
    assert frame["religious_attendance"].to_list() == ["more_than_weekly", "weekly"]


@pytest.mark.parametrize(
    ("label", "never"),
    [
        ("Unimportant", "important"),
        ("Disagree", "agree"),
        ("1 child", "2 children"),
        ("Very import", "not very important"),
        ("Not mentioned", "mentioned"),
        ("10-20000", "20-50000"),
        ("Satisfied", "dissatisfied"),
    ],
)
def test_no_label_is_completed_to_its_opposite(label: str, never: str) -> None:
    assert never not in completions(label)


def test_the_accidents_of_a_release_are_no_part_of_a_label() -> None:
    assert normal_label("1. Don\u00b4t  know{DK}") == "don't know"
    assert normal_label("Incomes more equal{1}") == "incomes more equal"
    assert normal_label("Making sure{Strong def") == "making sure"
    assert normal_label("S\u00ed") == "si"


@pytest.mark.parametrize("codebook", ["wvs_w3", "wvs_w4", "wvs_w5", "wvs_w6"])
def test_attendance_without_labels_has_the_seven_answers_of_its_wave(
    codebook: str, make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    """Waves 1 and 2 and the time series have eight, where 5 to 7 are others."""
    variable = {"wvs_w3": "V181", "wvs_w4": "V185", "wvs_w5": "V186", "wvs_w6": "V145"}[codebook]
    frame = harmonize.harmonize(make_raw(codebook, {variable: [4, 5, 6, 7]}), crosswalk).sort("row_index")
    assert frame["religious_attendance"].to_list() == ["holy_days", "yearly", "less_often", "never"]


def test_another_question_under_the_same_title_is_set_aside_with_or_without_labels(
    make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    said = {"V289": {"1": "always", "2": "most", "3": "some", "4": "never"}}
    for labels in (said, None):
        raw = make_raw("wvs_w2", {"V289": [1, 2, 3, 4], "V353": [1, 2, 1, 2]}, labels)
        assert "confidence_government" not in harmonize.harmonize(raw, crosswalk).columns
        assert {p.column for p in harmonize.columns_set_aside(raw, crosswalk)} == {"confidence_government"}


def described_columns(path: Path, codebook: str, crosswalk: Crosswalk) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Every labelled code of a skeleton's variables that the crosswalk names, in turn, and the labels."""
    used = {name.lower() for r in crosswalk.rules[codebook] for name in r.variables if not r.row.country}
    labels = {
        v["name"]: {c.removesuffix(".0"): text for c, text in v["value_labels"].items()}
        for v in json.loads(gzip.decompress(path.read_bytes()))["variables"]
        if v["name"].lower() in used and v.get("value_labels") and v["name"] not in IDENTITY[codebook](1)
    }
    codes = {name: [float(c) for c in known] for name, known in labels.items()}
    rows = max(map(len, codes.values()))
    return {name: [c[k % len(c)] for k in range(rows)] for name, c in codes.items()}, labels


def compare(one: pl.DataFrame, two: pl.DataFrame, apart: set[str]) -> int:
    """How many answers two waves of the same people have in common; none may differ."""
    compared = 0
    for column in (set(harmonize.trait_columns(one)) & set(harmonize.trait_columns(two))) - apart:
        pairs = one.select("row_index", column).join(two.select("row_index", column), on="row_index").drop_nulls()
        compared += pairs.height
        assert pairs[column].to_list() == pairs[f"{column}_right"].to_list(), column
    return compared


@needs_skeletons
@pytest.mark.parametrize("width", [0, 8, 12, 20, 40, 60])
def test_labels_cut_anywhere_or_absent_are_read_as_the_whole_ones_or_not_at_all(
    width: int, make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    compared = 0
    for path in sorted(SKELETONS.glob("WV*.json.gz")):
        codebook = "wvs7" if path.name.startswith("WVS_Wave_7") else f"wvs_w{path.name[2]}"
        columns, labels = described_columns(path, codebook, crosswalk)
        cut = {name: {c: text[:width] for c, text in known.items()} for name, known in labels.items()}
        whole = harmonize.harmonize(make_raw(codebook, columns, labels), crosswalk)
        try:
            frame = harmonize.harmonize(make_raw(codebook, columns, cut if width else None), crosswalk)
        except CrosswalkError:
            continue  # too little of it can be read
        compared += compare(whole, frame, {r.column for r in crosswalk.rules[codebook] if r.row.from_labels})
    assert compared > 500
