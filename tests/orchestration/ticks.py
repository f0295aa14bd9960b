"""Drives real automation ticks: sources sensor, lanes' sensors, and the runs that were requested, in process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from mpta_pipeline import definitions
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.orchestration import automation, sensors
from mpta_pipeline.orchestration.command_runs import PART_OF_TAG
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import Due

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
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

    The sensors are the real ones. The runs that they request are carried out in this process.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursors: dict[str, str | None] = {}
        self.requests: list[tuple[automation.Lane, dg.RunRequest]] = []
        self.said: dict[str, str] = {}
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
        """One tick of each lane's sensor: what is out of date in the lanes that request a run."""
        requested: dict[str, set[str | None]] = {}
        repository = self.definitions.get_repository_def()
        for lane in automation.LANES:
            nodes = {str(d.node): d for d in self.due(lane)}
            with dg.build_sensor_context(
                instance=self.instance, repository_def=repository, cursor=self.cursors.get(lane.name)
            ) as context:
                result = repository.get_sensor_def(lane.name)(context)
                self.cursors[lane.name] = context.cursor
            if isinstance(result, dg.SkipReason):
                self.said[lane.name] = result.skip_message or ""
                continue
            for event in result.asset_events:
                self.instance.report_runless_asset_event(event)
            if not result.run_requests:
                self.said[lane.name] = result.skip_reason.skip_message
                continue
            self.requests += [(lane, request) for request in result.run_requests or ()]
            for d in nodes.values():
                requested.setdefault(d.node.asset, set()).add(d.node.partition or None)
        return requested

    def due(self, lane: automation.Lane) -> list[Due]:
        """What the lane would start with; nothing if its configuration cannot be read."""
        try:
            return automation.wanted(Deployment.from_env(), self.instance, lane).nodes
        except MptaError:
            return []

    def execute(self) -> None:
        """Carry out the runs that were requested."""
        requests, self.requests = self.requests, []
        for lane, request in requests:
            self.launch(lane.job, request.run_config, request.tags)

    def launch(self, job: str, run_config: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Carry out a run of a lane's job, and note what its runs made."""
        before = {run.run_id for run in self.instance.get_runs()}
        done = self.definitions.get_job_def(job).execute_in_process(
            instance=self.instance, run_config=dict(run_config) | QUIET, tags=dict(tags), raise_on_error=False
        )
        if not done.success:
            self.failed.append(job)
        for run in reversed(self.instance.get_runs(dg.RunsFilter(tags={PART_OF_TAG: done.run_id}))):
            assert run.run_id not in before
            planned = self._planned(run.run_id)
            self.ran += planned
            if run.status is not dg.DagsterRunStatus.SUCCESS:
                made = {
                    (event.dagster_event.asset_key.to_user_string(), event.dagster_event.partition)
                    for event in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
                }
                self.failed += [f"{asset}|{key}" for asset, key in planned if (asset, key) not in made]

    def _planned(self, run_id: str) -> list[tuple[str, str | None]]:
        """Assets and partitions of a run, in the order of its steps."""
        found = []
        for event in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
            data = event.dagster_event.event_specific_data
            subset = data.partitions_subset
            keys = [data.partition] if subset is None else sorted(subset.get_partition_keys())
            found += [(data.asset_key.to_user_string(), key) for key in keys]
        order = [key.to_user_string() for key in self.graph.toposorted_asset_keys]
        return sorted(found, key=lambda pair: order.index(pair[0]))

    def settle(self, limit: int = 12) -> list[tuple[str, str | None]]:
        """Tick until nothing is requested; what ran, in order."""
        self.ran, self.failed = [], []
        for _ in range(limit):
            self.look()
            requested = self.evaluate()
            if not requested:
                return self.ran
            self.execute()
        raise AssertionError(f"not settled after {limit} ticks; last requested {requested}")

    def assets_run(self) -> set[str]:
        """Names of the assets that ran since the last settling."""
        return {asset for asset, _ in self.ran}


def partitions(ran: Iterable[tuple[str, str | None]], asset: str) -> list[str | None]:
    """The partitions of one asset that ran, in order."""
    return [key for name, key in ran if name == asset]


if __name__ == "__main__":  # a run in a process of its own, for tests that kill it
    with dg.DagsterInstance.get() as found:
        Daemon(found).launch(sys.argv[1], {}, {})


def tables(world):
    """Bytes of every stored table."""
    folder = world.data / "tables"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.parquet") if ".tmp" not in p.name}
