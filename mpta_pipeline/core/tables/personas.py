"""Declare the tables of personas, of the panel and of the personas' subgroups."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns
from mpta_pipeline.core.vocabulary import DATA_USES

TRAIT = pl.Struct(
    {
        "column": pl.String,
        "domain": pl.String,
        "label": pl.String,
        "statement": pl.String,
        "answer": pl.String,
        "value": pl.String,
        "code": pl.String,
        "variable": pl.String,
        "reveals": pl.List(pl.String),
    }
)

PERSONAS = Table(
    "personas",
    "One row per persona: a respondent with the traits that they stated. Missing answers are never traits.",
    ("respondent_id",),
    (
        *shared_columns("persona"),
        Column("revision", pl.String, "Hash of the persona's traits"),
        *shared_columns("survey", "codebook", "wave", "release_id"),
        Column("country", pl.String, "ISO 3166-1 alpha-3"),
        Column("year", pl.Int64, "Year of the interview"),
        Column("weight", pl.Float64, "Survey weight; null if the source has none", nullable=True, ge=0),
        Column("data_use", pl.String, "Where the persona may be sent", isin=DATA_USES),
        Column("licence", pl.String, "Terms of the source"),
        Column("n_traits", pl.Int64, "Traits carried", ge=0),
        Column("k_anonymity", pl.Int64, "Respondents of the wave who share the demographic traits shown", ge=1),
        Column("traits", pl.List(TRAIT), "Traits in the crosswalk's order"),
    ),
)

PANEL = Table(
    "panel",
    "The personas that are asked: a stratified sample, by lowest keyed hash within each stratum.",
    ("respondent_id",),
    (
        *shared_columns("persona", "survey", "wave"),
        Column("stratum", pl.String, "Stratum of the panel's design; strata that are too small are joined, e.g. a + b"),
        Column("stratum_size", pl.Int64, "Personas in the stratum", ge=1),
        Column("stratum_selected", pl.Int64, "Personas drawn from it", ge=1),
        Column("inclusion_probability", pl.Float64, "stratum_selected / stratum_size", ge=0, le=1),
        Column("rank", pl.Float64, "Keyed hash in [0, 1) by which the persona was chosen", ge=0, le=1),
        Column("survey_weight", pl.Float64, "Weight of the survey; null if the source has none", nullable=True),
        Column(
            "weight", pl.Float64, "survey_weight / inclusion_probability; null without survey_weight", nullable=True
        ),
    ),
)

ARM_DRAWS = Table(
    "arm_draws",
    "Which arm of an experiment each persona was drawn into. A draw is kept while the arms stay the same: people who "
    "join or leave the panel change nobody else's arm, and who comes back is in the same arm. Empty for experiments "
    "that ask each persona in every arm.",
    ("task", "respondent_id"),
    (
        *shared_columns("task", "persona"),
        Column("arm", pl.String, "`id` of the arm, or else its name"),
        Column(
            "drawn_by", pl.String, "Digest of the study's seed and the arms; with another one, everybody is drawn anew"
        ),
    ),
)

GROUPS = Table(
    "groups",
    "The subgroups of each persona: one column per base dimension of the study's estimates, null if unknown.",
    ("respondent_id",),
    (
        *shared_columns("persona", "survey"),
        Column(
            "sample",
            pl.String,
            "Country in which the person was sampled, ISO 3166-1 alpha-3; polls are matched by it; not a dimension",
            nullable=True,
            optional=True,
        ),
        Column(
            "sample_wave",
            pl.String,
            "Wave in which the person was asked; the wave before is a rival of panels; not a dimension",
            nullable=True,
            optional=True,
        ),
        Column(
            "stratum",
            pl.String,
            "Sampling stratum, unique within the survey: wave, country and the file's own stratum; not a dimension",
            nullable=True,
            optional=True,
        ),
        Column(
            "psu",
            pl.String,
            "Primary sampling unit, unique within the survey: stratum and the file's own unit; if null, the "
            "person counts as sampled individually; not a dimension",
            nullable=True,
            optional=True,
        ),
    ),
    open=True,
)
