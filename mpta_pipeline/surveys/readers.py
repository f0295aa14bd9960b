"""Survey files of every format as chunks of polars frames, with the variable table that they carry.

What belongs here: formats, archives, encodings, and what each reading library does to missing answers. What does not:
which survey a file is, and what its codes mean.

A chunk has one column a variable. Numbers stay numbers. A variable with Stata's tagged missing values is text: its
numbers as codes ("1"), the tags with a point (".d"). An empty cell is null.
"""

from __future__ import annotations

import codecs
import csv
import lzma
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import duckdb
import polars as pl
import polars.selectors as cs

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.core.storage import scratch
from mpta_pipeline.surveys import readstat
from mpta_pipeline.surveys.readstat import shrunk

Format = Literal["sav", "dta", "sas7bdat", "csv"]

SUFFIXES: Mapping[str, Format] = {
    ".sav": "sav",
    ".zsav": "sav",
    ".dta": "dta",
    ".sas7bdat": "sas7bdat",
    ".csv": "csv",
}
# pyreadstat makes one Python object a cell on the way, some 50 bytes (measured); two children read side by side.
CHUNK_CELLS = 4_000_000
# The largest survey archive known is 118 MB for 1.3 GB (WVS time series, CSV): a ratio of 11; sparse .sav reach 60.
MAX_ZIP_RATIO = 250
MAX_ZIP_BYTES = 16 * 1024**3
MAX_VARIABLES = 9_000  # the cumulative GSS has 6,942
MAX_LABEL = 4_000  # characters kept of a label; producers' longest are some 400
# Some producers write `Q1: Important in life: Family` as a column's header.
_HEADER_LABEL = re.compile(r"^\s*(?P<name>[^:]*[^\s:])\s*(?::\s*(?P<label>.*))?$", re.DOTALL)
# Texts that stand for an empty cell in a column of numbers. In a column of text they stay: NA is Namibia.
_NO_NUMBER = ("", "NA", "N/A", "NaN", "nan", ".", "NULL", "null", "None", "<NA>", "#N/A", "#NULL!")
_NUMBER = r"^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$"  # 007, E1 and a lone - are words
# Whole numbers from here on are not all floats: two ids would become one.
_LARGEST_WHOLE = 2.0**53
_SPARE = " "  # no variable's name
_EXCEL_SEPARATOR = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)
_ROW_NAME = "row_name"
_MAX_FIELD = 1 << 22
_MOST = 0.5  # of the cells
_MAY_BE_PROSE = 3  # so few fields: a comment of two lines may have as many commas
_MAGIC = (
    (b"$FL2", "sav"),
    (b"$FL3", "sav"),
    (b"<stata_dta>", "dta"),
    (b"PK\x03\x04", "zip"),
    (b"%PDF", "pdf"),
    (b"RDX", "rds"),
    (b"\x1f\x8b", "gzip"),
)
# What zipfile raises over damaged, encrypted or unknown archives (RuntimeError: a password is needed).
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
)
_SAV_LAYOUT, _SAV_BIAS = 64, 84  # where a .sav says how it is laid out and compressed, and what its codes count from
_SAS_MAGIC = bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011")


@dataclass(frozen=True)
class VariableInfo:
    """What a file says about a variable.

    Attributes:
        name: As in the file.
        label: Variable label.
        text: Whether it holds text.
        value_labels: Code as text → label.
        missing: Declared missing codes and ranges as text: -9, -5..-1, .d.
    """

    name: str
    label: str | None = None
    text: bool = False
    value_labels: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileInfo:
    """A file's table of variables and what it says about itself.

    Attributes:
        rows: Rows; null where the format does not say before reading.
        forced_encoding: The encoding to read with against what the file declares.
        delimiter: Of a CSV file.
        spare: Lines of a CSV file end with a delimiter.
        blank_lines: A CSV file has lines without anything.
        skip: Lines of a CSV file before the rows: the header, and Excel's `sep=;` before it.
        decimal_comma: Columns of a CSV file with commas between fields whose (quoted) numbers have decimal commas.
        mostly_numbers: Columns of text in a CSV file most of whose cells are numbers: there 1.0 is the code 1.
        notes: What was unusual in reading, for the release record.
    """

    path: Path
    format: Format
    variables: tuple[VariableInfo, ...]
    rows: int | None
    label: str | None
    encoding: str | None
    forced_encoding: str | None = None
    delimiter: str = ","
    spare: bool = False
    blank_lines: bool = False
    skip: int = 1
    decimal_comma: tuple[str, ...] = ()
    mostly_numbers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the variables, in the file's order."""
        return [v.name for v in self.variables]


