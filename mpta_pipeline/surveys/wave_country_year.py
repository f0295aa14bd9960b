"""Read the wave, country, year and weight of each row of a survey file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from mpta_pipeline.core.countries import correlates_of_war, official_names, survey_codes
from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.surveys.file_info import FileInfo
from mpta_pipeline.surveys.readstat import number_text
from mpta_pipeline.surveys.source_registry import CountryRule, Source, WaveRule

YEARS = range(1972, 2101)  # from the first GSS; the bounds of RESPONDENTS.year
_LATE = 1  # years by which a country's fieldwork may be earlier or later than its wave's
_MOSTLY = (
    0.9  # of the cells: a year variable with a few invalid cells is reported as such, not as another survey's file
)
WAVE = " wave"  # no variable's name
ROLES: Mapping[str, Callable[[Source], Sequence[str]]] = {
    "wave": lambda s: (*s.waves.variable, *s.waves.last_digit),
    "country": lambda s: (*s.country.variable, *s.country.cow),
    "year": lambda s: (*s.year, *s.dates),
}


def role_of(source: Source, role: str) -> Sequence[str]:
    """The variables of a source that may have a role: wave, country, year or key."""
    return ["+".join(c) for c in source.key.variables if c] if role == "key" else ROLES[role](source)


def off_fieldwork(source: Source, rows: pl.DataFrame) -> str | None:
    """Why the years of a file's waves belong to another survey with the same wave numbers; null if they do not.

    The EVS numbers its waves as well: its fourth was in the field in 2008, the fourth of the WVS from 1999 to 2004.
    """
    rule = source.waves
    if len(rule.fieldwork) < 2 or rows.height == 0:
        return None
    if (variable := first_of(rule.variable, rows)) is not None:
        codes = rows[variable]
    elif (variable := first_of(rule.last_digit, rows)) is not None:
        codes = rows[variable].str.slice(-1)
    else:
        return None
    years = [
        _as_years(rows[v.lower()], first_digits=v in source.dates) for v in role_of(source, "year") if v.lower() in rows
    ]
    if not years:
        return None
    table = pl.DataFrame({"wave": codes.replace(rule.names), "year": pl.select(pl.coalesce(years)).to_series()})
    for wave, (first, last) in rule.fieldwork.items():
        own = table.filter(pl.col("wave") == wave)["year"].drop_nulls()
        other = own.filter(~own.is_between(first - _LATE, last + _LATE))
        if len(other) > len(own) / 2:
            return f"its wave {wave} has the year {other[0]}, the fieldwork was {first} to {last}"
    return None


def off_years(rows: pl.DataFrame, source: Source, names: Mapping[str, str]) -> str | None:
    """Why a file's years do not belong to a source; null if they do, or if their defect is reported elsewhere."""
    first, last = source.recognize.years or (YEARS.start, YEARS.stop)
    looked: list[tuple[float, str, pl.Series]] = []
    for variable in role_of(source, "year"):
        if variable.lower() in rows.columns:
            years = _as_years(rows[variable.lower()], first_digits=variable in source.dates)
            valid = years.is_not_null().mean()
            looked.append((float(valid or 0.0), variable, years))  # type: ignore[arg-type]
            if valid == 1.0:
                break
    if not looked:
        return None
    share, variable, years = max(looked, key=lambda entry: entry[0])
    if share < _MOSTLY:
        return f"{names[variable.lower()]} is no year"
    within = years.drop_nulls().is_between(first, last)
    if within.all():
        return None
    other = years.drop_nulls().filter(~within)[0]
    return f"{names[variable.lower()]} is {other}, its fieldwork was {first} to {last}"


