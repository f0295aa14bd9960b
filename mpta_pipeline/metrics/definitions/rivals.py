"""Define what a panel of personas gains over its rival, asking the model once about the group."""

from __future__ import annotations

from mpta_pipeline.metrics.metric import Metric

METRICS = (
    Metric(
        name="panel_gain",
        label="gain of the panel over asking once",
        definition="Total variation between people's answers and the shares that the model states when it is asked "
        "about the group (condition `group`), minus that between people's answers and those of the group's personas; "
        "mean over the questions that have both. Above 0, the panel is nearer to people. `p_value` and `q_value` test "
        "that it is 0. The interval leaves out what the small number of personas adds to their distance",
        unit="distance",
        low=-1.0,
        high=1.0,
        direction="higher",
        source="own definition; direct estimates as in arXiv 2609.07305 and Meister et al. 2025 (arXiv 2411.05403)",
        family="rivals",
        chance="gains of other rivals over asking once: baselines `uniform` (equal shares), `majority` (always "
        "people's most frequent answer), `second_sample` (as many people as personas), `people` (people's own shares: "
        "the total variation of asking once, and the most that a panel can gain)",
        computed_by="rivals",
    ),
)
