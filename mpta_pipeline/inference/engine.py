"""The engine: asks what the ledger does not hold, keeps every answer, and stops cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ModelError, MptaError
from mpta_pipeline.inference.batch_endpoint import BatchResult
from mpta_pipeline.inference.batches import Batches
from mpta_pipeline.inference.early_warnings import (
    FIRST_LOOK_SECONDS,
    LEAST_JUDGED,
    REFUSALS,
    EarlyWarnings,
    StatusReader,
)
from mpta_pipeline.inference.http_client import CallStats, HttpClient
from mpta_pipeline.inference.ledger import Ledger, Writer
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_errors import (
    ErrorKind,
    ModelUnusableError,
    ProviderError,
    redact,
    shorten,
    unforeseen,
)
from mpta_pipeline.inference.provider_registry import provider_for
from mpta_pipeline.inference.providers.base import ModelResponse, Provider
from mpta_pipeline.inference.remedies import UNSUPPORTED, VERSION, pattern_of, remedy_of
from mpta_pipeline.inference.requests import (
    ModelRequest,
    by_shared_prefix,
    calls_needed,
    iterate_requests,
    split_by_policy,
    unique_requests,
)
from mpta_pipeline.inference.response_diagnostics import starved
from mpta_pipeline.inference.run_control import Budget, RequestProgress, RequestReport, Stop
from mpta_pipeline.inference.throttle import Throttle

SYNC_EVERY = 0.05  # seconds between syncs of the ledger; each takes a few ms and covers all answers since the last
REPORT_EVERY = 0.25
EQUAL_FAILURES = (
    3  # first failures alike after which it is the entry's fault unless a short or a long prompt goes through
)
FIRST_FAILURES = 12  # first failures of any kind, likewise
THINKING_STEPS = (2048, 8192)  # tokens of thought that are allowed where a model turns out to think, step by step
MOST_NAMED = 20  # fingerprints and reasons that a report keeps
NAME_LENGTH = 200  # characters of a model's name or finish reason that are kept
BYTES_PER_TOKEN = 3.0  # cautious for English (4); only reservations and plans use it, accounts use the provider's count


def send_requests(
    spec: ModelSpec,
    prompts: pl.DataFrame,
    ledger: Path,
    *,
    progress: Callable[[RequestProgress], None] | None = None,
    budget: float | Budget | None = None,
    cache_dir: Path | None = None,
    retry_errors: bool = False,
    stop: Stop | None = None,
    read_status: StatusReader | None = None,
) -> RequestReport:
    """Ask a model all prompts whose request its ledger does not hold; each answer is durable before it counts.

    Args:
        spec: The model.
        prompts: PROMPTS columns system, user, options, elicitation, group, data_use (and survey, repeat_id if present).
        ledger: The model's ledger folder.
        progress: Called a few times a second, from the thread that asks.
        budget: US dollars that this call, or all that share the Budget, may spend.
        cache_dir: Where files made from installed models are kept; by default beside the answers.
        retry_errors: Ask again what failed for good before.
        stop: Lets another thread end this.
        read_status: Reads responses as they will be scored, so that a run whose responses cannot be used warns, or
            stops, within its first minute. Without it only empty responses count as unusable.

    Returns:
        The report. Requests withheld by policy and requests left by a budget are counted in it, not raised.

    Raises:
        ModelError: Nothing (more) can be asked of this model, or it answered none of the requests, or most of its
            replies were cut off; what was answered is kept.
        PolicyError: Nothing at all may be sent to this model.
        asyncio.CancelledError: It was stopped.
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
    )
    return run.start(stop or Stop())


def cancel_batches(spec: ModelSpec, prompts: pl.DataFrame, ledger: Path) -> RequestReport:
    """Stop a model's open batches at the provider and keep what they have answered; nothing new is asked.

    Raises:
        ModelError: The endpoint cannot be reached.
    """
    run = Run(spec, prompts, ledger, progress=None, budget=None, cache_dir=ledger / "weights", retry_errors=False)
    run.cancelling = True
    return run.start(Stop())


