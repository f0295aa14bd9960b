"""What ticks of the daemon's sensors cost and store where nothing has to be made: 200 models × 6 tasks.

Run: python -m tests.benchmarks.bench_ticks [--models 200] [--tasks 6] [--hours 3]

Stores a tiny table with its record for every node of the study, so that all are up to date, and lets the sensors look:
at first, when they look at every node, and again, when nothing has changed. Aim: at most 2 s per tick.

Then it stores the ticks of some hours as the daemon stores them, with the texts and cursors of the sensors that have
just looked, and deletes old ones when the sources' sensor does. Aim: the instance's databases grow by at most 1 MB per
day. Without deletion they would grow by 68 MB.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import dagster as dg
import polars as pl
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from mpta_pipeline.core.provenance import Node, Record, content_hash, write_record
from mpta_pipeline.orchestration import automation, sensors
from mpta_pipeline.orchestration.event_log import purge_idle_ticks
from mpta_pipeline.orchestration.source_observations import apply, look
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import parents
from mpta_pipeline.pipeline.stored import path_of, remembering
from tests.factories.deployment import STUDY, World, model, respondents, serving, write_wave
from tests.orchestration.ticks import Daemon


def store_all(deployment: Deployment) -> int:
    """Store an empty table and its record for every node; the number of nodes."""
    frame = pl.DataFrame({"a": [1]})
    number = 0
    for table in graph.TABLES.values():
        with remembering():  # nothing that a table reads is stored while its records are made
            for key in graph.partition_keys(deployment, table.partitioning):
                node = Node(table.name, key)
                path = path_of(deployment, node)
                path.parent.mkdir(parents=True, exist_ok=True)
                frame.write_parquet(path)
                made_from = parents(deployment, Node(graph.owner(table.name), key)) if table.is_asset else {}
                write_record(path, Record(str(node), content_hash(frame), 1, made_from, {}))
                number += 1
    return number


def grow(instance: dg.DagsterInstance, daemon: Daemon, home: Path, hours: int) -> None:
    """Print what idle hours add to the instance's databases."""
    origin = RemoteRepositoryOrigin(
        code_location_origin=ManagedGrpcPythonEnvCodeLocationOrigin(
            LoadableTargetOrigin(executable_path="python", module_name="mpta_pipeline.definitions")
        ),
        repository_name="__repository__",
    )
    said = {"sources_sensor": (daemon.skipped, daemon.sensor_cursor)}
    said |= {lane.name: (daemon.said[lane.name], daemon.cursors[lane.name]) for lane in automation.LANES}
    origins = {name: origin.get_instigator_origin(name) for name in said}
    ids = {name: (one.get_id(), one.get_selector().get_id()) for name, one in origins.items()}
    for name, (_, cursor) in said.items():
        data = SensorInstigatorData(cursor=cursor, min_interval=sensors.INTERVAL_SECONDS)
        instance.add_instigator_state(
            InstigatorState(origins[name], InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
        )
    now = time.time()
    sizes = [_size(home)]
    for _ in range(hours):
        for second in range(0, 3600, sensors.INTERVAL_SECONDS):
            for name, (text, cursor) in said.items():
                origin_id, selector = ids[name]
                started = TickData(
                    origin_id, name, InstigatorType.SENSOR, TickStatus.STARTED, now + second, selector_id=selector
                )
                tick = instance.create_tick(started)
                tick = tick.with_status(TickStatus.SKIPPED).with_reason(text)
                instance.update_tick(tick if cursor is None else tick.with_cursor(cursor))
            if second % sensors.ASK_AGAIN_SECONDS == 0:
                purge_idle_ticks(instance, now + second)
        now += 3600
        sizes.append(_size(home))
    grown = [after - before for before, after in pairwise(sizes)]
    ticks = len(said) * 3600 // sensors.INTERVAL_SECONDS
    print(f"{ticks:,} ticks per hour; databases: {', '.join(f'{size / 1e6:.2f}' for size in sizes)} MB after each hour")
    print(f"growth in the last hour × 24: {24 * grown[-1] / 1e6:.2f} MB per day (aim 1)")


def _events(instance: dg.DagsterInstance) -> int:
    return instance.event_log_storage.get_maximum_record_id() or 0


def _size(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*.db*") if path.is_file())


def timed(what: str, work: Callable[[], object]) -> None:
    """Print the seconds that something takes."""
    began, processor = time.perf_counter(), time.process_time()
    work()
    print(f"{what:58} {time.perf_counter() - began:6.2f} s  {time.process_time() - processor:6.2f} s of the processor")


def measure(models: int, tasks: int, hours: int) -> None:
    """Print what ticks cost."""
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "world", server.url)
        os.environ |= world.environment
        kinds = list(STUDY["tasks"].values())
        world.study(STUDY | {"tasks": {f"task_{i}": kinds[i % len(kinds)] for i in range(tasks)}})
        world.models({f"model_{i:03}": model(server.url) | {"model": f"m{i}"} for i in range(models)})
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        deployment = Deployment.from_env()
        deployment.look()
        (Path(folder) / "home").mkdir()
        with dg.instance_for_test(temp_dir=str(Path(folder) / "home")) as instance:
            apply(look(deployment, instance), deployment, instance)
            print(f"{store_all(deployment)} stored tables")
            daemon = Daemon(instance)
            timed("the sources' sensor, nothing new", daemon.look)
            for lane in automation.LANES:
                timed(f"what is out of date: {lane.name}", lambda lane=lane: _nothing(instance, lane))
            daemon.due = lambda lane: []  # type: ignore[method-assign]
            timed("both lanes' sensors, first look", daemon.evaluate)
            timed("both lanes' sensors, nothing has changed", daemon.evaluate)
            timed("all sensors, nothing has changed", lambda: (daemon.look(), daemon.evaluate()))
            before = _events(instance)
            for _ in range(10):
                daemon.look()
                daemon.evaluate()
            print(f"events that ten more looks stored: {_events(instance) - before}")
            grow(instance, daemon, Path(folder) / "home", hours)


def _nothing(instance: dg.DagsterInstance, lane: automation.Lane) -> None:
    found = automation.wanted(Deployment.from_env(), instance, lane)
    assert not found.nodes and found.because is None, automation.said(found)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=6)
    parser.add_argument("--hours", type=int, default=3, help="idle hours whose ticks are stored")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    measure(arguments.models, arguments.tasks, arguments.hours)


if __name__ == "__main__":
    main()
