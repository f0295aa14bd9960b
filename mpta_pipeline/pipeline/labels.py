"""Gather the names for people: of sources, kinds of task, concepts, dimensions and countries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from mpta_pipeline import tasks
from mpta_pipeline.core.countries import spoken_name
from mpta_pipeline.core.labels import CROSS, Labels, plain
from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.harmonize import Crosswalk
from mpta_pipeline.personas.dimensions import TITLES, VALUES
from mpta_pipeline.surveys.source_registry import Source


def labels(
    *,
    sources: Iterable[Source],
    crosswalk: Crosswalk,
    study_tasks: Mapping[str, TaskConfig],
    dimensions: Iterable[str],
    countries: Iterable[str],
    config_folder: Path | None = None,
    controls: Iterable[str] = (),
) -> Labels:
    """The names for people of what a study measures.

    Args:
        sources: The survey sources.
        crosswalk: The compiled crosswalk.
        study_tasks: The tasks of the study.
        dimensions: The dimensions of its estimates.
        countries: Countries of the harmonized waves, ISO 3166-1 alpha-3.
        config_folder: The configuration folder, which may have kinds of task of its own.
        controls: Names of the models that are controls.
    """
    return Labels(
        surveys=_survey_titles(sources),
        tasks={name: _task_title(name, config, config_folder) for name, config in study_tasks.items()},
        dimensions=_dimension_titles(crosswalk, dimensions),
        values=dict(VALUES) | {("country", code): spoken_name(code).removeprefix("the ") for code in countries},
        controls=frozenset(controls),
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


def _task_title(name: str, config: TaskConfig, config_folder: Path | None) -> str:
    """The name of the benchmark for a task named after its kind, else the task's own name."""
    kind = tasks.kind_of(name, config, config_folder)
    benchmark, colon, _ = kind.title.partition(":")
    return benchmark if colon and kind.name == name else plain(name)


def _dimension_titles(crosswalk: Crosswalk, dimensions: Iterable[str]) -> dict[str, str]:
    """Titles of the base dimensions of the study: their own, else the label of the concept."""
    named = {part for cut in dimensions for part in cut.split(CROSS)}
    concepts = crosswalk.concepts
    found = dict(TITLES)
    for name in sorted(named - found.keys()):
        of_it = concepts.filter((pl.col("concept") == name) | (pl.col("column") == name))["label"].drop_nulls()
        if of_it.len():
            label = str(of_it[0]).partition(",")[0]
            found[name] = label[:1].upper() + label[1:]
    return found
