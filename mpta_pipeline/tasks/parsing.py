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

from mpta_pipeline.core.reasoning_text import read_thought
from mpta_pipeline.core.tables import UNPARSED_REASONS

OK, REFUSED, UNPARSED, ERROR = "ok", "refused", "unparsed", "error"
REASONS = UNPARSED_REASONS

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
_END = r"(?:[\s.,;:!?)\]。、।،؛؟\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]|$)"
_ANSWER_WORD, _IS, _PICKING, _FINAL, _HENCE = (_any(n) for n in ("answer", "is", "picking", "final", "hence"))
_LEAD_IN = _any("lead_in")


@dataclass(frozen=True)
class Rule:
    """A way to name an option by its letter: all matches in a reply must agree."""

    name: str
    pattern: str


_LEAD = (
    r"(?i:option|letter|choice|the|number|la |el |l'|die |das |den |opción|respuesta|letra|antwort|buchstabe|réponse|"
    r"lettre|вариант|ответ|букву|الخيار|الإجابة|الجواب|الحرف|选项|答案|विकल्प|उत्तर|\s)*\s*"
)
_JSON_KEY = r"\w*(?:answer|choice|option|letter|response|selection|selected|result|pick|content)\w*"
# Tried in order; the first rule with a match decides, and if its matches name several letters nothing is picked.
LETTER_RULES: tuple[Rule, ...] = (
    Rule("alone", rf"^\s*{_MARK}\s*[.:,;!?)\]。、।،]*\s*$"),
    Rule("numbered", rf"^\s*(?:Q(?:uestion)?\.?\s*\d{{1,2}}|1)\s*[.:)]\s*{_MARK}\s*[.:,;!?)\]]*\s*$"),
    Rule("alone, lower case", r"^\s*(?:(?i:option|answer|choice|letter)\s+)?\(?([a-k])\)?\s*[.:)]*\s*$"),
    Rule("json", rf"(?i)[\"']{_JSON_KEY}[\"']\s*:\s*\[?\s*[\"']?\(?([A-Z])\)?[\"'.):\]}}]"),
    Rule("final answer", rf"(?i:final|correct|overall)\s+{_ANSWER_WORD}\s*{_IS}\s*{_LEAD}{_MARK}{_END}"),
    Rule(
        "hence",
        rf"{_HENCE},?\s+(?:{_FINAL}\s+)*"
        rf"{_ANSWER_WORD}\s*{_IS}\s*{_LEAD}{_MARK}{_END}",
    ),
    Rule("therefore B", rf"(?i:therefore|thus),?\s+(?:{_FINAL}\s+)*{_MARK}\s*[.!]*\s*$"),
    Rule(
        "answer is",
        rf"{_ANSWER_WORD}(?:\s+(?i:final|finale|correcta|correcte|correta|الصحيحة|النهائية|الصحيح|النهائي))?\s*{_IS}\s*(?:{_IS}|\s)*{_LEAD}{_MARK}{_END}",
    ),
    Rule("answer: b", r"(?i)(?:answer|choice|option)\s*(?:is\s*:?|:|=)\s*\(?([a-k])\)?[.)]*\s*$"),
    Rule("I choose", rf"{_PICKING}\s*(?i:my|answer|for|:|\s)*{_LEAD}{_MARK}{_END}"),
    Rule("option B", rf"{_any('named')}\s+{_MARK}{_END}"),
    Rule("B I choose", rf"(?:^|\s|،){_MARK}\s*{_any('picked')}"),
    Rule("mark first", r"^\s*[\(\[]*([A-Z])\s*(?:[\)\]:：、][\)\].:：、]*\s*|\.\s+)\S"),
    Rule("mark, dash", r"^\s*[\(\[]*([A-HJ-Z])[\)\]]*\s+[-–—]\s+\S"),
    Rule("mark, line", r"^\s*([A-Z])\s*\n"),
    Rule("mark, reason", rf"^\s*([A-HJ-Z])(?:,\s|\s+{_any('reason')}\b)"),
    Rule("lead-in", rf"^\W*(?:{_LEAD_IN}[\s,.:;!…-]*)+{_MARK}\s*(?:[.,;!]|\?\s*$|$)"),
    Rule("fits", rf"(?:^|[\s(\"'])([A-Z])[)\]\"'.:]*\s+(?:{_LEAD_IN}\s+)?{_any('fitting')}"),
    Rule(
        "it is",
        rf"\b(?i:it|that|this)(?i:'s|\s+is|\s+would\s+be|\s+will\s+be|\s+must\s+be)\s+(?:{_LEAD_IN}\s+)*{_MARK}\s*[.!?]*\s*$",
    ),
)
# These say that the letter is the answer, so that other letters in the reply are only talked about.
_SURE = ("json", "final answer", "hence", "therefore B", "answer is", "I choose")
# These conclude: what stood at the beginning of the reply, before it, was not the answer yet.
_CONCLUDING = ("json", "final answer", "hence", "therefore B")
_FIRST = ("mark first", "mark, dash", "mark, line")
# Letters that the reply does not pick: denied, left to others, or one of several that are joined. They are taken out
# before any rule looks. "I" is mostly a pronoun, so it is never taken for one of them.
_LETTER = r"\b[A-HJ-K]\b"
_CLAUSE = r"[^.,;:!?\n]*"
_BETWEEN = r"(?i:(?:option|letter|answer|choice|maybe|perhaps|possibly|probably|also|even|then|the|with)\s+)*"
_JOINED = rf"{_LETTER}[\"')\]]*\s*{_any('joining')}\s*{_BETWEEN}[\"'(\[]*{_LETTER}"
_UNPICKED = (
    rf"(?:{_any('denying')}|{_any('others')}){_CLAUSE}{_LETTER}{_CLAUSE}",
    rf"{_LETTER}{_any('denied')}",
    rf"{_any('asking')}{_CLAUSE}{_LETTER}{_CLAUSE}\?",
    # "The wrong answer: B", "my second choice is B"; a key of JSON such as "least_likely_answer".
    rf"{_any('astray')}[^.,;!?\n]*{_LETTER}",
    r"(?i)[\"'](?:least|reject|wrong|incorrect|second|third|worst|unlikely|exclude|not_?(?:chosen|picked|selected|answer))"
    r"\w*[\"']\s*:\s*"
    r"(?:\"[^\"]*\"|\[[^\]]*\]|[^,}\]]*)",
    # Two marks side by side.
    rf"{_LETTER}[)\]]?[ \t]+[(\[]?\b[B-HJ-K]\b(?:[\s).,]|$)",
    # A list of the options that were offered is headed so.
    r"(?i)\b(?:options|choices)\s*:\s",
)
_TAKEN_OUT = " ¦ "
# A letter that stands by itself somewhere in the reply; "A" and "I" are words, so they need punctuation behind them.
_STANDING = r"(?:^|[\s(\[\"'“:])((?:[B-HJ-K])|A(?:[.,;:!)\]\"'”]|\s*$))(?:[\s.,;:!?)\]\"'”]|$)"
_LISTED = r"(?:^|[\s(])([A-Z])\)\s"
# A mark right behind a mark: "A: B" may be a question's short form with its answer, or two answers.
_MARKED_TWICE = r"^\W*([A-Z])\s*[:.)\n]\s*[(\"'\[]*([A-HJ-Z])(?:[\s.):,;!?]|$)"
# Taken back: "C. Wait, actually A."
_RETRACTED = (
    r"\b(?i:wait|actually|correction|scratch that|on second thought|on reflection|i mean|make that|or|no)\b"
    r"[\s,.:;!–—-]*"
    r"(?i:(?:it's|it is|the answer is|i (?:choose|pick|say)|maybe|perhaps|make that|actually|option|rather)\s+)*"
    r"[(\"']*([A-HJ-K])\b"
)
# JSON that was cut off.
_UNFINISHED = r"^(?:json\s*)?\{\s*[\"'][^}]*$"
# JSON whose answer is none, or that reports an error.
_VOID = rf"(?i)[\"']{_JSON_KEY}[\"']\s*:\s*(?:null|[\"']\s*[\"']|\[\s*\])|^(?:json\s*)?\{{\s*[\"']error[\"']"
# Corrected, whatever was said before.
_CORRECTED = r"(?i:\bi meant?|\bcorrection|\bscratch that|\bmake that)[\s,.:;!–—-]*(?i:to say\s+)?[(\"']*([A-HJ-K])\b"
# Letters of other alphabets that look like ours, or count otherwise: the third of the Russian alphabet looks like B.
# "Я" is the pronoun with which most sentences begin.
_FOREIGN = r"^\W*[\p{Greek}[\p{Cyrillic}--[Яя]]](?:[\s.):]|$)"
# A letter with which a reply opens, as a mark: alone, or before anything but more of a word.
_OPENS = r"^[\s(\[{\"'“<]*([A-Z])(?:[^\p{L}\p{N}'’-]|$)"

