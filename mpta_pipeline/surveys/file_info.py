"""What a survey file says about itself: its format and its table of variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mpta_pipeline.core.errors import SurveyFileError

Format = Literal["sav", "dta", "sas7bdat", "csv"]
SUFFIXES: Mapping[str, Format] = {
    ".sav": "sav",
    ".zsav": "sav",
    ".dta": "dta",
    ".sas7bdat": "sas7bdat",
    ".csv": "csv",
}
MAX_VARIABLES = 9_000  # the cumulative GSS has 6,942
MAX_LABEL = 4_000  # characters kept of a label; the longest of producers have about 400


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
        rows: Number of rows; null if the format does not say it before reading.
        forced_encoding: Encoding to read with instead of the declared one.
        delimiter: Of a CSV file.
        spare: Lines of the CSV file end with a delimiter.
        blank_lines: The CSV file has blank lines.
        skip: Lines before the rows of the CSV file: the header, and Excel's `sep=;` before it.
        decimal_comma: Columns with decimal commas (in quotes) in a CSV file with commas between fields.
        mostly_numbers: Text columns of the CSV file in which most cells are numbers: there 1.0 is the code 1.
        notes: What was unusual, for the release record.
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
    """A code as text: whole numbers without a decimal point, Stata's tags with a leading point."""
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def too_wide(path: Path, variables: int) -> SurveyFileError:
    """The error for a file with more variables than any survey."""
    return SurveyFileError(
        "The file has more variables than any known survey",
        file=path,
        value=variables,
        remedy="check what the file is; a cumulative GSS has about 7,000",
    )


def clean_label(label: str | None) -> str | None:
    """A label on one line, without control characters, cut at a length that no producer reaches."""
    if label is None:
        return None
    text = label[:MAX_LABEL]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split()) or None


def one_line_of(failure: Exception | None) -> str:
    """The message of another library's error on one line, cut at 300 characters."""
    return " ".join(str(failure).split())[:300] or type(failure).__name__
