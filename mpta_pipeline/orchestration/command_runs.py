"""Runs of the command line: materialize in order whatever is out of date.

They run the same assets as the daemon, in this process and on the same instance, so that the UI shows these runs.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import sweep
from mpta_pipeline.orchestration import source_observations
from mpta_pipeline.orchestration.captured_output import not_copied_to_the_terminal
from mpta_pipeline.orchestration.partitions import MODEL
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning
from mpta_pipeline.pipeline.staleness import has_inputs, needs_run

_OURS = (
    "mpta_pipeline.core.errors.",
    "mpta_pipeline.inference.provider_errors.",
)  # where errors that a user can act on are defined
MAX_NAMED = 6  # partitions that a line about a run names
# The tags of a run over a range of partitions, as Dagster documents them; its public module exports no names for them.
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# Marks runs in the process of a command; only the next command can tell that such a process was killed.
COMMAND_TAG = "mpta/command"
COMMAND_LOCK = "command.lock"
# Marks runs inside the process of another one, with its id.
PART_OF_TAG = "mpta/part_of"
# Whoever started a run repeats it. A retry by Dagster would run beside that.
NO_RETRY_TAG = "dagster/max_retries"
LOCATION = "mpta_pipeline"  # as workspace.yaml and pyproject.toml name it


@contextmanager
def sole_command(deployment: Deployment, instance: dg.DagsterInstance) -> Iterator[None]:
    """Take the exclusive lock of the data folder, and mark the runs of killed commands as failed.

    The run of a killed command stays "started" for ever; its assets would count as in progress, and the daemon would
    never request them again.

    Raises:
        ConfigError: Another command holds the lock.
    """
    deployment.layout.root.mkdir(parents=True, exist_ok=True)
    with (deployment.layout.root / COMMAND_LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "Another mpta command is running on this data folder",
                file=deployment.layout.root,
                remedy="wait for it or stop it; its responses and finished tables are kept",
            ) from None
        unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
        for run in instance.get_runs(unfinished):
            if COMMAND_TAG in run.tags:
                instance.report_run_failed(
                    run, "The command that ran this was killed; the next command continues its work."
                )
        sweep(deployment.layout)
        yield


def command_is_running(deployment: Deployment) -> bool:
    """Whether a command holds the lock of the data folder."""
    path = deployment.layout.root / COMMAND_LOCK
    if not path.exists():
        return False
    with path.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@dataclass
class Outcome:
    """The outcome of a run.

    Attributes:
        made: Asset partitions that were materialized.
        failures: Asset and partition → message of each failure.
        problems: Survey file that could not be used → reason.
    """

    made: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass
class Runner:
    """Materializes what is out of date, batch by batch, on one instance.

    Attributes:
        deployment: The deployment.
        definitions: The definitions that Dagster loads.
        instance: The Dagster instance.
        announce: Called with a line before each run.
        before: Called with the partitions that are made next, before the first of their runs.
        models: Models to query; null for all of the study.
        tasks: Tasks to run; null for all of the study.
        until: Last asset to make; null for all.
    """

    deployment: Deployment
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    announce: Callable[[str], None] = lambda line: None
    before: Callable[[Sequence[Node]], None] = lambda nodes: None
    models: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    until: str | None = None
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        """Read the sources, then rebuild batch by batch; a failure stops only what depends on it."""
        found = source_observations.look(self.deployment, self.instance)
        source_observations.apply(found, self.deployment, self.instance)
        self.outcome.problems = found.catalogue.problems
        for batch in graph.batches():
            if self.until is not None and _position(batch[0]) > _position(self.until):
                break
            if not self.deployment.harmonized_waves() and not self._reads_files(batch):
                # One message instead of one per table; if a wave failed, its own message is there already.
                if not self.outcome.failures:
                    self.outcome.failures["survey files"] = str(self.deployment.no_wave())
                break
            self._rebuild(batch, [key for key in self._wanted(batch) if has_inputs(self.deployment, batch, key)])
        return self.outcome

    def _reads_files(self, batch: Sequence[str]) -> bool:
        """Whether a batch starts from survey files, of which there are some."""
        per_wave = graph.TABLES[batch[0]].partitioning is Partitioning.WAVE
        return per_wave and bool(self.deployment.catalogue().waves)

    def _wanted(self, batch: Sequence[str]) -> list[str]:
        """The partitions of a batch that this run is about."""
        partitioning = graph.TABLES[batch[0]].partitioning
        chosen: dict[str, Sequence[str] | None] = {"model": self.models, "task": self.tasks}
        narrowed = {dimension: names for dimension, names in chosen.items() if names}
        return [
            key
            for key in graph.partition_keys(self.deployment, partitioning)
            if all(value in narrowed.get(dimension, (value,)) for dimension, value in partitioning.values(key).items())
        ]

    def publish_again(self) -> None:
        """Publish warehouse and report although they are up to date, so that readers see that they were checked."""
        self._materialize([name for name in graph.assets() if graph.TABLES[name].is_document], [""])

    def _rebuild(self, assets: Sequence[str], keys: Sequence[str]) -> None:
        """Materialize a batch of assets, from the first that is out of date.

        Model × task partitions run together, as many models in one run as possible, so that models work side by side.
        """
        todo = self._stale(assets, keys)
        if todo:
            self.before([Node(asset, key) for chain, stale in todo.items() for key in stale for asset in chain])
        for chain, stale in todo.items():
            for block in blocks(self.deployment, self.instance, chain, stale):
                self._materialize(chain, block)

    def _stale(self, assets: Sequence[str], partitions: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
        """What to rebuild: the end of the batch from its first asset that is out of date → partitions."""
        wanted = [a for a in assets if self.until is None or _position(a) <= _position(self.until)]
        todo: dict[tuple[str, ...], list[str]] = {}
        for partition in partitions:
            stale = tuple(a for a in wanted if needs_run(self.deployment, Node(a, partition)))
            if stale:
                todo.setdefault(with_followers(stale, wanted), []).append(partition)
        return todo

    def _materialize(self, assets: Sequence[str], keys: Sequence[str]) -> None:
        label = label_of(assets, keys)
        self.announce(label)
        with not_copied_to_the_terminal():
            done = materialize(self.definitions, self.instance, assets, keys, {COMMAND_TAG: "mpta run"})
        self.outcome.made += done.made
        if done.problem is not None:
            self.outcome.failures[label] = done.problem


@dataclass(frozen=True)
class Done:
    """The outcome of one run in this process.

    Attributes:
        made: Asset partitions that were materialized.
        failed: Assets whose step failed. Those that a failure left out are neither made nor failed.
        problem: The messages of the failures; null if there was none.
    """

    made: list[str]
    failed: list[str]
    problem: str | None


def materialize(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    keys: Sequence[str],
    tags: Mapping[str, str],
) -> Done:
    """Materialize assets over a partition, or a range of partitions, in a run in this process.

    Args:
        definitions: The definitions that Dagster loads.
        instance: The Dagster instance.
        assets: The assets, all over the same partitions.
        keys: The partitions, neighbours in their order; one empty key for assets without partitions.
        tags: Further tags of the run.

    Raises:
        KeyboardInterrupt: The run was cancelled.
    """
    over = {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]} if len(keys) > 1 else {}
    with _in_the_timeline(instance):
        return _materialize(definitions, instance, assets, keys, over | {NO_RETRY_TAG: "0"} | dict(tags))


@contextmanager
def _in_the_timeline(instance: dg.DagsterInstance) -> Iterator[None]:
    """Let runs in this process name the code location that they belong to, as those of the daemon do.

    The UI's timeline lists runs by code location, and Dagster has no public way to name it for a run in process.
    """
    create = instance.create_run_for_job
    location = RegisteredCodeLocationOrigin(LOCATION)

    def create_with_origin(*given: Any, **named: Any) -> dg.DagsterRun:
        job = named["job_def"] if "job_def" in named else given[0]
        origin = RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(job.name)
        return create(*given, **(named | {"remote_job_origin": origin}))

    instance.create_run_for_job = create_with_origin  # type: ignore[method-assign]
    try:
        yield
    finally:
        del instance.create_run_for_job  # the class's own again


def _materialize(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    keys: Sequence[str],
    tags: Mapping[str, str],
) -> Done:
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(a) for a in assets],
        partition_key=(keys[0] or None) if len(keys) == 1 else None,
        tags=tags,
        raise_on_error=False,
        # The terminal shows progress and messages; the event log keeps the rest.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    failures = result.get_step_failure_events()
    if any("DagsterExecutionInterruptedError" in str(f.step_failure_data.error) for f in failures):
        raise KeyboardInterrupt
    return Done(
        [
            f"{e.asset_key.to_user_string()}{f'|{e.partition}' if e.partition else ''}"
            for e in result.get_asset_materialization_events()
            if e.asset_key
        ],
        [str(f.step_key) for f in failures],
        None if result.success else "\n".join(_messages(failures)) or "the run failed",
    )


def label_of(assets: Sequence[str], keys: Sequence[str]) -> str:
    """What a run makes, in one line."""
    return " → ".join(assets) + _named(keys)


def with_followers(stale: Sequence[str], batch: Sequence[str]) -> tuple[str, ...]:
    """The assets of a batch that are out of date or made from one that is."""
    found: list[str] = []
    for asset in batch:
        if asset in stale or any(graph.owner(parent) in found for parent in graph.parents_of(asset)):
            found.append(asset)
    return tuple(found)


def blocks(
    deployment: Deployment, instance: dg.DagsterInstance, assets: Sequence[str], keys: Sequence[str]
) -> list[list[str]]:
    """Partitions of assets, cut into those of one run each: pairs as many as possible, so that models work together."""
    if graph.TABLES[assets[0]].partitioning is not Partitioning.MODEL_TASK:
        return [[key] for key in keys]
    models, tasks = instance.get_dynamic_partitions(str(MODEL.name)), list(deployment.study.tasks)
    pairs = [ModelTask.parse(key) for key in keys]
    return [[str(pair) for pair in block] for block in rectangles(pairs, models, tasks)]


def _position(asset: str) -> int:
    return graph.assets().index(asset)


def _named(keys: Sequence[str]) -> str:
    if list(keys) == [""]:
        return ""
    return f" [{', '.join(keys)}]" if len(keys) <= MAX_NAMED else f" [{keys[0]} … {keys[-1]}: {len(keys)} partitions]"


def rectangles(pairs: Iterable[ModelTask], models: Sequence[str], tasks: Sequence[str]) -> list[list[ModelTask]]:
    """Model × task pairs as blocks of neighbours, which is what a run over a range of partitions can hold.

    Args:
        pairs: The pairs.
        models: All models in the order of their partition set.
        tasks: All tasks in the order of theirs.
    """
    wanted: dict[int, list[int]] = {}
    for pair in pairs:
        wanted.setdefault(models.index(pair.model), []).append(tasks.index(pair.task))
    blocks = []
    for alike in {tuple(sorted(columns)) for columns in wanted.values()}:
        rows = sorted(row for row, columns in wanted.items() if tuple(sorted(columns)) == alike)
        for some in _neighbours(rows):
            blocks += [[(row, column) for row in some for column in few] for few in _neighbours(alike)]
    return [[ModelTask(models[row], tasks[column]) for row, column in block] for block in sorted(blocks)]


def _neighbours(numbers: Sequence[int]) -> list[list[int]]:
    """Cut ascending numbers into runs without gaps."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _messages(failures: Iterable[dg.DagsterEvent]) -> Iterable[str]:
    """The message of each failed step: that of our own error, which states the remedy, else of the innermost cause."""
    for event in failures:
        data = event.step_failure_data
        error = data.error
        while error is not None and error.cause is not None and not error.message.startswith(_OURS):
            error = error.cause
        if data.user_failure_data is not None and data.user_failure_data.description:
            yield data.user_failure_data.description
        elif error is not None:
            yield (
                error.message.strip()
                .removeprefix("mpta_pipeline.core.errors.")
                .removeprefix("mpta_pipeline.inference.provider_errors.")
            )