_PLACES = {chr(ord("A") + i): i for i in range(26)}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINAL = (
    r"(?i)\bthe\s+(" + "|".join((*_ORDINALS, "last")) + r")\s+(?:option|answer|choice|one|statement|alternative)\b"
)


def read_replies(replies: pl.DataFrame) -> pl.DataFrame:
    """Read what each reply picked, by table operations.

    A thought is taken off first; one that never ended leaves nothing to read. Then letters that the reply denies,
    leaves to others or joins ("not A", "most people say B", "A or B") are taken out. Then, in this order: nothing said;
    the text of exactly one option; a letter by `LETTER_RULES`; an option that says that the answer is unknown; a
    refusal; the place of an option in words; the text of exactly one option within a sentence that neither denies nor
    grades it.
    An inability or unwillingness beside a letter, several letters, a letter beyond the options, a letter followed by
    another option's text, a reply that begins with one letter and picks another: all are ambiguous, hence `unparsed`.
    Where a reply tells what is true apart from what the person answers, the person's answer counts.

    Args:
        replies: Columns text (String) and options (List(String), as shown).

    Returns:
        text, options, status (ok, refused or unparsed), pred_pos (shown position; null unless ok), rule (what decided),
        unparsed_reason (one of `REASONS`; null unless unparsed), opens_at (position of the letter that the reply opens
        with as a mark; null where it opens otherwise).
    """
    thought = read_thought(pl.col("text").fill_null("")).alias("read")
    frame = replies.select("text", "options").unique().with_columns(thought).unnest("read")
    frame = frame.with_columns(_cleaned(pl.col("said")).alias("clean"))
    read = _as_the_person(_read(frame.select("clean", "options").unique()))
    frame = frame.join(read, on=["clean", "options"], how="left")
    reason = (
        pl.when("unended")
        .then(pl.lit("cut_off"))
        .when(pl.col("thought") & (pl.col("rule") == "empty"))
        .then(pl.lit("thought_only"))
        .otherwise("unparsed_reason")
    )
    return frame.select(
        "text",
        "options",
        pl.when("unended").then(pl.lit(UNPARSED)).otherwise("status").alias("status"),
        pl.when(~pl.col("unended")).then("pred_pos").alias("pred_pos"),
        pl.when("unended").then(pl.lit("unended thought")).otherwise("rule").alias("rule"),
        reason.alias("unparsed_reason"),
        pl.when(~pl.col("unended")).then("opens_at").alias("opens_at"),
    )


