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
from mpta_pipeline.inference.batches import Batches
from mpta_pipeline.inference.early_warnings import FIRST_LOOK_SECONDS, LEAST_JUDGED, REFUSALS, Judge, Judging
from mpta_pipeline.inference.ledger import Ledger, Writer
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_errors import Fault, GivenUpError, Kind, redact, shorten, unforeseen
from mpta_pipeline.inference.providers import provider
from mpta_pipeline.inference.providers.base import BatchResult, Provider, Reply
from mpta_pipeline.inference.remedies import UNSUPPORTED, VERSION, pattern_of, remedy_of
from mpta_pipeline.inference.requests import Ask, exchanges, in_turn, iterate, split_by_policy, unique_requests
from mpta_pipeline.inference.response_diagnostics import starved
from mpta_pipeline.inference.run_control import AskReport, Budget, Progress, Stop
from mpta_pipeline.inference.throttle import Throttle
from mpta_pipeline.inference.transport import Exchange, Tally

SYNC_EVERY = 0.05  # seconds between syncs of the ledger; each takes a few ms and covers all answers since the last
REPORT_EVERY = 0.25
EQUAL_FAILURES = (
    3  # first failures alike after which it is the entry's fault unless a short or a long prompt goes through
)
FIRST_FAILURES = 12  # first failures of any kind, likewise
ROOM = (2048, 8192)  # tokens of thought that are allowed where a model turns out to think, step by step
MOST_NAMED = 20  # fingerprints and reasons that a report keeps
NAME_LENGTH = 200  # characters of a model's name or finish reason that are kept
BYTES_PER_TOKEN = 3.0  # cautious for English (4); only reservations and plans use it, accounts use the provider's count


def ask(
    spec: ModelSpec,
    prompts: pl.DataFrame,
    ledger: Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    budget: float | Budget | None = None,
    cache_dir: Path | None = None,
    retry_errors: bool = False,
    stop: Stop | None = None,
    judge: Judge | None = None,
) -> AskReport:
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
        judge: Reads replies as they will be scored, so that a run whose replies cannot be used says so, or stops, in
            its first minute. Without it only empty replies count as unusable.

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
        judge=judge,
    )
    return run.start(stop or Stop())


def cancel_batches(spec: ModelSpec, prompts: pl.DataFrame, ledger: Path) -> AskReport:
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
        GivenUpError: With what is wrong.
    """
    if problem := spec.address_problem:
        raise GivenUpError(
            f"Model {spec.name} cannot be asked: {problem}",
            nothing_answered=True,
            file=spec.source,
            variable=f"models.{spec.name}.base_url",
            value=spec.url,
            remedy="correct it, e.g. http://127.0.0.1:8000/v1; the other models are not concerned",
        )


def connections_of(spec: ModelSpec) -> int:
    """Requests that may be under way at once."""
    return 1 if spec.provider == "embedded" else spec.connections


@asynccontextmanager
async def endpoint(
    spec: ModelSpec, given: Provider, cache_dir: Path, key: str | None, secrets: tuple[str, ...]
) -> AsyncIterator[Exchange]:
    """A model's endpoint, started where it runs in this process, ready for exchanges."""
    async with given.running(cache_dir) as base_url:
        throttle = Throttle(
            connections_of(spec),
            spec.requests_per_minute,
            spec.tokens_per_minute,
            timeout=spec.timeouts.first_byte,
        )
        exchange = Exchange(spec, base_url, given.headers(key), secrets, given.diagnose, throttle, given.retries)
        async with exchange:
            yield exchange


