"""Examine whether a deployment can work: folders, configuration, models. Read-only; sends no request.

`mpta doctor` shows the findings.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mpta_pipeline import inference, surveys
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.pipeline.configuration_problems import configuration_problems
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.steps.inference import groups_left_out
from mpta_pipeline.pipeline.steps.tasks import items_left_out

_ROOM = 3e9  # bytes; the demo's model and tables take about two


@dataclass(frozen=True)
class Diagnosis:
    """One examined thing: whether it works, and what to do if it does not."""

    what: str
    good: bool
    message: str


def examine(deployment: Deployment, home: Path) -> Iterator[Diagnosis]:
    """Examine one thing after the other; a problem with one does not hide those that follow.

    Args:
        deployment: The deployment.
        home: Dagster's home.
    """
    for name, folder in (("data folder", deployment.layout.root), ("Dagster's home", home)):
        yield _folder(name, folder)
    free = shutil.disk_usage(_existing(deployment.layout.root)).free
    yield Diagnosis(
        "room on the disk", free > _ROOM, f"{free / 1e9:.0f} GB free" + ("" if free > _ROOM else ": not enough")
    )
    readers: dict[str, Callable[[], str]] = {
        "study.yaml": lambda: f"{len(deployment.study.tasks)} task(s)",
        "surveys.yaml": lambda: f"{len(list(deployment.sources))} source(s) known",
        "models.yaml": lambda: f"{len(deployment.models)} model(s)",
        "crosswalk": lambda: f"{deployment.crosswalk.concepts['concept'].n_unique()} concepts",
    }
    for name, read in readers.items():
        try:
            yield Diagnosis(name, True, read())
        except MptaError as failure:
            yield Diagnosis(name, False, str(failure))
    with suppress(MptaError):  # a configuration that cannot be read was reported above
        for aside in deployment.set_aside:
            yield Diagnosis(aside.name, False, str(aside))
    for problem in configuration_problems(deployment):
        yield Diagnosis(problem.variable or "configuration", False, str(problem))
    yield from _items(deployment)
    yield from _models(deployment)
    yield from _survey_files(deployment)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _folder(name: str, folder: Path) -> Diagnosis:
    if os.access(_existing(folder), os.W_OK):
        return Diagnosis(name, True, str(folder))
    return Diagnosis(name, False, f"{folder} cannot be written: change its permissions, or choose another folder")


def _items(deployment: Deployment) -> Iterator[Diagnosis]:
    """Tasks whose item file has gaps; they run without those items, so this is no failure."""
    try:
        found = items_left_out(deployment)
    except MptaError:  # reported above
        return
    for task, told in found:
        yield Diagnosis(f"items of {task}", True, told)
    with suppress(MptaError):  # models.yaml that cannot be read was reported above
        for pair, said in groups_left_out(deployment):
            yield Diagnosis(pair.label, True, said)


def _models(deployment: Deployment) -> Iterator[Diagnosis]:
    try:
        specs = deployment.models.values()
    except MptaError:  # reported above
        return
    for problem in inference.provider_problems(deployment.config):
        yield Diagnosis("providers", False, str(problem))
    for spec in specs:
        state = inference.overview(spec)["state"]
        good = state == "ready"
        if good:
            probed = inference.stored_probe(spec, deployment.layout.ledger(spec.name))
            if probed is None:
                state += "; `mpta models --probe` shows what it can do"
            elif probed.problem or probed.to_do:
                state += f"; the probe of {probed.at} found: {probed.problem or '; '.join(probed.to_do)}"
            if spec.price is None and not spec.is_local and spec.key_variable:
                state += "; no `price` in its entry, so no plan, budget or approval knows what it costs"
        yield Diagnosis(f"model {spec.name}", good, state)


def _survey_files(deployment: Deployment) -> Iterator[Diagnosis]:
    try:
        states = surveys.scan(surveys.folders(deployment.layout, deployment.sources), deployment.sources)
    except MptaError:
        return
    for state in states:
        if state.problem is not None:
            # A source that is closed or switched off is a decision of the user.
            yield Diagnosis(state.path.name, state.status == "closed", state.problem)
    waves = {found.wave for found in surveys.assign(states) if found.role == "used"}
    told = (
        f"{len(waves)} wave(s)"
        if waves
        else f"no wave yet: drop a file into {deployment.layout.surveys}, or run `mpta demo`"
    )
    yield Diagnosis("survey files", bool(waves), told)
