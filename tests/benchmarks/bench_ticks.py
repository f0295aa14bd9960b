"""What a tick of the daemon's sensors costs where nothing has to be made: 200 models × 6 tasks.

Run: python -m tests.benchmarks.bench_ticks [--models 200] [--tasks 6]

Stores a tiny table with its record for every node of the study, so that all are up to date, and lets the sensors look:
at first, when they look at every node, and again, when nothing has changed. Aim: at most 2 s per tick.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl

from mpta_pipeline.core.provenance import Node, Record, content_hash, write_record
from mpta_pipeline.orchestration import automation
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


def timed(what: str, work: Callable[[], object]) -> None:
    """Print the seconds that something takes."""
    began, processor = time.perf_counter(), time.process_time()
    work()
    print(f"{what:58} {time.perf_counter() - began:6.2f} s  {time.process_time() - processor:6.2f} s of the processor")


def measure(models: int, tasks: int) -> None:
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


def _nothing(instance: dg.DagsterInstance, lane: automation.Lane) -> None:
    found = automation.wanted(Deployment.from_env(), instance, lane)
    assert not found.nodes and found.because is None, automation.said(found)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=6)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    measure(arguments.models, arguments.tasks)


if __name__ == "__main__":
    main()
