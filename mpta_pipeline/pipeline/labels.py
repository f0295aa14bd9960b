"""Gather the names for people: of sources, kinds of task, concepts, dimensions and countries."""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl

from mpta_pipeline import tasks
from mpta_pipeline.core.countries import spoken_name
from mpta_pipeline.core.labels import CROSS, Labels, plain
from mpta_pipeline.personas import dimensions
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.surveys.source_registry import Source


def labels(deployment: Deployment) -> Labels:
    """The names for people of what the deployment's study measures."""
    return Labels(
        surveys=_survey_titles(deployment.sources),
        tasks={name: _task_title(deployment, name) for name in deployment.study.tasks},
        dimensions=_dimension_titles(deployment),
        values=dict(dimensions.VALUES) | {("country", code): spoken_name(code) for code in _countries(deployment)},
    )


def _survey_titles(sources: Iterable[Source]) -> dict[str, str]:
    """The title of each survey: the shortest one among its files, which names no particular file."""
    titles: dict[str, str] = {}
    for title, survey in sorted((survey_title(source.title), source.family) for source in sources):
        titles[survey] = min(titles.get(survey, title), title, key=len)
    return titles


def survey_title(title: str) -> str:
    """The title of a source without its wave or year: General Social Survey."""
    return re.sub(r"( wave)? \{wave\}| \d{4}$", "", title)


def _task_title(deployment: Deployment, name: str) -> str:
    """The name of the benchmark for a task named after its kind, else the task's own name."""
    kind = tasks.kind_of(name, deployment.study.tasks[name])
    benchmark, colon, _ = kind.title.partition(":")
    return benchmark if colon and kind.name == name else plain(name)


def _dimension_titles(deployment: Deployment) -> dict[str, str]:
    """Titles of the base dimensions of the study: their own, else the label of the concept."""
    named = {part for cut in deployment.study.figures.dimensions for part in cut.split(CROSS)}
    concepts = deployment.crosswalk.concepts
    found = dict(dimensions.TITLES)
    for name in sorted(named - found.keys()):
        of_it = concepts.filter((pl.col("concept") == name) | (pl.col("column") == name))["label"].drop_nulls()
        if of_it.len():
            label = str(of_it[0]).partition(",")[0]
            found[name] = label[:1].upper() + label[1:]
    return found


def _countries(deployment: Deployment) -> list[str]:
    """Countries of the harmonized waves."""
    if not deployment.harmonized_waves():
        return []
    return deployment.waves()["countries"].explode().drop_nulls().unique().sort().to_list()
