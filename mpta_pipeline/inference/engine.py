"""Send the requests whose responses the ledger does not have, keep every response, and stop cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ModelError, MptaError, ReplacedError
from mpta_pipeline.inference.approvals import waits
from mpta_pipeline.inference.batch_run import BatchRun
from mpta_pipeline.inference.batches import any_open
from mpta_pipeline.inference.early_warnings import FIRST_LOOK_SECONDS, LEAST_JUDGED, EarlyWarnings, StatusReader
from mpta_pipeline.inference.endpoint import check_address, open_endpoint, run_async
from mpta_pipeline.inference.estimates import load_of
from mpta_pipeline.inference.http_client import CallStats, HttpClient
from mpta_pipeline.inference.ledger import Ledger, Writer
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.outdated_requests import LookAgain, OutdatedRequests
from mpta_pipeline.inference.prompt_parts import PromptParts
from mpta_pipeline.inference.provider_errors import ErrorKind, ModelUnusableError, ProviderError, unforeseen
from mpta_pipeline.inference.provider_registry import provider_for
from mpta_pipeline.inference.providers.base import ModelResponse, Provider
from mpta_pipeline.inference.recorder import MOST_NAMED, Recorder, record_of
from mpta_pipeline.inference.remedies import UNSUPPORTED, VERSION, pattern_of, remedy_of
from mpta_pipeline.inference.requests import (
    HISTORY,
    TOLD,
    ModelRequest,
    by_shared_prefix,
    can_be_sent,
    iterate_requests,
    split_by_policy,
    unique_requests,
)
from mpta_pipeline.inference.response_diagnostics import starved
from mpta_pipeline.inference.run_control import Budget, RequestProgress, RequestReport, Stop
from mpta_pipeline.inference.spending import Spending

SYNC_EVERY = 0.05  # seconds between syncs of the ledger; each takes a few ms and covers all responses since the last
REPORT_EVERY = 0.25  # seconds between reports of progress
PACE_SECONDS = 120.0  # latest part of a run from which its remaining time is computed
# After so many equal first failures the entry is wrong, unless a short or a long prompt succeeds.
EQUAL_FAILURES = 3
FIRST_FAILURES = 12  # likewise, for first failures of any kind
LARGEST_PIECE = 32  # requests of one group that a server in this process gets at once
THINKING_STEPS = (2048, 8192)  # tokens of thought allowed, step by step, if a model turns out to think


def send_requests(
    spec: ModelSpec,
    prompts: pl.DataFrame | PromptParts,
    ledger: Path,
    *,
    progress: Callable[[RequestProgress], None] | None = None,
    budget: float | Budget | None = None,
    cache_dir: Path | None = None,
    retry_errors: bool = False,
    stop: Stop | None = None,
    read_status: StatusReader | None = None,
    look_again: LookAgain | None = None,
    not_approved: str | None = None,
    keys: Path | None = None,
) -> RequestReport:
    """Send a model all prompts whose request its ledger has no response to. Each response is durable before it counts.

    Args:
        spec: The model.
        prompts: PROMPTS columns system, user, options, elicitation, group, data_use (and survey, repeat_id if present);
            or the parts that they are read in.
        ledger: The model's ledger folder.
        progress: Called a few times per second, from the thread that sends.
        budget: US dollars that this call, or all calls that share the Budget, may spend.
        cache_dir: Where files made from installed models are kept; by default beside the ledger.
        retry_errors: Send again what failed for good before.
        stop: Lets another thread end the run.
        read_status: Reads responses as they will be scored, so that a run whose responses cannot be used warns, or
            stops, within its first minute. Without it only empty responses count as unusable.
        look_again: Says before each chunk of requests, and before each batch, which ones are wanted now. What is no
            longer wanted is not sent and counts as superseded.
        not_approved: Why nothing may be spent on this model now. Responses that its ledger holds, and results of
            batches that were submitted earlier, are taken; nothing new is sent.
        keys: Folder for what `PartResponses` needs of prompts in parts.

    Returns:
        The report. Requests withheld by policy, that wait for an approval or that a budget did not allow are counted in
        it, not raised.

    Raises:
        ModelError: The model cannot be used (any more), or it answered none of the requests, or most of its responses
            were cut off. Responses that were received are kept.
        PolicyError: Nothing at all may be sent to this model.
        ApprovalError: The model waits for an approval, and its ledger holds no response to these prompts.
        asyncio.CancelledError: The run was stopped.
    """
    run = Run(
        spec,
        prompts,
        ledger,
        progress=progress,
        budget=budget,
        cache_dir=cache_dir or ledger / "weights",
        retry_errors=retry_errors,
        read_status=read_status,
        look_again=look_again,
        not_approved=not_approved,
        keys=keys,
    )
    return run.start(stop or Stop())


def cancel_batches(spec: ModelSpec, prompts: pl.DataFrame, ledger: Path) -> RequestReport:
    """Cancel a model's open batches at the provider and keep the results that exist. Nothing new is sent.

    Raises:
        ModelError: The endpoint cannot be reached.
    """
    run = Run(spec, prompts, ledger, progress=None, budget=None, cache_dir=ledger / "weights", retry_errors=False)
    run.cancelling = True
    return run.start(Stop())


class Run:
    """One call of `send_requests`."""

    def __init__(
        self,
        spec: ModelSpec,
        prompts: pl.DataFrame | PromptParts,
        ledger: Path,
        *,
        progress: Callable[[RequestProgress], None] | None,
        budget: float | Budget | None,
        cache_dir: Path,
        retry_errors: bool,
        read_status: StatusReader | None = None,
        look_again: LookAgain | None = None,
        not_approved: str | None = None,
        keys: Path | None = None,
    ) -> None:
        self.spec = spec
        self.ledger = Ledger(ledger)
        self.progress = progress
        self.cache_dir = cache_dir
        self.retry_errors = retry_errors
        self.report = RequestReport(spec.name)
        self.parts = prompts if isinstance(prompts, PromptParts) else None
        self.keys = keys
        requests = unique_requests(spec, prompts) if isinstance(prompts, pl.DataFrame) else prompts.requests(keys)
        further = 0 if self.parts is None else self.parts.further(requests)
        self.answered_elsewhere = further
        """Requests that have a response and whose prompts are not read."""
        self.requests, self.report.refusal = split_by_policy(spec, requests.filter(can_be_sent()))
        self.unreached = requests.filter(~can_be_sent())
        """Turns of conversations that can be sent once the turn before them has a response."""
        self.report.requests = requests.height - self.unreached.height + further
        self.report.withheld = self.report.requests - further - self.requests.height
        self.began = time.perf_counter()
        self.provider: Provider = provider_for(spec)
        budgets = [] if budget is None else [budget if isinstance(budget, Budget) else Budget(budget)]
        self.spending = Spending(self.provider, budgets)
        self.not_approved = not_approved
        self.spending.closed = not_approved is not None
        self.early_warnings = EarlyWarnings(self.provider, read_status)
        self.secrets: tuple[str, ...] = ()
        self.writer: Writer
        self.recorder: Recorder
        self.client: HttpClient
        self.look_again = look_again
        self.outdated: OutdatedRequests
        self.total = 0
        self.paces: deque[tuple[float, int]] = deque()
        """When progress was reported, and how many records were on disk then."""
        self.cancelling = False
        self.in_doubt: list[dict[str, Any]] = []
        """Records of server errors since its last good response. They are written once it responds again."""
        self.last_answered: ModelRequest | None = None
        """The latest request that was answered. If it is answered again, the server works."""
        self.rejected: list[dict[str, Any]] = []
        """Records of requests that were rejected before any was answered. They are written once one is."""
        self.others: list[ModelRequest] = []
        """The shortest and the longest prompts, to try if the first ones fail."""
        self.ahead: set[str] = set()
        """Requests that were sent before their turn."""
        self.root_checked = False
        self.checking = asyncio.Lock()

    def start(self, stop: Stop) -> RequestReport:
        """Run; in a thread of its own if the caller already runs an event loop (a notebook)."""
        report = self.report
        if report.refusal is not None and self.requests.is_empty() and not self.answered_elsewhere:
            raise report.refusal
        todo = self._todo()
        if report.reused >= LEAST_JUDGED and not self.cancelling:
            self.early_warnings.look_at_earlier(self.requests, self.ledger, self._with_texts)
        if todo.is_empty():
            self.finish()
            return report
        if self.not_approved is not None and not (self.spec.batch and any_open(self.ledger.folder)):
            return self._wait_for_approval(todo)
        what = f"The run of model {self.spec.name}"
        with self.ledger.writer() as self.writer:
            try:
                run_async(stop.watch(self._run()))
            except MptaError:
                raise
            except asyncio.CancelledError as failure:
                if stop.is_set():
                    raise
                raise unforeseen(what, failure) from None
            except Exception as failure:
                raise unforeseen(what, failure, self.secrets) from failure
        if self.not_approved is not None and not self.cancelling:
            return self._wait_for_approval(self._unsettled())
        self.finish()
        return report

    def _wait_for_approval(self, todo: pl.DataFrame) -> RequestReport:
        """Count what waits for an approval; complete the report.

        Raises:
            ApprovalError: There is no response either.
        """
        assert self.not_approved is not None
        report = self.report
        if not todo.is_empty():
            todo = self._with_turns(todo)
            dollars = load_of(self.spec, self._with_texts(todo)).price or 0.0
            report.awaiting = waits(self.spec, todo.height, dollars, self.not_approved)
            if report.nothing_answered:
                raise report.awaiting
        self.finish()
        report.left = 0  # it waits, which another run does not change
        return report

    # ---------------------------------------------------------------- what to send

    def _todo(self) -> pl.DataFrame:
        settled = self.ledger.settled(self.requests["request_hash"])
        report = self.report
        skip = settled.answered
        report.reused = settled.answered.len() + self.answered_elsewhere
        report.earlier_errors = 0
        if not self.retry_errors:
            report.earlier_errors = settled.failed.len()
            skip = pl.concat([skip, settled.failed])
        if self.ledger.dropped:
            note = f"{self.ledger.dropped} torn or damaged line(s) of the ledger were dropped; they are requested again"
            if note not in report.notes:
                report.notes.append(note)
        return self.requests.join(skip.to_frame(), on="request_hash", how="anti", maintain_order="left")

    def _with_texts(self, requests: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Rows of `self.requests` with their texts, which are read part by part if the prompts are in parts."""
        return iter([requests]) if self.parts is None else self.parts.complete(requests)

    def _texts_of(self, todo: pl.DataFrame, keys: Collection[str], to_send: bool) -> Iterator[ModelRequest]:
        """Those of the requests that have these hashes."""
        wanted = pl.Series(list(keys), dtype=pl.String)
        return self._in_turn(todo.filter(pl.col("request_hash").is_in(wanted.implode())), to_send=to_send)

    def _in_turn(self, requests: pl.DataFrame, *, to_send: bool = True) -> Iterator[ModelRequest]:
        """Requests in the order in which they are sent.

        Prompts that were made again meanwhile are not read any more: the run that follows sends what they are now.
        """
        for part in [requests] if self.parts is None else self.parts.by_part(requests):
            try:
                texts = part if self.parts is None else self.parts.texts(part)
            except ReplacedError:
                if to_send:
                    self.outdated.give_up(part["request_hash"])
                continue
            if HISTORY in texts.columns:
                # A turn that was answered since has no history to be sent with.
                texts = texts.filter(pl.col(HISTORY).is_not_null() | (pl.col(TOLD) == 0))
            yield from iterate_requests(by_shared_prefix(texts))

    def _unsettled(self, requests: pl.DataFrame | None = None) -> pl.DataFrame:
        """The requests (all, or some) without a response, as `_todo`, after the report has been filled."""
        requests = self.requests if requests is None else requests
        settled = self.ledger.settled(requests["request_hash"])
        skip = settled.answered if self.retry_errors else pl.concat([settled.answered, settled.failed])
        return requests.join(skip.to_frame(), on="request_hash", how="anti", maintain_order="left")

    def _with_turns(self, todo: pl.DataFrame) -> pl.DataFrame:
        """Requests with the turns that may follow, for estimates."""
        return pl.concat([todo, self.unreached]) if self.unreached.height else todo

    def _next_turns(self) -> pl.DataFrame | None:
        """The turns that can be sent now, because the turns before them were answered; None if there are none.

        Prompts of conversations are in parts, which are composed anew from the ledger whenever they are read.
        """
        if self.unreached.is_empty() or self.parts is None:
            return None
        self.writer.sync()
        try:
            requests = self.parts.requests(self.keys)
        except ReplacedError:  # the run that follows sends what they are now
            return None
        self.unreached = requests.filter(~can_be_sent())
        new = requests.filter(can_be_sent()).join(self.requests, on="request_hash", how="anti", maintain_order="left")
        permitted, _ = split_by_policy(self.spec, new)
        todo, settled = self._unsettled(permitted), self.ledger.settled(permitted["request_hash"])
        self.report.requests += new.height
        self.report.withheld += new.height - permitted.height
        self.report.reused += settled.answered.len()
        self.report.earlier_errors += 0 if self.retry_errors else settled.failed.len()
        self.requests = pl.concat([self.requests, permitted])
        self.total += todo.height
        self.outdated.add(todo)
        return None if todo.is_empty() else todo

    async def _run(self) -> None:
        """Send what is left, now that no other run of this model does."""
        todo = self._todo()
        self.outdated = OutdatedRequests(self.look_again, todo, self._in_turn)
        if todo.is_empty():
            further = self._next_turns()  # another run has answered the turns before them
            if further is None:
                return
            todo = further
        check_address(self.spec)
        key = self.spec.key()
        self.secrets = self.spec.secrets(key)
        self.spending.add_own_budget(self.ledger.totals()["cost"])
        self._look_at_texts(todo)
        self.recorder = Recorder(self.writer, self.report, self.spending, self.early_warnings, self.secrets)
        self.total = todo.height
        self.began = time.perf_counter()
        async with (
            open_endpoint(self.spec, self.provider, self.cache_dir, key, self.secrets) as self.client,
            self._keeping(),
        ):
            await self._send_round(todo)
            # Of each conversation, one turn after the other; the last look says what was not reached.
            while (further := self._next_turns()) is not None and self._may_go_on():
                await self._send_round(further)
        self._note_superseded()

    def _may_go_on(self) -> bool:
        """Whether further turns may be sent: no budget is reached, nothing cancelled, and no approval missing."""
        return self.spending.exceeded is None and not self.cancelling and not self.spending.closed

    async def _send_round(self, todo: pl.DataFrame) -> None:
        if not self.spec.batch:
            await self._send_all(self._in_turn(todo))
            while self.spending.exceeded is None and (again := await self.outdated.wanted_again()) is not None:
                await self._send_all(again)
            return
        batch_run = BatchRun(
            self.provider,
            self.client,
            self.ledger,
            self.recorder,
            unusable=self._unusable,
            still_wanted=self.outdated.still_wanted,
            texts=partial(self._texts_of, todo),
        )
        try:
            await batch_run.run(self._in_turn(todo), set(todo["elicitation"]), cancel=self.cancelling)
        finally:
            self._note_budget()

    def _look_at_texts(self, todo: pl.DataFrame) -> None:
        """Estimate the cost, and find the shortest and longest prompts, before anything is sent."""
        priced, tries = self.spec.price is not None, not self.spec.batch
        if not priced and not tries:
            return
        cost, ends = 0.0, []
        for part in self._with_texts(self._with_turns(todo)):
            if priced:
                cost += sum(self.spending.estimate(request, typical=True) for request in iterate_requests(part))
            if tries:
                ends.append(_shortest_and_longest(part.filter(can_be_sent())))
        if priced:
            self.report.cost, self.report.estimated_cost = 0.0, cost
        if tries:
            self.others = list(iterate_requests(_shortest_and_longest(pl.concat(ends))))

    def _note_budget(self) -> None:
        if self.spending.exceeded is not None:
            self.report.stopped = f"the budget of {self.spending.exceeded.limit:g} US dollars is reached"

    def _note_superseded(self) -> None:
        self.report.superseded = len(self.outdated)
        if self.report.superseded and self.report.stopped is None:
            self.report.stopped = "the prompts, the model's entry or the data-use policy changed during the run"

    # ---------------------------------------------------------------- sending

    async def _send_all(self, requests: Iterator[ModelRequest]) -> None:
        # One by one until one is answered: a wrong key, address, model name or parameter then costs a few requests,
        # not one per connection.
        for request in requests:
            if not await self._send_one(request):
                return
            if not self.report.nothing_answered:
                break
        else:
            return

        async def work() -> None:
            for request in requests:
                if not await self._send_one(request):
                    return

        async def work_by_group(groups: Iterator[list[ModelRequest]]) -> None:
            for members in groups:
                for request in members:
                    if not await self._send_one(request):
                        return

        concurrency = self.spec.concurrency
        async with asyncio.TaskGroup() as group:
            if self.spec.slots is not None:
                # Each slot of the server keeps one persona's prefix: one worker per slot, each with whole personas.
                groups = _by_group(requests, None)
                for _ in range(min(self.spec.slots, concurrency)):
                    group.create_task(work_by_group(groups))
                return
            if self.spec.provider_class.in_process and concurrency > 1:
                # Likewise, each server. Large groups are divided, so that no server is idle for long at the end.
                groups = _by_group(requests, min(max(self.total // (4 * concurrency), 4), LARGEST_PIECE))
                for _ in range(concurrency):
                    group.create_task(work_by_group(groups))
                return
            for _ in range(min(concurrency, self.total)):
                group.create_task(work())

    async def _send_one(self, request: ModelRequest) -> bool:
        """Send one request and write its record; return False if no budget is left."""
        if request.request_hash in self.ahead or await self.outdated.skip(request):
            return True
        reserved = self._reserve(request)
        if reserved is None:
            return False
        stats = CallStats()
        spent = 0.0
        try:
            spent = await self._complete(request, stats)
        except ProviderError as error:
            if error.kind is ErrorKind.CONTENT_FILTER:
                self._write_response(request, ModelResponse(text="", finish_reason="content_filter"), stats)
            else:
                await self._failed(request, error, stats)
        finally:
            self.spending.settle(reserved, spent)
        return True

    def _reserve(self, request: ModelRequest) -> float | None:
        reserved = self.spending.reserve(request)
        self._note_budget()
        return reserved

    async def _complete(self, request: ModelRequest, stats: CallStats) -> float:
        """Get and write the response; return its cost. Send again with more tokens if a thought used them all."""
        tokens = self.spending.tokens(request) if self.spec.tokens_per_minute else 0
        paid_before = reserved = 0.0

        def call(path: str, body: Any, read: Any) -> Any:
            return self.client.call(path, body, read, stats, tokens)

        try:
            while True:
                allowance = self.provider.thinking_allowance
                try:
                    response = await self.provider.complete(request, call)
                    again = starved(response)
                except ProviderError as error:
                    # OpenAI's reasoning models, if the limit ends within the thought.
                    if "output limit was reached" not in error.reason:
                        raise
                    response = ModelResponse("", finish_reason="length", prompt_tokens=0, completion_tokens=0)
                    again = True
                if not (again and self._allow_more_thinking(request, allowance)):
                    return self._write_response(request, response, stats, paid_before)
                more = self._reserve(request)
                if more is None:  # no budget is left to send it again
                    return self._write_response(request, response, stats, paid_before)
                reserved += more
                paid_before += self.spending.cost(request, response)
        finally:
            self.spending.settle(reserved, 0.0)

    def _allow_more_thinking(self, request: ModelRequest, allowance: int) -> bool:
        """Allow more tokens after a thought used them all; return False if no more may be allowed.

        Args:
            request: The request whose response was cut off.
            allowance: Tokens of thought that it was allowed.
        """
        spec, provider = self.spec, self.provider
        if spec.max_tokens is not None or (spec.reasoning is not None and spec.reasoning.budget):
            return False
        if spec.api == "completions" or request.elicitation == "option_logprob":
            return False
        if provider.thinking_allowance == allowance:  # else another request has raised it meanwhile
            more = next((step for step in THINKING_STEPS if step > allowance), None)
            if more is None:
                return False
            provider.thinking_allowance = more
        return True

    def _write_response(
        self, request: ModelRequest, response: ModelResponse, stats: CallStats, paid_before: float = 0.0
    ) -> float:
        self._write_held_errors()
        self.last_answered = request
        return self.recorder.write_response(request, response, stats, paid_before)

    # ---------------------------------------------------------------- failures

    async def _failed(self, request: ModelRequest, error: ProviderError, stats: CallStats) -> None:
        """Write an error record, hold it back, or declare the model unusable."""
        self.report.attempts += stats.attempts
        if error.kind in (ErrorKind.FATAL, ErrorKind.OVERLOADED):
            raise self._unusable(error.reason)
        record = record_of(request, stats, error=error.reason)
        if self.report.nothing_answered:
            await self._check_root(error)
        if error.kind is ErrorKind.REQUEST and not error.reason.startswith(("HTTP 403", "HTTP 404")):
            if not self.client.succeeded and not self.report.errors and UNSUPPORTED.search(error.reason):
                raise self._unusable(error.reason)
            if self.report.nothing_answered:
                await self._rejected(record, error)
            else:
                self.recorder.write_error(record)
            return
        if error.kind in (ErrorKind.UNREACHABLE, ErrorKind.REQUEST) and not self.client.succeeded:
            raise self._unusable(error.reason)
        # A server error, or a 403 or 404 (key withdrawn, model removed). Whether the request itself causes it shows
        # when the server answers another one or, after several errors, the one that it answered last.
        self.in_doubt.append(record)
        most = EQUAL_FAILURES if self.report.nothing_answered else max(8, self.spec.connections)
        if len(self.in_doubt) < most:
            return
        async with self.checking:
            if len(self.in_doubt) < most:  # it has answered meanwhile
                return
            if not await self._still_answers():
                raise self._unusable(f"{len(self.in_doubt)} requests in a row failed, the last with: {error.reason}")
            self._write_held_errors()

    async def _rejected(self, record: dict[str, Any], error: ProviderError) -> None:
        """Hold back a rejection before the first answer: its cause may be the entry or only this prompt.

        After a few equal ones a short and a long prompt are tried. If these are rejected, all others would be.
        """
        self.rejected.append(record)
        alike = sum(pattern_of(r["error"]) == pattern_of(error.reason) for r in self.rejected)
        if alike < EQUAL_FAILURES and len(self.rejected) < FIRST_FAILURES:
            return
        if not await self._another_is_answered():
            raise self._unusable(f"all {len(self.rejected)} first requests were rejected with: {error.reason}")

    async def _another_is_answered(self) -> bool:
        """Send a short or else a long prompt that has not failed, before its turn; its response is kept."""
        failed = {record["request_hash"] for record in (*self.rejected, *self.in_doubt)}
        left = [r for r in self.others if r.request_hash not in failed and r.request_hash not in self.outdated]
        for request in dict.fromkeys((*left[:1], *left[-1:])):
            reserved = self._reserve(request)
            if reserved is None:
                return False
            spent = 0.0
            try:
                spent = await self._complete(request, CallStats())
            except ProviderError:
                continue
            finally:
                self.spending.settle(reserved, spent)
            self.ahead.add(request.request_hash)
            return True
        return False

    async def _check_root(self, error: ProviderError) -> None:
        """If base_url names no version and the first request fails, check whether the API is one step further.

        Servers answer such a path in many ways: 404, a web page, or 200 with a plain-text error.

        Raises:
            ModelUnusableError: It is; the remedy names the right address.
        """
        base = self.client.base_url
        if self.root_checked:
            return
        self.root_checked = True
        if not self.spec.provider_class.root_has_version or VERSION.search(base):
            return
        if error.kind in (ErrorKind.FATAL, ErrorKind.OVERLOADED):
            return
        try:
            listed = await self.client.call("/v1/models", None, lambda payload: payload, CallStats())
        except ProviderError:
            return
        if isinstance(listed, dict) and isinstance(listed.get("data", listed.get("models")), list):
            raise self._unusable(
                error.reason, remedy=f"set base_url to {base}/v1 in models.yaml: the API answers there"
            )

    async def _still_answers(self) -> bool:
        """Send the last answered request again: a persona whose every prompt fails must not stop each new run."""
        if self.last_answered is None:
            return await self._another_is_answered()
        request, stats = self.last_answered, CallStats()

        def call(path: str, body: Any, read: Any) -> Any:
            return self.client.call(path, body, read, stats)

        try:
            response = await self.provider.complete(request, call)
        except ProviderError:
            return False
        if self.spec.price is not None:
            cost = self.spending.cost(request, response)
            self.report.cost = (self.report.cost or 0.0) + cost
            self.spending.settle(0.0, cost)
        return True

    def _write_held_errors(self) -> None:
        """Write the errors that were held back: the server works, so the requests themselves caused them."""
        for record in (*self.rejected, *self.in_doubt):
            self.recorder.write_error(record)
        self.rejected.clear()
        self.in_doubt.clear()

    def _unusable(self, reason: str, *, remedy: str | None = None) -> ModelUnusableError:
        kept = self.report.answered
        return ModelUnusableError(
            f"Model {self.spec.name} at {self.client.base_url} cannot be used: {reason} "
            f"({kept} response(s) of this run are kept; other models are not affected)",
            nothing_answered=self.report.nothing_answered,
            file=self.spec.source,
            remedy=remedy or remedy_of(reason, self.spec),
        )

    # ---------------------------------------------------------------- durability and progress

    @asynccontextmanager
    async def _keeping(self) -> AsyncIterator[None]:
        """Sync the ledger and report progress while requests are in flight. Responses are kept whatever happens."""
        sending = asyncio.current_task()
        task = asyncio.create_task(self._keep())
        # Without syncs nothing would be durable. If they fail (the disk is full), sending ends.
        task.add_done_callback(lambda done: None if done.cancelled() or sending is None else sending.cancel())
        try:
            yield
            if self.in_doubt and not self.report.answered:
                raise self._unusable(self.in_doubt[-1]["error"])
            self._write_held_errors()
            if len(self.early_warnings.sample) >= LEAST_JUDGED:
                self.early_warnings.look()
            else:
                self.early_warnings.look_at_sizes()
        except (BaseExceptionGroup, asyncio.CancelledError, OSError) as failure:
            error = _first_error(failure)
            if isinstance(error, asyncio.CancelledError) and task.done() and not task.cancelled():
                error = task.exception() or error
            if isinstance(error, OSError):
                raise ModelError(
                    f"The ledger of model {self.spec.name} cannot be written: {error}",
                    file=self.writer.path,
                    remedy="free space on the disk or correct its permissions, then run again",
                ) from None
            raise error from None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with contextlib.suppress(OSError):  # it has been raised already
                self.writer.sync()
            self._show()

    async def _keep(self) -> None:
        shown = 0.0
        while True:
            await asyncio.sleep(SYNC_EVERY)
            if self.writer.written > self.writer.durable:
                await asyncio.to_thread(self.writer.sync)
            now = time.perf_counter()
            if now - shown > REPORT_EVERY:
                shown = now
                self._show()
            waited = now - self.began > FIRST_LOOK_SECONDS
            if waited and not self.early_warnings.judged and len(self.early_warnings.sample) >= LEAST_JUDGED:
                self.early_warnings.look()

    def _show(self) -> None:
        if self.progress is None:
            return
        durable = self.writer.durable
        now = time.perf_counter()
        rate = durable / (now - self.began) if now > self.began else 0.0
        while len(self.paces) > 1 and now - self.paces[0][0] > PACE_SECONDS:
            self.paces.popleft()
        since, before = self.paces[0] if self.paces else (self.began, 0)
        self.paces.append((now, durable))
        # The remaining time follows what the machine does now, not what it did when the run began.
        pace = (durable - before) / (now - since) if durable > before and now - since > REPORT_EVERY else rate
        reused = self.report.reused + self.report.earlier_errors
        self.progress(
            RequestProgress(
                model=self.spec.name,
                total=self.total + self.unreached.height + reused,
                done=durable + reused,
                reused=reused,
                errors=self.report.errors,
                rate=rate,
                spent=self.report.cost or 0.0,
                remaining_seconds=(self.total + self.unreached.height - len(self.outdated) - durable) / pace
                if pace > 0
                else None,
                warnings=tuple(self.early_warnings.warnings),
            )
        )

    def finish(self) -> None:
        """Complete the report.

        Raises:
            ModelUnusableError: The model answered none of its requests, in this run or before.
        """
        report = self.report
        report.seconds = time.perf_counter() - self.began
        settled = report.answered + report.errors
        report.rate = settled / report.seconds if report.seconds > 0 and settled else 0.0
        report.left = max(self.total - settled, 0)
        report.not_reached = self.unreached.height
        report.notes += [f"the endpoint does not offer {what}" for what in self.provider.missing_features]
        if len(report.fingerprints) > 1:
            report.notes.append(f"the provider's model changed during the run: {', '.join(report.fingerprints)}")
        if self.provider.thinking_allowance:
            thinks, how = "the model thinks before it answers", "; `reasoning: off` in its entry switches that off"
            if self.spec.reasoning is not None:
                thinks, how = "the model thinks although its entry says `reasoning: off`", ""
            allowed = f"up to {self.provider.thinking_allowance} tokens of thought were allowed per response"
            report.notes.append(f"{thinks}: {allowed}{how}")
        report.notes += self.early_warnings.warnings
        failed = report.errors + report.earlier_errors
        if failed and report.nothing_answered and not self.cancelling:
            reasons = report.error_reasons or self._earlier_reasons()
            remedy = remedy_of(next(iter(reasons), ""), self.spec)
            raise ModelUnusableError(
                f"Model {self.spec.name} answered none of its {failed + report.left} requests: "
                + "; ".join(f"{n} × {reason}" for reason, n in list(reasons.items())[:3]),
                nothing_answered=True,
                file=self.spec.source,
                remedy=f"{remedy}; `mpta run --retry-errors` then sends them again",
            )

    def _earlier_reasons(self) -> dict[str, int]:
        """Return why requests without a response failed before, most frequent reason first."""
        errors = self.ledger.read(self.requests["request_hash"])["error"].drop_nulls()
        return dict(errors.value_counts(sort=True).rows()[:MOST_NAMED])


def _by_group(requests: Iterator[ModelRequest], most: int | None) -> Iterator[list[ModelRequest]]:
    """Yield requests that follow each other and belong to one group, at most so many at once."""
    for _, members in itertools.groupby(requests, key=lambda request: request.group):
        while piece := list(itertools.islice(members, most)):
            yield piece


def _shortest_and_longest(todo: pl.DataFrame) -> pl.DataFrame:
    """Return requests by length of their prompts: from each end more than may fail at first."""
    length = pl.col("user").str.len_bytes() + pl.col("system").str.len_bytes().fill_null(0)
    n = FIRST_FAILURES + 1
    ends = pl.concat([todo.bottom_k(n, by=length), todo.top_k(n, by=length)]).unique("request_hash")
    return ends.sort(length, "request_hash")


def _first_error(group: BaseException) -> BaseException:
    """Return the error behind a group: a ModelError if there is one, else the first."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack += reversed(error.exceptions)
        else:
            flat.append(error)
    return next((e for e in flat if isinstance(e, ModelError)), flat[0])
