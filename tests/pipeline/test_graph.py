"""The graph is the only place that knows what a table is made from: everything else derives from it."""

import json
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from mpta_pipeline import definitions
from mpta_pipeline.core.provenance import Node, record_path
from mpta_pipeline.pipeline import graph, run_step
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning, StoredTable
from mpta_pipeline.pipeline.inputs import Inputs, UndeclaredInputError
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import is_current, parents
from mpta_pipeline.pipeline.step import STEPS, Output, step_of
from mpta_pipeline.pipeline.stored import made, path_of, read, stacked
from tests.factories.deployment import STUDY, World, respondents, serving, write_wave
from tests.plain_run import bring_up_to_date

ROOT = Path(__file__).parents[2]
PAIR = "loopback|value_alignment"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A deployment that has run, its server, and which inputs each step asked for."""
    asked = {}

    def recorded(*args, **kwargs):
        inputs = Inputs(*args, **kwargs)
        asked[inputs.node] = inputs.seen
        return inputs

    with serving() as server, pytest.MonkeyPatch.context() as patch:
        world = World(tmp_path_factory.mktemp("graph"), server.url)
        for name, value in world.environment.items():
            patch.setenv(name, value)
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        patch.setattr(run_step, "Inputs", recorded)
        bring_up_to_date()
        yield world, server, asked


@pytest.fixture
def deployment(finished, tmp_path, monkeypatch):
    """A copy of it that a test may change."""
    world, _, _ = finished
    for name, folder in (("MPTA_DATA_DIR", world.data), ("MPTA_CONFIG_DIR", world.config)):
        shutil.copytree(folder, tmp_path / folder.name, copy_function=shutil.copy2)
        monkeypatch.setenv(name, str(tmp_path / folder.name))
    monkeypatch.setenv("MPTA_SURVEY_DIR", str(world.surveys))
    return Deployment.from_env()


def out_of_date(deployment: Deployment) -> set[str]:
    return {node.asset for node in graph.nodes(deployment) if not is_current(deployment, node)}


def changed(deployment: Deployment, **keys: object) -> Deployment:
    """The deployment after keys of its study.yaml changed."""
    (deployment.config / "study.yaml").write_text(yaml.safe_dump(STUDY | keys))
    return Deployment.from_env()


# --- declarations and steps -----------------------------------------------------------------------------------------


def test_the_picture_in_the_docs_is_the_graph():
    found = (ROOT / "docs" / "graph.md").read_text(encoding="utf-8")
    assert found == graph.document(), "run python -m mpta_pipeline.pipeline.graph > docs/graph.md"


def test_every_step_reads_what_its_table_declares_and_nothing_more(finished):
    _, _, asked = finished
    read_by = {}
    for node, seen in asked.items():
        read_by.setdefault(node.asset, set()).update(seen)
    assert set(read_by) == {table.name for table in graph.TABLES.values() if table.has_step}
    # The warehouse publishes the files of all tables, and the rules by which they were made with them.
    assert read_by.pop("warehouse") == {"crosswalk"}
    read_by["report"].add("warehouse")  # whose version covers the tables that the report shows
    for name, seen in read_by.items():
        assert seen == {*graph.TABLES[name].upstream, *graph.TABLES[name].settings}, name


def test_every_table_of_the_graph_that_a_run_makes_has_a_record_with_the_declared_parents(deployment):
    for node in graph.nodes(deployment):
        record = made(deployment, node)
        assert record is not None, node
        names = {Node.parse(parent).asset for parent in record.parents}
        # No part of a model without a price, or of a study without a multiverse or an experiment.
        settings = set(graph.settings_of(node.asset)) - {"approval", "asked", "multiverse", "experiments"}
        assert names == {*graph.parents_of(node.asset), *settings, "code"}, node


def test_what_a_table_does_not_declare_its_step_cannot_read(deployment):
    inputs = Inputs(deployment, Node("panel"), lambda node: None)
    for read_it in (
        lambda: inputs.table("items"),
        lambda: inputs.stacked("scores"),
        lambda: inputs.records("harmonized_wave"),
        lambda: inputs.crosswalk,
        lambda: inputs.sources,
        lambda: inputs.task,
        lambda: inputs.model,
        lambda: inputs.wave_file,
        lambda: inputs.layout,
        lambda: inputs.ledger,
        lambda: inputs.model_files,
        lambda: inputs.item_files,
        lambda: inputs.replaced_estimates,
        inputs.snapshots,
        lambda: inputs.config_folder,
        lambda: inputs.request_options,
        lambda: inputs.permitted_use("codebook"),
        lambda: inputs.study.figures,
        lambda: inputs.study.task_conditions("value_alignment"),
    ):
        with pytest.raises(UndeclaredInputError, match=r"step of table panel reads .*graph\.py"):
            read_it()
    assert inputs.study.panel.size == STUDY["panel"]["size"]


def test_a_key_below_a_declared_one_is_handed_over_alone(deployment):
    study = Inputs(deployment, Node("personas"), lambda node: None).study
    assert study.panel.strata == ("sex",)
    with pytest.raises(UndeclaredInputError, match=r"the key panel\.size of study\.yaml"):
        _ = study.panel.size


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        (StoredTable("panel", "x", Partitioning.NONE, None, "aggregates"), "declared twice"),
        (StoredTable("new", "x", Partitioning.NONE, None, "aggregates", upstream=("nowhere",)), "reads nowhere"),
        (StoredTable("new", "x", Partitioning.NONE, None, "aggregates", settings=("nothing",)), "setting nothing"),
        (
            StoredTable("new", "x", Partitioning.NONE, None, "aggregates", ("items",), covered={"gold": "items"}),
            "cannot be covered",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(table, mistake):
    with pytest.raises(ValueError, match=mistake):
        graph.declare(table)


# --- what is out of date --------------------------------------------------------------------------------------------


def test_dagster_depends_on_whatever_a_record_names(deployment):
    assets = definitions.build(deployment).resolve_asset_graph()
    for name in graph.assets():
        depends = {key.to_user_string() for key in assets.get(dg.AssetKey(name)).parent_keys}
        assert depends == set(graph.asset_dependencies(name))
        assert {graph.owner(parent) for parent in graph.parents_of(name)} <= depends | {name}


ALSO = ("configuration_estimates", "configurations", "power")


@pytest.mark.parametrize(
    ("keys", "stale"),
    [
        (
            {"figures": STUDY["figures"] | {"level": 0.1}},
            {"subgroup_metrics", "pockets", "model_comparison", *ALSO, "warehouse", "report"},
        ),
        (
            {"figures": STUDY["figures"] | {"min_personas": 7}},
            {"subgroup_metrics", "pockets", "model_comparison", *ALSO, "warehouse", "report"},
        ),
        # Both were read by the step and missing in the version of what it is made from.
        ({"paraphrases": 2}, {"prompts"}),
        (
            {"seed": 7},
            {
                "personas",
                "panel",
                "items",
                "prompts",
                "subgroup_metrics",
                "pockets",
                "model_comparison",
                *ALSO,
                "warehouse",
                "report",
            },
        ),
        ({"budget": 3.0}, set()),
    ],
)
def test_a_changed_key_makes_stale_what_reads_it(deployment, keys, stale):
    assert out_of_date(deployment) == set()
    assert out_of_date(changed(deployment, **keys)) == stale


def test_a_table_made_beside_another_counts_in_its_version(deployment):
    """What people answered may change without any item: whatever depends on items hears of it."""
    before = made(deployment, Node("items", "value_alignment"))
    path = path_of(deployment, Node("gold", "value_alignment"))
    gold = read(deployment, "gold", "value_alignment")
    assert gold.height
    make(deployment, "items", "value_alignment")
    assert made(deployment, Node("items", "value_alignment")).version == before.version
    original = step_of("items")

    def fewer(inputs):
        output = original(inputs)
        gold = output.companions["gold"].head(3)
        return Output(output.frame, output.notes, companions={**output.companions, "gold": gold})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "items", fewer)
        make(deployment, "items", "value_alignment")
    after = made(deployment, Node("items", "value_alignment"))
    assert pl.read_parquet(path).height == 3
    assert after.content == before.content and after.version != before.version


def test_a_new_release_with_the_same_answers_makes_estimates_stale(deployment):
    """Estimates name the releases that they rest on."""
    node = Node("subgroup_metrics", PAIR)
    assert is_current(deployment, node)
    releases = Node("releases")
    record = made(deployment, releases)
    record_path(path_of(deployment, releases)).write_text(json.dumps(vars(record) | {"version": "another"}))
    assert not is_current(deployment, node)


def test_records_of_an_earlier_version_are_rebuilt_without_asking_a_model_again(deployment, finished):
    """Its records had other names for parents, no hash of the rows, and no releases beside the personas."""
    _, server, _ = finished
    calls, before = server.calls, stacked(deployment, "subgroup_metrics")
    for path in deployment.layout.root.rglob("*.parquet.json"):
        old = {k: v for k, v in json.loads(path.read_text()).items() if k != "content"}
        old["parents"] = {"study_card|traits" if k == "persona_design" else k: v for k, v in old["parents"].items()}
        old["parents"].pop("releases", None)
        path.write_text(json.dumps(old))
    path_of(deployment, Node("releases")).unlink()
    assert {"personas", "subgroup_metrics"} <= out_of_date(deployment)
    again, rebuilt = bring_up_to_date()
    assert "personas" in rebuilt and out_of_date(again) == set()
    assert server.calls == calls
    assert stacked(again, "subgroup_metrics").equals(before)


def test_parents_are_those_of_the_moment_when_the_step_began(deployment):
    node = Node("panel")
    assert made(deployment, node).parents == parents(deployment, node)
