"""Verify stored data and its consistency. Read-only.

No Dagster here: the nightly job and `mpta check` show the findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl

from mpta_pipeline import harmonize, inference, surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.errors import DamagedError, MptaError
from mpta_pipeline.core.hashing import content_hash, file_sha256
from mpta_pipeline.core.named_sql import quoted
from mpta_pipeline.core.provenance import (
    Node,
    checksum,
    files_of,
    is_whole,
    read_only_copy,
    read_record,
    record_path,
    stored_tables,
)
from mpta_pipeline.core.storage import REPLACED_ESTIMATES, UNREADABLE, listed, read_parquet
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.pipeline import approvals, graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.held_releases import of_wave
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.steps.inference import permitted_prompts
from mpta_pipeline.pipeline.steps.surveys import part_of
from mpta_pipeline.pipeline.stored import made, path_of, reduced
from mpta_pipeline.publication import warehouse

Severity = Literal["error", "decide", "warn"]
_DAMAGED = "is damaged: its bytes are not those that were written"


@dataclass(frozen=True)
class Finding:
    """The result of one check for one subject.

    Attributes:
        check: Name of the check, a key of CHECKS.
        subject: What was examined: a partition, a ledger, a file.
        passed: Whether it passed.
        severity: `error`: stored data is wrong. `decide`: nothing goes on by itself until a person decides. `warn`: a
            run, or a person, has something to do.
        message: What is wrong and what to do; empty if it passed.
    """

    check: str
    subject: str
    passed: bool
    severity: Severity = "error"
    message: str = ""


def check_all(deployment: Deployment, only: str | None = None) -> list[Finding]:
    """Run all checks, or one. A check that cannot run counts as failed; the others still run.

    Args:
        deployment: The deployment.
        only: Name of the only check to run.
    """
    found: list[Finding] = []
    for name, (check, _) in CHECKS.items():
        if only in (None, name):
            try:
                found += check(deployment)
            except (
                Exception,
                pl.exceptions.PanicException,
            ) as failure:  # damage can raise anything; the other checks still run
                what = str(failure).splitlines()[0] if isinstance(failure, MptaError) else type(failure).__name__
                found.append(Finding(name, "the check itself", False, "error", f"could not run: {what}"))
    return found


def _partitions(deployment: Deployment) -> Iterator[tuple[Path, tables.Table | None]]:
    """Every stored partition of the study. Partitions of models and tasks that left it do not count."""
    by_name = {t.name: t for t in tables.PUBLISHED}
    unused = warehouse.left_out(deployment.layout)
    for path in listed(deployment.layout.store, "harmonized/*.parquet"):
        yield path, tables.RESPONDENTS
    for path in stored_tables(deployment.layout.store / "tables"):
        if path not in unused:
            table = by_name.get(path.relative_to(deployment.layout.store / "tables").parts[0])
            yield from ((file, table) for file in files_of(path))


def _intact(path: Path) -> pl.DataFrame:
    """A stored partition whose bytes are those that were written. Polars may panic over others, and print that.

    Raises:
        DamagedError: They are not.
    """
    if not is_whole(path):
        raise DamagedError(_DAMAGED, file=path, remedy="delete it, and `mpta run` rebuilds it")
    return read_parquet(path)


def _subject(deployment: Deployment, path: Path) -> str:
    return str(path.relative_to(deployment.layout.store)).removesuffix(".parquet")


def _stored_tables(deployment: Deployment) -> Iterator[Finding]:
    """Check columns, types, bounds and keys of every stored partition."""
    for path, table in _partitions(deployment):
        problem = ""
        try:
            frame = _intact(path)
            if table is not None and (lacking := [c for c in table.schema if c not in frame.columns]):
                problem = f"lacks the declared column {lacking[0]}; run `mpta run` with this version"
            elif table is not None:
                table.validate(frame)
        except MptaError as failure:
            problem = failure.problem
        except (OSError, *UNREADABLE) as failure:
            problem = f"cannot be read ({type(failure).__name__}); delete it, and `mpta run` rebuilds it"
        yield Finding("stored_tables", _subject(deployment, path), not problem, "error", problem)


def _records(deployment: Deployment) -> Iterator[Finding]:
    """Compare each partition with its record."""
    for path, _ in _partitions(deployment):
        record, problem = read_record(path), ""
        if record is None:
            problem = "has no record: writing it was interrupted, or the record was damaged; the next run rebuilds it"
        elif not is_whole(path):
            problem = f"{_DAMAGED}; delete it, and `mpta run` rebuilds it"
        else:
            frame = read_parquet(path)
            # A record of an earlier version states no hash of the rows alone.
            changed = record.content not in ("", content_hash(frame))
            if record.rows != frame.height or changed:
                problem = "does not match its record: something else changed it; delete it and run `mpta run`"
        yield Finding(
            "records", _subject(deployment, path), not problem, "warn" if record is None else "error", problem
        )
    for path in listed(deployment.layout.store, f"{REPLACED_ESTIMATES}/**/*.parquet"):
        problem = ""
        try:
            read_only_copy(path)
        except DamagedError as failure:
            problem = str(failure)
        yield Finding("records", _subject(deployment, path), not problem, "error", problem)


def _in_step(deployment: Deployment) -> Iterator[Finding]:
    """Compare what every asset partition was made from with what it would be made from now."""
    for node in graph.nodes(deployment):
        if made(deployment, node) is None:
            yield Finding(
                "in_step", str(node), False, "warn", "has not been made yet; run `mpta run`, or let the daemon make it"
            )
        else:
            behind = not is_current(deployment, node)
            yield Finding(
                "in_step",
                str(node),
                not behind,
                "warn",
                "is out of date; run `mpta run`, or let the daemon rebuild it" if behind else "",
            )


def _waves(deployment: Deployment) -> Iterator[Finding]:
    """Run the quality checks, published marginals included, on the harmonized waves as stored."""
    for wave in deployment.harmonized_waves():
        try:
            frame = _intact(deployment.layout.harmonized(wave))
        except DamagedError as failure:
            yield Finding("waves", wave, False, "error", str(failure))
            continue
        raws = surveys.load_parts(deployment.layout, wave, registry=deployment.sources, in_use=True)
        for raw in raws:
            part = part_of(frame, raw)
            subject = wave if len(raws) == 1 else f"{wave} of {raw.release['file_name']}"
            for check in harmonize.check_wave(part, raw, deployment.crosswalk) if part.height else ():
                severity: Literal["error", "warn"] = "error" if check.severity == "error" else "warn"
                message = "" if check.passed else check.description
                yield Finding("waves", f"{subject}: {check.name}", check.passed, severity, message)


def _releases(deployment: Deployment) -> Iterator[Finding]:
    """Check that no release is held; one that is waits for a person to accept it or to remove its file."""
    for wave, notes in deployment.harmonizing_notes().items():
        held = of_wave(wave, notes)
        for one in held:
            yield Finding("releases", one.subject, False, "decide", one.message)
        if not held:
            yield Finding("releases", wave, True)


def _snapshots(deployment: Deployment) -> Iterator[Finding]:
    """Check that raw snapshots are complete and that the survey files are those that were read."""
    waves = deployment.catalogue().waves
    # A cumulative file contributes to many waves and is hashed once.
    paths = {part.path for file in waves.values() for part in file.parts}
    hashes = {path: file_sha256(Path(path)) for path in paths if Path(path).exists()}
    for wave, file in waves.items():
        for part in file.parts:
            problem = ""
            if hashes.get(part.path, part.sha256) != part.sha256:
                problem = (
                    "is not the file that was read, although its size and time are; `touch` it to have it read again"
                )
            yield Finding("snapshots", f"{wave}: {part.name}", not problem, "warn", problem)
        if made(deployment, Node("raw_wave", wave)) is not None:
            try:
                yield from _completeness(deployment, wave)
            except MptaError as failure:  # damage is found when a snapshot is opened or read
                yield Finding("snapshots", wave, False, "error", str(failure))


def _completeness(deployment: Deployment, wave: str) -> Iterator[Finding]:
    """Compare the rows of a wave's raw snapshots with the number of respondents in their records."""
    for part in surveys.load_parts(deployment.layout, wave, registry=deployment.sources):
        # The whole file: the countries that count are selected from these rows.
        raw = surveys.load_raw(deployment.layout, wave, part.release_id, registry=deployment.sources)
        rows, expected = raw.data().height, raw.release["n_respondents"]
        lost = f"has {rows:,} of {expected:,} rows; delete {raw.folder.name} and run `mpta run`"
        yield Finding("snapshots", raw.release_id, rows == expected, "error", "" if rows == expected else lost)


