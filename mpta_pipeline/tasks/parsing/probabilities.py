"""Read probabilities of options: distributions that replies state, and log-probabilities that providers return."""

from __future__ import annotations

import math

import polars as pl

from mpta_pipeline.tasks.parsing.letters import PLACES
from mpta_pipeline.tasks.parsing.normalization import cleaned_answers

# Probabilities closer than this are tied: the difference is below the rounding of the numbers that providers return.
_TIE = 1e-9
# 33, 33.3, 33,3, 3e-1. What follows tells numbers that are no share: ranges (15–25), fractions (1/3).
_NUMBER = r"\s*[\"']?(\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?)(\s*(?:[–—-]|\bto\b)\s*\d|\s*/\s*\d+|[.,]\d|\s*%)?"
_SIGN = r"\s*(?:[:=]+|[–-]+)"
_OBJECT = r"\{[^{}]*\}"
# In an object: "A", "too little" or "A) too little".
_KEYED = rf"(?:\"([^\"\n]+)\"|'([^'\n]+)')\s*:{_NUMBER}"
# In a text: A: 20, "A": 20, (A) = 20. A quotation mark around more than the letter belongs to the name of something.
_LETTERED = rf"(?:[\"']([A-Z])[\"']|(?:^|[\s{{,(])([A-Z])\)?){_SIGN}{_NUMBER}"
# In a line: A) too little: 20.
_LINE = rf"(?m)^[\s•-]*\(?([A-Z][).:]\s*\S.*?)\s*{_SIGN}{_NUMBER}[\s,;.]*$"
_NAMED = r"(?s)^\s*([A-Za-z])[).:]\s*(.*)$"
# In a text, an option that ends in a letter ("Plan B") looks like the letter of an option.
_ENDS_IN_LETTER = r"(?:^|\s)[A-Z]\W*$"
# A stated distribution may differ from its sum by rounding only.
_SUM_SLACK = 0.05


def read_verbalized(replies: pl.DataFrame) -> pl.DataFrame:
    """Read distributions that replies state, in percent or as shares of 1: `{"A": 20, "B": 80}`, `A: 20 %`.

    Every option must be named exactly once, by its letter or its text, and the numbers must sum to 100 (or 1) within
    5 %. Ranges, fractions, counts of more than 100 people and several different distributions are not read. If the
    reply has JSON objects, one of them must be such a distribution, unless none is; then the text is read.

    Args:
        replies: Columns text (String) and options (List(String), as shown).

    Returns:
        text, options, p_stated (probabilities in shown order, summing to 1; null if no distribution is stated),
        attempted (no distribution was read, but the text has numbers for several letters: it picks no option).
    """
    frame = replies.select("text", "options").unique().with_row_index("id")
    frame = frame.with_columns(pl.Series("cleaned", cleaned_answers(frame), dtype=pl.String))
    objects = frame.select("id", pl.col("cleaned").str.extract_all(_OBJECT).alias("part")).explode("part")
    objects = objects.drop_nulls("part").with_row_index("where")
    in_objects = _distributions(objects, _KEYED, frame)
    # A draft and its repetition are one distribution; two different ones are none.
    in_objects = in_objects.group_by("id").agg(pl.col("p_stated").unique().alias("all"))
    ambiguous = in_objects.filter(pl.col("all").list.len() > 1).get_column("id")
    alike = frame.select("id", pl.col("cleaned"), pl.col("options").alias("option")).explode("option")
    alike = alike.filter(pl.col("option").str.contains(_ENDS_IN_LETTER))
    alike = alike.filter(pl.col("cleaned").str.contains(pl.col("option"), literal=True))
    texts = frame.filter(~pl.col("id").is_in(alike.get_column("id").implode()))
    texts = texts.select("id", pl.col("id").alias("where"), pl.col("cleaned").alias("part")).drop_nulls("part")
    found = [
        in_objects.select("id", pl.col("all").list.first().alias("p_stated")),
        *(_distributions(texts, pattern, frame) for pattern in (_LETTERED, _LINE)),
    ]
    stated = pl.concat(found).unique("id", keep="first", maintain_order=True)
    stated = stated.filter(~pl.col("id").is_in(ambiguous.implode()))
    attempted = (pl.col("cleaned").str.count_matches(_LETTERED) > 1).fill_null(False) & pl.col("p_stated").is_null()
    frame = frame.join(stated, on="id", how="left").with_columns(attempted.alias("attempted"))
    return frame.drop("id", "cleaned")


