"""Decide into how many jobs of a cluster a large step is cut, and hold what submits them.

Each job makes a part of the step's chunks (`run_step.make_part`, `mpta chunks`). The step itself then finds these
chunks, makes what is missing and replaces the table. Who submits the jobs is set by the orchestration.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from mpta_pipeline.core.chunks import Chunk, chunks_by_inputs
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning
from mpta_pipeline.pipeline.stored import made, path_of

CHUNKS_PER_JOB = 16
"""Chunks of a job by default, about a million prompts: 13 s of building, where a job takes some seconds to start."""
MOST_JOBS = 32
"""Most jobs of one step by default."""
IN_PARTS = ("prompts", "scores")
"""Tables that can be made in parts: they are stored in chunks, and no request is sent for them."""
CLUSTERS = {"slurm": "Slurm", "ray": "Ray", "kubernetes": "Kubernetes"}


def cluster() -> str | None:
    """The cluster that `MPTA_CLUSTER` names; None if it is unset.

    Raises:
        ConfigError: There is no such cluster.
    """
    kind = os.environ.get("MPTA_CLUSTER") or None
    if kind is not None and kind not in CLUSTERS:
        raise ConfigError(
            "There is no such cluster",
            variable="MPTA_CLUSTER",
            value=kind,
            remedy="set it to slurm, ray or kubernetes, or unset it",
        )
    return kind


def cluster_name() -> str:
    """The cluster's name for messages; empty without one."""
    return CLUSTERS.get(cluster() or "", "")


def jobs_of(chunks: int) -> int:
    """The number of jobs for a step that has this many chunks to make; 1 if it makes them itself.

    Raises:
        ConfigError: `MPTA_PARTS` is not a number above 0.
    """
    wanted = os.environ.get("MPTA_PARTS") or "auto"
    if wanted == "auto":
        most = min(chunks // CHUNKS_PER_JOB, MOST_JOBS)
    elif wanted.isdecimal() and int(wanted) > 0:
        most = int(wanted)
    else:
        raise ConfigError(
            "The number of jobs per step cannot be read",
            variable="MPTA_PARTS",
            value=wanted,
            remedy="give a number, 1 for no jobs, or auto",
        )
    return max(1, min(most, chunks))


def expected_jobs(deployment: Deployment, node: Node) -> int:
    """The number of jobs that a step is cut into if all its chunks are made; 1 without a cluster.

    It follows from what is stored: prompts that were never built have no known size, and count as small.
    """
    if node.asset not in IN_PARTS or cluster() is None:
        return 1
    prompts = node if node.asset == "prompts" else Node("prompts", ModelTask.parse(node.partition).task)
    record = made(deployment, prompts)
    return 1 if record is None or not record.chunks else jobs_of(len(record.chunks))


@dataclass(frozen=True)
class PartJobs:
    """A step that is cut into jobs.

    Attributes:
        node: Table and partition.
        n: Number of jobs, and of parts.
        chunks: Number of chunks that are to be made.
        inputs: Digest of all that the table is made from.
    """

    node: Node
    n: int
    chunks: int
    inputs: str

    @property
    def name(self) -> str:
        """The same for the same work, so that a run that was killed finds its jobs again."""
        kind = self.node.asset.replace("_", "-")
        return f"mpta-{kind}-{digest(str(self.node), self.inputs, str(self.n), length=12)}"

    @property
    def label(self) -> str:
        """Table and partition, for messages."""
        return graph.TABLES[self.node.asset].partition_label(self.node.partition)

    def command(self, part: str) -> str:
        """The arguments of `mpta` that make a part, for a shell.

        Args:
            part: Its number, from 1, or what the shell replaces by it.
        """
        given = {"task": self.node.partition}
        if graph.TABLES[self.node.asset].partitioning is Partitioning.MODEL_TASK:
            pair = ModelTask.parse(self.node.partition)
            given = {"task": pair.task, "model": pair.model}
        named = [word for name, value in given.items() for word in (f"--{name}", value)]
        return f"{shlex.join(['chunks', self.node.asset, *named])} --part {part}/{self.n}"


def missing(deployment: Deployment, node: Node, chunks: Sequence[Chunk]) -> int:
    """The number of chunks that are to be made: they are not there, or were made from something else."""
    known = chunks_by_inputs(path_of(deployment, node))
    return sum(chunk.again or not chunk.inputs or (chunk.name, chunk.inputs) not in known for chunk in chunks)


Submit = Callable[[PartJobs], None]
Listener = Callable[[str, bool], None]
"""Called with a line, and whether it is a warning."""

_submit: ContextVar[Submit | None] = ContextVar("part_jobs", default=None)
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("part_jobs_listeners", default=())


@contextmanager
def submitted_by(submit: Submit) -> Iterator[None]:
    """Cut large steps of this context into jobs.

    Args:
        submit: Submits the jobs of a step and waits until they have ended, however they ended.
    """
    token = _submit.set(submit)
    try:
        yield
    finally:
        _submit.reset(token)


def submitter() -> Submit | None:
    """What submits jobs in this context; None if steps are not cut."""
    return _submit.get()


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call `listener`, beside those that are there, with what is said about jobs in this context."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def say(text: str, *, warning: bool = False) -> None:
    """Tell all listeners of this context."""
    for listener in _listeners.get():
        listener(text, warning)
