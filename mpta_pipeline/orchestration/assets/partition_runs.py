"""Running an asset over several model × task partitions in one run: each one counts as soon as it is made."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from mpta_pipeline.core.errors import ConfigError, MptaError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.orchestration import asset_checks
from mpta_pipeline.orchestration.metadata import DATA_VERSION, common, data_version, record_metadata, result
from mpta_pipeline.pipeline.deployment import Deployment

Made = Record | tuple[Record, Sequence[Any]]


def run_cells(
    context: dg.AssetExecutionContext,
    deployment: Deployment,
    each: Callable[[list[str]], Iterator[tuple[str, Made | MptaError]]],
    extra: Callable[[str, str], dict[str, Any]] = lambda model, task: {},
    standing: Callable[[str, str], Record | None] = lambda model, task: None,
) -> dg.MaterializeResult[Any]:
    """Make each partition of the run.

    With several partitions each logs its own materialization, so that those made before a failure stay made: Dagster
    counts none of a failed step's partitions otherwise. One that fails does not stop the others; the step fails at the
    end with all messages. Where checks come with a record, they are reported for all partitions together.

    Args:
        context: The run's.
        deployment: The deployment.
        each: Makes the given partitions: each with its record, or why it failed.
        extra: Further metadata of a partition that was made.
        standing: A partition that this gives a record of is left as it is: Dagster's own event for it is enough.
    """
    keys = list(context.partition_keys)
    if not keys:
        raise ConfigError(
            "The range of partitions holds none",
            variable="partition range",
            value=str(context.partition_key_range),
            remedy="give its first and its last partition in the order in which `partitions` of the asset lists them",
        )
    asset = context.asset_key.to_user_string()
    kept = {key: record for key in keys if len(keys) > 1 and (record := standing(*_split(key))) is not None}
    records, failures = list(kept.values()), []
    every: list[Any] = []
    only: dg.MaterializeResult[Any] | None = None
    shared, removed = common(deployment, asset), deployment.catalogue().removed
    for key, made in each([key for key in keys if key not in kept]):
        if isinstance(made, MptaError):
            if len(keys) == 1:
                raise made
            context.log.error(f"{key}: {made}", exc_info=made.__cause__)  # the trace, where nobody foresaw it
            failures.append(f"{key}: {made}")
            continue
        record, found = made if isinstance(made, tuple) else (made, [])
        records.append(record)
        if len(keys) == 1:
            # Not returned from here: leaving the loop early closes the generator, which takes that for an interrupt.
            only = result(
                deployment,
                record,
                extra=extra(*_split(key)),
                checks=asset_checks.results(asset, found) if found else None,
            )
            continue
        every += found
        shown = record_metadata(deployment, record) | extra(*_split(key))
        # Twice: for a partition that was made before another failed, and for Dagster's own event at the end, which is
        # the one that the UI shows.
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                partition=key,
                metadata=shared | shown,
                tags={DATA_VERSION: data_version(Node(asset, key), record.version, removed)},
            )
        )
        context.add_asset_metadata(shown, partition_key=key)
    if only is not None:
        return only
    if failures:
        raise dg.Failure(description="\n".join(sorted(failures)), allow_retries=False)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            digest(*sorted(data_version(Node(*r.node.split("|", 1)), r.version, removed) for r in records))
        ),
        metadata=shared,
        check_results=asset_checks.results(asset, every) if every else [],
    )


def _split(key: str) -> tuple[str, str]:
    model, _, task = key.rpartition("|")
    return model, task