def code_text(value: Any) -> str:
    """A code as text: integral numbers without a point, Stata's tags with one before them."""
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else repr(float(value))


@dataclass(frozen=True)
class OpenFile:
    """A survey file ready to be read: where, in which format, and what was done to it."""

    path: Path
    format: Format
    notes: tuple[str, ...] = ()


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """The survey file at `path`; one in a .zip, or a CSV not in UTF-8, is put into a temporary folder for the while.

    Raises:
        SurveyFileError: The suffix is unknown, the file is absent or empty, is something else than its suffix says, or
            the archive is not sound. Errors inside the `with` block name the file as dropped.
    """
    if not path.is_file():
        raise SurveyFileError("There is no such file", file=path, remedy="check the path")
    if path.stat().st_size == 0:
        raise SurveyFileError("The file is empty", file=path, remedy="download or copy it again")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES and suffix != ".zip":
        raise SurveyFileError(
            "The file has no suffix of a survey file",
            file=path,
            value=suffix,
            remedy=f"give it as one of {', '.join(SUFFIXES)} or as a .zip that holds one",
        )
    try:
        with scratch() as folder:
            inner = _unpack(path, folder) if suffix == ".zip" else path
            form = SUFFIXES[inner.suffix.lower()]
            _check_magic(inner, form)
            yield _as_utf8(inner, folder) if form == "csv" else OpenFile(inner, form)
    except SurveyFileError as failure:
        if failure.file == path:
            raise
        raise SurveyFileError(
            failure.problem, file=path, variable=failure.variable, value=failure.value, remedy=failure.remedy
        ) from None


@contextmanager
def scratch_file(suffix: str) -> Iterator[Path]:
    """The path of a temporary file, which is gone afterwards."""
    with scratch() as folder:
        yield folder / f"file{suffix}"


def content_format(head: bytes) -> str | None:
    """The format that a file's first bytes show, where they show one: those of survey files and a few others."""
    if head.startswith(_SAS_MAGIC[:12]) or head[12:32] == _SAS_MAGIC:
        return "sas7bdat"
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def _check_magic(path: Path, form: Format) -> None:
    with path.open("rb") as file:
        head = file.read(512)
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|\?xml)", head, re.IGNORECASE):
        raise SurveyFileError(
            "The file is a web page, not data",
            file=path,
            remedy="the download ended on a log-in or error page: download it again in a browser",
        )
    found = content_format(head)
    if found is None and form == "dta" and head[:1] in {bytes([b]) for b in (*range(104, 116),)}:
        found = "dta"  # formats before 117 start with their number
    if (found is None and form != "csv") or (found is not None and found != form):
        raise SurveyFileError(
            f"The file's suffix says {form}, its content {'does not' if found is None else 'is ' + found}",
            file=path,
            remedy="give it its right suffix, or download it again",
        )
    if head.startswith(b"<stata_dta>") and not _tail(path, 64).rstrip(b"\x00\n").endswith(b"</stata_dta>"):
        raise SurveyFileError(
            "The file ends early: Stata's closing mark is not there",
            file=path,
            remedy="the download or copy broke off: download it again from its producer",
        )
    if form == "sav":
        _check_bias(head, path)
    if form == "csv" and b"\x00" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SurveyFileError(
            "The file's suffix says csv, its content is binary", file=path, remedy="download it again"
        )


