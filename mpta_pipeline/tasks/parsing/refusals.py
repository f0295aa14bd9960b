"""Recognize replies that decline to answer, speak as a machine, or speak down to the person."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.tasks.parsing.normalization import cleaned_answers
from mpta_pipeline.tasks.parsing.phrases import any_phrase


def unable(text: pl.Expr) -> pl.Expr:
    """Whether the reply says that it cannot or will not answer. "I can't agree" is an opinion and does not count."""
    return text.str.replace_all(any_phrase("opposes"), " ").str.contains(any_phrase("unable"))


def markers(replies: pl.DataFrame) -> pl.DataFrame:
    """Mark disclaimers, refusals and condescension in replies. The marks are independent of the pick.

    Args:
        replies: Any frame with a column text.

    Returns:
        The frame with disclaims (speaks of itself as a machine), unable (cannot or will not answer) and condescending
        (speaks down to the person); all false without text.
    """
    # Most replies are one of few letters, so each text is read once.
    texts = replies.select("text").unique()
    text = pl.lit(cleaned_answers(texts))
    marks = texts.with_columns(
        text.str.contains(any_phrase("disclaims")).alias("disclaims"),
        unable(text).alias("unable"),
        text.str.contains(any_phrase("condescending")).alias("condescending"),
    )
    return replies.join(marks, on="text", how="left", nulls_equal=True, maintain_order="left")
