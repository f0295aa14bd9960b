"""Which survey, and which of its waves, a file holds: decided by its variables, labels and codes, never by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from mpta_pipeline.core.countries import codes as iso_codes
from mpta_pipeline.core.countries import correlates_of_war, official_names
from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.surveys import readers
from mpta_pipeline.surveys.readers import FileInfo
from mpta_pipeline.surveys.readstat import number_text
from mpta_pipeline.surveys.source_registry import CountryRule, Source, SourceRegistry, WaveRule

YEARS = range(1972, 2101)  # the first GSS; what RESPONDENTS allows
# A release in the file's own label, where no variable gives one: WV3_Data_dta_v20221107.dta.
_LABEL_VERSION = re.compile(r"(?i)(?<![a-z])v[_ .]?(\d{8}|\d+(?:[_.-]\d+)+)")
_LATE = 1  # years by which a country's fieldwork may lie before or after its wave's
_MOSTLY = 0.9  # of the cells: a variable of the year with a few faults is told as such, not as another survey's


@dataclass(frozen=True)
class WavePart:
    """One wave in a file: its key, the code that tells its rows, and what they hold.

    Attributes:
        sizes: Rows of each country, in the order of `countries`.
    """

    wave: str
    name: str
    code: str | None
    rows: int
    countries: tuple[str, ...]
    years: tuple[int, ...]
    weight: str | None
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Recognition:
    """What a file was recognized as.

    Attributes:
        waves: Wave keys, such as gss-2018.
        wave_variable: The file's variable that tells the waves apart; null: it holds one wave.
        parts: Wave key → what the file holds of it.
        notes: What was unusual in reading.
    """

    source: Source
    waves: tuple[str, ...]
    parts: Mapping[str, WavePart]
    version: str | None
    doi: str | None
    title: str
    wave_variable: str | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def codebook(self) -> str:
        """Codebook that the file follows."""
        return self.source.codebook


@dataclass(frozen=True)
class Nearness:
    """How near a file is to being of a source.

    Attributes:
        conditions: Conditions of the source that were looked at.
        reasons: Those that the file does not meet, each in a few words; none: it is of the source.
    """

    codebook: str
    conditions: int
    reasons: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the conditions that it meets."""
        return 1 - len(self.reasons) / self.conditions


def recognize(path: Path, registry: SourceRegistry) -> Recognition:
    """Recognize a survey file by its content.

    Raises:
        SurveyFileError: It cannot be read, fits no source or several, is a variant that must not be read as it stands,
            or its wave, country or year cells are none; with the reasons and the remedy.
    """
    with readers.opened(path) as file:
        return recognize_file(readers.describe(file), registry)


def explain(path: Path, registry: SourceRegistry) -> list[Nearness]:
    """How near a file is to each source, the nearest first.

    Raises:
        SurveyFileError: It cannot be read.
    """
    with readers.opened(path) as file:
        info = readers.describe(file)
        verdicts = {source.codebook: _against(info, source) for source in registry}
        named = [registry[d] for d, verdict in verdicts.items() if not verdict.reasons]
        rows = _rows(info, named, partial(readers.chunks, info))
    for source in named:
        before, more = verdicts[source.codebook], _rows_against(info, rows, source)
        missing = [] if rows.height == 0 else _lacking(info, source)
        verdicts[source.codebook] = Nearness(
            source.codebook, before.conditions + more.conditions + 3, (*more.reasons, *missing)
        )
    order = {source.codebook: place for place, source in enumerate(registry)}
    return sorted(verdicts.values(), key=lambda v: (bool(v.reasons), -v.share, order[v.codebook]))


Rows = Callable[[Sequence[str]], Iterable[pl.DataFrame]]


