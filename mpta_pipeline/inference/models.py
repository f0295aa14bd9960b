"""Read `models.yaml`: one entry per model, validated here, and what identifies the model's responses."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
import polars as pl
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from mpta_pipeline.core.configuration import StrictModel, config_dir, read_yaml, validated
from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.labels import CONTROL
from mpta_pipeline.core.tables import MODELS
from mpta_pipeline.core.unknown_names import closest
from mpta_pipeline.core.vocabulary import Elicitation
from mpta_pipeline.inference.provider_errors import LEAST_SECRET
from mpta_pipeline.inference.provider_registry import providers_of
from mpta_pipeline.inference.providers.base import Provider, ProviderOptions

DEFAULT_ELICITATIONS: tuple[Elicitation, ...] = ("letter", "verbalized", "free_text")
# Fields of a request that are made from the prompt.
_RESERVED = frozenset(("model", "messages", "prompt", "system", "contents", "stream", "n", "best_of", "echo"))
_LIKE_A_KEY = "{} looks like a key: keys come from the environment; name the variable in key_env"
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
# Headers and parameters whose values are not secret and may occur in responses.
_HARMLESS = re.compile(r"(?i)version|beta|referer|title|user-agent|accept|content-type|region|deployment|language")
_PRIVATE = ("key_env", "base_url", "headers", "query", "parameters")  # their values may hold a key
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Price(StrictModel):
    """US dollars per million tokens.

    Attributes:
        input: Tokens of the prompt.
        output: Tokens of the response, including those of a thought.
        cached_input: Tokens of the prompt that the provider took from its cache; null: as `input`.
        batch: Price at the batch endpoint, as a share of the usual price.
    """

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    batch: float = Field(default=0.5, gt=0, le=1)

    def of(self, prompt: int, completion: int, cached: int = 0, *, batch: bool = False) -> float:
        """Return the price of tokens in US dollars; `cached` of the `prompt` tokens were in the provider's cache."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        dollars = ((prompt - cached) * self.input + cached * cached_price + completion * self.output) / 1e6
        return dollars * (self.batch if batch else 1.0)


class Timeouts(StrictModel):
    """Limits of a request, in seconds.

    Attributes:
        connect: Until the connection stands.
        first_byte: Until the first byte of the response, and between bytes.
        whole: For the whole request.
        patience: How long an endpoint may keep refusing because it is overloaded (429, 529). After that the model
            cannot be used in this run; a single request that is refused while others succeed becomes an error.
    """

    connect: float = Field(default=10.0, gt=0)
    first_byte: float = Field(default=120.0, gt=0)
    whole: float = Field(default=300.0, gt=0)
    patience: float = Field(default=600.0, gt=0)


class Reasoning(StrictModel):
    """Whether a model thinks before it answers, and how long. `reasoning: off` is short for a budget of 0.

    Attributes:
        budget: Tokens of thought, in addition to those of the answer; 0 switches thinking off if the provider can.
        effort: For models that take a word instead of a number (OpenAI, gpt-oss, Gemini 3).
        switch: Field of the request that controls thinking. The default depends on the provider and base_url:
            `reasoning_effort` (OpenAI, Azure, Groq, Mistral, xAI, Ollama), `reasoning` (OpenRouter), `thinking`
            (Anthropic, DeepSeek, Z.ai, Moonshot), `enable_thinking` (DashScope), `thinkingConfig` (Gemini), and
            `chat_template_kwargs` for your own servers (vLLM, SGLang, llama.cpp). `none` sends nothing and only
            allows tokens for the thought.
    """

    budget: int = Field(default=2048, ge=0)
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    switch: str | None = None


