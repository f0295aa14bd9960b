"""Define metrics of how well a model represents a population, from published polls and benchmarks."""

from __future__ import annotations

from mpta_pipeline.metrics.metric import Metric

_OF = "between the model's order-balanced answers and the people's own, by group; questions have equal weight"
_SECOND = "that of a second sample of people, baseline `second_sample`"


def _fidelity(name: str, label: str, definition: str) -> Metric:
    return Metric(
        name=name,
        label=label,
        definition=f"{definition}; one estimate per dimension, questions with a scale and at least three groups with "
        "20 or more answers on both sides",
        unit="score",
        low=0.0,
        high=1.0,
        direction="higher",
        source="da Silva et al. 2026 (arXiv 2609.36253); distances equal to 10 digits are ties",
        family="fidelity",
        chance=_SECOND,
        computed_by="fidelity",
    )


METRICS = (
    Metric(
        name="representativeness",
        label="representativeness (OpinionQA)",
        definition=f"1 minus the Wasserstein-1 distance over option positions, divided by their range, {_OF}",
        unit="score",
        low=0.0,
        high=1.0,
        direction="higher",
        source="OpinionQA, Santurkar et al. 2023",
        family="polls",
        chance="baseline `uniform`: equal shares of all options; `majority`: always the people's most frequent answer; "
        "`sampling_floor`: people against people",
        computed_by="distances",
    ),
    Metric(
        name="js_similarity",
        label="similarity (GlobalOpinionQA)",
        definition=f"1 minus the Jensen–Shannon distance (base 2) {_OF}",
        unit="score",
        low=0.0,
        high=1.0,
        direction="higher",
        source="GlobalOpinionQA, Durmus et al. 2023; the base is our choice",
        family="polls",
        chance="baseline `uniform`: equal shares of all options; `majority`: always the people's most frequent answer; "
        "`sampling_floor`: people against people",
        computed_by="distances",
    ),
    Metric(
        name="simbench",
        label="SimBench score",
        definition="100 (1 − T/U), where T is the mean total variation between model and people, and U that between a "
        "uniform distribution over the options and people; below 0 is worse than uniform answers",
        unit="points",
        low=None,
        high=100.0,
        direction="higher",
        source="SimBench, Hu et al. 2025 (arXiv 2510.17516)",
        family="polls",
        chance="0; that of people against people is the baseline `sampling_floor`",
        computed_by="distances",
    ),
    Metric(
        name="steerability",
        label="steerability (OpinionQA)",
        definition="Representativeness of the wording of the persona that comes nearest, chosen per question; by group",
        unit="score",
        low=0.0,
        high=1.0,
        direction="higher",
        source="OpinionQA, Santurkar et al. 2023",
        family="polls",
        chance="the mean over wordings, baseline `mean_wording`: the best of several is nearer by chance alone",
        computed_by="polls",
    ),
    Metric(
        name="consistency",
        label="consistency (OpinionQA)",
        definition="Share of topics in which the best represented group over all questions is also the best "
        "represented. Topics are the items' categories; one estimate per dimension",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="OpinionQA, Santurkar et al. 2023 (consistency.ipynb)",
        family="polls",
        chance="1/groups, baseline `chance`",
        computed_by="polls",
    ),
    _fidelity(
        "pfs",
        "Population Fidelity Score",
        "Population Fidelity Score: geometric mean of accuracy, adaptability and structure of each question, then over "
        "questions. `method` names the binding part, which is the smallest",
    ),
    _fidelity(
        "pfs_accuracy", "fidelity: accuracy", "1 minus the mean distance (nEMD) between the model's groups and people's"
    ),
    _fidelity(
        "pfs_adaptability",
        "fidelity: adaptability",
        "How far apart the model's groups are relative to people's: min(A, 1/A) of the ratio A of median distances",
    ),
    _fidelity(
        "pfs_structure",
        "fidelity: structure",
        "Whether the groups that differ among people also differ in the model: Spearman's ρ of the pairwise distances, "
        "at least 0",
    ),
)
