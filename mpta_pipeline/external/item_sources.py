"""Read the items of answers made elsewhere: from a benchmark's own file or from a table of items."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import polars as pl

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.core.tables import CONCEPTS, ITEMS, OPTIONS, RESPONDENTS
from mpta_pipeline.external.earlier_items import with_declared_columns
from mpta_pipeline.external.file_formats import read
from mpta_pipeline.external.scoring_inputs import Known
from mpta_pipeline.harmonize import Crosswalk


def known_items(path: Path, *, kind: str | None = None, metadata: Path | None = None) -> Known:
    """Items of a benchmark's own file (or folder of files), or a Parquet file of the table `items`."""
    items = items_from(path, kind=kind, metadata=metadata)
    kinds = tasks.task_kinds().kinds
    # Letters in other people's prompts refer to the published order of the options.
    shuffled = path.suffix != ".parquet" and any(kinds[name].shuffles_options for name in items["kind"].unique())
    return Known(items, own_order=not shuffled)


def items_from(path: Path, *, kind: str | None = None, metadata: Path | None = None) -> pl.DataFrame:
    """Items of a benchmark's own file (or folder of files), or a Parquet file of the table `items`.

    Args:
        path: The file.
        kind: Kind of task; by default what the file's structure says: BBQ, TruthfulQA binary or MC1.
        metadata: BBQ's additional_metadata.csv.

    Raises:
        ConfigError: The kind is unknown, or cannot be recognized from the file.
        TaskError: The file does not have the kind's structure.
    """
    if path.suffix == ".parquet" and kind is None:
        return ITEMS.conform(with_declared_columns(read(path)))
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
    """The kind whose signature an item file, or the first fitting file of a folder, bears."""
    kinds = tasks.task_kinds().kinds
    for kind in kinds.values():
        signature, published = kind.signature, kind.file
        if signature is None or published is None:
            continue
        found = sorted(path.glob(published.pattern)) if path.is_dir() else [path]
        file = next((f for f in found if fnmatch(f.name, published.pattern)), None)
        if file is None:
            continue
        if signature.file_name == file.name or (signature.columns and signature.columns <= set(read(file).columns)):
            return kind.name
    raise ConfigError(
        "It is not known of which task kind these items are",
        file=path,
        variable="--kind",
        remedy=f"name it, one of {', '.join(sorted(kinds))}",
    )
