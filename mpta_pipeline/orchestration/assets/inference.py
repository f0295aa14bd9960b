"""Model answers; one partition a model and task, one run a model."""

from functools import partial
from typing import Any

import dagster as dg

from mpta_pipeline import tables
from mpta_pipeline.orchestration import automation, steps
from mpta_pipeline.orchestration.assets.per_cell import run_cells
from mpta_pipeline.orchestration.cluster import asker
from mpta_pipeline.orchestration.metadata import OWNERS, definition_metadata, preview
from mpta_pipeline.orchestration.project import Project

GROUP = "inference"


def build(partitions: dg.MultiPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets over models and tasks."""

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=["prompts", "model_card"],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"parquet"},
        metadata=definition_metadata(tables.RESPONSES),
        automation_condition=automation.FIRST_IN_RUN,
    )
    def responses(
        context: dg.AssetExecutionContext, project: dg.ResourceParam[Project], cluster: dg.ResourceParam[Any]
    ) -> dg.MaterializeResult:
        """What a model answered. Only what its ledger holds no answer to is asked; each answer is kept."""
        return run_cells(
            context,
            asker(context, project, cluster),
            lambda model, task: {
                "answers preview": preview(
                    steps.read(project, "responses", f"{model}|{task}").select(
                        "prompt_id", "text", "option_logprobs", "finish_reason", "error"
                    )
                )
            },
            partial(steps.answered, project),
        )

    return [responses]
