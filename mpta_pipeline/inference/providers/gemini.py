"""Google's Gemini API: generateContent, and its batches at half the price."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mpta_pipeline.core.reasoning_text import after_thought
from mpta_pipeline.core.vocabulary import LETTERS
from mpta_pipeline.inference.batch_endpoint import (
    MOST_PAGES,
    BatchEndpoint,
    BatchHttp,
    BatchResult,
    BatchState,
    LostBatch,
    batch_error,
    one_result,
)
from mpta_pipeline.inference.letter_logprobs import letters_of
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers.base import Call, ModelResponse, Provider, spoken
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_checks import raise_error_in, raise_if_broken, unreadable_response
from mpta_pipeline.inference.response_fields import (
    Token,
    candidates,
    count_of,
    listing,
    mapping,
    message_of,
    usage_of,
    words,
)

if TYPE_CHECKING:
    from mpta_pipeline.inference.models import ModelSpec

MOST_LOGPROBS = 20  # maximum of the API
FILTERED = {
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
}
# The model produced nothing, for reasons of the service.
FAILED = {"OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"}
_NO_LOGPROBS = "log-probabilities"


LITTLE = 1024  # up to so many tokens of thought are requested as "low" from Gemini 3
# Least thinking: off, the minimum of 2.5 Pro, and the levels of Gemini 3.
_LEAST_THOUGHT: tuple[dict[str, Any], ...] = (
    {"thinkingBudget": 0},
    {"thinkingBudget": 128},
    {"thinkingLevel": "minimal"},
    {"thinkingLevel": "low"},
)


def _levels(model: str) -> bool:
    """Return whether the model takes a level of thinking instead of a number of tokens: Gemini 3 and later."""
    return re.search(r"gemini-(?:[3-9]|\d\d)", model) is not None


class Gemini(Provider):
    """Letters with the first token's log-probabilities, if the model offers them."""

    base_url = "https://generativelanguage.googleapis.com/v1beta"
    key_variable = "GEMINI_API_KEY"
    structured_output = True
    thinking_switches = ("thinkingConfig",)

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._least_thought: dict[str, Any] | None = None

    def listing_path(self) -> str:
        """Return the path of this model's description."""
        return f"/models/{self.spec.model}"

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the key in a header: in the URL, which Google also accepts, it would appear in logs."""
        own = {} if key is None else {self.spec.key_header or "x-goog-api-key": key}
        return own | self.spec.headers

    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Make one call; repeat it without log-probabilities or with the least thinking if the model requires it."""
        path, read = f"/models/{self.spec.model}:generateContent", partial(self.read_response, request)
        while True:
            body = self.body(request)
            try:
                return await call(path, body, read)
            except ProviderError as error:
                if error.kind is not ErrorKind.REQUEST or not self._adapt(
                    error.reason.lower(), body["generationConfig"]
                ):
                    raise

    def _adapt(self, reason: str, config: Mapping[str, Any]) -> bool:
        """Adapt to a rejection that says how."""
        own = self.spec.parameters  # what the entry itself sets stays
        if "logprobs" in reason and config.get("responseLogprobs") and "responseLogprobs" not in own:
            self.note_missing_feature(_NO_LOGPROBS)
            return True
        asked = config.get("thinkingConfig") or {}
        if (
            self.spec.reasoning is None
            or "thinkingConfig" in own
            or not any(word in reason for word in ("thinking", "budget"))
        ):
            return False
        steps = _LEAST_THOUGHT if self.spec.reasoning.budget == 0 or self.spec.reasoning.effort == "none" else ()
        following = steps[steps.index(asked) + 1 :] if asked in steps else ()
        if not following:
            return False
        if asked == self._thinking():  # else another request has adapted it meanwhile
            self._least_thought = following[0]
            self.note_missing_feature("switching its thinking off (the least thinking is requested)")
        return True

    def _thinking(self) -> dict[str, Any] | None:
        """Return the field `thinkingConfig`: a level for Gemini 3, a number of tokens for earlier models."""
        reasoning = self.spec.reasoning
        if reasoning is None or reasoning.switch == "none":
            return None
        if reasoning.budget == 0 or reasoning.effort == "none":
            if self._least_thought is None:
                self._least_thought = _LEAST_THOUGHT[2 if _levels(self.spec.model) else 0]
            return self._least_thought
        if reasoning.effort is not None:
            return {"thinkingLevel": reasoning.effort}
        if _levels(self.spec.model):
            return {"thinkingLevel": "low" if reasoning.budget <= LITTLE else "high"}
        return {"thinkingBudget": reasoning.budget}

    def body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the request's body: parts, systemInstruction, and generationConfig with the entry's parameters."""
        config = self.parameters({"temperature": 0})
        config["maxOutputTokens"] = self.limit(request.elicitation)
        if thinking := self._thinking():
            config.setdefault("thinkingConfig", thinking)
        if self.spec.structured and request.elicitation == "letter":
            schema = {"type": "STRING", "enum": list(LETTERS[: len(request.options)])}
            config |= {"responseMimeType": "text/x.enum", "responseSchema": schema}
        elif request.elicitation == "letter" and self.spec.top_logprobs and _NO_LOGPROBS not in self.missing_features:
            config |= {"responseLogprobs": True, "logprobs": min(self.spec.top_logprobs, MOST_LOGPROBS)}
        body: dict[str, Any] = {
            "contents": [
                {"role": one["role"], "parts": [{"text": one["content"]}]} for one in spoken(request, said_by="model")
            ],
            "generationConfig": config,
        }
        if request.system is not None:
            body["systemInstruction"] = {"parts": [{"text": request.system}]}
        return body

    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Read a candidate. A blocked prompt has none, a blocked response no parts: both are refusals."""
        raise_error_in(payload, self.classify_error)
        whole = mapping(payload)
        usage = usage_of(whole, "usageMetadata")
        found = listing(whole.get("candidates"))
        first = mapping(found[0]) if found else {}
        if not first and not mapping(whole.get("promptFeedback")).get("blockReason"):
            raise unreadable_response("it has neither candidates nor a block reason")
        parts = [mapping(part) for part in listing(mapping(first.get("content")).get("parts"))]
        text = "".join(words(part.get("text")) for part in parts if not part.get("thought"))
        finish = words(first.get("finishReason")) or None
        if not first or finish in FILTERED:
            finish = "content_filter"
        if finish in FAILED and not text.strip():
            raise ProviderError(ErrorKind.SERVER, f"the response is empty and ended with finish reason {finish}")
        result = mapping(first.get("logprobsResult"))
        tops = [mapping(top) for top in listing(result.get("topCandidates"))]
        chosen = [mapping(one) for one in listing(result.get("chosenCandidates"))]
        tokens = [
            Token(
                words(chosen[i].get("token")) if i < len(chosen) else "",
                candidates(
                    (mapping(c).get("token"), mapping(c).get("logProbability")) for c in listing(top.get("candidates"))
                ),
            )
            for i, top in enumerate(tops)
        ]
        completion = count_of(usage, "candidatesTokenCount")
        if completion is None and "promptTokenCount" in usage:
            completion = 0  # the format omits zeros
        if thoughts := count_of(usage, "thoughtsTokenCount"):
            completion = (completion or 0) + thoughts  # thinking is charged as output
        thought = bool(thoughts) or any(part.get("thought") for part in parts)
        raise_if_broken(finish, text, completion, self.classify_error, thought=thought)
        letters, share = None, None
        if request.elicitation == "letter":
            spoken = any(part.get("thought") for part in parts)
            letters, share = letters_of(tokens, text, len(request.options), thought=spoken)
        return ModelResponse(
            text=text,
            option_logprobs=letters,
            finish_reason=finish,
            prompt_tokens=count_of(usage, "promptTokenCount"),
            completion_tokens=completion,
            cached_tokens=count_of(usage, "cachedContentTokenCount") or 0,
            provider_model=whole.get("modelVersion"),
            letter_share=share,
            thought=thought or after_thought(text) != text,
        )

    def classify_error(self, status: int, payload: Any, text: str) -> ProviderError:
        """Classify Google's own errors: invalid key (400), unknown model (404), and the wait in RetryInfo."""
        error = super().classify_error(status, payload, text)
        details = _details(payload)
        reasons = {d.get("reason") for d in details}
        if "API_KEY_INVALID" in reasons or "API key not valid" in error.reason:
            return ProviderError(ErrorKind.FATAL, f"the key was rejected: {error.reason}")
        if status == 404:
            return ProviderError(
                ErrorKind.FATAL, f"the endpoint does not know the model {self.spec.model}: {message_of(payload)}"
            )
        if status == 400 and "FAILED_PRECONDITION" in str(payload):
            error.kind = ErrorKind.FATAL
        for detail in details:
            delay = str(detail.get("retryDelay", ""))
            if delay.endswith("s"):
                try:
                    error.retry_after = float(delay[:-1])
                except ValueError:
                    continue
        return error

    def batches(self) -> BatchEndpoint:
        """Return the batch endpoint, which takes its requests inline."""
        return _Batches(self)


