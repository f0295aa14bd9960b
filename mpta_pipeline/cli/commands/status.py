"""`mpta status`: what is stored, what is out of date and why, what waits for a person, what would be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.labels import duration, some
from mpta_pipeline.cli.result import Result

if TYPE_CHECKING:
    from mpta_pipeline.pipeline.deployment import Deployment


@command(
    Group.STUDY,
    examples=[
        "mpta status",
        "mpta status --json  # the same as JSON, for scripts",
    ],
)
def status() -> Result:
    """Show what is stored, what is out of date and why, what waits for you, and what would be sent. Read-only."""
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    result = Result()
    _add_there(result, deployment)
    stale = _add_outdated(result, deployment)
    _add_waiting(result, deployment)
    _add_to_send(result, deployment, prompts_stale="prompts" in stale)
    return result


def _add_there(result: Result, deployment: Deployment) -> None:
    """Add what is stored."""
    from datetime import datetime

    from mpta_pipeline.core.multiverse import is_variant
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.graph import model_tasks
    from mpta_pipeline.pipeline.stored import made

    waves = list(deployment.catalogue().waves)
    result.facts |= {"study": deployment.study.name, "waves": waves, "models": list(deployment.models)}
    rows = {
        table: (record.rows if (record := made(deployment, Node(table))) else None) for table in ("personas", "panel")
    }
    answers = [made(deployment, Node("responses", str(pair))) for pair in model_tasks(deployment)]
    stored = sum(record.rows or 0 for record in answers if record is not None)
    result.facts |= rows | {"responses": stored, "tasks": list(deployment.study.tasks)}
    result.info(f"Study {deployment.study.name}, data in {deployment.layout.root}")
    if not waves:
        result.info(f"  No survey wave yet: put a file into {deployment.layout.surveys}, or run `mpta demo`.")
    else:
        result.info(f"  {len(waves)} wave(s): {some(waves, 6)}")
    if rows["personas"] is not None:
        result.info(f"  {rows['personas']:,} personas, {rows['panel'] or 0:,} of them in the panel")
    tasks = list(deployment.study.own_tasks)
    models = [name for name in deployment.models if not is_variant(name)]
    result.info(f"  {len(tasks)} task(s): {some(tasks, 6)}; {len(models)} model(s): {some(models, 6)}")
    if deployment.configurations:
        result.info(f"  {len(deployment.configurations)} configurations of the multiverse")
    result.info(f"  {stored:,} responses in the tables of this study")
    report = deployment.layout.report
    if report.exists():
        at = datetime.fromtimestamp(report.stat().st_mtime).astimezone()
        result.facts |= {"report": str(report), "published_at": at.isoformat(timespec="seconds")}
        result.info(f"  report of {at:%Y-%m-%d %H:%M}: {report} (`mpta open` shows it)")


def _add_outdated(result: Result, deployment: Deployment) -> set[str]:
    """Add what is out of date and why; returns the tables."""
    from mpta_pipeline.pipeline import status
    from mpta_pipeline.pipeline.steps.tasks import redrawn_arms

    found = status.outdated(deployment)
    rows = [{"table": one.table, "partitions": list(one.partitions), "why": one.reason} for one in found]
    shown = [
        {
            "table": one.table,
            "partitions": some(one.partitions) if any(one.partitions) else "",
            "why": one.reason,
        }
        for one in found
    ]
    result.table("outdated", rows, title="Out of date", shown=shown)
    tables = {one.table for one in found}
    if not found:
        result.info("Everything is up to date.")
    elif follows := [name for name in status.following(tables) if name not in tables]:
        result.info(f"What is made from them follows if their content changes: {', '.join(follows)}.")
    if found:
        result.info("`mpta run`, or a running daemon, brings them up to date.")
    for task, message in redrawn_arms(deployment):
        result.warning(message, subject=task)
    return tables


def _add_waiting(result: Result, deployment: Deployment) -> None:
    """Add what goes on only if a person decides."""
    from mpta_pipeline.pipeline import status

    found = list(status.waiting(deployment))
    result.table("waiting", [vars(one) for one in found], shown=())
    for one in found:
        number = f"{one.requests:,} request(s): " if one.requests and one.what != "approval" else ""
        result.warning(f"{number}{one.message}", subject=f"waits ({one.what}): {one.subject}")
    if not found:
        result.info("Nothing waits for you.")


def _add_to_send(result: Result, deployment: Deployment, *, prompts_stale: bool) -> None:
    """Add what would be sent."""
    from mpta_pipeline.core.errors import MptaError
    from mpta_pipeline.pipeline import status

    rows: list[dict[str, Any]] = []
    for pair, planned in status.to_send(deployment):
        if isinstance(planned, MptaError):
            result.warning(str(planned), subject=pair.label)
        elif planned.calls:
            rows.append(
                {
                    "model": pair.model,
                    "task": pair.task,
                    "requests": planned.calls,
                    "dollars": planned.price,
                    "seconds": planned.seconds,
                }
            )
    shown = [
        row
        | {"dollars": "" if row["dollars"] is None else f"{row['dollars']:.2f}", "seconds": duration(row["seconds"])}
        for row in rows
    ]
    shown = [{("time" if key == "seconds" else key): value for key, value in row.items()} for row in shown]
    result.table("to_send", rows, title="`mpta run` would send", shown=shown)
    if not rows:
        result.info("Every prompt that exists has a response, or may not be sent.")
    if prompts_stale:
        result.info("The prompts are out of date: `mpta run --until prompts` rebuilds them without any request.")
