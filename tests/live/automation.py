"""What automation does under a live `dagster dev`, with times: `python -m tests.live.automation [--kills N]`.

A small study of invented respondents and a loopback model in a folder of its own. One step after the other: a full
survey folder, a new wave, a new model, a backfill of a model over all tasks and of a task over all models that is
cancelled and taken up again, and `dagster dev` with all its runs killed at random moments.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import httpx

from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import needs_run
from tests.factories.deployment import Server, World, model, respondents, serving, write_wave
from tests.scale.deployment import ROOT, finish, installed, start

PATIENCE = 900.0  # seconds
QUIET = 75.0  # seconds: two ticks of each sensor
CODE = {"repositoryLocationName": "mpta_pipeline", "repositoryName": "__repository__"}

BACKFILL = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
CANCEL = """mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"""
STATUS = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status assetBackfillData { assetBackfillStatuses {
    ... on AssetPartitionsStatusCounts { assetKey { path } numPartitionsTargeted numPartitionsMaterialized
    numPartitionsInProgress numPartitionsFailed } } } } } }"""
SENSOR = """mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }"""
SENSORS = """query ($selector: RepositorySelector!) { sensorsOrError(repositorySelector: $selector) {
  ... on Sensors { results { name id sensorState { status selectorId } } } } }"""
STOP = """mutation ($id: String!) { stopSensor(id: $id) { __typename } }"""


class Live:
    """`dagster dev` on one deployment."""

    def __init__(self, world: World) -> None:
        self.world = world
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.began = time.time()

    def start(self) -> None:
        """Start it, in a process group of its own."""
        log = (self.world.root / "dagster_dev.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-p", str(self.port)],
            cwd=ROOT,
            env=os.environ | installed() | self.world.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def kill(self) -> None:
        """Kill all its processes at once: webserver, daemon, code server and runs."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.kill()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """A GraphQL request, as the UI sends it."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/graphql", json={"query": query, "variables": variables}, timeout=60
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def automation(self, on: bool) -> None:
        """Turn the automation sensors on or off."""
        found = self.ask(SENSORS, selector=CODE)["sensorsOrError"]["results"]
        for sensor in (s for s in found if s["name"].startswith("automation")):
            if on:
                self.ask(SENSOR, selector=CODE | {"sensorName": sensor["name"]})
            else:
                self.ask(STOP, id=sensor["id"])

    def backfill(self, assets: list[str], cells: list[str]) -> str:
        """Launch a backfill from the UI's own mutation; its id."""
        done = self.ask(
            BACKFILL,
            params={"assetSelection": [{"path": [a]} for a in assets], "partitionNames": cells, "allPartitions": False},
        )["launchPartitionBackfill"]
        assert done["__typename"] == "LaunchBackfillSuccess", done
        return str(done["backfillId"])

    def state(self, backfill: str) -> tuple[str, dict[str, tuple[int, int]]]:
        """Status of a backfill, and per asset how many partitions of how many are made."""
        found = self.ask(STATUS, id=backfill)["partitionBackfillOrError"]
        counts = (found["assetBackfillData"] or {}).get("assetBackfillStatuses", [])
        return found["status"], {
            c["assetKey"]["path"][0]: (c["numPartitionsMaterialized"], c["numPartitionsTargeted"]) for c in counts
        }

    def runs(self, **tags: str) -> list[dg.RunRecord]:
        """All runs, newest first."""
        with instance() as found:
            return list(found.get_run_records(dg.RunsFilter(tags=tags)))


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


def in_step() -> bool:
    """Whether everything is made from what is there now."""
    deployment = Deployment.from_env()
    deployment.look()
    return not any(needs_run(deployment, node) for node in graph.nodes(deployment))


def wait(what: str, until: Callable[[], bool], patience: float = PATIENCE) -> float:
    """Seconds until something holds."""
    began = time.monotonic()
    while not until():
        assert time.monotonic() - began < patience, f"{what}: not after {patience:.0f} s"
        time.sleep(1)
    return time.monotonic() - began


def quiet(live: Live) -> None:
    """Two ticks of each sensor bring nothing new."""
    wait("all runs ended", lambda: all(r.dagster_run.is_finished for r in live.runs()))
    before = len(live.runs())
    time.sleep(QUIET)
    assert len(live.runs()) == before, "something ran although all is in step"


def say(step: str, **figures: object) -> None:
    """A line of the result."""
    print(f"{step:58s} " + "  ".join(f"{k.replace('_', ' ')} {v}" for k, v in figures.items()), flush=True)


def estimates_of(world: World) -> dict[str, bytes]:
    """Bytes of every stored table, raw snapshots and ledgers apart."""
    return {
        str(p.relative_to(world.data)): p.read_bytes()
        for p in sorted((world.data / "tables").rglob("*.parquet"))
        if ".tmp" not in p.name
    }


