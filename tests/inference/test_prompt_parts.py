"""Prompts in parts are asked and looked up as the same prompts in one frame."""

import gc
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mpta_pipeline import inference
from mpta_pipeline.core.errors import PolicyError
from mpta_pipeline.inference import ledger as ledger_module
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.providers import openai
from mpta_pipeline.inference.requests import ModelRequest, split_by_policy, unique_requests
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer
from tests.inference.test_providers import BatchMock, batch_spec

SPEC = make_spec("http://127.0.0.1:9")
FAR = make_spec("https://api.example.org/v1")


def cut(prompts: pl.DataFrame, n: int, spec=SPEC) -> inference.PromptParts:
    """The prompts in `n` parts, of which the last is empty."""
    size = -(-prompts.height // (n - 1))
    slices = [prompts.slice(i * size, size) for i in range(n)]
    assert slices[-1].is_empty()
    return inference.PromptParts(spec, [partial(pl.DataFrame.clone, part) for part in slices])


def shared_prompts() -> pl.DataFrame:
    """Prompts of which every second text occurs in several parts."""
    users = [f"question {i % 7 if i % 2 else i}" for i in range(60)]
    return make_prompts(users, system=["You are a person."] * 60, group=lambda i: f"g{i % 7 if i % 2 else i}")


def answered(folder, prompts: pl.DataFrame, spec=SPEC) -> None:
    """A ledger with answers, errors and a request that was sent twice, in parts and in a segment."""
    keys = unique_requests(spec, prompts)["request_hash"]
    for start in range(0, keys.len(), 10):
        with Ledger(folder).writer() as writer:
            for number, key in enumerate(keys[start : start + 10], start):
                record = {"request_hash": key, "asked_at": number, "attempts": 1, "latency": 0.5}
                failed = {"error": "HTTP 500"} if number % 9 == 0 else {"text": f"{number}", "option_logprobs": [-0.5]}
                writer.append(record | failed)
                if number % 18 == 0:
                    writer.append(record | {"asked_at": 99, "text": "later"})


@pytest.mark.parametrize("n", [2, 4, 11])
def test_requests_of_parts_are_those_of_the_whole(n):
    prompts = shared_prompts()
    use = pl.Series("data_use", ["local_only" if i == 57 else "any" for i in range(60)])
    prompts = prompts.with_columns(use, pl.when(use != "any").then(pl.lit("wvs")).otherwise("survey").alias("survey"))
    parts, whole = cut(prompts, n, FAR), unique_requests(FAR, prompts)
    requests = parts.requests()
    assert_frame_equal(requests.drop("part"), whole.select(requests.drop("part").columns))
    assert_frame_equal(pl.concat(list(parts.complete(requests))), whole)
    assert list(parts.complete(requests.clear())) == []
    allowed, refusal = split_by_policy(FAR, requests)
    expected, same = split_by_policy(FAR, whole)
    assert isinstance(refusal, PolicyError) and str(refusal) == str(same)
    assert allowed.height == expected.height == whole.height - 1
    assert inference.wanted_requests(FAR, parts).equals(inference.wanted_requests(FAR, prompts))


@pytest.mark.parametrize("compact_at", [1, 25, 10**6])
def test_responses_of_parts_are_those_of_the_whole(tmp_path, monkeypatch, compact_at):
    monkeypatch.setattr(ledger_module, "COMPACT_AT", compact_at)
    prompts = shared_prompts()
    answered(tmp_path / "ledger", prompts.head(50))
    parts, keys = cut(prompts, 5), tmp_path / "keys"
    parts.requests(keys)
    answers = inference.PartResponses(parts, tmp_path / "ledger", keys)
    found = pl.concat([answers.read(number) for number in range(5)]).sort("model", "prompt_id")
    assert_frame_equal(found, inference.responses(SPEC, prompts, tmp_path / "ledger"))
    assert answers.read(4).is_empty()


def test_an_empty_ledger_has_no_responses(tmp_path):
    parts = cut(shared_prompts(), 3)
    parts.requests(tmp_path / "keys")
    answers = inference.PartResponses(parts, tmp_path / "ledger", tmp_path / "keys")
    assert [answers.read(number).height for number in range(3)] == [0, 0, 0]


def test_what_is_missing_is_asked_once_with_the_report_of_the_whole(serve, tmp_path):
    server = serve(lambda server, request: Answer(body=_said("A")))
    spec, prompts = make_spec(server.url), shared_prompts()
    answered(tmp_path / "ledger", prompts.head(20), spec)
    answered(tmp_path / "same", prompts.head(20), spec)
    seen = []
    report = inference.send_requests(
        spec, cut(prompts, 5, spec), tmp_path / "ledger", progress=seen.append, keys=tmp_path / "keys"
    )
    sent = len(server.log)
    assert sent == report.answered > 0
    whole = inference.send_requests(spec, prompts, tmp_path / "same")
    assert len(server.log) == 2 * sent, "as many as of the whole"
    for name in ("requests", "answered", "reused", "errors", "earlier_errors", "withheld", "left"):
        assert getattr(report, name) == getattr(whole, name), name
    assert seen[-1].done == seen[-1].total
    again = inference.send_requests(spec, cut(prompts, 5, spec), tmp_path / "ledger")
    assert again.answered == 0 and len(server.log) == 2 * sent


def _said(text: str) -> dict[str, object]:
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {}, "model": "mock-1"}


def test_only_the_texts_of_the_batch_that_is_submitted_are_held(serve, ledger: Path, monkeypatch):
    """Texts of a study of millions of prompts do not fit into memory together."""
    monkeypatch.setenv("MOCK_KEY", "a key")
    monkeypatch.setattr(openai._Batches, "most", 4)
    held, read, submit = [], [], openai._Batches.submit

    def counted(*arguments):
        held.append(sum(isinstance(one, ModelRequest) and bool(one.user) for one in gc.get_objects()))
        return submit(*arguments)

    monkeypatch.setattr(openai._Batches, "submit", counted)

    def part(number: int) -> pl.DataFrame:
        read.append((number, len(held)))
        return make_prompts([f"item {number} {i}" for i in range(4)])

    spec = batch_spec(serve(BatchMock()), "openai")
    parts = inference.PromptParts(spec, [partial(part, number) for number in range(6)])
    gc.collect()
    report = inference.send_requests(spec, parts, ledger)
    assert (report.answered, report.left) == (24, 0)
    assert len(held) == 6 and max(held) <= 4
    first = [number for number, submissions in read if submissions == 1]
    assert first == [1]  # read when the first has been submitted
    assert inference.send_requests(spec, parts, ledger).answered == 0
