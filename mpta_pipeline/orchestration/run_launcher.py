"""Run launcher that detects dead workers.

Dagster's default launcher does not report whether a run is alive. A run that was killed together with its code server
(power, memory, `kill -9`) stays "started" for ever: its assets count as in progress and are never requested again.
"""

from __future__ import annotations

import dagster as dg
from dagster import DefaultRunLauncher

# A launcher is written against these classes; Dagster exports no public names for them.
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value
from grpc import StatusCode  # type: ignore[import-untyped]

from mpta_pipeline.orchestration.command_runs import COMMAND_TAG, PART_OF_TAG, command_is_running
from mpta_pipeline.pipeline.deployment import Deployment

ANSWER_SECONDS = 10

_ALIVE = CheckRunHealthResult(WorkerStatus.RUNNING)


class InsideOtherRuns:
    """Health and cancelling of runs that have no worker of their own, in front of those of a run launcher.

    Run monitoring asks the launcher about every run, and marks one without a worker as failed. A run inside a command
    is alive while a command holds the lock of the data folder, and a run inside another one while that is unfinished.
    """

    _instance: dg.DagsterInstance

    def terminate(self, run_id: str) -> bool:
        """Cancel a run; a run inside another one is cancelled with that."""
        run = self._instance.get_run_by_id(run_id)
        whole = None if run is None or run.is_finished else run.tags.get(PART_OF_TAG)
        return bool(super().terminate(whole or run_id))  # type: ignore[misc]

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the worker of a run is alive."""
        if COMMAND_TAG in run.tags:
            running = command_is_running(Deployment.from_env())
            return _ALIVE if running else _dead("the command that ran this was killed")
        if (whole := run.tags.get(PART_OF_TAG)) is not None:
            of = self._instance.get_run_by_id(whole)
            return _dead("the run that ran this has ended") if of is None or of.is_finished else _ALIVE
        found: CheckRunHealthResult = super().check_run_worker_health(run)  # type: ignore[misc]
        return found


class _WithHealth(DefaultRunLauncher):
    """The default launcher with a health check of the run's process, for Dagster's `run_monitoring`."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: `run_monitoring` may call the health check."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Query the run's code server."""
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return _ALIVE  # started by other means; its state is unknown
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=ANSWER_SECONDS)
        except DagsterUserCodeUnreachableError as failure:
            code = getattr(failure.__cause__, "code", lambda: None)()
            return _dead("its code server is gone") if code == StatusCode.UNAVAILABLE else _ALIVE
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return _ALIVE
        return _dead("its code server does not know it")


class WatchedRunLauncher(InsideOtherRuns, _WithHealth):
    """The launcher of a deployment on one machine."""


def _dead(why: str) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"{why}; answers received so far are kept", transient=True)
