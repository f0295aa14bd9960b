"""Schedules of the jobs, and freshness policies: when survey files and estimates show as stale."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.pipeline.deployment import Deployment

# Where the study sets no time, the UI shows the schedule with this one, stopped.
_PROPOSED = {"watch": "0 6 * * 1", "check": "0 3 * * *", "refresh": "0 4 * * 0"}
# Assets with a freshness policy: the survey files that waves are read from, and the published estimates.
_WAVES, _FIGURES = ("survey_file",), ("warehouse", "report")


def build(deployment: Deployment, jobs: Mapping[str, Any]) -> list[dg.ScheduleDefinition]:
    """The schedules of the study. Those with a time run; the others can be started in the UI.

    Args:
        deployment: The deployment.
        jobs: Name in study.yaml → job.

    Raises:
        ConfigError: A time is no cron expression, or the time zone is unknown.
    """
    chosen = deployment.study.schedules
    return [_schedule(deployment, name, job, getattr(chosen, name), chosen.timezone) for name, job in jobs.items()]


def _schedule(deployment: Deployment, name: str, job: Any, cron: str | None, timezone: str) -> dg.ScheduleDefinition:
    status = dg.DefaultScheduleStatus.STOPPED if cron is None else dg.DefaultScheduleStatus.RUNNING
    try:
        return dg.ScheduleDefinition(
            name=f"{job.name}_schedule",
            job=job,
            description=f"{job.description} Set its time with `schedules: {name}` in study.yaml.",
            cron_schedule=cron or _PROPOSED[name],
            execution_timezone=timezone,
            default_status=status,
        )
    except (dg.DagsterInvalidDefinitionError, dg.DagsterError) as failure:
        raise ConfigError(
            f"A schedule is not valid: {str(failure).splitlines()[0]}",
            file=deployment.config / "study.yaml",
            variable=f"schedules.{name}",
            value=f"{cron} {timezone}",
            remedy="give a cron expression such as 0 6 * * 1 (Mondays at six), a time zone such as UTC, or null",
        ) from None


def freshness(deployment: Deployment, spec: dg.AssetSpec) -> dg.AssetSpec:
    """Add an asset's freshness policy, if it has one; it warns in the last third of its time.

    Survey files stay fresh while the release watch finds nothing new, estimates while they are rebuilt or confirmed.
    """
    chosen = deployment.study.schedules
    name = spec.key.to_user_string()
    days = chosen.waves_stale_after if name in _WAVES else chosen.figures_stale_after if name in _FIGURES else None
    if days is None:
        return spec
    policy = dg.FreshnessPolicy.time_window(timedelta(days=days), timedelta(days=days) * 2 / 3)
    fresh: dg.AssetSpec = dg.apply_freshness_policy(spec, policy)
    return fresh
