"""Make items from conjoint profiles: random combinations of the levels of attributes, chosen between or rated.

A pool of items is drawn by hash, and the study's `items_per_persona` gives each persona its own of them, so that every
item is asked equally often. Levels are equally likely, except in combinations that a restriction excludes.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import ConfigDict, Field, field_validator, model_validator

from mpta_pipeline.core.configuration import StrictModel, validated
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.tables.tasks import PROFILE
from mpta_pipeline.tasks.questionnaires.instrument import scale_places
from mpta_pipeline.tasks.questionnaires.yaml_file import Scale
from mpta_pipeline.tasks.task_kind import AS_THE_PERSON, Example, ItemRequest, TaskKind

_TRIES = 400


class Design(StrictModel):
    """A conjoint design: the options of a task of the kind.

    Attributes:
        question: The question, for example "Which of these candidates would you vote for?".
        attributes: Attribute → its levels; the first level is the one that the others are compared with.
        restrictions: Combinations of levels of two attributes that no profile may have: attribute → level or levels.
        profiles: 2 to choose between two profiles, 1 to rate one.
        scale: The scale of a rating.
        pool: Number of items that are drawn.
        licence: Licence of the texts.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    question: str = Field(min_length=1)
    attributes: dict[str, tuple[str, ...]] = Field(min_length=2)
    restrictions: tuple[dict[str, str | tuple[str, ...]], ...] = ()
    profiles: int = Field(default=2, ge=1, le=2)
    scale: Scale | None = None
    pool: int = Field(default=200, ge=2, le=5000)
    licence: str = "as the design's"

    @field_validator("attributes")
    @classmethod
    def _levels(cls, attributes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, levels in attributes.items():
            if len(set(levels)) < max(len(levels), 2):
                raise ValueError(f"attribute {name} needs at least two levels, all different")
            if not all(text.strip() for text in (name, *levels)):
                raise ValueError(f"attribute {name} has an empty name or level")
        return attributes

    @model_validator(mode="after")
    def _restrictions_name_levels(self) -> Design:
        if (self.profiles == 1) == (self.scale is None):
            raise ValueError("a rating (profiles: 1) has a scale, and a choice between two profiles has none")
        for restriction in self.restrictions:
            if len(restriction) != 2:
                raise ValueError("a restriction names two attributes")
            for name, levels in restriction.items():
                for level in (levels,) if isinstance(levels, str) else levels:
                    if level not in self.attributes.get(name, ()):
                        raise ValueError(f"a restriction names {name}: {level}, which is no level of an attribute")
        return self

    def in_no_profile(self) -> list[str]:
        """Levels that the restrictions exclude together with each level of another attribute."""
        pairs = {frozenset(pair) for pair in self.excluded()}
        return [
            f"{name}: {level}"
            for name, levels in self.attributes.items()
            for level in levels
            for other, others in self.attributes.items()
            if other != name and all(frozenset(((name, level), (other, one))) in pairs for one in others)
        ]

    def excluded(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """Pairs of levels that no profile has together."""
        pairs = []
        for restriction in self.restrictions:
            (one, of_one), (other, of_other) = (
                (name, (levels,) if isinstance(levels, str) else levels) for name, levels in restriction.items()
            )
            pairs += [((one, a), (other, b)) for a in of_one for b in of_other]
        return pairs


def conjoint_items(request: ItemRequest) -> pl.DataFrame:
    """The pool of items: each one or two profiles, drawn by hash."""
    options = {name: value for name, value in request.config.options.items() if name in Design.model_fields}
    design = validated(
        Design,
        options,
        "The conjoint design is not valid",
        file=None,
        key="options",
        remedy=f"its keys are {', '.join(Design.model_fields)}",
        error=TaskError,
    )
    excluded = [set(pair) for pair in design.excluded()]
    if gone := design.in_no_profile():
        raise TaskError(
            "The restrictions of the conjoint design leave no profile with a level",
            variable="options.restrictions",
            value=gone[0],
            remedy="exclude fewer combinations, or remove the level",
        )
    seen: set[tuple[tuple[str, ...], ...]] = set()
    rows: list[dict[str, Any]] = []
    for number in range(design.pool * 4):
        drawn = [_profile(design, excluded, request.seed, number, side) for side in range(design.profiles)]
        if any(profile is None for profile in drawn):
            raise TaskError(
                "The restrictions of the conjoint design leave no profile",
                variable="options.restrictions",
                remedy="exclude fewer combinations",
            )
        profiles = [profile for profile in drawn if profile is not None]
        key = tuple(tuple(profile.values()) for profile in profiles)
        if len(set(key)) < design.profiles or key in seen or key[::-1] in seen:
            continue
        seen.add(key)
        rows.append(_row(design, profiles))
        if len(rows) == design.pool:
            break
    if len(rows) < 2:
        raise TaskError(
            "The restrictions of the conjoint design leave fewer than two different items",
            variable="options.restrictions",
            remedy="exclude fewer combinations, or add levels",
        )
    if len(rows) < design.pool:
        request.gaps.not_used.append(f"pool of {design.pool:,} items: the design has {len(rows):,} different ones")
    restrictions = [[_level(design, *one), _level(design, *other)] for one, other in design.excluded()]
    schema = {"profiles": pl.List(pl.List(PROFILE)), "option_scores": pl.List(pl.Float64)}
    items = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    return items.with_columns(
        pl.lit(restrictions, pl.List(pl.List(PROFILE))).alias("restrictions"),
        pl.lit(design.licence).alias("licence"),
    )


def _profile(
    design: Design, excluded: list[set[tuple[str, str]]], seed: int, number: int, side: int
) -> dict[str, str] | None:
    """A profile whose levels are drawn independently by hash; drawn again if a restriction excludes it."""
    for turn in range(_TRIES):
        profile = {
            name: levels[int(digest("conjoint", seed, number, side, turn, name), 16) % len(levels)]
            for name, levels in design.attributes.items()
        }
        if not any(pair <= set(profile.items()) for pair in excluded):
            return profile
    return None


def _row(design: Design, profiles: list[dict[str, str]]) -> dict[str, Any]:
    texts = ["; ".join(f"{name}: {level}" for name, level in profile.items()) for profile in profiles]
    name = digest(design.question, *texts, length=10)
    scale = design.scale
    options = texts if scale is None else list(scale.texts())
    ordinal = scale is not None and scale.is_ordinal
    return {
        "item_id": f"conjoint_{name}",
        "cluster_id": f"conjoint_{name}",
        "context": None if scale is None else texts[0],
        "question": design.question,
        "options": options,
        "option_values": options,
        "ordinal": ordinal,
        "option_scores": scale_places(options, scale.beside) if scale is not None and ordinal else None,
        "profiles": [[_level(design, *one) for one in profile.items()] for profile in profiles],
    }


def _level(design: Design, attribute: str, level: str) -> dict[str, Any]:
    return {"attribute": attribute, "level": level, "place": design.attributes[attribute].index(level)}


_OPTIONS = {
    "question": "The question",
    "attributes": "Attribute → its levels; the others are compared with the first",
    "restrictions": "Combinations of levels of two attributes that no profile has",
    "profiles": "2 (default): choose between two profiles; 1: rate one",
    "scale": "The scale of a rating",
    "pool": "Number of items that are drawn (default 200)",
    "licence": "Licence of the texts",
}
KINDS = (
    TaskKind(
        "conjoint",
        "Conjoint: which of two random profiles, or how good is one?",
        conjoint_items,
        closing=AS_THE_PERSON,
        options=_OPTIONS,
        example=Example(
            options={
                "question": "Which train would you take?",
                "attributes": {"price": ["10 euros", "30 euros"], "time": ["1 hour", "2 hours"]},
                "pool": 2,
            }
        ),
    ),
)
