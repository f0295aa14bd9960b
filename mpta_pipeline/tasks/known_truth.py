"""Tell simulated respondents what they must know about each prompt: whose answer it is, and that person's subgroups."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from mpta_pipeline.core.described_groups import named_groups
from mpta_pipeline.core.labels import ALL, CROSS
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.core.vocabulary import GROUP_CONDITION
from mpta_pipeline.inference.known_truth import COLUMN, WantedTruth

_NOT_DIMENSIONS = ("respondent_id", "sample", "sample_wave", "stratum", "psu")


def with_known_truth(
    prompts: pl.DataFrame, wanted: WantedTruth, *, gold: pl.DataFrame, groups: pl.DataFrame
) -> pl.DataFrame:
    """Add the column `known`: what `inference.known_truth.KnownTruth` describes, as JSON.

    Where a prompt shows nobody, it says what everybody's most frequent answer is, and nothing of a single person. Where
    it describes a group, it says the shares of people's answers in the group.

    Args:
        prompts: PROMPTS of any number of tasks.
        wanted: What the simulated respondent wants to know.
        gold: GOLD of these tasks; empty for tasks whose items carry the answer key.
        groups: GROUPS.

    Raises:
        ConfigError: The study has no such dimension or subgroup.
    """
    members = _members(wanted, groups)
    rows = prompts.with_row_index("row")
    about = pl.col("condition") == GROUP_CONDITION
    parts = [_of_persons(rows.filter(~about), wanted, members, gold)]
    if (described := rows.filter(about)).height:
        parts.append(_of_groups(described, wanted, gold, groups))
    return prompts.with_columns(pl.concat(parts).sort("row").get_column(COLUMN))


def _of_persons(prompts: pl.DataFrame, wanted: WantedTruth, members: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """What is known about prompts that show a person or nobody: row, known."""
    mind = pl.col("respondent_id") if wanted.key else pl.col("shown_respondent_id")
    item = ["task", "item_id"]
    frame = prompts.select(
        "row", *item, mind.alias("mind"), "respondent_id", "gold_idx", pl.col("option_order").alias("order")
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
    frame = frame.select("row", made.alias(COLUMN))
    if "asked_together" in prompts.columns and prompts["asked_together"].null_count() < prompts.height:
        frame = _of_requests(frame, prompts)
    return frame


def _of_requests(frame: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """What is known about all questions of a request, for each prompt that shares it: row, known (a list in JSON)."""
    request = [
        "task", "content_hash", "respondent_id", "condition", "style", "framing", "paraphrase_id", "order_id",
    ]  # fmt: skip
    rows = frame.join(prompts.select("row", *request, "repeat_id", "line", "asked_together"), on="row")
    shared = rows.drop_nulls("asked_together").sort("line").unique([*request, "repeat_id", "line"], maintain_order=True)
    known = shared.group_by(*request, "repeat_id").agg(pl.format("[{}]", pl.col(COLUMN).str.join(",")).alias("all"))
    one = pl.col("asked_together").is_null()
    return (
        rows.join(known, on=[*request, "repeat_id"], how="left", maintain_order="left")
        .select("row", pl.when(one).then(COLUMN).otherwise("all").alias(COLUMN))
    )  # fmt: skip


def _of_groups(prompts: pl.DataFrame, wanted: WantedTruth, gold: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """What is known about prompts that describe a group: row, known."""
    item = ["task", "item_id"]
    named = prompts.select(
        "row", *item, "survey", "respondent_id", pl.col("option_order").alias("order"),
        **named_groups(pl.col("respondent_id")),
    )  # fmt: skip
    cells = named.select(*item, "survey", "dimensions", "subgroup", pl.col("order").list.len().alias("k")).unique()
    answers = gold.select(*item, "survey", "respondent_id", "gold_idx", pl.col("weight").fill_null(1.0)).join(
        groups.drop("survey"), on="respondent_id", how="left"
    )
    counted = [
        answers.with_columns(
            pl.lit(dimension).alias("dimensions"),
            (pl.lit(ALL) if dimension == ALL else pl.concat_str(dimension.split(CROSS), separator=CROSS)).alias(
                "subgroup"
            ),
        )
        .drop_nulls("subgroup")
        .group_by(*item, "survey", "dimensions", "subgroup", pl.col("gold_idx").alias("option"))
        .agg(pl.col("weight").sum())
        for dimension in cells["dimensions"].unique().sort()
    ]
    by = [*item, "survey", "dimensions", "subgroup"]
    # Rounded, because sums of weights in another order differ in the last digits, and requests would be new.
    share = (pl.col("weight") / pl.col("weight").sum()).round(9)
    shares = (
        cells.with_columns(pl.int_ranges(pl.col("k")).alias("option"))
        .explode("option")
        .join(pl.concat(counted), on=[*by, "option"], how="left")
        .with_columns(pl.col("weight").fill_null(0.0))
        .sort(*by, "option")
        .group_by(by, maintain_order=True)
        .agg(share.alias("shares"), pl.col("weight").sum().alias("people"))
        .with_columns(pl.when(pl.col("people") > 0).then("shares").otherwise([]).alias("shares"))
    )
    told = cells.select("dimensions", "subgroup").unique()
    told = told.with_columns(
        pl.Series(
            name,
            [_described(name, *pair) for pair in told.select("dimensions", "subgroup").iter_rows()],
            dtype=pl.String,
        )
        for name in wanted.subgroups
    )
    everyone = _most_frequent(answers.rename({"gold_idx": "answer"}).select(*item, "answer"), item)
    frame = (
        named.join(shares.drop("people"), on=by, how="left")
        .join(told, on=["dimensions", "subgroup"], how="left")
        .join(everyone.rename({"answer": "frequent"}), on=item, how="left")
    )
    known = pl.struct(
        pl.col("respondent_id").alias("mind"),
        pl.col("item_id").alias("item"),
        pl.lit(None, pl.Int64).alias("answer"),
        "frequent",
        pl.col("shares").list.arg_max().cast(pl.Int64).alias("group_frequent"),
        "order",
        pl.struct(pl.col(name) for name in wanted.subgroups).alias("subgroups")
        if wanted.subgroups
        else pl.lit(None).alias("subgroups"),
        "shares",
    )
    return frame.select("row", known.struct.json_encode().alias(COLUMN))


def _described(wanted: str, dimension: str, subgroup: str) -> str | None:
    """The subgroup of a wanted dimension that a group's description tells; None if it tells none."""
    told = dict(zip(dimension.split(CROSS), subgroup.split(CROSS), strict=False))
    values = [told.get(base) for base in wanted.split(CROSS)]
    return None if None in values else CROSS.join(str(value) for value in values)


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
