"""What can go wrong with a request, in the few kinds that the engine treats differently, and no key in any message."""

from __future__ import annotations

import contextlib
import email.utils
import math
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from enum import Enum


class Kind(Enum):
    """Whose fault a failed exchange is, which decides what happens next."""

    ITEM = "item"
    """The request's own (400, 404, 413, 422): a final error of this request, never sent again by itself."""
    FILTER = "filter"
    """Refused by a content filter before the model: an answer of its own kind, a refusal."""
    BUSY = "busy"
    """Refused for load (429, 529): sent again when the endpoint allows, without counting as an attempt."""
    SERVER = "server"
    """The server's (5xx, reset, timeout, broken or senseless body): tried again a few times."""
    DOWN = "down"
    """No connection, or a web page instead of the API: hopeless as a first reply, else like SERVER."""
    FATAL = "fatal"
    """Nothing can be asked of this model at all (key rejected, model unknown, no quota left)."""


class Fault(Exception):  # noqa: N818 — the word of the whole package; most are no error of the program
    """A failed exchange: its kind, a reason without secrets, and the seconds to wait that the endpoint named."""

    def __init__(self, kind: Kind, reason: str, *, retry_after: float | None = None) -> None:
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


def redact(text: str, secrets: Iterable[str]) -> str:
    """Take every secret out of a text that came from outside."""
    for secret in secrets:
        if secret and secret in text:
            text = text.replace(secret, "[key removed]")
    return text


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an endpoint asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(ValueError):
            seconds = float(headers.get(name, "")) / unit
            if math.isfinite(seconds):
                return max(seconds, 0.0)
    try:
        when = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def shorten(text: str, limit: int = 300) -> str:
    """A reason on one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
