"""Raw waves: the respondents and cells of a release of a wave, as its file gives them.

What belongs here: reading a snapshot, native keys, the kind of each missing answer. How snapshots are written and found
is in `snapshots.py`; concepts are in `harmonize`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline.core.errors import DamagedError, SurveyFileError
from mpta_pipeline.core.hashing import hash_rows
from mpta_pipeline.core.provenance import checksum
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.surveys import missing
from mpta_pipeline.surveys.source_registry import Convention, Source
from mpta_pipeline.surveys.wave_country_year import NO_WEIGHT, as_codes, countries_of, years_of

DATA, VARIABLES_FILE, RELEASE = "data.parquet", "variables.parquet", "release.json"
_PLAIN_KEY = ":"
_CELL = " cell"  # no variable's name
_INFINITE = r"(?i)^[+-]?(inf(inity)?|nan)$"


@dataclass(frozen=True)
class RawWave:
    """A release of a wave as read from one file, with all columns. A wave may have several, each with other countries.

    Attributes:
        folder: The snapshot's folder.
        release: The row of WAVES, and further facts: format, encoding, notes, file_declares_missing, checksums.
        source: The source's record: keys, weights, country rule.
        convention: How its codebook marks missing answers.
        countries: Countries (alpha-3) that are read from this file, if others are read from another file; null for all.
        reading: Record of the step that read the wave. It is removed if the snapshot turns out to be damaged, so that
            the next run reads the survey file again.
    """

    wave: str
    folder: Path
    release: Mapping[str, Any]
    source: Source
    convention: Convention
    countries: tuple[str, ...] | None = None
    reading: Path | None = None

    @property
    def release_id(self) -> str:
        """Wave and the first 12 digits of the file's SHA-256."""
        return str(self.release["release_id"])

    def data(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows in the file's order, with all native columns or those given.

        Raises:
            DamagedError: The stored rows are not those that were written.
        """
        rows = self._whole(columns)
        return rows if self._kept is None else rows.filter(self._kept)

    def _whole(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of all countries; see `data`."""
        return self.read(self.release.get("data_file", DATA), columns)

    def verify(self) -> None:
        """Check the files of the snapshot.

        Raises:
            DamagedError: One of them is not what was written.
        """
        self._whole(self.variables["variable"].head(1).to_list())
        _kept_keys(self)

    def read(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A Parquet file of the snapshot, or some of its columns, if its bytes are those that were written.

        Raises:
            DamagedError: They are not, or the file is absent or cannot be read.
        """
        path, expected = self.folder / name, self.release.get("checksums", {}).get(name)
        try:
            stat = path.stat()
            if expected is not None and _checksum(path, stat.st_size, stat.st_mtime_ns) != expected:
                raise self._damaged(path, "its bytes are not those that were written")
            return pl.read_parquet(path, columns=None if columns is None else list(columns))
        except (OSError, *UNREADABLE) as failure:
            raise self._damaged(path, type(failure).__name__) from None

    def _damaged(self, path: Path, why: str) -> DamagedError:
        if self.reading is not None:
            self.reading.unlink(missing_ok=True)
            remedy = (
                f"run `mpta run` again: it reads the survey file {self.release.get('file_name', '')} again, which must "
                "be in the survey folder, and asks no model twice; if it happens again, check the disk"
            )
        else:
            remedy = "this release is no longer in use: delete its folder, or put the file back from a copy"
        return DamagedError(f"A stored survey wave is damaged: {why}", file=path, remedy=remedy)

    @cached_property
    def _kept(self) -> pl.Series | None:
        """Which rows count; null for all."""
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
        """The candidates that the file has, as codes under lower-case names, and their names in the file."""
        names = {c.lower(): name for c in candidates if (name := self.resolve(c)) is not None}
        data = self._whole(list(names.values()) or [self.variables["variable"][0]])
        return data.select(*(as_codes(data[name], name).alias(low) for low, name in names.items())), names

    @cached_property
    def _respondents(self) -> pl.DataFrame:
        return _respondents_of(self)

    @cached_property
    def variables(self) -> pl.DataFrame:
        """The table of variables (VARIABLES)."""
        return self.read(VARIABLES_FILE)

    @cached_property
    def _described(self) -> dict[str, dict[str, Any]]:
        return {row["variable"].lower(): row for row in self.variables.iter_rows(named=True)}

    @cached_property
    def design_cells(self) -> pl.Series:
        """The cell of the split design (ballot by form) of each respondent, as a number named `cell`."""
        names = [name for v in self.convention.by_design if (name := self.resolve(v)) is not None]
        if not names:
            return pl.Series("cell", [0] * self.data([self.variables["variable"][0]]).height, dtype=pl.UInt32)
        return self.data(names).select(pl.struct(names).rank("dense").alias("cell")).to_series()

    def resolve(self, variable: str) -> str | None:
        """The variable's name in the file, found without regard to case; None if the file does not have it."""
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
    """A variable's cells as row numbers of a table of its distinct codes: most variables have fewer than twenty.

    Attributes:
        table: One row per native code and kind: `code` (String), `missing` (String), `label` (String).
        places: Row of `table` for each respondent (UInt32), in the raw wave's order.
    """

    table: pl.DataFrame
    places: pl.Series

    def cells(self) -> pl.DataFrame:
        """The cells themselves, as `cells` returns them."""
        number = pl.when(pl.col("missing").is_null()).then(pl.col("code").cast(pl.Float64, strict=False))
        return self.table.select("code", number.alias("number"), "missing", "label")[self.places]

    @property
    def answered(self) -> bool:
        """Whether any respondent has an answer."""
        return self.table["missing"].has_nulls()

    def moved(self, kinds: Mapping[int, str | None], where: pl.Series) -> Coded:
        """The cells with other kinds (null for an answer) at some places, for the respondents in `where`."""
        table, lookup = _moved(self.table, kinds)
        there = pl.when(where.fill_null(False)).then(lookup.gather(self.places))
        return Coded(table, pl.select(there.otherwise(self.places)).to_series())


def cells(raw: RawWave, variable: str) -> pl.DataFrame:
    """A variable's cells, one row per respondent in the raw wave's order.

    Returns:
        `code` (String): the native code as text ("1", "-9", ".d"), null if the cell is empty; `number` (Float64):
        the value as a number, null if missing or not a number; `missing` (String): the kind of missing answer, null if
        it is a value; `label` (String): the code's value label.

    Raises:
        SurveyFileError: The wave has no such variable.
    """
    return coded(raw, [variable])[variable].cells()


def coded(raw: RawWave, variables: Sequence[str]) -> dict[str, Coded]:
    """The cells of several variables, read in one pass, by the requested name.

    Raises:
        SurveyFileError: The wave has no such variable.
    """
    names: dict[str, str] = {}
    for variable in variables:
        if (name := raw.resolve(variable)) is None:
            raise SurveyFileError(
                f"Wave {raw.wave} has no such variable",
                file=raw.release["file_name"],
                variable=variable,
                remedy="use the producer's complete file",
            )
        names[variable] = name
    data = raw.data(list(dict.fromkeys(names.values())))
    # Whole frames, so that polars uses all cores.
    lists = data.select(pl.all().unique().sort(nulls_last=True).implode())
    distinct: dict[str, pl.Series] = {name: lists[name][0] for name in data.columns}
    places = data.select(_places(name, values) for name, values in distinct.items())
    found = {name: _by_code(raw, Coded(_table(raw, name, values), places[name])) for name, values in distinct.items()}
    found |= _by_design(raw, found)
    return {variable: found[name] for variable, name in names.items()}


def _places(name: str, values: pl.Series) -> pl.Expr:
    """The position of each cell of a column among its sorted distinct values; null comes last."""
    column, known = pl.col(name), values.drop_nulls()
    if known.dtype == pl.String:
        place = column.cast(pl.Enum(known)).to_physical()
    elif len(known) and known.dtype.is_integer() and (span := int(known[-1]) - int(known[0])) < 4096:
        # A small range uses a lookup table: value - lowest → position.
        low = int(known[0])
        lookup = np.zeros(span + 1, dtype=np.uint32)
        lookup[known.to_numpy().astype(np.int64) - low] = np.arange(len(known))
        place = pl.lit(pl.Series(lookup)).gather(column.cast(pl.Int64) - low)
    else:
        place = column.rank("dense") - 1
    return place.cast(pl.UInt32).fill_null(len(known)).alias(name)


def _table(raw: RawWave, name: str, values: pl.Series) -> pl.DataFrame:
    """Code, kind of missing answer and label of the distinct values of a variable."""
    codes = as_codes(values, name).to_list()
    labels = raw.labels(name)
    kinds = missing.kinds(
        [code for code in codes if code is not None],
        labels,
        raw.convention,
        variable=name,
        declared=raw.declared(name),
        file_declares=bool(raw.release["file_declares_missing"]),
    )
    said = {
        "code": codes,
        "missing": [raw.convention.system if code is None else kinds.get(code) for code in codes],
        "label": [labels.get(code or "") for code in codes],
    }
    return pl.DataFrame({column: pl.Series(cells, dtype=pl.String) for column, cells in said.items()})


def _by_code(raw: RawWave, found: Coded) -> Coded:
    """Distinguish the kinds that one code has in different parts of the file (`by_code`)."""
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
    """Distinguish not asked from not applicable by the split design; returns the variables that this changes.

    A question was not on a ballot (or form) if every respondent in that cell of the design has the not-applicable
    code. A filtered question has answers in each cell in which it was asked.
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
    design = raw.design_cells.rank("dense").to_numpy().astype(np.int64) - 1
    moved: dict[str, tuple[pl.DataFrame, pl.Expr]] = {}
    for name, flag in filtered.items():
        given = np.bincount(
            design * len(flag) + found[name].places.to_numpy(), minlength=(design.max() + 1) * len(flag)
        )
        off = given.reshape(-1, len(flag))[:, ~flag.to_numpy()].sum(axis=1) == 0
        if not off.any():
            continue
        table, lookup = _moved(found[name].table, dict.fromkeys(flag.arg_true().to_list(), "not_asked"))
        there = pl.when(pl.lit(pl.Series(off)).gather(pl.col(_CELL))).then(pl.lit(lookup).gather(pl.col(name)))
        moved[name] = (table, there.otherwise(pl.col(name)).alias(name))
    places = pl.DataFrame([*(found[name].places.alias(name) for name in moved), pl.Series(_CELL, design)])
    new = places.select(expression for _, expression in moved.values())
    return {name: Coded(table, new[name]) for name, (table, _) in moved.items()}


def _moved(table: pl.DataFrame, kinds: Mapping[int, str | None]) -> tuple[pl.DataFrame, pl.Series]:
    """The table with one more row, of that kind, for each place in `kinds`; and the new place of each old one."""
    columns = table.to_dict(as_series=False)
    added = {name: [cells[place] for place in kinds] for name, cells in columns.items()} | {
        "missing": [*kinds.values()]
    }
    target = {place: table.height + number for number, place in enumerate(kinds)}
    lookup = pl.Series([target.get(place, place) for place in range(table.height)], dtype=pl.UInt32)
    return pl.DataFrame({name: [*cells, *added[name]] for name, cells in columns.items()}, schema=table.schema), lookup


def respondents(raw: RawWave) -> pl.DataFrame:
    """The respondents of a wave, one row each, in the raw wave's order.

    Returns:
        `row_index` (Int64), `native_key` (String), `respondent_id` (String, from the source's lineage and the native
        key), `key_repeated` (Boolean: the file repeats the key; such rows are distinguished by their content),
        `country` (alpha-3), `year` (Int64), `weight`, `stratum`, `psu` (null if the file has none).

    Raises:
        SurveyFileError: A key, country or year cell is empty or invalid.
    """
    return raw._respondents


def _respondents_of(raw: RawWave) -> pl.DataFrame:
    source, file = raw.source, Path(raw.release["file_name"])
    kept = _kept_keys(raw)
    keys = native_keys(raw, file).keys if kept is None else kept["native_key"]
    repeated = keys.is_duplicated() if kept is None else kept["key_repeated"]
    if kept is None and repeated.any():
        # Rows with the same key are numbered in the order of their content, which does not depend on the file's order.
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
    amount = pl.col("weight").cast(pl.Float64, strict=False)  # a tag is not a weight
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
    """The keys of a snapshot from which respondents were removed: repeated keys were numbered before that."""
    name = raw.release.get("keys_file")
    return None if name is None else raw.read(name)


@lru_cache(maxsize=256)
def _checksum(path: Path, size: int, mtime_ns: int) -> str:
    """The checksum of a file, computed once per process while size and time of change stay the same."""
    return checksum(path)


def _first(raw: RawWave, candidates: Sequence[str]) -> str | None:
    return next((name for c in candidates if (name := raw.resolve(c)) is not None), None)


@dataclass(frozen=True)
class NativeKeys:
    """The native keys of all rows of a file.

    Attributes:
        unstable: Some respondents have no key; the content of their row is used instead.
        notes: Why a variable that should be the key is not used.
    """

    keys: pl.Series
    unstable: bool
    notes: tuple[str, ...]


def native_keys(raw: RawWave, file: Path) -> NativeKeys:
    """The native keys, chosen per country: the first candidate without missing codes that tells the respondents apart.

    A few repeated keys are allowed. The choice is made per country, so that it does not depend on the file's other
    countries.
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
        # Non-numeric values cannot be keys (NaN is empty already, infinity is not).
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
                    f"{named} is missing for {n_missing:,} respondent(s) of {code}: it is not used as their key"
                )
            elif different * 2 < n:  # an id that is "not available" in most rows is not a key
                notes.append(
                    f"{'+'.join(names)} does not tell the respondents of {code} apart: it is not used as their key"
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
    return NativeKeys(keys, unstable, tuple(dict.fromkeys(notes)))


def _missing_keys(raw: RawWave, name: str, codes: pl.Series) -> pl.Series:
    """Which cells of a key variable are missing codes. Other negative numbers mean that its numbers overflowed."""
    labels, known = raw.labels(name), codes.drop_nulls().unique()
    often = codes.value_counts().filter(pl.col("count") > 1).get_column(codes.name).drop_nulls()
    # Most codes of a key occur once, and without a label such a number is a key: only the others are looked at.
    looked_at = known.filter(known.str.starts_with("-") | known.is_in(often.implode()) | known.is_in(list(labels)))
    kinds = missing.kinds(
        looked_at.to_list(),
        labels,
        raw.convention,
        variable=name,
        declared=raw.declared(name),
        file_declares=bool(raw.release["file_declares_missing"]),
    )
    below = known.filter(known.str.starts_with("-")).to_list()
    if not set(below) <= kinds.keys():
        kinds = {code: kind for code, kind in kinds.items() if code in labels}
    # Without a label, a number that occurs once is a key: codes that mean missing occur more than once.
    repeated = set(often.to_list()) if kinds else set()
    return codes.is_in([code for code in kinds if code in labels or code in repeated]).fill_null(False).alias(name)


def limited(raw: RawWave, countries: Sequence[str] | None) -> RawWave:
    """The raw wave with only some countries; null for all."""
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
