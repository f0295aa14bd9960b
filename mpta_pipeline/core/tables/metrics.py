"""Declare the tables of scores and of the estimates computed from them."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns
from mpta_pipeline.core.vocabulary import (
    ANSWER_SETS,
    PEOPLE_VERDICTS,
    SCORINGS,
    STATUSES,
    UNPARSED_REASONS,
    VERDICTS,
)

PEOPLE_SHARES = Table(
    "people_shares",
    "What people answered: the share of each option of an item by group, with its design-based error. Groups below the "
    "study's minimum size are left out.",
    ("task", "survey", "item_id", "dimensions", "subgroup", "weighted", "option"),
    (
        *shared_columns("task", "survey", "item_id"),
        Column("dimensions", pl.String, "Trait or intersection; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("option", pl.Int64, "Canonical index of the option", ge=0),
        Column("answer", pl.String, "The option's text"),
        Column("share", pl.Float64, "Share of people who chose the option", ge=0, le=1),
        Column("se", pl.Float64, "Standard error, linearized over strata and sampling units", nullable=True, ge=0),
        Column("ci_low", pl.Float64, "Lower end of the interval; its confidence is 1 − figures.level", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("n_people", pl.Int64, "People with an answer to the item", ge=1),
        Column(
            "deff",
            pl.Float64,
            "Design effect: variance relative to a simple random sample of the same size",
            nullable=True,
        ),
        Column(
            "method",
            pl.String,
            "How the error was computed: by the survey design, with single-unit strata noted, or by weights only",
        ),
    ),
)

# chrF and BLEU by sacrebleu, ROUGE (F1) by rouge-score; bertscore (F1) is null unless it was requested.
TEXT_SCORES = pl.Struct(dict.fromkeys(("chrf", "bleu", "rouge_1", "rouge_l", "bertscore"), pl.Float64))

SCORES = Table(
    "scores",
    "One row per answer: the option picked, the answer key and the status. No answer is left out.",
    ("model", "prompt_id"),
    (
        *shared_columns("model", "task", "prompt_id"),
        Column("request_hash", pl.String, "Key of the answer in the ledger"),
        *shared_columns("condition", "survey", "wave", "persona", "item_id"),
        Column("kind", pl.String, "Kind of task"),
        Column("cluster_id", pl.String, "Cluster of the item"),
        Column("category", pl.String, "Category within the task", nullable=True),
        Column("style", pl.String, "Style of the persona text"),
        Column("framing", pl.String, "Framing of the persona text"),
        Column("paraphrase_id", pl.Int64, "Paraphrase of the framing"),
        Column("repeat_id", pl.Int64, "Repeat of the same prompt"),
        Column("elicitation", pl.String, "How the answer was requested"),
        Column("order_id", pl.Int64, "Option order"),
        Column("k_options", pl.Int64, "Number of options; 0 for open text", ge=0),
        Column("ordinal", pl.Boolean, "The options are ordered"),
        Column("scoring", pl.String, "How the answer is scored", isin=SCORINGS),
        Column("answer_set", pl.String, "Fixed meaning of the options, as in items", nullable=True, isin=ANSWER_SETS),
        Column("gold_idx", pl.Int64, "Canonical index of the answer key; null if there is none", nullable=True, ge=0),
        Column("gold_pos", pl.Int64, "Its shown position", nullable=True, ge=0),
        Column(
            "pred_idx", pl.Int64, "Canonical index of the option picked; null unless the status is ok", nullable=True
        ),
        Column("pred_pos", pl.Int64, "Its shown position", nullable=True),
        Column("p_vec", pl.List(pl.Float64), "Option probabilities in canonical order, summing to 1", nullable=True),
        Column(
            "letter_share",
            pl.Float64,
            "Share of probability on the options' letters at the answer's first token; null if unknown. Below the "
            "minimum share, the answer has no p_vec",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column("status", pl.String, "What became of the request", isin=STATUSES),
        Column(
            "unparsed_reason",
            pl.String,
            "Why the reply is unparsed; null if it is parsed, or was parsed outside the pipeline",
            nullable=True,
            isin=UNPARSED_REASONS,
        ),
        Column(
            "score",
            pl.Float64,
            "1 if the option picked is the answer key, else 0; ROUGE-L for open text; null unless ok and with a key",
            nullable=True,
        ),
        Column(
            "bias",
            pl.Float64,
            "BBQ: +1 biased, -1 counter-biased, 0 unknown; CIVICS: +1 agrees, -1 disagrees, 0 neither; null elsewhere",
            nullable=True,
        ),
        Column(
            "text_scores",
            TEXT_SCORES,
            "Similarity of open text to its reference, each 0 to 1; null otherwise",
            nullable=True,
        ),
        Column(
            "condescending", pl.Boolean, "The reply speaks down to the person; null if there is no reply", nullable=True
        ),
        Column("weight", pl.Float64, "Panel weight; null without a survey weight", nullable=True),
        Column(
            "scale_reversed",
            pl.Boolean,
            "The options were shown along their scale, from its last point to its first; false from first to last; "
            "null in other orders and for options that are no scale",
            nullable=True,
            optional=True,
        ),
        Column(
            "scale_place",
            pl.Float64,
            "Place of the answer on the item's scale, from 0 (first option in canonical order) to 1, evenly spaced; "
            "the expected place if the answer has probabilities; null beside the scale",
            nullable=True,
            ge=0,
            le=1,
            optional=True,
        ),
        Column(
            "conversation", pl.String, "Conversation, as in prompts; null without one", nullable=True, optional=True
        ),
        Column("turn", pl.Int64, "Place of the question in the conversation, from 1", nullable=True, optional=True),
        Column(
            "shuffled_with",
            pl.String,
            "Questions whose order in the conversation is drawn together; null if the question's place is fixed",
            nullable=True,
            optional=True,
        ),
        Column("arm", pl.String, "Arm of the experiment; null without one", nullable=True, optional=True),
        Column(
            "treated",
            pl.Boolean,
            "The arm is not the control. Estimates other than those of the experiment leave these answers out",
            nullable=True,
            optional=True,
        ),
    ),
)

SUBGROUP_METRICS = Table(
    "subgroup_metrics",
    "One row per estimate: a metric of a model on a task for one subgroup, with interval, baseline and effect.",
    ("model", "task", "survey", "metric", "condition", "dimensions", "subgroup", "weighted", "baseline"),
    (
        *shared_columns("model", "task", "survey"),
        Column("metric", pl.String, "Metric, as in the metric registry"),
        *shared_columns("condition"),
        Column("dimensions", pl.String, "Trait or intersection, e.g. sex or country×sex; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions, e.g. USA×female; `all` for everyone"),
        Column("estimate", pl.Float64, "The estimate; null where undefined", nullable=True),
        Column("se", pl.Float64, "Standard error, clustered by persona and item", nullable=True),
        Column("ci_low", pl.Float64, "Lower end of the interval; its confidence is 1 − figures.level", nullable=True),
        Column("ci_high", pl.Float64, "Upper end of the confidence interval", nullable=True),
        Column("method", pl.String, "How the interval and error were computed"),
        Column(
            "note",
            pl.String,
            "Caveat for the reader: why the estimate is undefined, or what it is limited to; null if none",
            nullable=True,
        ),
        Column("n_answers", pl.Int64, "Answers behind the estimate", ge=0),
        Column("n_personas", pl.Int64, "Personas behind the estimate", ge=0),
        Column("n_items", pl.Int64, "Items behind the estimate", ge=0),
        Column(
            "n_eff", pl.Float64, "Effective number of answers, after weighting (Kish) and clustering", nullable=True
        ),
        Column(
            "n_people",
            pl.Int64,
            "People whose distribution of answers the model's is compared with; null if the metric compares none",
            nullable=True,
            ge=0,
            optional=True,
        ),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column(
            "weights",
            pl.String,
            "Weights of the model's and the people's answers; the survey weight has its native variable name",
            nullable=True,
            optional=True,
        ),
        Column("baseline", pl.String, "Baseline of the comparison: chance, item_mode, group_mode …; empty if none"),
        Column("baseline_estimate", pl.Float64, "The baseline's estimate on the same rows", nullable=True),
        Column("effect", pl.Float64, "Paired difference from the no-persona answers", nullable=True),
        Column("effect_se", pl.Float64, "Its standard error", nullable=True),
        Column("effect_low", pl.Float64, "Lower end of its confidence interval", nullable=True),
        Column("effect_high", pl.Float64, "Upper end", nullable=True),
        Column(
            "p_value",
            pl.Float64,
            "Two-sided p-value of the effect; for `panel_gain`, of the estimate itself",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column("q_value", pl.Float64, "Benjamini–Hochberg q-value within its family", nullable=True, ge=0, le=1),
        Column("shrunken_estimate", pl.Float64, "Empirical-Bayes estimate", nullable=True),
        Column(
            "gap",
            pl.Float64,
            "Estimate minus that of everyone else in the dimension; on a baseline's row, both net of the baseline",
            nullable=True,
        ),
        Column("gap_se", pl.Float64, "Its standard error", nullable=True),
        Column("gap_q", pl.Float64, "Benjamini–Hochberg q-value of the gap", nullable=True, ge=0, le=1),
        Column(
            "gap_apart",
            pl.Float64,
            "As `gap`, with outlier groups left out of everyone else; null if the dimension has no outlier group",
            nullable=True,
        ),
        Column("gap_apart_q", pl.Float64, "q-value of `gap_apart`; it decides the verdict", nullable=True, ge=0, le=1),
        Column("mde", pl.Float64, "Smallest effect that is detectable with 80 % power, given effect_se", nullable=True),
        Column("verdict", pl.String, "Equivalence test of the gap to everyone else", nullable=True, isin=VERDICTS),
        Column("small", pl.Boolean, "Below the study's minimum cell size; read it only together with its n"),
        Column("release_ids", pl.List(pl.String), "Releases of the waves used"),
        Column(
            "estimate_id",
            pl.String,
            "Id for `mpta trace`: a hash of study, key, weighting, releases and value",
            nullable=True,
            earlier="figure_id",
        ),
    ),
)

ANSWER_SHARES = Table(
    "answer_shares",
    "What the model answered to questions that have no key: the share of each option by subgroup, over the readable "
    "answers in all option orders. `people_shares` has people's answers to questions with a key.",
    ("model", "task", "survey", "condition", "item_id", "dimensions", "subgroup", "weighted", "option"),
    (
        *shared_columns("model", "task", "survey", "condition", "item_id"),
        Column("dimensions", pl.String, "Trait or intersection; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("option", pl.Int64, "Canonical index of the option", ge=0),
        Column("answer", pl.String, "The option's text"),
        Column("share", pl.Float64, "Share of the answers that are this option", nullable=True, ge=0, le=1),
        Column("se", pl.Float64, "Standard error, clustered by persona", nullable=True, ge=0),
        Column("ci_low", pl.Float64, "Lower end of the interval; its confidence is 1 − figures.level", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("n_personas", pl.Int64, "Personas with a readable answer", ge=0),
        Column("small", pl.Boolean, "Fewer personas than the study's minimum"),
    ),
)

EXPERIMENTS = Table(
    "experiments",
    "Effects in experiments: of each arm against the control, and of each level of a conjoint attribute; by question, "
    "for everyone and by subgroup. Errors are clustered by persona and item. Empty for tasks without an experiment.",
    (
        "model",
        "task",
        "survey",
        "condition",
        "effect",
        "factor",
        "level",
        "outcome",
        "item_id",
        "answer",
        "dimensions",
        "subgroup",
        "weighted",
    ),
    (
        *shared_columns("model", "task", "survey", "condition"),
        Column(
            "effect",
            pl.String,
            "arm (mean of the arm minus mean of the control), amce (average marginal component effect of a level "
            "against the attribute's first level), marginal_mean (mean over the profiles with the level)",
        ),
        Column("factor", pl.String, "`arm`, or the attribute"),
        Column("level", pl.String, "The arm, or the level"),
        Column("reference", pl.String, "The control, or the attribute's first level; empty for a marginal mean"),
        Column(
            "outcome",
            pl.String,
            "place (on the scale, 0 to 1), share (of an answer), right (share of right answers), chosen (share of "
            "profiles that are chosen)",
        ),
        Column("item_id", pl.String, "Item within the task; `all` for the mean over the questions"),
        Column("answer", pl.String, "The answer whose share it is; empty for other outcomes"),
        Column("dimensions", pl.String, "Trait or intersection; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("reference_mean", pl.Float64, "Mean of the control; null for conjoint", nullable=True),
        Column("estimate", pl.Float64, "The effect, or the marginal mean", nullable=True),
        Column("se", pl.Float64, "Standard error, clustered by persona and item", nullable=True, ge=0),
        Column("ci_low", pl.Float64, "Lower end of the interval; its confidence is 1 − figures.level", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("p_value", pl.Float64, "Test of no effect; null for a marginal mean", nullable=True, ge=0, le=1),
        Column("q_value", pl.Float64, "As `p_value`, corrected within the family (Benjamini–Hochberg)", nullable=True),
        Column("difference", pl.Float64, "Effect in the subgroup minus effect in everyone else", nullable=True),
        Column("difference_se", pl.Float64, "Its error", nullable=True, ge=0),
        Column("difference_p", pl.Float64, "Test of no difference", nullable=True, ge=0, le=1),
        Column("difference_q", pl.Float64, "As `difference_p`, corrected within the family", nullable=True),
        Column("n_personas", pl.Int64, "Personas behind the effect", ge=0),
        Column("n_items", pl.Int64, "Items behind it", ge=0),
        Column("n_answers", pl.Int64, "Readable answers behind it, option orders counted singly", ge=0),
        Column("small", pl.Boolean, "Fewer personas than the study's minimum on either side"),
        Column(
            "people_estimate",
            pl.Float64,
            "The same effect on the survey's people, from `people_effects`; null if the arms do not name their people",
            nullable=True,
        ),
        Column("people_se", pl.Float64, "Its error, by the survey's design", nullable=True, ge=0),
        Column("people_ci_low", pl.Float64, "Lower end of its interval", nullable=True),
        Column("people_ci_high", pl.Float64, "Upper end", nullable=True),
        Column("n_people", pl.Int64, "People behind it", nullable=True, ge=0),
        Column("beyond_people", pl.Float64, "Effect on the model's answers minus effect on people's", nullable=True),
        Column("beyond_people_se", pl.Float64, "Its error, on these questions", nullable=True, ge=0),
        Column("beyond_people_low", pl.Float64, "Lower end of its interval", nullable=True),
        Column("beyond_people_high", pl.Float64, "Upper end", nullable=True),
        Column("beyond_people_p", pl.Float64, "Test of no difference from people", nullable=True, ge=0, le=1),
        Column("beyond_people_q", pl.Float64, "As `beyond_people_p`, corrected within the family", nullable=True, ge=0),
        Column(
            "people_verdict",
            pl.String,
            "How the model's effect compares with people's: reproduces (the difference is within ± the equivalence "
            "margin), understates, overstates, reverses (both effects are distinguishable from 0, in opposite "
            "directions), cannot_tell",
            nullable=True,
            isin=PEOPLE_VERDICTS,
        ),
    ),
)

PEOPLE_EFFECTS = Table(
    "people_effects",
    "Effects of an experiment's arms on the survey's people, for tasks whose arms name their `people`: differences of "
    "means between the people of an arm and those of the control, by question, for everyone and by subgroup, with "
    "errors by the survey's design. Groups with too few people in either arm are left out.",
    ("task", "survey", "level", "outcome", "item_id", "answer", "dimensions", "subgroup", "weighted"),
    (
        *shared_columns("task", "survey"),
        Column("level", pl.String, "The arm"),
        Column("reference", pl.String, "The control"),
        Column("outcome", pl.String, "place (on the scale, 0 to 1) or share (of an answer)"),
        Column("item_id", pl.String, "Item within the task; `all` for the mean over the questions"),
        Column("answer", pl.String, "The answer whose share it is; empty for other outcomes"),
        Column("dimensions", pl.String, "Trait or intersection; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("reference_mean", pl.Float64, "Mean of the control", nullable=True),
        Column("estimate", pl.Float64, "The effect", nullable=True),
        Column("se", pl.Float64, "Standard error", nullable=True, ge=0),
        Column("df", pl.Float64, "Degrees of freedom of its interval", nullable=True),
        Column("ci_low", pl.Float64, "Lower end of the interval; its confidence is 1 − figures.level", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("p_value", pl.Float64, "Test of no effect", nullable=True, ge=0, le=1),
        Column("q_value", pl.Float64, "As `p_value`, corrected within the family (Benjamini–Hochberg)", nullable=True),
        Column("difference", pl.Float64, "Effect in the subgroup minus effect in everyone else", nullable=True),
        Column("difference_se", pl.Float64, "Its error", nullable=True, ge=0),
        Column("difference_p", pl.Float64, "Test of no difference", nullable=True, ge=0, le=1),
        Column("difference_q", pl.Float64, "As `difference_p`, corrected within the family", nullable=True),
        Column("n_arm", pl.Int64, "People in the arm", ge=0),
        Column("n_control", pl.Int64, "People in the control", ge=0),
        Column("n_items", pl.Int64, "Items behind it", ge=0),
        Column("method", pl.String, "How the error was computed"),
    ),
)

RIVALS = Table(
    "rivals",
    "The ladder of rivals: how near each of them comes to people's answers, by subgroup and question, on the same "
    "people and questions. Only for models that were asked about groups (condition `group`), on questions that people "
    "of the survey, or of a published poll, answered.",
    ("model", "task", "survey", "dimensions", "subgroup", "item_id", "weighted", "rival"),
    (
        *shared_columns("model", "task", "survey"),
        Column("dimensions", pl.String, "Trait or intersection; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions"),
        Column("item_id", pl.String, "Item within the task; `all` for the mean over the questions"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column(
            "rival",
            pl.String,
            "chance (equal shares), item_mode and group_mode (always the most frequent answer of everyone, of the "
            "group), last_wave (the group's answers in the wave before), direct_estimate (the model, asked about the "
            "group), demographics_only and persona (panels), ceiling (best prediction from the traits), retest (people "
            "asked twice), second_sample (as many people as personas)",
        ),
        Column("title", pl.String, "The rival's name for readers"),
        Column("rung", pl.Int64, "Place on the ladder, from 0", ge=0),
        Column(
            "distance",
            pl.Float64,
            "Total variation between the rival's shares and people's; null if the rival states no shares",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column(
            "accuracy",
            pl.Float64,
            "Share of the personas' own answers that the rival gets right, by its most frequent answer if it states "
            "shares; null if it cannot be said",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column("n_personas", pl.Int64, "Personas of the group who were asked", ge=0),
        Column("n_items", pl.Int64, "Questions that the rival can be compared on", ge=0),
        Column(
            "n_people",
            pl.Int64,
            "People with an answer; for all questions, of the question with most; null for published polls",
            nullable=True,
            ge=0,
        ),
        Column("small", pl.Boolean, "Fewer personas than the study's minimum; read it only together with its n"),
        Column("note", pl.String, "Caveat for the reader; null if none", nullable=True),
    ),
)

REPLACED_ESTIMATES = Table(
    "replaced_estimates",
    "Estimates that were replaced. A cited id therefore still resolves.",
    ("estimate_id",),
    (
        Column("estimate_id", pl.String, "Id of the replaced estimate", earlier="figure_id"),
        Column(
            "estimate_key",
            pl.String,
            "model/task/survey/metric/condition/dimensions/subgroup",
            earlier="figure_key",
        ),
        Column("metric", pl.String, "Metric"),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("estimate", pl.Float64, "The estimate that was", nullable=True),
        Column("n_answers", pl.Int64, "Answers behind it", ge=0),
        Column("release_ids", pl.List(pl.String), "Releases of the waves that the replaced estimate used"),
        Column("until", pl.String, "When it was replaced, UTC"),
    ),
)

POCKETS = Table(
    "pockets",
    "Subgroups where a model does worse, found on one half of the data and tested on the other.",
    ("model", "task", "survey", "condition", "outcome", "dimensions", "subgroup"),
    (
        *shared_columns("model", "task", "survey", "condition"),
        Column(
            "outcome", pl.String, "What is worse in the pocket: score, score net of a baseline, or the persona's effect"
        ),
        Column("dimensions", pl.String, "Traits that define the pocket"),
        Column("subgroup", pl.String, "Their values"),
        Column("n_answers", pl.Int64, "Answers in the confirmation half", ge=0),
        Column("n_personas", pl.Int64, "Personas in the confirmation half", ge=0),
        Column("n_items", pl.Int64, "Items in the confirmation half", ge=0),
        Column("n_eff", pl.Float64, "Effective number of answers in the confirmation half", nullable=True),
        Column("estimate", pl.Float64, "Baseline-adjusted score in the pocket, confirmation half", nullable=True),
        Column("rest_estimate", pl.Float64, "The same outside the pocket", nullable=True),
        Column("difference", pl.Float64, "estimate − rest_estimate", nullable=True),
        Column("ci_low", pl.Float64, "Lower end of the confidence interval of the difference", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("p_value", pl.Float64, "One-sided p-value on the confirmation half", nullable=True, ge=0, le=1),
        Column("q_value", pl.Float64, "Benjamini–Hochberg q-value over the pockets tested", nullable=True, ge=0, le=1),
        Column("parent", pl.String, "The broader pocket that it refines; empty if none"),
        Column(
            "mde",
            pl.Float64,
            "Smallest difference that search and test together find with 80 % power in a slice of this size",
            nullable=True,
        ),
        Column("shrunken_difference", pl.Float64, "Empirical-Bayes difference", nullable=True),
        Column("confirmed", pl.Boolean, "The q-value on the confirmation half is at most the study's level"),
        Column("e_value", pl.Float64, "Evidence against the null on the confirmation half", nullable=True, ge=0),
        Column("e_confirmed", pl.Boolean, "Also confirmed by e-BH, which is valid under any dependence"),
        Column(
            "pocket",
            pl.String,
            "The pocket that the row belongs to, named after the row with the largest e-value",
            nullable=True,
        ),
        Column("leads", pl.Boolean, "The row has the largest e-value in its pocket", nullable=True),
        Column(
            "pocket_id",
            pl.String,
            "Id for `mpta trace`: a hash of study, key and the pocket's estimates",
            nullable=True,
        ),
        Column("examples", pl.List(pl.String), "Prompt ids of some of the worst answers in the pocket"),
    ),
)

POWER = Table(
    "power",
    "How small a difference the study would find with 80 % power, by its panel and questions, and with more of them.",
    ("task", "survey", "what", "dimensions", "subgroup", "people", "questions"),
    (
        *shared_columns("task", "survey"),
        Column("what", pl.String, "subgroup gap, persona effect, arm effect (two halves of the people) or pocket"),
        Column("dimensions", pl.String, "Trait or intersection; `all` for everyone"),
        Column("subgroup", pl.String, "Values of the dimensions"),
        Column("people", pl.Float64, "Multiple of the people; 1 is the study as it is", ge=0),
        Column(
            "questions", pl.Float64, "Multiple of the batteries of questions, of which each person answers a like part"
        ),
        Column("n_personas", pl.Int64, "Personas of the subgroup", ge=0),
        Column("n_answers", pl.Int64, "Answers: person × question", ge=0),
        Column("n_clusters", pl.Int64, "Batteries of questions", ge=0),
        Column(
            "detectable",
            pl.Float64,
            "Smallest difference of two shares that is found; null with too few people or batteries for an error",
            nullable=True,
            ge=0,
        ),
    ),
)

MODEL_COMPARISON = Table(
    "model_comparison",
    "Paired differences between models on the same prompts, with tie groups.",
    ("task", "survey", "metric", "condition", "model", "other_model"),
    (
        *shared_columns("task", "survey"),
        Column("metric", pl.String, "Metric"),
        *shared_columns("condition", "model"),
        Column("other_model", pl.String, "Model of the comparison; equals `model` on the row of its own estimate"),
        Column("estimate", pl.Float64, "The model's own estimate", nullable=True),
        Column("difference", pl.Float64, "model − other_model on the prompts that both answered", nullable=True),
        Column("se", pl.Float64, "Two-way clustered standard error of the difference", nullable=True),
        Column("p_value", pl.Float64, "Two-sided", nullable=True, ge=0, le=1),
        Column("q_value", pl.Float64, "Benjamini–Hochberg q-value within task and metric", nullable=True, ge=0, le=1),
        Column("ci_low", pl.Float64, "Lower end of the confidence interval of the difference", nullable=True),
        Column("ci_high", pl.Float64, "Upper end", nullable=True),
        Column("mde", pl.Float64, "Smallest difference that is detectable with 80 % power", nullable=True),
        Column("n_answers", pl.Int64, "Answers of the model behind the row", ge=0),
        Column("n_personas", pl.Int64, "Personas behind the row", ge=0),
        Column("n_items", pl.Int64, "Items behind the row", ge=0),
        Column("tie_group", pl.Int64, "Models that share a tie group do not differ significantly", nullable=True),
    ),
)
