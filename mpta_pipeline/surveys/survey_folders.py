"""Scan the survey folders: what each file is, and which file each wave is read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mpta_pipeline.core.errors import DamagedError, DiskFullError, MptaError
from mpta_pipeline.core.hashing import file_sha256
from mpta_pipeline.core.storage import Layout, file_identity, read_checked_json, write_checked_json
from mpta_pipeline.core.untrusted_text import one_line
from mpta_pipeline.surveys.file_info import SUFFIXES
from mpta_pipeline.surveys.opening import content_format
from mpta_pipeline.surveys.recognize import Recognition, WavePart, recognize
from mpta_pipeline.surveys.source_registry import SourceRegistry

# Data files in other formats are shown with a remedy; all other files are ignored.
_OTHER_DATA = (".rds", ".rdata", ".por", ".xlsx", ".xls", ".sas7bcat", ".xpt", ".7z", ".rar", ".gz", ".tsv", ".tab")

_NAME = "Its name, or a folder's, has control characters or is not UTF-8. Rename it; the next scan will read it."
_GROWING = "The file is still being written: it changed during the scan. The next scan will read it."


@dataclass(frozen=True)
class FileState:
    """A file in a survey folder.

    Attributes:
        recognition: What the file was recognized as; null if it cannot be used.
        problem: Why it cannot be used. Set beside `recognition` if its source is closed or disabled.
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str | None
    recognition: Recognition | None
    problem: str | None

    @property
    def usable(self) -> bool:
        """Whether its waves may be read."""
        return self.recognition is not None and self.problem is None

    @property
    def status(self) -> Literal["ready", "closed", "not_harmonized", "unusable"]:
        """What can be done with the file. `not_harmonized`: its source has no crosswalk; its note says why."""
        if self.recognition is None:
            return "unusable"
        if self.problem is not None:
            return "closed"
        return "ready" if self.recognition.source.crosswalk else "not_harmonized"


@dataclass(frozen=True)
class WaveFile:
    """A file that holds a wave, and its role for the wave.

    Attributes:
        role: `used`: respondents are read from it, of all its countries or of some. `check`: the same people are in
            files of a preferred source. `superseded`: other releases of the same source are used for its countries.
        reason: Why it has that role.
        countries: The countries that are read from it; empty if it is not used.
    """

    wave: str
    state: FileState
    role: Literal["used", "check", "superseded"]
    reason: str
    countries: tuple[str, ...] = ()


def scan(folder: Path | Iterable[Path], registry: SourceRegistry, *, cache: Path | None = None) -> list[FileState]:
    """Look at every file in one or more folders and their subfolders.

    A file that cannot be used becomes a state with its problem, never an exception, so that it does not affect the
    others. Results are cached by path, size, time and inode, until the sources' records change.

    Args:
        folder: Folder or folders; absent ones count as empty.
        registry: Sources.
        cache: The cache file; null for `survey_files.json` in the data folder.
    """
    folders = [folder] if isinstance(folder, Path) else list(folder)
    cache = cache or Layout.from_env().root / "survey_files.json"
    known = _read_cache(cache, registry)
    paths = {
        path.resolve(): None
        for root in folders
        for path in sorted(root.rglob("*") if root.is_dir() else ())
        if not path.name.startswith(".") and _is_data(path)
    }
    entries: dict[str, dict[str, Any]] = {}
    states = []
    for path in paths:
        identity = _identity(path)
        if identity is None:  # deleted since it was listed
            continue
        if one_line(str(path)) != str(path):
            states.append(_state(path, {"identity": identity, "problem": _NAME}, registry))
            continue
        entry = known.get(str(path))
        if entry is None or entry["identity"] != identity:
            before = _full_identity(path)
            entry = {"identity": identity, **_look(path, registry)}
            if _full_identity(path) != before or _identity(path) != identity:
                states.append(_state(path, {"identity": identity, "problem": _GROWING}, registry))
                continue
        if not entry.pop("passing", False):
            entries[str(path)] = entry
        states.append(_state(path, entry, registry))
    if entries != known:
        write_checked_json({"version": registry.digest, "files": entries}, cache)
    return states


def look_at(path: Path, registry: SourceRegistry) -> FileState:
    """Look at one file anywhere; the result is not cached."""
    identity = _identity(path)
    entry = {"identity": identity or [0, 0, 0], **_look(path, registry)}
    return _state(path, entry, registry)


