"""Column lineage as the UI shows it: from an estimate back to the native variables of the survey file.

The graph declares what the columns of a table come from. Which concept columns personas carry and items ask about, and
which native variables those were made from, is known only when they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from mpta_pipeline.core.untrusted_text import markdown
from mpta_pipeline.orchestration import links
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
    """The same as a Markdown table: Dagster's open-source UI draws the lineage of assets only.

    Columns of one origin share a row; a column that is taken over unchanged is named once. Names of variables are those
    of a survey file.
    """
    taken: dict[str, list[str]] = {}
    computed: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, pairs in found.items():
        origins = tuple(dict.fromkeys(pairs))
        if "__" in name:
            continue
        if len(origins) == 1 and origins[0][1] == name:
            taken.setdefault(origins[0][0], []).append(name)
        else:
            computed.setdefault(origins, []).append(name)
    lines = [f"| {_names(names)} | {_link(asset)}, unchanged |" for asset, names in taken.items()]
    lines += [f"| {_names(names)} | {_origins(origins)} |" for origins, names in computed.items()]
    return dg.MetadataValue.md("\n".join(["| columns | come from |", "| --- | --- |", *lines]))


def _origins(pairs: Iterable[tuple[str, str]]) -> str:
    by_asset: dict[str, list[str]] = {}
    for asset, column in pairs:
        by_asset.setdefault(asset, []).append(column)
    return "; ".join(f"{_link(asset)}: {_names(columns)}" for asset, columns in by_asset.items())


def _link(asset: str) -> str:
    return f"[{asset}]({links.asset(graph.owner(asset))})"


def _names(names: Iterable[str]) -> str:
    return ", ".join(markdown(name) for name in names)
