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
    """The item files of a task: those that the configuration names, a download, or the kind's own sample.

    Args:
        name: Task.
        config: Its configuration; a relative path counts from `base`, environment variables in it are put in.
        published: The file that the kind reads; null for kinds without one.
        base: Folder of the configuration; null for the working directory.
        cache_dir: Folder of downloaded files, where the option `download` is set.

    Raises:
        TaskError: The file is absent, or the kind has no sample and no path is given.
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
    """A path with its environment variables (`$MPTA_BENCHMARKS/…`) put in."""
    text = os.path.expandvars(str(path))
    if unset := re.search(r"\$\{?(\w+)\}?", text):
        raise TaskError(
            f"The item file of task {name} is in a folder that an environment variable names, which is not set; "
            "the other tasks go on without it",
            variable=unset[1],
            value=str(path),
            remedy=f"export {unset[1]}=… with the folder, or write the path into tasks.{name}.path",
        )
    return Path(text).expanduser()


def _absent(name: str, published: ItemFile, path: Path | str) -> TaskError:
    return TaskError(
        f"The item file of task {name} is absent; the other tasks go on without it",
        file=path,
        variable=f"tasks.{name}.path",
        remedy=f"get {published.name} from {published.address} and put it there, or set the path to where it is"
        + (", or set options: {download: true}" if published.downloads else ""),
    )
