"""The composition root: everything that Dagster loads."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)

from mpta_pipeline.orchestration import alerts, cluster, partitions, schedules, sensors  # noqa: E402
from mpta_pipeline.orchestration import jobs as upkeep  # noqa: E402
from mpta_pipeline.orchestration.assets import (  # noqa: E402
    inference,
    metrics,
    personas,
    publication,
    sources,
    surveys,
    tasks,
)
from mpta_pipeline.orchestration.resources import DeploymentResource  # noqa: E402
from mpta_pipeline.pipeline.deployment import Deployment  # noqa: E402


def build(deployment: Deployment) -> dg.Definitions:
    """Definitions of a deployment. Only the study's task names are needed; everything else is read in the runs."""
    task = partitions.task_partitions(deployment)
    cell = partitions.model_task_partitions(deployment)
    assets: list[Any] = [
        *sources.specs(task),
        *surveys.ASSETS,
        *personas.ASSETS,
        *tasks.build(task),
        *inference.build(cell),
        *metrics.build(cell),
        *publication.ASSETS,
        upkeep.STORED_DATA,
    ]
    jobs = upkeep.jobs(build)
    return dg.Definitions(
        assets=dg.map_asset_specs(partial(schedules.freshness, deployment), assets),
        asset_checks=upkeep.CHECKS,
        jobs=list(jobs.values()),
        schedules=schedules.build(deployment, jobs),
        sensors=[*sensors.SENSORS, alerts.alerts],
        resources={"deployment": DeploymentResource(), "cluster": cluster.resource()},
        # One process a run: a step costs .03 s in process and .8 s in a process of its own.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The deployment that the environment names."""
    return build(Deployment.from_env())
