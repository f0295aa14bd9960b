"""Read tables of items that version 0.1 published, which kept several columns as JSON in `metadata`."""

from __future__ import annotations

import json

import polars as pl

from mpta_pipeline import tasks
from mpta_pipeline.core.tables.tasks import POLL

_SAME_NAME = (
    "concept",
    "label",
    "context_condition",
    "question_polarity",
    "context_level",
    "reference",
    "language",
)


def with_declared_columns(items: pl.DataFrame) -> pl.DataFrame:
    """The table with the columns that ITEMS declares now; a table without `metadata` stays as it is."""
    if "metadata" not in items.columns:
        return items
    facts = [json.loads(text or "{}") for text in items["metadata"].to_list()]

    def column(name: str, dtype: pl.DataType, *keys: str) -> pl.Series:
        return pl.Series(name, [next((f[k] for k in keys if k in f), None) for f in facts], dtype=dtype)

    text, numbers = pl.String(), pl.List(pl.Float64)
    polls = [
        [{"sample": s, "shares": f["shares"][s], "n": f.get("n", {}).get(s)} for s in sorted(f["shares"])]
        if "shares" in f
        else None
        for f in facts
    ]
    items = items.drop("metadata").with_columns(
        *(column(name, text, name) for name in _SAME_NAME),
        column("variables", text, "variable").str.split("+"),
        column("annotated_values", pl.List(text), "values"),
        column("bin_edges", numbers, "edges"),
        column("option_bias", pl.List(pl.Int64), "option_bias"),
        column("option_credit", numbers, "credit"),
        column("bertscore_model", text, "bertscore"),
        column("subcategory", text, "subcategory", "type"),
        column("story_country", text, "country"),
        column("item_file", text, "file"),
        column("sample_item", pl.Boolean(), "sample").fill_null(False),
        pl.Series("poll", polls, dtype=pl.List(POLL)),
    )
    story, civics = pl.col("context_level").is_not_null(), pl.col("kind") == "civics"
    return tasks.completed(
        items.with_columns(
            pl.when(story).then("story_country").alias("story_country"),
            pl.when(civics).then("story_country").alias("source_country"),
            pl.when(story)
            .then(pl.lit("acceptability"))
            .when(civics & pl.col("option_bias").is_not_null())
            .then(pl.lit("stance"))
            .alias("answer_set"),
        ),
        own_key=~civics,
    )
