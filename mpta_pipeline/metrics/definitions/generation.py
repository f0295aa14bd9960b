"""Define the similarity of open text to what its user wrote or preferred, as means over readable replies."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.metrics.metric import Metric


def _record(name: str, label: str, definition: str, source: str) -> Metric:
    return Metric(
        name=name,
        label=label,
        definition=f"{definition} of a reply against the item's reference text, averaged over readable replies",
        unit="score",
        low=None if name == "bertscore" else 0.0,
        high=1.0,
        direction="higher",
        source=source,
        family="generation",
        chance="none; compare with the answers without a persona",
        value=pl.col(f"text_{name}"),
        count=pl.col("n_text"),
        where=(pl.col("n_text") > 0) & pl.col(f"text_{name}").is_not_null(),
        paired=True,
        gap=True,
        keyless=True,
    )


METRICS = (
    _record(
        "rouge_l",
        "nearness to the reference text (ROUGE-L)",
        "ROUGE-L (longest common subsequence, F1)",
        "Lin 2004, by rouge-score; LaMP's own measure",
    ),
    _record(
        "rouge_1",
        "words shared with the reference text (ROUGE-1)",
        "ROUGE-1 (words, F1)",
        "Lin 2004, by rouge-score; LaMP's own measure",
    ),
    _record(
        "chrf",
        "characters shared with the reference text (chrF)",
        "chrF (characters, F2)",
        "Popović 2015, by sacrebleu",
    ),
    _record(
        "bleu",
        "phrases shared with the reference text (BLEU)",
        "BLEU of the sentence with effective order",
        "Papineni et al. 2002, by sacrebleu",
    ),
    _record(
        "bertscore",
        "likeness to the reference text (BERTScore)",
        "BERTScore (F1, not rescaled)",
        "Zhang et al. 2020, by bert-score, if it is requested",
    ),
)
