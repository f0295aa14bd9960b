"""Protects the first try of a real file: whole files with every variable, code and label that the WVS-7 codebook lists.

The codebook is WorldValuesBench's transcription, which is not part of the repository. The other codebooks are tried
with the same words on their own codes, in the spelling of their producers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyreadstat
import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.harmonize.value_labels import normal_label
from mpta_pipeline.surveys import SourceRegistry
from tests.shared_data import WVS_CODEBOOK, present

pytestmark = pytest.mark.slow

OPEN = "sources:\n" + "".join(f"  {s}: {{acknowledged: invented data}}\n" for s in ("evs2017", "evs_trend", "joint"))
ROWS = 240
WVS_STAMPS = {
    "version": "6-0-0 (2024-04-30)",
    "doi": "doi.org/10.14281/18241.24",
    "A_WAVE": 7,
    "A_STUDY": 2,
    "A_YEAR": 2018,
    "W_WEIGHT": 1.0,
    "S018": 0.5,
    "PWGHT": 1.5,
    "S025": 8402018,
}
# Labels that EVS 2017 (ZA7500) writes otherwise than the WVS, as public scripts print them.
EVS_WORDS = {
    "rather important": "quite important",
    "not very important": "not important",
    "more than once a week": "more than once week",
    "only on special holy days": "only on specific holy days",
    "an atheist": "a convinced atheist",
    "strongly agree": "agree strongly",
    "strongly disagree": "disagree strongly",
    "it is against democracy (spontaneous)": "it is against democracy [DO NOT READ OUT]",
}
EVS_MISSING = {
    -10: "multiple answers Mail",
    -9: "no follow-up",
    -8: "follow-up non response",
    -5: "other missing",
    -4: "item not included",
    -3: "not applicable",
    -2: "no answer",
    -1: "dont know",
}
WVS_MISSING = {
    -5: "Other missing; Multiple answers Mail (EVS)",
    -4: "Not asked in survey",
    -3: "Not applicable",
    -2: "No answer",
    -1: "Don´t know",
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> SourceRegistry:
    """All sources, the closed ones acknowledged."""
    path = tmp_path_factory.mktemp("config") / "surveys.yaml"
    path.write_text(OPEN, encoding="utf-8")
    return surveys.load_sources(path)


@cache
def codebook() -> dict[str, dict[str, Any]]:
    """Variable → question, choices."""
    return dict(json.loads(present(WVS_CODEBOOK).read_text(encoding="utf-8")))


def spread(codes: list[Any]) -> list[Any]:
    """Every code, again and again."""
    return [codes[i % len(codes)] for i in range(ROWS)]


def wvs7_columns() -> tuple[dict[str, list[Any]], dict[str, str], dict[str, dict[int, str]]]:
    """Columns with every listed code, titles and value labels of the whole WVS-7 file."""
    columns: dict[str, list[Any]] = {}
    titles, labels = {}, {}
    for variable, entry in codebook().items():
        choices = {int(c): str(text) for c, text in entry["choices"].items() if c.lstrip("-").isdigit()}
        titles[variable] = str(entry["question"])[:80]
        labels[variable] = choices
        columns[variable] = spread(sorted(choices) or [1, 2, 3])
    for variable, stamp in WVS_STAMPS.items():
        columns[variable] = [stamp] * ROWS
    columns |= {
        "B_COUNTRY": spread([840, 276, 909, 158, 446]),
        "B_COUNTRY_ALPHA": spread(["USA", "DEU", "NIR", "TWN", "MAC"]),
        "C_COW_ALPHA": spread(["USA", "GMY"]),
        "D_INTERVIEW": [840070000 + i for i in range(ROWS)],
        "Q261": spread([1920, 1937, 1975, 2006, -1, -2, -5]),
        "Q262": spread([16, 17, 44, 82, 103, -2, -5]),
        "Q270": spread([1, 2, 7, 11, 63, -2]),
        "Q274": spread([0, 1, 7, 12, 24, -1]),
        "Y003": spread([-2, -1, 0, 1, 2, -5]),
        "LNGE_ISO": spread(["en", "de"]),
    }
    for variable in ("O1_LONGITUDE", "O2_LATITUDE"):
        columns[variable] = spread([-71.5, 12.25, -1.0])
    return columns, titles, labels


def save(
    path: Path, columns: Mapping[str, list[Any]], titles: Mapping[str, str], labels: Mapping[str, Any], *, way: str
) -> Path:
    """Write the columns as a producer's file; `way` tells which."""
    frame = pl.DataFrame({name: pl.Series(values, strict=False) for name, values in columns.items()})
    numeric = {name for name, dtype in frame.schema.items() if dtype.is_numeric()}
    common: dict[str, Any] = {
        "column_labels": {name: titles.get(name) for name in frame.columns},
        "variable_value_labels": {n: dict(labels[n]) for n in frame.columns if labels.get(n) and n in numeric},
    }
    if way.startswith("sav"):
        # Some releases declare the codes of every variable, some of few, some of none.
        share = {"sav": 1, "sav some": 3, "sav none": 10**9}[way]
        declared = [n for k, n in enumerate(sorted(numeric)) if k % share == 0 and n != "Y003"]
        ranges = {n: [{"lo": -10 if min(labels.get(n) or [0]) < -5 else -5, "hi": -1}] for n in declared}
        pyreadstat.write_sav(frame, str(path), missing_ranges=ranges, **common)
    elif way == "dta":
        pyreadstat.write_dta(frame, str(path), version=14, **common)
    elif way == "csv":
        frame.write_csv(path)
    else:
        header = ";".join(f'"{name}"' for name in frame.columns)
        body = frame.write_csv(separator=";", include_header=False, quote_style="non_numeric")
        path.write_text("\ufeff" + "\r\n".join([header, *(f"{line};" for line in body.splitlines())]), encoding="utf-8")
    return path


