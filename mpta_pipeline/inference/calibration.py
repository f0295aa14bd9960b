"""Measure the speed of a model that runs in this process by its first requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from mpta_pipeline.inference.engine import send_requests
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.measured_speed import LEAST, measured_speed
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.prompt_parts import PromptParts
from mpta_pipeline.inference.requests import by_shared_prefix, can_be_sent, split_by_policy, with_request_hashes

REQUESTS = LEAST + 4


def calibrate(spec: ModelSpec, prompts: pl.DataFrame | PromptParts, ledger: Path, cache_dir: Path) -> int:
    """Send the first few requests of a model in this process whose speed was not measured; return how many.

    They are requests of the study: their responses are kept, and the run does not send them again.
    """
    if not spec.provider_class.in_process or measured_speed(Ledger(ledger), one_by_one=True) is not None:
        return 0
    parts = prompts if isinstance(prompts, PromptParts) else PromptParts(spec, [lambda: prompts])
    permitted, _ = split_by_policy(spec, parts.requests().filter(can_be_sent()))
    settled = Ledger(ledger).settled(permitted["request_hash"])
    known = pl.concat([settled.answered, settled.failed]).to_frame()
    todo = permitted.join(known, on="request_hash", how="anti", maintain_order="left")
    first, left = [], REQUESTS
    for part in parts.by_part(todo):
        chosen = by_shared_prefix(parts.texts(part)).head(left)
        first.append(partial(_only, spec, parts.parts[int(part["part"][0])], chosen))
        left -= chosen.height
        if not left:
            break
    return send_requests(spec, PromptParts(spec, first), ledger, cache_dir=cache_dir).answered if first else 0


def _only(spec: ModelSpec, read: Callable[[], pl.DataFrame], requests: pl.DataFrame) -> pl.DataFrame:
    """The prompts of some requests."""
    return with_request_hashes(spec, read()).join(requests, on="request_hash", how="semi", maintain_order="left")
