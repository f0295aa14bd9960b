"""`mpta export` and `mpta report`: what leaves the pipeline."""

import json

import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.storage import Layout
from tests.cli.command_line import mpta


@pytest.mark.usefixtures("finished")
def test_export_writes_what_the_policy_lets_out_and_nothing_else(world, tmp_path):
    """One command, both formats; what surveys.yaml forbids since the personas were made stays on this machine."""
    early = mpta(world, "export", str(tmp_path / "early"), MPTA_DATA_DIR=str(tmp_path / "empty"))
    assert early.returncode == 1 and "mpta run --until panel" in early.stderr
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


@pytest.mark.usefixtures("finished")
def test_the_report_is_published_again_without_a_request(world, server, tmp_path):
    refused = mpta(world, "report", MPTA_DATA_DIR=str(tmp_path / "empty"))
    assert refused.returncode == 1 and "There are no estimates yet" in refused.stderr
    calls = server.calls
    Layout.from_env().report.unlink()
    done = mpta(world, "report")
    assert done.returncode == 0, done.stderr
    assert Layout.from_env().report.exists() and server.calls == calls


def test_score_as_json_holds_every_table_and_what_was_assumed(tmp_path, monkeypatch):
    monkeypatch.setenv("MPTA_CONFIG_DIR", str(tmp_path / "none"))
    file = tmp_path / "answers.csv"
    file.write_text(
        "respondent_id,question,options,answer,own_answer\n"
        'p1,Is it so?,"[""yes"", ""no""]",yes,yes\np2,Is it so?,"[""yes"", ""no""]",no,yes\n',
        encoding="utf-8",
    )
    done = CliRunner().invoke(cli.app, ["score", str(file), "--json", "--out", str(tmp_path / "estimates.csv")])
    document = json.loads(done.stdout)
    (accuracy,) = [
        row
        for row in document["estimates"]
        if (row["metric"], row["dimensions"], row["baseline"]) == ("accuracy", "all", "")
    ]
    assert accuracy["estimate"] == 0.5
    assert document["comparison"] == [] and document["pockets"] == []
    assert document["files"] == [str(tmp_path / "estimates.csv")] and document["ok"]
    looked = json.loads(CliRunner().invoke(cli.app, ["score", str(file), "--look", "--json"]).stdout)
    assert "Will be computed" in [section["heading"] for section in looked["preview"]]