def _check_bias(head: bytes, path: Path) -> None:
    """Refuse a .sav whose compressed codes count from another number than 100: the reading library takes it for 100."""
    if len(head) < _SAV_BIAS + 8:
        return
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        layout, _, compression = struct.unpack_from(f"{order}3i", head, _SAV_LAYOUT)
        (bias,) = struct.unpack_from(f"{order}d", head, _SAV_BIAS)
        if layout in (2, 3) and compression and bias != 100:
            raise SurveyFileError(
                "The file is compressed with another bias than 100: all its small numbers would be shifted",
                file=path,
                value=f"{bias:g}",
                remedy="open it in SPSS or PSPP and save it again, or use the producer's .dta file",
            )


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()


def _as_utf8(path: Path, folder: Path) -> OpenFile:
    """The CSV itself if it is UTF-8, else a copy in UTF-8."""
    with path.open("rb") as file:
        head = file.read(4)
    candidates = ("utf-16",) if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else readstat.ENCODINGS
    for encoding in candidates:
        copy = folder / f"{encoding}.csv"
        try:
            with path.open(encoding=encoding, newline="") as source:
                if encoding == "utf-8":
                    while source.read(1 << 22):
                        pass
                    return OpenFile(path, "csv")
                with copy.open("w", encoding="utf-8", newline="") as target:
                    shutil.copyfileobj(source, target, 1 << 22)
            return OpenFile(copy, "csv", (f"is not UTF-8; read as {encoding}",))
        except UnicodeError:
            copy.unlink(missing_ok=True)
    raise SurveyFileError("The file's encoding is unknown", file=path, remedy="save it as UTF-8")


