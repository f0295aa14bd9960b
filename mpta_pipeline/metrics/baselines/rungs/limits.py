"""The most that can be expected: the best prediction from the traits, people asked twice, a second sample of people."""

from __future__ import annotations

from mpta_pipeline.core.hashing import digest
from mpta_pipeline.metrics.baselines.rival import Compared, Rival, Told
from mpta_pipeline.metrics.statistics import distances

DRAWS = 40


def _ceiling(of: Compared) -> Told:
    return Told(accuracy=of.column("ceiling"))


def _retest(of: Compared) -> Told:
    return Told(accuracy=of.column("retest"))


def _second_sample(of: Compared) -> Told:
    cells, tv = of.cells, distances.total_variation
    seed = int(digest("rivals", of.block.survey, of.dimension, length=12), 16)
    floor = distances.sampling_floor(cells.human, cells.n_human, cells.n_model, {"tv": tv}, seed=seed, draws=DRAWS)
    return Told(floor["tv"])


RIVALS = (
    Rival(name="ceiling", title="best prediction from the traits", place=70, compare=_ceiling, of_polls=False),
    Rival(name="retest", title="people asked twice", place=80, compare=_retest, of_polls=False),
    Rival(name="second_sample", title="as many people as personas", place=90, compare=_second_sample),
)
