"""Read the fields that servers send, one by one: an invalid value costs its own field, never the response."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a response, and its candidates (token, natural log-probability) at that place."""

    text: str
    candidates: tuple[tuple[str, float], ...] = ()


def parse_json(data: bytes | str) -> Any:
    """Parse JSON, including NaN and Infinity, which Python servers write, and lone surrogates.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return _whole_characters(json.loads(data))
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_whole_characters(one) for one in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(one) for key, one in value.items()}
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def words(value: Any) -> str:
    """Return the value if it is text, else an empty text."""
    return value if isinstance(value, str) else ""


def logprob(value: Any) -> float | None:
    """Return a log-probability; None for null, NaN, infinities and anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def candidates(entries: Iterable[tuple[Any, Any]]) -> tuple[tuple[str, float], ...]:
    """Return the candidates of a token, without those that have no name or no finite log-probability."""
    found = ((name, logprob(value)) for name, value in entries)
    return tuple((name, value) for name, value in found if isinstance(name, str) and value is not None)


def tokens_of(logprobs: Any) -> list[Token]:
    """Return the tokens of a response in either of OpenAI's forms, whichever endpoint they come from.

    Chat and responses: `content` (or the list itself) of objects with token and top_logprobs. Completions: lists
    `tokens` and `top_logprobs` side by side, the latter of mappings token → log-probability.
    """
    listed = logprobs if isinstance(logprobs, list) else listing(mapping(logprobs).get("content"))
    if listed:
        return [_token(mapping(one)) for one in listed]
    names, tops = (listing(mapping(logprobs).get(name)) for name in ("tokens", "top_logprobs"))
    return [
        Token(
            words(names[i]) if i < len(names) else "",
            _candidates_in(tops[i]) if i < len(tops) else (),
        )
        for i in range(max(len(names), len(tops)))
    ]


def _token(one: Mapping[str, Any]) -> Token:
    return Token(words(one.get("token")), _candidates_in(one.get("top_logprobs")))


def _candidates_in(tops: Any) -> tuple[tuple[str, float], ...]:
    """Return candidates from a list of objects or from a mapping."""
    if isinstance(tops, Mapping):
        return candidates(tops.items())
    return candidates((mapping(c).get("token"), mapping(c).get("logprob")) for c in listing(tops))


def usage_of(payload: Mapping[str, Any], name: str = "usage") -> Mapping[str, Any]:
    """Return the usage of a response; empty if there is none, or something else in its place."""
    usage = payload.get(name)
    return usage if isinstance(usage, Mapping) else {}


def count_of(usage: Mapping[str, Any], name: str) -> int | None:
    """Return a number of tokens in a response's usage; None if there is none, or something else in its place."""
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return None
    return int(value)


def message_of(payload: Any) -> str:
    """Return the message of an error response, whatever its shape."""
    if isinstance(payload, list) and payload:
        payload = payload[0]
    if isinstance(payload, dict):
        error = payload.get("error", payload)
        if isinstance(error, dict):
            return str(error.get("message") or error.get("detail") or error)
        return str(error)
    return ""


def code_of(payload: Any) -> str:
    """Return the machine-readable code or type of an error response in lower case; empty if there is none."""
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        return ""
    return " ".join(str(error[k]) for k in ("code", "type", "status") if error.get(k) is not None).lower()


def finish_reason_of(value: Any) -> tuple[str | None, Mapping[str, Any]]:
    """Return a finish reason as text, and further details: SGLang sends `{"type": "abort", "message": …}`."""
    details = mapping(value)
    if details:
        return str(details.get("type") or "") or None, details
    return None if value is None else str(value), details
