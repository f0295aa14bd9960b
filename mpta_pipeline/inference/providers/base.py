"""What a provider is: how a request is written, how a reply is read, and whose fault a failure is."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError, shorten
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_fields import mapping, parse_json

T = TypeVar("T")
MOST_PAGES = 200  # of a provider's list of batches that are looked through
CLOCKS = 3600.0  # seconds that the provider's clock may differ from ours


class Call(Protocol):
    """Exchanges with the endpoint, as the engine hands them to a provider."""

    def __call__(self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T]) -> Awaitable[T]:
        """Send a JSON body (none: GET) to a path below the base URL; returns what `read` makes of the reply's JSON.

        Raises:
            ProviderError: For good. One that `read` raises because a reply makes no sense is tried again first.
        """


class Http(Protocol):
    """Exchanges of a batch endpoint: JSON, and whole files."""

    async def json(self, path: str, body: Mapping[str, Any] | None, *, again: bool = True) -> Any:
        """Send a JSON body (none: GET); returns the reply's JSON. `again`: it may be sent twice if it fails."""

    async def raw(self, path: str, content: bytes | None = None, content_type: str = "application/json") -> bytes:
        """Send bytes (none: GET); returns the reply's bytes."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch at the provider: whether it has ended, requests done, and the reason if all of it failed.

    `name` is the state as the provider calls it, `known` whether the provider documents it.
    """

    ended: bool
    done: int
    failed: str | None = None
    name: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class BatchResult:
    """One request of a batch: the reply's JSON, or a final fault, or neither where it was never asked (expired).

    `request_hash` is empty where the provider does not send it back; then results come in the order of the requests.
    """

    request_hash: str
    payload: Any = None
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class LostBatch:
    """A batch whose id never arrived.

    Attributes:
        tag: Ours.
        requests: What was handed in with it.
        since: When, in seconds since 1970.
        others: Ids of batches that it is not.
    """

    tag: str
    requests: frozenset[str]
    since: float
    others: frozenset[str]


def batch_error(reason: str, kind: ErrorKind = ErrorKind.REQUEST) -> ProviderError:
    """The fault of one request of a batch."""
    return ProviderError(kind, shorten(f"batch: {reason}"))


class BatchEndpoint(ABC):
    """Asking many requests at once, to be answered within a day at a lower price."""

    most = 10_000
    """Requests in one batch."""

    @abstractmethod
    async def submit(self, requests: Sequence[ModelRequest], tag: str, http: Http) -> str:
        """Hand in requests; returns the batch's id. `tag` is ours: `find` knows the batch by it.

        What makes the batch is sent once (`again=False`): a second one would be paid as well.
        """

    @abstractmethod
    async def find(self, lost: LostBatch, http: Http) -> str | None:
        """The id of a batch that may have been made although its id never arrived."""

    @abstractmethod
    async def state(self, batch: str, http: Http) -> BatchState:
        """How far it is."""

    @abstractmethod
    async def results(self, batch: str, http: Http) -> Iterator[BatchResult]:
        """The results of a batch that has ended, also of one that was cancelled or has expired."""

    @abstractmethod
    async def cancel(self, batch: str, http: Http) -> None:
        """Ask the provider to stop it; what is done stays done."""


def result_lines(data: bytes, read: Callable[[Any], BatchResult]) -> Iterator[BatchResult]:
    """The results in a JSON Lines file, one by one: a line that cannot be read spoils no other."""
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            document = parse_json(line)
        except ValueError:
            yield BatchResult("")
            continue
        yield one_result(document, read)


def one_result(document: Any, read: Callable[[Any], BatchResult]) -> BatchResult:
    """One result of a batch; of another form than published it is a fault of the request that it names."""
    try:
        return read(document)
    except Exception as failure:  # what a server says is never an error of the program
        key = document.get("custom_id") if isinstance(document, Mapping) else None
        reason = f"the result is not of the published form: {type(failure).__name__} {failure}"
        return BatchResult(key if isinstance(key, str) else "", error=batch_error(reason, ErrorKind.SERVER))


