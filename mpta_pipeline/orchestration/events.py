"""The event log as a store of its own: what previews showed of somebody who withdrew goes from there, too."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

_AT_ONCE = 200


def purge(instance: dg.DagsterInstance, texts: Sequence[str]) -> int:
    """Delete the runs in whose previews one of `texts` stands; returns how many.

    What those runs made counts as missing for the automation then, which makes it anew: it is what has to be made anew
    after a withdrawal anyway.
    """
    runs: set[str] = set()
    for key in instance.all_asset_keys():
        cursor, more = None, True
        while more:
            page = instance.fetch_materializations(key, limit=_AT_ONCE, cursor=cursor)
            cursor, more = page.cursor, page.has_more
            for record in page.records:
                shown = record.asset_materialization
                values = shown.metadata.values() if shown is not None else ()
                if any(text in str(value.value) for value in values for text in texts):
                    runs.add(record.run_id)
    for run in runs:
        if run:
            instance.delete_run(run)
    return len(runs - {""})
