"""What a killed process leaves: no survey row outside the data folder, and nothing that no later command removes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import mpta_pipeline
from mpta_pipeline.core.storage import Layout, at_work, scratch, sweep
from mpta_pipeline.orchestration.command_runs import sole_command
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.publication import withdrawal

READ_SLOWLY = """
import time
from pathlib import Path
from mpta_pipeline.surveys import opening
with opening.opened(Path({path!r})) as file:
    print(file.path, flush=True)
    time.sleep(60)
"""


def test_a_kill_while_an_archive_is_unpacked_leaves_nothing_that_the_next_command_keeps(world, tmp_path, monkeypatch):
    import zipfile

    temporary = tmp_path / "system"
    temporary.mkdir()
    archive = tmp_path / "wave.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.write(world.surveys / "wave_2016.sav", "wave_2016.sav")
    environment = os.environ | world.environment | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", READ_SLOWLY.format(path=str(archive))],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as reading:
        unpacked = Path(reading.stdout.readline().strip())
        assert unpacked.is_file() and unpacked.is_relative_to(world.data)
        sweep(Layout.from_env())
        assert unpacked.is_file(), "a folder whose process lives is left alone"
        reading.send_signal(signal.SIGKILL)
    assert list(temporary.iterdir()) == [], "nothing lies in the system's temporary folder"
    assert unpacked.is_file(), "that is what a kill leaves"
    with dg.instance_for_test() as instance, sole_command(Deployment.from_env(), instance):
        pass
    assert not unpacked.exists()


def test_a_reader_whose_command_was_killed_ends_without_a_word(world):
    """It would print a traceback into the terminal of somebody who works on."""
    killed = """
import os, sys
from mpta_pipeline.surveys import readstat
readstat.Process().ask("describe", sys.argv[1], "sav")
os._exit(0)
"""
    words = [sys.executable, "-c", killed, str(world.surveys / "wave_2016.sav")]
    done = subprocess.run(words, capture_output=True, check=True)  # waits for the reader, too: it has the same pipes
    assert done.stderr == b""


@pytest.mark.usefixtures("finished")
def test_half_written_tables_are_removed_when_no_step_is_at_work(world):
    deployment = Deployment.from_env()
    layout = deployment.layout
    left = [
        layout.table("personas").with_name(".personas.parquet.abc.tmp"),
        layout.root / ".warehouse.duckdb.abc.tmp",
        layout.raw / ".0123456789ab.xyz",
    ]
    for path in left[:2]:
        path.write_bytes(b"half")
    left[2].mkdir()
    (left[2] / "0.arrow").write_bytes(b"rows")
    with at_work(layout):
        sweep(layout)
        assert all(path.exists() for path in left)
    assert sweep(layout) == 3
    assert not any(path.exists() for path in left)
    assert layout.table("personas").exists()


def test_scratch_goes_with_its_context_and_with_an_error(world):
    with pytest.raises(ZeroDivisionError), scratch() as folder:
        (folder / "rows").write_bytes(b"x")
        assert folder.is_relative_to(world.data) and folder.stat().st_mode & 0o77 == 0
        raise ZeroDivisionError
    assert not folder.exists()


def test_no_module_writes_rows_to_the_systems_temporary_folder():
    package = Path(mpta_pipeline.__file__).parent
    uses = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if "tempfile" in p.read_text("utf-8")}
    # The respondents of the example prompts are invented.
    assert uses == {"core/storage.py", "tasks/example_prompts.py"}


@pytest.mark.usefixtures("finished")
def test_after_a_withdrawal_every_file_is_looked_into(world, tmp_path):
    deployment = Deployment.from_env()
    home = tmp_path / "history"
    home.mkdir()
    for path in (
        home / "runs.db",
        deployment.layout.root / ".hidden.parquet.tmp",
        deployment.layout.root / "export.csv",
    ):
        path.write_bytes(b"x" * (1 << 22) + b"r_0123456789abcdef" + b"y")
        assert withdrawal.tables_with(deployment.layout, "r_0123456789abcdef", [home]) == [path]
        path.unlink()
    damaged = deployment.layout.table("panel")
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert withdrawal.tables_with(deployment.layout, "r_0123456789abcdef", [home]) == [damaged], "it proves nothing"


def test_a_folder_of_a_dead_process_is_told_from_one_of_a_living(world):
    layout = Layout.from_env()
    with scratch(layout) as mine:
        dead = mine.with_name("dead")
        dead.mkdir(parents=True)
        assert sweep(layout) == 1
        assert mine.exists() and not dead.exists()
