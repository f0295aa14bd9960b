"""The nightly full check: each fault that it is there for is injected and found, and nothing else is told."""

from dataclasses import replace

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli, surveys
from mpta_pipeline.core.provenance import checksum, read_record, write_record
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment


@pytest.fixture
def deployment(finished, world):
    """A copy of a deployment that has run."""
    return Deployment.from_env()


def failed(deployment, only=None):
    return [f for f in integrity.check_all(deployment, only) if not f.passed]


def test_a_deployment_that_has_run_passes_every_check(deployment):
    found = integrity.check_all(deployment)
    assert {f.check for f in found} == set(integrity.CHECKS), "each check has looked at something"
    assert [f for f in found if not f.passed] == []


def replaced(path, **columns):
    """Replace columns of a stored table: its bytes are whole, only its content is not what was recorded."""
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)
    write_record(path, replace(read_record(path), checksum=checksum(path)))


def test_a_table_with_a_value_out_of_its_bounds_is_named(deployment):
    replaced(deployment.layout.table("scores", "loopback", "sample_myths"), status=pl.lit("splendid"))
    tables, records = failed(deployment, "stored_tables"), failed(deployment, "records")
    assert [(f.subject, f.severity) for f in tables] == [("tables/scores/loopback/sample_myths", "error")]
    assert "isin" in tables[0].message
    assert [f.subject for f in records] == ["tables/scores/loopback/sample_myths"], "and it is not what was recorded"


def test_a_partition_that_cannot_be_read_or_lost_its_record_is_named(deployment):
    panel, items = deployment.layout.table("panel"), deployment.layout.table("items", "sample_myths")
    panel.write_bytes(panel.read_bytes()[:50])
    items.with_name("sample_myths.parquet.json").unlink()
    assert [f.subject for f in failed(deployment, "stored_tables")] == ["tables/panel/panel"]
    waiting = failed(deployment, "in_step")
    assert {f.subject for f in waiting} >= {"items|sample_myths"} and {f.severity for f in waiting} == {"warn"}


def test_a_published_marginal_and_a_quality_rule_are_looked_at_as_stored(deployment):
    replaced(deployment.layout.harmonized("gss_extract-2018"), sex=pl.lit("neither"))
    found = failed(deployment, "waves")
    assert any(f.subject == "gss_extract-2018: schema" and f.severity == "error" for f in found)


def test_a_changed_line_of_a_ledger_and_a_lost_answer_are_errors(deployment):
    log = next(deployment.layout.ledger("loopback").glob("*.log"))
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0].replace(b'"text"', b'"TEXT"'), *lines[1:]]))
    found = failed(deployment, "ledgers")
    assert len(found) == 2 and {f.severity for f in found} == {"error"}
    assert "checksum" in found[0].message and "1 answer(s)" in found[1].message


def test_a_warehouse_that_was_changed_is_an_error_and_one_that_is_behind_a_warning(deployment):
    with duckdb.connect(str(deployment.layout.warehouse)) as con:
        con.execute("delete from scores where prompt_id = (select min(prompt_id) from scores)")
    found = failed(deployment, "published")
    assert [(f.subject, f.severity) for f in found] == [("warehouse.duckdb", "error"), ("scores", "warn")]


def test_a_survey_file_that_changed_without_a_sign_and_a_cut_snapshot_are_found(deployment, tmp_path):
    folder = next(deployment.layout.raw.glob("gss_extract-2016/*/"))
    data = folder / "data.parquet"
    pl.read_parquet(data).head(50).write_parquet(data)
    found = failed(deployment, "snapshots")
    assert [(f.subject, f.severity) for f in found] == [("gss_extract-2016", "error")]
    assert "is damaged" in found[0].message


def test_somebody_who_withdrew_and_is_still_there_is_an_error(deployment):
    who = pl.read_parquet(deployment.layout.table("personas"))["respondent_id"][0]
    surveys.add_withdrawal(deployment.layout, who, ["gss_extract-2016"], on=pl.Series(["2026-11-23"]).str.to_date()[0])
    assert {f.subject for f in failed(deployment, "withdrawn")} >= {"tables/personas/personas"}


def test_a_check_that_cannot_be_carried_out_has_failed_and_the_others_go_on(deployment):
    (deployment.layout.root / "withdrawn.json").write_text("{")
    found = failed(deployment)
    assert {f.check for f in found} >= {"withdrawn", "waves"} and "published" not in {f.check for f in found}


def test_the_command_shows_a_table_and_its_code_says_whether_something_is_wrong(deployment):
    fine = CliRunner().invoke(cli.app, ["check"])
    assert fine.exit_code == 0 and "holds" in fine.output and "WRONG" not in fine.output
    path = deployment.layout.table("panel")
    pl.read_parquet(path).head(3).write_parquet(path)
    wrong = CliRunner().invoke(cli.app, ["check", "--only", "records"])
    assert wrong.exit_code == 1 and "WRONG" in wrong.output and "tables/panel/panel" in wrong.output
    assert "stored_tables" not in wrong.output
