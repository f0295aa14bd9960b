"""The ledger: every response of one model, append-only, checksummed, durable before it counts.

There is one folder per model. New responses are appended line by line to a segment (`<n>.log`): eight digits of CRC-32,
a space, JSON. A line that is torn or does not match its checksum is dropped on reading, and a writer never appends to
another writer's segment. Segments that have grown are compacted into Parquet parts sorted by request hash
(`part-<level>-<n>-<CRC-32 of the file>`), and eight parts of a level into one of the next, so that each response is
rewritten only log₈ n times.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.storage import UNREADABLE, write_atomic

RECORD = pl.Schema(
    {
        "request_hash": pl.String(),
        "text": pl.String(),
        "option_logprobs": pl.List(pl.Float64()),
        "finish_reason": pl.String(),
        "error": pl.String(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "cached_tokens": pl.Int64(),
        "provider_model": pl.String(),
        "cost": pl.Float64(),
        "latency": pl.Float64(),
        "attempts": pl.Int64(),
        "asked_at": pl.Int64(),
        "letter_share": pl.Float64(),
        "thought": pl.Boolean(),
    }
)
"""A record: columns of RESPONSES, with US dollars, seconds, attempts and time of the request (ms since 1970, UTC)."""
_LATER = {"letter_share", "thought"}  # columns that parts of earlier versions lack
_FIRST = set(RECORD) - _LATER

COMPACT_AT = 20_000  # records in segments: reading them takes .1 s
MERGE_AT = 8  # parts of one level
_FEW = 200_000  # requests of which the records are looked up by hash before their other columns are read
LOCK_WAIT = 600.0  # seconds for another run of the same model to finish


@dataclass(frozen=True)
class Settled:
    """Which of some requests have a response, and which only a final error."""

    answered: pl.Series
    failed: pl.Series


@dataclass(frozen=True)
class LedgerCheck:
    """The result of reading the whole ledger.

    Attributes:
        records: Readable records, including repeated ones.
        torn: Segments whose last line is incomplete because a run was killed; that response never counted.
        damaged: Damage to data that was once complete, by file.
    """

    records: int
    torn: int
    damaged: tuple[str, ...]


class Ledger:
    """One model's responses below `folder`. Reading needs no lock; a run holds the writer's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dropped = 0
        """Torn or damaged lines dropped when the segments were last read."""

    # ---------------------------------------------------------------- reading

    def read(self, hashes: pl.Series | None = None) -> pl.DataFrame:
        """Return one record (RECORD) per request, of `hashes` or all: a response over an error, then the latest."""
        return self._select(list(RECORD), hashes)

    def settled(self, hashes: pl.Series) -> Settled:
        """Return which of `hashes` have a response, and which only a final error."""
        found = self._select(["request_hash", "error", "asked_at"], hashes)
        failed = found["error"].is_not_null()
        return Settled(found.filter(~failed)["request_hash"], found.filter(failed)["request_hash"])

    def height(self) -> int:
        """Number of records, repeated ones included. Reads no record of a part."""
        return int(self._collect(["request_hash"], lambda records: records.select(pl.len())).item())

    def totals(self) -> dict[str, float]:
        """Return totals of all records: answers, errors, tokens, US dollars, mean seconds per response (0 if none).

        A request that failed and was sent again was charged twice; a record found in a segment and a part was not.
        """
        answered = pl.col("error").is_null()

        def sums(records: pl.LazyFrame) -> pl.LazyFrame:
            return records.unique(("request_hash", "asked_at")).select(
                answers=answered.sum(),
                errors=(~answered).sum(),
                prompt_tokens=pl.col("prompt_tokens").sum(),
                completion_tokens=pl.col("completion_tokens").sum(),
                cost=pl.col("cost").sum(),
                latency=pl.col("latency").filter(answered).mean().fill_null(0.0),
            )

        columns = ("request_hash", "error", "asked_at", "prompt_tokens", "completion_tokens", "cost", "latency")
        return {name: float(value) for name, value in self._collect(columns, sums).row(0, named=True).items()}

    def times(self) -> pl.DataFrame:
        """Return of each response when it was requested (ms), its latency (s) and its prompt's tokens."""
        columns = ("asked_at", "latency", "prompt_tokens")

        def pick(records: pl.LazyFrame) -> pl.LazyFrame:
            answered = records.filter(pl.col("error").is_null(), pl.col("asked_at").is_not_null())
            return answered.unique(("request_hash", "asked_at")).select(columns)

        return self._collect(("request_hash", "error", *columns), pick)

    def verify(self) -> LedgerCheck:
        """Read every record and verify all checksums. Needs no lock and changes nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        damaged: list[str] = []
        torn = records = 0
        for log in self._logs():
            with suppress(FileNotFoundError):  # compacted meanwhile: it is read as a part
                good, dropped = _read_segment(log)
                cut_off = int(bool(dropped) and not log.read_bytes().endswith(b"\n"))
                records, torn = records + len(good), torn + cut_off
                if dropped > cut_off:
                    damaged.append(f"{log.name}: {dropped - cut_off} line(s) do not match their checksum")
        for part in self._parts():
            try:
                if not _is_whole(part):
                    damaged.append(f"{part.name}: does not match its checksum")
                    continue
                found = pl.DataFrame(pq.read_table(part, page_checksum_verification=True))
            except FileNotFoundError:  # merged meanwhile
                continue
            except (OSError, ValueError, pa.ArrowException, *UNREADABLE) as failure:
                damaged.append(f"{part.name}: cannot be read ({type(failure).__name__})")
                continue
            records += found.height
            if (
                any(RECORD.get(name) != dtype for name, dtype in found.schema.items())
                or not set(found.columns) >= _FIRST
            ):
                damaged.append(f"{part.name}: has columns that a ledger does not have")
            elif not found["request_hash"].is_sorted():
                damaged.append(f"{part.name}: is not sorted by request")
        return LedgerCheck(records, torn, tuple(damaged))

    def _select(self, columns: Sequence[str], hashes: pl.Series | None) -> pl.DataFrame:
        wanted = None if hashes is None else pl.LazyFrame({"request_hash": hashes}, schema={"request_hash": pl.String})

        def pick(records: pl.LazyFrame) -> pl.LazyFrame:
            return records if wanted is None else records.join(wanted, on="request_hash", how="semi")

        found = self._collect(list(dict.fromkeys([*columns, "error", "asked_at"])), pick)
        return _best(found).select(columns)

    def texts(self) -> pl.DataFrame:
        """Return the texts of all responses and the final errors: request_hash, text, error."""
        return self._select(["request_hash", "text", "error"], None)

    def state(self) -> tuple[tuple[str, int], ...]:
        """Return names and sizes of the files: while they are the same, so are the records."""
        found = []
        for path in (*self._logs(), *self._parts()):
            with suppress(FileNotFoundError):  # compacted meanwhile
                found.append((path.name, path.stat().st_size))
        return tuple(found)

    def spread(self, wanted: pl.DataFrame, folder: Path) -> None:
        """Write the records of some requests into one subfolder per part, in one pass and without holding all of them.

        Args:
            wanted: request_hash, part (a number); a request may belong to several parts.
            folder: A folder that does not exist yet.
        """

        def write(records: pl.LazyFrame) -> pl.LazyFrame:
            shutil.rmtree(folder, ignore_errors=True)
            target = pl.PartitionBy(folder, key="part")
            if wanted.height <= _FEW:  # the other columns of other records are not read then
                records = records.filter(pl.col("request_hash").is_in(wanted["request_hash"].unique().implode()))
            records.join(wanted.lazy(), on="request_hash").sink_parquet(target, mkdir=True, engine="streaming")
            return pl.LazyFrame()

        self._collect(list(RECORD), write)

    @staticmethod
    def spread_part(folder: Path, part: int) -> pl.DataFrame:
        """The records (RECORD) of one part that `spread` wrote: one per request, as `read` gives them."""
        files = sorted((folder / f"part={part}").glob("*.parquet"))
        if not files:
            return pl.DataFrame(schema=RECORD)
        return _best(pl.read_parquet(files, hive_partitioning=False).select(list(RECORD)))

    def _collect(self, columns: Sequence[str], query: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
        """Run a query over segments and parts; list the files again if a compaction moved some meanwhile."""
        for attempt in range(5):
            try:
                # Segments first: a record that moves from a segment to a part meanwhile is then read twice, not never.
                records = [self._segments().lazy().select(columns)]
                parts = self._parts()
                for part in parts:
                    if not _is_whole(part):
                        raise self._damaged(part)
                if parts:
                    # Parts of earlier versions lack the columns that came later.
                    found = pl.scan_parquet(parts, schema=RECORD, missing_columns="insert", extra_columns="ignore")
                    records.append(found.select(columns))
                return query(pl.concat(records)).collect(engine="streaming")
            except FileNotFoundError:
                if attempt == 4:
                    raise
                time.sleep(0.05)
            except UNREADABLE as failure:  # parts of earlier versions have no checksum in their name
                raise self._damaged(self.folder, type(failure).__name__) from None
        raise AssertionError("the loop returns or raises")

    def _whole(self, part: Path) -> pl.DataFrame:
        """The records of a part. Damage must not be written into another part, with a checksum that fits it."""
        if not _is_whole(part):
            raise self._damaged(part)
        try:
            return pl.read_parquet(part)
        except UNREADABLE as failure:
            raise self._damaged(part, type(failure).__name__) from None

    @staticmethod
    def _damaged(path: Path, reason: str = "it does not match its checksum") -> ModelError:
        return ModelError(
            f"Stored responses are damaged and are not used: {reason}",
            file=path,
            remedy="restore the file from a backup, or move it out of the folder: its requests are then sent again",
        )

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def _segments(self, logs: Sequence[Path] | None = None) -> pl.DataFrame:
        rows: list[Mapping[str, Any]] = []
        self.dropped = 0
        for log in self._logs() if logs is None else logs:
            good, dropped = _read_segment(log)
            rows += good
            self.dropped += dropped
        return pl.DataFrame(rows, schema=RECORD, orient="row", infer_schema_length=None)

    # ---------------------------------------------------------------- writing

    @contextmanager
    def writer(self, *, wait: float = LOCK_WAIT) -> Iterator[Writer]:
        """Lock the ledger and yield its writer. The lock ends with the process, however that ends.

        Raises:
            ModelError: Another run still holds the lock after `wait` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            deadline = time.monotonic() + wait
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise ModelError(
                            f"Another run uses this model and has not finished within {wait:.0f} s",
                            file=self.folder,
                            remedy="wait for it or stop it; its responses are kept and will be used",
                        ) from None
                    time.sleep(0.1)
            for left in self.folder.glob(".part-*.tmp"):  # of a compaction that was killed
                left.unlink()
            self.compact(at_least=COMPACT_AT)
            writer = Writer(self._next_log())
            try:
                yield writer
            except BaseException:
                with suppress(OSError):  # the first error is the one to report
                    writer.close()
                raise
            writer.close()
            self.compact(at_least=COMPACT_AT)

    def drop(self, hashes: pl.Series, *, reason: str) -> int:
        """Delete the records of `hashes` for good; return how many requests were deleted.

        Their cost stays recorded, in one record without text whose error is `reason`: a budget must not grow because
        somebody withdrew. If the process is killed in between, the ledger stays readable; calling this again completes
        the deletion.
        """
        if not self.folder.is_dir():
            return 0
        gone = hashes.unique().sort().rename("request_hash")
        with self.writer() as writer:
            # Whatever their size: a line can only be deleted from a segment by rewriting it.
            self._into_part(self._logs(), at_least=1)
            dropped = self.read_all().join(gone.to_frame(), on="request_hash", how="semi")
            if dropped.is_empty():
                return 0
            number = ("prompt_tokens", "completion_tokens", "cached_tokens", "cost", "attempts")
            sums = dropped.unique(("request_hash", "asked_at")).select(pl.col(number).sum(), pl.col("asked_at").max())
            key = f"{reason}-" + digest(*dropped["request_hash"].unique().sort(), length=32)
            empty = dict.fromkeys(RECORD)
            writer.append({**empty, **sums.row(0, named=True), "request_hash": key, "error": reason})
            writer.sync()
            for part in self._parts():
                records = self._whole(part)
                kept = records.join(gone.to_frame(), on="request_hash", how="anti", maintain_order="left")
                if kept.is_empty():
                    part.unlink()
                elif kept.height < records.height:
                    self._store_part(kept, "-".join(part.stem.split("-")[:3]))
                    part.unlink()
            _sync_folder(self.folder)
        return dropped["request_hash"].n_unique()

    def read_all(self) -> pl.DataFrame:
        """Return all records, including repeated ones."""
        return self._collect(list(RECORD), lambda records: records)

    def _next_log(self) -> Path:
        numbers = [int(log.stem) for log in self._logs()]
        return self.folder / f"{max(numbers, default=0) + 1:08d}.log"

    def compact(self, *, at_least: int = 1) -> None:
        """Turn the segments into a part if they hold `at_least` records, and merge parts. Needs the writer's lock."""
        logs = self._logs()
        if logs and (sum(log.stat().st_size for log in logs) >= at_least * 100 or len(logs) > 64):
            self._into_part(logs, at_least=1 if len(logs) > 64 else at_least)
        level = 0
        while len(parts := sorted(self.folder.glob(f"part-{level}-*.parquet"))) >= MERGE_AT:
            merged = pl.concat([self._whole(part) for part in parts], how="diagonal").select(list(RECORD))
            self._write_part(level + 1, merged)
            for part in parts:
                part.unlink()
            level += 1

    def _into_part(self, logs: Sequence[Path], *, at_least: int) -> None:
        fresh = self._segments(logs)
        if fresh.height >= at_least:
            self._write_part(0, fresh)
            for log in logs:
                log.unlink()

    def _write_part(self, level: int, records: pl.DataFrame) -> None:
        # Repeated records stay, because each was charged. Reading selects one.
        records = records.sort("request_hash", "asked_at")
        numbers = [int(p.stem.split("-")[2]) for p in self.folder.glob(f"part-{level}-*.parquet")]
        self._store_part(records, f"part-{level}-{max(numbers, default=0) + 1:08d}")
        _sync_folder(self.folder)

    def _store_part(self, records: pl.DataFrame, name: str) -> None:
        # pyarrow gives every page a checksum, by which `verify` finds a flipped bit. It is imported here because that
        # takes a quarter of a second, which most runs do not need.
        import pyarrow as pa
        import pyarrow.parquet as pq

        options = {
            "compression": "zstd",
            "row_group_size": 200_000,
            "write_page_checksum": True,
            "write_statistics": False,
        }
        stored = pa.BufferOutputStream()
        pq.write_table(records.to_arrow(), stored, **options)
        content = memoryview(stored.getvalue())
        write_atomic(self.folder / f"{name}-{zlib.crc32(content):08x}.parquet", lambda p: p.write_bytes(content))


