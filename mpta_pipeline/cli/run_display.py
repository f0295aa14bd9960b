"""Live progress of a run: a bar per model and task while requests are sent, one for the tables that are being made.

In a terminal the bars are drawn at its bottom, and what is finished stays above them as a line. In a pipe or a log, a
line is written every half minute instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from mpta_pipeline.cli import output

if TYPE_CHECKING:
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.inference import RequestProgress

EVERY_SECONDS = 30.0  # between lines where no bars can be drawn


class RunDisplay(AbstractContextManager["RunDisplay"]):
    """Shows the progress of a run. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = Lock()
        self._stack = ExitStack()
        self._warned: set[tuple[str, str]] = set()
        self._rows: dict[tuple[str, str], TaskID] = {}
        self._done: set[tuple[str, str]] = set()
        self._tables: TaskID | None = None
        self._planned: set[Node] = set()
        self._latest_line: dict[tuple[str, str], float] = {}
        self._bars: Progress

    def __enter__(self) -> RunDisplay:
        self._stack.enter_context(output.bound_to_terminal())
        console = output.progress_console()
        self._drawn = console.is_terminal and not console.quiet
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False, style="dim"),
            console=console,
            transient=True,
            redirect_stdout=False,  # what steps print is captured and belongs to the logs of their run
            redirect_stderr=False,
            disable=not self._drawn,
        )
        self._stack.enter_context(self._bars)
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def say(self, text: str, *, always: bool = False) -> None:
        """Write a line with the seconds since the beginning.

        Args:
            text: What to say.
            always: Under `--quiet`, too.
        """
        output.progress(f"{time.monotonic() - self._began:6.1f} s  {text}", always=always)

    def jobs(self, text: str, warning: bool) -> None:
        """Say what becomes of the jobs of a step that is cut into some on a cluster."""
        if not warning:
            self.say(text)
            return
        with self._lock:
            console = output.progress_console()
            console = output.err if console.quiet else console
            console.print(output.line(text, "warning"), soft_wrap=True)

    # --- tables ---

    def before(self, nodes: Sequence[Node]) -> None:
        """Begin the bar of the tables that are made next; requests have bars of their own."""
        from mpta_pipeline.pipeline import graph

        tables = [node for node in nodes if not graph.TABLES[node.asset].sends_requests]
        with self._lock:
            if self._tables is not None:
                self._bars.remove_task(self._tables)
                self._tables = None
            self._planned = set(tables)
            if tables:
                group = graph.TABLES[tables[0].asset].group
                self._tables = self._bars.add_task(group, total=len(tables), facts="")

    def step(self, node: Node, what: Literal["begun", "ended"]) -> None:
        """Note the beginning or the end of a step."""
        with self._lock:
            if self._tables is None or node not in self._planned:
                return
            if what == "ended":
                self._planned.discard(node)
                self._bars.advance(self._tables)
                return
            task = next(task for task in self._bars.tasks if task.id == self._tables)
            self._bars.update(self._tables, facts=f"{node.asset} {node.partition}{_left(task)}")

    # --- requests ---

    def requests(self, now: RequestProgress) -> None:
        """Show how far a model is with a task."""
        key = (now.model, now.task)
        name = f"{now.model} on {now.task}" if now.task else now.model
        with self._lock:
            for warning in now.warnings:
                if (now.model, warning) not in self._warned:
                    self._warned.add((now.model, warning))
                    console = output.progress_console()
                    console = output.err if console.quiet else console
                    console.print(output.line(warning, "warning", now.model), soft_wrap=True)
            if self._drawn:
                self._draw(key, name, now)
            elif time.monotonic() - self._latest_line.setdefault(key, self._began) >= EVERY_SECONDS:
                self._latest_line[key] = time.monotonic()
                self.say(f"{name}: {now.done:,} of {now.total:,} answers{_facts(now)}")
            if now.done >= now.total and key not in self._done:
                self._done.add(key)
                self.say(f"{name}: all {now.total:,} requests have a response or an error{_facts(now, ended=True)}")

    def _draw(self, key: tuple[str, str], name: str, now: RequestProgress) -> None:
        if now.done >= now.total:
            if (row := self._rows.pop(key, None)) is not None:
                self._bars.remove_task(row)
            return
        if key not in self._rows:
            self._rows[key] = self._bars.add_task(name, total=now.total, facts="")
        self._bars.update(self._rows[key], completed=now.done, total=now.total, facts=_facts(now).removeprefix(", "))


def _facts(now: RequestProgress, *, ended: bool = False) -> str:
    """Rate, errors, dollars and remaining time."""
    facts = [f"{now.rate:.1f} per second"] if now.rate else []
    if now.errors:
        facts.append(f"{now.errors:,} errors")
    if now.spent:
        facts.append(f"{now.spent:.2f} US$")
    if now.remaining_seconds is not None and not ended:
        facts.append(f"{timedelta(seconds=round(now.remaining_seconds))} to go")
    return "".join(f", {fact}" for fact in facts)


def _left(task: Any) -> str:
    """The remaining time of a bar, from the mean of its finished steps."""
    if not task.completed or task.elapsed is None or task.total is None:
        return ""
    seconds = task.elapsed / task.completed * (task.total - task.completed)
    return f", {timedelta(seconds=round(seconds))} to go"
