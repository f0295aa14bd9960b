"""Declare the table of model responses."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns

RESPONSES = Table(
    "responses",
    "One row per prompt and model: the model's response. Times and attempts are in the ledger.",
    ("model", "prompt_id"),
    (
        *shared_columns("model", "task", "prompt_id"),
        Column("request_hash", pl.String, "Hash of everything that can change the answer; the key of the ledger"),
        Column("text", pl.String, "The reply; null on error", nullable=True),
        Column(
            "option_logprobs",
            pl.List(pl.Float64),
            "Natural log-probability of each shown option's letter or text, in shown order; null if not reported",
            nullable=True,
        ),
        Column(
            "letter_share",
            pl.Float64,
            "Share of probability on the options' letters at the answer's first token; null if unknown",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column(
            "thought",
            pl.Boolean,
            "The reply came with reasoning, in its text or separately; null if stored before this was recorded",
            nullable=True,
        ),
        Column("finish_reason", pl.String, "Why the reply ended, as the provider reports it", nullable=True),
        Column("error", pl.String, "Why the request failed after all retries; null if it was answered", nullable=True),
        Column("prompt_tokens", pl.Int64, "Tokens of the prompt as counted by the provider", nullable=True),
        Column("completion_tokens", pl.Int64, "Tokens of the reply as counted by the provider", nullable=True),
        Column("provider_model", pl.String, "Model name and fingerprint as the provider reports them", nullable=True),
    ),
)
