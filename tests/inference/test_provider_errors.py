"""The fault list: each misbehaviour of an endpoint ends in the one right way, and nothing else is harmed by it."""

import socket
import time
from pathlib import Path

import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.provider_errors import redact, retry_after
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Server, answers, chat, openai_error

GOOD = [f"good {i}" for i in range(6)]


def ask_with(cue: str, server: Server, ledger: Path, **values):
    """Ask six good prompts and one with a cue; returns the report and the cue's row."""
    prompts = make_prompts([*GOOD[:3], f"{{{{{cue}}}}} pick one", *GOOD[3:]])
    spec = make_spec(server.url, **values)
    report = inference.send_requests(spec, prompts, ledger)
    frame = inference.responses(spec, prompts, ledger)
    assert frame.height == 7, "every prompt has a row"
    assert frame["error"].null_count() >= 6, "the good prompts are answered"
    return report, frame.row(3, named=True), sum(1 for r in server.log if r.cue == cue)


@pytest.mark.parametrize(
    "cue",
    ["429", "429_seconds", "500", "502", "503", "reset", "truncated", "bad_json", "html_once", "hang", "empty_once"],
)
def test_what_passes_is_tried_again_and_answered(cue: str, server: Server, ledger: Path):
    report, row, sent = ask_with(cue, server, ledger)
    assert row["error"] is None
    assert row["text"] == "A"
    assert sent == 2
    assert report.errors == 0


@pytest.mark.parametrize("cue", ["429_seconds", "429_date"])
def test_retry_after_is_waited_for(cue: str, server: Server, ledger: Path):
    began = time.monotonic()
    ask_with(cue, server, ledger)
    assert time.monotonic() - began > 0.4  # an HTTP date has whole seconds, so 1.5 s may mean .5
    times = [r for r in server.log if r.cue == cue]
    assert len(times) == 2


def test_slow_drip_is_cut_off_by_the_whole_timeout(server: Server, ledger: Path):
    _, row, sent = ask_with("drip", server, ledger)
    assert row["error"] is None
    assert sent == 2


@pytest.mark.parametrize(
    ("cue", "reason", "sent"),
    [
        ("400", "HTTP 400: bad item", 1),
        ("too_long", "HTTP 400: maximum context length is 10 tokens", 1),
        ("big", "larger than 4 MiB", 1),
        ("always_500", "HTTP 500: this prompt kills me", 3),
        ("empty_choices", "no choices", 3),
        ("html", "web page", 3),
        ("surrogate", "not JSON", 3),
    ],
)
def test_what_does_not_pass_becomes_an_error_row(cue: str, reason: str, sent: int, server: Server, ledger: Path):
    report, row, count = ask_with(cue, server, ledger)
    assert reason in row["error"]
    assert row["text"] is None
    assert row["option_logprobs"] is None
    assert count == sent
    assert report.errors == 1
    assert list(report.error_reasons) == [row["error"]]


@pytest.mark.parametrize(
    ("cue", "text", "finish", "has_logprobs"),
    [
        ("no_logprobs", "B", "stop", False),
        ("wrong_letter", "Z", "stop", False),
        ("unicode", "答えは Ａ です 🦆\u2028é", "stop", False),
        ("filter", "", "content_filter", False),
        ("filter_400", "", "content_filter", False),
        ("refusal", "I cannot help with that.", "refusal", False),
        ("text_plain", "A", "stop", True),
        ("null_content", "", "stop", False),
        ("gzip", "A", "stop", True),
    ],
)
def test_odd_replies_are_kept_as_they_are(cue, text, finish, has_logprobs, server: Server, ledger: Path):
    report, row, sent = ask_with(cue, server, ledger)
    assert (row["text"], row["finish_reason"], row["error"]) == (text, finish, None)
    assert (row["option_logprobs"] is not None) == has_logprobs
    assert sent == 1
    assert report.refused == (finish != "stop")


