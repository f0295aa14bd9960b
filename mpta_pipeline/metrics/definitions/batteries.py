"""Define metrics of question batteries: do they measure the same in the model as in people?"""

from __future__ import annotations

from mpta_pipeline.metrics.metric import Metric

METRICS = (
    Metric(
        name="cronbach_alpha",
        label="Cronbach's α of batteries",
        definition="Cronbach's α of the personas' answers to batteries of three or more ordinal items, averaged over "
        "batteries. Items are reversed as they load among people. Baseline `human`: the personas' own answers",
        unit="score",
        low=None,
        high=1.0,
        direction="none",
        source="Cronbach 1951; pairwise covariances",
        family="batteries",
        chance="0 for unrelated answers; above people's α, answers are more consistent than people's",
        computed_by="batteries",
    ),
    Metric(
        name="factor_congruence",
        label="factor congruence of batteries (Tucker's φ)",
        definition="Tucker's φ between the loadings of a battery's items on the first component of the personas' "
        "answers and of those of people whom the model was not asked about, averaged over batteries",
        unit="score",
        low=-1.0,
        high=1.0,
        direction="higher",
        source="Tucker 1951; Lorenzo-Seva and ten Berge 2006: from .95 on the same factor, from .85 on a similar one",
        family="batteries",
        chance="that of the personas' own answers, a second sample of people: baseline `second_sample`",
        computed_by="batteries",
    ),
)
