"""Run the reading library in a child process: a damaged file can crash it, which must not crash the pipeline.

Measured: of 100 .sav files with single bytes changed in their first 4,000 some end in a segmentation fault. The child
imports nothing of this package, so it starts fast; it is kept for the next file.

The library is ReadStat, in two bindings. pyreadstat reads whatever describes a file, and small files; it makes a Python
object of every cell. readstat-arrow reads the rows of large files without that (decision 19). pyreadstat has the last
word: what the other binding does not read, or reads as something else than a number or text, pyreadstat reads.

What belongs here: the calls that the child answers, and the parent's side of the pipe. What does not: what a file's
contents mean.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING or __name__ != "__main__":
    import polars as pl
else:  # in the child: describing a file needs no polars, whose import takes as long as the description
    _spec = importlib.util.find_spec("polars")
    _spec.loader = importlib.util.LazyLoader(_spec.loader)
    pl = sys.modules["polars"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(pl)

# Tried in this order if the declared encoding is wrong; names that both iconv and Python know. Text that is not UTF-8
# fails as UTF-8; five byte values are invalid in cp1252; the last accepts any byte.
ENCODINGS = ("utf-8", "cp1252", "iso-8859-1")
# Floats beyond any measurement. Producers' big-endian .dta files hold Stata's missing values of floats with
# their bytes in the other order, which read as numbers near zero: 00 00 00 7f as 1.78e-43, .z as 1.9e-38; the other way
# round, and in what was converted from there, they are 2^127 and more.
SMALLEST, LARGEST = 1e-37, 2.0**127
# Messages of the library for which another encoding may help.
_OF_ENCODING = ("convert", "character set")


class UnreadableError(Exception):
    """The file cannot be read; the message says why. Also raised if the child process crashed."""


# --- The child's side -------------------------------------------------------------------------------------------------


def _read(path: str, form: str, encoding: str | None, **options: Any) -> tuple[Any, Any, str | None]:
    """Read with pyreadstat; if the declared encoding is wrong, with the encodings that producers use."""
    import pyreadstat

    readers: Mapping[str, Callable[..., tuple[Any, Any]]] = {
        "sav": pyreadstat.read_sav,
        "dta": pyreadstat.read_dta,
        "sas7bdat": pyreadstat.read_sas7bdat,
    }
    problem: Exception | None = None
    for attempt in (encoding,) if encoding else (None, *ENCODINGS):
        try:
            data, meta = readers[form](
                path,
                user_missing=True,
                disable_datetime_conversion=True,
                **({"encoding": attempt} if attempt else {}),
                **options,
            )
        except (UnicodeDecodeError, pyreadstat.ReadstatError) as failure:
            problem = problem or failure
            if not isinstance(failure, UnicodeDecodeError) and not any(
                said in str(failure).lower() for said in _OF_ENCODING
            ):
                break
        else:
            return data, meta, attempt
    raise UnreadableError(str(problem))


def describe(path: str, form: str) -> dict[str, Any]:
    """The metadata of a file as plain values. `encoding` is set if it is not the declared one."""
    # As a dictionary, because an empty frame would import pandas, which takes longer than all else here.
    _, meta, encoding = _read(path, form, None, metadataonly=True, output_format="dict")
    return {
        "names": list(meta.column_names),
        "labels": dict(meta.column_names_to_labels),
        "types": dict(meta.readstat_variable_types),
        "value_labels": {name: dict(labels) for name, labels in meta.variable_value_labels.items()},
        "ranges": {name: [dict(r) for r in ranges] for name, ranges in meta.missing_ranges.items()},
        "tags": {name: list(tags) for name, tags in meta.missing_user_values.items()},
        "rows": meta.number_rows if meta.number_rows is not None and meta.number_rows >= 0 else None,
        "label": meta.file_label,
        "declared": meta.file_encoding,
        "encoding": encoding,
    }


def read_plain(path: str, form: str, target: str) -> dict[str, Any]:
    """Write all rows as the library gives them to `target` (Arrow IPC); what the file says of itself and its variables.

    Nothing is made of the cells here: what reads as 1.78e-43 stays that.
    """
    data, meta, encoding = _read(path, form, None, output_format="dict")
    columns = []
    tagged: dict[str, dict[str, int]] = {}
    for name in meta.column_names:
        text = meta.readstat_variable_types.get(name) == "string"
        column = pl.Series(name, data[name], dtype=pl.String if text else pl.Float64, strict=False)
        if not text and column.null_count():
            tags = pl.Series(name, data[name], dtype=pl.String, strict=False)
            counted = tags.filter(tags.str.contains("^[a-zA-Z_]$").fill_null(False)).value_counts().sort(name)
            tagged[name] = dict(counted.rows())
        if not text:
            column = column.fill_nan(None)
            whole = column.cast(pl.Int64, strict=False)
            # Four-byte floats stay so: the bytes of their missing values may be in the wrong order.
            if meta.readstat_variable_types.get(name) != "float" and whole.cast(pl.Float64).equals(column):
                column = whole
        columns.append(column)
    pl.DataFrame(columns).write_ipc(target)
    ranges = getattr(meta, "missing_ranges", None) or {}
    return {
        "about": {
            "encoding": encoding or meta.file_encoding,
            "file_label": meta.file_label,
            "table": meta.table_name,
        },
        "variables": {
            name: {
                "label": meta.column_names_to_labels.get(name),
                "format": meta.original_variable_types.get(name),
                "storage_width": meta.variable_storage_width.get(name),
                "value_labels": {str(code): text for code, text in meta.variable_value_labels.get(name, {}).items()},
                **({"tags": tagged[name]} if tagged.get(name) else {}),
                **({"missing_ranges": [dict(r) for r in ranges[name]]} if name in ranges else {}),
            }
            for name in meta.column_names
        },
    }


def read_rows(
    path: str,
    form: str,
    encoding: str | None,
    names: Sequence[str],
    text: set[str],
    *,
    offset: int,
    limit: int,
    target: str,
) -> int:
    """Write rows of some variables to `target` (Arrow IPC) and return how many there were."""
    data, _, _ = _read(
        path, form, encoding, output_format="dict", usecols=list(names), row_offset=offset, row_limit=limit
    )
    frame = _frame(names, data, text, tagged=form != "sav")
    frame.write_ipc(target)
    return frame.height


def _frame(names: Sequence[str], data: Mapping[str, Any], text: set[str], *, tagged: bool) -> pl.DataFrame:
    """A part of a file from pyreadstat's objects."""
    columns, tags = {}, {}
    for name in names:
        columns[name], tag = _of_objects(name, data[name], text=name in text, tagged=tagged)
        if tag is not None:
            tags[name] = tag
    return coded(columns, tags)