def _as_the_person(read: pl.DataFrame) -> pl.DataFrame:
    """Where a reply tells the truth apart from the person's answer, the latter counts; two answers are a conflict."""
    # "Factually, the answer is B" is one clause.
    clauses = pl.col("clean").str.replace_all(rf"({_any('factual')})[,，،]\s*", "${1} ")
    for pattern, parted in _CLAUSES:
        clauses = clauses.str.replace_all(pattern, parted)
    clauses = clauses.str.split("\x1f")
    factual = pl.element().str.contains(_any("factual")) & ~pl.element().str.contains(_any("as_person"))
    told = read.filter(pl.col("clean").str.contains(_any("factual"))).select(
        "clean",
        "options",
        clauses.list.eval(pl.when(~factual).then(pl.element())).list.drop_nulls().list.join("").alias("rest"),
    )
    told = told.filter((pl.col("rest").str.strip_chars() != "") & (pl.col("rest") != pl.col("clean")))
    if told.is_empty():
        return read
    rest = _read(told.select(pl.col("rest").str.strip_chars(" ,;:-–—\n").alias("clean"), "options").unique())
    told = told.with_columns(pl.col("rest").str.strip_chars(" ,;:-–—\n")).join(
        rest.select(
            pl.col("clean").alias("rest"),
            "options",
            pl.col("status").alias("rest_status"),
            pl.col("pred_pos").alias("rest_pos"),
            pl.col("unparsed_reason").alias("rest_reason"),
        ),
        on=["rest", "options"],
        how="left",
    )
    frame = read.join(told, on=["clean", "options"], how="left")
    voice = pl.col("rest").str.contains(_any("as_person"))
    named, whole = pl.col("rest_status") == OK, pl.col("status") == OK
    lettered = _without_articles(pl.col("rest")).str.contains(_LETTER)
    no_view = pl.col("rest").str.contains(_any("no_view"))
    silent = pl.col("rest_reason").is_in(["no_option", "empty"]) & ~no_view & ~lettered
    outcome = (
        pl.when(pl.col("rest").is_null())
        .then(pl.lit("whole"))
        .when(voice & named)
        .then(pl.lit("rest"))
        .when(voice & whole & ~silent.fill_null(False))
        .then(pl.lit("conflict"))
        .when(named & whole & (pl.col("rest_pos") != pl.col("pred_pos")))
        .then(pl.lit("conflict"))
        .otherwise(pl.lit("whole"))
    )
    frame = frame.with_columns(outcome.alias("outcome"))
    conflict, person = pl.col("outcome") == "conflict", pl.col("outcome") == "rest"
    return frame.select(
        "clean",
        "options",
        pl.when(conflict).then(pl.lit(UNPARSED)).when(person).then(pl.lit(OK)).otherwise("status").alias("status"),
        pl.when(person).then("rest_pos").when(~conflict).then("pred_pos").alias("pred_pos"),
        pl.when(conflict)
        .then(pl.lit("truth against person"))
        .when(person)
        .then(pl.lit("as the person"))
        .otherwise("rule")
        .alias("rule"),
        pl.when(conflict).then(pl.lit("conflict")).when(~person).then("unparsed_reason").alias("unparsed_reason"),
        "opens_at",
    )


# Clauses end at full stops and line ends, at words of contrast, and at a comma before a person's voice.
_CLAUSES = (
    (r"([.!?;\n。！？；।]+\s*)", "${1}\x1f"),
    (
        r"(?i)([\s,，،—–]+)((?:but|however|yet|whereas|although|though|nevertheless|nonetheless|instead|still,|aber|jedoch|"
        r"allerdings|pero|sin embargo|mais|cependant|но|а|однако|लेकिन|परंतु|لكن|ولكن)[\s,]|但|然而|不过)",
        "${1}\x1f${2}",
    ),
    (
        r"(?i)([,，،—–]\s*)((?:I|I'd|as|this|the (?:person|respondent)|they|he|she|personally|in character|from|given|"
        r"als|como|en tant|как)\s|作为|这个人|我)",
        "${1}\x1f${2}",
    ),
)


