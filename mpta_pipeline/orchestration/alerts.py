"""Alerts: failed checks, failed runs and finished backfills, to the log and to a webhook.

The webhook's address comes from the environment alone (`MPTA_ALERT_WEBHOOK`), because it usually holds a key; it is
never logged. A webhook that fails stops nothing: what it did not take is sent again with the next tick.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import httpx
import tenacity
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, PartitionBackfill

VARIABLE = "MPTA_ALERT_WEBHOOK"
INTERVAL_SECONDS = 60
_KEPT = 100  # alerts that wait for the webhook at most; the oldest go first
_AT_ONCE = 500  # events looked at in a tick
_TIMEOUT = httpx.Timeout(10.0)

# httpx tells each request with its address at level INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass
class Position:
    """How far the sensor has looked, kept as its cursor.

    Attributes:
        event: Storage id of the last event that was looked at.
        since: Unix time from which on runs and backfills count.
        told: Runs and backfills told of since then.
        waiting: Alerts that the webhook has not taken yet.
        lost: Alerts that were dropped because too many waited.
    """

    event: int
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


def start(instance: dg.DagsterInstance) -> Position:
    """The position from which on everything is new: what happened before the first tick is not told."""
    latest = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION), limit=1)
    return Position(latest[0].storage_id if latest else 0, time.time())


def collect(instance: dg.DagsterInstance, position: Position) -> list[dict[str, Any]]:
    """What happened since `position`, which is moved on."""
    now = time.time()
    found = [*_checks(instance, position), *_runs(instance, position), *_backfills(instance, position)]
    # Runs and backfills that end in the second of a tick are looked at twice and told once.
    position.since = max(position.since, now - 10 * INTERVAL_SECONDS)
    position.told = position.told[-1000:]
    return found


def _checks(instance: dg.DagsterInstance, position: Position) -> Iterator[dict[str, Any]]:
    wanted = dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=position.event)
    for record in instance.get_event_records(wanted, limit=_AT_ONCE, ascending=True):
        position.event = record.storage_id
        event = record.event_log_entry.dagster_event
        check = event.event_specific_data if event is not None else None
        if not isinstance(check, dg.AssetCheckEvaluation) or check.passed:
            continue
        asset = check.asset_key.to_user_string() + (f" [{check.partition}]" if check.partition else "")
        severity = "failed" if check.severity == dg.AssetCheckSeverity.ERROR else "warns"
        yield {
            "kind": "check",
            "text": f"Check {check.check_name} of {asset} {severity}: {check.description or 'see the UI'}",
            "asset": check.asset_key.to_user_string(),
            "check": check.check_name,
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
            outcome = backfill.status.value.lower().replace("completed_success", "finished").replace("_", " ")
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
    instance: dg.DagsterInstance, cursor: str | None, log: logging.Logger, *, study: str, pause: float = 1.0
) -> tuple[str, int]:
    """One look: log what is new, post what waits; returns the new cursor and the number of new alerts."""
    position = Position.read(cursor)
    if position is None:
        return start(instance).write(), 0
    new = collect(instance, position)
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
    from mpta_pipeline.errors import MptaError
    from mpta_pipeline.orchestration.project import Project

    try:
        study = Project.from_env().study.name
    except MptaError:  # a study that cannot be read must not keep an alert from being told
        study = "unknown"
    cursor, new = tick(context.instance, context.cursor, context.log, study=study)
    context.update_cursor(cursor)
    return dg.SkipReason(f"{new} new alert(s)" if new else "Nothing to tell.")
