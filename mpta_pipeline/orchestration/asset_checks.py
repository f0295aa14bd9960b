"""Asset checks: their names and meaning, and the domain's check results in Dagster's form.

The domain runs the checks, before it replaces a stored table; a failed blocking check raises there and the last good
table stays. What is reported here is what it found.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from mpta_pipeline.core.checks import CheckResult

# Asset → check → what it means. A test compares the names with what the domain's checks return.
DECLARED: dict[str, dict[str, str]] = {
    "harmonized_wave": {
        "schema": "Columns, types and value domains are those of the crosswalk",
        "unique_keys": "No two respondents of the wave share a key, but for reasoned exemptions",
        "weights": "Weights are there, not negative and not extreme",
        "weight_sums": "Weights sum to what the producer says for each country",
        "coverage": "No concept lost answers in a country against the release before",
        "release_changes": "A new release keeps nearly all respondents and nearly all of their answers",
        "declared_gaps": "What the producer says was not asked in a country is not answered there",
        "label_drift": "Value labels read as they did in the release before",
        "columns_set_aside": "The crosswalk understands every answer in the variables that it knows of this file",
        "impossible_combinations": "Ages, birth years and rights fit each other",
        "straight_lining": "Few respondents give one answer to a whole battery",
        "break_off": "Few respondents leave more than half of the questions open",
        "battery_signs": "Items of a battery hang together with the expected sign",
        "polarity": "Each scale runs the way that its known partners say",
        "published_marginals": "Weighted shares equal the producers' published figures",
    },
    "personas": {
        "respondents_known": "Every persona is a respondent",
        "no_missing_told": "No missing answer is told as a fact",
        "statements_say_answers": "Each statement holds its answer",
        "labels_unique": "No persona has two traits under one label",
        "styles_separable": "No label or answer holds a separator of a style",
        "uniqueness": "How many personas are alone with their demographic traits",
    },
    "scores": {
        "replies_readable": "At least the share of replies that the study states can be read",
    },
    "subgroup_metrics": {
        "counts_add_up": "The answers of a dimension's subgroups are no more than everybody's",
        "intervals_contain_estimates": "Every interval holds its estimate",
        "no_figure_without_n": "Every figure has the answers, personas and items that it rests on",
        "figures_in_range": "Every figure lies in the range of its metric, and is no infinity",
    },
    "pockets": {
        "counts_add_up": "A pocket's difference is its figure less the others'",
        "intervals_contain_estimates": "Every interval holds its difference",
        "no_figure_without_n": "Every pocket has the answers, personas and items that it rests on",
        "confirmed_by_test": "Every pocket that is called confirmed has a q-value",
    },
    "model_comparison": {
        "counts_add_up": "The difference of two models is the opposite in the other direction",
        "intervals_contain_estimates": "Every interval holds its difference",
        "no_figure_without_n": "Every figure has the answers, personas and items that it rests on",
    },
    "prompts": {
        "gold_position_uniform": "The answer key stands equally often at every position (χ² test)",
        "twins_without_persona": "Every persona prompt has its twin without persona",
        "options_differ": "No prompt shows the same option twice",
    },
}
# Checks that are told and never block.
ADVISORY = {
    "declared_gaps",
    "label_drift",
    "columns_set_aside",
    "impossible_combinations",
    "straight_lining",
    "break_off",
    "polarity",
    "uniqueness",
    "replies_readable",
}


def specs(asset: str) -> list[dg.AssetCheckSpec]:
    """Check specs of an asset."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=description, blocking=name not in ADVISORY)
        for name, description in DECLARED[asset].items()
    ]


def results(asset: str, found: Sequence[CheckResult]) -> list[dg.AssetCheckResult]:
    """The domain's results as Dagster's. A declared check that had nothing to look at passes and says so."""
    if undeclared := {check.name for check in found} - set(DECLARED[asset]):
        raise KeyError(f"checks of {asset} that are not declared here: {sorted(undeclared)}")
    by_name: dict[str, list[CheckResult]] = {}
    for check in found:
        by_name.setdefault(check.name, []).append(check)
    return [_merged(name, by_name.get(name, [])) for name in DECLARED[asset]]


def _merged(name: str, found: list[CheckResult]) -> dg.AssetCheckResult:
    failed = [c for c in found if not c.passed]
    severity = dg.AssetCheckSeverity.ERROR if any(c.severity == "error" for c in failed) else dg.AssetCheckSeverity.WARN
    metadata = {"looked at": len(found)} | {
        key: dg.MetadataValue.json(value) if isinstance(value, list | dict) else value
        for c in (failed or found)[:1]
        for key, value in c.metadata.items()
        if value is not None
    }
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=name,
        severity=severity,
        description="; ".join(c.description for c in failed) if failed else None,
        metadata=metadata,
    )
