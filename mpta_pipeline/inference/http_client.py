"""Send HTTP requests to one endpoint by aiohttp: throttled, timed, and repeated if that can help."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import orjson
import tenacity

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError, redact, retry_after, shorten
from mpta_pipeline.inference.response_checks import ClassifyError
from mpta_pipeline.inference.response_fields import parse_json
from mpta_pipeline.inference.throttle import Throttle

T = TypeVar("T")

RESPONSE_LIMIT = 4 * 1024 * 1024  # bytes; a letter with 200 candidates takes 20 kB
FILE_LIMIT = 1024 * 1024 * 1024  # bytes of a batch's results
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds of backoff


@dataclass
class CallStats:
    """What the HTTP calls of one request took."""

    attempts: int = 0
    latency: float = 0.0
    sent_at: int = 0
    """When the request was first sent, in milliseconds since 1970."""


@dataclass
class _Outgoing(Generic[T]):
    """One HTTP call. With a `content_type` it carries a file, and `read` gets the response's bytes."""

    path: str
    content: bytes | None
    read: Callable[[Any], T]
    stats: CallStats
    tokens: int
    content_type: str | None = None
    attempts: int = 0
    sent_at: float = 0.0
    """When it was last sent, in monotonic seconds."""
    refused_since: float | None = None
    failing_since: float | None = None
    repeatable: bool = True
    """Sending it twice does no harm."""
    error: ProviderError = field(default_factory=lambda: ProviderError(ErrorKind.SERVER, ""))