ODD = {
    "tokens as text": chat() | {"usage": {"prompt_tokens": "40", "completion_tokens": None}},
    "a number beyond all": chat() | {"usage": {"prompt_tokens": 1e30, "completion_tokens": -1}},
    "usage as a list": chat() | {"usage": [1]},
    "cached as text": chat() | {"usage": {"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": "3"}}},
    "finish reason as an object": chat(finish_reason={"type": "stop"}),
    "model as a number": chat() | {"model": 5},
    "parts of text": chat([{"type": "text", "text": "A"}]),
    "no token": chat(logprobs=None) | {"choices": [{**chat()["choices"][0], "logprobs": {"content": [
        {"token": None, "logprob": -1, "top_logprobs": [{"token": None, "logprob": -1}]}]}}]},
    "tool call": chat("A", finish_reason="tool_calls"),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_a_reply_with_odd_values_is_kept_and_spoils_nothing(odd: str, serve, ledger: Path):
    """One value that does not fit the ledger's columns would make all of it unreadable."""
    server = serve(lambda s, r: Answer(body=ODD[odd]) if "odd" in r.text else answers(r))
    prompts, spec = make_prompts(["a", "odd", "b"]), make_spec(server.url, price={"input": 1.0, "output": 1.0})
    assert inference.send_requests(spec, prompts, ledger).answered == 3
    frame = inference.responses(spec, prompts, ledger)
    assert frame["text"].to_list() == ["A", "A", "A"]
    assert Ledger(ledger).totals()["cost"] > 0


def test_log_probabilities_above_zero_are_none(serve, ledger: Path):
    server = serve(lambda s, r: Answer(body=chat("A", logprobs={"A": 5.0, "B": -1.0, "C": -2.0})))
    prompts, spec = make_prompts(["a"]), make_spec(server.url)
    inference.send_requests(spec, prompts, ledger)
    assert inference.responses(spec, prompts, ledger)["option_logprobs"].to_list() == [None]


def test_an_endpoint_that_says_retry_after_0_for_ever_is_not_hammered(serve, ledger: Path):
    busy = Answer(429, openai_error("busy"), {"retry-after": "0"})
    server = serve(lambda s, r: answers(r) if len(s.requests) < 3 else busy)
    spec = make_spec(server.url, timeouts={"patience": 1.5})
    with pytest.raises(ModelError, match="busy"):
        inference.send_requests(spec, make_prompts(GOOD), ledger)
    assert len(server.log) < 60


def test_one_request_that_is_refused_for_load_for_ever_becomes_an_error(serve, ledger: Path):
    """OpenAI answers 429 to a request beyond a minute's tokens, however often it is sent."""
    large = Answer(
        429, openai_error("Request too large for mock-1: Limit 10000, Requested 12000", "rate_limit_exceeded")
    )
    server = serve(
        lambda s, r: (
            large if "large" in r.text else Answer(429, openai_error("no")) if "never" in r.text else answers(r)
        )
    )
    prompts = make_prompts([*GOOD, "large", "never", *(f"more {i}" for i in range(400))])
    spec = make_spec(server.url, timeouts={"patience": 0.5}, requests_per_minute=6000, connections=2)
    report = inference.send_requests(spec, prompts, ledger)
    assert (report.answered, report.errors) == (406, 2)
    assert sum("large" in r.text for r in server.log) == 1


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_persona_whose_every_prompt_fails_does_not_stop_the_run(status: int, serve, ledger: Path):
    """Twenty in a row: whether the endpoint is gone shows by whether it still answers what it has answered."""
    server = serve(lambda s, r: Answer(status, openai_error("blocked")) if "bad" in r.text else answers(r))
    prompts = make_prompts([*GOOD, *(f"bad {i}" for i in range(20)), *(f"later {i}" for i in range(6))])
    report = inference.send_requests(make_spec(server.url, connections=2, attempts=1), prompts, ledger)
    assert (report.answered, report.errors) == (12, 20)
    assert len(server.log) <= 32 + 3


def test_a_key_forbidden_midway_stops_the_model(serve, ledger: Path):
    gone = Answer(403, openai_error("this key may no longer be used"))
    server = serve(lambda s, r: answers(r) if len(s.requests) <= 10 else gone)
    prompts, spec = make_prompts([f"item {i}" for i in range(100)]), make_spec(server.url, connections=4)
    with pytest.raises(ModelError, match=r"no longer be used.*check the key"):
        inference.send_requests(spec, prompts, ledger)
    assert len(server.log) < 30
    assert inference.responses(spec, prompts, ledger)["error"].null_count() == 10, "no item is at fault"


