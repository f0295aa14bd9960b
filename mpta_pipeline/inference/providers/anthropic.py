"""Anthropic's Messages API, and its Message Batches at half the price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from mpta_pipeline.core.reasoning_text import after_thought
from mpta_pipeline.inference.batch_endpoint import (
    CLOCK_SKEW,
    MOST_PAGES,
    BatchEndpoint,
    BatchHttp,
    BatchResult,
    BatchState,
    LostBatch,
    batch_error,
    result_lines,
)
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers.base import Call, ModelResponse, Provider, spoken
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_checks import raise_error_in, raise_if_broken, unreadable_response
from mpta_pipeline.inference.response_fields import (
    code_of,
    count_of,
    finish_reason_of,
    listing,
    mapping,
    message_of,
    usage_of,
    words,
)

VERSION = "2023-06-01"
LEAST_BUDGET = 1024


class Anthropic(Provider):
    """Letters by text only: the API gives no log-probabilities."""

    base_url = "https://api.anthropic.com/v1"
    key_variable = "ANTHROPIC_API_KEY"
    thinking_switches = ("thinking",)

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the key in x-api-key, and the version of the API."""
        own = {} if key is None else {self.spec.key_header or "x-api-key": key}
        return {"anthropic-version": VERSION} | own | self.spec.headers

    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Make one call."""
        self.note_missing_feature("log-probabilities (answers are read from the text)")
        return await call("/messages", self.body(request), partial(self.read_response, request))

    def body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the request's body: the system prompt is a field of its own, max_tokens is mandatory."""
        thinking = self._thinking()
        # A model that thinks accepts no temperature but 1.
        defaults = {} if (thinking or {}).get("type") in ("enabled", "adaptive") else {"temperature": 0}
        body: dict[str, Any] = self.parameters(defaults | ({"thinking": thinking} if thinking else {}))
        body |= {"model": self.spec.model, "max_tokens": self.limit(request.elicitation)}
        body["messages"] = spoken(request)
        if request.system is not None:
            body["system"] = request.system
        return body

    def _thinking(self) -> dict[str, Any] | None:
        """Return the field `thinking`; the API requires a budget of 1,024 tokens or more."""
        reasoning = self.spec.reasoning
        if reasoning is None or reasoning.switch == "none":
            return None
        if reasoning.budget == 0 or reasoning.effort == "none":
            return {"type": "disabled"}
        return {"type": "enabled", "budget_tokens": max(reasoning.budget, LEAST_BUDGET)}

    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Read a message: text blocks, stop_reason, usage. Tokens read from or written to the cache are input too."""
        raise_error_in(payload, self.classify_error)
        whole = mapping(payload)
        content = whole.get("content")
        if not isinstance(content, list | str) or "stop_reason" not in whole:
            raise unreadable_response("it has no content with text blocks and a stop_reason")
        blocks = [mapping(block) for block in listing(content)]
        text = words(content) or "".join(words(b.get("text")) for b in blocks if b.get("type") == "text")
        stop, details = finish_reason_of(whole["stop_reason"])
        thought = any(b.get("type") in ("thinking", "redacted_thinking") for b in blocks)
        usage = usage_of(whole)
        raise_if_broken(
            stop, text, count_of(usage, "output_tokens"), self.classify_error, details=details, thought=thought
        )
        cached = count_of(usage, "cache_read_input_tokens") or 0
        prompt = count_of(usage, "input_tokens")
        if prompt is not None:
            prompt += cached + (count_of(usage, "cache_creation_input_tokens") or 0)
        return ModelResponse(
            text=text,
            finish_reason=stop,
            prompt_tokens=prompt,
            completion_tokens=count_of(usage, "output_tokens"),
            cached_tokens=cached,
            provider_model=whole.get("model"),
            thought=thought or after_thought(text) != text,
        )

    def classify_error(self, status: int, payload: Any, text: str) -> ProviderError:
        """Classify Anthropic's own errors: model unknown (404 not_found_error), no credit left (400), overloaded."""
        error = super().classify_error(status, payload, text)
        code = code_of(payload)
        if status == 404 and "not_found" in code:
            return ProviderError(
                ErrorKind.FATAL, f"the endpoint does not know the model {self.spec.model}: {message_of(payload)}"
            )
        if "credit balance" in error.reason:
            error.kind = ErrorKind.FATAL
        if "overloaded_error" in code:
            error.kind = ErrorKind.OVERLOADED
        return error

    def batches(self) -> BatchEndpoint:
        """Return the Message Batches endpoint."""
        return _Batches(self)


class _Batches(BatchEndpoint):
    """POST /messages/batches, GET it until `ended`, then its results line by line."""

    def __init__(self, provider: Anthropic) -> None:
        self.provider = provider

    async def submit(self, requests: Sequence[ModelRequest], tag: str, http: BatchHttp) -> str:
        inline = [{"custom_id": one.request_hash, "params": self.provider.body(one)} for one in requests]
        made = await http.json("/messages/batches", {"requests": inline}, repeatable=False)
        return str(made["id"])

    async def find(self, lost: LostBatch, http: BatchHttp) -> str | None:
        """Find the batch by number of requests and time, because the API takes no tag.

        Once a batch has ended, its results name its requests. One that is still in progress cannot be inspected and is
        assumed to be ours. If it is not, its results match none of our requests when it ends, and the next run sends
        the requests: waiting costs less than paying twice.
        """
        after, under_way = "", None
        for _ in range(MOST_PAGES):
            page = await http.json(f"/messages/batches?limit=100{after}", None)
            listed = page.get("data") or []
            for batch in listed:
                made = datetime.fromisoformat(batch["created_at"]).timestamp()
                size = sum((batch.get("request_counts") or {}).values())
                if batch["id"] in lost.others or made < lost.since - CLOCK_SKEW or size != len(lost.requests):
                    continue
                if batch["processing_status"] != "ended":
                    under_way = under_way or str(batch["id"])
                elif batch.get("results_url"):
                    results = await self.results(batch["id"], http)
                    if next((r.request_hash for r in results), None) in lost.requests:
                        return str(batch["id"])
            # The newest come first.
            if (
                not listed
                or not page.get("has_more")
                or datetime.fromisoformat(listed[-1]["created_at"]).timestamp() < lost.since - CLOCK_SKEW
            ):
                return under_way
            after = f"&after_id={listed[-1]['id']}"
        return under_way

    async def state(self, batch: str, http: BatchHttp) -> BatchState:
        found = await http.json(f"/messages/batches/{batch}", None)
        counts = found.get("request_counts") or {}
        done = sum(n for name, n in counts.items() if name != "processing")
        state = found["processing_status"]
        known = state in ("in_progress", "canceling")
        return BatchState(ended=state == "ended", done=done, name=str(state), known=known)

    async def results(self, batch: str, http: BatchHttp) -> Iterator[BatchResult]:
        return result_lines(await http.raw(f"/messages/batches/{batch}/results"), self._result)

    async def cancel(self, batch: str, http: BatchHttp) -> None:
        await http.json(f"/messages/batches/{batch}/cancel", {})

    def _result(self, line: Any) -> BatchResult:
        result = line["result"]
        if result["type"] == "succeeded":
            return BatchResult(str(line["custom_id"]), payload=result["message"])
        if result["type"] == "errored":
            error = self.provider.classify_error(400, result["error"], "")
            return BatchResult(str(line["custom_id"]), error=batch_error(error.reason, error.kind))
        return BatchResult(str(line["custom_id"]))  # canceled or expired: never processed
