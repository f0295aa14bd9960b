"""Probe a model: three small questions show what it can do, and what will be sent to it.

The questions contain nothing about any respondent. The result is kept beside the model's ledger (`probe.json`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.labels import CONTROL
from mpta_pipeline.core.reasoning_text import after_thought
from mpta_pipeline.core.storage import write_json
from mpta_pipeline.core.vocabulary import LETTERS
from mpta_pipeline.inference.endpoint import check_address, open_endpoint, run_async
from mpta_pipeline.inference.http_client import CallStats, HttpClient
from mpta_pipeline.inference.models import ModelSpec, Reasoning, card_version
from mpta_pipeline.inference.provider_errors import ProviderError, redact, shorten
from mpta_pipeline.inference.provider_registry import provider_for
from mpta_pipeline.inference.providers.base import ModelResponse, Provider
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_diagnostics import cut_prompts, starved

FILE = "probe.json"
THOUGHT = 2048  # tokens of thought that the probe allows if a model turns out to think
_OPTIONS = ("Tuesday", "Blue", "Seven")
_RIGHT = 1
_SYSTEM = "You answer questions of a survey."
_QUESTION = "Which of these is a colour?\n\nA. Tuesday\nB. Blue\nC. Seven\n\nAnswer with the letter only."
_PAD = "The interview was held on a weekday and nothing else is known of it. "  # for the longer question


@dataclass
class Probe:
    """The result of a probe, in words; `problem` if the model cannot be used at all.

    Attributes:
        model: Name of the entry.
        digest: Data version of the entry that was probed.
        at: When, UTC.
        letters: Whether it answers a question with a known answer by the letter.
        candidates: Log-probabilities of the letters.
        whole_options: How whole options get log-probabilities.
        thinking: Whether it thinks before it answers, and how that is switched off.
        structured: Whether its output can be restricted to the letters.
        context: Tokens of its context, as listed by the endpoint.
        price: As in the entry, or as listed by the endpoint.
        speed: Seconds per request, one at a time.
        sent: Path and body of a request, without the texts.
        to_do: What to change in the entry.
        problem: Why the model cannot be used; null if it can.
    """

    model: str
    digest: str
    at: str
    letters: str = "not tried"
    candidates: str = "not tried"
    whole_options: str = "not tried"
    thinking: str = "not seen"
    structured: str = "not tried"
    context: str = "not told"
    price: str = "none"
    speed: str = "not measured"
    sent: str = ""
    to_do: list[str] = field(default_factory=list)
    problem: str | None = None

    def shown(self) -> dict[str, str]:
        """Return the result for a terminal or the UI: name → words."""
        rows = {name.replace("_", " "): value for name, value in asdict(self).items() if isinstance(value, str)}
        rows |= {"to do": "; ".join(self.to_do) or "nothing"}
        return {k: v for k, v in rows.items() if k not in ("model", "digest")}


def stored_probe(spec: ModelSpec, ledger: Path) -> Probe | None:
    """Return the last probe of a model if its entry has not changed since."""
    try:
        found = Probe(**orjson.loads((ledger / FILE).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None
    return found if found.digest == card_version(spec) else None


def probe(spec: ModelSpec, ledger: Path, *, cache_dir: Path | None = None) -> Probe:
    """Send a model three small questions, some again if it thinks, and keep the result beside its ledger.

    Args:
        spec: The model.
        ledger: The model's ledger folder. No response is written to the ledger.
        cache_dir: Where files made from installed models are kept.
    """
    patient = spec.timeouts.model_copy(update={"patience": min(spec.timeouts.patience, 30.0)})
    quick = spec.model_copy(update={"attempts": min(spec.attempts, 2), "timeouts": patient, "connections": 1})
    found = Probe(spec.name, "", datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        found.digest = card_version(spec)
        check_address(spec)
        key = spec.key()
        run_async(_Probing(quick, found, spec.secrets(key)).run(cache_dir or ledger / "weights", key))
    except MptaError as failure:
        found.problem = str(failure)
    except Exception as failure:  # whatever a server sends is a result, not an error of the program
        found.problem = shorten(f"{type(failure).__name__} {failure}")
    write_json(asdict(found), ledger / FILE)
    return found


class _Probing:
    """One probe."""

    def __init__(self, spec: ModelSpec, found: Probe, secrets: tuple[str, ...]) -> None:
        self.spec = spec
        self.found = found
        self.secrets = secrets
        self.client: HttpClient
        self.sent: tuple[str, Mapping[str, Any]] | None = None

    async def run(self, cache_dir: Path, key: str | None) -> None:
        provider = provider_for(self.spec)
        async with open_endpoint(self.spec, provider, cache_dir, key, self.secrets) as self.client:
            self.found.price = _price(self.spec)
            if self.spec.control:
                self.found.letters = f"{CONTROL}: {self.spec.provider_class.about(self.spec)}"
                return
            await self._listed()
            try:
                seconds, response = await self._first(provider)
            except ProviderError as error:
                self.found.problem = f"{self.client.base_url}: {error.reason}"
                return
            self.found.speed = f"{seconds:.2f} s per request" + (
                f", {response.completion_tokens} tokens" if response.completion_tokens else ""
            )
            self._letters(response)
            await self._longer(provider, response)
            await self._thinking(response)
            await self._structured()
            await self._options()

    # ---------------------------------------------------------------- requests

    async def _request(self, provider: Provider, request: ModelRequest) -> ModelResponse:
        def call(path: str, body: Any, read: Callable[[Any], Any]) -> Any:
            if body is not None:
                self.sent = (path, body)

            return self.client.call(path, body, read, CallStats())

        return await provider.complete(request, call)

    async def _first(self, provider: Provider) -> tuple[float, ModelResponse]:
        """Send the question with the known answer as the study would, with tokens for a thought if the model thinks."""
        request = _question()
        began = time.monotonic()
        response = await self._request(provider, request)
        if starved(response) and self.spec.api != "completions":
            provider.thinking_allowance = THOUGHT
            response = await self._request(provider, request)
        if self.sent is not None:
            path, body = self.sent
            self.found.sent = f"{path} {orjson.dumps(_without_texts(body), option=orjson.OPT_SORT_KEYS).decode()}"
        return time.monotonic() - began, response

    # ---------------------------------------------------------------- findings

    def _letters(self, response: ModelResponse) -> None:
        found, text = self.found, after_thought(response.text or "").strip()
        said = repr(shorten(redact(text, self.secrets), 60))
        if not text:
            found.letters = f"no: the response is empty (finish reason {response.finish_reason or 'none'})"
            found.to_do.append(
                "set `reasoning: off`, or a larger budget of it, in the entry"
                if response.thought
                else "see the endpoint"
            )
        elif text.strip("().*: ")[:1] == LETTERS[_RIGHT]:
            found.letters = f"yes: {said}, which is right"
        else:
            found.letters = f"the response to a question whose answer is {LETTERS[_RIGHT]} is {said}"
        if response.option_logprobs is None:
            found.candidates = "none: answers are read from the text"
        else:
            best = max(range(len(_OPTIONS)), key=response.option_logprobs.__getitem__)
            found.candidates = f"log-probabilities of all {len(_OPTIONS)} letters; the most likely is {LETTERS[best]}"

    async def _longer(self, provider: Provider, short: ModelResponse) -> None:
        """Check that a longer prompt has more tokens: a server that cuts prompts counts the same."""
        if short.prompt_tokens is None:
            return
        sizes = [(len(_QUESTION) + len(_SYSTEM), short.prompt_tokens)]
        request = _question(_PAD * 40)
        try:
            response = await self._request(provider, request)
        except ProviderError as error:
            self.found.to_do.append(f"a prompt of {len(request.user)} characters failed: {error.reason}")
            return
        if response.prompt_tokens is not None:
            sizes.append((len(request.user) + len(_SYSTEM), response.prompt_tokens))
            doubt = (
                cut_prompts(*zip(*sizes * 4, strict=True)) if response.prompt_tokens > short.prompt_tokens else "cut"
            )
            if doubt:
                self.found.to_do.append(
                    f"give the server more context: {sizes[1][0]} characters were counted as {sizes[1][1]} prompt "
                    f"tokens, {sizes[0][0]} as {sizes[0][1]}"
                )

    async def _thinking(self, first: ModelResponse) -> None:
        """Find out whether the model thinks, and which field of the request switches that off."""
        found, spec = self.found, self.spec
        if not first.thought:
            found.thinking = "no" if spec.reasoning is None else "no, with what its entry says about reasoning"
            return
        tokens = f" ({first.completion_tokens} tokens with the answer)" if first.completion_tokens else ""
        found.thinking = f"yes{tokens}"
        if spec.reasoning is not None and spec.reasoning.budget:
            found.thinking += f"; up to {spec.reasoning.budget} tokens are allowed"
            return
        if spec.api == "completions":
            return
        usual = provider_for(spec).usual_switch()
        for switch in dict.fromkeys((usual, *spec.provider_class.thinking_switches)):
            off = Reasoning(budget=0, switch=switch)
            provider = provider_for(spec.model_copy(update={"reasoning": off}))
            try:
                response = await self._request(provider, _question())
            except ProviderError:
                continue
            if not response.thought:
                found.thinking += f"; switched off by {switch}"
                how = "`reasoning: off`" if switch == usual else f"`reasoning: {{budget: 0, switch: {switch}}}`"
                found.to_do.append(f"write {how} in the entry for responses without a thought, which cost less")
                return
        found.thinking += "; it could not be switched off"
        found.to_do.append(
            f"write `reasoning: {{budget: {THOUGHT}}}` in the entry, so that the thought has enough tokens"
        )

    async def _structured(self) -> None:
        spec = self.spec
        if not spec.provider_class.structured_output or spec.api == "completions":
            self.found.structured = "not offered in this format"
            return
        provider = provider_for(spec.model_copy(update={"structured": True}))
        provider.thinking_allowance = THOUGHT if self.found.thinking.startswith("yes") else 0
        try:
            response = await self._request(provider, _question())
        except ProviderError as error:
            self.found.structured = f"no: {shorten(error.reason, 100)}"
            return
        settled = (response.text or "").strip() in LETTERS[: len(_OPTIONS)]
        self.found.structured = "yes" if settled else "no: the endpoint ignores the request"

    async def _options(self) -> None:
        spec = self.spec
        if "option_logprob" not in spec.provider_class.elicitations:
            self.found.whole_options = "not offered in this format"
            return
        provider = provider_for(spec)
        request = ModelRequest("probe", _SYSTEM, "Which of these is a colour?", _OPTIONS, "option_logprob", "probe")
        try:
            response = await self._request(provider, request)
        except ProviderError as error:
            self.found.whole_options = f"no: {shorten(error.reason, 160)}"
            if "option_logprob" in spec.elicitations:
                self.found.to_do.append("remove option_logprob from `elicitations`")
            return
        self.found.whole_options = f"yes, by {provider.option_method}; the most likely is {response.text}"

    async def _listed(self) -> None:
        """Read context and price as listed by the endpoint; many list neither."""
        path = provider_for(self.spec).listing_path()
        try:
            payload = await self.client.call(path, None, lambda payload: payload, CallStats())
        except ProviderError:
            return
        entries = payload.get("data") if isinstance(payload, Mapping) else None
        listed = [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else [payload]
        own = next((e for e in listed if isinstance(e, Mapping) and e.get("id") == self.spec.model), None)
        own = own or (listed[0] if len(listed) == 1 and isinstance(listed[0], Mapping) else None)
        if own is None:
            names = [str(e.get("id")) for e in listed if isinstance(e, Mapping)][:8]
            if names:
                self.found.to_do.append(f"the endpoint does not list `{self.spec.model}`, but {', '.join(names)}")
            return
        meta = own.get("meta") if isinstance(own.get("meta"), Mapping) else {}
        for name in (
            "max_model_len",
            "context_length",
            "max_context_length",
            "context_window",
            "inputTokenLimit",
            "n_ctx",
        ):
            value = own.get(name) or (meta or {}).get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                self.found.context = f"{value:,} tokens"
                break
        pricing = own.get("pricing")
        if self.spec.price is None and isinstance(pricing, Mapping):
            try:
                of = {name: float(pricing[name]) * 1e6 for name in ("prompt", "completion")}
            except (KeyError, TypeError, ValueError):
                return
            self.found.price = f"not in the entry; listed: {of['prompt']:g} in, {of['completion']:g} out"
            self.found.to_do.append(
                f"write `price: {{input: {of['prompt']:g}, output: {of['completion']:g}}}` for plan and budget"
            )


def _question(before: str = "") -> ModelRequest:
    return ModelRequest("probe", _SYSTEM, before + _QUESTION, _OPTIONS, "letter", "probe")


def _price(spec: ModelSpec) -> str:
    if spec.price is None:
        return "none, because it runs on this machine" if spec.is_local else "not in the entry"
    batch = f", × {spec.price.batch:g} in batches" if spec.batch else ""
    return f"{spec.price.input:g} in, {spec.price.output:g} out, US dollars per million tokens{batch}"


def _without_texts(value: Any, name: str = "") -> Any:
    """Return a request without its texts."""
    if isinstance(value, Mapping):
        return {k: _without_texts(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_texts(v, name) for v in value] if name in ("messages", "contents", "parts") else value
    return "…" if name in ("content", "text", "prompt", "system") and isinstance(value, str) else value
