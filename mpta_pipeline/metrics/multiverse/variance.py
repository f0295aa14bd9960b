"""Divide the variance of scores among persons, questions, choices and orders: crossed random effects.

Components are estimated by the method of moments (Henderson's method I, 1953): the raw sum of squares of each factor,
Σ (Σy)² / n over its levels, is a linear function of all components, whose coefficients are counts. It takes one pass
over the answers per pair of factors, needs no iteration, and equals REML on balanced data if no component is negative
(`tests/metrics/test_variance_budget.py`). Intervals of the shares come from leaving out groups of persons and groups
of question clusters in turn (delete-a-group jackknife); both variances are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from mpta_pipeline.core.hashing import hash_uniform
from mpta_pipeline.core.multiverse import Configuration
from mpta_pipeline.core.tables import VARIANCE_BUDGET
from mpta_pipeline.metrics.multiverse.configurations import configuration_frame
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints

GROUPS = 20
"""Groups of persons, and of question clusters at most, that are left out in turn."""
FEWEST_CLUSTERS = 5
"""With fewer clusters of questions, the interval is one over single questions."""
MOST_ANSWERS = 300_000
"""Answers of one curve at most; beyond, persons are chosen by hash."""
RESIDUAL = "residual"
COLUMNS = (
    "model", "task", "survey", "condition", "respondent_id", "item_id", "cluster_id", "style", "framing",
    "paraphrase_id", "repeat_id", "order_id", "score",
)  # fmt: skip
"""Columns of SCORES that are read."""


def variance_components(y: Floats, factors: Mapping[str, Ints]) -> dict[str, float]:
    """Estimate the variance component of each factor, and the residual; estimates may be negative.

    Args:
        y: Values.
        factors: Name → level of each value, from 0.

    Returns:
        Name → variance, and `residual`; nan where the design does not tell a component from the others.
    """
    return _Design(y, factors).solve(np.ones(len(y), dtype=bool))


class _Design:
    """The values and the crossings of their factors, coded once for all replicates."""

    def __init__(self, y: Floats, factors: Mapping[str, Ints]) -> None:
        self.y = np.asarray(y, dtype=float)
        self.names = list(factors)
        self.codes = [np.asarray(code, dtype=np.int64) for code in factors.values()]
        self.sizes = [int(code.max(initial=-1)) + 1 for code in self.codes]
        self.crossed: dict[tuple[int, int], tuple[Ints, Ints, Ints]] = {}
        for a, first in enumerate(self.codes):
            for b, second in enumerate(self.codes):
                if a < b:
                    both, code = np.unique(first * self.sizes[b] + second, return_inverse=True)
                    self.crossed[a, b] = (code, both // self.sizes[b], both % self.sizes[b])

    def solve(self, kept: NDArray[np.bool_]) -> dict[str, float]:
        """The components of the values that are kept."""
        y, n, f = self.y[kept], int(kept.sum()), len(self.names)
        counts = [np.bincount(c[kept], minlength=s).astype(float) for c, s in zip(self.codes, self.sizes, strict=True)]
        totals = [np.bincount(c[kept], y, minlength=s) for c, s in zip(self.codes, self.sizes, strict=True)]
        # Unknown: n·mean², the components, the residual. Equations: mean, each factor, all values.
        left = np.zeros((f + 2, f + 2))
        right = np.zeros(f + 2)
        left[:, 0] = 1.0
        right[0], right[-1] = y.sum() ** 2 / n, float((y**2).sum())
        left[0, 1:-1] = [float((count**2).sum()) / n for count in counts]
        left[0, -1] = 1.0
        left[-1, 1:] = n
        for a in range(f):
            right[a + 1] = float((totals[a][counts[a] > 0] ** 2 / counts[a][counts[a] > 0]).sum())
            left[a + 1, a + 1] = n
            left[a + 1, -1] = float((counts[a] > 0).sum())
        for (a, b), (code, of_a, of_b) in self.crossed.items():
            cells = np.bincount(code[kept], minlength=len(of_a)).astype(float) ** 2
            for row, column, owner in ((a, b, of_a), (b, a, of_b)):
                owned = counts[row][owner]
                left[row + 1, column + 1] = float((cells[owned > 0] / owned[owned > 0]).sum())
        scale = np.abs(left).max(axis=0)
        if np.linalg.matrix_rank(left / scale) < f + 2:
            return dict.fromkeys((*self.names, RESIDUAL), float("nan"))
        found = np.linalg.solve(left / scale, right) / scale
        return dict(zip((*self.names, RESIDUAL), found[1:].tolist(), strict=True))


@dataclass(frozen=True)
class Shares:
    """Shares of the variance with intervals, in the order of the components; the last is the residual."""

    names: Sequence[str]
    levels: Sequence[int]
    variance: Floats
    share: Floats
    low: Floats
    high: Floats


def shares_of(y: Floats, factors: Mapping[str, Ints], *, left_out: Sequence[Ints], level: float = 0.05) -> Shares:
    """Estimate the share of each component with its interval.

    Args:
        y: Values.
        factors: Name → level of each value, from 0.
        left_out: For each way of sampling (persons, question clusters), the group of each value that is left out
            together.
        level: The intervals have the confidence 1 − level.
    """
    design = _Design(y, factors)
    variance, share = _shares(design.solve(np.ones(len(y), dtype=bool)))
    error, df = np.zeros(len(share)), np.inf
    for groups in left_out:
        present = np.unique(groups)
        if len(present) < 2:
            error[:] = np.nan
            continue
        replicates = np.array([_shares(design.solve(groups != group))[1] for group in present])
        away = replicates - replicates.mean(axis=0)
        error += (len(present) - 1) / len(present) * (away**2).sum(axis=0)
        df = min(df, len(present) - 1)
    width = stats.t.ppf(1 - level / 2, df) * np.sqrt(error)
    return Shares(
        [*factors, RESIDUAL],
        [*design.sizes, len(y)],
        variance,
        share,
        np.clip(share - width, 0, 1),
        np.clip(share + width, 0, 1),
    )


def _shares(components: Mapping[str, float]) -> tuple[Floats, Floats]:
    variance = np.maximum(np.array(list(components.values())), 0.0)
    total = variance.sum()
    return variance, variance / total if total > 0 else np.full(len(variance), np.nan)


def variance_budget(
    configurations: Sequence[Configuration],
    scores: pl.DataFrame,
    *,
    condition: str = "persona",
    level: float = 0.05,
    seed: int = 0,
) -> pl.DataFrame:
    """Divide the variance of the score of single answers, per task, survey and model of the multiverse.

    Components are person, question, person × question (what a person's own answer to a question is due to, whatever
    the choices), each factor of the multiverse, configuration (what factors do together), question × configuration
    (rewording that helps one question and harms another), order (within a question) and repeat, as far as they vary.
    What is left is the residual.

    Args:
        configurations: The configurations.
        scores: SCORES of the tasks and models that they ask, at least `COLUMNS`.
        condition: Condition whose answers are looked at.
        level: The intervals have the confidence 1 − level.
        seed: The study's seed.

    Returns:
        VARIANCE_BUDGET; without rows for tasks whose answers have no score.
    """
    frame = configuration_frame(configurations).unique(["asked_task", "asked_model"], maintain_order=True)
    answers = scores.filter(pl.col("condition") == condition, pl.col("score").is_finite()).rename(
        {"task": "asked_task", "model": "asked_model"}
    )
    answers = answers.join(frame, on=["asked_task", "asked_model"])
    parts = []
    for key, part in answers.sort("task", "over", "survey").group_by(["task", "over", "survey"], maintain_order=True):
        found = _budget(_at_most(part, seed), level=level, seed=seed)
        parts.append(
            found.with_columns(
                pl.lit(str(value)).alias(name) for name, value in zip(("task", "over", "survey"), key, strict=True)
            )
        )
    if not parts:
        return VARIANCE_BUDGET.empty()
    return VARIANCE_BUDGET.conform(pl.concat(parts).select(list(VARIANCE_BUDGET.schema)))


def _at_most(answers: pl.DataFrame, seed: int) -> pl.DataFrame:
    if answers.height <= MOST_ANSWERS:
        return answers
    chosen = hash_uniform(answers, ["respondent_id"], key=f"variance\x1f{seed}") < MOST_ANSWERS / answers.height
    return answers.filter(chosen)


def _budget(answers: pl.DataFrame, *, level: float, seed: int) -> pl.DataFrame:
    keys = {
        "person": ["respondent_id"],
        "question": ["item_id"],
        "person × question": ["respondent_id", "item_id"],
    }
    columns = answers.with_columns(
        pl.concat_str("asked_task", "asked_model", separator="\x1f").alias("configuration"),
    )
    factors = dict.fromkeys(one["factor"] for one in answers["levels"][0])
    for name in factors:
        level_of = pl.col("levels").list.eval(
            pl.element().filter(pl.element().struct.field("factor") == name).struct.field("level")
        )
        columns = columns.with_columns(level_of.list.first().alias(f"factor {name}"))
        keys[name] = [f"factor {name}"]
    if "model" not in factors:
        keys["model"] = ["model"]
    if len(factors) > 1:
        keys["configuration"] = ["configuration"]
    keys |= {
        "question × configuration": ["item_id", "configuration"],
        "wording": ["framing", "style", "paraphrase_id"],
        "order": ["item_id", "order_id"],
        "repeat": ["repeat_id"],
    }
    codes: dict[str, Ints] = {}
    for name, of_it in keys.items():
        code = columns.select(pl.struct(of_it).rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
        n = int(code.max()) + 1
        # A component that does not vary, that is one with another, or that has a level per answer is not told apart.
        if 1 < n < len(code) and not any(_same(code, other) for other in codes.values()):
            codes[name] = code
    y = answers["score"].to_numpy()
    found = shares_of(y, codes, left_out=_left_out(answers, seed), level=level)
    return pl.DataFrame(
        {
            "component": found.names,
            "levels": found.levels,
            "variance": found.variance,
            "share": found.share,
            "ci_low": found.low,
            "ci_high": found.high,
            "n_answers": [len(y)] * len(found.names),
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


def _same(a: Ints, b: Ints) -> bool:
    """Whether two factors divide the values alike."""
    n = len(np.unique(a * (int(b.max()) + 1) + b))
    return n == int(a.max()) + 1 == int(b.max()) + 1


def _left_out(answers: pl.DataFrame, seed: int) -> list[Ints]:
    """Groups of persons, and of question clusters; single questions where clusters are too few to leave one out."""
    by = "cluster_id" if answers["cluster_id"].n_unique() >= FEWEST_CLUSTERS else "item_id"
    return [_drawn(answers, column, seed) for column in ("respondent_id", by)]


def _drawn(answers: pl.DataFrame, column: str, seed: int) -> Ints:
    """Groups of nearly equal size, by hash; each level its own group if there are few."""
    names = answers.select(column).unique().sort(column)
    order = names.with_columns(hash_uniform(names, [column], key=f"groups\x1f{seed}").alias("hash")).sort(
        "hash", column
    )
    groups = order.select(column, (pl.int_range(pl.len()) % GROUPS).alias("group"))
    return answers.join(groups, on=column, how="left", maintain_order="left")["group"].to_numpy()
