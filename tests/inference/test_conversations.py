"""Conversations: what a turn says, what is asked again and what is not, and where a conversation stops."""

from __future__ import annotations

import asyncio
from collections import Counter

import polars as pl
import pytest

from mpta_pipeline import inference, tasks
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.providers.anthropic import Anthropic
from mpta_pipeline.inference.providers.gemini import Gemini
from mpta_pipeline.inference.providers.openai import messages
from mpta_pipeline.inference.requests import TURN, ModelRequest
from mpta_pipeline.tasks.turns import NO_ANSWER
from tests.factories.conversations import Listener, after, rejected, turns
from tests.factories.model_calls import make_spec
from tests.inference.test_providers import BatchMock, batch_spec, submitted

ANSWERS = "ABCAB"


def by_length(request: ModelRequest) -> str:
    """A: first question, B: second, …, so that the history shows which question was answered how."""
    return ANSWERS[len(request.history)]


def test_each_turn_shows_the_questions_before_it_and_what_the_model_said(monkeypatch, tmp_path):
    model = Listener(monkeypatch, lambda request: f"<think>hm</think>\n {by_length(request)} ")
    report = model.hold(turns(people=2, questions=3), tmp_path)
    assert (report.answered, report.requests, report.left, report.not_reached) == (6, 6, 0, 0)
    last = [one for one in model.asked if one.user.startswith("Question 3")]
    assert len(last) == 2
    for one in last:
        assert [(asked.split("?")[0], said) for asked, said in one.history] == [
            ("Question 1", "A"),
            ("Question 2", "B"),
        ]
        assert one.system and one.told == sum(len(asked) + len(said) for asked, said in one.history)
    found = model.responses(turns(people=2, questions=3), tmp_path)
    assert found.height == 6 and found["error"].null_count() == 6


def test_a_first_turn_is_the_request_that_the_question_is_alone(monkeypatch, tmp_path):
    model = Listener(monkeypatch, by_length)
    composed = tasks.Conversations(model.spec, tmp_path).composed(turns())
    alone = inference.with_request_hashes(model.spec, turns().drop("conversation", "turn", "asked_after"))
    first = pl.Series(turns()["turn"] == 1)
    assert composed.filter(first)["request_hash"].equals(alone.filter(first)["request_hash"])
    assert composed.filter(~first)["request_hash"].str.starts_with(TURN).all()
    without = turns().with_columns(pl.lit(None, pl.Int64).alias("turn"))
    assert (
        tasks.Conversations(model.spec, tmp_path)
        .composed(without)
        .equals(inference.with_request_hashes(model.spec, without))
    )


@pytest.mark.parametrize(("stop_after", "n"), [(1, 1), (4, 3), (7, 2)])
def test_a_run_that_is_stopped_goes_on_where_it_was_and_asks_nothing_twice(monkeypatch, tmp_path, stop_after, n):
    prompts = turns(people=3, questions=3)
    whole = Listener(monkeypatch, by_length)
    whole.hold(prompts, tmp_path / "whole")
    first = Listener(monkeypatch, by_length)
    first.stop_after = stop_after
    with pytest.raises(asyncio.CancelledError):
        first.hold(prompts, tmp_path / "parts", n)
    second = Listener(monkeypatch, by_length)
    report = second.hold(prompts, tmp_path / "parts", n)
    asked = Counter(one.request_hash for one in (*first.asked, *second.asked))
    assert set(asked.values()) == {1} and set(asked) == {one.request_hash for one in whole.asked}
    assert report.answered == 9 - stop_after and report.reused == stop_after
    assert second.responses(prompts, tmp_path / "parts").equals(whole.responses(prompts, tmp_path / "whole"))
    assert second.hold(prompts, tmp_path / "parts", n).answered == 0


def test_responses_in_parts_are_those_after_the_last_turn(monkeypatch, tmp_path):
    """The keys of parts are written before anything is sent, when later turns have no hash yet."""
    prompts, ledger, keys = turns(people=3, questions=3), tmp_path / "ledger", tmp_path / "keys"
    keys.mkdir()
    model = Listener(monkeypatch, by_length)
    parts = model.parts(prompts, ledger, 2)
    inference.send_requests(model.spec, parts, ledger, keys=keys)
    answers = inference.PartResponses(parts, ledger, keys)
    found = pl.concat([answers.read(number) for number in range(2)]).sort("prompt_id")
    assert found.equals(model.responses(prompts, ledger)) and found.height == 9
    assert sum(answers.asked(number) for number in range(2)) == 9


