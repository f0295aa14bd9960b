"""Small survey files in the producers' real structure: names, labels, codes, missing codes, weights, ids, stamps.

The same invented people are written as each producer would: WVS-7, time series and Joint hold the same WVS
respondents, EVS 2017 and Joint the same EVS respondents, so that an answer harmonized from one must equal that from
the other. What a person answered is `People.answers`: item → place of the category in ITEMS, or a missing kind.

    people = wvs_people()
    write(wvs7(people), folder / "whatever.sav")  # .sav, .zsav, .dta, .sas7bdat, .csv; `semicolon=True`, `encoding=...`
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyreadstat

from tests.factories.sas import write_sas7bdat

WVS_MISSING = {
    "dont_know": -1,
    "refused_or_no_answer": -2,
    "not_applicable": -3,
    "not_asked": -4,
    "not_available_release": -5,
}
WVS_MISSING_LABELS = {
    -1: "Don't know",
    -2: "No answer",
    -3: "Not applicable",
    -4: "Not asked",
    -5: "Missing; Not available",
}
EVS_MISSING = {
    "dont_know": -1,
    "refused_or_no_answer": -2,
    "not_applicable": -3,
    "not_asked": -4,
    "no_follow_up": -9,
    "invalid": -10,
}
EVS_MISSING_LABELS = {
    -1: "don't know",
    -2: "no answer",
    -3: "not applicable",
    -4: "item not included",
    -9: "no follow-up",
    -10: "multiple answers Mail",
}
STATA_TAGS = {-1: "a", -2: "b", -3: "c", -4: "d", -5: "e"}  # how the WVS writes its codes in .dta


@dataclass(frozen=True)
class Form:
    """An item in one codebook: variable, its label, and code → label in the order of the item's categories."""

    variable: str
    label: str
    values: Mapping[int, str]
    absent: tuple[int, ...] = ()  # categories that this codebook does not have
    absent_as: str = "not_applicable"


@dataclass(frozen=True)
class Item:
    """A question: how many categories, and its form in each codebook that asks it."""

    size: int
    forms: Mapping[str, Form]
    at: int = 0  # code of the first category on a numeric scale


def _scale(variable: str, label: str, low: str, high: str, *, reverse: bool = False, first: int = 1) -> Form:
    codes = range(first, 11)
    ends = {first: low, 10: high}
    named = {c: ends.get(c, str(c)) for c in codes}
    return Form(variable, label, dict(reversed(named.items())) if reverse else named)


def _forms(
    wvs7: Form, ts: str, joint: str | None, evs: Form | None, title: str | None = None, **values: Mapping[int, str]
):
    shared = values.get("coded", wvs7.values)
    forms = {"wvs7": wvs7, "wvs_ts": Form(ts, title or wvs7.label, shared, wvs7.absent)}
    if joint:
        forms["joint"] = Form(
            joint, (title or wvs7.label).lower(), {c: v.lower() for c, v in shared.items()}, wvs7.absent
        )
    if evs:
        forms["evs2017"] = evs
    return forms


_AGREE4 = {1: "Agree strongly", 2: "Agree", 3: "Disagree", 4: "Strongly disagree"}
_AGREE5 = {1: "Agree strongly", 2: "Agree", 3: "Neither agree nor disagree", 4: "Disagree", 5: "Disagree strongly"}
_EVS5 = {1: "agree strongly", 2: "agree", 3: "neither agree nor disagree", 4: "disagree", 5: "disagree strongly"}
_GOOD = {1: "Good thing", 2: "Don't mind", 3: "Bad thing"}
_EVS_GOOD = {1: "good", 3: "don't mind", 2: "bad"}  # trap 3: bad before "don't mind"
_IMPORTANT = {1: "Very important", 2: "Rather important", 3: "Not very important", 4: "Not at all important"}
_HAPPY = {1: "Very happy", 2: "Quite happy", 3: "Not very happy", 4: "Not at all happy"}
_MENTIONED = {1: "Mentioned", 2: "Not mentioned"}
_MENTIONED01 = {1: "Mentioned", 0: "Not mentioned"}  # trap 5
_YES_NO = {1: "Yes", 2: "No"}
_YES_NO01 = {1: "Yes", 0: "No"}  # trap 6
_TRUST = {1: "Most people can be trusted", 2: "Need to be very careful"}
_SYSTEM = {1: "Very good", 2: "Fairly good", 3: "Fairly bad", 4: "Very bad"}
_CONFIDENCE = {1: "A great deal", 2: "Quite a lot", 3: "Not very much", 4: "None at all"}
_AIMS = {
    1: "Maintaining order in the nation",
    2: "Giving people more say in important government decisions",
    3: "Fighting rising prices",
    4: "Protecting freedom of speech",
}
_ATTEND = (
    "More than once a week",
    "Once a week",
    "Once a month",
    "Only on special holy days",
    "Once a year",
    "Less often",
    "Never, practically never",
)
_ISCED = {
    0: "Early childhood education (ISCED 0) / no education",
    1: "Primary education (ISCED 1)",
    2: "Lower secondary education (ISCED 2)",
    3: "Upper secondary education (ISCED 3)",
    4: "Post-secondary non-tertiary education (ISCED 4)",
    5: "Short-cycle tertiary education (ISCED 5)",
    6: "Bachelor or equivalent (ISCED 6)",
    7: "Master or equivalent (ISCED 7)",
    8: "Doctoral or equivalent (ISCED 8)",
}
_DENOMINATION = {
    0: "Do not belong to a denomination",
    1: "Roman Catholic",
    2: "Protestant",
    3: "Orthodox (Russian/Greek/etc.)",
    4: "Jew",
    5: "Muslim",
    6: "Hindu",
    7: "Buddhist",
    8: "Other Christian (Evangelical/Pentecostal/Free church/etc.)",
    9: "Other",
}
_WORK = {
    1: "Full time (30 hours a week or more)",
    2: "Part time (less than 30 hours a week)",
    3: "Self employed",
    4: "Retired/pensioned",
    5: "Housewife not otherwise employed",
    6: "Student",
    7: "Unemployed",
    8: "Other",
}
_EVS_WORK = {  # trap 8: 4 is the military, the rest moves
    1: "30h a week or more",
    2: "less than 30h a week",
    3: "self employed",
    5: "retired/pensioned",
    6: "homemaker not otherwise employed",
    7: "student",
    8: "unemployed",
    10: "other",
}
_MARITAL = {1: "Married", 2: "Living together as married", 3: "Divorced", 4: "Separated", 5: "Widowed", 6: "Single"}
_EVS_MARITAL = {  # trap 9: legal status in another order
    1: "married",
    2: "registered partnership",
    4: "divorced",
    5: "separated",
    3: "widowed",
    6: "never married and never registered partnership",
}
_VOTE = {1: "Always", 2: "Usually", 3: "Never", 4: "Not allowed to vote"}
_EVS_VOTE = {1: "always", 2: "usually", 3: "never", 7: "not allowed to vote"}  # trap 10
_PRIDE = {1: "Very proud", 2: "Quite proud", 3: "Not very proud", 4: "Not at all proud"}

