"""What cannot work says so after a few requests, in the provider's words, and not in the report.

The endpoints behave as in public bug reports of evaluation tools and inference servers.
"""

from pathlib import Path

import polars as pl
import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.providers.base import ModelResponse
from mpta_pipeline.inference.response_diagnostics import cut_prompts, starved
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Request, Server, answers, chat, openai_error

MANY = [f"question {i} of many" for i in range(600)]


# --- a whole entry that is rejected -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("anthropic", "`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
        ("anthropic", "`temperature` may only be set to 1 when thinking is enabled."),
        ("openai", "Invalid 'max_tokens': integer below minimum value. Expected a value >= 16, but got 8 instead."),
        ("openai", "max_tokens is too large: 300000. This model supports at most 16384 completion tokens"),
        ("openai", "The requested model requires a system prompt of request id req_011CSabc{seen}"),
    ],
)
def test_an_entry_whose_every_request_is_rejected_stops_after_a_few(provider: str, words: str, serve, ledger: Path):
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    server = serve(lambda s, r: Answer(400, error if provider == "anthropic" else openai_error(words)))
    spec = make_spec(server.url, provider=provider, connections=64)
    with pytest.raises(ModelError) as failure:
        inference.send_requests(spec, make_prompts(MANY), ledger)
    assert words[:40] in str(failure.value)
    assert "Remedy" in str(failure.value)
    assert len(server.log) <= 6
    assert Ledger(ledger).read().is_empty(), "no item is at fault"


def test_prompts_that_are_too_long_do_not_stop_a_model_that_answers_shorter_ones(serve, ledger: Path):
    said = "This model's maximum context length is 10 tokens. However, you requested {n} tokens"

    def decide(server: Server, r: Request) -> Answer:
        return (
            Answer(400, openai_error(said.format(n=len(r.text)), "context_length_exceeded"))
            if len(r.text) > 40
            else answers(r)
        )

    users = [f"{'long ' * 20}{i}" for i in range(20)] + [f"short {i}" for i in range(10)]
    server = serve(decide)
    report = inference.send_requests(make_spec(server.url), make_prompts(users), ledger)
    assert (report.answered, report.errors) == (10, 20)
    assert len(server.log) == 30, "the shortest one was asked before its turn, and once"


def test_the_shortest_prompts_that_fail_do_not_stop_a_model_that_answers_others(serve, ledger: Path):
    server = serve(lambda s, r: Answer(400, openai_error("flagged")) if len(r.text) < 10 else answers(r))
    users = [f"bad {i}" for i in range(4)] + [f"a longer question {i}" for i in range(10)]
    report = inference.send_requests(make_spec(server.url), make_prompts(users), ledger)
    assert (report.answered, report.errors) == (10, 4)


def test_a_model_without_one_answer_is_a_failure_now_and_on_every_later_run(serve, ledger: Path):
    server = serve(lambda s, r: Answer(400, openai_error(f"no {r.text}")))
    spec, prompts = make_spec(server.url), make_prompts(["alpha", "beta"])
    for _ in range(2):
        with pytest.raises(ModelError, match=r"answered none of its 2 requests.*no (alpha|beta).*--retry-errors"):
            inference.send_requests(spec, prompts, ledger)
    assert len(server.log) == 2, "the errors stay errors"
    assert inference.responses(spec, prompts, ledger).height == 2


# --- a wrong address that answers 200 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        # LM Studio
        Answer(body={"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        Answer(404, {"detail": "Not Found"}),  # vLLM, FastAPI
        Answer(404, raw=b"404 page not found", content_type="text/plain"),  # Ollama
        Answer(raw=b"<!doctype html><title>Open WebUI</title>", content_type="text/html"),
        Answer(405, {"detail": "Method Not Allowed"}),
    ],
)
def test_a_base_url_without_its_version_is_told_with_the_right_one(wrong: Answer, serve, ledger: Path):
    def decide(server: Server, r: Request) -> Answer:
        if r.path == "/v1/models":
            return Answer(body={"object": "list", "data": [{"id": "mock-1", "object": "model"}]})
        return answers(r) if r.path.startswith("/v1/") else wrong

    server = serve(decide)
    root = server.url.removesuffix("/v1")
    with pytest.raises(ModelError, match=f"set base_url to {server.url} in models.yaml"):
        inference.send_requests(make_spec(root), make_prompts(MANY[:80]), ledger)
    assert len(server.log) <= 3 + 1
    assert Ledger(ledger).read().is_empty()


