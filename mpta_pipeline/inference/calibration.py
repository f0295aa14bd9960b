"""Measure the speed of a model that runs in this process by its first requests."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.inference.engine import send_requests
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.measured_speed import LEAST, measured_speed
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.outdated_requests import wanted_requests
from mpta_pipeline.inference.requests import by_shared_prefix, unique_requests, with_request_hashes

REQUESTS = LEAST + 4


def calibrate(spec: ModelSpec, prompts: pl.DataFrame, ledger: Path, cache_dir: Path) -> int:
    """Send the first few requests of a model in this process whose speed was not measured; return how many.

    They are requests of the study: their responses are kept, and the run does not send them again.
    """
    if not spec.provider_class.in_process or measured_speed(Ledger(ledger), one_by_one=True) is not None:
        return 0
    keyed = with_request_hashes(spec, prompts)
    settled = Ledger(ledger).settled(keyed["request_hash"].unique())
    todo = unique_requests(spec, keyed).filter(
        pl.col("request_hash").is_in(wanted_requests(spec, keyed).implode()),
        ~pl.col("request_hash").is_in(pl.concat([settled.answered, settled.failed]).implode()),
    )
    first = by_shared_prefix(todo).head(REQUESTS)
    if first.is_empty():
        return 0
    return send_requests(spec, keyed.join(first, on="request_hash", how="semi"), ledger, cache_dir=cache_dir).answered
