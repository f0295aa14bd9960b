"""A flipped bit or a loss in a stored file of each kind: the estimates are as before, or the run stops and names it."""

import random
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import DamagedError, MptaError
from mpta_pipeline.core.provenance import read_only_copy, record_path
from mpta_pipeline.core.storage import listed
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import stacked
from tests.attack.campaigns import Outcome, environment
from tests.factories.deployment import STUDY, World, respondents, serving, write_wave
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
    "replaced estimates": "figures_before/**/*.parquet",
    "warehouse": "warehouse.duckdb",
    "report": "report.html",
    "record of a publication": "*.json",
}
FIGURES = ("responses", "scores", "subgroup_metrics", "pockets")
ONLY_COPIES = ("ledger", "part of a ledger", "replaced estimates")
"""What no run can make again: damage is named, and the file is left as it is."""
AGAIN = ((), ("record of a wave",), (), ("record of a wave",), ("record of a table",))
"""Records that are lost with the file, so that something reads it: the raw wave, or (slower) all other tables."""
RUNS = 4  # each run mends what it meets: a file, or what was half-way made from it


LOSSES = ("deleted", "emptied", "cut in half", "deleted with its folder")


def flips(n: int, root: Path, seed: int = 19) -> Iterator[Outcome]:
    """Flip one bit `n` times, over the kinds of stored files in turn."""

    def flip(path: Path, rng: random.Random) -> str:
        data = bytearray(path.read_bytes())
        bit = rng.randrange(len(data) * 8)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        return f"bit {bit}"

    yield from _attacks(n, root, seed, flip)


def losses(n: int, root: Path, seed: int = 19) -> Iterator[Outcome]:
    """Lose a stored file or a part of it `n` times, over the kinds of stored files and of losses in turn."""
    turns = count()

    def lose(path: Path, rng: random.Random) -> str:
        how = LOSSES[next(turns) // len(KINDS) % len(LOSSES)]
        if how == "deleted":
            path.unlink()
        elif how == "emptied":
            path.write_bytes(b"")
        elif how == "cut in half":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif path.parent.name == "data":
            return "left alone: everything is in its folder"
        else:
            shutil.rmtree(path.parent)
            path.parent.mkdir()
        return how

    yield from _attacks(n, root, seed, lose)


def _attacks(n: int, root: Path, seed: int, damage: Callable[[Path, random.Random], str]) -> Iterator[Outcome]:
    rng = random.Random(seed)
    with serving() as server:
        world = World(root, server.url)
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        with environment(world.environment):
            _finish(world)
            before, calls = _figures(), server.calls
            kept = root / "kept"
            shutil.copytree(world.data, kept)
            assert all(listed(world.data, pattern) for pattern in KINDS.values()), "a kind of file is not there"
            for turn in range(n):
                kind = list(KINDS)[turn % len(KINDS)]
                path = rng.choice([p for p in listed(world.data, KINDS[kind]) if p.stat().st_size])
                what = damage(path, rng)
                for again in AGAIN[turn // len(KINDS) % len(AGAIN)]:
                    for record in listed(world.data, KINDS[again]):
                        if record != record_path(path):
                            record.unlink()
                problem = _held(before, path, only_copy=kind in ONLY_COPIES)
                if server.calls != calls and "ledger" not in kind:
                    problem = problem or "requests were sent again"
                calls = server.calls
                yield Outcome(kind, problem and f"{path.relative_to(world.data)}, {what}: {problem}")
                shutil.rmtree(world.data)
                shutil.copytree(kept, world.data)


def _finish(world: World) -> None:
    """Run a study twice, with an item more: a ledger of a part and a segment, and estimates that were replaced."""
    task = STUDY["tasks"]["value_alignment"]
    world.study(STUDY | {"tasks": {"value_alignment": task | {"items": 2}}})
    deployment, _ = bring_up_to_date()
    ledger = Ledger(deployment.layout.ledger("loopback"))
    with ledger.writer():
        ledger.compact()
    world.study(STUDY | {"tasks": {"value_alignment": task}})
    bring_up_to_date()


def _figures() -> dict[str, pl.DataFrame]:
    deployment = Deployment.from_env()
    keys = {"responses": ("model", "prompt_id")}
    found = {name: _sorted(stacked(deployment, name), keys.get(name, ())) for name in FIGURES}
    replaced = deployment.layout.replaced_estimates("loopback", "value_alignment")
    return found | {"replaced estimates": read_only_copy(replaced) if replaced.exists() else pl.DataFrame()}


def _sorted(frame: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    return frame.sort(keys).drop("asked_at", "latency", "attempts", strict=False) if keys else frame


def _held(before: dict[str, pl.DataFrame], path: Path, *, only_copy: bool) -> str:
    try:
        told = integrity.check_all(Deployment.from_env())
        refusal = ""
        for _ in range(RUNS):
            try:
                bring_up_to_date()
                refusal = ""
                break
            except MptaError as failure:
                refusal = str(failure)
        if refusal:
            # What was paid for, for instance: the run stops, and names it.
            return "" if only_copy and path.name in refusal else f"does not recover: {refusal[:200]}"
        try:
            now = _figures()
        except DamagedError as failure:  # no run had read it; it is named, and counts as not made from now on
            if path.name not in str(failure):
                return f"names another file: {str(failure)[:200]}"
            if only_copy:
                return "" if any(path.name in f.message for f in told if not f.passed) else "the check is silent"
            bring_up_to_date()
            now = _figures()
    except BaseException as failure:  # polars' panics are not Exceptions
        if isinstance(failure, KeyboardInterrupt):
            raise
        return f"{type(failure).__name__}: {str(failure)[:200]}"
    if only_copy and now["replaced estimates"].is_empty():  # deleted
        now["replaced estimates"] = before["replaced estimates"]
    changed = [name for name, frame in before.items() if not now[name].equals(frame)]
    return f"changed without a word: {', '.join(changed)}" if changed else ""
