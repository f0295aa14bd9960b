"""What a run would take (`plan`), the responses that the ledger holds, and which models can be used now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.labels import CONTROL
from mpta_pipeline.core.tables import RESPONSES
from mpta_pipeline.inference.estimates import TYPICAL_BYTES_PER_TOKEN, Load, load_of
from mpta_pipeline.inference.ledger import Ledger, LedgerCheck
from mpta_pipeline.inference.measured_speed import measured_speed
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.prompt_parts import PromptParts
from mpta_pipeline.inference.requests import BEHIND, request_hashes, split_by_policy, unique_requests

ASSUMED_RANGE = (0.5, 4.0)  # times the assumed time: another processor, or one that others use


@dataclass(frozen=True)
class Plan:
    """What a run would take.

    Attributes:
        model: The model.
        requests: Different requests among the prompts; at most, for conversations whose turns depend on answers.
        calls: HTTP calls to make; likewise.
        cached: Requests that have a response already.
        errors: Requests that failed for good before; sent again only on demand.
        withheld: Requests that policy withholds from this model.
        prompt_tokens: Tokens to send, estimated at four bytes per token.
        completion_tokens: Tokens of the responses, at most.
        price: US dollars; null if the entry has no price.
        seconds: Expected time.
        seconds_low: Expected time if the model is as fast as in the fastest tenth of its earlier responses.
        seconds_high: Expected time if it is as slow as in the slowest tenth.
        speed: What the time was computed from: `measured on N responses`, or `assumed`.
    """

    model: str
    requests: int
    calls: int
    cached: int
    errors: int
    withheld: int
    prompt_tokens: int
    completion_tokens: int
    price: float | None
    seconds: float
    seconds_low: float
    seconds_high: float
    speed: str

    def as_row(self) -> dict[str, Any]:
        """Return the plan as a row of a table."""
        return asdict(self)


def plan(spec: ModelSpec, prompts: pl.DataFrame | PromptParts, ledger: Path) -> Plan:
    """Return calls, tokens, price and time of a run before anything is sent. Read-only; sends no request.

    Of prompts in parts, only the hashes are held, and the texts of one part at a time.
    """
    parts = prompts if isinstance(prompts, PromptParts) else None
    requests = unique_requests(spec, prompts) if isinstance(prompts, pl.DataFrame) else prompts.requests()
    allowed, _ = split_by_policy(spec, requests)
    store = Ledger(ledger)
    settled = store.settled(allowed["request_hash"])
    todo = allowed.join(
        pl.concat([settled.answered, settled.failed]).to_frame(), on="request_hash", how="anti", maintain_order="left"
    ).filter(~pl.col("request_hash").str.starts_with(BEHIND))
    shared: list[pl.DataFrame] = []

    def texts() -> Iterator[pl.DataFrame]:
        for part in [todo] if parts is None else parts.complete(todo):
            shared.append(_shared(part))
            yield part

    load = load_of(spec, texts())
    time = _time(spec, store, todo.height, shared, load)
    return Plan(
        model=spec.name,
        requests=requests.height,
        calls=todo.height,
        cached=settled.answered.len(),
        errors=settled.failed.len(),
        withheld=requests.height - allowed.height,
        prompt_tokens=load.prompt_tokens,
        completion_tokens=load.completion_tokens,
        price=load.price,
        seconds=round(time.seconds, 1),
        seconds_low=round(time.low, 1),
        seconds_high=round(time.high, 1),
        speed=f"measured on {time.measured} responses" if time.measured else "assumed",
    )


class _Time(NamedTuple):
    """Seconds of a run with their range, and the responses that they were computed from (0: assumed)."""

    seconds: float
    low: float
    high: float
    measured: int


def _time(spec: ModelSpec, ledger: Ledger, todo: int, shared: Sequence[pl.DataFrame], load: Load) -> _Time:
    calls, prompt_tokens = load.calls, load.prompt_tokens
    rate = spec.provider_class.prefill_rate
    speed = measured_speed(ledger, one_by_one=rate is not None)
    if not calls:
        return _Time(0.0, 0.0, 0.0, 0 if speed is None else speed.responses)
    if rate is not None:
        if speed is None:
            seconds = _assumed_seconds(spec, shared, calls, prompt_tokens, rate)
            return _Time(seconds, seconds * ASSUMED_RANGE[0], seconds * ASSUMED_RANGE[1], 0)
        longer = prompt_tokens / todo / speed.prompt_tokens if speed.prompt_tokens else 1.0
        n = todo * longer
        return _Time(n * speed.seconds, n * speed.low, n * speed.high, speed.responses)
    least = calls * 60.0 / spec.requests_per_minute if spec.requests_per_minute else 0.0
    if spec.tokens_per_minute:
        least = max(least, prompt_tokens * 60.0 / spec.tokens_per_minute)
    n = calls / spec.connections
    if speed is None:
        seconds = max(n * spec.seconds_per_request, least)
        return _Time(seconds, max(seconds * ASSUMED_RANGE[0], least), max(seconds * ASSUMED_RANGE[1], least), 0)
    seconds, low, high = (max(n * each, least) for each in (speed.seconds, speed.low, speed.high))
    return _Time(seconds, low, high, speed.responses)


def _shared(requests: pl.DataFrame) -> pl.DataFrame:
    """Bytes of the system messages of each group: `all`, and the longest (`one`)."""
    length = pl.col("system").str.len_bytes().fill_null(0)
    return requests.group_by("group").agg(length.sum().alias("all"), length.max().alias("one"))


def _assumed_seconds(
    spec: ModelSpec, shared: Sequence[pl.DataFrame], calls: int, prompt_tokens: int, rate: float
) -> float:
    """Seconds of a model in this process that has not answered yet: its provider's rate on an idle machine."""
    # A prefix is evaluated once per group: subtract it for all but the first prompt of the group.
    groups = pl.concat(shared).group_by("group").agg(pl.col("all").sum(), pl.col("one").max())
    saved = float((groups["all"] - groups["one"].fill_null(0)).sum()) / TYPICAL_BYTES_PER_TOKEN
    return max(prompt_tokens - saved, 0.0) / rate + spec.provider_class.seconds_per_call * calls


