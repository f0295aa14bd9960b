"""Run launcher that detects dead workers.

Dagster's default launcher does not report whether a run is alive. A run that was killed together with its code server
(power, memory, `kill -9`) stays "started" for ever: its assets count as in progress and are never requested again.
"""

from __future__ import annotations

import fcntl

from dagster import DagsterRun, DefaultRunLauncher

# A launcher is written against these classes; Dagster exports no public names for them.
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value
from grpc import StatusCode  # type: ignore[import-untyped]

from mpta_pipeline.core.storage import Layout
from mpta_pipeline.orchestration.command_runs import COMMAND_LOCK, COMMAND_TAG

ANSWER_SECONDS = 10

_ALIVE = CheckRunHealthResult(WorkerStatus.RUNNING)


class WatchedRunLauncher(DefaultRunLauncher):
    """The default launcher with a health check of the run's process, for Dagster's `run_monitoring`."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: `run_monitoring` may call the health check."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Query the run's code server; a run inside a command is alive while a command holds the lock."""
        if COMMAND_TAG in run.tags:
            return _ALIVE if _command_is_running() else _dead("the command that ran this was killed")
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


def _dead(why: str) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"{why}; answers received so far are kept", transient=True)


def _command_is_running() -> bool:
    path = Layout.from_env().root / COMMAND_LOCK
    if not path.exists():
        return False
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
