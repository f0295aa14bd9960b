"""A server on loopback that answers in each provider's format and misbehaves on cue.

In a test it runs in a forked process; for benchmarks, `python -m tests.factories.provider_server --latency .05` prints
its port. A function of the request decides the answer. The default, `answers`, speaks OpenAI's chat format; a cue in
the user's text (`{{cue}}`) chooses the misbehaviour.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import gzip
import multiprocessing
import re
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import orjson

CUE = re.compile(r"\{\{([a-z0-9_]+)\}\}")


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    seen: int
    """How often this very request was sent before."""

    @property
    def text(self) -> str:
        body = self.body if isinstance(self.body, dict) else {}
        if "messages" in body:
            return str(body["messages"][-1]["content"])
        if "contents" in body:
            return str(body["contents"][-1]["parts"][0]["text"])
        return str(body.get("prompt", ""))

    @property
    def cue(self) -> str | None:
        found = CUE.search(self.text)
        return found[1] if found else None


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float | None = None
    raw: bytes | None = None
    content_type: str = "application/json"
    truncate: int | None = None
    drip: float | None = None
    reset: bool = False
    hang: bool = False
    counted: bool = False


def chat(text: str | None = "A", *, logprobs: dict[str, float] | None = None, **choice: Any) -> dict[str, Any]:
    """A chat completion as published: id, object, created, model, system_fingerprint, choices, usage."""
    content = None
    if logprobs is not None:
        top = [{"token": t, "logprob": v, "bytes": list(t.encode())} for t, v in logprobs.items()]
        content = {"content": [{**top[0], "top_logprobs": top}] if top else [], "refusal": None}
    message = {"role": "assistant", "content": text, "refusal": choice.pop("refusal", None)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock-1",
        "system_fingerprint": choice.pop("fingerprint", "fp_1"),
        "choices": [{"index": 0, "message": message, "logprobs": content, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 1, "total_tokens": 41},
    }


LETTERS = {"A": -0.2, "B": -2.0, " A": -4.0, "C": -5.0, "The": -6.0, "D": -7.0}


def openai_error(message: str, code: str | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def answers(request: Request) -> Answer:
    """OpenAI's chat with the cues of the fault list."""
    cue, seen = request.cue, request.seen
    if cue == "big":
        return Answer(raw=orjson.dumps(chat("x" * 10_000_000)))
    good = Answer(body=chat(logprobs=LETTERS if (request.body or {}).get("logprobs") else None))
    if cue is None:
        return good
    once = {
        "429": Answer(429, openai_error("slow down", "rate_limit_exceeded"), {}),
        "429_seconds": Answer(429, openai_error("slow down"), {"retry-after": "1"}),
        "429_date": Answer(429, openai_error("slow down"), {"retry-after": formatdate(time.time() + 1.5, usegmt=True)}),
        "500": Answer(500, openai_error("oops", kind="server_error")),
        "502": Answer(502, raw=b"<html><h1>502 Bad Gateway</h1></html>", content_type="text/html"),
        "503": Answer(503, openai_error("overloaded"), {"retry-after": "0"}),
        "reset": Answer(reset=True),
        "truncated": Answer(body=chat(), truncate=60),
        "bad_json": Answer(raw=b'{"choices": [{"message"'),
        "html_once": Answer(raw=b"<!doctype html><p>hello", content_type="text/html"),
        "hang": Answer(hang=True),
        "drip": Answer(body=chat(), drip=0.2),
        "empty_once": Answer(body=chat() | {"choices": []}),
    }
    if cue in once:
        return once[cue] if seen == 0 else good
    always = {
        "always_500": Answer(500, openai_error("this prompt kills me", kind="server_error")),
        "400": Answer(400, openai_error("bad item")),
        "too_long": Answer(400, openai_error("maximum context length is 10 tokens", "context_length_exceeded")),
        "html": Answer(raw=b"<!doctype html><html><body>Welcome</body></html>", content_type="text/html"),
        "empty_choices": Answer(body=chat() | {"choices": []}),
        "no_logprobs": Answer(body=chat("B")),
        "wrong_letter": Answer(body=chat("Z", logprobs={"Z": -0.1, "Q": -3.0})),
        "unicode": Answer(body=chat("答えは Ａ です 🦆\u2028é", logprobs=LETTERS)),
        "filter": Answer(body=chat("", finish_reason="content_filter")),
        "filter_400": Answer(400, openai_error("The response was filtered", "content_filter")),
        "refusal": Answer(body=chat(None, refusal="I cannot help with that.")),
        "text_plain": Answer(body=chat("A", logprobs=LETTERS), content_type="text/plain"),
        "gzip": Answer(
            raw=gzip.compress(orjson.dumps(chat("A", logprobs=LETTERS))), headers={"content-encoding": "gzip"}
        ),
        "null_content": Answer(body=chat(None)),
        "echo_key": Answer(body=chat(request.headers.get("authorization", ""))),
        "fingerprint": Answer(body=chat(logprobs=LETTERS, fingerprint="fp_2")),
        "surrogate": Answer(raw=b'{"choices":[{"message":{"content":"\xff\xfe"}}]}'),
    }
    return always.get(cue or "", good)


