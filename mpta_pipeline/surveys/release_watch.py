"""Release watch: what changed at the addresses of a source, and fetching what may be fetched.

What belongs here: asking, comparing with what was seen last, downloading into the survey folder. What does not: when
it is done, and what becomes of a file in the survey folder: it goes the way of every file there.

A file's address tells by its ETag, its time of change or its length; a page by the releases that a pattern finds on it.
A page on which the pattern finds nothing has changed its form, which is told; it never counts as no new release.
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
_PAGE_LIMIT = 5_000_000  # bytes of a page that are looked through
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
class Finding:
    """What one address said.

    Attributes:
        codebook: The source.
        address: The address, without user, password and query.
        outcome: What it means.
        message: In a sentence, with what to do.
        release: Name of the newest release, where a page names it.
        file: The file that was put into the survey folder.
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
        """Nothing is left for a person to do."""
        return self.outcome in GOOD


@dataclass
class _Seen:
    """What is remembered of an address.

    Attributes:
        validators: Of the file as last seen.
        releases: Releases that the page named.
        sha256: The file downloaded from there.
        file: Its name in the survey folder.
        pending: A release was there that nobody has dropped since: the files then in use.
    """

    validators: Validators = field(default_factory=Validators)
    releases: list[str] = field(default_factory=list)
    sha256: str | None = None
    file: str | None = None
    pending: list[str] | None = None


def watched(registry: SourceRegistry, in_use: Mapping[str, InUse]) -> Iterator[tuple[Source, Address]]:
    """The addresses to ask: of every source that is in use, and of those for which surveys.yaml names addresses."""
    for source in registry:
        policy = registry.config.sources.get(source.codebook)
        if source.codebook in in_use or (policy is not None and policy.use and policy.watch):
            for address in registry.addresses(source):
                yield source, address


def watch(
    registry: SourceRegistry, layout: Layout, in_use: Mapping[str, InUse], *, attempts: int = 3, pause: float = 1.0
) -> list[Finding]:
    """Ask every address; one that fails is a finding and keeps nothing from the others.

    Args:
        registry: Sources with the user's policy.
        layout: Where the survey folder and the memory of the watch (`watch.json`) are.
        in_use: Source (codebook) → what the study uses of it.
        attempts: Tries of a download whose connection breaks; it goes on where it stopped.
        pause: Seconds before the second try.
    """
    memory = _Memory(layout.root / "watch.json")
    findings = []
    for source, address in watched(registry, in_use):
        asked = _Asked(source, address, in_use.get(source.codebook, InUse()), registry, layout)
        seen = memory.of(address)
        try:
            found = asked.page(seen) if address.page is not None else asked.file(seen, attempts, pause)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            found = asked.finding("unreachable", f"{_why(failure)}; it is asked again next time, nothing is lost")
        except OSError as failure:
            found = asked.finding("unreachable", f"the survey folder cannot be written: {failure.strerror or failure}")
        memory.keep(address, seen)
        findings.append(found)
    return findings


def _why(failure: Exception) -> str:
    if isinstance(failure, httpx.HTTPStatusError):
        return f"the address answers {failure.response.status_code} {failure.response.reason_phrase}".rstrip()
    if isinstance(failure, httpx.TimeoutException):
        return "the address did not answer in time"
    return f"the address cannot be reached ({type(failure).__name__})"


