"""Find the letters by which a reply names options, and those that it does not pick.

`LETTER_RULES` lists the ways to name a letter, in the order in which they are tried; their words are in `replies.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from mpta_pipeline.core.vocabulary import LETTERS
from mpta_pipeline.tasks.parsing.normalization import without_articles
from mpta_pipeline.tasks.parsing.phrases import any_phrase

PLACES = {letter: place for place, letter in enumerate(LETTERS)}
# A letter that marks an option: B, (B), [B], B), "B". Markup (**B**) has been removed by then.
MARK = r"[\(\[\{\"'“‘<]*\s*([A-Z])\s*[\)\]\}\"'”’>]*"
_END = r"(?:[\s.,;:!?)\]。、।،؛؟\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]|$)"
_ANSWER_WORD, _IS, _PICKING, _FINAL, _HENCE = (any_phrase(n) for n in ("answer", "is", "picking", "final", "hence"))
_LEAD_IN = any_phrase("lead_in")


@dataclass(frozen=True)
class LetterRule:
    """A way to name an option by its letter. All matches in a reply must agree."""

    name: str
    pattern: str


_LEAD = (
    r"(?i:option|letter|choice|the|number|la |el |l'|die |das |den |opción|respuesta|letra|antwort|buchstabe|réponse|"
    r"lettre|вариант|ответ|букву|الخيار|الإجابة|الجواب|الحرف|选项|答案|विकल्प|उत्तर|\s)*\s*"
)
JSON_KEY = r"\w*(?:answer|choice|option|letter|response|selection|selected|result|pick|content)\w*"
# The first rule with a match decides. If its matches name several letters, nothing is picked.
LETTER_RULES: tuple[LetterRule, ...] = (
    LetterRule("alone", rf"^\s*{MARK}\s*[.:,;!?)\]。、।،]*\s*$"),
    LetterRule("numbered", rf"^\s*(?:Q(?:uestion)?\.?\s*\d{{1,2}}|1)\s*[.:)]\s*{MARK}\s*[.:,;!?)\]]*\s*$"),
    LetterRule("alone, lower case", r"^\s*(?:(?i:option|answer|choice|letter)\s+)?\(?([a-k])\)?\s*[.:)]*\s*$"),
    LetterRule("json", rf"(?i)[\"']{JSON_KEY}[\"']\s*:\s*\[?\s*[\"']?\(?([A-Z])\)?[\"'.):\]}}]"),
    LetterRule("final answer", rf"(?i:final|correct|overall)\s+{_ANSWER_WORD}\s*{_IS}\s*{_LEAD}{MARK}{_END}"),
    LetterRule(
        "hence",
        rf"{_HENCE},?\s+(?:{_FINAL}\s+)*"
        rf"{_ANSWER_WORD}\s*{_IS}\s*{_LEAD}{MARK}{_END}",
    ),
    LetterRule("therefore B", rf"(?i:therefore|thus),?\s+(?:{_FINAL}\s+)*{MARK}\s*[.!]*\s*$"),
    LetterRule(
        "answer is",
        rf"{_ANSWER_WORD}(?:\s+(?i:final|finale|correcta|correcte|correta|الصحيحة|النهائية|الصحيح|النهائي))?\s*{_IS}\s*(?:{_IS}|\s)*{_LEAD}{MARK}{_END}",
    ),
    LetterRule("answer: b", r"(?i)(?:answer|choice|option)\s*(?:is\s*:?|:|=)\s*\(?([a-k])\)?[.)]*\s*$"),
    LetterRule("I choose", rf"{_PICKING}\s*(?i:my|answer|for|:|\s)*{_LEAD}{MARK}{_END}"),
    LetterRule("option B", rf"{any_phrase('named')}\s+{MARK}{_END}"),
    LetterRule("B I choose", rf"(?:^|\s|،){MARK}\s*{any_phrase('picked')}"),
    LetterRule("mark first", r"^\s*[\(\[]*([A-Z])\s*(?:[\)\]:：、][\)\].:：、]*\s*|\.\s+)\S"),
    LetterRule("mark, dash", r"^\s*[\(\[]*([A-HJ-Z])[\)\]]*\s+[-–—]\s+\S"),
    LetterRule("mark, line", r"^\s*([A-Z])\s*\n"),
    LetterRule("mark, reason", rf"^\s*([A-HJ-Z])(?:,\s|\s+{any_phrase('reason')}\b)"),
    LetterRule("lead-in", rf"^\W*(?:{_LEAD_IN}[\s,.:;!…-]*)+{MARK}\s*(?:[.,;!]|\?\s*$|$)"),
    LetterRule("fits", rf"(?:^|[\s(\"'])([A-Z])[)\]\"'.:]*\s+(?:{_LEAD_IN}\s+)?{any_phrase('fitting')}"),
    LetterRule(
        "it is",
        rf"\b(?i:it|that|this)(?i:'s|\s+is|\s+would\s+be|\s+will\s+be|\s+must\s+be)\s+(?:{_LEAD_IN}\s+)*{MARK}\s*[.!?]*\s*$",
    ),
)
# Rules that state the answer, so that other letters in the reply are only mentioned.
SURE_RULES = ("json", "final answer", "hence", "therefore B", "answer is", "I choose")
# Rules that state a conclusion: a letter at the beginning of the reply was not yet the answer.
CONCLUDING_RULES = ("json", "final answer", "hence", "therefore B")
# Rules that look at the beginning of the reply.
FIRST_RULES = ("mark first", "mark, dash", "mark, line")
# Letters that the reply does not pick: it denies them, attributes them to others, or joins several. They are removed
# before the rules are applied. "I" is not among them, because it is nearly always the pronoun.
LETTER = r"\b[A-HJ-K]\b"
_CLAUSE = r"[^.,;:!?\n]*"
_BETWEEN = r"(?i:(?:option|letter|answer|choice|maybe|perhaps|possibly|probably|also|even|then|the|with)\s+)*"
JOINED = rf"{LETTER}[\"')\]]*\s*{any_phrase('joining')}\s*{_BETWEEN}[\"'(\[]*{LETTER}"
_UNPICKED = (
    rf"(?:{any_phrase('denying')}|{any_phrase('others')}){_CLAUSE}{LETTER}{_CLAUSE}",
    rf"{LETTER}{any_phrase('denied')}",
    rf"{any_phrase('asking')}{_CLAUSE}{LETTER}{_CLAUSE}\?",
    # "The wrong answer: B", "my second choice is B"; a key of JSON such as "least_likely_answer".
    rf"{any_phrase('astray')}[^.,;!?\n]*{LETTER}",
    r"(?i)[\"'](?:least|reject|wrong|incorrect|second|third|worst|unlikely|exclude|not_?(?:chosen|picked|selected|answer))"
    r"\w*[\"']\s*:\s*"
    r"(?:\"[^\"]*\"|\[[^\]]*\]|[^,}\]]*)",
    # Two marks next to each other.
    rf"{LETTER}[)\]]?[ \t]+[(\[]?\b[B-HJ-K]\b(?:[\s).,]|$)",
    # The heading of a repeated list of options.
    r"(?i)\b(?:options|choices)\s*:\s",
)
TAKEN_OUT = " ¦ "
# A separate letter anywhere in the reply. "A" is also a word, so punctuation must follow it; "I" does not count.
STANDING = r"(?:^|[\s(\[\"'“:])((?:[B-HJ-K])|A(?:[.,;:!)\]\"'”]|\s*$))(?:[\s.,;:!?)\]\"'”]|$)"
LISTED = r"(?:^|[\s(])([A-Z])\)\s"
# A mark directly after a mark: "A: B" may abbreviate a question and its answer, or be two answers.
MARKED_TWICE = r"^\W*([A-Z])\s*[:.)\n]\s*[(\"'\[]*([A-HJ-Z])(?:[\s.):,;!?]|$)"
# A retraction: "C. Wait, actually A."
RETRACTED = (
    r"\b(?i:wait|actually|correction|scratch that|on second thought|on reflection|i mean|make that|or|no)\b"
    r"[\s,.:;!–—-]*"
    r"(?i:(?:it's|it is|the answer is|i (?:choose|pick|say)|maybe|perhaps|make that|actually|option|rather)\s+)*"
    r"[(\"']*([A-HJ-K])\b"
)
# A correction, which counts whatever came before it.
CORRECTED = r"(?i:\bi meant?|\bcorrection|\bscratch that|\bmake that)[\s,.:;!–—-]*(?i:to say\s+)?[(\"']*([A-HJ-K])\b"
# Letters of other alphabets that look like Latin ones or have another rank: the third letter of Russian looks like B.
# "Я" is left out: it is the pronoun with which most Russian sentences begin.
FOREIGN_LETTER = r"^\W*[\p{Greek}[\p{Cyrillic}--[Яя]]](?:[\s.):]|$)"
# The letter that a reply opens with as a mark: alone, or before anything that does not continue a word.
OPENS = r"^[\s(\[{\"'“<]*([A-Z])(?:[^\p{L}\p{N}'’-]|$)"

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
ORDINAL = (
    r"(?i)\bthe\s+(" + "|".join((*_ORDINALS, "last")) + r")\s+(?:option|answer|choice|one|statement|alternative)\b"
)


def offered(text: pl.Expr) -> pl.Expr:
    """Remove the letters that the text does not pick: denied, attributed to other people, or joined."""
    text = text.str.replace_all(JOINED, TAKEN_OUT)
    # A conclusion drawn from a denial is not denied: "I do not believe in God so I choose B".
    text = text.str.replace_all(r"(?i)\s+((?:and )?(?:so|therefore|thus|hence)|but)\s", ", $1 ")
    for pattern in _UNPICKED:
        text = text.str.replace_all(pattern, TAKEN_OUT)
    return without_articles(text)


def letters_found(text: pl.Expr, pattern: str) -> pl.Expr:
    """The distinct values of the pattern's first group."""
    found = text.str.extract_all(pattern).list.eval(
        pl.element().str.extract(pattern, 1).str.head(8).str.strip_chars(" .,;:!)]\"'”\n")
    )
    return found.list.drop_nulls().list.unique(maintain_order=True)


def place_of(letters: pl.Expr) -> pl.Expr:
    """Position in the alphabet of the only letter, in upper or lower case; null if letters differ or are absent."""
    upper = letters.list.eval(pl.element().str.to_uppercase()).list.unique()
    return pl.when(upper.list.len() == 1).then(
        upper.list.first().replace_strict(PLACES, default=None, return_dtype=pl.Int64)
    )


def ordinal_place(k: pl.Expr) -> pl.Expr:
    """The position that "the second option" or "the last one" names; null unless exactly one is named."""
    places = dict(zip(_ORDINALS, range(len(_ORDINALS)), strict=True)) | {"last": -1}
    word = pl.col("ordinals").list.eval(pl.element().str.to_lowercase()).list.unique()
    place = word.list.first().replace_strict(places, default=None, return_dtype=pl.Int64)
    return pl.when(word.list.len() == 1).then(pl.when(place == -1).then(k - 1).otherwise(place))
