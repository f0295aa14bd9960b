"""Locate the item files of a task: the configured path, a verified download, or the kind's own sample."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.tasks.item_downloads import fetch
from mpta_pipeline.tasks.item_files import SAMPLES, ItemFile


def locate(
    name: str, config: TaskConfig, published: ItemFile | None, *, base: Path | None, cache_dir: Path | None = None
) -> tuple[Path, ...]:
    """Locate the item files of a task: those that the configuration names, a download, or the kind's own sample.

    Args:
        name: Task.
        config: Its configuration. A relative path counts from `base`; environment variables in it are expanded.
        published: The file that the kind reads; None for kinds without one.
        base: Configuration folder; None for the working directory.
        cache_dir: Folder of downloaded files, needed if the option `download` is set.

    Raises:
        TaskError: The file is absent, or no path is given and the kind has no sample.
    """
    if published is None:
        return ()
    where = config.path
    if where is None and config.options.get("download"):
        if not published.downloads or cache_dir is None:
            raise _absent(name, published, published.name)
        return fetch(published, name, cache_dir)
    if where is None:
        if published.sample is not None:
            return (SAMPLES / published.sample,)
        raise _absent(name, published, published.name)
    where = _expanded(name, where)
    path = where if where.is_absolute() else (base or Path()) / where
    if path.is_dir():
        found = tuple(sorted(path.glob(published.pattern)))
        if not found:
            raise _absent(name, published, path / published.pattern)
        return found
    if not path.is_file():
        raise _absent(name, published, path)
    return (path,)


def _expanded(name: str, path: Path) -> Path:
    """Expand the environment variables of a path (`$MPTA_BENCHMARKS/…`)."""
    text = os.path.expandvars(str(path))
    if unset := re.search(r"\$\{?(\w+)\}?", text):
        raise TaskError(
            f"The path of task {name}'s item file uses an environment variable that is not set; "
            "the other tasks continue without it",
            variable=unset[1],
            value=str(path),
            remedy=f"export {unset[1]}=… with the folder, or write the whole path into tasks.{name}.path",
        )
    return Path(text).expanduser()


def _absent(name: str, published: ItemFile, path: Path | str) -> TaskError:
    return TaskError(
        f"The item file of task {name} is absent; the other tasks continue without it",
        file=path,
        variable=f"tasks.{name}.path",
        remedy=f"get {published.name} from {published.address} and put it there, or set the path to its location"
        + (", or set options: {download: true}" if published.downloads else ""),
    )
