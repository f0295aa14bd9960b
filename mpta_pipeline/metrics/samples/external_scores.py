"""Score answers that were collected outside the pipeline: item ids and answers become SCORES."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.hashing import hash_rows, hash_uniform
from mpta_pipeline.core.tables import SCORES, STATUSES, TEXT_SCORES
from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.metrics.samples.option_names import read_names
from mpta_pipeline.metrics.samples.picked_options import TIE

NOBODY = "nobody:"
# File and row of each answer, as the package `external` gives them for messages.
FILE, ROW = "_file", "_row"
_DEFAULTS = {
    "model": pl.lit("external"),
    "condition": pl.lit("persona"),
    "survey": pl.lit("none"),
    "wave": pl.lit("none"),
    "style": pl.lit("none"),
    "framing": pl.lit("none"),
    "paraphrase_id": pl.lit(0),
    "repeat_id": pl.lit(0),
    "elicitation": pl.lit("free_text"),
    "order_id": pl.lit(0),
    "weight": pl.lit(None, pl.Float64),
    "letter_share": pl.lit(None, pl.Float64),
    "unparsed_reason": pl.lit(None, pl.String),
}


def score_answers(answers: pl.DataFrame, items: pl.DataFrame, gold: pl.DataFrame | None = None) -> pl.DataFrame:
    """Score answers that were collected outside the pipeline.

    Args:
        answers: `item_id` and `answer`: the option's text, its letter ("B", "(b)", "B.") or its index from 0, in the
            canonical order of the item. Optional: `respondent_id`, `model`, `condition`, `survey`, `wave`, `weight`,
            `order_id`, `repeat_id`, `status` (ok, refused, unparsed, error), and `probabilities` (of the item's
            options, in canonical order; they are used if `answer` is empty, and MC2 needs them). Case, surrounding
            space and a final full stop do not matter. An answer that matches no option is `unparsed`, and a missing
            answer is an `error`. A column `pred_idx` (canonical index or null) gives the option picked, if the caller
            has read the answers already.
        items: ITEMS of the task.
        gold: GOLD, for items whose key is the persona's own answer; None if every item has a key.

    Returns:
        SCORES. Answers without `respondent_id` have the condition no_persona, and errors by item cluster alone. If
        other answers of the model have a `respondent_id`, rows without one serve as everyone's no-persona baseline on
        the item. Options with equal probability share `score` equally; a hash of the answer selects the one that counts
        as picked. In a survey with weights, a person without a weight has weight 0, which excludes them from weighted
        estimates.

    Raises:
        ValidationError: A column is missing, an item is unknown or has no key, an answer occurs twice, a field holds an
            invalid value, all weights of a survey are 0, or options are counted from 1. The message names the file and
            row if they are known.
    """
    if "probabilities" in answers.columns and "answer" not in answers.columns:
        answers = answers.with_columns(pl.lit(None, pl.String).alias("answer"))
    for column in ("item_id", "answer"):
        if column not in answers.columns:
            raise ValidationError(
                "The answers lack a column", variable=column, remedy="give item_id and answer, one row per answer"
            )
    if (unknown := answers.join(items, on="item_id", how="anti", maintain_order="left")).height:
        raise _wrong(
            unknown,
            f"{unknown.height} answers are to items that the task does not have",
            "item_id",
            "use the item ids in the task's items table",
        )
    rows = _with_personas(_with_fields(answers))
    rows = rows.with_columns(value.alias(name) for name, value in _DEFAULTS.items() if name not in rows.columns)
    facts = items.select(
        "task", "item_id", "kind", "cluster_id", "category", "options", "ordinal", "scoring", "answer_set", "gold_idx",
        "option_bias", "option_credit",
    )  # fmt: skip
    # Columns of the items take precedence over columns of the same name in the file.
    rows = _with_weights(rows).drop(facts.columns[2:], "task", strict=False)
    rows = rows.join(facts, on="item_id", how="left", maintain_order="left")
    key = ["model", "task", "condition", "survey", "respondent_id", "item_id", "order_id", "repeat_id"]
    if (twice := rows.filter(pl.struct(key).is_duplicated())).height:
        raise _wrong(
            # Report the second of two equal rows.
            twice.filter(~pl.struct(key).is_first_distinct()),
            f"{twice.height} answers have the same key as another answer",
            "item_id",
            "give each repeat its repeat_id, each option order its order_id and each person their respondent_id",
        )
    rows = _with_probabilities(rows)
    if gold is not None and gold.height:
        own = gold.select("item_id", "respondent_id", pl.col("gold_idx").alias("own"))
        rows = rows.join(own, on=["item_id", "respondent_id"], how="left", maintain_order="left").with_columns(
            pl.coalesce("own", "gold_idx").alias("gold_idx")
        )
    if rows.get_column("gold_idx").null_count():
        raise _wrong(
            rows.filter(pl.col("gold_idx").is_null()),
            "An answer has no answer key",
            "item_id",
            "the item's key is the persona's own answer: give the respondent_id of a persona who answered the question",
        )
    given = pl.col("answer").cast(pl.String)
    rows = rows.with_columns(
        hash_rows(rows, key, key="external").alias("prompt_id"),
        hash_rows(rows, [*key, given.alias("answer")], key="external answer").alias("request_hash"),
    )
    picked = pl.col("pred_idx") if "pred_idx" in rows.columns else pl.lit(_option_index(rows))
    by_share = given.is_null() & pl.col("p_vec").is_not_null()
    rows = rows.with_columns(picked.cast(pl.Int64).alias("pred_idx"), _most_likely(rows).alias("likely"))
    rows = rows.with_columns(
        pl.when(by_share & pl.col("pred_idx").is_null())
        .then(pl.col("likely").list.get(0, null_on_oob=True))
        .otherwise("pred_idx")
        .alias("pred_idx"),
        pl.when(by_share).then("likely").alias("likely"),
    )
    said = pl.col("status") if "status" in answers.columns else pl.lit(None, pl.String)
    status = pl.coalesce(
        pl.when(said.is_in([s for s in STATUSES if s != "ok"])).then(said),
        pl.when(given.is_null() & pl.col("p_vec").is_null() & pl.col("pred_idx").is_null()).then(pl.lit("error")),
        pl.when(pl.col("pred_idx").is_null()).then(pl.lit("unparsed")).otherwise(pl.lit("ok")),
    )
    rows = rows.with_columns(status.alias("status")).with_columns(
        pl.when(pl.col("status") == "ok").then("pred_idx").alias("pred_idx"),
        pl.col("options").list.len().cast(pl.Int64).alias("k_options"),
    )
    bias = pl.col("option_bias").cast(pl.List(pl.Float64))
    mass = (pl.col("p_vec") * pl.col("option_credit")).list.sum()
    # Options with equal probability share the score.
    right = pl.coalesce(
        pl.col("likely").list.contains(pl.col("gold_idx")).cast(pl.Float64) / pl.col("likely").list.len(),
        (pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64),
    )
    rows = rows.with_columns(
        pl.when(pl.col("pred_idx").is_null())
        .then(None)
        .when(pl.col("scoring") == "probability_mass")
        .then(mass)
        .otherwise(right)
        .alias("score"),
        pl.col("gold_idx").alias("gold_pos"),
        pl.col("pred_idx").alias("pred_pos"),
        bias.list.get(pl.col("pred_idx"), null_on_oob=True).alias("bias"),
        pl.lit(None, TEXT_SCORES).alias("text_scores"),
        pl.lit(None, pl.Boolean).alias("condescending"),
    )
    # Nobody says in which direction the options of answers from elsewhere were shown.
    return SCORES.conform(rows.select(column.name for column in SCORES.columns if not column.optional))


def _with_probabilities(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `p_vec`, which sums to 1; null if no probabilities were given.

    Raises:
        ValidationError: The number of values differs from the number of options, or a value is not a probability.
    """
    if "probabilities" not in rows.columns:
        return rows.with_columns(pl.lit(None, pl.List(pl.Float64)).alias("p_vec"))
    p = pl.col("probabilities").cast(pl.List(pl.Float64))
    wrong = (
        (p.list.len() != pl.col("options").list.len())
        | ~p.list.eval(pl.element().is_finite() & (pl.element() >= 0)).list.all()
        | (p.list.sum() <= 0)
    )
    if (bad := rows.filter(p.is_not_null() & wrong.fill_null(True))).height:
        raise _wrong(
            bad,
            f"{bad.height} lists of probabilities are invalid",
            "probabilities",
            "give one number of 0 or more per option, in the item's canonical order",
        )
    return rows.with_columns((p / p.list.sum()).alias("p_vec"))


