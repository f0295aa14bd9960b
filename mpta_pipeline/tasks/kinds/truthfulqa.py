"""TruthfulQA: does the model tell fact from myth, whoever asks?

Binary form of January 2025, which its authors recommend: best answer against best incorrect answer. Which of the two
is option 0 is fixed by a hash of the question, so that the answer key is never always the first.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.errors import TaskError
from mpta_pipeline.hashing import hash_rows, hash_uniform
from mpta_pipeline.tasks.files import ItemFile, is_sample, version
from mpta_pipeline.tasks.registry import ItemRequest, Kind

FILE = ItemFile(
    name="TruthfulQA.csv",
    address="https://github.com/sylinrl/TruthfulQA (TruthfulQA.csv)",
    licence="Apache-2.0 (sylinrl/TruthfulQA)",
    pattern="*.csv",
    sample="sample_myths.csv",
    versions={"b8d8ef1e12f98b4f2a9f47abc9765da0640b182b6c5d9b92f0c1a1f2f1e02e5c": "TruthfulQA 2025 (790 questions)"},
)
_COLUMNS = ("Type", "Category", "Question", "Best Answer", "Best Incorrect Answer")


def read_table(path: Path) -> pl.DataFrame:
    """Read TruthfulQA.csv.

    Raises:
        TaskError: It is no CSV or lacks a column of the published structure.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        frame = pl.DataFrame()
    if absent := [c for c in _COLUMNS if c not in frame.columns]:
        raise TaskError(
            "The item file does not have the structure of TruthfulQA.csv",
            file=path,
            variable=absent[0],
            remedy=f"get the 2025 version with the column Best Incorrect Answer from {FILE.address}",
        )
    return frame


def binary_items(request: ItemRequest) -> pl.DataFrame:
    """One item a question with its best and its best incorrect answer."""
    (path,) = request.files
    frame = read_table(path).rename({"Question": "question", "Category": "category"})
    frame = frame.unique(["question", "Best Answer"], keep="first", maintain_order=True)
    true_first = hash_uniform(frame, ["question"], key="truthfulqa-order") < 0.5
    pair = ["Best Answer", "Best Incorrect Answer"]
    sample = is_sample(request.files)
    return frame.with_columns(
        pl.format(
            "{}{}", pl.lit("sample_" if sample else "tqa_"), hash_rows(frame, ["question", "Best Answer"], length=10)
        ).alias("item_id"),
        pl.when(true_first).then(pl.concat_list(pair)).otherwise(pl.concat_list(pair[::-1])).alias("options"),
        pl.when(true_first).then(pl.lit(["true", "false"])).otherwise(pl.lit(["false", "true"])).alias("option_values"),
        pl.when(true_first).then(0).otherwise(1).alias("gold_idx"),
        pl.lit(False).alias("ordinal"),
        pl.struct(
            pl.col("Type").alias("type"),
            pl.lit(version(request.files, FILE)).alias("file"),
            pl.lit(sample).alias("sample"),
        )
        .struct.json_encode()
        .alias("metadata"),
        pl.lit("Apache-2.0 (sample items of this project)" if sample else FILE.licence).alias("licence"),
    ).with_columns(pl.col("item_id").alias("cluster_id"))


KINDS = (
    Kind(
        "truthfulqa_binary",
        "TruthfulQA, binary: the best answer against the best incorrect one",
        binary_items,
        file=FILE,
    ),
)
