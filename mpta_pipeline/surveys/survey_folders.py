"""The survey folders: what each file in them is, and which file gives each wave.

What belongs here: looking, remembering what was seen, choosing. What does not: reading a file's rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.hashing import file_sha256
from mpta_pipeline.core.storage import Layout, write_json
from mpta_pipeline.core.untrusted_text import one_line
from mpta_pipeline.surveys import readers
from mpta_pipeline.surveys.recognize import Recognition, WavePart, recognize
from mpta_pipeline.surveys.source_registry import SourceRegistry

# Data of other formats are shown with what to do about them; anything else that lies in the folder is passed over.
_OTHER_DATA = (".rds", ".rdata", ".por", ".xlsx", ".xls", ".sas7bcat", ".xpt", ".7z", ".rar", ".gz", ".tsv", ".tab")

_NAME = "Its name, or that of a folder, holds control characters or is not UTF-8. Rename it; the next look takes it up."
_GROWING = "The file is still being written: it changed while it was looked at. The next look takes it up."


@dataclass(frozen=True)
class FileState:
    """A file in a survey folder.

    Attributes:
        recognition: What it is; null where it is nothing that can be used.
        problem: Why it cannot be used; for a source that is closed or switched off, beside its recognition.
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
        """What can be done with it. `not_harmonized`: its source has no crosswalk, for the reason in its note."""
        if self.recognition is None:
            return "unusable"
        if self.problem is not None:
            return "closed"
        return "ready" if self.recognition.source.crosswalk else "not_harmonized"


@dataclass(frozen=True)
class WaveFile:
    """A file that holds a wave, and its part in it.

    Attributes:
        role: `used`: it gives respondents of the wave, all or those of some countries. `check`: the same people stand
            in files of a preferred source. `superseded`: other releases of the same source give its countries.
        reason: Why it has that role.
        countries: The countries that it gives; of a file that is not used, none.
    """

    wave: str
    state: FileState
    role: Literal["used", "check", "superseded"]
    reason: str
    countries: tuple[str, ...] = ()


def scan(folder: Path | Iterable[Path], registry: SourceRegistry, *, cache: Path | None = None) -> list[FileState]:
    """Look at every file of a folder, or of several, and their sub-folders.

    A file that cannot be used is a state with its problem, never an exception, so that it does not keep the others from
    their way. What was found is remembered by path, size, time and inode, until the sources' records change.

    Args:
        folder: Folder or folders; absent ones count as empty.
        registry: Sources.
        cache: Where to remember; null for `survey_files.json` in the data folder.
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
        if identity is None:  # gone since it was listed
            continue
        if one_line(str(path)) != str(path):
            states.append(_state(path, {"identity": identity, "problem": _NAME}, registry))
            continue
        entry = known.get(str(path))
        if entry is None or entry["identity"] != identity:
            entry = {"identity": identity, **_look(path, registry)}
            if _identity(path) != identity:
                states.append(_state(path, {"identity": identity, "problem": _GROWING}, registry))
                continue
        entries[str(path)] = entry
        states.append(_state(path, entry, registry))
    if entries != known:
        write_json({"version": registry.digest, "files": entries}, cache)
    return states


def look_at(path: Path, registry: SourceRegistry) -> FileState:
    """Look at one file, wherever it lies; nothing is remembered."""
    identity = _identity(path)
    entry = {"identity": identity or [0, 0, 0], **_look(path, registry)}
    return _state(path, entry, registry)


def _identity(path: Path) -> list[int] | None:
    """By which a file is known again; None where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _is_data(path: Path) -> bool:
    suffix = path.suffix.lower()
    if not path.is_file():
        return False
    if suffix in readers.SUFFIXES or suffix == ".zip" or suffix in _OTHER_DATA:
        return True
    try:
        with path.open("rb") as file:
            return readers.content_format(file.read(64)) in ("sav", "dta", "sas7bdat")
    except OSError:
        return False


def _look(path: Path, registry: SourceRegistry) -> dict[str, Any]:
    try:
        sha = file_sha256(path)
        found = recognize(path, registry)
    except MptaError as failure:
        return {"problem": str(failure)}
    except FileNotFoundError:
        return {"problem": f"There is no such file (file {path})"}
    except OSError as failure:
        return {"problem": f"The file cannot be read: {failure.strerror or failure}"}
    except Exception as failure:  # one file that nobody thought of must not hide the others
        return {"problem": f"The file cannot be read, for a reason that the program does not know: {_kind(failure)}"}
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
    """What an error is and where it comes from; its message may hold somebody's answers."""
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
        stored = json.loads(path.read_text(encoding="utf-8"))
        return dict(stored["files"]) if stored["version"] == registry.digest else {}
    except (OSError, ValueError, KeyError, TypeError):  # absent or not ours: look again
        return {}


def assign(states: Iterable[FileState]) -> list[WaveFile]:
    """Which file gives each country of each wave, and what part the other files that hold it have.

    Files of different countries make up a wave together. A country that several files hold is given by one: of several
    sources by the one with the lowest precedence (a wave's own file before the pooled ones); of one source's files by
    the newest release by its version stamp, among equal stamps by the one dropped last.
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
            return WaveFile(wave, state, "used", taken or "it gives the whole wave", given)
        part = f"one of {parts} files that make up the wave: it gives {_listed(given)}"
        return WaveFile(wave, state, "used", f"{part}; {taken}" if taken else part, given)
    assert state.recognition is not None
    same_source = any(_codebook(other) == state.recognition.codebook for other, _ in others.values())
    return WaveFile(wave, state, "superseded" if same_source else "check", taken)


def _codebook(state: FileState) -> str:
    assert state.recognition is not None
    return state.recognition.codebook


def _taken(state: FileState, other: FileState, countries: Sequence[str], held: Sequence[str]) -> str:
    """Why another file gives some of a file's countries."""
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
        return (
            f"{which} taken from {other.path.name}, the newer release ({other.recognition.version or 'dropped later'})"
        )
    return f"{which} taken from {other.path.name}, which was dropped later"


def _listed(countries: Sequence[str], most: int = 6) -> str:
    return ", ".join(countries[:most]) + (f" and {len(countries) - most} more" if len(countries) > most else "")


def folders(layout: Layout, registry: SourceRegistry) -> Sequence[Path]:
    """The folders that survey files are looked for in: the survey folder and those of `surveys.yaml`."""
    return [layout.surveys, *registry.config.directories]