def _identity(path: Path) -> list[int] | None:
    """What identifies a file that was seen before; None if it was deleted."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _full_identity(path: Path) -> tuple[int, ...] | None:
    """As `_identity`; it changes, too, when a file is replaced and put back."""
    try:
        return file_identity(path)
    except OSError:
        return None


def _is_data(path: Path) -> bool:
    suffix = path.suffix.lower()
    if not path.is_file():
        return False
    if suffix in SUFFIXES or suffix == ".zip" or suffix in _OTHER_DATA:
        return True
    try:
        with path.open("rb") as file:
            return content_format(file.read(64)) in ("sav", "dta", "sas7bdat")
    except OSError:
        return False


def _look(path: Path, registry: SourceRegistry) -> dict[str, Any]:
    try:
        sha = file_sha256(path)
        found = recognize(path, registry)
    except DiskFullError as failure:
        return {"problem": str(failure), "passing": True}
    except MptaError as failure:
        return {"problem": str(failure)}
    except FileNotFoundError:
        return {"problem": f"There is no such file (file {path})"}
    except OSError as failure:
        return {"problem": f"The file cannot be read: {failure.strerror or failure}", "passing": True}
    except Exception as failure:  # one unexpected file must not hide the others
        return {"problem": f"The file cannot be read, because of an unexpected error: {_kind(failure)}"}
    return {
        "sha256": sha,
        "codebook": found.codebook,
        "version": found.version,
        "doi": found.doi,
        "title": found.title,
        "notes": list(found.notes),
        "parts": [asdict(part) for part in found.parts.values()],
    }


def _kind(failure: Exception) -> str:
    """Type and module of an error. Its message is left out: it may contain answers."""
    module = type(failure).__module__
    return type(failure).__name__ if module == "builtins" else f"{module}.{type(failure).__name__}"


def _state(path: Path, entry: Mapping[str, Any], registry: SourceRegistry) -> FileState:
    size, mtime_ns, _ = entry["identity"]
    if "problem" in entry:
        return FileState(path, size, mtime_ns, None, None, entry["problem"])
    source = registry[entry["codebook"]]
    parts = {
        p["wave"]: WavePart(**{**p, **{name: tuple(p[name]) for name in ("countries", "years", "sizes")}})
        for p in entry["parts"]
    }
    recognition = Recognition(
        source=source,
        waves=tuple(parts),
        parts=parts,
        version=entry["version"],
        doi=entry["doi"],
        title=entry["title"],
        notes=tuple(entry["notes"]),
    )
    refusal = registry.closed(source)
    return FileState(path, size, mtime_ns, entry["sha256"], recognition, str(refusal) if refusal else None)


def _read_cache(path: Path, registry: SourceRegistry) -> dict[str, dict[str, Any]]:
    try:
        stored = read_checked_json(path)
        return dict(stored["files"]) if stored["version"] == registry.digest else {}
    except (
        OSError,
        DamagedError,
        ValueError,
        KeyError,
        TypeError,
    ):  # absent, damaged, another version
        return {}


def assign(states: Iterable[FileState]) -> list[WaveFile]:
    """Decide which file each country of each wave is read from, and the role of the other files that hold it.

    Files with different countries make up a wave together. If several files hold a country, it is read from one: from
    the source with the lowest precedence (a wave's own file before pooled ones); among files of one source from the
    newest release by version stamp; among equal stamps from the file that was added last.
    """
    held: dict[str, list[FileState]] = {}
    for state in states:
        if state.usable and state.recognition is not None and state.recognition.source.crosswalk:
            for wave in state.recognition.waves:
                held.setdefault(wave, []).append(state)
    result = []
    for wave in sorted(held):
        ordered = sorted(held[wave], key=lambda s: _preference(s, wave), reverse=True)
        givers: dict[str, FileState] = {}
        for state in ordered:
            for country in _part_of(state, wave).countries:
                givers.setdefault(country, state)
        parts = sum(1 for state in ordered if state in givers.values())
        result += [_assigned(wave, state, givers, parts) for state in ordered]
    return sorted(result, key=lambda found: (found.wave, found.role != "used"))


def _part_of(state: FileState, wave: str) -> WavePart:
    assert state.recognition is not None
    return state.recognition.parts[wave]


def _preference(state: FileState, wave: str) -> tuple[Any, ...]:
    assert state.recognition is not None
    found = state.recognition
    stamp = [int(n) for n in re.findall(r"\d+", found.version or "")]
    return (-found.source.precedence, stamp, state.mtime_ns, found.parts[wave].rows, state.path.name)


def _assigned(wave: str, state: FileState, givers: Mapping[str, FileState], parts: int) -> WaveFile:
    held = _part_of(state, wave).countries
    given = tuple(country for country in held if givers[country] is state)
    others: dict[str, tuple[FileState, list[str]]] = {}
    for country in held:
        if givers[country] is not state:
            others.setdefault(str(givers[country].path), (givers[country], []))[1].append(country)
    taken = "; ".join(_taken(state, other, countries, held) for other, countries in others.values())
    if given:
        if parts == 1:
            return WaveFile(wave, state, "used", taken or "the whole wave is read from it", given)
        part = f"one of {parts} files of the wave: {_listed(given)} {'is' if len(given) == 1 else 'are'} read from it"
        return WaveFile(wave, state, "used", f"{part}; {taken}" if taken else part, given)
    assert state.recognition is not None
    same_source = any(_codebook(other) == state.recognition.codebook for other, _ in others.values())
    return WaveFile(wave, state, "superseded" if same_source else "check", taken)


def _codebook(state: FileState) -> str:
    assert state.recognition is not None
    return state.recognition.codebook


def _taken(state: FileState, other: FileState, countries: Sequence[str], held: Sequence[str]) -> str:
    """Why some of a file's countries are read from another file."""
    assert state.recognition is not None and other.recognition is not None
    which = (
        "its people are"
        if len(countries) == len(held)
        else f"{_listed(countries)} {'is' if len(countries) == 1 else 'are'}"
    )
    if state.sha256 == other.sha256:
        return f"the same content as {other.path.name}"
    if _codebook(state) != _codebook(other):
        return f"{which} taken from {other.path.name} ({_codebook(other)}, the preferred source)"
    if state.recognition.version != other.recognition.version:
        return f"{which} taken from {other.path.name}, the newer release ({other.recognition.version or 'added later'})"
    return f"{which} taken from {other.path.name}, which was added later"


def _listed(countries: Sequence[str], most: int = 6) -> str:
    return ", ".join(countries[:most]) + (f" and {len(countries) - most} more" if len(countries) > most else "")


def folders(layout: Layout, registry: SourceRegistry) -> Sequence[Path]:
    """The folders that are searched for survey files: the survey folder and those in `surveys.yaml`."""
    return [layout.surveys, *registry.config.directories]
