"""Normalize replies: remove reasoning, wrappers and markup, and bring characters and words into one form."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.reasoning_text import read_thought

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
# A reply that begins with a letter has given its answer; text below a later heading may belong to another question.
_BEGUN = r"^[\s\W_]*[A-Za-z](?:[\s\W_]*(?:\n|$)|[).:])"


def without_reasoning() -> pl.Expr:
    """The column `text` without its reasoning."""
    return read_thought(pl.col("text").fill_null("")).struct.field("said")


def cleaned_answers(replies: pl.DataFrame) -> pl.Series:
    """Return the column `text` without its reasoning, cleaned.

    It takes two steps, because one expression would repeat the removal of reasoning in each branch of the cleaning.
    """
    said = replies.select(without_reasoning().alias("said"))
    return said.select(cleaned(pl.col("said")).alias("cleaned")).to_series()


def cleaned(text: pl.Expr) -> pl.Expr:
    """Convert compatibility characters, and remove markup, chat-template tokens and wrappers around the answer."""
    text = (
        text.str.normalize("NFKC")
        .str.replace_all("[’‘`´]", "'")
        .str.replace_all(r"[\p{Cf}\x00-\x08\x0e-\x1f]", "")
        .str.replace_all(_TURN, " ")
        # Text after the end of a turn belongs to another speaker.
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
        # Struck-through text does not count.
        .str.replace_all(r"~~[^~\n]{1,200}~~|<(?:del|strike)>[^<]{1,200}</(?:del|strike)>", " ")
        .str.replace_all(r"[*_~]{1,3}", "")
        .str.replace_all(r"```(?:\w+\n)?", "")
        .str.replace_all(r"[\p{Emoji_Presentation}\x{fe0f}✓✔☑✅]", " ")
        .str.replace(r"^\s*\[[xX]\]\s+", "")
        .str.replace_many({"&nbsp;": " ", "&quot;": '"', "&#39;": "'", "&amp;": "&", "&lt;": "<", "&gt;": ">"})
        # Bullets, but not the sign of a number.
        .str.replace(r"^\s*(?:[•→►▶]+|-+\s)[-•→►▶\s]*", "")
        .str.replace(r"^\s*-+([^\d\s-])", "$1")
        # In scripts without spaces, set Latin letters apart.
        .str.replace_all(rf"({_UNSPACED})([A-Z])", "$1 $2")
        .str.replace_all(rf"([A-Z])({_UNSPACED})", "$1 $2")
        .str.strip_chars()
    )


def _unwrapped(text: pl.Expr) -> pl.Expr:
    """The content of the tags around the answer if there is exactly one content; else the text without the tags."""
    inner = text.str.extract_all(_WRAPPER).list.eval(pl.element().str.extract(_WRAPPER).str.strip_chars())
    inner = inner.list.eval(pl.when(pl.element() != "").then(pl.element())).list.drop_nulls()
    inner = inner.list.unique(maintain_order=True)
    apart = text.str.replace_all(rf"(?i)(?:</?{_WRAPPED}>\s*)+", " | ")
    return pl.when(inner.list.len() == 1).then(inner.list.first()).otherwise(apart)


def _below_heading(text: pl.Expr) -> pl.Expr:
    """The text below the last heading such as "Solution" or "Final answer"."""
    return pl.when(text.str.contains(_BEGUN)).then(text).otherwise(text.str.replace(_HEADING, "$1"))


def _last_boxed(text: pl.Expr) -> pl.Expr:
    r"""The content of the last LaTeX box (`\boxed{C}`), unless it is joined to the one before it."""
    boxed = text.str.extract_all(_BOXED).list.last().str.extract(_BOXED)
    together = text.str.contains(_BOXED_TOGETHER) | text.str.contains(_BOXED_DENIED)
    return pl.when(boxed.is_not_null() & ~together).then(boxed).otherwise(text.str.replace_all(_BOXED, "$1"))


def without_articles(text: pl.Expr) -> pl.Expr:
    """Write articles as "a": "A" before a word is an article, unless that word can only follow an option's letter."""
    return (
        text.str.replace_all(r"\b((?i:option|letter|choice|answer))\s+A\b", "$1 (A)")
        .str.replace_all(
            r"\bA (because|since|as|is|and|or|for|would|seems|but|with|in|fits|then|wählen|nehmen|antworten)\b", "A, $1"
        )
        .str.replace_all(r"\bA ([a-z])", "a $1")
        # "I" is nearly always the pronoun.
        .str.replace_all(r"\bI (because|since|as|is|and|or|for|seems|but|fits|then)\b", "I, $1")
        .str.replace_all(r"\bI\s+([a-z])", "i $1")
        # "C'est", "D'accord" and "L'argent" do not begin with an option's letter.
        .str.replace_all(r"\b([CDJLMNST])'(\p{Ll})", "${1}ʼ${2}")
    )


def plain_words(text: pl.Expr) -> pl.Expr:
    """The words in lower case, separated by single spaces."""
    text = text.str.to_lowercase().str.replace_all(r"(^|\s)[-−](\d)", "${1}minus $2")
    return text.str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ").str.strip_chars()
