"""Labels for people: the one place where the command line turns keys of tables into words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpta_pipeline.core.labels import Labels
    from mpta_pipeline.pipeline.deployment import Deployment

_HEADINGS = {
    "item_mode": "most frequent",
    "n_answers": "answers",
    "n_personas": "personas",
    "n_people": "people",
    "mae_n": "scaled error",
    "sd_ratio": "SD ratio",
}


def heading(column: str) -> str:
    """A column's heading."""
    return _HEADINGS.get(column, column.removeprefix("bbq_").replace("_", " "))


def group(dimensions: str, subgroup: str) -> str:
    """A subgroup in words: `sex female`; everyone and categories by their name alone."""
    return subgroup if dimensions in ("all", "category") else f"{dimensions} {subgroup}"


def names_of(deployment: Deployment) -> Labels:
    """The names of the study's surveys, tasks and models, as the report has them."""
    from mpta_pipeline.pipeline.labels import labels

    return labels(
        sources=deployment.sources,
        crosswalk=deployment.crosswalk,
        study_tasks=deployment.study.tasks,
        dimensions=deployment.study.figures.dimensions,
        countries=(),
        config_folder=deployment.config,
        controls=[name for name, spec in deployment.models.items() if spec.control],
    )


def duration(seconds: float) -> str:
    """A duration as hours, minutes and seconds: `0:12:05`."""
    return str(timedelta(seconds=round(seconds)))


def some(values: Iterable[str], most: int = 3) -> str:
    """The first few of many values, with how many there are."""
    every = list(values)
    return ", ".join(every[:most]) + (f" … ({len(every)})" if len(every) > most else "")
