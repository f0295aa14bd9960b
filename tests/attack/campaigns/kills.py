"""`kill -9` in each stage of a run: the next run makes the same tables, and asks again only what was in flight.

The runs that are killed are forks of a process that has imported everything, so that no attack waits for imports. In
turn they die at a file operation of theirs (the n-th file that they open for writing, rename, make or remove) and at a
moment (in the midst of polars, DuckDB or a request).
"""

import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mpta_pipeline.core import chunks
from mpta_pipeline.core.provenance import stored_tables, unused_chunks
from mpta_pipeline.core.storage import Layout, sweep
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make_part
from mpta_pipeline.pipeline.stored import stacked
from mpta_pipeline.publication import withdrawal
from tests.attack.campaigns import Outcome, environment
from tests.factories.deployment import STUDY, Server, World, model, respondents, serving, write_wave
from tests.plain_run import bring_up_to_date

# What is taken away, so that a run begins with the stage.
TAKEN = {
    "ingest": ("raw", "harmonized", "tables/raw_wave"),
    "prompts": ("tables/personas", "tables/panel", "tables/items", "tables/prompts"),
    "asking": ("ledger", "tables/responses"),
    "figures": ("tables/scores", "tables/subgroup_metrics", "tables/pockets", "tables/model_comparison"),
    "publication": ("warehouse.duckdb", "report.html", "warehouse.duckdb.json", "report.html.json"),
    "forget": (),
    "daemon": (),
    "part of prompts": ("tables/prompts",),
    "part of scores": ("tables/scores",),
}
PARTS = tuple(stage for stage in TAKEN if stage.startswith("part of"))
"""Jobs that make one half of a table's chunks. Only tables in chunks have parts."""
STAGES = tuple(stage for stage in TAKEN if stage not in PARTS)
QUICK = STAGES[:-1]
"""Stages without Dagster; the daemon's takes as long as all others."""
CONNECTIONS = 4
FIGURES = ("personas", "prompts", "responses", "scores", "subgroup_metrics", "pockets")
TIMES = ("asked_at", "latency", "attempts")
PATIENCE = 900.0
FEW = 20
"""Rows per chunk, so that the small tables of the campaign have several."""
IMPORTED = {"mpta_pipeline", "pandera", "hypothesis", "duckdb", "scipy", "sklearn", "jinja2", "aiohttp", "dagster"}
"""Packages that a run imports while it works; no run that is killed imports them again."""
FIRST_OPERATIONS = 40
"""A run's file operations, before it is known how many there are."""
LANDS = "wave_2014.sav"
"""The wave that lands when the daemon is killed. Made once: a file made twice would differ in its time of creation."""
WRITES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def forget(respondent: str) -> None:
    """Withdraw a respondent, as `mpta forget` does, and make everything again without them."""
    deployment = Deployment.from_env()
    found = withdrawal.find(deployment.layout, deployment.sources, respondent)
    today = datetime.now(UTC).date()
    withdrawal.forget(deployment.layout, deployment.sources, deployment.models, found, on=today)
    bring_up_to_date()


def settle() -> None:
    """Let the daemon's ticks make everything; a run that a kill cut off is failed first, as run monitoring does."""
    import dagster as dg

    from tests.orchestration.ticks import Daemon

    logging.getLogger("dagster").setLevel(logging.ERROR)
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs():
            if not run.is_finished:
                instance.report_run_failed(run, "killed")
        daemon = Daemon(instance)
        daemon.settle()
        assert not daemon.failed, daemon.failed


def part(table: str) -> None:
    """Make the first half of the chunks of each partition of a table, as `mpta chunks` does."""
    deployment = Deployment.from_env()
    for node in graph.nodes(deployment):
        if node.asset == table:
            make_part(deployment, table, node.partition, 1, 2)


@dataclass
class Ended:
    """A run that ended before it was killed: its seconds and file operations."""

    seconds: float
    operations: int


