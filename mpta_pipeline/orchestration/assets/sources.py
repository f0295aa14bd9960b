"""External assets: survey files and configuration, from the graph's sources.

No run makes them. The sources sensor, or the command line, reports a new data version when a file or a configuration
entry changes, which triggers everything that depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from mpta_pipeline.orchestration.metadata import OWNERS, holds
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.graph import Partitioning


def specs(partitions: Mapping[Partitioning, dg.PartitionsDefinition | None]) -> list[dg.AssetSpec]:
    """The specs of all sources."""
    return [
        dg.AssetSpec(
            source.name,
            description=source.description,
            partitions_def=partitions[source.partitioning],
            group_name="sources",
            owners=OWNERS,
            kinds={source.kind},
            tags=holds(source.holds),
        )
        for source in graph.SOURCES.values()
    ]
