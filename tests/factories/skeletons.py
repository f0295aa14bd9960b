"""Survey files made from the skeletons of real ones: every variable as the producer has it, and nobody's answers.

A skeleton (`mpta describe FILE`) holds names, labels, value labels, storage, and how often each code occurs. From it a
file of the same structure is made: each column is drawn on its own, seeded by its name, so that nothing in it tells
who answered what together. Kept alike: names, variable and value labels as truncated, storage type and width, byte
order, the bytes of missing cells, the set of codes (each of them occurs, also in a file of few rows), declared missing
codes, and what tells respondents apart.

    skeleton = load("WVS_Wave_7_Bangladesh")             # the test skips where skeletons are absent
    write(skeleton, folder / "x.dta", rows=200, big_endian=True)
    write(skeleton, folder / "x.csv.zip", separator=";", set_to={"B_COUNTRY": 152}, drop=["A_YEAR"], rename=str.lower)

The skeletons lie beside the checkout (`../shared/skeletons`) or where `MPTA_SKELETONS` says.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyreadstat
import pytest

from tests.shared_data import SKELETONS

# What the bytes 00 00 00 7f of a float cell read as in a big-endian file: Stata's missing value, written backwards.
BACKWARDS = float(np.frombuffer(bytes([0, 0, 0, 0x7F]), dtype=">f4")[0])
_STATA_MISSING = {
    1: 101,
    2: 32741,
    4: 2147483621,
    "f": bytes.fromhex("7f000000"),
    "d": bytes.fromhex("7fe0000000000000"),
}
_TAG_Z = 2147483647  # .z of a 4-byte integer: what a number too large for it became
# Columns that follow the wave: all in rising order, so that a row's wave, study and year go together.
_RISING = ("S001", "S002VS", "S002EVS", "S002", "S020", "S024", "S025", "A_WAVE", "YEAR")
_WITHIN_WAVE = ("S006",)


@dataclass(frozen=True)
class Skeleton:
    """A described survey file.

    Attributes:
        file: Name of the file that was described.
        rows: Its respondents.
        variables: One entry a variable, as `mpta describe` writes it.
    """

    file: str
    rows: int
    label: str | None
    variables: Sequence[Mapping[str, Any]] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Names of the variables."""
        return [v["name"] for v in self.variables]


def names() -> list[str]:
    """The skeletons that are at hand, by file name without `.json.gz`; empty where there are none."""
    return sorted(p.name.removesuffix(".json.gz") for p in SKELETONS.glob("*.json.gz"))


def load(name: str) -> Skeleton:
    """The skeleton whose file name begins with `name`, or at that path; the test skips where it is absent."""
    found = [Path(name)] if Path(name).is_file() else sorted(SKELETONS.glob(f"{name}*.json.gz"))
    if not found:
        pytest.skip(f"the skeleton {name} is not there: set MPTA_SKELETONS to the folder that holds it")
    content = found[0].read_bytes()
    described = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    return Skeleton(described["file"], described["rows"], described.get("file_label"), described["variables"])


def frame(
    skeleton: Skeleton,
    rows: int | None = None,
    *,
    seed: int = 1,
    set_to: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
) -> pl.DataFrame:
    """Columns drawn from the skeleton, each on its own.

    Args:
        skeleton: What to draw from.
        rows: How many; null: as many as the file had.
        seed: Another one makes other people.
        set_to: Variable → its cells (a list), or the one value of all.
        drop: Variables to leave out.
    """
    n = skeleton.rows if rows is None else rows
    columns = {v["name"]: _column(v, n, skeleton.rows, seed) for v in skeleton.variables if v["name"] not in drop}
    for name, value in (set_to or {}).items():
        columns[name] = pl.Series(name, value if isinstance(value, list | pl.Series) else [value] * n)
    return pl.DataFrame([c.alias(name) for name, c in columns.items()])