ITEMS: dict[str, Item] = {
    "sex": Item(
        2,
        _forms(
            Form("Q260", "Sex", {1: "Male", 2: "Female"}),
            "X001",
            "X001",
            Form("v225", "sex respondent (Q63)", {1: "male", 2: "female"}),
        ),
    ),
    "importance_family": Item(
        4,
        _forms(
            Form("Q1", "Important in life: Family", _IMPORTANT),
            "A001",
            "A001",
            Form("v2", "how important in your life: family (Q1B)", {c: v.lower() for c, v in _IMPORTANT.items()}),
        ),
    ),
    "happiness": Item(
        4,
        _forms(
            Form("Q46", "Feeling of happiness", _HAPPY),
            "A008",
            "A008",
            Form("v7", "taking all things together how happy are you (Q2)", {c: v.lower() for c, v in _HAPPY.items()}),
        ),
    ),
    "trust_general": Item(
        2,
        _forms(
            Form("Q57", "Most people can be trusted", _TRUST),
            "A165",
            "A165",
            Form(
                "v31",
                "people can be trusted/cant be too careful (Q7)",
                {1: "most people can be trusted", 2: "cant be too careful"},
            ),
        ),
    ),
    "life_satisfaction": Item(
        10,
        _forms(
            _scale("Q49", "Satisfaction with your life", "Completely dissatisfied", "Completely satisfied"),
            "A170",
            "A170",
            _scale("v39", "how satisfied are you with your life (Q10)", "dissatisfied", "satisfied"),
        ),
        at=1,
    ),
    # Trap 1: WVS-7 asks from government to people, the others from people to government.
    "econ_government_responsibility": Item(
        10,
        {
            "wvs7": _scale(
                "Q108",
                "Government's vs individual's responsibility",
                "The government should take more responsibility to ensure that everyone is provided for",
                "People should take more responsibility to provide for themselves",
            ),
            "wvs_ts": _scale(
                "E037",
                "Government responsibility",
                "People should take more responsibility",
                "The government should take more responsibility",
                reverse=True,
            ),
            "joint": _scale(
                "E037",
                "government responsibility",
                "people should take more responsibility",
                "the government should take more responsibility",
                reverse=True,
            ),
            "evs2017": _scale(
                "v103",
                "individual vs. state responsibility for providing (Q32A)",
                "individuals should take more responsibility for providing for themselves",
                "state should take more responsibility to ensure that everyone is provided for",
                reverse=True,
            ),
        },
        at=1,
    ),
    # Trap 2: "never" is 7 in WVS-7 and EVS, 8 in F028, whose 5 is an extra category.
    "religious_attendance": Item(
        7,
        {
            "wvs7": Form("Q171", "How often do you attend religious services", dict(enumerate(_ATTEND, start=1))),
            "wvs_ts": Form(
                "F028",
                "How often do you attend religious services",
                dict(zip((1, 2, 3, 4, 6, 7, 8), _ATTEND, strict=True)),
            ),
            "joint": Form(
                "F028",
                "how often do you attend religious services",
                dict(zip((1, 2, 3, 4, 6, 7, 8), [a.lower() for a in _ATTEND], strict=True)),
            ),
            "evs2017": Form(
                "v54",
                "how often attend religious services (Q15)",
                dict(enumerate([a.lower() for a in _ATTEND], start=1)),
            ),
        },
    ),
    "respect_authority_good": Item(
        3,
        _forms(
            Form("Q45", "Future changes: Greater respect for authority", _GOOD),
            "E018",
            "E018",
            Form("v114", "good/bad: greater respect for authority (Q35B)", _EVS_GOOD),
        ),
    ),
    "less_importance_work": Item(
        3,
        _forms(
            Form("Q43", "Future changes: Less importance placed on work", _GOOD),
            "E015",
            "E015",
            Form("v113", "good/bad: less importance placed on work (Q35A)", _EVS_GOOD),
        ),
    ),
    # Trap 4: the five-point form is _01; the three-point C002 has its middle last.
    "jobs_nationals_first": Item(
        5,
        _forms(
            Form("Q34", "Jobs scarce: Employers should give priority to (nation) people than immigrants", _AGREE5),
            "C002_01",
            "C002_01",
            Form("v80", "jobs are scarce: giving...(nation) priority (Q26A)", _EVS5),
        ),
    ),
    "neighbour_drug_addicts": Item(
        2,
        _forms(
            Form("Q18", "Neighbors: Drug addicts", _MENTIONED),
            "A124_08",
            "A124_08",
            Form("v25", "don't like as neighbours: drug addicts (Q6)", {1: "mentioned", 2: "not mentioned"}),
            coded=_MENTIONED01,
        ),
    ),
    "child_obedience": Item(
        2,
        _forms(
            Form("Q17", "Important child qualities: Obedience", {1: "Important", 2: "Not mentioned"}),
            "A042",
            "A042",
            Form("v95", "learn children at home: obedience (Q28)", {1: "mentioned", 2: "not mentioned"}),
            coded=_MENTIONED01,
        ),
    ),
    "fight_for_country": Item(
        2,
        _forms(
            Form("Q151", "Willingness to fight for country", _YES_NO),
            "E012",
            "E012",
            Form("v112", "willing to fight for country (Q34)", {1: "yes", 2: "no"}),
            coded=_YES_NO01,
        ),
    ),
    "believe_god": Item(
        2,
        _forms(
            Form("Q165", "Believe in: God", _YES_NO),
            "F050",
            "F050",
            Form("v57", "do you believe in: God (Q18A)", {1: "yes", 2: "no"}),
            coded=_YES_NO01,
        ),
    ),
    # Trap 7: immigrant or born in the country, with opposite polarity under nearly the same title.
    "mother_born_in_country": Item(
        2,
        {
            "wvs7": Form("Q264", "Mother immigrant", {1: "Not an immigrant", 2: "Immigrant"}),
            "wvs_ts": Form("G026", "Mother immigrant", {0: "No", 1: "Yes"}),
            "joint": Form("V002", "mother born in country", {1: "yes", 0: "no"}),
            "evs2017": Form("v232", "mother born in [country] (Q68)", {1: "yes", 2: "no"}),
        },
    ),
    "employment_status": Item(
        8,
        _forms(
            Form("Q279", "Employment status", _WORK), "X028", "X028", Form("v244", "paid employment (Q82)", _EVS_WORK)
        ),
    ),
    "marital_status": Item(
        6,
        _forms(
            Form("Q273", "Marital status", _MARITAL),
            "X007",
            "X007",
            Form("v234", "legal marital status (Q69)", _EVS_MARITAL),
        ),
    ),
    "vote_national": Item(
        4,
        _forms(
            Form("Q222", "Vote in elections: National level", _VOTE),
            "E264",
            "E264",
            Form("v172", "vote in elections: national level (Q53B)", _EVS_VOTE),
        ),
    ),
    # Trap 11: WVS-7 has a fifth code, the others have it as not applicable.
    "national_pride": Item(
        5,
        {
            "wvs7": Form("Q254", "National pride", {**_PRIDE, 5: "I am not [nationality]"}),
            "wvs_ts": Form("G006", "How proud of nationality", _PRIDE, absent=(4,)),
            "joint": Form("G006", "how proud of nationality", {c: v.lower() for c, v in _PRIDE.items()}, absent=(4,)),
            "evs2017": Form(
                "v170",
                "how proud are you to be a ...[country] citizen (Q52)",
                {c: v.lower() for c, v in _PRIDE.items()},
                absent=(4,),
            ),
        },
    ),
    # Trap 12: zero is a value.
    "education_isced": Item(
        9,
        _forms(
            Form("Q275", "Highest educational level: Respondent [ISCED 2011]", _ISCED),
            "X025A_01",
            "X025A_01",
            Form("v243_ISCED_1", "educational level respondent: ISCED-code one digit (Q81)", _ISCED),
        ),
    ),
    "religion_denomination": Item(
        10,
        {
            "wvs7": Form("Q289", "Religious denominations - major groups", _DENOMINATION),
            "wvs_ts": Form("F025", "Religious denominations - major groups", _DENOMINATION),
            "joint": Form("F025", "religious denominations - major groups", _DENOMINATION),
        },
    ),
    "demo_essential_tax_rich": Item(
        11,
        _forms(
            _scale(
                "Q241",
                "Democracy: Governments tax the rich and subsidize the poor",
                "It is against democracy (spontaneous)",
                "An essential characteristic of democracy",
                first=0,
            ),
            "E224",
            "E224",
            _scale(
                "v133",
                "democracy: governments tax the rich and subsidize the poor (Q39A)",
                "it is against democracy [DO NOT READ OUT]",
                "an essential characteristic of democracy",
                first=0,
            ),
        ),
    ),
    # Trap 13: the same aim twice is kept by EVS; the index is to be made from the two.
    "aims_respondent_first": Item(
        4,
        _forms(
            Form("Q154", "Aims of respondent: first choice", _AIMS),
            "E003",
            "E003",
            Form(
                "v110",
                "important: most (Q33)",
                {
                    1: "maintaining order in nation",
                    2: "more say in important government decisions",
                    3: "fighting rising prices",
                    4: "protecting freedom of speech",
                },
            ),
        ),
    ),
    "aims_respondent_second": Item(
        4,
        _forms(
            Form("Q155", "Aims of respondent: second choice", _AIMS),
            "E004",
            "E004",
            Form(
                "v111",
                "important: 2nd most (Q33)",
                {
                    1: "maintaining order in nation",
                    2: "more say in important government decisions",
                    3: "fighting rising prices",
                    4: "protecting freedom of speech",
                },
            ),
        ),
    ),
    # Trap 15.
    "social_class": Item(
        5,
        {
            "wvs7": Form(
                "Q287",
                "Social class (subjective)",
                {
                    1: "Upper class",
                    2: "Upper middle class",
                    3: "Lower middle class",
                    4: "Working class",
                    5: "Lower class",
                },
            ),
            "wvs_ts": Form(
                "X045",
                "Social class (subjective)",
                {
                    1: "Upper class",
                    2: "Upper middle class",
                    3: "Lower middle class",
                    4: "Working class",
                    5: "Lower class",
                },
            ),
        },
    ),
    "left_right": Item(
        10,
        _forms(
            _scale("Q240", "Left-right political scale", "Left", "Right"),
            "E033",
            "E033",
            _scale("v102", "left-right placement (Q31)", "the left", "the right"),
        ),
        at=1,
    ),
    "justifiable_homosexuality": Item(
        10,
        _forms(
            _scale("Q182", "Justifiable: Homosexuality", "Never justifiable", "Always justifiable"),
            "F118",
            "F118",
            _scale("v153", "do you justify: homosexuality (Q44E)", "never", "always"),
        ),
        at=1,
    ),
    "confidence_police": Item(
        4,
        _forms(
            Form("Q69", "Confidence: The Police", _CONFIDENCE),
            "E069_06",
            "E069_06",
            Form("v120", "how much confidence in: the police (Q38F)", {c: v.lower() for c, v in _CONFIDENCE.items()}),
        ),
    ),
    "system_army_rule": Item(
        4,
        _forms(
            Form("Q237", "Political system: Having the army rule", _SYSTEM),
            "E116",
            "E116",
            Form(
                "v147",
                "political system: the army ruling the country (Q42C)",
                {c: v.lower() for c, v in _SYSTEM.items()},
            ),
        ),
    ),
    # Trap 20: v72 is this item, not the one on jobs.
    "gender_child_suffers_working_mother": Item(
        4,
        _forms(
            Form("Q28", "Pre-school child suffers with working mother", _AGREE4),
            "D061",
            "D061",
            Form(
                "v72",
                "child suffers with working mother (Q25A)",
                {1: "agree strongly", 2: "agree", 3: "disagree", 4: "disagree strongly"},
            ),
        ),
    ),
    "immigration_increases_crime": Item(
        3,
        {
            "wvs7": Form(
                "Q124",
                "Immigration in your country: Increases the crime rate",
                {0: "Disagree", 1: "Hard to say", 2: "Agree"},
            ),
            "wvs_ts": Form(
                "G055",
                "Immigration in your country: Increases the crime rate",
                {0: "Disagree", 1: "Hard to say", 2: "Agree"},
            ),
        },
    ),
    # Trap 14: the subjective step of WVS and the income decile of EVS are two variables in the Joint.
    "income_scale": Item(
        10,
        {
            "wvs7": _scale("Q288", "Scale of incomes", "Lower step", "Tenth step"),
            "wvs_ts": _scale("X047_WVS", "Scale of incomes", "Lower step", "Tenth step"),
            "joint": _scale("X047_WVS7", "scale of incomes (WVS7)", "lower step", "tenth step"),
            "evs2017": _scale("v261", "households total net income (Q98)", "1. decile", "10. decile"),
        },
        at=1,
    ),
}