def _unpack(path: Path, folder: Path, *, most: int = MAX_ZIP_BYTES, nested: bool = False) -> Path:
    """Unpack the one survey file of an archive, into a name of ours, counting what really comes out.

    It may be in the one archive that the archive holds: a portal packs what the producer packed already.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [i for i in archive.infolist() if not i.is_dir()]
            for info in files:
                inside = PurePosixPath(info.filename.replace("\\", "/"))
                if inside.is_absolute() or ".." in inside.parts or ":" in info.filename:
                    raise SurveyFileError(
                        "The archive holds a path that leads out of it",
                        file=path,
                        value=info.filename,
                        remedy="do not use this archive; download it again from the producer",
                    )
            found = [
                i
                for i in files
                if PurePosixPath(i.filename).suffix.lower() in SUFFIXES and "__MACOSX" not in i.filename
            ]
            surveys = [i for i in found if not i.filename.lower().endswith(".txt")] or found
            if not surveys and not nested:
                surveys = [i for i in files if i.filename.lower().endswith(".zip") and "__MACOSX" not in i.filename]
            if len(surveys) != 1:
                raise SurveyFileError(
                    "The archive must hold exactly one survey file",
                    file=path,
                    value=", ".join(i.filename for i in surveys[:5]) or "none",
                    remedy="unpack it and drop the survey file that you mean",
                )
            info = surveys[0]
            target = folder / f"survey{PurePosixPath(info.filename).suffix.lower()}"
            limit = min(most, max(1, path.stat().st_size) * MAX_ZIP_RATIO)
            free = shutil.disk_usage(folder).free
            written = 0
            with archive.open(info) as packed, target.open("wb") as out:
                while block := packed.read(1 << 20):
                    written += len(block)
                    if written > limit or written > free - (1 << 28):
                        raise SurveyFileError(
                            "The archive unpacks to more than a survey file can be, or than the disk has room for",
                            file=path,
                            value=f"more than {written:,} bytes from {path.stat().st_size:,}",
                            remedy="unpack it yourself, look at it, and drop the survey file",
                        )
                    out.write(block)
            return target if target.suffix != ".zip" else _unpack(target, folder, most=limit, nested=True)
    except _ZIP_ERRORS as failure:
        raise SurveyFileError(
            f"The archive cannot be unpacked: {_one_line(failure)}",
            file=path,
            remedy="download it again, or unpack it yourself and drop the survey file",
        ) from None


def describe(file: OpenFile) -> FileInfo:
    """Read a file's table of variables without its rows.

    Raises:
        SurveyFileError: It is not of that format, is damaged, or its variables cannot be used.
    """
    path, form = file.path, file.format
    info = _describe_csv(path) if form == "csv" else _describe_labelled(path, form)
    info = replace(info, notes=file.notes + info.notes)
    if not info.variables:
        raise SurveyFileError("The file has no variables", file=path, remedy="download it again")
    if len(info.variables) > MAX_VARIABLES:
        raise _too_wide(path, len(info.variables))
    seen: dict[str, str] = {}
    for name in info.names:
        if (other := seen.setdefault(name.lower(), name)) is not name:
            raise SurveyFileError(
                "Two variables have the same name but for upper and lower case",
                file=path,
                variable=f"{other}, {name}",
                remedy="rename one of them in the file",
            )
    return info


def _too_wide(path: Path, variables: int) -> SurveyFileError:
    return SurveyFileError(
        "The file has more variables than any known survey",
        file=path,
        value=variables,
        remedy="check what it is; a cumulative GSS has some 7,000",
    )


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
            label=_clean_label(meta["labels"].get(name)),
            text=meta["types"].get(name) == "string",
            value_labels={
                _label_code(code, form): _clean_label(label) or ""
                for code, label in meta["value_labels"].get(name, {}).items()
            },
            missing=tuple(_range_text(r) for r in meta["ranges"].get(name, ()))
            + tuple(f".{tag}" for tag in meta["tags"].get(name, ())),
        )
        for name in meta["names"]
    )
    encoding = meta["encoding"]
    note = f"holds bytes that its declared encoding does not allow; read as {encoding}"
    return FileInfo(
        path,
        form,
        variables,
        meta["rows"],
        _clean_label(meta["label"]),
        encoding or meta["declared"],
        encoding,
        notes=(note,) if encoding else (),
    )


def _unreadable(path: Path, form: Format, failure: Exception) -> SurveyFileError:
    return SurveyFileError(
        f"The file cannot be read as {form}: {_one_line(failure)}",
        file=path,
        remedy="it is damaged, incomplete or has a wrong suffix: download it again from its producer",
    )


def _label_code(code: Any, form: Format) -> str:
    return f".{code}" if form in ("dta", "sas7bdat") and isinstance(code, str) else code_text(code)


def _range_text(bounds: Mapping[str, Any]) -> str:
    low, high = code_text(bounds["lo"]), code_text(bounds["hi"])
    return low if low == high else f"{low}..{high}"


def _clean_label(label: str | None) -> str | None:
    """A label on one line without control characters, cut at a length no producer reaches."""
    if label is None:
        return None
    text = "".join(c if c.isprintable() else " " for c in label[:MAX_LABEL])
    return " ".join(text.split()) or None


def _one_line(failure: Exception | None) -> str:
    return " ".join(str(failure).split())[:300] or type(failure).__name__


def chunks(info: FileInfo, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a file in the file's order, as frames; as `parts`."""
    with scratch() as folder:
        for part in parts(info, folder, columns):
            yield pl.read_ipc(part)


def parts(
    info: FileInfo, folder: Path, columns: Sequence[str] | None = None, *, cells: int | None = None
) -> list[Path]:
    """Write the rows of a file, in the file's order, as Arrow IPC files of a bounded number of cells.

    Args:
        info: The file, as described.
        folder: Where to.
        columns: Variables wanted; null for all.
        cells: Cells of a part at most, but at least one row; null for what the file's size asks for.

    Raises:
        SurveyFileError: The file ends early or is damaged.
    """
    names = info.names if columns is None else list(columns)
    size = max(1, (cells or _cells(info, len(names))) // max(1, len(names)))
    if info.format == "csv":
        written = []
        for number, frame in enumerate(_chunks_csv(info, columns, size)):
            written.append(folder / f"{number}.arrow")
            frame.write_ipc(written[-1])
        return written
    # Two children read side by side where the rows are known: most of the time goes into Python objects.
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
            f"The file announces {info.rows:,} rows and holds {rows:,}",
            file=info.path,
            remedy="it is incomplete: download it again from its producer",
        )
    return targets


