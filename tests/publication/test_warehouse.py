"""The published file: complete, the same each time, described, and never lost by a failure or an open reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mpta_pipeline.core import tables
from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.storage import Layout, write_parquet
from mpta_pipeline.publication import warehouse
from tests.factories import stored_study as fab


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = fab.store(tmp_path_factory.mktemp("data"))
    warehouse.publish(layout)
    return layout


def ask(layout: Layout, query: str) -> pl.DataFrame:
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        return con.sql(query).pl()


@pytest.mark.parametrize("table", tables.PUBLISHED, ids=lambda t: t.name)
def test_every_published_table_has_its_declared_columns_and_comments(published: Layout, table: tables.Table) -> None:
    columns = ask(
        published,
        f"select column_name, comment from duckdb_columns() "
        f"where schema_name = 'main' and table_name = '{table.name}' order by column_index",
    )
    assert columns["column_name"].to_list()[: len(table.columns)] == [c.name for c in table.columns]
    assert columns["comment"].to_list()[: len(table.columns)] == [c.description for c in table.columns]
    comment = ask(published, f"select comment from duckdb_tables() where table_name = '{table.name}'")
    assert comment.item() == table.description


@pytest.mark.parametrize("view", tables.VIEWS, ids=lambda v: v.name)
def test_every_view_has_its_declared_columns_and_its_key_is_unique(published: Layout, view: tables.View) -> None:
    frame = ask(published, f"from {view.name}")
    assert dict(frame.schema) == dict(view.schema)
    assert frame.select(view.key).is_unique().all()
    comment = ask(published, f"select comment from duckdb_views() where view_name = '{view.name}' and not internal")
    assert view.description in comment["comment"].to_list()


def test_everything_published_has_a_comment(published: Layout) -> None:
    silent = ask(
        published,
        """select schema_name, table_name, column_name from duckdb_columns()
           where not internal and coalesce(comment, '') = ''
           union all select schema_name, table_name, '' from duckdb_tables()
           where not internal and coalesce(comment, '') = ''
           union all select schema_name, view_name, '' from duckdb_views()
           where not internal and coalesce(comment, '') = ''""",
    )
    assert silent.rows() == []


def test_reported_estimates_are_one_row_each_with_weights_where_there_are_some(tmp_path: Path) -> None:
    """Each estimate has a row with weights, one without, and more of both per baseline: sums counted it repeatedly."""
    rows = [
        fab.estimate(subgroup=subgroup, weighted=weighted, baseline=baseline, estimate=value, baseline_estimate=beside)
        for subgroup, weighted, baseline, value, beside in (
            ("all", False, "", 0.5, None),
            ("all", False, "chance", 0.5, 0.25),
            ("all", True, "", 0.6, None),
            ("all", True, "chance", 0.6, 0.3),
            ("all", True, "item_mode", 0.6, 0.7),
            ("female", False, "", 0.4, None),
        )
    ]
    layout = fab.store(tmp_path)
    for path in warehouse.files(layout, tables.SUBGROUP_METRICS):
        path.unlink()
    write_parquet(fab.estimates(*rows), layout.table("subgroup_metrics", fab.MODELS[0], "values"))
    warehouse.publish(layout)
    found = ask(layout, "from reported_estimates order by subgroup")
    assert found.select(
        "subgroup", "weighted", "estimate", "unweighted_estimate", "chance", "most_frequent"
    ).rows() == [("all", True, 0.6, 0.5, 0.3, 0.7), ("female", False, 0.4, None, None, None)]
    assert found["baselines"].to_list() == [
        [{"baseline": "chance", "baseline_estimate": 0.3}, {"baseline": "item_mode", "baseline_estimate": 0.7}],
        [],
    ]


def test_a_table_without_partitions_is_empty_but_typed(published: Layout) -> None:
    assert_frame_equal(ask(published, "from pockets"), tables.POCKETS.empty())


@pytest.mark.parametrize("name", ["waves", "scores", "subgroup_metrics", "personas", "prompts", "variables"])
def test_a_table_is_its_partitions_one_below_the_other(published: Layout, name: str) -> None:
    table = next(t for t in tables.PUBLISHED if t.name == name)
    stored = pl.concat([pl.read_parquet(p) for p in warehouse.files(published, table)])
    assert stored.height > 0
    assert_frame_equal(ask(published, f"from {name}"), stored)


def test_what_is_left_out_is_kept_but_not_published(tmp_path: Path) -> None:
    layout = fab.store(tmp_path)
    gone = layout.table("scores", fab.MODELS[1], "myths")
    warehouse.leave_out(layout, [gone])
    warehouse.publish(layout)
    known = "from (select distinct model, task from scores) select count(*)"
    assert gone.exists() and ask(layout, known).item() == 3
    with warehouse.connect(layout) as con:
        assert con.sql(known).fetchall() == [(3,)]
    warehouse.leave_out(layout, [])
    warehouse.publish(layout)
    assert ask(layout, known).item() == 4


def test_respondents_of_waves_with_different_columns_stand_in_one_table(published: Layout) -> None:
    frame = ask(published, "from respondents")
    assert frame.height == 2 * fab.PEOPLE
    assert frame.filter(pl.col("survey") == "wvs")["trust_gss_extract"].null_count() == fab.PEOPLE


def test_only_variables_of_the_current_release_are_published(tmp_path: Path) -> None:
    layout = fab.store(tmp_path)
    old = layout.raw / "wvs-7" / "000000000000" / "variables.parquet"
    write_parquet(fab.variables("wvs-7").with_columns(pl.lit("wvs-7@000000000000").alias("release_id")), old)
    warehouse.publish(layout)
    assert set(ask(layout, "select distinct release_id from variables")["release_id"]) == set(
        map(fab.release, fab.WAVES)
    )


def test_answers_name_variable_native_code_and_label(published: Layout) -> None:
    row = ask(published, """from answers where respondent_id = 'r_wvs03' and "column" = 'trust_wvs'""").row(
        0, named=True
    )
    assert row == {
        "respondent_id": "r_wvs03",
        "wave": "wvs-7",
        "release_id": "wvs-7@bbbbbbbbbbbb",
        "column": "trust_wvs",
        "concept": "trust",
        "value": "can be trusted",
        "missing": None,
        "native_code": "1",
        "native_label": "label of can be trusted",
        "variable": "Q57",
        "text": "says can be trusted",
    }


def test_answers_hold_one_row_a_respondent_and_column_asked_with_missing_kinds(published: Layout) -> None:
    """A column that a wave does not have gives no row; a missing answer gives one with its kind and code."""
    frame = ask(published, "from answers")
    assert frame.height == 2 * fab.PEOPLE * 3
    assert frame.select("respondent_id", "column").is_unique().all()
    absent = frame.filter(pl.col("missing").is_not_null())
    assert absent.select("respondent_id", "value", "missing", "native_code", "native_label").unique().height == 2
    assert absent["native_label"].unique().to_list() == ["label of don't know"]


def test_whole_numbers_are_written_without_a_point(published: Layout) -> None:
    ages = ask(published, """select value from answers where "column" = 'age' and respondent_id = 'r_gss01'""")
    assert ages.item() == "25"


def test_publishing_twice_gives_identical_tables(tmp_path: Path) -> None:
    layout = fab.store(tmp_path)
    names = [*(t.name for t in tables.PUBLISHED), *warehouse.VIEWS]
    warehouse.publish(layout)
    first = {name: ask(layout, f"from {name}") for name in names}
    warehouse.publish(layout)
    for name in names:
        assert_frame_equal(
            ask(layout, f"from {name}"), first[name], check_row_order=name in {t.name for t in tables.PUBLISHED}
        )


def test_an_open_reader_keeps_the_old_file_and_stops_nothing(tmp_path: Path) -> None:
    """An open notebook must not fail the pipeline: DuckDB locks a file against a second process that writes."""
    layout = fab.store(tmp_path)
    warehouse.publish(layout)
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline();"
            "print(c.execute('select count(*) from pockets').fetchall(), flush=True)",
            str(layout.warehouse),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout
    assert reader.stdin
    assert reader.stdout.readline() == "open\n"
    layout.table("scores", "other", "myths").unlink()
    warehouse.publish(layout)
    assert ask(layout, "select distinct model from scores where task = 'myths'").height == 1
    assert warehouse.trace(layout, "r_wvs03").kind == "persona"
    reader.stdin.write("\n")
    reader.stdin.flush()
    assert reader.stdout.readline() == "[(0,)]\n"
    assert reader.wait(timeout=30) == 0
    reader.stdin.close()
    reader.stdout.close()


@pytest.mark.parametrize("harm", ["not parquet", "column lacking"])
def test_a_bad_partition_fails_by_name_and_leaves_the_old_file(tmp_path: Path, harm: str) -> None:
    layout = fab.store(tmp_path)
    warehouse.publish(layout)
    before = layout.warehouse.read_bytes()
    path = layout.table("scores", "other", "myths")
    if harm == "not parquet":
        path.write_bytes(b"PAR1 cut off")
    else:
        for partition in warehouse.files(layout, tables.SCORES):
            write_parquet(pl.read_parquet(partition).drop("status"), partition)
    with pytest.raises(ValidationError, match="table scores") as failure:
        warehouse.publish(layout)
    assert "Remedy" in str(failure.value)
    assert layout.warehouse.read_bytes() == before
    assert not list(tmp_path.glob(".warehouse*"))


def test_a_log_left_beside_the_old_file_is_not_replayed_on_the_new_one(tmp_path: Path) -> None:
    layout = fab.store(tmp_path)
    (tmp_path / "warehouse.duckdb.wal").write_bytes(b"left over")
    warehouse.publish(layout)
    assert ask(layout, "select count(*) from waves").item() == 2


def test_an_empty_data_directory_publishes_empty_tables(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    warehouse.publish(layout)
    assert ask(layout, "from respondents").is_empty()
    assert ask(layout, "from answers").is_empty()
    assert ask(layout, "from memberships").is_empty()


def test_a_estimate_is_recomputed_from_scores_and_memberships(published: Layout) -> None:
    """The one SQL question that shows what an estimate is made of; always-A is right once in three orders."""
    share = ask(
        published,
        """select avg(score) from scores
           join memberships using (respondent_id, survey)
           where model = 'org/always-a' and task = 'values' and condition = 'persona'
             and survey = 'wvs' and dimension = 'sex' and value = 'male'""",
    )
    assert share.item() == pytest.approx(1 / 3)