class _Memory:
    """What was last seen at each address, in one JSON document that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.entries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # forgotten: every address counts as seen for the first time
            self.entries = {}

    @staticmethod
    def _name(address: Address) -> str:
        return f"{shown(address.url)} {address.release or ''}".strip()

    def of(self, address: Address) -> _Seen:
        try:
            entry = dict(self.entries[self._name(address)])
            return _Seen(**{**entry, "validators": Validators(**entry["validators"])})
        except (KeyError, TypeError):
            return _Seen()

    def keep(self, address: Address, seen: _Seen) -> None:
        if self.entries.get(self._name(address)) != asdict(seen):
            self.entries[self._name(address)] = asdict(seen)
            write_json(self.entries, self.path)


@dataclass(frozen=True)
class _Asked:
    """One address of one source."""

    source: Source
    address: Address
    used: InUse
    registry: SourceRegistry
    layout: Layout

    def finding(
        self, outcome: Outcome, message: str, *, release: str | None = None, file: Path | None = None
    ) -> Finding:
        text = f"{self.source.codebook}: {message}"
        return Finding(self.source.codebook, shown(self.address.url), outcome, text, release, file, self.used.waves)

    def by_hand(self, release: str | None = None) -> Finding:
        """A new release that this program does not fetch."""
        where = self.address.get_from or shown(self.address.url)
        closed = self.registry.closed(self.source)
        condition = f" ({closed.problem[0].lower()}{closed.problem[1:]})" if closed else ""
        named = f" {release}" if release else ""
        return self.finding(
            "new_release",
            f"a new release{named} is there: download it by hand from {where} into the survey folder{condition}",
            release=release,
        )

    # ---------------------------------------------------------------- a page

    def page(self, seen: _Seen) -> Finding:
        reply = httpx.get(self.address.url, headers=_AGENT, follow_redirects=True, timeout=downloads.TIMEOUT)
        reply.raise_for_status()
        found = re.finditer(str(self.address.release), reply.text[:_PAGE_LIMIT])
        releases = sorted({m["version"].strip() for m in found if m["version"]}, key=_stamp)
        if not releases:
            return self.finding(
                "page_changed",
                f"the page {shown(self.address.url)} has changed its form: the pattern finds no release on it. Look "
                f"there yourself, and mend the pattern at sources.{self.source.codebook}.watch in surveys.yaml",
            )
        newest, known = releases[-1], max(map(_stamp, self.used.versions), default=())
        if known:
            # A file's stamp may say more than the page's, e.g. a date behind the version.
            is_new = _stamp(newest)[: len(known)] > known[: len(_stamp(newest))]
            seen.pending = None
        else:
            if not seen.releases and not self.used.waves:
                seen.pending = []
            elif seen.releases and newest not in seen.releases:
                seen.pending = list(self.used.sha256)
            elif seen.pending is not None and set(self.used.sha256) - set(seen.pending):
                seen.pending = None  # another file was dropped since
            is_new = seen.pending is not None
        seen.releases = releases
        if is_new:
            return self.by_hand(newest)
        return self.finding("nothing_new", f"the newest release on the page is {newest}", release=newest)

    # ---------------------------------------------------------------- a file

    def file(self, seen: _Seen, attempts: int, pause: float) -> Finding:
        current = self._validators(seen.validators)
        first = seen.validators == Validators()
        changed = False if current is None else seen.validators.differ(current)
        if current is not None and current == Validators():
            return self.finding(
                "cannot_tell",
                "the address says neither ETag nor time of change nor length, so that a new release cannot be told",
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
            seen.pending = None  # another file was dropped since
        seen.validators = current or seen.validators
        if seen.pending is not None:
            return self.by_hand()
        return self.finding("nothing_new", "the file at the address has not changed" if not first else "first look")

    def _validators(self, before: Validators) -> Validators | None:
        """The file's validators; None: the server says that it has not changed."""
        headers = {**_AGENT, "Accept-Encoding": "identity", **before.condition}
        with httpx.Client(headers=headers, follow_redirects=True, timeout=downloads.TIMEOUT) as client:
            reply = client.head(self.address.url)
            if reply.status_code in (405, 501):  # asks for nothing but the file itself: its head is enough
                with client.stream("GET", self.address.url) as reply:
                    pass
        if reply.status_code == httpx.codes.NOT_MODIFIED:
            return None
        reply.raise_for_status()
        return Validators.of(reply)

    def _downloaded(self, seen: _Seen, attempts: int, pause: float) -> Finding:
        folder = self.layout.surveys
        folder.mkdir(parents=True, exist_ok=True)
        name = self.address.save_as or PurePosixPath(unquote(urlsplit(self.address.url).path)).name
        partial = folder / f".part-{name}"  # what begins with a point is no survey file; the suffix says how to read it
        got = downloads.fetch(
            self.address.url, partial, pinned=self.address.sha256 is not None, attempts=attempts, pause=pause
        )
        sha = file_sha256(partial)
        wanted = self.address.sha256 or got.sha256
        if wanted is not None and sha != wanted:
            downloads.discard(partial)
            return self.finding(
                "checksum_differs",
                f"the download has SHA-256 {sha[:12]}… where {wanted[:12]}… was announced, and was thrown away; "
                "it is tried again next time",
            )
        if sha == seen.sha256 or sha in self.used.sha256:
            downloads.discard(partial)
            seen.validators, seen.sha256 = got.validators, sha
            return self.finding("nothing_new", "the file at the address is the one in use")
        if (problem := self._problem(partial)) is not None:
            downloads.discard(partial)
            return self.finding(
                "not_its_file", f"what the address gives is no file of this source and was thrown away: {problem}"
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
        """The place of a download; a file that is no earlier download of ours is never written over."""
        target = folder / name
        if not target.exists() or (seen.file == name and file_sha256(target) == seen.sha256):
            return target
        return folder / f"{target.stem}-{sha[:8]}{target.suffix}"


def _stamp(version: str) -> tuple[int, ...]:
    """The numbers in a release's name, by which releases are ordered."""
    return tuple(int(n) for n in re.findall(r"\d+", version))


def summary(findings: Sequence[Finding]) -> str:
    """One line: how many addresses were asked and what is left for a person to do."""
    left = [f for f in findings if not f.good]
    asked = f"{len(findings)} address(es) asked"
    return f"{asked}, nothing left to do" if not left else f"{asked}; {len(left)} to look at"
