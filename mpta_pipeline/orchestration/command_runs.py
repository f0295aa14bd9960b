"""The command line's way through the graph: materialize, in order, what is not in step with what it is made from.

The same assets as under the daemon, run in this process on the same instance, so that the UI shows these runs.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import sweep
from mpta_pipeline.orchestration import source_observations
from mpta_pipeline.orchestration.partitions import MODEL
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

ORDER = (
    "raw_wave",
    "harmonized_wave",
    "survey_changelog",
    "personas",
    "panel",
    "items",
    "prompts",
    "responses",
    "scores",
    "subgroup_metrics",
    "pockets",
    "model_comparison",
    "warehouse",
    "report",
)


_OURS = (
    "mpta_pipeline.core.errors.",
    "mpta_pipeline.inference.provider_errors.",
)  # where errors that a user can act on are defined
MAX_NAMED = 6  # partitions that a line about a run names
# Marks runs that live in a command's own process: nobody but the next command can tell that one was killed.
COMMAND_TAG = "mpta/command"
COMMAND_LOCK = "command.lock"


@contextmanager
def sole_command(deployment: Deployment, instance: dg.DagsterInstance) -> Iterator[None]:
    """Be the one command that runs on this data folder, and bury the runs of commands that were killed.

    A killed command leaves its run as started for ever; its assets would count as in progress, and the daemon would
    never request them again.

    Raises:
        ConfigError: Another command is under way.
    """
    deployment.layout.root.mkdir(parents=True, exist_ok=True)
    with (deployment.layout.root / COMMAND_LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "Another mpta command is at work on this data folder",
                file=deployment.layout.root,
                remedy="wait for it or stop it; what it has asked and made is kept",
            ) from None
        unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
        for run in instance.get_runs(unfinished):
            if COMMAND_TAG in run.tags:
                instance.report_run_failed(run, "The command that ran this was killed; the next one goes on.")
        sweep(deployment.layout)
        yield


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        made: Nodes that were materialized.
        failures: Message of each failure, by asset and partition.
        problems: Survey files that could not be used, with the reason.
    """

    made: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass
