"""Failures as a user meets them: one message instead of a stack trace."""

import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.errors import ConfigError
from tests.cli.command_line import mpta
from tests.factories.deployment import model


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--models", "nobody"], ["models.yaml", "nobody", "loopback"]),
        (["run", "--tasks", "nothing"], ["study.yaml", "nothing", "sample_myths"]),
        (["run", "--until", "never"], ["--until", "never", "prompts"]),
        (["trace", "nonsense"], ["nonsense", "Remedy"]),
    ],
)
def test_a_slip_is_one_message_with_the_remedy(world, arguments, words):
    done = mpta(world, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    message = " ".join(done.stderr.split())
    assert all(word in message for word in words), message


def test_a_folder_that_cannot_be_written_is_a_message(world):
    (world.root / "file").write_text("no folder")
    done = mpta(world, "run", MPTA_DATA_DIR=str(world.root / "file" / "data"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "Remedy: check that the folder can be written" in done.stderr


@pytest.mark.usefixtures("finished")
def test_ctrl_c_ends_with_a_message_and_the_next_run_goes_on(world, server):
    world.models({"asked": model(server.url) | {"model": "asked"}})
    server.delay = 0.05
    # A shell in the background ignores the signal, and a child would inherit that.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{listening}; from mpta_pipeline.cli import main; main()", "run"],
        env=os.environ | world.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while server.by_model["asked"] < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    server.delay = 0.0
    assert process.returncode == 130 and "Stopped." in said and "Traceback" not in said, said
    done = mpta(world, "run", "--until", "responses")
    assert done.returncode == 0, done.stderr
    assert max(server.asked.values()) <= 2 and sum(n - 1 for n in server.asked.values()) <= 16
    assert server.by_model["asked"] >= server.by_model["loopback"], "as many as the finished deployment's model"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "--models", "lopback"], "loopback"),
        (["run", "--tasks", "value_aligment"], "value_alignment"),
        (["run", "--until", "prompt"], "prompts"),
        (["models", "--models", "loopbak"], "loopback"),
        (["check", "--only", "ledger"], "ledgers"),
        (["export", "there", "--format", "hugging"], "huggingface"),
        (["score", "there.csv", "--task", "sample_myth"], "sample_myths"),
        (["score", "there.csv", "--items", "x.csv", "--kind", "bqq"], "bbq"),
    ],
)
def test_a_mistyped_name_is_refused_at_once_with_the_one_that_was_meant(world, arguments, meant):
    done = CliRunner().invoke(cli.app, arguments)
    assert isinstance(done.exception, ConfigError)
    assert f'did you mean "{meant}"?' in str(done.exception)
    assert not list(world.data.iterdir()), "nothing was made"


def failing(what, **environment):
    """A process in which a command fails that way."""
    imports = "import warnings, logging, threading\nfrom mpta_pipeline.cli.failures import reported"
    code = f"{imports}\nwith reported():\n    {what}"
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_an_unexpected_failure_is_a_message_and_its_traceback_a_file(tmp_path):
    done = failing("{}['absent']", MPTA_DATA_DIR=str(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: This is a bug in mpta: KeyError: 'absent'.") and "Remedy" in done.stderr
    (kept,) = tmp_path.glob("tracebacks/*.txt")
    assert "Traceback" in kept.read_text() and str(kept) in done.stderr
    assert kept.stat().st_mode & 0o077 == 0, "for the user alone"
    assert "Traceback" in failing("{}['absent']", MPTA_DEBUG="1").stderr


@pytest.mark.parametrize(
    ("driver", "text", "remedy"),
    [
        ("sqlite3", "database or disk is full", "free space"),
        ("sqlite3", "disk I/O error", "free space"),
        ("sqlite3", "attempt to write a readonly database", "let this user write"),
        ("sqlite3", "database disk image is malformed", "restore that folder"),
        ("sqlite3", "database is locked", "end the other process"),
        ("psycopg2", "could not extend file: No space left on device", "free space"),
        ("psycopg2", "connection to server at 127.0.0.1, port 1 failed", "can be reached"),
    ],
)
def test_a_history_that_cannot_be_written_is_a_message_without_the_statement(driver, text, remedy, tmp_path):
    raised = f"""
    import {driver}, sqlalchemy.exc
    try:
        raise {driver}.OperationalError({text!r})
    except Exception as failure:
        raise sqlalchemy.exc.OperationalError("INSERT", {{"event": "an answer of respondent 7"}}, failure)"""
    if driver == "psycopg2":
        pytest.importorskip("psycopg2")
    done = failing(raised, MPTA_DATA_DIR=str(tmp_path), DAGSTER_HOME="/the/home")
    assert done.returncode == 1 and "bug" not in done.stderr and "respondent 7" not in done.stderr
    assert f"Dagster's history in /the/home cannot be used: {text}." in done.stderr and remedy in done.stderr
    assert not (tmp_path / "tracebacks").exists()


def test_a_library_that_met_a_full_disk_says_so(tmp_path):
    done = failing(
        "raise RuntimeError('IO Error: could not write: No space left on device')", MPTA_DATA_DIR=str(tmp_path)
    )
    assert "No space left on device. Remedy: free space" in done.stderr and "bug" not in done.stderr


@pytest.mark.parametrize(
    "noise",
    [
        "warnings.warn('old')",
        "logging.getLogger('lib').error('late')",
        "threading.Thread(target=lambda: 1 / 0).start()",
        "type('T', (), {'__del__': lambda self: 1 / 0})()",
    ],
)
def test_what_libraries_say_stays_out_of_the_terminal(noise):
    done = failing(noise)
    assert (done.returncode, done.stderr) == (0, "")
    assert failing(noise, MPTA_DEBUG="1").stderr


def test_a_panic_of_polars_is_a_message(tmp_path):
    panic = "raise __import__('polars').exceptions.PanicException('index out of bounds')"
    done = failing(panic, MPTA_DATA_DIR=str(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr and "index out of bounds" in done.stderr


def test_a_second_ctrl_c_does_not_break_off_the_tidying_up():
    code = (
        "import os, signal, atexit\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mpta_pipeline.cli.failures import reported\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), print('tidied up')))\n"
        "with reported():\n    os.kill(os.getpid(), signal.SIGINT); input()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130 and done.stdout.strip() == "tidied up"
    assert done.stderr.startswith("Stopped.") and len(done.stderr.splitlines()) == 1