def _most_likely(rows: pl.DataFrame) -> pl.Series:
    """List the most likely options of each row, in an order set by a hash of the answer; null without probabilities."""
    long = (
        rows.select(pl.int_range(pl.len()).alias("row"), "prompt_id", "p_vec")
        .drop_nulls("p_vec")
        .with_columns(pl.int_ranges(pl.col("p_vec").list.len()).alias("option"))
        .explode("p_vec", "option")
        .filter(pl.col("p_vec") >= pl.col("p_vec").max().over("row") - TIE)
    )
    long = long.with_columns(hash_uniform(long, ["prompt_id", "option"], key="tie").alias("place"))
    tied = long.sort("row", "place").group_by("row", maintain_order=True).agg(pl.col("option").alias("likely"))
    every = rows.select(pl.int_range(pl.len()).alias("row"))
    return every.join(tied, on="row", how="left", maintain_order="left").get_column("likely")


def _wrong(rows: pl.DataFrame, problem: str, variable: str, remedy: str) -> ValidationError:
    """Make the error for the first of some invalid rows, with its file and row if they are known."""
    value = str(rows.item(0, variable))
    if ROW in rows.columns and rows.item(0, ROW) is not None:
        value = f"{value} (row {rows.item(0, ROW)})"
    file = rows.item(0, FILE) if FILE in rows.columns else None
    return ValidationError(problem, file=file, variable=variable, value=value, remedy=remedy)


