"""Parsing: what a reply picked.

The rules stand in a table, in the order in which they are tried; their words in `replies.yaml`. Doubt is `unparsed`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl
import yaml

OK, REFUSED, UNPARSED, ERROR = "ok", "refused", "unparsed", "error"

# Option probabilities closer than this count as a tie: they differ by less than the rounding of a provider's numbers.
_TIE = 1e-9


@cache
def _phrases() -> dict[str, list[str]]:
    text = Path(__file__).with_name("replies.yaml").read_text(encoding="utf-8")
    phrases: dict[str, list[str]] = yaml.safe_load(text)
    return phrases


def _any(name: str) -> str:
    """One regular expression for all phrases of a kind."""
    return "(?i:" + "|".join(_phrases()[name]) + ")"


# A letter as an option's mark: B, (B), [B], B), "B", **B** (markup is stripped before).
_MARK = r"[\(\[\{\"'“‘<]*\s*([A-Z])\s*[\)\]\}\"'”’>]*"
_END = r"(?:[\s.,;:!?)\]。、\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]|$)"
_ANSWER_WORD, _IS, _PICKING, _FINAL, _HENCE = (_any(n) for n in ("answer", "is", "picking", "final", "hence"))


@dataclass(frozen=True)
class Rule:
    """A way to name an option by its letter: all matches in a reply must agree."""

    name: str
    pattern: str


_LEAD = r"(?i:option|letter|choice|the|number|\s)*\s*"
# Tried in order; the first rule with a match decides, and if its matches name several letters nothing is picked.
LETTER_RULES: tuple[Rule, ...] = (
    Rule("alone", rf"^\s*{_MARK}\s*[.:,;!)\]]*\s*$"),
    Rule("alone, lower case", r"^\s*\(?([a-k])\)?\s*[.:)]*\s*$"),
    Rule(
        "json",
        r"(?i)[\"'](?:final_?)?(?:answer|choice|option|letter|response|selection|result)[\"']\s*:\s*[\"']?\(?([A-Z])\)?[\"'.):]",
    ),
    Rule("boxed", r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-Z])\)?\s*\}"),
    Rule("tag", r"(?i)<(?:answer|choice|final)>\s*\(?([A-Z])\)?[.):]?\s*</"),
    Rule("final answer", rf"(?i:final|correct|overall)\s+{_ANSWER_WORD}\s*{_IS}\s*{_LEAD}{_MARK}{_END}"),
    Rule(
        "hence",
        rf"{_HENCE},?\s+(?:{_FINAL}\s+)*"
        rf"{_ANSWER_WORD}\s*{_IS}\s*{_LEAD}{_MARK}{_END}",
    ),
    Rule("answer is", rf"{_ANSWER_WORD}\s*{_IS}\s*(?:{_IS}|\s)*{_LEAD}{_MARK}{_END}"),
    Rule("answer: b", r"(?i)(?:answer|choice|option)\s*(?:is|:|=)\s*\(?([a-k])\)?[.)]*\s*$"),
    Rule("I choose", rf"{_PICKING}\s*(?i:my|answer|for|:|\s)*{_LEAD}{_MARK}{_END}"),
    Rule("option B", rf"\b(?i:option|letter|choice|answer|opción|antwort|réponse|opção|вариант|选项)\s+{_MARK}{_END}"),
    Rule("mark first", r"^\s*[\(\[]*([A-Z])\s*[\)\].:：、]+\s*\S"),
    Rule("mark, dash", r"^\s*[\(\[]*([A-Z])[\)\]]*\s+[-–—]\s+\S"),
    Rule("mark, line", r"^\s*([A-Z])\s*\n"),
)
# These say that the letter is the answer, so that other letters in the reply are only talked about.
_SURE = ("json", "boxed", "tag", "final answer", "hence", "answer is", "I choose")
# A letter that stands by itself somewhere in the reply; "A" and "I" are words, so they need punctuation behind them.
_STANDING = r"(?:^|[\s(\[\"'“:])((?:[B-HJK])|A(?:[.,;:!)\]\"'”]|\s*$))(?:[\s.,;:!?)\]\"'”]|$)"
_LISTED = r"(?:^|[\s(])([A-Z])\)\s"

_PLACES = {chr(ord("A") + i): i for i in range(26)}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINAL = (
    r"(?i)\bthe\s+(" + "|".join((*_ORDINALS, "last")) + r")\s+(?:option|answer|choice|one|statement|alternative)\b"
)


def read_replies(replies: pl.DataFrame) -> pl.DataFrame:
    """Read what each reply picked, by table operations.

    Tried in this order: nothing said; the text of exactly one option; a letter by `LETTER_RULES`; a refusal; the
    place of an option in words; a single letter standing in a sentence without negation; the text of exactly one
    option within a sentence without negation. An inability or unwillingness beside a letter, several letters, a
    letter beyond the options, a letter followed by another option's text: all are doubt, hence `unparsed`.

    Args:
        replies: Columns text (String) and options (List(String), as shown).

    Returns:
        text, options, status (ok, refused or unparsed), pred_pos (shown position; null unless ok), rule (what decided).
    """
    frame = replies.select("text", "options").unique().with_columns(_cleaned(pl.col("text")).alias("clean"))
    k = pl.col("options").list.len().cast(pl.Int64)
    frame = frame.with_columns(
        _normal(pl.col("clean")).alias("plain"),
        pl.col("options").list.eval(_normal(pl.element())).alias("texts"),
        *(_letters(pl.col("clean"), rule.pattern).alias(f"rule {i}") for i, rule in enumerate(LETTER_RULES)),
        _letters(pl.col("clean").str.replace_all(" ", "  ", literal=True), _STANDING).alias("standing"),
        _letters(pl.col("clean"), _LISTED).alias("listed"),
        pl.col("clean").str.contains(_any("unable")).alias("unable"),
        pl.col("clean").str.contains(_any("disclaims")).alias("disclaims"),
        pl.col("clean").str.contains(_any("negated")).alias("negated"),
        _letters(pl.col("clean"), _ORDINAL).alias("ordinals"),
    )
    frame = _contained(frame.with_columns(_equal_option().alias("equal")))
    letters = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(f"rule {i}") for i in range(len(LETTER_RULES))
    )
    names = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(pl.lit(rule.name)) for i, rule in enumerate(LETTER_RULES)
    )
    frame = frame.with_columns(letters.alias("letters"), names.alias("letter_rule"))
    frame = frame.with_columns(_position(pl.col("letters")).alias("letter"))
    ordinal = _ordinal_place(k)
    standing = pl.col("standing").list.len()
    lone = pl.when((standing == 1) & ~pl.col("negated")).then(_position(pl.col("standing")))
    several = (pl.col("listed").list.len() > 1) & ~pl.col("letter_rule").is_in(_SURE).fill_null(False)
    conflict = pl.col("opens_with").is_not_null() & (pl.col("opens_with") != pl.col("letter"))
    said = pl.col("letters").is_not_null()
    outcomes: list[tuple[str, pl.Expr, pl.Expr]] = [
        ("empty", pl.col("plain") == "", pl.lit(None, pl.Int64)),
        ("option text", pl.col("equal").is_not_null(), pl.col("equal")),
        ("several letters", said & (pl.col("letter").is_null() | several), pl.lit(None, pl.Int64)),
        ("letter against text", said & conflict, pl.lit(None, pl.Int64)),
        ("refusal and letter", (said | (standing > 0)) & pl.col("unable"), pl.lit(None, pl.Int64)),
        ("letter", said, pl.col("letter")),
        ("refusal", pl.col("unable") | pl.col("disclaims"), pl.lit(None, pl.Int64)),
        ("place", ordinal.is_not_null() & ~pl.col("negated"), ordinal),
        ("lone letter", lone.is_not_null(), lone),
        ("option within", pl.col("inside").is_not_null() & ~pl.col("negated") & (standing == 0), pl.col("inside")),
    ]
    rule = pl.coalesce(*(pl.when(test).then(pl.lit(name)) for name, test, _ in outcomes), pl.lit("none"))
    place = pl.coalesce(*(pl.when(rule == name).then(value) for name, _, value in outcomes))
    inside = place.is_between(0, k - 1)
    return frame.with_columns(rule.alias("rule"), pl.when(inside).then(place).alias("pred_pos")).select(
        "text",
        "options",
        pl.when(pl.col("pred_pos").is_not_null())
        .then(pl.lit(OK))
        .when(pl.col("rule") == "refusal")
        .then(pl.lit(REFUSED))
        .otherwise(pl.lit(UNPARSED))
        .alias("status"),
        "pred_pos",
        pl.when(pl.col("rule") == "letter").then("letter_rule").otherwise("rule").alias("rule"),
    )


def _ordinal_place(k: pl.Expr) -> pl.Expr:
    """The position that "the second option" or "the last one" names, where only one is named."""
    places = dict(zip(_ORDINALS, range(len(_ORDINALS)), strict=True)) | {"last": -1}
    word = pl.col("ordinals").list.eval(pl.element().str.to_lowercase()).list.unique()
    place = word.list.first().replace_strict(places, default=None, return_dtype=pl.Int64)
    return pl.when(word.list.len() == 1).then(pl.when(place == -1).then(k - 1).otherwise(place))


def _cleaned(text: pl.Expr) -> pl.Expr:
    """Compatibility forms made plain, reasoning and markup taken off."""
    return (
        text.fill_null("")
        .str.normalize("NFKC")
        .str.replace_all("[’‘`´]", "'")
        .str.replace_all(r"(?is)<think(?:ing)?>.*?</think(?:ing)?>", " ")
        # Reasoning that never ended: whatever it mentions is no answer.
        .str.replace_all(r"(?is)<think(?:ing)?>.*$", " ")
        .str.replace_all(r"(?is)^.*</think(?:ing)?>", " ")
        .str.replace_all(r"(?m)^\s*(?:#+|>)\s*", "")
        .str.replace_all(r"[*_~]{1,3}", "")
        .str.replace_all(r"```(?:\w+\n)?", "")
        # "A" before a word is an article, unless that word can only follow an option's letter.
        .str.replace_all(r"\bA (because|since|as|is|and|or|for|would|seems|but|with|in|fits|then)\b", "A, $1")
        .str.replace_all(r"\bA ([a-z])", "a $1")
        .str.strip_chars()
    )


def _normal(text: pl.Expr) -> pl.Expr:
    """Words only, lower case, single spaces."""
    return text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()


def _letters(text: pl.Expr, pattern: str) -> pl.Expr:
    """All different values of group 1."""
    found = text.str.extract_all(pattern).list.eval(
        pl.element().str.extract(pattern, 1).str.head(8).str.strip_chars(" .,;:!)]\"'”\n")
    )
    return found.list.drop_nulls().list.unique(maintain_order=True)


def _position(letters: pl.Expr) -> pl.Expr:
    """Place in the alphabet of a single letter, whatever its case; null where the letters differ."""
    upper = letters.list.eval(pl.element().str.to_uppercase()).list.unique()
    return pl.when(upper.list.len() == 1).then(
        upper.list.first().replace_strict(_PLACES, default=None, return_dtype=pl.Int64)
    )


def _equal_option() -> pl.Expr:
    """Position of the only option whose text, with or without its mark, is the whole reply."""
    same = pl.concat_list("plain", "texts")
    hits = same.list.eval((pl.element().slice(1) == pl.element().first()).arg_true())
    return pl.when((hits.list.len() == 1) & (pl.col("plain") != "")).then(hits.list.first().cast(pl.Int64))


def _contained(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `inside` (position of the only option whose words stand in the reply) and `opens_with` (after the mark).

    An option that is part of a longer one that also stands there does not count: "important" in "not important".
    """
    frame = frame.with_row_index("id")
    long = frame.select(
        "id", pl.format(" {} ", "plain").alias("plain"), "texts", pl.int_ranges(pl.col("texts").list.len()).alias("pos")
    )
    long = (
        long.explode("texts", "pos")
        .filter(pl.col("texts") != "")
        .with_columns(pl.format(" {} ", "texts").alias("words"))
    )
    hit = long.filter(pl.col("plain").str.contains(pl.col("words"), literal=True))
    pairs = hit.join(hit.select("id", pl.col("words").alias("other")), on="id")
    shadowed = (
        pairs.filter((pl.col("other") != pl.col("words")) & pl.col("other").str.contains(pl.col("words"), literal=True))
        .select("id", "pos")
        .unique()
    )
    only = (
        hit.join(shadowed, on=["id", "pos"], how="anti")
        .group_by("id")
        .agg(pl.col("pos").first().cast(pl.Int64).alias("inside"), pl.len().alias("n"))
        .filter(pl.col("n") == 1)
    )
    after = pl.col("plain").str.replace(r"^ (?:[a-z]|(?:the )?answer(?: is)? [a-z]) ", " ")
    opens = (
        long.filter(after.str.starts_with(pl.col("words")))
        .sort(pl.col("words").str.len_chars(), descending=True)
        .group_by("id")
        .agg(pl.col("pos").first().cast(pl.Int64).alias("opens_with"))
    )
    return frame.join(only.select("id", "inside"), on="id", how="left").join(opens, on="id", how="left").drop("id")


