"""Download item files into a cache. Downloads resume, and a file is used only if its SHA-256 is the pinned one."""

from __future__ import annotations

from pathlib import Path

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import file_sha256
from mpta_pipeline.tasks.item_files import Download, ItemFile


def fetch(published: ItemFile, name: str, cache_dir: Path) -> tuple[Path, ...]:
    """Get the published files of a task from the cache, and download those that it lacks.

    An interrupted download resumes. A file is used only if its SHA-256 is the pinned one.

    Args:
        published: The item file; `downloads` has the address and SHA-256 of each file.
        name: Task, for messages.
        cache_dir: Cache folder.

    Raises:
        TaskError: The address cannot be reached or returns another file; names file, address and where to put it.
    """
    return tuple(_fetch(d, published, name, cache_dir) for d in published.downloads)


def _fetch(download: Download, published: ItemFile, name: str, cache_dir: Path) -> Path:
    import httpx  # loading both takes a tenth of a second, which most commands need not wait for

    from mpta_pipeline.core import downloads

    target = cache_dir / download.sha256[:12] / download.url.rsplit("/", 1)[-1]
    if target.is_file() and file_sha256(target) == download.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    try:
        downloads.fetch(download.url, partial, pinned=True)
    except (httpx.HTTPError, OSError) as failure:
        raise TaskError(
            f"The item file of task {name} cannot be downloaded ({type(failure).__name__}); "
            "the other tasks continue without it",
            file=target,
            variable=download.url,
            remedy=f"get {published.name} from {published.address} in another way and put it there, "
            f"or set tasks.{name}.path to its location",
        ) from None
    found = file_sha256(partial)
    if found != download.sha256:
        downloads.discard(partial)
        raise TaskError(
            f"The address of task {name} does not return the pinned file; the other tasks continue without it",
            file=target,
            variable=download.url,
            value=f"sha256 {found}",
            remedy=f"get the version with sha256 {download.sha256} and put it there, or set tasks.{name}.path "
            "to another version, which is then identified by its hash",
        )
    return downloads.take(partial, target)
