"""How small a difference a study can find, from its panel, questions and prompts alone, before any model is asked.

Errors are computed as the estimates' own are (two-way clusters: persons, and batteries of questions), from assumed
variances instead of answers. `tests/metrics/test_detectable.py` compares them with the errors of simulated respondents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics.pockets.search import MIN_CLUSTERS_TO_SPLIT, detectable_in_errors
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Floats
from mpta_pipeline.metrics.statistics.equivalence import minimal_detectable

GAP, EFFECT, POCKET = "subgroup gap", "persona effect", "pocket"
POCKET_TESTS = 30  # slices that a search over a handful of traits usually tests
SCHEMA = {
    "task": pl.String,
    "survey": pl.String,
    "what": pl.String,
    "dimensions": pl.String,
    "subgroup": pl.String,
    "n_personas": pl.Int64,
    "n_answers": pl.Int64,
    "n_clusters": pl.Int64,
    "detectable": pl.Float64,
}


@dataclass(frozen=True)
class Assumed:
    """What is assumed of the model that will be asked.

    Attributes:
        accuracy: Share of right answers with the persona. The error is largest at one half.
        without_persona: Share of right answers without it.
        person_sd: Standard deviation of the share of right answers between persons, beyond chance.
        gap_sd: Standard deviation of a subgroup's gap between batteries of questions.
        effect_sd: Standard deviation of the persona's effect between batteries of questions that people answered
            themselves. Where a question has one right answer for everybody, the one answer without persona is right
            or wrong for all of them, and the standard deviation is that of `without_persona`.
    """

    accuracy: float = 0.6
    without_persona: float = 0.5
    person_sd: float = 0.1
    gap_sd: float = 0.05
    effect_sd: float = 0.1


def detectable(
    prompts: pl.DataFrame, groups: pl.DataFrame, *, rules: EstimateRules, assumed: Assumed | None = None
) -> pl.DataFrame:
    """Compute the smallest difference in accuracy that a study finds with 80 % power.

    A subgroup gap is tested at the level divided by the number of subgroups of its task and survey, which is what
    Benjamini and Hochberg's correction requires of a single true gap. A pocket must be found on one half of the data
    and confirmed on the other. Survey weights are ignored: unequal weights make the differences larger.

    Args:
        prompts: PROMPTS of any tasks. Only those with a persona and an answer key count.
        groups: GROUPS.
        rules: `dimensions`, `level` and `min_personas`; smaller subgroups are left out.
        assumed: What is assumed of the model; None for the defaults.

    Returns:
        One row per task, survey and subgroup for `subgroup gap` and `pocket`, and one for `persona effect`: task,
        survey, what, dimensions, subgroup, n_personas, n_answers (person × question), n_clusters (batteries of
        questions), detectable (difference of two shares; null if the study has too few people or batteries for an
        error).
    """
    assumed = assumed or Assumed()
    units = (
        prompts.filter((pl.col("condition") == "persona") & pl.col("gold_idx").is_not_null())
        .unique(["task", "survey", "respondent_id", "item_id"], maintain_order=True)
        .select("task", "survey", "respondent_id", "item_id", "cluster_id", "gold_idx")
    )
    present = [d for d in rules.dimensions if d != g.ALL and set(g.bases(d)) <= set(groups.columns)]
    crossed = groups.select("respondent_id", *(pl.concat_str(g.bases(d), separator=g.CROSS).alias(d) for d in present))
    rows = []
    for (task, survey), part in units.sort("task", "survey").group_by(["task", "survey"], maintain_order=True):
        asked = part.join(crossed, on="respondent_id", how="left", maintain_order="left")
        key = {"task": task, "survey": survey}
        everyone = _Side.of(asked)
        rows.append(
            key
            | {"what": EFFECT, "dimensions": g.ALL, "subgroup": g.ALL}
            | everyone.sizes
            | {"detectable": _effect(everyone, _effect_sd(asked, assumed), assumed, rules.level)}
        )
        cells = [
            (dimension, subgroup, _Side.of(inside), _Side.of(asked.filter(pl.col(dimension) != subgroup)))
            for dimension in present
            for (subgroup,), inside in asked.drop_nulls(dimension).group_by([dimension], maintain_order=True)
        ]
        cells = [cell for cell in cells if min(cell[2].n_personas, cell[3].n_personas) >= rules.min_personas]
        for dimension, subgroup, inside, rest in sorted(cells, key=lambda cell: cell[:2]):
            for what, found in (
                (GAP, _gap(inside, rest, assumed, rules.level / max(len(cells), 1))),
                (POCKET, _pocket(inside, rest, assumed, rules.level)),
            ):
                rows.append(
                    key
                    | {"what": what, "dimensions": dimension, "subgroup": subgroup}
                    | inside.sizes
                    | {"detectable": found}
                )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(pl.col("detectable").fill_nan(None))


@dataclass(frozen=True)
class _Side:
    """The answers of a subgroup: how they are spread over persons and batteries."""

    of_person: Floats
    of_cluster: Floats

    @classmethod
    def of(cls, units: pl.DataFrame) -> _Side:
        """Count the answers of each person and battery."""
        return cls(*(units.group_by(c).len()["len"].to_numpy().astype(float) for c in ("respondent_id", "cluster_id")))

    @property
    def n_personas(self) -> int:
        return len(self.of_person)

    @property
    def n_clusters(self) -> int:
        return len(self.of_cluster)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes as columns of the table."""
        return {
            "n_personas": self.n_personas,
            "n_answers": int(self.of_person.sum()),
            "n_clusters": self.n_clusters,
        }

    def variance(self, single: float, assumed: Assumed, cluster_sd: float) -> float:
        """Variance of the mean, if single answers have variance `single` and batteries differ by `cluster_sd`."""
        n = float(self.of_person.sum())
        between = assumed.person_sd**2
        spread = (max(single - between, 0.0)) / n + between * float((self.of_person**2).sum()) / n**2
        return spread + self.between_clusters(cluster_sd)

    def between_clusters(self, sd: float) -> float:
        """Part of the variance that comes from batteries. One battery alone is all that is spoken of."""
        squares, n = float((self.of_cluster**2).sum()), float(self.of_cluster.sum())
        return 0.0 if self.n_clusters == 1 else sd**2 * squares / n**2

    def df(self) -> float:
        """Degrees of freedom: those of the persons or, if fewer, of the batteries."""
        return min(self.n_personas, self.n_clusters if self.n_clusters > 1 else self.n_personas) - 1.0


