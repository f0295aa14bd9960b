"""Registration of commands: a decorator that names the group and gives examples, and adds `--json` and `--quiet`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from mpta_pipeline.cli.result import Result

F = TypeVar("F", bound=Callable[..., Result])

_JSON = Annotated[bool, typer.Option("--json", help="Write the result as JSON.", rich_help_panel="Output")]
_QUIET = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Leave out progress, notes and hints.", rich_help_panel="Output"),
]


class Group(StrEnum):
    """Groups of commands, in the order of `mpta --help`."""

    START = "Get started"
    STUDY = "Run a study"
    INPUTS = "Surveys and models"
    RESULTS = "Use the results"
    MAINTENANCE = "Look after the data"


@dataclass(frozen=True)
class Command:
    """A registered command.

    Attributes:
        name: Its name after `mpta`.
        group: Where `mpta --help` lists it.
        run: What Typer calls.
        examples: Command lines that `--help` shows, each with an optional comment after `#`.
    """

    name: str
    group: Group
    run: Callable[..., None]
    examples: tuple[str, ...]

    @property
    def epilog(self) -> str:
        """The examples as `--help` shows them."""
        return examples_text(self.examples)


COMMANDS: dict[str, Command] = {}
"""All registered commands by name."""


def command(group: Group, *, examples: Sequence[str], name: str | None = None) -> Callable[[F], F]:
    """Register a command.

    Args:
        group: Where `mpta --help` lists it.
        examples: Command lines that `mpta NAME --help` shows; a comment may follow after `#`.
        name: Its name; by default the function's, with `-` for `_`.
    """

    def register(function: F) -> F:
        named = name or function.__name__.replace("_", "-")
        if named in COMMANDS:
            raise RuntimeError(f"two modules of mpta_pipeline/cli/commands/ register the command {named!r}")
        COMMANDS[named] = Command(named, group, _with_output(function), tuple(examples))
        return function

    return register


def examples_text(examples: Sequence[str]) -> str:
    """Example command lines as the end of a help text, with their comments below each other."""
    split = [line.partition("  #") for line in examples]
    width = max(len(words.strip()) for words, _, _ in split)
    lines = [f"{words.strip():{width}}  # {why.strip()}" if why else words.strip() for words, _, why in split]
    return "[bold]Examples[/bold]\n" + "\n".join(line.replace("[", "\\[") for line in lines)


def _with_output(function: Callable[..., Result]) -> Callable[..., None]:
    """The function with `--json` and `--quiet`, whose result is shown and decides the exit code."""
    own = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def with_result(*, json: bool = False, quiet: bool = False, **options: Any) -> None:
        from mpta_pipeline.cli import output

        with output.mode(json=json, quiet=quiet):
            result = function(**options)
            output.finish(result)
        if not result.ok:
            raise typer.Exit(1)
        if result.then is not None:
            result.then()

    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("json", _JSON), ("quiet", _QUIET))
    ]
    parameters = [*own.parameters.values(), *extra]
    with_result.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_result.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_result