class Server:
    """Serves in a process of its own (two event loops in one process starve each other), forked by `running`.

    `decide` gets each request and runs there; `phase` is a number that a test may set to change its mind. `log` fetches
    what was asked.
    """

    def __init__(self, decide: Callable[[Request], Answer] = answers, latency: float = 0.0) -> None:
        self.decide = decide
        self.latency = latency
        self.counts: Counter[bytes] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.served = self.active = self.most_active = 0
        self.keep_log = True
        self.port = 0
        self.phase = multiprocessing.get_context("fork").Value("i", 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> list[Request]:
        """Requests so far, in order."""
        return [Request(**entry) for entry in self._fetch()["requests"]]

    @property
    def peak(self) -> int:
        """Most requests under way at once."""
        return int(self._fetch()["most_active"])

    def _fetch(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/__log") as response:
            return orjson.loads(response.read())

    async def serve(self, port: int = 0) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, loop), "127.0.0.1", port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        return server

    @contextlib.contextmanager
    def running(self, port: int = 0) -> Iterator["Server"]:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()

        def main() -> None:
            async def run() -> None:
                listening = await self.serve(port)
                theirs.send(self.port)
                await listening.serve_forever()

            asyncio.run(run())

        process = context.Process(target=main, daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        self.port = ours.recv()
        try:
            yield self
        finally:
            process.kill()
            process.join()


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, blank, rest = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        method, path, _ = first.split(" ")
        content = rest[:length]
        server = self.server
        if path == "/__log":
            shown = {name: getattr(server, name) for name in ("requests", "served", "most_active")}
            self.send(Answer(body=shown))
            return
        key = path.encode() + content
        body = orjson.loads(content) if content[:1] in (b"{", b"[") else content
        request = Request(method, path, headers, body, server.counts[key])
        server.counts[key] += 1
        if server.keep_log:
            shown = body.decode("latin-1") if isinstance(body, bytes) else body
            server.requests.append({**vars(request), "body": shown})
        server.served += 1
        server.active += 1
        server.most_active = max(server.most_active, server.active)
        answer = dataclasses.replace(server.decide(request), counted=True)
        delay = server.latency if answer.delay is None else answer.delay
        self.loop.call_later(delay, self.send, answer)

    def send(self, answer: Answer) -> None:
        self.server.active -= answer.counted
        if answer.hang or self.transport.is_closing():
            return
        if answer.reset:
            self.transport.abort()
            return
        body = answer.raw if answer.raw is not None else orjson.dumps(answer.body)
        headers = {"content-type": answer.content_type, "content-length": str(len(body)), **answer.headers}
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        if answer.truncate is not None:
            self.transport.write(head.encode() + body[: answer.truncate])
            self.transport.close()
        elif answer.drip is not None:
            self.transport.write(head.encode())
            self.loop.create_task(self.drip(body, answer.drip))
        else:
            self.transport.write(head.encode() + body)

    async def drip(self, body: bytes, pause: float) -> None:
        for i in range(len(body)):
            if self.transport.is_closing():
                return
            self.transport.write(body[i : i + 1])
            await asyncio.sleep(pause)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = Server(latency=options.latency)
    server.keep_log = False
    response = Answer(raw=orjson.dumps(chat(logprobs=LETTERS)))
    server.decide = lambda request: response

    async def run() -> None:
        listening = await server.serve(options.port)
        print(server.port, flush=True)
        await listening.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    main()
