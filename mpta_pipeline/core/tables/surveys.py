"""Survey files as read: releases, native variables, and what a new release changed."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns
from mpta_pipeline.core.vocabulary import DATA_USES

WAVES = Table(
    "waves",
    "One row a release in use: its wave, where it came from and what may be done with it. A wave that several files "
    "make up, each with countries of its own, has a row for each.",
    ("wave", "release_id"),
    (
        *shared_columns("wave", "survey", "codebook", "release_id"),
        Column("title", pl.String, "Name of the survey wave as its producer writes it"),
        Column("version", pl.String, "Version stamp found in the file", nullable=True),
        Column("doi", pl.String, "DOI of the release", nullable=True),
        Column("file_name", pl.String, "Name of the file as dropped"),
        Column("sha256", pl.String, "SHA-256 of the file"),
        Column("n_respondents", pl.Int64, "Respondents that the release gives", ge=1),
        Column("countries", pl.List(pl.String), "Countries, ISO 3166-1 alpha-3"),
        Column("years", pl.List(pl.Int64), "Years of the fieldwork"),
        Column(
            "weight_name", pl.String, "Native variable of the survey weight; null: the file carries none", nullable=True
        ),
        Column("licence", pl.String, "Terms under which the file was obtained"),
        Column("data_use", pl.String, "Where personas of this wave may be sent", isin=DATA_USES),
    ),
)

VARIABLES = Table(
    "variables",
    "One row a native variable of a release in use: label, type, value labels, declared missing codes.",
    ("wave", "release_id", "variable"),
    (
        *shared_columns("wave", "release_id"),
        Column("variable", pl.String, "Native name, as in the file"),
        Column("position", pl.Int64, "Place in the file, from 0", ge=0),
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
    "What a new release changed against the one that it supersedes.",
    ("wave", "release_id", "previous_release_id", "change", "variable", "native_key"),
    (
        *shared_columns("wave", "release_id"),
        Column("previous_release_id", pl.String, "The release that was superseded; null: first release", nullable=True),
        Column("change", pl.String, "added, removed, changed, blanked, filled, recoded, renamed, label, coverage"),
        Column("variable", pl.String, "Native variable; empty for whole respondents"),
        Column("native_key", pl.String, "The respondent's own key; empty for label and coverage changes"),
        Column("old", pl.String, "Old code or label", nullable=True),
        Column("new", pl.String, "New code or label", nullable=True),
    ),
)
