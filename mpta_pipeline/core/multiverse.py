"""The key `multiverse` of study.yaml: which choices a study varies, and which combinations of them are asked.

A configuration is one level of each factor. Configurations that differ in what a prompt says are tasks of their own
(`opinions~framing-user_is~style-bullets`), those that differ in how a model is run are models of their own
(`smollm2~temperature-0.7`). Both are made from this key when the study is read (docs/decisions/0024-multiverse.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mpta_pipeline.core.configuration import StrictModel
from mpta_pipeline.core.vocabulary import (
    GROUP_CONDITION,
    REFERENCE_CONDITION,
    Condition,
    Domain,
    Elicitation,
    Framing,
    Style,
)

VARIANT = "~"
"""Separates a task or model from the levels of a configuration. No name in study.yaml or models.yaml contains it."""
MOST_CONFIGURATIONS = 1024
Level = str | int | float
ALL_MODELS = "all models"
"""The model of findings over all models, where the model is a factor."""


class Factors(StrictModel):
    """The choices that are varied, each with its levels. A choice that is left out stays as the study has it.

    Attributes:
        framing: Framings of the persona text.
        style: Styles of the persona text.
        traits: Traits shown: `all`, at most so many, or those of one domain.
        elicitation: How the answer is requested.
        orders: Designs of option orders.
        scale_direction: Ordinal options forward or reversed, each in one order. Excludes `orders`.
        paraphrase: Wordings of the framing, from 0.
        temperature: Sampling temperatures. One that the model's entry has already is asked of the model itself.
        reasoning: `as_given` by the model's entry, `off`, a word for the effort, or tokens of thought.
        model: Models of the study. Left out: each model has its own multiverse.
    """

    framing: tuple[Framing, ...] = ()
    style: tuple[Style, ...] = ()
    traits: tuple[Literal["all"] | Domain | int, ...] = ()
    elicitation: tuple[Elicitation, ...] = ()
    orders: tuple[Literal["cyclic", "scale", "given", "full"], ...] = ()
    scale_direction: tuple[Literal["forward", "reversed"], ...] = ()
    paraphrase: tuple[int, ...] = ()
    temperature: tuple[float, ...] = ()
    reasoning: tuple[Literal["as_given", "off", "minimal", "low", "medium", "high", "xhigh"] | int, ...] = ()
    model: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _levels(self) -> Factors:
        for name, levels in self.levels.items():
            if len(set(levels)) < len(levels):
                raise ValueError(f"{name} names a level twice")
        if self.orders and self.scale_direction:
            raise ValueError("vary either orders or scale_direction: a direction is one order of the options")
        if not all(0 <= p < 5 for p in self.paraphrase):
            raise ValueError("paraphrase counts from 0 to 4")
        if any(isinstance(t, int) and t < 1 for t in self.traits):
            raise ValueError("traits is `all`, a domain, or a number of at least 1")
        if any(t < 0 for t in self.temperature):
            raise ValueError("a temperature cannot be negative")
        return self

    @property
    def levels(self) -> dict[str, tuple[Level, ...]]:
        """Factor → its levels, for those that are varied, in the order of this record."""
        return {name: getattr(self, name) for name in type(self).model_fields if getattr(self, name)}


MODEL_FACTORS = ("temperature", "reasoning")
"""Factors that make models of their own. `model` chooses among them, and all others make tasks."""


class NamedFigure(StrictModel):
    """A figure that is computed for every configuration.

    Attributes:
        what: The estimate itself, the difference from the answers without persona, or the gap to everyone else.
        metric: A metric that is a mean of answers, e.g. accuracy.
        condition: Condition of the answers.
        dimensions: Trait or intersection; `all` for everyone.
        subgroup: Value of the dimensions; `all` for everyone.
        name: What the report calls it; null makes a name.
    """

    what: Literal["estimate", "effect", "gap"] = "gap"
    metric: str = "accuracy"
    condition: Condition = "persona"
    dimensions: str = "all"
    subgroup: str = "all"
    name: str | None = None

    @model_validator(mode="after")
    def _names_a_group(self) -> NamedFigure:
        if (self.dimensions == "all") != (self.subgroup == "all"):
            raise ValueError("dimensions and subgroup belong together: give both, or none")
        if self.condition == GROUP_CONDITION:
            raise ValueError("figures are about persons, and the condition group asks about none: name another one")
        if self.what == "gap" and self.subgroup == "all":
            raise ValueError("a gap needs dimensions and subgroup, e.g. dimensions: sex, subgroup: female")
        if self.what == "effect" and self.condition == REFERENCE_CONDITION:
            raise ValueError("the effect is the difference from no_persona: name another condition")
        return self

    @property
    def title(self) -> str:
        """Its name in tables and in the report."""
        if self.name is not None:
            return self.name
        measured = self.metric.replace("_", " ")
        of = "" if self.subgroup == "all" else f", {self.subgroup}"
        return {"estimate": measured, "effect": f"persona effect on {measured}", "gap": f"gap in {measured}"}[
            self.what
        ] + of


class Multiverse(StrictModel):
    """The defensible choices that a study varies, and the figures that are looked at in all of them.

    Attributes:
        factors: The choices and their levels.
        tasks: Tasks that are asked under every configuration; null for all.
        figures: The figures. `mpta plan --budget` compares designs by the first one, or by the one that `--figure`
            names.
        design: All combinations (`full`), or a balanced part of them (`fractional`): the smallest orthogonal array
            that holds the factors, else a generalized subset design.
        runs: Combinations of a fractional design at most; null for half of them. It must allow at least one level
            more than any factor has.
        permutations: Permutations of the joint test.
    """

    factors: Factors
    tasks: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    figures: tuple[NamedFigure, ...] = Field(
        default=(NamedFigure(what="effect"), NamedFigure(what="estimate")), min_length=1
    )
    design: Literal["full", "fractional"] = "full"
    runs: int | None = Field(default=None, ge=2)
    permutations: int = Field(default=500, ge=99)

    @model_validator(mode="after")
    def _is_asked(self) -> Multiverse:
        if not self.factors.levels:
            raise ValueError("factors must name at least one choice with its levels")
        titles = [figure.title for figure in self.figures]
        if len(set(titles)) < len(titles):
            raise ValueError("two figures have the same name")
        if len(self.configurations) > MOST_CONFIGURATIONS:
            raise ValueError(
                f"{len(self.configurations):,} configurations are more than {MOST_CONFIGURATIONS:,}: use fewer levels, "
                "or design: fractional with runs"
            )
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that the figures need. Every prompt about a person has a twin without one."""
        return tuple(dict.fromkeys((*(figure.condition for figure in self.figures), REFERENCE_CONDITION)))

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that the figures need."""
        return tuple(dict.fromkeys(f.dimensions for f in self.figures if f.dimensions != "all"))

    @property
    def configurations(self) -> list[dict[str, Level]]:
        """The configurations: factor → level, in the order of the factors and levels."""
        levels = self.factors.levels
        chosen = combinations([len(given) for given in levels.values()], self.design, self.runs)
        return [
            {name: given[i] for (name, given), i in zip(levels.items(), row, strict=True)} for row in chosen.tolist()
        ]


def combinations(levels: Sequence[int], design: str, runs: int | None = None) -> NDArray[np.int64]:
    """Choose combinations of levels.

    Args:
        levels: Number of levels of each factor.
        design: `full` or `fractional`.
        runs: Combinations of a fractional design at most; None for half of all.

    Returns:
        One row per combination with the index of each factor's level, in lexicographic order. A fractional design is
        the smallest orthogonal array (Taguchi) whose columns have these numbers of levels, if it is smaller than
        `runs`; else a generalized subset design (Surowiec et al. 2017), which is balanced as far as its size allows.
    """
    full = np.array(list(itertools.product(*map(range, levels))), dtype=np.int64).reshape(-1, len(levels))
    most = max(len(full) // 2, 1) if runs is None else runs
    if design == "full" or len(full) <= most or len(levels) < 2:
        return full
    array = _orthogonal(levels, most)
    if array is None:
        array = _subset(levels, most, len(full))
    return np.unique(array, axis=0)


@dataclass(frozen=True)
class Design:
    """A choice of combinations that the key `multiverse` can ask for.

    Attributes:
        design: `full` or `fractional`.
        runs: What to write as `runs`; None for a full design.
        rows: One row per combination with the index of each factor's level.
    """

    design: str
    runs: int | None
    rows: NDArray[np.int64]


def possible_designs(levels: Sequence[int]) -> list[Design]:
    """List the full design, then fractional ones, each at most half as large as the one before.

    Args:
        levels: Number of levels of each factor.
    """
    found = [Design("full", None, combinations(levels, "full"))]
    while (runs := len(found[-1].rows) // 2) >= max(2, *levels):
        try:
            rows = combinations(levels, "fractional", runs)
        except ValueError:  # no balanced design is this small
            break
        if len(rows) > runs:  # a single factor has no fraction
            break
        exact = len(combinations(levels, "fractional", len(rows))) == len(rows)
        found.append(Design("fractional", len(rows) if exact else runs, rows))
    return found


def _orthogonal(levels: Sequence[int], most: int) -> NDArray[np.int64] | None:
    """The smallest orthogonal array of at most `most` rows; None if no array of the library has such columns."""
    from pyDOE3 import get_orthogonal_array, list_orthogonal_arrays

    arrays = sorted((np.asarray(get_orthogonal_array(name)) for name in list_orthogonal_arrays()), key=len)
    for array in arrays:
        if len(array) > most:
            return None
        free = {n: [c for c in range(array.shape[1]) if len(np.unique(array[:, c])) == n] for n in set(levels)}
        if all(len(columns) >= list(levels).count(n) for n, columns in free.items()):
            chosen = array[:, [free[n].pop(0) for n in levels]]
            if _is_orthogonal(chosen, levels):
                return chosen.astype(np.int64)
    return None


def _is_orthogonal(array: NDArray[np.int64], levels: Sequence[int]) -> bool:
    """Whether each pair of columns has each pair of levels equally often. The library's names promise it."""
    for a, b in itertools.combinations(range(len(levels)), 2):
        counts = np.bincount(array[:, a] * levels[b] + array[:, b], minlength=levels[a] * levels[b])
        if len(set(counts.tolist())) > 1:
            return False
    return True


