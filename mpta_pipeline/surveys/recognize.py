"""Which survey, and which of its waves, a file holds: decided by its variables, labels and codes, never by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import polars as pl
import pycountry

from mpta_pipeline.errors import SurveyFileError
from mpta_pipeline.surveys import readers
from mpta_pipeline.surveys.readers import FileInfo
from mpta_pipeline.surveys.readstat import number_text
from mpta_pipeline.surveys.sources import CountryRule, Source, SourceRegistry

YEARS = range(1972, 2101)  # the first GSS; what RESPONDENTS allows


@dataclass(frozen=True)
class WavePart:
    """One wave in a file: its key, the code that tells its rows, and what they hold."""

    wave: str
    name: str
    code: str | None
    rows: int
    countries: tuple[str, ...]
    years: tuple[int, ...]
    weight: str | None


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
    def dialect(self) -> str:
        """Codebook that the file follows."""
        return self.source.dialect


def recognize(path: Path, registry: SourceRegistry) -> Recognition:
    """Recognize a survey file by its content.

    Raises:
        SurveyFileError: It cannot be read, fits no source or several, is a variant that must not be read as it stands,
            or its wave, country or year cells are none; with the reasons and the remedy.
    """
    with readers.opened(path) as file:
        return recognize_file(readers.describe(file), registry)


Rows = Callable[[Sequence[str]], Iterable[pl.DataFrame]]


def recognize_file(info: FileInfo, registry: SourceRegistry, rows_of: Rows | None = None) -> Recognition:
    """Recognize an opened and described file; as `recognize`.

    Args:
        info: The file.
        registry: Sources.
        rows_of: Gives the rows of some variables, where they were read already; null to read them from the file.
    """
    look = rows_of or partial(readers.chunks, info)
    source = match(info, registry, look)
    names = {name.lower(): name for name in info.names}

    def first(candidates: Sequence[str]) -> str | None:
        return next((names[c.lower()] for c in candidates if c.lower() in names), None)

    columns = {
        "wave": first(source.waves.variable),
        "country": first(source.country.variable),
        "year": first(source.year),
        "version": first(source.version),
        "doi": first(source.doi),
    }
    for role, candidates in (
        ("wave", source.waves.variable),
        ("country", source.country.variable),
        ("year", source.year),
    ):
        if candidates and columns[role] is None:
            raise SurveyFileError(
                f"The file of {source.dialect} has no variable of the {role}",
                file=info.path,
                variable=" or ".join(candidates),
                remedy="use a complete file of the producer",
            )
    weights = {w.variable: names[w.variable.lower()] for w in source.weights if w.variable.lower() in names}
    wanted = list(dict.fromkeys([*(c for c in columns.values() if c), *weights.values()]))
    parts = [_coded(chunk, columns, weights) for chunk in look(wanted)]
    rows = pl.concat(parts) if parts else pl.DataFrame()
    if rows.height == 0:
        raise SurveyFileError("The file has variables but no rows", file=info.path, remedy="download it again")
    found: dict[str, WavePart] = {}
    for code, group in _groups(rows):
        part = _part(info, source, columns, code, group)
        if part.wave in found:
            raise SurveyFileError(
                "Two codes of the wave variable mean the same wave",
                file=info.path,
                variable=columns["wave"],
                value=code,
                remedy=f"correct waves.names in sources/{source.dialect}.yaml",
            )
        found[part.wave] = part
    waves = tuple(sorted(found, key=lambda w: (len(w), w)))
    title = source.title if len(waves) > 1 else source.wave_title(found[waves[0]].name)
    return Recognition(
        source=source,
        waves=waves,
        parts=found,
        version=_stamp(rows, "version"),
        doi=_stamp(rows, "doi"),
        title=title.replace(" {wave}", ""),
        wave_variable=columns["wave"],
        notes=info.notes,
    )


def candidates(info: FileInfo, registry: SourceRegistry) -> list[Source]:
    """The sources that a file fits by its variables and labels, before a look at its rows.

    Raises:
        SurveyFileError: There is none; with the reasons.
    """
    verdicts = {source.dialect: _against(info, source) for source in registry}
    fitting = [dialect for dialect, reasons in verdicts.items() if not reasons]
    if not fitting:
        raise _unknown(info, registry, verdicts)
    return [registry[dialect] for dialect in fitting]


def match(info: FileInfo, registry: SourceRegistry, rows_of: Rows) -> Source:
    """The one source whose signature the file fits.

    Raises:
        SurveyFileError: None fits, or several do, or it is a variant that is refused.
    """
    named = candidates(info, registry)
    verdicts = {source.dialect: _foreign_codes(info, source, rows_of) for source in named}
    fitting = [dialect for dialect, reasons in verdicts.items() if not reasons]
    if len(fitting) > 1:
        raise SurveyFileError(
            f"The file fits several sources: {', '.join(fitting)}",
            file=info.path,
            remedy="keep the file of one survey and release as its producer made it",
        )
    if not fitting:
        raise _unknown(info, registry, verdicts)
    source = registry[fitting[0]]
    for refusal in source.recognize.refuse:
        matches = [m for n in info.names if (m := re.fullmatch(refusal.variables, n))]
        hits = [m[0] for m in matches if not refusal.instead_of or m[1] not in info.names]
        if len(hits) >= refusal.at_least:
            raise SurveyFileError(refusal.problem, file=info.path, variable=", ".join(hits[:5]), remedy=refusal.remedy)
    variables = {v.name.lower(): v for v in info.variables}
    if worded := [n for n in source.recognize.value_labels if n.lower() in variables and variables[n.lower()].text]:
        raise SurveyFileError(
            f"The file holds words where the codes of {source.dialect} belong",
            file=info.path,
            variable=", ".join(worded),
            remedy="download the version with codes (of the WVS: Csv, not CsvText), or the SPSS or Stata file",
        )
    return source


def _unknown(info: FileInfo, registry: SourceRegistry, verdicts: Mapping[str, list[str]]) -> SurveyFileError:
    """The refusal of a file that fits no source, with what kept it from the nearest ones."""
    names = {name.lower() for name in info.names}
    shares = {
        s.dialect: sum(n.lower() in names for n in s.recognize.requires) / len(s.recognize.requires) for s in registry
    }
    nearest = [d for d in sorted(verdicts, key=lambda d: -shares[d])[:2] if shares[d] >= 0.5]
    why = "; ".join(f"not {d}: {', '.join(verdicts[d][:4])}" for d in nearest)
    return SurveyFileError(
        f"The file fits no known survey ({why or 'it has none of the variables by which one is known'})",
        file=info.path,
        remedy="use the producer's own file, or describe the source in a YAML record of its own",
    )


def _foreign_codes(info: FileInfo, source: Source, rows_of: Rows) -> list[str]:
    """The reasons why the codes of some variables are not those of a source."""
    names = {name.lower(): name for name in info.names}
    present = {names[v.lower()]: codes for v, codes in source.recognize.codes.items() if v.lower() in names}
    if not present:
        return []
    chunks = [_distinct_codes(chunk) for chunk in rows_of(list(present))]
    if not chunks:
        return []
    found = pl.concat(chunks).unique()
    return [
        f"{name} has code {other}"
        for name, codes in present.items()
        for other in found.filter(pl.col("name") == name, ~pl.col("code").is_in(codes))["code"].sort().head(1)
    ]


def _distinct_codes(chunk: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        [
            pl.DataFrame({"name": name, "code": as_codes(chunk[name], name).drop_nulls().unique()})
            for name in chunk.columns
        ]
    )


def _against(info: FileInfo, source: Source) -> list[str]:
    """The reasons why a file is not of a source; none: it is."""
    signature = source.recognize
    variables = {v.name.lower(): v for v in info.variables}
    reasons = [f"lacks {name}" for name in signature.requires if name.lower() not in variables]
    reasons += [
        f"lacks any of {'/'.join(group)}"
        for group in signature.some_of
        if not any(name.lower() in variables for name in group)
    ]
    reasons += [f"has {name}" for name in signature.forbids if name.lower() in variables]
    for name, pattern in signature.labels.items():
        label = variables[name.lower()].label if name.lower() in variables else None
        if label is not None and not re.search(pattern, label):
            reasons.append(f"{name} is labelled otherwise")
    for name, expected in signature.value_labels.items():
        labels = variables[name.lower()].value_labels if name.lower() in variables else {}
        reasons += [
            f"code {code} of {name} is labelled otherwise"
            for code, pattern in expected.items()
            if labels and not re.search(pattern, labels.get(code, ""))
        ]
    return reasons


def _coded(chunk: pl.DataFrame, columns: Mapping[str, str | None], weights: Mapping[str, str]) -> pl.DataFrame:
    """The columns that recognition looks at, as code texts, and the weights as whether there is one."""
    return chunk.select(
        *(
            (as_codes(chunk[name], name).alias(role) if name else pl.lit(None, dtype=pl.String).alias(role))
            for role, name in columns.items()
        ),
        *(_is_weight(pl.col(n), chunk.schema[n]).alias(f"w {w}") for w, n in weights.items()),
    )


def _is_weight(cell: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether a cell holds a weight, a wrong one too, which the checks stop; not zero, a tag or a missing code."""
    number = cell.cast(pl.Float64, strict=False)
    word = cell.is_not_null() & ~cell.str.contains(r"^\s*(\.[a-z]?)?\s*$") if dtype == pl.String else pl.lit(False)
    return pl.coalesce((number != 0) & ~number.is_in([-1.0, -2.0, -3.0, -4.0, -5.0]), word).fill_null(False)