class Run:
    """One call of `ask`."""

    def __init__(
        self,
        spec: ModelSpec,
        prompts: pl.DataFrame,
        ledger: Path,
        *,
        progress: Callable[[Progress], None] | None,
        budget: float | Budget | None,
        cache_dir: Path,
        retry_errors: bool,
        judge: Judge | None = None,
    ) -> None:
        self.spec = spec
        self.ledger = Ledger(ledger)
        self.progress = progress
        self.budgets = [budget if isinstance(budget, Budget) else Budget(budget)] if budget is not None else []
        self.cache_dir = cache_dir
        self.retry_errors = retry_errors
        self.report = AskReport(spec.name)
        requests = unique_requests(spec, prompts)
        self.report.requests = requests.height
        self.requests, self.report.refusal = split_by_policy(spec, requests)
        self.report.withheld = requests.height - self.requests.height
        self.began = time.perf_counter()
        self.provider: Provider = provider(spec)
        self.judging = Judging(self.provider, judge)
        self.secrets: tuple[str, ...] = ()
        self.writer: Writer
        self.exchange: Exchange
        self.total = 0
        self.cancelling = False
        self.held: set[str] = set()
        """Requests in batches that the ledger has answers to."""
        self.reserved = 0.0
        self.in_doubt: list[dict[str, Any]] = []
        """Failures by the server's fault since its last good answer: errors of theirs only once it answers again."""
        self.answered: Ask | None = None
        """The latest request that was answered: whether the server is well shows when it answers that again."""
        self.rejected: list[dict[str, Any]] = []
        """Requests that were rejected before any was answered: errors of theirs only once one is."""
        self.others: list[Ask] = []
        """The shortest and the longest prompts, to try where the first ones fail."""
        self.ahead: set[str] = set()
        """Requests that were asked before their turn."""
        self.texts: dict[str, Ask] = {}
        """Requests of batches as they were sent: what is noted of a batch holds no text."""
        self.root_sought = False
        self.looking = asyncio.Lock()
        self.excess = 1.0
        """How much more than estimated a request has cost at most; the first goes alone, so later ones profit."""

    def start(self, stop: Stop) -> AskReport:
        """Ask; from a thread of its own where the caller already runs an event loop (a notebook)."""
        report = self.report
        if report.refusal is not None and self.requests.is_empty():
            raise report.refusal
        todo = self._todo()
        if report.reused >= LEAST_JUDGED and not self.cancelling:
            self.judging.look_at_earlier(self.requests, self.ledger)
        if todo.is_empty():
            self.finish()
            return report
        with self.ledger.writer() as self.writer:
            try:
                run_async(stop.watch(self.asking()))
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

    async def asking(self) -> None:
        """Ask what is left to ask, now that no other run does; `writer` must be open."""
        todo = self._todo()
        if not todo.is_empty():
            check_address(self.spec)
            key = self.spec.key()
            self.secrets = self.spec.secrets(key)
            self._prepare_budget(todo)
            await self._run(in_turn(todo), key)

    # ---------------------------------------------------------------- what to ask

    def _todo(self) -> pl.DataFrame:
        held = self.ledger.held(self.requests["request_hash"])
        report = self.report
        skip = held.answered
        report.reused = held.answered.len()
        report.earlier_errors = 0
        if not self.retry_errors:
            report.earlier_errors = held.failed.len()
            skip = pl.concat([skip, held.failed])
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
            self.report.estimated_cost = sum(self._worst(a, typical=True) for a in iterate(todo))

    def _tokens(self, ask: Ask) -> int:
        return int((len(ask.user.encode()) + len((ask.system or "").encode())) / BYTES_PER_TOKEN) + 16

    def _worst(self, ask: Ask, *, typical: bool = False) -> float:
        price = self.spec.price
        if price is None:
            return 0.0
        calls = exchanges(ask.elicitation, len(ask.options))
        tokens = self._tokens(ask)
        tokens = int(tokens * BYTES_PER_TOKEN / 4.0) if typical else tokens
        return calls * price.of(tokens, self.provider.limit(ask.elicitation), batch=self.spec.batch)

    # ---------------------------------------------------------------- asking

    async def _run(self, todo: pl.DataFrame, key: str | None) -> None:
        self.total = todo.height
        self.began = time.perf_counter()
        spec = self.spec
        connections = connections_of(spec)
        async with (
            endpoint(spec, self.provider, self.cache_dir, key, self.secrets) as self.exchange,
            self._keeping(),
        ):
            if spec.batch:
                await self._ask_in_batches(todo)
            else:
                self.others = _shortest_and_longest(todo)
                await self._ask_all(iterate(todo), connections)

    async def _ask_all(self, asks: Iterator[Ask], connections: int) -> None:
        # One by one until one is answered: a wrong key, address, model name or parameter costs a few requests, not one
        # a connection.
        for ask in asks:
            if not await self._ask_one(ask):
                return
            if not self._nothing_answered:
                break
        else:
            return

        async def work() -> None:
            for ask in asks:
                if not await self._ask_one(ask):
                    return

        async def work_by_group(groups: Iterator[list[Ask]]) -> None:
            for members in groups:
                for ask in members:
                    if not await self._ask_one(ask):
                        return

        async with asyncio.TaskGroup() as group:
            if self.spec.slots is not None:
                # Each slot of the server keeps one persona's prefix: a worker a slot, each with whole personas.
                groups = (list(members) for _, members in itertools.groupby(asks, key=lambda a: a.group))
                for _ in range(min(self.spec.slots, connections)):
                    group.create_task(work_by_group(groups))
                return
            for _ in range(min(connections, self.total)):
                group.create_task(work())

    async def _ask_in_batches(self, todo: pl.DataFrame) -> None:
        endpoint = self.provider.batches()
        if endpoint is None or todo["elicitation"].is_in(["option_logprob"]).any():
            raise ModelError(
                f"Model {self.spec.name} cannot be asked so in batches",
                file=self.spec.source,
                variable="batch",
                remedy="take `batch` away, or ask by letter or text",
            )
        patience = self.spec.timeouts.patience
        batches = Batches(endpoint, self.exchange, self.ledger.folder, self.spec.batch_poll, patience)
        # A run that was killed between writing results and forgetting their batch gets them a second time.
        self.held = set(self.ledger.held(pl.Series(list(batches.waiting), dtype=pl.String)).answered)
        try:
            await batches.resume()
            if self.cancelling:
                await batches.cancel()
            else:
                self.texts = {ask.request_hash: ask for ask in iterate(todo)}
                batches.know(self.texts)
                await batches.submit(self._affordable(iter(self.texts.values()), batches.waiting))
            await batches.collect(self._take, self.writer.sync, self._hopeless, self._judge_batch)
        except Fault as fault:
            where = f". Its batches are noted in {batches.path}" if batches.open else ""
            raise self._give_up(redact(fault.reason, self.secrets) + where) from None
        finally:
            self.report.notes += batches.notes
            for budget in self.budgets:
                budget.settle(self.reserved, self.report.cost or 0.0)

    def _affordable(self, asks: Iterator[Ask], waiting: set[str]) -> list[Ask]:
        """The requests that are not with the provider yet, as far as the budgets reach."""
        taken = []
        for ask in asks:
            if ask.request_hash in waiting:
                continue
            worst = self._reserve(ask)
            if worst is None:
                break
            self.reserved += worst
            taken.append(ask)
        return taken

    def _hopeless(self, results: Sequence[BatchResult]) -> bool:
        """Whether a batch of errors alone means that no further one needs to be tried."""
        return self._nothing_answered and all(
            result.payload is None and result.fault is not None and result.fault.kind is not Kind.FILTER
            for result in results
        )

    def _judge_batch(self) -> None:
        """Judge a batch as a whole, as its replies came all at once."""
        if len(self.judging.sample) >= LEAST_JUDGED:
            self.judging.look()

    def _take(self, ask: Ask, result: BatchResult) -> None:
        """Write one result of a batch."""
        if ask.request_hash in self.held:
            return
        ask = self.texts.get(ask.request_hash, ask)
        tally = Tally(attempts=1, sent_at=time.time_ns() // 1_000_000)
        try:
            if result.fault is not None:
                raise result.fault
            self._answered(ask, self._read(ask, result.payload), tally)
        except Fault as fault:
            if fault.kind is Kind.FILTER:
                self._answered(ask, Reply(text="", finish_reason="content_filter"), tally)
            else:
                self._write_error(self._record(ask, tally, error=redact(fault.reason, self.secrets)))

    def _read(self, ask: Ask, payload: Any) -> Reply:
        """A reply of a batch; what cannot be read is the server's fault, never an error of the program."""
        try:
            return self.provider.reply(ask, payload)
        except Fault as fault:
            raise Fault(fault.kind, f"batch: {fault.reason}") from None
        except Exception as failure:
            reason = f"batch: the reply is not of the published form: {type(failure).__name__} {failure}"
            raise Fault(Kind.SERVER, shorten(reason)) from None

    def _reserve(self, ask: Ask) -> float | None:
        """Set aside the most that a request can cost; None if a budget does not allow it."""
        worst = self._worst(ask) * self.excess if self.budgets else 0.0
        for i, budget in enumerate(self.budgets):
            if not budget.reserve(worst):
                for earlier in self.budgets[:i]:
                    earlier.settle(worst, 0.0)
                self.report.stopped = f"the budget of {budget.limit:g} US dollars is reached"
                return None
        return worst

    async def _ask_one(self, ask: Ask) -> bool:
        """Ask one request and write its record; false if there is nothing left to spend."""
        if ask.request_hash in self.ahead:
            return True
        worst = self._reserve(ask)
        if worst is None:
            return False
        tally = Tally()
        spent = 0.0
        try:
            spent = await self._exchange(ask, tally)
        except Fault as fault:
            if fault.kind is Kind.FILTER:
                self._answered(ask, Reply(text="", finish_reason="content_filter"), tally)
            else:
                await self._failed(ask, fault, tally)
        finally:
            for budget in self.budgets:
                budget.settle(worst, spent)
        return True

    async def _exchange(self, ask: Ask, tally: Tally) -> float:
        """Ask and write the answer; returns what it cost. Asked again with more room where a thought took it all."""
        tokens = self._tokens(ask) if self.spec.tokens_per_minute else 0
        before = 0.0

        def call(path: str, body: Any, read: Any) -> Any:
            return self.exchange.call(path, body, read, tally, tokens)

        reserved = 0.0
        try:
            while True:
                room = self.provider.room
                try:
                    reply = await self.provider.answer(ask, call)
                    again = starved(reply)
                except Fault as fault:
                    # OpenAI's reasoning models, where the limit ends within the thought.
                    if "output limit was reached" not in fault.reason:
                        raise
                    reply, again = Reply("", finish_reason="length", prompt_tokens=0, completion_tokens=0), True
                if not (again and self._make_room(ask, room)):
                    return self._answered(ask, reply, tally, before)
                more = self._reserve(ask)
                if more is None:  # nothing is left to ask again with
                    return self._answered(ask, reply, tally, before)
                reserved += more
                before += self._cost(ask, reply)
        finally:
            for budget in self.budgets:
                budget.settle(reserved, 0.0)

    def _make_room(self, ask: Ask, room: int) -> bool:
        """Allow more tokens where a thought took them all; false where the entry sets the limit, or enough were given.

        Args:
            ask: The request whose reply was cut off.
            room: Tokens of thought that it had.
        """
        spec, provider = self.spec, self.provider
        if spec.max_tokens is not None or (spec.reasoning is not None and spec.reasoning.budget):
            return False
        if spec.api == "completions" or ask.elicitation == "option_logprob":
            return False
        if provider.room == room:
            more = next((step for step in ROOM if step > room), None)
            if more is None:
                return False
            provider.room = more
        return True

    def _cost(self, ask: Ask, reply: Reply) -> float:
        """US dollars of a reply: by the provider's count of tokens, by ours where it gives none."""
        if self.spec.price is None:
            return 0.0
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        prompt = self._tokens(ask) if prompt is None else prompt
        completion = self.provider.limit(ask.elicitation) if completion is None else completion
        return self.spec.price.of(prompt, completion, min(reply.cached_tokens, prompt), batch=self.spec.batch)

    @property
    def _nothing_answered(self) -> bool:
        """The model has not answered anything as its entry is now."""
        return not (self.report.asked or self.report.reused)

    def _answered(self, ask: Ask, reply: Reply, tally: Tally, before: float = 0.0) -> float:
        """Write an answer; returns what it cost, with the `before` that was paid for replies without one."""
        report = self.report
        prompt, completion = reply.prompt_tokens or 0, reply.completion_tokens or 0
        cost = None
        if self.spec.price is not None:
            cost = self._cost(ask, reply) + before
            report.cost = (report.cost or 0.0) + cost
            if self.budgets and reply.prompt_tokens is not None:
                self.excess = max(self.excess, cost / max(self._worst(ask), 1e-12))
        if self.secrets:
            # An endpoint may send the key back, in whatever field.
            reply.text, reply.finish_reason, reply.provider_model = (
                None if value is None else redact(value, self.secrets)
                for value in (reply.text, reply.finish_reason, reply.provider_model)
            )
        reply.finish_reason, reply.provider_model = (
            None if value is None else shorten(value, NAME_LENGTH)
            for value in (reply.finish_reason, reply.provider_model)
        )
        self._confirm()
        self.answered = ask
        self.writer.append(
            self._record(
                ask,
                tally,
                text=reply.text,
                option_logprobs=reply.option_logprobs,
                finish_reason=reply.finish_reason,
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
                cached_tokens=reply.cached_tokens,
                provider_model=reply.provider_model,
                letter_share=reply.letter_share,
                thought=reply.thought,
                cost=cost,
            )
        )
        report.asked += 1
        report.refused += reply.finish_reason in REFUSALS
        report.prompt_tokens += prompt
        report.completion_tokens += completion
        report.cached_tokens += reply.cached_tokens
        report.attempts += tally.attempts
        named = report.fingerprints
        if reply.provider_model is not None and reply.provider_model not in named and len(named) < MOST_NAMED:
            named.append(reply.provider_model)
        report.cut_off += starved(reply)
        self.judging.watch(ask, reply)
        return cost or 0.0

    async def _failed(self, ask: Ask, fault: Fault, tally: Tally) -> None:
        """Write an error row, hold it back, or give the model up."""
        self.report.attempts += tally.attempts
        if fault.kind in (Kind.FATAL, Kind.BUSY):
            raise self._give_up(fault.reason)
        record = self._record(ask, tally, error=fault.reason)
        if self._nothing_answered:
            await self._check_root(fault)
        if fault.kind is Kind.ITEM and not fault.reason.startswith(("HTTP 403", "HTTP 404")):
            if not self.exchange.succeeded and not self.report.errors and UNSUPPORTED.search(fault.reason):
                raise self._give_up(fault.reason)
            if self._nothing_answered:
                await self._rejected(record, fault)
            else:
                self._write_error(record)
            return
        if fault.kind in (Kind.DOWN, Kind.ITEM) and not self.exchange.succeeded:
            raise self._give_up(fault.reason)
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
                raise self._give_up(f"{len(self.in_doubt)} requests in a row failed, the last with: {fault.reason}")
            self._confirm()

    async def _rejected(self, record: dict[str, Any], fault: Fault) -> None:
        """Hold back a rejection before the first answer: whether it is the entry's, or only this prompt's, shows later.

        After a few that read alike a short and a long prompt are tried; if these are rejected, so would be all others.
        """
        self.rejected.append(record)
        alike = sum(pattern_of(r["error"]) == pattern_of(fault.reason) for r in self.rejected)
        if alike < EQUAL_FAILURES and len(self.rejected) < FIRST_FAILURES:
            return
        if not await self._another_is_answered():
            raise self._give_up(f"all {len(self.rejected)} first requests were rejected with: {fault.reason}")

    async def _another_is_answered(self) -> bool:
        """Ask a short or else a long prompt that has not failed before its turn; its answer is kept."""
        failed = {record["request_hash"] for record in (*self.rejected, *self.in_doubt)}
        left = [ask for ask in self.others if ask.request_hash not in failed]
        for ask in dict.fromkeys((*left[:1], *left[-1:])):
            worst = self._reserve(ask)
            if worst is None:
                return False
            spent = 0.0
            try:
                spent = await self._exchange(ask, Tally())
            except Fault:
                continue
            finally:
                for budget in self.budgets:
                    budget.settle(worst, spent)
            self.ahead.add(ask.request_hash)
            return True
        return False

    async def _check_root(self, fault: Fault) -> None:
        """Where base_url names no version and the first request fails, look whether the API lies one step further.

        Servers answer such a path in many ways: 404, a web page, or 200 with an error as plain text.
        """
        base = self.exchange.base_url
        if self.root_sought:
            return
        self.root_sought = True
        if self.spec.provider != "openai" or VERSION.search(base) or fault.kind in (Kind.FATAL, Kind.BUSY):
            return
        try:
            listed = await self.exchange.call("/v1/models", None, lambda payload: payload, Tally())
        except Fault:
            return
        if isinstance(listed, dict) and isinstance(listed.get("data", listed.get("models")), list):
            raise self._give_up(fault.reason, remedy=f"set base_url to {base}/v1 in models.yaml: the API answers there")

    async def _still_answers(self) -> bool:
        """Ask what was answered last again: a persona whose every prompt fails must not stop the run at each start."""
        if self.answered is None:
            return await self._another_is_answered()
        ask, tally = self.answered, Tally()

        def call(path: str, body: Any, read: Any) -> Any:
            return self.exchange.call(path, body, read, tally)

        try:
            reply = await self.provider.answer(ask, call)
        except Fault:
            return False
        if self.spec.price is not None:
            cost = self._cost(ask, reply)
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

    def _record(self, ask: Ask, tally: Tally, **values: Any) -> dict[str, Any]:
        return {
            "request_hash": ask.request_hash,
            **values,
            "latency": round(tally.latency, 6) if tally.latency else None,
            "attempts": tally.attempts,
            "asked_at": tally.sent_at,
        }

    def _give_up(self, reason: str, *, remedy: str | None = None) -> GivenUpError:
        kept = self.report.asked
        return GivenUpError(
            f"Model {self.spec.name} at {self.exchange.base_url} cannot be used: {reason} "
            f"({kept} answer(s) of this run are kept, the other models are not concerned)",
            nothing_answered=self._nothing_answered,
            file=self.spec.source,
            remedy=remedy or remedy_of(reason, self.spec),
        )

    # ---------------------------------------------------------------- durability and progress

    @asynccontextmanager
    async def _keeping(self) -> AsyncIterator[None]:
        """Sync the ledger and report progress while requests are under way; whatever happens, what is there is kept."""
        asking = asyncio.current_task()
        task = asyncio.create_task(self._keep())
        # Without syncs nothing would be durable: if they fail (the disk is full), asking ends.
        task.add_done_callback(lambda done: None if done.cancelled() or asking is None else asking.cancel())
        try:
            yield
            if self.in_doubt and not self.report.asked:
                raise self._give_up(self.in_doubt[-1]["error"])
            self._confirm()
            if len(self.judging.sample) >= LEAST_JUDGED:
                self.judging.look()
            else:
                self.judging.look_at_sizes()
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
            if waited and not self.judging.judged and len(self.judging.sample) >= LEAST_JUDGED:
                self.judging.look()

    def _show(self) -> None:
        if self.progress is None:
            return
        durable = self.writer.durable
        seconds = time.perf_counter() - self.began
        rate = durable / seconds if seconds > 0 else 0.0
        reused = self.report.reused + self.report.earlier_errors
        self.progress(
            Progress(
                model=self.spec.name,
                total=self.total + reused,
                done=durable + reused,
                reused=reused,
                errors=self.report.errors,
                rate=rate,
                spent=self.report.cost or 0.0,
                remaining_seconds=(self.total - durable) / rate if rate > 0 else None,
                warnings=tuple(self.judging.warnings),
            )
        )

    def finish(self) -> None:
        """Complete the report.

        Raises:
            GivenUpError: The model answered none of its requests, now or before.
        """
        report = self.report
        report.seconds = time.perf_counter() - self.began
        settled = report.asked + report.errors
        report.rate = settled / report.seconds if report.seconds > 0 and settled else 0.0
        report.left = max(self.total - settled, 0)
        report.notes += [f"the endpoint does not offer {what}" for what in self.provider.lacks]
        if len(report.fingerprints) > 1:
            report.notes.append(f"the provider's model changed during the run: {', '.join(report.fingerprints)}")
        if self.provider.room:
            thinks, how = "the model thinks before it answers", "; `reasoning: off` in its entry switches that off"
            if self.spec.reasoning is not None:
                thinks, how = "the model thinks although its entry says `reasoning: off`", ""
            report.notes.append(f"{thinks}: up to {self.provider.room} tokens of thought were allowed per reply{how}")
        report.notes += self.judging.warnings
        failed = report.errors + report.earlier_errors
        if failed and self._nothing_answered and not self.cancelling:
            reasons = report.error_reasons or self._earlier_reasons()
            remedy = remedy_of(next(iter(reasons), ""), self.spec)
            raise GivenUpError(
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


def _shortest_and_longest(todo: pl.DataFrame) -> list[Ask]:
    """Requests by length of their prompts: of each end more than may fail at first."""
    length = pl.col("user").str.len_bytes() + pl.col("system").str.len_bytes().fill_null(0)
    n = FIRST_FAILURES + 1
    ends = pl.concat([todo.bottom_k(n, by=length), todo.top_k(n, by=length)]).unique("request_hash")
    return list(iterate(ends.sort(length, "request_hash")))


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
