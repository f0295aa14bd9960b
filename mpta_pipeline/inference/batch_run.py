"""Send a run's requests through the provider's batch endpoint and record the results."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence, Set
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.batch_endpoint import BatchResult
from mpta_pipeline.inference.batches import Batches
from mpta_pipeline.inference.early_warnings import LEAST_JUDGED
from mpta_pipeline.inference.http_client import CallStats, HttpClient
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.provider_errors import ErrorKind, ModelUnusableError, ProviderError, redact, shorten
from mpta_pipeline.inference.providers.base import ModelResponse, Provider
from mpta_pipeline.inference.recorder import Recorder, record_of
from mpta_pipeline.inference.requests import ModelRequest


class BatchRun:
    """The batch part of one run.

    Args:
        provider: The model's provider.
        client: The connection to the endpoint.
        ledger: The model's ledger, beside which open batches are noted.
        recorder: Writes the results.
        unusable: Makes the error for a model that cannot be used, from the reason.
        still_wanted: Returns those of a batch's requests that are still wanted when it is submitted.
        texts: Reads requests of the run with their texts: given hashes, and whether they are to be sent again.
    """

    def __init__(
        self,
        provider: Provider,
        client: HttpClient,
        ledger: Ledger,
        recorder: Recorder,
        *,
        unusable: Callable[[str], ModelUnusableError],
        still_wanted: Callable[[list[ModelRequest]], Awaitable[list[ModelRequest]]],
        texts: Callable[[Collection[str], bool], Iterable[ModelRequest]],
    ) -> None:
        self.provider = provider
        self.spec = provider.spec
        self.client = client
        self.ledger = ledger
        self.recorder = recorder
        self.unusable = unusable
        self.still_wanted = still_wanted
        self.texts = texts
        self.reserved = 0.0
        self._answered: set[str] = set()
        """Requests of open batches whose response the ledger has already."""

    async def run(self, requests: Iterator[ModelRequest], elicitations: Set[str], *, cancel: bool) -> None:
        """Submit what is not with the provider yet, or `cancel` what is; wait for the batches and record the results.

        Args:
            requests: The requests without a response, in the order in which they are submitted.
            elicitations: Their elicitations.
            cancel: Submit nothing, and cancel open batches.

        Raises:
            ModelError: The provider has no batch endpoint for these requests.
            ModelUnusableError: A batch failed as a whole, or does not end.
        """
        endpoint = self.provider.batches()
        if endpoint is None or "option_logprob" in elicitations:
            raise ModelError(
                f"Model {self.spec.name} cannot process these requests in batches",
                file=self.spec.source,
                variable="batch",
                remedy="remove `batch` from its entry, or use another elicitation than option_logprob",
            )
        batches = Batches(
            endpoint,
            self.client,
            self.ledger.folder,
            self.spec.batch_poll,
            patience=self.spec.timeouts.patience,
            still_wanted=self.still_wanted,
            # Nothing is sent while batches are cancelled.
            texts=(lambda keys, again: ()) if cancel else self.texts,
        )
        # A run that was killed after it wrote results and before it forgot their batch gets them again.
        waiting = pl.Series(list(batches.waiting), dtype=pl.String)
        self._answered = set(self.ledger.settled(waiting).answered)
        report, spending = self.recorder.report, self.recorder.spending
        try:
            await batches.resume()
            if cancel:
                await batches.cancel()
            else:
                await batches.submit(self._affordable(requests, batches.waiting))
            await batches.collect(self._take, self.recorder.writer.sync, self._hopeless, self._judge)
        except ProviderError as error:
            where = f". Its batches are noted in {batches.path}" if batches.open else ""
            raise self.unusable(redact(error.reason, self.recorder.secrets) + where) from None
        finally:
            report.notes += batches.notes
            spending.settle(self.reserved, report.cost or 0.0)

    def _affordable(self, requests: Iterator[ModelRequest], waiting: set[str]) -> Iterator[ModelRequest]:
        """Yield the requests that are not with the provider yet, as far as the budgets allow."""
        for request in requests:
            if request.request_hash in waiting:
                continue
            reserved = self.recorder.spending.reserve(request)
            if reserved is None:
                return
            self.reserved += reserved
            yield request

    def _hopeless(self, results: Sequence[BatchResult]) -> bool:
        """Whether a batch of nothing but errors means that no further batch needs to be tried."""
        return self.recorder.report.nothing_answered and all(
            result.payload is None and result.error is not None and result.error.kind is not ErrorKind.CONTENT_FILTER
            for result in results
        )

    def _judge(self) -> None:
        """Judge a batch as a whole, because its responses arrive together."""
        if len(self.recorder.early_warnings.sample) >= LEAST_JUDGED:
            self.recorder.early_warnings.look()

    def _take(self, request: ModelRequest, result: BatchResult) -> None:
        """Write one result of a batch."""
        if request.request_hash in self._answered:
            return
        stats = CallStats(attempts=1, sent_at=time.time_ns() // 1_000_000)
        try:
            if result.error is not None:
                raise result.error
            self.recorder.write_response(request, self._read(request, result.payload), stats)
        except ProviderError as error:
            if error.kind is ErrorKind.CONTENT_FILTER:
                refusal = ModelResponse(text="", finish_reason="content_filter")
                self.recorder.write_response(request, refusal, stats)
            else:
                reason = redact(error.reason, self.recorder.secrets)
                self.recorder.write_error(record_of(request, stats, error=reason))

    def _read(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Read a response from a batch; an unreadable one is the server's error and must not crash the program."""
        try:
            return self.provider.read_response(request, payload)
        except ProviderError as error:
            raise ProviderError(error.kind, f"batch: {error.reason}") from None
        except Exception as failure:
            reason = f"batch: the response does not have the documented form: {type(failure).__name__} {failure}"
            raise ProviderError(ErrorKind.SERVER, shorten(reason)) from None
