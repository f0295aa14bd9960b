"""Read CSV files: check the lines, distinguish numeric columns from text columns, return the rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import polars.selectors as cs

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.surveys import readstat
from mpta_pipeline.surveys.file_info import MAX_VARIABLES, FileInfo, VariableInfo, clean_label, one_line_of, too_wide
from mpta_pipeline.surveys.readstat import shrunk

# Some producers write `Q1: Important in life: Family` as the header of a column.
_HEADER_LABEL = re.compile(r"^\s*(?P<name>[^:]*[^\s:])\s*(?::\s*(?P<label>.*))?$", re.DOTALL)
# Texts that mean an empty cell in a numeric column. In a text column they are kept: NA is Namibia.
_NO_NUMBER = ("", "NA", "N/A", "NaN", "nan", ".", "NULL", "null", "None", "<NA>", "#N/A", "#NULL!")
_NUMBER = r"^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$"  # 007, E1 and a single - are text
# Larger whole numbers are not exact as floats: two ids could become one.
_LARGEST_WHOLE = 2.0**53
_SPARE = " "  # no variable's name
_EXCEL_SEPARATOR = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)
_ROW_NAME = "row_name"
_MAX_FIELD = 1 << 22
_MOST = 0.5  # of the cells
_MAY_BE_PROSE = 3  # with so few fields, a comment of two lines may have as many commas


def describe_csv(path: Path) -> FileInfo:
    """Read the header, then find incomplete lines and columns of numbers, in one pass each."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first, second = file.readline(_MAX_FIELD), file.readline(_MAX_FIELD)
        said = _EXCEL_SEPARATOR.match(first)
        if said is not None:  # Excel writes the separator on a line of its own
            first, second = second, file.readline(_MAX_FIELD)
    if first.endswith("\r"):
        raise SurveyFileError(
            "The lines of the file end with a carriage return only, as on old Macs",
            file=path,
            remedy="save it again as CSV (UTF-8) with standard line endings",
        )
    skip = 1 if said is None else 2
    delimiter = said[1] if said is not None else max(",;\t|", key=first.count)
    header = _fields(first, delimiter, path)
    # Some releases end each line with a delimiter, some also the header: that field is not a column.
    spare = len(_fields(second, delimiter, path)) == len(header) + 1
    if len(header) > 2 and header[-1] == "":
        header, spare = header[:-1], True
    if len(header) > 2 and header[0] == "" and _ROW_NAME not in header:
        header = [_ROW_NAME, *header[1:]]  # R and pandas write row names in a column without a name
    if len(header) < 2:
        raise SurveyFileError(
            "The file is not a table: its first line has no variable names",
            file=path,
            remedy="save it as CSV with a header line, separated by comma or semicolon",
        )
    if repeated := sorted({name for name in header if header.count(name) > 1} | ({""} & set(header))):
        raise SurveyFileError(
            "The header has a repeated or empty name",
            file=path,
            variable=repeated[0] or "(empty)",
            remedy="give every column a unique name",
        )
    if len(header) > MAX_VARIABLES:
        raise too_wide(path, len(header))
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
        # Few columns contain anything except plain numbers. Only these are checked closely: it takes ten times as long.
        cell = pl.col(pl.String)
        number = cell.cast(pl.Float64, strict=False)
        led_by_zero = cell.str.starts_with("0") & (cell.str.len_bytes() > 1) & ~cell.str.starts_with("0.")
        led_by_zero |= cell.str.starts_with("-0") & (cell.str.len_bytes() > 2) & ~cell.str.starts_with("-0.")
        too_large = number.abs() >= _LARGEST_WHOLE  # including infinite ones
        doubtful = cell.is_not_null() & (~number.is_finite().fill_null(False) | led_by_zero | too_large)
        found = (
            _scan_csv(info)
            .select(pl.len().alias(_SPARE), doubtful.any().name.keep())
            .collect(engine="streaming")
            .row(0, named=True)
        )
        if spare and _scan_csv(info, [_SPARE]).select((pl.col(_SPARE) != "").any()).collect().item():
            raise SurveyFileError(
                "The lines have one field more than the header, so that names cannot be matched to columns",
                file=path,
                remedy="save it with a name for every column (in R: write.csv, or row.names = FALSE)",
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
    told = f"has decimal commas in {', '.join(commas[:3])}{' …' if len(commas) > 3 else ''}"
    notes = (told,) if commas else ()
    return replace(
        info, variables=variables, blank_lines=found[_SPARE] != rows, decimal_comma=commas, notes=info.notes + notes
    )


def _no_number(text: pl.Expr, delimiter: str) -> pl.Expr:
    """Whether some cell of a column is not a number that a float can hold, so that the column stays text.

    If commas do not separate fields, a column with points and commas is ambiguous: one of them marks thousands.
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

    A merged line has the right number of fields if the next stray quote is in the same column. In m merged lines, the
    cells with line breaks hold m - 1 breaks and the delimiters of as many lines. Prose over several lines may have as
    many commas, but with a space after each.
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
            remedy="export it again from the producer's .sav or .dta file, with every quote inside a cell doubled",
        )


def _decimal_commas(info: FileInfo, words: Sequence[str]) -> tuple[str, ...]:
    """The text columns that hold numbers with decimal commas: `0,955` is one, `1,2` may be a list of codes."""
    text = pl.col(list(words)).str.strip_chars()
    number = text.is_null() | text.is_in(_NO_NUMBER) | text.str.contains(_number(";"))
    surely = text.str.contains(r"^[+-]?0?,\d+$|^[+-]?\d+,\d{4,}$")
    asked = _scan_csv(info).select(number.all().name.suffix(" n"), surely.any().name.suffix(" s"))
    row = asked.collect(engine="streaming").row(0, named=True)
    return tuple(name for name in words if row[f"{name} n"] and row[f"{name} s"])


def _fields(line: str, delimiter: str, path: Path) -> list[str]:
    """The fields of a line."""
    csv.field_size_limit(_MAX_FIELD)  # for the whole process; the default is 131,072
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as failure:
        raise SurveyFileError(
            f"The file is not a valid CSV table: {one_line_of(failure)}", file=path, remedy="download it again"
        ) from None


def _check_lines(path: Path, delimiter: str, fields: int, skip: int) -> int:
    """Count the lines, and refuse a file with one that is too short or too long: polars would fill it with nulls."""
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
        # The message contains the line, which is somebody's answers: only its number and counts are reported.
        line = re.search(r"on Line: (\d+)", str(failure))
        counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", str(failure))
        what = f"has {counts[2]} of {counts[1]} fields" if counts else "is not valid CSV"
        raise SurveyFileError(
            f"The file is truncated or damaged: line {line[1] if line else '(unknown)'} {what}",
            file=path,
            remedy="download it again from its producer; every line must have as many fields as the header",
        ) from None
    return int(rows)


def _header_variables(header: Sequence[str], path: Path) -> tuple[VariableInfo, ...]:
    """Names and labels of the variables, from the header."""
    matches = [_HEADER_LABEL.match(name) for name in header]
    if not all(matches):
        raise SurveyFileError(
            "The header has a name that is only white space", file=path, remedy="give every column a name"
        )
    named = [(m["name"], clean_label(m["label"])) for m in matches if m]
    # `Q1 Important in life: Family`, as in the text version of WVS files.
    words = [header_name.split(maxsplit=1) for header_name in header]
    if len({w[0] for w in words}) == len(header) and sum(len(w) > 1 for w in words) > len(header) / 2:
        named = [(w[0].rstrip(":"), clean_label(w[1] if len(w) > 1 else None)) for w in words]
    return tuple(VariableInfo(name=name, label=label) for name, label in named)


def _number(delimiter: str) -> str:
    """Pattern of a number. If commas do not separate fields, a comma may be the decimal sign."""
    return _NUMBER if delimiter == "," else _NUMBER.replace(r"\.", "[.,]")


def _scan_csv(info: FileInfo, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """The lines of a CSV file as text columns; blank lines are left out."""
    names = [*info.names, *([_SPARE] if info.spare else ())]
    lazy = pl.scan_csv(
        info.path,
        separator=info.delimiter,
        has_header=False,
        skip_lines=info.skip,
        schema=dict.fromkeys(names, pl.String()),
    )
    if info.blank_lines:  # recognized by their first cells: testing thousands of columns would take minutes
        lazy = lazy.filter(pl.any_horizontal(pl.col(info.names[:50]).is_not_null()))
    return lazy.select(info.names if columns is None else columns)


def chunks_csv(info: FileInfo, columns: Sequence[str] | None, size: int) -> Iterator[pl.DataFrame]:
    """The rows in frames of at most `size` rows."""
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
    except UNREADABLE as failure:
        raise SurveyFileError(
            f"The file is not a valid CSV table: {one_line_of(failure)}",
            file=path,
            remedy="download it again; every line must have as many fields as the header",
        ) from None
