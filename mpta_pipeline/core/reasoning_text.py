"""Find reasoning in a reply by the marks that open and close it, and return the text after it.

Servers without a reasoning parser, or with the wrong one, leave reasoning in the content. The forms below come from
published chat templates and public bug reports. Each is one regular expression that both Python and polars (Rust)
understand: the engine uses it to find an answer's own tokens, and the parser to find the answer.
"""

from __future__ import annotations

import re

import polars as pl

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters that replace the marks while a text is read

_NAMES = (
    r"(?:seed:think|think(?:ing)?|thoughts?|thought_process|reason(?:ing)?|analysis|scratch_?pad|reflection|"
    r"ant[_:]?thinking|inner_?(?:monologue|thoughts?|voice)|monologue|rationale|cot|chain_of_thought|deliberation|"
    r"internal(?:_reasoning|_monologue|_thoughts?)?)"
)
_THINKING = r"(?:think(?:ing)?|th?ought|reasoning)"
# (pattern, mark): what opens reasoning and what closes it. `$1` is kept.
_MARKS: tuple[tuple[str, str], ...] = (
    # Harmony (gpt-oss): the channels analysis and commentary are reasoning, final is the answer.
    (r"<\|channel\|>\s*final[^<\n]{0,40}(?:<\|constrain\|>\w*)?(?:<\|message\|>)", _CLOSE),
    (r"<\|channel\|>\s*(?:analysis|commentary)[^<\n]{0,80}(?:<\|constrain\|>\w*)?(?:<\|message\|>)?", _OPEN),
    # The same with its special tokens skipped: "analysisWe need … assistantfinalB".
    (r"assistant\s?final([^a-z]|$)", _CLOSE + "$1"),
    (r"^\s*(?:assistant)?(?:analysis|commentary)(?:[ \t]*\n|([A-Z\"'(“]))", _OPEN + "$1"),
    # Gemma: <|channel>thought … <channel|>
    (r"<\|channel>\s*(?:thought|analysis)", _OPEN),
    (r"<channel\|>", _CLOSE),
    # MedGemma writes its reasoning between two unused tokens.
    (r"<unused94>(?:\s*thought\b)?", _OPEN),
    (r"<unused95>", _CLOSE),
    # Cohere: <|START_THINKING|>. Apertus: <|inner_prefix|>. Sky-T1: <|begin_of_thought|>; DeepSeek's bars are wide.
    (rf"(?i)<[|｜](?:start|begin)[_▁ ](?:of[_▁ ])?{_THINKING}[|｜]>|<[|｜](?:inner_prefix|{_THINKING})[|｜]>", _OPEN),
    (rf"(?i)<[|｜]end[_▁ ](?:of[_▁ ])?{_THINKING}[|｜]>|<[|｜](?:inner_suffix|/{_THINKING})[|｜]>", _CLOSE),
    # s1 opens one turn for its reasoning and another for its answer.
    (r"<\|im_start\|>\s*think\b", _OPEN),
    (r"<\|im_start\|>\s*answer\b", _CLOSE),
    # Tags: <think>, [THINK], ◁think▷, &lt;think&gt;, and closed ones.
    (rf"(?i)(?:<|&lt;|◁)/\s*{_NAMES}\s*(?:>|&gt;|▷)|\[/(?:think(?:ing)?|thought)\]", _CLOSE),
    (rf"(?i)(?:<|&lt;|◁){_NAMES}(?:\s[^<>\n]{{0,80}})?(?:>|&gt;|▷)|\[(?:think(?:ing)?|thought)\]", _OPEN),
    (r"(?is)^\s*<details\s[^<>\n]{0,80}reasoning[^<>\n]{0,80}>.*?</details>", _OPEN + _CLOSE),
    # In words: Granite, Apriel, Ollama's command line.
    (
        r"(?is)^\s*here(?:'s|’s| is| are) my (?:thought process|reasoning steps|reasoning|thoughts|thinking)\s*:"
        r".*?here(?:'s|’s| is) my (?:final )?(?:response|answer|reply)\s*:",
        _OPEN + _CLOSE,
    ),
    (r"(?i)^\s*here(?:'s|’s| is| are) my (?:thought process|reasoning steps)\s*:", _OPEN),
    (r"(?i)\[BEGIN FINAL RESPONSE\]", _CLOSE),
    (r"^\s*Thinking\.\.\.[ \t]*\n", _OPEN),
    (r"\.\.\.\s?done thinking\.?", _CLOSE),
)
_WHOLE = rf"(?s){_OPEN}[^{_CLOSE}]*{_CLOSE}"
_BEFORE = rf"(?s)^.*{_CLOSE}"
_UNENDED = rf"(?s){_OPEN}.*$"


LONGEST = 50_000  # characters; longer replies are read only by table operation, whose time is linear


def after_thought(text: str) -> str:
    """The text after the reasoning; empty if the reasoning never ends. Texts beyond `LONGEST` stay unchanged."""
    if len(text) > LONGEST:
        return text
    text = text.replace(_OPEN, "").replace(_CLOSE, "")
    for pattern, mark in _MARKS:
        text = re.sub(pattern, mark.replace("$1", r"\g<1>") if "$1" in mark else mark, text)
    if _OPEN not in text and _CLOSE not in text:
        return text
    text = re.sub(_BEFORE, " ", re.sub(_WHOLE, " ", text))
    return "" if _OPEN in text else text


def read_thought(text: pl.Expr) -> pl.Expr:
    """Find the text after the reasoning by table operation.

    Returns:
        A struct: said (the text after the reasoning, or before unended reasoning), thought (there is reasoning),
        unended (the reasoning never ends, so that the text before it is not an answer yet).
    """
    marked = text.str.replace_all(f"[{_OPEN}{_CLOSE}]", "")
    for pattern, mark in _MARKS:
        marked = marked.str.replace_all(pattern, mark.replace("$1", "${1}"))
    left = marked.str.replace_all(_WHOLE, " ").str.replace(_BEFORE, " ")
    return pl.struct(
        left.str.replace(_UNENDED, " ").alias("said"),
        marked.str.contains(f"[{_OPEN}{_CLOSE}]").alias("thought"),
        left.str.contains(_OPEN, literal=True).alias("unended"),
    )