def test_a_login_in_netrc_does_not_take_the_keys_place(serve, ledger: Path, tmp_path: Path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("MOCK_KEY", "sk-1")
    server = serve(lambda s, r: answers(r))
    away = make_spec(server.url.replace("127.0.0.1", "0.0.0.0"), key_env="MOCK_KEY")
    assert inference.send_requests(away, make_prompts(GOOD), ledger).answered == 6
    assert {r.headers["authorization"] for r in server.log} == {"Bearer sk-1"}


def test_what_stays_on_this_machine_goes_through_no_proxy_and_to_no_other_address(serve, ledger: Path, monkeypatch):
    server, proxy = serve(lambda s, r: answers(r)), serve(lambda s, r: answers(r))
    monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
    prompts = make_prompts(GOOD, data_use="local_only")
    assert inference.send_requests(make_spec(server.url), prompts, ledger).answered == 6
    assert (len(server.log), len(proxy.log)) == (6, 0)
    away = make_spec("http://model.invalid/v1")
    assert inference.send_requests(away, make_prompts(GOOD), ledger.parent / "away").answered == 6
    assert len(proxy.log) == 6, "what may leave goes the way that the environment names"
    monkeypatch.setenv("HTTP_PROXY", "socks5://user:secret@127.0.0.1:1")
    with pytest.raises(ModelError, match="proxy") as failure:
        inference.send_requests(away, make_prompts(["x"]), ledger.parent / "socks")
    assert "secret" not in str(failure.value)
    # localhost that means another machine, as a wrong hosts file makes it
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real("203.0.113.7", *a, **k))
    with pytest.raises(ModelError, match="no connection"):
        inference.send_requests(make_spec("http://localhost:9/v1"), prompts, ledger.parent / "hosts")


def test_a_redirect_from_this_machine_to_another_is_not_followed(serve, ledger: Path):
    other = serve(lambda s, r: answers(r))
    there = {"location": other.url.replace("127.0.0.1", "0.0.0.0") + "/chat/completions"}
    server = serve(lambda s, r: answers(r) if len(s.requests) <= 2 else Answer(307, raw=b"", headers=there))
    with pytest.raises(ModelError, match="redirects to another address"):
        inference.send_requests(
            make_spec(server.url, attempts=1), make_prompts(GOOD * 3, data_use="local_only"), ledger
        )
    assert other.log == []


def test_fifty_bad_items_of_two_thousand_cost_nothing_but_themselves(server: Server, ledger: Path):
    """lm-evaluation-harness aborts on this and inspect_ai stops (inference.md, 4)."""
    prompts = make_prompts([("{{400}}" if i % 40 == 7 else "") + f"item {i}" for i in range(2000)])
    spec = make_spec(server.url, connections=32)
    report = inference.send_requests(spec, prompts, ledger)
    assert (report.answered, report.errors) == (1950, 50)
    assert len(server.log) == 2000
    again = inference.send_requests(spec, prompts, ledger)
    assert (again.answered, again.earlier_errors, len(server.log)) == (0, 50, 2000), (
        "errors are asked again only on demand"
    )
    more = inference.send_requests(spec, prompts, ledger, retry_errors=True)
    assert (more.answered, more.errors, len(server.log)) == (0, 50, 2050)
    frame = inference.responses(spec, prompts, ledger)
    assert frame.height == 2000
    assert frame["error"].drop_nulls().unique().to_list() == ["HTTP 400: bad item"]


def test_an_error_that_is_mended_becomes_an_answer(serve, ledger: Path):
    server = serve(
        lambda s, r: Answer(400, openai_error("not now")) if "good 2" in r.text and not r.seen else answers(r)
    )
    prompts, spec = make_prompts(GOOD), make_spec(server.url)
    assert inference.send_requests(spec, prompts, ledger).errors == 1
    assert inference.send_requests(spec, prompts, ledger, retry_errors=True).answered == 1
    assert inference.responses(spec, prompts, ledger)["error"].null_count() == 6


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(401, openai_error("Incorrect API key", "invalid_api_key")), ["key was rejected", "check the key"]),
        (Answer(403, openai_error("forbidden")), ["403", "check the key"]),
        (Answer(404, openai_error("The model x does not exist", "model_not_found")), ["mock-1", "correct `model`"]),
        (Answer(404, raw=b"<html>nginx</html>", content_type="text/html"), ["web page", "correct base_url"]),
        (Answer(raw=b"<html>Welcome</html>", content_type="text/html"), ["web page", "correct base_url"]),
        (Answer(301, raw=b"", headers={"location": "http://elsewhere.invalid/"}), ["redirects", "correct base_url"]),
        (Answer(402, openai_error("pay")), ["no credit left"]),
        (Answer(429, openai_error("You exceeded your quota", "insufficient_quota")), ["quota"]),
        (Answer(429, openai_error("tomorrow"), {"retry-after": "86400"}), ["tomorrow"]),
        (Answer(500, openai_error("all broken")), ["HTTP 500"]),
    ],
)
def test_a_hopeless_endpoint_stops_its_model_with_url_and_remedy(answer, words, serve, ledger: Path):
    server = serve(lambda s, r: answer)
    with pytest.raises(ModelError) as failure:
        inference.send_requests(make_spec(server.url), make_prompts(GOOD), ledger)
    message = str(failure.value)
    assert server.url in message
    assert "Remedy" in message
    for word in words:
        assert word in message
    assert len(server.log) <= 3 * (1 if answer.status != 500 else 8), (
        "a hopeless endpoint is not asked by every connection"
    )
    assert inference.responses(make_spec(server.url), make_prompts(GOOD), ledger).is_empty()


