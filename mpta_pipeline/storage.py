"""Where things are written, and how: to a temporary name, synced, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl


def write_atomic(path: Path, write: Callable[[Path], None]) -> Path:
    """Call `write` on a temporary path beside `path`, sync it and rename it; on error nothing is left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as f:
            os.fsync(f.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_parquet(frame: pl.DataFrame, path: Path) -> Path:
    """Write a frame as Parquet (zstd) atomically; the same frame gives the same bytes."""
    return write_atomic(path, lambda p: frame.rechunk().write_parquet(p, compression="zstd"))


def write_text(text: str, path: Path) -> Path:
    """Write UTF-8 text atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomic(path, write)


def write_json(value: Any, path: Path) -> Path:
    """Write a JSON document atomically, keys sorted."""
    return write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", path)


@dataclass(frozen=True)
class Layout:
    """Paths below the data directory (`MPTA_DATA_DIR`). Parquet partitions; one DuckDB file is published."""

    root: Path

    @classmethod
    def from_env(cls) -> Layout:
        """The layout below `MPTA_DATA_DIR`, by default `data/` in the working directory."""
        return cls(Path(os.environ.get("MPTA_DATA_DIR", "data")).resolve())

    @property
    def surveys(self) -> Path:
        """Where survey files are dropped (`MPTA_SURVEY_DIR`, by default `surveys/` below the root)."""
        return Path(os.environ.get("MPTA_SURVEY_DIR", self.root / "surveys")).resolve()

    @property
    def raw(self) -> Path:
        """Raw waves: one folder a wave, below it one a release."""
        return self.root / "raw"

    def harmonized(self, wave: str) -> Path:
        """The harmonized wave's table."""
        return self.root / "harmonized" / f"{wave}.parquet"

    def table(self, name: str, *partition: str) -> Path:
        """A table's Parquet file, with one folder level per partition key; "/" in a key becomes "%2F"."""
        keys = [key.replace("%", "%25").replace("/", "%2F") for key in partition]
        return self.root.joinpath("tables", name, *keys[:-1], f"{keys[-1] if keys else name}.parquet")

    def ledger(self, model: str) -> Path:
        """A model's ledger folder."""
        return self.root / "ledger" / model.replace("%", "%25").replace("/", "%2F")

    @property
    def models(self) -> Path:
        """Files made from installed models (re-quantised weights)."""
        return self.root / "models"

    @property
    def warehouse(self) -> Path:
        """The published DuckDB file."""
        return self.root / "warehouse.duckdb"

    @property
    def report(self) -> Path:
        """The published report."""
        return self.root / "report.html"
