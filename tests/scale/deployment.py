"""One small study run in several places: same survey files, same model endpoint, compared table by table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import duckdb

from tests.factories.deployment import World, model, respondents, serving, write_wave  # noqa: F401

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "dagster_home" / "examples"
MODELS = ("one", "two")


class Deployment(World):
    """A deployment in a folder of its own, run by commands in processes of their own."""

    def __init__(self, root: Path, url: str, surveys: Path) -> None:
        super().__init__(root, url)
        self.models({name: model(url) | {"model": name} for name in MODELS})
        for file in surveys.iterdir():
            shutil.copy2(file, self.surveys)
        self.further: dict[str, str] = {}

    def use(self, example: str, **environment: str) -> Deployment:
        """Take an example's `dagster.yaml` and the environment that it asks for."""
        shutil.copy(EXAMPLES / example / "dagster.yaml", self.config)
        self.further |= environment
        return self

    def in_chunks(self, rows: int) -> Deployment:
        """Store tables in chunks of a few rows, in each process that starts with this environment."""
        folder = self.root / "few_rows"
        folder.mkdir()
        module = f"from mpta_pipeline.core import chunks\nchunks.CHUNK_ROWS = {rows}\n"
        (folder / "sitecustomize.py").write_text(module)
        self.further["PYTHONPATH"] = os.pathsep.join([str(folder), installed()["PYTHONPATH"]])
        return self

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `mpta` with these arguments in a process of its own."""
        return start(
            [sys.executable, "-m", "mpta_pipeline.cli", *arguments], self.environment | self.further | environment
        )

    def run(self, *arguments: str, **environment: str) -> str:
        """Run `mpta` and wait; its output."""
        return finish(self.start(*arguments, **environment))


def installed() -> dict[str, str]:
    """What an activated environment with the project sets: workers elsewhere call `dagster` by its name."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }


def start(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a command where the project is installed; both outputs in one."""
    return subprocess.Popen(
        command,
        env=os.environ | installed() | {"NO_COLOR": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def finish(process: subprocess.Popen[str], seconds: float = 300) -> str:
    """Wait for a command; it must succeed."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"not finished after {seconds:.0f} s: {process.communicate()[0]}") from None
    assert process.returncode == 0, output
    return output


def partitions(store: object) -> dict[str, bytes]:
    """Every stored Parquet partition below a folder (a path, or an object store's), by its place there."""
    files = [
        p
        for pattern in ("harmonized/*.parquet", "tables/**/*.parquet", "raw/*/*/*.parquet")
        for p in store.glob(pattern)
    ]
    return {"/".join(p.parts[len(store.parts) :]): p.read_bytes() for p in files}


def published(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """Rows of every table of a published DuckDB file, in the order in which they are stored."""
    with duckdb.connect(str(file), read_only=True) as con:
        names = [name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()]
        return {name: con.execute(f'select * from "{name}"').fetchall() for name in names}