def _of_objects(name: str, cells: Any, *, text: bool, tagged: bool) -> tuple[pl.Series, pl.Series | None]:
    """A column of pyreadstat's objects, and as text the letters that may be among its numbers."""
    if text:
        return pl.Series(name, cells, dtype=pl.String, strict=False), None
    numbers = pl.Series(name, cells, dtype=pl.Float64, strict=False)
    # Empty cells, or tags, which are single letters among the numbers.
    return numbers, pl.Series(name, cells, dtype=pl.String, strict=False) if tagged and numbers.null_count() else None


def read_parts(
    path: str,
    form: str,
    encoding: str | None,
    names: Sequence[str],
    text: set[str],
    *,
    offset: int,
    limit: int | None,
    size: int,
    folder: str,
) -> list[int]:
    """Write rows of some variables with readstat-arrow, `size` rows to a file (Arrow IPC) named by its first row.

    Returns:
        How many rows each file has.

    Raises:
        ValueError: readstat-arrow sees other variables than pyreadstat, or text that is not valid.
    """
    import readstat_arrow

    warnings.simplefilter("ignore", readstat_arrow.ReadstatWarning)  # pyreadstat tells none of them
    options: dict[str, Any] = {
        "columns": list(names),
        "row_offset": offset,
        "row_limit": limit or 0,
        "encoding": encoding,
        "preserve_user_missing": True,
    }
    reader = (readstat_arrow.open_sav if form == "sav" else readstat_arrow.open_dta)(path, **options)
    kinds = {name: _kind(reader.schema.field(name).type) for name in reader.schema.names}
    if len(reader.schema) != len(names) or {n for n, kind in kinds.items() if kind == "text"} != text & set(names):
        raise ValueError("the variables are others")
    # It makes dates of numbers that are shown as dates; numbers are wanted as they are stored.
    dates: Mapping[str, Any] = {}
    if shown := [name for name in names if kinds[name] == "date"]:
        dates, _, _ = _read(
            path, form, encoding, output_format="dict", usecols=shown, row_offset=offset, row_limit=limit or 0
        )
    counts: list[int] = []

    def keep(batch: Any) -> None:
        start = sum(counts)
        columns, tags = {}, {}
        for name in names:
            if kinds[name] == "date":
                cells = dates[name][start : start + batch.num_rows]
                columns[name], tag = _of_objects(name, cells, text=False, tagged=form != "sav")
            else:
                columns[name], tag = _of_arrow(name, batch.column(name))
            if tag is not None:
                tags[name] = tag
        coded(columns, tags).write_ipc(Path(folder) / f"{offset + start}.arrow")
        counts.append(batch.num_rows)

    reader.read_batches(keep, batch_rows=size)
    return counts


