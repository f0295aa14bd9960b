"""Jobs for parts of a step on Ray: one job per part, with the environment and the share of `RayRunLauncher`."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster_ray import RayRunLauncher
from dagster_ray.utils import resolve_env_vars_list

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.pipeline.part_jobs import PartJobs

_KEY = "mpta/parts"


@dataclass(frozen=True)
class RayJobs:
    """The jobs of a step.

    Attributes:
        jobs: The step and its jobs.
        launcher: The run launcher, which has the cluster's address and what its jobs need.
        client: Ray's client of jobs.
    """

    jobs: PartJobs
    launcher: Any
    client: Any

    @property
    def output(self) -> str:
        """Where the output of the jobs is."""
        return f"{self.launcher.address}, jobs {self.jobs.name}-…"

    def _ours(self) -> list[Any]:
        return [job for job in self.client.list_jobs() if (job.metadata or {}).get(_KEY) == self.jobs.name]

    def unfinished(self) -> dict[str, int]:
        """State → number of the jobs that have not ended."""
        return dict(Counter(job.status.lower() for job in self._ours() if not job.status.is_terminal()))

    def submit(self) -> None:
        """Submit a job per part."""
        launcher, attempt = self.launcher, uuid.uuid4().hex[:6]
        given = dict(launcher.runtime_env or {})
        variables = dict(given.get("env_vars", {})) | resolve_env_vars_list(launcher.env_vars or [])
        for part in range(1, self.jobs.n + 1):
            self.client.submit_job(
                entrypoint=f"python -m mpta_pipeline.cli {self.jobs.command(str(part))}",
                submission_id=f"{self.jobs.name}-{part}-{attempt}",
                runtime_env=given | {"env_vars": variables},  # Ray changes what it is given
                metadata={_KEY: self.jobs.name},
                entrypoint_num_cpus=launcher.num_cpus,
                entrypoint_memory=launcher.memory,
                entrypoint_resources=launcher.resources,
            )

    def cancel(self) -> None:
        """Stop the jobs that have not ended."""
        for job in self._ours():
            if not job.status.is_terminal():
                self.client.stop_job(job.submission_id)

    def failures(self) -> list[str]:
        """The message of each job that did not succeed in its latest attempt."""
        ended = sorted(self._ours(), key=lambda job: job.start_time or 0)
        latest = {job.submission_id.rsplit("-", 2)[1]: job for job in ended}
        return [
            f"job {job.submission_id} on Ray ended as {job.status.lower()}: {(job.message or '').strip()[-300:]}"
            for _, job in sorted(latest.items())
            if job.status != "SUCCEEDED"
        ]


@contextmanager
def opened(jobs: PartJobs, instance: dg.DagsterInstance) -> Iterator[RayJobs]:
    """The jobs of a step on the cluster of the run launcher.

    Raises:
        ConfigError: dagster.yaml names another run launcher.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, RayRunLauncher):
        raise ConfigError(
            "Steps are cut into jobs on Ray, and dagster.yaml has no run launcher for Ray",
            variable="MPTA_CLUSTER",
            value="ray",
            remedy="copy dagster_home/examples/ray/dagster.yaml over dagster_home/dagster.yaml, or unset MPTA_CLUSTER",
        )
    yield RayJobs(jobs, launcher, launcher.client)
