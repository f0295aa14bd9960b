"""`kill -9` in each stage of a run: the next run makes the same tables, and asks again only what was in flight."""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from mpta_pipeline.core.storage import Layout, sweep
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import stacked
from mpta_pipeline.publication import withdrawal
from tests.attack.campaigns import Outcome, environment
from tests.factories.deployment import STUDY, World, model, respondents, serving, write_wave
from tests.plain_run import bring_up_to_date

STAGES = ("ingest", "prompts", "asking", "figures", "publication", "forget")
# What is taken away, so that a run begins with the stage.
TAKEN = {
    "ingest": ("raw", "harmonized", "tables/waves"),
    "prompts": ("tables/personas", "tables/panel", "tables/items", "tables/prompts"),
    "asking": ("ledger", "tables/responses"),
    "figures": ("tables/scores", "tables/subgroup_metrics", "tables/pockets", "tables/model_comparison"),
    "publication": ("warehouse.duckdb", "report.html", "warehouse.duckdb.json", "report.html.json"),
    "forget": (),
}
CONNECTIONS = 4
FIGURES = ("personas", "prompts", "scores", "subgroup_metrics", "pockets")
PATIENCE = 120.0
CHILD = """
import sys, tests.plain_run, tests.attack.campaigns.kills as kills
from mpta_pipeline.pipeline.deployment import Deployment
Deployment.from_env().look()
print("begun", flush=True)
kills.forget(sys.argv[1]) if len(sys.argv) > 1 else tests.plain_run.bring_up_to_date()
print("done", flush=True)
"""


def forget(respondent: str) -> None:
    """Withdraw a respondent, as `mpta forget` does, and make everything again without them."""
    deployment = Deployment.from_env()
    found = withdrawal.find(deployment.layout, deployment.sources, respondent)
    today = datetime.now(UTC).date()
    withdrawal.forget(deployment.layout, deployment.sources, deployment.models, found, on=today)
    bring_up_to_date()


def kills(n: int, root: Path, seed: int = 19) -> Iterator[Outcome]:
    """Kill a run `n` times, stage by stage, at a random moment of the stage."""
    rng = random.Random(seed)
    with serving() as server:
        world = World(root, server.url)
        world.study(STUDY | {"panel": {"size": 30, "strata": ["sex"]}})
        world.models({"loopback": model(server.url) | {"connections": CONNECTIONS}})
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        with environment(world.environment):
            bring_up_to_date()
            who = stacked(Deployment.from_env(), "panel")["respondent_id"][3]
            whole, kept = _figures(), root / "kept"
            shutil.copytree(world.data, kept)
            forget(who)
            without = _figures()
            lasts: dict[str, float] = {}
            for turn in range(n):
                stage = STAGES[turn % len(STAGES)]
                words = [who] if stage == "forget" else []
                server.delay = 0.005 if stage == "asking" else 0.0
                if stage not in lasts:
                    _prepare(stage, world.data, kept)
                    lasts[stage] = _run_and_kill(words, PATIENCE) or PATIENCE
                ended: float | None = 0.0
                while ended is not None:  # a run that ended before it was killed is no attack
                    _prepare(stage, world.data, kept)
                    server.asked.clear()
                    after = rng.uniform(0.0, lasts[stage])
                    ended = _run_and_kill(words, after)
                server.delay = 0.0
                problem = _after(stage, who, without if stage == "forget" else whole, server.asked)
                yield Outcome(stage, problem and f"killed after {after:.2f} s: {problem}")


def _prepare(stage: str, data: Path, kept: Path) -> None:
    """The data folder as it is when a run begins with this stage."""
    shutil.rmtree(data)
    shutil.copytree(kept, data)
    for name in TAKEN[stage]:
        _remove(data / name)


def _run_and_kill(words: list[str], after: float) -> float | None:
    """Start a run and kill it after so many seconds; returns how long it lasted if it ended before."""
    command = [sys.executable, "-c", CHILD, *words]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        began = time.monotonic()
        try:
            child.wait(after)
            return time.monotonic() - began
        except subprocess.TimeoutExpired:
            child.kill()
            return None


def _after(stage: str, who: str, expected: dict[str, pl.DataFrame], asked: dict[str, int]) -> str:
    layout = Layout.from_env()
    try:
        sweep(layout)
        if stage == "forget":
            forget(who)
            if left := withdrawal.tables_with(layout, who):
                return f"the respondent is still in {left[0].name}"
        else:
            bring_up_to_date()
        now = _figures()
    except Exception as failure:
        return f"{type(failure).__name__}: {str(failure)[:200]}"
    if changed := [name for name, frame in expected.items() if not now[name].equals(frame)]:
        return f"other tables than without the kill: {', '.join(changed)}"
    twice = sum(times - 1 for times in asked.values())
    if twice > CONNECTIONS:
        return f"{twice} requests were sent again"
    left = [p.name for p in layout.root.rglob("*") if p.name.endswith(".tmp")]
    return f"left behind: {left[0]}" if left else ""


def _figures() -> dict[str, pl.DataFrame]:
    deployment = Deployment.from_env()
    return {name: stacked(deployment, name) for name in FIGURES}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