class Runner:
    """Materializes what is out of step, asset by asset, on one instance.

    Attributes:
        deployment: The deployment.
        definitions: What Dagster loads.
        instance: The Dagster instance.
        announce: Called with a line before each run.
        models: Models to ask; null for the study's.
        tasks: Tasks to run; null for the study's.
        until: Last asset to make; null for all.
    """

    deployment: Deployment
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    announce: Callable[[str], None] = lambda line: None
    models: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    until: str | None = None
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        """Look at the sources, then make each layer; a failure stops only what depends on it."""
        found = source_observations.look(self.deployment, self.instance)
        source_observations.apply(found, self.deployment, self.instance)
        self.outcome.problems = found.catalogue.problems
        tasks = list(self.tasks or self.deployment.study.tasks)
        models = list(self.models or self.deployment.models)
        for wave in found.catalogue.waves:
            self._make(("raw_wave", "harmonized_wave", "survey_changelog"), [wave])
        only_waves = self.until in ORDER[: ORDER.index("personas")]
        if not found.catalogue.waves or (not only_waves and not self.deployment.harmonized_waves()):
            # Said once: everything below would fail for the same reason. Why a wave was not made is said already.
            if not self.outcome.failures:
                self.outcome.failures["survey files"] = str(self.deployment.no_wave())
            return self.outcome
        if only_waves:
            return self.outcome
        self._make(("personas", "panel"), [""])
        for task in tasks:
            self._make(("items", "prompts"), [task])
        asked = [t for t in tasks if steps.made(self.deployment, Node("prompts", t))]
        cells = [f"{model}|{t}" for model in models for t in asked]
        self._make_cells(("responses",), cells)
        answered = [c for c in cells if steps.made(self.deployment, Node("responses", c))]
        self._make_cells(("scores", "subgroup_metrics", "pockets"), answered)
        if any(steps.made(self.deployment, Node("subgroup_metrics", c)) for c in steps.cells(self.deployment)):
            self._make(("model_comparison", "warehouse", "report"), [""])
        return self.outcome

    def publish_again(self) -> None:
        """Publish warehouse and report though they are in step: readers see that they were looked at."""
        self._materialize(("warehouse", "report"), [""])

    def _make(self, assets: Sequence[str], partitions: Sequence[str]) -> None:
        """Materialize a chain of assets, partition by partition, from the first asset that is out of step."""
        for chain, keys in self._stale(assets, partitions).items():
            for key in keys:
                self._materialize(chain, [key])

    def _make_cells(self, assets: Sequence[str], cells: Sequence[str]) -> None:
        """As `_make`, over model × task partitions: as many models in one run as can be, which asks them abreast."""
        models = self.instance.get_dynamic_partitions(str(MODEL.name))
        for chain, keys in self._stale(assets, cells).items():
            for block in rectangles(keys, models, list(self.deployment.study.tasks)):
                self._materialize(chain, block)

    def _stale(self, assets: Sequence[str], partitions: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
        """What is to be made: a chain of assets that ends the given one → its partitions."""
        wanted = [a for a in assets if self.until is None or ORDER.index(a) <= ORDER.index(self.until)]
        todo: dict[tuple[str, ...], list[str]] = {}
        for partition in partitions:
            stale = tuple(a for a in wanted if steps.needs_run(self.deployment, Node(a, partition)))
            if stale:
                # What follows a stale asset in the chain is made from it.
                todo.setdefault(tuple(wanted[wanted.index(stale[0]) :]), []).append(partition)
        return todo

    def _materialize(self, assets: Sequence[str], keys: Sequence[str]) -> None:
        label = " → ".join(assets) + _named(keys)
        self.announce(label)
        tags = (
            {ASSET_PARTITION_RANGE_START_TAG: keys[0], ASSET_PARTITION_RANGE_END_TAG: keys[-1]} if len(keys) > 1 else {}
        )
        result = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(a) for a in assets],
            partition_key=(keys[0] or None) if len(keys) == 1 else None,
            tags=tags | {COMMAND_TAG: "mpta run"},
            raise_on_error=False,
            # The terminal shows progress and messages; the event log keeps the rest.
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        self.outcome.made += [
            f"{e.asset_key.to_user_string()}{f'|{e.partition}' if e.partition else ''}"
            for e in result.get_asset_materialization_events()
            if e.asset_key
        ]
        failures = result.get_step_failure_events()
        if any("DagsterExecutionInterruptedError" in str(f.step_failure_data.error) for f in failures):
            raise KeyboardInterrupt
        if not result.success:
            self.outcome.failures[label] = "\n".join(_messages(failures)) or "the run failed"


def _named(keys: Sequence[str]) -> str:
    if list(keys) == [""]:
        return ""
    return f" [{', '.join(keys)}]" if len(keys) <= MAX_NAMED else f" [{keys[0]} … {keys[-1]}: {len(keys)} partitions]"


def rectangles(cells: Iterable[str], models: Sequence[str], tasks: Sequence[str]) -> list[list[str]]:
    """Model × task partitions as blocks of neighbours, which is what a run over a range of partitions can hold.

    Args:
        cells: The partitions, `model|task`.
        models: All models in the order of their partition set.
        tasks: All tasks in the order of theirs.
    """
    wanted: dict[int, list[int]] = {}
    for cell in cells:
        model, _, task = cell.rpartition("|")
        wanted.setdefault(models.index(model), []).append(tasks.index(task))
    blocks = []
    for alike in {tuple(sorted(columns)) for columns in wanted.values()}:
        rows = sorted(row for row, columns in wanted.items() if tuple(sorted(columns)) == alike)
        for some in _neighbours(rows):
            blocks += [[(row, column) for row in some for column in few] for few in _neighbours(alike)]
    return [[f"{models[row]}|{tasks[column]}" for row, column in block] for block in sorted(blocks)]


def _neighbours(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending numbers cut where one is left out."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _messages(failures: Iterable[dg.DagsterEvent]) -> Iterable[str]:
    """The message of each failed step: our own, which names what and the remedy, else that of the innermost cause."""
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
