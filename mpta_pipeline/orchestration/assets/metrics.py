"""From answers to figures; one partition a model and task, and one table that compares the models."""

from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from mpta_pipeline.core import tables
from mpta_pipeline.inference import one_by_one
from mpta_pipeline.orchestration import asset_checks, automation
from mpta_pipeline.orchestration.assets.partition_runs import run_cells
from mpta_pipeline.orchestration.metadata import AGGREGATES, MICRODATA, OWNERS, definition_metadata, preview, result
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

GROUP = "metrics"


def build(partitions: dg.MultiPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets over models and tasks."""

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=steps.code("scores"),
        group_name=GROUP,
        owners=OWNERS,
        tags=MICRODATA,
        kinds={"parquet", "polars"},
        deps=["responses", "prompts", "items"],
        metadata=definition_metadata(tables.SCORES),
        automation_condition=automation.SCORED,
        check_specs=asset_checks.specs("scores"),
    )
    def scores(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        """One row an answer: option picked against the answer key, with its status; nothing is dropped."""
        return run_cells(
            context,
            deployment,
            partial(one_by_one, make=partial(steps.make_scores, deployment)),
            partial(_statuses, deployment),
        )

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=steps.code("subgroup_metrics"),
        group_name=GROUP,
        owners=OWNERS,
        tags=AGGREGATES,
        kinds={"parquet", "polars"},
        deps=[scores, "items", "personas", "figures_card"],
        metadata=definition_metadata(tables.SUBGROUP_METRICS),
        automation_condition=automation.ESTIMATES,
        check_specs=asset_checks.specs("subgroup_metrics"),
    )
    def subgroup_metrics(
        context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.MaterializeResult:
        """Figures by subgroup: estimate, two-way clustered interval, n, baseline, persona effect, verdict."""
        return run_cells(
            context,
            deployment,
            partial(one_by_one, make=partial(steps.make_subgroup_metrics, deployment)),
            lambda model, task: {"figures for everyone": _everyone(deployment, f"{model}|{task}")},
            partial(steps.standing, deployment, "subgroup_metrics"),
        )

    @dg.asset(
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=steps.code("pockets"),
        group_name=GROUP,
        owners=OWNERS,
        tags=AGGREGATES,
        kinds={"parquet", "polars"},
        deps=[scores, "items", "personas", "figures_card"],
        metadata=definition_metadata(tables.POCKETS),
        automation_condition=automation.ESTIMATES,
        check_specs=asset_checks.specs("pockets"),
    )
    def pockets(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        """Subgroups where the model does worse, searched on one half of the data and confirmed on the other."""
        return run_cells(
            context,
            deployment,
            partial(one_by_one, make=partial(steps.make_pockets, deployment)),
            partial(_pockets, deployment),
            partial(steps.standing, deployment, "pockets"),
        )

    @dg.asset(
        code_version=steps.code("model_comparison"),
        group_name=GROUP,
        owners=OWNERS,
        tags=AGGREGATES,
        kinds={"parquet", "polars"},
        deps=[dg.AssetDep(scores, partition_mapping=dg.AllPartitionMapping()), "figures_card", "departure_card"],
        metadata=definition_metadata(tables.MODEL_COMPARISON),
        automation_condition=automation.COMPARE,
        check_specs=asset_checks.specs("model_comparison"),
    )
    def model_comparison(deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        """Paired differences between models on the same prompts, with groups that cannot be told apart."""
        record, found = steps.make_model_comparison(deployment)
        return result(
            deployment,
            record,
            extra={"comparison": preview(steps.read(deployment, "model_comparison"), rows=30)},
            checks=asset_checks.results("model_comparison", found),
        )

    return [scores, subgroup_metrics, pockets, model_comparison]


def _statuses(deployment: Deployment, model: str, task: str) -> dict[str, Any]:
    """What became of the answers under each condition."""
    frame = steps.read(deployment, "scores", f"{model}|{task}")
    counts = frame.group_by("condition", "status").agg(pl.len().alias("answers"), pl.col("score").mean().alias("right"))
    return {"answers by condition": preview(counts.sort("condition", "status"), rows=40)}


def _pockets(deployment: Deployment, model: str, task: str) -> dict[str, Any]:
    """The pockets with the strongest evidence."""
    frame = steps.read(deployment, "pockets", f"{model}|{task}").sort("q_value", "p_value", nulls_last=True)
    shown = (
        "survey",
        "condition",
        "dimensions",
        "subgroup",
        "difference",
        "ci_low",
        "ci_high",
        "q_value",
        "n_personas",
    )
    return {"strongest pockets": preview(frame.select(*shown, "confirmed"), rows=20)}


def _everyone(deployment: Deployment, cell: str) -> dg.MarkdownMetadataValue:
    frame = steps.read(deployment, "subgroup_metrics", cell).filter(pl.col("dimensions") == "all")
    return preview(
        frame.select(
            "survey",
            "metric",
            "condition",
            "estimate",
            "ci_low",
            "ci_high",
            "n_answers",
            "baseline",
            "baseline_estimate",
        ),
        rows=40,
    )
