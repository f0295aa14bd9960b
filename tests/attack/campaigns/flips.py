"""One flipped bit in a stored file of each kind: the estimates are as before, or the run stops and names the file."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import DamagedError, MptaError
from mpta_pipeline.core.storage import listed
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import stacked
from tests.attack.campaigns import Outcome, environment
from tests.factories.deployment import World, respondents, serving, write_wave
from tests.plain_run import bring_up_to_date

KINDS = {
    "raw rows": "raw/*/*/data.parquet",
    "raw variables": "raw/*/*/variables.parquet",
    "release": "raw/*/*/release.json",
    "list of releases": "raw/*/current.json",
    "harmonized wave": "harmonized/*.parquet",
    "record of a wave": "harmonized/*.parquet.json",
    "table": "tables/**/*.parquet",
    "record of a table": "tables/**/*.parquet.json",
    "ledger": "ledger/**/*.log",
    "part of a ledger": "ledger/**/part-*.parquet",
    "warehouse": "warehouse.duckdb",
    "report": "report.html",
    "record of a publication": "*.json",
}
FIGURES = ("responses", "scores", "subgroup_metrics", "pockets")
RUNS = 4  # each run mends what it meets: a file, or what was half-way made from it


def flips(n: int, root: Path, seed: int = 19) -> Iterator[Outcome]:
    """Flip one bit `n` times, over the kinds of stored files in turn."""
    rng = random.Random(seed)
    with serving() as server:
        world = World(root, server.url)
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        with environment(world.environment):
            bring_up_to_date()
            before, calls = _figures(), server.calls
            kept = root / "kept"
            shutil.copytree(world.data, kept)
            kinds = {kind: pattern for kind, pattern in KINDS.items() if listed(world.data, pattern)}
            for turn in range(n):
                kind = list(kinds)[turn % len(kinds)]
                path = rng.choice([p for p in listed(world.data, kinds[kind]) if p.stat().st_size])
                data = bytearray(path.read_bytes())
                bit = rng.randrange(len(data) * 8)
                data[bit // 8] ^= 1 << bit % 8
                path.write_bytes(data)
                problem = _held(before, path, ledger="ledger" in kind)
                if server.calls != calls and "ledger" not in kind:
                    problem = problem or "requests were sent again"
                calls = server.calls
                yield Outcome(kind, problem and f"{path.relative_to(world.data)}, bit {bit}: {problem}")
                shutil.rmtree(world.data)
                shutil.copytree(kept, world.data)


def _figures() -> dict[str, pl.DataFrame]:
    deployment = Deployment.from_env()
    keys = {"responses": ("model", "prompt_id")}
    return {name: _sorted(stacked(deployment, name), keys.get(name, ())) for name in FIGURES}


def _sorted(frame: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    return frame.sort(keys).drop("asked_at", "latency", "attempts", strict=False) if keys else frame


def _held(before: dict[str, pl.DataFrame], path: Path, *, ledger: bool) -> str:
    try:
        integrity.check_all(Deployment.from_env())
        refusal = ""
        for _ in range(RUNS):
            try:
                bring_up_to_date()
                refusal = ""
                break
            except MptaError as failure:
                refusal = str(failure)
        if refusal:
            # A damaged ledger is the only copy of what was paid for: the run stops, and names it.
            return "" if ledger and path.name in refusal else f"does not recover: {refusal[:200]}"
        try:
            now = _figures()
        except DamagedError as failure:  # no run had read it; it is named, and counts as not made from now on
            if path.name not in str(failure):
                return f"names another file: {str(failure)[:200]}"
            bring_up_to_date()
            now = _figures()
    except BaseException as failure:  # polars' panics are not Exceptions
        if isinstance(failure, KeyboardInterrupt):
            raise
        return f"{type(failure).__name__}: {str(failure)[:200]}"
    changed = [name for name, frame in before.items() if not now[name].equals(frame)]
    return f"changed without a word: {', '.join(changed)}" if changed else ""