_SHARE = r"(?:^|[\s{,(\"'])([A-Z])[\"')]*\s*[:=–-]+\s*[\"']?(\d{1,3}(?:\.\d+)?)"
# A stated distribution may be off by rounding, not by more.
_SUM_SLACK = 0.05


def read_verbalized(replies: pl.DataFrame) -> pl.DataFrame:
    """Read distributions that replies state: `{"A": 20, "B": 80}`, `A: 20 %`, as percent or as shares of 1.

    Every option must be named exactly once, and the numbers must sum to 100 (or 1) within 5 %.

    Args:
        replies: Columns text (String) and options (List(String), as shown).

    Returns:
        text, options, p_stated (probabilities in shown order, summing to 1; null where no distribution is stated).
    """
    frame = replies.select("text", "options").unique().with_row_index("id")
    found = _cleaned(pl.col("text")).str.extract_all(_SHARE)
    long = (
        frame.select("id", pl.col("options").list.len().alias("k"), found.alias("found"))
        .explode("found")
        .drop_nulls("found")
        .with_columns(
            pl.col("found").str.extract(_SHARE, 1).replace_strict(_PLACES, return_dtype=pl.Int64).alias("place"),
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
    """Probabilities of the options and the most probable one, from their log-probabilities.

    The log-probabilities of the shown options (a missing one counts as impossible) are renormalised by softmax and put
    into canonical order. An exact tie for the first place picks nothing.

    Args:
        prompts: Columns option_logprobs (shown order), option_order and, if any, p_stated, which goes before.

    Returns:
        The frame with p_vec (canonical order, sums to 1) and top_pos (shown position); both null where there are no
        log-probabilities, top_pos also on a tie.
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


def markers(replies: pl.DataFrame) -> pl.DataFrame:
    """Count what a reply does beside answering: outcomes of their own, whatever was picked.

    Args:
        replies: Any frame with a column text.

    Returns:
        The frame with disclaims (speaks of itself as a machine), unable (not able or not willing) and condescending
        (speaks down to the person); all false where there is no text.
    """
    text = _cleaned(pl.col("text"))
    return replies.with_columns(
        text.str.contains(_any(phrases)).alias(name)
        for name, phrases in (("disclaims", "disclaims"), ("unable", "unable"), ("condescending", "condescending"))
    )