def recognize_file(info: FileInfo, registry: SourceRegistry, rows_of: Rows | None = None) -> Recognition:
    """Recognize an opened and described file; as `recognize`.

    Args:
        info: The file.
        registry: Sources.
        rows_of: Gives the rows of some variables, where they were read already; null to read them from the file.
    """
    named = candidates(info, registry)
    rows = _rows(info, named, rows_of or partial(readers.chunks, info))
    source = match(info, registry, named, rows)
    if rows.height == 0:
        raise SurveyFileError("The file has variables but no rows", file=info.path, remedy="download it again")
    if lacking := _lacking(info, source):
        raise SurveyFileError(
            f"The file of {source.codebook} {lacking[0]}",
            file=info.path,
            variable=" or ".join(_role(source, lacking[0].rpartition(" ")[2])),
            remedy="use a file of the producer that has it",
        )
    wave_variable, codes = _waves(info, source, rows)
    found: dict[str, WavePart] = {}
    notes = list(info.notes)
    for (code,), group in rows.with_columns(codes.alias(_WAVE)).group_by(_WAVE, maintain_order=True):
        part = _part(info, source, (wave_variable, None if code is None else str(code)), group, notes)
        if part.wave in found:
            raise SurveyFileError(
                "Two codes of the wave variable mean the same wave",
                file=info.path,
                variable=wave_variable,
                value=code,
                remedy=f"correct waves.names in sources/{source.codebook}.yaml",
            )
        found[part.wave] = part
    waves = tuple(sorted(found, key=lambda w: (len(w), w)))
    title = source.title if len(waves) > 1 else source.wave_title(found[waves[0]].name)
    return Recognition(
        source=source,
        waves=waves,
        parts=found,
        version=_stamp(info, rows, source.version) or _label_version(info),
        doi=_stamp(info, rows, source.doi),
        title=title.replace(" {wave}", ""),
        wave_variable=None if source.waves.constant else wave_variable,
        notes=tuple(dict.fromkeys(notes)),
    )


_WAVE = " wave"  # no variable's name
_ROLES: Mapping[str, Callable[[Source], Sequence[str]]] = {
    "wave": lambda s: (*s.waves.variable, *s.waves.last_digit),
    "country": lambda s: (*s.country.variable, *s.country.cow),
    "year": lambda s: (*s.year, *s.dates),
}


def _role(source: Source, role: str) -> Sequence[str]:
    return ["+".join(c) for c in source.key.variables if c] if role == "key" else _ROLES[role](source)


def _lacking(info: FileInfo, source: Source) -> list[str]:
    """The roles that no variable of the file can have."""
    have = {name.lower() for name in info.names}
    rule = source.waves
    needed = {
        "wave": not (rule.constant or rule.fieldwork),
        "country": source.country.constant is None,
        "year": True,
    }
    lacking = [
        f"has no variable of the {role}"
        for role, is_needed in needed.items()
        if is_needed and not any(name.lower() in have for name in _role(source, role))
    ]
    keyed = any(all(name.lower() in have for name in candidate) for candidate in source.key.variables)
    return [*lacking, *(() if keyed else ("has no variable of the key",))]