def _kind(dtype: Any) -> str:
    """What readstat-arrow makes of a variable: text, number or date."""
    import pyarrow

    inner = dtype.field("value").type if pyarrow.types.is_struct(dtype) else dtype
    if pyarrow.types.is_large_string(inner):
        return "text"
    return "number" if pyarrow.types.is_floating(inner) or pyarrow.types.is_integer(inner) else "date"


def _of_arrow(name: str, array: Any) -> tuple[pl.Series, pl.Series | None]:
    """A column of readstat-arrow, and the tags among its numbers (letters; null where a number or nothing is)."""
    import pyarrow

    tags = None
    if pyarrow.types.is_struct(array.type):
        array, letters = array.field("value"), array.field("tag")
        if letters.null_count < len(letters):
            tags = pl.Series(name, letters.cast(pyarrow.string()))
    elif pyarrow.types.is_large_string(array.type):
        array.validate(full=True)  # the bytes of a file in UTF-8 come unchecked
    return pl.Series(name, array), tags


def coded(columns: Mapping[str, pl.Series], tags: Mapping[str, pl.Series] = MappingProxyType({})) -> pl.DataFrame:
    """A part of a file: numbers, or text codes if Stata's tags are among the numbers."""
    frame = pl.DataFrame([_small_numbers(column) for column in columns.values()])
    schema = frame.schema
    frame = frame.with_columns(
        *(pl.col(name).replace("", None) for name, dtype in schema.items() if dtype == pl.String),
        *(measured(pl.col(name).cast(pl.Float64)).alias(name) for name, dtype in schema.items() if dtype.is_float()),
    )
    if tags:
        is_tag = pl.all().str.contains("^[a-zA-Z_]$")  # SAS writes them in upper case, and has ._
        letters = pl.DataFrame(list(tags.values())).select(
            pl.when(is_tag).then(pl.all().str.to_lowercase()).name.keep()
        )
        found = [s.name for s in letters if s.null_count() < letters.height]
        frame = frame.with_columns(letters.select(pl.col(found).name.suffix(" tag"))).with_columns(
            pl.coalesce(number_text(pl.col(name)), pl.lit(".") + pl.col(f"{name} tag")).alias(name) for name in found
        )
    frame = frame.select(list(columns))
    integers = [s.name for s in frame if s.dtype.is_integer()]
    return shrunk(frame.with_columns(s.shrink_dtype() for s in frame.select(integers)))


def _small_numbers(column: pl.Series) -> pl.Series:
    """A column of floats as integers if it has only small whole numbers, as most columns of a survey do."""
    if not column.dtype.is_float():
        return column
    whole = column.cast(pl.Int16, strict=False)  # NaN and large numbers are null, and fractions are cut off
    return whole if whole.null_count() == column.null_count() and (whole == column).all() else column


