"""One exchange with an endpoint: httpx over aiohttp's transport, throttled, timed, and tried again where that helps."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
import zlib
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import orjson
import tenacity
from httpx_aiohttp import AiohttpTransport

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError, redact, retry_after, shorten
from mpta_pipeline.inference.response_fields import parse_json
from mpta_pipeline.inference.throttle import Throttle

T = TypeVar("T")

RESPONSE_LIMIT = 4 * 1024 * 1024  # bytes; a letter with 200 candidates takes 20 kB
FILE_LIMIT = 1024 * 1024 * 1024  # bytes of a batch's results
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds of backoff


class ClassifyError(Protocol):
    """How a provider reads an error reply."""

    def __call__(self, status: int, payload: Any, text: str) -> ProviderError:
        """The fault that a reply with this status and body is."""


@dataclass
class CallStats:
    """What the exchanges of one request took."""

    attempts: int = 0
    latency: float = 0.0
    sent_at: int = 0
    """Milliseconds since 1970 when it was first sent."""


@dataclass
class _Outgoing(Generic[T]):
    """One exchange on its way. With a `content_type` it carries a file, and `read` gets the reply's bytes."""

    path: str
    content: bytes | None
    read: Callable[[Any], T]
    stats: CallStats
    tokens: int
    content_type: str | None = None
    attempts: int = 0
    sent_at: float = 0.0
    """When it was last sent, monotonic seconds."""
    refused_since: float | None = None
    failing_since: float | None = None
    again: bool = True
    """Sending it twice does no harm."""
    error: ProviderError = field(default_factory=lambda: ProviderError(ErrorKind.SERVER, ""))


class _Request(httpx.Request):
    """A request made of parts that need no looking at: httpx's own constructor takes .09 ms over them."""

    def __init__(self, url: httpx.URL, content: bytes | None, content_type: str | None, extensions: Any) -> None:
        self.method = "GET" if content is None else "POST"
        self.url = url
        self.headers = _NO_HEADERS if content_type is None else httpx.Headers({"content-type": content_type})
        self.extensions = extensions
        self._body = content or b""

    @property
    def content(self) -> bytes:
        return self._body


_NO_HEADERS = httpx.Headers()  # beyond the session's


