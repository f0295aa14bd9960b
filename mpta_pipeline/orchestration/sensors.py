"""Sensors: watch the survey folder and the configuration; request runs of what is out of date."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping

import dagster as dg

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.orchestration import automation
from mpta_pipeline.orchestration.automation import Lane
from mpta_pipeline.orchestration.event_log import purge_idle_ticks
from mpta_pipeline.orchestration.source_observations import look, prices_that_wait
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import forget_departed_waves

# Dagster's daemon looks every five seconds which sensors are due. A look at what has not changed takes milliseconds.
INTERVAL_SECONDS = 5
ASK_AGAIN_SECONDS = 600
_STUDY = "study.yaml"
_VERSIONS = "versions known to the instance"  # a key of the cursor beside the names of files


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads the survey folder and the configuration, adds partitions and reports changed versions.",
)
def sources_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Report new files and settings; the lanes' sensors request what depends on them.

    A problem is logged once, when it appears or changes. While it lasts, each tick without changes names it as part of
    its skip reason. The cursor holds the problems that were logged, and the versions for which the instance was found
    to know everything; it is asked again after a while, because events can be deleted in the UI.
    """
    deployment = Deployment.from_env()
    loaded = _loaded_tasks(context)
    told = _told(context.cursor)
    turn = f"{int(time.time() // ASK_AGAIN_SECONDS)} "
    known = told.pop(_VERSIONS, "")
    if not known.startswith(turn):
        purge_idle_ticks(context.instance, time.time())
    found = look(
        deployment,
        context.instance,
        loaded,
        {k: v for k, v in told.items() if k != _STUDY},
        known.removeprefix(turn) if known.startswith(turn) else None,
    )
    problems = found.catalogue.problems | _not_loaded(loaded, list(deployment.study.tasks))
    for name, problem in problems.items():
        if told.get(name) != problem:
            context.log.warning(f"{name}: {problem}")
    for name in told.keys() - problems.keys():
        context.log.info(f"{name}: no problem any more")
    state = problems if found.events else problems | {_VERSIONS: turn + found.versions}
    context.update_cursor(json.dumps(state))
    forget_departed_waves(deployment)
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = [
        *(dg.AddDynamicPartitionsRequest(name, keys) for name, keys in found.add.items() if keys),
        *(dg.DeleteDynamicPartitionsRequest(name, keys) for name, keys in found.remove.items() if keys),
    ]
    if not requests and not found.events:
        counted = f"No changes: {len(found.catalogue.waves)} wave(s), {len(deployment.models)} model(s)."
        unused = [f"{name}: {problem}" for name, problem in problems.items()]
        return dg.SkipReason("\n".join([counted, *unused]))
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


def _automation(lane: Lane, of: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor of a lane: requests a run if something is out of date.

    Its cursor holds what it requested last, which it does not request again until something changes, and a stamp of
    what decides: while that is the same, there is nothing to look at.
    """

    @dg.sensor(
        name=lane.name,
        job=of,
        description=lane.description,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=INTERVAL_SECONDS,
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        before = _told(context.cursor)
        try:
            deployment = Deployment.from_env()
            stamp = automation.stamp(deployment, context.instance)
            if stamp == before.get("stamp"):
                return dg.SkipReason(before.get("said", ""))
            found = automation.wanted(deployment, context.instance, lane)
        except MptaError as failure:  # the sources' sensor fails with the same
            return dg.SkipReason(f"Waiting, as the study cannot be read: {failure}")
        said, key = automation.said(found), found.key
        if found.nodes and key == before.get("requested"):
            said = f"Its run has ended and left this as it was; it is not started again by itself.\n{said}"
        waiting = digest(*(f"{d.node} {d.inputs}" for d in found.unapproved))
        prices = [] if waiting == before.get("unapproved", digest()) else list(prices_that_wait(deployment))
        state = {"requested": before.get("requested", ""), "unapproved": waiting}
        if found.nodes and key != before.get("requested"):
            context.log.info(said)
            context.update_cursor(json.dumps(state | {"requested": key}))
            config, tags = automation.run_config(lane, found.nodes), automation.tags(found.nodes)
            return dg.SensorResult(run_requests=[dg.RunRequest(run_config=config, tags=tags)], asset_events=prices)
        context.update_cursor(json.dumps(state | {"stamp": stamp, "said": said}))
        return dg.SensorResult(skip_reason=said, asset_events=prices) if prices else dg.SkipReason(said)

    return tick


def sensors(jobs: Mapping[str, dg.JobDefinition]) -> list[dg.SensorDefinition]:
    """The sensors of the sources and of both lanes.

    Args:
        jobs: The jobs of the lanes, by their names.
    """
    return [sources_sensor, *(_automation(lane, jobs[lane.job]) for lane in automation.LANES)]
