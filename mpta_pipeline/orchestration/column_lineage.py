"""Column lineage as the UI shows it: from an estimate back to the native variables of the survey file.

The graph declares what the columns of a table come from. Which concept columns personas carry and items ask about, and
which native variables those were made from, is known only when they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from mpta_pipeline.pipeline import graph


def lineage(asset: str, further: Mapping[str, Iterable[tuple[str, str]]] | None = None) -> dict[str, Any]:
    """Metadata of a materialization: the origins of the asset's columns; empty where none are declared.

    Args:
        asset: The asset.
        further: Column → (asset, column) that it is made from, for origins known only now.
    """
    found = graph.origins(asset)
    for name, pairs in (further or {}).items():
        found.setdefault(name, []).extend(pairs)
    deps = {
        name: [dg.TableColumnDep(asset_key=dg.AssetKey(parent), column_name=column) for parent, column in pairs]
        for name, pairs in found.items()
    }
    if not deps:
        return {}
    shown: dict[str, Any] = {"dagster/column_lineage": dg.TableColumnLineage(deps)}
    if not graph.TABLES[asset].is_document:  # the warehouse's columns are those of the tables that it publishes
        shown["columns come from"] = _as_table(found)
    return shown


def _as_table(found: Mapping[str, Iterable[tuple[str, str]]]) -> dg.MarkdownMetadataValue:
    """The same as a Markdown table: Dagster's open-source UI draws the lineage of assets only."""
    lines = [
        f"| {name} | {', '.join(f'{asset}.{column}' for asset, column in pairs)} |"
        for name, pairs in found.items()
        if "__" not in name
    ]
    return dg.MetadataValue.md("\n".join(["| column | comes from |", "| --- | --- |", *lines]))