@dataclass(frozen=True)
class People:
    """Invented respondents: country, year, birth year, weight, and what they answered.

    Attributes:
        country: ISO 3166-1 numeric, as the surveys write it.
        answers: Item → place of the category (from 0) or a kind of missing answer, one a person.
    """

    study: str
    country: Sequence[int]
    year: Sequence[int]
    case: Sequence[int]
    born: Sequence[int]
    weight: Sequence[float]
    answers: Mapping[str, Sequence[int | str]]

    def __len__(self) -> int:
        return len(self.country)


def make_people(study: str, places: Mapping[int, int], *, per_country: int = 60, seed: int = 7) -> People:
    """Draw people of some countries (ISO numeric → year); every kind of missing answer occurs in every item."""
    rng = np.random.default_rng(seed)
    country = np.repeat(list(places), per_country)
    n = len(country)
    answers: dict[str, list[int | str]] = {}
    kinds = ["dont_know", "refused_or_no_answer", "not_applicable", "not_asked"]
    for name, item in ITEMS.items():
        drawn: list[int | str] = [int(v) for v in rng.integers(0, item.size, n)]
        for at, kind in zip(rng.choice(n, size=len(kinds) * 2, replace=False), kinds * 2, strict=True):
            if name != "sex":
                drawn[at] = kind
        answers[name] = drawn
    # Whole country not asked (harmonization.md, 1.7) and, in WVS, data withdrawn.
    first = int(country[0])
    answers["justifiable_homosexuality"] = [
        "not_asked" if c == first else v for c, v in zip(country, answers["justifiable_homosexuality"], strict=True)
    ]
    weight = rng.uniform(0.4, 1.9, n)
    if study == "wvs":  # within each country the weights sum to the number of respondents
        for c in places:
            weight[country == c] *= per_country / weight[country == c].sum()
    year = np.array([places[int(c)] for c in country])
    return People(
        study,
        country.tolist(),
        year.tolist(),
        (np.tile(np.arange(per_country), len(places)) + 1).tolist(),
        (year - rng.integers(18, 95, n)).tolist(),
        weight.round(6).tolist(),
        answers,
    )