class ModelSpec(StrictModel):
    """One model, as its entry in `models.yaml` describes it.

    Attributes:
        name: The entry's key: partition key and name of the ledger's folder.
        source: The file of the entry.
        provider: Wire format: the name of a file in `inference/providers/` or in the configuration's `providers/`.
        api: `chat` or, for base models without a chat template, `completions`.
        base_url: Root of the API, up to and including the version.
        model: The model's name at the provider; a simulated respondent's is that of its entry.
        revision: What pins the weights if the provider supports it (commit, dated name). With it, responses stay valid
            when the same model moves to another base_url.
        key_env: Environment variable that holds the key; null for the provider's usual one, or none with a base_url.
        key_header: Header that carries the key, if it is not the provider's usual one (Azure: api-key).
        headers: Further headers. Never put secrets here.
        query: Further URL parameters (Azure: api-version).
        elicitations: Ways of eliciting answers that the model is used with; simulated respondents are used with all.
        parameters: Sampling parameters, sent as they are (temperature is 0 unless given).
        max_tokens: Tokens that a response may have; null for a default by elicitation.
        reasoning: Whether and how long the model thinks before it answers (see Reasoning): `off`, a number of tokens,
            or a mapping. Absent: nothing is sent, and a model that turns out to think is allowed tokens for it.
        max_tokens_field: Name of that field in the request (reasoning models of OpenAI: max_completion_tokens).
        top_logprobs: Candidates requested at the answer's first token; 0 requests no log-probabilities.
        system_role: The chat format has a system message; false puts the persona before the user's message (Gemma).
        structured: Request JSON (Gemini: an enum) that can only be one of the letters, if the provider offers it.
            There are no log-probabilities of letters then.
        option_scoring: How whole options get log-probabilities; `auto` finds out by small requests.
        connections: Requests in flight at most.
        slots: Slots of a llama.cpp server. Each gets whole personas, so that its prefix cache can be used.
        requests_per_minute: Rate limit of the endpoint, if it has one.
        tokens_per_minute: Rate limit of the endpoint, if it has one.
        attempts: Attempts per request if the server fails (5xx, connection reset, timeout, unreadable response).
        timeouts: See Timeouts.
        batch: Use the provider's batch endpoint.
        batch_poll: Seconds between checks of a batch.
        price: Price of tokens, for plan, budget and account.
        budget: US dollars that may be spent on this model in all.
        panel_share: Share of the panel that the model is asked about, chosen by hash; below 1 for a model that is slow
            or costly. A larger share sends only what is new.
        trusted: The endpoint may receive personas whose source is local only. You answer for that.
        seconds_per_request: Expected latency, used by the plan until responses have been timed.
        options: Fields that only this entry's provider has. In the file they stand beside the others.
    """

    name: str
    source: Path | None = Field(default=None, exclude=True)
    provider: str
    api: Literal["chat", "completions"] = "chat"
    base_url: str | None = None
    model: str
    revision: str | None = None
    key_env: str | None = None
    key_header: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    elicitations: tuple[Elicitation, ...] = Field(default=DEFAULT_ELICITATIONS, min_length=1)
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
    panel_share: float = Field(default=1.0, gt=0, le=1)
    trusted: bool = False
    seconds_per_request: float = Field(default=1.0, gt=0)
    options: ProviderOptions = Field(default_factory=ProviderOptions, exclude=True)
    _provider_class: type[Provider] = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _move_options(cls, entry: Any) -> Any:
        """Move the fields that the provider declares itself into `options`, validated by the provider."""
        if not isinstance(entry, dict):
            return entry
        known = providers_of(_config_of(entry.get("source")))
        provider = known.by_name.get(str(entry.get("provider")))
        if provider is None:
            return entry
        own = set(provider.Options.model_fields)
        if provider.Options.model_config.get("extra") == "allow":  # its file was set aside: all fields are possible
            own |= entry.keys() - cls.model_fields.keys()
        else:
            for name in entry:
                if name not in cls.model_fields and name not in own and (owners := known.owners(name)):
                    raise ValueError(f"{name} belongs to {' and '.join(owners)} models only")
        if isinstance(entry.get("options"), dict):
            raise ValueError("options is not a field of an entry: put the provider's fields beside the others")
        if provider.control:  # it has no name but the entry's
            entry = {"model": entry.get("name")} | entry
        usual = () if provider.control else tuple(e for e in DEFAULT_ELICITATIONS if e in provider.elicitations)
        options = entry.get("options") or provider.Options.model_validate({k: entry[k] for k in own if k in entry})
        rest = {k: v for k, v in entry.items() if k not in own}
        return {"elicitations": usual or provider.elicitations} | rest | {"options": options}

    @field_validator("provider")
    @classmethod
    def _provider_is_known(cls, name: str, info: ValidationInfo) -> str:
        names = sorted(providers_of(_config_of(info.data.get("source"))).by_name)
        if name not in names:
            near = closest(name, names)
            meant = f"; did you mean {near}?" if near else ""
            raise ValueError(f"there is no provider {name}{meant} Known providers: {', '.join(names)}")
        return name

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
            if name in _RESERVED:
                raise ValueError(f"{name} is no sampling parameter: the request's own fields are made from the prompt")
        # Parameters are published with the model's card, however deep they lie.
        for path, value in _leaves(values):
            if any(_KEY_NAME.search(name) for name in path):
                raise ValueError(_LIKE_A_KEY.format(".".join(path)))
            if isinstance(value, str) and _KEY.search(value):
                raise ValueError(_LIKE_A_KEY.format(f"the value of {'.'.join(path)}"))
        return values

    @model_validator(mode="after")
    def _fits_its_provider(self) -> ModelSpec:
        known = providers_of(_config_of(self.source))
        provider = self._provider_class = known.by_name[self.provider]
        for field in provider.unused_fields:
            if getattr(self, field):
                raise ValueError(f"a model of provider {self.provider} has no {field}")
        if not provider.in_process and self.base_url is None and provider.base_url is None:
            raise ValueError(f"provider {self.provider} has no default address: give base_url")
        if self.structured and (not provider.structured_output or self.api == "completions"):
            able = ", ".join(sorted(name for name, one in known.by_name.items() if one.structured_output))
            raise ValueError(f"structured output exists for the chat of these providers only: {able}")
        if self.api not in provider.apis:
            able = ", ".join(sorted(name for name, one in known.by_name.items() if self.api in one.apis))
            raise ValueError(f"api: {self.api} exists for these providers only: {able}")
        if self.batch and provider.batches is Provider.batches:
            raise ValueError(f"provider {self.provider} has no batch endpoint")
        switch = None if self.reasoning is None else self.reasoning.switch
        if switch is not None and switch not in (switches := (*known.thinking_switches, "none")):
            raise ValueError(f"there is no reasoning.switch {switch}; use one of {', '.join(switches)}")
        return self

    @property
    def provider_class(self) -> type[Provider]:
        """The provider's class, with what it declares of itself."""
        return self._provider_class

    @property
    def concurrency(self) -> int:
        """Requests that may be in flight at once."""
        return self.provider_class.in_flight(self)

    @property
    def control(self) -> bool:
        """Whether this is a simulated respondent: a control, which is never ranked or compared with models."""
        return self.provider_class.control

    @property
    def url(self) -> str:
        """Root of the API; empty for a model in this process, whose address is known only while it runs."""
        return self.base_url or self.provider_class.base_url or ""

    @property
    def address_problem(self) -> str | None:
        """What is wrong with the address, in words; None if it is valid.

        A mistake in one entry's host or port concerns that model alone, so it is not an error of the file.
        """
        parts = urlsplit(self.url)
        try:
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as failure:  # a UnicodeError, too
            return f"base_url has no valid host and port ({failure})"
        if port == 0 or re.search(r"[\s\x00-\x1f\x7f<>\"\\^`{|}]", self.url):
            return "base_url has no valid host and port, or contains characters that are not allowed in an address"
        return None

    @property
    def is_local(self) -> bool:
        """Whether prompts stay on this machine: the model runs in this process or its host is a loopback address.

        Name resolution may only return loopback addresses for such a host. Ollama forwards the prompts of its cloud
        models. Any other gateway on this machine that forwards prompts cannot be recognized: do not configure one as
        a local address.
        """
        if self.provider_class.in_process:
            return True
        if self.model.strip().casefold().endswith(("-cloud", ":cloud")):
            return False
        host = urlsplit(self.url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def may_receive(self, data_use: str) -> bool:
        """Return whether a prompt with this data use may be sent to this model."""
        return data_use == "any" or self.is_local or self.trusted

    @property
    def key_variable(self) -> str | None:
        """Environment variable that holds the key; None if the model needs no key."""
        return self.key_env or (None if self.base_url else self.provider_class.key_variable)

    def key(self) -> str | None:
        """Return the key from the environment; None if the model needs none.

        Raises:
            ModelError: The variable is not set.
        """
        name = self.key_variable
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key:
            raise ModelError(
                f"Model {self.name} needs a key, and the environment variable {name} is not set",
                variable=name,
                file=self.source,
                remedy=f"export {name}=… and run again; other models are not affected",
            )
        return key

    def secrets(self, key: str | None) -> tuple[str, ...]:
        """Return what must never be stored or shown: the key, and values of headers and URL parameters."""
        further = [
            value
            for name, value in (*self.headers.items(), *self.query.items())
            if len(value) >= LEAST_SECRET and not _HARMLESS.search(name)
        ]
        return tuple(dict.fromkeys([*([key] if key else []), *further]))

    def tokens_for(self, elicitation: str) -> int:
        """Return the tokens that a response may have, including the thought that the entry allows."""
        thought = self.reasoning.budget if self.reasoning is not None and elicitation != "option_logprob" else 0
        return self.answer_tokens(elicitation) + thought

    def answer_tokens(self, elicitation: str) -> int:
        """Return the tokens that the answer itself may have."""
        if self.max_tokens is not None:
            return self.max_tokens
        if self.structured and elicitation == "letter":
            return 24  # {"answer": "A"}
        return self.provider_class.answer_tokens[elicitation]

    def identity(self) -> dict[str, Any]:
        """Return everything that can change a response and is not in the prompt. The ledger's keys are made of it.

        Connections, limits, prices and key are not part of it. The base URL is, unless a revision pins the weights.
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
        if not self.system_role:  # only if it is unusual, so that earlier responses keep their keys
            fixed["system_role"] = False
        if self.reasoning is not None:
            fixed["reasoning"] = self.reasoning.model_dump()
        return fixed | self.provider_class.identity(self)


def _config_of(source: Any) -> Path | None:
    """Return the configuration folder of an entry, by the file that it comes from; None for the environment's."""
    return source.parent if isinstance(source, Path) else None


def load_models(path: Path | None = None) -> dict[str, ModelSpec]:
    """Read and validate `models.yaml`; return the models by the name of their entry.

    Raises:
        ConfigError: An entry is not valid. The message names entry, key, value and remedy.
    """
    path = path or config_dir() / "models.yaml"
    raw = read_yaml(path)
    entries = raw.get("models") if isinstance(raw, dict) else None
    if not isinstance(entries, dict) or set(raw) != {"models"}:
        raise ConfigError(
            "The file must have one key, `models`, with one entry per model below it",
            file=path,
            remedy="write models: and below it name: {provider: …, model: …}",
        )
    return {str(name): _model(str(name), entry, path) for name, entry in entries.items()}


def _model(name: str, entry: Any, path: Path) -> ModelSpec:
    if not isinstance(entry, dict):
        raise ConfigError(
            "A model's entry must be a mapping",
            file=path,
            variable=name,
            remedy="give it at least provider and model",
        )
    return validated(
        ModelSpec,
        entry | {"name": name, "source": path},
        f"Model {name} is not valid",
        file=path,
        key=f"models.{name}",
        remedy="correct that key; docs/reference/configuration.md lists all of them",
        unknown_key=partial(_remedy, entry=entry, path=path),
        private=_PRIVATE,
    )


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values in nested mappings and lists, each with its keys."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value


def _remedy(where: str, entry: Mapping[str, Any], path: Path) -> str:
    """Return the remedy for an unknown key: the known keys that resemble it."""
    last = where.rpartition(".")[2]
    if re.search(r"authorization|key|token|secret|password", last, re.IGNORECASE):
        return "remove it from the file: keys come from the environment; name the variable in key_env"
    provider = providers_of(path.parent).by_name.get(str(entry.get("provider")), Provider)
    fields = (ModelSpec, Reasoning, Price, Timeouts, provider.Options)
    near = difflib.get_close_matches(last, [name for one in fields for name in one.model_fields], n=2)
    return (
        f"write {' or '.join(near)}, if that is meant"
        if near
        else "remove it; docs/reference/configuration.md lists all keys"
    )


def card(spec: ModelSpec) -> dict[str, Any]:
    """Return what may be published about a model: no secrets. `digest` is the data version of its responses.

    Changes of connections, limits or prices leave the digest as it is; whatever can change a response changes it.
    """
    identity = spec.identity()
    return {
        "name": spec.name,
        "kind": CONTROL if spec.control else "model",
        "provider": spec.provider,
        "model": spec.model,
        "revision": spec.revision,
        "url": spec.url or None,
        "local": spec.is_local,
        "elicitations": list(spec.elicitations),
        "identity": identity,
        "price": None if spec.price is None else spec.price.model_dump(),
        "batch": spec.batch,
        "digest": digest(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS).decode()),
    }


def card_version(spec: ModelSpec) -> str:
    """Return the data version of the model's responses: the digest of `card`."""
    return str(card(spec)["digest"])


def table_row(spec: ModelSpec) -> dict[str, Any]:
    """Return a row of the table `models`."""
    return {
        "model": spec.name,
        "control": spec.control,
        "about": spec.provider_class.about(spec),
        "provider": spec.provider,
        "provider_name": spec.model,
        "revision": spec.revision,
        "url": spec.url or None,
        "local": spec.is_local,
        "panel_share": spec.panel_share,
        "version": card_version(spec),
    }


def models_table(specs: Iterable[ModelSpec]) -> pl.DataFrame:
    """Return MODELS: one row per model."""
    rows = [table_row(spec) for spec in specs]
    return MODELS.conform(pl.DataFrame(rows, schema=MODELS.schema, orient="row"))
