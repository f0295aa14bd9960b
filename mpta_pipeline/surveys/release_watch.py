"""Release watch: query the addresses of sources for new releases, and download those that may be downloaded.

A downloaded file goes into the survey folder, where it is read like any other file.

A file shows a change in its ETag, modification time or length; a page in the releases that a pattern finds on it. If
the pattern finds nothing, the page has changed its form: that is reported, and never counts as "no new release".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import httpx

from mpta_pipeline.core import downloads
from mpta_pipeline.core.downloads import Validators, shown
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.hashing import file_sha256
from mpta_pipeline.core.storage import Layout, write_json
from mpta_pipeline.surveys.recognize import recognize
from mpta_pipeline.surveys.source_registry import Address, Source, SourceRegistry

Outcome = Literal[
    "nothing_new",
    "downloaded",
    "new_release",
    "page_changed",
    "unreachable",
    "cannot_tell",
    "checksum_differs",
    "not_its_file",
]
GOOD: tuple[Outcome, ...] = ("nothing_new", "downloaded")
_PAGE_LIMIT = 5_000_000  # characters of a page that are searched
_AGENT = {"User-Agent": "mpta-pipeline release watch"}


@dataclass(frozen=True)
class InUse:
    """What the study uses of a source.

    Attributes:
        waves: Its waves.
        versions: Version stamps of their files.
        sha256: SHA-256 of their files.
    """

    waves: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()


@dataclass(frozen=True)
class WatchResult:
    """The result of querying one address.

    Attributes:
        codebook: Codebook of the source.
        address: The address, without user, password and query.
        outcome: What was found.
        message: The result as a sentence, with what to do.
        release: Name of the newest release, if a page names it.
        file: The file that was downloaded to the survey folder.
        waves: Waves of the source that are in use.
    """

    codebook: str
    address: str
    outcome: Outcome
    message: str
    release: str | None = None
    file: Path | None = None
    waves: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether there is nothing for a person to do."""
        return self.outcome in GOOD


@dataclass
class _Seen:
    """The stored state of an address.

    Attributes:
        validators: Validators of the file as last seen.
        releases: Releases that the page listed.
        sha256: SHA-256 of the file that was downloaded.
        file: Its name in the survey folder.
        pending: Files that were in use when a release was found that is not in the survey folder yet; null if none is.
    """

    validators: Validators = field(default_factory=Validators)
    releases: list[str] = field(default_factory=list)
    sha256: str | None = None
    file: str | None = None
    pending: list[str] | None = None


def watched(registry: SourceRegistry, in_use: Mapping[str, InUse]) -> Iterator[tuple[Source, Address]]:
    """The addresses to query: of every source in use, and of those with addresses in surveys.yaml."""
    for source in registry:
        policy = registry.config.sources.get(source.codebook)
        if source.codebook in in_use or (policy is not None and policy.use and policy.watch):
            for address in registry.addresses(source):
                yield source, address


def watch(
    registry: SourceRegistry, layout: Layout, in_use: Mapping[str, InUse], *, attempts: int = 3, pause: float = 1.0
) -> list[WatchResult]:
    """Query every address. A failure is a result and does not affect the other addresses.

    Args:
        registry: Sources with the user's policy.
        layout: Where the survey folder and the state of the watch (`watch.json`) are.
        in_use: Source (codebook) → what the study uses of it.
        attempts: Attempts for a download whose connection breaks; it continues where it stopped.
        pause: Seconds before the second attempt.
    """
    memory = _Memory(layout.root / "watch.json")
    findings = []
    for source, address in watched(registry, in_use):
        asked = _Asked(source, address, in_use.get(source.codebook, InUse()), registry, layout)
        seen = memory.of(address)
        try:
            found = asked.page(seen) if address.page is not None else asked.file(seen, attempts, pause)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            found = asked.finding("unreachable", f"{_why(failure)}; it is queried again next time, and nothing is lost")
        except OSError as failure:
            found = asked.finding("unreachable", f"the survey folder is not writable: {failure.strerror or failure}")
        memory.keep(address, seen)
        findings.append(found)
    return findings


