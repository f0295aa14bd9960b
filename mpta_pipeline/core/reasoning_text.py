"""Reasoning inside the text of a reply: the marks by which models open and close it, and what they say after it.

Servers without a reasoning parser, or with the wrong one, leave a model's thought in the content. The forms below are
those of published chat templates and of public bug reports. Each exists once, as a regular expression that Python and
polars (Rust) both understand: the engine uses it to find an answer's own tokens, the parser to find the answer.
"""

from __future__ import annotations

import re

import polars as pl

_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: they stand for a mark while a text is being read

_NAMES = (
    r"(?:seed:think|think(?:ing)?|thoughts?|thought_process|reason(?:ing)?|analysis|scratch_?pad|reflection|"
    r"ant[_:]?thinking|inner_?(?:monologue|thoughts?|voice)|monologue|rationale|cot|chain_of_thought|deliberation|"
    r"internal(?:_reasoning|_monologue|_thoughts?)?)"
)
_THINKING = r"(?:think(?:ing)?|th?ought|reasoning)"
# (pattern, mark): what opens a thought and what ends it. `$1` is kept.
_MARKS: tuple[tuple[str, str], ...] = (
    # Harmony (gpt-oss): channels analysis and commentary are thought, final is the answer.
    (r"<\|channel\|>\s*final[^<\n]{0,40}(?:<\|constrain\|>\w*)?(?:<\|message\|>)", _CLOSE),
    (r"<\|channel\|>\s*(?:analysis|commentary)[^<\n]{0,80}(?:<\|constrain\|>\w*)?(?:<\|message\|>)?", _OPEN),
    # The same with its special tokens skipped: "analysisWe need … assistantfinalB".
    (r"assistant\s?final([^a-z]|$)", _CLOSE + "$1"),
    (r"^\s*(?:assistant)?(?:analysis|commentary)(?:[ \t]*\n|([A-Z\"'(“]))", _OPEN + "$1"),
    # Gemma: <|channel>thought … <channel|>
    (r"<\|channel>\s*(?:thought|analysis)", _OPEN),
    (r"<channel\|>", _CLOSE),
    # MedGemma writes its thought between two unused tokens.
    (r"<unused94>(?:\s*thought\b)?", _OPEN),
    (r"<unused95>", _CLOSE),
    # Cohere: <|START_THINKING|>. Apertus: <|inner_prefix|>. Sky-T1: <|begin_of_thought|>; DeepSeek's bars are wide.
    (rf"(?i)<[|｜](?:start|begin)[_▁ ](?:of[_▁ ])?{_THINKING}[|｜]>|<[|｜](?:inner_prefix|{_THINKING})[|｜]>", _OPEN),
    (rf"(?i)<[|｜]end[_▁ ](?:of[_▁ ])?{_THINKING}[|｜]>|<[|｜](?:inner_suffix|/{_THINKING})[|｜]>", _CLOSE),
    # s1 opens a turn for its thought and another one for its answer.
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


LONGEST = 50_000  # characters; a reply of more is looked into by table operation only, whose time is linear


def after_thought(text: str) -> str:
    """What a reply says after its thought; empty where the thought never ended, a very long text as it is."""
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
    """The same by table operation.

    Returns:
        A struct: said (what stands after the thought, or before one that never ended), thought (there was one),
        unended (it never ended: what stands before it was no answer yet).
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
