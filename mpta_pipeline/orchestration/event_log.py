"""The event log as a store of its own: what previews showed of somebody who withdrew goes from there, too."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg

_AT_ONCE = 200
_LOCK_SECONDS = 10


def purge(instance: dg.DagsterInstance, texts: Sequence[str]) -> int:
    """Delete the runs in whose previews one of `texts` stands; returns how many.

    What those runs made stays known as made, with its data version and without previews.
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
    """The materializations of an asset, the latest first."""
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(key, limit=_AT_ONCE, cursor=cursor)
        cursor, more = page.cursor, page.has_more
        yield from page.records


def _overwrite_freed_pages(instance: dg.DagsterInstance) -> None:
    """SQLite leaves what was deleted in its file until the room is used again; rewriting the file drops it."""
    home = instance.root_directory if instance.is_persistent else None
    for path in sorted(Path(home, "history").rglob("*.db")) if home else ():
        # Somebody who holds the file keeps it from being rewritten; the room is used again by the next runs anyway.
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as con:
            con.execute("vacuum")
