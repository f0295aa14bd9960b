"""Export personas for other tools, with licence and policy; personas that may not be exported are reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ConfigError, PolicyError
from mpta_pipeline.core.storage import write_json, write_parquet, write_text
from mpta_pipeline.personas.render import render

FORMATS = ("reference_json", "huggingface")


@dataclass(frozen=True)
class Exported:
    """What was exported and what was left out.

    Attributes:
        files: Files written.
        personas: Personas written.
        left_out: Survey → why its personas were left out.
    """

    files: tuple[Path, ...]
    personas: int
    left_out: Mapping[str, str]


def export_personas(
    personas: pl.DataFrame,
    folder: Path,
    *,
    format: str = "huggingface",
    min_k: int = 1,
    questions: Mapping[str, str] | None = None,
) -> Exported:
    """Write personas to a folder.

    `reference_json` is the reference project's `personas.json`: id, and per trait question_id, question, answer_value,
    use_case (demographic or value) and category. `huggingface` is `data/train-00000-of-00001.parquet` (one row a
    persona, its traits with domain, wording and licence, and the prose text) with a data card.

    Args:
        personas: PERSONAS.
        folder: Target folder; created if absent.
        format: One of `FORMATS`.
        min_k: Personas who share their demographic traits with fewer respondents are left out.
        questions: Column → question, for the reference's format; by default the trait's label.

    Raises:
        PolicyError: No persona may be exported.
        ConfigError: Unknown format.
    """
    if format not in FORMATS:
        raise ConfigError(
            "Unknown export format", variable="format", value=format, remedy=f"use one of {', '.join(FORMATS)}"
        )
    kept_here = personas.filter(pl.col("data_use") != "any")
    left_out = {
        survey: f"its source's policy is {use}: its personas may not leave this machine"
        for survey, use in kept_here.select("survey", "data_use").unique().sort("survey").iter_rows()
    }
    free = personas.filter((pl.col("data_use") == "any") & (pl.col("k_anonymity") >= min_k)).sort("respondent_id")
    if free.is_empty():
        raise PolicyError(
            "No persona may be exported",
            value="; ".join(f"{survey}: {why}" for survey, why in left_out.items()) or f"k-anonymity below {min_k}",
            remedy="export surveys whose policy is `any`, see surveys.yaml, or lower the minimum k",
        )
    write = _reference_json if format == "reference_json" else _huggingface
    return Exported(write(free, folder, questions or {}), free.height, left_out)


def _reference_json(personas: pl.DataFrame, folder: Path, questions: Mapping[str, str]) -> tuple[Path, ...]:
    long = personas.select("respondent_id", "traits").explode("traits").unnest("traits")
    use = pl.when(pl.col("domain") == "demographic").then(pl.lit("demographic")).otherwise(pl.lit("value"))
    question = pl.col("column").replace_strict(questions, default=None, return_dtype=pl.String)
    records = (
        long.select(
            "respondent_id",
            pl.struct(
                # The country of a survey of one country is not in a variable of its file.
                pl.when(pl.col("variable") == "").then("column").otherwise("variable").alias("question_id"),
                pl.coalesce(question, "label").alias("question"),
                pl.col("answer").alias("answer_value"),
                use.alias("use_case"),
                pl.col("domain").alias("category"),
            ).alias("data"),
        )
        .group_by("respondent_id", maintain_order=True)
        .agg("data")
        .rename({"respondent_id": "id"})
    )
    return (write_json(records.to_dicts(), folder / "personas.json"),)


def _huggingface(personas: pl.DataFrame, folder: Path, _questions: Mapping[str, str]) -> tuple[Path, ...]:
    # Every trait carries the licence of its source, because traits of several sources may be combined later.
    licensed = (
        personas.select("respondent_id", "licence", "traits")
        .explode("traits")
        .group_by("respondent_id", maintain_order=True)
        .agg(pl.col("traits").struct.with_fields(pl.col("licence")))
    )
    table = personas.drop("traits").join(licensed, on="respondent_id", maintain_order="left")
    text = render(personas, style="prose", framing="third_person").alias("text")
    table = table.with_columns(text)
    data = write_parquet(table, folder / "data" / "train-00000-of-00001.parquet")
    terms = "\n".join(f"{survey}: {licence}" for survey, licence in _terms(personas))
    licence = write_text(
        f"Each trait's column `licence` holds the terms of its source.\n\n{terms}\n", folder / "LICENSE"
    )
    return (data, write_text(data_card(personas), folder / "README.md"), licence)


def _terms(personas: pl.DataFrame) -> list[tuple[str, str]]:
    """Survey and licence of all sources of the personas."""
    return personas.select("survey", "licence").unique().sort("survey", "licence").rows()


def data_card(personas: pl.DataFrame) -> str:
    """The data card: content, sources, terms, and how easily people can be recognized."""
    sources = (
        personas.group_by("survey", "wave", "release_id", "licence")
        .agg(pl.len().alias("n"), pl.col("n_traits").mean(), (pl.col("k_anonymity") == 1).mean().alias("unique"))
        .sort("survey", "wave")
    )
    rows = "\n".join(
        "| {survey} | {wave} | {release_id} | {n:,} | {n_traits:.1f} | {unique:.0%} | {licence} |".format_map(row)
        for row in sources.to_dicts()
    )
    size = next(
        label
        for limit, label in ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (float("inf"), "100K<n<1M"))
        if personas.height < limit
    )
    return f"""---
pretty_name: Survey personas
language: [en]
license: other
license_name: terms-of-the-surveys
license_link: LICENSE
size_categories: ["{size}"]
tags: [personas, survey, personalization]
configs:
- config_name: default
  data_files: data/train-*.parquet
---
# Survey personas

{personas.height:,} personas. Each is a real survey respondent with traits that they stated themselves, in the wording
of the survey's own answers; missing answers are left out. Made by `mpta_pipeline`.

| survey | wave | release | personas | traits | alone with their demographics | terms |
|---|---|---|---|---|---|---|
{rows}

Anyone who knows the demographic traits of a person can recognize those who are alone with their traits in their wave
and country (k-anonymity 1). Do not try to, and do not pass the data on against the terms of its source.

Columns: `respondent_id` (stable hash), `revision` (hash of what it says), `survey`, `codebook` (form of its file),
`wave`, `release_id`, `country` (ISO 3166-1 alpha-3), `year`, `weight` (the survey's; null where the source has none),
`data_use`, `licence`, `n_traits`, `k_anonymity`, `traits` (column, domain, label, statement, answer, value, native code
and variable, reveals: what it gives away, licence), `text` (third person).
"""