def test_a_changed_question_asks_anew_from_there_on(monkeypatch, tmp_path):
    model = Listener(monkeypatch, by_length)
    model.hold(turns(people=2, questions=3), tmp_path)
    changed = turns(people=2, questions=3, q2="Otherwise?")
    assert model.hold(changed, tmp_path).answered == 2 * 2, "questions 2 and 3 of 2 persons"
    assert model.hold(turns(people=2, questions=3), tmp_path).answered == 0, "the answers of before are still there"


def test_another_answer_makes_all_later_turns_new_requests(monkeypatch, tmp_path):
    prompts = turns(people=1)
    Listener(monkeypatch, by_length).hold(prompts, tmp_path)
    Listener(monkeypatch, lambda request: "C").hold(prompts, tmp_path / "other")
    hashes = [
        tasks.Conversations(Listener(monkeypatch, by_length).spec, folder).composed(prompts)["request_hash"].to_list()
        for folder in (tmp_path, tmp_path / "other")
    ]
    assert hashes[0][0] == hashes[1][0] and set(hashes[0][1:]).isdisjoint(hashes[1][1:])


def test_a_failed_turn_stops_its_conversation_and_is_sent_again_on_demand(monkeypatch, tmp_path):
    prompts = turns(people=3)

    def reply(request):
        broken = request.system == "You are person 1." and request.user.startswith("Question 2")
        return rejected() if broken else by_length(request)

    model = Listener(monkeypatch, reply)
    report = model.hold(prompts, tmp_path)
    assert (report.answered, report.errors, report.not_reached, report.left) == (9, 1, 2, 0)
    assert report.as_notes()["not_reached"] == 2
    plan = inference.plan(model.spec, model.parts(prompts, tmp_path), tmp_path)
    assert (plan.calls, plan.cached, plan.errors) == (0, 9, 1), "what is behind a failed turn is not sent"
    found = model.responses(prompts, tmp_path)
    assert found.height == 10 and found.filter(pl.col("error").is_not_null())["prompt_id"].to_list() == ["1-2"]
    again = model.hold(prompts, tmp_path)
    assert (again.answered, again.earlier_errors, again.not_reached, again.left) == (0, 1, 2, 0), "it stays so"
    repaired = Listener(monkeypatch, by_length).hold(prompts, tmp_path, retry_errors=True)
    assert (repaired.answered, repaired.not_reached) == (3, 0)


@pytest.mark.parametrize("said", ["", "   ", "<think>so long"])
def test_a_reply_without_an_answer_is_shown_as_such_and_the_conversation_goes_on(monkeypatch, tmp_path, said):
    """Endpoints reject empty messages of the assistant."""
    model = Listener(monkeypatch, lambda request: "B" if request.history else said)
    model.hold(turns(people=5, questions=2), tmp_path)
    assert {one.history[0][1] for one in model.asked if one.history} == {NO_ANSWER}


def test_questions_depend_on_the_models_own_answers_and_name_them(monkeypatch, tmp_path):
    prompts = turns(people=2, q3="You said {{q1}}. Why?")
    prompts = after(after(prompts, "q2", "q1", [0]), "q3", "q1", None)

    def reply(request):
        return "A" if request.system == "You are person 0." else "I cannot say."

    model = Listener(monkeypatch, reply)
    parts = model.parts(prompts, tmp_path)
    assert inference.plan(model.spec, parts, tmp_path).calls == 8, "at most, before anybody has answered"
    report = model.hold(prompts, tmp_path)
    asked = {(one.system[-2], one.user.split("?")[0]) for one in model.asked}
    assert asked == {
        ("0", "Question 1"), ("0", "Question 2"), ("0", "You said agree. Why"), ("0", "Question 4"),
        ("1", "Question 1"), ("1", "Question 4"),
    }  # fmt: skip
    assert report.requests == report.answered == 6 and report.not_reached == 0
    assert inference.plan(model.spec, parts, tmp_path).calls == 0
    assert model.responses(prompts, tmp_path).height == 6


