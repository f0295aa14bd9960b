"""Find the groups that the personas of the answers belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.external.scoring_inputs import Known, Reading, survey_of

_NO_GROUPS = ("respondent_id", "item_id", "model", "condition", "answer", "own_answer", "survey", "weight")


def groups_of(
    rows: pl.DataFrame | None, own: pl.DataFrame | None, reading: Reading, file: Path, known: Known | None = None
) -> pl.DataFrame:
    """Return one row per persona with its groups.

    Raises:
        ValidationError: There are groups but no personas, a column cannot define groups, or a persona is in two groups.
    """
    wrong = next((b for b in reading.bases if b in _NO_GROUPS), None)
    if wrong is not None:
        why = {"survey": "estimates are made for each survey separately and never pooled"}.get(
            wrong, "it distinguishes answers, not people"
        )
        raise ValidationError(
            f"Personas cannot be grouped by {wrong}: {why}",
            file=file,
            variable="--by",
            value=wrong,
            remedy="name a column that groups people, such as sex or region",
        )
    together = _members([frame for frame in (rows, own) if frame is not None], reading)
    if reading.by and together.is_empty():
        raise ValidationError(
            "Groups consist of personas, and the answers name no personas",
            file=file,
            variable="respondent_id",
            remedy="give respondent_id, or leave --by out",
        )
    made = _one_group_each(together, file)
    if known is None or known.groups is None:
        return made
    columns = [x for x in made.columns if x not in ("respondent_id", "survey")]
    theirs = known.groups.drop([x for x in columns if x in known.groups.columns])
    if columns:
        theirs = theirs.join(made.drop("survey"), on="respondent_id", how="left", maintain_order="left")
    more = made.join(theirs, on="respondent_id", how="anti", maintain_order="left")
    return pl.concat([theirs, more], how="diagonal") if more.height else theirs


def _members(frames: Sequence[pl.DataFrame], reading: Reading) -> pl.DataFrame:
    """Return respondent_id, survey and groups of every row that names a persona."""
    design = ("stratum", "psu")
    parts = [pl.DataFrame(schema={"respondent_id": pl.String, "survey": pl.String})]
    for frame in frames:
        if "respondent_id" not in frame.columns:
            continue
        shown = dict.fromkeys(x for x in (*reading.bases, *design) if x in frame.columns)
        parts.append(
            frame.filter(pl.col("respondent_id").is_not_null()).select(
                pl.col("respondent_id").cast(pl.String),
                survey_of(frame).alias("survey"),
                *(pl.col(x).cast(pl.String) for x in shown),
            )
        )
    return pl.concat(parts, how="diagonal")


def _one_group_each(together: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Return one row per persona.

    Raises:
        ValidationError: A persona is in several groups of one column.
    """
    columns = [x for x in together.columns if x not in ("respondent_id", "survey")]
    for column in columns:
        several = together.filter(pl.col(column).drop_nulls().n_unique().over("respondent_id") > 1)
        if several.height:
            person = several.item(0, "respondent_id")
            values = several.filter(respondent_id=person)[column].drop_nulls().unique(maintain_order=True)
            raise ValidationError(
                f"A persona is in several groups of {column}",
                file=file,
                variable="respondent_id",
                value=f"{person}: {', '.join(values)}",
                remedy=f"give each persona one {column}, or give people that differ in it different ids",
            )
    made = together.group_by("respondent_id", maintain_order=True).agg(
        pl.col("survey").drop_nulls().first(), *(pl.col(x).drop_nulls().first() for x in columns)
    )
    # Files number units separately in each stratum (GSS: `vpsu` is 1 or 2 in every `vstrat`).
    if {"stratum", "psu"} <= set(columns):
        unit = pl.concat_str(pl.col("stratum").fill_null(""), "psu", separator="/")
        made = made.with_columns(unit.alias("psu"))
    return made
