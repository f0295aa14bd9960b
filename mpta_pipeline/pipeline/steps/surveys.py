"""Steps from survey files to harmonized waves; one partition per wave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.errors import DamagedError, MptaError, SurveyFileError, ValidationError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.pipeline.deployment import WavePart
from mpta_pipeline.pipeline.held_releases import HeldRelease
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.run_step import CORRECT, raise_blocking
from mpta_pipeline.pipeline.step import Output, step


@step("raw_wave")
def raw_wave(inputs: Inputs) -> Output:
    """Read the wave's files into immutable raw snapshots; a file that was read before is not read again."""
    raws = surveys.ingest_parts(
        [surveys.PartFile(Path(p.path), p.countries if p.limited else None) for p in inputs.wave_file.parts],
        inputs.partition,
        inputs.layout,
        inputs.sources,
    )
    reader_notes = {raw.release["file_name"]: raw.release["notes"] for raw in raws if raw.release["notes"]}
    return Output(
        _releases(raws),
        {
            "variables": sum(raw.variables.height for raw in raws),
            "respondents": sum(int(raw.release["n_respondents"]) for raw in raws),
            "told": reader_notes,
        },
    )


def _releases(raws: Sequence[surveys.RawWave]) -> pl.DataFrame:
    """The WAVES rows of releases."""
    names = tables.WAVES.schema.names()
    rows = [{name: raw.release[name] for name in names} for raw in raws]
    return tables.WAVES.conform(pl.DataFrame(rows, schema_overrides=dict(tables.WAVES.schema)))


@step("harmonized_wave")
def harmonized_wave(inputs: Inputs) -> Output:
    """Harmonize a raw wave, part by part; the stored wave is replaced only if no blocking check fails.

    A part that was harmonized before in the same way is taken over as it is. Where one of several parts fails, the
    others go on: for its countries the stored rows stay, and the record says so (`left_out`). Where the checks refuse
    every part, the stored wave stays in use whole; that is a result, not a failure. It is found again when a file, a
    rule or what a person accepted changes.

    Raises:
        ValidationError: A blocking check failed in every part, and no wave is stored.
    """
    wave = inputs.partition
    raws = inputs.snapshots()
    stored = inputs.previous()
    record = inputs.previous_record()
    known: Mapping[str, Any] = {} if record is None else record.notes.get("parts", {})
    files = {part.sha256: part for part in inputs.wave_file.parts}
    frames: list[pl.DataFrame] = []
    checks: list[Any] = []
    parts: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    failures: list[MptaError] = []
    held: dict[str, dict[str, Any]] = {}
    for raw in raws:
        version = _part_version(inputs, raw, files.get(raw.release["sha256"]))
        before = None if stored is None else _rows_of(stored, raw)
        same = known.get(raw.release_id)
        found: list[CheckResult] = []
        try:
            if same is not None and same["version"] == version and stored is not None:
                frame, facts = _taken_over(stored, raw, same["columns"]), dict(same)
                found = [CheckResult(**check) for check in same["checks"]]
            else:
                frame, found = _harmonized(inputs, raw, before, files.get(raw.release["sha256"]))
                file_name, remedy = raw.release["file_name"], _or_accept(raw.release, found)
                raise_blocking(f"Wave {wave}", found, file=file_name, remedy=remedy)
                facts = _facts(frame, raw, inputs.crosswalk) | {"version": version, "checks": [vars(c) for c in found]}
        except MptaError as problem:
            failures.append(problem)
            name = str(raw.release["file_name"])
            left_out[name] = str(problem)
            held[raw.release_id] = _held(raw, before, found)
            one = HeldRelease(wave, held[raw.release_id], str(problem))
            told = f"{one.subject}: {one.message}"
            checks.append(CheckResult("release_in_use", False, "warn", told, held[raw.release_id]))
            if before is not None and len(raws) > 1:  # of its countries what is stored stays
                frames.append(before)
                parts |= {r: known[r] for r in before["release_id"].unique() if r in known}
            continue
        frames.append(frame)
        checks += found
        parts[raw.release_id] = facts | {"warnings": [c.name for c in found if not c.passed]}
    if failures and len(failures) == len(raws):
        if stored is None or not all(isinstance(f, ValidationError | SurveyFileError) for f in failures):
            raise failures[-1]
        frames = [_without_empty(stored)]
        parts = {release: known[release] for release in stored["release_id"].unique() if release in known}
        checks += [CheckResult(**check) for part in parts.values() for check in part["checks"]]
    frame = tables.RESPONDENTS.conform(pl.concat(frames, how="diagonal_relaxed"))
    several = len(parts) > 1
    notes = {
        "columns": sum(1 for c in frame.columns if f"{c}__missing" in frame.columns),
        "weight": " and ".join(sorted({p["weight"] for p in parts.values() if p["weight"]})) or None,
        "warnings": list(dict.fromkeys(w for p in parts.values() for w in p["warnings"])),
        # Columns, or parts of them, that this wave lacks although its files have the answers, with what the file says.
        "set_aside": [f"{p['file']}: {said}" if several else said for p in parts.values() for said in p["set_aside"]],
        "variables_set_aside": sum(p["variables_set_aside"] for p in parts.values()),
        "left_out": left_out,
        "held": held,
        "parts": parts,
    }
    return Output(
        frame,
        notes,
        checks,
        companions={"waves": _releases(_sources_of(frame, raws, inputs))},
        before_storing=lambda: surveys.hold(
            inputs.layout, wave, held.keys() - set(frame["release_id"]), in_use=_countries_by_release(frame)
        ),
    )


