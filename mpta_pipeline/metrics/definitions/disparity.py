"""Define disparity metrics: how accuracy differs between groups. One estimate per dimension, subgroup `all`."""

from __future__ import annotations

from mpta_pipeline.metrics.metric import Direction, Metric


def _record(
    name: str, label: str, definition: str, source: str, *, unit: str = "share", direction: Direction = "lower"
) -> Metric:
    return Metric(
        name=f"accuracy_{name}",
        label=label,
        definition=f"{definition}; groups of at least 5 personas",
        unit=unit,
        low=0.0,
        high=1.0 if unit == "share" else None,
        direction=direction,
        source=source,
        family="disparity",
        chance="its mean if people are randomly reassigned to groups of these sizes and group × question differences "
        "are redrawn, baseline `permutation_null`; the p-value counts draws that tie with the estimate",
        computed_by="disparity",
    )


METRICS = (
    _record(
        "worst", "accuracy of the worst group", "Accuracy of the worst group", "own definition", direction="higher"
    ),
    _record(
        "range",
        "best group minus worst",
        "Accuracy of the best group minus that of the worst",
        "as fairlearn's difference",
    ),
    _record(
        "ratio",
        "worst group over best",
        "Accuracy of the worst group over that of the best",
        "as fairlearn's ratio",
        direction="higher",
    ),
    _record("range_shrunken", "range, shrunken", "Range of the groups' empirical-Bayes accuracies", "own definition"),
    _record(
        "between_sd",
        "spread of groups (SD)",
        "Standard deviation of the groups' true accuracies: variance of the estimates minus their mean error variance",
        "Lum, Zhang and Bower 2022, single correction",
    ),
    _record(
        "entropy_between",
        "inequality index",
        "Generalized entropy (α = 2) of accuracy between groups: inequality left if everyone has the group's mean",
        "Speicher et al. 2018",
        unit="index",
    ),
)