def _why(failure: Exception) -> str:
    if isinstance(failure, httpx.HTTPStatusError):
        return f"the address returned {failure.response.status_code} {failure.response.reason_phrase}".rstrip()
    if isinstance(failure, httpx.TimeoutException):
        return "the address did not answer in time"
    return f"the address cannot be reached ({type(failure).__name__})"


class _Memory:
    """What was last seen at each address, in one JSON document."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            entries = None
        # Absent or damaged: every address counts as seen for the first time.
        self.entries: dict[str, dict[str, Any]] = entries if isinstance(entries, dict) else {}

    @staticmethod
    def _name(address: Address) -> str:
        return f"{shown(address.url)} {address.release or ''}".strip()

    def of(self, address: Address) -> _Seen:
        try:
            entry = dict(self.entries[self._name(address)])
            return _Seen(**{**entry, "validators": Validators(**entry["validators"])})
        except (KeyError, TypeError, ValueError):
            return _Seen()

    def keep(self, address: Address, seen: _Seen) -> None:
        if self.entries.get(self._name(address)) != asdict(seen):
            self.entries[self._name(address)] = asdict(seen)
            write_json(self.entries, self.path)


@dataclass(frozen=True)
class _Asked:
    """A query of one address of one source."""

    source: Source
    address: Address
    used: InUse
    registry: SourceRegistry
    layout: Layout

    def finding(
        self, outcome: Outcome, message: str, *, release: str | None = None, file: Path | None = None
    ) -> WatchResult:
        text = f"{self.source.codebook}: {message}"
        return WatchResult(self.source.codebook, shown(self.address.url), outcome, text, release, file, self.used.waves)

    def by_hand(self, release: str | None = None) -> WatchResult:
        """The result for a new release that must be downloaded by hand."""
        where = self.address.get_from or shown(self.address.url)
        closed = self.registry.closed(self.source)
        condition = f" ({closed.problem[0].lower()}{closed.problem[1:]})" if closed else ""
        named = f" {release}" if release else ""
        return self.finding(
            "new_release",
            f"a new release{named} is available: download it by hand from {where} into the survey folder{condition}",
            release=release,
        )

    # ---------------------------------------------------------------- a page

    def page(self, seen: _Seen) -> WatchResult:
        reply = httpx.get(self.address.url, headers=_AGENT, follow_redirects=True, timeout=downloads.TIMEOUT)
        reply.raise_for_status()
        found = re.finditer(str(self.address.release), reply.text[:_PAGE_LIMIT])
        releases = sorted({m["version"].strip() for m in found if m["version"]}, key=_stamp)
        if not releases:
            return self.finding(
                "page_changed",
                f"the page {shown(self.address.url)} has changed its form: the pattern finds no release on it. Check "
                f"the page, and correct the pattern at sources.{self.source.codebook}.watch in surveys.yaml",
            )
        newest, known = releases[-1], max(map(_stamp, self.used.versions), default=())
        if known:
            # A file's stamp may be longer than the page's, e.g. with a date after the version.
            is_new = _stamp(newest)[: len(known)] > known[: len(_stamp(newest))]
            seen.pending = None
        else:
            if not seen.releases and not self.used.waves:
                seen.pending = []
            elif seen.releases and newest not in seen.releases:
                seen.pending = list(self.used.sha256)
            elif seen.pending is not None and set(self.used.sha256) - set(seen.pending):
                seen.pending = None  # another file was added since
            is_new = seen.pending is not None
        seen.releases = releases
        if is_new:
            return self.by_hand(newest)
        return self.finding("nothing_new", f"the newest release on the page is {newest}", release=newest)

    # ---------------------------------------------------------------- a file

    def file(self, seen: _Seen, attempts: int, pause: float) -> WatchResult:
        current = self._validators(seen.validators)
        first = seen.validators == Validators()
        changed = False if current is None else seen.validators.differ(current)
        if current is not None and current == Validators():
            return self.finding(
                "cannot_tell",
                "the address has neither ETag, modification time nor length, so that new releases cannot be detected",
            )
        if self.registry.may_download(self.source):
            if changed is False and not first:
                return self.finding("nothing_new", "the file at the address has not changed")
            return self._downloaded(seen, attempts, pause)
        if first and not self.used.waves:
            seen.pending = []
        elif changed and not first:
            seen.pending = list(self.used.sha256)
        elif seen.pending is not None and set(self.used.sha256) - set(seen.pending):
            seen.pending = None  # another file was added since
        seen.validators = current or seen.validators
        if seen.pending is not None:
            return self.by_hand()
        return self.finding("nothing_new", "the file at the address has not changed" if not first else "first look")

    def _validators(self, before: Validators) -> Validators | None:
        """The file's validators; None if the server says that it has not changed."""
        headers = {**_AGENT, "Accept-Encoding": "identity", **before.condition}
        with httpx.Client(headers=headers, follow_redirects=True, timeout=downloads.TIMEOUT) as client:
            reply = client.head(self.address.url)
            if reply.status_code in (405, 501):  # allows GET only: read the headers, not the body
                with client.stream("GET", self.address.url) as reply:
                    pass
        if reply.status_code == httpx.codes.NOT_MODIFIED:
            return None
        reply.raise_for_status()
        return Validators.of(reply)

    def _downloaded(self, seen: _Seen, attempts: int, pause: float) -> WatchResult:
        folder = self.layout.surveys
        folder.mkdir(parents=True, exist_ok=True)
        name = self.address.save_as or PurePosixPath(unquote(urlsplit(self.address.url).path)).name
        partial = folder / f".part-{name}"  # scans ignore names with a leading point; the suffix is needed for reading
        got = downloads.fetch(
            self.address.url, partial, pinned=self.address.sha256 is not None, attempts=attempts, pause=pause
        )
        sha = file_sha256(partial)
        wanted = self.address.sha256 or got.sha256
        if wanted is not None and sha != wanted:
            downloads.discard(partial)
            return self.finding(
                "checksum_differs",
                f"the download has SHA-256 {sha[:12]}… but {wanted[:12]}… was expected; it was discarded, and is "
                "tried again next time",
            )
        if sha == seen.sha256 or sha in self.used.sha256:
            downloads.discard(partial)
            seen.validators, seen.sha256 = got.validators, sha
            return self.finding("nothing_new", "the file at the address is the one in use")
        if (problem := self._problem(partial)) is not None:
            downloads.discard(partial)
            return self.finding(
                "not_its_file", f"the downloaded file is not of this source and was discarded: {problem}"
            )
        target = self._target(folder, name, seen, sha)
        downloads.take(partial, target)
        seen.validators, seen.sha256, seen.file = got.validators, sha, target.name
        return self.finding("downloaded", f"a new release was downloaded: {target.name}", file=target)

    def _problem(self, path: Path) -> str | None:
        try:
            found = recognize(path, self.registry)
        except MptaError as failure:
            return failure.problem
        codebook = found.source.codebook
        return None if codebook == self.source.codebook else f"it is a file of {codebook}"

    @staticmethod
    def _target(folder: Path, name: str, seen: _Seen, sha: str) -> Path:
        """Where a download is put. A file that is not an earlier download is never overwritten."""
        target = folder / name
        if not target.exists() or (seen.file == name and file_sha256(target) == seen.sha256):
            return target
        return folder / f"{target.stem}-{sha[:8]}{target.suffix}"


def _stamp(version: str) -> tuple[int, ...]:
    """The numbers in a release's name, for ordering releases."""
    return tuple(int(n) for n in re.findall(r"\d+", version))


def summary(findings: Sequence[WatchResult]) -> str:
    """One line: how many addresses were queried, and how many need a person."""
    left = [f for f in findings if not f.good]
    asked = f"{len(findings)} address(es) queried"
    return f"{asked}, nothing to do" if not left else f"{asked}; {len(left)} need attention"