def test_an_endpoint_that_is_down_is_named_at_once(ledger: Path):
    with Server().running() as gone:
        url = gone.url
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"no connection.*start the server"):
        inference.send_requests(make_spec(url), make_prompts(GOOD), ledger)
    assert time.monotonic() - began < 2


def test_an_endpoint_that_dies_midway_keeps_what_was_answered(serve, ledger: Path):
    dead = Answer(500, openai_error("down"))
    server = serve(lambda s, r: answers(r) if s.phase.value or len(s.requests) <= 20 else dead)
    prompts, spec = make_prompts([f"item {i}" for i in range(100)]), make_spec(server.url, connections=4)
    with pytest.raises(ModelError, match="requests in a row failed"):
        inference.send_requests(spec, prompts, ledger)
    frame = inference.responses(spec, prompts, ledger)
    assert frame.height == 20
    assert frame["error"].null_count() == 20, "what failed with the endpoint is no error of the item"
    server.phase.value = 1
    assert inference.send_requests(spec, prompts, ledger).answered == 80


def test_a_key_rejected_midway_stops_the_model(serve, ledger: Path):
    revoked = Answer(401, openai_error("revoked"))
    server = serve(lambda s, r: answers(r) if len(s.requests) <= 10 else revoked)
    with pytest.raises(ModelError, match="key was rejected"):
        inference.send_requests(make_spec(server.url), make_prompts([f"item {i}" for i in range(100)]), ledger)
    assert len(server.log) <= 10 + 8


def test_refusals_cut_the_concurrency(serve, ledger: Path):
    """429 for more than 3 at once: the engine adapts instead of hammering (lm-eval sent 3,420 more requests)."""
    busy = Answer(429, openai_error("busy"), delay=0.0)
    server = serve(lambda s, r: answers(r) if s.active <= 3 else busy, latency=0.01)
    prompts = make_prompts([f"item {i}" for i in range(200)])
    report = inference.send_requests(make_spec(server.url, connections=16), prompts, ledger)
    assert (report.answered, report.errors) == (200, 0)
    assert len(server.log) < 500


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "3"}, 3, 3),
        ({"retry-after-ms": "250"}, 0.25, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"retry-after": "soon"}, None, None),
        ({"retry-after": "nan"}, None, None),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3, 3),
        ({"retry-after": "-5"}, 0, 0),
        ({}, None, None),
    ],
)
def test_retry_after_in_its_forms(headers, low, high):
    wait = retry_after(headers)
    assert wait == low if low is None else low <= wait <= high


def test_the_key_is_taken_out_of_what_comes_from_outside():
    key = "sk-12345678"
    assert redact(f"Bearer {key} and {key}", (key,)) == "Bearer [key removed] and [key removed]"


@pytest.mark.parametrize("key", ["none", "1", "A", "EMPTY"])
def test_a_key_that_stands_for_none_changes_no_answer(key: str, serve, ledger: Path, monkeypatch):
    """Local servers want some key, and people write none, 1 or A, which are words of answers."""
    monkeypatch.setenv("MOCK_KEY", key)
    said = f"A, for 1 of them is none, EMPTY of {key}"
    server = serve(lambda s, r: Answer(body=chat(said)))
    prompts, spec = make_prompts(["x"]), make_spec(server.url, key_env="MOCK_KEY")
    inference.send_requests(spec, prompts, ledger)
    assert inference.responses(spec, prompts, ledger)["text"].to_list() == [said]
    assert redact(f"Incorrect API key provided: {key}. Bearer {key}", (key,)).count("[key removed]") == 2


def test_values_of_headers_and_url_parameters_are_taken_out_as_the_key_is(serve, ledger: Path):
    """A gateway wants a password of its own in a header; an error page shows the request's headers."""
    given = {"x-gateway": "hunter2-hunter2", "x-title": "a study of trust"}
    server = serve(lambda s, r: Answer(body=chat(f"{r.headers['x-gateway']} {r.headers['x-title']} {r.path}")))
    spec = make_spec(server.url, headers=given, query={"sig": "s1gn4ture", "api-version": "2024-10-21"})
    prompts = make_prompts(["x"])
    inference.send_requests(spec, prompts, ledger)
    (text,) = inference.responses(spec, prompts, ledger)["text"]
    assert "hunter2" not in text
    assert "s1gn4ture" not in text
    assert "a study of trust" in text
    assert "2024-10-21" in text