def measured(column: pl.Expr) -> pl.Expr:
    """A column of floats in which NaN, and missing values in the wrong byte order, are null."""
    size = column.abs()
    return pl.when(
        column.is_not_nan() & ((size >= SMALLEST) | (column == 0)) & ((size < LARGEST) | column.is_infinite())
    ).then(column)


def number_text(column: pl.Expr) -> pl.Expr:
    """A number as the text of a code: whole numbers without a decimal point."""
    whole = column.cast(pl.Int64, strict=False)
    return (
        pl.when(column.cast(pl.Float64) == whole.cast(pl.Float64))
        .then(whole.cast(pl.String))
        .otherwise(column.cast(pl.String))
    )


def shrunk(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with columns of whole numbers in the narrowest integer type."""
    floats = [name for name, dtype in frame.schema.items() if dtype == pl.Float64]
    if not floats:
        return frame
    whole = pl.col(floats).cast(pl.Int64, strict=False)
    exact = frame.select((whole.cast(pl.Float64).eq_missing(pl.col(floats))).all()).row(0)
    names = [name for name, is_exact in zip(floats, exact, strict=True) if is_exact]
    return frame.with_columns(s.shrink_dtype() for s in frame.select(pl.col(names).cast(pl.Int64)))


def _answer(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until the parent closes the pipe."""
    calls: Mapping[str, Callable[..., Any]] = {
        call.__name__: call for call in (describe, read_rows, read_parts, read_plain)
    }
    while True:
        try:
            name, args, options = pickle.load(requests)
        except EOFError:
            return
        try:
            reply: tuple[bool, Any] = (True, calls[name](*args, **options))
        except Exception as failure:
            # The parent reports what the library does with a damaged file; the child goes on to the next file.
            reply = (False, " ".join(str(failure).split())[:300] or type(failure).__name__)
        try:
            pickle.dump(reply, answers)
            answers.flush()
        except BrokenPipeError:  # the parent was killed; an ordinary exit would try to write again
            os._exit(0)


# --- The parent's side ------------------------------------------------------------------------------------------------


class Process:
    """A child process that reads files, one request at a time: `ask` sends it, `reply` waits for the result."""

    def __init__(self) -> None:
        # -P keeps the script's folder off the path, so that its modules do not shadow others.
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pending = False

    @property
    def alive(self) -> bool:
        """Whether it can accept another request."""
        return self._child.poll() is None and not self.pending

    def ask(self, name: str, *args: Any, **options: Any) -> None:
        """Send a request."""
        assert self._child.stdin is not None
        self.pending = True
        with contextlib.suppress(BrokenPipeError):  # `reply` reports it
            pickle.dump((name, args, options), self._child.stdin)
            self._child.stdin.flush()

    def reply(self) -> Any:
        """Wait for the result of the last request.

        Raises:
            UnreadableError: The file cannot be read, or the child ended over it.
        """
        assert self._child.stdout is not None
        try:
            good, value = pickle.load(self._child.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = self._child.wait()
            raise UnreadableError(f"it crashes the reading library (exit {code})") from None
        self.pending = False
        if not good:
            raise UnreadableError(value)
        return value

    def end(self) -> None:
        """End the child, even if it is busy."""
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._child.kill()
        self._child.wait()


class _Idle:
    """Idle children of this process. A forked process starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._processes: list[Process] = []

    def take(self) -> Process:
        with self._lock:
            if self._owner != os.getpid():
                self._owner, self._processes = os.getpid(), []
            while self._processes:
                process = self._processes.pop()
                if process.alive:
                    return process
        return Process()

    def give_back(self, process: Process) -> None:
        with self._lock:
            if process.alive and len(self._processes) < 2:
                self._processes.append(process)
                return
        process.end()

    def end(self) -> None:
        if self._owner == os.getpid():
            for process in self._processes:
                process.end()
            self._processes = []


idle = _Idle()
atexit.register(idle.end)


if __name__ == "__main__":
    # Output of a C library must not mix with the answers.
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _answer(sys.stdin.buffer, private)
