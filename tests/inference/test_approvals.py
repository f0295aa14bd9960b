"""Protects the money guard: without a person at the keyboard nothing is paid that nobody approved."""

import itertools
from pathlib import Path

import pytest

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ApprovalError
from mpta_pipeline.inference.approvals import read_approval
from mpta_pipeline.inference.batches import Batches
from mpta_pipeline.inference.requests import request_hashes
from tests.factories.model_calls import make_prompts, make_spec
from tests.inference.test_providers import BatchMock, Killed, batch_spec, submitted

PRICE = {"input": 2.0, "output": 8.0}
SPEC = make_spec("http://127.0.0.1:1/v1", price=PRICE)


def varied(**values):
    """The model with other fields."""
    return make_spec("http://127.0.0.1:1/v1", **({"price": PRICE} | values))


@pytest.mark.parametrize("price", [None, {"input": 0.0, "output": 0.0}])
def test_a_model_that_costs_nothing_needs_no_approval(price, tmp_path):
    found = inference.permission(varied(price=price), tmp_path)
    assert found.granted and found.version == ""


def test_a_price_waits_until_it_is_approved_or_has_a_budget(tmp_path):
    assert not inference.permission(SPEC, tmp_path).granted
    limited = inference.permission(varied(budget=5.0), tmp_path)
    assert limited.granted
    assert limited.version != inference.permission(varied(budget=6.0), tmp_path).version, "a raised budget goes on"
    inference.approve(SPEC, tmp_path)
    assert inference.permission(SPEC, tmp_path).granted
    assert not inference.permission(varied(name="other"), tmp_path).granted, "one approval is for one model"
    assert inference.revoke(SPEC.name, tmp_path) and not inference.revoke(SPEC.name, tmp_path)
    assert not inference.permission(SPEC, tmp_path).granted


@pytest.mark.parametrize(
    ("fields", "granted"),
    [
        ({"price": {"input": 1.0, "output": 8.0}}, True),
        ({"price": {"input": 2.0, "output": 8.0, "cached_input": 0.2}}, True),
        ({"price": {"input": 2.0000000000001, "output": 8.0}}, True),
        ({"price": {"input": 2.01, "output": 8.0}}, False),
        ({"price": {"input": 0.1, "output": 8.1}}, False),
        ({"price": {"input": 2.0, "output": 8.0, "cached_input": 2.5}}, False),
        ({"batch": True}, True),
        ({"connections": 3, "requests_per_minute": 10}, True),
        ({"model": "mock-2"}, False),
        ({"parameters": {"temperature": 1}}, False),
    ],
)
def test_an_approval_holds_for_the_model_as_it_was_at_this_price_or_less(fields, granted, tmp_path):
    inference.approve(SPEC, tmp_path)
    assert inference.permission(varied(**fields), tmp_path).granted is granted


def test_to_leave_the_batch_endpoint_is_a_higher_price(tmp_path):
    inference.approve(varied(batch=True), tmp_path)
    assert "costs more" in inference.permission(SPEC, tmp_path).because


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": "mock"}', '{"checksum": "0", "model": "mock"}'])
def test_an_approval_that_cannot_be_read_is_none(content, tmp_path):
    inference.approve(SPEC, tmp_path)
    (tmp_path / "mock.json").write_text(content)
    found = inference.permission(SPEC, tmp_path)
    assert not found.granted and "cannot be read" in found.because
    inference.approve(SPEC, tmp_path)
    assert inference.permission(SPEC, tmp_path).granted


def test_an_approval_is_written_whole_and_says_who_and_when(tmp_path):
    given = inference.approve(SPEC, tmp_path)
    assert read_approval(tmp_path, "mock") == given
    assert given.by and given.at.startswith("20")
    assert [path.name for path in tmp_path.iterdir()] == ["mock.json"], "no temporary file is left"


def test_neither_price_nor_approval_enters_a_request(tmp_path):
    prompts = make_prompts(["a", "b"])
    before = request_hashes(SPEC, prompts).to_list()
    inference.approve(SPEC, tmp_path)
    for spec in (SPEC, varied(price=None), varied(budget=3.0), varied(price={"input": 9.0})):
        assert request_hashes(spec, prompts).to_list() == before
        assert inference.card_version(spec) == inference.card_version(SPEC)


def test_what_is_not_approved_is_not_sent_and_what_was_received_stays(server, ledger: Path):
    spec = make_spec(server.url, price=PRICE)
    prompts = make_prompts([f"item {i}" for i in range(20)])
    with pytest.raises(ApprovalError, match="20 request") as none:
        inference.send_requests(spec, prompts, ledger, not_approved="has a price, and nobody has approved it")
    assert "mpta approve mock" in str(none.value)
    assert none.value.dollars == inference.plan(spec, prompts, ledger).price > 0
    assert server.log == [] and not ledger.exists()
    inference.send_requests(spec, prompts[:12], ledger)
    report = inference.send_requests(spec, prompts, ledger, not_approved="…")
    assert (report.reused, report.answered, report.left, report.awaiting.requests) == (12, 0, 0, 8)
    assert len(server.log) == 12
    notes = report.as_notes()
    assert notes["awaiting_approval"] == 8 and notes["awaiting_usd"] > 0
    assert inference.responses(spec, prompts, ledger).height == 12
    done = inference.send_requests(spec, prompts, ledger, not_approved=None)
    assert (done.reused, done.answered, done.awaiting) == (12, 8, None)
    again = inference.send_requests(spec, prompts, ledger, not_approved="…")
    assert again.awaiting is None and again.reused == 20, "nothing waits where everything is answered"


def test_an_approval_that_is_revoked_during_a_run_ends_the_sending(server, ledger: Path):
    """As the step does it: what may not be paid for any more is no longer wanted."""
    import polars as pl

    spec = make_spec(server.url, price=PRICE, connections=1)
    prompts = make_prompts([f"item {i}" for i in range(200)])
    looks = itertools.count()
    report = inference.send_requests(
        spec,
        prompts,
        ledger,
        look_again=lambda: pl.Series([], dtype=pl.String) if next(looks) >= 2 else None,
    )
    assert 0 < report.answered < 200
    assert report.superseded == 200 - report.answered == report.left


def test_results_of_a_batch_that_was_submitted_are_taken_without_an_approval(serve, ledger: Path, monkeypatch):
    """They are paid for already. The run was killed while the batch was under way, then the approval was revoked."""

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setenv("MOCK_KEY", "sk-mock-0123456789")
    server = serve(BatchMock())
    spec, prompts = batch_spec(server, "openai"), make_prompts(["a", "b", "c"])
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "collect", killed)
        with pytest.raises(Killed):
            inference.send_requests(spec, prompts[:2], ledger)
    assert submitted(server) == 1
    report = inference.send_requests(spec, prompts, ledger, not_approved="has a price")
    assert submitted(server) == 1, "nothing new is submitted"
    assert (report.answered, report.awaiting.requests, report.left) == (2, 1, 0)
    assert inference.responses(spec, prompts, ledger).height == 2
