"""Decode the rows of an ordinary .sav by columns: one code of a byte per cell, which NumPy unpacks many at once.

What belongs here: the layout of the rows, as PSPP's "System File Format" documents it. A file with anything unusual
raises `UnusualError`, and ReadStat reads it: this module never decides that a file is damaged, and gives only cells
that ReadStat gives too (tests/surveys/test_two_readers.py). It imports nothing of this package (see `readstat`).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

WORD = 8  # bytes of a cell, or of a part of a text
NULL = -(2**15)  # stands for an empty cell in a column of small numbers
WINDOW = 2**19  # words that are looked at once
# Codes of packed cells: 1 to 251 are a number plus the bias.
PADDING, END, RAW, BLANKS, EMPTY, BIAS = 0, 252, 253, 254, 255, 100
SYSMIS, HIGHEST, LOWEST = 0xFFEFFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFE
_EACH_BYTE = np.uint64(0x0101010101010101)
_SPACES, _BELOW_ZERO = 0x2020202020202020, 1 << 63
_LONGEST_TEXT = 255  # longer ones are several variables
_SMALL = np.full(256, NULL, dtype=np.int16)
_SMALL[1:END] = np.arange(1, END) - BIAS

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]


class UnusualError(Exception):
    """The file has something that this module does not decode."""


@dataclass(frozen=True)
class Variable:
    """A variable's place in a row: its first word, and the bytes of a text (0: a number)."""

    first: int
    width: int

    @property
    def words(self) -> int:
        """Words that it takes."""
        return max(1, -(-self.width // WORD))


@dataclass(frozen=True)
class Layout:
    """Where a file's rows are: its variables in order, words per row, rows, whether packed, and the first byte."""

    variables: tuple[Variable, ...]
    words: int
    rows: int
    packed: bool
    start: int
    utf8: bool


def layout_of(content: Bytes) -> Layout:
    """Read the dictionary of a .sav.

    Raises:
        UnusualError: The file is not little-endian, or has something that this module does not decode.
    """
    dictionary = _Dictionary(content)
    try:
        return dictionary.layout()
    except struct.error:
        raise UnusualError("the dictionary ends early") from None


class _Dictionary:
    """The records before the rows."""

    def __init__(self, content: Bytes) -> None:
        self.content = memoryview(content)  # type: ignore[arg-type]  # NumPy's arrays are buffers
        self.place = 176
        self.variables: list[Variable] = []
        self.words = 0
        self.continued = 0  # words that are missing of the last text
        self.utf8 = False

    def layout(self) -> Layout:
        magic = bytes(self.content[:4])
        order, _, compression, _, rows, bias = struct.unpack_from("<5id", self.content, 64)
        if magic != b"$FL2" or order not in (2, 3) or compression not in (0, 1) or bias != BIAS or rows < 0:
            raise UnusualError("the header")
        records = {2: self.variable, 3: self.value_labels, 4: self.labelled, 6: self.documents, 7: self.extension}
        while (kind := self.integers(1)[0]) != 999:
            if kind not in records:
                raise UnusualError("an unknown record")
            records[kind]()
        self.skip(4)
        if self.continued or not self.variables:
            raise UnusualError("a text's parts")
        return Layout(tuple(self.variables), self.words, rows, bool(compression), self.place, self.utf8)

    def integers(self, count: int) -> tuple[int, ...]:
        """Read whole numbers."""
        found = struct.unpack_from(f"<{count}i", self.content, self.place)
        self.place += 4 * count
        return found

    def skip(self, size: int) -> None:
        if size < 0 or self.place + size > len(self.content):
            raise UnusualError("a size")
        self.place += size

    def variable(self) -> None:
        width, labelled, missing = self.integers(3)
        self.skip(16)
        if labelled not in (0, 1) or not -3 <= missing <= 3:
            raise UnusualError("a variable's record")
        if labelled:
            self.skip(-(-self.integers(1)[0] // 4) * 4)
        self.skip(WORD * abs(missing))
        if (width == -1) != (self.continued > 0) or not -1 <= width <= _LONGEST_TEXT:
            raise UnusualError("a text's parts")
        if width == -1:
            self.continued -= 1
        else:
            self.variables.append(Variable(self.words, width))
            self.continued = self.variables[-1].words - 1
        self.words += 1

    def value_labels(self) -> None:
        for _ in range(self.integers(1)[0]):
            self.skip(WORD)
            size = self.content[self.place] if self.place < len(self.content) else 0
            self.skip(-(-(size + 1) // WORD) * WORD)

    def labelled(self) -> None:
        self.skip(4 * self.integers(1)[0])

    def documents(self) -> None:
        self.skip(80 * self.integers(1)[0])

    def extension(self) -> None:
        subtype, size, count = self.integers(3)
        if size < 0 or count < 0:
            raise UnusualError("a size")
        start = self.place
        self.skip(size * count)
        found = bytes(self.content[start : self.place])
        if subtype == 3 and (len(found) != 32 or struct.unpack("<8i", found)[4] != 1):
            raise UnusualError("the format of numbers")
        if subtype == 4 and found != struct.pack("<3Q", SYSMIS, HIGHEST, LOWEST):
            raise UnusualError("the marks of empty cells")
        if subtype == 14:
            raise UnusualError("texts of more than 255 bytes")
        if subtype == 20:
            self.utf8 = found.upper() in (b"UTF-8", b"UTF8")


def frames(
    path: Path, names: Sequence[str], wanted: Sequence[str], text: set[str], *, offset: int, limit: int, size: int
) -> Iterator[dict[str, pl.Series]]:
    """Yield rows of some variables, `size` rows at once, as numbers (Int16 if all are small and whole) or text.

    Args:
        path: The file.
        names: All its variables, in order.
        wanted: Those to read.
        text: Names of those that hold text.
        offset: First row.
        limit: Number of rows.
        size: Rows of a frame.

    Raises:
        UnusualError: The file has something that this module does not decode.
    """
    if sys.byteorder != "little":
        raise UnusualError("this machine's numbers")
    content = np.memmap(path, dtype=np.uint8, mode="r")
    layout = layout_of(content)
    kinds = {name: bool(variable.width) for name, variable in zip(names, layout.variables, strict=False)}
    if len(names) != len(layout.variables) or {name for name, is_text in kinds.items() if is_text} != text:
        raise UnusualError("the variables are others")
    if offset + limit > layout.rows:
        raise UnusualError("fewer rows than wanted")
    words = (len(content) - layout.start) // WORD
    body = content[layout.start : layout.start + words * WORD].view(np.uint64)
    places = {name: layout.variables[names.index(name)] for name in wanted}
    for codes, raws in (_packed if layout.packed else _plain)(body, layout.words, offset, limit, size):
        yield _decoded(places, codes, raws, utf8=layout.utf8)


def _numbers_of_raws(codes: Bytes) -> npt.NDArray[np.int32]:
    """Return for each raw cell its place among the raw cells."""
    counted: npt.NDArray[np.int32] = np.cumsum((codes == RAW).reshape(-1), dtype=np.int32) - np.int32(1)
    return counted.reshape(codes.shape)


def _plain(body: Words, words: int, offset: int, limit: int, size: int) -> Iterator[tuple[Bytes, Words]]:
    """Yield the rows of a file that is not packed, as if each cell were a raw one."""
    if (offset + limit) * words > len(body):
        raise UnusualError("the file ends early")
    for start in range(offset, offset + limit, size):
        rows = min(size, offset + limit - start)
        yield np.full((rows, words), RAW, dtype=np.uint8), np.array(body[start * words : (start + rows) * words])


def _packed(body: Words, words: int, offset: int, limit: int, size: int) -> Iterator[tuple[Bytes, Words]]:
    """Yield the codes of rows, and the raw cells among them in the file's order."""
    stream = _stream(body)
    codes, raws = np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.uint64)
    skip = offset * words
    left = limit
    while left:
        rows = min(size, left)
        need = skip or rows * words
        found = [(codes, raws)]
        n = len(codes)
        while n < need:
            window = next(stream, None)
            if window is None:
                raise UnusualError("the file ends early")
            found.append(window)
            n += len(found[-1][0])
            if skip and n < need:  # these rows are not wanted
                need -= n
                skip -= n
                found, n = [], 0
        codes = np.concatenate([part for part, _ in found])
        raws = np.concatenate([part for _, part in found])
        used = int(np.count_nonzero(codes[:need] == RAW))
        if not skip:
            yield codes[:need].reshape(rows, words), raws[:used]
            left -= rows
        codes, raws, skip = codes[need:], raws[used:], 0


def _stream(body: Words) -> Iterator[tuple[Bytes, Words]]:
    """Yield the codes of cells and their raw cells, window by window.

    A block is a word of eight codes, followed by a word for each of them that says "raw".
    """
    start, ended = 0, False
    while start < len(body) and not ended:
        window = np.array(body[start : start + WINDOW])
        ones = (window.view(np.uint8) == RAW).view(np.uint64)  # a byte that is 1 for each raw cell
        raw_cells = ((ones * _EACH_BYTE) >> np.uint64(56)).astype(np.uint8)  # the highest byte is the sum of all
        step = (raw_cells + 1).tobytes()  # words from a block to the next one
        blocks: list[int] = []
        append, at, n = blocks.append, 0, len(window)
        while at < n:
            append(at)
            at += step[at]
        if at > n:  # the last block goes on beyond the window
            at = blocks.pop()
            if not blocks:
                raise UnusualError("the file ends early")
        places = np.array(blocks, dtype=np.int64)
        codes = window[places].view(np.uint8)
        is_raw = np.ones(at, dtype=bool)
        is_raw[places] = False
        raws = window[:at][is_raw]
        if (special := (codes == END)).any():
            codes = codes[: int(special.argmax())]
            raws = raws[: int(np.count_nonzero(codes == RAW))]
            ended = True
        if (padding := (codes == PADDING)).any():
            codes = codes[~padding]
        yield codes, raws
        start += at


def _decoded(places: dict[str, Variable], codes: Bytes, raws: Words, *, utf8: bool) -> dict[str, pl.Series]:
    """Return the columns of some rows."""
    raw = codes == RAW
    numbers = raws.view(np.float64)
    empty = np.isnan(numbers) | (raws == SYSMIS) | (raws == HIGHEST) | (raws == LOWEST)
    with np.errstate(invalid="ignore"):
        small = np.where(empty, 0.0, numbers).astype(np.int16)
    # Neither empty nor a small whole number; a zero below zero stays one.
    other = ~empty & ((small != numbers) | (small == NULL) | (raws == _BELOW_ZERO))
    small[empty] = NULL
    cells = _SMALL[codes]
    cells[raw] = small
    odd = np.zeros(codes.shape, dtype=bool)
    odd[raw] = other
    has_odd, has_blanks = np.asarray(odd.any(axis=0)), np.asarray((codes == BLANKS).any(axis=0))
    texts = any(variable.width for variable in places.values())
    number_of_raw = None
    if texts or has_odd.any():
        number_of_raw = _numbers_of_raws(codes)
    by_column = np.ascontiguousarray(cells.T)
    columns: dict[str, pl.Series] = {}
    for name, variable in places.items():
        first = variable.first
        if variable.width:
            assert number_of_raw is not None
            own = slice(first, first + variable.words)
            columns[name] = _text(name, variable.width, codes[:, own], number_of_raw[:, own], raws, utf8=utf8)
            continue
        if has_blanks[first]:
            raise UnusualError("blanks in a number")
        column = pl.Series(name, by_column[first])
        if has_odd[first]:
            assert number_of_raw is not None
            column = _floats(column, odd[:, first], number_of_raw[:, first], numbers)
        elif column.min() == NULL:
            column = column.set(column == NULL, None)
        columns[name] = column
    return columns


def _floats(
    column: pl.Series,
    odd: npt.NDArray[np.bool_],
    number_of_raw: npt.NDArray[np.int32],
    numbers: npt.NDArray[np.float64],
) -> pl.Series:
    """Return a column with large numbers or fractions at the places `odd`."""
    values = column.set(column == NULL, None).cast(pl.Float64)
    own = np.zeros(len(odd))
    own[odd] = numbers[number_of_raw[odd]]
    return pl.select(pl.when(pl.Series(odd)).then(pl.Series(own)).otherwise(values).alias(column.name)).to_series()


def _text(
    name: str, width: int, codes: Bytes, number_of_raw: npt.NDArray[np.int32], raws: Words, *, utf8: bool
) -> pl.Series:
    r"""Return a column of text, without the spaces at its end.

    Raises:
        UnusualError: It has bytes other than text in UTF-8 (or ASCII without ~ and \, in another encoding).
    """
    raw = codes == RAW
    if not bool((raw | (codes == BLANKS)).all()):
        raise UnusualError("a number in a text")
    cells = np.full(codes.shape, _SPACES, dtype=np.uint64)
    cells[raw] = raws[number_of_raw[raw]]
    rows = np.ascontiguousarray(cells).view(np.uint8)
    # Without a word on the encoding, only characters that are the same in all of them.
    strange = rows == 0 if utf8 else (rows < 0x20) | (rows > 0x7D) | (rows == 0x5C)
    if strange.any() or (rows[:, width:] != 0x20).any():
        raise UnusualError("the bytes of a text")
    known, places = np.unique(rows.view(f"V{rows.shape[1]}").reshape(-1), return_inverse=True)
    try:
        words = [bytes(value).decode("utf-8").rstrip(" ") for value in known]
    except UnicodeDecodeError:
        raise UnusualError("the bytes of a text") from None
    return pl.Series(name, words, dtype=pl.String).gather(places)