def _harmonized(
    inputs: Inputs, raw: surveys.RawWave, before: pl.DataFrame | None, file: WavePart | None
) -> tuple[pl.DataFrame, list[CheckResult]]:
    """A harmonized part, and the results of its checks against the rows stored before."""
    _no_negative_weight(raw)
    frame = harmonize.harmonize(raw, inputs.crosswalk)
    accepted = None if file is None else inputs.accepted(file)
    return frame, list(harmonize.check_wave(frame, raw, inputs.crosswalk, previous=before, accepted=accepted))


def _held(raw: surveys.RawWave, before: pl.DataFrame | None, checks: Sequence[CheckResult]) -> dict[str, Any]:
    """What a person needs to decide on a held release: both releases, what the checks found, and how to accept it."""
    failed = [c for c in checks if not c.passed and c.severity == "error"]
    facts: dict[str, Any] = {
        "file": raw.release["file_name"],
        "held": raw.release_id,
        "respondents held": raw.release["n_respondents"],
        "in use": [] if before is None else before["release_id"].unique().sort().to_list(),
        "respondents in use": 0 if before is None else before.height,
    }
    facts |= {c.name: dict(c.metadata) for c in failed}
    acceptable = failed and not {c.name for c in failed} - harmonize.AGAINST_LAST
    remedy = "correct what the message names; it cannot be accepted as it is"
    return facts | {"how to accept": _acceptance(raw.release) if acceptable else remedy}


def _countries_by_release(frame: pl.DataFrame) -> dict[str, list[str]]:
    """Release → the countries that a harmonized wave has from it."""
    given = frame.group_by("release_id").agg(pl.col("country").unique().sort()).sort("release_id")
    return dict(given.iter_rows())


def _sources_of(frame: pl.DataFrame, raws: Sequence[surveys.RawWave], inputs: Inputs) -> list[surveys.RawWave]:
    """The releases that a harmonized wave's rows come from, which may have been read before the last ones."""
    last = {raw.release_id: raw for raw in raws}
    found = []
    for release, countries in _countries_by_release(frame).items():
        if release in last:
            found.append(last[release])
        else:
            older = inputs.snapshot(release)
            whole = set(older.release["countries"]) <= set(countries)
            found.append(older if whole else surveys.limited(older, countries))
    return found


def _or_accept(release: Mapping[str, Any], checks: Sequence[Any]) -> str:
    """The remedy for a wave that fails a check: a release that rightly changes much can be accepted by its id."""
    if {c.name for c in checks if not c.passed and c.severity == "error"} - harmonize.AGAINST_LAST:
        return CORRECT
    return f"{CORRECT}. If the release is right as it is, {_acceptance(release)}"


