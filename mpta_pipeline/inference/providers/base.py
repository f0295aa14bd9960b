"""What a provider is: one wire format, declared by a subclass of `Provider` in a file of its own.

A file `NAME.py` in this folder, or in `providers/` of the configuration folder, defines one subclass of `Provider`.
`provider: NAME` in `models.yaml` then selects it. Whatever other modules need to know of a provider is declared here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from mpta_pipeline.core.configuration import StrictModel
from mpta_pipeline.inference.batch_endpoint import BatchEndpoint
from mpta_pipeline.inference.known_truth import WantedTruth
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError, shorten
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_fields import message_of

if TYPE_CHECKING:  # models.py asks the registry, which imports the providers
    from mpta_pipeline.inference.models import ModelSpec

T = TypeVar("T")


class Call(Protocol):
    """An HTTP call, as the engine passes it to a provider."""

    def __call__(self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T]) -> Awaitable[T]:
        """Send a JSON body (None: GET) to a path below the base URL; return what `read` makes of the response's JSON.

        Raises:
            ProviderError: The call failed for good. An error that `read` raises because a response cannot be read is
                retried first.
        """


class ProviderOptions(StrictModel):
    """Fields of a `models.yaml` entry that only one provider has. They stand beside the common fields."""


@dataclass(slots=True)
class ModelResponse:
    """A model's response. A refusal by a content filter is a response whose `finish_reason` says so.

    Attributes:
        text: The text without a thought that came in a field of its own.
        option_logprobs: Natural log-probability of each shown option's letter or text; None if not offered.
        finish_reason: Why the model stopped, in the provider's words.
        prompt_tokens: Tokens of the prompt, as counted by the provider.
        completion_tokens: Tokens of the response, including those of a thought.
        cached_tokens: Tokens of the prompt that the provider took from its cache.
        provider_model: Model and fingerprint as reported by the provider.
        letter_share: Probability of the options' letters, in all, at the answer's first token; None if unknown.
        thought: The model thought first: in a field of its own, within the text, or as tokens that are charged.
    """

    text: str | None
    option_logprobs: list[float] | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    provider_model: str | None = None
    letter_share: float | None = None
    thought: bool = False

    def __post_init__(self) -> None:
        # What is stored must fit the ledger's columns, whatever a server puts in these fields.
        for name in ("text", "finish_reason", "provider_model"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                setattr(self, name, str(value))


def spoken(request: ModelRequest, *, said_by: str = "assistant") -> list[dict[str, str]]:
    """Return the messages after the system's: what was asked and said before, and the question.

    Args:
        request: The request.
        said_by: The format's role of the model.
    """
    messages = []
    for asked, said in request.history:
        messages += [{"role": "user", "content": asked}, {"role": said_by, "content": said}]
    return [*messages, {"role": "user", "content": request.user}]


class Provider(ABC):
    """One wire format.

    The smallest provider defines `base_url`, `key_variable`, `headers`, `complete` and `read_response`.
    """

    base_url: ClassVar[str | None] = None
    """Root of the API, used if an entry has no `base_url`. None: the entry must have one."""
    key_variable: ClassVar[str | None] = None
    """Environment variable of the key, used if an entry has neither `key_env` nor `base_url`."""
    elicitations: ClassVar[tuple[str, ...]] = ("letter", "verbalized", "free_text")
    """Ways of eliciting answers that the format allows. `option_logprob` needs log-probabilities of whole options."""
    apis: ClassVar[tuple[str, ...]] = ("chat",)
    """Values of `api` that an entry may have."""
    structured_output: ClassVar[bool] = False
    """The format can restrict the output to one of the letters (`structured: true`)."""
    thinking_switches: ClassVar[tuple[str, ...]] = ()
    """Request fields that tell a model whether to think, the usual one first."""
    answer_tokens: ClassVar[Mapping[str, int]] = {"letter": 8, "option_logprob": 1, "verbalized": 256, "free_text": 512}
    """Tokens that an answer may have, by elicitation. One is enough for a letter, but some chat models write "(A)"."""
    Options: ClassVar[type[ProviderOptions]] = ProviderOptions
    """Further fields of an entry that belong to this provider."""
    unused_fields: ClassVar[tuple[str, ...]] = ()
    """Common fields of an entry that this provider does not take."""
    in_process: ClassVar[bool] = False
    """The model runs inside this process: it has no address and no key, and prompts stay on this machine."""
    control: ClassVar[bool] = False
    """Not a model but a simulated respondent with known properties. Controls are never ranked or compared."""
    concurrency: ClassVar[int | None] = None
    """Requests in flight at most, whatever the entry says. None: the entry's `connections`."""
    prefill_rate: ClassVar[float | None] = None
    """Prompt tokens evaluated per second, by which plans estimate the time. None: by the latency of requests."""
    seconds_per_call: ClassVar[float] = 0.05
    """What a call takes beside the evaluation of its prompt, by which plans estimate the time with `prefill_rate`."""
    root_has_version: ClassVar[bool] = False
    """The API's root ends in a version (`/v1`), so that a base URL without one is probably a mistake."""
    retries: ClassVar[bool] = True
    """A failed HTTP call may be repeated by itself. False if a response takes several calls that belong together."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.missing_features: list[str] = []
        """Features that the endpoint turned out not to offer, in words for the user."""
        self.thinking_allowance = 0
        """Tokens of thought that this run allows because the model turned out to think although its entry is silent."""
        self.option_method: str | None = None
        """How whole options get log-probabilities; None until it is known."""

    # ---------------------------------------------------------------- what every provider defines

    @abstractmethod
    def headers(self, key: str | None) -> dict[str, str]:
        """Return the headers of every request, with the key if there is one."""

    @abstractmethod
    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Get the response to one request, by one HTTP call or several."""

    @abstractmethod
    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Read a response's JSON.

        Raises:
            ProviderError: It does not have the documented form, or reports an error.
        """

    # ---------------------------------------------------------------- what a provider may define

    def classify_error(self, status: int, payload: Any, text: str) -> ProviderError:
        """Classify an error response by the usual meaning of its status. Subclasses add the provider's own codes."""
        reason = shorten(message_of(payload) or text or "no reason given")
        if status == 401:
            return ProviderError(ErrorKind.FATAL, f"the key was rejected: {reason}")
        if status == 402:
            return ProviderError(ErrorKind.FATAL, f"the account has no credit left: {reason}")
        if status in (408, 409, 425) or status >= 500:
            return ProviderError(ErrorKind.OVERLOADED if status == 529 else ErrorKind.SERVER, reason)
        if status == 429:
            return ProviderError(ErrorKind.OVERLOADED, reason)
        return ProviderError(ErrorKind.REQUEST, reason)

    def batches(self) -> BatchEndpoint | None:
        """Return the batch endpoint; None if the provider has none."""
        return None

    @asynccontextmanager
    async def running(self, cache_dir: Path) -> AsyncIterator[str]:
        """Keep the endpoint running and yield its base URL. `cache_dir` takes files made from installed models."""
        yield self.spec.url

    def listing_path(self) -> str:
        """Return the path where the endpoint describes its models."""
        return "/models"

    def usual_switch(self) -> str:
        """Return the request field that tells this endpoint's models whether to think."""
        return next(iter(self.thinking_switches), "none")

    @classmethod
    def in_flight(cls, spec: ModelSpec) -> int:
        """Return the number of requests that may be in flight at once."""
        return cls.concurrency or spec.connections

    @classmethod
    def check_available(cls, spec: ModelSpec) -> None:
        """Check what the model needs on this machine.

        Raises:
            ModelError: A file or package is missing.
        """
        return

    @classmethod
    def about(cls, spec: ModelSpec) -> str | None:
        """Return what a control does, in words; None for a model."""
        return None

    @classmethod
    def wanted_truth(cls, spec: ModelSpec) -> WantedTruth | None:
        """Return what a simulated respondent must know of each prompt beside its text; None for a model."""
        return None

    @classmethod
    def identity(cls, spec: ModelSpec) -> dict[str, Any]:
        """Return what identifies the model's weights, as part of `ModelSpec.identity`: the address, or a revision."""
        address = {} if spec.revision is not None else {"base_url": spec.url}
        return address | spec.options.model_dump(mode="json", exclude_defaults=True)

    # ---------------------------------------------------------------- what providers use

    def limit(self, elicitation: str) -> int:
        """Return the number of tokens that a response may have."""
        return self.spec.tokens_for(elicitation) + (self.thinking_allowance if elicitation != "option_logprob" else 0)

    def parameters(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry's sampling parameters over defaults, without those that are null."""
        return {k: v for k, v in {**defaults, **self.spec.parameters}.items() if v is not None}

    def note_missing_feature(self, what: str) -> None:
        """Note, once, a feature that the endpoint does not offer."""
        if what not in self.missing_features:
            self.missing_features.append(what)
