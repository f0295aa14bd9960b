"""Runs `mpta`, in this process or in one of its own, and what it leaves behind."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import duckdb
import hypothesis.strategies  # noqa: F401 - see tests/plain_run.py

from mpta_pipeline.cli import output
from mpta_pipeline.cli.entry_point import main
from tests import quick_dagster

WIDTH = 160


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def mpta(world, *arguments, **environment) -> Ended:
    """Run a command in this process, from its arguments to its exit code, as `mpta` itself does.

    A process of its own takes three seconds to load everything. `mpta_process` is for what only a process shows:
    signals, a terminal, what is imported.

    Args:
        world: The deployment; null if `environment` says where everything is.
        arguments: What stands after `mpta`.
        environment: Further environment variables.
    """
    quick_dagster.install()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        out, err = Path(folder) / "out", Path(folder) / "err"
        stack.enter_context(mock.patch.dict(os.environ, (world.environment if world else {}) | environment))
        stack.enter_context(mock.patch.object(sys, "argv", ["mpta", *arguments]))
        stack.enter_context(_libraries_as_before())
        for console in (output.out, output.err):
            stack.callback(setattr, console, "width", console.width)
            console.width = WIDTH
        stack.enter_context(_written_to("stdout", 1, out))
        stack.enter_context(_written_to("stderr", 2, err))
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return Ended(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


@contextmanager
def _written_to(name: str, descriptor: int, path: Path) -> Iterator[None]:
    """Lead a standard stream to a file, with its file descriptor: Dagster and libraries in C write there."""
    kept = os.dup(descriptor)
    with path.open("wb") as file:
        os.dup2(file.fileno(), descriptor)
    stream = os.fdopen(os.dup(descriptor), "w", encoding="utf-8")
    try:
        with mock.patch.object(sys, name, stream):
            yield
    finally:
        stream.close()
        os.dup2(kept, descriptor)
        os.close(kept)


@contextmanager
def _libraries_as_before() -> Iterator[None]:
    """Undo what a command sets for its whole process, so that libraries say nothing in its terminal."""
    with (
        warnings.catch_warnings(),
        mock.patch.object(threading, "excepthook", threading.excepthook),
        mock.patch.object(sys, "unraisablehook", sys.unraisablehook),
        mock.patch.object(logging.getLogger(), "handlers", [*logging.getLogger().handlers]),
    ):
        yield


def mpta_process(world, *arguments, **environment):
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mpta_pipeline.cli", *arguments],
        env=os.environ | world.environment | {"COLUMNS": str(WIDTH)} | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def tables(world):
    """Bytes of every stored table."""
    return {
        str(p.relative_to(world.data)): p.read_bytes()
        for p in sorted(world.data.rglob("*.parquet"))
        if "ledger" not in p.parts and ".tmp" not in p.name
    }


def published(layout):
    """The models whose figures are in the warehouse."""
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        return con.sql("select distinct model from subgroup_metrics").fetchall()