def _acceptance(release: Mapping[str, Any]) -> str:
    return (
        f"say why in surveys.yaml: sources: {{{release['codebook']}: "
        f'{{accept: {{"{release["release_id"]}": "why so much may change"}}}}}}'
    )


def _no_negative_weight(raw: surveys.RawWave) -> None:
    """Stop if a weight is negative and no missing code; no table may hold such a weight."""
    wrong = surveys.respondents(raw).filter(pl.col("weight") < 0)["weight"]
    if len(wrong):
        raise SurveyFileError(
            f"{len(wrong):,} respondent(s) have a negative weight",
            file=raw.release["file_name"],
            variable=raw.release["weight_name"],
            value=wrong[0],
            remedy=CORRECT,
        )


def _facts(frame: pl.DataFrame, raw: surveys.RawWave, crosswalk: harmonize.Crosswalk) -> dict[str, Any]:
    """Facts about a harmonized part for the record."""
    aside = harmonize.columns_set_aside(raw, crosswalk)
    return {
        "file": raw.release["file_name"],
        "columns": frame.columns,
        "weight": raw.release["weight_name"],
        "set_aside": harmonize.describe_set_aside(aside),
        "variables_set_aside": len({p.variable for p in aside}),
    }


def _part_version(inputs: Inputs, raw: surveys.RawWave, file: WavePart | None) -> str:
    """Version of everything that a part of a harmonized wave is made from."""
    rules = "" if file is None else inputs.harmonizing_version(file)
    withdrawn = str(raw.release.get("withdrawals", ""))
    return digest(inputs.parents["code"], rules, raw.release_id, " ".join(raw.countries or ()), withdrawn)


def _rows_of(stored: pl.DataFrame, raw: surveys.RawWave) -> pl.DataFrame | None:
    """The stored rows of a part's countries, of its own source if that gave any; None if there are none."""
    rows = stored.filter(pl.col("country").is_in(list(raw.release["countries"])))
    own = rows.filter(pl.col("codebook") == raw.release["codebook"])
    rows = own if own.height else rows
    return _without_empty(rows) if rows.height else None


def _taken_over(stored: pl.DataFrame, raw: surveys.RawWave, columns: Sequence[str]) -> pl.DataFrame:
    """The stored rows of a part, with the columns that it has."""
    return stored.filter(pl.col("release_id") == raw.release_id).select(columns)


def _without_empty(rows: pl.DataFrame) -> pl.DataFrame:
    """Drop the columns that only other parts of the wave have."""
    absent = {
        c
        for c in rows.columns
        if f"{c}__missing" in rows.columns and rows[c].is_null().all() and rows[f"{c}__missing"].is_null().all()
    }
    return rows.drop([name for c in absent for name in (c, f"{c}__missing", f"{c}__code") if name in rows.columns])


def part_of(stored: pl.DataFrame, raw: surveys.RawWave) -> pl.DataFrame:
    """The rows of a harmonized wave that come from one of its files."""
    return _without_empty(stored.filter(pl.col("release_id") == raw.release_id))


@step("survey_changelog")
def survey_changelog(inputs: Inputs) -> Output:
    """List what the wave's releases in use changed compared with those they superseded; empty for first releases."""
    wave = inputs.partition
    older = surveys.previous_releases(inputs.layout, wave)
    frames = [tables.CHANGELOG.empty()]
    damaged: list[str] = []
    for new in inputs.snapshots():
        previous = older.get(str(new.release["sha256"])[:12], [])
        for release, countries in previous:
            try:
                old = inputs.snapshot(release)
                old.verify()
            except DamagedError as failure:  # a superseded release: what it held can no longer be compared
                damaged.append(str(failure))
                continue
            # One file in the place of one: all of both is compared, so that countries that came or went are seen.
            whole = len(previous) == 1 and new.countries is None and set(countries) == set(old.release["countries"])
            pair = (old, new) if whole else (surveys.limited(old, countries), surveys.limited(new, countries))
            frames.append(surveys.diff_releases(*pair))
    names = sorted({release for found in older.values() for release, _ in found})
    frame = tables.CHANGELOG.conform(pl.concat(frames))
    notes = {"previous_release": ", ".join(names) or None} | ({"damaged": damaged} if damaged else {})
    return Output(frame, notes)
