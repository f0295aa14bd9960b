"""Gather what the report needs of the responses: the texts to show, failures, and what all of them took.

Responses are read part by part, because together they would not fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from mpta_pipeline.core.tables import RESPONSES

READ = (
    "model", "prompt_id", "request_hash", "text", "error", "prompt_tokens", "completion_tokens", "provider_model",
)  # fmt: skip
"""Columns of RESPONSES that are needed."""

_REASON = 300
"""Characters of a reason for failure that the report shows."""


@dataclass(frozen=True)
class Responses:
    """What the report needs of the responses.

    Attributes:
        shown: Those to the prompts whose texts the report shows.
        failures: Failed requests: model, reason, count.
        usage: Per model: tokens of the requests, and the model as its provider reports it.
    """

    shown: pl.DataFrame
    failures: pl.DataFrame
    usage: pl.DataFrame


def gather(tasks: Iterable[Iterable[pl.DataFrame]], prompts: Sequence[str]) -> Responses:
    """Gather what the report needs.

    Args:
        tasks: The responses of each model and task, in parts: `READ`. Prompts of a task that share a request count
            once.
        prompts: Ids of the prompts whose texts are shown.
    """
    shown, failures, usage = [RESPONSES.empty().select(READ)], [failed(RESPONSES.empty())], [_usage([])]
    for parts in tasks:
        requests = []
        for some in parts:
            part = RESPONSES.completed(some, READ)
            shown.append(part.filter(pl.col("prompt_id").is_in(prompts)).select(READ))
            failures.append(failed(part))
            request = pl.col("request_hash").hash().alias("request")  # 64 bits, as `short_hashes`
            requests.append(part.select("model", request, *_TAKEN).unique("request"))
        usage.append(_usage(requests))
    return Responses(
        pl.concat(shown),
        pl.concat(failures).group_by("model", "reason").agg(pl.col("count").sum()),
        pl.concat(usage)
        .group_by("model")
        .agg(pl.col("tokens_in", "tokens_out").sum(), pl.col("fingerprints").explode().drop_nulls().unique().sort()),
    )


_TAKEN = ("prompt_tokens", "completion_tokens", "provider_model")


def _usage(requests: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """What the requests of a model and task took, each counted once."""
    empty = RESPONSES.empty().select("model", pl.col("request_hash").hash().alias("request"), *_TAKEN)
    return pl.concat([empty, *requests]).unique("request").group_by("model").agg(
        pl.col("prompt_tokens").sum().alias("tokens_in"),
        pl.col("completion_tokens").sum().alias("tokens_out"),
        pl.col("provider_model").drop_nulls().unique().sort().alias("fingerprints"),
    )  # fmt: skip


def failed(responses: pl.DataFrame) -> pl.DataFrame:
    """Failed requests: model, reason, count."""
    reason = pl.col("error").str.slice(0, _REASON).alias("reason")
    return responses.drop_nulls("error").group_by("model", reason).agg(pl.len().cast(pl.Int64).alias("count"))