def _read(frame: pl.DataFrame) -> pl.DataFrame:
    """Read cleaned replies.

    Args:
        frame: Columns clean and options, each pair once.

    Returns:
        clean, options, status, pred_pos, rule, unparsed_reason, opens_at.
    """
    k = pl.col("options").list.len().cast(pl.Int64)
    frame = frame.with_columns(_normal(pl.col("clean")).alias("plain"), _offered(pl.col("clean")).alias("offered"))
    articles = _without_articles(pl.col("clean"))
    frame = frame.with_columns(
        *(_letters(pl.col("offered"), rule.pattern).alias(f"rule {i}") for i, rule in enumerate(LETTER_RULES)),
        _letters(articles.str.replace_all(" ", "  ", literal=True), _STANDING).alias("standing"),
        _letters(articles, _LISTED).alias("listed"),
        _unable(pl.col("clean")).alias("unable"),
        pl.col("clean").str.contains(_any("disclaims")).alias("disclaims"),
        pl.any_horizontal(pl.col("clean").str.contains(_any(n)) for n in ("negated", "denying")).alias("denying"),
        _letters(pl.col("clean"), _ORDINAL).alias("ordinals"),
        pl.col("clean").str.contains(_JOINED).alias("joined"),
        _letters(articles, _RETRACTED).alias("retracted"),
        _letters(articles, _CORRECTED).alias("corrected"),
        *(articles.str.extract(_MARKED_TWICE, i).alias(f"mark {i}") for i in (1, 2)),
        pl.col("clean")
        .str.extract(_OPENS)
        .replace_strict(_PLACES, default=None, return_dtype=pl.Int64)
        .alias("opens_at"),
    )
    frame = _options_said(frame)
    letters = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(f"rule {i}") for i in range(len(LETTER_RULES))
    )
    names = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(pl.lit(rule.name)) for i, rule in enumerate(LETTER_RULES)
    )
    begins = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(f"rule {i}")
        for i, rule in enumerate(LETTER_RULES)
        if rule.name in _FIRST
    )
    frame = frame.with_columns(letters.alias("letters"), names.alias("letter_rule"))
    frame = frame.with_columns(_position(pl.col("letters")).alias("letter"), _position(begins).alias("begins_with"))
    ordinal = _ordinal_place(k)
    standing = pl.col("standing").list.len()
    several = (pl.col("listed").list.len() > 1) & ~pl.col("letter_rule").is_in(_SURE).fill_null(False)
    against = pl.when(pl.col("opens_with").is_not_null()).then(pl.col("opens_with") != pl.col("letter"))
    cut_off = pl.col("cut_off").is_not_null() & ~pl.col("cut_off").list.contains(pl.col("letter"))
    mismarked = pl.col("mismarked").list.contains(pl.col("letter")).fill_null(False) | (
        (pl.col("short_said").list.len() > 0) & ~pl.col("short_said").list.contains(pl.col("letter"))
    ).fill_null(False)
    turned = (pl.col("begins_with") != pl.col("letter")) & ~pl.col("letter_rule").is_in(_CONCLUDING)
    twice = (pl.col("mark 1") != pl.col("mark 2")).fill_null(False) & ~pl.col("letter_rule").is_in(_CONCLUDING)
    retracted = (_position(pl.col("retracted")) != pl.col("letter")).fill_null(False) & ~pl.col("letter_rule").is_in(
        _SURE
    )
    retracted = retracted | (_position(pl.col("corrected")) != pl.col("letter")).fill_null(False)
    unknown = pl.col("options").list.get(pl.col("letter"), null_on_oob=True).str.contains(_any("unknowable"))
    said = pl.col("letters").is_not_null()
    outcomes: list[tuple[str, pl.Expr, pl.Expr]] = [
        ("empty", pl.col("plain") == "", pl.lit(None, pl.Int64)),
        ("option text", pl.col("equal").is_not_null(), pl.col("equal")),
        (
            "unfinished",
            pl.col("clean").str.contains(_UNFINISHED) | pl.col("clean").str.contains(_VOID),
            pl.lit(None, pl.Int64),
        ),
        ("several letters", said & (pl.col("letter").is_null() | several), pl.lit(None, pl.Int64)),
        ("letter against text", said & (pl.coalesce(against, cut_off) | mismarked), pl.lit(None, pl.Int64)),
        ("letter against letter", said & (turned.fill_null(False) | twice | retracted), pl.lit(None, pl.Int64)),
        (
            "refusal and letter",
            (said | (standing > 0)) & pl.col("unable") & ~unknown.fill_null(False),
            pl.lit(None, pl.Int64),
        ),
        ("letter", said, pl.col("letter")),
        ("unknown", pl.col("opens_unknown").is_not_null(), pl.col("opens_unknown")),
        ("refusal", pl.col("unable") | pl.col("disclaims"), pl.lit(None, pl.Int64)),
        ("place", ordinal.is_not_null() & ~pl.col("denying"), ordinal),
        ("option within", pl.col("inside").is_not_null() & (standing == 0), pl.col("inside")),
    ]
    rule = pl.coalesce(*(pl.when(test).then(pl.lit(name)) for name, test, _ in outcomes), pl.lit("none"))
    place = pl.coalesce(*(pl.when(rule == name).then(value) for name, _, value in outcomes))
    inside = place.is_between(0, k - 1)
    frame = frame.with_columns(rule.alias("rule"), pl.when(inside).then(place).alias("pred_pos"))
    reason = (
        pl.when(pl.col("rule") == "empty")
        .then(pl.lit("empty"))
        .when(pl.col("rule") == "several letters")
        .then(pl.lit("several_options"))
        .when(pl.col("rule").is_in(["letter against text", "letter against letter", "refusal and letter"]))
        .then(pl.lit("conflict"))
        .when((pl.col("n_inside") > 1) | pl.col("joined") | (standing > 1))
        .then(pl.lit("several_options"))
        .when(_foreign())
        .then(pl.lit("foreign"))
        .otherwise(pl.lit("no_option"))
    )
    status = (
        pl.when(pl.col("pred_pos").is_not_null())
        .then(pl.lit(OK))
        .when(pl.col("rule") == "refusal")
        .then(pl.lit(REFUSED))
        .otherwise(pl.lit(UNPARSED))
    )
    return frame.with_columns(status.alias("status")).select(
        "clean",
        "options",
        "status",
        "pred_pos",
        pl.when(pl.col("rule") == "letter").then("letter_rule").otherwise("rule").alias("rule"),
        pl.when(pl.col("status") == UNPARSED).then(reason).alias("unparsed_reason"),
        "opens_at",
    )


