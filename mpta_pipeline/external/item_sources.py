"""Items of answers made elsewhere: from a benchmark's own file or from a table of items."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.core.tables import CONCEPTS, ITEMS, OPTIONS, RESPONDENTS
from mpta_pipeline.external.bbq_layout import is_bbq
from mpta_pipeline.external.file_formats import read
from mpta_pipeline.external.scoring_inputs import Known
from mpta_pipeline.harmonize import Crosswalk

# Kinds whose canonical order of options is drawn by this project: letters of other people's prompts cannot mean it.
_OWN_ORDER = ("truthfulqa_binary", "truthfulqa_mc1", "truthfulqa_mc2")


def known_items(path: Path, *, kind: str | None = None, metadata: Path | None = None) -> Known:
    """Items of a benchmark's own file (or folder of files), or a Parquet file of the table `items`."""
    items = items_from(path, kind=kind, metadata=metadata)
    own = path.suffix != ".parquet" and bool(items["kind"].is_in(list(_OWN_ORDER)).any())
    return Known(items, own_order=not own)


def items_from(path: Path, *, kind: str | None = None, metadata: Path | None = None) -> pl.DataFrame:
    """Items of a benchmark's own file (or folder of files), or a Parquet file of the table `items`.

    Args:
        path: The file.
        kind: Kind of task; by default what the file's structure says: BBQ, TruthfulQA binary or MC1.
        metadata: BBQ's additional_metadata.csv.

    Raises:
        ConfigError: The kind is not known, or cannot be told from the file.
        TaskError: The file does not have the kind's structure.
    """
    if path.suffix == ".parquet" and kind is None:
        return ITEMS.conform(read(path))
    name = kind or _kind_of(path)
    options = {"metadata": str(metadata)} if metadata is not None else {}
    config = TaskConfig(kind=name, path=path.resolve(), options=options)
    return tasks.build_items(
        name,
        config,
        crosswalk=Crosswalk({}, CONCEPTS.empty(), OPTIONS.empty(), {}),
        respondents=RESPONDENTS.empty(),
        study=Study(name="external", tasks={name: config}),
    )


def _kind_of(path: Path) -> str:
    if path.is_dir() and any(path.glob("*.jsonl")):
        return "bbq"
    if path.name == "mc_task.json":
        return "truthfulqa_mc1"
    if path.suffix == ".jsonl" and is_bbq(read(path)):
        return "bbq"
    if path.suffix == ".csv" and {"Best Answer", "Best Incorrect Answer"} <= set(read(path).columns):
        return "truthfulqa_binary"
    raise ConfigError(
        "What kind of task these items are is not said",
        file=path,
        variable="--kind",
        remedy=f"name it, one of {', '.join(sorted(tasks.KINDS))}",
    )