def as_codes(column: pl.Series, name: str) -> pl.Series:
    """A raw column as code texts."""
    if column.dtype == pl.String:
        return column
    return column.to_frame(name).select(number_text(pl.col(name))).to_series()


def _groups(rows: pl.DataFrame) -> list[tuple[str | None, pl.DataFrame]]:
    return [(key[0], group) for key, group in rows.group_by("wave", maintain_order=True)]


def _part(
    info: FileInfo, source: Source, columns: Mapping[str, str | None], code: str | None, group: pl.DataFrame
) -> WavePart:
    rule = source.waves
    name = rule.constant or ("" if code is None else rule.names.get(code, code))
    if not re.fullmatch(r"[a-z0-9]+", name) or (rule.only_named and code not in rule.names):
        raise SurveyFileError(
            "A cell of the wave variable names no wave",
            file=info.path,
            variable=columns["wave"],
            value="(empty)" if code is None else code,
            remedy="correct that cell; use the producer's own file",
        )
    years = years_of(group["year"], info.path, columns["year"])
    countries = countries_of(source.country, group["country"], info.path, columns["country"])
    weight = next(
        (
            w.variable
            for w in source.weights
            if w.purpose == "respondent"
            and (not w.waves or name in w.waves)
            and f"w {w.variable}" in group.columns
            and group[f"w {w.variable}"].any()
        ),
        None,
    )
    return WavePart(
        wave=f"{source.family}-{name}",
        name=name,
        code=code if rule.variable else None,
        rows=group.height,
        countries=tuple(sorted(countries.unique().to_list())),
        years=tuple(sorted(years.unique().to_list())),
        weight=weight,
    )


