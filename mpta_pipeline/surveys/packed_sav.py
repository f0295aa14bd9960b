"""Decode the rows of an ordinary .sav by columns: one code of a byte per cell, which NumPy unpacks many at once.

What belongs here: the layout of the rows, as PSPP's "System File Format" documents it. A file with anything unusual
raises `UnusualError`, and ReadStat reads it: this module never decides that a file is damaged, and gives only cells
that ReadStat gives too (tests/surveys/test_two_readers.py). It has no C code of its own that a damaged file could
crash, and reads bytes only as it needs them: it runs in this process, and most of its work side by side in threads.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

WORD = 8  # bytes of a cell, or of a part of a text
NULL = -(2**15)  # stands for an empty cell in a column of small numbers
ODD = NULL + 1  # stands for a number that is not small and whole, or is this one
WINDOW = 2**20  # words that are looked at once
STRETCH = 128  # words that are searched for blocks one after the other
_LONGEST_STEP = 9  # words of a block with eight raw cells
_MANY = 4  # if at most every fourth word is wanted, only these are decoded
_MOST_WORDS = 2**24  # of a piece
_AT_ONCE = 2**16  # words
_TURNED_AT_ONCE = 64  # rows: few enough for the processor's cache
_HEAD = 2**22  # bytes in which most dictionaries are
# Codes of packed cells: 1 to 251 are a number plus the bias.
PADDING, END, RAW, BLANKS, EMPTY, BIAS = 0, 252, 253, 254, 255, 100
SYSMIS, HIGHEST, LOWEST = 0xFFEFFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFE
_EACH_BYTE = np.uint64(0x0101010101010101)
_SPACES, _BELOW_ZERO = 0x2020202020202020, 1 << 63
_LONGEST_TEXT = 255  # longer ones are several variables
_NARROW = np.iinfo(np.int8)
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


@dataclass(frozen=True)
class Piece:
    """Rows of a file, found but not yet decoded: many may be decoded side by side.

    Attributes:
        places: Variables wanted → their places.
        codes: Code of each cell (rows × words).
        raws: The raw cells among them, in the file's order.
        utf8: The file says that its texts are UTF-8.
    """

    places: dict[str, Variable]
    codes: Bytes
    raws: Words
    utf8: bool

    def columns(self) -> dict[str, pl.Series]:
        """Decode the rows.

        Raises:
            UnusualError: They have something that this module does not decode.
        """
        wanted = sorted({word for v in self.places.values() for word in range(v.first, v.first + v.words)})
        if _MANY * len(wanted) > self.codes.shape[1]:
            return _decoded(self.places, self.codes, self.raws, utf8=self.utf8)
        numbers = _numbers_of_raws(self.codes)[:, wanted]
        codes = self.codes[:, wanted]
        moved = {word: place for place, word in enumerate(wanted)}
        places = {name: Variable(moved[v.first], v.width) for name, v in self.places.items()}
        return _decoded(places, codes, self.raws[numbers[codes == RAW]], utf8=self.utf8)


def pieces(
    path: Path, names: Sequence[str], wanted: Sequence[str], text: set[str], *, offset: int, limit: int, size: int
) -> Iterator[Piece]:
    """Yield rows of some variables, `size` rows at once, or fewer if they have long texts; see `frames`."""
    if sys.byteorder != "little":
        raise UnusualError("this machine's numbers")
    with path.open("rb") as file:
        layout = _layout_at_the_start(file)
        kinds = {name: bool(variable.width) for name, variable in zip(names, layout.variables, strict=False)}
        if len(names) != len(layout.variables) or {name for name, is_text in kinds.items() if is_text} != text:
            raise UnusualError("the variables are others")
        if offset + limit > layout.rows:
            raise UnusualError("fewer rows than wanted")
        size = max(1, min(size, _MOST_WORDS // layout.words))
        number = {name: place for place, name in enumerate(names)}
        places = {name: layout.variables[number[name]] for name in wanted}
        file.seek(layout.start)
        for codes, raws in (_packed if layout.packed else _plain)(file, layout.words, offset, limit, size):
            yield Piece(places, codes, raws, layout.utf8)


def frames(
    path: Path, names: Sequence[str], wanted: Sequence[str], text: set[str], *, offset: int, limit: int, size: int
) -> Iterator[dict[str, pl.Series]]:
    """Yield rows of some variables, `size` rows at once, as numbers (Int8 or Int16 if all are small and whole) or text.

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
    for piece in pieces(path, names, wanted, text, offset=offset, limit=limit, size=size):
        yield piece.columns()


