"""Build the assets from the graph: dependencies, partition mappings, code version, checks, metadata."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.inference import run_in_parallel, run_one_by_one
from mpta_pipeline.orchestration import asset_checks
from mpta_pipeline.orchestration.assets.partition_runs import make_partitions
from mpta_pipeline.orchestration.assets.previews import extra_metadata
from mpta_pipeline.orchestration.cluster import response_maker
from mpta_pipeline.orchestration.metadata import (
    OWNERS,
    definition_metadata,
    holds,
    made_because,
    observations,
    published_schema,
    result,
)
from mpta_pipeline.orchestration.part_jobs import on_cluster
from mpta_pipeline.orchestration.progress_log import log_progress
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning, StoredTable
from mpta_pipeline.pipeline.request_options import current_options, queue_of, request_options
from mpta_pipeline.pipeline.run_step import Made, make
from mpta_pipeline.pipeline.staleness import code, current_record


class RequestConfig(dg.Config):
    """Settings in the launchpad of a run that sends requests."""

    retry_errors: bool = Field(False, description="Send requests again that failed for good before.")


def build(partitions: Mapping[Partitioning, dg.PartitionsDefinition | None]) -> list[dg.AssetsDefinition]:
    """All assets of the graph.

    Args:
        partitions: The partitions definition of each way to cut a table into partitions.
    """
    return [_asset(graph.TABLES[name], partitions) for name in graph.assets()]


def _asset(
    table: StoredTable, partitions: Mapping[Partitioning, dg.PartitionsDefinition | None]
) -> dg.AssetsDefinition:
    per_pair = table.partitioning is Partitioning.MODEL_TASK
    decorate: Any = dg.asset(
        name=table.name,
        description=table.meaning,
        partitions_def=partitions[table.partitioning],
        backfill_policy=dg.BackfillPolicy.single_run() if per_pair else None,
        deps=[_dependency(table, parent) for parent in graph.asset_dependencies(table.name)],
        code_version=code(table.name),
        group_name=table.group,
        owners=OWNERS,
        tags=holds(table.holds),
        kinds=set(table.kinds),
        metadata=_definition_metadata(table),
        check_specs=asset_checks.specs(table.name) or None,
    )
    if table.sends_requests:
        made: dg.AssetsDefinition = decorate(_sending(table))
    else:
        made = decorate(_per_pair(table) if per_pair else _one_by_one(table))
    return made


def _dependency(table: StoredTable, parent: str) -> dg.AssetDep:
    """A dependency with its partition mapping: shared dimensions map to the same key, others to all keys."""
    own, theirs = table.partitioning.dimensions, graph.partitioning_of(parent).dimensions
    if set(theirs) <= set(own):
        return dg.AssetDep(parent)  # Dagster's own mapping: the same key, or the key of the shared dimension
    return dg.AssetDep(parent, partition_mapping=dg.AllPartitionMapping())


def _definition_metadata(table: StoredTable) -> dict[str, Any]:
    if table.name == "raw_wave" or (table.is_document and table.name != "warehouse"):
        return {}  # the columns of a raw wave are those of its file; a page has none
    if table.schema is None:
        return {"dagster/column_schema": published_schema()}
    return definition_metadata(table.schema)


def _one_by_one(table: StoredTable) -> Any:
    """A run makes one partition, or the one table."""

    def step(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        partition = context.partition_key if context.has_partition_key else ""
        with on_cluster(context):
            record, checks, because = make(deployment, table.name, partition)
        for observed in observations(record):
            context.log_event(observed)
        return result(
            deployment,
            record,
            extra=made_because(because) | extra_metadata(deployment, record),
            checks=asset_checks.results(table.name, checks),
        )

    return step


def _per_pair(table: StoredTable) -> Any:
    """A run makes the model × task partitions of its range, one after the other."""

    def step(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        def make_one(pair: ModelTask) -> Made:
            return make(deployment, table.name, str(pair))

        with on_cluster(context):
            return make_partitions(
                context,
                deployment,
                partial(run_one_by_one, make=make_one),
                partial(extra_metadata, deployment),
                partial(_current, deployment, table),
            )

    return step


def _sending(table: StoredTable) -> Any:
    """As `_per_pair`, for a table whose step sends requests: one thread per queue of models, or a job on a cluster."""

    def step(
        context: dg.AssetExecutionContext,
        config: RequestConfig,
        deployment: dg.ResourceParam[Deployment],
        cluster: dg.ResourceParam[Any],
    ) -> dg.MaterializeResult:
        options = current_options(
            deployment, log_progress(context.log.info, context.log.warning), retry_errors=config.retry_errors
        )
        with request_options(options):
            return make_partitions(
                context,
                deployment,
                partial(
                    run_in_parallel,
                    make=response_maker(context, deployment, cluster, table.name),
                    stop=options.stop,
                    queue_of=partial(queue_of, deployment),
                ),
                partial(extra_metadata, deployment),
                partial(_current, deployment, table),
            )

    return step


def _current(deployment: Deployment, table: StoredTable, pair: ModelTask) -> Record | None:
    return current_record(deployment, Node(table.name, str(pair))) if table.keep_if_current else None
