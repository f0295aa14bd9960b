"""Parsing: what a reply picked. The rules stand in a table, in the order in which they are tried; doubt is `unparsed`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

OK, REFUSED, UNPARSED, ERROR = "ok", "refused", "unparsed", "error"

# Option probabilities closer than this count as a tie: they differ by less than the rounding of a provider's numbers.
_TIE = 1e-9


def _words(*alternatives: str) -> str:
    return "(?:" + "|".join(alternatives) + ")"


# A letter as an option's mark: B, (B), [B], B), "B", **B** (markup is stripped before).
_MARK = r"[\(\[\{\"'“‘<]*\s*([A-Z])\s*[\)\]\}\"'”’>]*"
_END = r"(?:[\s.,;:!?)\]]|$)"
_ANSWER_WORD = _words(
    "answers?", "choices?", "options?", "responses?", "selections?", "letters?", "pick", "antwort", "respuesta", "opción",
    "réponse", "choix", "risposta", "scelta", "resposta", "opção", "odpowiedź", "svar(?:et)?", "antwoord", "cevap", "ответ",
    "відповідь", "答案", "选择", "選擇", "回答", "答え", "정답", "답", "jawaban", "jibu", "jawabannya",
)  # fmt: skip
_IS = _words(
    "is", "would be", "will be", "must be", "should be", "are", "ist", "lautet", "wäre", "es", "sería", "est", "serait", "è",
    "é", "seria", "to", "är", "er", "adalah", "ni", "=", "是", "为", "為", "は", "은", "는", "->", "→", "—", "–", "-", ":", "：",
)  # fmt: skip
_PICKING = _words(
    "choose", "chose", "choosing", "pick", "picked", "picking", "select", "selected", "selecting", "go(?:ing)? with", "went with",
    "go for", "say", "vote for", "opt for", "prefer", "lean (?:towards?|to)", "settle on", "answer with", "reply with",
    "elijo", "escojo", "choisis", "wähle", "nehme", "scelgo", "escolho", "kies", "väljer", "выбираю", "我选择", "我选", "選び",
)  # fmt: skip
_FINAL = _words(
    "final",
    "correct",
    "best",
    "right",
    "my",
    "most (?:likely|fitting|accurate|appropriate|plausible)",
    "the",
    "overall",
)


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
    Rule("final answer", rf"(?i:final|correct|overall)\s+(?i:{_ANSWER_WORD})\s*(?i:{_IS})\s*{_LEAD}{_MARK}{_END}"),
    Rule(
        "hence",
        rf"(?i:therefore|thus|hence|so|in conclusion|in summary|in short),?\s+(?i:{_FINAL}\s+)*"
        rf"(?i:{_ANSWER_WORD})\s*(?i:{_IS})\s*{_LEAD}{_MARK}{_END}",
    ),
    Rule("answer is", rf"(?i:{_ANSWER_WORD})\s*(?i:{_IS})\s*(?i:{_IS}|\s)*{_LEAD}{_MARK}{_END}"),
    Rule("answer: b", r"(?i)(?:answer|choice|option)\s*(?:is|:|=)\s*\(?([a-k])\)?[.)]*\s*$"),
    Rule("I choose", rf"(?i:{_PICKING})\s*(?i:my|answer|for|:|\s)*{_LEAD}{_MARK}{_END}"),
    Rule("option B", rf"\b(?i:option|letter|choice|answer|opción|antwort|réponse|opção|вариант|选项)\s+{_MARK}{_END}"),
    Rule("mark first", r"^\s*[\(\[]*([A-Z])\s*[\)\].:：、]+\s*\S"),
    Rule("mark, dash", r"^\s*[\(\[]*([A-Z])[\)\]]*\s+[-–—]\s+\S"),
    Rule("mark, line", r"^\s*([A-Z])\s*\n"),
)
# A letter that stands by itself somewhere in the reply; "A" and "I" are words, so they need punctuation behind them.
_STANDING = r"(?:^|[\s(\[\"'“:])((?:[B-HJ-Z])|A(?:[.,;:!)\]\"'”]|\s*$))(?:[\s.,;:!?)\]\"'”]|$)"
_LISTED = r"(?:^|[\s(])([A-Z])\)\s"
_NEGATED = r"(?i)\b(?:not|no|n't|neither|nor|never|none|except|rather than|instead of|unlike|both|either|or|nicht|kein|ni|ninguna)\b|n't\b"

# A reply that declines. Inability and unwillingness are refusals; a disclaimer is one unless a letter follows it.
_UNABLE = _words(
    r"\bi(?:'m| am) (?:unable|not able|not comfortable|not in a position|not going|not allowed|not willing)\b",
    r"\bi (?:can(?:no|')t|cannot|can not|won't|will not|would not|wouldn't|must decline|decline|refuse|prefer not|would rather not|'d rather not|couldn't|could not|shouldn't|should not|do not wish|don't wish|do not want|don't want|do not feel comfortable|don't feel comfortable)\b",
    r"\bi'd (?:rather|prefer) not\b",
    r"\b(?:can't|cannot|unable to|won't) (?:help|assist|answer|respond|comply|provide|choose|select|pick|engage|participate|fulfil)",
    r"\b(?:i am|i'm) (?:very |really |so )?sorry\b", r"^\s*(?:sorry|apologies)\b", r"\bi apologi[sz]e\b",
    r"\bit (?:is|would be|'s) (?:not appropriate|inappropriate|unethical|wrong) (?:for me )?to\b", r"\bnot appropriate to\b",
    r"\bagainst my (?:guidelines|programming|policy|principles)\b", r"\bno comment\b", r"\bi (?:pass|abstain)\b", r"\brefuse to answer\b",
    r"\bdecline to (?:answer|state|say|respond)\b", r"\bprefer not to (?:answer|say)\b",
    r"\bes tut mir leid\b", r"\bich kann (?:das|diese|dir|ihnen|hierzu|dazu|keine|nicht)", r"\blo siento\b", r"\bno puedo\b",
    r"\bje suis désolée?\b", r"\bje ne peux pas\b", r"\bdésolée?\b", r"\bmi dispiace\b", r"\bnon posso\b", r"\bdesculpe\b",
    r"\bsinto muito\b", r"\bnão posso\b", r"\bhet spijt me\b", r"\bik kan (?:dit|deze|geen|niet)", r"\bjag kan inte\b", r"\btyvärr\b",
    r"\bprzykro mi\b", r"\bnie mogę\b", r"\büzgünüm\b", "извините", "к сожалению", "не могу", "вибачте", "抱歉", "对不起", "對不起",
    "无法", "無法", "不能回答", "申し訳", "できません", "お答えでき", "죄송", "없습니다", "عذرا", "لا أستطيع", "لا يمكنني", "मुझे खेद", "\\bmaaf\\b",
)  # fmt: skip
_DISCLAIMS = _words(
    r"\bas an? (?:ai|artificial intelligence|language model|large language model|assistant|llm|machine)\b",
    r"\bi(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence|language model|large language model|assistant|machine|computer)\b",
    r"\bi (?:do not|don't) have (?:any )?(?:personal )?(?:opinions?|beliefs?|views?|feelings?|preferences?|emotions?|political|experiences?|a (?:political|personal))",
    r"\bi have no (?:personal )?(?:opinions?|beliefs?|views?|preferences?)", r"\bals ki\b", r"\bcomo (?:modelo|ia|uma ia)\b",
    r"\ben tant qu(?:e |')(?:ia|modèle|assistant)", "作为一个?(?:人工智能|ai|语言模型)", "как (?:ии|языковая модель)",
)  # fmt: skip

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
        _letters(pl.col("clean"), _STANDING).alias("standing"),
        _letters(pl.col("clean"), _LISTED).alias("listed"),
        pl.col("clean").str.contains(f"(?i){_UNABLE}").alias("unable"),
        pl.col("clean").str.contains(f"(?i){_DISCLAIMS}").alias("disclaims"),
        pl.col("clean").str.contains(_NEGATED).alias("negated"),
        _letters(pl.col("clean"), _ORDINAL).alias("ordinals"),
    )
    frame = frame.with_columns(
        pl.col("texts").list.eval(pl.element() == "").list.any().alias("untold"),
        _equal_option().alias("equal"),
    )
    frame = _contained(frame)
    letters = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(f"rule {i}") for i in range(len(LETTER_RULES))
    )
    names = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(pl.lit(rule.name)) for i, rule in enumerate(LETTER_RULES)
    )
    frame = frame.with_columns(letters.alias("letters"), names.alias("letter_rule"))
    frame = frame.with_columns(_position(pl.col("letters")).alias("letter"))
    ordinal = pl.when(pl.col("ordinals").list.len() == 1).then(
        pl.col("ordinals")
        .list.first()
        .str.to_lowercase()
        .replace_strict(
            dict(zip(_ORDINALS, range(10), strict=True)) | {"last": -1}, default=None, return_dtype=pl.Int64
        )
    )
    ordinal = pl.when(ordinal == -1).then(k - 1).otherwise(ordinal)
    lone = pl.when((pl.col("standing").list.len() == 1) & ~pl.col("negated")).then(_position(pl.col("standing")))
    several = (pl.col("listed").list.len() > 1) & ~pl.col("letter_rule").is_in(
        ["json", "boxed", "tag", "final answer", "hence", "answer is", "I choose"]
    ).fill_null(False)
    conflict = pl.col("opens_with").is_not_null() & (pl.col("opens_with") != pl.col("letter"))
    said = pl.col("letters").is_not_null()
    outcomes: list[tuple[str, pl.Expr, pl.Expr]] = [
        ("empty", pl.col("plain") == "", pl.lit(None, pl.Int64)),
        ("option text", pl.col("equal").is_not_null(), pl.col("equal")),
        ("several letters", said & (pl.col("letter").is_null() | several), pl.lit(None, pl.Int64)),
        ("letter against text", said & conflict, pl.lit(None, pl.Int64)),
        ("refusal and letter", said & pl.col("unable"), pl.lit(None, pl.Int64)),
        ("letter", said, pl.col("letter")),
        ("refusal", pl.col("unable") | pl.col("disclaims"), pl.lit(None, pl.Int64)),
        ("place", ordinal.is_not_null() & ~pl.col("negated"), ordinal),
        ("lone letter", lone.is_not_null(), lone),
        (
            "option within",
            pl.col("inside").is_not_null() & ~pl.col("negated") & (pl.col("standing").list.len() == 0),
            pl.col("inside"),
        ),
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
    places = {chr(ord("A") + i): i for i in range(26)}
    return pl.when(upper.list.len() == 1).then(
        upper.list.first().replace_strict(places, default=None, return_dtype=pl.Int64)
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


def read_logprobs(prompts: pl.DataFrame) -> pl.DataFrame:
    """Probabilities of the options and the most probable one, from their log-probabilities.

    The log-probabilities of the shown options (a missing one counts as impossible) are renormalised by softmax and put
    into canonical order. An exact tie for the first place picks nothing.

    Args:
        prompts: Columns option_logprobs (shown order) and option_order.

    Returns:
        The frame with p_vec (canonical order, sums to 1) and top_pos (shown position); both null where there are no
        log-probabilities, top_pos also on a tie.
    """
    lp = pl.col("option_logprobs").list.eval(
        pl.when(pl.element().is_nan() | (pl.element() > 0)).then(None).otherwise(pl.element()).fill_null(-math.inf)
    )
    usable = (lp.list.len() == pl.col("option_order").list.len()) & (lp.list.max() > -math.inf)
    p = lp.list.eval((pl.element() - pl.element().max()).exp() / (pl.element() - pl.element().max()).exp().sum())
    frame = prompts.with_columns(pl.when(usable).then(p).alias("p_shown"))
    tops = pl.col("p_shown").list.eval(pl.element() >= pl.element().max() - _TIE)
    return frame.with_columns(
        pl.when(tops.list.sum() == 1).then(tops.list.arg_max().cast(pl.Int64)).alias("top_pos"),
        pl.col("p_shown").list.gather(pl.col("option_order").list.eval(pl.element().arg_sort())).alias("p_vec"),
    ).drop("p_shown")
