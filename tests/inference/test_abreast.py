"""Several models in one run: none holds back another, and an interruption ends them all."""

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from mpta_pipeline import inference
from mpta_pipeline.errors import ModelError, PolicyError
from mpta_pipeline.inference import Stop, abreast
from tests.inference.conftest import make_prompts, make_spec
from tests.inference.server import Server, answers

CELLS = ["a|1", "a|2", "b|1", "b|2"]


def test_each_lane_goes_at_its_own_pace_and_in_its_own_order():
    slow = threading.Event()

    def make(model, task):
        if model == "a":
            assert slow.wait(10)
        elif task == "2":
            slow.set()
        return f"{model}{task}"

    assert list(abreast(CELLS, make, Stop(), str)) == [("b|1", "b1"), ("b|2", "b2"), ("a|1", "a1"), ("a|2", "a2")]


def test_one_that_fails_is_told_and_stops_nobody():
    failure = ModelError("the key was rejected", remedy="correct it")

    def make(model, task):
        if (model, task) == ("a", "1"):
            raise failure
        return task

    assert dict(abreast(CELLS, make, Stop(), str)) == {"a|1": failure, "a|2": "2", "b|1": "1", "b|2": "2"}


def test_a_fault_of_the_program_ends_all():
    begun = []

    def make(model, task):
        begun.append(f"{model}|{task}")
        if model == "a":
            raise ZeroDivisionError
        time.sleep(0.2)

    with pytest.raises(ZeroDivisionError):
        list(abreast([*CELLS, "b|3", "b|4"], make, Stop(), str))
    assert "b|4" not in begun


def test_models_of_one_lane_take_turns():
    busy, most = Counter(), Counter()

    def lane(model):
        return "elsewhere" if model == "c" else "this machine"

    def make(model, task):
        busy[lane(model)] += 1
        most[lane(model)] = max(most[lane(model)], busy[lane(model)])
        time.sleep(0.01)
        busy[lane(model)] -= 1

    assert len(list(abreast([*CELLS, "c|1"], make, Stop(), lane))) == 5
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

    made = list(abreast([f"{name}|t" for name in specs], make, Stop(), str))
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
