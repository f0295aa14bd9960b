"""Make the chunks of a large step in jobs of the cluster that `MPTA_CLUSTER` names: submit them and wait.

A job that fails, is killed or is cancelled is no failure of the step, which makes the missing chunks itself. Jobs of a
run that was killed are found by their name and waited for, so that nothing is made twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import dagster as dg

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.pipeline import part_jobs
from mpta_pipeline.pipeline.part_jobs import CLUSTERS, PartJobs, say

FIRST_SECONDS, MOST_SECONDS, GROWTH = 1.0, 30.0, 1.5
"""Seconds between two looks at the jobs, which grow from the first to the most."""
SAID_EVERY_SECONDS = 300.0
MOST_FAILURES = 20
"""Looks in a row that fail before the jobs are given up; with the seconds above, some eight minutes."""


class Engine(Protocol):
    """A cluster's way to run jobs; one object per step."""

    @property
    def output(self) -> str:
        """Where the output of the jobs is, for people."""

    def unfinished(self) -> dict[str, int]:
        """State → number of the step's jobs that wait or run; empty if there are none."""

    def submit(self) -> None:
        """Submit all jobs of the step."""

    def cancel(self) -> None:
        """Cancel the step's jobs that have not ended."""

    def failures(self) -> list[str]:
        """What the cluster says of jobs that failed."""


Open = Callable[[PartJobs, dg.AssetExecutionContext], AbstractContextManager[Engine]]


def _open(jobs: PartJobs, context: dg.AssetExecutionContext) -> AbstractContextManager[Engine]:
    kind = part_jobs.cluster()
    if kind == "slurm":
        from mpta_pipeline.orchestration import slurm_part_jobs

        return slurm_part_jobs.opened(jobs)
    if kind == "ray":
        from mpta_pipeline.orchestration import ray_part_jobs

        return ray_part_jobs.opened(jobs, context.instance)
    from mpta_pipeline.orchestration import kubernetes_part_jobs

    return kubernetes_part_jobs.opened(jobs, context.instance, context.run)


@contextmanager
def on_cluster(context: dg.AssetExecutionContext, opened: Open = _open) -> Iterator[None]:
    """Cut large steps of this context into jobs, if a cluster is configured; else nothing changes.

    Args:
        context: The run's context, whose log has what becomes of the jobs.
        opened: Opens the engine of a step.
    """
    kind = part_jobs.cluster()
    if kind is None:
        yield
        return

    def log(text: str, warning: bool) -> None:
        (context.log.warning if warning else context.log.info)(text)

    def submit(jobs: PartJobs) -> None:
        run(jobs, CLUSTERS[kind], lambda: opened(jobs, context))

    with part_jobs.heard_by(log), part_jobs.submitted_by(submit):
        yield


def run(jobs: PartJobs, cluster: str, opened: Callable[[], AbstractContextManager[Engine]]) -> None:
    """Submit the jobs of a step, or find those of a run that was killed, and wait until they have ended.

    If they cannot be submitted or seen, a warning says so and the step goes on by itself. A run that is cancelled
    cancels its jobs.

    Args:
        jobs: The step and its jobs.
        cluster: Name of the cluster, for messages.
        opened: Opens the engine.
    """
    try:
        with opened() as engine:
            if found := engine.unfinished():
                say(f"{jobs.label}: jobs of an earlier run make its chunks on {cluster} ({_counts(found)})")
            else:
                engine.submit()
                what = f"{jobs.n} jobs on {cluster} make {jobs.chunks:,} chunks"
                say(f"{jobs.label}: {what} ({jobs.name}; output: {engine.output})")
            try:
                _wait(jobs, cluster, engine)
            except BaseException as ended:
                # Also if the cluster does not answer: what is cancelled is not made beside this process.
                _cancel(jobs, engine)
                if not isinstance(ended, _LostError):
                    raise
                say(f"{jobs.label}: {ended}", warning=True)
                return
            for failure in engine.failures():
                say(f"{jobs.label}: {failure}", warning=True)
    except MptaError:  # a configuration that cannot be used
        raise
    except Exception as failure:  # whatever a client of a cluster raises
        why = str(failure).strip() or type(failure).__name__
        say(f"{jobs.label}: {cluster} runs no jobs for it, this process makes its chunks: {why}", warning=True)


class _LostError(Exception):
    """The cluster does not answer."""


def _wait(jobs: PartJobs, cluster: str, engine: Engine) -> None:
    began = said = time.monotonic()
    seconds, failed = FIRST_SECONDS, 0
    while True:
        try:
            left = engine.unfinished()
            failed = 0
        except Exception as failure:
            failed += 1
            if failed == MOST_FAILURES:
                raise _LostError(
                    f"{cluster} does not answer about its jobs, this process makes what they left: {failure}"
                ) from failure
            left = {"unknown": jobs.n}
        if not left:
            return
        if time.monotonic() - said >= SAID_EVERY_SECONDS:
            said = time.monotonic()
            say(f"{jobs.label}: {_counts(left)}, after {(said - began) / 60:.0f} min")
        time.sleep(seconds)
        seconds = min(seconds * GROWTH, MOST_SECONDS)


def _cancel(jobs: PartJobs, engine: Engine) -> None:
    try:
        engine.cancel()
    except Exception as failure:
        say(f"{jobs.label}: its jobs ({jobs.name}) could not be cancelled: {failure}", warning=True)


def _counts(states: dict[str, int]) -> str:
    return ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