def _foreign() -> pl.Expr:
    """Whether a reply is written in another script than the options are, so that it cannot name one of them."""
    other = r"[\p{L}--\p{Latin}]"
    shown = pl.col("options").list.join(" ")
    outside = pl.col("clean").str.count_matches(other) * 2 > pl.col("clean").str.count_matches(r"\p{L}")
    return pl.col("clean").str.contains(_FOREIGN) | (
        outside & (shown.str.count_matches(other) * 2 <= shown.str.count_matches(r"\p{L}"))
    )


def _ordinal_place(k: pl.Expr) -> pl.Expr:
    """The position that "the second option" or "the last one" names, where only one is named."""
    places = dict(zip(_ORDINALS, range(len(_ORDINALS)), strict=True)) | {"last": -1}
    word = pl.col("ordinals").list.eval(pl.element().str.to_lowercase()).list.unique()
    place = word.list.first().replace_strict(places, default=None, return_dtype=pl.Int64)
    return pl.when(word.list.len() == 1).then(pl.when(place == -1).then(k - 1).otherwise(place))


def _cleaned(text: pl.Expr) -> pl.Expr:
    """Compatibility forms made plain; wrappers of the answer, markup and tokens of chat templates taken off."""
    text = (
        text.str.normalize("NFKC")
        .str.replace_all("[’‘`´]", "'")
        .str.replace_all(r"[\p{Cf}\x00-\x08\x0e-\x1f]", "")
        .str.replace_all(_TURN, " ")
        # What follows the end of a turn is another one's.
        .str.replace(_AFTER_TURN, "$1")
    )
    return (
        _last_boxed(_below_heading(_unwrapped(text)))
        .str.replace_all(_LATEX_STYLE, "$1")
        .str.replace_all(_LATEX_STYLE, "$1")
        .str.replace_all(r"\$+\s*(\(?[A-Z]\)?)\s*\$+", "$1")
        .str.replace_all(r"\\[(\[]\s*([^\\\n]{1,40}?)\s*\\[)\]]", "$1")
        .str.replace_all(r"<\|[^|>\n]{1,40}\|>|</?s>|<(?:bos|eos|pad|unk)>|\[/?INST\]", " ")
        .str.replace_all(r"</?(?:b|i|u|em|strong|p|span|div|br|code|center|h[1-6]|ul|ol|li|mark|big)\s*/?>", " ")
        .str.replace_all(r"(?m)^\s*(?:#+|>)\s*", "")
        # What is struck out is not said.
        .str.replace_all(r"~~[^~\n]{1,200}~~|<(?:del|strike)>[^<]{1,200}</(?:del|strike)>", " ")
        .str.replace_all(r"[*_~]{1,3}", "")
        .str.replace_all(r"```(?:\w+\n)?", "")
        .str.replace_all(r"[\p{Emoji_Presentation}\x{fe0f}✓✔☑✅]", " ")
        .str.replace(r"^\s*\[[xX]\]\s+", "")
        .str.replace_many({"&nbsp;": " ", "&quot;": '"', "&#39;": "'", "&amp;": "&", "&lt;": "<", "&gt;": ">"})
        # A bullet, not the sign of a number.
        .str.replace(r"^\s*(?:[•→►▶]+|-+\s)[-•→►▶\s]*", "")
        .str.replace(r"^\s*-+([^\d\s-])", "$1")
        # Scripts without spaces: a letter among them stands for itself.
        .str.replace_all(rf"({_UNSPACED})([A-Z])", "$1 $2")
        .str.replace_all(rf"([A-Z])({_UNSPACED})", "$1 $2")
        .str.strip_chars()
    )


