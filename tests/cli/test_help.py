"""Help, version and start-up: every command explains itself with examples that the parser accepts."""

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.cli.command import COMMANDS

GROUP = typer.main.get_command(cli.app)


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_a_help_text_with_examples(name, option):
    done = CliRunner().invoke(cli.app, [name, option], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    assert f"mpta {name}" in done.output.partition("Examples")[2]


@pytest.mark.parametrize("line", [line for one in COMMANDS.values() for line in one.examples])
def test_every_example_is_understood(line):
    """Parsed, not run: names of options and the number of arguments are right."""
    words = shlex.split(line.partition("  #")[0])
    words = words[words.index("mpta") + 1 :]
    command = GROUP.commands[words[0]]
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_that_shows_a_result_takes_json_and_quiet(name):
    names = {option for parameter in GROUP.commands[name].params for option in parameter.opts}
    assert {"--json", "--quiet", "-q"} <= names


def test_the_version_is_the_one_of_the_installed_package():
    done = CliRunner().invoke(cli.app, ["--version"])
    assert done.output.strip() == f"mpta {version('mpta-pipeline')}"


def test_a_mistyped_command_or_option_is_told():
    assert "surveys" in CliRunner().invoke(cli.app, ["survey"]).output
    done = CliRunner().invoke(cli.app, ["run", "--model", "x"])
    assert done.exit_code == 2 and "--models" in done.output


def test_help_loads_neither_dagster_nor_polars():
    code = (
        "import sys; from mpta_pipeline import cli; print(sorted({'polars', 'dagster', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_texts_end_their_sentences_and_name_no_key_of_a_table():
    for name, command in COMMANDS.items():
        text = " ".join((command.run.__doc__ or "").split())
        assert text.endswith("."), name
        assert not re.search(r"\bfigures?\b|\breply\b|\basked?\b", text), name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_offers_the_commands(shell):
    words = {"COMP_WORDS": "mpta sta", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "mpta sta"}
    done = subprocess.run(
        [sys.executable, "-c", "from mpta_pipeline.cli import app; app(prog_name='mpta')"],
        env={**os.environ, **words, "_MPTA_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "status" in done.stdout and "surveys" not in done.stdout