def wvs_people(**options: int) -> People:
    """WVS-7 respondents: USA, Germany, Mexico and Northern Ireland, which has a code that is not ISO's."""
    return make_people("wvs", {840: 2017, 276: 2018, 484: 2018, 909: 2022}, **options)


def evs_people(**options: int) -> People:
    """EVS 2017 respondents: Germany, Albania, Italy."""
    return make_people("evs", {276: 2017, 8: 2018, 380: 2018}, **{"seed": 11, **options})


@dataclass(frozen=True)
class SurveyFile:
    """A file to be written: the rows with native codes, and the table of variables."""

    frame: pl.DataFrame
    labels: Mapping[str, str]
    values: Mapping[str, Mapping[int, str]]
    missing_labels: Mapping[int, str]
    title: str
    missing_range: tuple[int, int] | None = None
    tags: Mapping[int, str] = field(default_factory=dict)
    declared: tuple[str, ...] = ()

    def with_frame(self, frame: pl.DataFrame) -> SurveyFile:
        """The same file with other rows."""
        return replace(self, frame=frame)


def _encoded(
    people: People, codebook: str, codes: Mapping[str, int]
) -> tuple[dict[str, list[int]], dict[str, str], dict]:
    columns, labels, values = {}, {}, {}
    for name, item in ITEMS.items():
        if codebook not in item.forms:
            continue
        form = item.forms[codebook]
        native = list(form.values)
        for gap in form.absent:
            native.insert(gap, codes[form.absent_as])
        columns[form.variable] = [
            codes.get(a, codes["not_asked"]) if isinstance(a, str) else native[a] for a in people.answers[name]
        ]
        labels[form.variable] = form.label
        values[form.variable] = form.values
    return columns, labels, values


