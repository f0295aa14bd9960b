"""Make the items and answer keys of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import digest, file_sha256, hash_uniform
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.core.tables import GOLD, ITEMS
from mpta_pipeline.personas import CrosswalkTables
from mpta_pipeline.tasks.item_gaps import Gaps, NoItemsError, sound
from mpta_pipeline.tasks.item_locations import locate
from mpta_pipeline.tasks.kind_registry import kind_of, task_kinds
from mpta_pipeline.tasks.people_in_arms import with_hidden_answers
from mpta_pipeline.tasks.task_kind import ItemRequest, TaskKind


def build_items(
    name: str,
    config: TaskConfig,
    *,
    crosswalk: CrosswalkTables,
    respondents: pl.DataFrame,
    study: Study,
    cache_dir: Path | None = None,
    base: Path | None = None,
    gaps: Gaps | None = None,
) -> pl.DataFrame:
    """Make a task's items.

    Args:
        name: Task.
        config: Its configuration. `items` keeps the items with the lowest keyed hashes, divided equally among the
            codebooks and the kind's own groups (`spread`).
        crosswalk: Concepts and options.
        respondents: RESPONDENTS rows of the study's waves.
        study: For its seed.
        cache_dir: Folder of downloaded item files.
        base: Configuration folder, with the deployment's own kinds; a relative `config.path` counts from it. None:
            kinds of the environment's configuration folder, and paths from the working directory.
        gaps: Collects the items that are left out because they cannot be asked (see `tasks/item_gaps.py`).

    Returns:
        ITEMS.

    Raises:
        TaskError: The item file is absent or has another structure, or too many items cannot be asked.
        NoItemsError: There are none.
        ConfigError: Unknown kind or option.
    """
    kind = kind_of(name, config, base)
    files = locate(name, config, kind.file, base=base, cache_dir=cache_dir)
    gaps = Gaps() if gaps is None else gaps
    located = _with_option_files(config, kind, base)
    try:
        items = kind.items(ItemRequest(located, crosswalk, respondents, files, study.seed, gaps))
    except TaskError as failure:
        raise _of_task(failure, name, base) from None
    items = sound(items, gaps, files[0] if files else None)
    gaps.check(name, items.height)
    if items.is_empty():
        raise NoItemsError(
            f"Task {name} has no questions: no wave of the study has one that it can ask",
            variable=f"tasks.{name}",
            remedy="add a survey file that has them, choose other surveys or options, or remove the task",
        )
    own_key = pl.col("own_key") if "own_key" in items.columns else kind.gold is not None
    items = completed(items, task=name, kind=kind.name, own_key=own_key)
    if config.items is not None and config.items < items.height:
        items = items.with_columns(hash_uniform(items, ["item_id"], key=f"items\x1f{study.seed}").alias("hash"))
        spread = ["spread"] if "spread" in items.columns else []
        place = pl.col("hash").rank("ordinal").over("codebook", *spread)
        items = items.with_columns(place.alias("place")).sort("place", "hash").head(config.items)
    items = with_hidden_answers(name, config, items, crosswalk)
    return ITEMS.conform(items.select(list(ITEMS.schema)))


def _of_task(failure: TaskError, task: str, base: Path | None) -> TaskError:
    """The error about an option of a task, with the option's whole name in study.yaml."""
    if not str(failure.variable or "").startswith("options"):
        return failure
    return type(failure)(
        failure.problem,
        remedy=failure.remedy,
        file=failure.file if base is None else base / "study.yaml",
        variable=f"tasks.{task}.{failure.variable}",
        value=failure.value,
    )


def completed(items: pl.DataFrame, *, own_key: bool | pl.Expr, **names: str) -> pl.DataFrame:
    """Add the columns of ITEMS that a kind leaves out, and how the answers are scored.

    Args:
        items: Columns of ITEMS, and perhaps others, which stay.
        own_key: Whether the answer key of items without `gold_idx` is the persona's own.
        **names: task and kind, if the items do not carry them.
    """
    defaults = {"reveals": pl.lit([], pl.List(pl.String)), "sample_item": pl.lit(False)}
    items = items.with_columns(
        *(pl.lit(None, c.dtype).alias(c.name) for c in ITEMS.columns if c.nullable and c.name not in items.columns),
        *(value.alias(name) for name, value in defaults.items() if name not in items.columns),
    )
    scoring = (
        pl.when(pl.col("option_credit").is_not_null())
        .then(pl.lit("probability_mass"))
        .when(pl.col("reference").is_not_null())
        .then(pl.lit("reference"))
        .when(pl.col("gold_idx").is_not_null() | own_key)
        .then(pl.lit("key"))
        .otherwise(pl.lit("none"))
    )
    return items.with_columns(scoring.alias("scoring"), **{name: pl.lit(value) for name, value in names.items()})