def _ledgers(deployment: Deployment) -> Iterator[Finding]:
    """Check every line of every ledger against its checksum, and the stored responses against the ledger."""
    for folder in sorted(p for p in deployment.layout.ledger("any").parent.glob("*") if p.is_dir()):
        verdict = inference.verify(folder)
        damaged = "; ".join(verdict.damaged)
        yield Finding(
            "ledgers", f"{folder.name}: {verdict.records:,} records", not damaged, "error", damaged and _lost(damaged)
        )
    for pair in graph.model_tasks(deployment):
        if made(deployment, Node("responses", str(pair))) is not None:
            found = reduced(deployment, "responses", str(pair), lambda part: part.select("request_hash").unique())
            wanted = found["request_hash"].unique()
            settled = Ledger(deployment.layout.ledger(pair.model)).settled(wanted)
            lost = wanted.len() - settled.answered.len() - settled.failed.len()
            problem = f"{lost} answer(s) of the table are not in the ledger and would be requested again"
            message = problem if lost else ""
            yield Finding("ledgers", f"responses|{pair}", not lost, "error", message)


def _lost(damaged: str) -> str:
    return f"{damaged}. The next run requests the damaged answers again; restoring a copy of the file avoids the cost"


def _published(deployment: Deployment) -> Iterator[Finding]:
    """Check that the published DuckDB file has as many rows of each table as the partitions."""
    for node in (Node("warehouse"), Node("report")):
        record, path = made(deployment, node), path_of(deployment, node)
        if record is not None and record.checksum:
            same = checksum(path) == record.checksum
            changed = f"{path.name} was changed or damaged after it was published; delete it and run `mpta run`"
            yield Finding("published", path.name, same, "error", "" if same else changed)
    path = deployment.layout.warehouse
    if not path.exists():
        return
    with duckdb.connect(str(path), read_only=True) as con:
        for table in tables.PUBLISHED:
            stored = sum(_intact(p).height for p in warehouse.files(deployment.layout, table))
            row = con.execute(f"select count(*) from {quoted(table.name)}").fetchone()
            published = 0 if row is None else int(row[0])
            problem = f"{published:,} rows published, {stored:,} stored; `mpta run` rebuilds the warehouse"
            same = published == stored
            yield Finding("published", table.name, same, "warn", "" if same else problem)