class Writer:
    """Appends to one segment. `append` passes a line to the operating system, `sync` makes all lines durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self.written = 0
        """Records passed to the operating system: they survive the end of this process, but not a loss of power."""
        self.durable = 0
        """Records on disk."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; from here on it survives the end of this process."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            _sync_folder(self.path.parent)
        body = orjson.dumps(record)
        line = b"%08x %b\n" % (zlib.crc32(body), body)
        while line:
            line = line[os.write(self._fd, line) :]
        self.written += 1

    def sync(self) -> int:
        """Write what was appended to disk; return the number of durable records. May run in another thread."""
        written = self.written
        if self._fd is not None and written > self.durable:
            os.fdatasync(self._fd)
            self.durable = written
        return self.durable

    def close(self) -> None:
        """Sync and close."""
        if self._fd is not None:
            try:
                self.sync()
            finally:
                os.close(self._fd)
                self._fd = None


def _best(found: pl.DataFrame) -> pl.DataFrame:
    """One record per request: a response over an error, then the latest."""
    repeated = found["request_hash"].is_duplicated()
    if not repeated.any():
        return found
    best = (
        found.filter(repeated)
        .sort(pl.col("error").is_not_null(), pl.col("asked_at"), descending=[False, True], maintain_order=True)
        .unique("request_hash", keep="first", maintain_order=True)
    )
    return pl.concat([found.filter(~repeated), best])


def _read_segment(path: Path) -> tuple[list[Mapping[str, Any]], int]:
    """Return the good records of a segment and the number of dropped lines; an interrupted write tears the last."""
    rows: list[Mapping[str, Any]] = []
    dropped = 0
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        body = line[9:]
        if line[8:9] == b" " and b"%08x" % zlib.crc32(body) == line[:8]:
            rows.append(orjson.loads(body))
        else:
            dropped += 1
    return rows, dropped


def _crc(path: Path) -> int:
    """Return the CRC-32 of a file (one second per gigabyte)."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def _is_whole(part: Path) -> bool:
    """Return whether a part is as it was written; cached while its size and modification time stay the same."""
    stat = part.stat()
    return _matches(part, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _matches(part: Path, size: int, mtime_ns: int) -> bool:
    _, _, _, *crc = part.stem.split("-")
    return not crc or crc[0] == f"{_crc(part):08x}"


def _sync_folder(folder: Path) -> None:
    """Make the file names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
