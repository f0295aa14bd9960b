"""Output of all commands: the consoles, the renderer for the terminal, and the renderer for `--json`.

Standard output carries the result. Warnings and errors go to standard error; so does progress under `--json`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from mpta_pipeline.cli import labels
from mpta_pipeline.cli.result import Message, Result, ResultTable
from mpta_pipeline.core.untrusted_text import printable

if TYPE_CHECKING:
    import polars as pl

# Tables need room: in a pipe, lines are this long, and a file or a pager shows them whole. A window keeps its width.
PIPE_WIDTH = 120
_COLOURS = {"note": "dim", "warning": "yellow", "error": "red"}


class _SafeConsole(Console):
    """A console that shows the control characters of foreign text instead of obeying them."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As in rich."""
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)


def _width(*, stderr: bool = False) -> int | None:
    """The width of lines; None for that of the window."""
    console = Console(stderr=stderr)
    return None if console.is_terminal or "COLUMNS" in os.environ else max(console.width, PIPE_WIDTH)


out = _SafeConsole(width=_width())
err = _SafeConsole(stderr=True, width=_width(stderr=True))
_silent = _SafeConsole(quiet=True)


@dataclass
class _Mode:
    """How the running command writes.

    Attributes:
        json: Write the result as one JSON document.
        quiet: Leave out progress, notes and hints.
        shown: Number of parts of the result that are in the terminal already.
    """

    json: bool = False
    quiet: bool = False
    shown: int = 0


_mode = _Mode()


@contextmanager
def mode(*, json: bool, quiet: bool) -> Iterator[None]:
    """Write in this way for the time of the context."""
    global _mode  # noqa: PLW0603 - one process runs one command
    before, _mode = _mode, _Mode(json, quiet)
    try:
        yield
    finally:
        _mode = before


def is_quiet() -> bool:
    """Whether the running command leaves out progress, notes and hints."""
    return _mode.quiet


def progress_console() -> Console:
    """The console for progress: standard output, under `--json` standard error, under `--quiet` none."""
    if _mode.quiet:
        return _silent
    return err if _mode.json else out


def progress(text: str, *, always: bool = False) -> None:
    """Say what is being done.

    Args:
        text: What to say.
        always: Say it under `--quiet`, too, on standard error.
    """
    console = err if always and _mode.quiet else progress_console()
    console.print(Text(printable(text), style="dim"), soft_wrap=True)


def show(result: Result) -> None:
    """Show the parts of a result that are not yet in the terminal; under `--json` nothing until the command ends."""
    if _mode.json:
        return
    for part in result.parts[_mode.shown :]:
        if isinstance(part, ResultTable):
            _show_table(part)
        else:
            _show_message(part)
    _mode.shown = len(result.parts)


def finish(result: Result) -> None:
    """Show what is left of a command's result, or under `--json` all of it."""
    if _mode.json:
        print(_as_json(result))
    else:
        show(result)


def line(text: str, level: str = "info", subject: str = "") -> Text:
    """A message as a line for the terminal: severity, subject, text."""
    colour = _COLOURS.get(level, "")
    shown = Text()
    if level in ("warning", "error"):
        shown.append(f"{level}: ", style=colour)
    if subject:
        shown.append(f"{printable(subject)}: ", style="bold" if level != "note" else colour)
    return shown.append(printable(text), style=colour if level == "note" else "")


def _show_message(message: Message) -> None:
    if message.level in ("warning", "error"):
        err.print(line(message.text, message.level, message.subject), soft_wrap=True)
    elif not _mode.quiet:
        out.print(line(message.text, message.level, message.subject), soft_wrap=True)


def _show_table(table: ResultTable) -> None:
    shown = table.rows if table.shown is None else table.shown
    if isinstance(shown, Sequence) and not (shown and isinstance(shown[0], Mapping)):
        if table.title and shown:
            out.print(Text(printable(table.title), style="bold"))
        for renderable in shown:
            out.print(renderable, soft_wrap=isinstance(renderable, Text))
        return
    out.print(rich_table(_frame(shown), title=table.title))


def _frame(rows: Any) -> pl.DataFrame:
    import polars as pl

    return rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), infer_schema_length=None)


def rich_table(frame: pl.DataFrame, *, title: str = "") -> Any:
    """A frame as a table for the terminal: columns by their labels, numbers to the right, three decimals."""
    from rich.table import Table as RichTable

    shown = RichTable(title=Text(printable(title)) if title else None, title_justify="left", header_style="bold")
    for name, dtype in frame.schema.items():
        shown.add_column(
            Text(printable(labels.heading(name))), justify="right" if dtype.is_numeric() else "left", overflow="fold"
        )
    for row in frame.iter_rows():
        shown.add_row(*(Text(_cell(value)) for value in row))
    return shown


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    return printable(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _as_json(result: Result) -> str:
    """A result as JSON: a list of rows per table, further facts, all messages, and whether the command succeeded."""
    import orjson

    document: dict[str, Any] = {}
    for part in result.parts:
        if isinstance(part, ResultTable):
            document.setdefault(part.name, []).extend(_frame(part.rows).to_dicts())
    document |= result.facts
    document["messages"] = [
        {"level": m.level, "subject": m.subject, "text": m.text} for m in result.parts if isinstance(m, Message)
    ]
    document["ok"] = result.ok
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(document, default=str, option=options).decode()
