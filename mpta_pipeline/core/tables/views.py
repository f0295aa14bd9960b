"""Declare the published views: their columns, and for each the meaning that comments, reference and Python show.

The SQL of a view is `sql/views/NAME.sql`; the first paragraph of its opening comment is the view's description.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from mpta_pipeline.core.named_sql import header
from mpta_pipeline.core.tables.metrics import PEOPLE_SHARES, POCKETS, SUBGROUP_METRICS
from mpta_pipeline.core.tables.schema import Column, shared_columns
from mpta_pipeline.core.vocabulary import MISSING_KINDS, UNPARSED_REASONS


@dataclass(frozen=True)
class View:
    """A published view: what identifies a row, and the columns with their types and meaning."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def description(self) -> str:
        """What the view shows, as its SQL file says."""
        return header(f"views/{self.name}")

    @property
    def schema(self) -> pl.Schema:
        """Names and types of the columns, in order."""
        return pl.Schema({c.name: c.dtype for c in self.columns})


_ESTIMATE = ("model", "task", "survey", "metric", "condition", "dimensions", "subgroup")
_VARIABLE = Column("variable", pl.String, "Native variable, in the spelling of the file")
_HARMONIZED = Column("column", pl.String, "Harmonized column")
_CONCEPT = Column("concept", pl.String, "Name of the concept", nullable=True)
_ESTIMATE_KEY = Column(
    "estimate_key", pl.String, "The estimate in words: model/task/survey/metric/condition/dimensions/subgroup"
)
_OF_BASELINES = ("baseline", "baseline_estimate")

VALUE_LABELS = View(
    "value_labels",
    ("release_id", "variable", "native_code"),
    (
        *shared_columns("wave", "release_id"),
        _VARIABLE,
        Column("variable_label", pl.String, "Label of the variable in the file", nullable=True),
        Column("native_code", pl.String, "Code in the file, as text"),
        Column("native_label", pl.String, "Label of the code in the file", nullable=True),
    ),
)

RECODES = View(
    "recodes",
    ("release_id", "column"),
    (
        *shared_columns("wave", "release_id"),
        replace(shared_columns("codebook")[0], earlier=None),
        _HARMONIZED,
        _CONCEPT,
        Column("label", pl.String, "Short, readable name of the concept"),
        Column("question", pl.String, "The question in our own words, as put to a person", nullable=True),
        _VARIABLE,
        Column("variable_label", pl.String, "Label of the variable in the file", nullable=True),
    ),
)

ANSWERS = View(
    "answers",
    ("respondent_id", "column"),
    (
        *shared_columns("respondent_id", "wave", "release_id"),
        _HARMONIZED,
        _CONCEPT,
        Column("value", pl.String, "Canonical value as text; null if there is no answer", nullable=True),
        Column("missing", pl.String, "Why there is no answer; null if there is one", nullable=True, isin=MISSING_KINDS),
        Column("native_code", pl.String, "Code in the file, as text; null if the file has none", nullable=True),
        Column("native_label", pl.String, "Label of the code in the file", nullable=True),
        replace(_VARIABLE, nullable=True),
        Column("text", pl.String, "The answer in a person's words, as prompts say it", nullable=True),
    ),
)

ESTIMATES = View(
    "estimates",
    ("estimate_key", "weighted", "baseline"),
    (_ESTIMATE_KEY, *(replace(column, earlier=None) for column in SUBGROUP_METRICS.columns)),
)

REPORTED_ESTIMATES = View(
    "reported_estimates",
    _ESTIMATE,
    (
        *(replace(c, earlier=None) for c in ESTIMATES.columns if c.name not in _OF_BASELINES),
        Column(
            "unweighted_estimate",
            pl.Float64,
            "The same estimate without survey weights; null if the row itself is unweighted",
            nullable=True,
        ),
        Column(
            "baselines",
            pl.List(pl.Struct({"baseline": pl.String, "baseline_estimate": pl.Float64})),
            "Each baseline of the estimate with its value on the same answers; empty if there is none",
        ),
        Column("chance", pl.Float64, "The baseline `chance`: guessing; null if it does not apply", nullable=True),
        Column(
            "most_frequent",
            pl.Float64,
            "The baseline `item_mode`: always people's most frequent answer; null if it does not apply",
            nullable=True,
        ),
        Column(
            "control",
            pl.Boolean,
            "The model is a control with known properties, such as a simulated respondent: never rank it with models",
        ),
    ),
)

REPORTED_PEOPLE_SHARES = View(
    "reported_people_shares",
    tuple(name for name in PEOPLE_SHARES.key if name != "weighted"),
    PEOPLE_SHARES.columns,
)

FIGURES = View(
    "figures",
    ("figure_key", "weighted", "baseline"),
    tuple(
        replace(column, name=column.name.replace("estimate_", "figure_"))
        if column.name in ("estimate_id", "estimate_key")
        else column
        for column in ESTIMATES.columns
    ),
)

FOUND_POCKETS = View(
    "found_pockets",
    POCKETS.key,
    (
        Column("pocket_key", pl.String, "The pocket in words: model/task/survey/condition/outcome/dimensions/subgroup"),
        *POCKETS.columns,
    ),
)

MEMBERSHIPS = View(
    "memberships",
    ("respondent_id", "dimension"),
    (
        *shared_columns("respondent_id", "survey"),
        Column("dimension", pl.String, "Trait or derived dimension of the study's estimates, e.g. sex"),
        Column("value", pl.String, "The persona's value, e.g. female"),
    ),
)

UNPARSED_REPLIES = View(
    "unparsed_replies",
    ("model", "task", "condition", "unparsed_reason"),
    (
        *shared_columns("model", "task", "condition"),
        Column("unparsed_reason", pl.String, "Why the replies are unparsed", nullable=True, isin=UNPARSED_REASONS),
        Column("replies", pl.Int64, "Number of such replies", ge=1),
        Column("share", pl.Float64, "Their share of all replies to the task under the condition", ge=0, le=1),
    ),
)

VIEWS: tuple[View, ...] = (
    VALUE_LABELS,
    RECODES,
    ANSWERS,
    ESTIMATES,
    REPORTED_ESTIMATES,
    REPORTED_PEOPLE_SHARES,
    FIGURES,
    FOUND_POCKETS,
    MEMBERSHIPS,
    UNPARSED_REPLIES,
)
"""Published views, each after the views that it reads."""
