"""Several models in one run: none holds back another, and an interruption ends them all."""

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError, PolicyError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.inference import Stop, run_in_parallel
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Server, answers, openai_error

PAIRS = [ModelTask(model, task) for model in "ab" for task in "12"]


def test_each_queue_has_its_own_pace_and_keeps_its_order():
    slow = threading.Event()

    def make(pair):
        model, task = pair
        if model == "a":
            assert slow.wait(10)
        elif task == "2":
            slow.set()
        return f"{model}{task}"

    assert list(run_in_parallel(PAIRS, make, Stop(), str)) == [
        (("b", "1"), "b1"),
        (("b", "2"), "b2"),
        (("a", "1"), "a1"),
        (("a", "2"), "a2"),
    ]


def test_one_that_fails_is_told_and_stops_nobody():
    failure = ModelError("the key was rejected", remedy="correct it")

    def make(pair):
        model, task = pair
        if (model, task) == ("a", "1"):
            raise failure
        return task

    assert dict(run_in_parallel(PAIRS, make, Stop(), str)) == {
        ("a", "1"): failure,
        ("a", "2"): "2",
        ("b", "1"): "1",
        ("b", "2"): "2",
    }


@pytest.mark.parametrize("error", [ZeroDivisionError("by what?"), MemoryError(), RecursionError("too deep")])
def test_an_unforeseen_error_ends_its_own_partition_with_its_message(error: Exception):
    def make(pair):
        model, task = pair
        if (model, task) == ("a", "1"):
            raise error
        return task

    stop = Stop()
    made = dict(run_in_parallel(PAIRS, make, stop, str))
    assert isinstance(made[("a", "1")], ModelError)
    assert type(error).__name__ in str(made[("a", "1")])
    assert made[("a", "1")].__cause__ is error, "the run's log shows the trace"
    assert [made[k] for k in (("a", "2"), ("b", "1"), ("b", "2"))] == ["2", "1", "2"]
    assert not stop.is_set()


def test_who_leaves_after_the_last_partition_stops_nothing():
    """The stop is the whole command's: a run of one partition, then another (its second model was cancelled)."""
    stop = Stop()
    for _ in range(2):
        found = run_in_parallel([ModelTask("a", "1")], lambda pair: pair.task, stop, str)
        assert next(found) == (("a", "1"), "1")
        found.close()
    assert not stop.is_set()
    early = run_in_parallel(PAIRS, lambda pair: time.sleep(0.05), stop, str)
    next(early)
    early.close()
    assert stop.is_set()


def test_a_cancellation_that_nobody_asked_for_is_told_and_ends_its_model_alone(serve, ledger: Path):
    def read_status(frame):
        raise asyncio.CancelledError

    server = serve(lambda s, r: answers(r))
    prompts, stop = make_prompts([f"i {i}" for i in range(40)]), Stop()

    def make(pair):
        model = pair.model
        given = read_status if model == "a" else None
        return inference.send_requests(
            make_spec(server.url, name=model), prompts, ledger / model, stop=stop, read_status=given
        )

    made = dict(run_in_parallel([ModelTask("a", "1"), ModelTask("b", "1")], make, stop, str))
    assert "unexpected error" in str(made[("a", "1")])
    assert made[("b", "1")].answered == 40


def test_a_model_that_was_given_up_before_any_answer_is_not_tried_on_its_other_tasks(serve, ledger: Path):
    server = serve(lambda s, r: Answer(401, openai_error("wrong key")))

    def make(pair):
        task = pair.task
        return inference.send_requests(make_spec(server.url), make_prompts([f"{task} {i}" for i in range(9)]), ledger)

    made = dict(run_in_parallel([ModelTask("m", task) for task in "123"], make, Stop(), str))
    assert ["key was rejected" in str(m) for m in made.values()] == [True] * 3
    assert len(server.log) == 1


def test_models_of_one_queue_take_turns():
    busy, most = Counter(), Counter()

    def queue_of(model):
        return "elsewhere" if model == "c" else "this machine"

    def make(pair):
        model = pair.model
        busy[queue_of(model)] += 1
        most[queue_of(model)] = max(most[queue_of(model)], busy[queue_of(model)])
        time.sleep(0.01)
        busy[queue_of(model)] -= 1

    assert len(list(run_in_parallel([*PAIRS, ModelTask("c", "1")], make, Stop(), queue_of))) == 5
    assert most == {"this machine": 1, "elsewhere": 1}


def test_models_are_asked_at_the_same_time_and_none_stops_another(serve, ledger: Path):
    quick, slow = (serve(lambda s, r: answers(r), latency=latency) for latency in (0.0, 0.05))
    prompts = make_prompts([f"i {i}" for i in range(20)])
    specs = {
        "slow": make_spec(slow.url, name="slow", connections=1),
        "quick": make_spec(quick.url, name="quick"),
        "down": make_spec("http://127.0.0.1:9/v1", name="down"),
        "away": make_spec("http://0.0.0.0:9/v1", name="away"),
    }

    def make(pair):
        model = pair.model
        theirs = prompts.with_columns(data_use=pl.lit("local_only")) if model == "away" else prompts
        return inference.send_requests(specs[model], theirs, ledger / model)

    made = list(run_in_parallel([ModelTask(name, "t") for name in specs], make, Stop(), str))
    outcome = {pair.model: value for pair, value in made}
    assert isinstance(outcome["down"], ModelError)
    assert isinstance(outcome["away"], PolicyError)
    assert (outcome["quick"].answered, outcome["slow"].answered) == (20, 20)
    assert outcome["quick"].seconds < outcome["slow"].seconds / 2
    order = [pair.model for pair, _ in made]
    assert order.index("quick") < order.index("slow")


def test_asking_is_ended_from_another_thread_and_what_was_answered_is_kept(ledger: Path):
    prompts, stop = make_prompts([f"i {i}" for i in range(400)]), Stop()
    with Server(latency=0.05).running() as server:
        spec = make_spec(server.url, connections=2)
        threading.Timer(1.0, stop.set).start()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            inference.send_requests(spec, prompts, ledger, stop=stop)
        assert time.monotonic() - began < 5
        asked = len(server.log)
        assert 0 < asked < 400
        with pytest.raises(asyncio.CancelledError):
            inference.send_requests(spec, prompts, ledger, stop=stop)
        report = inference.send_requests(spec, prompts, ledger)
        assert report.answered + report.reused == 400
        assert len(server.log) <= 400 + 2, "asked twice at most what was in flight"
