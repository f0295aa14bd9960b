"""Declare the tables of a study's multiverse: its configurations, and what becomes of each figure in them."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.schema import Column, Table, shared_columns

LEVEL = pl.Struct({"factor": pl.String, "level": pl.String})

_FIGURE = Column("figure", pl.String, "Figure, as named under `multiverse.figures` in study.yaml")
_OVER = Column("over", pl.String, "Model whose configurations these are; `all models` where the model is a factor")
_LOW = Column("ci_low", pl.Float64, "Lower end of the interval; its confidence is 1 − figures.level", nullable=True)
_HIGH = Column("ci_high", pl.Float64, "Upper end", nullable=True)

CONFIGURATION_ESTIMATES = Table(
    "configuration_estimates",
    "The figures of the multiverse for one model and task at the levels of a configuration; empty for other tasks.",
    ("model", "task", "survey", "figure"),
    (
        *shared_columns("model", "task", "survey"),
        _FIGURE,
        Column(
            "estimate", pl.Float64, "The figure: an estimate, an effect or a gap; null where undefined", nullable=True
        ),
        Column("se", pl.Float64, "Standard error, clustered by persona and item", nullable=True),
        _LOW,
        _HIGH,
        Column("p_value", pl.Float64, "Two-sided; null for an estimate itself", nullable=True, ge=0, le=1),
        Column("n_answers", pl.Int64, "Answers behind it", ge=0),
        Column("n_personas", pl.Int64, "Personas behind it", ge=0),
        Column("n_items", pl.Int64, "Items behind it", ge=0),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("small", pl.Boolean, "Below the study's minimum cell size; read it only together with its n"),
    ),
)

CONFIGURATION_PEOPLE = Table(
    "configuration_people",
    "Sums by person behind the figures of the multiverse, for the joint test. Not published.",
    ("model", "task", "survey", "metric", "condition", "respondent_id"),
    (
        *shared_columns("model", "task", "survey"),
        Column("metric", pl.String, "Metric"),
        *shared_columns("condition", "persona"),
        Column("total", pl.Float64, "Weighted sum of the person's values"),
        Column("effect", pl.Float64, "The same less the values without persona; null without them", nullable=True),
        Column("weight", pl.Float64, "Sum of the weights", ge=0),
    ),
)

CONFIGURATIONS = Table(
    "configurations",
    "One row per configuration of the multiverse: its levels, and the requests that it takes.",
    ("task", "model", "configuration"),
    (
        *shared_columns("task", "model"),
        Column("configuration", pl.String, "The levels as text, e.g. framing-user_is~style-bullets"),
        Column("levels", pl.List(LEVEL), "Level of each factor"),
        _OVER,
        Column("asked_task", pl.String, "Task in `prompts` and `scores` that asks its prompts"),
        Column("asked_model", pl.String, "Model in `responses` and `scores` that is asked"),
        Column("requests", pl.Int64, "Different requests of the configuration", ge=0),
        Column(
            "new_requests",
            pl.Int64,
            "Requests that neither the study's own tasks nor a configuration before it share",
            ge=0,
        ),
    ),
)

SPECIFICATION_CURVE = Table(
    "specification_curve",
    "Each figure under each configuration, sorted by its value.",
    ("task", "over", "survey", "figure", "model", "configuration"),
    (
        *shared_columns("task"),
        _OVER,
        *shared_columns("survey"),
        _FIGURE,
        *shared_columns("model"),
        Column("configuration", pl.String, "The levels as text"),
        Column("levels", pl.List(LEVEL), "Level of each factor"),
        Column("place", pl.Int64, "Place on the curve, from 0", ge=0),
        Column("estimate", pl.Float64, "The figure; null where undefined", nullable=True),
        Column("se", pl.Float64, "Its standard error", nullable=True),
        _LOW,
        _HIGH,
        Column("p_value", pl.Float64, "Two-sided p-value against 0", nullable=True, ge=0, le=1),
        Column("p_holm", pl.Float64, "The same, corrected for the number of configurations (Holm)", nullable=True),
        Column(
            "holds",
            pl.Boolean,
            "The figure has the sign that most configurations agree on, and its corrected p-value is below "
            "figures.level; null for a figure that is no difference",
            nullable=True,
        ),
        Column("n_answers", pl.Int64, "Answers behind it", ge=0),
        Column("n_personas", pl.Int64, "Personas behind it", ge=0),
        Column("n_items", pl.Int64, "Items behind it", ge=0),
        Column("weighted", pl.Boolean, "Survey weights were used"),
        Column("small", pl.Boolean, "Below the study's minimum cell size"),
    ),
)

MULTIVERSE_FINDINGS = Table(
    "multiverse_findings",
    "Each figure over all configurations: in how many it holds, and the joint test of all of them.",
    ("task", "over", "survey", "figure"),
    (
        *shared_columns("task"),
        _OVER,
        *shared_columns("survey"),
        _FIGURE,
        Column("what", pl.String, "estimate, effect or gap"),
        Column("n_configurations", pl.Int64, "Configurations with a value", ge=0),
        Column("median", pl.Float64, "Median over the configurations", nullable=True),
        Column("lowest", pl.Float64, "Lowest value", nullable=True),
        Column("highest", pl.Float64, "Highest value", nullable=True),
        Column("n_holds", pl.Int64, "Configurations in which the figure holds", nullable=True, ge=0),
        Column(
            "n_excluding_zero", pl.Int64, "Configurations with its sign whose own interval excludes 0", nullable=True
        ),
        Column(
            "n_opposite", pl.Int64, "Configurations with the opposite sign, significant after correction", nullable=True
        ),
        Column("share_holds", pl.Float64, "Share of configurations in which it holds", nullable=True, ge=0, le=1),
        Column("p_median", pl.Float64, "Joint test: p-value of the median by permutation", nullable=True, ge=0, le=1),
        Column(
            "p_count",
            pl.Float64,
            "Joint test: p-value of the number of configurations with its sign that are significant alone",
            nullable=True,
            ge=0,
            le=1,
        ),
        Column("permutations", pl.Int64, "Permutations of the joint test", nullable=True),
        Column("note", pl.String, "Caveat for the reader; null if none", nullable=True),
    ),
)

FACTOR_MOVES = Table(
    "factor_moves",
    "How much a figure moves with each choice alone: between configurations that differ in nothing else or, in a "
    "fractional design, between the means of its levels.",
    ("task", "over", "survey", "figure", "factor"),
    (
        *shared_columns("task"),
        _OVER,
        *shared_columns("survey"),
        _FIGURE,
        Column("factor", pl.String, "The choice"),
        Column("moves", pl.Float64, "Mean difference between its levels, without sign", nullable=True, ge=0),
        Column("most", pl.Float64, "Largest difference", nullable=True, ge=0),
        Column("lowest_level", pl.String, "Level with the lowest mean of the figure", nullable=True),
        Column("highest_level", pl.String, "Level with the highest mean", nullable=True),
        Column("n_pairs", pl.Int64, "Pairs of configurations compared; 0 in a fractional design", ge=0),
    ),
)

VARIANCE_BUDGET = Table(
    "variance_budget",
    "What makes answers right or wrong: shares of the variance of the score by person, question, wording and so on.",
    ("task", "over", "survey", "component"),
    (
        *shared_columns("task"),
        _OVER,
        *shared_columns("survey"),
        Column(
            "component",
            pl.String,
            "person, question, person × question, survey, model, configuration, wording, order, repeat, or residual",
        ),
        Column("levels", pl.Int64, "Number of its levels", ge=0),
        Column("variance", pl.Float64, "Variance component; an estimate below 0 counts as 0", nullable=True, ge=0),
        Column("share", pl.Float64, "Share of the sum of all components", nullable=True, ge=0, le=1),
        Column("ci_low", pl.Float64, "Lower end of the share's interval", nullable=True, ge=0, le=1),
        Column("ci_high", pl.Float64, "Upper end", nullable=True, ge=0, le=1),
        Column("n_answers", pl.Int64, "Answers behind it", ge=0),
    ),
)
