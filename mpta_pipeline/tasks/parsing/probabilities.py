"""Read probabilities of options: distributions that replies state, and log-probabilities that providers return."""

from __future__ import annotations

import math

import polars as pl

from mpta_pipeline.tasks.parsing.letters import PLACES
from mpta_pipeline.tasks.parsing.normalization import cleaned_answers

# Probabilities closer than this are tied: the difference is below the rounding of the numbers that providers return.
_TIE = 1e-9
_SHARE = r"(?:^|[\s{,(\"'])([A-Z])[\"')]*\s*[:=–-]+\s*[\"']?(\d{1,3}(?:\.\d+)?)"
# A stated distribution may differ from its sum by rounding only.
_SUM_SLACK = 0.05


def read_verbalized(replies: pl.DataFrame) -> pl.DataFrame:
    """Read distributions that replies state, in percent or as shares of 1: `{"A": 20, "B": 80}`, `A: 20 %`.

    Every option must be named exactly once, and the numbers must sum to 100 (or 1) within 5 %.

    Args:
        replies: Columns text (String) and options (List(String), as shown).

    Returns:
        text, options, p_stated (probabilities in shown order, summing to 1; null if no distribution is stated).
    """
    frame = replies.select("text", "options").unique().with_row_index("id")
    found = pl.lit(cleaned_answers(frame)).str.extract_all(_SHARE)
    long = (
        frame.select("id", pl.col("options").list.len().alias("k"), found.alias("found"))
        .explode("found")
        .drop_nulls("found")
        .with_columns(
            pl.col("found").str.extract(_SHARE, 1).replace_strict(PLACES, return_dtype=pl.Int64).alias("place"),
            pl.col("found").str.extract(_SHARE, 2).cast(pl.Float64).alias("share"),
        )
    )
    sums = (
        long.sort("id", "place")
        .group_by("id", maintain_order=True)
        .agg(pl.col("k").first(), pl.col("place"), pl.col("share"), pl.col("share").sum().alias("sum"))
    )
    whole = (pl.col("place") == pl.int_ranges(pl.col("k")).cast(pl.List(pl.Int64))) & pl.any_horizontal(
        (pl.col("sum") / total - 1).abs() <= _SUM_SLACK for total in (1, 100)
    )
    stated = sums.filter(whole).select("id", (pl.col("share") / pl.col("sum")).alias("p_stated"))
    return frame.join(stated, on="id", how="left").drop("id")


def read_logprobs(prompts: pl.DataFrame) -> pl.DataFrame:
    """Compute the options' probabilities and the most probable option from log-probabilities.

    The log-probabilities of the shown options are normalized by softmax and put into canonical order; a missing one
    counts as impossible. If the first place is tied, no option is picked.

    Args:
        prompts: Columns option_logprobs (shown order), option_order and optionally p_stated, which takes precedence.

    Returns:
        The frame with p_vec (canonical order, sums to 1) and top_pos (shown position). Both are null without
        log-probabilities; top_pos is also null on a tie.
    """
    lp = pl.col("option_logprobs").list.eval(
        pl.when(pl.element().is_nan() | (pl.element() > 0)).then(None).otherwise(pl.element()).fill_null(-math.inf)
    )
    usable = (lp.list.len() == pl.col("option_order").list.len()) & (lp.list.max() > -math.inf)
    p = lp.list.eval((pl.element() - pl.element().max()).exp() / (pl.element() - pl.element().max()).exp().sum())
    p = pl.when(usable).then(p)
    if "p_stated" in prompts.columns:
        p = pl.coalesce("p_stated", p)
    frame = prompts.with_columns(p.alias("p_shown"))
    tops = pl.col("p_shown").list.eval(pl.element() >= pl.element().max() - _TIE)
    return frame.with_columns(
        pl.when(tops.list.sum() == 1).then(tops.list.arg_max().cast(pl.Int64)).alias("top_pos"),
        pl.col("p_shown").list.gather(pl.col("option_order").list.eval(pl.element().arg_sort())).alias("p_vec"),
    ).drop("p_shown")