def check_address(spec: ModelSpec) -> None:
    """Raise where the entry's address cannot be one.

    Raises:
        ModelUnusableError: With what is wrong.
    """
    if problem := spec.address_problem:
        raise ModelUnusableError(
            f"Model {spec.name} cannot be asked: {problem}",
            nothing_answered=True,
            file=spec.source,
            variable=f"models.{spec.name}.base_url",
            value=spec.url,
            remedy="correct it, e.g. http://127.0.0.1:8000/v1; the other models are not concerned",
        )


@asynccontextmanager
async def endpoint(
    spec: ModelSpec, provider: Provider, cache_dir: Path, key: str | None, secrets: tuple[str, ...]
) -> AsyncIterator[HttpClient]:
    """A model's endpoint, started where it runs in this process, ready for exchanges."""
    async with provider.running(cache_dir) as base_url:
        throttle = Throttle(
            spec.concurrency,
            spec.requests_per_minute,
            spec.tokens_per_minute,
            timeout=spec.timeouts.first_byte,
        )
        client = HttpClient(
            spec, base_url, provider.headers(key), secrets, provider.classify_error, throttle, provider.retries
        )
        async with client:
            yield client


class Run:
    """One call of `send_requests`."""

    def __init__(
        self,
        spec: ModelSpec,
        prompts: pl.DataFrame,
        ledger: Path,
        *,
        progress: Callable[[RequestProgress], None] | None,
        budget: float | Budget | None,
        cache_dir: Path,
        retry_errors: bool,
        read_status: StatusReader | None = None,
    ) -> None:
        self.spec = spec
        self.ledger = Ledger(ledger)
        self.progress = progress
        self.budgets = [budget if isinstance(budget, Budget) else Budget(budget)] if budget is not None else []
        self.cache_dir = cache_dir
        self.retry_errors = retry_errors
        self.report = RequestReport(spec.name)
        requests = unique_requests(spec, prompts)
        self.report.requests = requests.height
        self.requests, self.report.refusal = split_by_policy(spec, requests)
        self.report.withheld = requests.height - self.requests.height
        self.began = time.perf_counter()
        self.provider: Provider = provider_for(spec)
        self.early_warnings = EarlyWarnings(self.provider, read_status)
        self.secrets: tuple[str, ...] = ()
        self.writer: Writer
        self.client: HttpClient
        self.total = 0
        self.cancelling = False
        self.settled: set[str] = set()
        """Requests in batches that the ledger has answers to."""
        self.reserved = 0.0
        self.in_doubt: list[dict[str, Any]] = []
        """Failures by the server's fault since its last good answer: errors of theirs only once it answers again."""
        self.answered: ModelRequest | None = None
        """The latest request that was answered: whether the server is well shows when it answers that again."""
        self.rejected: list[dict[str, Any]] = []
        """Requests that were rejected before any was answered: errors of theirs only once one is."""
        self.others: list[ModelRequest] = []
        """The shortest and the longest prompts, to try where the first ones fail."""
        self.ahead: set[str] = set()
        """Requests that were asked before their turn."""
        self.texts: dict[str, ModelRequest] = {}
        """Requests of batches as they were sent: what is noted of a batch holds no text."""
        self.root_sought = False
        self.looking = asyncio.Lock()
        self.excess = 1.0
        """How much more than estimated a request has cost at most; the first goes alone, so later ones profit."""

    def start(self, stop: Stop) -> RequestReport:
        """Ask; from a thread of its own where the caller already runs an event loop (a notebook)."""
        report = self.report
        if report.refusal is not None and self.requests.is_empty():
            raise report.refusal
        todo = self._todo()
        if report.reused >= LEAST_JUDGED and not self.cancelling:
            self.early_warnings.look_at_earlier(self.requests, self.ledger)
        if todo.is_empty():
            self.finish()
            return report
        with self.ledger.writer() as self.writer:
            try:
                run_async(stop.watch(self.requesting()))
            except MptaError:
                raise
            except asyncio.CancelledError as failure:
                if stop.is_set():
                    raise
                raise unforeseen(f"Asking model {self.spec.name}", failure) from None
            except Exception as failure:
                raise unforeseen(f"Asking model {self.spec.name}", failure, self.secrets) from failure
        self.finish()
        return report

    async def requesting(self) -> None:
        """Ask what is left to ask, now that no other run does; `writer` must be open."""
        todo = self._todo()
        if not todo.is_empty():
            check_address(self.spec)
            key = self.spec.key()
            self.secrets = self.spec.secrets(key)
            self._prepare_budget(todo)
            await self._run(by_shared_prefix(todo), key)

    # ---------------------------------------------------------------- what to ask

    def _todo(self) -> pl.DataFrame:
        settled = self.ledger.settled(self.requests["request_hash"])
        report = self.report
        skip = settled.answered
        report.reused = settled.answered.len()
        report.earlier_errors = 0
        if not self.retry_errors:
            report.earlier_errors = settled.failed.len()
            skip = pl.concat([skip, settled.failed])
        if self.ledger.dropped:
            note = f"{self.ledger.dropped} torn or damaged line(s) of the ledger were dropped and are asked again"
            if note not in report.notes:
                report.notes.append(note)
        return self.requests.join(skip.to_frame(), on="request_hash", how="anti", maintain_order="left")

    def _prepare_budget(self, todo: pl.DataFrame) -> None:
        totals = self.ledger.totals()
        if self.spec.budget is not None:
            own = Budget(self.spec.budget)
            own.spent = totals["cost"]
            self.budgets.append(own)
        if self.spec.price is None and self.spec.budget is None and self.spec.is_local:
            self.budgets.clear()  # what runs on this machine and names no price costs nothing
        if self.budgets and self.spec.price is None:
            raise ModelError(
                f"Model {self.spec.name} has a budget but no price",
                file=self.spec.source,
                variable=f"models.{self.spec.name}.price",
                remedy="give its price a million tokens, or take the budget away",
            )
        if self.spec.price is not None:
            self.report.cost = 0.0
            self.report.estimated_cost = sum(self._worst(a, typical=True) for a in iterate_requests(todo))

    def _tokens(self, request: ModelRequest) -> int:
        return int((len(request.user.encode()) + len((request.system or "").encode())) / BYTES_PER_TOKEN) + 16

    def _worst(self, request: ModelRequest, *, typical: bool = False) -> float:
        price = self.spec.price
        if price is None:
            return 0.0
        calls = calls_needed(request.elicitation, len(request.options))
        tokens = self._tokens(request)
        tokens = int(tokens * BYTES_PER_TOKEN / 4.0) if typical else tokens
        return calls * price.of(tokens, self.provider.limit(request.elicitation), batch=self.spec.batch)

    # ---------------------------------------------------------------- asking

    async def _run(self, todo: pl.DataFrame, key: str | None) -> None:
        self.total = todo.height
        self.began = time.perf_counter()
        spec = self.spec
        connections = spec.concurrency
        async with (
            endpoint(spec, self.provider, self.cache_dir, key, self.secrets) as self.client,
            self._keeping(),
        ):
            if spec.batch:
                await self._request_in_batches(todo)
            else:
                self.others = _shortest_and_longest(todo)
                await self._request_all(iterate_requests(todo), connections)

    async def _request_all(self, requests: Iterator[ModelRequest], connections: int) -> None:
        # One by one until one is answered: a wrong key, address, model name or parameter costs a few requests, not one
        # a connection.
        for request in requests:
            if not await self._request_one(request):
                return
            if not self._nothing_answered:
                break
        else:
            return

        async def work() -> None:
            for request in requests:
                if not await self._request_one(request):
                    return

        async def work_by_group(groups: Iterator[list[ModelRequest]]) -> None:
            for members in groups:
                for request in members:
                    if not await self._request_one(request):
                        return

        async with asyncio.TaskGroup() as group:
            if self.spec.slots is not None:
                # Each slot of the server keeps one persona's prefix: a worker a slot, each with whole personas.
                groups = (list(members) for _, members in itertools.groupby(requests, key=lambda a: a.group))
                for _ in range(min(self.spec.slots, connections)):
                    group.create_task(work_by_group(groups))
                return
            for _ in range(min(connections, self.total)):
                group.create_task(work())

    async def _request_in_batches(self, todo: pl.DataFrame) -> None:
        endpoint = self.provider.batches()
        if endpoint is None or todo["elicitation"].is_in(["option_logprob"]).any():
            raise ModelError(
                f"Model {self.spec.name} cannot be asked so in batches",
                file=self.spec.source,
                variable="batch",
                remedy="take `batch` away, or ask by letter or text",
            )
        patience = self.spec.timeouts.patience
        batches = Batches(endpoint, self.client, self.ledger.folder, self.spec.batch_poll, patience)
        # A run that was killed between writing results and forgetting their batch gets them a second time.
        self.settled = set(self.ledger.settled(pl.Series(list(batches.waiting), dtype=pl.String)).answered)
        try:
            await batches.resume()
            if self.cancelling:
                await batches.cancel()
            else:
                self.texts = {request.request_hash: request for request in iterate_requests(todo)}
                batches.know(self.texts)
                await batches.submit(self._affordable(iter(self.texts.values()), batches.waiting))
            await batches.collect(self._take, self.writer.sync, self._hopeless, self._judge_batch)
        except ProviderError as error:
            where = f". Its batches are noted in {batches.path}" if batches.open else ""
            raise self._give_up(redact(error.reason, self.secrets) + where) from None
        finally:
            self.report.notes += batches.notes
            for budget in self.budgets:
                budget.settle(self.reserved, self.report.cost or 0.0)

    def _affordable(self, requests: Iterator[ModelRequest], waiting: set[str]) -> list[ModelRequest]:
        """The requests that are not with the provider yet, as far as the budgets reach."""
        taken = []
        for request in requests:
            if request.request_hash in waiting:
                continue
            worst = self._reserve(request)
            if worst is None:
                break
            self.reserved += worst
            taken.append(request)
        return taken

    def _hopeless(self, results: Sequence[BatchResult]) -> bool:
        """Whether a batch of errors alone means that no further one needs to be tried."""
        return self._nothing_answered and all(
            result.payload is None and result.error is not None and result.error.kind is not ErrorKind.CONTENT_FILTER
            for result in results
        )

    def _judge_batch(self) -> None:
        """Judge a batch as a whole, as its replies came all at once."""
        if len(self.early_warnings.sample) >= LEAST_JUDGED:
            self.early_warnings.look()

    def _take(self, request: ModelRequest, result: BatchResult) -> None:
        """Write one result of a batch."""
        if request.request_hash in self.settled:
            return
        request = self.texts.get(request.request_hash, request)
        stats = CallStats(attempts=1, sent_at=time.time_ns() // 1_000_000)
        try:
            if result.error is not None:
                raise result.error
            self._answered(request, self._read(request, result.payload), stats)
        except ProviderError as error:
            if error.kind is ErrorKind.CONTENT_FILTER:
                self._answered(request, ModelResponse(text="", finish_reason="content_filter"), stats)
            else:
                self._write_error(self._record(request, stats, error=redact(error.reason, self.secrets)))

    def _read(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """A reply of a batch; what cannot be read is the server's fault, never an error of the program."""
        try:
            return self.provider.read_response(request, payload)
        except ProviderError as error:
            raise ProviderError(error.kind, f"batch: {error.reason}") from None
        except Exception as failure:
            reason = f"batch: the reply is not of the published form: {type(failure).__name__} {failure}"
            raise ProviderError(ErrorKind.SERVER, shorten(reason)) from None

    def _reserve(self, request: ModelRequest) -> float | None:
        """Set aside the most that a request can cost; None if a budget does not allow it."""
        worst = self._worst(request) * self.excess if self.budgets else 0.0
        for i, budget in enumerate(self.budgets):
            if not budget.reserve(worst):
                for earlier in self.budgets[:i]:
                    earlier.settle(worst, 0.0)
                self.report.stopped = f"the budget of {budget.limit:g} US dollars is reached"
                return None
        return worst

    async def _request_one(self, request: ModelRequest) -> bool:
        """Ask one request and write its record; false if there is nothing left to spend."""
        if request.request_hash in self.ahead:
            return True
        worst = self._reserve(request)
        if worst is None:
            return False
        stats = CallStats()
        spent = 0.0
        try:
            spent = await self._complete(request, stats)
        except ProviderError as error:
            if error.kind is ErrorKind.CONTENT_FILTER:
                self._answered(request, ModelResponse(text="", finish_reason="content_filter"), stats)
            else:
                await self._failed(request, error, stats)
        finally:
            for budget in self.budgets:
                budget.settle(worst, spent)
        return True

    async def _complete(self, request: ModelRequest, stats: CallStats) -> float:
        """Ask and write the answer; returns what it cost. Asked again with more room where a thought took it all."""
        tokens = self._tokens(request) if self.spec.tokens_per_minute else 0
        before = 0.0

        def call(path: str, body: Any, read: Any) -> Any:
            return self.client.call(path, body, read, stats, tokens)

        reserved = 0.0
        try:
            while True:
                thinking_allowance = self.provider.thinking_allowance
                try:
                    response = await self.provider.complete(request, call)
                    again = starved(response)
                except ProviderError as error:
                    # OpenAI's reasoning models, where the limit ends within the thought.
                    if "output limit was reached" not in error.reason:
                        raise
                    response, again = (
                        ModelResponse("", finish_reason="length", prompt_tokens=0, completion_tokens=0),
                        True,
                    )
                if not (again and self._allow_more_thinking(request, thinking_allowance)):
                    return self._answered(request, response, stats, before)
                more = self._reserve(request)
                if more is None:  # nothing is left to ask again with
                    return self._answered(request, response, stats, before)
                reserved += more
                before += self._cost(request, response)
        finally:
            for budget in self.budgets:
                budget.settle(reserved, 0.0)

    def _allow_more_thinking(self, request: ModelRequest, thinking_allowance: int) -> bool:
        """Allow more tokens where a thought took them all; false where the entry sets the limit, or enough were given.

        Args:
            request: The request whose response was cut off.
            thinking_allowance: Tokens of thought that it had.
        """
        spec, provider = self.spec, self.provider
        if spec.max_tokens is not None or (spec.reasoning is not None and spec.reasoning.budget):
            return False
        if spec.api == "completions" or request.elicitation == "option_logprob":
            return False
        if provider.thinking_allowance == thinking_allowance:
            more = next((step for step in THINKING_STEPS if step > thinking_allowance), None)
            if more is None:
                return False
            provider.thinking_allowance = more
        return True

    def _cost(self, request: ModelRequest, response: ModelResponse) -> float:
        """US dollars of a reply: by the provider's count of tokens, by ours where it gives none."""
        if self.spec.price is None:
            return 0.0
        prompt, completion = response.prompt_tokens, response.completion_tokens
        prompt = self._tokens(request) if prompt is None else prompt
        completion = self.provider.limit(request.elicitation) if completion is None else completion
        return self.spec.price.of(prompt, completion, min(response.cached_tokens, prompt), batch=self.spec.batch)

    @property
    def _nothing_answered(self) -> bool:
        """The model has not answered anything as its entry is now."""
        return not (self.report.answered or self.report.reused)

    def _answered(self, request: ModelRequest, response: ModelResponse, stats: CallStats, before: float = 0.0) -> float:
        """Write an answer; returns what it cost, with the `before` that was paid for replies without one."""
        report = self.report
        prompt, completion = response.prompt_tokens or 0, response.completion_tokens or 0
        cost = None
        if self.spec.price is not None:
            cost = self._cost(request, response) + before
            report.cost = (report.cost or 0.0) + cost
            if self.budgets and response.prompt_tokens is not None:
                self.excess = max(self.excess, cost / max(self._worst(request), 1e-12))
        if self.secrets:
            # An endpoint may send the key back, in whatever field.
            response.text, response.finish_reason, response.provider_model = (
                None if value is None else redact(value, self.secrets)
                for value in (response.text, response.finish_reason, response.provider_model)
            )
        response.finish_reason, response.provider_model = (
            None if value is None else shorten(value, NAME_LENGTH)
            for value in (response.finish_reason, response.provider_model)
        )
        self._confirm()
        self.answered = request
        self.writer.append(
            self._record(
                request,
                stats,
                text=response.text,
                option_logprobs=response.option_logprobs,
                finish_reason=response.finish_reason,
                prompt_tokens=response.prompt_tokens,
                completion_tokens=response.completion_tokens,
                cached_tokens=response.cached_tokens,
                provider_model=response.provider_model,
                letter_share=response.letter_share,
                thought=response.thought,
                cost=cost,
            )
        )
        report.answered += 1
        report.refused += response.finish_reason in REFUSALS
        report.prompt_tokens += prompt
        report.completion_tokens += completion
        report.cached_tokens += response.cached_tokens
        report.attempts += stats.attempts
        named = report.fingerprints
        if response.provider_model is not None and response.provider_model not in named and len(named) < MOST_NAMED:
            named.append(response.provider_model)
        report.cut_off += starved(response)
        self.early_warnings.watch(request, response)
        return cost or 0.0

    async def _failed(self, request: ModelRequest, error: ProviderError, stats: CallStats) -> None:
        """Write an error row, hold it back, or give the model up."""
        self.report.attempts += stats.attempts
        if error.kind in (ErrorKind.FATAL, ErrorKind.OVERLOADED):
            raise self._give_up(error.reason)
        record = self._record(request, stats, error=error.reason)
        if self._nothing_answered:
            await self._check_root(error)
        if error.kind is ErrorKind.REQUEST and not error.reason.startswith(("HTTP 403", "HTTP 404")):
            if not self.client.succeeded and not self.report.errors and UNSUPPORTED.search(error.reason):
                raise self._give_up(error.reason)
            if self._nothing_answered:
                await self._rejected(record, error)
            else:
                self._write_error(record)
            return
        if error.kind in (ErrorKind.UNREACHABLE, ErrorKind.REQUEST) and not self.client.succeeded:
            raise self._give_up(error.reason)
        # The server's fault, or a 403 or 404: a key withdrawn, a model gone. Whether it is this request's as well shows
        # when the server answers another one, or, after several, the one that it answered last.
        self.in_doubt.append(record)
        most = EQUAL_FAILURES if self._nothing_answered else max(8, self.spec.connections)
        if len(self.in_doubt) < most:
            return
        async with self.looking:
            if len(self.in_doubt) < most:  # it has answered meanwhile
                return
            if not await self._still_answers():
                raise self._give_up(f"{len(self.in_doubt)} requests in a row failed, the last with: {error.reason}")
            self._confirm()

    async def _rejected(self, record: dict[str, Any], error: ProviderError) -> None:
        """Hold back a rejection before the first answer: whether it is the entry's, or only this prompt's, shows later.

        After a few that read alike a short and a long prompt are tried; if these are rejected, so would be all others.
        """
        self.rejected.append(record)
        alike = sum(pattern_of(r["error"]) == pattern_of(error.reason) for r in self.rejected)
        if alike < EQUAL_FAILURES and len(self.rejected) < FIRST_FAILURES:
            return
        if not await self._another_is_answered():
            raise self._give_up(f"all {len(self.rejected)} first requests were rejected with: {error.reason}")

    async def _another_is_answered(self) -> bool:
        """Ask a short or else a long prompt that has not failed before its turn; its answer is kept."""
        failed = {record["request_hash"] for record in (*self.rejected, *self.in_doubt)}
        left = [request for request in self.others if request.request_hash not in failed]
        for request in dict.fromkeys((*left[:1], *left[-1:])):
            worst = self._reserve(request)
            if worst is None:
                return False
            spent = 0.0
            try:
                spent = await self._complete(request, CallStats())
            except ProviderError:
                continue
            finally:
                for budget in self.budgets:
                    budget.settle(worst, spent)
            self.ahead.add(request.request_hash)
            return True
        return False

    async def _check_root(self, error: ProviderError) -> None:
        """Where base_url names no version and the first request fails, look whether the API lies one step further.

        Servers answer such a path in many ways: 404, a web page, or 200 with an error as plain text.
        """
        base = self.client.base_url
        if self.root_sought:
            return
        self.root_sought = True
        if (
            not self.spec.provider_class.root_has_version
            or VERSION.search(base)
            or error.kind in (ErrorKind.FATAL, ErrorKind.OVERLOADED)
        ):
            return
        try:
            listed = await self.client.call("/v1/models", None, lambda payload: payload, CallStats())
        except ProviderError:
            return
        if isinstance(listed, dict) and isinstance(listed.get("data", listed.get("models")), list):
            raise self._give_up(error.reason, remedy=f"set base_url to {base}/v1 in models.yaml: the API answers there")

    async def _still_answers(self) -> bool:
        """Ask what was answered last again: a persona whose every prompt fails must not stop the run at each start."""
        if self.answered is None:
            return await self._another_is_answered()
        request, stats = self.answered, CallStats()

        def call(path: str, body: Any, read: Any) -> Any:
            return self.client.call(path, body, read, stats)

        try:
            response = await self.provider.complete(request, call)
        except ProviderError:
            return False
        if self.spec.price is not None:
            cost = self._cost(request, response)
            self.report.cost = (self.report.cost or 0.0) + cost
            for budget in self.budgets:
                budget.settle(0.0, cost)
        return True

    def _confirm(self) -> None:
        """The server is well: what failed before it answered again failed by itself."""
        for record in (*self.rejected, *self.in_doubt):
            self._write_error(record)
        self.rejected.clear()
        self.in_doubt.clear()

    def _write_error(self, record: dict[str, Any]) -> None:
        self.writer.append(record)
        self.report.errors += 1
        reasons, reason = self.report.error_reasons, record["error"]
        if reason not in reasons and len(reasons) >= MOST_NAMED:
            reason = "further reasons"
        reasons[reason] = reasons.get(reason, 0) + 1

    def _record(self, request: ModelRequest, stats: CallStats, **values: Any) -> dict[str, Any]:
        return {
            "request_hash": request.request_hash,
            **values,
            "latency": round(stats.latency, 6) if stats.latency else None,
            "attempts": stats.attempts,
            "asked_at": stats.sent_at,
        }

    def _give_up(self, reason: str, *, remedy: str | None = None) -> ModelUnusableError:
        kept = self.report.answered
        return ModelUnusableError(
            f"Model {self.spec.name} at {self.client.base_url} cannot be used: {reason} "
            f"({kept} answer(s) of this run are kept, the other models are not concerned)",
            nothing_answered=self._nothing_answered,
            file=self.spec.source,
            remedy=remedy or remedy_of(reason, self.spec),
        )

    # ---------------------------------------------------------------- durability and progress

    @asynccontextmanager
    async def _keeping(self) -> AsyncIterator[None]:
        """Sync the ledger and report progress while requests are under way; whatever happens, what is there is kept."""
        requesting = asyncio.current_task()
        task = asyncio.create_task(self._keep())
        # Without syncs nothing would be durable: if they fail (the disk is full), asking ends.
        task.add_done_callback(lambda done: None if done.cancelled() or requesting is None else requesting.cancel())
        try:
            yield
            if self.in_doubt and not self.report.answered:
                raise self._give_up(self.in_doubt[-1]["error"])
            self._confirm()
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
            with contextlib.suppress(OSError):  # has been raised already
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
        seconds = time.perf_counter() - self.began
        rate = durable / seconds if seconds > 0 else 0.0
        reused = self.report.reused + self.report.earlier_errors
        self.progress(
            RequestProgress(
                model=self.spec.name,
                total=self.total + reused,
                done=durable + reused,
                reused=reused,
                errors=self.report.errors,
                rate=rate,
                spent=self.report.cost or 0.0,
                remaining_seconds=(self.total - durable) / rate if rate > 0 else None,
                warnings=tuple(self.early_warnings.warnings),
            )
        )

    def finish(self) -> None:
        """Complete the report.

        Raises:
            ModelUnusableError: The model answered none of its requests, now or before.
        """
        report = self.report
        report.seconds = time.perf_counter() - self.began
        settled = report.answered + report.errors
        report.rate = settled / report.seconds if report.seconds > 0 and settled else 0.0
        report.left = max(self.total - settled, 0)
        report.notes += [f"the endpoint does not offer {what}" for what in self.provider.missing_features]
        if len(report.fingerprints) > 1:
            report.notes.append(f"the provider's model changed during the run: {', '.join(report.fingerprints)}")
        if self.provider.thinking_allowance:
            thinks, how = "the model thinks before it answers", "; `reasoning: off` in its entry switches that off"
            if self.spec.reasoning is not None:
                thinks, how = "the model thinks although its entry says `reasoning: off`", ""
            report.notes.append(
                f"{thinks}: up to {self.provider.thinking_allowance} tokens of thought were allowed per reply{how}"
            )
        report.notes += self.early_warnings.warnings
        failed = report.errors + report.earlier_errors
        if failed and self._nothing_answered and not self.cancelling:
            reasons = report.error_reasons or self._earlier_reasons()
            remedy = remedy_of(next(iter(reasons), ""), self.spec)
            raise ModelUnusableError(
                f"Model {self.spec.name} answered none of its {failed + report.left} requests: "
                + "; ".join(f"{n} × {reason}" for reason, n in list(reasons.items())[:3]),
                nothing_answered=True,
                file=self.spec.source,
                remedy=f"{remedy}; `mpta run --retry-errors` then asks them again",
            )

    def _earlier_reasons(self) -> dict[str, int]:
        """Why the requests failed that the ledger holds no answer to, most frequent first."""
        errors = self.ledger.read(self.requests["request_hash"])["error"].drop_nulls()
        return dict(errors.value_counts(sort=True).rows()[:MOST_NAMED])


def _shortest_and_longest(todo: pl.DataFrame) -> list[ModelRequest]:
    """Requests by length of their prompts: of each end more than may fail at first."""
    length = pl.col("user").str.len_bytes() + pl.col("system").str.len_bytes().fill_null(0)
    n = FIRST_FAILURES + 1
    ends = pl.concat([todo.bottom_k(n, by=length), todo.top_k(n, by=length)]).unique("request_hash")
    return list(iterate_requests(ends.sort(length, "request_hash")))


def _first_error(group: BaseException) -> BaseException:
    """The error behind a group: a ModelError if there is one, else the first."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack += reversed(error.exceptions)
        else:
            flat.append(error)
    return next((e for e in flat if isinstance(e, ModelError)), flat[0])


def run_async(work: Any) -> None:
    """Run a coroutine to its end, in a thread of its own where the caller already runs an event loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    failure: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="mpta-inference")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
