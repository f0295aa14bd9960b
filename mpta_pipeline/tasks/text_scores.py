"""Compare open text with a reference: chrF and BLEU by sacrebleu, ROUGE by rouge-score, BERTScore on request.

The whole reply without surrounding space is compared, as in LaMP's own evaluation.
"""

from __future__ import annotations

import importlib.util

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.tables import TEXT_SCORES

_PACKAGES = {"sacrebleu": "sacrebleu", "rouge_score": "rouge-score"}
_PERCENT = 100.0


def require(name: str, *, bertscore: str | None = None) -> None:
    """Check that the packages that score open text are installed, before requests are sent.

    Args:
        name: Task, for the message.
        bertscore: Model that BERTScore uses; None if it is not requested.

    Raises:
        TaskError: A package is absent; the message names it and how to install it.
    """
    wanted = dict(_PACKAGES) | ({"bert_score": "bert-score"} if bertscore else {})
    for module, package in wanted.items():
        if importlib.util.find_spec(module) is None:
            remedy = (
                "pip install bert-score, or leave out the option bertscore"
                if module == "bert_score"
                else "pip install 'mpta-pipeline[generation]'"
            )
            raise TaskError(
                f"Task {name} asks for open text, which cannot be scored without the package {package}; "
                "the other tasks continue without it",
                variable=f"tasks.{name}",
                value=package,
                remedy=remedy,
            )


def text_scores(pairs: pl.DataFrame, *, task: str) -> pl.DataFrame:
    """Score each distinct pair of reply and reference once.

    chrF and BLEU are sentence scores divided by 100. BLEU uses the effective order, so that replies without a 4-gram
    are not scored 0. ROUGE-1 and ROUGE-L are F1 without stemming. All lie between 0 and 1.

    Args:
        pairs: text, reference, bertscore_model (null: BERTScore is not computed); other columns are ignored.
        task: Task, for messages.

    Returns:
        text, reference, bertscore_model, text_scores; one row per distinct triple.

    Raises:
        TaskError: A package is absent.
    """
    frame = pairs.select("text", "reference", "bertscore_model").unique(maintain_order=True)
    if frame.is_empty():
        return frame.with_columns(pl.lit(None, TEXT_SCORES).alias("text_scores"))
    models = frame["bertscore_model"].drop_nulls().unique().sort().to_list()
    require(task, bertscore=models[0] if models else None)
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    rouge = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    rows = []
    for said, wanted in frame.select("text", "reference").iter_rows():
        text, reference = said.strip(), wanted.strip()
        overlap = rouge.score(reference, text)
        rows.append(
            {
                "chrf": sacrebleu.sentence_chrf(text, [reference]).score / _PERCENT,
                "bleu": sacrebleu.sentence_bleu(text, [reference], use_effective_order=True).score / _PERCENT,
                "rouge_1": float(overlap["rouge1"].fmeasure),
                "rouge_l": float(overlap["rougeL"].fmeasure),
                "bertscore": None,
            }
        )
    frame = frame.with_columns(pl.Series("text_scores", rows, dtype=TEXT_SCORES))
    return pl.concat([_with_bertscore(part) for part in frame.partition_by("bertscore_model")])


def _with_bertscore(part: pl.DataFrame) -> pl.DataFrame:
    """Add BERTScore's F1 to the pairs of one model; rows without a model are unchanged."""
    model = part["bertscore_model"][0]
    if model is None:
        return part
    from bert_score import score

    _, _, f1 = score(
        part["text"].str.strip_chars().to_list(), part["reference"].str.strip_chars().to_list(), model_type=model
    )
    values = pl.Series("value", [float(x) for x in f1], dtype=pl.Float64)
    return part.with_columns(pl.col("text_scores").struct.with_fields(bertscore=values).cast(TEXT_SCORES))