def check(
    path: Path, registry: SourceRegistry, crosswalk: Crosswalk, *, wave: str, codebook: str
) -> tuple[pl.DataFrame, set[str]]:
    """Take a file all the way; nothing may stop it, be set aside, or fail a blocking check but those of coverage.

    Returns:
        The harmonized wave, and the columns that have no labels and whose answers do not hang together as people's do.
    """
    recognized = surveys.recognize(path, registry)
    assert (recognized.codebook, recognized.waves) == (codebook, (wave,))
    raw = surveys.ingest(path, wave, Layout(path.parent / "data"), registry)
    # A file without labels says nothing in the lists that have nothing else (parties, languages).
    aside = [str(p) for p in harmonize.columns_set_aside(raw, crosswalk) if p.strange or raw.release["format"] != "csv"]
    assert not aside, "; ".join(aside)
    frame = harmonize.harmonize(raw, crosswalk)
    failed = {c.name: c.metadata for c in harmonize.check_wave(frame, raw, crosswalk) if not c.passed}
    # Codes in turn are nobody's answers: batteries hang together by chance, published figures do not come out.
    assert not set(failed) - {
        *("battery_signs", "published_marginals", "impossible_combinations", "declared_gaps", "break_off"),
        *("weight_sums", "straight_lining", "polarity"),
        *(["columns_set_aside"] if raw.release["format"] == "csv" else ()),
    }, failed
    return frame, {p.column for p in harmonize.columns_set_aside(raw, crosswalk) if p.why}


@pytest.mark.parametrize("way", ["sav some", "dta", "csv semicolon"])
def test_a_whole_wvs7_file_passes(tmp_path: Path, way: str, registry: SourceRegistry, crosswalk: Crosswalk) -> None:
    columns, titles, labels = wvs7_columns()
    path = save(tmp_path / f"WVS.{way[:3]}", columns, titles, labels, way=way)
    frame, doubted = check(path, registry, crosswalk, wave="wvs-7", codebook="wvs7")
    made = {c.removesuffix("__missing") for c in frame.columns if c.endswith("__missing")}
    rules = {r.column for r in crosswalk.rules["wvs7"] if any(v in columns for v in r.variables)}
    # Without labels nobody can tell which meaning a code has that differs between parts of the file.
    assert rules - made - doubted <= (
        {"respondent_id"} if "csv" not in way else {"respondent_id", *_by_label(crosswalk)}
    )
    values = frame.sort("row_index")
    assert values["index_autonomy_index"].head(6).to_list() == [-2.0, -1.0, 0.0, 1.0, 2.0, None]
    assert values["age"].head(6).to_list() == [16.0, 17.0, 44.0, 82.0, 103.0, None]
    trust = dict(values.select("trust_general__code", "trust_general__missing").unique().rows())
    assert trust == {"1": None, "2": None, "-1": "dont_know", "-2": "refused_or_no_answer", "-4": "not_asked"} | {
        "-5": "not_available_release"
    }


def _by_label(crosswalk: Crosswalk) -> set[str]:
    """Columns that only a file's labels can fill."""
    return {r.column for rules in crosswalk.rules.values() for r in rules if r.row.where or r.row.from_labels}