@dataclass
class Runs:
    """Starts runs and kills them."""

    world: World
    who: str
    rows: int

    def __post_init__(self) -> None:
        self.processes = multiprocessing.get_context("forkserver")
        used = [name for name in sys.modules if name.partition(".")[0] in IMPORTED]
        self.processes.set_forkserver_preload([__name__, *used])

    def start(self, stage: str, *, operation: int | None = None, moment: float | None = None) -> Ended | None:
        """Run a stage and kill it at a file operation or moment; None if it was killed."""
        child, ours = self._started(stage, operation)
        ours.recv()
        began = time.monotonic()
        child.join(PATIENCE if moment is None else moment)
        seconds = time.monotonic() - began
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            assert seconds < PATIENCE, f"{stage} takes more than {PATIENCE:.0f} s"
            return None
        assert child.exitcode == 0, f"{stage} ended with {child.exitcode}"
        return Ended(seconds, ours.recv())

    def _started(self, stage: str, operation: int | None) -> tuple[Any, Any]:
        ours, theirs = self.processes.Pipe(duplex=False)
        arguments = (self.world.environment, str(self.world.root), stage, self.who, operation, self.rows, theirs)
        child = self.processes.Process(target=_child, args=arguments)
        child.start()
        theirs.close()
        return child, ours

    @contextmanager
    def beside(self, stage: str) -> Iterator[None]:
        """Let a job that makes a part work while the run does, as one of a run that was killed."""
        if stage not in PARTS:
            yield
            return
        child, ours = self._started(stage, None)
        ours.recv()
        yield
        child.join(PATIENCE)
        assert child.exitcode == 0, f"{stage}, beside the run, ended with {child.exitcode}"


def _child(
    env: Mapping[str, str], folder: str, stage: str, who: str, die_at: int | None, rows: int, parent: Any
) -> None:
    """Run a stage in a process of its own, which dies at one of its file operations."""
    os.environ.update(env)
    chunks.CHUNK_ROWS = rows
    done = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event not in WRITES or (event == "open" and not _writes(arguments)) or folder not in str(arguments[0]):
            return
        done += 1
        if done == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    parent.send("begun")
    _work(stage, who)()
    parent.send(done)


