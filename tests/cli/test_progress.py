"""What a person sees while `mpta run` works: bars in a terminal, lines in a pipe, and no word of a library."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from mpta_pipeline.core.provenance import Node
from tests.cli.command_line import mpta
from tests.factories.deployment import model

# A shell in the background ignores the signal, and a child would inherit that.
LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
MPTA = [sys.executable, "-c", f"{LISTENING}; from mpta_pipeline.cli import main; main()"]


class Terminal:
    """A command in a terminal of its own, which is also its process group, as a shell starts one."""

    def __init__(self, world, *words, columns="100", **environment):
        mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*MPTA, *words],
            env=os.environ | world.environment | {"COLUMNS": columns, "TERM": "xterm"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.mine, self.seen = mine, ""

    def read(self, until=lambda seen: False, seconds=200):
        """Read until a condition holds or the command ends; returns what has been seen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until(self.seen):
            if not select.select([self.mine], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(self.mine, 65536)
            except OSError:  # the other end is closed
                break
            if not read:
                break
            self.seen += read.decode(errors="replace")
        return self.seen

    def interrupt(self):
        """Ctrl-C: the terminal sends the signal to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self):
        self.process.wait(timeout=60)
        os.close(self.mine)


def plain(seen):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)


@pytest.mark.usefixtures("finished")
def test_bars_are_drawn_while_models_are_asked_and_tables_are_made(world, server):
    """Each model has its own while requests are sent."""
    world.models({name: model(server.url) | {"model": name} for name in ("m1", "m2")})
    server.delay = 0.3
    terminal = Terminal(world, "run")
    seen = plain(terminal.read())
    terminal.close()
    assert terminal.process.returncode == 0, seen
    for name in ("m1", "m2"):
        drawn = re.findall(rf"{name} on value_alignment .*?(\d+)/(\d+) ([^\r\n]*to go)", seen)
        assert drawn, seen
        assert any(0 < int(done) < int(total) for done, total, _ in drawn)
        assert re.search(rf"metrics .*?\d+/\d+ .*subgroup_metrics {name}\|", seen), "and for the estimates"
        assert f"{name} on value_alignment: all" in seen, "what is finished stays"
    assert "Traceback" not in seen and "Warning" not in seen


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("pause", [0.02, 0.2])
def test_ctrl_c_in_a_terminal_leaves_one_sentence(world, server, pause):
    world.models({"loopback": model(server.url), "slow": model(server.url) | {"model": "slow"}})
    server.delay = 0.2
    terminal = Terminal(world, "run")
    terminal.read(until=lambda seen: server.by_model["slow"] > 5)
    for _ in range(3):
        terminal.interrupt()
        time.sleep(pause)
    seen = plain(terminal.read())
    terminal.close()
    assert terminal.process.returncode == 130, seen
    assert "Traceback" not in seen and "KeyboardInterrupt" not in seen, seen
    assert "Stopped. Everything received and stored so far is kept" in " ".join(seen.split())


def test_no_process_is_started_beside_a_run(world, server, monkeypatch):
    """Dagster copies captured output through processes that a Ctrl-C reaches, too; a command does without the copy."""
    started = []
    original = subprocess.Popen.__init__
    monkeypatch.setattr(
        subprocess.Popen,
        "__init__",
        lambda self, args, *a, **k: (started.append(args), original(self, args, *a, **k))[1],
    )
    done = mpta(world, "run", "--until", "harmonized_wave")
    assert done.returncode == 0, done.stderr
    assert [words for words in started if "tail" in words or "watch_orphans" in str(words)] == []


def test_in_a_pipe_progress_is_lines(world, server, capfd, monkeypatch):
    from mpta_pipeline.cli import run_display
    from mpta_pipeline.inference import RequestProgress

    monkeypatch.setattr(run_display, "EVERY_SECONDS", 0.0)
    with run_display.RunDisplay() as display:
        display.before([Node("scores", "m|t")])
        display.step(Node("scores", "m|t"), "begun")
        print("a step's own words", flush=True)
        for done in (10, 20):
            display.requests(RequestProgress("m", 20, done, 0, 1, 2.5, 0.25, 65.0, ("odd",), task="t"))
        display.step(Node("scores", "m|t"), "ended")
    lines = [line for line in capfd.readouterr().out.splitlines() if line]
    assert "warning: m: odd" in lines
    assert any("m on t: 10 of 20 answers, 2.5 per second, 1 errors, 0.25 US$, 0:01:05 to go" in line for line in lines)
    assert sum("odd" in line for line in lines) == 1
    assert "m on t: all 20 requests have a response or an error" in lines[-1]


def test_progress_reaches_the_terminal_while_a_step_is_captured(world, capfd):
    """The console is bound to the terminal before Dagster redirects standard output."""
    from dagster._core.execution.compute_logs import redirect_to_file

    from mpta_pipeline.cli import output

    captured = world.root / "captured.txt"
    captured.touch()
    with output.mode(json=False, quiet=False), output.bound_to_terminal(), redirect_to_file(sys.stdout, str(captured)):
        print("printed by a step", flush=True)
        output.progress("progress")
    assert captured.read_text() == "printed by a step\n"
    assert capfd.readouterr().out == "progress\n"


def test_quiet_nothing_but_the_result_is_on_standard_output(world):
    """`--json`: tests/cli/test_run.py."""
    done = mpta(world, "run", "--until", "harmonized_wave", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "harmonized_wave" not in done.stderr
