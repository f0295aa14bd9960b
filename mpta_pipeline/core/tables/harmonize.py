"""Declare the tables of the crosswalk and of the harmonized respondents."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns

CONCEPTS = Table(
    "concepts",
    "One row per concept, codebook and native variable: how the variable becomes a harmonized column. Rows with "
    "equivalence `absent` record that a source does not measure the concept.",
    ("concept", "codebook", "variable"),
    (
        Column("concept", pl.String, "Name of the concept"),
        *shared_columns("codebook"),
        Column("variable", pl.String, "Native variable; empty if the source has none"),
        Column(
            "column",
            pl.String,
            "Harmonized column; sources share a column only if they may be pooled; null for absent rows",
            nullable=True,
        ),
        Column(
            "domain", pl.String, "Domain of the trait", isin=("demographic", "belief", "value", "attitude", "design")
        ),
        Column("scale", pl.String, "Type of scale", isin=("nominal", "ordinal", "numeric")),
        Column("label", pl.String, "Short, readable name of the concept"),
        Column("question", pl.String, "The question in our own words, as put to a person", nullable=True),
        Column(
            "statement",
            pl.String,
            "Sentence in the second person that states the trait; {answer} is replaced by the answer",
            nullable=True,
        ),
        Column("equivalence", pl.String, "How the source's scale relates to the canonical one"),
        Column("pool", pl.Boolean, "Whether answers may be averaged with those of other sources"),
        Column("reveals", pl.List(pl.String), "Groups of concepts that reveal each other's answers"),
        Column("evidence", pl.String, "Where the facts of the row come from", nullable=True),
        Column(
            "status",
            pl.String,
            "How certain the row is: verified in a file, documented in a codebook, assumed, or impossible (absent)",
        ),
    ),
)

OPTIONS = Table(
    "options",
    "One row per answer option of a harmonized column, on the scale of its codebook.",
    ("column", "codebook", "code"),
    (
        Column("column", pl.String, "Harmonized column"),
        *shared_columns("codebook"),
        Column("code", pl.String, "Native code as text"),
        Column("position", pl.Int64, "Position in the order in which the options are offered, from 0", ge=0),
        Column("value", pl.String, "Canonical value"),
        Column("text", pl.String, "The answer in a person's words"),
        Column(
            "score",
            pl.Float64,
            "Position on the canonical scale, from 0 to 1; null unless the column is ordinal",
            nullable=True,
        ),
    ),
)

RESPONDENTS = Table(
    "respondents",
    "One row per respondent: ids, wave, country, year and weight, then per harmonized column its canonical value, "
    "the kind of missing answer (`<column>__missing`) and the native code (`<column>__code`).",
    ("respondent_id",),
    (
        *shared_columns("respondent_id"),
        Column("revision", pl.String, "Hash of the respondent's harmonized content"),
        *shared_columns("survey", "codebook", "wave", "release_id"),
        Column("native_key", pl.String, "The respondent's key in the survey file"),
        Column("row_index", pl.Int64, "Row number in the raw wave, from 0", ge=0),
        Column("country", pl.String, "Country, ISO 3166-1 alpha-3"),
        Column("year", pl.Int64, "Year of the interview", ge=1972, le=2100),
        Column("weight", pl.Float64, "Survey weight; null if the file has none", nullable=True, ge=0),
        Column("stratum", pl.String, "Sampling stratum for variance estimation", nullable=True),
        Column("psu", pl.String, "Primary sampling unit", nullable=True),
    ),
    open=True,
)