def _writes(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _work(stage: str, who: str) -> Callable[[], object]:
    known: dict[str, Callable[[], object]] = {"forget": lambda: forget(who), "daemon": settle}
    known |= {stage: partial(part, stage.removeprefix("part of ")) for stage in PARTS}
    return known.get(stage, bring_up_to_date)


def kills_in_chunks(
    n: int, root: Path, seed: int = 19, stages: tuple[str, ...] = (*QUICK, *PARTS)
) -> Iterator[Outcome]:
    """As `kills`, with prompts, responses and scores in chunks of a few rows, and with jobs that make parts."""
    return kills(n, root, seed, stages, rows=FEW)


def kills(
    n: int, root: Path, seed: int = 19, stages: tuple[str, ...] = STAGES, rows: int = chunks.CHUNK_ROWS
) -> Iterator[Outcome]:
    """Kill a run `n` times, stage by stage, in turn at a random file operation and at a random moment.

    Args:
        n: Number of kills.
        root: An empty folder.
        seed: Another seed makes other attacks.
        stages: The stages that are killed.
        rows: Rows per chunk of a table.
    """
    rng = random.Random(seed)
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_ROWS", rows)
        world = World(root, server.url)
        world.study(STUDY | {"tasks": {"value_alignment": STUDY["tasks"]["value_alignment"]}})
        world.models({"loopback": model(server.url) | {"connections": CONNECTIONS}})
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        write_wave(root, respondents(2014), LANDS)
        with environment(world.environment):
            bring_up_to_date()
            runs = Runs(world, stacked(Deployment.from_env(), "panel")["respondent_id"][3], rows)
            kept = root / "kept"
            shutil.copytree(world.data, kept)
            expected = _expected(stages, server, runs, kept)
            # What is known of each stage: seconds and file operations.
            known: dict[str, Ended] = {}
            for turn in range(n):
                stage = stages[turn % len(stages)]
                at = _kill(stage, runs, kept, server, rng, known, by_moment=turn // len(stages) % 2 == 1)
                problem = _after(stage, runs, *expected[stage], server)
                yield Outcome(stage, problem and f"killed at {at}: {problem}")


def _expected(
    stages: tuple[str, ...], server: Server, runs: Runs, kept: Path
) -> dict[str, tuple[dict[str, pl.DataFrame], int]]:
    """Tables and number of requests of each stage when nobody kills it."""
    whole, calls, found = _figures(), server.calls, {}
    for stage in stages:
        found[stage] = whole, calls if stage == "asking" else 0
        if stage in ("forget", "daemon"):
            _prepare(stage, runs.world, kept)
            server.asked.clear()
            _work("forget" if stage == "forget" else "", runs.who)()
            found[stage] = _figures(), server.calls
    return found


def _prepare(stage: str, world: World, kept: Path) -> None:
    """The deployment as it is when a run begins with this stage."""
    shutil.rmtree(world.data)
    shutil.copytree(kept, world.data)
    for name in TAKEN[stage]:
        assert (world.data / name).exists(), name
        _remove(world.data / name)
    _remove(world.surveys / LANDS)
    if stage == "daemon":
        for path in world.config.iterdir():
            if path.is_dir():  # Dagster's history
                shutil.rmtree(path)
        shutil.copy(world.root / LANDS, world.surveys)


def _kill(
    stage: str, runs: Runs, kept: Path, server: Server, rng: random.Random, known: dict[str, Ended], *, by_moment: bool
) -> str:
    """Kill a run of a stage; says where. A run that ended before is no attack, but tells how long the stage lasts."""
    server.delay = 0.005 if stage == "asking" else 0.0
    while True:
        _prepare(stage, runs.world, kept)
        server.asked.clear()
        operation, moment = None, None
        if not by_moment:
            operation = rng.randrange(known[stage].operations if stage in known else FIRST_OPERATIONS) + 1
        elif stage in known:
            moment = rng.uniform(0.0, known[stage].seconds)
        ended = runs.start(stage, operation=operation, moment=moment)
        if ended is None:
            server.delay = 0.0
            return f"file operation {operation}" if moment is None else f"{moment:.2f} s"
        known[stage] = ended


def _after(stage: str, runs: Runs, expected: dict[str, pl.DataFrame], calls: int, server: Server) -> str:
    layout = Layout.from_env()
    try:
        sweep(layout)
        with runs.beside(stage):
            _work("" if stage in PARTS else stage, runs.who)()
        if stage == "forget" and (left := withdrawal.tables_with(layout, runs.who)):
            return f"the respondent is still in {left[0].name}"
        now = _figures()
    except Exception as failure:
        return f"{type(failure).__name__}: {str(failure)[:200]}"
    if changed := [name for name, frame in expected.items() if not now[name].equals(frame)]:
        return f"other tables than without the kill: {', '.join(changed)}"
    if len(server.asked) != calls:
        return f"{len(server.asked)} instead of {calls} requests were sent"
    twice = server.calls - calls
    if twice > CONNECTIONS:
        return f"{twice} requests were sent again"
    left = [p.name for p in layout.root.rglob("*") if p.name.endswith(".tmp")]
    left += [chunk.name for path in stored_tables(layout.store / "tables") for chunk in unused_chunks(path)]
    return f"left behind: {left[0]}" if left else ""


def _figures() -> dict[str, pl.DataFrame]:
    deployment = Deployment.from_env()
    frames = {name: stacked(deployment, name).drop(TIMES, strict=False) for name in FIGURES}
    return frames | {"responses": frames["responses"].sort(pl.all())}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
