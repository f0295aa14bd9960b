"""Jobs for parts of a step on Kubernetes: one indexed job, whose pods are those of the run launcher's jobs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import DagsterKubernetesClient
from dagster_k8s.job import construct_dagster_k8s_job

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.pipeline.part_jobs import PartJobs

_LABEL = "mpta/parts"


@dataclass(frozen=True)
class IndexedJob:
    """The indexed job of a step.

    Attributes:
        jobs: The step and its jobs.
        launcher: The run launcher, which has image, volumes, variables and namespace.
        run: The run that the step belongs to.
        batch: Kubernetes' client of jobs.
    """

    jobs: PartJobs
    launcher: Any
    run: dg.DagsterRun
    batch: Any

    @property
    def output(self) -> str:
        """Where the output of the jobs is."""
        return f"kubectl -n {self._namespace} logs -l {_LABEL}={self.jobs.name} --prefix"

    @property
    def _namespace(self) -> str:
        return str(self.launcher.get_container_context_for_run(self.run).namespace)

    def _ours(self) -> list[Any]:
        return list(self.batch.list_namespaced_job(self._namespace, label_selector=f"{_LABEL}={self.jobs.name}").items)

    def unfinished(self) -> dict[str, int]:
        """State → number of pods of the job, if it has not ended."""
        states: dict[str, int] = {}
        for job in self._ours():
            if _ended(job):
                continue
            running = (job.status.ready if job.status.ready is not None else job.status.active) or 0
            done = job.status.succeeded or 0
            waiting = max(0, (job.spec.completions or self.jobs.n) - done - running)
            states |= {state: n for state, n in (("running", running), ("waiting", waiting)) if n} or {"ending": 1}
        return states

    def submit(self) -> None:
        """Create the job."""
        self.batch.create_namespaced_job(self._namespace, self.manifest())

    def manifest(self) -> Any:
        """The job, as the run launcher would make it, with one pod per part."""
        found = self.launcher.get_container_context_for_run(self.run)
        command = self.jobs.command('"$((JOB_COMPLETION_INDEX + 1))"')
        name = f"{self.jobs.name}-{uuid.uuid4().hex[:6]}"
        origin = self.run.job_code_origin
        image = None if origin is None else origin.repository_origin.container_image
        job = construct_dagster_k8s_job(
            job_config=found.get_k8s_job_config(job_image=image, run_launcher=self.launcher),
            args=["sh", "-c", f"exec python -m mpta_pipeline.cli {command}"],
            job_name=name,
            pod_name=name,
            component="parts",
            user_defined_k8s_config=found.run_k8s_config,
            labels={_LABEL: self.jobs.name},
        )
        job.spec.completion_mode = "Indexed"
        job.spec.completions = job.spec.parallelism = self.jobs.n
        # A pod that was evicted is repeated; one that always fails ends the job.
        job.spec.backoff_limit = self.jobs.n
        return job

    def cancel(self) -> None:
        """Delete the job with its pods."""
        for job in self._ours():
            if not _ended(job):
                self.batch.delete_namespaced_job(job.metadata.name, self._namespace, propagation_policy="Foreground")

    def failures(self) -> list[str]:
        """What Kubernetes says of the latest job, if it failed."""
        latest = max(self._ours(), key=lambda job: str(job.metadata.creation_timestamp), default=None)
        failed = [] if latest is None else [c for c in latest.status.conditions or () if c.type == "Failed"]
        return [
            f"job {latest.metadata.name} failed on Kubernetes, {condition.reason}: {condition.message}"
            for condition in failed
            if condition.status == "True" and latest is not None
        ]


def _ended(job: Any) -> bool:
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in job.status.conditions or ())


@contextmanager
def opened(jobs: PartJobs, instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[IndexedJob]:
    """The job of a step in the namespace of the run launcher.

    Raises:
        ConfigError: dagster.yaml names another run launcher.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, K8sRunLauncher):
        raise ConfigError(
            "Steps are cut into jobs on Kubernetes, and dagster.yaml has no run launcher for Kubernetes",
            variable="MPTA_CLUSTER",
            value="kubernetes",
            remedy="copy dagster_home/examples/kubernetes/dagster.yaml over dagster_home/dagster.yaml, or unset "
            "MPTA_CLUSTER",
        )
    # The launcher has read how to reach the cluster.
    yield IndexedJob(jobs, launcher, run, DagsterKubernetesClient.production_client().batch_api)