def _column(variable: Mapping[str, Any], n: int, of: int, seed: int) -> pl.Series:
    name = variable["name"]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    dtype = {"Int64": pl.Int64, "Float64": pl.Float64}.get(variable["dtype"], pl.String)
    empty = round(n * variable["nulls"] / of)
    filled = n - empty
    if "counts" in variable:
        cells = _counted(variable["counts"], filled, rng)
        values = [c if dtype == pl.String else float(c) for c in cells]
    elif dtype == pl.String:
        values = [f"{name} {k % variable['values'] + 1}" for k in range(filled)]
    else:
        values = _spread(variable, filled, of, rng)
    numbers = dtype == pl.Int64
    cells = [*(int(v) if numbers else v for v in values), *[None] * empty]
    if name.upper() in _RISING:
        order = np.argsort(np.array([-1.0 if c is None else float(c) for c in cells]), kind="stable")
    elif name.upper() in _WITHIN_WAVE:
        order = np.arange(n)
    else:
        order = rng.permutation(n)
    return pl.Series(name, [cells[k] for k in order], dtype=dtype)


def _counted(counts: Mapping[str, int | str], n: int, rng: np.random.Generator) -> list[str]:
    """Codes in their shares; each occurs where the rows suffice. A masked count ("1-4") is drawn from 1 to 4."""
    codes = list(counts)
    weights = np.array([c if isinstance(c, int) else int(rng.integers(1, 5)) for c in counts.values()], dtype=float)
    exact = weights / weights.sum() * n if codes else weights
    share = np.floor(exact).astype(int)
    for k in np.argsort(-(exact - share), kind="stable")[: n - int(share.sum())]:
        share[k] += 1
    for k in np.flatnonzero(share == 0):
        if share.max(initial=0) > 1:  # a rare code takes the place of the most frequent one
            share[share.argmax()] -= 1
            share[k] = 1
    return [code for code, times in zip(codes, share, strict=True) for _ in range(times)]