_MOST_CELLS = 5_000_000
"""The library enumerates reduction ** factors cells: 6 runs of 8 factors would take more memory than a machine has."""


def _subset(levels: Sequence[int], most: int, n: int) -> NDArray[np.int64]:
    from pyDOE3 import gsd

    for reduction in range(max(2, -(-n // most)), n + 1):
        if reduction ** len(levels) > _MOST_CELLS:
            break
        try:
            array = np.asarray(gsd(list(levels), reduction), dtype=np.int64)
        except (ValueError, IndexError):  # the library has no design this small
            break
        if len(array) <= most and all(len(np.unique(array[:, c])) == k for c, k in enumerate(levels)):
            return array
    raise ValueError(f"no balanced design of {most} configurations exists for these factors: allow more runs")


def is_variant(name: str) -> bool:
    """Whether a task or model was made for configurations of a multiverse."""
    return VARIANT in name


def base_of(name: str) -> str:
    """The task or model that a variant was made from; the name itself if it is none."""
    return name.partition(VARIANT)[0]


def variant_name(base: str, levels: Mapping[str, Any]) -> str:
    """Name of a task or model with other levels, which names them."""
    return VARIANT.join([base, *(f"{factor}-{_text(level)}" for factor, level in levels.items())])


def task_variant_name(task: str, levels: Mapping[str, Any]) -> str:
    """Name of a task at levels of prompts. Without any, it is still another task than the study's own.

    A multiverse that varies only how models are run asks the task as it is, under conditions of its own.
    """
    return variant_name(task, levels) if levels else f"{task}{VARIANT}as_given"


def _text(level: Level) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def prompt_levels(levels: Mapping[str, Level]) -> dict[str, Level]:
    """The levels of a configuration that decide what a prompt says."""
    return {name: level for name, level in levels.items() if name not in (*MODEL_FACTORS, "model")}


def model_levels(levels: Mapping[str, Level]) -> dict[str, Level]:
    """The levels of a configuration that decide how a model is run."""
    return {name: level for name, level in levels.items() if name in MODEL_FACTORS}


@dataclass(frozen=True)
class Configuration:
    """One level of each factor, for one task and one model.

    Attributes:
        task: Task of study.yaml.
        model: Model of models.yaml.
        levels: Factor → level.
        asked_task: The task whose prompts are asked.
        asked_model: The model that is asked.
        model_is_factor: Findings are over all models.
    """

    task: str
    model: str
    levels: Mapping[str, Level]
    asked_task: str
    asked_model: str
    model_is_factor: bool

    @property
    def name(self) -> str:
        """The levels as text: framing-user_is~style-bullets."""
        return VARIANT.join(f"{factor}-{_text(level)}" for factor, level in self.levels.items())

    @property
    def over(self) -> str:
        """Whose findings it belongs to: its model's, or those of all models."""
        return ALL_MODELS if self.model_is_factor else self.model


def level_text(level: Level | None) -> str | None:
    """A level as tables show it."""
    return None if level is None else _text(level)
