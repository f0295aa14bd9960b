"""Running an asset over several model × task partitions in one run: each one counts as soon as it is made."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from mpta_pipeline.errors import MptaError
from mpta_pipeline.hashing import digest
from mpta_pipeline.orchestration import checks
from mpta_pipeline.orchestration.metadata import record_metadata, result
from mpta_pipeline.provenance import Record


def run_cells(
    context: dg.AssetExecutionContext,
    make: Callable[[str, str], Record | tuple[Record, Sequence[Any]]],
    extra: Callable[[str, str], dict[str, Any]] = lambda model, task: {},
    standing: Callable[[str, str], Record | None] = lambda model, task: None,
) -> dg.MaterializeResult[Any]:
    """Make each partition of the run, in the order of its keys.

    With several partitions each logs its own materialization, so that those made before a failure stay made: Dagster
    counts none of a failed step's partitions otherwise. One that fails does not stop the others; the step fails at the
    end with all messages. Where `make` returns what checks found, too, that is reported for all partitions together.
    A partition that `standing` gives a record of is left as it is: Dagster's own event for it is enough.
    """
    keys = list(context.partition_keys)
    asset = context.asset_key.to_user_string()
    if len(keys) == 1:
        model, task = _split(keys[0])
        record, found = _parts(make(model, task))
        return result(record, extra=extra(model, task), checks=checks.results(asset, found) if found else None)
    made, failures = [], []
    every: list[Any] = []
    for key in keys:
        model, task = _split(key)
        if (kept := standing(model, task)) is not None:
            made.append(kept)
            continue
        try:
            record, found = _parts(make(model, task))
        except MptaError as failure:
            context.log.error(f"{key}: {failure}")
            failures.append(f"{key}: {failure}")
            continue
        made.append(record)
        every += found
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
        check_results=checks.results(asset, every) if every else [],
    )


def _parts(made: Record | tuple[Record, Sequence[Any]]) -> tuple[Record, Sequence[Any]]:
    return made if isinstance(made, tuple) else (made, [])


def _split(key: str) -> tuple[str, str]:
    model, _, task = key.rpartition("|")
    return model, task
