"""Runs `mpta` in a process of its own, and what it leaves behind."""

import os
import subprocess
import sys

import duckdb


def mpta(world, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "mpta_pipeline.cli", *arguments],
        env=os.environ | world.environment | {"COLUMNS": "160"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def tables(world):
    """Bytes of every stored table."""
    return {
        str(p.relative_to(world.data)): p.read_bytes()
        for p in sorted(world.data.rglob("*.parquet"))
        if "ledger" not in p.parts and ".tmp" not in p.name
    }


def published(layout):
    """The models whose figures are in the warehouse."""
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        return con.sql("select distinct model from subgroup_metrics").fetchall()
