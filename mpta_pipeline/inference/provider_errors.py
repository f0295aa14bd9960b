"""Provider errors, in the few kinds that the engine treats differently, and the removal of keys from messages."""

from __future__ import annotations

import contextlib
import email.utils
import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC
from enum import Enum
from functools import lru_cache
from typing import Any

from mpta_pipeline.core.errors import ModelError


class ErrorKind(Enum):
    """The cause of a failed call, which decides what happens next."""

    REQUEST = "item"
    """The request itself (400, 404, 413, 422): a final error of this request, which is not sent again automatically."""
    CONTENT_FILTER = "filter"
    """A content filter rejected the request before the model saw it: recorded as a refusal."""
    OVERLOADED = "busy"
    """The endpoint is overloaded (429, 529): sent again when it allows, without counting as an attempt."""
    SERVER = "server"
    """The server (5xx, connection reset, timeout, unreadable body): tried again a few times."""
    UNREACHABLE = "down"
    """No connection, or a web page instead of the API: final if nothing has succeeded yet, else like SERVER."""
    FATAL = "fatal"
    """The model cannot be used at all (key rejected, model unknown, no quota left)."""


class ProviderError(Exception):
    """A failed call: its kind, a reason without secrets, and the seconds that the endpoint asks to wait."""

    def __init__(self, kind: ErrorKind, reason: str, *, retry_after: float | None = None) -> None:
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


class ModelUnusableError(ModelError):
    """The model cannot be used any further in this run.

    Args:
        problem: What is wrong.
        nothing_answered: It has answered nothing at all, so its other tasks need not be tried.
        where: Arguments of MptaError.
    """

    def __init__(self, problem: str, *, nothing_answered: bool, **where: Any) -> None:
        self.nothing_answered = nothing_answered
        super().__init__(problem, **where)


def unforeseen(what: str, failure: BaseException, secrets: Iterable[str] = ()) -> ModelError:
    """Return an unforeseen error as a message for the user."""
    text = shorten(redact(f"{type(failure).__name__} {failure}".strip(), secrets))
    error = ModelError(
        f"{what} ended with an unexpected error: {text}",
        remedy="run again; every response that was received is kept. If the error returns, report it with this message",
    )
    error.__cause__ = failure
    return error


LEAST_SECRET = 8  # characters; shorter "keys" (none, EMPTY, 1) mean no key and may occur in responses


def redact(text: str, secrets: Iterable[str]) -> str:
    """Remove every secret from a text that came from outside.

    A secret of fewer than eight characters is removed only where the text shows it as a key (`Bearer …`, `key: …`).
    Removing it elsewhere would change responses.
    """
    for secret in secrets:
        if not secret or secret not in text:
            continue
        if len(secret) >= LEAST_SECRET:
            text = text.replace(secret, "[key removed]")
        else:
            text = _as_key(secret).sub(r"\1[key removed]", text)
    return text


@lru_cache(maxsize=64)
def _as_key(secret: str) -> re.Pattern[str]:
    shown = r"(bearer\s+|(?:key|token|secret|password)(?:\s+provided)?[\"']?\s*[:=]\s*[\"']?)"
    return re.compile(f"(?i:{shown}){re.escape(secret)}(?![A-Za-z0-9])")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an endpoint asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
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
    """Return a reason on one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