def years_of(codes: pl.Series, path: Path, variable: str | None) -> pl.Series:
    """The years of the interviews.

    Raises:
        SurveyFileError: A cell is no year from 1972 to 2100.
    """
    # A country-year code such as 8402006 ends in the year.
    years = codes.str.extract(r"^\d*?(\d{4})$").cast(pl.Int64, strict=False)
    wrong = codes.filter(~years.is_between(YEARS.start, YEARS.stop - 1).fill_null(False))
    if len(wrong):
        raise SurveyFileError(
            f"{len(wrong):,} cell(s) of the year are no year",
            file=path,
            variable=variable,
            value=wrong[0] if wrong[0] is not None else "(empty)",
            remedy="use the producer's own file, in which it is a number such as 2018",
        )
    return years


def countries_of(rule: CountryRule, codes: pl.Series, path: Path, variable: str | None) -> pl.Series:
    """The countries as ISO 3166-1 alpha-3.

    Raises:
        SurveyFileError: A code is neither ISO's nor one of the rule's others.
    """
    if rule.constant:
        return pl.Series(codes.name, [rule.constant] * len(codes), dtype=pl.String)
    keys = codes.str.strip_chars().str.to_uppercase().str.replace(r"^0+(\d)", "$1")
    found = keys.replace_strict({**_iso(), **rule.other}, default=None, return_dtype=pl.String)
    wrong = codes.filter(found.is_null())
    if len(wrong):
        raise SurveyFileError(
            f"{len(wrong):,} cell(s) of the country name no country of ISO 3166-1",
            file=path,
            variable=variable,
            value=wrong[0] if wrong[0] is not None else "(empty)",
            remedy="correct the cell; a code of the survey's own belongs in country.other of the source's record",
        )
    return found


@lru_cache
def _iso() -> dict[str, str]:
    return {
        code: country.alpha_3
        for country in pycountry.countries
        for code in (str(int(country.numeric)), country.alpha_2, country.alpha_3)
    }


def _stamp(rows: pl.DataFrame, role: str) -> str | None:
    """A stamp that stands in every row; several ones, joined."""
    stamps = rows[role].drop_nulls().str.strip_chars().unique().sort().to_list()
    return "; ".join(s for s in stamps if s)[:200] or None
