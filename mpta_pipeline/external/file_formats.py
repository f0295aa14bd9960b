"""Read tables from common file formats: CSV with any separator, JSON in its usual shapes, JSON lines, Parquet."""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.storage import UNREADABLE, scratch

# Separators that spreadsheets of various languages write; the most frequent one in the header counts.
SEPARATORS = ",;\t|"
LOGS = (".eval",)
PACKED = (".gz", ".zip")
_ENCODINGS = ("utf-8-sig", "cp1252")


def read(path: Path) -> pl.DataFrame:
    """Read a table of any of the known formats; delimited files as text, empty cells as null.

    Raises:
        ValidationError: The file is missing, damaged, empty, or has another format.
    """
    if path.is_dir():
        raise ValidationError(
            "This is a folder",
            file=path,
            remedy="give the files in it, e.g. folder/*.csv; several files are allowed",
        )
    if not path.is_file():
        raise ValidationError("There is no such file", file=path, remedy="give the path of a file of answers")
    suffix = ""
    try:
        if path.suffix.lower() in PACKED:
            with scratch() as folder:
                inner = _unpacked(path, folder)
                suffix = _known(inner.suffix, path)
                frame = FORMATS[suffix](inner)
        else:
            suffix = _known(path.suffix, path)
            frame = FORMATS[suffix](path)
    except (
        *UNREADABLE,
        UnicodeDecodeError,
        OSError,
        ValueError,
        csv.Error,
        BadZipFile,
        EOFError,
    ) as failure:
        kind = f" as {suffix[1:]}" if suffix else ""
        raise ValidationError(
            f"The file cannot be read{kind}: {(str(failure) or type(failure).__name__).splitlines()[0]}",
            file=path,
            remedy="correct the line that the message names, or write the file again",
        ) from None
    if frame.is_empty():
        raise ValidationError("The file contains no answers", file=path, remedy="give a file with one row per answer")
    return frame


def _known(suffix: str, path: Path) -> str:
    """Return the suffix if files with it can be read."""
    if suffix.lower() not in FORMATS:
        raise ValidationError(
            "Files with this suffix cannot be read",
            file=path,
            value=suffix,
            remedy=f"use one of {', '.join([*FORMATS, *LOGS])}; tables may be compressed as {' or '.join(PACKED)}",
        )
    return suffix.lower()


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack the one table in a compressed file.

    Raises:
        ValidationError: A zip archive contains none, or several.
    """
    if path.suffix.lower() == ".gz":
        inner = folder / path.stem
        with gzip.open(path, "rb") as packed, inner.open("wb") as out:
            shutil.copyfileobj(packed, out)
        return inner
    with ZipFile(path) as archive:
        tables = [
            member
            for member in archive.infolist()
            if Path(member.filename).suffix.lower() in FORMATS
            and not member.filename.startswith("__MACOSX/")
            and not Path(member.filename).name.startswith(".")
        ]
        if len(tables) != 1:
            raise ValidationError(
                f"The archive contains {len(tables)} tables instead of one",
                file=path,
                value=", ".join(member.filename for member in tables[:5]) or None,
                remedy="unpack it and give the files of answers",
            )
        inner = folder / Path(tables[0].filename).name
        with archive.open(tables[0]) as packed, inner.open("wb") as out:
            shutil.copyfileobj(packed, out)
    return inner


def _text(path: Path) -> str:
    """Return the file's text: UTF-16 if it has that mark, else UTF-8, else the encoding of Western European Windows."""
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16")
    for encoding in _ENCODINGS:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def _delimited(path: Path) -> pl.DataFrame:
    text = _text(path)
    first, _, rest = text.partition("\n")
    told = first.strip().strip('"').lower()
    # Excel's own first line, which names the separator.
    separator = told[4:5] if told.startswith("sep=") and len(told) >= 5 else ""
    text = rest if told.startswith("sep=") else text
    header = text.partition("\n")[0]
    separator = separator or ("\t" if path.suffix.lower() == ".tsv" else max(SEPARATORS, key=header.count))
    names = next(csv.reader(io.StringIO(header), delimiter=separator), [])
    stripped = [name.strip() for name in names]
    if twice := [name for name in dict.fromkeys(stripped) if name and stripped.count(name) > 1]:
        raise ValueError(f"two columns are named {twice[0]}")
    try:
        frame = pl.read_csv(text.encode(), infer_schema=False, separator=separator)
    except pl.exceptions.ComputeError:
        lines = csv.reader(io.StringIO(text), delimiter=separator)
        for fields in lines:
            if len(fields) > len(names):
                where = lines.line_num + told.startswith("sep=")
                raise ValueError(
                    f"line {where} has {len(fields)} fields and the header {len(names)}; a text that contains "
                    "the separator needs quotes"
                ) from None
        raise
    # Qualtrics repeats the questions and its own ids below the header.
    ids = frame.select(pl.all().str.starts_with('{"ImportId"').fill_null(False)).head(2)
    for row in (1, 0):
        if ids.height > row and any(ids.row(row)):
            frame = frame.slice(row + 1)
            break
    # The unnamed first column is the row number that pandas and R write.
    frame = frame.rename({c: c.strip() for c in frame.columns})
    if frame.columns and frame.columns[0] in ("", "Unnamed: 0"):
        frame = frame.drop(frame.columns[0])
    frame = frame.with_columns(
        pl.when(pl.col(c).str.strip_chars() != "").then(pl.col(c)).alias(c) for c in frame.columns
    )
    return frame if separator == "," else _with_points(frame)


