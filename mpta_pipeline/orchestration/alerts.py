"""Alerts: report failed checks, failed runs and finished backfills, in the log and to a webhook.

The webhook's address is read from the environment only (`MPTA_ALERT_WEBHOOK`), because it usually contains a key; it is
never logged. If the webhook fails, nothing stops: alerts that it did not accept are sent again at the next tick.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import httpx
import tenacity

# Dagster has no public names for the states of backfills and of check executions.
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

VARIABLE = "MPTA_ALERT_WEBHOOK"
INTERVAL_SECONDS = 60
_MAX_WAITING = 100  # alerts that wait for the webhook; if there are more, the oldest are dropped
_MAX_RECORDS = 500  # runs and backfills examined per tick
_LOOK_BACK_SECONDS = 600
_REMEMBERED = 2000
_OUTCOMES = {
    BulkActionStatus.COMPLETED_SUCCESS: "finished",
    BulkActionStatus.COMPLETED_FAILED: "finished; some of its runs failed",
    BulkActionStatus.CANCELED: "was canceled",
}
_TIMEOUT = httpx.Timeout(10.0)

# httpx logs the address of each request at level INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass
class Position:
    """How far the sensor has read, kept as its cursor.

    Attributes:
        since: Unix time; earlier events are ignored.
        told: Checks, runs and backfills reported since then.
        waiting: Alerts that the webhook has not accepted yet.
        lost: Number of alerts dropped because too many were waiting.
    """

    since: float
    told: list[str] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0

    @classmethod
    def read(cls, cursor: str | None) -> Position | None:
        """Read a cursor; None at the first tick and for a cursor of another format."""
        try:
            return cls(**json.loads(cursor or ""))
        except (ValueError, TypeError):
            return None

    def write(self) -> str:
        """Return it as a cursor."""
        return json.dumps(vars(self))


def collect(
    instance: dg.DagsterInstance, position: Position, checks: Iterable[dg.AssetCheckKey]
) -> list[dict[str, Any]]:
    """The new alerts since `position`, which is advanced."""
    now = time.time()
    found = [*_checks(instance, position, checks), *_runs(instance, position), *_backfills(instance, position)]
    # Look back a little, because an end may be recorded late. Alerts already sent are skipped.
    position.since = max(position.since, now - _LOOK_BACK_SECONDS)
    position.told = position.told[-_REMEMBERED:]
    # A check that ran twice between two ticks with the same result is reported once.
    return list({alert["text"]: alert for alert in found}.values())


def _checks(
    instance: dg.DagsterInstance, position: Position, checks: Iterable[dg.AssetCheckKey]
) -> Iterator[dict[str, Any]]:
    failed = {AssetCheckExecutionRecordStatus.FAILED}
    for key in checks:
        for record in reversed(instance.event_log_storage.get_asset_check_execution_history(key, 50, status=failed)):
            event = record.event.dagster_event if record.event is not None else None
            check = event.event_specific_data if event is not None else None
            name = f"check {record.id}"
            if record.event is None or record.event.timestamp < position.since or name in position.told:
                continue
            position.told.append(name)
            if isinstance(check, dg.AssetCheckEvaluation):
                asset = key.asset_key.to_user_string()
                part = f" [{check.partition}]" if check.partition else ""
                does = "failed" if check.severity == dg.AssetCheckSeverity.ERROR else "warns"
                yield {
                    "kind": "check",
                    "text": f"Check {key.name} of {asset}{part} {does}: {check.description or 'see the UI'}",
                    "asset": asset,
                    "check": key.name,
                    "severity": check.severity.value,
                    "run": record.run_id,
                }


def _runs(instance: dg.DagsterInstance, position: Position) -> Iterator[dict[str, Any]]:
    """Failed runs; a blocking check stops its run before anything is stored."""
    wanted = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(position.since, UTC)
    )
    for record in instance.get_run_records(wanted, limit=_MAX_RECORDS, ascending=True):
        run = record.dagster_run
        if run.run_id in position.told:
            continue
        position.told.append(run.run_id)
        assets = sorted(key.to_user_string() for key in run.asset_selection or ()) or [run.job_name]
        partition = run.tags.get("dagster/partition")
        of = ", ".join(assets) + (f" [{partition}]" if partition else "")
        yield {
            "kind": "run",
            "text": f"Run of {of} failed; the UI shows the reason",
            "assets": assets,
            "run": run.run_id,
        }


def _backfills(instance: dg.DagsterInstance, position: Position) -> Iterator[dict[str, Any]]:
    wanted = BulkActionsFilter(statuses=list(BULK_ACTION_TERMINAL_STATUSES))
    for backfill in instance.get_backfills(filters=wanted, limit=_MAX_RECORDS):
        if _ended(backfill) >= position.since and backfill.backfill_id not in position.told:
            position.told.append(backfill.backfill_id)
            assets = sorted(key.to_user_string() for key in backfill.asset_selection or ())
            outcome = _OUTCOMES.get(backfill.status, backfill.status.value.lower())
            yield {
                "kind": "backfill",
                "text": f"Backfill of {', '.join(assets) or 'a job'}: {outcome}",
                "assets": assets,
                "status": backfill.status.value,
                "backfill": backfill.backfill_id,
            }


def _ended(backfill: PartitionBackfill) -> float:
    return backfill.backfill_end_timestamp or backfill.backfill_timestamp


def deliver(alerts: Sequence[dict[str, Any]], *, address: str, study: str, pause: float = 1.0) -> str | None:
    """Post alerts to a webhook as JSON with a `text` that chat services show; three attempts.

    Returns:
        None if they were accepted, else the reason, without the address.
    """
    text = "\n".join(str(a["text"]) for a in alerts)
    document = {"text": f"mpta, study {study}:\n{text}", "study": study, "alerts": list(alerts)}
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_exponential(multiplier=pause),
        retry=tenacity.retry_if_exception(_worth_another_try),
        reraise=True,
    )
    try:
        retrying(_post, address, document)
    except httpx.HTTPStatusError as failure:
        return f"HTTP status {failure.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as failure:
        return type(failure).__name__
    return None


def _post(address: str, document: dict[str, Any]) -> None:
    httpx.post(address, json=document, timeout=_TIMEOUT).raise_for_status()


def _worth_another_try(failure: BaseException) -> bool:
    if isinstance(failure, httpx.HTTPStatusError):
        return failure.response.status_code >= 500 or failure.response.status_code == httpx.codes.TOO_MANY_REQUESTS
    return isinstance(failure, httpx.TransportError) and not isinstance(failure, httpx.UnsupportedProtocol)


def tick(
    instance: dg.DagsterInstance,
    cursor: str | None,
    checks: Iterable[dg.AssetCheckKey],
    log: logging.Logger,
    *,
    study: str,
    pause: float = 1.0,
) -> tuple[str, int]:
    """Log new alerts and post waiting ones; returns the new cursor and the number of new alerts.

    Events before the first tick are not reported.

    Args:
        instance: The Dagster instance.
        cursor: The cursor that the last tick returned; None at the first.
        checks: Checks to examine.
        log: Logger for the alerts.
        study: Name of the study, for the webhook.
        pause: Seconds before the second attempt at the webhook.
    """
    position = Position.read(cursor)
    if position is None:
        return Position(time.time()).write(), 0
    new = collect(instance, position, checks)
    for alert in new:
        log.warning(str(alert["text"]))
    address = os.environ.get(VARIABLE, "").strip()
    if not address:
        position.waiting = []
        return position.write(), len(new)
    waiting = [*position.waiting, *new]
    position.lost += max(len(waiting) - _MAX_WAITING, 0)
    position.waiting = waiting[-_MAX_WAITING:]
    if position.waiting:
        note = (
            [{"kind": "lost", "text": f"{position.lost} earlier alert(s) could not be sent"}] if position.lost else []
        )
        problem = deliver([*note, *position.waiting], address=address, study=study, pause=pause)
        if problem is None:
            position.waiting, position.lost = [], 0
        else:
            log.warning(
                f"The webhook in {VARIABLE} did not accept {len(position.waiting)} alert(s) ({problem}); "
                "they are sent again at the next tick"
            )
    return position.write(), len(new)


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports failed checks, failed runs and finished backfills in its log and to MPTA_ALERT_WEBHOOK.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Report new alerts; requests no runs."""
    from mpta_pipeline.core.errors import MptaError
    from mpta_pipeline.pipeline.deployment import Deployment

    try:
        study = Deployment.from_env().study.name
    except MptaError:  # an unreadable study must not stop alerts
        study = "unknown"
    repository = context.repository_def
    checks = sorted(repository.asset_graph.asset_check_keys) if repository is not None else []
    cursor, new = tick(context.instance, context.cursor, checks, context.log, study=study)
    context.update_cursor(cursor)
    return dg.SkipReason(f"{new} new alert(s)" if new else "No new alerts.")
