"""Steps from survey files to harmonized waves; one partition per wave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.errors import DamagedError, MptaError, SurveyFileError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.pipeline.deployment import WavePart
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
    names = tables.WAVES.schema.names()
    frame = pl.DataFrame(
        [{name: raw.release[name] for name in names} for raw in raws], schema_overrides=dict(tables.WAVES.schema)
    )
    reader_notes = {raw.release["file_name"]: raw.release["notes"] for raw in raws if raw.release["notes"]}
    return Output(
        tables.WAVES.conform(frame),
        {
            "variables": sum(raw.variables.height for raw in raws),
            "respondents": sum(int(raw.release["n_respondents"]) for raw in raws),
            "told": reader_notes,
        },
    )


@step("harmonized_wave")
def harmonized_wave(inputs: Inputs) -> Output:
    """Harmonize a raw wave, part by part; the stored wave is replaced only if no blocking check fails.

    A part that was harmonized before in the same way is taken over as it is. Where one of several parts fails, the
    others go on: for its countries the stored rows stay, and the record says so (`left_out`).

    Raises:
        ValidationError: A blocking check failed in every part; the wave as it was stays.
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
    failure: MptaError | None = None
    for raw in raws:
        version = _part_version(inputs, raw, files.get(raw.release["sha256"]))
        before = None if stored is None else _rows_of(stored, raw)
        same = known.get(raw.release_id)
        try:
            if same is not None and same["version"] == version and stored is not None:
                frame, facts = _taken_over(stored, raw, same["columns"]), dict(same)
                found = [CheckResult(**check) for check in same["checks"]]
            else:
                _no_negative_weight(raw)
                frame = harmonize.harmonize(raw, inputs.crosswalk)
                file = files.get(raw.release["sha256"])
                found = harmonize.check_wave(
                    frame,
                    raw,
                    inputs.crosswalk,
                    previous=before,
                    accepted=None if file is None else inputs.accepted(file),
                )
                file_name, remedy = raw.release["file_name"], _or_accept(raw.release, found)
                raise_blocking(f"Wave {wave}", found, file=file_name, remedy=remedy)
                facts = _facts(frame, raw, inputs.crosswalk) | {"version": version, "checks": [vars(c) for c in found]}
        except MptaError as problem:
            failure = problem
            name = str(raw.release["file_name"])
            left_out[name] = str(problem)
            told = f"The wave is made without {name}: {problem}"
            checks.append(CheckResult("schema", False, "warn", told, {"file": name}))
            if before is not None and len(raws) > 1:  # of its countries what is stored stays
                frames.append(before)
                parts |= {r: known[r] for r in before["release_id"].unique() if r in known}
            continue
        frames.append(frame)
        checks += found
        parts[raw.release_id] = facts | {"warnings": [c.name for c in found if not c.passed]}
    if failure is not None and len(left_out) == len(raws):
        raise failure
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
        "parts": parts,
    }
    return Output(frame, notes, checks)


def _or_accept(release: Mapping[str, Any], checks: Sequence[Any]) -> str:
    """The remedy for a wave that fails a check: a release that rightly changes much can be accepted by its id."""
    if {c.name for c in checks if not c.passed and c.severity == "error"} - harmonize.AGAINST_LAST:
        return CORRECT
    return (
        f"{CORRECT}. If the release is right as it is, say why in surveys.yaml: sources: {{{release['codebook']}: "
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
