"""Check personas before they replace the stored ones."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.checks import CheckResult


def check_personas(personas: pl.DataFrame, respondents: pl.DataFrame) -> list[CheckResult]:
    """Check that personas say what their respondents answered, in words, and nothing else.

    Args:
        personas: PERSONAS.
        respondents: The RESPONDENTS rows that they were made from.
    """
    traits = personas.select("respondent_id", "traits").explode("traits").drop_nulls("traits").unnest("traits")
    strangers = personas.join(respondents, on="respondent_id", how="anti").height
    absent = []
    for (column,), part in traits.select("respondent_id", "column").partition_by("column", as_dict=True).items():
        kind = f"{column}__missing"
        if kind in respondents.columns:
            missing = respondents.filter(pl.col(kind).is_not_null()).select("respondent_id")
            absent.append((column, part.join(missing, on="respondent_id", how="semi").height))
    told = sum(n for _, n in absent)
    said = ~pl.col("statement").str.contains(pl.col("answer"), literal=True)
    unsaid = traits.filter(said | pl.col("statement").str.contains("{answer}", literal=True)).height
    labels = traits.group_by("respondent_id", "label").len().filter(pl.col("len") > 1).height
    broken = traits.filter(pl.any_horizontal(pl.col(c).str.contains(r"\n|\| ") for c in ("label", "answer"))).height
    unique = personas["k_anonymity"].eq(1).mean() if personas.height else None
    return [
        CheckResult(
            "respondents_known", strangers == 0, "error", "Every persona is a respondent", {"unknown": strangers}
        ),
        CheckResult("no_missing_told", told == 0, "error", "No missing answer is stated as a fact", {"told": told}),
        CheckResult(
            "statements_say_answers", unsaid == 0, "error", "Each statement contains its answer", {"unsaid": unsaid}
        ),
        CheckResult(
            "labels_unique", labels == 0, "error", "No persona has two traits under one label", {"twice": labels}
        ),
        CheckResult(
            "styles_separable",
            broken == 0,
            "error",
            "No label or answer contains a separator of a style",
            {"broken": broken},
        ),
        CheckResult(
            "uniqueness",
            True,
            "warn",
            "Share of personas with unique demographic traits in their wave and country",
            {"share_unique": unique, "personas": personas.height},
        ),
    ]