def _with_points(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace decimal commas by points in columns of numbers; spreadsheets of many countries write commas."""
    number = pl.all().str.strip_chars().str.contains(r"^[+-]?\d*,?\d+(?:[eE][+-]?\d+)?$").all()
    with_comma = pl.all().str.contains(",", literal=True).any()
    whole, some = frame.select(number).row(0), frame.select(with_comma).row(0)
    return frame.with_columns(
        pl.col(name).str.strip_chars().str.replace(",", ".", literal=True)
        for name, is_number, has in zip(frame.columns, whole, some, strict=True)
        if is_number and has
    )


def _plain(value: Any) -> Any:
    """Return a JSON value as polars accepts it: NaN becomes null, mixed lists and mappings become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        kinds = {type(v) for v in value if v is not None} - {int, float}
        return value if len(kinds) <= 1 and not kinds & {dict, list} else json.dumps(value, ensure_ascii=False)
    return value


def from_records(records: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return a table of records whose fields may have any type; a column of several types becomes text."""
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {}
    for name in names:
        raw = [record.get(name) for record in records]
        values = [_plain(v) for v in raw]
        lists = [v for v in values if isinstance(v, list)]
        if lists and all(v is None or isinstance(v, list) for v in values):
            numbers = all(
                isinstance(x, int | float) and not isinstance(x, bool) for v in lists for x in v if x is not None
            )
            dtype: pl.DataType = pl.List(pl.Float64) if numbers else pl.List(pl.String)
            made = [
                None if v is None else [None if x is None else (float(x) if numbers else str(x)) for x in v]
                for v in values
            ]
            columns[name] = pl.Series(name, made, dtype=dtype)
            continue
        kinds = {type(v) for v in values if v is not None}
        if not kinds:
            columns[name] = pl.Series(name, values, dtype=pl.String)
        elif kinds <= {bool}:
            columns[name] = pl.Series(name, values, dtype=pl.Boolean)
        elif kinds <= {int}:
            columns[name] = pl.Series(name, values, dtype=pl.Int64, strict=False)
        elif kinds <= {int, float}:
            columns[name] = pl.Series(name, values, dtype=pl.Float64, strict=False)
        else:
            written = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
            columns[name] = pl.Series(name, written, dtype=pl.String)
    return pl.DataFrame(columns)


def _json_lines(path: Path) -> pl.DataFrame:
    records = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as failure:
            raise ValueError(f"line {number}: {failure.msg}") from None
        if not isinstance(record, dict):
            raise ValueError(f"line {number} is not an object")
        records.append(record)
    return from_records(records)


def _json(path: Path) -> pl.DataFrame:
    """Read a list of objects, one within an object, or a table by columns as pandas writes it."""
    found = json.loads(_text(path))
    if isinstance(found, dict):
        inner = [v for v in found.values() if isinstance(v, list) and v and all(isinstance(x, dict) for x in v)]
        if len(inner) == 1:
            found = inner[0]
        elif found and all(isinstance(v, dict) for v in found.values()):
            rows: dict[str, dict[str, Any]] = {}
            for column, cells in found.items():
                for row, cell in cells.items():
                    rows.setdefault(row, {})[column] = cell
            found = list(rows.values())
        elif found and all(isinstance(v, list) for v in found.values()):
            found = [dict(zip(found, cells, strict=True)) for cells in zip(*found.values(), strict=True)]
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise ValueError("it is neither a list of objects nor a table by columns")
    return from_records(found)


FORMATS: Mapping[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".txt": _delimited,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": lambda path: _flat(pl.read_parquet(path)),
}


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a Parquet table with categories as text; BBQ's nested fields stay."""
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))


def parse_nested(value: Any) -> Any:
    """Return a nested value, whether it is nested already (JSON, Parquet) or written as text (CSV: JSON or Python)."""
    if not isinstance(value, str):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return value