# --- thinking ---------------------------------------------------------------------------------------------------------


def thinker(style: str, need: int = 300):
    """A model that thinks `need` tokens before the answer, and counts them in the limit of tokens."""

    def decide(server: Server, r: Request) -> Answer:
        config = r.body.get("generationConfig") or {}
        limit = config.get("maxOutputTokens") or r.body.get("max_tokens") or r.body.get("max_completion_tokens")
        off = (
            (config.get("thinkingConfig") or {}).get("thinkingBudget") == 0
            or r.body.get("reasoning_effort") in ("none", "minimal")
            or (r.body.get("chat_template_kwargs") or {}).get("enable_thinking") is False
            or (r.body.get("thinking") or {}).get("type") == "disabled"
        )
        thought = 0 if off else min(need, limit)
        whole = off or limit > need
        if style == "gemini":
            content = {"role": "model", "parts": [{"text": "B"}]} if whole else {"role": "model"}
            usage = {"promptTokenCount": 40, "thoughtsTokenCount": thought, "totalTokenCount": 40 + thought}
            finish = "STOP" if whole else "MAX_TOKENS"
            return Answer(body={"candidates": [{"content": content, "finishReason": finish}], "usageMetadata": usage})
        if style == "openai 400" and not whole:
            said = (
                "Could not finish the message because max_tokens or model output limit was reached. Please try again."
            )
            return Answer(400, openai_error(said))
        body = chat("B" if whole else "", finish_reason="stop" if whole else "length")
        message = body["choices"][0]["message"]
        if style == "think tags" and not off:
            message["content"] = "<think>\nOkay, the user" + ("</think>\n\nB" if whole else "")
        elif style == "reasoning_content" and not off:
            message |= {"reasoning_content": "Okay, the user", "content": "B" if whole else None}
        elif style == "ollama" and not off:
            message |= {"reasoning": "Okay, the user"}
        body["usage"]["completion_tokens_details"] = {"reasoning_tokens": thought if style == "o-series" else 0}
        return Answer(body=body)

    return decide


STYLES = ["gemini", "think tags", "reasoning_content", "ollama", "o-series", "openai 400"]


def spec_of(server: Server, style: str, **values):
    if style == "gemini":
        base = server.url.removesuffix("/v1") + "/v1beta"
        return make_spec(base, **{"provider": "gemini", "model": "gemini-2.5-flash", "structured": True} | values)
    return make_spec(server.url, **values)


@pytest.mark.parametrize("style", STYLES)
def test_a_model_that_turns_out_to_think_gets_room_for_it(style: str, serve, ledger: Path):
    """The shipped Gemini entry sent maxOutputTokens 24, of which the thought took all: 16 of 16 replies were empty."""
    server = serve(thinker(style))
    spec, prompts = spec_of(server, style), make_prompts(MANY[:16])
    report = inference.send_requests(spec, prompts, ledger)
    frame = inference.responses(spec, prompts, ledger)
    assert report.answered == 16
    assert frame["text"].str.strip_chars().str.ends_with("B").all()
    assert any("thinks before it answers" in note for note in report.notes)
    assert len(server.log) == 17, "only the first was asked twice"
    assert inference.send_requests(spec, prompts, ledger).answered == 0