def _spread(variable: Mapping[str, Any], n: int, of: int, rng: np.random.Generator) -> list[float]:
    """Values between the smallest and the largest, both among them; ids are unique but for cells of a missing code."""
    low, high, different = variable["min"], variable["max"], variable["values"]
    whole = variable["dtype"] == "Int64"
    if different > of / 2 and whole:  # an id
        missing = round(n * (of - different) / of) if low < 0 else 0
        start = max(low, 1.0)
        # Ids run on from the first; in a long file with gaps they stay within what the file has.
        step = max(1, int((high - start) // max(1, of)))
        values = [start + k * step for k in range(n - missing)]
        if low >= 0 and different < of and n > 1:
            values[-1] = values[0]  # the producer repeats some
        return [low] * missing + values
    if variable["name"].upper() in _WITHIN_WAVE:
        return [1.0 + k % different for k in range(n)]
    pool = rng.uniform(low, high, size=different)
    pool[:2] = low, high
    if whole:
        pool = np.round(pool)
    values = list(pool[rng.integers(0, different, size=n)])
    values[: min(n, 2)] = [low, high][: min(n, 2)]
    return [float(v) for v in values]


def write(
    skeleton: Skeleton,
    path: Path,
    rows: int | None = None,
    *,
    seed: int = 1,
    set_to: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
    rename: Callable[[str], str] = str,
    big_endian: bool = False,
    backwards: bool = True,
    separator: str = ",",
    decimal_comma: bool = False,
) -> Path:
    """Write a file of the skeleton's structure in the format of the suffix: .dta, .sav, .csv, or one of them in .zip.

    Args:
        skeleton: What the file is like.
        path: Where to; its suffix tells the format.
        rows: Respondents; null: as many as the described file had.
        seed: Another one makes other people.
        set_to: Variable → its cells (a list), or the one value of all.
        drop: Variables to leave out.
        rename: What becomes of each variable's name, e.g. `str.lower`.
        big_endian: Byte order of a .dta.
        backwards: Missing cells of float columns stay as the producer wrote them (they read as 1.78e-43); else they are
            proper missing cells.
        separator: Between the fields of a .csv.
        decimal_comma: Of the numbers in a .csv.
    """
    if path.suffix == ".zip":
        inner = write(
            skeleton,
            path.with_name(path.stem),
            rows,
            seed=seed,
            set_to=set_to,
            drop=drop,
            rename=rename,
            big_endian=big_endian,
            backwards=backwards,
            separator=separator,
            decimal_comma=decimal_comma,
        )
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inner, inner.name)
        inner.unlink()
        return path
    data = frame(skeleton, rows, seed=seed, set_to=set_to, drop=drop)
    if not backwards:
        data = data.with_columns(
            pl.when(pl.col(c) != BACKWARDS).then(pl.col(c)) for c, t in data.schema.items() if t == pl.Float64
        )
    described = {v["name"]: v for v in skeleton.variables}
    about = {rename(c): described.get(c, {}) for c in data.columns}
    data = data.rename({c: rename(c) for c in data.columns})
    if path.suffix == ".csv":
        text = data.cast({pl.Int64: pl.String, pl.Float64: pl.String})
        if decimal_comma:
            text = text.with_columns(
                pl.col(c).str.replace(".", ",", literal=True) for c, t in data.schema.items() if t == pl.Float64
            )
        text.write_csv(path, separator=separator)
    elif path.suffix == ".sav":
        _write_sav(data, about, skeleton.label, path)
    else:
        path.write_bytes(_dta(data, about, skeleton.label or "", ">" if big_endian else "<"))
    return path


def _write_sav(data: pl.DataFrame, about: Mapping[str, Mapping[str, Any]], label: str | None, path: Path) -> None:
    """As the producers' .sav: the negative codes of a labelled variable are declared missing as a range."""
    labels: dict[str, dict[int | float | str, str]] = {}
    ranges: dict[str, list[Any]] = {}
    for name, dtype in data.schema.items():
        if dtype == pl.String:
            continue
        said = about[name].get("value_labels", {}).items()
        labels[name] = {float(c): text[:120] for c, text in said if not c.isalpha()}
        if negative := [float(c) for c in labels[name] if float(c) < 0]:
            ranges[name] = [{"lo": min(negative), "hi": max(negative)}]
    # An overflown number is none of .sav.
    data = data.with_columns(
        pl.lit(float(_TAG_Z)).alias(c) for c in data.columns if data.schema[c] == pl.String and _overflown(about[c])
    )
    pyreadstat.write_sav(
        data,
        path,
        file_label=(label or "")[:60],
        column_labels={c: about[c].get("label") or "" for c in data.columns},
        variable_value_labels={c: v for c, v in labels.items() if v},
        missing_ranges=ranges,
    )


def _overflown(variable: Mapping[str, Any]) -> bool:
    return variable.get("format", "s")[-1] == "f" and variable["dtype"] == "String"


def _dta(data: pl.DataFrame, about: Mapping[str, Mapping[str, Any]], label: str, order: str) -> bytes:
    """A Stata file of release 114 (Stata 10, 11), the one that SPSS and the producers' tools write, in a byte order."""
    kinds = {name: _storage(name, data, about[name]) for name in data.columns}
    codes = {1: 251, 2: 252, 4: 253, "f": 254, "d": 255}
    types = bytes(codes[k] if k in codes else int(k[1:]) for k in kinds.values())

    def text(value: str, size: int) -> bytes:
        return value.encode("cp1252", "replace")[: size - 1].ljust(size, b"\0")

    n, width = data.height, data.width
    head = struct.pack(f"{order}BBBxHi", 114, 1 if order == ">" else 2, 1, width, n) + text(label, 81)
    head += text("01 Jan 2024 00:00", 18) + types
    head += b"".join(text(name, 33) for name in data.columns) + bytes(2 * (width + 1))
    head += b"".join(text(about[c].get("format") or "%9.0g", 49) for c in data.columns)
    labelled = {c: v for c in data.columns if (v := about[c].get("value_labels")) and not str(kinds[c]).startswith("s")}
    head += b"".join(text(_label_name(c, k) if c in labelled else "", 33) for k, c in enumerate(data.columns))
    head += b"".join(text(about[c].get("label") or "", 81) for c in data.columns) + bytes(5)
    dtype = np.dtype([(f"c{k}", _numpy(kind, order)) for k, kind in enumerate(kinds.values())])
    cells = np.zeros(n, dtype=dtype)
    for k, (name, kind) in enumerate(kinds.items()):
        cells[f"c{k}"] = _cells(data[name], kind, order, about[name].get("tags", {}))
    tail = b"".join(
        _label_table(_label_name(c, k), labelled[c], order) for k, c in enumerate(data.columns) if c in labelled
    )
    return head + cells.tobytes() + tail


def _storage(name: str, data: pl.DataFrame, variable: Mapping[str, Any]) -> Any:
    """1, 2, 4: bytes of an integer; f, d: floats; s8: text of 8."""
    dtype, width = data.schema[name], variable.get("storage_width")
    if dtype == pl.String:
        if variable and _overflown(variable):
            return 4
        return f"s{min(244, max(1, width - 1 if width else data[name].str.len_bytes().max() or 1))}"  # type: ignore[operator]
    if dtype == pl.Float64:
        return "f" if width == 4 else "d"
    largest = int(data[name].abs().max() or 0)  # type: ignore[arg-type]
    return "d" if largest > 2147483620 else 4 if largest > 32740 else width if width in (1, 2, 4) else 2


def _numpy(kind: Any, order: str) -> str:
    plain = {1: "i1", 2: f"{order}i2", 4: f"{order}i4", "f": f"{order}f4", "d": f"{order}f8"}
    return plain.get(kind) or f"S{kind[1:]}"


def _cells(column: pl.Series, kind: Any, order: str, tags: Mapping[str, int | str]) -> np.ndarray[Any, Any]:
    if isinstance(kind, str) and kind.startswith("s"):
        return np.array([(c or "").encode("cp1252", "replace") for c in column], dtype=f"S{kind[1:]}")
    dtype = np.dtype(_numpy(kind, order))
    if column.dtype == pl.String:
        return np.full(len(column), _TAG_Z, dtype=dtype)
    missing = _STATA_MISSING[kind]
    fill = np.frombuffer(missing, dtype=dtype.newbyteorder(">"))[0] if isinstance(missing, bytes) else missing
    values = np.array([fill if c is None else c for c in column.to_list()]).astype(dtype)
    if tags:  # the empty cells carry the letters in their shares
        empty = np.flatnonzero(column.is_null().to_numpy())
        weights = np.array([n if isinstance(n, int) else 2 for n in tags.values()], dtype=float)
        which = np.searchsorted(np.cumsum(weights) / weights.sum(), (np.arange(len(empty)) + 0.5) / max(1, len(empty)))
        letters = np.array([ord(tag.lower()) - 96 for tag in tags])[which]
        if isinstance(missing, int):
            values[empty] = (missing + letters).astype(dtype)
        else:
            whole = int.from_bytes(missing, "big") + letters.astype(np.int64) * (1 << (11 if kind == "f" else 40))
            plain = whole.astype(">u4" if kind == "f" else ">u8").view(dtype.newbyteorder(">"))
            values[empty] = plain.astype(dtype)
    return values


def _label_name(variable: str, place: int) -> str:
    return f"L{place}_{variable}"[:32]


def _label_table(name: str, labels: Mapping[str, str], order: str) -> bytes:
    tags = {c: str(_STATA_MISSING[4] + ord(c.lower()) - 96) for c in labels if c.isalpha() and len(c) == 1}  # type: ignore[operator]
    coded = {tags.get(code, code): text for code, text in labels.items()}
    known = sorted((int(float(code)), text) for code, text in coded.items() if float(code).is_integer())
    texts = [text.encode("cp1252", "replace") + b"\0" for _, text in known]
    offsets = np.cumsum([0, *map(len, texts)])[:-1]
    body = struct.pack(f"{order}ii", len(known), sum(map(len, texts)))
    body += np.array(offsets, dtype=f"{order}i4").tobytes() + np.array([c for c, _ in known], f"{order}i4").tobytes()
    body += b"".join(texts)
    return struct.pack(f"{order}i", len(body)) + name.encode().ljust(33, b"\0") + bytes(3) + body


def many() -> Any:
    """Parameters of a test: every skeleton at hand, or one that skips with the reason."""
    found = names()
    absent = pytest.param(
        "", marks=pytest.mark.skip(f"no skeletons: set MPTA_SKELETONS ({SKELETONS.name} is not there)")
    )
    return found or [absent]


def main() -> None:
    """Write a file of a description's structure: `python -m tests.factories.skeletons DESCRIPTION OUT [ROWS]`."""
    description, target, *rows = sys.argv[1:]
    path = write(load(description), Path(target), int(rows[0]) if rows else None)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
