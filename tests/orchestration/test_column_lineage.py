"""Column lineage as declared: every column that is named exists, and every figure leads back to a native variable."""

import dagster as dg

from mpta_pipeline import definitions
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment

TABLES = {name: graph.TABLES[name].schema for name in graph.assets() if graph.TABLES[name].is_published}


def declared(asset):
    found = lineage(asset).get("dagster/column_lineage")
    return {} if found is None else found.deps_by_column


def test_every_column_that_is_named_stands_in_its_table():
    for asset, table in TABLES.items():
        if asset == "raw_wave":  # its own columns are the file's
            continue
        for column, deps in declared(asset).items():
            assert column in table.schema, (asset, column)
            for dep in deps:
                parent = dep.asset_key.to_user_string()
                assert dep.column_name in TABLES[parent].schema, (asset, column, dep)
    published = declared("warehouse")
    assert [d.column_name for d in published["respondents.native_key"]] == ["native_key"]


def test_parents_of_columns_are_upstream_of_the_asset(world):
    graph = definitions.build(Deployment.from_env()).resolve_asset_graph()
    for asset in (*TABLES, "warehouse"):
        upstream = {dg.AssetKey(asset)}
        while further := {p for key in upstream for p in graph.get(key).parent_keys} - upstream:
            upstream |= further
        for column, deps in declared(asset).items():
            assert {dep.asset_key for dep in deps} <= upstream, (asset, column)


def test_a_figure_leads_back_to_what_people_said():
    ways, seen = [("subgroup_metrics", "estimate")], set()
    while ways:
        asset, column = ways.pop()
        seen.add((asset, column))
        found = [(d.asset_key.to_user_string(), d.column_name) for d in declared(asset).get(column, ())]
        ways += [way for way in found if way not in seen]
    assert {("prompts", "system"), ("personas", "traits"), ("items", "question")} <= seen


def test_every_asset_says_what_it_holds_who_owns_it_and_what_code_makes_it(world):
    graph = definitions.build(Deployment.from_env()).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.owners and node.description and node.group_name != "default", key
        assert node.tags["holds"] in ("microdata", "aggregates", "questions", "configuration"), key
        assert node.kinds, key
        if node.is_materializable:
            assert node.code_version, key
            tabular = key.to_user_string() not in ("raw_wave", "report")  # its own columns; a page
            assert ("dagster/column_schema" in node.metadata) == tabular, key
