"""Items, answer keys and prompts."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns
from mpta_pipeline.core.vocabulary import DATA_USES, ELICITATIONS

ITEMS = Table(
    "items",
    "One row an item of a task: a question with its options in canonical order.",
    ("task", "item_id"),
    (
        *shared_columns("task", "item_id"),
        Column("kind", pl.String, "Kind of task that made the item"),
        Column("cluster_id", pl.String, "Template, story or question family: items of one cluster are not independent"),
        Column("codebook", pl.String, "Codebook whose personas it can be asked of; null: all", nullable=True),
        Column("category", pl.String, "Category within the task", nullable=True),
        Column("context", pl.String, "Text before the question", nullable=True),
        Column("question", pl.String, "The question"),
        Column("options", pl.List(pl.String), "Option texts in canonical order"),
        Column("option_values", pl.List(pl.String), "Canonical values of the options"),
        Column(
            "option_scores", pl.List(pl.Float64), "Ordinal places of the options; null for nominal ones", nullable=True
        ),
        Column("ordinal", pl.Boolean, "The options are ordered"),
        Column(
            "gold_idx", pl.Int64, "Canonical index of the answer key; null where it is the persona's own", nullable=True
        ),
        Column("column", pl.String, "Harmonized column asked about; null for benchmark items", nullable=True),
        Column("reveals", pl.List(pl.String), "Groups of concepts that must stay hidden from the prompt"),
        Column("metadata", pl.String, "Further fields of the item file as JSON"),
        Column("licence", pl.String, "Licence of the item's text"),
    ),
)

GOLD = Table(
    "gold",
    "What every respondent of the study's waves answered, for the items whose answer key is the persona's own.",
    ("task", "item_id", "respondent_id"),
    (
        *shared_columns("task", "item_id", "respondent_id", "survey"),
        Column("gold_idx", pl.Int64, "Canonical index of the respondent's own answer", ge=0),
        Column("weight", pl.Float64, "Survey weight; null: the source carries none", nullable=True),
    ),
)

PROMPTS = Table(
    "prompts",
    "One row a prompt: item × persona × condition × option order × style × framing × elicitation. It knows no model.",
    ("prompt_id",),
    (
        *shared_columns("prompt_id"),
        Column("content_hash", pl.String, "Hash of all that is sent; prompts with equal text are asked once"),
        *shared_columns("task", "item_id"),
        Column("cluster_id", pl.String, "Cluster of the item"),
        *shared_columns("respondent_id"),
        Column("shown_respondent_id", pl.String, "Persona whose traits are shown; null: none", nullable=True),
        *shared_columns("survey", "wave", "condition"),
        Column("style", pl.String, "Style of the persona text"),
        Column("framing", pl.String, "Who the persona text says the model or user is"),
        Column("paraphrase_id", pl.Int64, "Paraphrase of the framing, from 0", ge=0),
        Column("repeat_id", pl.Int64, "Repeat of the same prompt, from 0", ge=0),
        Column("elicitation", pl.String, "How the answer is asked for", isin=ELICITATIONS),
        Column("order_id", pl.Int64, "Option order, from 0", ge=0),
        Column("option_order", pl.List(pl.Int64), "Canonical index of the option at each shown position"),
        Column(
            "gold_idx",
            pl.Int64,
            "Canonical index of the answer key for this persona; null: there is none (open text, opinions)",
            nullable=True,
            ge=0,
        ),
        Column("gold_pos", pl.Int64, "Shown position of the answer key", nullable=True, ge=0),
        Column("system", pl.String, "System message; null: none is sent", nullable=True),
        Column("user", pl.String, "User message"),
        Column("options", pl.List(pl.String), "Option texts as shown, in shown order"),
        Column("group", pl.String, "Prompts of one group share their prefix and are asked together, in order"),
        Column("masked", pl.List(pl.String), "Columns kept out of the persona text for this item"),
        Column("data_use", pl.String, "Where the prompt may be sent", isin=DATA_USES),
        Column("weight", pl.Float64, "Panel weight of the persona; null: no survey weight", nullable=True),
    ),
)
