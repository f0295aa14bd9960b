"""The OpenAI wire format, spoken by OpenAI, vLLM, SGLang, llama.cpp, Ollama, TGI, OpenRouter, Azure and many more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import httpx
import orjson

from mpta_pipeline.core.reasoning_text import after_thought
from mpta_pipeline.core.vocabulary import LETTERS
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
from mpta_pipeline.inference.letter_logprobs import letters_of
from mpta_pipeline.inference.option_logprobs import (
    find_way,
    sum_of_echo,
    sum_of_prompt,
    sum_of_response,
    token_grammar,
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
    parse_json,
    tokens_of,
    usage_of,
    words,
)

if TYPE_CHECKING:
    from mpta_pipeline.inference.models import ModelSpec

NO_LOGPROBS = "log-probabilities"
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_BUDGETS = ((1024, "low"), (8192, "medium"), (10**9, "high"))
# The field that controls thinking, by host; your own servers use the chat template.
_SWITCHES: tuple[tuple[str, str], ...] = (
    (r"(^|\.)openrouter\.ai$", "reasoning"),
    (r"(^|\.)(deepseek\.com|z\.ai|bigmodel\.cn|moonshot\.(ai|cn)|volces\.com)$", "thinking"),
    (r"(^|\.)(aliyuncs\.com|siliconflow\.(cn|com))$", "enable_thinking"),
    (
        r"(^|\.)(openai\.com|openai\.azure\.com|azure\.com|groq\.com|mistral\.ai|x\.ai|googleapis\.com)$",
        "reasoning_effort",
    ),
)
OLLAMA_PORT = ":11434"


class OpenAI(Provider):
    """Chat and completions: letters with log-probabilities, and whole options if the server supports a method."""

    base_url: ClassVar[str | None] = "https://api.openai.com/v1"
    key_variable: ClassVar[str | None] = "OPENAI_API_KEY"
    elicitations = ("letter", "option_logprob", "verbalized", "free_text")
    apis = ("chat", "completions")
    structured_output = True
    thinking_switches: ClassVar[tuple[str, ...]] = (
        "chat_template_kwargs",
        "reasoning_effort",
        "enable_thinking",
        "thinking",
        "reasoning",
    )
    root_has_version = True
    native = "/.."
    """Path of llama.cpp's own endpoints, relative to the API's root."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.top_logprobs = spec.top_logprobs
        self.tokens_field = spec.max_tokens_field
        self.effort: str | None = None

    def usual_switch(self) -> str:
        """Return the field by which this address's models are told whether to think, by host."""
        address = urlsplit(self.spec.url)
        found = next((switch for host, switch in _SWITCHES if re.search(host, address.hostname or "")), None)
        if found is None and address.netloc.endswith(OLLAMA_PORT):
            return "reasoning_effort"
        return found or "chat_template_kwargs"

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the key as Bearer token, or alone in the entry's own header."""
        own = {} if key is None else {"authorization": f"Bearer {key}"}
        if key is not None and self.spec.key_header:
            own = {self.spec.key_header: key}
        return own | self.spec.headers

    async def complete(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Make one call; repeat it adapted if the endpoint names what it rejects, such as log-probabilities."""
        if request.elicitation == "option_logprob":
            return await self.score_options(request, call)
        while True:
            path, body = self.path_and_body(request)
            try:
                return await call(path, body, partial(self.read_response, request))
            except ProviderError as error:
                if error.kind is not ErrorKind.REQUEST or not self._adapt(error.reason, body):
                    raise

    def _adapt(self, reason: str, body: Mapping[str, Any]) -> bool:
        """Adapt to a rejection that says how: fewer or no log-probabilities, another field for the token limit."""
        own = self.spec.parameters  # what the entry itself sets stays
        if "max_completion_tokens" in reason and "max_tokens" in body and "max_tokens" not in own:
            self.tokens_field = "max_completion_tokens"
            self.note_missing_feature("max_tokens (max_completion_tokens is sent instead)")
            return True
        if "reasoning_effort" in reason or "reasoning.effort" in reason:
            return self._adapt_effort(reason, body)
        asked = body.get("top_logprobs", body.get("logprobs"))
        if not asked or not any(word in reason for word in ("logprobs", "top_n_tokens")):
            return False
        if "top_logprobs" in own or "logprobs" in own:
            return False
        if asked == self.top_logprobs:  # else another request has adapted it meanwhile
            # The maximum is the largest number in the reason that is below the requested one.
            self.top_logprobs = max((n for n in map(int, re.findall(r"\d{1,4}", reason)) if n < asked), default=0)
            few = f"more than {self.top_logprobs} log-probabilities per token"
            self.note_missing_feature(few if self.top_logprobs else NO_LOGPROBS)
        return True

    def _adapt_effort(self, reason: str, body: Mapping[str, Any]) -> bool:
        """If thinking cannot be switched off, use the least effort that the rejection names."""
        sent = body.get("reasoning_effort")
        if sent is None or "reasoning_effort" in self.spec.parameters:
            return False
        if sent == (self.effort or self._effort()):  # else another request has adapted it meanwhile
            named = [e for e in EFFORTS if re.search(rf"\b{e}\b", reason) and e != sent]
            following = EFFORTS[EFFORTS.index(sent) + 1 :]
            self.effort = next((e for e in named if e in following), following[0] if following else None)
            if self.effort is None:
                return False
            self.note_missing_feature(f"reasoning_effort {sent} ({self.effort} is sent instead)")
        return True

    def _effort(self) -> str:
        """Return the word for how long to think."""
        reasoning = self.spec.reasoning
        if reasoning is None or reasoning.effort is not None:
            return (reasoning and reasoning.effort) or "none"
        return "none" if reasoning.budget == 0 else next(word for most, word in _BUDGETS if reasoning.budget <= most)

    def _thinking(self) -> dict[str, Any]:
        """Return the entry's `reasoning` in the fields that the endpoint knows."""
        reasoning = self.spec.reasoning
        if reasoning is None or self.spec.api == "completions":
            return {}
        off = reasoning.budget == 0 or reasoning.effort == "none"
        match reasoning.switch or self.usual_switch():
            case "reasoning_effort":
                return {"reasoning_effort": self.effort or self._effort()}
            case "reasoning":
                if off:
                    return {"reasoning": {"enabled": False}}
                effort = reasoning.effort
                return {"reasoning": {"effort": effort} if effort else {"max_tokens": reasoning.budget}}
            case "thinking":
                return {"thinking": {"type": "disabled" if off else "enabled"}}
            case "enable_thinking":
                return (
                    {"enable_thinking": False}
                    if off
                    else {"enable_thinking": True, "thinking_budget": reasoning.budget}
                )
            case "chat_template_kwargs":
                # Templates know one of these names (Qwen and GLM: enable_thinking, DeepSeek and Granite: thinking,
                # gpt-oss: reasoning_effort) and ignore the others.
                word = "low" if off else self._effort()
                names = {"enable_thinking": not off, "thinking": not off, "reasoning_effort": word}
                return {"chat_template_kwargs": names}
        return {}

    async def score_options(self, request: ModelRequest, call: Call) -> ModelResponse:
        """Score each option as the whole response; the text is the most likely option."""
        path, body = self.path_and_body(request)
        if self.option_method is None:
            fixed = self.spec.option_scoring
            small = {k: v for k, v in body.items() if k not in ("messages", "prompt")}
            self.option_method = await find_way(self.spec.api, self.native, small, call) if fixed == "auto" else fixed
        usage = ModelResponse(text="", prompt_tokens=0, completion_tokens=0)
        # Evaluate what precedes the option once: this counts its tokens, and each option starts from the same state.
        before = await call(path, body | {self.tokens_field: 1}, partial(self._account, usage))
        logprobs = []
        gap = " " if self.spec.api == "completions" else ""
        for option in [gap + text.strip() for text in request.options]:
            if self.option_method == "grammar":
                asked = {"content": option, "add_special": False, "parse_special": False}
                tokens = await call(self.native + "/tokenize", asked, lambda p: [int(t) for t in p["tokens"]])
                forced = {"grammar": token_grammar(tokens), self.tokens_field: len(tokens), "logprobs": True}
                read = partial(sum_of_response, n=len(tokens))
            elif self.option_method == "prompt_logprobs":
                forced = {
                    "messages": [*body["messages"], {"role": "assistant", "content": option}],
                    "add_generation_prompt": False,
                    "continue_final_message": True,
                    "prompt_logprobs": 0,
                    self.tokens_field: 1,
                }
                read = partial(sum_of_prompt, before=before, option=option)
            else:
                forced = {"prompt": body["prompt"] + option, "echo": True, "logprobs": 1, "max_tokens": 1}
                read = partial(sum_of_echo, prompt=body["prompt"], option=option)

            def take(payload: Any, read: Callable[[Any], float] = read) -> float:
                value = read(payload)
                self._account(usage, payload)
                return value

            logprobs.append(await call(path, body | forced, take))
        best = max(range(len(logprobs)), key=logprobs.__getitem__)
        usage.text, usage.option_logprobs, usage.finish_reason = request.options[best], logprobs, "scored"
        return usage

    def _account(self, usage: ModelResponse, payload: Any) -> int:
        """Add a response's tokens to `usage`; return the tokens of its prompt."""
        one = self.read_response(ModelRequest("", None, "", (), "free_text", ""), payload)
        usage.prompt_tokens = (usage.prompt_tokens or 0) + (one.prompt_tokens or 0)
        usage.completion_tokens = (usage.completion_tokens or 0) + (one.completion_tokens or 0)
        usage.cached_tokens += one.cached_tokens
        usage.provider_model = one.provider_model
        return one.prompt_tokens or 0

    def path_and_body(self, request: ModelRequest) -> tuple[str, dict[str, Any]]:
        """Return path and body of a request."""
        spec = self.spec
        body: dict[str, Any] = {"model": spec.model, **self.parameters({"temperature": 0})}
        body[self.tokens_field] = self.limit(request.elicitation)
        for name, value in self._thinking().items():
            body.setdefault(name, value)
        structured = spec.structured and request.elicitation == "letter"
        letters = request.elicitation == "letter" and self.top_logprobs > 0 and not structured
        if spec.api == "completions":
            text = request.user if request.system is None else f"{request.system}\n\n{request.user}"
            body["prompt"] = text
            if letters:
                body["logprobs"] = self.top_logprobs
            return "/completions", body
        body["messages"] = messages(request, system_role=spec.system_role)
        if structured:
            body["response_format"] = _one_letter(len(request.options))
        if letters:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return "/chat/completions", body

    def read_response(self, request: ModelRequest, payload: Any) -> ModelResponse:
        """Read a response of the chat, completions or responses API, by its form.

        Raises:
            ProviderError: It lacks the choice or text that the format has, or reports an error itself.
        """
        said = _said(payload, self.classify_error)
        text, finish = said.text, said.finish
        if said.refusal:
            text, finish = said.refusal, "refusal"
        usage = usage_of(payload)
        completion = _first_count(usage, "completion_tokens", "output_tokens")
        further = [usage_of(usage, name) for name in ("completion_tokens_details", "output_tokens_details")]
        thought = said.thought or any(count_of(one, "reasoning_tokens") for one in [usage, *further])
        raise_if_broken(finish, text, completion, self.classify_error, details=said.details, thought=thought)
        letters, share = None, None
        if request.elicitation == "letter":
            if self.spec.structured and text:
                text = _letter_in(text)
            else:
                letters, share = letters_of(tokens_of(said.logprobs), text, len(request.options), thought=said.thought)
        cached = [usage_of(usage, name) for name in ("prompt_tokens_details", "input_tokens_details")]
        return ModelResponse(
            text=text,
            option_logprobs=letters,
            finish_reason=finish,
            prompt_tokens=_first_count(usage, "prompt_tokens", "input_tokens"),
            completion_tokens=completion,
            cached_tokens=next((n for one in cached if (n := count_of(one, "cached_tokens"))), 0),
            provider_model=_fingerprint(payload),
            letter_share=share,
            thought=thought or after_thought(text) != text,
        )

    def batches(self) -> BatchEndpoint:
        """Return the batch endpoint, which takes uploaded files."""
        return _Batches(self)

    def classify_error(self, status: int, payload: Any, text: str) -> ProviderError:
        """Classify OpenAI's own codes: quota used up, model unknown, content filter before the model (Azure)."""
        error = super().classify_error(status, payload, text)
        code = code_of(payload)
        if status == 400 and "content_filter" in code:
            error.kind = ErrorKind.CONTENT_FILTER
        elif status == 429 and "request too large" in error.reason.lower():
            error.kind = ErrorKind.REQUEST  # more tokens than the limit per minute: it can never succeed
        elif "insufficient_quota" in code:
            error.kind = ErrorKind.FATAL
        elif status in (400, 404) and ("model_not_found" in code or "deploymentnotfound" in code):
            error = ProviderError(
                ErrorKind.FATAL, f"the endpoint does not know the model {self.spec.model}: {message_of(payload)}"
            )
        return error


class _Batches(BatchEndpoint):
    """Batches by files: one of requests, one of results and one of errors."""

    def __init__(self, provider: OpenAI) -> None:
        self.provider = provider

    async def submit(self, requests: Sequence[ModelRequest], tag: str, http: BatchHttp) -> str:
        lines = []
        path = ""
        for request in requests:
            path, body = self.provider.path_and_body(request)
            path = "/v1" + path
            lines.append(orjson.dumps({"custom_id": request.request_hash, "method": "POST", "url": path, "body": body}))
        content, content_type = _upload(b"\n".join(lines) + b"\n", tag)
        uploaded = orjson.loads(await http.raw("/files", content, content_type))
        made = await http.json(
            "/batches",
            {
                "input_file_id": uploaded["id"],
                "endpoint": path,
                "completion_window": "24h",
                "metadata": {"mpta": tag},
            },
            repeatable=False,
        )
        return str(made["id"])

    async def find(self, lost: LostBatch, http: BatchHttp) -> str | None:
        after = ""
        for _ in range(MOST_PAGES):
            page = await http.json(f"/batches?limit=100{after}", None)
            listed = page.get("data") or []
            for batch in listed:
                if (batch.get("metadata") or {}).get("mpta") == lost.tag and batch["id"] not in lost.others:
                    return str(batch["id"])
            # The newest come first.
            if not listed or not page.get("has_more") or (listed[-1].get("created_at") or 0) < lost.since - CLOCK_SKEW:
                return None
            after = f"&after={listed[-1]['id']}"
        return None

    async def state(self, batch: str, http: BatchHttp) -> BatchState:
        found = await http.json(f"/batches/{batch}", None)
        counts = found.get("request_counts") or {}
        failed = None
        if found["status"] == "failed":
            problems = (found.get("errors") or {}).get("data") or []
            first = problems[0] if problems else {}
            # Include the code: it distinguishes a batch that has to wait from an invalid one.
            failed = f"{first.get('code') or ''} {first.get('message') or 'the batch failed'}".strip()
        return BatchState(
            ended=found["status"] in ("completed", "failed", "expired", "cancelled"),
            done=(counts.get("completed") or 0) + (counts.get("failed") or 0),
            failed=failed,
            name=str(found["status"]),
            known=found["status"] in ("validating", "in_progress", "finalizing", "cancelling"),
        )

    async def results(self, batch: str, http: BatchHttp) -> Iterator[BatchResult]:
        found = await http.json(f"/batches/{batch}", None)
        files = [found[k] for k in ("output_file_id", "error_file_id") if found.get(k)]
        data = [await http.raw(f"/files/{file}/content") for file in files]
        return (result for part in data for result in result_lines(part, self._result))

    async def cancel(self, batch: str, http: BatchHttp) -> None:
        await http.json(f"/batches/{batch}/cancel", {})

    def _result(self, line: Any) -> BatchResult:
        key, response = str(line["custom_id"]), line.get("response")
        if response is not None and response["status_code"] == 200:
            return BatchResult(key, payload=response["body"])
        if response is not None:
            error = self.provider.classify_error(response["status_code"], response["body"], "")
            return BatchResult(key, error=batch_error(f"HTTP {response['status_code']}: {error.reason}", error.kind))
        problem = line.get("error") or {}
        if problem.get("code") in ("batch_expired", "batch_cancelled"):
            return BatchResult(key)  # never processed
        return BatchResult(key, error=batch_error(str(problem.get("message") or problem)))


@dataclass(frozen=True, slots=True)
class _Said:
    """What the forms of a response have in common."""

    text: str
    finish: str | None
    refusal: str = ""
    thought: bool = False
    logprobs: Any = None
    details: Mapping[str, Any] = field(default_factory=dict)


def _said(payload: Any, classify_error: Callable[[int, Any, str], ProviderError]) -> _Said:
    """Return text, finish reason, refusal and tokens of a response.

    Raises:
        ProviderError: It has none of the forms, or reports an error.
    """
    whole = mapping(payload)
    if isinstance(whole.get("output"), list) and "choices" not in whole:
        return _of_responses(whole, classify_error)
    choices = listing(whole.get("choices"))
    if not choices:
        raise_error_in(payload, classify_error)
    choice = mapping(choices[0]) if choices else {}
    message = choice.get("message")
    if not isinstance(message, Mapping) and "text" not in choice:
        raise_error_in(choice, classify_error)
        raise unreadable_response("it has no choices with a message")
    body = mapping(message)
    content = body.get("content") if isinstance(message, Mapping) else choice.get("text")
    if content is not None and not isinstance(content, str | list):
        raise unreadable_response("the message's content is not text")
    text = _text_of(content)
    if not text.strip():
        # Gateways report errors of the server behind them beside an empty message.
        raise_error_in(payload, classify_error)
    raise_error_in(choice, classify_error)
    finish, details = finish_reason_of(choice.get("finish_reason"))
    in_parts = any(mapping(part).get("type") in ("thinking", "reasoning") for part in listing(content))
    return _Said(
        text,
        finish,
        words(body.get("refusal")) or _refusal_in(content),
        in_parts or any(_spoken(body.get(name)) for name in _THOUGHT_FIELDS),
        choice.get("logprobs"),
        details,
    )


# Where servers put a thought: DeepSeek and older vLLM, newer vLLM and OpenRouter, Ollama, others.
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks", "thought")


def _spoken(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


def _of_responses(payload: Mapping[str, Any], classify_error: Callable[[int, Any, str], ProviderError]) -> _Said:
    """Read a response of the Responses API: output items, among them messages and reasoning."""
    raise_error_in(payload, classify_error)
    items = [mapping(item) for item in payload["output"]]
    parts = [mapping(p) for item in items if item.get("type") == "message" for p in listing(item.get("content"))]
    spoken = [part for part in parts if part.get("type") == "output_text"]
    finish = str(payload.get("status") or "completed")
    if finish == "incomplete":
        finish = str(mapping(payload.get("incomplete_details")).get("reason") or finish)
    return _Said(
        "".join(words(part.get("text")) for part in spoken),
        {"completed": "stop", "max_output_tokens": "length"}.get(finish, finish),
        "".join(words(part.get("refusal")) for part in parts if part.get("type") == "refusal"),
        any(item.get("type") == "reasoning" for item in items),
        [one for part in spoken for one in listing(part.get("logprobs"))],
    )


def _first_count(usage: Mapping[str, Any], *names: str) -> int | None:
    return next((n for name in names if (n := count_of(usage, name)) is not None), None)


def _text_of(content: Any) -> str:
    """Return a message's text; some servers send it as a list of parts, among them a thought."""
    if isinstance(content, list):
        parts = (part if isinstance(part, Mapping) else {"type": "text", "text": part} for part in content)
        return "".join(words(part.get("text")) for part in parts if part.get("type") in ("text", "output_text"))
    return words(content)


def _refusal_in(content: Any) -> str:
    return "".join(words(mapping(p).get("refusal")) for p in listing(content) if mapping(p).get("type") == "refusal")


def _one_letter(k: int) -> dict[str, Any]:
    """Return a response format that allows one letter and nothing else."""
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(LETTERS[:k])}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _letter_in(text: str) -> str:
    """Return the letter in a structured response; the text itself if the server ignored the format."""
    try:
        return str(parse_json(text)["answer"])
    except (ValueError, KeyError, TypeError, IndexError):
        return text


def _upload(data: bytes, tag: str) -> tuple[bytes, str]:
    """Return a multipart form with purpose=batch and the file, and its content type."""
    request = httpx.Request(
        "POST", "http://localhost/", data={"purpose": "batch"}, files={"file": (f"{tag}.jsonl", data)}
    )
    return request.read(), request.headers["content-type"]


def messages(request: ModelRequest, *, system_role: bool = True) -> list[dict[str, str]]:
    """Return the messages of a chat request; no system message if the prompt or the chat format has none."""
    turns = spoken(request)
    if request.system is None:
        return turns
    if not system_role:
        return [{"role": "user", "content": f"{request.system}\n\n{turns[0]['content']}"}, *turns[1:]]
    return [{"role": "system", "content": request.system}, *turns]


def _fingerprint(payload: Mapping[str, Any]) -> str | None:
    parts = [str(payload[k]) for k in ("model", "system_fingerprint") if payload.get(k)]
    return " ".join(parts) or None
