"""What runs by itself: two lanes, each brought up to date in one run, by the same staleness as `mpta run`.

The sensor of a lane asks what is out of date and requests a run of the lane's job. The job makes it in order, in runs
inside its own process, which the UI shows like any other. A change that arrives meanwhile is seen before each of them.
docs/decisions/0017-one-run-per-lane.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg

from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import on_object_store
from mpta_pipeline.orchestration.attempts import MAX_FAILED, attempts_file, given_up, load_attempts
from mpta_pipeline.orchestration.command_runs import (
    COMMAND_TAG,
    NO_RETRY_TAG,
    PART_OF_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    command_is_running,
)
from mpta_pipeline.pipeline import approvals, graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import Due, due
from mpta_pipeline.pipeline.stored import remembering

BECAUSE_TAG = "mpta/because"
_NAMED = 4  # nodes that a line about what is out of date names
_UNFINISHED = [
    status
    for status in dg.DagsterRunStatus
    if status not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
]


@dataclass(frozen=True)
class Lane:
    """A part of the graph that is brought up to date by itself.

    Attributes:
        name: Name of its sensor.
        job: Name of its job.
        description: For the UI.
        of_models: Whether its assets are made from responses of models.
    """

    name: str
    job: str
    description: str
    of_models: bool

    @property
    def op(self) -> str:
        """Name of the job's only step."""
        return f"make_{self.job}"

    @property
    def assets(self) -> list[str]:
        """Its assets, in the order of work."""
        return [name for name in graph.assets() if _of_models(name) is self.of_models]

    @property
    def batches(self) -> list[tuple[str, ...]]:
        """Its assets, as runs make them."""
        own = set(self.assets)
        return [kept for batch in graph.batches() if (kept := tuple(a for a in batch if a in own))]


TO_PROMPTS = Lane(
    "automation_to_prompts",
    "files_to_prompts",
    "Rebuilds what is out of date from survey files to prompts. Sends no request to a model.",
    of_models=False,
)
OF_MODELS = Lane(
    "automation_of_models",
    "models_to_report",
    "Sends new prompts to the models, then rebuilds estimates, warehouse and report. "
    "Switch it off to decide yourself when requests are sent.",
    of_models=True,
)
LANES = (TO_PROMPTS, OF_MODELS)


def _of_models(name: str) -> bool:
    table = graph.TABLES[name]
    return table.sends_requests or any(_of_models(graph.owner(p)) for p in table.upstream if graph.owner(p) != name)


@dataclass(frozen=True)
class Wanted:
    """What a lane would do now.

    Attributes:
        nodes: What is out of date and can be made now; what is made from it follows.
        waiting: What was tried and failed.
        unapproved: Responses of models with a price that nobody has approved.
        because: Why nothing is done at the moment, although there may be something to do; null if nothing prevents it.
        key: The same as long as there is the same to do, and it was not tried since.
    """

    nodes: list[Due]
    waiting: list[Due] = field(default_factory=list)
    unapproved: list[Due] = field(default_factory=list)
    because: str | None = None
    key: str = ""


