"""Store raw waves as snapshots: read each survey file once, verify, and find a wave's releases again.

One folder per wave, with one subfolder per release: `data.parquet` (all rows and columns), `variables.parquet` and
`release.json`, which is written last and holds the checksums of the other two. `current.json` beside the releases names
those that were read last, which of them are held (`hold`), and those that stay in use instead.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core import tables
from mpta_pipeline.core.errors import DamagedError, SurveyFileError
from mpta_pipeline.core.hashing import file_sha256
from mpta_pipeline.core.provenance import checksum, record_path
from mpta_pipeline.core.storage import (
    Layout,
    copy,
    file_identity,
    listed,
    mirror,
    on_object_store,
    read_checked_json,
    scratch,
    write_checked_json,
    write_parquet,
)
from mpta_pipeline.core.tables import VARIABLES
from mpta_pipeline.surveys import readers
from mpta_pipeline.surveys.file_info import FileInfo
from mpta_pipeline.surveys.opening import opened
from mpta_pipeline.surveys.raw import DATA, RELEASE, VARIABLES_FILE, RawWave, limited, native_keys, respondents
from mpta_pipeline.surveys.readstat import number_text, shrunk
from mpta_pipeline.surveys.recognize import Recognition, candidates, recognize_file
from mpta_pipeline.surveys.source_registry import SourceRegistry, load_sources
from mpta_pipeline.surveys.wave_country_year import as_codes, wave_codes
from mpta_pipeline.surveys.withdrawals import load_withdrawals, rewrite_snapshot

_CURRENT = "current.json"
_MADE_AGAIN = (
    "The list of the wave's releases was damaged and was made again: which release this one superseded is not known"
)


@dataclass(frozen=True)
class PartFile:
    """A file from which a wave's respondents are read: all of them, or those of some countries.

    Attributes:
        countries: Countries (alpha-3) to read; null for all that it holds of the wave.
    """

    path: Path
    countries: tuple[str, ...] | None = None


def release_id(wave: str, sha256: str) -> str:
    """The id of a release: the wave and the first 12 digits of the file's SHA-256."""
    return f"{wave}@{sha256[:12]}"


def ingest(path: Path, wave: str, layout: Layout, registry: SourceRegistry) -> RawWave:
    """Read a wave from one survey file into its snapshot, and make that the wave's current release.

    All waves of the file are written in one pass; ingesting another one of them reads nothing. On an error, what was
    stored before is unchanged.

    Raises:
        SurveyFileError: The file cannot be read or recognized, changed while it was read, or does not hold the wave.
        PolicyError: Its source is closed or disabled.
    """
    return ingest_parts([PartFile(path)], wave, layout, registry)[0]


def ingest_parts(files: Sequence[PartFile], wave: str, layout: Layout, registry: SourceRegistry) -> list[RawWave]:
    """As `ingest`, for a wave made of several files, each with its own countries. No file is read twice.

    Returns:
        The wave's parts, one per file, in the order of the files.
    """
    last, damaged = _last_read(layout, wave)
    before = _in_use(last)
    parts: list[dict[str, Any]] = []
    for file in files:
        sha = _sha256_of(file.path, file_identity(file.path))
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
    current = [{**part, "previous": _superseded(part, parts, before)} for part in parts]
    if current != last["parts"] or damaged:
        write_checked_json({"parts": current, "before": before, "held": []}, layout.raw_store / wave / _CURRENT)
    raws = load_parts(layout, wave, registry=registry)
    if not damaged:
        return raws
    return [replace(raw, release={**raw.release, "notes": [*raw.release["notes"], _MADE_AGAIN]}) for raw in raws]


@lru_cache(maxsize=16)
def _sha256_of(path: Path, _: tuple[int, ...]) -> str:
    """The SHA-256 of a file, computed once per process as long as nothing about the file changes."""
    return file_sha256(path)


def _stored(path: Path, sha: str, wave: str, layout: Layout, registry: SourceRegistry) -> RawWave:
    """The snapshot of a wave in a file; the file is read if there is no usable snapshot."""
    folder = _fetched(layout, wave, sha[:12])
    if not _usable(folder, registry):
        with _lock(layout, sha):
            if on_object_store(layout.raw_store) and not _usable(folder, registry):
                shutil.rmtree(folder, ignore_errors=True)
                _fetched(layout, wave, sha[:12])
            if not _usable(folder, registry):
                if on_object_store(layout.raw_store):
                    (layout.raw_store / wave / folder.name / RELEASE).unlink(missing_ok=True)
                _read_into_snapshots(path, sha, wave, layout, registry)
    if on_object_store(layout.raw_store):
        mirror(folder, layout.raw_store / wave / folder.name, last=RELEASE)
    raw = _load(folder, wave, registry)
    if (refusal := registry.closed(raw.source)) is not None:
        raise refusal
    return raw


