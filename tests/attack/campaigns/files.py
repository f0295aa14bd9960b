"""Mutated survey files of each format: read, or refused with one message that says what to do; never anything else."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.storage import Layout
from tests.attack.campaigns import Outcome
from tests.factories import survey_files
from tests.surveys.test_hostile_files import CASES

FORMATS = (".sav", ".zsav", ".dta", ".sas7bdat", "_compressed.sas7bdat", ".csv", ".sav.zip")


def files(n: int, root: Path, seed: int = 19) -> Iterator[Outcome]:
    """Read the hostile files of the suite and mutated ones in turn, `n` in all, and after them a good one."""
    rng, registry = random.Random(seed), surveys.load_sources()
    made = survey_files.wvs7(survey_files.wvs_people(per_country=10))
    good = {s: survey_files.write(made, root / f"good{s}").read_bytes() for s in FORMATS}
    for turn in range(n):
        if turn % 2 == 0 and turn // 2 < len(CASES):
            name = list(CASES)[turn // 2]
            suffix, content, _ = CASES[name]
            data, target = content(good), "the suite's"
        else:
            suffix = FORMATS[turn % len(FORMATS)]
            name, data = _mutated(good[suffix], rng)
            target = suffix
        with tempfile.TemporaryDirectory(dir=root) as folder:
            path = Path(folder) / f"dropped{suffix}"
            path.write_bytes(data)
            problem = _held(path, Layout(Path(folder) / "data"), registry)
            yield Outcome(target, problem and f"{name}: {problem}")
    with tempfile.TemporaryDirectory(dir=root) as folder:
        path = Path(folder) / "good.sav"
        path.write_bytes(good[".sav"])
        waves = surveys.recognize(path, registry).waves
        yield Outcome("a good file after them", "" if waves == ("wvs-7",) else f"recognized as {waves}")


def _mutated(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    changed = bytearray(data)
    what = rng.choice(("bytes", "header bytes", "cut", "hole", "doubled", "swapped"))
    at, length = rng.randrange(len(data)), rng.randrange(1, 400)
    if what in ("bytes", "header bytes"):
        for _ in range(rng.randrange(1, 8)):
            changed[rng.randrange(min(len(data), 6000) if what == "header bytes" else len(data))] = rng.randrange(256)
    elif what == "cut":
        del changed[at:]
    elif what == "hole":
        del changed[at : at + length]
    elif what == "doubled":
        changed[at:at] = changed[at : at + length]
    else:
        other = rng.randrange(len(data))
        piece = bytes(changed[at : at + length])
        changed[other : other + len(piece)] = piece
    return f"{what} at {at}", bytes(changed)


def _held(path: Path, layout: Layout, registry: surveys.SourceRegistry) -> str:
    try:
        surveys.ingest(path, "wvs-7", layout, registry)
    except MptaError as failure:
        text = str(failure)
        if "Remedy:" not in text or path.name not in text or not text.isprintable() or len(text) > 1500:
            return f"an unclear message: {text[:200]}"
        return "" if not list(layout.root.rglob("release.json")) else "refused, and kept"
    except BaseException as failure:  # polars' panics are not Exceptions
        if isinstance(failure, KeyboardInterrupt):
            raise
        return f"{type(failure).__name__}: {str(failure)[:200]}"
    return ""