def build_gold(
    name: str,
    config: TaskConfig,
    items: pl.DataFrame,
    *,
    crosswalk: CrosswalkTables,
    respondents: pl.DataFrame,
    base: Path | None = None,
) -> pl.DataFrame:
    """Make the answer keys of every respondent, for items whose key is the persona's own; empty for other kinds.

    Args:
        name: Task.
        config: Its configuration.
        items: ITEMS of the task.
        crosswalk: Concepts and options.
        respondents: RESPONDENTS rows of the study's waves.
        base: Configuration folder; None for that of the environment.

    Returns:
        GOLD.
    """
    kind = kind_of(name, config, base)
    if kind.gold is None or not keyed_by_persons(kind, items):
        return GOLD.empty()
    gold = kind.gold(items, ItemRequest(config, crosswalk, respondents, (), 0))
    return GOLD.conform(gold.with_columns(pl.lit(name).alias("task")).select(list(GOLD.schema)))


def keyed_by_persons(kind: TaskKind, items: pl.DataFrame) -> bool:
    """Whether the answer key of a task's items is the persona's own answer."""
    return (
        kind.gold is not None
        and not items.filter(pl.col("gold_idx").is_null() & (pl.col("scoring") == "key")).is_empty()
    )


def item_file_version(config: TaskConfig, *, base: Path | None = None) -> str:
    """Version of what a task's items are read from: its item files and, for kinds of the deployment, the kind's file.

    A kind without item files has the version `survey`; files that are absent have the version `absent`.
    """
    kind = kind_of(config.kind, config, base)
    version = _files_version(config, kind, base)
    located = _with_option_files(config, kind, base).options
    further: list[str | bytes] = [
        _content(located[name]) for name in kind.option_files if located.get(name) is not None
    ]
    own = task_kinds(base).files.get(kind.name)
    further += [] if own is None else [own.read_bytes()]
    return digest(version, *further) if further else version


def check_item_files(task: str, config: TaskConfig, kind: TaskKind, base: Path | None) -> None:
    """Check that the files exist that a task's configuration names. Downloads nothing.

    Raises:
        TaskError: A file does not exist.
    """
    if config.path is not None:
        locate(task, config, kind.file, base=base)
    located = _with_option_files(config, kind, base).options
    for name in kind.option_files:
        if located.get(name) is not None and not Path(str(located[name])).exists():
            raise TaskError(
                "The file that the task names does not exist",
                file=str(located[name]),
                variable=f"tasks.{task}.options.{name}",
                remedy="correct the path, which counts from the folder of study.yaml",
            )


def _with_option_files(config: TaskConfig, kind: TaskKind, base: Path | None) -> TaskConfig:
    """The configuration of a task with whole paths in the options that name files.

    A relative path counts from the configuration folder, or, without such a file there, from the working directory.
    """
    found = {name: config.options[name] for name in kind.option_files if config.options.get(name) is not None}
    if not found or base is None:
        return config
    whole = {name: str(base / path) for name, path in found.items() if (base / path).exists()}
    return config.model_copy(update={"options": config.options | whole})


def _content(path: Any) -> str:
    try:
        return file_sha256(Path(path))
    except OSError:
        return "absent"


def _files_version(config: TaskConfig, kind: TaskKind, base: Path | None) -> str:
    if config.path is None and config.options.get("download") and kind.file is not None:
        return digest(*(d.sha256 for d in kind.file.downloads))
    try:
        files = locate(config.kind, config, kind.file, base=base)
    except TaskError:
        return "absent"
    return digest(*(file_sha256(path) for path in files)) if files else "survey"
