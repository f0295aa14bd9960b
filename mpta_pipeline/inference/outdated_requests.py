"""Find out during a run which of its requests are no longer wanted, so that they are not sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import polars as pl

from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.prompt_parts import PromptParts
from mpta_pipeline.inference.requests import (
    ModelRequest,
    can_be_sent,
    iterate_requests,
    split_by_policy,
    unique_requests,
)

LookAgain = Callable[[], pl.Series | None]
"""Returns the hashes of the requests that are wanted now; None if nothing has changed since the last call."""

LOOK_EVERY = 16  # requests between two looks, or
LOOK_SECONDS = 1.0  # seconds, whichever comes first
MOST_OF_TIME = 0.05  # share of a run that may go into looking while nothing changes


def wanted_requests(spec: ModelSpec, prompts: pl.DataFrame | PromptParts) -> pl.Series:
    """Return the hashes of the requests that a model may receive for these prompts."""
    requests = unique_requests(spec, prompts) if isinstance(prompts, pl.DataFrame) else prompts.requests()
    permitted, _ = split_by_policy(spec, requests.filter(can_be_sent()))
    return permitted["request_hash"]


class OutdatedRequests:
    """The requests of one run that are not wanted any more.

    Args:
        look_again: Says what is wanted now; without it, everything stays wanted.
        requests: The requests that the run is to send.
        in_turn: Gives some of them with their texts, in the order in which they are sent.
    """

    def __init__(
        self,
        look_again: LookAgain | None,
        requests: pl.DataFrame,
        in_turn: Callable[[pl.DataFrame], Iterator[ModelRequest]] = iterate_requests,
    ) -> None:
        self._look_again = look_again
        self._requests = requests
        self._in_turn = in_turn
        self._outdated: frozenset[str] = frozenset()
        self._skipped: dict[str, None] = {}
        self._given_up: set[str] = set()
        self._asked_for = 0
        self._next_look = time.perf_counter()
        self._latest_look = self._next_look + LOOK_SECONDS
        self._lock = asyncio.Lock()

    def __contains__(self, request_hash: str) -> bool:
        """Whether a request was outdated at the last look."""
        return request_hash in self._outdated

    def __len__(self) -> int:
        """Number of requests that were skipped."""
        return len(self._given_up.union(self._skipped))

    def add(self, requests: pl.DataFrame) -> None:
        """Add requests that became known during the run: the next turns of conversations."""
        self._requests = pl.concat([self._requests, requests])

    def give_up(self, request_hashes: pl.Series) -> None:
        """Count requests as skipped whose texts cannot be read any more."""
        self._given_up.update(request_hashes)

    async def skip(self, request: ModelRequest) -> bool:
        """Whether not to send a request. Looks again if the last look was a chunk of requests or seconds ago."""
        if self._look_again is None:
            return False
        self._asked_for += 1
        async with self._lock:
            now = time.perf_counter()
            due = self._asked_for >= LOOK_EVERY or now >= self._latest_look
            if due and now >= self._next_look:
                await self._look()
        if request.request_hash not in self._outdated:
            return False
        self._skipped[request.request_hash] = None
        return True

    async def still_wanted(self, requests: list[ModelRequest]) -> list[ModelRequest]:
        """Look again and return the requests that are still wanted, e.g. before a batch is submitted."""
        if self._look_again is None:
            return requests
        async with self._lock:
            await self._look()
        self._skipped |= {r.request_hash: None for r in requests if r.request_hash in self._outdated}
        return [request for request in requests if request.request_hash not in self._outdated]

    async def wanted_again(self) -> Iterator[ModelRequest] | None:
        """Look again and return skipped requests that are wanted after all; None if there are none."""
        if not self._skipped:
            return None
        async with self._lock:
            await self._look()
        again = [key for key in self._skipped if key not in self._outdated and key not in self._given_up]
        if not again:
            return None
        for key in again:
            del self._skipped[key]
        return self._in_turn(self._requests.filter(pl.col("request_hash").is_in(again)))

    async def _look(self) -> None:
        assert self._look_again is not None
        wanted, seconds = await asyncio.to_thread(_timed, self._look_again)
        if wanted is not None:
            keys = self._requests["request_hash"]
            self._outdated = frozenset(keys.filter(~keys.is_in(wanted.implode())))
        ended = time.perf_counter()
        self._asked_for = 0
        self._next_look = ended + seconds / MOST_OF_TIME
        self._latest_look = ended + LOOK_SECONDS


def _timed(look: LookAgain) -> tuple[pl.Series | None, float]:
    """What a look returns, and how many seconds it took (without the wait for a thread)."""
    began = time.perf_counter()
    return look(), time.perf_counter() - began
