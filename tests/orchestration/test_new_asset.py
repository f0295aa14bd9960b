"""Adding an asset takes one declaration and one step; everything else follows from the graph."""

import dagster as dg
import duckdb
import polars as pl
import pytest

from mpta_pipeline import definitions
from mpta_pipeline.core import tables
from mpta_pipeline.core.tables import Column, Table
from mpta_pipeline.orchestration.command_runs import Runner
from mpta_pipeline.pipeline import graph, integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning, StoredTable
from mpta_pipeline.pipeline.step import STEPS, Output, step

SCHEMA = Table(
    "unreadable_shares",
    "One row per condition: share of replies that cannot be read.",
    ("model", "task", "condition"),
    (
        Column("model", pl.String, "Model"),
        Column("task", pl.String, "Task"),
        Column("condition", pl.String, "Condition"),
        Column("share", pl.Float64, "Share of replies that are unparsed", ge=0, le=1),
    ),
)


@pytest.fixture
def new_asset():
    """A table that a contributor declares; the graph is built again with it."""
    published, known = list(tables.PUBLISHED), dict(graph.TABLES)
    declaration = StoredTable(
        "unreadable_shares",
        "metrics",
        Partitioning.MODEL_TASK,
        SCHEMA,
        "aggregates",
        upstream=("scores",),
        code=("mpta_pipeline.core.model_task",),
        carried={"scores": "model task condition"},
        derived={"share": "scores.status"},
    )

    @step("unreadable_shares")
    def unreadable_shares(inputs):
        scores = inputs.table("scores")
        shares = scores.group_by("model", "task", "condition").agg(
            (pl.col("status") == "unparsed").mean().alias("share")
        )
        return Output(SCHEMA.conform(shares))

    graph.TABLES.clear()
    graph.build(declaration)
    yield declaration
    graph.TABLES.clear()
    graph.TABLES.update(known)
    tables.PUBLISHED[:] = published
    STEPS.pop("unreadable_shares")


@pytest.mark.usefixtures("new_asset")
def test_a_declaration_and_a_step_are_an_asset_everywhere(world):
    deployment = Deployment.from_env()
    built = definitions.build(deployment)
    asset = built.resolve_asset_graph().get(dg.AssetKey("unreadable_shares"))
    assert asset.description == SCHEMA.description and asset.group_name == "metrics"
    assert asset.tags["holds"] == "aggregates" and asset.code_version
    assert {key.to_user_string() for key in asset.parent_keys} == {"scores"}
    assert [c.name for c in asset.metadata["dagster/column_schema"].columns] == list(SCHEMA.schema)
    assert "  scores --> unreadable_shares" in graph.mermaid()

    with dg.instance_for_test(temp_dir=str(world.config)) as instance:
        outcome = Runner(deployment, built, instance).run()
        assert outcome.failures == {}
        assert {f"unreadable_shares|loopback|{task}" for task in deployment.study.tasks} <= set(outcome.made)
        (event,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("unreadable_shares"), asset_partitions=["loopback|sample_myths"]), limit=1
        ).records
        shown = event.asset_materialization.metadata
        assert "persona" in shown["first rows"].value
        assert [d.column_name for d in shown["dagster/column_lineage"].value.deps_by_column["share"]] == ["status"]
        assert Runner(deployment, built, instance).run().made == [], "everything is up to date"

    with duckdb.connect(str(deployment.layout.warehouse), read_only=True) as con:
        assert con.execute("select count(*) from unreadable_shares").fetchone() == (4,)
        said = con.execute("select comment from duckdb_tables() where table_name = 'unreadable_shares'").fetchone()
        assert said == (SCHEMA.description,)
        parents = con.execute(
            "select parent from lineage where child = 'unreadable_shares|loopback|sample_myths'"
        ).fetchall()
        assert {parent for (parent,) in parents} == {"scores|loopback|sample_myths", "code"}

    found = integrity.check_all(deployment)
    assert [f for f in found if not f.passed] == []
    assert {f.subject for f in found if f.check == "in_step"} >= {"unreadable_shares|loopback|sample_myths"}
    path = deployment.layout.table("unreadable_shares", "loopback", "sample_myths")
    pl.read_parquet(path).with_columns(share=pl.lit(2.0)).write_parquet(path)
    failed = [f.subject for f in integrity.check_all(deployment, "stored_tables") if not f.passed]
    assert failed == ["tables/unreadable_shares/loopback/sample_myths"]
