"""Describe published item files: their names, addresses, licences and versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpta_pipeline.core.hashing import file_sha256

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
        pattern: Files that are read if the path is a folder.
        sample: Name of this project's sample file of the same structure; None if there is none.
        versions: SHA-256 → name of the version.
        downloads: Files that the option `download` downloads.
    """

    name: str
    address: str
    licence: str
    pattern: str
    sample: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    downloads: tuple[Download, ...] = ()


def version(files: tuple[Path, ...], published: ItemFile | None) -> str:
    """The version of a task's item files: the published name if the SHA-256 is known, else the SHA-256."""
    known = published.versions if published else {}
    return "; ".join(known.get(s) or f"{p.name} sha256 {s[:12]}" for p in files for s in (file_sha256(p),))


def is_sample(files: tuple[Path, ...]) -> bool:
    """Whether the items are this project's samples and not the published benchmark."""
    return any(SAMPLES in path.parents for path in files)
