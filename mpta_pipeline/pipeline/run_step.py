"""Run one step: note its parents' versions, hand over its inputs, check the result and store it with its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from mpta_pipeline import surveys
from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.chunks import discard_unused, use_chunks, write_chunks
from mpta_pipeline.core.errors import ConfigError, MptaError, ValidationError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.provenance import Node, Record, checksum, discard, store, write_record
from mpta_pipeline.core.storage import at_work
from mpta_pipeline.pipeline import graph, part_jobs, step_progress
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.staleness import inputs_digest, is_current, parents, reasons
from mpta_pipeline.pipeline.step import Output, step_of
from mpta_pipeline.pipeline.stored import INTO_CHUNKS, made, path_of

CORRECT = "correct what the check names; the table as it was stored before stays in use"


class Made(NamedTuple):
    """What a step made: the record of the stored table, the results of its checks, and why it was made."""

    record: Record
    checks: Sequence[CheckResult]
    because: Sequence[str] = ()


@dataclass(frozen=True)
class _Start:
    """The state when a step began: versions of everything its table is made from, and the list of withdrawals."""

    parents: Mapping[str, str]
    withdrawals: str


_running: ContextVar[bool] = ContextVar("running", default=False)


def make(deployment: Deployment, table: str, partition: str = "") -> Made:
    """Make a partition of a table: run its step, check what it made, store it.

    The parents' versions are taken before the step reads anything, and the record names these versions. A parent that
    changes while the step works thereby leaves the table out of date; versions taken at the end would hide the change
    for good. A withdrawal waits for the step, and the step for a withdrawal (`storage.at_work`).

    Raises:
        ValidationError: A blocking check failed; the table as it was stored before stays.
        ConfigError: An input has not been made yet, or a respondent withdrew meanwhile.
    """
    made_now = _make(deployment, Node(table, partition))
    if made_now is None:
        raise ConfigError(
            f"There is nothing to store in {table}",
            variable="partition",
            value=partition,
            remedy="none is needed: what reads this table does without it",
        )
    return made_now


def make_part(deployment: Deployment, table: str, partition: str, part: int, of: int) -> tuple[int, int]:
    """Make some chunks of a large table and leave the table as it is; `make` then uses them and makes what is missing.

    Several processes may make the parts of a table at the same time.

    Args:
        deployment: The deployment.
        table: A table that is stored in chunks and for which no request is sent.
        partition: Its partition.
        part: Number of the part, from 1.
        of: Number of parts.

    Returns:
        The number of chunks of the part, and how many of them were made.
    """
    node = Node(table, partition)
    if graph.TABLES[table].sends_requests:
        raise ValueError(f"{table} cannot be made in parts: one process at a time writes a model's ledger")
    with at_work(deployment.layout):
        start = _Start(parents(deployment, node), surveys.load_withdrawals(deployment.layout).version)
        inputs = Inputs(deployment, node, lambda wanted: _on_demand(deployment, wanted), start.parents)
        output = step_of(table)(inputs)
        path = path_of(deployment, node)
        known = inputs.previous_chunks()
        with output.needs:
            mine = output.chunks[part - 1 :: of]
            for _ in write_chunks(path, node, mine):
                pass
        try:
            _nobody_withdrew(deployment, start)
        except ConfigError:
            discard_unused(path)
            raise
    return len(mine), sum((chunk.name, chunk.inputs) not in known for chunk in mine)


def _make(deployment: Deployment, node: Node) -> Made | None:
    with step_progress.reported(node):
        made_now, jobs = _attempt(deployment, node)
        if jobs is None:
            return made_now
        # The lock is free meanwhile: jobs may wait for hours in a queue, and a withdrawal must not wait for them.
        jobs.submit(jobs.of)
        return _attempt(deployment, node, jobs.of)[0]


@dataclass(frozen=True)
class _Cut:
    """A step that is cut into jobs, and what submits them."""

    of: part_jobs.PartJobs
    submit: part_jobs.Submit


def _attempt(
    deployment: Deployment, node: Node, ended: part_jobs.PartJobs | None = None
) -> tuple[Made | None, _Cut | None]:
    """Make a partition, or find that jobs of a cluster should make its chunks first.

    Args:
        deployment: The deployment.
        node: Table and partition.
        ended: The jobs that made its chunks, after which this process makes what is missing.
    """
    with nullcontext() if _running.get() else at_work(deployment.layout):
        submit = None if _running.get() or node.asset not in part_jobs.IN_PARTS else part_jobs.submitter()
        token = _running.set(True)
        try:
            start = _Start(parents(deployment, node), surveys.load_withdrawals(deployment.layout).version)
            before = made(deployment, node)
            because = reasons(None if before is None else before.parents, start.parents)
            whole = before is not None and not before.chunks
            inputs = Inputs(deployment, node, lambda wanted: _on_demand(deployment, wanted), start.parents)
            output = step_of(node.asset)(inputs)
            if submit is not None and output.chunks:
                left = part_jobs.missing(deployment, node, output.chunks)
                if ended is not None:
                    _say_what_jobs_made(ended, left)
                elif (n := part_jobs.jobs_of(left)) > 1:
                    output.needs.close()
                    cut = part_jobs.PartJobs(node, n, left, inputs_digest(start.parents))
                    return None, _Cut(cut, submit)
            now = _keep(deployment, node, start, output)
            if now is not None and whole and now.record.chunks:
                because = [*because, INTO_CHUNKS]
            return None if now is None else now._replace(because=because), None
        finally:
            _running.reset(token)


def _say_what_jobs_made(jobs: part_jobs.PartJobs, left: int) -> None:
    if not left:
        part_jobs.say(f"{jobs.label}: the jobs made all {jobs.chunks:,} chunks")
        return
    text = f"{jobs.label}: the jobs left {left:,} of {jobs.chunks:,} chunks, which this process makes now"
    if left >= jobs.chunks:
        text += (
            "; see the jobs' output, and whether the nodes have the same version of mpta, of polars and of the "
            "configuration"
        )
    part_jobs.say(text, warning=True)


def _on_demand(deployment: Deployment, node: Node) -> None:
    """Make a table that has no asset of its own, if it is out of date; where there is none any more, none stays."""
    if not is_current(deployment, node) and _make(deployment, node) is None:
        discard(path_of(deployment, node))


def _keep(deployment: Deployment, node: Node, start: _Start, output: Output) -> Made | None:
    """Store what a step made, unless a blocking check fails or somebody withdrew since it began."""
    if output.frame is None and output.publish is None and not output.chunks:
        return None
    if output.chunks:
        with output.needs:
            return _keep_chunks(deployment, node, start, output)
    declared = graph.TABLES[node.asset]
    raise_blocking(declared.partition_label(node.partition), output.checks)
    _nobody_withdrew(deployment, start)
    if output.before_storing is not None:
        output.before_storing()
    stored_with_it = {name for name in graph.companions(node.asset) if not graph.TABLES[name].on_demand}
    if stored_with_it != set(output.companions):  # one that is not there would keep its owner out of date forever
        raise ValueError(f"the step of {node} must give {sorted(stored_with_it)}, and gave {sorted(output.companions)}")
    # Companions first: the owner's record states their versions too, and a run may be killed between two files.
    for name, frame in output.companions.items():
        companion = Node(name, node.partition)
        store(frame, path_of(deployment, companion), companion, start.parents)
    if output.publish is not None:
        path = output.publish()
        _nobody_withdrew(deployment, start)
        version = digest("".join(sorted(start.parents.values())))
        record = Record(str(node), version, None, start.parents, output.notes, checksum(path))
        return Made(write_record(path, record), output.checks)
    assert output.frame is not None
    beside = _versions_beside(deployment, node)
    path = path_of(deployment, node)
    record = store(output.frame, path, node, start.parents, notes=output.notes, beside=beside)
    return Made(record, output.checks)


def _keep_chunks(deployment: Deployment, node: Node, start: _Start, output: Output) -> Made:
    """Make and write the chunks whose inputs changed, and use them if the checks pass; else the old ones stay in use.

    A run that is killed leaves the chunks that it has written, and the next one does not make them again.
    """
    declared, path = graph.TABLES[node.asset], path_of(deployment, node)
    assert declared.schema is not None and output.summary is not None
    try:
        chunks = list(write_chunks(path, node, output.chunks))
        notes, checks = output.summary(chunks)
        raise_blocking(declared.partition_label(node.partition), checks)
        _nobody_withdrew(deployment, start)
    except MptaError:  # the new chunks may hold what must not be stored
        discard_unused(path)
        raise
    if output.before_storing is not None:
        output.before_storing()
    beside = _versions_beside(deployment, node)
    key = declared.schema.key
    record = use_chunks(path, node, start.parents, chunks, sorted_by=key, notes=notes, beside=beside)
    return Made(record, checks)


def _versions_beside(deployment: Deployment, node: Node) -> list[str]:
    """Versions of a table's companions, which count in its own version."""
    keys = {name: graph.matching(node, graph.TABLES[name].partitioning, ()) for name in graph.companions(node.asset)}
    records = [made(deployment, Node(name, key)) for name, found in keys.items() for key in found]
    return [record.version for record in records if record is not None]


def _nobody_withdrew(deployment: Deployment, start: _Start) -> None:
    """Stop if a respondent withdrew since the step began, on another machine: what it read may hold their answers.

    Raises:
        ConfigError: Somebody did; nothing is stored.
    """
    if surveys.load_withdrawals(deployment.layout).version != start.withdrawals:
        raise ConfigError(
            "A respondent withdrew while this table was being made; nothing was stored",
            remedy="run it again: everything is then read without that respondent",
        )


def raise_blocking(what: str, checks: Sequence[CheckResult], file: str | None = None, remedy: str = CORRECT) -> None:
    """Stop before a stored table is replaced by one that fails a blocking check.

    Raises:
        ValidationError: With every check that failed.
    """
    failed = [c for c in checks if not c.passed and c.severity == "error"]
    if failed:
        raise ValidationError(
            f"{what} fails {len(failed)} blocking check(s): "
            + "; ".join(f"{c.name}: {c.description} {dict(c.metadata) or ''}".strip() for c in failed),
            file=file,
            remedy=remedy,
        )