def test_every_label_of_the_codebook_is_understood(crosswalk: Crosswalk) -> None:
    odd, compared = [], 0
    for rule in crosswalk.rules["wvs7"]:
        variable = next((v for v in rule.variables if v in codebook()), None)
        if variable is None or rule.row.from_labels or rule.row.country:
            continue
        options = {o.code: o for o in rule.options}
        for code, label in codebook()[variable]["choices"].items():
            expected = options[code].label if code in options else None
            if expected and normal_label(label) != code:
                compared += 1
                if not expected.accepts(label):
                    odd.append((rule.column, variable, code, label, str(expected)))
    assert not odd
    assert compared > 500


def words(crosswalk: Crosswalk) -> dict[tuple[str, str], str]:
    """Column and value → the codebook's word for it."""
    found = {}
    for rule in crosswalk.rules["wvs7"]:
        variable = next((v for v in rule.variables if v in codebook()), None)
        for option in rule.options if variable else ():
            label = codebook()[variable]["choices"].get(option.code)
            if label and normal_label(label) != option.code:
                found.setdefault((rule.column, option.value), label)
    return found


IDENTITY: dict[str, dict[str, Any]] = {
    "wvs_ts": {
        **{"S001": 2, "S002VS": 7, "S003": 840, "S020": 2018, "S017": 1.0, "S018": 0.5, "S025": 8402018},
        **{"COUNTRY_ALPHA": "USA", "COW_NUM": 2, "version": "5-0-0 (2024-06-30)", "doi": "doi.org/10.14281/18241.17"},
    },
    "joint": {
        **{"study": 2, "wave": 7, "cntry": 840, "cntry_AN": "US", "year": 2018, "cntry_y": 8402018, "mode": 1},
        **{
            "gwght": 1.0,
            "wght_eq1000": 0.5,
            "pwght": 1.5,
            "versn_s": "5-0-0 (2024-06-24)",
            "doi": "doi:10.4232/1.14320",
        },
    },
    "evs2017": {
        **{"country": 276, "c_abrv": "DE", "year": 2018, "gweight": 1.0, "dweight": 1.0, "pweight": 1.0, "mode": 1},
        **{"version": "5-0-0 (2022-05-16)", "doi": "doi:10.4232/1.13897", "studyno": 7500, "fmissings": 0},
    },
}
KEYS = {"wvs_ts": "S007", "joint": "uniqid", "evs2017": "id_cocas"}
WAVES = {"wvs_ts": "wvs-7", "joint": "joint-2017", "evs2017": "evs-5"}
# Where a producer asks or answers in words of its own.
_SIZES = ("Under 2,000", "2,000 - 5,000", "5,000 - 10,000", "10,000 - 20,000", "20,000 - 50,000", "50,000 - 100,000")
_BORN = {0: "No", 1: "Yes"}
_EVS_WORK = ("30h a week or more", "less than 30h a week", "self employed", "military service", "retired/pensioned")
_EVS_WORK += ("homemaker not otherwise employed", "student", "unemployed", "disabled", "other")
OWN: dict[str, dict[int, str]] = {
    "X049": dict(enumerate((*_SIZES, "100,000 - 500,000", "500,000 and more"), 1)),
    "G026": _BORN,
    "G027": _BORN,
    "V001": _BORN,
    "V002": _BORN,
    "v230": {1: "yes", 2: "no"},
    "v232": {1: "yes", 2: "no"},
    "v244": dict(enumerate(_EVS_WORK, 1)),
    "X036E_WVS7": {10: "Farm owner, farm manager"},
}
TITLES = {"G026": "Mother immigrant", "G027": "Father immigrant", "V002": "Mother born in country"}
TITLES |= {"V001": "Father born in country"}


def columns_of(codebook: str, crosswalk: Crosswalk) -> Iterator[tuple[str, list[Any], dict[int, str]]]:
    """Variable, column and value labels of each variable that the crosswalk has of a codebook."""
    said = words(crosswalk)
    missing = EVS_MISSING if codebook == "evs2017" else WVS_MISSING
    for rule in crosswalk.rules[codebook]:
        variable = rule.variables[0] if rule.variables else None
        if variable is None or variable in IDENTITY[codebook] or variable == KEYS[codebook]:
            continue
        if rule.row.numeric:
            low, high = int(rule.row.numeric.min), int(rule.row.numeric.max)
            if high <= 1:
                yield variable, spread([0.0, 0.25, 1.0, -99.0]), {}
                continue
            bounds = {int(o.code): f"{o.code} and older" for o in rule.options}
            yield variable, spread([low, high, *(missing if low >= 0 else [-5])]), bounds | missing
            continue
        labels = dict(missing)
        for option in rule.options:
            if option.code.isdigit():
                label = said.get((rule.column, option.value)) or _word(rule, option.value, option.text)
                labels[int(option.code)] = _evs(label) if codebook == "evs2017" else label
        if rule.row.from_labels or rule.row.country:
            labels |= {840001: "US: Republican", 840002: "US: Democrat"} if rule.row.from_labels else {}
            codes = [840001, 840002] if rule.row.from_labels else [840, 276]
        else:
            codes = [int(o.code) for o in rule.options if o.code.isdigit()]
        yield variable, spread([*codes, *missing]), labels | OWN.get(variable, {})