def _withdrawn(deployment: Deployment) -> Iterator[Finding]:
    """Check that no respondent who withdrew is in a harmonized wave or among the personas."""
    listed_ids = surveys.load_withdrawals(deployment.layout)
    for path in [*listed(deployment.layout.store, "harmonized/*.parquet"), deployment.layout.table("personas")]:
        if path.exists() and record_path(path).exists():
            frame = _intact(path)
            ids = frame[
                "respondent_id" if "respondent_id" in frame.columns else "persona_id"
            ]  # stored by an earlier version
            there = int(listed_ids.holds(ids).sum())
            message = f"contains {there} respondent(s) who withdrew; run `mpta run`" if there else ""
            yield Finding("withdrawn", _subject(deployment, path), not there, "error", message)


def _policy(deployment: Deployment) -> Iterator[Finding]:
    """Find prompts that wait for a permission or an approval, and answers to prompts that may not be sent any more."""
    for unsent in approvals.unsent(deployment, waiting=True):
        yield Finding("policy", f"approval: {unsent.pair}", False, "warn", unsent.text)
    today = replace(deployment)
    for pair in graph.model_tasks(deployment):
        if (record := made(deployment, Node("responses", str(pair)))) is None:
            continue
        model, task = pair
        waiting = record.notes.get("withheld", 0)
        message = f"{waiting:,} prompt(s) wait: {record.notes.get('withheld_because')}" if waiting else ""
        yield Finding("policy", f"responses|{pair}", not waiting, "warn", message)
        if deployment.model(model).may_receive("local_only") or made(deployment, Node("prompts", task)) is None:
            continue
        closed = pl.concat(
            [rows().filter(pl.col("data_use") != "any").select("prompt_id") for rows in permitted_prompts(today, task)]
        )
        sent = 0 if closed.is_empty() else reduced(deployment, "responses", str(pair), partial(_sent, closed)).height
        message = (
            f"{sent:,} prompt(s) were sent to {model} before surveys.yaml closed their source to it; no more are sent, "
            "and those cannot be recalled"
        )
        yield Finding("policy", f"sent before: {pair}", not sent, "warn", message if sent else "")


def _sent(prompts: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """The responses to some prompts that have a text."""
    answered = responses.filter(pl.col("text").is_not_null()).select("prompt_id")
    return answered.join(prompts, on="prompt_id", how="semi")


CHECKS: dict[str, tuple[Callable[[Deployment], Iterator[Finding]], str]] = {
    "stored_tables": (_stored_tables, "Every stored partition has its declared columns, types, bounds and keys"),
    "records": (_records, "Every partition matches its record"),
    "waves": (_waves, "Harmonized waves as stored pass their quality checks and match published marginals"),
    "releases": (_releases, "The releases that were read are in use; none is held until a person decides"),
    "snapshots": (_snapshots, "Raw snapshots are complete, and the survey files are those that were read"),
    "ledgers": (_ledgers, "Every line of every ledger matches its checksum; every stored response is in its ledger"),
    "published": (_published, "The published DuckDB file has as many rows of each table as the partitions"),
    "in_step": (_in_step, "Every table is up to date"),
    "policy": (
        _policy,
        "No prompt waits for a permission or an approval; none was sent that the current policy keeps on this machine",
    ),
    "withdrawn": (_withdrawn, "No respondent who withdrew is in a stored wave or among the personas"),
}