def test_a_model_that_thinks_although_it_is_switched_off_gets_room_for_it_too(serve, ledger: Path):
    """gpt-oss knows no off; a template passes over what it does not know."""

    def decide(server: Server, r: Request) -> Answer:
        whole = r.body["max_tokens"] > 60
        body = chat("B" if whole else None, finish_reason="stop" if whole else "length")
        body["choices"][0]["message"]["reasoning_content"] = "We need to answer"
        return Answer(body=body)

    server = serve(decide)
    report = inference.send_requests(make_spec(server.url, reasoning="off"), make_prompts(MANY[:16]), ledger)
    assert report.answered == 16
    assert report.cut_off == 0
    assert any("although its entry says" in note for note in report.notes)


def test_what_was_paid_for_a_thought_without_an_answer_is_accounted(serve, ledger: Path):
    server = serve(thinker("o-series"))
    spec = make_spec(server.url, price={"input": 1.0, "output": 1.0}, budget=1.0)
    report = inference.send_requests(spec, make_prompts(["x"]), ledger)
    assert report.cost == pytest.approx(2 * 41 / 1e6)
    assert Ledger(ledger).totals()["cost"] == pytest.approx(report.cost)


def read_status(frame: pl.DataFrame) -> pl.Series:
    """As the real parser, in short: a letter, or nothing."""
    letter = frame["text"].fill_null("").str.contains(r"\b[A-C]\b")
    return frame.select(pl.when(letter).then(pl.lit("ok")).otherwise(pl.lit("unparsed"))).to_series()


@pytest.mark.parametrize("style", STYLES[:5])
def test_a_limit_that_the_thought_takes_stops_the_run_after_the_first_answers(style: str, serve, ledger: Path):
    server = serve(thinker(style))
    spec, prompts = spec_of(server, style, max_tokens=16, connections=4), make_prompts(MANY)
    with pytest.raises(ModelError) as failure:
        inference.send_requests(spec, prompts, ledger, read_status=read_status)
    message = str(failure.value)
    for words in (
        "mock",
        "cut off",
        "finish reason",
        "MAX_TOKENS" if style == "gemini" else "length",
        "16",
        "reasoning:",
    ):
        assert words in message
    asked = len(server.log)
    assert asked < 40
    with pytest.raises(ModelError, match="cut off"):
        inference.send_requests(spec, prompts, ledger, read_status=read_status)
    assert len(server.log) == asked, "nothing more is asked until the entry changes"
    mended = spec_of(server, style, max_tokens=16, reasoning="off")
    if style != "o-series":
        assert inference.send_requests(mended, prompts, ledger, read_status=read_status).answered == 600


def test_few_answers_that_are_all_cut_off_are_a_failure_too(serve, ledger: Path):
    server = serve(thinker("think tags"))
    with pytest.raises(ModelError, match="16 of 16 responses were cut off"):
        inference.send_requests(
            make_spec(server.url, max_tokens=8), make_prompts(MANY[:16]), ledger, read_status=read_status
        )


def test_replies_that_end_at_the_limit_but_name_an_option_are_good(serve, ledger: Path):
    """Eight tokens cut most chat models off in the middle of a sentence that begins with the letter."""
    server = serve(lambda s, r: Answer(body=chat("B. I would rather say that", finish_reason="length")))
    report = inference.send_requests(make_spec(server.url), make_prompts(MANY), ledger, read_status=read_status)
    assert (report.answered, report.cut_off, report.notes) == (600, 0, [])


def test_replies_that_name_no_option_are_told_of_at_once(serve, ledger: Path):
    server = serve(lambda s, r: Answer(body=chat("I understand. Let me think about it.")), latency=0.02)
    seen = []
    spec = make_spec(server.url, connections=4)
    report = inference.send_requests(spec, make_prompts(MANY), ledger, read_status=read_status, progress=seen.append)
    first = next(p for p in seen if p.warnings)
    assert first.done < 300
    assert "24 of the 24 latest responses name none of the options" in first.warnings[0]
    assert any("name none of the options" in note for note in report.notes)


