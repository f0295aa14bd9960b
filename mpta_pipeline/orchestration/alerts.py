"""Alerts: failed checks, failed runs and finished backfills, to the log and to a webhook.

The webhook's address comes from the environment alone (`MPTA_ALERT_WEBHOOK`), because it usually holds a key; it is
never logged. A webhook that fails stops nothing: what it did not take is sent again with the next tick.
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
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

VARIABLE = "MPTA_ALERT_WEBHOOK"
INTERVAL_SECONDS = 60
_KEPT = 100  # alerts that wait for the webhook at most; the oldest go first
_AT_ONCE = 500  # runs and backfills looked at in a tick
_LOOK_BACK_SECONDS = 600
_REMEMBERED = 2000
_OUTCOMES = {
    BulkActionStatus.COMPLETED_SUCCESS: "finished",
    BulkActionStatus.COMPLETED_FAILED: "ended, and some of its runs failed",
    BulkActionStatus.CANCELED: "was canceled",
}
_TIMEOUT = httpx.Timeout(10.0)

# httpx tells each request with its address at level INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass
class Position:
    """How far the sensor has looked, kept as its cursor.

    Attributes:
        since: Unix time from which on something counts.
        told: Checks, runs and backfills told of since then.
        waiting: Alerts that the webhook has not taken yet.
        lost: Alerts that were dropped because too many waited.
    """

    since: float
    told: list[str] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0

    @classmethod
    def read(cls, cursor: str | None) -> Position | None:
        """From a cursor; None at the first tick, or where the cursor is not ours."""
        try:
            return cls(**json.loads(cursor or ""))
        except (ValueError, TypeError):
            return None

    def write(self) -> str:
        """As a cursor."""
        return json.dumps(vars(self))


def collect(
    instance: dg.DagsterInstance, position: Position, checks: Iterable[dg.AssetCheckKey]
) -> list[dict[str, Any]]:
    """What happened since `position`, which is moved on."""
    now = time.time()
    found = [*_checks(instance, position, checks), *_runs(instance, position), *_backfills(instance, position)]
    # Some time back, because an end may be recorded a little after it: what was told of is not told again.
    position.since = max(position.since, now - _LOOK_BACK_SECONDS)
    position.told = position.told[-_REMEMBERED:]
    # A check that ran twice between two ticks and says the same is told once.
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
    """Failed runs: a check that blocks stops its run before anything is stored."""
    wanted = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(position.since, UTC)
    )
    for record in instance.get_run_records(wanted, limit=_AT_ONCE, ascending=True):
        run = record.dagster_run
        if run.run_id in position.told:
            continue
        position.told.append(run.run_id)
        assets = sorted(key.to_user_string() for key in run.asset_selection or ()) or [run.job_name]
        partition = run.tags.get("dagster/partition")
        of = ", ".join(assets) + (f" [{partition}]" if partition else "")
        yield {"kind": "run", "text": f"Run of {of} failed; the UI says why", "assets": assets, "run": run.run_id}


def _backfills(instance: dg.DagsterInstance, position: Position) -> Iterator[dict[str, Any]]:
    wanted = BulkActionsFilter(statuses=list(BULK_ACTION_TERMINAL_STATUSES))
    for backfill in instance.get_backfills(filters=wanted, limit=_AT_ONCE):
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
    """Post alerts to a webhook, as JSON with a `text` that chat services show; tried three times.

    Returns:
        Null when they were taken, else why not, without the address.
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
        return f"it answers {failure.response.status_code}"
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
    """One look: log what is new, post what waits; returns the new cursor and the number of new alerts.

    What happened before the first tick is not told.

    Args:
        instance: The Dagster instance.
        cursor: What the last tick returned; null at the first.
        checks: Checks to look at.
        log: Where alerts are logged.
        study: Name of the study, for the webhook.
        pause: Seconds before a second try at the webhook.
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
    position.lost += max(len(waiting) - _KEPT, 0)
    position.waiting = waiting[-_KEPT:]
    if position.waiting:
        note = (
            [{"kind": "lost", "text": f"{position.lost} earlier alert(s) could not be sent"}] if position.lost else []
        )
        problem = deliver([*note, *position.waiting], address=address, study=study, pause=pause)
        if problem is None:
            position.waiting, position.lost = [], 0
        else:
            log.warning(
                f"The webhook of {VARIABLE} did not take {len(position.waiting)} alert(s) ({problem}); "
                "they are sent again with the next tick"
            )
    return position.write(), len(new)


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of failed checks, failed runs and finished backfills: in its log, and to MPTA_ALERT_WEBHOOK.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Requests nothing; its cursor says how far it has looked."""
    from mpta_pipeline.core.errors import MptaError
    from mpta_pipeline.pipeline.deployment import Deployment

    try:
        study = Deployment.from_env().study.name
    except MptaError:  # a study that cannot be read must not keep an alert from being told
        study = "unknown"
    repository = context.repository_def
    checks = sorted(repository.asset_graph.asset_check_keys) if repository is not None else []
    cursor, new = tick(context.instance, context.cursor, checks, context.log, study=study)
    context.update_cursor(cursor)
    return dg.SkipReason(f"{new} new alert(s)" if new else "Nothing to tell.")
