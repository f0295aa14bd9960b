"""Read the records of the configuration folder: YAML files that add to the package's records or replace them.

A record that cannot be used does not affect the others. It is set aside with the reason, and its last usable version,
if there is one, stays in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mpta_pipeline.core.errors import ConfigError, MptaError
from mpta_pipeline.core.storage import listed, read_text, write_text
from mpta_pipeline.core.untrusted_text import one_line

T = TypeVar("T")


@dataclass(frozen=True)
class SetAside:
    """A record of the configuration folder whose current version is not used.

    Attributes:
        file: The file.
        reason: What is wrong with it, with key and remedy.
        last_read: Its last usable version stays in use.
    """

    file: Path
    reason: str
    last_read: bool = False

    @property
    def name(self) -> str:
        """Folder and name of the file, e.g. `sources/club.yaml`."""
        return one_line(f"{self.file.parent.name}/{self.file.name}")

    def __str__(self) -> str:
        kept = "Its last usable version stays in use. " if self.last_read else ""
        return f"{kept}{self.reason}"


@dataclass(frozen=True)
class OwnRecord(Generic[T]):
    """A record as read from the configuration folder, or as it was last read from there."""

    file: Path
    text: str
    record: T


def read_own(
    folder: Path | None, parse: Callable[[str, Path], T], *, kept: Path | None = None, skip: str = ""
) -> tuple[dict[str, OwnRecord[T]], list[SetAside]]:
    """Read the records of a folder.

    Args:
        folder: Folder of the records. If it is absent or None, there are none.
        parse: Parses the text of a record; raises an error of this package if it cannot be used.
        kept: Folder of the records as they were last read (`keep`).
        skip: Name of a file that is not a record.

    Returns:
        Name of the file without suffix → record; and what was set aside.
    """
    found: dict[str, OwnRecord[T]] = {}
    aside: list[SetAside] = []
    for path in _files(folder):
        if path.name == skip:
            continue
        try:
            text = _text(path)
            found[path.stem] = OwnRecord(path, text, parse(text, path))
        except MptaError as failure:
            last = last_read(path, parse, kept)
            if last is not None:
                found[path.stem] = last
            aside.append(SetAside(path, str(failure), last is not None))
    return found, aside


def last_read(path: Path, parse: Callable[[str, Path], T], kept: Path | None) -> OwnRecord[T] | None:
    """A record as it was last read; None if it never was, or can no longer be used."""
    if kept is None:
        return None
    try:
        text = read_text(kept / path.name)
        return OwnRecord(path, text, parse(text, path))
    except (OSError, ValueError, MptaError):
        return None


def keep(records: Mapping[str, OwnRecord[T]], aside: Iterable[SetAside], kept: Path) -> None:
    """Keep copies of the records in use, and delete copies whose file no longer exists."""
    for own in records.values():
        target = kept / own.file.name
        if not target.exists() or read_text(target) != own.text:
            write_text(own.text, target)
    known = {own.file.name for own in records.values()} | {one.file.name for one in aside}
    for path in listed(kept, "*.yaml"):
        if path.name not in known:
            path.unlink()


def _files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    return [path for path in listed(folder, "*.yaml") if not path.name.startswith(".")]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        reason = "it is not UTF-8" if isinstance(failure, UnicodeDecodeError) else failure.strerror or str(failure)
        raise ConfigError(
            f"A record of the configuration folder cannot be read: {reason}",
            file=path,
            remedy="save it as a text file in UTF-8 that you may read, or remove it",
        ) from None
