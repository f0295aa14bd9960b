"""Declare the tables of model responses and of the models."""

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

MODELS = Table(
    "models",
    "The models of the study: what identifies each one, and which are controls.",
    ("model",),
    (
        *shared_columns("model"),
        Column(
            "control",
            pl.Boolean,
            "A simulated respondent with known properties. Controls are never ranked or compared with models",
        ),
        Column("about", pl.String, "What a control does, in words; null for a model", nullable=True),
        Column("provider", pl.String, "Provider, as named in models.yaml"),
        Column("provider_name", pl.String, "The model's name at the provider"),
        Column("revision", pl.String, "Revision that pins the weights; null if none is given", nullable=True),
        Column("url", pl.String, "Root of the API; null for a model in the pipeline's own process", nullable=True),
        Column("local", pl.Boolean, "Prompts stay on the machine that runs the pipeline"),
        Column("panel_share", pl.Float64, "Share of the panel that the model is asked about", ge=0, le=1),
        Column("version", pl.String, "Hash of everything that can change the model's responses"),
    ),
)