def _cells(info: FileInfo, columns: int) -> int:
    """Cells of a part: few enough for memory, and no more than some 32 parts, as each skips the rows before it."""
    return min(max(CHUNK_CELLS, (info.rows or 0) * columns // 32), 4 * CHUNK_CELLS)


def _describe_csv(path: Path) -> FileInfo:
    """Read the header, and in one pass each which lines are whole and which columns hold numbers alone."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first, second = file.readline(_MAX_FIELD), file.readline(_MAX_FIELD)
        said = _EXCEL_SEPARATOR.match(first)
        if said is not None:  # Excel says the separator on a line of its own
            first, second = second, file.readline(_MAX_FIELD)
    if first.endswith("\r"):
        raise SurveyFileError(
            "The lines of the file end with a carriage return alone, as on old Macs",
            file=path,
            remedy="save it again as CSV (UTF-8) with usual ends of lines",
        )
    skip = 1 if said is None else 2
    delimiter = said[1] if said is not None else max(",;\t|", key=first.count)
    header = _fields(first, delimiter, path)
    # Some releases end each line of data with a delimiter, some the header, too: a field that is none.
    spare = len(_fields(second, delimiter, path)) == len(header) + 1
    if len(header) > 2 and header[-1] == "":
        header, spare = header[:-1], True
    if len(header) > 2 and header[0] == "" and _ROW_NAME not in header:
        header = [_ROW_NAME, *header[1:]]  # R and pandas write the rows' names under no name
    if len(header) < 2:
        raise SurveyFileError(
            "The file is no table: its first line names no variables",
            file=path,
            remedy="give it as CSV with a header line, separated by comma or semicolon",
        )
    if repeated := sorted({name for name in header if header.count(name) > 1} | ({""} & set(header))):
        raise SurveyFileError(
            "The header repeats a name or has an empty one",
            file=path,
            variable=repeated[0] or "(empty)",
            remedy="give every column a name of its own",
        )
    if len(header) > MAX_VARIABLES:
        raise _too_wide(path, len(header))
    rows = _check_lines(path, delimiter, len(header) + spare, skip)
    info = FileInfo(
        path,
        "csv",
        _header_variables(header, path),
        rows,
        None,
        "utf-8",
        delimiter=delimiter,
        spare=spare,
        skip=skip,
    )
    with _csv_errors(path):
        # Few columns hold anything but plain numbers; only those are looked at closely, which takes ten times as long.
        cell = pl.col(pl.String)
        number = cell.cast(pl.Float64, strict=False)
        led_by_zero = cell.str.starts_with("0") & (cell.str.len_bytes() > 1) & ~cell.str.starts_with("0.")
        led_by_zero |= cell.str.starts_with("-0") & (cell.str.len_bytes() > 2) & ~cell.str.starts_with("-0.")
        too_large = number.abs() >= _LARGEST_WHOLE  # infinite ones among them
        doubtful = cell.is_not_null() & (~number.is_finite().fill_null(False) | led_by_zero | too_large)
        found = (
            _scan_csv(info)
            .select(pl.len().alias(_SPARE), doubtful.any().name.keep())
            .collect(engine="streaming")
            .row(0, named=True)
        )
        if spare and _scan_csv(info, [_SPARE]).select((pl.col(_SPARE) != "").any()).collect().item():
            raise SurveyFileError(
                "The lines have one field more than the header: whose names are whose cannot be told",
                file=path,
                remedy="write it with a name for every column (in R: write.csv, or row.names = FALSE)",
            )
        text = pl.col([name for name in info.names if found[name]]).str.strip_chars()
        is_text = _scan_csv(info).select(_no_number(text, delimiter).name.keep()).collect(engine="streaming")
        words = [name for row in is_text.to_dicts()[:1] for name, is_word in row.items() if is_word]
        if words:
            _check_quotes(info, words)
            cells = pl.col(words).str.strip_chars()
            numbers = cells.str.contains(_number(delimiter)).mean()
            shares = _scan_csv(info).select(numbers.name.keep()).collect(engine="streaming").row(0, named=True)
            info = replace(info, mostly_numbers=tuple(n for n in words if (shares[n] or 0) > _MOST))
        commas = _decimal_commas(info, words) if delimiter == "," and words else ()
    variables = tuple(replace(v, text=v.name in words and v.name not in commas) for v in info.variables)
    told = f"writes the decimals of {', '.join(commas[:3])}{' …' if len(commas) > 3 else ''} behind a comma"
    notes = (told,) if commas else ()
    return replace(
        info, variables=variables, blank_lines=found[_SPARE] != rows, decimal_comma=commas, notes=info.notes + notes
    )


def _no_number(text: pl.Expr, delimiter: str) -> pl.Expr:
    """Whether some cell of a column is no number that a float holds, so that the column stays text.

    Where the comma separates no fields, points and commas in one column are decimals and thousands: nobody can tell.
    """
    odd = text.is_not_null() & ~text.is_in(_NO_NUMBER) & ~text.str.contains(_number(delimiter))
    plain = text if delimiter == "," else text.str.replace(",", ".", literal=True)
    size = plain.cast(pl.Float64, strict=False).abs()
    odd |= size.is_infinite() | ((size >= _LARGEST_WHOLE) & text.str.contains(r"^[+-]?\d+$"))
    mixed = pl.lit(False)
    if delimiter != ",":
        mixed = text.str.contains(r"\d\.\d").any() & text.str.contains(r"\d,\d").any()
    return odd.any() | mixed


def _check_quotes(info: FileInfo, words: Sequence[str]) -> None:
    """Refuse a file in which a stray quote merges lines.

    Such a line has the right number of fields where the next stray quote stands in the same column. Of m merged lines
    the cells with line breaks hold the m - 1 breaks and the delimiters of as many lines. Prose over several lines may
    have as many commas, with a space behind them.
    """
    if len(info.names) <= _MAY_BE_PROSE:
        return
    text = pl.col(list(words))
    broken = text.str.contains("\n", literal=True).fill_null(False)
    parts = text.str.count_matches(info.delimiter, literal=True) - text.str.count_matches(
        f"{info.delimiter} ", literal=True
    )
    merged = (
        _scan_csv(info, words)
        .filter(pl.any_horizontal(broken))
        .select(
            pl.sum_horizontal(text.str.count_matches("\n", literal=True)).alias("breaks"),
            pl.sum_horizontal(pl.when(broken).then(parts)).alias("parts"),
        )
        .filter(pl.col("parts") == pl.col("breaks") * (len(info.names) + info.spare - 1))
        .select(pl.len())
        .collect(engine="streaming")
        .item()
    )
    if merged:
        raise SurveyFileError(
            f"Stray quotes merge lines of the file: {merged:,} row(s) hold other rows within a cell",
            file=info.path,
            remedy="write it again from the producer's .sav or .dta file, with every quote inside a cell doubled",
        )


def _decimal_commas(info: FileInfo, words: Sequence[str]) -> tuple[str, ...]:
    """The columns of words that are numbers with decimal commas: `0,955` is one, `1,2` may be a list of codes."""
    text = pl.col(list(words)).str.strip_chars()
    number = text.is_null() | text.is_in(_NO_NUMBER) | text.str.contains(_number(";"))
    surely = text.str.contains(r"^[+-]?0?,\d+$|^[+-]?\d+,\d{4,}$")
    asked = _scan_csv(info).select(number.all().name.suffix(" n"), surely.any().name.suffix(" s"))
    row = asked.collect(engine="streaming").row(0, named=True)
    return tuple(name for name in words if row[f"{name} n"] and row[f"{name} s"])


def _fields(line: str, delimiter: str, path: Path) -> list[str]:
    """The fields of a line."""
    csv.field_size_limit(_MAX_FIELD)  # of the whole process; the module's own limit is 131,072
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as failure:
        raise SurveyFileError(
            f"The file is no sound CSV table: {_one_line(failure)}", file=path, remedy="download it again"
        ) from None


def _check_lines(path: Path, delimiter: str, fields: int, skip: int) -> int:
    """Count the lines; a file with one that is too short or too long is refused: polars would fill it with nothing."""
    columns = {f"c{number}": "VARCHAR" for number in range(fields)}
    query = (
        f"select count(*) from read_csv(?, delim = ?, header = false, skip = {int(skip)}, columns = ?,"
        " auto_detect = false, quote = '\"', escape = '\"', strict_mode = true, null_padding = false,"
        " max_line_size = 16777216)"
    )
    try:
        with duckdb.connect() as con:
            (rows,) = con.execute(query, [str(path), delimiter, columns]).fetchone() or (0,)
    except duckdb.Error as failure:
        # The message holds the line itself, which is somebody's answers: only its number and counts are told.
        line = re.search(r"on Line: (\d+)", str(failure))
        counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", str(failure))
        what = f"has {counts[2]} of {counts[1]} fields" if counts else "is no sound line of CSV"
        raise SurveyFileError(
            f"The file broke off or is damaged: line {line[1] if line else '(unknown)'} {what}",
            file=path,
            remedy="download it again from its producer; every line must have as many fields as the header",
        ) from None
    return int(rows)


def _header_variables(header: Sequence[str], path: Path) -> tuple[VariableInfo, ...]:
    """Names and labels from the columns' headers."""
    matches = [_HEADER_LABEL.match(name) for name in header]
    if not all(matches):
        raise SurveyFileError("The header has a name of white space", file=path, remedy="give every column a name")
    named = [(m["name"], _clean_label(m["label"])) for m in matches if m]
    # `Q1 Important in life: Family`, as in the text version of WVS files.
    words = [header_name.split(maxsplit=1) for header_name in header]
    if len({w[0] for w in words}) == len(header) and sum(len(w) > 1 for w in words) > len(header) / 2:
        named = [(w[0].rstrip(":"), _clean_label(w[1] if len(w) > 1 else None)) for w in words]
    return tuple(VariableInfo(name=name, label=label) for name, label in named)


def _number(delimiter: str) -> str:
    """What a number looks like; where the comma separates no fields, it may stand before the decimals."""
    return _NUMBER if delimiter == "," else _NUMBER.replace(r"\.", "[.,]")


def _scan_csv(info: FileInfo, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """The lines of a CSV file as text under the variables' names; blank lines are none."""
    names = [*info.names, *([_SPARE] if info.spare else ())]
    lazy = pl.scan_csv(
        info.path,
        separator=info.delimiter,
        has_header=False,
        skip_lines=info.skip,
        schema=dict.fromkeys(names, pl.String()),
    )
    if info.blank_lines:  # known by their first cells: a sum over all of thousands of columns would take minutes
        lazy = lazy.filter(pl.any_horizontal(pl.col(info.names[:50]).is_not_null()))
    return lazy.select(info.names if columns is None else columns)


def _chunks_csv(info: FileInfo, columns: Sequence[str] | None, size: int) -> Iterator[pl.DataFrame]:
    wanted = set(info.names if columns is None else columns)

    def number(name: str) -> pl.Expr:
        text = pl.col(name).str.strip_chars()
        if info.delimiter != "," or name in info.decimal_comma:
            text = text.str.replace(",", ".", literal=True)
        return text.cast(pl.Float64, strict=False)  # _NO_NUMBER becomes null

    def text(name: str) -> pl.Expr:
        if name not in info.mostly_numbers:
            return pl.col(name)
        point = r"\." if info.delimiter == "," else "[.,]"
        return pl.col(name).str.strip_chars().str.replace(rf"^([+-]?\d+){point}0*$", "$1")

    with _csv_errors(info.path):
        lazy = _scan_csv(info).select(
            text(v.name) if v.text else number(v.name) for v in info.variables if v.name in wanted
        )
        for frame in lazy.collect_batches(chunk_size=size):
            yield shrunk(frame.with_columns(readstat.measured(cs.float())))


@contextmanager
def _csv_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as failure:
        raise SurveyFileError(
            f"The file is no sound CSV table: {_one_line(failure)}",
            file=path,
            remedy="download it again; every line must have as many fields as the header",
        ) from None