_ALPHA3 = {840: "USA", 276: "DEU", 484: "MEX", 909: "NIR", 858: "URY", 8: "ALB", 380: "ITA", 392: "JPN"}
_ALPHA2 = {840: "US", 276: "DE", 484: "MX", 909: "NIR", 858: "UY", 8: "AL", 380: "IT", 392: "JP"}
_COUNTRY_NAMES = {
    840: "United States",
    276: "Germany",
    484: "Mexico",
    909: "Northern Ireland",
    8: "Albania",
    380: "Italy",
}


def _file(admin: dict, labels: dict, people: People, codebook: str, codes: Mapping[str, int], **options) -> SurveyFile:
    columns, item_labels, values = _encoded(people, codebook, codes)
    country = {k: v for k, v in _COUNTRY_NAMES.items() if k in people.country}
    named = {k: country for k in ("B_COUNTRY", "S003", "cntry", "country") if k in admin}
    return SurveyFile(
        pl.DataFrame({**admin, **columns}),
        {**labels, **item_labels},
        {**named, **options.pop("values", {}), **values},
        declared=tuple(columns),
        **options,
    )


def wvs7(people: People, *, version: str = "6-0-0 (2024-04-30)", duplicate: bool = False) -> SurveyFile:
    """WVS wave 7, cross-national (or single-country, with people of one)."""
    age = [y - b for y, b in zip(people.year, people.born, strict=True)]
    n = len(people)
    file = _file(
        {
            "version": [version] * n,
            "doi": ["doi.org/10.14281/18241.24"] * n,
            "A_WAVE": [7] * n,
            "A_STUDY": [2] * n,
            "B_COUNTRY": people.country,
            "B_COUNTRY_ALPHA": [_ALPHA3[c] for c in people.country],
            "C_COW_NUM": [2] * n,
            "A_YEAR": people.year,
            "D_INTERVIEW": [c * 1_000_000 + 70_000 + k for c, k in zip(people.country, people.case, strict=True)],
            "J_INTDATE": [y * 10000 + 601 for y in people.year],
            "O1_LONGITUDE": [-1.5 if k % 2 else -77.04 for k in people.case],  # negative and yet a value
            "LNGE_ISO": ["en"] * n,
            "W_WEIGHT": people.weight,
            "S018": [1000 / 60 * w / 60 for w in people.weight],
            "PWGHT": [2.5 * w for w in people.weight],
            "S025": [int(f"{c}{y}") for c, y in zip(people.country, people.year, strict=True)],
            "Q261": people.born,
            "Q262": age,
        },
        {
            "A_WAVE": "Wave",
            "A_STUDY": "Study",
            "A_YEAR": "Year of survey",
            "B_COUNTRY": "ISO 3166-1 numeric country code",
            "B_COUNTRY_ALPHA": "ISO 3166-1 alpha-3 country code",
            "D_INTERVIEW": "Interview ID",
            "W_WEIGHT": "Weight",
            "S018": "Equilibrated weight-1000",
            "S025": "Country - year",
            "Q261": "Year of birth",
            "Q262": "Age",
        },
        people,
        "wvs7",
        WVS_MISSING,
        values={"A_WAVE": {5: "EVS wave 5 (2017-2021)", 7: "WVS wave 7 (2017-2022)"}, "A_STUDY": {1: "EVS", 2: "WVS"}},
        missing_labels=WVS_MISSING_LABELS,
        title="WVS Cross-National Wave 7",
        missing_range=(-5, -1),
        tags=STATA_TAGS,
    )
    if duplicate:  # the key that the producer's file has twice
        twins = file.frame.head(2).with_columns(
            D_INTERVIEW=pl.lit(858069901, dtype=pl.Int64),
            B_COUNTRY=pl.lit(858, dtype=pl.Int64),
            B_COUNTRY_ALPHA=pl.lit("URY"),
        )
        file = file.with_frame(pl.concat([file.frame, twins]))
    return file


def wvs7_inverted(people: People) -> SurveyFile:
    """The WVS-7 file with inverted scales: suffix P and reversed codes (trap 18)."""
    file = wvs7(people)
    turned = {
        v: {c: labels[k] for c, k in zip(labels, reversed(list(labels)), strict=True)}
        for v, labels in file.values.items()
        if v in ("Q1", "Q46", "Q57", "Q69", "Q28", "Q34")
    }
    frame = file.frame.with_columns(
        pl.when(pl.col(v) > 0).then(max(labels) + min(labels) - pl.col(v)).otherwise(pl.col(v)).alias(v)
        for v, labels in turned.items()
    ).rename({v: f"{v}P" for v in turned})
    return replace(
        file,
        frame=frame,
        labels={f"{v}P" if v in turned else v: label for v, label in file.labels.items()},
        values={**{v: x for v, x in file.values.items() if v not in turned}, **{f"{v}P": x for v, x in turned.items()}},
        declared=tuple(f"{v}P" if v in turned else v for v in file.declared),
    )


