"""Closed lists of values that several packages share, each defined once."""

from __future__ import annotations

from typing import Literal, get_args

Style = Literal["prose", "bullets", "json", "oneliner", "biography"]
Framing = Literal["you_are", "user_is", "third_person", "forecast"]
Condition = Literal[
    "persona",
    "no_persona",
    "demographics_only",
    # Nobody is shown: the shares of the answers in a described group are asked for.
    "group",
    # Controls: the traits of another respondent, neutral text of the same length, the persona without one domain.
    "shuffled_country",
    "shuffled_any",
    "placebo",
    "without_demographic",
    "without_belief",
    "without_value",
    "without_attitude",
]
Elicitation = Literal["letter", "option_logprob", "verbalized", "free_text"]
Domain = Literal["demographic", "belief", "value", "attitude"]
DataUse = Literal["any", "local_only"]
MissingKind = Literal[
    "dont_know",
    "refused_or_no_answer",
    "not_applicable",
    "not_asked",
    "not_available_release",
    "invalid",
    "skipped_web",
    "below_threshold",
]
Severity = Literal["error", "warn"]

CONDITIONS: tuple[Condition, ...] = ("persona", "no_persona", "demographics_only")
"""The default conditions of a study."""
ELICITATIONS: tuple[str, ...] = get_args(Elicitation)
DOMAINS: tuple[Domain, ...] = get_args(Domain)
DATA_USES: tuple[str, ...] = get_args(DataUse)
STATUSES = ("ok", "refused", "unparsed", "error")
UNPARSED_REASONS = (
    "empty", "cut_off", "no_option", "several_options", "conflict", "thought_only", "foreign", "no_distribution",
)  # fmt: skip
"""Why a reply is unparsed: it is empty; the token limit cut it off; it names no option; it names several; it
contradicts itself; it holds only reasoning; it is in another script than the options; it states no shares of the
options, as it was asked to."""
SCORINGS = ("key", "probability_mass", "reference", "none")
"""How an answer is scored: 1 for the answer key; the probability on the options that are right; open text against the
reference; not at all, because no answer is right."""
ANSWER_SETS = ("acceptability", "stance")
"""Options with a fixed meaning that metrics rely on: acceptable, not acceptable, neither; agree, neither, disagree."""
REFUSED_FINISHES = (
    "content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "sensitive",
)  # fmt: skip
"""Finish reasons (lower case) by which a provider reports that it withheld the reply."""
CUT_OFF_FINISHES = (
    "incomplete", "length", "max_output_tokens", "max_tokens", "model_context_window_exceeded", "model_length",
)  # fmt: skip
"""Finish reasons (lower case) by which a provider reports that the token limit cut the reply off."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The letters that name options in prompts and replies."""
GROUP_CONDITION: Condition = "group"
"""The condition that asks about a described group. Its prompts and scores are about groups, not about persons."""
REFERENCE_CONDITION: Condition = "no_persona"
"""The condition with which all others are compared."""
VERDICTS = ("gap", "no_gap", "inconclusive")
PEOPLE_VERDICTS = ("reproduces", "understates", "overstates", "reverses", "cannot_tell")
"""How an experiment's effect on a model's answers compares with that on people's."""
MISSING_KINDS: tuple[MissingKind, ...] = get_args(MissingKind)
