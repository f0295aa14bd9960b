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

from mpta_pipeline.errors import ConfigError
from mpta_pipeline.orchestration import sources, steps
from mpta_pipeline.orchestration.project import Project
from mpta_pipeline.provenance import Node

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


# Marks runs that live in a command's own process: nobody but the next command can tell that one was killed.
COMMAND_TAG = "mpta/command"


@contextmanager
def sole_command(project: Project, instance: dg.DagsterInstance) -> Iterator[None]:
    """Be the one command that runs on this data folder, and bury the runs of commands that were killed.

    A killed command leaves its run as started for ever; its assets would count as in progress, and the daemon would
    never request them again.

    Raises:
        ConfigError: Another command is under way.
    """
    project.layout.root.mkdir(parents=True, exist_ok=True)
    with (project.layout.root / "command.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "Another mpta command is at work on this data folder",
                file=project.layout.root,
                remedy="wait for it or stop it; what it has asked and made is kept",
            ) from None
        unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
        for run in instance.get_runs(unfinished):
            if COMMAND_TAG in run.tags:
                instance.report_run_failed(run, "The command that ran this was killed; the next one goes on.")
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
        project: The deployment.
        definitions: What Dagster loads.
        instance: The Dagster instance.
        announce: Called with a line before each run.
        models: Models to ask; null for the study's.
        tasks: Tasks to run; null for the study's.
        until: Last asset to make; null for all.
    """

    project: Project
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    announce: Callable[[str], None] = lambda line: None
    models: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    until: str | None = None
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        """Look at the sources, then make each layer; a failure stops only what depends on it."""
        found = sources.look(self.project, self.instance)
        sources.apply(found, self.project, self.instance)
        self.outcome.problems = found.catalogue.problems
        tasks = list(self.tasks or self.project.study.tasks)
        models = list(self.models or self.project.models)
        for wave in found.catalogue.waves:
            self._make(("raw_wave", "harmonized_wave", "survey_changelog"), [wave])
        if not self.project.harmonized_waves():
            # Said once: everything below would fail for the same reason.
            self.outcome.failures["personas"] = str(self.project.no_wave())
            return self.outcome
        self._make(("personas", "panel"), [""])
        for task in tasks:
            self._make(("items", "prompts"), [task])
        for model in models:
            cells = [f"{model}|{t}" for t in tasks if steps.made(self.project, Node("prompts", t))]
            self._make(("responses",), cells)
            answered = [c for c in cells if steps.made(self.project, Node("responses", c))]
            self._make(("scores", "subgroup_metrics", "pockets"), answered)
        if any(steps.made(self.project, Node("subgroup_metrics", c)) for c in steps.cells(self.project)):
            self._make(("model_comparison", "warehouse", "report"), [""])
        return self.outcome

    def publish_again(self) -> None:
        """Publish warehouse and report though they are in step: readers see that they were looked at."""
        self._materialize(("warehouse", "report"), [""])

    def _make(self, assets: Sequence[str], partitions: Sequence[str]) -> None:
        """Materialize a chain of assets over partitions, from the first asset that is out of step."""
        wanted = [a for a in assets if self.until is None or ORDER.index(a) <= ORDER.index(self.until)]
        todo: dict[tuple[str, ...], list[str]] = {}
        for partition in partitions:
            stale = tuple(a for a in wanted if not steps.is_current(self.project, Node(a, partition)))
            if stale:
                # What follows a stale asset in the chain is made from it.
                todo.setdefault(tuple(wanted[wanted.index(stale[0]) :]), []).append(partition)
        for chain, keys in todo.items():
            if len(keys) == len(partitions) > 1:
                self._materialize(chain, keys)
            else:
                for key in keys:
                    self._materialize(chain, [key])

    def _materialize(self, assets: Sequence[str], keys: Sequence[str]) -> None:
        label = " → ".join(assets) + (f" [{', '.join(keys)}]" if keys != [""] else "")
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


def _messages(failures: Iterable[dg.DagsterEvent]) -> Iterable[str]:
    """The innermost cause of each failed step: our messages name what and the remedy; a stack trace says less."""
    for event in failures:
        data = event.step_failure_data
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if data.user_failure_data is not None and data.user_failure_data.description:
            yield data.user_failure_data.description
        elif error is not None:
            yield error.message.strip().removeprefix("mpta_pipeline.errors.")
