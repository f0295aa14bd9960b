"""Ask all statements of a battery in one request, and find the answer to each in the reply.

Each statement stays an item with prompts of its own. Those of one battery have the same text and are therefore sent
once; the column `line` says which line of the reply is theirs.
"""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.hashing import hash_rows
from mpta_pipeline.core.reasoning_text import read_thought
from mpta_pipeline.core.vocabulary import LETTERS

ELICITATION = "free_text"
"""A reply with several lines is longer than a letter."""
ASK = "Answer every statement. Write one line per statement: its number, a colon and the letter of one option."
_BATTERY = ["cluster_id", "codebook"]


def asked_at_once(shown: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Replace the user messages of statements whose battery is asked in one request.

    Args:
        shown: Each item in each order: item_id, order_id, options, user, user_hash.
        items: ITEMS, perhaps with `line`.

    Returns:
        The same rows; with `line`, if any item has one.
    """
    if "line" not in items.columns or items["line"].null_count() == items.height:
        return shown
    told = items.select("item_id", *_BATTERY, "context", "stem", "statement", "line")
    rows = shown.join(told, on="item_id", maintain_order="left")
    asked = rows.filter(pl.col("line").is_not_null())
    statements = (
        asked.sort("line")
        .group_by(*_BATTERY, "order_id", maintain_order=True)
        .agg(pl.format("{}. {}", "line", "statement").str.join("\n").alias("statements"))
    )
    marked = pl.col("options").list.eval(
        pl.format(
            "{}) {}",
            pl.int_range(pl.len()).replace_strict(dict(enumerate(LETTERS)), return_dtype=pl.String),
            pl.element(),
        )
    )
    rows = rows.join(statements, on=[*_BATTERY, "order_id"], how="left", nulls_equal=True, maintain_order="left")
    user = pl.concat_str(
        ["context", "stem", "statements", pl.lit("Options:"), marked.list.join("\n"), pl.lit(ASK)],
        separator="\n",
        ignore_nulls=True,
    )
    rows = rows.with_columns(user.alias("at once"))
    rows = rows.with_columns(hash_rows(rows, ["at once"], key=ELICITATION).alias("hash at once"))
    one = pl.col("line").is_not_null()
    return rows.with_columns(
        pl.when(one).then("at once").otherwise("user").alias("user"),
        pl.when(one).then("hash at once").otherwise("user_hash").alias("user_hash"),
    ).select(*shown.columns, "line")


def of_batteries(hidden: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Hide the same columns for all statements of a battery that is asked in one request.

    Args:
        hidden: item_id, codebook, hidden and masked (`personas.masks`).
        items: ITEMS, perhaps with `line`.
    """
    if "line" not in items.columns or items["line"].null_count() == items.height:
        return hidden
    batteries = items.filter(pl.col("line").is_not_null()).select("item_id", "cluster_id")
    rows = hidden.join(batteries, on="item_id", how="left", maintain_order="left")
    whole = rows.filter(pl.col("cluster_id").is_not_null())
    shared = whole.group_by("cluster_id", "codebook").agg(
        pl.col(name).explode().drop_nulls().unique().sort().alias(f"all {name}") for name in ("hidden", "masked")
    )
    return (
        rows.join(shared, on=["cluster_id", "codebook"], how="left", maintain_order="left")
        .with_columns(pl.coalesce(f"all {name}", name).alias(name) for name in ("hidden", "masked"))
        .select(hidden.columns)
    )


def listed(elicitation: pl.Expr, text: pl.Expr) -> pl.Expr:
    """1 for replies that look like the list that a battery asks for, where the prompts are not at hand; else null."""
    numbered = text.str.contains(r"(?m)^[\s*(\[{\"']*1[\s*)\]\"']*[.:)=–-]")
    return pl.when((elicitation == ELICITATION) & numbered.fill_null(False)).then(pl.lit(1, pl.Int64))


def answer_lines(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace the texts of replies to batteries by the answer to each statement, and add `no_line`.

    Lines such as "2: B", "2. (b) neither" and JSON (`{"2": "B"}`) are read; of several lines with one number the last.
    Replies to several questions (`asked_together`) are left to `asked_together.lines_of_replies`.
    A reply without a line for the statement keeps its text, so that a refusal is recognized, and counts as no answer.

    Args:
        frame: Replies with text and `line` (null for other replies).
    """
    if "asked_together" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Int64).alias("asked_together"))
    alone = pl.col("asked_together").is_null()
    numbers = frame.filter(alone)["line"].drop_nulls().unique().sort().to_list()
    if not numbers:
        return frame.with_columns(pl.lit(False).alias("no_line"))
    said = read_thought(pl.col("text").fill_null("")).struct.field("said")
    found = pl.lit(None, pl.String)
    for n in numbers:
        quoted = rf'"{n}"\s*:\s*"([^"]*)"'
        line = rf"(?mi)^[\s*(\[]*(?:statement |question |no\.? ?)?{n}[\s*)\]]*[.:)=–-][\s*:]*(\S.*?)[\s*]*$"
        last = pl.coalesce(
            said.str.extract_all(quoted).list.last().str.extract(quoted),
            said.str.extract_all(line).list.last().str.extract(line),
        )
        found = pl.when(alone & (pl.col("line") == n)).then(last).otherwise(found)
    frame = frame.with_columns(found.alias("found"))
    return frame.with_columns(
        pl.coalesce("found", "text").alias("text"),
        (alone & pl.col("line").is_not_null() & pl.col("found").is_null()).alias("no_line"),
    ).drop("found")
