"""How small a difference a study can find, from its panel, questions and prompts alone, before any model is asked.

Errors are computed as the estimates' own are (two-way clusters: persons, and batteries of questions), from assumed
variances instead of answers. `tests/metrics/test_detectable.py` compares them with the errors of simulated respondents.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline.core.power import MIN_CLUSTERS_TO_SPLIT, POCKET
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import POWER
from mpta_pipeline.metrics.pockets.search import detectable_in_errors
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.equivalence import minimal_detectable

GAP, EFFECT, ARM = "subgroup gap", "persona effect", "arm effect"
PEOPLE, QUESTIONS = (0.5, 1.0, 2.0, 4.0, 8.0), (1.0, 2.0, 4.0)
"""Multiples of people and of questions for which the report and `mpta power` say what they would buy."""
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
    found = [row for row in grid(prompts, groups, rules=rules, assumed=assumed) if row["what"] != ARM]
    return pl.DataFrame(found, schema=SCHEMA, orient="row").with_columns(pl.col("detectable").fill_nan(None))


def units_of(prompts: pl.DataFrame) -> pl.DataFrame:
    """The persons and questions that PROMPTS, or SCORES, are about: those with a persona and an answer key."""
    return (
        prompts.filter((pl.col("condition") == "persona") & pl.col("gold_idx").is_not_null())
        .unique(["task", "survey", "respondent_id", "item_id"], maintain_order=True)
        .select("task", "survey", "respondent_id", "item_id", "cluster_id", "gold_idx", "condition")
    )


def grid(
    prompts: pl.DataFrame,
    groups: pl.DataFrame,
    *,
    rules: EstimateRules,
    assumed: Assumed | None = None,
    people: Sequence[float] = (1,),
    questions: Sequence[float] = (1,),
) -> list[dict[str, Any]]:
    """As `detectable`, for other numbers of people and of questions, and for arms of an experiment.

    An arm effect is the difference between two halves of the people, each of whom answers under one of two treatments:
    `what` is `arm effect`, of everyone.

    Args:
        prompts: PROMPTS, or what `units_of` makes of them.
        groups: GROUPS.
        rules: As there.
        assumed: As there.
        people: Multiples of the people: as many times of each subgroup, who answer as many questions as now.
        questions: Multiples of the batteries of questions, of which each person answers as large a part as now.

    Returns:
        Rows with the columns of `detectable`, `people` and `questions`.
    """
    assumed = assumed or Assumed()
    units = units_of(prompts)
    present = [d for d in rules.dimensions if d != g.ALL and set(g.bases(d)) <= set(groups.columns)]
    crossed = groups.select("respondent_id", *(pl.concat_str(g.bases(d), separator=g.CROSS).alias(d) for d in present))
    rows: list[dict[str, Any]] = []
    for (task, survey), part in units.sort("task", "survey").group_by(["task", "survey"], maintain_order=True):
        asked = part.join(crossed, on="respondent_id", how="left", maintain_order="left")
        key = {"task": task, "survey": survey}
        whole, sd = Side.of(asked), effect_sd_of(asked, assumed)
        of_groups = [
            (dimension, subgroup, Side.of(inside), Side.of(asked.filter(pl.col(dimension) != subgroup)))
            for dimension in present
            for (subgroup,), inside in asked.drop_nulls(dimension).group_by([dimension], maintain_order=True)
        ]
        of_groups.sort(key=lambda cell: cell[:2])
        for more, longer in itertools.product(people, questions):
            everyone = whole.times(more, longer)
            scale = {"people": float(more), "questions": float(longer)}
            for what, found in (
                (EFFECT, _effect(everyone, sd, assumed, rules.level)),
                (ARM, _arm(everyone, assumed, rules.level)),
            ):
                rows.append(
                    key
                    | {"what": what, "dimensions": g.ALL, "subgroup": g.ALL}
                    | everyone.sizes
                    | {"detectable": found}
                    | scale
                )
            cells = [(d, s, inside.times(more, longer), rest.times(more, longer)) for d, s, inside, rest in of_groups]
            cells = [cell for cell in cells if min(cell[2].n_personas, cell[3].n_personas) >= rules.min_personas]
            for dimension, subgroup, inside, rest in cells:
                for what, found in (
                    (GAP, _gap(inside, rest, assumed, rules.level / max(len(cells), 1))),
                    (POCKET, _pocket(inside, rest, assumed, rules.level)),
                ):
                    rows.append(
                        key
                        | {"what": what, "dimensions": dimension, "subgroup": subgroup}
                        | inside.sizes
                        | {"detectable": found}
                        | scale
                    )
    return rows


@dataclass(frozen=True)
class Side:
    """The answers of a subgroup: how they are spread over persons and batteries.

    Attributes:
        n_personas: Persons.
        n_clusters: Batteries of questions.
        n: Answers.
        of_person: Sum over persons of the square of their number of answers.
        of_cluster: The same over batteries.
    """

    n_personas: int
    n_clusters: int
    n: float
    of_person: float
    of_cluster: float

    @classmethod
    def of(cls, units: pl.DataFrame) -> Side:
        """Count the answers of each person and battery."""
        person, cluster = (
            units.group_by(c).len()["len"].to_numpy().astype(float) for c in ("respondent_id", "cluster_id")
        )
        squares = (float((one**2).sum()) for one in (person, cluster))
        return cls(len(person), len(cluster), float(person.sum()), *squares)

    def times(self, people: float, questions: float) -> Side:
        """The same with other numbers of people and of batteries; people answer in proportion to the batteries."""
        return Side(
            round(self.n_personas * people),
            round(self.n_clusters * questions),
            self.n * people * questions,
            self.of_person * people * questions**2,
            self.of_cluster * people**2 * questions,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes as columns of the table."""
        return {"n_personas": self.n_personas, "n_answers": round(self.n), "n_clusters": self.n_clusters}

    def variance(self, single: float, assumed: Assumed, cluster_sd: float) -> float:
        """Variance of the mean, if single answers have variance `single` and batteries differ by `cluster_sd`."""
        between = assumed.person_sd**2
        spread = (max(single - between, 0.0)) / self.n + between * self.of_person / self.n**2
        return spread + self.between_clusters(cluster_sd)

    def between_clusters(self, sd: float) -> float:
        """Part of the variance that comes from batteries. One battery alone is all that is spoken of."""
        return 0.0 if self.n_clusters == 1 else sd**2 * self.of_cluster / self.n**2

    def df(self) -> float:
        """Degrees of freedom: those of the persons or, if fewer, of the batteries."""
        return min(self.n_personas, self.n_clusters if self.n_clusters > 1 else self.n_personas) - 1.0