_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Arabic}\p{Devanagari}\p{Bengali}\p{Thai}\p{Hebrew}]"
_TURN = (
    r"<\|(?:im_start|start_header_id|start|role_start)\|>\s*(?:assistant|model)?\s*(?:<\|(?:end_header_id|message)\|>)?"
    r"|<start_of_turn>\s*(?:model)?"
)
_AFTER_TURN = (
    r"(?s)^(.*?\S.*?)(?:<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|return|end|user|end▁of▁sentence)\|>|</s>"
    r"|<end_of_turn>|<eos>|<\|END_RESPONSE\|>|\[END FINAL RESPONSE\]).*$"
)
_WRAPPED = (
    r"(?:response|answer|final|final[_ ]?(?:answer|response)|output|solution|conclusion|result|reply|choice|option|"
    r"\|begin_of_(?:solution|box)\||\|START_RESPONSE\||\|end_of_(?:solution|box)\||\|END_RESPONSE\|)"
)
_WRAPPER = rf"(?is)<{_WRAPPED}>(.*?)(?:</?{_WRAPPED}>|$)"
_BOXED = r"\\f?boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
_BOXED_TOGETHER = rf"{_BOXED}[\s$]*(?:,|/|&|or|and|y|o|et|ou|und|oder|и|или|或|和)[\s$]*\\f?boxed"
_BOXED_DENIED = (
    r"(?i)(?:\bnot|n't|\bnever|\bexcept|\bno es|\bnicht|\bpas|\bне|不是)[\s$*:(]*\\f?boxed\s*\{[^{}]*\}[^\\]*$"
)
_LATEX_STYLE = (
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|mathit|mathbb|boldsymbol|bf|rm|emph|fbox)\s*\{([^{}]*)\}"
)
_HEADING = (
    r"(?ims)^.*^[ \t]*(?:#+[ \t]*)?(?:\*\*|__)?[ \t]*(?:(?:my|the|final)\s+)*(?:solution|answer|response|conclusion|"
    r"decision|choice|verdict|antwort|lösung|respuesta|solución|réponse|ответ|答案|الإجابة|الجواب|उत्तर)[ \t]*[:：]?"
    r"(?:\*\*|__)?[ \t]*[:：]?[ \t]*$\s*(\S.*)$"
)
# A reply that begins with a letter has answered; what it writes below a heading may be another question.
_BEGUN = r"^[\s\W_]*[A-Za-z](?:[\s\W_]*(?:\n|$)|[).:])"


def _said() -> pl.Expr:
    """What `text` says after its thought."""
    return read_thought(pl.col("text").fill_null("")).struct.field("said")


def _unwrapped(text: pl.Expr) -> pl.Expr:
    """The content of the tags that hold the answer, where they hold one; else the text as it is."""
    inner = text.str.extract_all(_WRAPPER).list.eval(pl.element().str.extract(_WRAPPER).str.strip_chars())
    inner = inner.list.eval(pl.when(pl.element() != "").then(pl.element())).list.drop_nulls()
    inner = inner.list.unique(maintain_order=True)
    apart = text.str.replace_all(rf"(?i)(?:</?{_WRAPPED}>\s*)+", " | ")
    return pl.when(inner.list.len() == 1).then(inner.list.first()).otherwise(apart)


def _below_heading(text: pl.Expr) -> pl.Expr:
    """What stands below the last heading such as "Solution" or "Final answer"."""
    return pl.when(text.str.contains(_BEGUN)).then(text).otherwise(text.str.replace(_HEADING, "$1"))


def _last_boxed(text: pl.Expr) -> pl.Expr:
    r"""The content of the last LaTeX box (`\boxed{C}`), unless it is joined to the one before it."""
    boxed = text.str.extract_all(_BOXED).list.last().str.extract(_BOXED)
    together = text.str.contains(_BOXED_TOGETHER) | text.str.contains(_BOXED_DENIED)
    return pl.when(boxed.is_not_null() & ~together).then(boxed).otherwise(text.str.replace_all(_BOXED, "$1"))


def _without_articles(text: pl.Expr) -> pl.Expr:
    """The text with "a" for articles: "A" before a word is one, unless that word can only follow an option's letter."""
    return (
        text.str.replace_all(r"\b((?i:option|letter|choice|answer))\s+A\b", "$1 (A)")
        .str.replace_all(
            r"\bA (because|since|as|is|and|or|for|would|seems|but|with|in|fits|then|wählen|nehmen|antworten)\b", "A, $1"
        )
        .str.replace_all(r"\bA ([a-z])", "a $1")
        # "I" is mostly a pronoun.
        .str.replace_all(r"\bI (because|since|as|is|and|or|for|seems|but|fits|then)\b", "I, $1")
        .str.replace_all(r"\bI\s+([a-z])", "i $1")
        # "C'est", "D'accord", "L'argent" begin with no option's letter.
        .str.replace_all(r"\b([CDJLMNST])'(\p{Ll})", "${1}ʼ${2}")
    )


