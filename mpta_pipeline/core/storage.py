"""Write and read files: to a temporary name, synced, then renamed; on an object store by one upload.

Partitions, their records and raw snapshots are in the *store*: below the data directory, or at `MPTA_DATA_URL`. Paths
of an object store are fsspec-backed paths of universal-pathlib, with pathlib's methods; functions here cover the
differences. Files that need locks and appends (ledgers), and the published DuckDB file, stay on a file system.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import polars as pl

from mpta_pipeline.core.errors import ConfigError, DamagedError, DiskFullError

REPLACED_ESTIMATES = "figures_before"
"""Folder of replaced estimates. It keeps its original name."""


CHUNKS = "%chunks"
"""End of the name of a folder that holds a table's chunks. No partition key gives it: a "%" in a key becomes "%25"."""

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises for a damaged file. A panic is no `Exception`: it passes every handler that does not name it."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM_WORDS = tuple(os.strerror(number) for number in _NO_ROOM)


def on_object_store(path: Path) -> bool:
    """Whether a path is on an object store, not on a file system."""
    return not isinstance(path, Path)


def _object_store(path: Path) -> Any:
    """The fsspec file system of a path on an object store."""
    return cast(Any, path).fs


def _name(path: Path) -> str:
    return str(cast(Any, path).path)


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Call `write` on a temporary path, sync the file and move it into place. On error the old file stays.

    On a file system the temporary file is beside `path` and is renamed. On an object store it is uploaded: an object
    appears complete or not at all, even if the upload takes several parts.
    """
    if on_object_store(path):
        with scratch() as folder:
            made = folder / path.name
            made.touch()
            write(made)
            return copy(made, path)
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


def write_parquet(frame: pl.DataFrame, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write a frame as Parquet (zstd) atomically, with metadata of ours. Equal frames give equal bytes."""
    return write_atomic(path, lambda p: frame.rechunk().write_parquet(p, compression="zstd", metadata=metadata))


def read_parquet(path: Path, columns: Collection[str] | None = None) -> pl.DataFrame:
    """Read a stored partition; from an object store with one request.

    Args:
        path: The file.
        columns: Columns to read, as far as they are stored; None for all.

    Raises:
        FileNotFoundError: There is no such file.
    """
    source = io.BytesIO(_object_store(path).cat_file(_name(path))) if on_object_store(path) else path
    if columns is None:
        return pl.read_parquet(source)
    return pl.read_parquet(source, columns=[name for name in pl.read_parquet_schema(source) if name in columns])


def parquet_metadata(path: Path) -> dict[str, str]:
    """The metadata that a stored partition was written with.

    Raises:
        FileNotFoundError: There is no such file.
    """
    return pl.read_parquet_metadata(path if not on_object_store(path) else io.BytesIO(path.read_bytes()))


def read_text(path: Path) -> str:
    """Read UTF-8 text; from an object store with one request.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not on_object_store(path):
        return path.read_text(encoding="utf-8")
    return str(_object_store(path).cat_file(_name(path)).decode())


def disk_full(failure: Exception, reading: Path) -> DiskFullError | None:
    """The error for a disk without room; None if a failure has another cause.

    Args:
        failure: What Python or a library raised. Libraries state the system's reason in their message only.
        reading: The file that was being read.
    """
    if getattr(failure, "errno", None) not in _NO_ROOM and not any(words in str(failure) for words in _NO_ROOM_WORDS):
        return None
    return DiskFullError(
        "The disk is full, so the file could not be read to its end; the file itself may be good",
        file=reading,
        remedy=f"free space where {Layout.from_env().root} is, then run again",
    )


def file_identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is written, replaced or moved, even if its time of change is set back."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def listed(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder that match a glob pattern, folder by folder in name order; empty if it is absent."""
    return sorted(folder.glob(pattern), key=lambda path: path.parts)


def chunk_folder(path: Path) -> Path:
    """The folder of a table's chunks, beside the file that it would be without chunks."""
    return path.with_name(path.name.removesuffix(".parquet") + CHUNKS)


def holds_chunks(folder: Path) -> bool:
    """Whether a folder holds the chunks of a table."""
    return folder.name.endswith(CHUNKS)


def remove_folder(folder: Path) -> None:
    """Remove a folder of the store with its files, if it exists."""
    if on_object_store(folder):
        for path in listed(folder, "*"):
            path.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def copy(source: Path, target: Path) -> Path:
    """Copy a file to an object store, or an object to a file. The old `target` stays until the copy is complete."""
    if on_object_store(target):
        _object_store(target).put_file(str(source), _name(target))
        return target
    return write_atomic(target, lambda made: _object_store(source).get_file(_name(source), str(made)))


def shared(layout: Layout, published: Path) -> Path:
    """Put a copy of a published file beside the partitions, if they are on an object store."""
    if on_object_store(layout.store):
        copy(published, layout.store / published.name)
    return published


