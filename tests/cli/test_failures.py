"""Failures as a user meets them: one message instead of a stack trace."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.command_line import mpta


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


def test_ctrl_c_ends_with_a_message_and_the_next_run_goes_on(world, server):
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
    while server.calls < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    server.delay = 0.0
    assert process.returncode == 130 and "Stopped." in said and "Traceback" not in said, said
    done = mpta(world, "run")
    assert done.returncode == 0, done.stderr
    assert max(server.asked.values()) <= 2 and sum(n - 1 for n in server.asked.values()) <= 16
