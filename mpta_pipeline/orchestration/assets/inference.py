"""Model answers; one partition a model and task, one run a model."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from mpta_pipeline.core import tables
from mpta_pipeline.inference import RequestProgress, run_in_parallel
from mpta_pipeline.orchestration import automation
from mpta_pipeline.orchestration.assets.partition_runs import run_cells
from mpta_pipeline.orchestration.cluster import asker
from mpta_pipeline.orchestration.metadata import MICRODATA, OWNERS, definition_metadata, preview
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

GROUP = "inference"
LOG_EVERY = 30.0  # seconds


class AskingConfig(dg.Config):
    """What a person can set in the launchpad of a run."""

    retry_errors: bool = Field(False, description="Ask again what failed for good before.")


def build(partitions: dg.MultiPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets over models and tasks."""

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=["prompts", "model_card"],
        code_version=steps.code("responses"),
        group_name=GROUP,
        owners=OWNERS,
        tags=MICRODATA,
        kinds={"parquet"},
        metadata=definition_metadata(tables.RESPONSES),
        automation_condition=automation.ASKED,
    )
    def responses(
        context: dg.AssetExecutionContext,
        config: AskingConfig,
        deployment: dg.ResourceParam[Deployment],
        cluster: dg.ResourceParam[Any],
    ) -> dg.MaterializeResult:
        """What a model answered. Only what its ledger holds no answer to is asked; each answer is kept."""
        how = steps.how_to_ask(
            deployment, _logged(context.log.info, context.log.warning), retry_errors=config.retry_errors
        )
        ask = asker(context, deployment, cluster, how)
        return run_cells(
            context,
            deployment,
            partial(run_in_parallel, make=ask, stop=how.stop, host_of=partial(steps.lane, deployment)),
            lambda model, task: {
                "answers preview": preview(
                    steps.read(deployment, "responses", f"{model}|{task}").select(
                        "prompt_id", "text", "option_logprobs", "finish_reason", "error"
                    )
                )
            },
            partial(steps.answered, deployment),
        )

    return [responses]


def _logged(say: Callable[[str], None], warn: Callable[[str], None]) -> Callable[[RequestProgress], None]:
    """Progress as a line per model and half minute of the run's log; warnings at once, and once."""
    last: dict[str, float] = {}
    warned: set[tuple[str, str]] = set()

    def show(progress: RequestProgress) -> None:
        for warning in progress.warnings:
            if (progress.model, warning) not in warned:
                warned.add((progress.model, warning))
                warn(f"{progress.model}: {warning}")
        if time.monotonic() - last.setdefault(progress.model, time.monotonic()) < LOG_EVERY:
            return
        last[progress.model] = time.monotonic()
        left = progress.remaining_seconds
        say(
            f"{progress.model}: {progress.done:,} of {progress.total:,} answers, {progress.rate:.1f} a second"
            + (f", {progress.errors:,} errors" if progress.errors else "")
            + (f", {progress.spent:.2f} $" if progress.spent else "")
            + ("" if left is None else f", {timedelta(seconds=round(left))} to go")
        )

    return show