def _layout_at_the_start(file: BinaryIO) -> Layout:
    """Read the dictionary from a file's first bytes: as few as are enough."""
    size = _HEAD
    while True:
        file.seek(0)
        head = np.frombuffer(file.read(size), dtype=np.uint8)
        try:
            return layout_of(head)
        except UnusualError:
            if len(head) < size:
                raise
            size *= 16


def _words(file: BinaryIO, count: int) -> Words:
    """Read the next words of a file; fewer if it ends."""
    content = np.empty(count, dtype=np.uint64)
    return content[: _read_words(file, content)]


def _read_words(file: BinaryIO, space: Words) -> int:
    """Fill a space with the next words of a file, and return how many there are."""
    content, got = memoryview(space).cast("B"), 0  # type: ignore[arg-type]  # NumPy's arrays are buffers
    while read := file.readinto(content[got:]):  # type: ignore[attr-defined]
        got += read
    return int(got // WORD)


def _numbers_of_raws(codes: Bytes) -> npt.NDArray[np.int32]:
    """Return for each raw cell its place among the raw cells."""
    counted: npt.NDArray[np.int32] = np.cumsum((codes == RAW).reshape(-1), dtype=np.int32) - np.int32(1)
    return counted.reshape(codes.shape)


def _plain(file: BinaryIO, words: int, offset: int, limit: int, size: int) -> Iterator[tuple[Bytes, Words]]:
    """Yield the rows of a file that is not packed, as if each cell were a raw one."""
    file.seek(offset * words * WORD, os.SEEK_CUR)
    for start in range(offset, offset + limit, size):
        rows = min(size, offset + limit - start)
        raws = _words(file, rows * words)
        if len(raws) < rows * words:
            raise UnusualError("the file ends early")
        yield np.full((rows, words), RAW, dtype=np.uint8), raws


def _packed(file: BinaryIO, words: int, offset: int, limit: int, size: int) -> Iterator[tuple[Bytes, Words]]:
    """Yield the codes of rows, and the raw cells among them in the file's order."""
    stream = _stream(file)
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


def _stream(file: BinaryIO) -> Iterator[tuple[Bytes, Words]]:
    """Yield the codes of cells and their raw cells, window by window.

    A block is a word of eight codes, followed by a word for each of them that says "raw".
    """
    space, step_space = np.empty(WINDOW, dtype=np.uint64), np.empty(WINDOW, dtype=np.uint8)
    kept, ended = 0, False  # words at the start of the space that the last window left
    while not ended:
        new = _read_words(file, space[kept:])
        if not new:
            if kept:
                raise UnusualError("the file ends early")
            return
        window, step = space[: kept + new], step_space[: kept + new]
        for start in range(0, len(window), _AT_ONCE):  # few enough words for the processor's cache
            ones = (window[start : start + _AT_ONCE].view(np.uint8) == RAW).view(np.uint64)  # 1 for each raw cell
            ones *= _EACH_BYTE  # the highest byte is the sum of all
            ones >>= np.uint64(56)
            step[start : start + _AT_ONCE] = ones
        step += np.uint8(1)  # words from a block to the next one
        is_block, at = _blocks(step)
        if at > len(window):  # the last block goes on beyond the window
            at = len(window) - 1 - int(is_block[::-1].argmax())
            is_block[at] = False
        is_block = is_block[:at]
        codes, raws = window[:at][is_block].view(np.uint8), window[:at][~is_block]
        kept = len(window) - at
        space[:kept] = window[at:].copy()
        if (special := (codes == END)).any():
            codes = codes[: int(special.argmax())]
            raws = raws[: int(np.count_nonzero(codes == RAW))]
            ended = True
        if (padding := (codes == PADDING)).any():
            codes = codes[~padding]
        yield codes, raws


def _blocks(step: Bytes) -> tuple[npt.NDArray[np.bool_], int]:
    """Tell which words are blocks, if the first one is, and where the one after the last would be.

    A block tells where the next one is, so they are found one after the other: in many stretches at once, of which each
    but the first starts with a guess. A wrong guess steps from raw cell to raw cell and soon meets a block. Where the
    stretch before ends decides from which word on a stretch is right.

    Args:
        step: Words from each word to the next block, if that word is one.
    """
    stretches = len(step) // STRETCH
    is_block = np.zeros(len(step) + _LONGEST_STEP, dtype=np.bool_)
    exits = np.zeros(stretches, dtype=np.int64)
    starts = np.arange(stretches, dtype=np.int64) * STRETCH
    stretch, at, end = np.arange(stretches), starts, starts + STRETCH
    while len(at):
        is_block[at] = True
        at = at + step[at]
        inside = at < end
        if not inside.all():
            exits[stretch[~inside]] = at[~inside]
            stretch, at, end = stretch[inside], at[inside], end[inside]
    entries = np.concatenate([starts[:1], exits[:-1]])
    merged = entries.copy()  # from here on, what a stretch found by itself is right
    walked: list[int] = []  # the blocks before that
    for wrong in np.flatnonzero(~is_block[entries]).tolist():
        number = wrong
        while number < stretches and not is_block[place := int(entries[number])]:
            stop = (number + 1) * STRETCH
            while place < stop and not is_block[place]:
                walked.append(place)
                place += int(step[place])
            merged[number] = min(place, stop)
            if place < stop:
                break
            exits[number] = place
            number += 1
            if number < stretches:
                entries[number] = merged[number] = place
    own = is_block[: stretches * STRETCH].reshape(stretches, STRETCH)
    own &= np.arange(STRETCH) >= (merged - starts)[:, None]
    is_block[walked] = True
    place = int(exits[-1]) if stretches else 0
    while place < len(step):
        is_block[place] = True
        place += int(step[place])
    return is_block[: len(step)], place


def _decoded(places: dict[str, Variable], codes: Bytes, raws: Words, *, utf8: bool) -> dict[str, pl.Series]:
    """Return the columns of some rows."""
    numbers = raws.view(np.float64)
    with np.errstate(invalid="ignore"):
        small = numbers.astype(np.int16)
    # Small whole numbers but for a zero below zero; all else is an odd number, or empty.
    plain = small == numbers
    plain &= small > ODD
    plain &= raws != _BELOW_ZERO
    others = np.flatnonzero(~plain)
    odd = numbers[others]
    words = raws[others]
    empty = np.isnan(odd) | (words == SYSMIS) | (words == HIGHEST) | (words == LOWEST)
    small[others] = np.where(empty, np.int16(NULL), np.int16(ODD))
    odd = odd[~empty]
    cells = _SMALL[codes]
    cells[codes == RAW] = small
    odd_cells: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = {}
    if len(odd):
        odd_rows, odd_words = np.divmod(np.flatnonzero(cells.reshape(-1) == ODD), codes.shape[1])
        order = np.argsort(odd_words, kind="stable")
        found, first = np.unique(odd_words[order], return_index=True)
        for word, own in zip(found.tolist(), np.split(order, first[1:]), strict=True):
            odd_cells[word] = odd_rows[own], odd[own]
    has_blanks = np.asarray((codes == BLANKS).any(axis=0))
    number_of_raw = _numbers_of_raws(codes) if any(variable.width for variable in places.values()) else None
    by_column = np.empty(cells.shape[::-1], dtype=np.int16)
    for start in range(0, len(cells), _TURNED_AT_ONCE):
        by_column[:, start : start + _TURNED_AT_ONCE] = cells[start : start + _TURNED_AT_ONCE].T
    has_empty = (by_column.min(axis=1) == NULL).tolist()
    # Less one, an empty cell is the largest number: the least of these is that of the cells with a number.
    narrow = ((by_column - np.int16(1)).min(axis=1) >= _NARROW.min - 1) & (by_column.max(axis=1) <= _NARROW.max)
    is_narrow = narrow.tolist()
    columns: dict[str, pl.Series] = {}
    for name, variable in places.items():
        first_word = variable.first
        if variable.width:
            assert number_of_raw is not None
            own_words = slice(first_word, first_word + variable.words)
            columns[name] = _text(
                name, variable.width, codes[:, own_words], number_of_raw[:, own_words], raws, utf8=utf8
            )
            continue
        if has_blanks[first_word]:
            raise UnusualError("blanks in a number")
        given = by_column[first_word]
        column = pl.Series(name, given.astype(np.int8) if is_narrow[first_word] else given)
        if has_empty[first_word]:
            column = column.set(pl.Series(given == NULL), None)
        if first_word in odd_cells:
            column = column.cast(pl.Float64).scatter(*odd_cells[first_word])
        columns[name] = column
    return columns


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