@dataclass
class HttpClient:
    """The connection to one endpoint. `headers` hold the key, which is sent to the endpoint and nowhere else.

    Attributes:
        spec: The model.
        base_url: Root of the API.
        headers: Headers of every request.
        secrets: Texts that must not appear in any message.
        classify_error: Classifies error responses: the provider's.
        throttle: Limits requests in flight and their rate.
        retries: A failed call may be repeated by itself.
        succeeded: The endpoint has answered a call.
    """

    spec: ModelSpec
    base_url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    classify_error: ClassifyError
    throttle: Throttle
    retries: bool = True
    succeeded: bool = False
    _session: aiohttp.ClientSession = field(init=False)
    _proxy: str | None = None
    _refused_since: float | None = None

    async def __aenter__(self) -> HttpClient:
        local = self.spec.is_local
        self._proxy = None if local else _proxy(self.base_url)
        # The throttle limits connections, so the pool does not. No cookies: a response must not depend on an earlier
        # one. No trust in the environment: aiohttp would look up a proxy and a login in .netrc before each request,
        # and the latter would replace the key.
        self._session = aiohttp.ClientSession(
            connector=(
                aiohttp.TCPConnector(limit=0, resolver=_LoopbackResolver())
                if local
                else aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context())
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            read_bufsize=2**18,
            auto_decompress=False,  # Chunks unpacks, and limits the size
            timeout=aiohttp.ClientTimeout(
                sock_connect=self.spec.timeouts.connect, sock_read=self.spec.timeouts.first_byte
            ),
            headers={
                "accept": "application/json",
                "accept-encoding": "gzip, deflate",
                "content-type": "application/json",
                "user-agent": "mpta-pipeline",
                **self.headers,
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T], stats: CallStats, tokens: int = 0
    ) -> T:
        """Send a request, repeatedly if needed, and return what `read` makes of the response's JSON.

        Without a body it is a GET. The path is below the base URL, or the whole address of another server of a model in
        this process. `read` may raise ProviderError for an unreadable response, which is retried.

        Raises:
            ProviderError: The call failed for good; its kind says whether because of the request or the endpoint.
        """
        content = None if body is None else orjson.dumps(body)
        return await self._send(_Outgoing(path, content, read, stats, tokens))

    async def json(self, path: str, body: Mapping[str, Any] | None, *, repeatable: bool = True) -> Any:
        """Make a call that belongs to no single request; return the response's JSON."""
        content = None if body is None else orjson.dumps(body)
        call = _Outgoing(path, content, lambda payload: payload, CallStats(), 0, repeatable=repeatable)
        return await self._send(call)

    async def raw(self, path: str, content: bytes | None = None, content_type: str = "application/json") -> bytes:
        """Send or fetch a whole file."""
        return await self._send(_Outgoing(path, content, bytes, CallStats(), 0, content_type))

    async def _send(self, out: _Outgoing[T]) -> T:
        try:
            return await self._once(out)
        except ProviderError as error:
            if not self._may_repeat(error, out):
                raise
            out.error = error
        # Only now tenacity: most calls succeed at once, and at 2,000 per second each microsecond counts.
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, ProviderError) and self._may_repeat(e, out)),
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

    def _may_repeat(self, error: ProviderError, out: _Outgoing[Any]) -> bool:
        now = time.monotonic()
        if error.kind is ErrorKind.OVERLOADED:
            self._refused_since = self._refused_since or now
            out.refused_since = out.refused_since or now
            patience, wait = self.spec.timeouts.patience, error.retry_after or 0.0
            if now - self._refused_since + wait > patience:
                error.kind = ErrorKind.FATAL
                return False
            if now - out.refused_since + wait > patience:  # others have succeeded meanwhile
                error.kind = ErrorKind.REQUEST
                return False
            return True
        if error.kind is ErrorKind.UNREACHABLE and not self.succeeded:
            return False
        if error.kind not in (ErrorKind.SERVER, ErrorKind.UNREACHABLE):
            return False
        # The same patience for every status: a 503 that asks to wait for a day is not waited for either.
        out.failing_since = out.failing_since or now
        wait = error.retry_after or 0.0
        if now - out.failing_since + wait > self.spec.timeouts.patience:
            if wait > self.spec.timeouts.patience and not self.succeeded:
                error.kind = ErrorKind.FATAL
            return False
        return self.retries and out.repeatable and out.attempts < self.spec.attempts

    def _wait(self, out: _Outgoing[Any], retry: tenacity.RetryCallState) -> float:
        error = out.error
        backoff = tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(retry)
        if error.retry_after is not None:
            # Spread over a tenth, so that waiting calls do not all return at the same moment. Never less than the
            # backoff: an endpoint that repeatedly says 0 is not called without a pause.
            backoff = max(error.retry_after + min(backoff, 0.1 * error.retry_after), backoff)
        if error.kind is ErrorKind.OVERLOADED:
            self.throttle.refused(error.retry_after if error.retry_after is not None else backoff, out.sent_at)
        return backoff

    async def _once(self, out: _Outgoing[T]) -> T:
        stats = out.stats
        await self.throttle.enter(out.tokens)
        began = out.sent_at = time.monotonic()
        if not stats.sent_at:
            stats.sent_at = time.time_ns() // 1_000_000
        try:
            status, headers, data = await self._transfer(out)
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
        except Exception as failure:  # whatever a server sends must not crash the program
            reason = f"the response does not have the documented form: {type(failure).__name__} {failure}"
            raise self._counted(out, ProviderError(ErrorKind.SERVER, reason)) from None
        self.succeeded = True
        self._refused_since = None
        self.throttle.succeeded(latency)
        out.attempts += 1
        stats.attempts += 1
        return result

    async def _transfer(self, out: _Outgoing[Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Send the call and receive the whole response: status, headers, content.

        Raises:
            ProviderError: There was no response, or only a part of one.
        """
        timeouts = self.spec.timeouts
        try:
            async with asyncio.timeout(timeouts.whole):
                return await self._receive(out)
        except aiohttp.SocketTimeoutError:
            self.throttle.refused(0.0, out.sent_at)
            raise ProviderError(ErrorKind.SERVER, f"no response within {timeouts.first_byte:g} s") from None
        except aiohttp.ConnectionTimeoutError as failure:
            raise ProviderError(ErrorKind.UNREACHABLE, f"no connection: {failure}") from None
        except TimeoutError:
            self.throttle.refused(0.0, out.sent_at)
            raise ProviderError(ErrorKind.SERVER, f"no complete response within {timeouts.whole:g} s") from None
        except aiohttp.ClientConnectorError as failure:
            raise ProviderError(ErrorKind.UNREACHABLE, f"no connection: {failure}") from None
        except (aiohttp.InvalidURL, UnicodeError) as failure:
            raise ProviderError(ErrorKind.UNREACHABLE, f"no connection: the address is not valid ({failure})") from None
        except (aiohttp.ClientError, OSError, EOFError) as failure:
            raise ProviderError(ErrorKind.SERVER, f"the connection broke: {type(failure).__name__} {failure}") from None

    async def _receive(self, out: _Outgoing[Any]) -> tuple[int, Mapping[str, str], bytes]:
        async with self._session.request(
            "GET" if out.content is None else "POST",
            out.path if out.path.startswith("http://") else self.base_url + out.path,
            params=self.spec.query or None,
            data=out.content,
            headers=None if out.content_type is None else {"content-type": out.content_type},
            allow_redirects=False,
            proxy=self._proxy,
        ) as response:
            encoding = response.headers.get("content-encoding", "")
            chunks = Chunks(encoding, RESPONSE_LIMIT if out.content_type is None else FILE_LIMIT)
            async for chunk in response.content.iter_any():
                chunks.add(chunk)
            return response.status, response.headers, chunks.content()

    def _payload(self, status: int, headers: Mapping[str, str], data: bytes) -> Any:
        """Return the response's JSON, whatever its content type claims.

        Raises:
            ProviderError: The status is an error, or the response is not JSON.
        """
        text = ""
        payload: Any = None
        try:
            payload = parse_json(data)
        except ValueError:
            text = data[:2000].decode("utf-8", "replace")
        if status < 300 and payload is not None:
            return payload
        if 300 <= status < 400:
            raise ProviderError(ErrorKind.UNREACHABLE, f"HTTP {status}: the endpoint redirects to another address")
        is_page = payload is None and text.lstrip()[:1] == "<"
        if status < 300:
            if is_page:
                raise ProviderError(ErrorKind.UNREACHABLE, "the response is a web page (HTML), not the JSON of an API")
            raise ProviderError(ErrorKind.SERVER, f"the response is not JSON: {text[:80]!r}")
        error = self.classify_error(status, payload, "a web page (HTML)" if is_page else text)
        if is_page and status == 404:
            error.kind = ErrorKind.UNREACHABLE
        if error.retry_after is None:
            error.retry_after = retry_after(headers)
        raise ProviderError(error.kind, f"HTTP {status}: {error.reason}", retry_after=error.retry_after)

    def _counted(self, out: _Outgoing[Any], error: ProviderError) -> ProviderError:
        """Count a failed attempt (a refusal because of load is not one) and remove the key from the reason."""
        if error.kind is not ErrorKind.OVERLOADED:
            out.attempts += 1
            out.stats.attempts += 1
        return ProviderError(error.kind, shorten(redact(error.reason, self.secrets)), retry_after=error.retry_after)


class Chunks:
    """A response as it arrives, unpacked piece by piece and never beyond `limit` bytes, however small it was packed.

    Args:
        encoding: Its Content-Encoding: gzip, deflate, or none. Nested encodings are refused: no API uses them.
        limit: Bytes of the unpacked response.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.parts: list[bytes] = []
        self.encoding = encoding.strip().lower()
        if self.encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ProviderError(
                ErrorKind.SERVER, f"the response has a content encoding that was not requested: {shorten(encoding, 80)}"
            )
        self.unpack: Any = None  # zlib's object, whose class has no public name
        if self.encoding in ("gzip", "x-gzip"):
            self.unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def add(self, chunk: bytes) -> None:
        """Add the next piece as it arrived."""
        if self.encoding in ("", "identity"):
            self._keep(chunk)
            return
        if self.unpack is None and chunk:
            # "deflate" is a zlib stream, from some servers a raw one; the first byte tells them apart.
            self.unpack = zlib.decompressobj(zlib.MAX_WBITS if chunk[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        while chunk:
            try:
                piece = self.unpack.decompress(chunk, 2**18)
            except zlib.error as failure:
                raise ProviderError(ErrorKind.SERVER, f"the response cannot be unpacked: {failure}") from None
            self._keep(piece)
            chunk = self.unpack.unconsumed_tail
            if self.unpack.eof and self.unpack.unused_data:
                return  # what follows the end of the stream is not part of the response

    def content(self) -> bytes:
        """Return the whole response."""
        return b"".join(self.parts)

    def _keep(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self.limit:
            raise ProviderError(ErrorKind.REQUEST, f"the response is larger than {self.limit // 2**20} MiB")
        self.parts.append(piece)


class _LoopbackResolver(aiohttp.ThreadedResolver):
    """Resolves names to loopback addresses only, so that local data cannot leave this machine by a name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        own = [one for one in found if ipaddress.ip_address(one["host"].partition("%")[0]).is_loopback]
        if not own:
            raise OSError(None, f"{host} is not this machine")
        return own


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for this address (HTTPS_PROXY, ALL_PROXY, NO_PROXY).

    Raises:
        ModelError: It is not reached by http or https.
    """
    target = urlsplit(url)
    proxies = getproxies()
    address = proxies.get(target.scheme) or proxies.get("all")
    if not address or proxy_bypass(target.hostname or ""):
        return None
    if "://" not in address:
        address = f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise ModelError(
            f"The environment names a proxy for {target.hostname} that is not reached by http or https",
            variable=f"{target.scheme}_proxy",
            value=address.partition("://")[0] + "://…",  # a proxy's address may hold a password
            remedy="name an http or https proxy, or list the host in NO_PROXY",
        )
    return address