def fetch(paths: Sequence[Path], base: Path, folder: Path) -> None:
    """Copy objects below `base` concurrently into a folder, with their subfolders."""
    if paths:
        targets = [str(folder.joinpath(*path.parts[len(base.parts) :])) for path in paths]
        _object_store(base).get([_name(path) for path in paths], targets)


def mirror(source: Path, target: Path, last: str) -> None:
    """Copy the files of a folder between file system and object store, if `source` has the file `last`.

    That file is copied last: a copy that has it is complete, and is left as it is.
    """
    if (target / last).exists() or not (source / last).exists():
        return
    for path in [*(p for p in listed(source, "*") if p.name != last), source / last]:
        copy(path, target / path.name)


def write_text(text: str, path: Path) -> Path:
    """Write UTF-8 text atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomic(path, write)


def write_json(value: Any, path: Path) -> Path:
    """Write a JSON document atomically, keys sorted."""
    return write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", path)


_CHECKSUM = "checksum"


def write_checked_json(record: Mapping[str, Any], path: Path) -> Path:
    """Write a JSON object atomically, with the checksum of its content in it (`read_checked_json`)."""
    content = {name: value for name, value in record.items() if name != _CHECKSUM}
    return write_json(content | {_CHECKSUM: _checksum_of(content)}, path)


def read_checked_json(path: Path) -> dict[str, Any]:
    """Read a JSON object whose content is what was written; one written without a checksum is read as it is.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedError: It is not a JSON object, or its content changed since it was written.
    """
    try:
        record = json.loads(read_text(path))
        if not isinstance(record, dict):
            raise ValueError("it is not a JSON object")
    except ValueError as failure:  # JSONDecodeError and UnicodeDecodeError, too
        raise _damaged_json(path, type(failure).__name__) from None
    expected = record.pop(_CHECKSUM, None)
    if expected is not None and expected != _checksum_of(record):
        raise _damaged_json(path, "its content is not what was written")
    return record


def _checksum_of(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _damaged_json(path: Path, why: str) -> DamagedError:
    return DamagedError(
        f"A stored file is damaged: {why}",
        file=path,
        remedy="run `mpta run` again, which rebuilds it; if this happens again, check the disk",
    )


@dataclass(frozen=True)
class Layout:
    """Paths below the data directory (`MPTA_DATA_DIR`): Parquet partitions, and one published DuckDB file.

    Attributes:
        root: The data directory.
        url: Object store for the partitions, if they are not in the data directory, e.g. `s3://bucket/prefix`
            (`MPTA_DATA_URL`).
        ledgers: Folder of the ledgers, on a file system shared by all processes that query models (`MPTA_LEDGER_DIR`).
    """

    root: Path
    url: str | None = None
    ledgers: Path | None = None

    @classmethod
    def from_env(cls) -> Layout:
        """The layout below `MPTA_DATA_DIR`, by default `data/` in the working directory."""
        ledgers = os.environ.get("MPTA_LEDGER_DIR")
        return cls(
            Path(os.environ.get("MPTA_DATA_DIR", "data")).resolve(),
            os.environ.get("MPTA_DATA_URL") or None,
            Path(ledgers).resolve() if ledgers else None,
        )

    @cached_property
    def store(self) -> Path:
        """Where partitions and raw snapshots are: the data directory, or a folder of an object store.

        Raises:
            ConfigError: `MPTA_DATA_URL` cannot be used.
        """
        if self.url is None:
            return self.root
        try:
            from upath import UPath

            # Files that another process has just written must be visible: listings are never cached.
            store = UPath(self.url, use_listings_cache=False)
            _ = store.fs  # imports the store's package, without which the first access would fail
            return cast(Path, store)
        except (ImportError, ValueError) as failure:
            raise ConfigError(
                f"The object store cannot be used: {failure}",
                variable="MPTA_DATA_URL",
                value=self.url,
                remedy="give a URL such as s3://bucket/prefix and install the project with its extra `scale`",
            ) from None

    @property
    def surveys(self) -> Path:
        """The survey folder (`MPTA_SURVEY_DIR`, by default `surveys/` below the root)."""
        return Path(os.environ.get("MPTA_SURVEY_DIR", self.root / "surveys")).resolve()

    @property
    def raw(self) -> Path:
        """Raw waves on this machine: one folder per wave, with one subfolder per release."""
        return self.root / "raw"

    @property
    def raw_store(self) -> Path:
        """Raw waves where all machines can read them. Releases do not change, so each machine may keep a copy."""
        return self.store / "raw"

    @property
    def records(self) -> Path:
        """The deployment's own records of sources and concepts as they were last read."""
        return self.store / "records"

    @property
    def approvals(self) -> Path:
        """The approvals of models that cost money, one file per model."""
        return self.store / "approvals"

    @property
    def catalogue(self) -> Path:
        """What the survey folder contained at the last scan."""
        return self.store / "catalogue.json"

    def harmonized(self, wave: str) -> Path:
        """The harmonized wave's table."""
        return self.store / "harmonized" / f"{wave}.parquet"

    def table(self, name: str, *partition: str) -> Path:
        """A table's Parquet file, with one folder level per partition key; "/" in a key becomes "%2F"."""
        keys = [key.replace("%", "%25").replace("/", "%2F") for key in partition]
        return self.store.joinpath("tables", name, *keys[:-1], f"{keys[-1] if keys else name}.parquet")

    def replaced_estimates(self, model: str, task: str) -> Path:
        """Replaced estimates of a model on a task. The folder keeps its first name, so that cited ids still resolve."""
        model, task = (key.replace("%", "%25").replace("/", "%2F") for key in (model, task))
        return self.store / REPLACED_ESTIMATES / model / f"{task}.parquet"

    def ledger(self, model: str) -> Path:
        """A model's ledger folder."""
        return (self.ledgers or self.root / "ledger") / model.replace("%", "%25").replace("/", "%2F")

    @property
    def models(self) -> Path:
        """Files made from installed models (re-quantized weights)."""
        return self.root / "models"

    @property
    def item_files(self) -> Path:
        """Downloaded item files of the benchmarks."""
        return self.root / "item_files"

    @property
    def warehouse(self) -> Path:
        """The published DuckDB file."""
        return self.root / "warehouse.duckdb"

    @property
    def report(self) -> Path:
        """The published report."""
        return self.root / "report.html"