def _effect_sd(units: pl.DataFrame, assumed: Assumed) -> float:
    """Standard deviation of the persona's effect between batteries, by whether questions have one key for everybody."""
    keys = units.group_by("item_id").agg(pl.len(), pl.col("gold_idx").n_unique().alias("keys"))
    asked = keys.filter(pl.col("len") > 1)
    q = assumed.without_persona
    fixed = 2 * asked.filter(keys=1).height > asked.height
    return float(np.sqrt(q * (1 - q))) if fixed else assumed.effect_sd


def _effect(everyone: _Side, sd: float, assumed: Assumed, level: float) -> float:
    p, q = assumed.accuracy, assumed.without_persona
    variance = everyone.variance(p * (1 - p) + q * (1 - q), assumed, sd)
    return _smallest(variance, everyone.df(), level)


def _gap_variance(inside: _Side, rest: _Side, assumed: Assumed) -> float:
    """Variance of a gap. What questions have in common on both sides cancels; how the gap differs by question stays."""
    single = assumed.accuracy * (1 - assumed.accuracy)
    both = inside.variance(single, assumed, 0.0) + rest.variance(single, assumed, 0.0)
    return both + inside.between_clusters(assumed.gap_sd)


def _gap(inside: _Side, rest: _Side, assumed: Assumed, level: float) -> float:
    return _smallest(_gap_variance(inside, rest, assumed), min(inside.df(), rest.df()), level)


def _pocket(inside: _Side, rest: _Side, assumed: Assumed, level: float) -> float:
    """As the search: persons are halved, and batteries as well if there are enough of them."""
    split = inside.n_clusters >= MIN_CLUSTERS_TO_SPLIT
    variance = _gap_variance(inside, rest, assumed) * (4 if split else 2)
    clusters = inside.n_clusters // 2 if split else inside.n_clusters
    people = min(inside.n_personas, rest.n_personas) // 2
    df = min(people, clusters if clusters > 1 else people) - 1.0
    if df < 1 or variance <= 0:
        return float("nan")
    return float(np.sqrt(variance)) * detectable_in_errors(df, POCKET_TESTS, level)


def _smallest(variance: float, df: float, level: float) -> float:
    if df < 1 or variance <= 0:
        return float("nan")
    return float(minimal_detectable(np.sqrt(np.array([variance])), df, level=level)[0])


def summary(found: pl.DataFrame) -> pl.DataFrame:
    """Summarize `detectable` by task, survey and what: the subgroup of the median.

    Returns:
        task, survey, what, n_personas and detectable of the subgroup in the middle; `smallest` and `largest` over all
        subgroups.
    """
    known = found.drop_nulls("detectable").sort("task", "survey", "what", "detectable", "n_personas")
    return known.group_by("task", "survey", "what", maintain_order=True).agg(
        pl.col("n_personas").get((pl.len() - 1) // 2),
        pl.col("detectable").min().alias("smallest"),
        pl.col("detectable").get((pl.len() - 1) // 2),
        pl.col("detectable").max().alias("largest"),
    )
