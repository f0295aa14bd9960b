"""The interface of a provider's batch endpoint: submit many requests at once, to be answered within a day."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError, shorten
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_fields import parse_json

MOST_PAGES = 200  # of a provider's list of batches that are searched
CLOCK_SKEW = 3600.0  # seconds by which the provider's clock may differ from ours


class BatchHttp(Protocol):
    """HTTP calls that a batch endpoint may make: JSON, and whole files."""

    async def json(self, path: str, body: Mapping[str, Any] | None, *, repeatable: bool = True) -> Any:
        """Send a JSON body (None: GET), return the response's JSON. `repeatable`: may be sent again if it fails."""

    async def raw(self, path: str, content: bytes | None = None, content_type: str = "application/json") -> bytes:
        """Send bytes (None: GET) and return the response's bytes."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """The state of a batch at the provider.

    Attributes:
        ended: The provider will process no more of it.
        done: Requests processed so far.
        failed: Why the batch failed as a whole; None if it did not.
        name: The state in the provider's own words.
        known: The provider documents this state.
    """

    ended: bool
    done: int
    failed: str | None = None
    name: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one request of a batch.

    Attributes:
        request_hash: The request; empty if the provider does not return it. Results then follow the requests' order.
        payload: The response's JSON.
        error: The final error. If payload and error are both None, the request was never processed (expired).
    """

    request_hash: str
    payload: Any = None
    error: ProviderError | None = None


@dataclass(frozen=True, slots=True)
class LostBatch:
    """A batch that was submitted and whose id never arrived.

    Attributes:
        tag: Our name for it.
        requests: Hashes of its requests.
        since: When it was submitted, in seconds since 1970.
        others: Ids of batches that it cannot be.
    """

    tag: str
    requests: frozenset[str]
    since: float
    others: frozenset[str]


class BatchEndpoint(ABC):
    """What a provider implements to accept batches."""

    most = 10_000
    """The largest number of requests in one batch."""

    @abstractmethod
    async def submit(self, requests: Sequence[ModelRequest], tag: str, http: BatchHttp) -> str:
        """Submit requests and return the batch's id. `tag` is our name for the batch, by which `find` recognizes it.

        The call that creates the batch must be sent with `repeatable=False`: a second batch would be charged as well.
        """

    @abstractmethod
    async def find(self, lost: LostBatch, http: BatchHttp) -> str | None:
        """Look for a batch whose id never arrived; return its id, or None if the provider has no such batch."""

    @abstractmethod
    async def state(self, batch: str, http: BatchHttp) -> BatchState:
        """Return the batch's state."""

    @abstractmethod
    async def results(self, batch: str, http: BatchHttp) -> Iterator[BatchResult]:
        """Return the results of a batch that has ended, including one that was cancelled or has expired."""

    @abstractmethod
    async def cancel(self, batch: str, http: BatchHttp) -> None:
        """Ask the provider to stop the batch. Results that exist remain available."""


def batch_error(reason: str, kind: ErrorKind = ErrorKind.REQUEST) -> ProviderError:
    """Return the error of one request of a batch."""
    return ProviderError(kind, shorten(f"batch: {reason}"))


def result_lines(data: bytes, read: Callable[[Any], BatchResult]) -> Iterator[BatchResult]:
    """Read the results in a JSON Lines file. A line that cannot be read does not affect the others."""
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
    """Read one result of a batch. If it does not have the documented form, that is an error of the request it names."""
    try:
        return read(document)
    except Exception as failure:  # whatever a server sends must not crash the program
        key = document.get("custom_id") if isinstance(document, Mapping) else None
        reason = f"the result does not have the documented form: {type(failure).__name__} {failure}"
        return BatchResult(key if isinstance(key, str) else "", error=batch_error(reason, ErrorKind.SERVER))
