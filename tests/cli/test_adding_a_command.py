"""The recipe for a new command, followed word by word: one file, and it is listed, documented and runs."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mpta_pipeline
from mpta_pipeline.cli import commands


@pytest.fixture
def package(tmp_path):
    """A copy of the package, so that the drill leaves the real one alone."""
    shutil.copytree(
        Path(mpta_pipeline.__file__).parent, tmp_path / "mpta_pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path


def recipe():
    """The file that the documentation of the folder shows."""
    lines = commands.__doc__.splitlines()
    code = [line for line in lines if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(code)).strip() + "\n"


def run(package, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "mpta_pipeline.cli", *arguments],
        cwd=package,
        env=os.environ | {"PYTHONPATH": str(package), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_file_adds_a_command(package, world):
    before = set(package.rglob("*.py"))
    (package / "mpta_pipeline" / "cli" / "commands" / "waves.py").write_text(recipe(), encoding="utf-8")
    assert len(set(package.rglob("*.py")) - before) == 1
    listed = run(package, "--help")
    assert listed.returncode == 0, listed.stderr
    assert "List the survey waves in use." in listed.stdout
    explained = run(package, "waves", "-h")
    assert "mpta waves --json" in explained.stdout and "--quiet" in explained.stdout
    done = run(package, "waves")
    assert done.returncode == 0 and "gss_extract-2016" in done.stdout, done.stderr
    document = json.loads(run(package, "waves", "--json").stdout)
    assert document["waves"] == [{"wave": "gss_extract-2016"}, {"wave": "gss_extract-2018"}]
    assert document["ok"] is True
