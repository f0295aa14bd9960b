"""Process requests through a provider's batch endpoint: submit, wait, resume after a restart, take the results.

A batch is noted in `batches.json` beside the ledger before it is submitted and again when it has an id, so that a
killed run finds its batches again and nothing is requested or paid twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import orjson

from mpta_pipeline.core.errors import ModelError, MptaError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.storage import write_json
from mpta_pipeline.inference.batch_endpoint import BatchEndpoint, BatchHttp, BatchResult, BatchState, LostBatch
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError, shorten
from mpta_pipeline.inference.requests import ModelRequest

T = TypeVar("T")
NOTE = "batches.json"
ATTEMPTS = 3  # to submit a batch, and to get a response of the documented form
LONGEST_PAUSE = 30.0  # seconds between attempts, so that a batch that was created appears in the provider's list
LONGEST_WAIT = 72 * 3600.0  # seconds for a batch to end; the providers themselves stop after 24 to 48 hours
_FULL = ("token_limit_exceeded", "enqueued token limit", "token limit reached")


@dataclass
class SubmittedBatch:
    """A batch that was submitted, or is about to be (no id yet): per request its number of options and elicitation."""

    tag: str
    id: str | None
    requests: dict[str, tuple[int, str]]
    at: float = 0.0
    """When it was submitted, in seconds since 1970."""

    def as_requests(self) -> Iterator[ModelRequest]:
        """Yield the requests as far as needed to read their responses; their text is with the provider."""
        for key, (k, elicitation) in self.requests.items():
            yield ModelRequest(key, None, "", ("",) * k, elicitation, "")


def any_open(folder: Path) -> bool:
    """Whether the note of a model's open batches names any, or cannot be read."""
    try:
        return bool(orjson.loads((folder / NOTE).read_bytes()) != [])
    except FileNotFoundError:
        return False
    except orjson.JSONDecodeError:
        return True