def wvs_ts(people: People, *, waves: Mapping[int, People] | None = None) -> SurveyFile:
    """WVS time series: the wave-7 people and those of earlier waves; in wave 3 an id stands twice within a country."""
    parts = []
    for wave, group in {**(waves or {}), 7: people}.items():
        n = len(group)
        part = _file(
            {
                "version": ["5-0-0 (2024-06-30)"] * n,
                "doi": ["doi.org/10.14281/18241.17"] * n,
                "S001": [2] * n,
                "S002VS": [wave] * n,
                "S003": group.country,
                "COUNTRY_ALPHA": [_ALPHA3[c] for c in group.country],
                "S006": group.case,
                "S007": [c * 100_000 + wave * 10_000 + k for c, k in zip(group.country, group.case, strict=True)],
                "S017": group.weight,
                "S018": [w * 1000 / 60 for w in group.weight],
                "S020": group.year,
                "S024": [c * 10 + wave for c in group.country],
                "S025": [int(f"{c}{y}") for c, y in zip(group.country, group.year, strict=True)],
                "X002": group.born,
                "X003": [y - b for y, b in zip(group.year, group.born, strict=True)],
                # Trap 4: the three-point form of earlier waves, its middle coded last.
                "C002": [-4 if wave == 7 else 1 + k % 3 for k in group.case],
            },
            {
                "S001": "Study",
                "S002VS": "Chronology of EVS-WVS waves",
                "S003": "ISO 3166-1 numeric country code",
                "S007": "Unified respondent number",
                "S017": "Weight",
                "S018": "Equilibrated weight-1000",
                "S020": "Year survey",
                "X002": "Year of birth",
                "X003": "Age",
                "C002": "Jobs scarce: Employers should give priority to (nation) people (3-point scale)",
            },
            group,
            "wvs_ts",
            WVS_MISSING,
            values={"S001": {1: "EVS", 2: "WVS"}, "C002": {1: "Agree", 2: "Disagree", 3: "Neither"}},
            missing_labels=WVS_MISSING_LABELS,
            title="WVS Time Series 1981-2022",
            missing_range=(-5, -1),
            tags=STATA_TAGS,
        )
        if wave == 3:
            part = part.with_frame(
                part.frame.with_columns(
                    S007=pl.when(pl.int_range(pl.len()) == 1).then(pl.col("S007").first()).otherwise(pl.col("S007"))
                )
            )
        parts.append(part)
    return replace(parts[0], frame=pl.concat([p.frame for p in parts]), declared=(*parts[0].declared, "C002"))


def joint(wvs: People, evs: People) -> SurveyFile:
    """EVS/WVS Joint v5: the WVS-7 and the EVS-2017 people in one file, ages capped at 82, births at 1937."""
    parts = []
    for group, study, wave in ((evs, 1, 5), (wvs, 2, 7)):
        n = len(group)
        part = _file(
            {
                "version": ["5-0-0 (2024-06-24)"] * n,
                "doi": ["doi:10.4232/1.14320"] * n,
                "study": [study] * n,
                "wave": [wave] * n,
                "uniqid": [c * 1_000_000 + wave * 10_000 + k for c, k in zip(group.country, group.case, strict=True)],
                "cntry": group.country,
                "cntry_AN": [_ALPHA2[c] for c in group.country],
                "cntry_y": [int(f"{c}{y}") for c, y in zip(group.country, group.year, strict=True)],
                "year": group.year,
                "mode": [1] * n,
                "gwght": group.weight,
                "wght_eq1000": [w * 1000 / 60 for w in group.weight],
                "pwght": [w * 2 for w in group.weight],
                "X002": [max(b, 1937) for b in group.born],
                "X003": [min(y - b, 82) for y, b in zip(group.year, group.born, strict=True)],
                # -5: multiple answers by mail in EVS, data not available in WVS (section 1.4).
                "A009": [-5 if k == 1 else 1 + k % 5 for k in group.case],
                # Trap 14: the decile of EVS, which WVS respondents do not have.
                "X047E_EVS5": [1 + k % 10 if study == 1 else -4 for k in group.case],
            },
            {
                "study": "study (EVS or WVS)",
                "wave": "wave",
                "uniqid": "Unified respondent number",
                "cntry": "ISO 3166-1 numeric country code",
                "cntry_AN": "ISO 3166-1 alpha-2 country code",
                "year": "survey year",
                "gwght": "calibration weights",
                "wght_eq1000": "Equilibrated weight-1000",
                "pwght": "population size weight",
                "X002": "year of birth",
                "X003": "age",
                "A009": "state of health (subjective)",
                "X047E_EVS5": "scale of incomes (EVS5)",
            },
            group,
            "joint",
            WVS_MISSING,
            values={
                "study": {1: "EVS", 2: "WVS"},
                "X002": {1937: "1937 and before"},
                "X003": {82: "82 and older"},
                "A009": {1: "very good", 2: "good", 3: "fair", 4: "poor", 5: "very poor"},
            },
            missing_labels={
                -1: "don't know",
                -2: "no answer",
                -3: "not applicable",
                -4: "not asked",
                -5: "other missing",
            },
            title="EVS/WVS Joint 2017-2022",
            missing_range=(-5, -1),
        )
        if study == 1:  # no subjective step in EVS
            part = part.with_frame(part.frame.with_columns(X047_WVS7=pl.lit(-4, dtype=pl.Int64)))
        parts.append(part)
    return replace(
        parts[0], frame=pl.concat([p.frame for p in parts]), declared=(*parts[0].declared, "A009", "X047E_EVS5")
    )


