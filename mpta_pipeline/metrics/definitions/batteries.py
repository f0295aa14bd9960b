"""Whether batteries of questions measure in the model what they measure in people."""

from __future__ import annotations

from mpta_pipeline.metrics.metric import Metric

METRICS = (
    Metric(
        name="cronbach_alpha",
        label="Cronbach's α of batteries",
        definition="Cronbach's α of the personas' answers to batteries of three or more ordinal items, mean over "
        "batteries; items turned the way they load among people; the personas' own answers as baseline `human`",
        unit="score",
        low=None,
        high=1.0,
        direction="none",
        source="Cronbach 1951; pairwise covariances",
        family="batteries",
        chance="0 for answers that have nothing in common; above people's is more alike than people are",
        computed_by="batteries",
    ),
    Metric(
        name="factor_congruence",
        label="factor congruence of batteries (Tucker's φ)",
        definition="Tucker's φ between the loadings of a battery's items on the first component among personas' "
        "answers and among people whom the model was not asked about, mean over batteries",
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
