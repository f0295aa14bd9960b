"""One exchange with an endpoint: httpx over aiohttp's transport, throttled, timed, and tried again where that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import httpx
import orjson
import tenacity
from httpx_aiohttp import AiohttpTransport

from mpta_pipeline.inference.faults import Fault, Kind, redact, retry_after, shorten
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.throttle import Throttle

REPLY_LIMIT = 4 * 1024 * 1024  # bytes; a letter with 200 candidates takes 20 kB
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds of backoff


class Diagnose(Protocol):
    """How a provider reads an error reply."""

    def __call__(self, status: int, payload: Any, text: str) -> Fault:
        """The fault that a reply with this status and body is."""


@dataclass
class Tally:
    """What the exchanges of one request took."""

    attempts: int = 0
    latency: float = 0.0
    sent_at: int = 0


@dataclass
class Exchange:
    """Exchanges with one endpoint. `headers` hold the key, which never leaves this object but to the endpoint."""

    spec: ModelSpec
    base_url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    diagnose: Diagnose
    throttle: Throttle
    retries: bool = True
    client: httpx.AsyncClient = field(init=False)
    succeeded: bool = False
    _url: dict[str, httpx.URL] = field(default_factory=dict)
    _refused_since: float | None = None

    async def __aenter__(self) -> Exchange:
        local = self.spec.is_local
        timeouts = self.spec.timeouts

        def session() -> aiohttp.ClientSession:
            # No cookies: an answer must not depend on an earlier one. No proxy between here and this machine.
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=True if local else httpx.create_ssl_context()),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=not local,
                read_bufsize=2**18,
            )

        self.client = httpx.AsyncClient(
            transport=AiohttpTransport(client=session),
            headers={"accept": "application/json", "content-type": "application/json", **self.headers},
            params=dict(self.spec.query) or None,
            # The slot a request waits for is the throttle's, so the pool has no limit and no timeout.
            timeout=httpx.Timeout(timeouts.first_byte, connect=timeouts.connect, pool=None),
            follow_redirects=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def call(
        self, path: str, body: Mapping[str, Any] | None, tally: Tally, *, tokens: int = 0, method: str = "POST"
    ) -> Any:
        """Send a request until it is answered or it is clear that it will not be; returns the reply's JSON.

        Raises:
            Fault: For good: the kind says whether the request or the endpoint is at fault.
        """
        content = None if body is None else orjson.dumps(body)
        try:
            return await self._once(method, path, content, tally, tokens)
        except Fault as fault:
            if not self._again(fault, tally):
                raise
            first = fault
        # Only now the machinery: most requests are answered at once, and each microsecond counts at 2,000 a second.
        state = {"fault": first}

        def wait(retry: tenacity.RetryCallState) -> float:
            return self._wait(state["fault"], retry)

        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, Fault) and self._again(e, tally)),
            wait=wait,
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise first
                try:
                    return await self._once(method, path, content, tally, tokens)
                except Fault as fault:
                    state["fault"] = fault
                    raise
        raise first  # not reached: the loop returns or raises

    def _again(self, fault: Fault, tally: Tally) -> bool:
        now = time.monotonic()
        if fault.kind is Kind.BUSY:
            self._refused_since = self._refused_since or now
            patience = self.spec.timeouts.patience
            if (fault.retry_after or 0.0) > patience or now - self._refused_since > patience:
                fault.kind = Kind.FATAL
                return False
            return True
        if fault.kind is Kind.DOWN and not self.succeeded:
            return False
        return self.retries and fault.kind in (Kind.SERVER, Kind.DOWN) and tally.attempts < self.spec.attempts

    def _wait(self, fault: Fault, retry: tenacity.RetryCallState) -> float:
        backoff = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(retry)
        if fault.retry_after is not None:
            # Spread over a tenth, so that all who wait do not come back in the same instant.
            backoff = fault.retry_after + min(backoff, 0.1 * fault.retry_after)
        if fault.kind is Kind.BUSY:
            self.throttle.refused(fault.retry_after if fault.retry_after is not None else backoff)
        return backoff

    async def _once(self, method: str, path: str, content: bytes | None, tally: Tally, tokens: int) -> Any:
        await self.throttle.enter(tokens)
        began = time.perf_counter()
        if not tally.sent_at:
            tally.sent_at = time.time_ns() // 1_000_000
        try:
            async with asyncio.timeout(self.spec.timeouts.whole):
                status, headers, data = await self._transfer(method, path, content)
        except TimeoutError:
            raise self._fault(Kind.SERVER, f"no whole reply within {self.spec.timeouts.whole:g} s", tally) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as failure:
            # The transport reports a reset connection as ConnectTimeout as well; only a refused one means down.
            kind = Kind.SERVER if _was_reset(failure) else Kind.DOWN
            raise self._fault(kind, f"no connection: {failure}", tally) from None
        except httpx.TimeoutException:
            raise self._fault(Kind.SERVER, f"no reply within {self.spec.timeouts.first_byte:g} s", tally) from None
        except (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError) as failure:
            raise self._fault(Kind.SERVER, f"the connection broke: {type(failure).__name__} {failure}", tally) from None
        finally:
            self.throttle.leave()
        latency = time.perf_counter() - began
        tally.latency += latency
        payload = self._payload(status, headers, data, tally)
        self.succeeded = True
        self._refused_since = None
        self.throttle.succeeded(latency)
        if tally.attempts == 0 or status < 400:
            tally.attempts += 1
        return payload

    async def _transfer(self, method: str, path: str, content: bytes | None) -> tuple[int, httpx.Headers, bytes]:
        url = self._url.get(path)
        if url is None:
            url = self._url[path] = httpx.URL(self.base_url + path)
        request = self.client.build_request(method, url, content=content)
        response = await self.client.send(request, stream=True)
        try:
            size = 0
            chunks = []
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > REPLY_LIMIT:
                    raise Fault(Kind.ITEM, f"the reply is larger than {REPLY_LIMIT // 2**20} MiB")
                chunks.append(chunk)
        finally:
            await response.aclose()
        return response.status_code, response.headers, b"".join(chunks)

    def _payload(self, status: int, headers: httpx.Headers, data: bytes, tally: Tally) -> Any:
        """The reply's JSON, whatever its content type claims; everything else is a fault."""
        text = ""
        payload: Any = None
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            text = data[:2000].decode("utf-8", "replace")
        if status < 300 and payload is not None:
            return payload
        if 300 <= status < 400:
            raise self._fault(Kind.DOWN, f"HTTP {status}: the endpoint redirects elsewhere", tally)
        is_page = payload is None and text.lstrip()[:1] == "<"
        if status < 300:
            if is_page:
                raise self._fault(Kind.DOWN, "the reply is a web page (HTML), not the API's JSON", tally)
            raise self._fault(Kind.SERVER, f"the reply is not JSON: {text[:80]!r}", tally)
        fault = self.diagnose(status, payload, "a web page (HTML)" if is_page else text)
        if is_page and status == 404:
            fault.kind = Kind.DOWN
        if fault.retry_after is None:
            fault.retry_after = retry_after(headers)
        raise self._fault(fault.kind, f"HTTP {status}: {fault.reason}", tally, fault.retry_after)

    def _fault(self, kind: Kind, reason: str, tally: Tally, wait: float | None = None) -> Fault:
        if kind is not Kind.BUSY:
            tally.attempts += 1
        return Fault(kind, shorten(redact(reason, self.secrets)), retry_after=wait)


def _was_reset(failure: BaseException) -> bool:
    cause = failure.__cause__
    return isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not isinstance(
        cause, aiohttp.ClientConnectorError
    )