# --- how thinking is said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "reasoning", "sent"),
    [
        ({"base_url": "https://api.openai.com/v1"}, "off", {"reasoning_effort": "none"}),
        ({"base_url": "https://api.openai.com/v1"}, {"effort": "low"}, {"reasoning_effort": "low"}),
        ({"base_url": "https://openrouter.ai/api/v1"}, "off", {"reasoning": {"enabled": False}}),
        ({"base_url": "https://openrouter.ai/api/v1"}, 3000, {"reasoning": {"max_tokens": 3000}}),
        ({"base_url": "https://api.deepseek.com/v1"}, "off", {"thinking": {"type": "disabled"}}),
        ({"base_url": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"}, "off", {"enable_thinking": False}),
        ({"base_url": "http://127.0.0.1:11434/v1"}, "off", {"reasoning_effort": "none"}),
        (
            {"base_url": "http://127.0.0.1:8000/v1"},
            "off",
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"}},
        ),
        (
            {"base_url": "http://127.0.0.1:8000/v1"},
            {"budget": 0, "switch": "reasoning_effort"},
            {"reasoning_effort": "none"},
        ),
        ({"base_url": "http://127.0.0.1:8000/v1"}, {"budget": 500, "switch": "none"}, {}),
        ({"provider": "anthropic"}, "off", {"thinking": {"type": "disabled"}, "temperature": 0}),
        ({"provider": "anthropic"}, 500, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ],
)  # fmt: skip
def test_reasoning_is_said_in_the_providers_own_field(values, reasoning, sent, ledger: Path):
    from mpta_pipeline.inference.provider_registry import provider_for
    from mpta_pipeline.inference.requests import ModelRequest

    entry = {"name": "m", "provider": "openai", "model": "x", "reasoning": reasoning} | values
    spec = inference.ModelSpec.model_validate(entry)
    request = ModelRequest("h", "You are.", "Which?", ("a", "b"), "letter", "")
    one = provider_for(spec)
    body = one.body(request) if spec.provider == "anthropic" else one.path_and_body(request)[1]
    fields = ("reasoning_effort", "reasoning", "thinking", "enable_thinking", "chat_template_kwargs")
    if spec.provider == "anthropic":
        fields += ("temperature",)
    assert {k: body[k] for k in fields if k in body} == sent
    assert body["max_tokens"] == 8 + spec.reasoning.budget


@pytest.mark.parametrize(
    ("model", "reasoning", "sent"),
    [
        ("gemini-2.5-flash", "off", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", 512, {"thinkingBudget": 512}),
        ("gemini-3-flash-preview", "off", {"thinkingLevel": "minimal"}),
        ("gemini-3-pro-preview", 4096, {"thinkingLevel": "high"}),
    ],
)
def test_geminis_thinking_is_said_as_the_model_takes_it(model, reasoning, sent, ledger: Path):
    from mpta_pipeline.inference.provider_registry import provider_for
    from mpta_pipeline.inference.requests import ModelRequest

    spec = inference.ModelSpec(name="m", provider="gemini", model=model, reasoning=reasoning)
    body = provider_for(spec).body(ModelRequest("h", None, "Which?", ("a", "b"), "letter", ""))
    assert body["generationConfig"]["thinkingConfig"] == sent


def test_where_thinking_cannot_be_switched_off_the_least_is_asked_for(serve, ledger: Path):
    """gpt-5 knows no `none`; gemini-2.5-pro no budget of 0."""
    said = (
        "Unsupported value: 'reasoning_effort' does not support 'none' with this model. "
        "Supported values are: 'minimal', 'low', 'medium', and 'high'."
    )
    server = serve(
        lambda s, r: Answer(400, openai_error(said)) if r.body["reasoning_effort"] == "none" else Answer(body=chat("A"))
    )
    spec = make_spec(server.url, reasoning={"budget": 0, "switch": "reasoning_effort"})
    report = inference.send_requests(spec, make_prompts(MANY[:10]), ledger)
    assert (report.answered, len(server.log)) == (10, 11)
    assert server.log[-1].body["reasoning_effort"] == "minimal"
    assert any("minimal is sent" in note for note in report.notes)

    wrong = {
        "error": {
            "code": 400,
            "message": "Budget 0 is invalid. This model only works in thinking mode.",
            "status": "INVALID_ARGUMENT",
        }
    }

    def decide(server: Server, r: Request) -> Answer:
        if r.body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}:
            return Answer(400, wrong)
        return thinker("gemini", need=5)(server, r)

    google = serve(decide)
    spec = spec_of(google, "gemini", model="gemini-2.5-pro", reasoning="off")
    report = inference.send_requests(spec, make_prompts(MANY[:10]), ledger.parent / "g")
    assert (report.answered, len(google.log)) == (10, 11)


def test_reasoning_is_part_of_the_key_only_where_it_is_used():
    prompts = make_prompts(["a"])
    from mpta_pipeline.inference.requests import request_hashes

    plain = make_spec("http://127.0.0.1:1/v1")
    assert "reasoning" not in plain.identity()
    hashes = {
        request_hashes(make_spec("http://127.0.0.1:1/v1", reasoning=r), prompts)[0] for r in (None, False, 100, True)
    }
    assert len(hashes) == 4
    # As it was in earlier versions: stored answers stay valid.
    assert request_hashes(plain, prompts)[0] == "a5559a7f2fc6e84118bc466a211f4dbb"


# --- prompts cut in silence -------------------------------------------------------------------------------------------


def test_prompts_that_the_server_cuts_in_silence_are_told_of(serve, ledger: Path):
    """A server with a small context (Ollama's num_ctx) drops the beginning: usage says 50 tokens, whatever was sent."""

    def decide(server: Server, r: Request) -> Answer:
        sent = sum(len(m["content"]) for m in r.body["messages"]) // 4
        return Answer(body=chat("A") | {"usage": {"prompt_tokens": min(sent, 50), "completion_tokens": 1}})

    users = [f"Question {i}: " + "x " * (270 + i) for i in range(26)]
    report = inference.send_requests(make_spec(serve(decide).url), make_prompts(users), ledger)
    assert any("may have been cut" in note and "num_ctx" in note for note in report.notes)
    whole = serve(
        lambda s, r: Answer(body=chat("A") | {"usage": {"prompt_tokens": len(r.text) // 4, "completion_tokens": 1}})
    )
    assert inference.send_requests(make_spec(whole.url), make_prompts(users), ledger.parent / "whole").notes == []


def test_what_speaks_for_cut_prompts():
    lengths = list(range(543, 596, 2))
    assert "50 prompt tokens each" in cut_prompts(lengths, [50] * len(lengths))
    assert cut_prompts(lengths, [n // 4 for n in lengths]) is None
    assert cut_prompts([400] * 40, [100] * 40) is None, "equal prompts have equal counts"
    assert "too few" in cut_prompts([4000 + 7 * i for i in range(40)], [100 + i for i in range(40)])
    assert cut_prompts([100, 200], [50, 50]) is None, "two say nothing"
    assert cut_prompts([200 + 9 * i for i in range(40)], [150 + 8 * i for i in range(40)]) is None, "Chinese"
    # Prompts of one length differ by some characters a token: ties at the largest count are no sign.
    noise = [1350 + 7 * (i * i % 13) for i in range(100)]
    assert cut_prompts(noise, [300 + i % 3 for i in range(100)]) is None
    # The starter study's longest question in all its orders: 768 characters of long words in 180 tokens each.
    orders = [550 + 5 * i for i in range(40)] + [768] * 7
    assert cut_prompts(orders, [n * 10 // 36 for n in orders[:40]] + [180] * 7) is None
    mixed = [200 + 50 * i for i in range(40)]
    assert "512 prompt tokens each" in cut_prompts(mixed, [min(n // 3, 512) for n in mixed])


def test_a_reply_is_starved_where_the_limit_left_no_room_for_an_answer():
    assert starved(ModelResponse("", finish_reason="MAX_TOKENS"))
    assert starved(ModelResponse("<think>hm", finish_reason="length", thought=True))
    assert not starved(ModelResponse("<think>hm</think> B", finish_reason="length", thought=True))
    assert not starved(ModelResponse("B", finish_reason="length"))
    assert not starved(ModelResponse("", finish_reason="stop")), "empty, but not cut off"
