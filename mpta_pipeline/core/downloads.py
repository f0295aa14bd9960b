"""Download a file into a partial file, which the next attempt continues. The caller decides whether to accept it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import tenacity

from mpta_pipeline.core.storage import write_text

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_SHA256 = re.compile(r"(?i)\bsha-256=:?([A-Za-z0-9+/]{43}=):?")
# Request the file unencoded: a range of an encoded body is not a range of the file.
_AS_IS = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Validators:
    """What a server reports about the state of a file.

    Attributes:
        etag: Entity tag.
        modified: `Last-Modified`, as sent.
        length: Bytes.
    """

    etag: str | None = None
    modified: str | None = None
    length: int | None = None

    @classmethod
    def of(cls, reply: httpx.Response) -> Validators:
        """The validators in a response to HEAD or GET, complete or partial."""
        total = re.search(r"/(\d+)$", reply.headers.get("Content-Range", ""))
        length = total[1] if total else reply.headers.get("Content-Length", "")
        # The length of a part, or of an encoded body, is not the length of the file.
        other = "Content-Encoding" in reply.headers or (not total and reply.status_code != httpx.codes.OK)
        return cls(
            reply.headers.get("ETag"),
            reply.headers.get("Last-Modified"),
            int(length) if length.isdigit() and not other else None,
        )

    @property
    def condition(self) -> dict[str, str]:
        """Headers that ask for the file only if it changed since."""
        sent = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in sent.items() if value is not None}

    @property
    def in_part(self) -> str | None:
        """The value for `If-Range`: a strong entity tag, else the time of the last change."""
        return self.etag if self.etag is not None and not self.etag.startswith("W/") else self.modified

    def differ(self, other: Validators) -> bool | None:
        """Whether the file changed between the two; None if they have no validator in common."""
        if self.etag is not None and other.etag is not None:
            return self.etag.removeprefix("W/") != other.etag.removeprefix("W/")
        told = [
            mine != theirs
            for mine, theirs in ((self.modified, other.modified), (self.length, other.length))
            if mine is not None and theirs is not None
        ]
        return any(told) if told else None


@dataclass(frozen=True)
class Received:
    """A complete download.

    Attributes:
        validators: Of the file received.
        sha256: The SHA-256 that the server announced for it (`Repr-Digest` or `Digest`); null if it announced none.
    """

    validators: Validators
    sha256: str | None


def shown(url: str) -> str:
    """An address for messages, without user, password and query, which may contain keys."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def fetch(url: str, partial: Path, *, pinned: bool = False, attempts: int = 1, pause: float = 1.0) -> Received:
    """Download into `partial`, continuing where an earlier attempt stopped.

    A partial file is continued only if the server still has the same file (`If-Range`). A pinned file, whose SHA-256
    the caller compares anyway, is also continued if the server sends no validators.

    Args:
        url: Address; redirects are followed.
        partial: File that is written. A file with the suffix `.from` keeps the validator of the file on the server.
        pinned: The caller knows the file's SHA-256.
        attempts: Maximum attempts if the connection breaks.
        pause: Seconds before the second attempt, doubled for each further one.

    Raises:
        httpx.HTTPError: The address cannot be reached, refuses, or gives fewer bytes than it announced.
        OSError: The partial file cannot be written.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=pause),
        retry=tenacity.retry_if_exception_type(httpx.TransportError),
        reraise=True,
    )
    return retrying(_fetch_once, url, partial, pinned)


def _fetch_once(url: str, partial: Path, pinned: bool) -> Received:
    began_as = partial.with_name(f"{partial.name}.from")
    have = partial.stat().st_size if partial.exists() else 0
    condition = began_as.read_text(encoding="utf-8") if began_as.exists() else ""
    headers = dict(_AS_IS)
    if have and (condition or pinned):
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": condition} if condition else {})
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as reply:
        if reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            validators = Validators.of(reply)  # the partial file is complete, or the file became shorter
        else:
            reply.raise_for_status()
            validators = Validators.of(reply)
            resumes = reply.status_code == httpx.codes.PARTIAL_CONTENT
            if not resumes:
                partial.unlink(missing_ok=True)
                if validators.in_part:
                    write_text(validators.in_part, began_as)
                else:
                    began_as.unlink(missing_ok=True)
            with partial.open("ab" if resumes else "wb") as f:
                # Written as received, so that a broken connection loses nothing.
                for chunk in reply.iter_bytes():
                    f.write(chunk)
        announced = _announced(reply.headers)
    if validators.length is not None and partial.stat().st_size != validators.length:
        found = partial.stat().st_size
        partial.unlink()  # longer or shorter than the file: it cannot be continued
        raise httpx.RemoteProtocolError(f"{found} bytes received of {validators.length}")
    return Received(validators, announced)


def discard(partial: Path) -> None:
    """Remove a partial file and the note of its first validators."""
    partial.unlink(missing_ok=True)
    partial.with_name(f"{partial.name}.from").unlink(missing_ok=True)


def take(partial: Path, target: Path) -> Path:
    """Move a complete download into place."""
    partial.replace(target)
    discard(partial)
    return target


def _announced(headers: Mapping[str, str]) -> str | None:
    """The SHA-256 of the whole file in hexadecimal digits, if the server announces it (RFC 9530, RFC 3230)."""
    found = _SHA256.search(headers.get("Repr-Digest", "") or headers.get("Digest", ""))
    try:
        return base64.b64decode(found[1], validate=True).hex() if found else None
    except binascii.Error:
        return None
