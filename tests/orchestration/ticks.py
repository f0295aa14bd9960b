"""Drives real automation ticks: sources sensor, condition evaluation, and the runs that were requested, in process."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from functools import cache
from unittest.mock import patch

import dagster as dg
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from mpta_pipeline import definitions
from mpta_pipeline.orchestration import sensors
from mpta_pipeline.pipeline.deployment import Deployment

# What `tests.factories.deployment` starts with.
WAVES = {"gss_extract-2016", "gss_extract-2018"}
CELLS = {"loopback|value_alignment", "loopback|sample_myths"}


class Messages(logging.Handler):
    """Keeps what the sources sensor logs."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.warnings.append(record.getMessage())


class Daemon:
    """What `dagster dev` does about automation, one tick at a time.

    Requested partitions are grouped into runs as the daemon does: in the graph's order, neighbours that were requested
    over the same partitions together; assets with a single-run backfill policy take all their partitions in one run.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursors: dict[str, AssetDaemonCursor] = {}
        self.ran: list[tuple[str, str | None]] = []
        self.failed: list[str] = []
        self.sensor_cursor: str | None = None
        self.skipped = ""
        self.log = Messages()
        self.reload()

    def reload(self) -> None:
        """Load the code location again."""
        self.definitions = definitions.build(Deployment.from_env())
        self.graph = self.definitions.resolve_asset_graph()

    def look(self) -> None:
        """One tick of the sources sensor, with its result applied as the daemon applies it."""
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(
            instance=self.instance, repository_def=repository, cursor=self.sensor_cursor
        ) as context:
            context.log.addHandler(self.log)
            result = sensors.sources_sensor(context)
            self.sensor_cursor = context.cursor
        self.skipped = (result.skip_message or "") if isinstance(result, dg.SkipReason) else ""
        if isinstance(result, dg.SkipReason):
            return
        for request in result.dynamic_partitions_requests or ():
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)

    def evaluate(self) -> dict[str, set[str | None]]:
        """One tick of each automation sensor: what they request."""
        requested: dict[str, set[str | None]] = {}
        # As in the daemon, whose tick asks the database for a partition set once; the tester asks a thousand times.
        known = cache(self.instance.get_dynamic_partitions)
        for sensor in sensors.AUTOMATION:
            with patch.object(self.instance, "get_dynamic_partitions", known):
                result = dg.evaluate_automation_conditions(
                    defs=self.definitions,
                    instance=self.instance,
                    asset_selection=sensor.asset_selection,
                    cursor=self.cursors.get(sensor.name),
                )
            self.cursors[sensor.name] = result.cursor
            for key in sensor.asset_selection.resolve(self.graph):
                requested[key.to_user_string()] = set(result.get_requested_partitions(key))
        return {asset: keys for asset, keys in requested.items() if keys}

    def execute(self, requested: dict[str, set[str | None]]) -> None:
        """Run what was requested."""
        groups: list[tuple[set[str | None], list[str]]] = []
        for asset in (k.to_user_string() for k in self.graph.toposorted_asset_keys):
            if asset not in requested:
                continue
            if groups and groups[-1][0] == requested[asset]:
                groups[-1][1].append(asset)
            else:
                groups.append((requested[asset], [asset]))
        for keys, assets in groups:
            policy = self.graph.get(dg.AssetKey(assets[0])).backfill_policy
            together = policy is not None and policy.max_partitions_per_run is None and keys != {None}
            ordered = sorted(keys, key=str)
            for batch in [ordered] if together else [[k] for k in ordered]:
                self._run(assets, batch)

    def _run(self, assets: list[str], keys: list[str | None]) -> None:
        tags = (
            {ASSET_PARTITION_RANGE_START_TAG: str(keys[0]), ASSET_PARTITION_RANGE_END_TAG: str(keys[-1])}
            if len(keys) > 1
            else {}
        )
        result = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(a) for a in assets],
            partition_key=keys[0] if len(keys) == 1 else None,
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        self.ran += [(a, k) for a in assets for k in keys]
        if not result.success:
            self.failed += [f"{a}|{k}" for a in assets for k in keys]

    def settle(self, limit: int = 12) -> list[tuple[str, str | None]]:
        """Tick until nothing is requested; what ran, in order."""
        self.ran, self.failed = [], []
        for _ in range(limit):
            self.look()
            requested = self.evaluate()
            if not requested:
                return self.ran
            self.execute(requested)
        raise AssertionError(f"not settled after {limit} ticks; last requested {requested}")

    def assets_run(self) -> set[str]:
        """Names of the assets that ran since the last settling."""
        return {asset for asset, _ in self.ran}


def partitions(ran: Iterable[tuple[str, str | None]], asset: str) -> list[str | None]:
    """The partitions of one asset that ran, in order."""
    return [key for name, key in ran if name == asset]


if __name__ == "__main__":  # a run in a process of its own, for tests that kill it
    with dg.DagsterInstance.get() as found:
        Daemon(found).execute({asset: set(keys) for asset, keys in json.loads(sys.argv[1]).items()})


def tables(world):
    """Bytes of every stored table."""
    folder = world.data / "tables"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.parquet") if ".tmp" not in p.name}