class Batches:
    """The open batches of one model.

    Args:
        endpoint: The provider's batch endpoint.
        http: HTTP calls to it.
        folder: The ledger's folder, which keeps the note of open batches.
        poll: Seconds between checks of a batch.
        patience: Seconds that a batch may be in a state that the provider does not document.
        still_wanted: Called before each batch is submitted; returns those of its requests that are still wanted.
        texts: Reads requests with their texts, which are not held while the provider has them: given hashes, and
            whether they are to be sent again.

    Raises:
        ModelError: The note of open batches cannot be read.
    """

    def __init__(
        self,
        endpoint: BatchEndpoint,
        http: BatchHttp,
        folder: Path,
        poll: float,
        *,
        patience: float = 600.0,
        still_wanted: Callable[[list[ModelRequest]], Awaitable[list[ModelRequest]]] | None = None,
        texts: Callable[[Collection[str], bool], Iterable[ModelRequest]] = lambda keys, again: (),
    ) -> None:
        self.endpoint = endpoint
        self.http = http
        self.poll = poll
        self.patience = patience
        self.still_wanted = still_wanted
        self.path = folder / NOTE
        self.open: list[SubmittedBatch] = []
        self.notes: list[str] = []
        self.texts = texts
        self._new: Iterator[ModelRequest] = iter(())
        self._again: deque[list[str]] = deque()
        """Hashes of requests that the provider refused or lost."""
        self._all_submitted = True
        """No new requests are left."""
        self._odd_since: dict[str, float] = {}
        self._full = False
        """The provider accepts no further batch until one has ended."""
        if self.path.is_file():
            try:
                self.open = [SubmittedBatch(**entry) for entry in orjson.loads(self.path.read_bytes())]
                assert all(isinstance(h.requests, dict) and isinstance(h.at, int | float) for h in self.open)
            except (orjson.JSONDecodeError, TypeError, AssertionError):
                raise ModelError(
                    "The note of open batches is damaged",
                    file=self.path,
                    remedy="restore it from a backup, or delete it: its requests are then sent, and charged, again",
                ) from None
            for submitted in self.open:
                submitted.at = submitted.at or time.time()

    @property
    def waiting(self) -> set[str]:
        """Hashes of the requests that are with the provider."""
        return {key for submitted in self.open for key in submitted.requests}

    async def resume(self) -> None:
        """Find the ids of batches whose submission was interrupted; forget those that the provider does not have."""
        for submitted in [h for h in self.open if h.id is None]:
            submitted.id = await self._find(submitted)
            if submitted.id is None:
                self.open.remove(submitted)
                self.notes.append(
                    f"a run was interrupted while it submitted batch {submitted.tag}; the provider has no such batch, "
                    "so its requests are sent again"
                )
        self._save()

    async def submit(self, requests: Iterable[ModelRequest]) -> None:
        """Submit requests in as many batches as needed; what the provider does not accept yet waits for `collect`.

        The requests of a batch are taken from the iterator when it is submitted, so that their texts need not fit into
        memory together.
        """
        self._new, self._all_submitted = iter(requests), False
        await self._submit_queue()

    def _left(self) -> bool:
        """Whether requests may have to be submitted."""
        return bool(self._again) or not self._all_submitted

    def _next_batch(self) -> list[ModelRequest]:
        if not self._all_submitted:
            part = list(islice(self._new, self.endpoint.most))
            self._all_submitted = len(part) < self.endpoint.most
            if part:
                return part
        return list(self.texts(self._again.popleft(), True)) if self._again else []

    async def _submit_queue(self) -> None:
        while self._left() and not self._full:
            part = self._next_batch()
            if part and self.still_wanted is not None:
                part = await self.still_wanted(part)
            if not part:
                continue
            submitted = SubmittedBatch(
                tag="mpta-" + digest(*(a.request_hash for a in part)),
                id=None,
                requests={a.request_hash: (len(a.options), a.elicitation) for a in part},
                at=time.time(),
            )
            self.open.append(submitted)
            self._save()
            try:
                submitted.id = await self._submit_one(part, submitted)
            except ProviderError as error:
                if not _is_full(error.reason):
                    raise
                self._no_room(submitted, error.reason)
            finally:
                self._save()

    async def _submit_one(self, part: Sequence[ModelRequest], submitted: SubmittedBatch) -> str:
        """Submit one batch. If it is unknown whether the provider took it, look for it before sending it again."""
        for left in reversed(range(ATTEMPTS)):
            try:
                return await _published(self.endpoint.submit(part, submitted.tag, self.http))
            except ProviderError as error:
                if error.kind not in (ErrorKind.SERVER, ErrorKind.UNREACHABLE):
                    if submitted in self.open:
                        self.open.remove(submitted)  # refused, so the provider has nothing
                    raise
                if not left:
                    raise  # the note without an id stays: the next run looks for it
            await asyncio.sleep(min(self.poll, LONGEST_PAUSE))
            found = await self._find(submitted)
            if found is not None:
                return found
        raise AssertionError("the loop returns or raises")

    async def _find(self, submitted: SubmittedBatch) -> str | None:
        others = frozenset(other.id for other in self.open if other.id is not None)
        lost = LostBatch(submitted.tag, frozenset(submitted.requests), submitted.at, others)
        return await self._patiently(lambda: self.endpoint.find(lost, self.http))

    async def _patiently(self, make: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call a few times if the response does not have the documented form."""
        for left in reversed(range(ATTEMPTS)):
            try:
                return await _published(make())
            except ProviderError as error:
                if not left or error.kind is not ErrorKind.SERVER:
                    raise
            await asyncio.sleep(min(self.poll, LONGEST_PAUSE))
        raise AssertionError("the loop returns or raises")

    async def collect(
        self,
        take: Callable[[ModelRequest, BatchResult], None],
        kept: Callable[[], object],
        hopeless: Callable[[Sequence[BatchResult]], bool] = lambda results: False,
        after_batch: Callable[[], object] = lambda: None,
    ) -> None:
        """Wait for the batches and pass their results to `take`. A batch is forgotten once `kept` made them durable.

        A batch that the provider did not accept (too many tokens enqueued) is submitted again when another has ended
        or, if it was the only one, in halves. The requests of a batch that the provider no longer has are sent again.

        Args:
            take: Gets each request with its result.
            kept: Makes what was taken durable.
            hopeless: Returns whether a batch's results mean that no further one needs to be tried. They are not taken.
            after_batch: Called after each batch; raises to stop.

        Raises:
            ProviderError: A batch failed as a whole, or all its requests failed, or it does not end.
        """
        while self.open or self._left():
            if not self.open:
                self._full = False
            await self._submit_queue()
            for submitted in list(self.open):
                await self._look(submitted, take, kept, hopeless)
                after_batch()
            if self.open or self._left():
                await asyncio.sleep(self.poll)

    async def _look(
        self,
        submitted: SubmittedBatch,
        take: Callable[[ModelRequest, BatchResult], None],
        kept: Callable[[], object],
        hopeless: Callable[[Sequence[BatchResult]], bool],
    ) -> None:
        """Check one batch, and take its results if it has ended."""
        try:
            state = await self._patiently(lambda: self.endpoint.state(str(submitted.id), self.http))
            if not state.ended:
                self._check_time(submitted, state)
                return
            results = [] if state.failed else await self._patiently(lambda: self._results(str(submitted.id)))
        except ProviderError as error:
            if "HTTP 404" not in error.reason:
                raise
            self._forget(submitted)
            self._resubmit(submitted)
            self.notes.append(f"the provider no longer has batch {submitted.id}; its requests are sent again")
            return
        if state.failed and _is_full(state.failed):
            self._no_room(submitted, state.failed)
            return
        if results and hopeless(results):
            self._forget(submitted)
            await self.cancel()
            first = next(r.error for r in results if r.error is not None)
            raise ProviderError(
                first.kind, f"all {len(results)} requests of batch {submitted.id} failed, the first with: {first}"
            )
        left = self._take(submitted, results, take)
        kept()
        self._forget(submitted)
        self._full = False
        if state.failed:
            raise ProviderError(ErrorKind.FATAL, f"batch {submitted.id} failed: {state.failed}")
        if left:
            self.notes.append(
                f"batch {submitted.id} ended with {left} request(s) not processed; run again to send them"
            )

    def _take(
        self,
        submitted: SubmittedBatch,
        results: Sequence[BatchResult],
        take: Callable[[ModelRequest, BatchResult], None],
    ) -> int:
        """Pass on results; return the number of requests that have none."""
        requests = {request.request_hash: request for request in submitted.as_requests()}
        if results:  # texts that cannot be read any more are not needed to read the responses
            requests |= {r.request_hash: r for r in self.texts(requests, False) if r.request_hash in requests}
        # By their order only if none has a name: else a damaged one would take another's place.
        nameless = len(results) == len(requests) and not any(r.request_hash for r in results)
        names = list(requests) if nameless else [r.request_hash for r in results]
        unknown = 0
        for key, result in zip(names, results, strict=True):
            request = requests.get(key)
            if request is None:
                unknown += 1
            elif result.payload is not None or result.error is not None:
                del requests[key]
                take(request, result)
        if unknown:
            self.notes.append(
                f"batch {submitted.id}: {unknown} result(s) belong to none of its requests, or could not be read"
            )
        return len(requests)

    async def _results(self, batch: str) -> list[BatchResult]:
        return list(await self.endpoint.results(batch, self.http))

    def _no_room(self, submitted: SubmittedBatch, reason: str) -> None:
        """The provider has too much enqueued: submit this batch again later, in halves if no other is in progress."""
        self._forget(submitted)
        parts = self._resubmit(submitted)
        if any(other.id is not None for other in self.open):
            self._full = True
        elif parts:
            part = self._again.pop()
            if len(part) < 2:
                raise ProviderError(ErrorKind.FATAL, f"the provider does not accept a batch of one request: {reason}")
            half = (len(part) + 1) // 2
            self._again += [part[:half], part[half:]]
            self._full = True  # until the next round
        note = f"the provider did not accept all batches at once ({shorten(reason, 160)}); they were submitted in turn"
        if note not in self.notes:
            self.notes.append(note)

    def _resubmit(self, submitted: SubmittedBatch) -> bool:
        """Queue those requests of a batch whose texts are known; the others are sent by the run that needs them."""
        part = [request.request_hash for request in self.texts(submitted.requests, True)]
        if part:
            self._again.append(part)
        return bool(part)

    def _check_time(self, submitted: SubmittedBatch, state: BatchState) -> None:
        """Raise if a batch does not end, or is in an undocumented state."""
        name, now = str(submitted.id), time.monotonic()
        if state.known:
            self._odd_since.pop(name, None)
            if time.time() - submitted.at > LONGEST_WAIT:
                hours = LONGEST_WAIT / 3600
                raise ProviderError(
                    ErrorKind.FATAL, f"batch {name} has not ended within {hours:.0f} hours (state {state.name!r})"
                )
        elif now - self._odd_since.setdefault(name, now) >= self.patience:
            raise ProviderError(ErrorKind.FATAL, f"batch {name} is in an undocumented state: {state.name!r}")

    async def cancel(self) -> None:
        """Ask the provider to cancel all open batches; errors about single batches are ignored."""
        for submitted in self.open:
            if submitted.id is not None:
                with suppress(ProviderError):
                    await _published(self.endpoint.cancel(submitted.id, self.http))

    def _forget(self, submitted: SubmittedBatch) -> None:
        if submitted in self.open:
            self.open.remove(submitted)
        self._save()

    def _save(self) -> None:
        if self.open:
            write_json([asdict(submitted) for submitted in self.open], self.path)
        else:
            self.path.unlink(missing_ok=True)


def _is_full(reason: str) -> bool:
    return any(words in reason.lower() for words in _FULL)


async def _published(response: Awaitable[T]) -> T:
    """Await a response; if it does not have the documented form, that is the server's error, not the program's."""
    try:
        return await response
    except (ProviderError, MptaError):
        raise
    except Exception as failure:
        reason = f"the response does not have the documented form: {type(failure).__name__} {failure}"
        raise ProviderError(ErrorKind.SERVER, shorten(reason)) from None