# Steps that make tables share the work lock; a withdrawal holds it exclusively. Both pass the gate first, so that new
# steps do not overtake a waiting withdrawal.
_WORK, _GATE = "work.lock", "work.gate.lock"
_SCRATCH, _SWEEP, _OWNER = "scratch", "sweep.lock", ".owner"
_HOLD_ROWS = (".parquet", ".duckdb", ".html", ".arrow")


@contextmanager
def at_work(layout: Layout) -> Iterator[None]:
    """Exclude withdrawals while a table is made. Any number of steps, in any process, may hold this at once."""
    with _lock_file(layout, _WORK) as work:
        with _lock_file(layout, _GATE) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
            fcntl.flock(work, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(layout: Layout, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Exclude all steps: wait until running steps have ended, and let no new step start.

    Args:
        layout: The data folder.
        waiting: Called once if steps are still running.
    """
    with _lock_file(layout, _GATE) as gate, _lock_file(layout, _WORK) as work:
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(work, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(work, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch(layout: Layout | None = None) -> Iterator[Path]:
    """A temporary folder below the data folder, for the duration of the context. `sweep` removes abandoned ones.

    Survey rows and persona texts are never written to the system's temporary folder, where nothing would remove them.

    Args:
        layout: The data folder; null for the environment's.
    """
    layout = layout or Layout.from_env()
    base = layout.root / _SCRATCH
    base.mkdir(parents=True, exist_ok=True)
    with _lock_file(layout, _SWEEP) as sweeping:
        fcntl.flock(sweeping, fcntl.LOCK_SH)
        folder = Path(tempfile.mkdtemp(dir=base))
        owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX)  # released with this process, however it ends
        fcntl.flock(sweeping, fcntl.LOCK_UN)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)


def sweep(layout: Layout) -> int:
    """Remove the remains of killed processes: scratch folders, and half-written tables if no step is running.

    Returns:
        Number of removed folders and files.
    """
    gone = 0
    with _lock_file(layout, _SWEEP) as sweeping:
        fcntl.flock(sweeping, fcntl.LOCK_EX)
        for folder in listed(layout.root / _SCRATCH, "*"):
            if folder.is_dir() and _abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                gone += 1
    with _lock_file(layout, _GATE) as gate, _lock_file(layout, _WORK) as work:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(work, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return gone
        return gone + sweep_half_written(layout)


def sweep_half_written(layout: Layout) -> int:
    """Remove tables and published files that were half written when a process was killed; no step may be running."""
    left = [p for p in listed(layout.root, "**/.*.tmp") if any(f"{suffix}." in p.name for suffix in _HOLD_ROWS)]
    # Before the scratch folder existed, files were read beside the snapshots.
    left += [p for p in listed(layout.raw, ".*") if p.is_dir()]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


def _abandoned(folder: Path) -> bool:
    """Whether the process that made a scratch folder has ended."""
    try:
        owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return True
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(owner)
    return True


@contextmanager
def _lock_file(layout: Layout, name: str) -> Iterator[int]:
    """An open lock file; locks on it are released when it is closed."""
    layout.root.mkdir(parents=True, exist_ok=True)
    handle = os.open(layout.root / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield handle
    finally:
        os.close(handle)
