"""Entry point of `mpta`: collects the commands, and turns every failure into one message and an exit code."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import typer

from mpta_pipeline.cli import commands
from mpta_pipeline.cli.command import COMMANDS, Group, examples_text
from mpta_pipeline.cli.failures import reported

EXAMPLES = (
    "mpta demo  # the whole pipeline on real survey extracts and an embedded model",
    "mpta run  # bring your own study up to date",
    "mpta surveys --json  # any result as JSON",
    "mpta plan --help  # what a command does, with examples",
)


def _version(wanted: bool) -> None:
    if wanted:
        import mpta_pipeline

        typer.echo(f"mpta {mpta_pipeline.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Measure, subgroup by subgroup, how well language models answer as the people of real surveys do."""


def collect() -> typer.Typer:
    """The application with the commands of every module in `commands/`, by group and name."""
    application = typer.Typer(
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=examples_text(EXAMPLES),
    )
    application.callback()(_options)
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{module.name}")
    order = list(Group)
    for one in sorted(COMMANDS.values(), key=lambda one: (order.index(one.group), one.name)):
        application.command(one.name, rich_help_panel=one.group.value, epilog=one.epilog)(one.run)
    return application


app = collect()


def main() -> None:
    """Run `mpta`; a failure is one message, never a stack trace."""
    with reported():
        app()