def effect_sd_of(units: pl.DataFrame, assumed: Assumed) -> float:
    """Standard deviation of the persona's effect between batteries, by whether questions have one key for everybody."""
    keys = units.group_by("item_id").agg(pl.len(), pl.col("gold_idx").n_unique().alias("keys"))
    asked = keys.filter(pl.col("len") > 1)
    q = assumed.without_persona
    fixed = 2 * asked.filter(keys=1).height > asked.height
    return float(np.sqrt(q * (1 - q))) if fixed else assumed.effect_sd


def _effect(everyone: Side, sd: float, assumed: Assumed, level: float) -> float:
    p, q = assumed.accuracy, assumed.without_persona
    variance = everyone.variance(p * (1 - p) + q * (1 - q), assumed, sd)
    return _smallest(variance, everyone.df(), level)


def _arm(everyone: Side, assumed: Assumed, level: float) -> float:
    """Two halves of the people: what questions have in common cancels, how the effect differs by question stays."""
    half = everyone.times(0.5, 1)
    if half.n_personas < 2:
        return float("nan")
    single = assumed.accuracy * (1 - assumed.accuracy)
    variance = 2 * half.variance(single, assumed, 0.0) + everyone.between_clusters(assumed.gap_sd)
    # Persons of both halves: the error of a difference of two means has the persons' degrees of freedom less two.
    clusters = everyone.n_clusters - 1.0 if everyone.n_clusters > 1 else np.inf
    return _smallest(variance, min(everyone.n_personas - 2.0, clusters), level)


def _gap_variance(inside: Side, rest: Side, assumed: Assumed) -> float:
    """Variance of a gap. What questions have in common on both sides cancels; how the gap differs by question stays."""
    single = assumed.accuracy * (1 - assumed.accuracy)
    both = inside.variance(single, assumed, 0.0) + rest.variance(single, assumed, 0.0)
    return both + inside.between_clusters(assumed.gap_sd)


def _gap(inside: Side, rest: Side, assumed: Assumed, level: float) -> float:
    return _smallest(_gap_variance(inside, rest, assumed), min(inside.df(), rest.df()), level)


def _pocket(inside: Side, rest: Side, assumed: Assumed, level: float) -> float:
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


def power_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """POWER, from the rows of `grid`."""
    frame = pl.DataFrame(rows, schema=POWER.schema, orient="row").with_columns(pl.col("detectable").fill_nan(None))
    return POWER.conform(frame)


def what_more_buys(power: pl.DataFrame) -> pl.DataFrame:
    """Choose one subgroup for each kind of difference: the one in the middle of those that the study as it is can find.

    Args:
        power: POWER.

    Returns:
        POWER rows of these subgroups, of everyone for effects of the persona and of arms. If no subgroup's difference
        can be found, the largest subgroup stands for them.
    """
    key = ["task", "survey", "what"]
    now = power.filter(people=1, questions=1).sort(*key, "detectable", "n_personas", nulls_last=True)
    known = now.with_columns(pl.col("detectable").is_not_null().sum().over(key).alias("known"))
    place = pl.int_range(pl.len()).over(key)
    chosen = known.filter(
        pl.when(pl.col("known") > 0)
        .then(place == (pl.col("known") - 1) // 2)
        .otherwise(pl.col("n_personas") == pl.col("n_personas").max().over(key))
    ).unique(key, keep="first", maintain_order=True)
    return power.join(chosen.select(*key, "dimensions", "subgroup"), on=[*key, "dimensions", "subgroup"], how="semi")


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
