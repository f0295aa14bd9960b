"""What the caller of a run sees and holds: its progress, its stop, its budget, its report."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from mpta_pipeline.core.errors import PolicyError


@dataclass(frozen=True)
class RequestProgress:
    """How far a model is: requests in all, durable (reused included), errors; a second; US dollars; seconds to go."""

    model: str
    total: int
    done: int
    reused: int
    errors: int
    rate: float
    spent: float
    remaining_seconds: float | None
    warnings: tuple[str, ...] = ()
    """What the user should know at once, e.g. that most replies cannot be used."""


class Stop:
    """Ends asking from another thread: what is in flight is dropped, what was answered is kept."""

    def __init__(self) -> None:
        self._set = False
        self._running: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()
        self._lock = threading.Lock()

    def is_set(self) -> bool:
        """Whether asking is to end."""
        return self._set

    def set(self) -> None:
        """End what is being asked, and what anyone begins to ask with this."""
        with self._lock:
            self._set = True
            for loop, task in self._running:
                loop.call_soon_threadsafe(task.cancel)

    async def watch(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work that `set` cancels."""
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
    """US dollars that one or several models may spend together. Safe to share between threads."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.spent = 0.0
        self._reserved = 0.0
        self._lock = threading.Lock()

    def reserve(self, dollars: float) -> bool:
        """Set aside the most a request can cost; false if that could pass the limit."""
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
    """What became of the requests of one call of `send_requests`. Counts are of requests, i.e. of different texts.

    Attributes:
        requests: Different requests among the prompts.
        reused: Already in the ledger.
        answered: Answered now.
        refused: Answered now by a refusal or a content filter, as far as the provider says so.
        errors: Failed for good now; rows with the reason.
        earlier_errors: Failed for good before and not asked again.
        withheld: Not sent, because of their source's data-use policy.
        refusal: The policy's refusal, if any was withheld.
        left: Not asked, because the run stopped before.
        stopped: Why it stopped before the end; null: it did not.
        cut_off: Replies of this run that ended at the limit of tokens without an answer.
        notes: What the user should know: capabilities that the endpoint lacks, a changed fingerprint, damaged lines.
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
    left: int = 0
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

    def as_notes(self) -> dict[str, int | float | str]:
        """For metadata: what there is to say, without what is zero or unknown."""
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
            "left": self.left,
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
