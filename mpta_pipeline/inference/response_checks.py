"""Find the errors that servers report inside a response with status 200."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError, shorten
from mpta_pipeline.inference.response_fields import mapping

# Finish reasons that mean that the server failed: the content is not a response.
BROKEN = frozenset(
    (
        "abort",
        "aborted",
        "cancelled",
        "error",
        "failed",
        "finish_reason_unspecified",
        "insufficient_system_resource",
        "internal_error",
        "load",
        "malformed_response",
        "missing_thought_signature",
        "network_error",
        "server_error",
        "unknown",
    )
)
# Finish reasons of responses that may be empty although nothing failed.
MAY_BE_EMPTY = frozenset(
    (
        "content_filter",
        "length",
        "max_output_tokens",
        "max_tokens",
        "model_context_window_exceeded",
        "model_length",
        "refusal",
        "safety",
        "sensitive",
        "tool_calls",
        "tool_use",
        "function_call",
    )
)
# Words of a plain-text error that will pass by itself.
_TEMPORARY = re.compile(r"(?i)load|busy|capacity|queue|try again|timed? ?out|temporar|unavailable|rate")

ClassifyError = Callable[[int, Any, str], ProviderError]
"""Classifies an error response by status, JSON body and text: `Provider.classify_error`."""


def raise_error_in(payload: Any, classify_error: ClassifyError) -> None:
    """Raise the error that a response with status 200 reports. Gateways report so what went wrong behind them.

    Raises:
        ProviderError: The response reports an error. A plain-text error (`{"error": "Unexpected endpoint"}`) means
            that the server has no such address, unless the text says that the server is busy.
    """
    whole = mapping(payload)
    reported = whole.get("error") or (whole if whole.get("object") == "error" else None)
    if not reported:
        return
    if isinstance(reported, str) and not _TEMPORARY.search(reported):
        raise ProviderError(
            ErrorKind.UNREACHABLE,
            f"the server sent a plain-text error with status 200 instead of an API response: {shorten(reported)}",
        )
    codes = (mapping(reported).get(name) for name in ("code", "status", "status_code", "http_status"))
    status = next((c for c in codes if type(c) is int and 400 <= c < 600), 500)
    error = classify_error(status, payload, "")
    raise ProviderError(error.kind, f"HTTP 200 with error {status}: {error.reason}", retry_after=error.retry_after)


def raise_if_broken(
    finish: str | None,
    text: str,
    completion: int | None,
    classify_error: ClassifyError,
    *,
    details: Mapping[str, Any] | None = None,
    thought: bool = False,
) -> None:
    """Reject a response with status 200 that the server abandoned, or that is empty and used no tokens.

    Raises:
        ProviderError: The server's error; the request is sent again.
    """
    reason = (finish or "").lower()
    if reason in BROKEN:
        details = details or {}
        code = details.get("status_code")
        status = code if type(code) is int and 400 <= code < 600 else 500
        message = shorten(str(details.get("message") or ""))
        error = classify_error(status, {"error": {"message": message or "no reason given"}}, "")
        raise ProviderError(error.kind, f"the response ended with finish reason {finish}: {error.reason}")
    if not text.strip() and completion == 0 and not thought and reason not in MAY_BE_EMPTY:
        raise ProviderError(
            ErrorKind.SERVER, f"the response is empty and used no tokens (finish reason {finish or 'none'})"
        )


def unreadable_response(what: str) -> ProviderError:
    """Return the error of a response that is JSON but does not have the documented form."""
    return ProviderError(ErrorKind.SERVER, f"the response does not have the documented form: {what}")