@dataclass(slots=True)
class ModelResponse:
    """What a model answered. A refusal by content filter is a reply whose `finish_reason` says so.

    Attributes:
        option_logprobs: Natural log-probability of each shown option's letter or text; None where not offered.
        cached_tokens: Tokens of the prompt that the provider took from its cache.
        provider_model: Model and fingerprint as the provider reports them.
        letter_share: Share of probability on the options' letters at the answer's first token; None where not known.
        thought: A thought came along: in a field of its own, in the text, or as tokens paid for.
    """

    text: str | None
    option_logprobs: list[float] | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    provider_model: str | None = None
    letter_share: float | None = None
    thought: bool = False

    def __post_init__(self) -> None:
        # What is stored must fit the ledger's columns, whatever a server puts in these fields.
        for name in ("text", "finish_reason", "provider_model"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                setattr(self, name, str(value))


class Provider(ABC):
    """One wire format. A new provider is one file with a subclass and one line in `providers/__init__.py`."""

    retries = True
    """A failed exchange may be sent again by itself; false where an answer is made of several that belong together."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.missing_features: list[str] = []
        """What the endpoint turned out not to offer, in words for the user."""
        self.thinking_allowance = 0
        """Tokens of thought allowed in this run because the model turned out to think; the entry says nothing of it."""

    def limit(self, elicitation: str) -> int:
        """Tokens that a reply may have."""
        return self.spec.tokens_for(elicitation) + (self.thinking_allowance if elicitation != "option_logprob" else 0)

    @abstractmethod
    def headers(self, key: str | None) -> dict[str, str]:
        """Headers of every request, with the key where there is one."""

    @abstractmethod
    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Ask one request, with one exchange or several."""

    @abstractmethod
    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Read the reply's JSON; raises ProviderError where it is not of the published form."""

    @asynccontextmanager
    async def running(self, cache_dir: Path) -> AsyncIterator[str]:
        """The base URL, for as long as the endpoint is needed. `cache_dir` takes files made from installed models."""
        yield self.spec.url

    def batches(self) -> BatchEndpoint | None:
        """The batch endpoint; None: the provider has none."""
        return None

    def parameters(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The entry's sampling parameters over defaults; one set to null is not sent."""
        return {k: v for k, v in {**defaults, **self.spec.parameters}.items() if v is not None}

    def note_missing_feature(self, what: str) -> None:
        """Note, once, what the endpoint does not offer."""
        if what not in self.missing_features:
            self.missing_features.append(what)

    def classify_error(self, status: int, payload: Any, text: str) -> ProviderError:
        """Whose fault an error reply is, by the published meaning of the codes; subclasses add the provider's own."""
        reason = shorten(message_of(payload) or text or "no reason given")
        if status == 401:
            return ProviderError(ErrorKind.FATAL, f"the key was rejected: {reason}")
        if status == 402:
            return ProviderError(ErrorKind.FATAL, f"nothing is left to pay with: {reason}")
        if status in (408, 409, 425) or status >= 500:
            return ProviderError(ErrorKind.OVERLOADED if status == 529 else ErrorKind.SERVER, reason)
        if status == 429:
            return ProviderError(ErrorKind.OVERLOADED, reason)
        return ProviderError(ErrorKind.REQUEST, reason)


def usage_of(payload: Mapping[str, Any], name: str = "usage") -> Mapping[str, Any]:
    """The usage of a reply; empty where there is none, or something else in its place."""
    usage = payload.get(name)
    return usage if isinstance(usage, Mapping) else {}


def count_of(usage: Mapping[str, Any], name: str) -> int | None:
    """A number of tokens in a reply's usage; None where there is none, or something else in its place."""
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return None
    return int(value)


def message_of(payload: Any) -> str:
    """The message of an error reply, whatever its shape."""
    if isinstance(payload, list) and payload:
        payload = payload[0]
    if isinstance(payload, dict):
        error = payload.get("error", payload)
        if isinstance(error, dict):
            return str(error.get("message") or error.get("detail") or error)
        return str(error)
    return ""


def code_of(payload: Any) -> str:
    """The machine-readable code or type of an error reply, lower case; empty if there is none."""
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        return ""
    return " ".join(str(error[k]) for k in ("code", "type", "status") if error.get(k) is not None).lower()


# Finish reasons by which a server says that it failed: what came is no answer.
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
# Finish reasons of a reply that may be empty although nothing failed.
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
# An error in plain words that says that the server will be well later.
_LATER = re.compile(r"(?i)load|busy|capacity|queue|try again|timed? ?out|temporar|unavailable|rate")


def raise_error_in(payload: Any, classify_error: Callable[[int, Any, str], ProviderError]) -> None:
    """An error in a reply with status 200, as gateways report what went wrong behind them.

    Raises:
        ProviderError: There is one. An error in plain words (`{"error": "Unexpected endpoint"}`) means that the server
            has no such address, unless it says that it is busy.
    """
    whole = mapping(payload)
    reported = whole.get("error") or (whole if whole.get("object") == "error" else None)
    if not reported:
        return
    if isinstance(reported, str) and not _LATER.search(reported):
        raise ProviderError(
            ErrorKind.UNREACHABLE,
            f"an error in plain words with status 200 in place of the API's reply: {shorten(reported)}",
        )
    given = (mapping(reported).get(name) for name in ("code", "status", "status_code", "http_status"))
    status = next((c for c in given if type(c) is int and 400 <= c < 600), 500)
    error = classify_error(status, payload, "")
    raise ProviderError(error.kind, f"HTTP 200 with error {status}: {error.reason}", retry_after=error.retry_after)


def finish_of(value: Any) -> tuple[str | None, Mapping[str, Any]]:
    """A finish reason as text, and what else it says: SGLang sends an object, `{"type": "abort", "message": …}`."""
    details = mapping(value)
    if details:
        return str(details.get("type") or "") or None, details
    return None if value is None else str(value), details


def raise_if_no_answer(
    finish: str | None,
    text: str,
    completion: int | None,
    classify_error: Callable[[int, Any, str], ProviderError],
    *,
    details: Mapping[str, Any] | None = None,
    thought: bool = False,
) -> None:
    """A reply with status 200 that is none: the server gave up, or an empty text for which no token was used.

    Raises:
        ProviderError: The server's, to be tried again.
    """
    reason = (finish or "").lower()
    if reason in BROKEN:
        details = details or {}
        code = details.get("status_code")
        status = code if type(code) is int and 400 <= code < 600 else 500
        said = shorten(str(details.get("message") or ""))
        error = classify_error(status, {"error": {"message": said or "no reason given"}}, "")
        raise ProviderError(error.kind, f"the reply ended with finish reason {finish}: {error.reason}")
    if not text.strip() and completion == 0 and not thought and reason not in MAY_BE_EMPTY:
        raise ProviderError(
            ErrorKind.SERVER, f"the reply is empty and used no tokens (finish reason {finish or 'none'})"
        )


def unreadable_response(what: str) -> ProviderError:
    """The fault of a reply that is JSON but not of the published form."""
    return ProviderError(ErrorKind.SERVER, f"the reply is not of the published form: {what}")
