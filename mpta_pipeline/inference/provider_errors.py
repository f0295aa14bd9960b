"""What can go wrong with a request, in the few kinds that the engine treats differently, and no key in any message."""

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
    """Whose fault a failed exchange is, which decides what happens next."""

    REQUEST = "item"
    """The request's own (400, 404, 413, 422): a final error of this request, never sent again by itself."""
    CONTENT_FILTER = "filter"
    """Refused by a content filter before the model: an answer of its own kind, a refusal."""
    OVERLOADED = "busy"
    """Refused for load (429, 529): sent again when the endpoint allows, without counting as an attempt."""
    SERVER = "server"
    """The server's (5xx, reset, timeout, broken or senseless body): tried again a few times."""
    UNREACHABLE = "down"
    """No connection, or a web page instead of the API: hopeless as a first reply, else like SERVER."""
    FATAL = "fatal"
    """Nothing can be asked of this model at all (key rejected, model unknown, no quota left)."""


class ProviderError(Exception):
    """A failed exchange: its kind, a reason without secrets, and the seconds to wait that the endpoint named."""

    def __init__(self, kind: ErrorKind, reason: str, *, retry_after: float | None = None) -> None:
        self.kind = kind
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


class ModelUnusableError(ModelError):
    """A model that cannot be used any further in this run.

    Args:
        problem: What is wrong.
        nothing_answered: It has answered nothing at all, so that its other tasks need not be tried.
        where: As MptaError takes it.
    """

    def __init__(self, problem: str, *, nothing_answered: bool, **where: Any) -> None:
        self.nothing_answered = nothing_answered
        super().__init__(problem, **where)


def unforeseen(what: str, failure: BaseException, secrets: Iterable[str] = ()) -> ModelError:
    """An error that nobody foresaw as a message: it ends what it happened in and nothing else."""
    text = shorten(redact(f"{type(failure).__name__} {failure}".strip(), secrets))
    error = ModelError(
        f"{what} ended with an error that the program did not foresee: {text}",
        remedy="run again; every answer that was received is kept. If it comes back, report it with this message",
    )
    error.__cause__ = failure
    return error


LEAST_SECRET = 8  # characters; shorter "keys" (none, EMPTY, 1) stand for no key and are words of answers, too


def redact(text: str, secrets: Iterable[str]) -> str:
    """Take every secret out of a text that came from outside.

    A secret of fewer than eight characters is taken out only where the text shows it as a key (`Bearer …`, `key: …`):
    everywhere else it would change answers.
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
