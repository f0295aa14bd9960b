"""What the caller of a run holds: progress, stop signal, budget and report."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from mpta_pipeline.core.errors import ApprovalError, PolicyError


@dataclass(frozen=True)
class RequestProgress:
    """How far a model is.

    Attributes:
        model: The model.
        total: Requests in all.
        done: Requests whose record is on disk, reused ones included.
        reused: Requests whose record was there before.
        errors: Requests that failed in this run.
        rate: Requests per second.
        spent: US dollars.
        remaining_seconds: Expected time to the end; None if unknown.
        warnings: What the user should know at once, e.g. that most responses cannot be used.
        task: The task whose prompts are sent; empty if the caller names none.
    """

    model: str
    total: int
    done: int
    reused: int
    errors: int
    rate: float
    spent: float
    remaining_seconds: float | None
    warnings: tuple[str, ...] = ()
    task: str = ""


class Stop:
    """Ends a run from another thread: requests in flight are dropped, responses that were received are kept."""

    def __init__(self) -> None:
        self._set = False
        self._running: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()
        self._lock = threading.Lock()

    def is_set(self) -> bool:
        """Return whether the run is to end."""
        return self._set

    def set(self) -> None:
        """End the runs that use this, and those that begin to."""
        with self._lock:
            self._set = True
            for loop, task in self._running:
                loop.call_soon_threadsafe(task.cancel)

    async def watch(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that `set` cancels."""
        task = asyncio.ensure_future(work)
        entry = (asyncio.get_running_loop(), task)
        with self._lock:
            if self._set:
                task.cancel()
            self._running.add(entry)
        try:
            await task
        finally:
            with self._lock:
                self._running.discard(entry)


class Budget:
    """US dollars that one or several models may spend together. It can be shared between threads."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.spent = 0.0
        self._reserved = 0.0
        self._lock = threading.Lock()

    def reserve(self, dollars: float) -> bool:
        """Reserve the most that a request can cost; return False if that could exceed the limit."""
        with self._lock:
            if self.spent + self._reserved + dollars > self.limit + 1e-12:
                return False
            self._reserved += dollars
            return True

    def settle(self, reserved: float, spent: float) -> None:
        """Replace a reservation by what was spent."""
        with self._lock:
            self._reserved -= reserved
            self.spent += spent


@dataclass
class RequestReport:
    """What happened to the requests of one call of `send_requests`. Equal texts count as one request.

    Attributes:
        model: The model.
        requests: Different requests among the prompts.
        reused: Requests that the ledger had a response to.
        answered: Requests answered in this run.
        refused: Those of them answered by a refusal or a content filter, as far as the provider says so.
        errors: Requests that failed for good in this run; the ledger has the reasons.
        earlier_errors: Requests that failed for good before and were not sent again.
        withheld: Requests not sent because of their source's data-use policy.
        refusal: The policy error, if requests were withheld.
        awaiting: The error about requests that wait for an approval, if any do.
        left: Requests not sent because the run stopped before, or because they are no longer wanted.
        superseded: Those of them that are no longer wanted, e.g. because their prompts were made again.
        not_reached: Turns of conversations, at most, that could not be asked because one before them has no response.
        stopped: Why the run stopped before the end; None if it did not.
        cut_off: Responses of this run that ended at the token limit without an answer.
        prompt_tokens: Tokens sent in this run.
        completion_tokens: Tokens received in this run.
        cached_tokens: Tokens sent that the provider had in its cache.
        cost: US dollars spent in this run; None if the entry has no price.
        estimated_cost: US dollars estimated before the run.
        seconds: Duration of the run.
        rate: Requests per second.
        attempts: HTTP calls in all.
        fingerprints: Models as the provider reported them.
        notes: What the user should know: features that the endpoint lacks, a changed fingerprint, damaged lines.
        error_reasons: Reason → requests that failed for it.
    """

    model: str
    requests: int = 0
    reused: int = 0
    answered: int = 0
    refused: int = 0
    errors: int = 0
    earlier_errors: int = 0
    withheld: int = 0
    refusal: PolicyError | None = None
    awaiting: ApprovalError | None = None
    left: int = 0
    superseded: int = 0
    not_reached: int = 0
    stopped: str | None = None
    cut_off: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None
    estimated_cost: float | None = None
    seconds: float = 0.0
    rate: float = 0.0
    attempts: int = 0
    fingerprints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error_reasons: dict[str, int] = field(default_factory=dict)

    @property
    def nothing_answered(self) -> bool:
        """The model has answered none of these requests, in this run or before."""
        return not (self.answered or self.reused)

    def as_notes(self) -> dict[str, int | float | str]:
        """Return the report as metadata, without what is zero or unknown."""
        notes: dict[str, int | float | str] = {
            "requests": self.requests,
            "asked": self.answered,
            "reused": self.reused,
            "errors": self.errors + self.earlier_errors,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": round(self.seconds, 2),
        }
        further: dict[str, int | float | str | None] = {
            "refused": self.refused,
            "withheld": self.withheld,
            "withheld_because": None if self.refusal is None else str(self.refusal),
            "awaiting_approval": None if self.awaiting is None else self.awaiting.requests,
            "awaiting_usd": None if self.awaiting is None else round(self.awaiting.dollars, 6),
            "awaiting_because": None if self.awaiting is None else str(self.awaiting),
            "left": self.left,
            "superseded": self.superseded,
            "not_reached": self.not_reached,
            "cut_off": self.cut_off,
            "stopped": self.stopped,
            "cost_usd": None if self.cost is None else round(self.cost, 6),
            "estimated_cost_usd": None if self.estimated_cost is None else round(self.estimated_cost, 6),
            "requests_per_second": round(self.rate, 2),
            "fingerprints": "; ".join(self.fingerprints),
            "notes": "; ".join(self.notes),
            "error_reasons": "; ".join(f"{n} × {reason}" for reason, n in list(self.error_reasons.items())[:5]),
        }
        return notes | {k: v for k, v in further.items() if v}
