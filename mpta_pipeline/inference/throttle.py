"""Limit requests in flight and their rate: by the entry's limits, adapted to refusals and latency."""

from __future__ import annotations

import asyncio
import time
from collections import deque

CUT = 0.7
NEAR = 0.5  # share of the response timeout above which the server has more requests than it can serve


class Bucket:
    """A token bucket: `rate` per minute, of which a tenth may be taken at once."""

    def __init__(self, rate: float) -> None:
        self.per_second = rate / 60.0
        self.capacity = max(rate / 10.0, 1.0)
        self.level = self.capacity
        self.at = time.monotonic()

    def take(self, amount: float) -> float:
        """Take `amount` and return the seconds until it is available; a larger amount is taken in advance."""
        now = time.monotonic()
        self.level = min(self.capacity, self.level + (now - self.at) * self.per_second)
        self.at = now
        self.level -= amount
        return max(-self.level / self.per_second, 0.0)


class Throttle:
    """A gate for HTTP calls. Additive increase, multiplicative decrease, between 1 and `connections`.

    A refusal (429) or a timeout cuts the limit once per episode and closes the gate for as long as the endpoint says.
    When the mean latency approaches the timeout, the server only queues what it cannot serve, and the limit falls by a
    tenth before requests are lost. Lower latencies do not matter: a server that batches is slower per request but
    serves more.
    """

    def __init__(
        self,
        connections: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        timeout: float = 120.0,
    ) -> None:
        self.timeout = timeout
        self.ceiling = connections
        self.limit = float(connections)
        self.active = 0
        self.refusals = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._open_at = 0.0
        self._cut_at = 0.0
        self._requests = Bucket(requests_per_minute) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute) if tokens_per_minute else None
        self._window: list[float] = []

    async def enter(self, tokens: int) -> None:
        """Wait for a place and for the rate limits; call `leave` afterwards."""
        while self.active >= int(self.limit):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake()  # pass on the place that was meant for this one
                raise
        self.active += 1
        try:
            wait = max(
                self._requests.take(1) if self._requests else 0.0,
                self._tokens.take(tokens) if self._tokens else 0.0,
            )
            if wait > 0:
                await asyncio.sleep(wait)
            while (closed := self._open_at - time.monotonic()) > 0:
                await asyncio.sleep(closed)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Free the place."""
        self.active -= 1
        self._wake()

    def succeeded(self, latency: float) -> None:
        """Note a response and its seconds; the limit is adapted after every window of responses."""
        self._window.append(latency)
        if len(self._window) < max(20, int(self.limit)):
            return
        mean = sum(self._window) / len(self._window)
        self._window.clear()
        if mean > NEAR * self.timeout:
            self.limit = max(1.0, self.limit * 0.9)
        else:
            self.limit = min(float(self.ceiling), self.limit + 1.0)
            self._wake()

    def refused(self, wait: float, sent_at: float) -> None:
        """Note a refusal or timeout: nobody enters for `wait` seconds, and there are fewer places.

        Calls sent before the last cut (`sent_at`, monotonic seconds) say nothing about the new limit and do not cut it.
        """
        now = time.monotonic()
        self.refusals += 1
        self._open_at = max(self._open_at, now + wait)
        if sent_at > self._cut_at:
            self.limit = max(1.0, self.limit * CUT)
            self._cut_at = now
            self._window.clear()

    def _wake(self) -> None:
        free = int(self.limit) - self.active
        while free > 0 and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                free -= 1
