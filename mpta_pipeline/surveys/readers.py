"""Read survey files of every format as chunks of polars frames, with the table of variables that they carry.

A chunk has one column per variable. Numbers stay numbers. A variable with Stata's tagged missing values is text: its
numbers as codes ("1"), the tags with a point (".d"). An empty cell is null.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import MptaError, SurveyFileError
from mpta_pipeline.core.storage import UNREADABLE, disk_full, file_identity, scratch
from mpta_pipeline.surveys import packed_sav, readstat
from mpta_pipeline.surveys.csv_files import chunks_csv, describe_csv
from mpta_pipeline.surveys.file_info import (
    MAX_VARIABLES,
    FileInfo,
    Format,
    VariableInfo,
    clean_label,
    code_text,
    one_line_of,
    too_wide,
)
from mpta_pipeline.surveys.opening import OpenFile

# pyreadstat makes one Python object per cell, about 50 bytes (measured); two child processes read in parallel.
CHUNK_CELLS = 4_000_000
DECODED_CELLS = 4_000_000  # of a part that is decoded here; larger ones are slower: each array is mapped anew
# Share of the parts that the first of two processes reads: the second must unpack the rows before its own in a .sav, at
# about a third of the cost of reading them; in a .dta it skips them.
_FIRST = {"sav": 0.58, "dta": 0.5}


def describe(file: OpenFile) -> FileInfo:
    """Read a file's table of variables without its rows.

    Raises:
        SurveyFileError: The file is not of that format, is damaged, or its variables cannot be used.
    """
    path, form = file.path, file.format
    info = describe_csv(path) if form == "csv" else _described_before(path, form, file_identity(path))
    info = replace(info, notes=file.notes + info.notes)
    if not info.variables:
        raise SurveyFileError("The file has no variables", file=path, remedy="download it again")
    if len(info.variables) > MAX_VARIABLES:
        raise too_wide(path, len(info.variables))
    seen: dict[str, str] = {}
    for number, name in enumerate(info.names):
        if not name:
            raise SurveyFileError(
                "A variable has no name",
                file=path,
                variable=f"number {number + 1}",
                remedy="the file is damaged: download it again from its producer",
            )
        if (other := seen.setdefault(name.lower(), name)) is not name:
            raise SurveyFileError(
                "Two variables have names that differ only in upper and lower case",
                file=path,
                variable=f"{other}, {name}",
                remedy="rename one of them in the file",
            )
    return info


@lru_cache(maxsize=4)
def _described_before(path: Path, form: Format, _: tuple[int, ...]) -> FileInfo:
    """The description of a file, which recognizing and reading it ask for in turn."""
    return _describe_labelled(path, form)


def _describe_labelled(path: Path, form: Format) -> FileInfo:
    process = readstat.idle.take()
    try:
        process.ask("describe", str(path), form)
        meta = process.reply()
    except readstat.UnreadableError as failure:
        raise _unreadable(path, form, failure) from None
    finally:
        readstat.idle.give_back(process)
    variables = tuple(
        VariableInfo(
            name=name,
            label=clean_label(meta["labels"].get(name)),
            text=meta["types"].get(name) == "string",
            value_labels={
                _label_code(code, form): clean_label(label) or ""
                for code, label in meta["value_labels"].get(name, {}).items()
            },
            missing=tuple(_range_text(r) for r in meta["ranges"].get(name, ()))
            + tuple(f".{tag}" for tag in meta["tags"].get(name, ())),
        )
        for name in meta["names"]
    )
    encoding = meta["encoding"]
    note = f"has bytes that are invalid in its declared encoding; read as {encoding}"
    return FileInfo(
        path,
        form,
        variables,
        meta["rows"],
        clean_label(meta["label"]),
        encoding or meta["declared"],
        encoding,
        notes=(note,) if encoding else (),
    )


def _unreadable(path: Path, form: Format, failure: Exception) -> MptaError:
    return disk_full(failure, path) or SurveyFileError(
        f"The file cannot be read as {form}: {one_line_of(failure)}",
        file=path,
        remedy="it is damaged or incomplete, or has a wrong suffix: download it again from its producer",
    )


def _label_code(code: Any, form: Format) -> str:
    return f".{code}" if form in ("dta", "sas7bdat") and isinstance(code, str) else code_text(code)


def _range_text(bounds: Mapping[str, Any]) -> str:
    low, high = code_text(bounds["lo"]), code_text(bounds["hi"])
    return low if low == high else f"{low}..{high}"


def chunks(info: FileInfo, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a file in the file's order, as frames; see `parts`."""
    with scratch() as folder:
        for part in parts(info, folder, columns):
            yield pl.read_ipc(part)


