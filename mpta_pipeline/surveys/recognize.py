"""Recognize which survey and waves a file contains, by its variables, labels and codes, never by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.surveys import readers
from mpta_pipeline.surveys.file_info import FileInfo
from mpta_pipeline.surveys.opening import opened
from mpta_pipeline.surveys.source_registry import Source, SourceRegistry
from mpta_pipeline.surveys.wave_country_year import (
    ROLES,
    WAVE,
    as_codes,
    check_country_labels,
    countries_of,
    first_of,
    is_weight,
    off_fieldwork,
    off_years,
    role_of,
    waves_of,
    years_of,
)

# A release in the file's own label, used if no variable gives one: WV3_Data_dta_v20221107.dta.
_LABEL_VERSION = re.compile(r"(?i)(?<![a-z])v[_ .]?(\d{8}|\d+(?:[_.-]\d+)+)")


@dataclass(frozen=True)
class WavePart:
    """One wave in a file: its key, the code of its rows, and their content.

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
        wave_variable: Variable that distinguishes the waves; null if the file contains one wave.
        parts: Wave key → what the file holds of the wave.
        notes: What was unusual.
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
    """How well a file matches a source.

    Attributes:
        conditions: Number of the source's conditions that were checked.
        reasons: The conditions that the file does not meet, in a few words each. If there are none, it is the source's.
    """

    codebook: str
    conditions: int
    reasons: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the conditions that the file meets."""
        return 1 - len(self.reasons) / self.conditions


def recognize(path: Path, registry: SourceRegistry) -> Recognition:
    """Recognize a survey file by its content.

    Raises:
        SurveyFileError: The file cannot be read, matches no source or several, is a variant that must not be read as it
            is, or its wave, country or year values are invalid; with the reasons and the remedy.
    """
    with opened(path) as file:
        return recognize_file(readers.describe(file), registry)


def explain(path: Path, registry: SourceRegistry) -> list[Nearness]:
    """How well a file matches each source, the best match first.

    Raises:
        SurveyFileError: It cannot be read.
    """
    with opened(path) as file:
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
    """Recognize a file that is open and described; see `recognize`.

    Args:
        info: The file.
        registry: Sources.
        rows_of: Returns the rows of some variables if they were read already; null to read them from the file.
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
            variable=" or ".join(role_of(source, lacking[0].rpartition(" ")[2])),
            remedy="use a file of the producer that has it",
        )
    wave_variable, codes = waves_of(info, source, rows)
    found: dict[str, WavePart] = {}
    notes = list(info.notes)
    for (code,), group in rows.with_columns(codes.alias(WAVE)).group_by(WAVE, maintain_order=True):
        part = _part(info, source, (wave_variable, None if code is None else str(code)), group, notes)
        if part.wave in found:
            raise SurveyFileError(
                "Two codes of the wave variable mean the same wave",
                file=info.path,
                variable=wave_variable,
                value=code,
                remedy=f"correct waves.names in the source's record, {source.codebook}.yaml",
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


def _lacking(info: FileInfo, source: Source) -> list[str]:
    """The roles (wave, country, year, key) for which the file has no variable."""
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
        if is_needed and not any(name.lower() in have for name in role_of(source, role))
    ]
    keyed = any(all(name.lower() in have for name in candidate) for candidate in source.key.variables)
    return [*lacking, *(() if keyed else ("has no variable of the key",))]


