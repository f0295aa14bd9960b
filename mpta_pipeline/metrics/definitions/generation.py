"""How near open text is to the text that its user wrote or preferred. Each is a mean over readable replies."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.metrics.metric import Metric


def _record(name: str, definition: str, source: str) -> Metric:
    return Metric(
        name=name,
        definition=f"{definition} of a reply against the item's reference text, mean over readable replies",
        unit="score",
        low=None if name == "bertscore" else 0.0,
        high=1.0,
        direction="higher",
        source=source,
        family="generation",
        chance="none; the answers without persona are what to compare with",
        value=pl.col(f"text_{name}"),
        count=pl.col("n_text"),
        where=(pl.col("n_text") > 0) & pl.col(f"text_{name}").is_not_null(),
        paired=True,
        gap=True,
        keyless=True,
    )


METRICS = (
    _record("rouge_l", "ROUGE-L (longest common subsequence, F1)", "Lin 2004, by rouge-score; LaMP's own measure"),
    _record("rouge_1", "ROUGE-1 (words, F1)", "Lin 2004, by rouge-score; LaMP's own measure"),
    _record("chrf", "chrF (characters, F2)", "Popović 2015, by sacrebleu"),
    _record("bleu", "BLEU of the sentence with effective order", "Papineni et al. 2002, by sacrebleu"),
    _record("bertscore", "BERTScore (F1, not rescaled)", "Zhang et al. 2020, by bert-score where it is asked for"),
)