@dataclass
class HttpClient:
    """Exchanges with one endpoint. `headers` hold the key, which never leaves this object but to the endpoint."""

    spec: ModelSpec
    base_url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    classify_error: ClassifyError
    throttle: Throttle
    retries: bool = True
    succeeded: bool = False
    transport: AiohttpTransport = field(init=False)
    _timeout: dict[str, float | None] = field(init=False)
    _urls: dict[str, httpx.URL] = field(default_factory=dict)
    _refused_since: float | None = None

    async def __aenter__(self) -> HttpClient:
        local = self.spec.is_local
        connector = (
            aiohttp.TCPConnector(limit=0, resolver=_ThisMachine())
            if local
            else aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context())
        )
        # No cookies: an answer must not depend on an earlier one. No trust in the environment: it would look for a
        # proxy and for a login in .netrc before each request, and the latter would take the place of the key.
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            read_bufsize=2**18,
            headers={
                "accept": "application/json",
                "accept-encoding": "gzip, deflate",
                "content-type": "application/json",
                "user-agent": "mpta-pipeline",
                **self.headers,
            },
        )
        # The transport is used without httpx.AsyncClient: redirects, cookies and logs are not wanted, and merging its
        # headers takes .15 ms a request. verify: the certificate store is the connector's, not loaded a second time.
        self.transport = AiohttpTransport(client=session, verify=False, proxy=None if local else _proxy(self.base_url))
        # A request waits for its place in the throttle, so the pool has no limit and no timeout.
        self._timeout = httpx.Timeout(
            self.spec.timeouts.first_byte, connect=self.spec.timeouts.connect, pool=None
        ).as_dict()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.aclose()

    async def call(
        self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T], stats: CallStats, tokens: int = 0
    ) -> T:
        """Send a request until it is answered or will not be; returns what `read` makes of the reply's JSON.

        Without a body it is a GET. `read` may raise ProviderError for an unreadable response, which is tried again.

        Raises:
            ProviderError: For good: the kind says whether the request or the endpoint is at fault.
        """
        content = None if body is None else orjson.dumps(body)
        return await self._send(_Outgoing(path, content, read, stats, tokens))

    async def json(self, path: str, body: Mapping[str, Any] | None, *, again: bool = True) -> Any:
        """An exchange that belongs to no single request; returns the reply's JSON."""
        content = None if body is None else orjson.dumps(body)
        return await self._send(_Outgoing(path, content, lambda payload: payload, CallStats(), 0, again=again))

    async def raw(self, path: str, content: bytes | None = None, content_type: str = "application/json") -> bytes:
        """Send or fetch a whole file."""
        return await self._send(_Outgoing(path, content, bytes, CallStats(), 0, content_type))

    async def _send(self, out: _Outgoing[T]) -> T:
        try:
            return await self._once(out)
        except ProviderError as error:
            if not self._again(error, out):
                raise
            out.error = error
        # Only now the machinery: most requests are answered at once, and each microsecond counts at 2,000 a second.
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, ProviderError) and self._again(e, out)),
            wait=lambda retry: self._wait(out, retry),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise out.error
                try:
                    return await self._once(out)
                except ProviderError as error:
                    out.error = error
                    raise
        raise out.error  # not reached: the loop returns or raises

    def _again(self, error: ProviderError, out: _Outgoing[Any]) -> bool:
        now = time.monotonic()
        if error.kind is ErrorKind.OVERLOADED:
            self._refused_since = self._refused_since or now
            out.refused_since = out.refused_since or now
            patience, wait = self.spec.timeouts.patience, error.retry_after or 0.0
            if now - self._refused_since + wait > patience:
                error.kind = ErrorKind.FATAL
                return False
            if now - out.refused_since + wait > patience:  # others were answered meanwhile
                error.kind = ErrorKind.REQUEST
                return False
            return True
        if error.kind is ErrorKind.UNREACHABLE and not self.succeeded:
            return False
        if error.kind not in (ErrorKind.SERVER, ErrorKind.UNREACHABLE):
            return False
        # One patience for every status: a 503 that asks to wait a day is not slept over either.
        out.failing_since = out.failing_since or now
        wait = error.retry_after or 0.0
        if now - out.failing_since + wait > self.spec.timeouts.patience:
            if wait > self.spec.timeouts.patience and not self.succeeded:
                error.kind = ErrorKind.FATAL
            return False
        return self.retries and out.again and out.attempts < self.spec.attempts

    def _wait(self, out: _Outgoing[Any], retry: tenacity.RetryCallState) -> float:
        error = out.error
        backoff = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(retry)
        if error.retry_after is not None:
            # Spread over a tenth, so that all who wait do not come back in the same instant. Never less than the
            # backoff: an endpoint that says 0 again and again is not asked without a pause.
            backoff = max(error.retry_after + min(backoff, 0.1 * error.retry_after), backoff)
        if error.kind is ErrorKind.OVERLOADED:
            self.throttle.refused(error.retry_after if error.retry_after is not None else backoff, out.sent_at)
        return backoff

    async def _once(self, out: _Outgoing[T]) -> T:
        stats, timeouts = out.stats, self.spec.timeouts
        await self.throttle.enter(out.tokens)
        began = out.sent_at = time.monotonic()
        if not stats.sent_at:
            stats.sent_at = time.time_ns() // 1_000_000
        try:
            async with asyncio.timeout(timeouts.whole):
                status, headers, data = await self._transfer(out)
        except TimeoutError:
            self.throttle.refused(0.0, began)
            raise self._counted(
                out, ProviderError(ErrorKind.SERVER, f"no whole reply within {timeouts.whole:g} s")
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as failure:
            # The transport reports a reset connection as ConnectTimeout as well; only a refused one means down.
            kind = ErrorKind.SERVER if _was_reset(failure) else ErrorKind.UNREACHABLE
            raise self._counted(out, ProviderError(kind, f"no connection: {failure}")) from None
        except httpx.TimeoutException:
            self.throttle.refused(0.0, began)
            raise self._counted(
                out, ProviderError(ErrorKind.SERVER, f"no reply within {timeouts.first_byte:g} s")
            ) from None
        except (httpx.InvalidURL, aiohttp.InvalidURL, UnicodeError) as failure:
            raise self._counted(
                out, ProviderError(ErrorKind.UNREACHABLE, f"no connection: the address is none ({failure})")
            ) from None
        except (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError, EOFError) as failure:
            reason = f"the connection broke: {type(failure).__name__} {failure}"
            raise self._counted(out, ProviderError(ErrorKind.SERVER, reason)) from None
        except ProviderError as error:
            raise self._counted(out, error) from None
        finally:
            self.throttle.leave()
        latency = time.monotonic() - began
        stats.latency += latency
        try:
            whole = out.content_type is not None and status < 300
            result = out.read(data if whole else self._payload(status, headers, data))
        except ProviderError as error:
            raise self._counted(out, error) from None
        except Exception as failure:  # what a server says is never an error of the program
            reason = f"the reply is not of the published form: {type(failure).__name__} {failure}"
            raise self._counted(out, ProviderError(ErrorKind.SERVER, reason)) from None
        self.succeeded = True
        self._refused_since = None
        self.throttle.succeeded(latency)
        out.attempts += 1
        stats.attempts += 1
        return result

    async def _transfer(self, out: _Outgoing[Any]) -> tuple[int, httpx.Headers, bytes]:
        url = self._urls.get(out.path)
        if url is None:
            url = self._urls[out.path] = httpx.URL(self.base_url + out.path).copy_merge_params(self.spec.query)
        request = _Request(url, out.content, out.content_type, {"timeout": self._timeout})
        limit = RESPONSE_LIMIT if out.content_type is None else FILE_LIMIT
        response = await self.transport.handle_async_request(request)
        try:
            chunks = Chunks(response.headers.get("content-encoding", ""), limit)
            stream = response.stream if isinstance(response.stream, AsyncIterable) else response.aiter_raw()
            async for chunk in stream:
                chunks.add(chunk)
        finally:
            await response.aclose()
        return response.status_code, response.headers, chunks.content()

    def _payload(self, status: int, headers: httpx.Headers, data: bytes) -> Any:
        """The reply's JSON, whatever its content type claims; everything else is a fault."""
        text = ""
        payload: Any = None
        try:
            payload = parse_json(data)
        except ValueError:
            text = data[:2000].decode("utf-8", "replace")
        if status < 300 and payload is not None:
            return payload
        if 300 <= status < 400:
            raise ProviderError(ErrorKind.UNREACHABLE, f"HTTP {status}: the endpoint redirects elsewhere")
        is_page = payload is None and text.lstrip()[:1] == "<"
        if status < 300:
            if is_page:
                raise ProviderError(ErrorKind.UNREACHABLE, "the reply is a web page (HTML), not the API's JSON")
            raise ProviderError(ErrorKind.SERVER, f"the reply is not JSON: {text[:80]!r}")
        error = self.classify_error(status, payload, "a web page (HTML)" if is_page else text)
        if is_page and status == 404:
            error.kind = ErrorKind.UNREACHABLE
        if error.retry_after is None:
            error.retry_after = retry_after(headers)
        raise ProviderError(error.kind, f"HTTP {status}: {error.reason}", retry_after=error.retry_after)

    def _counted(self, out: _Outgoing[Any], error: ProviderError) -> ProviderError:
        """Count a failed attempt (a refusal for load is none) and take the key out of the reason."""
        if error.kind is not ErrorKind.OVERLOADED:
            out.attempts += 1
            out.stats.attempts += 1
        return ProviderError(error.kind, shorten(redact(error.reason, self.secrets)), retry_after=error.retry_after)


class Chunks:
    """A reply as it comes in, decoded piece by piece and never beyond `limit` bytes, however small it was packed.

    Args:
        encoding: Its Content-Encoding: gzip, deflate, or none. Packed twice is refused: no API does that.
        limit: Bytes of the decoded reply.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.parts: list[bytes] = []
        self.encoding = encoding.strip().lower()
        if self.encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ProviderError(
                ErrorKind.SERVER, f"the reply is packed in a way that was not asked for: {shorten(encoding, 80)}"
            )
        self.unpack: Any = None  # zlib's object, whose class has no public name
        if self.encoding in ("gzip", "x-gzip"):
            self.unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def add(self, chunk: bytes) -> None:
        """Take the next piece as it came."""
        if self.encoding in ("", "identity"):
            self._keep(chunk)
            return
        if self.unpack is None and chunk:
            # "deflate" is a zlib stream, and from some servers a bare one; the first byte tells them apart.
            self.unpack = zlib.decompressobj(zlib.MAX_WBITS if chunk[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        while chunk:
            try:
                piece = self.unpack.decompress(chunk, 2**18)
            except zlib.error as failure:
                raise ProviderError(ErrorKind.SERVER, f"the reply cannot be unpacked: {failure}") from None
            self._keep(piece)
            chunk = self.unpack.unconsumed_tail
            if self.unpack.eof and self.unpack.unused_data:
                return  # whatever follows the end of the stream is not the reply's

    def content(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)

    def _keep(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self.limit:
            raise ProviderError(ErrorKind.REQUEST, f"the reply is larger than {self.limit // 2**20} MiB")
        self.parts.append(piece)


class _ThisMachine(aiohttp.ThreadedResolver):
    """Looks names up and takes loopback addresses only: what must stay here goes nowhere else by its name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        own = [one for one in found if ipaddress.ip_address(one["host"].partition("%")[0]).is_loopback]
        if not own:
            raise OSError(None, f"{host} is not this machine")
        return own


def _proxy(url: str) -> httpx.Proxy | None:
    """The proxy that the environment names for this address (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    target = httpx.URL(url)
    proxies = getproxies()
    address = proxies.get(target.scheme) or proxies.get("all")
    if not address or proxy_bypass(target.host):
        return None
    if "://" not in address:
        address = f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise ModelError(
            f"The environment names a proxy for {target.host} that is not reached by http or https",
            variable=f"{target.scheme}_proxy",
            value=address.partition("://")[0] + "://…",  # a proxy's address may hold a password
            remedy="name a proxy of that kind, or list the host in NO_PROXY",
        )
    return httpx.Proxy(address)


def _was_reset(failure: BaseException) -> bool:
    cause = failure.__cause__
    return isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not isinstance(
        cause, aiohttp.ClientConnectorError
    )
