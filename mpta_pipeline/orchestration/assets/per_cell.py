"""Running an asset over several model × task partitions in one run: each one counts as soon as it is made."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from mpta_pipeline.errors import MptaError
from mpta_pipeline.hashing import digest
from mpta_pipeline.orchestration.metadata import record_metadata, result
from mpta_pipeline.provenance import Record


def run_cells(
    context: dg.AssetExecutionContext,
    make: Callable[[str, str], Record],
    extra: Callable[[str, str], dict[str, Any]] = lambda model, task: {},
) -> dg.MaterializeResult[Any]:
    """Make each partition of the run, in the order of its keys.

    With several partitions each logs its own materialization, so that those made before a failure stay made: Dagster
    counts none of a failed step's partitions otherwise. One that fails does not stop the others; the step fails at the
    end with all messages.
    """
    keys = list(context.partition_keys)
    if len(keys) == 1:
        model, task = _split(keys[0])
        return result(make(model, task), extra=extra(model, task))
    made, failures = [], []
    for key in keys:
        model, task = _split(key)
        try:
            record = make(model, task)
        except MptaError as failure:
            context.log.error(f"{key}: {failure}")
            failures.append(f"{key}: {failure}")
            continue
        made.append(record)
        context.log_event(
            dg.AssetMaterialization(
                context.asset_key,
                partition=key,
                metadata=record_metadata(record) | extra(model, task),
                tags={"dagster/data_version": record.version},
            )
        )
    if failures:
        raise dg.Failure(description="\n".join(failures), allow_retries=False)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest(*(r.version for r in made))),
        metadata={"dagster/row_count": sum(r.rows or 0 for r in made), "partitions": len(made)},
    )


def _split(key: str) -> tuple[str, str]:
    model, _, task = key.rpartition("|")
    return model, task
