"""Define metrics of whether personas differ as people do: flattening (too alike) or caricature (too far apart)."""

from __future__ import annotations

from mpta_pipeline.metrics.metric import Metric


def _record(
    name: str,
    label: str,
    definition: str,
    source: str,
    *,
    unit: str = "ratio",
    low: float | None = None,
    high: float | None = None,
    chance: str = "none",
) -> Metric:
    return Metric(
        name=name,
        label=label,
        definition=definition,
        unit=unit,
        low=low,
        high=high,
        direction="none",
        source=source,
        family="flattening",
        chance=chance,
        computed_by="flattening",
    )


METRICS = (
    _record(
        "variance_ratio",
        "variance, model over people",
        "Variance of the model's answers over people's: the sum over ordinal items of the variances of scaled answers, "
        "each unbiased for its sample size; below 1 is flattening",
        "own definition: the model's answers against the respondents'",
    ),
    _record(
        "entropy_ratio",
        "entropy, model over people",
        "Entropy of the model's answers over people's, summed over items, with Miller and Madow's correction; below "
        "1 is flattening",
        "own definition: the model's answers against the respondents'",
    ),
    _record(
        "eta2_ratio",
        "share explained by the group, model over people (η² ratio)",
        "Share of the variance that lies between the dimension's groups, model over people (ε², ordinal items); above "
        "1 is caricature; null if people's own share is within its noise",
        "Wang, Morgenstern and Dickerson 2025",
    ),
    _record(
        "eta2",
        "share explained by the group (ε²)",
        "Share of the variance of the model's answers that lies between the dimension's groups (ε², which is η² "
        "without its bias; ordinal items); null if all answers are alike. Baseline `human`: people's own share",
        "Kelley 1935",
        unit="share",
        high=1.0,
        chance="0",
    ),
    _record(
        "eta2_difference",
        "share explained by the group, model minus people",
        "The model's `eta2` minus people's own; above 0 is caricature; null if either is",
        "Kelley 1935",
        unit="difference of shares",
        chance="minus people's own share",
    ),
    _record(
        "pc1_share",
        "first component of the answers' correlations",
        "Share of the first principal component in the correlations of ordinal items. Baseline `human`: people's own "
        "share",
        "Barrie and Cerina 2026",
        unit="share",
        low=0.0,
        high=1.0,
        chance="1/k, k items",
    ),
    _record(
        "effective_dependence",
        "dependence among the answers",
        "1 − |R|^(1/k) of the correlations R of k ordinal items. Baseline `human`: people's own value",
        "Peña and Rodríguez 2003",
        unit="share",
        low=0.0,
        high=1.0,
        chance="0",
    ),
)