def evs2017(people: People) -> SurveyFile:
    """EVS 2017 (ZA7500) with the codes of the matrix design, mail answers, and variables of single countries."""
    n = len(people)
    file = _file(
        {
            "studyno": [7500] * n,
            "version": ["5-0-0 (2022-05-16)"] * n,
            "doi": ["doi:10.4232/1.13897"] * n,
            "id_cocas": [c * 10**9 + 2017 * 10**4 + k for c, k in zip(people.country, people.case, strict=True)],
            "caseno": people.case,
            "year": people.year,
            "country": people.country,
            "c_abrv": [_ALPHA2[c] for c in people.country],
            "cntry_y": [int(f"{c}{y}") for c, y in zip(people.country, people.year, strict=True)],
            "mode": [1 + k % 2 for k in people.case],
            "mm_matrix_group": [k % 7 for k in people.case],
            "fduplicate": [0] * n,
            "v226": [max(b, 1937) for b in people.born],
            "age": [min(y - b, 82) for y, b in zip(people.year, people.born, strict=True)],
            # Country variant with an extra middle category (section 1.3).
            "v72_DE": [1 + k % 5 if c == 276 else -4 for c, k in zip(people.country, people.case, strict=True)],
            # -9 no follow-up, -10 several answers by mail.
            "v8": [-9 if k == 1 else -10 if k == 2 else 1 + k % 5 for k in people.case],
            "gweight": people.weight,
            "dweight": [1.0] * n,
            "pweight": [w * 3 for w in people.weight],
        },
        {
            "id_cocas": "unified respondent number",
            "country": "country code (ISO 3166-1 Numeric code)",
            "c_abrv": "country abbreviation",
            "year": "survey year",
            "v226": "year of birth respondent (Q64)",
            "age": "age: respondent (constructed)",
            "v72_DE": "child suffers with working mother DE (Q25A)",
            "v8": "describe your state of health these days (Q3)",
            "gweight": "calibration weight",
            "dweight": "design weight",
        },
        people,
        "evs2017",
        EVS_MISSING,
        values={
            "v8": {1: "very good", 2: "good", 3: "fair", 4: "bad", 5: "very bad"},
            "age": {82: "82 and older"},
            "v226": {1937: "1937 and before"},
        },
        missing_labels=EVS_MISSING_LABELS,
        title="European Values Study 2017: Integrated Dataset",
        missing_range=(-10, -1),
    )
    return replace(file, declared=(*file.declared, "v72_DE", "v8"))


def evs_trend(groups: Mapping[int, People]) -> SurveyFile:
    """EVS trend file (ZA7503): the names of the time series, EVS's own waves."""
    file = wvs_ts(list(groups.values())[-1], waves=dict(list(groups.items())[:-1]))
    frame = file.frame.with_columns(
        S001=pl.lit(1, dtype=pl.Int64), S002VS=pl.col("S002VS").replace({7: max(groups)})
    ).rename({"S002VS": "S002EVS"})
    return replace(file, frame=frame, title="EVS Trend File 1981-2017")


def wvs6(people: People) -> SurveyFile:
    """WVS wave 6, its own file, with the variables V1, V2, …"""
    n = len(people)
    form = ITEMS["sex"].forms["wvs7"]
    return SurveyFile(
        pl.DataFrame(
            {
                "V1": [6] * n,
                "V2": people.country,
                "V3": people.case,
                "V24": [1 + k % 2 for k in people.case],
                "V214": [1 + k % 2 for k in people.case],
                "V216": [3] * n,
                "V223": [1] * n,
                "V225": [1] * n,
                "V235": [1] * n,
                "V236": [1] * n,
                "V237": [1 + k % 3 for k in people.case],
                "V238": [1 + k % 4 for k in people.case],
                "V240": [a + 1 for a in people.answers["sex"]],
                "V242": [y - b for y, b in zip(people.year, people.born, strict=True)],
                "V245": [1] * n,
                "V246": [1] * n,
                "V258": people.weight,
                "V259": [1] * n,
                "V260": [1] * n,
                "V262": people.year,
            }
        ),
        {
            "V1": "Wave",
            "V2": "Country Code",
            "V3": "Interview number",
            "V240": "Sex",
            "V242": "Age",
            "V258": "Weight",
            "V262": "Year survey",
        },
        {"V240": form.values},
        WVS_MISSING_LABELS,
        "WV6_Data",
        missing_range=(-5, -1),
    )


_GSS_TAGS = {"dont_know": "d", "not_applicable": "i", "refused_or_no_answer": "n", "skipped_web": "s", "release": "x"}


