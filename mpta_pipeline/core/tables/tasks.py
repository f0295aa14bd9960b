"""Declare the tables of items, answer keys and prompts."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns
from mpta_pipeline.core.vocabulary import ANSWER_SETS, DATA_USES, ELICITATIONS, SCORINGS


def _fact(
    name: str, dtype: pl.DataType | type[pl.DataType], description: str, *, isin: tuple[str, ...] | None = None
) -> Column:
    """Make a column that only some kinds of task fill; null elsewhere."""
    return Column(name, dtype, description, nullable=True, isin=isin, optional=True)


# Shares of the options in a published poll, for one country (ISO 3166-1 alpha-3) or `all`. `n` is the effective number
# of people, null if the poll does not report it.
POLL = pl.Struct({"sample": pl.String, "shares": pl.List(pl.Float64), "n": pl.Float64})

# A level of an attribute of a conjoint profile, and its place among the attribute's levels.
PROFILE = pl.Struct({"attribute": pl.String, "level": pl.String, "place": pl.Int64})

# A place of a question in a conversation: of its block, in its block or in its battery. Units whose order is `shuffled`
# are put in an order of their own for each person.
PLACE = pl.Struct({"unit": pl.String, "place": pl.Int64, "shuffled": pl.Boolean})

# An earlier question of a conversation: the item is asked if the answer to it is one of `answers` (canonical indices);
# without `answers`, its text names the answer ({{name}}).
EARLIER = pl.Struct({"item_id": pl.String, "name": pl.String, "answers": pl.List(pl.Int64)})

ITEMS = Table(
    "items",
    "One row per item of a task: a question with its options in canonical order.",
    ("task", "item_id"),
    (
        *shared_columns("task", "item_id"),
        Column("kind", pl.String, "Task kind that made the item"),
        Column("cluster_id", pl.String, "Template, story or question family; items of one cluster are not independent"),
        Column(
            "codebook",
            pl.String,
            "Codebook whose personas the item can be asked about; null for all",
            nullable=True,
            earlier="dialect",
        ),
        Column("category", pl.String, "Category within the task", nullable=True),
        Column("context", pl.String, "Text before the question", nullable=True),
        Column("question", pl.String, "The question"),
        Column("options", pl.List(pl.String), "Option texts in canonical order; empty for open text"),
        Column("option_values", pl.List(pl.String), "Canonical values of the options"),
        Column(
            "option_scores",
            pl.List(pl.Float64),
            "Positions of ordinal options on the scale; null for nominal options",
            nullable=True,
        ),
        Column("ordinal", pl.Boolean, "The options are ordered"),
        Column("scoring", pl.String, "How an answer is scored", isin=SCORINGS),
        Column(
            "gold_idx",
            pl.Int64,
            "Canonical index of the answer key; null if the key is the persona's own answer",
            nullable=True,
        ),
        Column("column", pl.String, "Harmonized column asked about; null for benchmark items", nullable=True),
        Column("reveals", pl.List(pl.String), "Groups of concepts that must stay hidden from the prompt"),
        _fact("concept", pl.String, "Concept asked about; null for benchmark items"),
        _fact("label", pl.String, "Topic of the question, as the trait is named"),
        _fact("variables", pl.List(pl.String), "Native variables that hold the answers to the question"),
        _fact("hides", pl.List(pl.String), "Further harmonized columns that a persona must not show with the question"),
        _fact(
            "bin_edges", pl.List(pl.Float64), "Lower ends of all options except the first, if a number is asked in bins"
        ),
        _fact(
            "answer_set",
            pl.String,
            "Fixed meaning of the options: acceptability (yes, no, neither) or stance (agree, neither, disagree)",
            isin=ANSWER_SETS,
        ),
        _fact(
            "option_credit", pl.List(pl.Float64), "Credit of each option if several are right (TruthfulQA MC2: 1 or 0)"
        ),
        _fact(
            "option_bias",
            pl.List(pl.Int64),
            "BBQ: +1 for the biased option, -1 for the counter-biased one, 0 for unknown. Stance: +1 (agree) to -1",
        ),
        _fact("reference", pl.String, "Text that open text is compared with"),
        _fact("bertscore_model", pl.String, "Model that BERTScore uses; null if BERTScore is not computed"),
        _fact("poll", pl.List(POLL), "What people answered in a published poll, by sample"),
        _fact("context_condition", pl.String, "BBQ: ambig or disambig"),
        _fact("question_polarity", pl.String, "BBQ: neg or nonneg"),
        _fact("subcategory", pl.String, "Finer category: BBQ's subcategory, TruthfulQA's type"),
        _fact("context_level", pl.String, "NormAd: level of detail of the context"),
        _fact("story_country", pl.String, "Country in which the story is set, ISO 3166-1 alpha-3"),
        _fact("language", pl.String, "CIVICS: language of the original statement"),
        _fact("source_country", pl.String, "CIVICS: country of the statement's source, as the file names it"),
        _fact("annotated_values", pl.List(pl.String), "CIVICS: values that annotators found in the statement"),
        _fact("item_file", pl.String, "Version of the item file; null for items made from the survey"),
        _fact(
            "profiles",
            pl.List(pl.List(PROFILE)),
            "Conjoint: the profiles in canonical order, each as its attributes and their levels",
        ),
        _fact("statement", pl.String, "Statement of a battery that is asked in one request; null for other items"),
        _fact("stem", pl.String, "What the statements of that battery share"),
        _fact("line", pl.Int64, "Number of the statement in the battery's request, from 1"),
        _fact("restrictions", pl.List(pl.List(PROFILE)), "Conjoint: pairs of levels that no profile has together"),
        _fact(
            "answers_in_arms",
            pl.List(pl.String),
            "Columns that give away what people answered in the arms of an experiment, hidden as the item's own column",
        ),
        _fact(
            "asked_if",
            pl.List(pl.Struct({"name": pl.String, "values": pl.List(pl.String)})),
            "Dimensions of people, each with the values that a person must have to be asked",
        ),
        _fact(
            "sequence",
            pl.List(PLACE),
            "Place in the conversation: of the question's block, of the question or battery in it, of the statement",
        ),
        _fact(
            "asked_after",
            pl.List(EARLIER),
            "Earlier questions of the conversation, each with the model's own answers for which the item is asked; "
            "without answers, the item's text names the answer",
        ),
        Column("sample_item", pl.Boolean, "A sample item of this project, not an item of the published benchmark"),
        Column("licence", pl.String, "Licence of the item's text"),
    ),
)

GOLD = Table(
    "gold",
    "Answers of all respondents of the study's waves to the items whose answer key is the persona's own answer.",
    ("task", "item_id", "respondent_id"),
    (
        *shared_columns("task", "item_id", "persona", "survey"),
        Column("gold_idx", pl.Int64, "Canonical index of the respondent's own answer", ge=0),
        Column("weight", pl.Float64, "Survey weight; null if the source has none", nullable=True),
    ),
)

ARM_ANSWERS = Table(
    "arm_answers",
    "Answers of the survey's people who were themselves in an arm of an experiment, for tasks whose arms name their "
    "`people`.",
    ("task", "item_id", "respondent_id", "arm"),
    (
        *shared_columns("task", "item_id", "persona", "survey"),
        Column("arm", pl.String, "The arm that the person was in"),
        Column("treated", pl.Boolean, "The arm is not the control"),
        Column("answer_idx", pl.Int64, "Canonical index of the person's answer", ge=0),
        Column(
            "scale_place",
            pl.Float64,
            "Place of the answer on the scale, from 0 to 1; null beside a scale and for items that are none",
            nullable=True,
        ),
        Column("weight", pl.Float64, "Survey weight; null if the source has none", nullable=True),
    ),
)

PROMPTS = Table(
    "prompts",
    "One row per prompt: item × persona × condition × option order × style × framing × elicitation. All models share "
    "the prompts.",
    ("prompt_id",),
    (
        *shared_columns("prompt_id"),
        Column("content_hash", pl.String, "Hash of everything that is sent; prompts with equal text are sent once"),
        *shared_columns("task", "item_id"),
        Column("cluster_id", pl.String, "Cluster of the item"),
        *shared_columns("persona"),
        Column(
            "shown_respondent_id",
            pl.String,
            "Persona whose traits are shown; null if none",
            nullable=True,
            earlier="shown_persona_id",
        ),
        *shared_columns("survey", "wave", "condition"),
        Column("style", pl.String, "Style of the persona text"),
        Column("framing", pl.String, "Who the persona text says the model or user is"),
        Column("paraphrase_id", pl.Int64, "Paraphrase of the framing, from 0", ge=0),
        Column("repeat_id", pl.Int64, "Repeat of the same prompt, from 0", ge=0),
        Column("elicitation", pl.String, "How the answer is requested", isin=ELICITATIONS),
        Column("order_id", pl.Int64, "Option order, from 0", ge=0),
        Column("option_order", pl.List(pl.Int64), "Canonical index of the option at each shown position"),
        Column(
            "gold_idx",
            pl.Int64,
            "Canonical index of the answer key for this persona; null if there is none (open text, opinions)",
            nullable=True,
            ge=0,
        ),
        Column("gold_pos", pl.Int64, "Shown position of the answer key", nullable=True, ge=0),
        Column("system", pl.String, "System message; null if none is sent", nullable=True),
        Column("user", pl.String, "User message"),
        Column("options", pl.List(pl.String), "Option texts as shown, in shown order"),
        Column("group", pl.String, "Prompts of one group share their prefix and are sent together, in order"),
        Column("masked", pl.List(pl.String), "Columns hidden from the persona text for this item"),
        Column("data_use", pl.String, "Where the prompt may be sent", isin=DATA_USES),
        Column("weight", pl.Float64, "Panel weight of the persona; null without a survey weight", nullable=True),
        _fact("line", pl.Int64, "Number of the line of the reply that counts, if a request asks several questions"),
        _fact("asked_together", pl.Int64, "Number of questions that share a request (`batch_items`); null for others"),
        _fact(
            "conversation", pl.String, "Conversation that the prompt is a turn of; null for prompts that stand alone"
        ),
        _fact("turn", pl.Int64, "Place of the question in the conversation, from 1, as if every question were asked"),
        _fact(
            "shuffled_with",
            pl.String,
            "Questions whose order in the conversation is drawn together; null if the question's place is fixed",
        ),
        _fact(
            "asked_after",
            pl.List(EARLIER),
            "Earlier questions of the conversation, each with the model's own answers for which this one is asked; "
            "without answers, the text names the answer",
        ),
        _fact("arm", pl.String, "Arm of the experiment; null if the task has no arms"),
        _fact("treated", pl.Boolean, "The arm is not the control; null if the task has no arms"),
    ),
)