def is_weight(cell: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether a cell holds a weight: not zero, a tag or a missing code. Wrong weights count; the checks reject them."""
    number = cell.cast(pl.Float64, strict=False)
    word = cell.is_not_null() & ~cell.str.contains(r"^\s*(\.[a-z]?)?\s*$") if dtype == pl.String else pl.lit(False)
    return pl.coalesce((number != 0) & ~number.is_in(list(NO_WEIGHT)), word).fill_null(False)


NO_WEIGHT = (-1.0, -2.0, -3.0, -4.0, -5.0, -99.0)
"""Missing codes that mean that a respondent has no weight."""


def as_codes(column: pl.Series, name: str) -> pl.Series:
    """A raw column as code texts."""
    if column.dtype == pl.String:
        return column
    if column.dtype.is_integer():
        return column.cast(pl.String).alias(name)
    return column.to_frame(name).select(number_text(pl.col(name))).to_series()


def waves_of(info: FileInfo, source: Source, rows: pl.DataFrame) -> tuple[str | None, pl.Series]:
    """The variable that tells the waves apart (null if none does), and the code of the wave of each row."""
    rule = source.waves
    names = {name.lower(): name for name in info.names}
    none = pl.Series(WAVE, [None] * rows.height, dtype=pl.String)
    if (variable := first_of(rule.variable, rows)) is not None:
        return names[variable], rows[variable].alias(WAVE)
    if rule.constant:
        return None, none
    if (variable := first_of(rule.last_digit, rows)) is not None:
        return names[variable], rows[variable].str.slice(-1).alias(WAVE)
    years, variable = years_of(source, rows, info.path, names)
    return variable, _by_fieldwork(rule, years, info.path, variable)


def wave_codes(rule: WaveRule, cells: pl.Series, variable: str, *, dates: Sequence[str]) -> pl.Series:
    """The wave codes of the rows of a file, from the variable that `Recognition.wave_variable` names."""
    if any(variable.lower() == name.lower() for name in rule.variable):
        return cells
    if any(variable.lower() == name.lower() for name in rule.last_digit):
        return cells.str.slice(-1)
    first = any(variable.lower() == name.lower() for name in dates)
    return _by_fieldwork(rule, _as_years(cells, first_digits=first), None, variable)


def _by_fieldwork(rule: WaveRule, years: pl.Series, path: Path | None, variable: str | None) -> pl.Series:
    waves = {y: [w for w, (a, b) in rule.fieldwork.items() if a <= y <= b] for y in years.drop_nulls().unique()}
    for year, found in waves.items():
        if len(found) != 1:
            raise SurveyFileError(
                f"The file has no variable of the wave, and its year belongs to {' and '.join(found) or 'no wave'}",
                file=path,
                variable=variable,
                value=year,
                remedy=f"use a file with {' or '.join(rule.variable)}",
            )
    return years.replace_strict({y: w[0] for y, w in waves.items()}, default=None, return_dtype=pl.String).alias(WAVE)


def first_of(candidates: Sequence[str], rows: pl.DataFrame) -> str | None:
    """The first of some variables that a frame has, as its lower-case name."""
    return next((c.lower() for c in candidates if c.lower() in rows.columns), None)


def _as_years(codes: pl.Series, *, first_digits: bool = False) -> pl.Series:
    """Years; null if a code is not a year. A country-year code (8402006) ends in a year, a date begins with one."""
    pattern = r"^(\d{4})(?:\d{2}|\d{4})?$" if first_digits else r"^\d*?(\d{4})$"
    years = codes.str.extract(pattern).cast(pl.Int64, strict=False)
    return years.set(~years.is_between(YEARS.start, YEARS.stop - 1).fill_null(False), None)


def years_of(source: Source, rows: pl.DataFrame, path: Path, names: Mapping[str, str]) -> tuple[pl.Series, str | None]:
    """The years of the interviews and their variable: the first that has a year in every row.

    Args:
        source: The source.
        rows: The candidate variables' codes, under lower-case names.
        path: The file, for the message.
        names: Lower-case name → name in the file.

    Raises:
        SurveyFileError: None of the source's variables has a year from 1972 to 2100 in every row.
    """
    looked: list[tuple[str, pl.Series]] = []
    for variable in role_of(source, "year"):
        if variable.lower() in rows.columns:
            years = _as_years(rows[variable.lower()], first_digits=variable in source.dates)
            if not years.null_count():
                return years, names[variable.lower()]
            looked.append((variable.lower(), years))
            if _faulty(rows[variable.lower()], years):
                break
    if not looked:
        raise SurveyFileError(
            f"The file of {source.codebook} has no variable of the year",
            file=path,
            variable=" or ".join(role_of(source, "year")),
            remedy="use a file of the producer that has it",
        )
    variable, years = looked[-1] if _faulty(rows[looked[-1][0]], looked[-1][1]) else looked[0]
    wrong = rows[variable].filter(years.is_null())
    raise SurveyFileError(
        f"{len(wrong):,} cell(s) are not a year",
        file=path,
        variable=names[variable],
        value=wrong[0] if wrong[0] is not None else "(empty)",
        remedy="use the producer's own file, in which the year is a number such as 2018",
    )


def countries_of(
    rule: CountryRule, rows: pl.DataFrame, path: Path, names: Mapping[str, str]
) -> tuple[pl.Series, str | None]:
    """The countries (ISO 3166-1 alpha-3) and their variable: the first that has a country in every row.

    Args:
        rule: Where the country is.
        rows: The candidate variables' codes, under lower-case names.
        path: The file, for the message.
        names: Lower-case name → name in the file.

    Raises:
        SurveyFileError: No variable has a country in every row: a code is neither in ISO 3166-1 nor in `other`.
    """
    if rule.constant:
        return pl.Series("country", [rule.constant] * rows.height, dtype=pl.String), None
    looked: list[tuple[str, pl.Series]] = []
    for variable in (*rule.variable, *rule.cow):
        if variable.lower() not in rows.columns:
            continue
        codes = rows[variable.lower()]
        keys = codes.str.strip_chars().str.to_uppercase().str.replace(r"^0+(\d)", "$1")
        known = correlates_of_war() if variable in rule.cow else {**survey_codes(), **rule.other}
        found = keys.replace_strict(known, default=None, return_dtype=pl.String).alias("country")
        if not found.null_count():
            return found, names[variable.lower()]
        looked.append((variable.lower(), found))
        if _faulty(codes, found):
            break
    if not looked:
        raise SurveyFileError(
            "The file has no variable of the country",
            file=path,
            variable=" or ".join((*rule.variable, *rule.cow)),
            remedy="use a file of the producer that has it",
        )
    variable, found = looked[-1] if _faulty(rows[looked[-1][0]], looked[-1][1]) else looked[0]
    wrong = rows[variable].filter(found.is_null())
    raise SurveyFileError(
        f"{len(wrong):,} cell(s) are not a country of ISO 3166-1",
        file=path,
        variable=names[variable],
        value=wrong[0] if wrong[0] is not None else "(empty)",
        remedy="correct the cell; if it is a code of the survey's own, add it to country.other in the source's record",
    )


def _faulty(codes: pl.Series, read: pl.Series) -> bool:
    """Whether some cells are neither valid nor missing codes: reported instead of trying another variable."""
    if codes.null_count() == len(codes):
        return False
    return bool((read.is_null() & ~codes.str.contains(r"^-\d+$|^\.[a-z]?$").fill_null(False)).any())


def check_country_labels(info: FileInfo, variable: str | None, group: pl.DataFrame, countries: pl.Series) -> None:
    """Refuse a file that labels a country code as another country than ISO 3166-1: it uses the survey's own numbers."""
    labels = next((v.value_labels for v in info.variables if v.name == variable), {})
    if variable is None or not labels:
        return
    pairs = pl.DataFrame({"code": group[variable.lower()], "country": countries}).unique().sort("code")
    for code, country in pairs.iter_rows():
        said = official_names().get(labels.get(code, "").lower())
        if said is not None and said != country:
            raise SurveyFileError(
                f"The file labels a country code {labels[code]}, which is {country} in ISO 3166-1",
                file=info.path,
                variable=variable,
                value=code,
                remedy="use a newer release, which numbers countries by ISO 3166-1",
            )