def gss(
    years: Sequence[int] = (2018,), *, per_year: int = 90, letters: Mapping[str, str] | None = None, seed: int = 3
) -> SurveyFile:
    """NORC's GSS as Stata file: one year, or a cumulative file of several; tagged missings in `frame` as .d, .i, …

    `abany` is asked on ballots 1 and 3 only, `natspac` on form 1, `natspacy` on form 2; `divorce` is filtered.
    `letters` gives other tags for the same labels, as NORC's first release of 2010 has.
    """
    rng = np.random.default_rng(seed)
    tag = {kind: f".{(letters or _GSS_TAGS)[kind]}" for kind in _GSS_TAGS}
    rows = []
    for year in years:
        for k in range(per_year):
            ballot, form = 1 + k % 3, 1 + k % 2
            married = bool(rng.integers(0, 2))
            rows.append(
                {
                    "year": str(year),
                    "id": str(k + 1),
                    "wrkstat": str(1 + int(rng.integers(0, 8))),
                    "marital": "1" if married else "5",
                    "divorce": str(1 + int(rng.integers(0, 2))) if married else tag["not_applicable"],
                    "age": tag["refused_or_no_answer"] if k == 4 else str(int(rng.integers(18, 90))),
                    "educ": str(int(rng.integers(0, 21))),
                    "degree": str(int(rng.integers(0, 5))),
                    "sex": str(1 + int(rng.integers(0, 2))),
                    "race": str(1 + int(rng.integers(0, 3))),
                    "partyid": str(int(rng.integers(0, 8))),
                    "polviews": tag["dont_know"] if k == 5 else str(1 + int(rng.integers(0, 7))),
                    "happy": tag["skipped_web"] if k == 6 else str(1 + int(rng.integers(0, 3))),
                    "class_": tag["release"] if k == 7 else str(1 + int(rng.integers(0, 4))),
                    "rincom16": "98" if k == 8 else str(1 + int(rng.integers(0, 26))),
                    "abany": tag["not_applicable"] if ballot == 2 else str(1 + int(rng.integers(0, 2))),
                    "natspac": str(1 + int(rng.integers(0, 3))) if form == 1 else tag["not_applicable"],
                    "natspacy": str(1 + int(rng.integers(0, 3))) if form == 2 else tag["not_applicable"],
                    "ballot": str(ballot),
                    "form": str(form),
                    "wtssps": str(round(float(rng.uniform(0.3, 2.5)), 6)),
                    "wtssall": str(round(float(rng.uniform(0.3, 2.5)), 6)) if year <= 2018 else tag["not_applicable"],
                    "weight": str(int(rng.integers(100, 300))),
                    "vstrat": str(3000 + k // 10),
                    "vpsu": str(1 + k % 2),
                }
            )
    words = {
        tag["dont_know"]: "dk",
        tag["not_applicable"]: "iap",
        tag["refused_or_no_answer"]: "no answer",
        tag["skipped_web"]: "skipped on web",
        tag["release"]: "not available in this release",
    }
    values = {
        "sex": {1: "male", 2: "female"},
        "race": {1: "white", 2: "black", 3: "other"},
        "abany": {1: "yes", 2: "no"},
        "happy": {1: "very happy", 2: "pretty happy", 3: "not too happy"},
        "rincom16": {1: "under $1 000", 27: "refused", 98: "dk", 99: "na"},
    }
    tagged = ("divorce", "age", "polviews", "happy", "class_", "abany", "natspac", "natspacy", "wtssall")
    return SurveyFile(
        pl.DataFrame(rows),
        {
            "year": "gss year for this respondent",
            "id": "respondent id number",
            "sex": "respondents sex",
            "abany": "abortion if woman wants for any reason",
            "weight": "r weighs how much",
        },
        values,
        {v: dict(words) for v in tagged},  # type: ignore[arg-type]
        "General Social Survey",
    )


def write(file: SurveyFile, path: Path, *, semicolon: bool = False, encoding: str = "utf-8") -> Path:
    """Write the file in the format of the path's suffix; `x.sav.zip` is an archive with the .sav in a folder."""
    if path.suffix == ".zip":
        inner = write(file, path.with_name(path.stem), semicolon=semicolon, encoding=encoding)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inner, f"folder/{inner.name}")
            archive.writestr("folder/readme.txt", "codebook")
        inner.unlink()
        return path
    if path.suffix == ".csv":
        frame = file.frame.rename({"class_": "class"}, strict=False)
        text = frame.write_csv(separator=";" if semicolon else ",")
        path.write_text(text, encoding=encoding)
    elif path.suffix == ".dta":
        _write_dta(file, path)
    elif path.suffix == ".sas7bdat":
        write_sas7bdat(file.frame, path, file.labels, compressed=path.stem.endswith("compressed"))
    else:
        _write_sav(file, path)
    return path


def _write_sav(file: SurveyFile, path: Path) -> None:
    values = {v: {**labels, **(file.missing_labels if v in file.declared else {})} for v, labels in file.values.items()}
    ranges = {}
    if file.missing_range:
        low, high = file.missing_range
        ranges = {v: [{"lo": low, "hi": high}] for v in file.declared}
    pyreadstat.write_sav(
        file.frame,
        path,
        file_label=file.title,
        column_labels=dict(file.labels),
        variable_value_labels={v: {float(c): t for c, t in labels.items()} for v, labels in values.items()},
        missing_ranges=ranges,
        compress=path.suffix == ".zsav",
    )


def _is_text(cell: object) -> bool:
    return isinstance(cell, str)


def _write_dta(file: SurveyFile, path: Path) -> None:
    """Stata's way: codes as tags where the producer does so, or the tags that stand in the frame (GSS)."""
    columns, tags, values = [], {}, {v: dict(labels) for v, labels in file.values.items()}
    for series in file.frame:
        name = series.name.rstrip("_")
        if series.name in file.missing_labels:  # GSS: .d, .i, … in the frame
            cells = [c[1:] if c.startswith(".") else float(c) for c in series]
            tags[name] = [t[1:] for t in file.missing_labels[series.name]] if any(map(_is_text, cells)) else []
            values.setdefault(name, {}).update({t[1:]: text for t, text in file.missing_labels[series.name].items()})
            columns.append(pl.Series(name, cells, dtype=pl.Object) if tags[name] else pl.Series(name, cells))
        elif series.dtype == pl.String and file.title == "General Social Survey":
            columns.append(series.cast(pl.Float64).rename(name))
        elif series.name in file.declared and file.tags:
            cells = [file.tags.get(c, float(c)) for c in series]
            tags[name] = list(file.tags.values()) if any(map(_is_text, cells)) else []
            values.setdefault(name, {}).update({file.tags[c]: text for c, text in file.missing_labels.items()})
            columns.append(pl.Series(name, cells, dtype=pl.Object) if tags[name] else pl.Series(name, cells))
        elif series.name in file.declared:  # EVS, Joint: plain negative codes, nothing declared
            values.setdefault(name, {}).update(file.missing_labels)
            columns.append(series)
        else:
            columns.append(series)
    frame = pl.DataFrame(columns)
    numeric = {c for c in frame.columns if frame.schema[c] != pl.String}
    pyreadstat.write_dta(
        frame,
        path,
        file_label=file.title,
        column_labels={v.rstrip("_"): label for v, label in file.labels.items()},
        variable_value_labels={
            v: {
                (c if isinstance(c, str) else (float(c) if frame.schema[v] != pl.Int64 else int(c))): t
                for c, t in labels.items()
                if not isinstance(c, str) or tags.get(v)
            }
            for v, labels in values.items()
            if v in numeric
        },
        missing_user_values={v: t for v, t in tags.items() if t},
    )
