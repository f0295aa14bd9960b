"""Runs over several partitions: one that is up to date costs one event and is neither made nor stored again."""

import dagster as dg
import polars as pl
import pytest

from mpta_pipeline import definitions
from mpta_pipeline.core.provenance import Node, Record, store
from mpta_pipeline.inference import run_one_by_one
from mpta_pipeline.orchestration.assets.partition_runs import make_partitions
from mpta_pipeline.orchestration.command_runs import RANGE_END_TAG, RANGE_START_TAG
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import Made
from mpta_pipeline.pipeline.staleness import current_record, parents
from mpta_pipeline.pipeline.stored import path_of

FRAME = pl.DataFrame({"a": [1]})
TASK = "value_alignment"
RESPONSES = Node("responses", f"loopback|{TASK}")


def answers(deployment, **notes):
    """Store responses to stored prompts, with notes about their requests."""
    prompts = Node("prompts", TASK)
    store(FRAME, path_of(deployment, prompts), prompts, {})
    return store(FRAME, path_of(deployment, RESPONSES), RESPONSES, parents(deployment, RESPONSES), notes=notes)


def test_responses_are_current_while_prompts_and_model_are_the_same(world):
    deployment = Deployment.from_env()
    assert current_record(deployment, RESPONSES) is None
    record = answers(deployment, requests=3, asked=1, reused=2)
    assert current_record(deployment, RESPONSES) == record
    prompts = Node("prompts", TASK)
    store(FRAME + 1, path_of(deployment, prompts), prompts, {})
    assert current_record(deployment, RESPONSES) is None


def test_incomplete_responses_are_not_current(world):
    deployment = Deployment.from_env()
    for notes in (
        {"requests": 3, "asked": 1, "reused": 1, "errors": 1},
        {"requests": 3, "asked": 1, "reused": 1, "withheld": 1},
        {"requests": 3, "asked": 0, "reused": 1, "left": 2},
        {},
    ):
        answers(deployment, **notes)
        assert current_record(deployment, RESPONSES) is None, notes


def test_partitions_that_are_current_are_not_made_and_logged_once(world):
    made = []

    deployment = Deployment.from_env()

    @dg.asset(
        partitions_def=dg.MultiPartitionsDefinition(
            {"model": dg.StaticPartitionsDefinition(["a", "b", "c"]), "task": dg.StaticPartitionsDefinition(["t"])}
        ),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        def record(pair):
            return Record(f"scores|{pair}", "1", 1, {}, {})

        def make(pair):
            made.append(pair.model)
            return Made(record(pair), ())

        return make_partitions(
            context,
            deployment,
            lambda pairs: run_one_by_one(pairs, make),
            current=lambda pair: None if pair.model == "b" else record(pair),
        )

    tags = {RANGE_START_TAG: "a|t", RANGE_END_TAG: "c|t"}
    result = dg.materialize([scores], tags=tags, instance=dg.DagsterInstance.ephemeral())
    logged = [event.partition for event in result.get_asset_materialization_events()]
    assert made == ["b"]
    assert sorted(map(str, logged)) == ["a|t", "b|t", "b|t", "c|t"]


def test_each_partition_shows_its_own_rows_and_previews_not_those_of_the_run(world):
    deployment = Deployment.from_env()

    @dg.asset(
        partitions_def=dg.MultiPartitionsDefinition(
            {"model": dg.StaticPartitionsDefinition(["a", "b"]), "task": dg.StaticPartitionsDefinition(["t"])}
        ),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        rows = {"a": 3, "b": 4}
        return make_partitions(
            context,
            deployment,
            lambda pairs: run_one_by_one(
                pairs, lambda pair: Made(Record(f"scores|{pair}", "1", rows[pair.model], {}, {}), ())
            ),
            lambda record: {"preview": f"of {record.node.split('|')[1]}"},
        )

    tags = {RANGE_START_TAG: "a|t", RANGE_END_TAG: "b|t"}
    instance = dg.DagsterInstance.ephemeral()
    assert dg.materialize([scores], tags=tags, instance=instance).success
    for key, rows in (("a|t", 3), ("b|t", 4)):
        wanted = dg.AssetRecordsFilter(asset_key=scores.key, asset_partitions=[key])
        latest = instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization.metadata
        assert latest["dagster/row_count"].value == rows and latest["preview"].value == f"of {key[0]}"


def test_a_range_that_holds_no_partition_is_an_error_with_the_remedy(world):
    with dg.DagsterInstance.get() as instance:
        deployment = Deployment.from_env()
        instance.add_dynamic_partitions("model", list(deployment.models))
        first, last = next(iter(deployment.study.tasks)), list(deployment.study.tasks)[-1]
        done = (
            definitions.build(deployment)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("pockets")],
                tags={
                    RANGE_START_TAG: f"loopback|{last}",
                    RANGE_END_TAG: f"loopback|{first}",
                },
                raise_on_error=False,
            )
        )
    (failure,) = done.get_step_failure_events()
    assert "The range of partitions is empty" in str(failure.step_failure_data.error)
    assert "in the order" in str(failure.step_failure_data.error)


@pytest.mark.usefixtures("finished")
def test_a_range_whose_partitions_are_all_current_reports_its_checks(world):
    """As `dagster asset materialize --partition-range` does it: Dagster demands a result for each declared check."""
    deployment = Deployment.from_env()
    tasks = sorted(deployment.study.tasks)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("model", ["loopback"])
        done = (
            definitions.build(deployment)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("pockets")],
                tags={RANGE_START_TAG: f"loopback|{tasks[0]}", RANGE_END_TAG: f"loopback|{tasks[-1]}"},
                raise_on_error=False,
            )
        )
    assert done.success, [event.message for event in done.all_events if event.is_step_failure]
    assert {check.check_name for check in done.get_asset_check_evaluations()} >= {"confirmed_by_test"}