def _evs(label: str) -> str:
    return EVS_WORDS.get(label.lower(), label.lower())


def _word(rule: Rule, value: str, text: str) -> str:
    """A word for a value that the WVS-7 codebook does not have: the first plain spelling that the row accepts."""
    option = next(o for o in rule.options if o.value == value)
    if option.label is None or option.label.accepts(text):
        return text
    plain = [s for s in option.label.spellings if not s.startswith("/")]
    return plain[0] if plain else _from_pattern(option.label.spellings[0])


def _from_pattern(pattern: str) -> str:
    """The words of a simple pattern."""
    first = re.sub(r"\(\?[!<=][^)]*\)", "", pattern.strip("/").lstrip("^")).split("|")[0]
    return (
        re.sub(r"\(([^)|]*)[^)]*\)\??", r"\1", first)
        .replace(r"\b", "")
        .replace(".*", " ")
        .replace(".?", " ")
        .strip("^$ ")
    )


@pytest.mark.parametrize("way", ["sav none", "csv"])
@pytest.mark.parametrize("codebook", list(IDENTITY))
def test_every_variable_of_the_other_producers_passes(
    tmp_path: Path, codebook: str, way: str, registry: SourceRegistry, crosswalk: Crosswalk
) -> None:
    columns: dict[str, list[Any]] = {name: [value] * ROWS for name, value in IDENTITY[codebook].items()}
    columns[KEYS[codebook]] = [840070000 + i for i in range(ROWS)]
    labels: dict[str, dict[int, str]] = {}
    for variable, column, named in columns_of(codebook, crosswalk):
        columns.setdefault(variable, column)
        labels.setdefault(variable, named)
    if codebook == "joint":
        labels["study"] = {1: "EVS", 2: "WVS"}
    titles = TITLES | {"X001": "Sex", "v225": "respondents sex (Q63)", "X003": "Age"}
    path = save(tmp_path / f"{codebook}.{way[:3]}", columns, titles, labels, way=way)
    frame, doubted = check(path, registry, crosswalk, wave=WAVES[codebook], codebook=codebook)
    made = {c.removesuffix("__missing") for c in frame.columns if c.endswith("__missing")}
    absent = {r.column for r in crosswalk.rules[codebook] if r.variables and r.variables[0] in columns} - made - doubted
    assert way == "csv" or not doubted
    assert absent <= {"respondent_id"} | ({c for c in absent if c in _by_label(crosswalk)} if way == "csv" else set())


# What the WVS-6 codebook (2014-11-07) writes otherwise than that of WVS-7.
WVS6 = {
    "V10": ("Very happy", "Rather happy", "Not very happy", "Not at all happy"),
    "V11": ("Very good", "Good", "Fair", "Poor"),
    "V12": ("Mentioned", "Not mentioned"),
    "V37": ("Mentioned", "Not mentioned"),
    "V49": ("Agree strongly", "Agree", "Disagree", "Strongly disagree"),
    "V57": ("Married", "Living together as married", "Divorced", "Separated", "Widowed", "Single"),
    "V66": ("Yes", "No"),
    "V67": ("Good thing", "Don´t mind", "Bad thing"),
    "V70": (
        "Very much like me",
        "Like me",
        "Somewhat like me",
        "A little like me",
        "Not like me",
        "Not at all like me",
    ),
    "V102": ("Trust completely", "Trust somewhat", "Do not trust very much", "Do not trust at all"),
    "V127": ("Very good", "Fairly good", "Bad", "Very bad"),
    "V147": ("A religious person", "Not a religious person", "An atheist"),
}


def test_the_words_of_wvs6_are_understood(crosswalk: Crosswalk) -> None:
    rules = {r.variables[0]: r for r in crosswalk.rules["wvs_w6"] if r.variables}
    for variable, labels in WVS6.items():
        options = {o.code: o.label for o in rules[variable].options}
        for code, label in enumerate(labels, 1):
            pattern = options[str(code)]
            assert pattern is not None and pattern.accepts(label), (variable, code, label, str(pattern))