class _Batches(BatchEndpoint):
    """POST models/…:batchGenerateContent, GET the operation until it is done; the responses are inlined in it."""

    most = 2000  # requests inline: 20 MB at most

    def __init__(self, provider: Gemini) -> None:
        self.provider = provider

    async def submit(self, requests: Sequence[ModelRequest], tag: str, http: BatchHttp) -> str:
        inline = [{"request": self.provider.body(one), "metadata": {"key": one.request_hash}} for one in requests]
        body = {"batch": {"display_name": tag, "input_config": {"requests": {"requests": inline}}}}
        made = await http.json(f"/models/{self.provider.spec.model}:batchGenerateContent", body, repeatable=False)
        return str(made["name"])

    async def find(self, lost: LostBatch, http: BatchHttp) -> str | None:
        token = ""
        for _ in range(MOST_PAGES):
            page = await http.json(f"/batches?pageSize=100{token}", None)
            for batch in page.get("operations") or []:
                names = ((batch.get("metadata") or {}).get("displayName"), batch.get("displayName"))
                if lost.tag in names and batch["name"] not in lost.others:
                    return str(batch["name"])
            if not page.get("nextPageToken"):
                return None
            token = f"&pageToken={page['nextPageToken']}"
        return None

    async def state(self, batch: str, http: BatchHttp) -> BatchState:
        found = await http.json(f"/{batch}", None)
        meta = found.get("metadata") or {}
        state = str(meta.get("state", ""))
        stats = meta.get("batchStats") or {}
        done = int(stats.get("successfulRequestCount") or 0) + int(stats.get("failedRequestCount") or 0)
        ended = bool(found.get("done")) or state.endswith(("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"))
        problem = found.get("error")
        if not problem and state.endswith("FAILED"):
            problem = "the batch failed"
        return BatchState(
            ended=ended,
            done=done,
            failed=message_of({"error": problem}) if problem else None,
            name=state,
            known=bool(meta and not state) or state.endswith(("PENDING", "RUNNING", "UNSPECIFIED")),
        )

    async def results(self, batch: str, http: BatchHttp) -> Iterator[BatchResult]:
        found = await http.json(f"/{batch}", None)
        inlined = (found.get("response") or {}).get("inlinedResponses") or []
        if isinstance(inlined, dict):
            inlined = inlined.get("inlinedResponses") or []
        return (one_result(one, self._result) for one in inlined)

    async def cancel(self, batch: str, http: BatchHttp) -> None:
        await http.json(f"/{batch}:cancel", {})

    def _result(self, one: Any) -> BatchResult:
        key = str((one.get("metadata") or {}).get("key") or "")
        if one.get("response") is not None:
            return BatchResult(key, payload=one["response"])
        if one.get("error") is not None:
            return BatchResult(key, error=batch_error(message_of(one)))
        return BatchResult(key)


def _details(payload: Any) -> list[dict[str, Any]]:
    error = payload.get("error") if isinstance(payload, dict) else None
    found = error.get("details") if isinstance(error, dict) else None
    return [d for d in found or [] if isinstance(d, dict)]
