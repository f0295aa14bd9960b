"""How small a gap between a group and everyone else the study's design can find, from its prompts and its panel."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from mpta_pipeline.core.labels import CROSS
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.metrics.statistics.power import detectable, effective
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import made, read


@dataclass(frozen=True)
class Detectable:
    """What the design can find for one task and survey.

    Attributes:
        task: The task.
        survey: The survey.
        people: Personas that are asked.
        questions: Questions per persona, on average; their option orders count once.
        groups: Groups of the study's dimensions that are large enough to be judged.
        group_size: Personas in the median one of these groups; null if there is none.
        gap: Smallest gap in the share of right answers between that group and everyone else that is found with 80 %
            power, at the study's level divided by the number of groups; null if no gap is.
        weights: Design effect of the survey weights in the panel.
    """

    task: str
    survey: str
    people: int
    questions: float
    groups: int
    group_size: int | None
    gap: float | None
    weights: float


def design_power(deployment: Deployment) -> list[Detectable]:
    """What the design can find, per task and survey, as far as prompts exist. Sends nothing, reads no response."""
    rules = deployment.study.figures
    found = []
    people = read(deployment, "panel").select("respondent_id", "weight")
    groups = read(deployment, "groups")
    for task in deployment.study.tasks:
        if made(deployment, Node("prompts", task)) is None:
            continue
        asked = read(deployment, "prompts", task).filter(
            pl.col("respondent_id").is_not_null(), pl.col("condition") != REFERENCE_CONDITION
        )
        each = asked.group_by("survey", "respondent_id").agg(pl.col("item_id").n_unique().alias("n"))
        joined = each.join(people, on="respondent_id", how="left").join(groups.drop("survey"), on="respondent_id")
        for (survey,), part in joined.sort("survey").group_by(["survey"], maintain_order=True):
            sizes = _sizes(part, rules.dimensions, rules.min_personas)
            n, each_answers = part.height, float(part["n"].cast(pl.Float64).sum()) / part.height
            size = sorted(sizes)[len(sizes) // 2] if sizes else None
            deff = _kish(part["weight"])
            gap = None
            if size is not None and n > size:
                ends = (effective(k, each_answers, weights=deff) for k in (size, n - size))
                gap = detectable(*ends, level=rules.level / len(sizes))
            found.append(Detectable(task, str(survey), n, each_answers, len(sizes), size, gap, deff))
    return found


def _sizes(people: pl.DataFrame, dimensions: tuple[str, ...], least: int) -> list[int]:
    """The sizes of the groups that are large enough to be judged. Dimensions of the question have no groups here."""
    sizes: list[int] = []
    for dimension in dimensions:
        parts = dimension.split(CROSS)
        if set(parts) <= set(people.columns):
            counted = people.drop_nulls(parts).group_by(parts).len()
            sizes += counted.filter(pl.col("len") >= least)["len"].to_list()
    return sizes


def _kish(weights: pl.Series) -> float:
    """Kish's design effect of weights: 1 + their squared coefficient of variation; 1 if there are none."""
    known = weights.drop_nulls().to_numpy()
    total = float(known.sum())
    return 1.0 if total <= 0 else float(len(known) * (known**2).sum() / total**2)