def _offered(text: pl.Expr) -> pl.Expr:
    """The text without the letters that it does not pick: denied, left to others, joined to another one."""
    text = text.str.replace_all(_JOINED, _TAKEN_OUT)
    # What follows from a denial is not denied: "I do not believe in God so I choose B".
    text = text.str.replace_all(r"(?i)\s+((?:and )?(?:so|therefore|thus|hence)|but)\s", ", $1 ")
    for pattern in _UNPICKED:
        text = text.str.replace_all(pattern, _TAKEN_OUT)
    return _without_articles(text)


def _unable(text: pl.Expr) -> pl.Expr:
    """Whether the reply says that it is not able or not willing. "I can't agree" is an opinion."""
    return text.str.replace_all(_any("opposes"), " ").str.contains(_any("unable"))


def _normal(text: pl.Expr) -> pl.Expr:
    """Words only, lower case, single spaces."""
    text = text.str.to_lowercase().str.replace_all(r"(^|\s)[-−](\d)", "${1}minus $2")
    return text.str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ").str.strip_chars()


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


_QUESTION = r"\b(?:do|does|did|should|would|could|can|why|is|are|how|what|who)\b[^.!?\n]*\?"
# A value of JSON under a key that names an answer.
_JSON_VALUE = rf"(?i)[\"']{_JSON_KEY}[\"']\s*:\s*\[?\s*[\"']?([\p{{L}}\p{{N}} ]{{1,60}}?)[\"']?\s*[,}}\]]"
# A list begins with "1.", whatever follows.
_ENUMERATED = r"^\W*1[.)]\s+\S"
# Short answers stand in many sentences that do not give them ("no idea", "I have 3 children"): they count at the
# beginning, before punctuation, or as what is said at the end.
_SHORT = r"^(?:\p{L}{1,3}|\d+)$"
_OPENING = rf"^[^\w−-]*(?:{_any('lead_in')}[\s,.!]+)*([\p{{L}}\p{{M}}\p{{N}}]+)\s*(?:[.,;:!–—\n،。，！؛।]|$)"
_CLOSING = (
    r"(?i)\b(?:(?:answer|reply|response|choice|pick|number|rating|score|value|position|place|view|opinion|vote|it|that|this|"
    r"which|me|here)(?:\s+is|'s)|be|say|said|answer|reply|choose|chose|pick|give it|"
    r"(?:go|going|went|answer|reply|respond) with|"
    r"think|believe|(?:myself|it|this|that|am|be|stand|sit|land|rate|score)(?: \w+)? at|(?:score|rating) of)\s*:?\s+"
    r"(?:an? )?[\"'“]?([\p{L}\p{M}\p{N}]+)[\"'”]?(?: on (?:this|the|that|a) scale\b[^.]*)?\s*[.!]*\s*$"
)


