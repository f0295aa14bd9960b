"""Sensors: watch the survey folder and the configuration; evaluate the automation conditions."""

from __future__ import annotations

import json
from collections.abc import Collection

import dagster as dg

from mpta_pipeline.orchestration.source_observations import look
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import forget_departed_waves

# A new wave advances by one stage per tick. A look takes milliseconds, an evaluation one or two seconds.
INTERVAL_SECONDS = 10
_STUDY = "study.yaml"


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads the survey folder and the configuration, adds partitions and reports changed versions.",
)
def sources_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Report new files and settings; the assets' own conditions request what depends on them.

    A problem is logged once, when it appears or changes. While it lasts, each tick without changes names it as part of
    its skip reason. The cursor holds the problems that were logged.
    """
    deployment = Deployment.from_env()
    loaded = _loaded_tasks(context)
    told = _told(context.cursor)
    found = look(deployment, context.instance, loaded, {k: v for k, v in told.items() if k != _STUDY})
    problems = found.catalogue.problems | _not_loaded(loaded, list(deployment.study.tasks))
    for name, problem in problems.items():
        if told.get(name) != problem:
            context.log.warning(f"{name}: {problem}")
    for name in told.keys() - problems.keys():
        context.log.info(f"{name}: no problem any more")
    context.update_cursor(json.dumps(problems))
    forget_departed_waves(deployment)
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = [
        *(dg.AddDynamicPartitionsRequest(name, keys) for name, keys in found.add.items() if keys),
        *(dg.DeleteDynamicPartitionsRequest(name, keys) for name, keys in found.remove.items() if keys),
    ]
    if not requests and not found.events:
        state = f"No changes: {len(found.catalogue.waves)} wave(s), {len(deployment.models)} model(s)."
        unused = [f"{name}: {problem}" for name, problem in problems.items()]
        return dg.SkipReason("\n".join([state, *unused]))
    return dg.SensorResult(dynamic_partitions_requests=requests, asset_events=found.events)


def _told(cursor: str | None) -> dict[str, str]:
    """The problems that earlier ticks have logged, by file or configuration; empty for a cursor that holds none."""
    try:
        stored = json.loads(cursor or "")
    except ValueError:
        return {}
    return {str(name): str(problem) for name, problem in stored.items()} if isinstance(stored, dict) else {}


def _not_loaded(loaded: Collection[str] | None, tasks: Collection[str]) -> dict[str, str]:
    """The problem that study.yaml has other tasks than the definitions that the daemon has loaded, if it has."""
    if loaded is None or set(loaded) == set(tasks):
        return {}
    return {
        _STUDY: f"it has the tasks {', '.join(tasks)}, but {', '.join(loaded)} are loaded. "
        "Reload the code location (in the UI: Deployment, Reload)"
    }


def _loaded_tasks(context: dg.SensorEvaluationContext) -> list[str] | None:
    """The tasks of the definitions that the daemon has loaded; None outside a daemon."""
    if context.repository_def is None:
        return None
    partitions = context.repository_def.asset_graph.get(dg.AssetKey("task_card")).partitions_def
    return [] if partitions is None else list(partitions.get_partition_keys())


_PER_MODEL = dg.AssetSelection.groups("inference", "metrics", "publication")


def _automation(
    name: str, target: dg.AssetSelection, description: str, *, backfills: bool
) -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        name,
        target=target,
        description=description,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=INTERVAL_SECONDS,
        emit_backfills=backfills,
    )


# From survey files to prompts: runs. The backfill daemon checks every 30 s, at the start and the end of each stage, and
# whatever depends on a backfill waits for its end. From responses on: backfills where there are several partitions,
# because only a backfill puts many partitions into one run.
AUTOMATION = [
    _automation(
        "automation_to_prompts",
        dg.AssetSelection.all() - _PER_MODEL,
        "Rebuilds what is out of date from survey files to prompts. Sends no request to a model.",
        backfills=False,
    ),
    _automation(
        "automation_of_models",
        _PER_MODEL,
        "Sends new prompts to the models, then rebuilds estimates, warehouse and report. "
        "Switch it off to decide yourself when requests are sent.",
        backfills=True,
    ),
]

SENSORS = [sources_sensor, *AUTOMATION]
