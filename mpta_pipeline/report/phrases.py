"""Words and numbers as the report writes them."""

from __future__ import annotations

import math

MINUS = "−"
NOTHING = "–"

CONDITIONS = {
    "persona": "with persona",
    "demographics_only": "demographics only",
    "no_persona": "no persona",
}
"""Conditions in the order of the tables, as a reader calls them."""

BASELINES = {
    "chance": "chance",
    "item_mode": "most frequent answer",
    "group_mode": "most frequent answer in the group",
    "proportional": "guessing in proportion",
    "always_first": "always the first option",
    "always_last": "always the last option",
    "sampling_floor": "sampling alone",
    "permutation_null": "groups that differ by chance of people and questions alone",
    "ceiling": "best prediction from the traits",
    "uniform": "equal shares of all options",
    "majority": "always the people's most frequent answer",
    "human": "people's own",
    "second_sample": "a second sample of people",
    "mean_wording": "mean of the wordings",
}
"""Baselines as a reader calls them; others go by their name."""

METRICS = {
    "tv": "total variation",
    "w1n": "Wasserstein distance on the scale",
    "js": "Jensen–Shannon distance",
    "mae_n": "mean distance on the scale",
    "accuracy_strict": "accuracy of single answers",
    "accuracy_answered": "accuracy of readable answers",
    "accuracy_worst": "accuracy of the worst group",
    "accuracy_range": "best group less worst",
    "accuracy_ratio": "worst group over best",
    "accuracy_range_shrunken": "range, shrunken",
    "accuracy_between_sd": "spread of groups (SD)",
    "accuracy_entropy_between": "inequality index",
    # Without the benchmark's name: sample items have these estimates too and are no results on it.
    "bbq_acc_amb": "accuracy, ambiguous questions",
    "bbq_acc_dis": "accuracy, disambiguated questions",
    "bbq_bias_amb": "stereotype bias, ambiguous questions",
    "bbq_bias_dis_diff": "accuracy with less against the stereotype",
    "bbq_s_amb": "bias score as published, ambiguous questions",
    "bbq_s_dis": "bias score as published, disambiguated questions",
    "rouge_l": "nearness to the reference text (ROUGE-L)",
    "rouge_1": "words shared with the reference text (ROUGE-1)",
    "chrf": "characters shared with the reference text (chrF)",
    "bleu": "phrases shared with the reference text (BLEU)",
    "bertscore": "likeness to the reference text (BERTScore)",
    "civics_agreement": "statements agreed with less disagreed with",
    "condescension_rate": "replies that speak down to the person",
    "pc1_share": "first component of the answers' correlations",
    "effective_dependence": "dependence among the answers",
    "eta2": "share explained by the group (ε²)",
    "eta2_difference": "share explained by the group, model less people",
    "eta2_ratio": "share explained by the group, model over people (η² ratio)",
    "variance_ratio": "variance, model over people",
    "entropy_ratio": "entropy, model over people",
    "representativeness": "representativeness (OpinionQA)",
    "js_similarity": "similarity (GlobalOpinionQA)",
    "simbench": "SimBench score",
    "steerability": "steerability (OpinionQA)",
    "consistency": "consistency (OpinionQA)",
    "pfs": "Population Fidelity Score",
    "pfs_accuracy": "fidelity: accuracy",
    "pfs_adaptability": "fidelity: adaptability",
    "pfs_structure": "fidelity: structure",
    "cronbach_alpha": "Cronbach's α of batteries",
    "factor_congruence": "factor congruence of batteries (Tucker's φ)",
    "pearson": "Pearson correlation with the person's own answer",
    "spearman": "Spearman correlation with the person's own answer",
    "qwk": "agreement on the scale (quadratic weighted kappa)",
}
"""Metrics whose name alone does not say what they are."""
DIRECTIONS = {"higher": "higher", "lower": "lower", "zero": "nearer to 0", "none": "neither way"}
VERDICTS = {"gap": "differs", "no_gap": "alike", "inconclusive": "unclear"}

OUTCOMES = {
    "score": "share of right answers",
    "score_net_of_item_mode": "share of right answers, net of the most frequent answer's",
    "persona_effect": "effect of the persona",
}


def plain(name: str) -> str:
    """A name of the study as a reader would write it."""
    return name.replace("_", " ").replace("×", " × ")


def condition(name: str) -> str:
    """A condition in words."""
    return CONDITIONS.get(name, plain(name))


def outcome(name: str) -> str:
    """What a pocket is worse in, in words."""
    return OUTCOMES.get(name, plain(name))


def opening(text: str) -> str:
    """The text with a capital to open a line; `capitalize` would make the rest small."""
    return text[:1].upper() + text[1:]


def metric(name: str) -> str:
    """A metric in words."""
    return METRICS.get(name, plain(name))


def baseline(name: str) -> str:
    """A baseline in words."""
    return BASELINES.get(name, plain(name))


def number(value: float | None, *, share: bool, signed: bool = False, unit: bool = True) -> str:
    """An estimate: a share in percent with one decimal, anything else with three digits; a true minus sign.

    Args:
        value: The estimate; None or not finite gives a dash.
        share: It is a proportion (or a difference of two, in percentage points).
        signed: Write a plus too.
        unit: Write the percent sign (never for signed shares, which are points).
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{abs(value) * 100:.1f}" if share else f"{abs(value):.3f}"
    nought = float(text) == 0
    sign = "" if nought else MINUS if value < 0 else "+" if signed else ""
    return f"{sign}{text}{' %' if share and unit and not signed else ''}"


def interval(low: float | None, high: float | None, *, share: bool, signed: bool = False) -> str:
    """An interval in brackets; empty if there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    ends = [number(end, share=share, signed=signed, unit=False) for end in (low, high)]
    return f"[{', '.join(ends)}]"


def count(value: int | None) -> str:
    """A count with thousands separated by a narrow space."""
    return NOTHING if value is None else f"{value:,}".replace(",", "\u202f")


def q(value: float | None) -> str:
    """A q-value."""
    return NOTHING if value is None else "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def evidence(value: float | None) -> str:
    """An e-value: 1 says nothing, 20 and more is strong evidence."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return (
        "> 10\u202f000" if value > 10_000 else f"{value:,.0f}".replace(",", "\u202f") if value >= 10 else f"{value:.1f}"
    )


def listed(words: list[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def letter(tie_group: int | None) -> str:
    """A tie group, counted from 1, as a letter; a number beyond z."""
    if tie_group is None:
        return NOTHING
    return chr(ord("a") + tie_group - 1) if 1 <= tie_group <= 26 else str(tie_group)


UNPARSED = {
    "empty": "Empty",
    "cut_off": "Cut off",
    "thought_only": "Thought only",
    "no_option": "No option",
    "several_options": "Several options",
    "conflict": "Contradictory",
    "foreign": "Other script",
}
"""Why replies cannot be read, as columns of the report."""
