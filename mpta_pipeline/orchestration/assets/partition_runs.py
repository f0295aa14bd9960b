"""Make several model × task partitions in one run; each one counts as soon as it is made."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.errors import ApprovalError, ConfigError, MptaError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Record
from mpta_pipeline.orchestration import asset_checks
from mpta_pipeline.orchestration.metadata import (
    DATA_VERSION,
    common,
    in_order,
    made_because,
    record_metadata,
    reported_version,
    result,
)
from mpta_pipeline.orchestration.source_observations import price_that_waits
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import Made


def make_partitions(
    context: dg.AssetExecutionContext,
    deployment: Deployment,
    make_all: Callable[[list[ModelTask]], Iterator[tuple[ModelTask, Made | MptaError]]],
    extra: Callable[[Record], dict[str, Any]] = lambda record: {},
    current: Callable[[ModelTask], Record | None] = lambda pair: None,
) -> dg.MaterializeResult[Any]:
    """Make each partition of the run.

    With several partitions each logs its own materialization, so that those made before a failure stay made: Dagster
    counts none of a failed step's partitions otherwise. One that fails does not stop the others; the step fails at the
    end with all messages. Where checks come with a record, they are reported for all partitions together.

    Args:
        context: The run's context.
        deployment: The deployment.
        make_all: Makes the given partitions; yields each with what was made, or the error that stopped it.
        extra: Further metadata of a partition that was made, from its record.
        current: The record of a partition that needs no work. It is left alone: Dagster's own event for it suffices.
    """
    pairs = [ModelTask.parse(key) for key in context.partition_keys]
    if not pairs:
        raise ConfigError(
            "The range of partitions is empty",
            variable="partition range",
            value=str(context.partition_key_range),
            remedy="give its first and its last partition in the order in which the UI lists the asset's partitions",
        )
    asset = context.asset_key.to_user_string()
    kept = {pair: record for pair in pairs if len(pairs) > 1 and (record := current(pair)) is not None}
    records, failures = list(kept.values()), []
    all_checks: list[Any] = []
    only: dg.MaterializeResult[Any] | None = None
    shared = common(deployment, asset)
    for pair, made in make_all([pair for pair in pairs if pair not in kept]):
        if isinstance(made, MptaError):
            if isinstance(made, ApprovalError):
                context.log_event(price_that_waits(pair, made.requests, made.dollars, str(made)))
            if len(pairs) == 1:
                raise made
            context.log.error(f"{pair}: {made}", exc_info=made.__cause__)  # with the trace of an unforeseen error
            failures.append(f"{pair}: {made}")
            continue
        record, checks, because = made
        records.append(record)
        if len(pairs) == 1:
            # Not returned from here: leaving the loop early closes the generator, which takes that for an interrupt.
            only = result(
                deployment,
                record,
                extra=made_because(because) | extra(record),
                checks=_reported(context, asset, checks),
            )
            continue
        all_checks += checks
        shown = in_order(made_because(because) | extra(record), record_metadata(deployment, record) | shared)
        # Twice: for a partition that was made before another failed, and for Dagster's own event at the end, which is
        # the one that the UI shows.
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                partition=str(pair),
                metadata=shown,
                tags={DATA_VERSION: reported_version(deployment, record)},
            )
        )
        context.add_asset_metadata(shown, partition_key=str(pair))
    if only is not None:
        return only
    for pair in kept:
        context.add_asset_metadata(shared, partition_key=str(pair))
    if failures:
        raise dg.Failure(description="\n".join(sorted(failures)), allow_retries=False)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest(*sorted(reported_version(deployment, record) for record in records))),
        check_results=_reported(context, asset, all_checks),
    )


def _reported(
    context: dg.AssetExecutionContext, asset: str, checks: Sequence[CheckResult]
) -> list[dg.AssetCheckResult]:
    """A result for each check of the asset, which Dagster demands of a run that kept every partition, too."""
    return asset_checks.results(asset, checks) if context.selected_asset_check_keys else []
