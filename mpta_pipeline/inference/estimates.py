"""Estimate what requests take before they are sent: calls, tokens and price. `mpta plan` and approvals agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.requests import TOLD

TYPICAL_BYTES_PER_TOKEN = 4.0
_TEMPLATE_TOKENS = 8  # of the chat template, per call


class Load(NamedTuple):
    """What requests take.

    Attributes:
        calls: HTTP calls.
        prompt_tokens: Tokens to send.
        completion_tokens: Tokens of the responses, at most.
        price: US dollars; None if the entry has no price.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    price: float | None


def load_of(spec: ModelSpec, requests: Iterable[pl.DataFrame]) -> Load:
    """Estimate what a model's requests take, at four bytes per token.

    Args:
        spec: The model.
        requests: Rows of `unique_requests`, in any number of frames.
    """
    sent, received, made = 0.0, 0, 0
    for part in requests:
        prompt, completion, calls = part.select(*_sums(spec, turns=TOLD in part.columns)).row(0)
        sent, received, made = sent + prompt, received + int(completion), made + int(calls)
    prompt_tokens = int(sent)
    price = None if spec.price is None else spec.price.of(prompt_tokens, received, batch=spec.batch)
    return Load(made, prompt_tokens, received, price)


def tokens_per_request(spec: ModelSpec, *, turns: bool = False) -> tuple[pl.Expr, pl.Expr]:
    """Tokens to send and tokens of the response, of each row of PROMPTS or of `unique_requests`.

    Args:
        spec: The model.
        turns: Some are turns of conversations, whose history is sent as well.
    """
    length = pl.col("system").str.len_bytes().fill_null(0) + pl.col("user").str.len_bytes()
    if turns:
        length = length + pl.col(TOLD).fill_null(0)
    response = pl.col("elicitation").replace_strict(
        {e: spec.tokens_for(e) for e in spec.elicitations}, return_dtype=pl.Int64
    )
    times = _calls()
    prompt = (length / TYPICAL_BYTES_PER_TOKEN + _TEMPLATE_TOKENS) * times
    return prompt.alias("prompt"), (response * times).alias("response")


def _calls() -> pl.Expr:
    """HTTP calls of each request, as `requests.calls_needed`, by table operation."""
    return pl.when(pl.col("elicitation") == "option_logprob").then(pl.col("options").list.len() + 1).otherwise(1)


def _sums(spec: ModelSpec, *, turns: bool) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Tokens to send, tokens of the responses, and HTTP calls."""
    prompt, response = tokens_per_request(spec, turns=turns)
    return prompt.sum(), response.sum(), _calls().sum().alias("calls")
