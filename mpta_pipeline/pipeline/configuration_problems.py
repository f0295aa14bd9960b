"""Resolve every name and path of the configuration before a run needs it: `mpta doctor` and `mpta plan` show the rest.

A file that cannot be read at all is reported by whoever reads it; here are names in it that lead nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mpta_pipeline import metrics, personas, tasks
from mpta_pipeline.core.errors import ConfigError, MptaError
from mpta_pipeline.core.labels import CROSS
from mpta_pipeline.core.multiverse import is_variant
from mpta_pipeline.core.published_figures import FILE as PUBLISHED
from mpta_pipeline.core.published_figures import load_published
from mpta_pipeline.core.study import TaskConfig, TaskVariant
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.metrics import METRICS
from mpta_pipeline.pipeline.deployment import Deployment


def configuration_problems(deployment: Deployment) -> list[MptaError]:
    """Names, paths, kinds, columns, dimensions and strata of the configuration that do not exist. Read-only."""
    try:
        _ = deployment.study, deployment.sources, deployment.crosswalk
    except MptaError:
        return []
    found: list[MptaError] = []
    for look in (_surveys, _strata_and_dimensions, _traits, _retest, _timezone, _tasks, _published):
        try:
            found += look(deployment)
        except MptaError as failure:  # e.g. a concept that cannot be read; the other names are looked at all the same
            found.append(failure)
    return list({str(problem): problem for problem in found}.values())


def _unknown(
    kind: str, names: Iterable[str], known: Iterable[str], key: str, deployment: Deployment
) -> Iterator[MptaError]:
    listed = list(known)
    for name in names:
        if name not in listed:
            yield unknown_name(kind, name, listed, variable=key, file=deployment.config / "study.yaml")


def _surveys(deployment: Deployment) -> Iterator[MptaError]:
    known = sorted(source.id for source in deployment.sources)
    yield from _unknown("survey", deployment.study.surveys or (), known, "surveys", deployment)


def _strata_and_dimensions(deployment: Deployment) -> Iterator[MptaError]:
    study = deployment.study
    of_people, of_questions = personas.dimension_names(deployment.crosswalk)
    yield from _unknown("dimension of people", study.panel.strata, of_people, "panel.strata", deployment)
    parts = [part for dimension in study.figures.dimensions for part in dimension.split(CROSS)]
    known = [*of_people, *of_questions]
    yield from _unknown("dimension", dict.fromkeys(parts), known, "figures.dimensions", deployment)
    if "country_group" in (*parts, *study.panel.strata):
        personas.check_country_groups(study.figures.country_groups)


def _traits(deployment: Deployment) -> Iterator[MptaError]:
    columns = deployment.study.traits.columns
    if columns is not None:
        yield from _unknown("concept or column", columns, _columns(deployment), "traits.columns", deployment)


def _columns(deployment: Deployment) -> list[str]:
    """Concepts and harmonized columns."""
    frame = deployment.crosswalk.concepts
    return sorted({*frame["concept"].drop_nulls(), *frame["column"].drop_nulls()})


def _retest(deployment: Deployment) -> Iterator[MptaError]:
    table = deployment.retest_file
    if table is not None and not table.is_file():
        yield ConfigError(
            "The table of test-retest accuracies does not exist",
            file=table,
            variable="figures.retest",
            remedy="correct the path, which counts from the folder of study.yaml, or remove the key",
        )
    elif table is not None:  # of another name, e.g. a survey's variable, nothing would be computed
        named = metrics.read_retest(table)["column"]
        known = sorted(set(deployment.crosswalk.concepts["column"].drop_nulls()))
        for name in named:
            if name not in known:
                yield unknown_name("harmonized column", name, known, variable="column", file=table)


def _timezone(deployment: Deployment) -> Iterator[MptaError]:
    name = deployment.study.schedules.timezone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield ConfigError(
            "There is no such time zone",
            file=deployment.config / "study.yaml",
            variable="schedules.timezone",
            value=name,
            remedy="give a name of the IANA database, e.g. Europe/Berlin",
        )


def _tasks(deployment: Deployment) -> Iterator[MptaError]:
    for name, config in deployment.study.own_tasks.items():
        try:
            kind = tasks.kind_of(name, config, deployment.config)
            tasks.check_item_files(name, config, kind, deployment.config)
        except MptaError as failure:
            yield failure
            continue
        chosen = config.options.get("columns")
        if "columns" in kind.options and isinstance(chosen, list) and all(isinstance(one, str) for one in chosen):
            key = f"tasks.{name}.options.columns"
            yield from _unknown("concept or column", chosen, _columns(deployment), key, deployment)
        yield from _models_of(deployment, name, config)
    yield from _multiverse(deployment)


def _multiverse(deployment: Deployment) -> Iterator[MptaError]:
    """Figures of the multiverse that nothing can be computed for, and levels that a model cannot be asked at."""
    multiverse = deployment.study.multiverse
    if multiverse is None:
        return
    try:
        metrics.multiverse.check_figures(multiverse.figures)
    except MptaError as failure:
        yield failure
    known = [base for dimension in deployment.study.figures.dimensions for base in dimension.split(CROSS)]
    wanted = [base for dimension in multiverse.dimensions for base in dimension.split(CROSS)]
    yield from _unknown(
        "dimension among figures.dimensions", wanted, known, "multiverse.figures.dimensions", deployment
    )
    for name, config in deployment.study.tasks.items():
        if isinstance(config, TaskVariant):
            yield from _models_of(deployment, name, config)
    if any(level not in ("as_given", "off", 0) for level in multiverse.factors.reasoning):
        yield from _cannot_think(deployment)


def _cannot_think(deployment: Deployment) -> Iterator[MptaError]:
    """Models whose answers at all levels of `reasoning` are alike, because their provider has no such switch."""
    try:
        models = deployment.models
    except MptaError:
        return
    for name, spec in models.items():
        if not is_variant(name) and not spec.provider_class.thinking_switches:
            yield ConfigError(
                f"Model {name} answers alike at all levels of reasoning: provider {spec.provider} cannot think",
                file=spec.source,
                variable="multiverse.factors.reasoning",
                value=name,
                remedy="leave the factor out, or read nothing into these configurations of the model",
            )


def _published(deployment: Deployment) -> Iterator[MptaError]:
    """Names in published.yaml that lead nowhere: the figure would have nothing of ours beside it."""
    published = load_published(deployment.config)
    if published is None:
        return
    file, study = deployment.config / PUBLISHED, deployment.study
    dimensions = ["all", *study.figures.dimensions]
    known = [source.id for source in deployment.sources]
    for place, needed in enumerate(published.files):
        for kind, name, names in (("survey", needed.survey, known), ("task", needed.task, list(study.tasks))):
            if name is not None and name not in names:
                yield unknown_name(kind, name, names, variable=f"files.{place}.{kind}", file=file)
    for place, figure in enumerate(published.figures):
        if (ours := figure.ours) is None:
            continue
        if ours.task not in study.tasks:
            yield unknown_name("task", ours.task, study.tasks, variable=f"figures.{place}.ours.task", file=file)
            continue
        asked: list[str] = [*study.task_conditions(ours.task)]
        for kind, key, value, names in (
            ("metric", "metric", ours.metric, list(METRICS)),
            ("condition of this task", "condition", ours.condition, asked),
            ("dimension of this study", "dimensions", ours.dimensions, dimensions),
        ):
            if value not in names:
                yield unknown_name(kind, value, names, variable=f"figures.{place}.ours.{key}", file=file)


def _models_of(deployment: Deployment, task: str, config: TaskConfig) -> Iterator[MptaError]:
    """Models that cannot be asked a task."""
    try:
        models = deployment.models
    except MptaError:
        return
    for model, spec in models.items():
        if not deployment.asks(model, task):
            continue
        able = [e for e in spec.elicitations if e in spec.provider_class.elicitations]
        if config.elicitation not in able:
            yield ConfigError(
                f"Task {task} asks with elicitation {config.elicitation}, which model {model} does not offer",
                file=spec.source,
                variable=f"models.{model}.elicitations",
                value=", ".join(able),
                remedy=f"use one of these in tasks.{task}.elicitation of study.yaml, or leave the model out",
            )
        elif config.batch_items is not None and "free_text" not in able:
            yield ConfigError(
                f"Task {task} asks several questions in a request, and model {model} does not offer free_text, with "
                "which such a reply is requested",
                file=spec.source,
                variable=f"models.{model}.elicitations",
                value=", ".join(able),
                remedy=f"list free_text there if the endpoint supports it, or leave tasks.{task}.batch_items or the "
                "model out",
            )
