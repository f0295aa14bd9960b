"""Expect how wide a figure's interval would be with another number of configurations, or another share of the panel.

The figure is taken as the mean over configurations, and its interval as one over other persons, questions and choices.
By generalizability theory (Cronbach et al. 1972; Brennan 2001, ch. 4), the variance of a mean over crossed random
persons p, questions i and configurations c is σ²_p/n_p + σ²_i/n_i + σ²_c/n_c + σ²_pc/(n_p n_c). Each level of a factor
is in every design, so the main effect of a factor is divided by its number of levels, not by n_c.
`tests/metrics/test_designs.py` compares it with simulated means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from mpta_pipeline.core.multiverse import NamedFigure
from mpta_pipeline.metrics.detectable import Assumed, Side, effect_sd_of, units_of
from mpta_pipeline.metrics.multiverse.joint_test import person_sums
from mpta_pipeline.metrics.multiverse.variance import RESIDUAL, variance_components
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints


@dataclass(frozen=True)
class FigureError:
    """Variances of a figure's error, with the questions of the study and the persons that it asks now.

    Attributes:
        persons: From the persons who are asked: what is theirs in every configuration.
        askings: From what changes per person with the configuration; of one configuration.
        questions: From the questions that are asked.
        factors: Factor → variance between its levels.
        levels: Factor → number of levels.
        configurations: Between configurations, beyond the factors' main effects; includes questions that a
            configuration helps or harms.
        quantile: Half of the interval's width in standard errors.
        n_persons: Persons of the smallest group that the figure is about.
        measured: Estimated from the study's own answers, or assumed.
    """

    persons: float
    askings: float
    questions: float
    factors: Mapping[str, float]
    levels: Mapping[str, int]
    configurations: float
    quantile: float
    n_persons: int
    measured: bool

    def parts(self, configurations: int, share: float = 1.0) -> dict[str, float]:
        """Parts of the variance of the figure's mean.

        Args:
            configurations: Number of configurations.
            share: Share of the persons who are asked now.
        """
        return {
            "persons": self.persons / share,
            "questions": self.questions,
            "levels": sum(variance / self.levels[name] for name, variance in self.factors.items()),
            "configurations": self.configurations / configurations + self.askings / share / configurations,
        }

    def half_width(self, configurations: int, share: float = 1.0) -> float:
        """Half of the expected width of the interval; nan with fewer than two persons."""
        if self.n_persons * share < 2:
            return float("nan")
        return float(self.quantile * np.sqrt(sum(self.parts(configurations, share).values())))


@dataclass(frozen=True)
class AssumedChoices:
    """What is assumed of the choices before any answer is there, beside `Assumed`.

    Attributes:
        choice_sd: Standard deviation of the figure between configurations. Half of its variance comes from the
            factors' main effects in equal parts, half from what they do together.
        stable: Share of the variance of single answers, given the person, that is the same in every configuration.
        question_sd: Standard deviation of the share of right answers between batteries of questions.
    """

    choice_sd: float = 0.03
    stable: float = 0.5
    question_sd: float = 0.15


def measured_error(
    curve: pl.DataFrame, people: pl.DataFrame, groups: pl.DataFrame, figure: NamedFigure
) -> FigureError | None:
    """Estimate the variances from the configurations that were asked.

    Persons and what changes per person come from each person's mean in each configuration (two-way analysis of
    variance), factors and configurations from the estimates (Henderson's method I) less what persons add to them, and
    questions are what remains of the estimates' own squared errors.

    Args:
        curve: Rows of one specification curve and figure: asked_task, asked_model, survey, levels, estimate, se, ci_low
            and ci_high.
        people: CONFIGURATION_PEOPLE.
        groups: GROUPS.
        figure: The figure.

    Returns:
        The variances; None if there are fewer than two configurations with an error, or too few persons.
    """
    curve = curve.drop_nulls(["estimate", "se", "ci_low", "ci_high"]).filter(pl.col("se") > 0)
    sums = person_sums(curve, people, figure) if curve.height > 1 else None
    if sums is None:
        return None
    who, value, weight = sums
    inside = _members(who, groups, figure)
    whole = (weight > 0).all(axis=1)
    sides = [whole & (inside == 1)] + ([whole & (inside == 0)] if figure.what == "gap" else [])
    if min(int(side.sum()) for side in sides) < 2:
        return None
    found = [_of_persons(value, weight, side) for side in sides]
    persons, askings = (sum(one[i] for one in found) for i in (0, 1))
    factors, configurations = _of_choices(curve, askings)
    se = curve["se"].to_numpy()
    half = (curve["ci_high"] - curve["ci_low"]).to_numpy() / 2
    return FigureError(
        persons=persons,
        askings=askings,
        questions=max(float((se**2).mean()) - persons - askings, 0.0),
        factors=factors,
        levels={name: len(np.unique(code)) for name, code in _codes(curve).items()},
        configurations=configurations,
        quantile=float(np.median(half / se)),
        n_persons=min(int(side.sum()) for side in sides),
        measured=True,
    )


def assumed_error(
    prompts: pl.DataFrame,
    groups: pl.DataFrame,
    figure: NamedFigure,
    levels: Mapping[str, int],
    *,
    level: float = 0.05,
    assumed: Assumed | None = None,
    choices: AssumedChoices | None = None,
) -> FigureError | None:
    """Assume the variances, for the persons and questions of one task and survey.

    Args:
        prompts: PROMPTS of one task and survey, or what `detectable.units_of` makes of them.
        groups: GROUPS.
        figure: A figure about accuracy.
        levels: Factor → number of levels.
        level: The interval has the confidence 1 − level.
        assumed: What is assumed of the model; None for the defaults.
        choices: What is assumed of the choices; None for the defaults.

    Returns:
        The variances; None if nothing can be said: no questions with an answer key, or too few persons of the group.
    """
    assumed, choices = assumed or Assumed(), choices or AssumedChoices()
    units = units_of(prompts)
    inside = _members(units["respondent_id"].to_list(), groups, figure)
    asked = [units.filter(inside == 1)] + ([units.filter(inside == 0)] if figure.what == "gap" else [])
    if any(part["respondent_id"].n_unique() < 2 for part in asked):
        return None
    sides = [Side.of(part) for part in asked]
    single, sd = assumed.accuracy * (1 - assumed.accuracy), choices.question_sd
    if figure.what == "effect":
        single += assumed.without_persona * (1 - assumed.without_persona)
        sd = effect_sd_of(asked[0], assumed)
    elif figure.what == "gap":
        sd = assumed.gap_sd
    own = assumed.person_sd**2
    rest = max(single - own, 0.0)
    df = min(side.df() for side in sides)
    return FigureError(
        persons=sum(own * side.of_person / side.n**2 + choices.stable * rest / side.n for side in sides),
        askings=sum((1 - choices.stable) * rest / side.n for side in sides),
        questions=sides[0].between_clusters(sd),
        factors=dict.fromkeys(levels, choices.choice_sd**2 / 2 / len(levels)),
        levels=dict(levels),
        configurations=choices.choice_sd**2 / 2,
        quantile=float(stats.t.ppf(1 - level / 2, df)) if df >= 1 else float("nan"),
        n_persons=min(side.n_personas for side in sides),
        measured=False,
    )


def _members(who: list[str], groups: pl.DataFrame, figure: NamedFigure) -> Ints:
    """1 for each person in the figure's subgroup, 0 for one in another, −1 if that is unknown."""
    if figure.subgroup == g.ALL:
        return np.ones(len(who), dtype=np.int64)
    own = g.bases(figure.dimensions)
    if not set(own) <= set(groups.columns):
        return np.full(len(who), -1)
    subgroup = groups.select("respondent_id", pl.concat_str(own, separator=g.CROSS).alias("subgroup"))
    frame = pl.DataFrame({"respondent_id": who}, schema={"respondent_id": pl.String})
    mine = frame.join(subgroup, on="respondent_id", how="left", maintain_order="left")
    return (mine["subgroup"] == figure.subgroup).cast(pl.Int64).fill_null(-1).to_numpy()


def _of_persons(value: Floats, weight: Floats, side: Flags) -> tuple[float, float]:
    """Variance of a group's mean from persons, and from what changes per person with the configuration."""
    x = value[side] / weight[side]
    n, c = x.shape
    x = x - x.mean(axis=0)
    mean = x.mean(axis=1)
    changing = float(((x - mean[:, None]) ** 2).sum()) / ((n - 1) * (c - 1))
    lasting = max(float((mean**2).sum()) / (n - 1) - changing / c, 0.0)
    w = weight[side].mean(axis=1)
    effective = float(w.sum() ** 2 / (w**2).sum())
    return lasting / effective, changing / effective


def _of_choices(curve: pl.DataFrame, askings: float) -> tuple[dict[str, float], float]:
    """Variance between the levels of each factor, and between configurations beyond it."""
    y, codes = curve["estimate"].to_numpy(), _codes(curve)
    if len(y) > sum(int(code.max()) for code in codes.values()) + 1:  # something is left beside the main effects
        found = variance_components(y, codes)
        if not any(np.isnan(v) for v in found.values()):
            return {name: max(found[name], 0.0) for name in codes}, max(found[RESIDUAL] - askings, 0.0)
    means = {name: np.bincount(code, y) / np.bincount(code) for name, code in codes.items()}
    return {
        name: max(float(of_level.var(ddof=1)) - askings * len(of_level) / len(y), 0.0)
        for name, of_level in means.items()
    }, 0.0


def _codes(curve: pl.DataFrame) -> dict[str, Ints]:
    """Factor → level of each configuration, from 0; factors with one level are left out."""
    codes: dict[str, Ints] = {}
    rows = [{one["factor"]: one["level"] for one in levels} for levels in curve["levels"].to_list()]
    for name in rows[0]:
        _, code = np.unique([str(row.get(name)) for row in rows], return_inverse=True)
        if code.max() > 0:
            codes[name] = code.astype(np.int64)
    return codes
