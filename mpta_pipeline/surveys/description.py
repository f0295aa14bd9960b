"""Describe a survey file without its respondents, to attach to a bug report or to build a test from.

What belongs here: variables, labels, storage and how often each code occurs, counts below five masked. What does not:
what the crosswalk makes of them, which is written beside it by the command.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.core.storage import write_atomic
from mpta_pipeline.surveys import readers, readstat
from mpta_pipeline.surveys.opening import opened, scratch_file

MASKED = 5  # smaller counts are given as "1-4"
MOST_CODES, MOST_TEXTS = 80, 12  # with more distinct values, only their number, minimum and maximum are given


def describe_file(path: Path) -> dict[str, Any]:
    """Describe a survey file. Nothing in the description is about a single respondent.

    Returns:
        `file`, `rows`, `columns`, `encoding`, `file_label`, and `variables`: one entry each with `name`, `dtype`,
        `nulls`, `label`, `format`, `storage_width` (bytes), `value_labels` (code → label), `missing_ranges`, `tags`
        (Stata's missing letters → rows; counted in `nulls`, too), and either `counts` (code → rows, below five "1-4";
        a text that fewer than five rows have is left out) or `values` (how many different ones), `min` and `max` (of
        decimals two digits, rounded outwards).

    Raises:
        SurveyFileError: The file cannot be read.
    """
    with opened(path) as file:
        if file.format == "csv":
            info = readers.describe(file)
            frames = list(readers.chunks(info))
            frame = pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame(schema=info.names)
            about: dict[str, Any] = {"encoding": None, "file_label": None}
            known: Mapping[str, Mapping[str, Any]] = {v.name: {"label": v.label} for v in info.variables if v.label}
        else:
            process = readstat.idle.take()
            try:
                with scratch_file(".arrow") as target:
                    process.ask("read_plain", str(file.path), file.format, str(target))
                    meta = process.reply()
                    frame = pl.read_ipc(target).rechunk()
            except readstat.UnreadableError as failure:
                raise SurveyFileError(
                    f"The file cannot be read as {file.format}: {failure}",
                    file=path,
                    remedy="it is damaged or incomplete: download it again from its producer",
                ) from None
            finally:
                readstat.idle.give_back(process)
            about, known = meta["about"], meta["variables"]
    variables = [{**_entry(frame[name]), **_masked_tags(known.get(name, {}))} for name in frame.columns]
    return {"file": path.name, "rows": frame.height, "columns": frame.width, **about, "variables": variables}


def _entry(column: pl.Series) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "dtype": _dtype(column), "nulls": column.null_count()}
    values = column.drop_nulls()
    different = values.n_unique()
    if values.dtype == pl.String:
        if different <= MOST_TEXTS:
            counted = values.value_counts(sort=True).filter(pl.col("count") >= MASKED).sort(column.name)
            return entry | {"counts": dict(counted.rows())}
        return entry | {"values": different}
    if different <= MOST_CODES:
        counted = values.value_counts(sort=True).sort(column.name)
        return entry | {"counts": {str(code): n if n >= MASKED else f"1-{MASKED - 1}" for code, n in counted.rows()}}
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    if not values.dtype.is_integer():
        low, high = _outwards(low, floor), _outwards(high, ceil)
    return entry | {"values": different, "min": low, "max": high}


def _masked_tags(known: Mapping[str, Any]) -> dict[str, Any]:
    if "tags" not in known:
        return dict(known)
    return {**known, "tags": {tag: n if n >= MASKED else f"1-{MASKED - 1}" for tag, n in known["tags"].items()}}


def _dtype(column: pl.Series) -> str:
    return "Int64" if column.dtype.is_integer() else str(column.dtype)


def _outwards(value: float, whole: Any) -> float:
    """A number rounded outwards to two digits: the largest weight or longitude in a file belongs to one person."""
    if abs(value) < 1e-37:
        return value  # zero, or a missing value whose bytes are in the wrong order
    step = 10.0 ** (floor(log10(abs(value))) - 1)
    return float(f"{whole(value / step) * step:.12g}")


def write_description(described: Mapping[str, Any], path: Path) -> Path:
    """Write a description as JSON, compressed if the name ends in .gz. Equal descriptions give equal bytes."""
    text = json.dumps(described, ensure_ascii=False, indent=0).encode()
    content = gzip.compress(text, mtime=0) if path.suffix == ".gz" else text

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    return write_atomic(path, write)
