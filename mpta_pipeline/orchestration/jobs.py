"""Scheduled jobs: the release watch and the nightly full check as asset checks, the refresh as a job.

The checks belong to assets that no run makes (the survey files, and the stored data as a whole), so that only their
schedules run them: a check of a materialized asset would run with each of its runs.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl

from mpta_pipeline import surveys
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.orchestration.command_runs import Runner, sole_command
from mpta_pipeline.orchestration.metadata import DATA_VERSION, OWNERS, data_version, holds, preview
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.surveys import release_watch

STORED_DATA = dg.AssetSpec(
    "stored_data",
    description="Everything below the data folder: tables, ledgers, snapshots, the published file. "
    "Its checks are the nightly full check; `mpta check` runs the same.",
    group_name="publication",
    owners=OWNERS,
    kinds={"parquet"},
    tags=holds("microdata"),
)


@dg.asset_check(
    asset="survey_file",
    name="newest_release",
    description="The files in use are the newest releases, as far as the sources' addresses show. "
    "Files that may be downloaded are placed in the survey folder; others are reported here.",
)
def newest_release(
    context: dg.AssetCheckExecutionContext, deployment: dg.ResourceParam[Deployment]
) -> dg.AssetCheckResult:
    """Query the addresses; a new release, or an address that no longer answers, is a warning with the remedy."""
    deployment.look()
    used = deployment.in_use()
    findings = release_watch.watch(deployment.sources, deployment.layout, used)
    for found in findings:
        log = context.log.info if found.good else context.log.warning
        log(found.message)
        if found.outcome != "nothing_new":
            for wave in found.waves or (None,):
                observed = dg.AssetObservation("survey_file", partition=wave, metadata=_metadata(found))
                context.instance.report_runless_asset_event(observed)
    removed = deployment.catalogue().removed
    for wave in _confirmed(used, findings):
        # The files are unchanged; the event records that this was confirmed, for the freshness policy.
        context.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "survey_file",
                partition=wave,
                tags={DATA_VERSION: data_version(Node("survey_file", wave), deployment.wave_version(wave), removed)},
                metadata={"release watch": "no newer release, or no address to query"},
            )
        )
    left = [f for f in findings if not f.good]
    shown = pl.DataFrame(
        {
            "source": [f.codebook for f in findings],
            "address": [f.address for f in findings],
            "outcome": [f.outcome.replace("_", " ") for f in findings],
            "message": [f.message for f in findings],
        },
        schema=dict.fromkeys(("source", "address", "outcome", "message"), pl.String),
    )
    return dg.AssetCheckResult(
        passed=not left,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f.message for f in left) or release_watch.summary(findings),
        metadata={"addresses queried": len(findings), "findings": preview(shown, rows=50)},
    )


def _metadata(found: release_watch.WatchResult) -> dict[str, str]:
    shown = {"release watch": found.outcome.replace("_", " "), "what to do": found.message, "address": found.address}
    return shown | {name: str(v) for name, v in (("release", found.release), ("file", found.file)) if v is not None}


def _confirmed(used: dict[str, surveys.InUse], findings: list[release_watch.WatchResult]) -> list[str]:
    """Waves whose source has no new release at any of its addresses."""
    open_ = {f.codebook for f in findings if f.outcome != "nothing_new"}
    return [wave for codebook, what in used.items() if codebook not in open_ for wave in what.waves]


def _stored_check(name: str, description: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset="stored_data", name=name, description=description)
    def check(deployment: dg.ResourceParam[Deployment]) -> dg.AssetCheckResult:
        found = integrity.check_all(deployment, name)
        failed = [f for f in found if not f.passed]
        errors = any(f.severity == "error" for f in failed)
        shown = pl.DataFrame(
            {"subject": [f.subject for f in failed], "what": [f.message for f in failed]},
            schema={"subject": pl.String, "what": pl.String},
        )
        return dg.AssetCheckResult(
            passed=not failed,
            severity=dg.AssetCheckSeverity.ERROR if errors else dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{f.subject}: {f.message}" for f in failed[:5]) or None,
            metadata={"examined": len(found), "failed": len(failed)}
            | ({"what failed": preview(shown, rows=100)} if failed else {}),
        )

    return check


CHECKS = [newest_release, *(_stored_check(name, text) for name, (_, text) in integrity.CHECKS.items())]

RELEASE_WATCH = dg.define_asset_job(
    "release_watch",
    selection=dg.AssetSelection.checks(newest_release),
    description="Queries the sources' addresses for new releases; downloads where permitted, reports the rest.",
)
FULL_CHECK = dg.define_asset_job(
    "full_check",
    selection=dg.AssetSelection.checks_for_assets("stored_data"),
    description="Verifies stored data and its consistency. Read-only.",
)


def refresh(build: Callable[[Deployment], dg.Definitions]) -> dg.JobDefinition:
    """The job that does the same as `mpta run`.

    Args:
        build: Builds the definitions of a deployment, whose assets the job runs.
    """

    @dg.op(description="Reads the sources and rebuilds what is out of date, as `mpta run` does, in separate runs.")
    def bring_up_to_date(context: dg.OpExecutionContext, deployment: dg.ResourceParam[Deployment]) -> None:
        """Rebuild what is out of date; estimates that are up to date are published again, which confirms them."""
        with sole_command(deployment, context.instance):
            runner = Runner(deployment, build(deployment), context.instance, announce=context.log.info)
            outcome = runner.run()
            if "report" not in outcome.made and deployment.layout.report.exists() and not outcome.failures:
                runner.publish_again()
        context.log.info(f"{len(outcome.made)} table(s) rebuilt")
        for name, problem in outcome.problems.items():
            context.log.warning(f"{name}: {problem}")
        if outcome.failures:
            raise dg.Failure(
                description="\n".join(f"{label}: {message}" for label, message in outcome.failures.items()),
                allow_retries=False,
            )

    @dg.job(
        name="refresh",
        description="Brings everything up to date, as `mpta run` does. Not needed where the daemon's automation is on.",
    )
    def job() -> None:
        """A single step, which starts the runs."""
        bring_up_to_date()

    return job


def jobs(build: Callable[[Deployment], dg.Definitions]) -> dict[str, Any]:
    """The jobs by their names under `schedules` in study.yaml."""
    return {"watch": RELEASE_WATCH, "check": FULL_CHECK, "refresh": refresh(build)}
