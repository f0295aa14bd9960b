"""Open a survey file: check its content against its suffix, unpack archives, convert encodings."""

from __future__ import annotations

import codecs
import errno
import lzma
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.core.storage import disk_full, scratch
from mpta_pipeline.surveys import readstat
from mpta_pipeline.surveys.file_info import SUFFIXES, Format, one_line_of

# The largest survey archive known is 118 MB for 1.3 GB (WVS time series, CSV): a ratio of 11; sparse .sav reach 60.
MAX_ZIP_RATIO = 250
MAX_ZIP_BYTES = 16 * 1024**3
_MAGIC = (
    (b"$FL2", "sav"),
    (b"$FL3", "sav"),
    (b"<stata_dta>", "dta"),
    (b"PK\x03\x04", "zip"),
    (b"%PDF", "pdf"),
    (b"RDX", "rds"),
    (b"\x1f\x8b", "gzip"),
)
# What zipfile raises for damaged, encrypted or unknown archives (RuntimeError: a password is needed).
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
_LEFT_FREE = 1 << 28  # bytes that an archive leaves free on the disk
_SAV_LAYOUT, _SAV_BIAS = 64, 84  # offsets of layout and compression, and of the bias of compressed codes, in a .sav
SAS_MAGIC = bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011")


@dataclass(frozen=True)
class OpenFile:
    """A survey file that is ready to be read: its path, its format, and what was done to it."""

    path: Path
    format: Format
    notes: tuple[str, ...] = ()


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """Open the survey file at `path`. A file in a .zip, or a CSV not in UTF-8, is copied to a temporary folder first.

    Raises:
        SurveyFileError: The suffix is unknown, the file is absent or empty, its content does not match its suffix, or
            the archive is damaged. Errors inside the `with` block name the original file.
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
            remedy=f"use one of {', '.join(SUFFIXES)}, or a .zip that holds one",
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
    except OSError as failure:
        raise disk_full(failure, path) or failure from None


@contextmanager
def scratch_file(suffix: str) -> Iterator[Path]:
    """The path of a temporary file, which is deleted afterwards."""
    with scratch() as folder:
        yield folder / f"file{suffix}"


def content_format(head: bytes) -> str | None:
    """The format that a file's first bytes show, for survey files and a few others; None if they show none."""
    if head.startswith(SAS_MAGIC[:12]) or head[12:32] == SAS_MAGIC:
        return "sas7bdat"
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def _check_magic(path: Path, form: Format) -> None:
    with path.open("rb") as file:
        head = file.read(512)
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|\?xml)", head, re.IGNORECASE):
        raise SurveyFileError(
            "The file is a web page, not data",
            file=path,
            remedy="the download returned a log-in or error page: download the file again in a browser",
        )
    found = content_format(head)
    if found is None and form == "dta" and head[:1] in {bytes([b]) for b in (*range(104, 116),)}:
        found = "dta"  # formats before 117 start with their number
    if (found is None and form != "csv") or (found is not None and found != form):
        raise SurveyFileError(
            f"The file's suffix is {form}, but its content {'is not' if found is None else 'is ' + found}",
            file=path,
            remedy="correct the suffix, or download the file again",
        )
    if head.startswith(b"<stata_dta>") and not _tail(path, 64).rstrip(b"\x00\n").endswith(b"</stata_dta>"):
        raise SurveyFileError(
            "The file ends early: Stata's closing tag is missing",
            file=path,
            remedy="the download or copy was interrupted: download the file again from its producer",
        )
    if form == "sav":
        _check_bias(head, path)
    if form == "csv" and b"\x00" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SurveyFileError(
            "The file's suffix is csv, but its content is binary", file=path, remedy="download it again"
        )


def _check_bias(head: bytes, path: Path) -> None:
    """Refuse a .sav whose compression bias is not 100: the reading library assumes 100."""
    if len(head) < _SAV_BIAS + 8:
        return
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        layout, _, compression = struct.unpack_from(f"{order}3i", head, _SAV_LAYOUT)
        (bias,) = struct.unpack_from(f"{order}d", head, _SAV_BIAS)
        if layout in (2, 3) and compression and bias != 100:
            raise SurveyFileError(
                "The file's compression bias is not 100: all its small numbers would be shifted",
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
    """Unpack the one survey file of an archive, and count the bytes that are written.

    The file may be in an archive inside the archive: portals pack what the producer has packed already.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [i for i in archive.infolist() if not i.is_dir()]
            for info in files:
                inside = PurePosixPath(info.filename.replace("\\", "/"))
                if inside.is_absolute() or ".." in inside.parts or ":" in info.filename:
                    raise SurveyFileError(
                        "The archive holds a path outside of itself",
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
                    remedy="unpack it, and put the survey file into the survey folder",
                )
            info = surveys[0]
            target = folder / f"survey{PurePosixPath(info.filename).suffix.lower()}"
            limit = min(most, max(1, path.stat().st_size) * MAX_ZIP_RATIO)
            free = shutil.disk_usage(folder).free
            written = 0
            with archive.open(info) as packed, target.open("wb") as out:
                while block := packed.read(1 << 20):
                    written += len(block)
                    if written > free - _LEFT_FREE:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    if written > limit:
                        raise SurveyFileError(
                            "The archive unpacks to more than a survey file can have",
                            file=path,
                            value=f"more than {written:,} bytes from {path.stat().st_size:,}",
                            remedy="unpack and inspect it yourself, then put the survey file into the survey folder",
                        )
                    out.write(block)
            return target if target.suffix != ".zip" else _unpack(target, folder, most=limit, nested=True)
    except _ZIP_ERRORS as failure:
        raise disk_full(failure, path) or SurveyFileError(
            f"The archive cannot be unpacked: {one_line_of(failure)}",
            file=path,
            remedy="download it again, or unpack it yourself and put the survey file into the survey folder",
        ) from None
