"""The fault list: each misbehaviour of an endpoint ends in the one right way, and nothing else is harmed by it."""

import time
from pathlib import Path

import pytest

from mpta_pipeline import inference
from mpta_pipeline.errors import ModelError
from mpta_pipeline.inference.faults import redact, retry_after
from tests.inference.conftest import make_prompts, make_spec
from tests.inference.server import Answer, Server, answers, openai_error

GOOD = [f"good {i}" for i in range(6)]


def ask_with(cue: str, server: Server, ledger: Path, **values):
    """Ask six good prompts and one with a cue; returns the report and the cue's row."""
    prompts = make_prompts([*GOOD[:3], f"{{{{{cue}}}}} pick one", *GOOD[3:]])
    spec = make_spec(server.url, **values)
    report = inference.ask(spec, prompts, ledger)
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
        ("unicode", "答えは Ａ です 🦆\u2028é", "stop", True),
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


def test_fifty_bad_items_of_two_thousand_cost_nothing_but_themselves(server: Server, ledger: Path):
    """lm-evaluation-harness aborts on this and inspect_ai stops (inference.md, 4)."""
    prompts = make_prompts([("{{400}}" if i % 40 == 7 else "") + f"item {i}" for i in range(2000)])
    spec = make_spec(server.url, connections=32)
    report = inference.ask(spec, prompts, ledger)
    assert (report.asked, report.errors) == (1950, 50)
    assert len(server.log) == 2000
    again = inference.ask(spec, prompts, ledger)
    assert (again.asked, again.earlier_errors, len(server.log)) == (0, 50, 2000), (
        "errors are asked again only on demand"
    )
    more = inference.ask(spec, prompts, ledger, retry_errors=True)
    assert (more.asked, more.errors, len(server.log)) == (0, 50, 2050)
    frame = inference.responses(spec, prompts, ledger)
    assert frame.height == 2000
    assert frame["error"].drop_nulls().unique().to_list() == ["HTTP 400: bad item"]


def test_an_error_that_is_mended_becomes_an_answer(serve, ledger: Path):
    server = serve(
        lambda s, r: Answer(400, openai_error("not now")) if "good 2" in r.text and not r.seen else answers(r)
    )
    prompts, spec = make_prompts(GOOD), make_spec(server.url)
    assert inference.ask(spec, prompts, ledger).errors == 1
    assert inference.ask(spec, prompts, ledger, retry_errors=True).asked == 1
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
        (Answer(402, openai_error("pay")), ["nothing is left to pay with"]),
        (Answer(429, openai_error("You exceeded your quota", "insufficient_quota")), ["quota"]),
        (Answer(429, openai_error("tomorrow"), {"retry-after": "86400"}), ["tomorrow"]),
        (Answer(500, openai_error("all broken")), ["HTTP 500"]),
    ],
)
def test_a_hopeless_endpoint_stops_its_model_with_url_and_remedy(answer, words, serve, ledger: Path):
    server = serve(lambda s, r: answer)
    with pytest.raises(ModelError) as failure:
        inference.ask(make_spec(server.url), make_prompts(GOOD), ledger)
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
        inference.ask(make_spec(url), make_prompts(GOOD), ledger)
    assert time.monotonic() - began < 2


def test_an_endpoint_that_dies_midway_keeps_what_was_answered(serve, ledger: Path):
    dead = Answer(500, openai_error("down"))
    server = serve(lambda s, r: answers(r) if s.phase.value or len(s.requests) <= 20 else dead)
    prompts, spec = make_prompts([f"item {i}" for i in range(100)]), make_spec(server.url, connections=4)
    with pytest.raises(ModelError, match="requests in a row failed"):
        inference.ask(spec, prompts, ledger)
    frame = inference.responses(spec, prompts, ledger)
    assert frame.height == 20
    assert frame["error"].null_count() == 20, "what failed with the endpoint is no error of the item"
    server.phase.value = 1
    assert inference.ask(spec, prompts, ledger).asked == 80


def test_a_key_rejected_midway_stops_the_model(serve, ledger: Path):
    revoked = Answer(401, openai_error("revoked"))
    server = serve(lambda s, r: answers(r) if len(s.requests) <= 10 else revoked)
    with pytest.raises(ModelError, match="key was rejected"):
        inference.ask(make_spec(server.url), make_prompts([f"item {i}" for i in range(100)]), ledger)
    assert len(server.log) <= 10 + 8


def test_refusals_cut_the_concurrency(serve, ledger: Path):
    """429 for more than 3 at once: the engine adapts instead of hammering (lm-eval sent 3,420 more requests)."""
    busy = Answer(429, openai_error("busy"), delay=0.0)
    server = serve(lambda s, r: answers(r) if s.active <= 3 else busy, latency=0.01)
    prompts = make_prompts([f"item {i}" for i in range(200)])
    report = inference.ask(make_spec(server.url, connections=16), prompts, ledger)
    assert (report.asked, report.errors) == (200, 0)
    assert len(server.log) < 500


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "3"}, 3, 3),
        ({"retry-after-ms": "250"}, 0.25, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
        ({"retry-after": "soon"}, None, None),
        ({}, None, None),
    ],
)
def test_retry_after_in_its_forms(headers, low, high):
    wait = retry_after(headers)
    assert wait == low if low is None else low <= wait <= high


def test_the_key_is_taken_out_of_what_comes_from_outside():
    assert redact("Bearer sk-123 and sk-123", ("sk-123",)) == "Bearer [key removed] and [key removed]"