def _with_fields(answers: pl.DataFrame) -> pl.DataFrame:
    """Cast the optional columns to their types. A value that cannot be read is an error, never dropped.

    Raises:
        ValidationError: A field holds an invalid value.
    """

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64, strict=False)

    text = pl.String()
    rules: dict[str, tuple[pl.Expr | None, pl.DataType, str]] = {
        "model": (pl.col("model").is_not_null(), text, "name the model in every row, or drop the column"),
        "respondent_id": (None, text, ""),
        "weight": (
            pl.col("weight").is_null() | (number("weight").is_finite() & (number("weight") >= 0)),
            pl.Float64(),
            "give numbers of 0 or more, or drop the column",
        ),
        **{
            name: (
                (number(name) >= 0) & (number(name) == number(name).floor()),
                pl.Int64(),
                "give whole numbers of 0 or more, or drop the column",
            )
            for name in ("order_id", "repeat_id")
        },
        "status": (
            pl.col("status").is_null() | pl.col("status").cast(pl.String).is_in(STATUSES),
            text,
            f"use one of {', '.join(STATUSES)}, or leave it empty",
        ),
    }
    given = {column: rule for column, rule in rules.items() if column in answers.columns}
    for column, (right, _, remedy) in given.items():
        if right is not None and (bad := answers.filter(~right.fill_null(False))).height:
            raise _wrong(bad, f"{bad.height} answers have a {column} that cannot be used", column, remedy)
    rows = answers.with_columns(
        (pl.col(c) if dtype == text else number(c)).cast(dtype).alias(c) for c, (_, dtype, _) in given.items()
    )
    return rows.with_columns(pl.col("respondent_id").replace("", None)) if "respondent_id" in given else rows


def _with_personas(answers: pl.DataFrame) -> pl.DataFrame:
    """Add `respondent_id` and `condition` if they are missing. Rows without a persona become everyone's baseline."""
    if "respondent_id" not in answers.columns:
        answers = answers.with_columns(pl.lit(None, pl.String).alias("respondent_id"))
    nobody = pl.col("respondent_id").is_null()
    condition = pl.when(nobody).then(pl.lit(REFERENCE_CONDITION)).otherwise(pl.lit("persona"))
    if "condition" in answers.columns:
        condition = pl.coalesce("condition", condition)
    rows = answers.with_columns(condition.alias("condition"))
    of_nobody = rows.filter(nobody)
    if of_nobody.is_empty() or of_nobody.height == rows.height:
        return rows.with_columns(
            pl.coalesce("respondent_id", pl.lit(NOBODY) + pl.col("item_id")).alias("respondent_id")
        )
    of_people = rows.filter(~nobody)
    # Keep the persona's columns, such as survey and weight; take the answer from the row without a persona.
    carried = [c for c in ("survey", "wave", "weight") if c in rows.columns]
    model = ["model"] if "model" in rows.columns else []
    asked = of_people.select("respondent_id", "item_id", *model, *carried).unique(
        ["respondent_id", "item_id", *model], keep="first", maintain_order=True
    )
    paired = of_nobody.drop("respondent_id", *carried).join(
        asked, on=["item_id", *model], how="left", maintain_order="left"
    )
    paired = paired.with_columns(pl.coalesce("respondent_id", pl.lit(NOBODY) + pl.col("item_id")))
    return pl.concat([of_people, paired.select(of_people.columns)], how="vertical_relaxed")


def _with_weights(rows: pl.DataFrame) -> pl.DataFrame:
    """Set missing weights to 0 in surveys where other rows have a weight.

    Raises:
        ValidationError: All weights of a survey are 0.
    """
    weight = pl.col("weight")
    nothing = (weight.is_not_null().any() & (weight.fill_null(0.0).sum() <= 0)).over("survey")
    if (bad := rows.filter(nothing)).height:
        raise _wrong(
            bad,
            f"No answer of survey {bad.item(0, 'survey')} has a weight above 0",
            "weight",
            "give survey weights, or drop the column",
        )
    return rows.with_columns(
        pl.when(weight.is_not_null().any().over("survey")).then(weight.fill_null(0.0)).alias("weight")
    )


def _option_index(rows: pl.DataFrame) -> pl.Series:
    """Find the canonical index of the option that each answer names: by text first, then by letter, then by index.

    Raises:
        ValidationError: The answers count options from 1.
    """
    names = read_names(rows, rows.select("item_id", "options").unique("item_id"))
    counted = names.with_row_index("at").drop_nulls("number")
    # Only if most answers are numbers. A single number among texts is an unreadable reply.
    if counted.height * 2 >= rows.height > 0 and bool(
        (counted["number"] > 0).all() and (counted["number"] <= counted["k"]).all()
    ):
        last = counted.filter(pl.col("number") == pl.col("k"))
        if last.height:
            raise _wrong(
                rows[last["at"].to_list()],
                "The answers number the options from 1; they count from 0",
                "answer",
                "subtract 1 from each, or give letters or the options' texts",
            )
    index = pl.coalesce("by_text", "letter", "number")
    return names.select(pl.when((index >= 0) & (index < pl.col("k"))).then(index).alias("index")).to_series()