def _rows(info: FileInfo, named: Sequence[Source], look: Rows) -> pl.DataFrame:
    """The columns that recognition looks at, under lower-case names, as code texts; `w <name>`: there is a weight."""
    names = {name.lower(): name for name in info.names}
    wanted: dict[str, None] = {}
    weights: dict[str, None] = {}
    for source in named:
        sign = source.recognize
        asked = [name for role in _ROLES for name in _role(source, role)]
        asked += [*sign.codes, *(v for n in sign.never for v in (n.variable, n.unless)), *source.version, *source.doi]
        wanted |= {name.lower(): None for name in asked if name.lower() in names}
        weights |= {w.variable.lower(): None for w in source.weights if w.variable.lower() in names}
    if not wanted and not weights:  # the rows still count
        wanted = {info.names[0].lower(): None}
    columns = list(dict.fromkeys(names[n] for n in (*wanted, *weights)))
    frames = [
        chunk.select(
            *(as_codes(chunk[names[n]], names[n]).alias(n) for n in wanted),
            *(_is_weight(pl.col(names[n]), chunk.schema[names[n]]).alias(f"w {n}") for n in weights),
        )
        for chunk in look(columns)
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def candidates(info: FileInfo, registry: SourceRegistry) -> list[Source]:
    """The sources that a file fits by its variables and labels, before a look at its rows.

    Raises:
        SurveyFileError: There is none; with the reasons.
    """
    verdicts = {source.codebook: _against(info, source) for source in registry}
    fitting = [registry[codebook] for codebook, verdict in verdicts.items() if not verdict.reasons]
    if not fitting:
        raise _unknown(info, verdicts)
    return fitting


def match(info: FileInfo, registry: SourceRegistry, named: Sequence[Source], rows: pl.DataFrame) -> Source:
    """The one source of those named whose signature the file fits.

    Raises:
        SurveyFileError: None fits, or several do, or it is a variant that is refused.
    """
    verdicts = {source.codebook: _rows_against(info, rows, source) for source in named}
    fitting = [codebook for codebook, verdict in verdicts.items() if not verdict.reasons]
    if len(fitting) > 1:
        raise SurveyFileError(
            f"The file fits several sources: {', '.join(fitting)}",
            file=info.path,
            remedy="keep the file of one survey and release as its producer made it",
        )
    if not fitting:
        raise _unknown(info, verdicts, least=0.0)
    source = registry[fitting[0]]
    for refusal in source.recognize.refuse:
        matches = [m for n in info.names if (m := re.fullmatch(refusal.variables, n))]
        hits = [m[0] for m in matches if not refusal.instead_of or m[1] not in info.names]
        if len(hits) >= refusal.at_least:
            raise SurveyFileError(refusal.problem, file=info.path, variable=", ".join(hits[:5]), remedy=refusal.remedy)
    variables = {v.name.lower(): v for v in info.variables}
    if worded := [n for n in source.recognize.value_labels if n.lower() in variables and variables[n.lower()].text]:
        raise SurveyFileError(
            f"The file holds words where the codes of {source.codebook} belong",
            file=info.path,
            variable=", ".join(worded),
            remedy="download the version with codes (of the WVS: Csv, not CsvText), or the SPSS or Stata file",
        )
    return source


def _unknown(info: FileInfo, verdicts: Mapping[str, Nearness], *, least: float = 0.5) -> SurveyFileError:
    """The refusal of a file that fits no source, with what kept it from the nearest ones."""
    nearest = [v for v in sorted(verdicts.values(), key=lambda v: -v.share)[:2] if v.share >= least]
    why = "; ".join(f"not {v.codebook}: {', '.join(v.reasons[:4])}" for v in nearest)
    return SurveyFileError(
        f"The file fits no known survey ({why or 'it has none of the variables by which one is known'})",
        file=info.path,
        remedy="use the producer's own file, or describe the source in a YAML record of its own; "
        "`mpta surveys FILE --explain` says what is missing for each source, `mpta describe FILE` what the file holds",
    )


def _against(info: FileInfo, source: Source) -> Nearness:
    """Variables and labels of a file against a source's signature."""
    signature = source.recognize
    variables = {v.name.lower(): v for v in info.variables}
    met: list[str | None] = []  # one entry a condition; null: met
    met += [None if name.lower() in variables else f"lacks {name}" for name in signature.requires]
    met += [
        None if any(name.lower() in variables for name in group) else f"lacks any of {'/'.join(group)}"
        for group in signature.some_of
    ]
    for marks in signature.marks:
        pattern = re.compile(marks.names, re.IGNORECASE | re.VERBOSE)
        own = sum(1 for name in info.names if pattern.fullmatch(name))
        few = f"has {own} variables of its names, fewer than {marks.at_least} ({marks.names[:40]}…)"
        met.append(None if own >= marks.at_least else few)
    wanted = len(met)
    met += [f"has {name}" if name.lower() in variables else None for name in signature.forbids]
    for name, pattern_text in signature.labels.items():
        label = variables[name.lower()].label if name.lower() in variables else None
        differs = label is not None and not re.search(pattern_text, label)
        met.append(f"{name} is labelled {_short(label)}" if differs else None)
    for name, expected in signature.value_labels.items():
        labels = variables[name.lower()].value_labels if name.lower() in variables else {}
        met += [
            f"code {code} of {name} is labelled otherwise{_said(labels.get(code))}"
            if labels and not re.search(pattern_text, labels.get(code, ""))
            else None
            for code, pattern_text in expected.items()
        ]
    # What must not be there, or be labelled otherwise, counts where it is: a file of nothing lacks nothing of it.
    against = sum(1 for reason in met[wanted:] if reason)
    return Nearness(source.codebook, wanted + against, tuple(reason for reason in met if reason))


def _short(label: str | None) -> str:
    text = label or ""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _said(label: str | None) -> str:
    return f" ({_short(label)})" if label else ""


def _rows_against(info: FileInfo, rows: pl.DataFrame, source: Source) -> Nearness:
    """Rows of a file against a source's signature: codes and years that are another's."""
    signature = source.recognize
    names = {name.lower(): name for name in info.names}
    met: list[str | None] = []
    for variable, codes in signature.codes.items():
        if variable.lower() not in rows.columns:
            continue
        column = rows[variable.lower()]
        other = column.drop_nulls().filter(~column.drop_nulls().is_in(list(codes))).unique().sort()
        met.append(f"{names[variable.lower()]} has code {other[0]}" if len(other) else None)
    for rule in signature.never:
        one, two = rule.variable.lower(), rule.unless.lower()
        alone = bool(rule.without) and not any(v.lower() in rows.columns for v in rule.without)
        if one not in rows.columns or (bool(rule.without) and not alone) or (two not in rows.columns and not alone):
            continue
        spoken_for = pl.col(two).is_in(list(rule.has)).fill_null(False) if two in rows.columns else pl.lit(False)
        theirs = rows.filter((pl.col(one) == rule.code) & ~spoken_for).height
        met.append(f"{theirs:,} row(s) are {rule.what} ({names[one]} = {rule.code})" if theirs else None)
    told = any(v.lower() in names for v in (*source.waves.variable, *signature.codes))  # the file itself says the wave
    if signature.years is not None and not told and rows.height:
        met.append(_off_years(rows, source, names))
    met.append(_off_fieldwork(source, rows))
    return Nearness(source.codebook, max(1, len(met)), tuple(reason for reason in met if reason))


def _off_fieldwork(source: Source, rows: pl.DataFrame) -> str | None:
    """Why the years of a file's waves are those of another survey's waves of that number; null: they are not.

    The EVS numbers its waves, too: its fourth was in the field in 2008, that of the WVS from 1999 to 2004.
    """
    rule = source.waves
    if len(rule.fieldwork) < 2 or rows.height == 0:
        return None
    if (variable := _first(rule.variable, rows)) is not None:
        codes = rows[variable]
    elif (variable := _first(rule.last_digit, rows)) is not None:
        codes = rows[variable].str.slice(-1)
    else:
        return None
    years = [
        _as_years(rows[v.lower()], first_digits=v in source.dates) for v in _role(source, "year") if v.lower() in rows
    ]
    if not years:
        return None
    table = pl.DataFrame({"wave": codes.replace(rule.names), "year": pl.select(pl.coalesce(years)).to_series()})
    for wave, (first, last) in rule.fieldwork.items():
        own = table.filter(pl.col("wave") == wave)["year"].drop_nulls()
        other = own.filter(~own.is_between(first - _LATE, last + _LATE))
        if len(other) > len(own) / 2:
            return f"its wave {wave} is of {other[0]}, the fieldwork was {first} to {last}"
    return None


def _off_years(rows: pl.DataFrame, source: Source, names: Mapping[str, str]) -> str | None:
    """Why a file's years are none of a source's; null: they are, or what is wrong with them is told in its place."""
    first, last = source.recognize.years or (YEARS.start, YEARS.stop)
    looked: list[tuple[float, str, pl.Series]] = []
    for variable in _role(source, "year"):
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


def _is_weight(cell: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether a cell holds a weight, a wrong one too, which the checks stop; not zero, a tag or a missing code."""
    number = cell.cast(pl.Float64, strict=False)
    word = cell.is_not_null() & ~cell.str.contains(r"^\s*(\.[a-z]?)?\s*$") if dtype == pl.String else pl.lit(False)
    return pl.coalesce((number != 0) & ~number.is_in(list(NO_WEIGHT)), word).fill_null(False)


NO_WEIGHT = (-1.0, -2.0, -3.0, -4.0, -5.0, -99.0)
"""Missing codes, which stand in a column of weights where there is none."""


def as_codes(column: pl.Series, name: str) -> pl.Series:
    """A raw column as code texts."""
    if column.dtype == pl.String:
        return column
    return column.to_frame(name).select(number_text(pl.col(name))).to_series()


def _waves(info: FileInfo, source: Source, rows: pl.DataFrame) -> tuple[str | None, pl.Series]:
    """What tells the waves apart: the variable's name (null: none does), and the wave's code of each row."""
    rule = source.waves
    names = {name.lower(): name for name in info.names}
    none = pl.Series(_WAVE, [None] * rows.height, dtype=pl.String)
    if (variable := _first(rule.variable, rows)) is not None:
        return names[variable], rows[variable].alias(_WAVE)
    if rule.constant:
        return None, none
    if (variable := _first(rule.last_digit, rows)) is not None:
        return names[variable], rows[variable].str.slice(-1).alias(_WAVE)
    years, variable = years_of(source, rows, info.path, names)
    return variable, _by_fieldwork(rule, years, info.path, variable)


def wave_codes(rule: WaveRule, cells: pl.Series, variable: str, *, dates: Sequence[str]) -> pl.Series:
    """The codes by which rows of a file are told apart, from the variable that `Recognition.wave_variable` names."""
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
                f"The file has no variable of the wave, and its year is of {' and '.join(found) or 'no wave'}",
                file=path,
                variable=variable,
                value=year,
                remedy=f"use a file with {' or '.join(rule.variable)}",
            )
    return years.replace_strict({y: w[0] for y, w in waves.items()}, default=None, return_dtype=pl.String).alias(_WAVE)


def _first(candidates: Sequence[str], rows: pl.DataFrame) -> str | None:
    return next((c.lower() for c in candidates if c.lower() in rows.columns), None)


def _part(
    info: FileInfo, source: Source, of: tuple[str | None, str | None], group: pl.DataFrame, notes: list[str]
) -> WavePart:
    variable, code = of
    rule = source.waves
    name = rule.constant or ("" if code is None else rule.names.get(code, code))
    known = code in rule.names or (variable is not None and name in rule.fieldwork)
    if not re.fullmatch(r"[a-z0-9]+", name) or (rule.only_named and rule.constant is None and not known):
        raise SurveyFileError(
            "A cell of the wave variable names no wave",
            file=info.path,
            variable=variable,
            value="(empty)" if code is None else code,
            remedy="correct that cell; use the producer's own file",
        )
    names = {n.lower(): n for n in info.names}
    years, year_variable = years_of(source, group, info.path, names)
    countries, country_variable = countries_of(source.country, group, info.path, names)
    for role, used in (("year", year_variable), ("country", country_variable)):
        first = _first(_role(source, role), group)
        if used is not None and first is not None and used.lower() != first:
            notes.append(f"the {role} stands in {used}: {names[first]} has cells that are none")
    _check_country_labels(info, country_variable, group, countries)
    weight = next(
        (
            w.variable
            for w in source.weights
            if w.purpose == "respondent"
            and (not w.waves or name in w.waves)
            and f"w {w.variable.lower()}" in group.columns
            and group[f"w {w.variable.lower()}"].any()
        ),
        None,
    )
    sizes = countries.value_counts().sort(countries.name)
    return WavePart(
        wave=f"{source.family}-{name}",
        name=name,
        code=code if rule.constant is None else None,
        rows=group.height,
        countries=tuple(sizes.get_column(countries.name)),
        years=tuple(sorted(years.unique().to_list())),
        weight=weight,
        sizes=tuple(sizes.get_column("count")),
    )


def _as_years(codes: pl.Series, *, first_digits: bool = False) -> pl.Series:
    """Years; null where a code is none. A country-year code such as 8402006 ends in it, a date begins with it."""
    pattern = r"^(\d{4})(?:\d{2}|\d{4})?$" if first_digits else r"^\d*?(\d{4})$"
    years = codes.str.extract(pattern).cast(pl.Int64, strict=False)
    return years.set(~years.is_between(YEARS.start, YEARS.stop - 1).fill_null(False), None)


def years_of(source: Source, rows: pl.DataFrame, path: Path, names: Mapping[str, str]) -> tuple[pl.Series, str | None]:
    """The years of the interviews, from the first variable that is a year in every row, and its name.

    Args:
        source: The source.
        rows: The candidate variables' codes, under lower-case names.
        path: The file, for the message.
        names: Lower-case name → name in the file.

    Raises:
        SurveyFileError: None of the source's variables is a year from 1972 to 2100 in every row.
    """
    looked: list[tuple[str, pl.Series]] = []
    for variable in _role(source, "year"):
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
            variable=" or ".join(_role(source, "year")),
            remedy="use a file of the producer that has it",
        )
    variable, years = looked[-1] if _faulty(rows[looked[-1][0]], looked[-1][1]) else looked[0]
    wrong = rows[variable].filter(years.is_null())
    raise SurveyFileError(
        f"{len(wrong):,} cell(s) of the year are no year",
        file=path,
        variable=names[variable],
        value=wrong[0] if wrong[0] is not None else "(empty)",
        remedy="use the producer's own file, in which it is a number such as 2018",
    )


def countries_of(
    rule: CountryRule, rows: pl.DataFrame, path: Path, names: Mapping[str, str]
) -> tuple[pl.Series, str | None]:
    """The countries as ISO 3166-1 alpha-3, from the first variable that names one in every row, and its name.

    Args:
        rule: Where the country stands.
        rows: The candidate variables' codes, under lower-case names.
        path: The file, for the message.
        names: Lower-case name → name in the file.

    Raises:
        SurveyFileError: No variable names a country in every row: a code is neither ISO's nor one of the rule's others.
    """
    if rule.constant:
        return pl.Series("country", [rule.constant] * rows.height, dtype=pl.String), None
    looked: list[tuple[str, pl.Series]] = []
    for variable in (*rule.variable, *rule.cow):
        if variable.lower() not in rows.columns:
            continue
        codes = rows[variable.lower()]
        keys = codes.str.strip_chars().str.to_uppercase().str.replace(r"^0+(\d)", "$1")
        known = correlates_of_war() if variable in rule.cow else {**iso_codes(), **rule.other}
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
        f"{len(wrong):,} cell(s) of the country name no country of ISO 3166-1",
        file=path,
        variable=names[variable],
        value=wrong[0] if wrong[0] is not None else "(empty)",
        remedy="correct the cell; a code of the survey's own belongs in country.other of the source's record",
    )


def _faulty(codes: pl.Series, read: pl.Series) -> bool:
    """Whether some cells are neither read nor missing codes: to be told, and no reason to look elsewhere."""
    if codes.null_count() == len(codes):
        return False
    return bool((read.is_null() & ~codes.str.contains(r"^-\d+$|^\.[a-z]?$").fill_null(False)).any())


def _check_country_labels(info: FileInfo, variable: str | None, group: pl.DataFrame, countries: pl.Series) -> None:
    """A code that the file labels as another country than ISO's belongs to a release with the survey's own numbers."""
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
                remedy="use a newer release of the producer, which numbers countries by ISO 3166-1",
            )


def _stamp(info: FileInfo, rows: pl.DataFrame, candidates: Sequence[str]) -> str | None:
    """A stamp that stands in every row; several ones, joined."""
    if (variable := _first(candidates, rows)) is None:
        return None
    stamps = rows[variable].drop_nulls().str.strip_chars().unique().sort().to_list()
    return "; ".join(s for s in stamps if s)[:200] or None


def _label_version(info: FileInfo) -> str | None:
    found = _LABEL_VERSION.search(info.label or "")
    return None if found is None else re.sub(r"[_.]", "-", found[1])
