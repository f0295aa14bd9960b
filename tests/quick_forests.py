"""Spare tests random forests that they have grown before.

Most deployments of tests hold the same people and questions, and the ceiling of accuracy is a function of these alone:
it takes a sixth of a run. What was grown is kept by everything that goes into it. The tests of figures and processes
that tests start do without this.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence

import polars as pl

from mpta_pipeline.metrics.baselines import ceiling
from mpta_pipeline.metrics.statistics.arrays import Floats

KEPT = 1_000


@functools.cache
def install() -> None:
    """Keep forests for the rest of this process."""
    grow, grown = ceiling._foretold, dict[object, Floats]()

    @functools.wraps(grow)
    def foretold(rows: pl.DataFrame, shown: Sequence[str], seed: int) -> Floats:
        if os.environ.get("PYTEST_CURRENT_TEST", "").startswith("tests/metrics/"):
            return grow(rows, list(shown), seed)
        used = rows.select(*shown, "gold_idx", "weight")
        content = hashlib.sha256(used.write_ipc(None).getvalue()).digest()
        key = (content, tuple(shown), seed, ceiling.TREES, ceiling.MOST_PEOPLE)
        if key not in grown:
            if len(grown) >= KEPT:
                grown.clear()
            grown[key] = grow(rows, list(shown), seed)
        return grown[key].copy()

    ceiling._foretold = foretold
