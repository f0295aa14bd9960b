"""Tell simulated respondents what they must know about each prompt: whose answer it is, and that person's subgroups."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from mpta_pipeline.core.labels import CROSS
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.inference.known_truth import COLUMN, WantedTruth

_NOT_DIMENSIONS = ("respondent_id", "sample", "stratum", "psu")


def with_known_truth(
    prompts: pl.DataFrame, wanted: WantedTruth, *, gold: pl.DataFrame, groups: pl.DataFrame
) -> pl.DataFrame:
    """Add the column `known`: what `inference.known_truth.KnownTruth` describes, as JSON.

    Where a prompt shows nobody, it says what everybody's most frequent answer is, and nothing of a single person.

    Args:
        prompts: PROMPTS of any number of tasks.
        wanted: What the simulated respondent wants to know.
        gold: GOLD of these tasks; empty for tasks whose items carry the answer key.
        groups: GROUPS.

    Raises:
        ConfigError: The study has no such dimension or subgroup.
    """
    members = _members(wanted, groups)
    mind = pl.col("respondent_id") if wanted.key else pl.col("shown_respondent_id")
    item = ["task", "item_id"]
    frame = prompts.select(
        *item, mind.alias("mind"), "respondent_id", "gold_idx", pl.col("option_order").alias("order")
    )
    answers = gold.select(*item, pl.col("respondent_id").alias("mind"), pl.col("gold_idx").alias("answer"))
    in_group = answers.join(members.select("mind", "group"), on="mind")
    frame = (
        frame.join(answers, on=[*item, "mind"], how="left", maintain_order="left")
        .join(_most_frequent(answers, item).rename({"answer": "frequent"}), on=item, how="left", maintain_order="left")
        .join(members, on="mind", how="left", maintain_order="left")
        .join(
            _most_frequent(in_group.drop_nulls("group"), [*item, "group"]).rename({"answer": "group_frequent"}),
            on=[*item, "group"],
            how="left",
            maintain_order="left",
        )
    )
    # Items that carry their key have the same one for everybody.
    fixed = pl.when(pl.col("frequent").is_null()).then("gold_idx")
    told = (
        "mind",
        pl.col("item_id").alias("item"),
        pl.coalesce("answer", fixed).alias("answer"),
        "frequent",
        "group_frequent",
        "order",
        pl.struct(pl.col(name) for name in wanted.subgroups).alias("subgroups")
        if wanted.subgroups
        else pl.lit(None).alias("subgroups"),
    )
    made = pl.struct(*told).struct.json_encode()
    if "line" in prompts.columns and prompts["line"].null_count() < prompts.height:
        # Only statements of batteries have a line: all other prompts keep their requests.
        frame = frame.with_columns(prompts["line"])
        listed = pl.struct(*told, "line").struct.json_encode()
        made = pl.when(pl.col("line").is_null()).then(made).otherwise(listed)
    return prompts.with_columns(frame.select(made.alias(COLUMN)).to_series())


def _members(wanted: WantedTruth, groups: pl.DataFrame) -> pl.DataFrame:
    """Each person's subgroup in each wanted dimension: mind, group, and one column per dimension."""
    known = [name for name in groups.columns if name not in _NOT_DIMENSIONS]
    dimensions = dict.fromkeys((*wanted.subgroups, *([wanted.group] if wanted.group else ())))
    for base in dict.fromkeys(base for dimension in dimensions for base in dimension.split(CROSS)):
        if base not in known:
            raise unknown_name(
                "dimension",
                base,
                known,
                variable="models.yaml, a simulated respondent",
                hint="or add it to figures.dimensions of study.yaml",
            )
    crossed = groups.select(
        pl.col("respondent_id").alias("mind"),
        *(pl.concat_str(dimension.split(CROSS), separator=CROSS).alias(dimension) for dimension in dimensions),
    )
    for dimension, subgroups in wanted.subgroups.items():
        _check_subgroups(dimension, subgroups, crossed[dimension])
    group = pl.col(wanted.group) if wanted.group else pl.lit(None, pl.String)
    return crossed.select("mind", group.alias("group"), *wanted.subgroups)


def _check_subgroups(dimension: str, subgroups: Iterable[str], present: pl.Series) -> None:
    known = present.drop_nulls().unique().sort().to_list()
    for subgroup in subgroups:
        if subgroup not in known:
            raise unknown_name(
                f"subgroup of {dimension}", subgroup, known, variable="models.yaml, a simulated respondent"
            )


def _most_frequent(answers: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """The most frequent answer; of equally frequent ones the first option."""
    counts = answers.group_by(*by, "answer").len()
    return (
        counts.sort(*by, "len", "answer", descending=[*[False] * len(by), True, False])
        .unique(by, keep="first", maintain_order=True)
        .drop("len")
    )
