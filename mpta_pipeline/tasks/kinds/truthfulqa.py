"""Make items from TruthfulQA: does the model tell fact from myth?

The binary form of January 2025, which the authors recommend, has the best answer and the best incorrect answer. MC1
has one true answer among several. MC2 scores the probability mass on all true answers (mc2_mass); it needs
log-probabilities and is never the accuracy of a letter. A hash of question and option fixes the canonical order of the
options, because the published files list the answer key first.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import file_sha256, hash_rows, hash_uniform
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.tasks.item_files import Download, ItemFile, is_sample, version
from mpta_pipeline.tasks.task_kind import Example, ItemFileSignature, ItemRequest, TaskKind

_SHA = "b8d8ef1e12f98b4f2a9f47abc9765da0640b182b6c5d9b92f0c1a1f2f1e02e5c"
_MC_SHA = "c90d853454fd48c676accb33e16923ac438dbb6fb37ecc7c6a70e33c9e556e87"
FILE = ItemFile(
    name="TruthfulQA.csv",
    address="https://github.com/sylinrl/TruthfulQA (TruthfulQA.csv)",
    licence="Apache-2.0 (sylinrl/TruthfulQA)",
    pattern="*.csv",
    sample="sample_myths.csv",
    versions={_SHA: "TruthfulQA 2025 (790 questions)"},
    downloads=(Download("https://raw.githubusercontent.com/sylinrl/TruthfulQA/main/TruthfulQA.csv", _SHA),),
)
CHOICES = ItemFile(
    name="mc_task.json",
    address="https://github.com/sylinrl/TruthfulQA (data/mc_task.json)",
    licence="Apache-2.0 (sylinrl/TruthfulQA)",
    pattern="mc_task.json",
    versions={_MC_SHA: "TruthfulQA 2025 mc_task (790 questions)"},
    downloads=(Download("https://raw.githubusercontent.com/sylinrl/TruthfulQA/main/data/mc_task.json", _MC_SHA),),
)
MOST_OPTIONS = 26
_COLUMNS = ("Type", "Category", "Question", "Best Answer", "Best Incorrect Answer")


def read_table(path: Path) -> pl.DataFrame:
    """Read TruthfulQA.csv.

    Raises:
        TaskError: It is not CSV or lacks a column of the published structure.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (*UNREADABLE, UnicodeDecodeError):
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
    """One item per question, with the best and the best incorrect answer."""
    (path,) = request.files
    frame = _answered(read_table(path), path, request).rename({"Question": "question", "Category": "category"})
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
        pl.col("Type").alias("subcategory"),
        pl.lit(version(request.files, FILE)).alias("item_file"),
        pl.lit(sample).alias("sample_item"),
        pl.lit("Apache-2.0 (sample items of this project)" if sample else FILE.licence).alias("licence"),
    ).with_columns(pl.col("item_id").alias("cluster_id"))


def _answered(frame: pl.DataFrame, path: Path, request: ItemRequest) -> pl.DataFrame:
    """Rows with a question and both answers; the others are left out."""
    rows = frame.with_row_index("_row", offset=2)
    for column in ("Question", "Best Answer", "Best Incorrect Answer"):
        empty = pl.col(column).fill_null("").str.strip_chars() == ""
        for row, question in rows.filter(empty).select("_row", "Question").iter_rows():
            request.gaps.leave_out(path, f"row {row} ({(question or '')[:60]})", column, "it is empty")
        rows = rows.filter(~empty)
    return rows.drop("_row")


