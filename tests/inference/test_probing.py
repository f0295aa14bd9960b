"""The probe tells what each kind of endpoint can do, and what to write into the entry."""

from pathlib import Path

import pytest

from mpta_pipeline import inference
from tests.factories.model_calls import make_spec
from tests.factories.provider_server import Answer, Request, Server, chat, openai_error
from tests.inference.test_early_warnings import thinker


def vllm(server: Server, r: Request) -> Answer:
    """vLLM: letters with candidates, structured output, prompt_logprobs, max_model_len."""
    if r.path == "/v1/models":
        return Answer(body={"object": "list", "data": [{"id": "mock-1", "object": "model", "max_model_len": 32768}]})
    if r.path.endswith("/tokenize"):
        return Answer(404, {"detail": "Not Found"})
    usage = {
        "usage": {"prompt_tokens": sum(len(m["content"]) for m in r.body["messages"]) // 4, "completion_tokens": 1}
    }
    if r.body.get("prompt_logprobs") is not None:
        listed = [None, *({"1": {"logprob": -1.0 if "Blue" in r.text else -3.0}} for _ in range(200))]
        return Answer(body=chat("x") | {"prompt_logprobs": listed} | usage)
    if "response_format" in r.body:
        return Answer(body=chat('{"answer": "B"}') | usage)
    return Answer(
        body=chat("B", logprobs={"B": -0.02, "A": -4.5, "C": -5.5} if r.body.get("logprobs") else None) | usage
    )


def test_a_server_of_ones_own(serve, ledger: Path):
    server = serve(vllm)
    found = inference.probe(make_spec(server.url), ledger)
    assert found.problem is None
    assert found.letters == "yes: 'B', which is right"
    assert "all 3 letters; the most likely is B" in found.candidates
    assert found.whole_options.startswith("yes, by prompt_logprobs")
    assert (found.thinking, found.structured, found.context) == ("no", "yes", "32,768 tokens")
    assert '"max_tokens":8' in found.sent
    assert "colour" not in found.sent
    assert found.to_do == []
    assert inference.stored_probe(make_spec(server.url), ledger) == found
    assert inference.stored_probe(make_spec(server.url, max_tokens=9), ledger) is None, "another entry"
    assert len(server.log) < 20


@pytest.mark.parametrize(
    ("style", "switch"),
    [
        ("think tags", "chat_template_kwargs"),
        ("reasoning_content", "chat_template_kwargs"),
        ("gemini", "thinkingConfig"),
    ],
)
def test_a_model_that_thinks(style: str, switch: str, serve, ledger: Path):
    server = serve(lambda s, r: thinker(style)(s, r) if r.method == "POST" else Answer(404, {"detail": "Not Found"}))
    base = server.url.removesuffix("/v1") + "/v1beta" if style == "gemini" else server.url
    spec = make_spec(base, provider="gemini" if style == "gemini" else "openai")
    found = inference.probe(spec, ledger)
    assert found.thinking.startswith("yes")
    assert f"switched off by {switch}" in found.thinking
    assert any("reasoning: off" in what for what in found.to_do)


def test_a_model_whose_thinking_is_switched_by_another_field(serve, ledger: Path):
    def decide(server: Server, r: Request) -> Answer:
        if r.method == "GET" or "tokenize" in r.path:
            return Answer(404, openai_error("no"))
        body = chat("B")
        if (r.body.get("thinking") or {}).get("type") != "disabled":
            body["choices"][0]["message"]["reasoning_content"] = "hm"
        return Answer(body=body)

    found = inference.probe(make_spec(serve(decide).url), ledger)
    assert "switched off by thinking" in found.thinking
    assert any("switch: thinking" in what for what in found.to_do)


def test_a_server_that_cuts_long_prompts(serve, ledger: Path):
    def decide(server: Server, r: Request) -> Answer:
        answer = vllm(server, r)
        if r.method == "POST" and "usage" in (answer.body or {}):
            answer.body["usage"]["prompt_tokens"] = 27
        return answer

    found = inference.probe(make_spec(serve(decide).url), ledger)
    assert any("more context" in what for what in found.to_do)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, openai_error("wrong key")),
        Answer(raw=b"<html>"),
        Answer(body=7),
        Answer(500, openai_error("broken")),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_a_finding(answer: Answer, serve, ledger: Path):
    server = serve(lambda s, r: answer)
    found = inference.probe(make_spec(server.url), ledger)
    assert found.problem is not None
    assert server.url in found.problem
    down = inference.probe(make_spec("http://127.0.0.1:9/v1"), ledger)
    assert "no connection" in down.problem


def test_prices_that_the_endpoint_lists_are_offered(serve, ledger: Path):
    """OpenRouter lists US dollars a token, as text."""
    listed = {"id": "mock-1", "context_length": 131072, "pricing": {"prompt": "0.00000015", "completion": "0.0000006"}}
    server = serve(lambda s, r: Answer(body={"data": [listed]}) if r.path == "/v1/models" else vllm(s, r))
    found = inference.probe(make_spec(server.url.replace("127.0.0.1", "0.0.0.0")), ledger)
    assert any("price: {input: 0.15, output: 0.6}" in what for what in found.to_do)
    assert found.context == "131,072 tokens"
