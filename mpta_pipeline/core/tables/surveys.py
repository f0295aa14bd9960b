"""Declare the tables of survey files: releases, native variables, and the changes of a new release."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns
from mpta_pipeline.core.vocabulary import DATA_USES

WAVES = Table(
    "waves",
    "One row per release in use: its wave, its file and how its data may be used. A wave made of several files, each "
    "with its own countries, has one row per file.",
    ("wave", "release_id"),
    (
        *shared_columns("wave", "survey", "codebook", "release_id"),
        Column("title", pl.String, "Name of the survey wave, as the producer writes it"),
        Column("version", pl.String, "Version stamp found in the file", nullable=True),
        Column("doi", pl.String, "DOI of the release", nullable=True),
        Column("file_name", pl.String, "Name of the file in the survey folder"),
        Column("sha256", pl.String, "SHA-256 of the file"),
        Column("n_respondents", pl.Int64, "Number of respondents taken from the release", ge=1),
        Column("countries", pl.List(pl.String), "Countries, ISO 3166-1 alpha-3"),
        Column("years", pl.List(pl.Int64), "Years of the fieldwork"),
        Column(
            "weight_name", pl.String, "Native variable of the survey weight; null if the file has none", nullable=True
        ),
        Column("licence", pl.String, "Terms under which the file was obtained"),
        Column(
            "data_use",
            pl.String,
            "Where personas of this wave may be sent: to any model, or only to models that run locally",
            isin=DATA_USES,
        ),
    ),
)

VARIABLES = Table(
    "variables",
    "One row per native variable of a release in use: label, type, value labels, declared missing codes.",
    ("wave", "release_id", "variable"),
    (
        *shared_columns("wave", "release_id"),
        Column("variable", pl.String, "Native name, as in the file"),
        Column("position", pl.Int64, "Position in the file, from 0", ge=0),
        Column("label", pl.String, "Variable label", nullable=True),
        Column("storage", pl.String, "Storage type in Parquet"),
        Column(
            "value_labels",
            pl.List(pl.Struct({"code": pl.String, "label": pl.String})),
            "Value labels; a code is written as text: 1, -9, .d",
        ),
        Column("missing_codes", pl.List(pl.String), "Codes and ranges declared as missing: -9, .d, -5..-1"),
    ),
)

CHANGELOG = Table(
    "survey_changelog",
    "Differences between a new release and the one that it supersedes.",
    ("wave", "release_id", "previous_release_id", "change", "variable", "native_key"),
    (
        *shared_columns("wave", "release_id"),
        Column("previous_release_id", pl.String, "The superseded release; null for the first release", nullable=True),
        Column(
            "change",
            pl.String,
            "Kind of change: added, removed, changed, blanked, filled, recoded, renamed, label or coverage",
        ),
        Column("variable", pl.String, "Native variable; empty if the change is about a whole respondent"),
        Column("native_key", pl.String, "Native key of the respondent; empty for changes of labels and coverage"),
        Column("old", pl.String, "Old code or label", nullable=True),
        Column("new", pl.String, "New code or label", nullable=True),
    ),
)