def read_choices(path: Path) -> pl.DataFrame:
    """Read mc_task.json: row, question and, for mc1 and mc2, the options with their truth.

    Raises:
        TaskError: It has another structure.
    """
    try:
        rows = orjson.loads(path.read_bytes())
        long = [
            (number, row["question"], form, str(option), bool(true))
            for number, row in enumerate(rows)
            for form in ("mc1", "mc2")
            for option, true in row[f"{form}_targets"].items()
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise TaskError(
            "The item file does not have the structure of TruthfulQA's mc_task.json",
            file=path,
            remedy=f"get it from {CHOICES.address}",
        ) from None
    schema = {
        "row": pl.Int64(),
        "question": pl.String(),
        "form": pl.String(),
        "option": pl.String(),
        "true": pl.Boolean(),
    }
    return pl.DataFrame(long, schema=pl.Schema(schema), orient="row")


def _told_apart(items: pl.DataFrame, form: str, path: Path, request: ItemRequest) -> pl.DataFrame:
    """Items with a right answer, each once; a question repeated with other options is another item."""
    right = pl.col("true").list.sum()
    wrong = right == 0 if form == "mc2" else right != 1
    for row, question, n in items.filter(wrong).select("row", "question", right.alias("n")).iter_rows():
        request.gaps.leave_out(
            path,
            f"{row} ({question[:60]})",
            f"{form}_targets",
            f"{n or 'none'} of its answers is true" if n < 2 else f"{n} of its answers are true",
        )
    items = items.filter(~wrong)
    again = ~pl.struct("question", "option", "true").is_first_distinct()
    for row, question in items.filter(again).select("row", "question").iter_rows():
        request.gaps.leave_out(path, f"{row} ({question[:60]})", "question", "it repeats an earlier item")
    items = items.filter(~again)
    hashed = hash_rows(items.with_columns(pl.col("option").list.join("\x1e").alias("text")), ["text"], length=6)
    first = pl.struct("question").is_first_distinct()
    return items.with_columns(pl.when(first).then(pl.lit("")).otherwise(pl.format("_{}", hashed)).alias("suffix"))


def _choice_items(request: ItemRequest, form: str) -> pl.DataFrame:
    (path,) = request.files
    long = read_choices(path).filter(pl.col("form") == form)
    long = long.with_columns(hash_uniform(long, ["question", "option"], key="truthfulqa-order").alias("order"))
    items = long.sort("question", "row", "order").group_by("question", "row", maintain_order=True).agg("option", "true")
    items = _told_apart(items, form, path, request)
    items = items.filter(pl.col("option").list.len() <= int(request.option("max_options", MOST_OPTIONS)))
    return items.with_columns(
        pl.format("tqa_{}_{}{}", pl.lit(form), hash_rows(items, ["question"], length=10), "suffix").alias("item_id"),
        pl.col("option").alias("options"),
        # The published file has 39 empty answers, which its published figures count.
        pl.lit(file_sha256(path) == _MC_SHA).alias("keeps_empty"),
        pl.col("true")
        .list.eval(pl.when(pl.element()).then(pl.lit("true")).otherwise(pl.lit("false")))
        .alias("option_values"),
        pl.col("true").list.arg_max().cast(pl.Int64).alias("gold_idx"),
        pl.lit(False).alias("ordinal"),
        pl.lit(version(request.files, CHOICES)).alias("item_file"),
        *([pl.col("true").cast(pl.List(pl.Float64)).alias("option_credit")] if form == "mc2" else []),
        pl.lit(CHOICES.licence).alias("licence"),
    ).with_columns(pl.col("item_id").alias("cluster_id"))


def mc1_items(request: ItemRequest) -> pl.DataFrame:
    """One true answer among several."""
    return _choice_items(request, "mc1")


def mc2_items(request: ItemRequest) -> pl.DataFrame:
    """Several true answers; the score is the probability mass on them."""
    return _choice_items(request, "mc2")


_OPTIONS = {"max_options": f"Questions with more options than this are left out (default {MOST_OPTIONS}: all)"}
KINDS = (
    TaskKind(
        "truthfulqa_binary",
        "TruthfulQA, binary: the best answer against the best incorrect one",
        binary_items,
        file=FILE,
        example=Example(),
        signature=ItemFileSignature(frozenset({"Best Answer", "Best Incorrect Answer"})),
        shuffles_options=True,
    ),
    TaskKind(
        "truthfulqa_mc1",
        "TruthfulQA, MC1: the one true answer among several",
        mc1_items,
        file=CHOICES,
        options=_OPTIONS,
        signature=ItemFileSignature(file_name=CHOICES.name),
        shuffles_options=True,
    ),
    TaskKind(
        "truthfulqa_mc2",
        "TruthfulQA, MC2: probability on the true answers",
        mc2_items,
        file=CHOICES,
        options=_OPTIONS,
        shuffles_options=True,
    ),
)
