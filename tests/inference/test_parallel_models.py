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
from mpta_pipeline.inference import Stop, in_parallel
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Server, answers, openai_error

CELLS = ["a|1", "a|2", "b|1", "b|2"]


def test_each_lane_goes_at_its_own_pace_and_in_its_own_order():
    slow = threading.Event()

    def make(model, task):
        if model == "a":
            assert slow.wait(10)
        elif task == "2":
            slow.set()
        return f"{model}{task}"

    assert list(in_parallel(CELLS, make, Stop(), str)) == [
        ("b|1", "b1"),
        ("b|2", "b2"),
        ("a|1", "a1"),
        ("a|2", "a2"),
    ]


def test_one_that_fails_is_told_and_stops_nobody():
    failure = ModelError("the key was rejected", remedy="correct it")

    def make(model, task):
        if (model, task) == ("a", "1"):
            raise failure
        return task

    assert dict(in_parallel(CELLS, make, Stop(), str)) == {"a|1": failure, "a|2": "2", "b|1": "1", "b|2": "2"}


@pytest.mark.parametrize("error", [ZeroDivisionError("by what?"), MemoryError(), RecursionError("too deep")])
def test_an_unforeseen_error_ends_its_own_partition_with_its_message(error: Exception):
    def make(model, task):
        if (model, task) == ("a", "1"):
            raise error
        return task

    stop = Stop()
    made = dict(in_parallel(CELLS, make, stop, str))
    assert isinstance(made["a|1"], ModelError)
    assert type(error).__name__ in str(made["a|1"])
    assert made["a|1"].__cause__ is error, "the run's log shows the trace"
    assert [made[k] for k in ("a|2", "b|1", "b|2")] == ["2", "1", "2"]
    assert not stop.is_set()


def test_who_leaves_after_the_last_partition_stops_nothing():
    """The stop is the whole command's: a run of one partition, then another (its second model was cancelled)."""
    stop = Stop()
    for _ in range(2):
        found = in_parallel(["a|1"], lambda model, task: task, stop, str)
        assert next(found) == ("a|1", "1")
        found.close()
    assert not stop.is_set()
    early = in_parallel(CELLS, lambda model, task: time.sleep(0.05), stop, str)
    next(early)
    early.close()
    assert stop.is_set()


def test_a_cancellation_that_nobody_asked_for_is_told_and_ends_its_model_alone(serve, ledger: Path):
    def judge(frame):
        raise asyncio.CancelledError

    server = serve(lambda s, r: answers(r))
    prompts, stop = make_prompts([f"i {i}" for i in range(40)]), Stop()

    def make(model, task):
        given = judge if model == "a" else None
        return inference.ask(make_spec(server.url, name=model), prompts, ledger / model, stop=stop, judge=given)

    made = dict(in_parallel(["a|1", "b|1"], make, stop, str))
    assert "did not foresee" in str(made["a|1"])
    assert made["b|1"].asked == 40


def test_a_model_that_was_given_up_before_any_answer_is_not_tried_on_its_other_tasks(serve, ledger: Path):
    server = serve(lambda s, r: Answer(401, openai_error("wrong key")))

    def make(model, task):
        return inference.ask(make_spec(server.url), make_prompts([f"{task} {i}" for i in range(9)]), ledger)

    made = dict(in_parallel(["m|1", "m|2", "m|3"], make, Stop(), str))
    assert ["key was rejected" in str(m) for m in made.values()] == [True] * 3
    assert len(server.log) == 1


def test_models_of_one_lane_take_turns():
    busy, most = Counter(), Counter()

    def lane(model):
        return "elsewhere" if model == "c" else "this machine"

    def make(model, task):
        busy[lane(model)] += 1
        most[lane(model)] = max(most[lane(model)], busy[lane(model)])
        time.sleep(0.01)
        busy[lane(model)] -= 1

    assert len(list(in_parallel([*CELLS, "c|1"], make, Stop(), lane))) == 5
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

    def make(model, task):
        theirs = prompts.with_columns(data_use=pl.lit("local_only")) if model == "away" else prompts
        return inference.ask(specs[model], theirs, ledger / model)

    made = list(in_parallel([f"{name}|t" for name in specs], make, Stop(), str))
    outcome = {key.removesuffix("|t"): value for key, value in made}
    assert isinstance(outcome["down"], ModelError)
    assert isinstance(outcome["away"], PolicyError)
    assert (outcome["quick"].asked, outcome["slow"].asked) == (20, 20)
    assert outcome["quick"].seconds < outcome["slow"].seconds / 2
    order = [key for key, _ in made]
    assert order.index("quick|t") < order.index("slow|t")


def test_asking_is_ended_from_another_thread_and_what_was_answered_is_kept(ledger: Path):
    prompts, stop = make_prompts([f"i {i}" for i in range(400)]), Stop()
    with Server(latency=0.05).running() as server:
        spec = make_spec(server.url, connections=2)
        threading.Timer(1.0, stop.set).start()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            inference.ask(spec, prompts, ledger, stop=stop)
        assert time.monotonic() - began < 5
        asked = len(server.log)
        assert 0 < asked < 400
        with pytest.raises(asyncio.CancelledError):
            inference.ask(spec, prompts, ledger, stop=stop)
        report = inference.ask(spec, prompts, ledger)
        assert report.asked + report.reused == 400
        assert len(server.log) <= 400 + 2, "asked twice at most what was in flight"