def parts(
    info: FileInfo, folder: Path, columns: Sequence[str] | None = None, *, cells: int | None = None
) -> list[Path]:
    """Write the rows of a file, in the file's order, to Arrow IPC files with a limited number of cells.

    Args:
        info: The file, as described.
        folder: Folder to write to.
        columns: Variables wanted; null for all.
        cells: Most cells of a part, but at least one row; null to choose by the file's size.

    Raises:
        SurveyFileError: The file ends early or is damaged.
    """
    names = info.names if columns is None else list(columns)
    size = max(1, (cells or _cells(info, len(names))) // max(1, len(names)))
    if info.format == "csv":
        written = []
        for number, frame in enumerate(chunks_csv(info, columns, size)):
            written.append(folder / f"{number}.arrow")
            try:
                frame.write_ipc(written[-1])
            except (OSError, *UNREADABLE) as failure:
                raise disk_full(failure, info.path) or failure from None
        return written
    if info.format == "sav":
        rows = max(1, min(size, DECODED_CELLS // max(1, len(info.names))))
        if (decoded := _decode_parts(info, folder, names, rows)) is not None:
            return decoded
    if info.format in ("sav", "dta") and (info.rows is None or info.rows > size):
        try:
            return _read_parts(info, folder, names, size)
        except readstat.UnreadableError:
            pass  # pyreadstat reads it, or says why it cannot be read
    return _read_in_turns(info, folder, names, size)


def _decode_parts(info: FileInfo, folder: Path, names: Sequence[str], size: int) -> list[Path] | None:
    """Write the parts of an ordinary .sav without ReadStat, in threads of this process; None if it is another file."""
    if info.format != "sav" or info.rows is None or info.forced_encoding is not None:
        return None
    text = {v.name for v in info.variables if v.text}
    rows = {"offset": 0, "limit": info.rows, "size": size}
    written: list[Path] = []
    start = 0

    def write(piece: packed_sav.Piece, target: Path) -> None:
        readstat.coded(piece.columns()).write_ipc(target)

    try:
        with ThreadPoolExecutor(2) as pool:
            waiting: deque[Future[None]] = deque()
            for piece in packed_sav.pieces(info.path, info.names, names, text, **rows):
                written.append(folder / f"{start}.arrow")
                start += len(piece.codes)
                waiting.append(pool.submit(write, piece, written[-1]))
                if len(waiting) > 2:
                    waiting.popleft().result()
            for future in waiting:
                future.result()
    except packed_sav.UnusualError:
        return None
    except (OSError, *UNREADABLE) as failure:
        raise disk_full(failure, info.path) or failure from None
    return written


def _read_parts(info: FileInfo, folder: Path, names: Sequence[str], size: int) -> list[Path]:
    """Write the parts of a large file with readstat-arrow, in two child processes if the number of rows is known.

    Raises:
        UnreadableError: It does not read the file, or not as many rows as the file declares.
    """
    starts = [0]
    if info.rows is not None and (second := round(-(-info.rows // size) * _FIRST[info.format])) > 0:
        starts.append(second * size)
    ends = [*starts[1:], info.rows]
    processes = [readstat.idle.take() for _ in starts]
    text = {v.name for v in info.variables if v.text}
    try:
        for process, start, end in zip(processes, starts, ends, strict=True):
            read = (str(info.path), info.format, info.forced_encoding, names, text)
            limit = None if end is None else end - start
            where = {"offset": start, "limit": limit, "size": size, "folder": str(folder)}
            process.ask("read_parts", *read, **where)
        counts = [process.reply() for process in processes]
    finally:
        for process in processes:
            readstat.idle.give_back(process)
    if info.rows is not None and (found := sum(map(sum, counts))) != info.rows:
        raise readstat.UnreadableError(f"it has {found:,} rows of {info.rows:,}")
    return [
        folder / f"{start + number * size}.arrow"
        for start, written in zip(starts, counts, strict=True)
        for number in range(len(written))
    ]


def _read_in_turns(info: FileInfo, folder: Path, names: Sequence[str], size: int) -> list[Path]:
    """Write the parts of a file with pyreadstat, each as a request of its own."""
    # Two child processes read in parallel if the number of rows is known: most time goes into Python objects.
    wanted = 2 if info.rows is not None and info.rows > size else 1
    processes = [readstat.idle.take() for _ in range(wanted)]
    text = {v.name for v in info.variables if v.text}
    targets: list[Path] = []
    rows = 0
    try:
        ends = info.rows is None
        offsets = iter(range(0, 1 << 62 if info.rows is None else info.rows, size))
        asked: list[readstat.Process] = []

        def ask(process: readstat.Process) -> None:
            if (offset := next(offsets, None)) is None:
                return
            targets.append(folder / f"{offset}.arrow")
            read = (str(info.path), info.format, info.forced_encoding, names, text)
            process.ask("read_rows", *read, offset=offset, limit=size, target=str(targets[-1]))
            asked.append(process)

        for process in processes:
            ask(process)
        while asked:
            process = asked.pop(0)
            found = process.reply()
            rows += found
            if not ends or found == size:
                ask(process)
    except readstat.UnreadableError as failure:
        raise _unreadable(info.path, info.format, failure) from None
    finally:
        for process in processes:
            readstat.idle.give_back(process)
    if info.rows is not None and rows != info.rows:
        raise SurveyFileError(
            f"The file declares {info.rows:,} rows but has {rows:,}",
            file=info.path,
            remedy="it is incomplete: download it again from its producer",
        )
    return targets


def _cells(info: FileInfo, columns: int) -> int:
    """Cells per part: few enough for memory, and about 32 parts at most, because each skips the rows before it."""
    return min(max(CHUNK_CELLS, (info.rows or 0) * columns // 32), 4 * CHUNK_CELLS)
