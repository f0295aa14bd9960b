"""Scores of answers that were made elsewhere: item ids and answers become SCORES, from which all figures come."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.errors import ValidationError
from mpta_pipeline.hashing import hash_rows
from mpta_pipeline.tables import SCORES, STATUSES, TEXT_SCORES

NOBODY = "nobody:"
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
}


def score_answers(answers: pl.DataFrame, items: pl.DataFrame, gold: pl.DataFrame | None = None) -> pl.DataFrame:
    """Score answers made elsewhere.

    Args:
        answers: `item_id` and `answer`: the option's text, its letter ("B", "(b)", "B.") or its index from 0, in the
            canonical order of the item. Optional: `persona_id`, `model`, `condition`, `survey`, `wave`, `weight`,
            `order_id`, `repeat_id`, `status` (ok, refused, unparsed, error) where it is known, and `probabilities` (of
            the item's options, in canonical order; they count where there is no answer beside them, and are what MC2
            needs). Case, surrounding space and a final full stop do not matter; an answer that is no option is
            `unparsed`, never an option, and an absent one an `error`.
        items: ITEMS of the task.
        gold: GOLD, for items whose key is the persona's own; None where every item has a key.

    Returns:
        SCORES. Answers without `persona_id` are nobody's: condition no_persona, and errors by item cluster alone.

    Raises:
        ValidationError: A column is absent, an item is not known or has no key, or an answer is given twice.
    """
    if "probabilities" in answers.columns and "answer" not in answers.columns:
        answers = answers.with_columns(pl.lit(None, pl.String).alias("answer"))
    for column in ("item_id", "answer"):
        if column not in answers.columns:
            raise ValidationError(
                "The answers lack a column", variable=column, remedy="give item_id and answer, one row an answer"
            )
    if (unknown := answers.join(items, on="item_id", how="anti")).height:
        raise ValidationError(
            f"{unknown.height} answers are to items that the task does not have",
            variable="item_id",
            value=str(unknown.item(0, "item_id")),
            remedy="use the item ids of the task's items table",
        )
    nobody = "persona_id" not in answers.columns
    rows = answers.with_columns(
        *(value.alias(name) for name, value in _DEFAULTS.items() if name not in answers.columns),
        *([(pl.lit(NOBODY) + pl.col("item_id")).alias("persona_id")] if nobody else []),
    )
    if nobody and "condition" not in answers.columns:
        rows = rows.with_columns(pl.lit("no_persona").alias("condition"))
    facts = items.select(
        "task", "item_id", "kind", "cluster_id", "category", "options", "ordinal", "gold_idx", "metadata"
    )
    # What the items say of themselves counts, whatever the file says of them.
    rows = rows.drop(facts.columns[2:], "task", strict=False)
    rows = rows.join(facts, on="item_id", how="left", maintain_order="left")
    key = ["model", "task", "condition", "survey", "persona_id", "item_id", "order_id", "repeat_id"]
    if (twice := rows.filter(pl.struct(key).is_duplicated())).height:
        raise ValidationError(
            f"{twice.height} answers are not told apart from each other",
            variable="item_id",
            value=str(twice.item(0, "item_id")),
            remedy="give repeated answers their repeat_id, option orders their order_id, people their persona_id",
        )
    rows = _with_probabilities(rows)
    if gold is not None and gold.height:
        own = gold.select("item_id", "persona_id", pl.col("gold_idx").alias("own"))
        rows = rows.join(own, on=["item_id", "persona_id"], how="left", maintain_order="left").with_columns(
            pl.coalesce("own", "gold_idx").alias("gold_idx")
        )
    if rows.get_column("gold_idx").null_count():
        raise ValidationError(
            "An answer has no key to be scored against",
            variable="gold_idx",
            value=str(rows.filter(pl.col("gold_idx").is_null()).item(0, "item_id")),
            remedy="the item's key is the persona's own answer: give persona_id, and personas who answered the "
            "question",
        )
    given = pl.col("answer").cast(pl.String)
    picked = pl.coalesce(_option_index(rows), pl.when(given.is_null()).then(pl.col("p_vec").list.arg_max()))
    picked = picked.cast(pl.Int64)
    said = pl.col("status") if "status" in answers.columns else pl.lit(None, pl.String)
    status = pl.coalesce(
        pl.when(said.is_in([s for s in STATUSES if s != "ok"])).then(said),
        pl.when(given.is_null() & pl.col("p_vec").is_null()).then(pl.lit("error")),
        pl.when(picked.is_null()).then(pl.lit("unparsed")).otherwise(pl.lit("ok")),
    )
    rows = rows.with_columns(status.alias("status"), picked.alias("pred_idx")).with_columns(
        pl.when(pl.col("status") == "ok").then("pred_idx").alias("pred_idx"),
        pl.col("options").list.len().cast(pl.Int64).alias("k_options"),
    )
    bias = pl.col("metadata").str.json_path_match("$.option_bias").str.json_decode(pl.List(pl.Float64))
    credit = pl.col("metadata").str.json_path_match("$.credit").str.json_decode(pl.List(pl.Float64))
    mass = (pl.col("p_vec") * credit).list.sum()
    right = (pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64)
    rows = rows.with_columns(
        hash_rows(rows, key, key="external").alias("prompt_id"),
        hash_rows(rows, [*key, given.alias("answer")], key="external answer").alias("request_hash"),
        pl.when(pl.col("pred_idx").is_null())
        .then(None)
        .when(credit.is_null())
        .then(right)
        .otherwise(mass)
        .alias("score"),
        pl.col("gold_idx").alias("gold_pos"),
        pl.col("pred_idx").alias("pred_pos"),
        bias.list.get(pl.col("pred_idx"), null_on_oob=True).alias("bias"),
        pl.lit(None, TEXT_SCORES).alias("text_scores"),
        pl.lit(None, pl.Boolean).alias("condescending"),
    )
    return SCORES.conform(rows.select(list(SCORES.schema)))


def _with_probabilities(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `p_vec`, summing to 1; null where no probabilities were given.

    Raises:
        ValidationError: They are not one for each option, or no probabilities.
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
        raise ValidationError(
            f"{bad.height} lists of probabilities do not give every option a share",
            variable="probabilities",
            value=str(bad.item(0, "item_id")),
            remedy="give one number from 0 on for each option, in the item's canonical order",
        )
    return rows.with_columns((p / p.list.sum()).alias("p_vec"))


def _tidy(text: pl.Expr) -> pl.Expr:
    """Lower case, single spaces, no surrounding space and no final full stop."""
    return (
        text.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars().str.strip_suffix(".").str.strip_chars()
    )


def _option_index(rows: pl.DataFrame) -> pl.Expr:
    """Canonical index of the option that each answer names: by text first, then by letter, then by index."""
    answer = _tidy(pl.col("answer").cast(pl.String))
    by_text = (
        rows.with_row_index("row")
        .select("row", answer.alias("answer"), pl.col("options"))
        .with_columns(pl.int_ranges(pl.col("options").list.len()).alias("index"))
        .explode("options", "index")
        .filter(_tidy(pl.col("options")) == pl.col("answer"))
        .group_by("row")
        .agg(pl.col("index").first().cast(pl.Int64), pl.len().alias("n"))
        .filter(pl.col("n") == 1)
    )
    text_index = (
        rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
        .join(by_text.with_columns(pl.col("row").cast(pl.UInt32)), on="row", how="left", maintain_order="left")
        .get_column("index")
    )
    bare = answer.str.extract(r"^\(?([a-z]|\d{1,2})\)?[.:)]?$", 1)
    letter = pl.when(bare.str.contains("^[a-z]$")).then(bare.str.to_integer(base=36, strict=False).cast(pl.Int64) - 10)
    number = bare.str.to_integer(strict=False).cast(pl.Int64)
    index = pl.coalesce(pl.lit(text_index), letter, number)
    return pl.when((index >= 0) & (index < pl.col("options").list.len())).then(index)
