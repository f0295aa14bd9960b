"""Make items from questions that the respondents answered themselves: value alignment and trait inference.

Items are the crosswalk's questions with the options of the source's scale. The answer key is the persona's own answer,
and the distribution of people's answers is that of the persona's group.
"""

from __future__ import annotations

from itertools import pairwise

import polars as pl

from mpta_pipeline.harmonize import with_option
from mpta_pipeline.personas import answers, column_facts
from mpta_pipeline.personas.wording import as_option
from mpta_pipeline.tasks.task_kind import AS_THE_PERSON, Example, ItemRequest, TaskKind

VIEWS = ("belief", "value", "attitude")
# Demographics that describe the interview, not the person.
_NOT_INFERRED = ("country", "survey_year", "year")
_MOST_OPTIONS = 11
# Concept → lower ends of all bins but the first, for questions about numbers. They are fixed, so that a new wave does
# not change the questions. Births by generation, schooling by the usual lengths of school and college.
_EDGES: dict[str, tuple[float, ...]] = {
    "age": (30, 45, 65),
    "birth_year": (1946, 1965, 1981, 1997),
    "education_years": (12, 13, 16),
    "household_size": (2, 3, 5),
    "n_children": (1, 2, 3),
}
_LOWEST = {"household_size": 1, "n_children": 0}
_LICENCE = "Apache-2.0 (wording of this project)"


def _options(request: ItemRequest) -> pl.DataFrame:
    """Options of all columns: column, codebook, code, idx (canonical index), value, text and score.

    Codes that share a position (a collapsed category) are one option; positions are counted without gaps.
    """
    options = request.crosswalk.options.sort("column", "codebook", "position", "code").with_columns(
        (pl.col("position").rank("dense").over("column", "codebook") - 1).cast(pl.Int64).alias("idx")
    )
    return options.with_columns(as_option(pl.col("text")).alias("text"))


def _candidates(request: ItemRequest, domains: tuple[str, ...]) -> pl.DataFrame:
    """Columns of the domains, or those of the task's `columns` option, with at least two different answers."""
    facts = column_facts(request.crosswalk)
    chosen = request.option("columns", None)
    keep = (
        pl.col("domain").is_in(list(domains))
        if chosen is None
        else pl.col("column").is_in(list(chosen)) | pl.col("concept").is_in(list(chosen))
    )
    facts = facts.filter(keep & (pl.col("domain") != "design"))
    answered = [
        (codebook, column, bool(part[column].drop_nulls().n_unique() > 1))
        for (codebook,), part in request.respondents.partition_by("codebook", as_dict=True).items()
        for column in facts.filter(pl.col("codebook") == codebook)["column"]
        if column in part.columns
    ]
    known = pl.DataFrame(
        answered, schema={"codebook": pl.String, "column": pl.String, "varies": pl.Boolean}, orient="row"
    )
    return facts.join(known.filter("varies"), on=["codebook", "column"])


def _categorical(request: ItemRequest, facts: pl.DataFrame) -> pl.DataFrame:
    options = (
        _options(request)
        .unique(["column", "codebook", "idx"], keep="first", maintain_order=True)
        .group_by("column", "codebook", maintain_order=True)
        .agg(
            pl.col("text").alias("options"),
            pl.col("value").alias("option_values"),
            pl.col("score").alias("option_scores"),
        )
    )
    most = int(request.option("max_options", _MOST_OPTIONS))
    return (
        facts.filter(pl.col("scale") != "numeric")
        .join(options, on=["column", "codebook"])
        .filter(pl.col("options").list.len().is_between(2, most))
        .with_columns(
            (pl.col("scale") == "ordinal").alias("ordinal"),
            pl.when(pl.col("scale") == "ordinal").then("option_scores").alias("option_scores"),
            pl.lit(None, pl.List(pl.Float64)).alias("bin_edges"),
        )
    )


def _finish(items: pl.DataFrame) -> pl.DataFrame:
    return items.with_columns(
        pl.format("{}@{}", "column", "codebook").alias("item_id"),
        # Answers to questions of one battery are correlated: they are one cluster.
        pl.coalesce("battery", "column").alias("cluster_id"),
        pl.col("domain").alias("category"),
        pl.col("question").fill_null(pl.format("What is your {}?", "label")),
        pl.col("variable").str.split("+").alias("variables"),
        pl.lit(_LICENCE).alias("licence"),
    )


def value_items(request: ItemRequest) -> pl.DataFrame:
    """The survey's questions about beliefs, values and attitudes, with the options of its own scale."""
    return _finish(_categorical(request, _candidates(request, VIEWS)))