def _options_said(frame: pl.DataFrame) -> pl.DataFrame:
    """What a reply says of the options' texts.

    Adds, each null where there is none:
    - equal: position of the only option whose words are the whole reply, in whatever order, with its mark or without.
    - inside: position of the only option whose words stand in the reply, neither denied nor graded ("important" in
      "not important", "agree" in "somewhat agree") nor, for short ones, at a place where they say something else.
    - opens_with: position of the option whose words stand first, after the mark; opens_unknown: the same where
      that option says that the answer is not known.
    - mismarked: positions of the letters right behind which another option's words stand.
    - short_said: positions of short options that stand where they are said.
    - cut_off: positions of the options that begin with the reply's words.
    """
    frame = frame.with_row_index("id")
    long = (
        frame.select(
            "id",
            pl.format(" {} ", "plain").alias("plain"),
            pl.col("clean").str.to_lowercase().alias("clean"),
            pl.col("options").alias("option"),
            pl.int_ranges(pl.col("options").list.len()).cast(pl.List(pl.Int64)).alias("pos"),
        )
        .explode("option", "pos")
        .with_columns(pl.format(" {} ", _normal(pl.col("option"))).alias("words"))
        .filter(pl.col("words").str.strip_chars() != "")
    )
    # The end of a scale is known by its number, too: "10 (always justifiable)".
    ends = long.with_columns(pl.format(" {} ", pl.col("option").str.extract(r"^(\d+) \(")).alias("words")).drop_nulls()
    long = pl.concat([long, ends])
    in_order = pl.col("plain").str.strip_chars().str.split(" ").list.sort()
    same = in_order == pl.col("words").str.strip_chars().str.split(" ").list.sort()
    mark = pl.col("pos").replace_strict({i: letter.lower() for letter, i in _PLACES.items()}, default="")
    marked = pl.col("plain") == pl.format(" {}{}", mark, "words")
    followed = (pl.col("plain") == pl.format("{}{} ", "words", mark)) & (mark != "")
    equal = _only(long.filter((pl.col("plain") == pl.col("words")) | same | marked | followed), "equal")

    hit = long.filter(pl.col("plain").str.contains(pl.col("words"), literal=True))
    pairs = hit.join(hit.select("id", pl.col("words").alias("other")), on="id")
    shadowed = pairs.filter(
        (pl.col("other") != pl.col("words")) & pl.col("other").str.contains(pl.col("words"), literal=True)
    )
    hit = hit.join(shadowed.select("id", "words").unique(), on=["id", "words"], how="anti")
    word = pl.col("words").str.strip_chars()
    rest = pl.col("plain").str.split(pl.col("words")).list.join(_TAKEN_OUT)
    opening, closing = pl.col("clean").str.extract(_OPENING), pl.col("clean").str.extract(_CLOSING)
    valued = pl.col("clean").str.extract(_JSON_VALUE).str.strip_chars()
    listing = (word == "1") & pl.col("clean").str.contains(_ENUMERATED)
    at_an_end = (word == opening).fill_null(False) & ~listing
    at_an_end = at_an_end | (word == closing).fill_null(False) | (word == valued).fill_null(False)
    # "No, I don't" denies nothing that it says.
    negated = rest.str.contains(_any("negated").replace("n't", "n t")) & ~((word == "no") & (opening == "no"))
    doubtful = negated | rest.str.contains(_any("others")) | rest.str.contains(_any("grading"))
    meant = (~word.str.contains(_SHORT) | at_an_end) & ~doubtful & ~pl.col("clean").str.contains(rf"(?i){_FOREIGN}")
    # What is asked is not said.
    meant = meant & ~pl.col("clean").str.contains(_QUESTION)
    before = pl.col("plain").str.split(pl.col("words")).list.first().str.extract(r"(?:^|\s)([a-z])$")
    quoted = pl.col("clean").str.starts_with("{") & pl.col("clean").str.contains(
        pl.format('"{}"', pl.col("option").str.to_lowercase()), literal=True
    )
    inside = hit.with_columns(
        meant.alias("meant"),
        before.str.to_uppercase().replace_strict(_PLACES, default=None, return_dtype=pl.Int64).alias("behind"),
        word.str.contains(_SHORT).alias("short"),
        quoted.alias("quoted"),
    )
    # "b. too much money" where that is not option B.
    small = pl.col("clean").str.contains(r"^\W*[a-k][.):]\s") & (pl.col("behind") != pl.col("pos"))
    inside = inside.with_columns(pl.col("meant") & ~small.fill_null(False))
    inside = inside.group_by("id").agg(
        pl.col("pos").first().alias("inside"),
        pl.col("pos").n_unique().alias("n"),
        pl.col("meant").any(),
        pl.col("behind").filter(pl.col("behind") != pl.col("pos")).unique().alias("mismarked"),
        pl.col("pos").filter((pl.col("short") & pl.col("meant")) | pl.col("quoted")).unique().alias("short_said"),
    )  # fmt: skip
    # "1, always justifiable" names one end of a scale by its number and the other by its words.
    labels = long.with_columns(_normal(pl.col("option").str.extract(r"^\d+\s*[(:–-]\s*(.+)$")).alias("label"))
    labels = labels.filter(
        (pl.col("label").str.len_chars() > 2)
        & pl.col("plain").str.contains(pl.format(" {} ", "label"), literal=True)
    )  # fmt: skip
    labels = labels.group_by("id").agg(pl.col("pos").unique().alias("labelled"))
    inside = inside.join(labels, on="id", how="left").with_columns(
        pl.col("meant") & pl.col("labelled").list.contains(pl.col("inside")).fill_null(True)
    )
    inside = inside.select(
        "id",
        "mismarked",
        "short_said",
        pl.when((pl.col("n") == 1) & pl.col("meant")).then("inside").alias("inside"),
        pl.col("n").alias("n_inside"),
    )

    after = pl.col("plain").str.replace(r"^ (?:[a-z]|(?:the )?answer(?: is)? [a-z]) ", " ")
    opens = (
        long.filter(after.str.starts_with(pl.col("words")))
        .sort(pl.col("words").str.len_chars(), descending=True)
        .group_by("id")
        .agg(
            pl.col("pos").first().alias("opens_with"),
            pl.col("pos").filter(pl.col("option").str.contains(_any("unknowable"))).first().alias("opens_unknown"),
        )
    )
    cut = long.filter(
        (after.str.strip_chars() != "") & pl.col("words").str.starts_with(after.str.strip_chars_end())
    )  # fmt: skip
    cut_off = cut.group_by("id").agg(pl.col("pos").unique().alias("cut_off"))
    for found in (equal, inside, opens, cut_off):
        frame = frame.join(found, on="id", how="left")
    return frame.drop("id")


def _only(hits: pl.DataFrame, name: str) -> pl.DataFrame:
    """Id and position of replies that one option alone fits."""
    found = hits.group_by("id").agg(pl.col("pos").first().alias(name), pl.col("pos").n_unique().alias("n"))
    return found.filter(pl.col("n") == 1).select("id", name)


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
    found = _cleaned(_said()).str.extract_all(_SHARE)
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
    text = _cleaned(_said())
    return replies.with_columns(
        text.str.contains(_any("disclaims")).alias("disclaims"),
        _unable(text).alias("unable"),
        text.str.contains(_any("condescending")).alias("condescending"),
    )