def unfinished_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The runs that wait or work."""
    return list(instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)))


def wanted(deployment: Deployment, instance: dg.DagsterInstance, lane: Lane, *, within: str | None = None) -> Wanted:
    """What a lane would do now.

    Args:
        deployment: The deployment.
        instance: The Dagster instance.
        lane: The lane.
        within: The run of the lane that asks; null for its sensor.
    """
    with remembering():
        tried = load_attempts(deployment.layout)
        out_of_date = list(due(deployment, lane.assets))
        waiting = [d for d in out_of_date if given_up(d, tried)]
        silent = approvals.never_asked(deployment) if lane.of_models else {}
        unapproved = [
            d for d in out_of_date if graph.TABLES[d.node.asset].sends_requests and model_of(d.node) in silent
        ]
        left = [d for d in out_of_date if d not in waiting and d not in unapproved]
        found = _permitted(deployment, instance, lane, left, within)
    key = digest(*sorted(f"{d.node} {d.inputs} {tried.get(str(d.node))}" for d in found.nodes))
    return replace(found, waiting=waiting, unapproved=unapproved, key=key)


def _permitted(
    deployment: Deployment, instance: dg.DagsterInstance, lane: Lane, nodes: list[Due], within: str | None
) -> Wanted:
    def at_work(run: dg.DagsterRun) -> Wanted:
        return Wanted([], because=f"run {run.run_id[:8]} is at work")

    if within is None and command_is_running(deployment):
        return Wanted([], because="a command (mpta run, for instance) is at work on this data folder")
    others = [run for run in unfinished_runs(instance) if run.run_id != within]
    if lane.of_models:
        if any(run.job_name == TO_PROMPTS.job for run in others):
            return Wanted([], because="prompts are being rebuilt")
        tried = load_attempts(deployment.layout)
        if to_come := [d for d in due(deployment, TO_PROMPTS.assets) if not given_up(d, tried)]:
            return Wanted([], because=f"prompts are out of date: {_named(to_come)}")
    busy = [run for run in others if _touches(run, lane)]
    if not busy:
        return Wanted(nodes)
    # A run of the models' lane, or of some of its partitions, is about some models. The others need not wait for it.
    taken: set[str] = set()
    for run in busy:
        models = _models_of(run, deployment) if lane.of_models else None
        if models is None:
            return at_work(run)
        taken.update(models)
    free = [d for d in nodes if (model := model_of(d.node)) is not None and model not in taken]
    return Wanted(free) if free or not nodes else at_work(busy[0])


def _touches(run: dg.DagsterRun, lane: Lane) -> bool:
    """Whether an unfinished run makes assets of a lane. Runs of commands are waited for by their lock."""
    if COMMAND_TAG in run.tags or PART_OF_TAG in run.tags:
        return False
    if run.job_name == lane.job:
        return True
    return bool({key.to_user_string() for key in run.asset_selection or ()} & set(lane.assets))


def model_of(node: Node) -> str | None:
    """The model of a node; None if it is of all models."""
    return graph.TABLES[node.asset].partitioning.values(node.partition).get("model") if node.partition else None


def _models_of(run: dg.DagsterRun, deployment: Deployment) -> list[str] | None:
    """The models that an unfinished run is about; None if it is about what all models share."""
    if run.job_name == OF_MODELS.job:
        return models_of_config(run.run_config)
    first = run.tags.get("dagster/partition") or run.tags.get(RANGE_START_TAG)
    last = run.tags.get("dagster/partition") or run.tags.get(RANGE_END_TAG)
    if first is None or last is None or "|" not in first:
        return None
    models, ends = list(deployment.models), [ModelTask.parse(key).model for key in (first, last)]
    if not set(ends) <= set(models):
        return ends
    return models[models.index(ends[0]) : models.index(ends[1]) + 1]


def run_config(lane: Lane, nodes: Sequence[Due]) -> dict[str, dict[str, dict[str, dict[str, list[str]]]]]:
    """The configuration of a lane's run: the models that it is about."""
    if not lane.of_models:
        return {}
    models = list(dict.fromkeys(model for d in nodes if (model := model_of(d.node)) is not None))
    return {"ops": {lane.op: {"config": {"models": models}}}}


def models_of_config(config: Mapping[str, object]) -> list[str] | None:
    """The models that a run of the models' lane is about; None if its configuration does not say."""
    try:
        return list(config["ops"][OF_MODELS.op]["config"]["models"])  # type: ignore[index]
    except (KeyError, TypeError):
        return None


def tags(nodes: Sequence[Due]) -> dict[str, str]:
    """Tags of a requested run: why it runs. The sensor repeats it if needed, not Dagster."""
    return {BECAUSE_TAG: f"{nodes[0].node}: {nodes[0].because[0]}"[:200], NO_RETRY_TAG: "0"}


def _named(nodes: Sequence[Due]) -> str:
    shown = ", ".join(str(d.node) for d in nodes[:_NAMED])
    return shown + (f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else "")


def said(found: Wanted) -> str:
    """What a lane does, or why it does nothing, in words."""
    lines = [f"{d.node}: {'; '.join(d.because[:3])}" for d in found.nodes[:_NAMED]]
    if len(found.nodes) > _NAMED:
        lines.append(f"and {len(found.nodes) - _NAMED} more")
    if found.because is not None:
        lines.append(f"Waiting: {found.because}.")
    elif not found.nodes:
        rest = found.waiting or found.unapproved
        lines.append("Nothing is out of date." if not rest else "Nothing else can be made.")
    unapproved = dict.fromkeys(str(model_of(d.node)) for d in found.unapproved)
    lines += [f"{model} waits for your approval of its price: mpta approve {model}" for model in unapproved]
    if found.waiting:
        lines.append(
            f"Failed {MAX_FAILED} times, and waits until something that it is made from changes, or until you run it: "
            + _named(found.waiting)
        )
    return "\n".join(lines)


def stamp(deployment: Deployment, instance: dg.DagsterInstance) -> str:
    """Changes with whatever decides what a lane would do: sources, stored tables, attempts, unfinished runs."""
    versions = [
        graph.version_of_source(deployment, source.name, key)
        for source in graph.SOURCES.values()
        for key in graph.partition_keys(deployment, source.partitioning)
    ]
    runs = sorted(f"{run.run_id} {run.status.value}" for run in unfinished_runs(instance))
    layout = deployment.layout
    files = [attempts_file(layout), layout.catalogue]
    if not on_object_store(layout.store):
        # Writing or deleting a table changes its folder.
        files += [layout.store / "harmonized", layout.root, *(layout.store / "tables").glob("**/")]
    times = [str(path.stat().st_mtime_ns) for path in sorted(files) if path.exists()]
    return digest(*versions, *runs, *times, str(command_is_running(deployment)))
