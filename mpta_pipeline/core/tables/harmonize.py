"""The crosswalk and the harmonized respondents."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns

CONCEPTS = Table(
    "concepts",
    "One row a concept and codebook: how a native variable becomes a harmonized column. Absent rows are decisions.",
    ("concept", "codebook", "variable"),
    (
        Column("concept", pl.String, "Concept"),
        *shared_columns("codebook"),
        Column("variable", pl.String, "Native variable; empty where the source has none"),
        Column(
            "column",
            pl.String,
            "Harmonized column; sources share one only where they may be pooled; null for absent rows",
            nullable=True,
        ),
        Column("domain", pl.String, "Trait domain", isin=("demographic", "belief", "value", "attitude", "design")),
        Column("scale", pl.String, "Scale type", isin=("nominal", "ordinal", "numeric")),
        Column("label", pl.String, "What the concept is, a short noun phrase"),
        Column("question", pl.String, "The question as put to a person, in our words", nullable=True),
        Column("statement", pl.String, "Trait sentence with {answer} in it, second person", nullable=True),
        Column("equivalence", pl.String, "How the source relates to the canonical scale"),
        Column("pool", pl.Boolean, "May be averaged with other sources"),
        Column("reveals", pl.List(pl.String), "Groups of concepts that give each other away"),
        Column("evidence", pl.String, "Where the row's facts come from", nullable=True),
        Column("status", pl.String, "verified (seen in a file), documented (in a codebook), assumed or impossible"),
    ),
)

OPTIONS = Table(
    "options",
    "One row an answer option of a concept in the scale of its codebook.",
    ("column", "codebook", "code"),
    (
        Column("column", pl.String, "Harmonized column"),
        *shared_columns("codebook"),
        Column("code", pl.String, "Native code as text"),
        Column("position", pl.Int64, "Place in the scale as offered, from 0", ge=0),
        Column("value", pl.String, "Canonical value"),
        Column("text", pl.String, "The answer as a person would say it"),
        Column("score", pl.Float64, "Place on the canonical scale for ordinal concepts", nullable=True),
    ),
)

RESPONDENTS = Table(
    "respondents",
    "One row a respondent: ids, wave, country, year, weight, then per harmonized column its canonical value, "
    "its missing kind (`<column>__missing`) and the native code (`<column>__code`).",
    ("respondent_id",),
    (
        *shared_columns("respondent_id"),
        Column("revision", pl.String, "Hash of the respondent's harmonized content"),
        *shared_columns("survey", "codebook", "wave", "release_id"),
        Column("native_key", pl.String, "The file's own key of the respondent"),
        Column("row_index", pl.Int64, "Row in the raw wave, from 0", ge=0),
        Column("country", pl.String, "ISO 3166-1 alpha-3"),
        Column("year", pl.Int64, "Year of the interview", ge=1972, le=2100),
        Column("weight", pl.Float64, "Survey weight; null: the source carries none", nullable=True, ge=0),
        Column("stratum", pl.String, "Sampling stratum for variance estimation", nullable=True),
        Column("psu", pl.String, "Primary sampling unit", nullable=True),
    ),
    open=True,
)
