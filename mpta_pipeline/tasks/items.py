"""Items and answer keys of a task."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import digest, file_sha256, hash_uniform
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.core.tables import GOLD, ITEMS
from mpta_pipeline.personas import Crosswalk
from mpta_pipeline.tasks.item_files import locate
from mpta_pipeline.tasks.item_gaps import Gaps, sound
from mpta_pipeline.tasks.task_kinds import ItemRequest, kind_of


def build_items(
    name: str,
    config: TaskConfig,
    *,
    crosswalk: Crosswalk,
    respondents: pl.DataFrame,
    study: Study,
    cache_dir: Path | None = None,
    base: Path | None = None,
    gaps: Gaps | None = None,
) -> pl.DataFrame:
    """Make a task's items.

    Args:
        name: Task.
        config: Its configuration; `items` keeps the lowest keyed hashes, shared out equally among the codebooks (and
            whatever else the kind spreads them over).
        crosswalk: Concepts and options.
        respondents: RESPONDENTS rows of the study's waves.
        study: For its seed.
        cache_dir: Folder of downloaded item files.
        base: Folder that a relative `config.path` counts from.
        gaps: Takes note of the items that are left out because they cannot be asked (see `tasks/gaps.py`).

    Returns:
        ITEMS.

    Raises:
        TaskError: The item file is absent or has another structure, too many items cannot be asked, or no item can be
            made.
        ConfigError: Unknown kind or option.
    """
    kind = kind_of(name, config)
    files = locate(name, config, kind.file, base=base, cache_dir=cache_dir)
    gaps = Gaps() if gaps is None else gaps
    items = kind.items(ItemRequest(config, crosswalk, respondents, files, study.seed, gaps))
    items = sound(items, gaps, files[0] if files else None)
    gaps.check(name, items.height)
    if items.is_empty():
        raise TaskError(
            f"Task {name} has no items",
            variable=f"tasks.{name}",
            remedy="no wave of the study has a question that this kind can ask; choose other surveys or options",
        )
    null: dict[str, pl.DataType] = {
        "codebook": pl.String(),
        "category": pl.String(),
        "context": pl.String(),
        "option_scores": pl.List(pl.Float64),
        "gold_idx": pl.Int64(),
        "column": pl.String(),
    }
    items = items.with_columns(
        pl.lit(name).alias("task"),
        pl.lit(kind.name).alias("kind"),
        *(pl.lit(None, dtype).alias(c) for c, dtype in null.items() if c not in items.columns),
        *([pl.lit([], pl.List(pl.String)).alias("reveals")] if "reveals" not in items.columns else []),
        *([pl.lit("").alias("spread")] if "spread" not in items.columns else []),
    )
    if config.items is not None and config.items < items.height:
        items = items.with_columns(hash_uniform(items, ["item_id"], key=f"items\x1f{study.seed}").alias("hash"))
        place = pl.col("hash").rank("ordinal").over("codebook", "spread")
        items = items.with_columns(place.alias("place")).sort("place", "hash").head(config.items)
    return ITEMS.conform(items.select(list(ITEMS.schema)))


def build_gold(
    name: str, config: TaskConfig, items: pl.DataFrame, *, crosswalk: Crosswalk, respondents: pl.DataFrame
) -> pl.DataFrame:
    """What every respondent answered to the items whose answer key is the persona's own; empty for other kinds.

    Returns:
        GOLD.
    """
    kind = kind_of(name, config)
    if kind.gold is None or items["gold_idx"].null_count() == 0:
        return GOLD.empty()
    gold = kind.gold(items, ItemRequest(config, crosswalk, respondents, (), 0))
    return GOLD.conform(gold.with_columns(pl.lit(name).alias("task")).select(list(GOLD.schema)))


def item_file_version(config: TaskConfig, *, base: Path | None = None) -> str:
    """Hash of a task's item files; the same text for every kind without one, `absent` where the file is."""
    kind = kind_of(config.kind, config)
    if config.path is None and config.options.get("download") and kind.file is not None:
        return digest(*(d.sha256 for d in kind.file.downloads))
    try:
        files = locate(config.kind, config, kind.file, base=base)
    except TaskError:
        return "absent"
    return digest(*(file_sha256(path) for path in files)) if files else "survey"
