"""Data folders and queries of versions before 0.2, which named some columns differently, keep working."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mpta_pipeline import surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.storage import Layout, read_parquet, write_parquet
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.pipeline.steps.metrics import keep_replaced
from mpta_pipeline.publication import warehouse, withdrawal
from tests.factories import stored_study as fab

RENAMED = [table for table in tables.PUBLISHED if table.earlier_names]


def with_earlier_names(frame: pl.DataFrame, table: tables.Table) -> pl.DataFrame:
    return frame.rename({new: old for old, new in table.earlier_names.items()})


@pytest.fixture
def earlier(tmp_path: Path) -> Layout:
    """A data folder whose tables a version before 0.2 stored."""
    layout = fab.store(tmp_path)
    for table in RENAMED:
        for path in warehouse.files(layout, table):
            write_parquet(with_earlier_names(read_parquet(path), table), path)
    return layout


def test_stored_tables_are_published_under_todays_names(earlier: Layout, tmp_path: Path) -> None:
    now = fab.store(tmp_path / "now")
    warehouse.publish(earlier)
    warehouse.publish(now)
    with (
        duckdb.connect(str(earlier.warehouse), read_only=True) as old,
        duckdb.connect(str(now.warehouse), read_only=True) as new,
    ):
        for table in tables.PUBLISHED:
            assert_frame_equal(old.sql(f"from {table.name}").pl(), new.sql(f"from {table.name}").pl())


def test_partitions_of_both_versions_lie_in_one_table(tmp_path: Path) -> None:
    layout = fab.store(tmp_path)
    path = layout.table("scores", fab.MODELS[0], "values")
    write_parquet(with_earlier_names(read_parquet(path), tables.SCORES), path)
    with warehouse.connect(layout) as con:
        assert con.sql("from scores where respondent_id is null").fetchall() == []
        assert "persona_id" not in con.table("scores").columns


def test_traces_and_replaced_ids_resolve(earlier: Layout) -> None:
    path = earlier.table("subgroup_metrics", fab.MODELS[0], "values")
    before = read_parquet(path)
    cited = before.filter(dimensions="all", baseline="").item(0, "figure_id")
    assert warehouse.trace(earlier, cited).kind == "estimate"
    assert warehouse.trace(earlier, "r_gss00").frame.height

    # A memory of replaced estimates that an earlier version wrote, and one more replacement beside it.
    rows = tables.SUBGROUP_METRICS.with_current_names(before).with_columns(
        estimate=pl.when(pl.col("dimensions") == "all").then(0.619).otherwise("estimate"),
        estimate_id=pl.lit(None, pl.String),
    )
    now = fab.estimates(*rows.iter_rows(named=True))
    kept = earlier.replaced_estimates(fab.MODELS[0], "values")
    keep_replaced(kept, before, now)
    write_parquet(with_earlier_names(read_parquet(kept), tables.REPLACED_ESTIMATES), kept)
    write_parquet(now, path)
    assert "is 61.9 % since 20" in warehouse.trace(earlier, cited).title
    keep_replaced(kept, now, now.filter(pl.col("dimensions") != "all"))
    assert cited in read_parquet(kept)["estimate_id"]


def test_a_withdrawal_reaches_stored_tables(earlier: Layout) -> None:
    study = Study(name="s", tasks={"values": TaskConfig(kind="value_alignment")})
    assert len(withdrawal.texts_of(earlier, "r_gss03", study)) > 1
    registry = surveys.load_sources()
    withdrawal.forget(
        earlier, registry, {}, withdrawal.Respondent("r_gss03", ("gss_extract-2018",)), on=date(2026, 1, 1)
    )
    for table in RENAMED:
        for path in warehouse.files(earlier, table):
            assert "r_gss03" not in read_parquet(path).write_ndjson(), path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = fab.store(tmp_path_factory.mktemp("data"))
    warehouse.publish(layout)
    return layout


def test_earlier_queries_run_in_a_schema_of_their_own(published: Layout) -> None:
    with duckdb.connect(str(published.warehouse), read_only=True) as con:
        for table in RENAMED:
            assert_frame_equal(
                con.sql(f"from before_0_2.{table.name}").pl(),
                with_earlier_names(con.sql(f"from {table.name}").pl(), table),
            )
        con.execute("use before_0_2")
        joined = con.sql(
            "select count(*) from scores join personas using (persona_id) join memberships using (persona_id)"
        )
        assert joined.fetchall()[0][0] > 0
        assert con.sql("select figure_id, figure_key from estimates").fetchall()
        assert con.sql("select dialect from recodes").fetchall()


def test_the_view_figures_keeps_its_columns(published: Layout) -> None:
    with duckdb.connect(str(published.warehouse), read_only=True) as con:
        figures, estimates = con.sql("from figures").pl(), con.sql("from estimates").pl()
    renamed = {"estimate_id": "figure_id", "estimate_key": "figure_key"}
    assert_frame_equal(figures, estimates.rename(renamed))
