"""Dagster's own command line reads the project without a complaint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpta_pipeline.pipeline import graph

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", ["check", "list"])
def test_dg_reads_all_definitions_without_a_warning(command, world):
    done = subprocess.run(
        [Path(sys.executable).with_name("dg"), command, "defs"],
        cwd=ROOT,
        env=os.environ | world.environment | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower(), done.stderr
    if command == "list":
        assert all(name in done.stdout for name in (*graph.assets(), *graph.SOURCES))