def main() -> None:
    """Run all steps in order and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder to work in, and to keep for a look with the UI")
    options = parser.parse_args()
    root = options.keep or Path(tempfile.mkdtemp(prefix="mpta-live-"))
    with serving() as server:
        world = World(root, server.url)
        os.environ.update(world.environment)
        live = Live(world)
        try:
            for year in (2016, 2018):
                write_wave(world.surveys, respondents(year))
            live.start()
            proofs(live, world, server)
            kills(live, world, server, options.kills, random.Random(options.seed))
        finally:
            live.stop()
            if options.keep is None:
                shutil.rmtree(root, ignore_errors=True)


def proofs(live: Live, world: World, server: Server) -> None:
    """Statements 1, 2, 7 and 11."""
    tasks = list(Deployment.from_env().study.tasks)
    say("1  fresh clone, folder already full", seconds=f"{wait('first figures', in_step):.0f}", calls=server.calls)
    quiet(live)

    before = server.calls
    write_wave(world.surveys, respondents(2014))
    say("2  a new wave", seconds=f"{wait('figures with the new wave', in_step):.0f}", calls=server.calls - before)
    quiet(live)
    assert max(server.asked.values()) == 1

    before, models = server.by_model.copy(), {"loopback": model(server.url)}
    models["second"] = model(server.url) | {"model": "second"}
    world.models(models)
    seconds = wait("figures of the new model", in_step)
    say("7  a new model", seconds=f"{seconds:.0f}", calls=server.by_model["second"])
    assert server.by_model["loopback"] == before["loopback"], "no other model is asked"
    quiet(live)

    # 11: a person does it, so automation stays out of the way.
    live.automation(on=False)
    models["third"] = model(server.url) | {"model": "third", "connections": 1}
    world.models(models)

    def known() -> bool:
        with instance() as found:
            return "third" in found.get_dynamic_partitions("model")

    wait("the new model's partitions", known)
    server.delay = 0.5
    chain = ["responses", "scores", "subgroup_metrics", "pockets"]
    first = live.backfill(chain, [f"third|{t}" for t in tasks])
    wait("the backfill asks", lambda: server.by_model["third"] >= 10)
    live.ask(CANCEL, id=first)
    seconds = wait("the backfill is cancelled", lambda: live.state(first)[0] in ("CANCELED", "FAILED"))
    kept = server.by_model["third"]
    time.sleep(5)
    assert server.by_model["third"] == kept, "a cancelled run asks no more"
    say("11 backfill cancelled from the UI", seconds=f"{seconds:.0f}", calls_so_far=kept, state=live.state(first)[1])
    server.delay = 0.0
    again = live.backfill(chain, [f"third|{t}" for t in tasks])
    seconds = wait("the backfill is done", lambda: live.state(again)[0].startswith("COMPLETED"))
    runs = live.runs(**{"dagster/backfill": again})
    asked_twice = sum(n - 1 for n in server.asked.values())
    say(
        "11 … and taken up again: a model over all tasks",
        seconds=f"{seconds:.0f}",
        runs=len(runs),
        calls=server.by_model["third"] - kept,
        asked_twice=asked_twice,
        state=live.state(again)[1],
    )
    assert asked_twice <= 1, "at most what was in flight"
    before_calls = server.calls
    over = live.backfill(chain, [f"{m}|{tasks[0]}" for m in models])
    seconds = wait("the backfill is done", lambda: live.state(over)[0].startswith("COMPLETED"))
    say(
        "11 a task over all models, nothing to ask",
        seconds=f"{seconds:.0f}",
        runs=len(live.runs(**{"dagster/backfill": over})),
        calls=server.calls - before_calls,
    )
    began = time.monotonic()
    command = "dagster asset materialize -m mpta_pipeline.definitions --select {} --partition-range third|{}...third|{}"
    finish(
        start([sys.executable, "-m", *command.format(",".join(chain), tasks[0], tasks[-1]).split()], world.environment)
    )
    say("11 the same range by the command line", seconds=f"{time.monotonic() - began:.0f}")
    # What came about while the sensors were off is gone through once: a run with nothing to ask, at most.
    live.automation(on=True)
    before_calls = server.calls
    wait("all in step", in_step)
    time.sleep(QUIET)
    assert server.calls == before_calls, "something was asked although all is in step"


def kills(live: Live, world: World, server: Server, times: int, chance: random.Random) -> None:
    """Statement 12: killed at random moments while a new wave and a new model go through; the same end state."""
    server.delay = 0.05
    write_wave(world.surveys, respondents(2012))
    before = sum(n - 1 for n in server.asked.values())
    began = time.monotonic()
    for _ in range(times):
        time.sleep(chance.uniform(5, 60))
        live.kill()
        unfinished = [r.dagster_run.run_id for r in live.runs() if not r.dagster_run.is_finished]
        say("12 killed", seconds=f"{time.monotonic() - began:.0f}", runs_cut_off=len(unfinished))
        live.start()
    wait("all in step after the kills", in_step, 2 * PATIENCE)
    wait("all runs ended", lambda: all(r.dagster_run.is_finished for r in live.runs()))
    twice = sum(n - 1 for n in server.asked.values()) - before
    say("12 … and in step again", seconds=f"{time.monotonic() - began:.0f}", asked_twice=twice)
    quiet(live)
    server.delay = 0.0
    found = estimates_of(world)
    whole = World(world.root / "whole", server.url)
    shutil.copy(world.config / "models.yaml", whole.config)
    for file in world.surveys.iterdir():
        shutil.copy2(file, whole.surveys)
    finish(start([sys.executable, "-m", "mpta_pipeline.cli", "run"], whole.environment))
    wanted = estimates_of(whole)
    differ = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    say("12 tables as of a run that nobody killed", tables=len(wanted), differ=differ)
    assert not [d for d in differ if not d.startswith(("responses", "survey_changelog"))], differ


if __name__ == "__main__":
    main()