def responses(spec: ModelSpec, prompts: pl.DataFrame, ledger: Path) -> pl.DataFrame:
    """Return RESPONSES: one row per prompt that has a response or a final error. Equal ledgers give equal frames."""
    keyed = prompts.select("task", "prompt_id").with_columns(request_hashes(spec, prompts))
    records = Ledger(ledger).read(keyed["request_hash"].unique())
    columns = [c for c in RESPONSES.schema if c in records.columns]
    frame = keyed.join(records.select(columns), on="request_hash", how="inner").with_columns(model=pl.lit(spec.name))
    return RESPONSES.conform(frame.select(list(RESPONSES.schema)))


def overview(spec: ModelSpec) -> dict[str, str]:
    """Return a row for the list of models: name, kind, provider, model, address, and whether it can be used now."""
    state = "ready"
    try:
        spec.provider_class.check_available(spec)
        name = spec.key_variable
        if spec.address_problem:
            state = spec.address_problem
        elif name and not os.environ.get(name):
            state = f"set {name}"
    except MptaError as problem:
        state = problem.problem
    return {
        "name": spec.name,
        "kind": CONTROL if spec.control else "model",
        "provider": spec.provider,
        "model": spec.model,
        "where": "this process" if spec.provider_class.in_process else spec.url,
        "data": "local" if spec.is_local else ("trusted" if spec.trusted else "any only"),
        "state": state,
    }


def withdraw(spec: ModelSpec, prompts: pl.DataFrame, ledger: Path) -> int:
    """Delete the responses to these prompts from a model's ledger for good; return how many requests were deleted.

    The ledger keeps no prompt texts, so only responses to prompts as the model's entry sends them now are found. Their
    cost stays in the account of the model's budget.
    """
    return Ledger(ledger).drop(request_hashes(spec, prompts), reason="withdrawn")


def withdraw_all(ledger: Path) -> int:
    """Delete all responses of a ledger for good; return how many requests were deleted."""
    store = Ledger(ledger)
    return store.drop(store.read_all()["request_hash"], reason="withdrawn")


def verify(ledger: Path) -> LedgerCheck:
    """Read a model's whole ledger and verify its checksums; a missing ledger counts as empty."""
    return Ledger(ledger).verify()


def ledger_height(ledger: Path) -> int:
    """Number of records in a model's ledger, repeated ones included."""
    return Ledger(ledger).height()