def _release_of(folder: Path) -> dict[str, Any]:
    """The record of a snapshot, with the names of today for what earlier versions named otherwise."""
    release = read_checked_json(folder / RELEASE)
    return {tables.WAVES.earlier_names.get(key, key): value for key, value in release.items()}


def _usable(folder: Path, registry: SourceRegistry) -> bool:
    """Whether a snapshot is complete and undamaged, and was made with the source's record of today."""
    try:
        release = _release_of(folder)
        sound = all(checksum(folder / name) == expected for name, expected in release.get("checksums", {}).items())
    except (OSError, DamagedError):
        return False
    codebook = str(release["codebook"])
    return sound and (codebook not in registry or release.get("record") in (None, registry.record_version(codebook)))


def _superseded(
    part: Mapping[str, Any], now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The releases from which a part's countries were read before, each with those countries."""
    same = next((old for old in before if old["release"] == part["release"]), None)
    found = []
    for old in before:
        kept = {c for new in now if new["release"] == old["release"] for c in new["countries"]}
        taken = sorted(set(old["countries"]) & set(part["countries"]) - kept)
        if old["release"] != part["release"] and taken:
            found.append({"release": old["release"], "countries": taken})
    return found or (list(same["previous"]) if same is not None else [])


def previous_releases(layout: Layout, wave: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """What each part of a wave superseded: release (12 digits of its SHA-256) → older releases and their countries."""
    return {
        part["release"]: [(old["release"], tuple(old["countries"])) for old in part["previous"]]
        for part in _current(layout, wave)["parts"]
    }


def hold(layout: Layout, wave: str, releases: Collection[str], *, in_use: Mapping[str, Sequence[str]]) -> None:
    """Record which of a wave's releases are held: read, but not in use, because a check refused them.

    What was in use before stays in use, and a later release supersedes that and not the held one.

    Args:
        layout: Where snapshots are.
        wave: The wave.
        releases: Ids of the held releases; empty if all that were read are in use.
        in_use: Id of each release that the harmonized wave has respondents from → their countries. Lists that an
            earlier version wrote do not say which release that is.
    """
    stored, held = _current(layout, wave), sorted(release.rpartition("@")[2] for release in releases)
    now = {**stored, "held": held}
    used = {release.rpartition("@")[2]: list(countries) for release, countries in in_use.items()}
    if held and (unknown := used.keys() - {part["release"] for part in (*stored["parts"], *stored["before"])}):
        data_use = stored["parts"][0]["data_use"]
        staying = [_staying_part(layout, wave, release, used[release], data_use) for release in sorted(unknown)]
        now["before"] = [*stored["before"], *staying]
        # The earlier version took whatever was read last for superseded, a held release included.
        now["parts"] = [
            {**part, "previous": _superseded(part, stored["parts"], now["before"])} if part["release"] in held else part
            for part in stored["parts"]
        ]
    if now != stored:
        write_checked_json(now, layout.raw_store / wave / _CURRENT)


def _staying_part(layout: Layout, wave: str, release: str, countries: list[str], data_use: str) -> dict[str, Any]:
    """The part of a release that stays in use in place of a held one."""
    limited = set(countries) < set(_countries_of_release(layout, wave, release))
    return {"release": release, "countries": countries, "limited": limited, "data_use": data_use, "previous": []}


def releases_in_use(stored: Mapping[str, Any]) -> list[str]:
    """The releases in use (12 digits of their SHA-256) that the content of a `current.json` names."""
    return [part["release"] for part in _in_use(_lists(stored))] if "parts" in stored else [stored["release"]]


def _in_use(stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts in use: those that were read last; in place of held ones, those that gave their countries before."""
    held = [part for part in stored["parts"] if part["release"] in stored["held"]]
    if len(held) == len(stored["parts"]):
        return list(stored["before"] if held else ())
    waiting = {country for part in held for country in part["countries"]}
    found = {part["release"]: part for part in stored["parts"] if part not in held}
    for part in stored["before"]:
        own = found.get(part["release"], {"countries": []})["countries"]
        if kept := [c for c in part["countries"] if c in waiting and c not in own]:
            limited = part["limited"] or set(part["countries"]) != {*own, *kept}
            found[part["release"]] = {**part, "countries": sorted({*own, *kept}), "limited": limited}
    return list(found.values())


def _current(layout: Layout, wave: str) -> dict[str, Any]:
    """The lists of a wave's parts; each with release, countries, whether it holds more, data_use, what it superseded.

    Raises:
        DamagedError: The lists cannot be read. The next run makes them again.
    """
    stored, damaged = _last_read(layout, wave)
    if damaged:
        record_path(layout.table("raw_wave", wave)).unlink(missing_ok=True)
        raise DamagedError(
            "The list of a wave's releases is damaged",
            file=layout.raw_store / wave / _CURRENT,
            remedy="run `mpta run` again: it makes the list again from the survey files",
        )
    return stored


def _last_read(layout: Layout, wave: str) -> tuple[dict[str, Any], bool]:
    """The lists of a wave's parts (empty if the wave was never read), and whether they are damaged."""
    nothing = _lists({"parts": []})
    try:
        stored = read_checked_json(layout.raw_store / wave / _CURRENT)
        return _lists(stored if "parts" in stored else {"parts": _one_part(stored, layout, wave)}), False
    except FileNotFoundError:
        return nothing, False
    except (DamagedError, KeyError, TypeError, AttributeError):
        return nothing, True


def _lists(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Parts read last, parts in use before, and held releases; earlier versions wrote only the first list."""
    if unknown := set(stored) - {"parts", "before", "held"}:  # the name of the checksum itself was damaged
        raise KeyError(*unknown)
    return {
        "parts": _parts(stored["parts"]),
        "before": _parts(stored.get("before", ())),
        "held": list(stored.get("held", ())),
    }


def _parts(stored: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: part[name] for name in ("release", "countries", "limited", "data_use", "previous")} for part in stored
    ]


def _one_part(stored: Mapping[str, Any], layout: Layout, wave: str) -> list[dict[str, Any]]:
    """The one part of a list in the format of before waves could have parts."""
    releases = {r: _countries_of_release(layout, wave, r) for r in (stored["release"], stored.get("previous")) if r}
    older = [{"release": r, "countries": releases[r]} for r in [stored.get("previous")] if r]
    name = stored["release"]
    part = {"release": name, "countries": releases[name], "limited": False, "data_use": stored["data_use"]}
    return [part | {"previous": older}]


def _countries_of_release(layout: Layout, wave: str, release: str) -> list[str]:
    path = layout.raw_store / wave / release / RELEASE
    return list(read_checked_json(path)["countries"]) if path.exists() else []


def _fetched(layout: Layout, wave: str, release: str) -> Path:
    """The folder of a release on this machine; copied from the object store if it is there."""
    folder = layout.raw / wave / release
    if on_object_store(layout.raw_store):
        mirror(layout.raw_store / wave / release, folder, last=RELEASE)
    return folder


def load_parts(
    layout: Layout, wave: str, *, registry: SourceRegistry | None = None, in_use: bool = False
) -> list[RawWave]:
    """The raw wave's parts as they were read last, one per file, in the order of the files.

    Args:
        layout: Where snapshots are.
        wave: The wave.
        registry: Sources; null for those of the environment.
        in_use: Load what is in use instead of releases that are held.

    Raises:
        SurveyFileError: The wave was never read.
        DamagedError: What was stored of it is damaged.
    """
    stored = _current(layout, wave)
    parts = _in_use(stored) if in_use else stored["parts"]
    reading = record_path(layout.table("raw_wave", wave))
    if not parts:
        raise _gone(layout.raw_store / wave / _CURRENT, reading) or _never_read(layout, wave, None)
    read = {part["release"] for part in stored["parts"]}
    return [
        limited(raw, part["countries"] if part["limited"] else None)
        for part in parts
        for name in [part["release"]]
        for raw in [_opened(layout, wave, name, registry, reading if name in read else None)]
        for raw in [replace(raw, release={**raw.release, "data_use": part["data_use"]})]
    ]


def load_raw(
    layout: Layout, wave: str, release: str | None = None, *, registry: SourceRegistry | None = None
) -> RawWave:
    """The raw wave of the current release, or of the given one (its id or the 12 digits), with all its countries.

    Raises:
        SurveyFileError: The wave, or that release of it, was never read; or the wave is made of several files.
    """
    if release is None:
        parts = load_parts(layout, wave, registry=registry)
        if len(parts) > 1:
            raise SurveyFileError(
                f"Wave {wave} is made of {len(parts)} files",
                file=layout.raw / wave,
                value=", ".join(part.release_id for part in parts[:5]),
                remedy="give one of their releases",
            )
        return parts[0]
    read = {part["release"] for part in _last_read(layout, wave)[0]["parts"]}
    reading = record_path(layout.table("raw_wave", wave)) if release.rpartition("@")[2] in read else None
    return _opened(layout, wave, release, registry, reading)


def _opened(layout: Layout, wave: str, release: str, registry: SourceRegistry | None, reading: Path | None) -> RawWave:
    """The snapshot of a release, without those who withdrew.

    Args:
        layout: Where snapshots are.
        wave: The wave.
        release: The release (its id or the 12 digits).
        registry: Sources; null for those of the environment.
        reading: Record of the step that read the release; null: it is no longer in use.
    """
    folder = _fetched(layout, wave, release.rpartition("@")[2])
    if not (folder / RELEASE).exists():
        raise _gone(folder, reading) or _never_read(layout, wave, release)
    try:
        raw = replace(_load(folder, wave, registry), reading=reading)
    except DamagedError:
        if reading is not None:
            reading.unlink(missing_ok=True)
        raise
    return _without_withdrawn(raw, layout)


def _gone(path: Path, reading: Path | None) -> DamagedError | None:
    """The error for a snapshot that was read, as its record says, and was deleted since; None if there is no record.

    The record is deleted, so that the next run reads the survey file again.
    """
    if reading is None or not reading.exists():
        return None
    reading.unlink()
    return DamagedError(
        "A snapshot of a survey file is missing, although it was made",
        file=path,
        remedy="run `mpta run` again: it makes the snapshot again from the survey file",
    )


def _never_read(layout: Layout, wave: str, release: str | None) -> SurveyFileError:
    return SurveyFileError(
        f"Wave {wave} was not read yet" if release is None else f"Wave {wave} has no such release",
        file=layout.raw / wave / ("-" if release is None else release.rpartition("@")[2]),
        value=release,
        remedy="put its file into the survey folder and run `mpta run`",
    )


def _without_withdrawn(raw: RawWave, layout: Layout) -> RawWave:
    """The raw wave without those who withdrew; the snapshot is rewritten if that was not done yet."""
    gone = load_withdrawals(layout)
    if gone.version == raw.release.get("withdrawals", ""):
        return raw
    with _lock(layout, str(raw.release["sha256"])):
        raw = replace(raw, release=_release_of(raw.folder))
        if gone.version != raw.release.get("withdrawals", ""):
            release = rewrite_snapshot(raw.folder, raw.release, respondents(raw), raw.data(), gone)
            raw = replace(raw, release=release)
    if on_object_store(layout.raw_store):
        shared = layout.raw_store / raw.wave / raw.folder.name
        names = {path.name for path in listed(raw.folder, "*") if path.name != RELEASE}
        for name in [*sorted(names), RELEASE]:
            copy(raw.folder / name, shared / name)
        for path in listed(shared, "*"):
            if path.name not in {*names, RELEASE}:
                path.unlink()
    return raw


def _load(folder: Path, wave: str, registry: SourceRegistry | None) -> RawWave:
    registry = registry or load_sources()
    release = _release_of(folder)
    codebook = str(release["codebook"])
    if codebook not in registry:
        raise SurveyFileError(
            f"Wave {wave} belongs to a source that has no record",
            file=folder / RELEASE,
            variable="codebook",
            value=codebook,
            remedy=f"put the record {codebook}.yaml back into the folder `sources` of the configuration",
        )
    source = registry[codebook]
    return RawWave(wave, folder, release, source, registry.convention(source))


@contextmanager
def _lock(layout: Layout, sha: str) -> Iterator[None]:
    """Hold the lock for a file's content, so that concurrent runs of its waves read it once."""
    layout.raw.mkdir(parents=True, exist_ok=True)
    with (layout.raw / f".{sha[:12]}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_into_snapshots(path: Path, sha: str, wave: str, layout: Layout, registry: SourceRegistry) -> None:
    before = file_identity(path)
    with opened(path) as file:
        info = readers.describe(file)
        closed = [registry.closed(source) for source in candidates(info, registry)]
        if (refusal := closed[0]) is not None and all(closed):
            raise refusal
        with scratch(layout) as folder:
            parts = readers.parts(info, folder)
            # The file is read once: source and waves are recognized from what was read.
            recognition = recognize_file(
                info, registry, lambda names: (pl.read_ipc(p, columns=list(names)) for p in parts)
            )
            if wave not in recognition.parts:
                raise SurveyFileError(
                    f"The file does not hold wave {wave}",
                    file=path,
                    value=", ".join(recognition.waves),
                    remedy="choose one of the waves that it holds",
                )
            if (refusal := registry.closed(recognition.source)) is not None:
                raise refusal
            # The hash alone would miss a file that is replaced while it is read, and put back.
            if file_sha256(path) != sha or file_identity(path) != before:
                raise SurveyFileError(
                    "The file changed while it was read",
                    file=path,
                    remedy="wait until it is complete; the next run tries again",
                )

            def stored(key: str) -> None:
                release = _release(info, recognition, registry, path=path, sha=sha, wave=key)
                data = _rows_of_wave(info, parts, recognition, recognition.parts[key].code)
                try:
                    _write_snapshot(release, info, data, registry, folder=layout.raw / key, scratch=folder)
                except SurveyFileError:
                    if key == wave:
                        raise
                    # The respondents of another wave cannot be told apart: reported when that wave is ingested.

            with ThreadPoolExecutor(2, thread_name_prefix="mpta-snapshot") as pool:
                list(pool.map(stored, recognition.waves))


def _rows_of_wave(info: FileInfo, parts: Sequence[Path], found: Recognition, code: str | None) -> pl.DataFrame:
    """The rows of a wave from all parts. The types of columns do not depend on how the file was cut into parts."""
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
    small = {pl.Int8, pl.Int16, pl.Int32}
    whole = [name for name, kinds in mixed.items() if kinds <= small]
    wide = [name for name in mixed if name not in text and name not in whole]
    rows = pl.concat(
        frame.with_columns(
            *(number_text(pl.col(name)).alias(name) for name in text if schema[name] != pl.String),
            pl.col(whole).cast(pl.Int32),
            pl.col(wide).cast(pl.Float64),
        )
        for frame, schema in zip(frames, types, strict=True)
    )
    return _narrowed(info, rows)


def _narrowed(info: FileInfo, rows: pl.DataFrame) -> pl.DataFrame:
    """Numbers in their narrowest type: tags or large numbers in another wave of the file made the type wider."""
    schema = rows.schema
    maybe = [v.name for v in info.variables if not v.text and schema[v.name] == pl.String]
    if maybe:
        tagged = rows.select(pl.col(maybe).str.starts_with(".").any()).row(0)
        plain = [name for name, has_tag in zip(maybe, tagged, strict=True) if not has_tag]
        rows = rows.with_columns(pl.col(plain).cast(pl.Float64))
    integers = [name for name, dtype in rows.schema.items() if dtype.is_integer()]
    return shrunk(rows.with_columns(s.shrink_dtype() for s in rows.select(integers)))


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
        "record": registry.record_version(source.codebook),
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
    """Write a wave's snapshot to scratch, check that its respondents have keys, and move it into place as one."""
    wave = release["wave"]
    target = folder / release["sha256"][:12]
    if _usable(target, registry):
        return
    staged = scratch / f"snapshot-{wave}"
    write_parquet(data, staged / DATA)
    write_parquet(_variable_table(info, data, wave, release["release_id"]), staged / VARIABLES_FILE)
    record = {**release, "checksums": {name: checksum(staged / name) for name in (DATA, VARIABLES_FILE)}}
    write_checked_json(record, staged / RELEASE)
    keys = native_keys(_load(staged, wave, registry), info.path)
    told = {"unstable_keys": keys.unstable, "notes": [*release["notes"], *keys.notes]}
    write_checked_json({**record, **told}, staged / RELEASE)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # incomplete, damaged, or made by another record of the source
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
                "value_labels": _value_labels(info),
                "missing_codes": [list(dict.fromkeys([*v.missing, *tags.get(v.name, ())])) for v in info.variables],
            },
            schema=VARIABLES.schema,
        )
    )


def _value_labels(info: FileInfo) -> pl.Series:
    """The value labels of each variable, made in one piece: of many small lists polars makes them ten times slower."""
    flat = [(n, code, text) for n, v in enumerate(info.variables) for code, text in v.value_labels.items()]
    pairs = pl.DataFrame(flat, schema={"n": pl.Int64, "code": pl.String, "label": pl.String}, orient="row")
    lists = pairs.group_by("n").agg(pl.struct("code", "label").alias("labels"))
    every = pl.DataFrame({"n": range(len(info.variables))}, schema={"n": pl.Int64})
    found = every.join(lists, on="n", how="left", maintain_order="left").get_column("labels")
    return found.fill_null(pl.Series([[]], dtype=found.dtype))


def _tags(info: FileInfo, data: pl.DataFrame) -> dict[str, list[str]]:
    """Stata's tags that occur in the data: the metadata lists only those of the rows that were read."""
    schema = data.schema
    columns = [v.name for v in info.variables if not v.text and schema[v.name] == pl.String]
    if info.format == "csv" or not columns:
        return {}
    tag = pl.col(columns)
    found = data.select(tag.filter(tag.str.contains(r"^\.[a-z]$")).unique().sort().implode()).row(0, named=True)
    return {name: list(tags) for name, tags in found.items()}