def test_equal_conversations_are_held_once(monkeypatch, tmp_path):
    """Twins without a persona: their texts are the same, and they part where one is asked a question less."""
    prompts = turns(people=3).with_columns(pl.lit(None, pl.String).alias("system"), pl.lit("{}").alias("known"))
    prompts = prompts.filter(~((pl.col("respondent_id") == "p2") & (pl.col("item_id") == "q3")))
    model = Listener(monkeypatch, by_length)
    parts = model.parts(prompts, tmp_path, 3)
    assert inference.plan(model.spec, parts, tmp_path).calls == 1 + 3 + 2, "the first turn, and at most what follows it"
    assert model.hold(prompts, tmp_path, 3).answered == 5, "four turns, and the last one after two"
    assert model.responses(prompts, tmp_path).height == 11


def test_the_records_of_a_ledger_without_turns_are_read_as_before(monkeypatch, tmp_path):
    model = Listener(monkeypatch, by_length)
    model.hold(turns(people=1), tmp_path)
    assert Ledger(tmp_path).texts().height == 4
    state = Ledger(tmp_path).state()
    model.hold(turns(people=2), tmp_path)
    assert Ledger(tmp_path).state() != state


REQUEST = ModelRequest("h", "You are.", "Q2?", ("yes", "no"), "letter", "g", None, (("Q1?", "A"),), 4)


def test_history_in_each_format():
    turn = [
        {"role": "user", "content": "Q1?"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "Q2?"},
    ]
    assert messages(REQUEST) == [{"role": "system", "content": "You are."}, *turn]
    merged = messages(REQUEST, system_role=False)
    assert [one["content"] for one in merged] == ["You are.\n\nQ1?", "A", "Q2?"]
    claude = Anthropic(make_spec("https://x", provider="anthropic")).body(REQUEST)
    assert claude["messages"] == turn and claude["system"] == "You are."
    contents = Gemini(make_spec("https://x", provider="gemini")).body(REQUEST)["contents"]
    assert [(one["role"], one["parts"][0]["text"]) for one in contents] == [
        ("user", "Q1?"),
        ("model", "A"),
        ("user", "Q2?"),
    ]


def test_models_that_complete_texts_are_refused_by_name(tmp_path):
    spec = make_spec("https://x/v1", api="completions")
    prompts = turns().drop("known")
    with pytest.raises(ModelError, match="completes texts, and a conversation consists of messages"):
        inference.plan(spec, tasks.Conversations(spec, tmp_path).composed(prompts), tmp_path)


def test_over_http_the_budget_stops_a_conversation_and_a_larger_one_goes_on(server, ledger):
    spec = make_spec(server.url, price={"input": 1000.0, "output": 1000.0})
    prompts = turns(people=2, questions=3).drop("known")
    talk = tasks.Conversations(spec, ledger)
    parts = inference.PromptParts(spec, [lambda: talk.composed(prompts)])
    report = inference.send_requests(spec, parts, ledger, budget=0.15)
    assert report.stopped and 0 < report.answered < 6 and report.left > 0
    assert report.estimated_cost > 0.15, "the turns that follow are part of the estimate"
    answered = report.answered
    report = inference.send_requests(spec, parts, ledger, budget=10)
    assert (report.answered, report.left, report.not_reached) == (6 - answered, 0, 0)
    bodies = [r.body["messages"] for r in server.log if r.method == "POST"]
    assert len(bodies) == 6 and max(len(body) for body in bodies) == 6
    longest = max(bodies, key=len)
    assert [one["role"] for one in longest] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert {one["content"] for one in longest if one["role"] == "assistant"} == {"A"}


def test_a_batch_endpoint_gets_one_batch_per_turn(serve, ledger, monkeypatch):
    monkeypatch.setenv("MOCK_KEY", "k")
    server = serve(BatchMock())
    spec = batch_spec(server, "openai")
    prompts = turns(people=3, questions=3).drop("known")
    talk = tasks.Conversations(spec, ledger)
    report = inference.send_requests(spec, inference.PromptParts(spec, [lambda: talk.composed(prompts)]), ledger)
    assert (report.answered, report.not_reached, submitted(server)) == (9, 0, 3)