def _rows(info: FileInfo, named: Sequence[Source], look: Rows) -> pl.DataFrame:
    """The columns that recognition needs, as code texts under lower-case names; `w <name>`: the row has that weight."""
    names = {name.lower(): name for name in info.names}
    wanted: dict[str, None] = {}
    weights: dict[str, None] = {}
    for source in named:
        sign = source.recognize
        asked = [name for role in ROLES for name in role_of(source, role)]
        asked += [*sign.codes, *(v for n in sign.never for v in (n.variable, n.unless)), *source.version, *source.doi]
        wanted |= {name.lower(): None for name in asked if name.lower() in names}
        weights |= {w.variable.lower(): None for w in source.weights if w.variable.lower() in names}
    if not wanted and not weights:  # the number of rows is still needed
        wanted = {info.names[0].lower(): None}
    columns = list(dict.fromkeys(names[n] for n in (*wanted, *weights)))
    frames = [
        chunk.select(
            *(as_codes(chunk[names[n]], names[n]).alias(n) for n in wanted),
            *(is_weight(pl.col(names[n]), chunk.schema[names[n]]).alias(f"w {n}") for n in weights),
        )
        for chunk in look(columns)
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def candidates(info: FileInfo, registry: SourceRegistry) -> list[Source]:
    """The sources that a file matches by its variables and labels, before its rows are read.

    Raises:
        SurveyFileError: There are none; with the reasons.
    """
    verdicts = {source.codebook: _against(info, source) for source in registry}
    fitting = [registry[codebook] for codebook, verdict in verdicts.items() if not verdict.reasons]
    if not fitting:
        raise _unknown(info, verdicts)
    return fitting


def match(info: FileInfo, registry: SourceRegistry, named: Sequence[Source], rows: pl.DataFrame) -> Source:
    """The one source, of those given, whose signature the file matches.

    Raises:
        SurveyFileError: No source matches, or several do, or the file is a variant that is refused.
    """
    verdicts = {source.codebook: _rows_against(info, rows, source) for source in named}
    fitting = [codebook for codebook, verdict in verdicts.items() if not verdict.reasons]
    if len(fitting) > 1:
        raise SurveyFileError(
            f"The file matches several sources: {', '.join(fitting)}",
            file=info.path,
            remedy="use the file of one survey and release, as its producer published it",
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
        with_codes = f" ({source.recognize.with_codes})" if source.recognize.with_codes else ""
        raise SurveyFileError(
            f"The file has words where codes of {source.codebook} are expected",
            file=info.path,
            variable=", ".join(worded),
            remedy=f"download the version with codes{with_codes}, or the SPSS or Stata file",
        )
    return source


def _unknown(info: FileInfo, verdicts: Mapping[str, Nearness], *, least: float = 0.5) -> SurveyFileError:
    """The error for a file that matches no source, with what is missing for the best matches."""
    nearest = [v for v in sorted(verdicts.values(), key=lambda v: -v.share)[:2] if v.share >= least]
    why = "; ".join(f"not {v.codebook}: {', '.join(v.reasons[:4])}" for v in nearest)
    return SurveyFileError(
        f"The file matches no known survey ({why or 'it has none of the variables that identify one'})",
        file=info.path,
        remedy="use the producer's own file, or add a record of it to the folder `sources` of the configuration; "
        "`mpta surveys FILE --explain` shows what is missing for each source, `mpta describe FILE` what the file holds",
    )


def _against(info: FileInfo, source: Source) -> Nearness:
    """Compare the variables and labels of a file with a source's signature."""
    signature = source.recognize
    variables = {v.name.lower(): v for v in info.variables}
    met: list[str | None] = []  # one entry per condition; null if met
    met += [None if name.lower() in variables else f"lacks {name}" for name in signature.requires]
    met += [
        None if any(name.lower() in variables for name in group) else f"lacks any of {'/'.join(group)}"
        for group in signature.some_of
    ]
    for marks in signature.marks:
        pattern = re.compile(marks.names, re.IGNORECASE | re.VERBOSE)
        own = sum(1 for name in info.names if pattern.fullmatch(name))
        few = f"has {own} of its typical variables, fewer than {marks.at_least} ({marks.names[:40]}…)"
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
    # Forbidden variables and other labels count only where they occur, so that an empty file gains nothing by lacking
    # them.
    against = sum(1 for reason in met[wanted:] if reason)
    return Nearness(source.codebook, wanted + against, tuple(reason for reason in met if reason))


def _short(label: str | None) -> str:
    text = label or ""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _said(label: str | None) -> str:
    return f" ({_short(label)})" if label else ""


def _rows_against(info: FileInfo, rows: pl.DataFrame, source: Source) -> Nearness:
    """Compare the rows of a file with a source's signature: codes and years that belong to another source."""
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
    told = any(v.lower() in names for v in (*source.waves.variable, *signature.codes))  # the file says which wave it is
    if signature.years is not None and not told and rows.height:
        met.append(off_years(rows, source, names))
    met.append(off_fieldwork(source, rows))
    return Nearness(source.codebook, max(1, len(met)), tuple(reason for reason in met if reason))


def _part(
    info: FileInfo, source: Source, of: tuple[str | None, str | None], group: pl.DataFrame, notes: list[str]
) -> WavePart:
    variable, code = of
    rule = source.waves
    name = rule.constant or ("" if code is None else rule.names.get(code, code))
    known = code in rule.names or (variable is not None and name in rule.fieldwork)
    if not re.fullmatch(r"[a-z0-9]+", name) or (rule.only_named and rule.constant is None and not known):
        raise SurveyFileError(
            "A cell of the wave variable does not name a wave",
            file=info.path,
            variable=variable,
            value="(empty)" if code is None else code,
            remedy="correct that cell; use the producer's own file",
        )
    names = {n.lower(): n for n in info.names}
    years, year_variable = years_of(source, group, info.path, names)
    countries, country_variable = countries_of(source.country, group, info.path, names)
    for role, used in (("year", year_variable), ("country", country_variable)):
        first = first_of(role_of(source, role), group)
        if used is not None and first is not None and used.lower() != first:
            notes.append(f"the {role} is read from {used}, because {names[first]} has invalid values")
    check_country_labels(info, country_variable, group, countries)
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


def _stamp(info: FileInfo, rows: pl.DataFrame, candidates: Sequence[str]) -> str | None:
    """A stamp that every row has; several stamps are joined."""
    if (variable := first_of(candidates, rows)) is None:
        return None
    stamps = rows[variable].drop_nulls().str.strip_chars().unique().sort().to_list()
    return "; ".join(s for s in stamps if s)[:200] or None


def _label_version(info: FileInfo) -> str | None:
    found = _LABEL_VERSION.search(info.label or "")
    return None if found is None else re.sub(r"[_.]", "-", found[1])