def _distributions(parts: pl.DataFrame, pattern: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The parts of replies that state a whole distribution: id, p_stated.

    Args:
        parts: id of the reply, where (number of the part), part (its text).
        pattern: Finds one name and one number; its last group is what follows the number.
        frame: id and options of the replies.
    """
    names = 1 if pattern is _LINE else 2
    found = parts.with_columns(pl.col("part").str.extract_all(pattern).alias("found")).explode("found")
    found = found.drop_nulls("found").select(
        "id",
        "where",
        pl.coalesce(pl.col("found").str.extract(pattern, i + 1) for i in range(names)).str.strip_chars().alias("name"),
        pl.col("found").str.extract(pattern, names + 1).alias("number"),
        pl.col("found").str.extract(pattern, names + 2).fill_null("").str.strip_chars().alias("tail"),
    )
    thousands = pl.col("number").str.contains(r",\d{3}$")
    usable = pl.col("tail").is_in(["", "%"]) | pl.col("tail").str.contains(r"^/\s*100$")
    number = pl.col("number").str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    options = frame.select("id", pl.col("options").list.len().alias("k"), pl.col("options").alias("text"))
    options = options.explode("text").with_columns(
        _plain(pl.col("text")), pl.int_range(pl.len()).over("id").alias("by text")
    )
    sizes = options.select("id", "k").unique()
    alone = options.filter(~pl.struct("id", "text").is_duplicated()).drop("k")
    named = (
        found.join(sizes, on="id")
        .with_columns(
            pl.when(usable & ~thousands).then(number).alias("share"),
            (pl.col("tail") == "%").alias("percent"),
            pl.when(pl.col("name").str.len_chars() == 1)
            .then("name")
            .otherwise(pl.col("name").str.extract(_NAMED, 1))
            .str.to_uppercase()
            .replace_strict(PLACES, default=None, return_dtype=pl.Int64)
            .alias("by letter"),
            _plain(pl.col("name")).alias("whole"),
            _plain(pl.col("name").str.extract(_NAMED, 2)).alias("rest"),
        )
        .join(alone.rename({"text": "whole"}), on=["id", "whole"], how="left")
        .join(alone.rename({"text": "rest", "by text": "by rest"}), on=["id", "rest"], how="left")
    )
    letter_alone = pl.col("name").str.len_chars() == 1
    place = (
        pl.when(letter_alone)
        .then("by letter")
        .when(pl.col("by text").is_not_null())
        .then("by text")
        .when(pl.col("by letter") == pl.col("by rest"))
        .then("by letter")
    )
    sums = (
        named.with_columns(place.alias("place"))
        .drop_nulls("place")
        .sort("id", "where", "place")
        .group_by("id", "where", maintain_order=True)
        .agg(
            pl.col("k").first(),
            "place",
            "share",
            pl.col("share").sum().alias("sum"),
            pl.col("share").null_count().alias("unread"),
            pl.col("percent").any(),
        )
    )
    near_1, near_100 = ((pl.col("sum") / total - 1).abs() <= _SUM_SLACK for total in (1, 100))
    whole = pl.col("place") == pl.int_ranges(pl.col("k")).cast(pl.List(pl.Int64))
    sums = sums.filter(whole & (pl.col("unread") == 0) & (near_100 | (near_1 & ~pl.col("percent"))))
    return sums.select("id", (pl.col("share") / pl.col("sum")).alias("p_stated"))


def _plain(text: pl.Expr) -> pl.Expr:
    """Texts of options as they are compared: without case, outer punctuation and repeated spaces."""
    return text.str.to_lowercase().str.replace_all(r"\s+", " ").str.replace_all(r"^\W+|\W+$", "")


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