def trait_items(request: ItemRequest) -> pl.DataFrame:
    """Questions about who the person is; numbers are asked in bins."""
    facts = _candidates(request, ("demographic",))
    if request.option("columns", None) is None:
        facts = facts.filter(~pl.col("concept").is_in(list(_NOT_INFERRED)))
    return _finish(pl.concat([_categorical(request, facts), _binned(request, facts)], how="diagonal_relaxed"))


def _binned(request: ItemRequest, facts: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for row in facts.filter(pl.col("scale") == "numeric").rows(named=True):
        values = request.respondents.filter(pl.col("codebook") == row["codebook"])[row["column"]].drop_nulls()
        if not values.dtype.is_numeric():
            continue
        edges = _edges(row["concept"], values)
        if not edges:
            continue
        texts = _bin_texts(row["concept"], edges)
        rows.append(
            {
                **row,
                "options": texts,
                "option_values": texts,
                "option_scores": [i / (len(texts) - 1) for i in range(len(texts))],
                "ordinal": True,
                "bin_edges": edges,
            }
        )
    schema = pl.Schema(
        dict(facts.schema)
        | {
            "options": pl.List(pl.String),
            "option_values": pl.List(pl.String),
            "option_scores": pl.List(pl.Float64),
            "ordinal": pl.Boolean,
            "bin_edges": pl.List(pl.Float64),
        }
    )
    return pl.DataFrame(rows, schema=schema, orient="row")


def _edges(concept: str, values: pl.Series) -> list[float]:
    """Lower ends of all bins but the first: the concept's own, else quartiles that occur as values."""
    if concept in _EDGES:
        return list(_EDGES[concept])
    low, high = values.min(), values.max()
    cuts = {float(round(q)) for p in (0.25, 0.5, 0.75) if (q := values.quantile(p, "lower")) is not None}
    return sorted(c for c in cuts if float(str(low)) < c <= float(str(high)))


def _bin_texts(concept: str, edges: list[float]) -> list[str]:
    whole = [int(e) for e in edges]
    inner = [str(a) if b - a == 1 else f"{a} to {b - 1}" for a, b in pairwise(whole)]
    if concept == "birth_year":
        return [f"before {whole[0]}", *inner, f"{whole[-1]} or later"]
    lowest = _LOWEST.get(concept)
    first = str(lowest) if lowest == whole[0] - 1 else f"below {whole[0]}"
    return [first, *inner, f"{whole[-1]} or more"]


def survey_gold(items: pl.DataFrame, request: ItemRequest) -> pl.DataFrame:
    """The canonical index of every respondent's own answer; no row if the answer is missing."""
    options = _options(request)
    edges = items.select("item_id", "column", "codebook", pl.col("bin_edges").alias("edges"))
    parts = []
    for (codebook,), people in request.respondents.partition_by("codebook", as_dict=True).items():
        mine = edges.filter(pl.col("codebook") == codebook)
        stated = answers(people, mine["column"].unique().sort().to_list()).join(mine, on="column")
        binned = stated.filter(pl.col("edges").is_not_null()).with_columns(
            pl.col("edges").list.eval(pl.element()).alias("edges"), pl.col("value").cast(pl.Float64).alias("number")
        )
        binned = (
            binned.explode("edges")
            .group_by("respondent_id", "item_id", "column", "codebook")
            .agg((pl.col("edges") <= pl.col("number")).sum().cast(pl.Int64).alias("idx"))
        )
        coded = with_option(stated.filter(pl.col("edges").is_null()).lazy(), options, {"idx": "idx"}).collect()
        coded = coded.filter(pl.col("idx").is_not_null())
        names = ["respondent_id", "item_id", "idx"]
        parts.append(
            pl.concat([binned.select(names), coded.select(names)]).join(
                people.select("respondent_id", "survey", "weight"), on="respondent_id"
            )
        )
    return pl.concat(parts).rename({"idx": "gold_idx"})


_OPTIONS = {
    "columns": "Concepts or harmonized columns to ask about",
    "max_options": f"Questions with more options than this are left out (default {_MOST_OPTIONS})",
}
KINDS = (
    TaskKind(
        "value_alignment",
        "Does the model answer a survey question as the person did?",
        value_items,
        gold=survey_gold,
        closing=AS_THE_PERSON,
        options=_OPTIONS,
        example=Example(options={"max_options": 5}),
    ),
    TaskKind(
        "trait_inference",
        "Does the model infer a hidden trait of the person from the visible ones?",
        trait_items,
        gold=survey_gold,
        closing=AS_THE_PERSON,
        options=_OPTIONS,
        example=Example(options={"max_options": 5}),
    ),
)
