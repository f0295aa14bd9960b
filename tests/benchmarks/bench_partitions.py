"""What a partition costs over Dagster's own floor, with nothing to ask: 50 models × 6 tasks beside an empty asset.

Run: python -m tests.benchmarks.bench_partitions [--models 50] [--rounds 3]

Both sides run the 300 partitions as a backfill with the single-run policy does: six runs, one a task, over all models,
in process, on a SQLite instance of their own, in turns. Dagster looks up the versions of an asset's parents for each
partition, so the floor is an empty asset with the same parents; one without stands beside. The ratio of the best times
counts; the machine's load, above all of its disk, decides the times themselves, so processor seconds stand beside.
Asking all models once before takes most of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
import warnings
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from mpta_pipeline import definitions
from mpta_pipeline.orchestration import partitions
from mpta_pipeline.orchestration.command_runs import Runner
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning
from tests.factories.deployment import STUDY, World, model, respondents, serving, write_wave

TASKS = 6
OURS = "nothing to ask"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def empty(deployment: Deployment, parents: dict[str, dg.PartitionsDefinition]) -> dg.Definitions:
    """An asset over the same partitions that does nothing: what Dagster itself takes."""

    @dg.asset(
        name="responses",
        deps=list(parents),
        partitions_def=partitions.definitions(deployment)[Partitioning.MODEL_TASK],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def nothing() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    above = [dg.AssetSpec(name, partitions_def=cut) for name, cut in parents.items()]
    return dg.Definitions([nothing, *above], executor=dg.in_process_executor)


def report(instance: dg.DagsterInstance, parents: dict[str, dg.PartitionsDefinition]) -> None:
    """Tell the instance a version of each partition of the parents."""
    for name, cut in parents.items():
        for key in cut.get_partition_keys(dynamic_partitions_store=instance):
            tags = {"dagster/data_version": f"{name} {key}"}
            instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=key, tags=tags))


def backfill(loaded: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment) -> float:
    """Seconds that all partitions of `responses` take, one run a task."""
    job = loaded.resolve_implicit_global_asset_job_def()
    names = list(deployment.models)
    started = time.perf_counter()
    for task in deployment.study.tasks:
        tags = {
            ASSET_PARTITION_RANGE_START_TAG: f"{names[0]}|{task}",
            ASSET_PARTITION_RANGE_END_TAG: f"{names[-1]}|{task}",
        }
        done = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("responses")], tags=tags, run_config=QUIET
        )
        assert done.success
    return time.perf_counter() - started


def measure(models: int, rounds: int) -> None:
    """Print seconds and seconds a partition of both sides, and their ratio."""
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "world", server.url)
        os.environ |= world.environment
        kinds = list(STUDY["tasks"].values())
        world.study(STUDY | {"tasks": {f"task_{i}": kinds[i % len(kinds)] for i in range(TASKS)}})
        world.models({f"model_{i:02}": model(server.url) | {"model": f"m{i}"} for i in range(models)})
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        deployment = Deployment.from_env()
        ours = definitions.build(deployment)
        cut = partitions.definitions(deployment)
        parents = {"prompts": cut[Partitioning.TASK], "model_card": cut[Partitioning.MODEL]}
        with contextlib.ExitStack() as stack:

            def instance(name: str) -> dg.DagsterInstance:
                (Path(folder) / name).mkdir()
                return stack.enter_context(dg.instance_for_test(temp_dir=str(Path(folder) / name)))

            one, other, alone = instance("ours"), instance("empty"), instance("alone")
            print("asking all models once ...", flush=True)
            assert Runner(deployment, ours, one, until="responses").run().failures == {}
            for floor in (other, alone):
                floor.add_dynamic_partitions(str(partitions.MODEL.name), list(deployment.models))
            report(other, parents)
            sides = {
                OURS: (ours, one),
                "empty, same parents": (empty(deployment, parents), other),
                "empty, no parents": (empty(deployment, {}), alone),
            }
            asked = server.calls
            took: dict[str, list[float]] = {name: [] for name in sides}
            processor = dict.fromkeys(sides, float("inf"))
            for _ in range(rounds):
                for name, (loaded, known) in sides.items():
                    before = time.process_time()
                    took[name].append(backfill(loaded, known, deployment))
                    processor[name] = min(processor[name], time.process_time() - before)
            assert server.calls == asked, "something was asked"
    cells = models * TASKS
    for name, seconds in took.items():
        rounded = ", ".join(f"{s:.2f}" for s in seconds)
        print(
            f"{name:20} {min(seconds):7.2f} s  {1000 * min(seconds) / cells:6.1f} ms a partition  (rounds: {rounded})"
        )
    for what, seconds in (("wall clock", {name: min(t) for name, t in took.items()}), ("processor", processor)):
        for floor in list(sides)[1:]:
            ratio = seconds[OURS] / seconds[floor]
            print(f"ratio by {what} to {floor} {ratio:.2f} (at most 1.2 wanted), {cells} partitions")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    measure(arguments.models, arguments.rounds)


if __name__ == "__main__":
    main()
