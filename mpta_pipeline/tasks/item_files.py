"""Item files: where they are, which version they are, and what to do where there is none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import file_sha256
from mpta_pipeline.core.study import TaskConfig

SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Download:
    """A file at a public address, pinned by its SHA-256."""

    url: str
    sha256: str


@dataclass(frozen=True)
class ItemFile:
    """A published item file.

    Attributes:
        name: File or folder name as published.
        address: Where it is published.
        licence: Its licence.
        pattern: Which files count where the path is a folder.
        sample: Name of our own sample file of the same structure; null where there is none.
        versions: SHA-256 → name of the version.
        downloads: Files that the option `download` gets.
    """

    name: str
    address: str
    licence: str
    pattern: str
    sample: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    downloads: tuple[Download, ...] = ()


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
        from mpta_pipeline.tasks.item_downloads import fetch

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


def version(files: tuple[Path, ...], published: ItemFile | None) -> str:
    """The version of a task's item files: its published name where the SHA-256 is known, else the SHA-256."""
    known = published.versions if published else {}
    return "; ".join(known.get(s) or f"{p.name} sha256 {s[:12]}" for p in files for s in (file_sha256(p),))


def is_sample(files: tuple[Path, ...]) -> bool:
    """Whether the items are our own samples and not the published benchmark."""
    return any(SAMPLES in path.parents for path in files)
