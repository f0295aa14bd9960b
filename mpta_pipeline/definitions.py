"""The definitions that Dagster loads: assets, checks, jobs, schedules, sensors and resources of one deployment."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)

from mpta_pipeline.orchestration import (  # noqa: E402
    alerts,
    automation,
    cluster,
    jobs,
    lane_runs,
    partitions,
    schedules,
    sensors,
)
from mpta_pipeline.orchestration.assets import factory, sources  # noqa: E402
from mpta_pipeline.orchestration.resources import DeploymentResource  # noqa: E402
from mpta_pipeline.pipeline.deployment import Deployment  # noqa: E402


def build(deployment: Deployment) -> dg.Definitions:
    """Definitions of a deployment. Only the study's task names are read now; everything else is read in the runs."""
    by = partitions.definitions(deployment)
    assets: list[Any] = [*sources.specs(by), *factory.build(by), jobs.STORED_DATA]
    scheduled = jobs.jobs(build)
    lanes = {lane.job: lane_runs.job(lane, build) for lane in automation.LANES}
    return dg.Definitions(
        assets=dg.map_asset_specs(partial(schedules.freshness, deployment), assets),
        asset_checks=jobs.CHECKS,
        jobs=[*lanes.values(), *scheduled.values()],
        schedules=schedules.build(deployment, scheduled),
        sensors=[*sensors.sensors(lanes), alerts.alerts],
        resources={"deployment": DeploymentResource(), "cluster": cluster.resource()},
        # One process per run: a step takes .03 s in the run's process and .8 s in a process of its own.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The deployment that the environment names."""
    return build(Deployment.from_env())
