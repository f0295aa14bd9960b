"""State of a deployment, for `mpta status`: what is out of date and why, what waits for you, what would be sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mpta_pipeline import inference
from mpta_pipeline.core.chunks import becomes_chunks
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.pipeline import graph, part_jobs
from mpta_pipeline.pipeline.approvals import unsent, waiting_models
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.held_releases import of_wave
from mpta_pipeline.pipeline.staleness import parents
from mpta_pipeline.pipeline.steps.inference import groups_left_out, planned_prompts
from mpta_pipeline.pipeline.steps.tasks import without_items
from mpta_pipeline.pipeline.stored import made

NOT_MADE = "not made yet"
IN_CHUNKS = ("prompts", "responses", "scores")
"""Tables that are stored in chunks if they are large."""
CHANGED = {
    "code": "the code that makes it changed",
    "survey_file": "the survey file, its policy or its withdrawals changed",
    "harmonization_rules": "the concepts or the record of the source changed",
    "crosswalk": "the wording of concepts changed",
    "data_use": "the data-use policy changed",
    "experiments": "the arms of an experiment changed",
    "task": "the task or its item file changed",
    "asked": "the models that are asked this configuration changed",
    "model": "the model's entry changed",
    "models": "models.yaml changed",
    "approval": "the model's approval or budget changed",
    "figure_rules": "the rules of estimates changed",
    "published_figures": "published.yaml changed",
    "report_design": "what the report shows changed",
    "held_releases": "a release was held or accepted",
}
"""Setting → why a table that is made from it is out of date. Settings made of keys of study.yaml name these keys."""


@dataclass(frozen=True)
class Outdated:
    """Partitions of a table that are out of date for the same reason."""

    table: str
    reason: str
    partitions: tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """Something that goes on only when a person decides or acts.

    Attributes:
        what: The kind of decision.
        subject: The model and task, the wave, or the file.
        message: What waits and what to do.
        requests: Requests that wait, if any.
        dollars: What these would cost, in US dollars; None if that is unknown or nothing.
    """

    what: Literal["approval", "permission", "budget", "failed requests", "left out", "held release", "set aside"]
    subject: str
    message: str
    requests: int = 0
    dollars: float | None = None


def outdated(deployment: Deployment) -> list[Outdated]:
    """The tables that are out of date, in the order of work, each with the reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for node in graph.nodes(deployment):
        record = made(deployment, node)
        try:
            changes = [NOT_MADE] if record is None else list(_changes(record, parents(deployment, node)))
            if changes and record is not None and node.asset in IN_CHUNKS and becomes_chunks(record):
                changes.append("it is in one file and will be stored in chunks, which repeats no request")
            if changes and (n := part_jobs.expected_jobs(deployment, node)) > 1:
                changes.append(f"up to {n} jobs on {part_jobs.cluster_name()} will make its chunks")
            reason = "; ".join(changes)
        except MptaError as failure:  # e.g. an item file that is absent
            reason = failure.problem
        if reason:
            found.setdefault((node.asset, reason), []).append(node.partition)
    return [Outdated(table, reason, tuple(keys)) for (table, reason), keys in found.items()]


def following(tables: Iterable[str]) -> list[str]:
    """The assets that will be looked at again when tables are made again: whatever is made from them."""
    changed = set(tables)
    found = []
    for name in graph.assets():
        if changed & set(graph.asset_dependencies(name)):
            if name not in changed:
                found.append(name)
            changed.add(name)
    return found


def _changes(record: Record, now: dict[str, str]) -> Iterator[str]:
    """What differs between what a table was made from and what it would be made from now, in words."""
    names = dict.fromkeys(
        Node.parse(name).asset for name in [*now, *record.parents] if record.parents.get(name, "") != now.get(name, "")
    )
    if any(name not in graph.TABLES and name not in graph.SETTINGS and name != "code" for name in names):
        yield "made by an earlier version of mpta"
        return
    yield from (CHANGED[name] for name in names if name in CHANGED)
    if keys := [
        key for name in names if name not in CHANGED and name in graph.SETTINGS for key in graph.SETTINGS[name].keys
    ]:
        yield f"study.yaml changed (one of {', '.join(keys)})"
    if tables := [name for name in names if name in graph.TABLES]:
        yield f"{', '.join(tables)} changed"


def waiting(deployment: Deployment) -> Iterator[Waiting]:
    """Everything that waits for a person: approvals, permissions, budgets, failed requests, held releases, files."""
    known = set()
    for one in unsent(deployment, waiting=True):
        known.add(one.pair.model)
        yield Waiting("approval", one.pair.label, one.text, one.requests, one.dollars)
    for name, because in waiting_models(deployment).items():
        if name not in known:
            price = inference.price_text(deployment.model(name))
            text = f"nothing of it is sent by the daemon, because the model {because}; `mpta approve {name}` ({price})"
            yield Waiting("approval", name, text)
    for pair in graph.model_tasks(deployment):
        yield from _waiting_requests(deployment, pair)
    for task, said in without_items(
        {task: made(deployment, Node("items", task)) for task in deployment.study.own_tasks}
    ):
        yield Waiting("set aside", task, said)
    for pair, said in groups_left_out(deployment):
        yield Waiting("left out", pair.label, said)
    for wave, told in deployment.harmonizing_notes().items():
        messages = {str(one.facts["file"]): one.message for one in of_wave(wave, told)}
        for name, problem in told.get("left_out", {}).items():
            yield Waiting("held release", f"{wave}: {name}", messages.get(name, str(problem)))
    for name, problem in deployment.catalogue().problems.items():
        yield Waiting("set aside", name, problem)


def _waiting_requests(deployment: Deployment, pair: ModelTask) -> Iterator[Waiting]:
    """Requests of a model's last run that got no response."""
    record = made(deployment, Node("responses", str(pair)))
    notes = record.notes if record else {}
    if withheld := notes.get("withheld"):
        yield Waiting("permission", pair.label, str(notes.get("withheld_because", "")), withheld)
    if left := notes.get("left"):
        text = f"{notes.get('stopped', 'stopped')}; `mpta run` continues"
        yield Waiting("budget" if "budget" in text else "failed requests", pair.label, text, left)
    if unreached := notes.get("not_reached"):
        text = "turns of conversations, at most, after one without a response"
        yield Waiting("failed requests", pair.label, text, unreached)
    if errors := notes.get("errors"):
        why = f" ({notes['error_reasons']})" if notes.get("error_reasons") else ""
        yield Waiting("failed requests", pair.label, f"failed{why}; `mpta run --retry-errors` retries", errors)


def to_send(deployment: Deployment) -> Iterator[tuple[ModelTask, inference.Plan | MptaError]]:
    """What would be sent per model and task, as far as prompts exist; the error for a model that cannot be asked."""
    for task in deployment.study.tasks:
        if made(deployment, Node("prompts", task)) is None or made(deployment, Node("personas")) is None:
            continue
        for name, spec in deployment.models.items():
            try:
                asked = planned_prompts(deployment, spec, [task])
                yield ModelTask(name, task), inference.plan(spec, asked, deployment.layout.ledger(name))
            except MptaError as failure:
                yield ModelTask(name, task), failure
