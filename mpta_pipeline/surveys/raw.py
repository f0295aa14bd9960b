"""Raw waves: a release of a wave as an immutable snapshot, and its respondents and cells as the file gives them.

What belongs here: writing and reading `raw/<wave>/<release>/`, native keys, missing kinds of cells. What does not: any
concept.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.core.hashing import file_sha256, hash_rows
from mpta_pipeline.core.storage import (
    Layout,
    copy,
    listed,
    mirror,
    on_object_store,
    read_text,
    scratch,
    write_json,
    write_parquet,
)
from mpta_pipeline.core.tables import VARIABLES
from mpta_pipeline.surveys import missing, readers
from mpta_pipeline.surveys.readers import FileInfo
from mpta_pipeline.surveys.readstat import number_text, shrunk
from mpta_pipeline.surveys.recognize import (
    NO_WEIGHT,
    Recognition,
    as_codes,
    candidates,
    countries_of,
    recognize_file,
    wave_codes,
    years_of,
)
from mpta_pipeline.surveys.source_registry import Convention, Source, SourceRegistry, load_sources
from mpta_pipeline.surveys.withdrawals import load_withdrawals, rewrite_snapshot

_PLAIN_KEY = ":"
_CELL = " cell"  # no variable's name
_INFINITE = r"(?i)^[+-]?(inf(inity)?|nan)$"


@dataclass(frozen=True)
class RawWave:
    """A release of a wave as read from one file, all columns. A wave may be made of several, with other countries each.

    Attributes:
        folder: The snapshot's folder.
        release: The row of WAVES, with further facts: format, encoding, notes, file_declares_missing.
        source: The source's record: keys, weights, country rule.
        convention: How its codebook writes missing answers.
        countries: Its countries (alpha-3) that count, where another file gives the others; null: all.
    """

    wave: str
    folder: Path
    release: Mapping[str, Any]
    source: Source
    convention: Convention
    countries: tuple[str, ...] | None = None

    @property
    def release_id(self) -> str:
        """Wave and the first 12 digits of the file's SHA-256."""
        return str(self.release["release_id"])

    def data(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows in the file's order, all native columns or those named."""
        rows = self._whole(columns)
        return rows if self._kept is None else rows.filter(self._kept)

    def _whole(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """As `data`, of all countries."""
        path = self.folder / self.release.get("data_file", "data.parquet")
        return pl.read_parquet(path, columns=None if columns is None else list(columns))

    @cached_property
    def _kept(self) -> pl.Series | None:
        """Which rows count; null: all."""
        return None if self.countries is None else self._country.is_in(list(self.countries))

    @cached_property
    def _country(self) -> pl.Series:
        """The country of every row of the file."""
        rule = self.source.country
        if rule.constant:
            height = self._whole([self.variables["variable"][0]]).height
            return pl.Series("country", [rule.constant] * height, dtype=pl.String)
        rows, names = self._coded((*rule.variable, *rule.cow))
        return countries_of(self.source.country, rows, Path(self.release["file_name"]), names)[0]

    def _coded(self, candidates: Sequence[str]) -> tuple[pl.DataFrame, dict[str, str]]:
        """Those of some variables that the file has, as codes under lower-case names, and their names in the file."""
        names = {c.lower(): name for c in candidates if (name := self.resolve(c)) is not None}
        data = self._whole(list(names.values()) or [self.variables["variable"][0]])
        return data.select(*(as_codes(data[name], name).alias(low) for low, name in names.items())), names

    @cached_property
    def variables(self) -> pl.DataFrame:
        """The table of variables (VARIABLES)."""
        return pl.read_parquet(self.folder / "variables.parquet")

    @cached_property
    def _described(self) -> dict[str, dict[str, Any]]:
        return {row["variable"].lower(): row for row in self.variables.iter_rows(named=True)}

    @cached_property
    def design_cells(self) -> pl.Series:
        """The cell of the split design (ballot by form) that each respondent is in, as a number named `cell`."""
        names = [name for v in self.convention.by_design if (name := self.resolve(v)) is not None]
        if not names:
            return pl.Series("cell", [0] * self.data([self.variables["variable"][0]]).height, dtype=pl.UInt32)
        return self.data(names).select(pl.struct(names).rank("dense").alias("cell")).to_series()

    def resolve(self, variable: str) -> str | None:
        """The variable's name as in the file, found without regard to case; None: the file has none."""
        row = self._described.get(variable.lower())
        return None if row is None else str(row["variable"])

    def label(self, variable: str) -> str | None:
        """The variable's label."""
        label: str | None = self._described[variable.lower()]["label"]
        return label

    def labels(self, variable: str) -> dict[str, str]:
        """The variable's value labels: code → label."""
        return {v["code"]: v["label"] for v in self._described[variable.lower()]["value_labels"]}

    def declared(self, variable: str) -> list[str]:
        """The variable's declared missing codes and ranges."""
        return list(self._described[variable.lower()]["missing_codes"])


@dataclass(frozen=True)
class Coded:
    """A variable's cells as places in a table of what occurs in it: most variables have fewer than twenty codes.

    Attributes:
        table: One row a native code and kind: `code` (String), `missing` (String), `label` (String).
        places: Row of `table` of each respondent (UInt32), in the raw wave's order.
    """

    table: pl.DataFrame
    places: pl.Series

    def cells(self) -> pl.DataFrame:
        """The cells themselves, as `cells` returns them."""
        number = pl.when(pl.col("missing").is_null()).then(pl.col("code").cast(pl.Float64, strict=False))
        return self.table.select("code", number.alias("number"), "missing", "label")[self.places]

    @property
    def answered(self) -> bool:
        """Whether anybody has an answer."""
        return self.table["missing"].has_nulls()

    def moved(self, kinds: Mapping[int, str | None], where: pl.Series) -> Coded:
        """With other kinds of missing answer (null: an answer) at some places, for the respondents where that holds."""
        table, lookup = _moved(self.table, kinds)
        there = pl.when(where.fill_null(False)).then(lookup.gather(self.places))
        return Coded(table, pl.select(there.otherwise(self.places)).to_series())


def cells(raw: RawWave, variable: str) -> pl.DataFrame:
    """A variable's cells, one row a respondent in the raw wave's order.

    Returns:
        `code` (String): the native code as text ("1", "-9", ".d"), null where the cell is empty; `number` (Float64):
        the value as a number, null where missing or no number; `missing` (String): the kind of missing answer, null
        where it is a value; `label` (String): the code's value label.

    Raises:
        SurveyFileError: The wave has no such variable.
    """
    return coded(raw, [variable])[variable].cells()


def coded(raw: RawWave, variables: Sequence[str]) -> dict[str, Coded]:
    """The cells of several variables, read in one go, by the name asked for.

    Raises:
        SurveyFileError: The wave has no such variable.
    """
    names: dict[str, str] = {}
    for variable in variables:
        if (name := raw.resolve(variable)) is None:
            raise SurveyFileError(
                f"The wave {raw.wave} has no such variable",
                file=raw.release["file_name"],
                variable=variable,
                remedy="use the producer's complete file",
            )
        names[variable] = name
    data = raw.data(list(dict.fromkeys(names.values())))
    # Whole frames at a time, so that polars spreads the columns over the cores.
    lists = data.select(pl.all().unique().sort(nulls_last=True).implode())
    distinct: dict[str, pl.Series] = {name: lists[name][0] for name in data.columns}
    places = data.select(_places(name, values) for name, values in distinct.items())
    found = {name: _by_code(raw, Coded(_table(raw, name, values), places[name])) for name, values in distinct.items()}
    found |= _by_design(raw, found)
    return {variable: found[name] for variable, name in names.items()}


def _places(name: str, values: pl.Series) -> pl.Expr:
    """The place of each cell of a column among its sorted distinct values, of which null is the last."""
    column, known = pl.col(name), values.drop_nulls()
    if known.dtype == pl.String:
        place = column.cast(pl.Enum(known)).to_physical()
    elif len(known) and known.dtype.is_integer() and (span := int(known[-1]) - int(known[0])) < 4096:
        # A small range is looked up: value - lowest → place.
        offsets = (known.cast(pl.Int64) - int(known[0])).cast(pl.UInt32)
        lookup = pl.select(pl.int_range(span + 1, dtype=pl.UInt32).is_in(offsets.implode()).cum_sum() - 1).to_series()
        place = pl.lit(lookup).gather(column.cast(pl.Int64) - int(known[0]))
    else:
        place = column.rank("dense") - 1
    return place.cast(pl.UInt32).fill_null(len(known)).alias(name)


def _table(raw: RawWave, name: str, values: pl.Series) -> pl.DataFrame:
    """What the distinct values of a variable are: code, kind of missing answer, label."""
    codes = as_codes(values, name)
    labels = raw.labels(name)
    kinds = missing.kinds(
        codes.drop_nulls().to_list(),
        labels,
        raw.convention,
        variable=name,
        declared=raw.declared(name),
        file_declares=bool(raw.release["file_declares_missing"]),
    )
    said = [(c, raw.convention.system if c is None else kinds.get(c), labels.get(c or "")) for c in codes]
    return pl.DataFrame(said, schema={"code": pl.String, "missing": pl.String, "label": pl.String}, orient="row")


def _by_code(raw: RawWave, found: Coded) -> Coded:
    """Tell apart the kinds that one code has in different parts of the file (`by_code`)."""
    for variable, parts in raw.convention.by_code.items():
        codes = {code for kinds in parts.values() for code in kinds}
        if (name := raw.resolve(variable)) is None or not found.table["code"].is_in(codes).any():
            continue
        part = as_codes(raw.data([name])[name], name)
        for value, kinds in parts.items():
            moved = {
                place: kinds[code]
                for place, (code, kind) in enumerate(found.table.select("code", "missing").iter_rows())
                if kind is not None and code in kinds and kinds[code] != kind
            }
            if not moved:
                continue
            found = found.moved(moved, part == value)
    return found


def _by_design(raw: RawWave, found: Mapping[str, Coded]) -> dict[str, Coded]:
    """Tell not asked from not applicable by the split design; the variables for which that changes anything.

    A question is off the ballot (or form) where every respondent of that cell of the design has the not-applicable
    code; one that was filtered has answers in each cell where it was asked.
    """
    if not raw.convention.by_design:
        return {}
    filtered = {
        name: flag
        for name, coded_as in found.items()
        if (flag := coded_as.table.select((pl.col("missing") == "not_applicable").fill_null(False)).to_series()).any()
    }
    if not filtered:
        return {}
    places = pl.DataFrame([found[name].places.alias(name) for name in filtered])
    off = (
        places.select(pl.lit(flag).gather(pl.col(name)).alias(name) for name, flag in filtered.items())
        .with_columns(raw.design_cells.alias(_CELL))
        .group_by(_CELL)
        .agg(pl.all().all())
    )
    moved: dict[str, tuple[pl.DataFrame, pl.Expr]] = {}
    for name, flag in filtered.items():
        cells_off = off.filter(pl.col(name)).get_column(_CELL)
        if cells_off.is_empty():
            continue
        table, lookup = _moved(found[name].table, dict.fromkeys(flag.arg_true().to_list(), "not_asked"))
        there = pl.when(pl.col(_CELL).is_in(cells_off.implode())).then(pl.lit(lookup).gather(pl.col(name)))
        moved[name] = (table, there.otherwise(pl.col(name)).alias(name))
    new = places.with_columns(raw.design_cells.alias(_CELL)).select(expression for _, expression in moved.values())
    return {name: Coded(table, new[name]) for name, (table, _) in moved.items()}


def _moved(table: pl.DataFrame, kinds: Mapping[int, str | None]) -> tuple[pl.DataFrame, pl.Series]:
    """The table with a row more for each place in `kinds`, of that kind, and the new place of each old one."""
    added = table[list(kinds)].with_columns(missing=pl.Series(list(kinds.values()), dtype=pl.String))
    target = {place: table.height + number for number, place in enumerate(kinds)}
    lookup = pl.Series([target.get(place, place) for place in range(table.height)], dtype=pl.UInt32)
    return pl.concat([table, added]), lookup


def respondents(raw: RawWave) -> pl.DataFrame:
    """The respondents of a wave, one row each in the raw wave's order.

    Returns:
        `row_index` (Int64), `native_key` (String), `respondent_id` (String, from the source's lineage and the native
        key), `key_repeated` (Boolean: the file repeats the key; such rows are told apart by their content), `country`
        (alpha-3), `year` (Int64), `weight`, `stratum`, `psu` (null where the file has none).

    Raises:
        SurveyFileError: A key, country or year cell is empty or not valid.
    """
    source, file = raw.source, Path(raw.release["file_name"])
    kept = _kept_keys(raw)
    keys = _native_keys(raw, file).keys if kept is None else kept["native_key"]
    repeated = keys.is_duplicated() if kept is None else kept["key_repeated"]
    if kept is None and repeated.any():
        # Rows that share a key are numbered in the order of their content, which does not depend on the file's order.
        data = raw._whole()
        content = hash_rows(data, data.columns)
        order = pl.DataFrame({"k": keys, "c": content}).select(pl.struct("c").rank("ordinal").over("k").alias("o"))["o"]
        number = pl.when(pl.lit(repeated) & (pl.lit(order) > 1)).then(pl.lit("#") + pl.lit(order).cast(pl.String))
        keys = pl.select(pl.concat_str(pl.lit(keys), number.otherwise(pl.lit("")))).to_series()

    def codes(candidates: Sequence[str], role: str) -> pl.Series:
        name = _first(raw, candidates)
        if name is None:
            return pl.Series(role, [None] * len(keys), dtype=pl.String)
        return as_codes(raw._whole([name])[name], name).alias(role)

    weight = codes([raw.release["weight_name"]] if raw.release["weight_name"] else [], "weight")
    year_rows, year_names = raw._coded((*source.year, *source.dates))
    amount = pl.col("weight").cast(pl.Float64, strict=False)  # a tag is no weight
    frame = pl.DataFrame(
        {
            "native_key": keys,
            "key_repeated": repeated,
            "country": raw._country,
            "year": years_of(source, year_rows, file, year_names)[0],
            "weight": weight,
            "stratum": codes(source.stratum, "stratum"),
            "psu": codes(source.psu, "psu"),
        }
    ).with_columns(weight=pl.when(~amount.is_in(list(NO_WEIGHT))).then(amount))
    frame = frame if raw._kept is None else frame.filter(raw._kept)
    identifier = "r_" + hash_rows(frame, [pl.lit(source.lineage), "native_key"], key="respondent")
    return (
        frame.with_row_index("row_index")
        .cast({"row_index": pl.Int64})
        .insert_column(2, identifier.alias("respondent_id"))
    )


def _kept_keys(raw: RawWave) -> pl.DataFrame | None:
    """The keys of a snapshot that somebody was taken out of: a repeated key was numbered with all its rows there."""
    name = raw.release.get("keys_file")
    return None if name is None else pl.read_parquet(raw.folder / name)


def _first(raw: RawWave, candidates: Sequence[str]) -> str | None:
    return next((name for c in candidates if (name := raw.resolve(c)) is not None), None)


@dataclass(frozen=True)
class _Keys:
    """The native keys of all rows of a file.

    Attributes:
        unstable: Some respondents have none of their own: the content of their row stands for it.
        notes: Why a variable that should be the key is not.
    """

    keys: pl.Series
    unstable: bool
    notes: tuple[str, ...]


def _native_keys(raw: RawWave, file: Path) -> _Keys:
    """Each country's native keys: the first candidate without missing codes that tells its respondents apart.

    Some repeated keys aside. The choice is a country's own, so that it does not depend on which others the file holds.
    """
    country = raw._country
    keys = pl.Series("key", [None] * len(country), dtype=pl.String)
    notes: list[str] = []
    empty: tuple[int, str] | None = None
    unstable = False
    for candidate in raw.source.key.variables:
        names = [name for v in candidate if (name := raw.resolve(v)) is not None]
        open_rows = keys.is_null()
        if not open_rows.any():
            break
        if not candidate:
            if empty is not None:
                break
            data = raw._whole()
            content = "row_" + hash_rows(data, data.columns, key=raw.source.lineage)
            keys, unstable = keys.fill_null(content), True
            break
        if len(names) < len(candidate):
            continue
        data = raw._whole(names)
        # What is no number (NaN is empty by then, infinity is not) is no key.
        parts = [c.set(c.str.contains(_INFINITE), None) for c in (as_codes(data[name], name) for name in names)]
        missing_rows = [_missing_keys(raw, name, part) for name, part in zip(names, parts, strict=True)]
        table = pl.DataFrame(
            {
                "country": country,
                "open": open_rows,
                "key": pl.select(pl.concat_str(parts, separator=_PLAIN_KEY)).to_series(),
                "empty": pl.select(pl.any_horizontal(p.is_null() for p in parts)).to_series(),
                "missing": pl.select(pl.any_horizontal(missing_rows)).to_series(),
            }
        )
        verdicts = (
            table.filter("open")
            .group_by("country")
            .agg(pl.len().alias("n"), pl.col("key").n_unique().alias("different"), pl.col("empty", "missing").sum())
        )
        for code, n, different, n_empty, n_missing in verdicts.sort("country").iter_rows():
            if n_empty:
                empty = empty or (n_empty, next(p.name for p in parts if p.null_count()))
            elif n_missing:
                named = next(name for name, rows in zip(names, missing_rows, strict=True) if rows.any())
                notes.append(
                    f"{named} is missing for {n_missing:,} respondent(s) of {code}: it is not taken as their key"
                )
            elif different * 2 < n:  # an id that says "not available" in most rows is none
                notes.append(
                    f"{'+'.join(names)} does not tell the respondents of {code} apart: it is not taken as their key"
                )
        usable = verdicts.filter(
            (pl.col("empty") == 0) & (pl.col("missing") == 0) & (pl.col("different") * 2 >= pl.col("n"))
        )["country"]
        now = table.select(pl.when(pl.col("open") & pl.col("country").is_in(usable.implode())).then("key")).to_series()
        keys = keys.fill_null(now)
    if keys.null_count():
        if empty is not None:
            raise SurveyFileError(
                f"{empty[0]:,} respondent(s) have no key",
                file=file,
                variable=empty[1],
                remedy="use the producer's own file",
            )
        raise SurveyFileError(
            f"The file of {raw.source.codebook} has no key that tells its respondents apart",
            file=file,
            variable=" or ".join("+".join(c) for c in raw.source.key.variables if c),
            remedy="use the producer's complete file",
        )
    return _Keys(keys, unstable, tuple(dict.fromkeys(notes)))


def _missing_keys(raw: RawWave, name: str, codes: pl.Series) -> pl.Series:
    """Which cells of a key's variable are missing codes. Other numbers below zero show that its numbers overflowed."""
    labels, known = raw.labels(name), codes.drop_nulls().unique()
    kinds = missing.kinds(
        known.to_list(),
        labels,
        raw.convention,
        variable=name,
        declared=raw.declared(name),
        file_declares=bool(raw.release["file_declares_missing"]),
    )
    below = known.filter(known.str.starts_with("-")).to_list()
    if not set(below) <= kinds.keys():
        kinds = {code: kind for code, kind in kinds.items() if code in labels}
    # Without a label a number that stands once is one; none of the codes that mean missing has a single respondent.
    often = codes.value_counts().filter(pl.col("count") > 1).get_column(codes.name).to_list()
    return codes.is_in([code for code in kinds if code in labels or code in often]).fill_null(False).alias(name)


@dataclass(frozen=True)
class PartFile:
    """A file that gives a wave's respondents, all of them or those of some countries.

    Attributes:
        countries: Alpha-3 codes of the countries that it gives; null: all that it holds of the wave.
    """

    path: Path
    countries: tuple[str, ...] | None = None


def ingest(path: Path, wave: str, layout: Layout, registry: SourceRegistry) -> RawWave:
    """Read a wave from one survey file into its snapshot and make that the wave's current release.

    All waves of a file are written in the one reading; asking for another one of them then reads nothing. What was
    stored before stays, whatever happens.

    Raises:
        SurveyFileError: The file cannot be read or recognized, changed while it was read, or does not hold the wave.
        PolicyError: Its source is closed or switched off.
    """
    return ingest_parts([PartFile(path)], wave, layout, registry)[0]


def ingest_parts(files: Sequence[PartFile], wave: str, layout: Layout, registry: SourceRegistry) -> list[RawWave]:
    """As `ingest`, of a wave that several files make up, each with countries of its own. None is read twice.

    Returns:
        The wave's parts, one a file, in the files' order.
    """
    before = _current(layout, wave)
    parts: list[dict[str, Any]] = []
    for file in files:
        sha = file_sha256(file.path)
        raw = _stored(file.path, sha, wave, layout, registry)
        held = list(raw.release["countries"] if file.countries is None else file.countries)
        parts.append(
            {
                "release": sha[:12],
                "countries": held,
                "limited": file.countries is not None and set(held) < set(raw.release["countries"]),
                "data_use": registry.data_use(raw.source),
            }
        )
    current = {"parts": [{**part, "previous": _superseded(part, parts, before)} for part in parts]}
    if current["parts"] != before:
        write_json(current, layout.raw_store / wave / "current.json")
    return load_parts(layout, wave, registry=registry)


def _stored(path: Path, sha: str, wave: str, layout: Layout, registry: SourceRegistry) -> RawWave:
    """The snapshot of a wave in a file, read from it if it is not there yet."""
    folder = _fetched(layout, wave, sha[:12])
    if not (folder / "release.json").exists():
        with _lock(layout, sha):
            if not (folder / "release.json").exists():
                _read_into_snapshots(path, sha, wave, layout, registry)
    if on_object_store(layout.raw_store):
        mirror(folder, layout.raw_store / wave / folder.name, last="release.json")
    raw = _load(folder, wave, registry)
    if (refusal := registry.closed(raw.source)) is not None:
        raise refusal
    return raw


def _superseded(
    part: Mapping[str, Any], now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The releases that gave a part's countries before, each with those countries."""
    same = next((old for old in before if old["release"] == part["release"]), None)
    found = []
    for old in before:
        kept = {c for new in now if new["release"] == old["release"] for c in new["countries"]}
        taken = sorted(set(old["countries"]) & set(part["countries"]) - kept)
        if old["release"] != part["release"] and taken:
            found.append({"release": old["release"], "countries": taken})
    return found or (list(same["previous"]) if same is not None else [])


def previous_releases(layout: Layout, wave: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """What each part of a wave superseded: its release (12 digits of its SHA-256) → older releases and countries."""
    return {
        part["release"]: [(old["release"], tuple(old["countries"])) for old in part["previous"]]
        for part in _current(layout, wave)
    }


def previous_release(layout: Layout, wave: str) -> str | None:
    """The release (12 digits of its SHA-256) that the wave's current one superseded; None: it is the first."""
    return next((release for older in previous_releases(layout, wave).values() for release, _ in older), None)


def _current(layout: Layout, wave: str) -> list[dict[str, Any]]:
    """The parts in use: release, countries, whether these are not all that it holds, data_use, what it superseded."""
    marker = layout.raw_store / wave / "current.json"
    if not marker.exists():
        return []
    stored: dict[str, Any] = json.loads(read_text(marker))
    if "parts" in stored:
        return list(stored["parts"])
    # As written before a wave could have parts.
    releases = {r: _countries_of_release(layout, wave, r) for r in (stored["release"], stored.get("previous")) if r}
    older = [{"release": r, "countries": releases[r]} for r in [stored.get("previous")] if r]
    name = stored["release"]
    part = {"release": name, "countries": releases[name], "limited": False, "data_use": stored["data_use"]}
    return [part | {"previous": older}]


def _countries_of_release(layout: Layout, wave: str, release: str) -> list[str]:
    path = layout.raw_store / wave / release / "release.json"
    return list(json.loads(read_text(path))["countries"]) if path.exists() else []


def _fetched(layout: Layout, wave: str, release: str) -> Path:
    """The folder of a release on this machine, copied from the object store if that is where it is."""
    folder = layout.raw / wave / release
    if on_object_store(layout.raw_store):
        mirror(layout.raw_store / wave / release, folder, last="release.json")
    return folder


def load_parts(layout: Layout, wave: str, *, registry: SourceRegistry | None = None) -> list[RawWave]:
    """The raw wave's parts in use, one a file, in the order of their files.

    Raises:
        SurveyFileError: The wave was never read.
    """
    parts = _current(layout, wave)
    if not parts:
        raise _never_read(layout, wave, None)
    return [
        limited(raw, part["countries"] if part["limited"] else None)
        for part in parts
        for raw in [load_raw(layout, wave, part["release"], registry=registry)]
        for raw in [replace(raw, release={**raw.release, "data_use": part["data_use"]})]
    ]


def load_raw(
    layout: Layout, wave: str, release: str | None = None, *, registry: SourceRegistry | None = None
) -> RawWave:
    """The raw wave of the current release, or of the one named (its id or the 12 digits), with all its countries.

    Raises:
        SurveyFileError: The wave was never read, or that release of it, or it is made of several files.
    """
    if release is None:
        parts = load_parts(layout, wave, registry=registry)
        if len(parts) > 1:
            raise SurveyFileError(
                f"The wave {wave} is made of {len(parts)} files",
                file=layout.raw / wave,
                value=", ".join(part.release_id for part in parts[:5]),
                remedy="name one of their releases",
            )
        return parts[0]
    folder = _fetched(layout, wave, release.rpartition("@")[2])
    if not (folder / "release.json").exists():
        raise _never_read(layout, wave, release)
    return _without_withdrawn(_load(folder, wave, registry), layout)


def _never_read(layout: Layout, wave: str, release: str | None) -> SurveyFileError:
    return SurveyFileError(
        f"The wave {wave} was not read yet" if release is None else f"The wave {wave} has no such release",
        file=layout.raw / wave / ("-" if release is None else release.rpartition("@")[2]),
        value=release,
        remedy="drop its file into the survey folder and materialize raw_wave",
    )


def limited(raw: RawWave, countries: Sequence[str] | None) -> RawWave:
    """The raw wave with some of its countries; null: as it is."""
    if countries is None:
        return raw
    some = replace(raw, countries=tuple(countries))
    people = respondents(some)
    facts = {
        "countries": people["country"].unique().sort().to_list(),
        "years": people["year"].unique().sort().to_list(),
        "n_respondents": people.height,
    }
    return replace(some, release={**raw.release, **facts})


def _without_withdrawn(raw: RawWave, layout: Layout) -> RawWave:
    """The raw wave less those who withdrew; the snapshot is rewritten if it was not yet."""
    gone = load_withdrawals(layout)
    if gone.version == raw.release.get("withdrawals", ""):
        return raw
    with _lock(layout, str(raw.release["sha256"])):
        raw = replace(raw, release=json.loads((raw.folder / "release.json").read_text(encoding="utf-8")))
        if gone.version != raw.release.get("withdrawals", ""):
            release = rewrite_snapshot(raw.folder, raw.release, respondents(raw), raw.data(), gone)
            raw = replace(raw, release=release)
    if on_object_store(layout.raw_store):
        shared = layout.raw_store / raw.wave / raw.folder.name
        names = {path.name for path in listed(raw.folder, "*") if path.name != "release.json"}
        for name in [*sorted(names), "release.json"]:
            copy(raw.folder / name, shared / name)
        for path in listed(shared, "*"):
            if path.name not in {*names, "release.json"}:
                path.unlink()
    return raw


def _load(folder: Path, wave: str, registry: SourceRegistry | None) -> RawWave:
    registry = registry or _packaged()
    release = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    source = registry[release["codebook"]]
    return RawWave(wave, folder, release, source, registry.convention(source))


@lru_cache
def _packaged() -> SourceRegistry:
    return load_sources()


@contextmanager
def _lock(layout: Layout, sha: str) -> Iterator[None]:
    """Hold the lock of a file's content, so that runs of its waves side by side read it once."""
    layout.raw.mkdir(parents=True, exist_ok=True)
    with (layout.raw / f".{sha[:12]}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_into_snapshots(path: Path, sha: str, wave: str, layout: Layout, registry: SourceRegistry) -> None:
    with readers.opened(path) as file:
        info = readers.describe(file)
        closed = [registry.closed(source) for source in candidates(info, registry)]
        if (refusal := closed[0]) is not None and all(closed):
            raise refusal
        with scratch(layout) as folder:
            parts = readers.parts(info, folder)
            # The file is read once: what tells its source and waves is looked up in what was read.
            recognition = recognize_file(
                info, registry, lambda names: (pl.read_ipc(p, columns=list(names)) for p in parts)
            )
            if wave not in recognition.parts:
                raise SurveyFileError(
                    f"The file does not hold the wave {wave}",
                    file=path,
                    value=", ".join(recognition.waves),
                    remedy="name one of the waves that it holds",
                )
            if (refusal := registry.closed(recognition.source)) is not None:
                raise refusal
            if file_sha256(path) != sha:
                raise SurveyFileError(
                    "The file changed while it was read",
                    file=path,
                    remedy="wait until it is complete; it is tried again",
                )
            for key in recognition.waves:
                release = _release(info, recognition, registry, path=path, sha=sha, wave=key)
                data = _rows_of_wave(info, parts, recognition, recognition.parts[key].code)
                try:
                    _write_snapshot(release, info, data, registry, folder=layout.raw / key, scratch=folder)
                except SurveyFileError:
                    if key == wave:
                        raise
                    # Another wave of the file whose respondents cannot be told apart: it is told where it is asked for.


def _rows_of_wave(info: FileInfo, parts: Sequence[Path], found: Recognition, code: str | None) -> pl.DataFrame:
    """The rows of a wave from all parts. A column's type does not depend on how the file was cut into parts."""
    frames = []
    variable, source = found.wave_variable, found.source
    for part in parts:
        if variable is None:
            frames.append(pl.read_ipc(part))
            continue
        cells = as_codes(pl.read_ipc(part, columns=[variable])[variable], variable)
        of_wave = wave_codes(source.waves, cells, variable, dates=source.dates) == code
        if of_wave.any():
            frames.append(pl.read_ipc(part).filter(of_wave))
    types = [frame.schema for frame in frames]
    mixed = {
        name: {schema[name] for schema in types} for name in info.names if len({schema[name] for schema in types}) > 1
    }
    text = [name for name, kinds in mixed.items() if pl.String in kinds]
    wide = [name for name in mixed if name not in text]
    rows = pl.concat(
        frame.with_columns(
            *(number_text(pl.col(name)).alias(name) for name in text if schema[name] != pl.String),
            pl.col(wide).cast(pl.Float64),
        )
        for frame, schema in zip(frames, types, strict=True)
    )
    return _narrowed(info, rows)


def _narrowed(info: FileInfo, rows: pl.DataFrame) -> pl.DataFrame:
    """Numbers in the narrowest type: tags in another wave made text of them, large numbers there made them wide."""
    schema = rows.schema
    maybe = [v.name for v in info.variables if not v.text and schema[v.name] == pl.String]
    if maybe:
        tagged = rows.select(pl.col(maybe).str.starts_with(".").any()).row(0)
        plain = [name for name, has_tag in zip(maybe, tagged, strict=True) if not has_tag]
        rows = rows.with_columns(pl.col(plain).cast(pl.Float64))
    integers = [name for name, dtype in rows.schema.items() if dtype.is_integer()]
    return shrunk(rows.with_columns(s.shrink_dtype() for s in rows.select(integers)))


def release_id(wave: str, sha256: str) -> str:
    """The name of a release of a wave: the wave and the beginning of its file's checksum."""
    return f"{wave}@{sha256[:12]}"


def _release(
    info: FileInfo, recognition: Recognition, registry: SourceRegistry, *, path: Path, sha: str, wave: str
) -> dict[str, Any]:
    part, source = recognition.parts[wave], recognition.source
    return {
        "wave": wave,
        "survey": source.family,
        "codebook": source.codebook,
        "release_id": release_id(wave, sha),
        "title": source.wave_title(part.name),
        "version": recognition.version,
        "doi": recognition.doi,
        "file_name": path.name,
        "sha256": sha,
        "n_respondents": part.rows,
        "countries": list(part.countries),
        "years": list(part.years),
        "weight_name": part.weight,
        "licence": " ".join(source.licence.split()),
        "data_use": registry.data_use(source),
        "format": info.format,
        "encoding": info.encoding,
        "notes": list(recognition.notes),
        "file_declares_missing": any(v.missing for v in info.variables),
        "unstable_keys": False,
    }


def _write_snapshot(
    release: Mapping[str, Any],
    info: FileInfo,
    data: pl.DataFrame,
    registry: SourceRegistry,
    *,
    folder: Path,
    scratch: Path,
) -> None:
    """Write a wave's snapshot beside, see that its respondents can be told apart, and move it into place as one."""
    wave = release["wave"]
    target = folder / release["sha256"][:12]
    if (target / "release.json").exists():
        return
    staged = scratch / f"snapshot-{wave}"
    write_parquet(data, staged / "data.parquet")
    write_parquet(_variable_table(info, data, wave, release["release_id"]), staged / "variables.parquet")
    write_json(dict(release), staged / "release.json")
    keys = _native_keys(_load(staged, wave, registry), info.path)
    told = {"unstable_keys": keys.unstable, "notes": [*release["notes"], *keys.notes]}
    write_json({**release, **told}, staged / "release.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # without release.json it was never complete
        shutil.rmtree(target)
    staged.rename(target)


def _variable_table(info: FileInfo, data: pl.DataFrame, wave: str, release_id: str) -> pl.DataFrame:
    schema, tags = data.schema, _tags(info, data)
    return VARIABLES.conform(
        pl.DataFrame(
            {
                "wave": wave,
                "release_id": release_id,
                "variable": [v.name for v in info.variables],
                "position": range(len(info.variables)),
                "label": [v.label for v in info.variables],
                "storage": [str(schema[v.name]) for v in info.variables],
                "value_labels": [
                    [{"code": c, "label": text} for c, text in v.value_labels.items()] for v in info.variables
                ],
                "missing_codes": [list(dict.fromkeys([*v.missing, *tags.get(v.name, ())])) for v in info.variables],
            },
            schema=VARIABLES.schema,
        )
    )


def _tags(info: FileInfo, data: pl.DataFrame) -> dict[str, list[str]]:
    """Stata's tags that stand in the data: the metadata names only those of the rows that were read."""
    schema = data.schema
    columns = [v.name for v in info.variables if not v.text and schema[v.name] == pl.String]
    if info.format == "csv" or not columns:
        return {}
    tag = pl.col(columns)
    found = data.select(tag.filter(tag.str.contains(r"^\.[a-z]$")).unique().sort().implode()).row(0, named=True)
    return {name: list(tags) for name, tags in found.items()}
