"""`mpta export` and `mpta report`: what leaves the pipeline."""

import json

import polars as pl

from mpta_pipeline.core.storage import Layout
from tests.cli.command_line import mpta


def test_export_writes_what_the_policy_lets_out_and_nothing_else(world, server, tmp_path):
    """One command, both formats; what surveys.yaml forbids since the personas were made stays on this machine."""
    early = mpta(world, "export", str(tmp_path / "early"))
    assert early.returncode == 1 and "mpta run --until panel" in early.stderr
    assert mpta(world, "run", "--until", "panel").returncode == 0
    done = mpta(world, "export", str(tmp_path / "hub"))
    assert done.returncode == 0, done.stderr
    table = pl.read_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    assert f"{table.height:,} personas" in done.stdout
    assert "licence" in table.select("traits").explode("traits").unnest("traits").columns
    assert (tmp_path / "hub" / "README.md").read_text().startswith("---\n")
    done = mpta(world, "export", str(tmp_path / "old"), "--format", "reference_json", "--panel")
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "old" / "personas.json").read_text())
    assert len(records) == pl.read_parquet(Layout.from_env().table("panel")).height
    assert "?" in records[0]["data"][-1]["question"]
    policy = world.config / "surveys.yaml"
    policy.write_text("sources:\n  gss_extract: {data_use: local_only}\n")
    kept = mpta(world, "export", str(tmp_path / "none"))
    assert kept.returncode == 1 and "gss_extract" in kept.stderr and "Remedy" in kept.stderr
    assert not (tmp_path / "none").exists()


def test_the_report_is_published_again_without_a_request(world, server):
    refused = mpta(world, "report")
    assert refused.returncode == 1 and "There are no estimates yet" in refused.stderr
    assert mpta(world, "run").returncode == 0
    calls = server.calls
    Layout.from_env().report.unlink()
    done = mpta(world, "report")
    assert done.returncode == 0, done.stderr
    assert Layout.from_env().report.exists() and server.calls == calls
