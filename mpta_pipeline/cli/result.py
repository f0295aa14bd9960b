"""What a command returns: tables and messages, which the terminal and `--json` show alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl
    from rich.console import RenderableType

    Rows = pl.DataFrame | Sequence[Mapping[str, Any]]
    Shown = Rows | Sequence[RenderableType] | None

Level = Literal["info", "note", "warning", "error"]


@dataclass(frozen=True)
class ResultTable:
    """A table of a result.

    Attributes:
        name: Its key in the output of `--json`; tables of one name become one list there.
        rows: The rows, with all columns.
        title: Title in the terminal.
        shown: What the terminal shows instead of the rows, e.g. fewer columns or formatted numbers.
    """

    name: str
    rows: Rows
    title: str = ""
    shown: Shown = None


@dataclass(frozen=True)
class Message:
    """A line of a result.

    Attributes:
        text: What to say. May contain text that others wrote: the renderer makes it safe to show.
        level: `info` and `note` go to standard output, and `--quiet` leaves them out; `warning` and `error` go to
            standard error.
        subject: What the message is about, e.g. a file or model; shown in front of the text.
    """

    text: str
    level: Level = "info"
    subject: str = ""


@dataclass
class Result:
    """What a command found or did, in the order in which the terminal shows it.

    Attributes:
        parts: Tables and messages.
        facts: Further values for `--json`, e.g. the path of a file that was written.
        ok: Whether the command succeeded; if not, it ends with exit code 1.
        then: What the command does after its result was shown, e.g. become another program.
    """

    parts: list[ResultTable | Message] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    ok: bool = True
    then: Callable[[], None] | None = None

    def table(
        self,
        name: str,
        rows: Rows,
        *,
        title: str = "",
        shown: Shown = None,
    ) -> None:
        """Add a table."""
        self.parts.append(ResultTable(name, rows, title, shown))

    def info(self, text: str, *, subject: str = "") -> None:
        """Add a line that says what was done."""
        self.parts.append(Message(text, "info", subject))

    def note(self, text: str, *, subject: str = "") -> None:
        """Add a line of background, shown in grey."""
        self.parts.append(Message(text, "note", subject))

    def warning(self, text: str, *, subject: str = "") -> None:
        """Add a warning."""
        self.parts.append(Message(text, "warning", subject))

    def error(self, text: str, *, subject: str = "") -> None:
        """Add an error; the command will end with exit code 1."""
        self.parts.append(Message(text, "error", subject))
        self.ok = False

    def extend(self, other: Result) -> None:
        """Add everything that another result holds."""
        self.parts += other.parts
        self.facts |= other.facts
        self.ok = self.ok and other.ok
