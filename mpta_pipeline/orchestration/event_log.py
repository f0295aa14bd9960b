"""Keep the instance's history clean: purge withdrawn respondents from previews, and ticks that did nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg

# Dagster's retention of ticks is set in whole days, and has no public names.
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

# A look every five seconds by three sensors would store 80 MB of ticks a day; Dagster keeps those for a week.
_KEPT_SECONDS = 3600.0
_PAGE = 200
_LOCK_SECONDS = 10


def purge(instance: dg.DagsterInstance, texts: Sequence[str]) -> int:
    """Delete the runs whose previews contain one of `texts`; returns their number.

    Their materializations stay recorded with their data versions, without previews.
    """
    shown: set[str] = set()
    latest: dict[tuple[dg.AssetKey, str | None], dg.EventLogRecord] = {}
    for key in instance.all_asset_keys():
        for record in _materializations(instance, key):
            made = record.asset_materialization
            if made is not None:
                latest.setdefault((key, made.partition), record)
                values = [str(value.value) for value in made.metadata.values()]
                if any(text in value for text in texts for value in values):
                    shown.add(record.run_id)
    shown.discard("")
    kept = [record for record in latest.values() if record.run_id in shown]
    for run in shown:
        instance.delete_run(run)
    for record in sorted(kept, key=lambda record: record.storage_id):
        if (made := record.asset_materialization) is not None:
            bare = dg.AssetMaterialization(made.asset_key, partition=made.partition, tags=made.tags)
            instance.report_runless_asset_event(bare)
    if shown:
        _overwrite_freed_pages(instance)
    return len(shown)


def _materializations(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    """The materializations of an asset, newest first."""
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        cursor, more = page.cursor, page.has_more
        yield from page.records


def _overwrite_freed_pages(instance: dg.DagsterInstance) -> None:
    """Rewrite the database files: SQLite keeps deleted rows in freed pages until these are reused."""
    home = instance.root_directory if instance.is_persistent else None
    for path in sorted(Path(home, "history").rglob("*.db")) if home else ():
        # An open connection prevents rewriting; then the next runs reuse the pages.
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as con:
            con.execute("vacuum")


def purge_idle_ticks(instance: dg.DagsterInstance, now: float) -> None:
    """Delete the sensors' ticks that did nothing, but for those of the last hour.

    Args:
        instance: The Dagster instance.
        now: Unix time.
    """
    for sensor in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        instance.purge_ticks(
            sensor.instigator_origin_id, sensor.selector_id, now - _KEPT_SECONDS, tick_statuses=[TickStatus.SKIPPED]
        )
