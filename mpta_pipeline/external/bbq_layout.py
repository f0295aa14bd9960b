"""Read answers in BBQ's own layout: the fields of a BBQ row, and one column per model's answer.

Such a file contains its items. Answers are matched the way the authors' script does it. What it cannot match is left
out of the paper's metrics, as there, and counts as unreadable in the others.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.core.tables import ITEMS
from mpta_pipeline.external.column_roles import ALIASES, plain
from mpta_pipeline.external.file_formats import parse_nested as _told
from mpta_pipeline.external.scoring_inputs import Answers, Known, Reading
from mpta_pipeline.external.table_answers import from_table
from mpta_pipeline.metrics.samples.external_scores import ROW
from mpta_pipeline.tasks import completed
from mpta_pipeline.tasks.kinds import bbq

ANSWER_NAMES = ("answer", "option", "text", "prediction", "response", "pred_label", "pred_idx")
_CARRIED = ("respondent_id", "model", "condition", "survey", "wave", "weight", "order_id", "repeat_id", "status")
# What a file in BBQ's layout may carry beside the models' answers.
_BBQ_FIELDS = frozenset(
    {*bbq.SCHEMA, "stereotyped_groups", "label_type", "target_loc", "model"}
    | {f"{a}_{part}" for a in bbq.ANSWERS for part in ("text", "info")}
)


def is_bbq(frame: pl.DataFrame) -> bool:
    """Return whether a file contains BBQ's items."""
    return set(bbq.NEEDED) <= set(frame.columns)


def from_bbq(
    frame: pl.DataFrame, file: Path, reading: Reading | None = None, *, metadata: Path | None = None
) -> Answers:
    """Return answers in BBQ's own layout, one model per column of answers.

    Args:
        frame: The file's rows.
        file: The file, for messages.
        reading: What the user says about the file. By default, columns of answers are all whose name contains `pred` or
            is one of `ANSWER_NAMES`, else all that are not fields of BBQ, groups or the respondent.
        metadata: BBQ's additional_metadata.csv; rows without a target there are left out, as in the paper.

    Raises:
        ValidationError: The rows are not BBQ's, or there is no column of answers.
    """
    reading = reading or Reading()
    rows = _bbq_rows(frame, file)
    made = bbq.items_of(rows, file=file.name, metadata=metadata)
    category = _with_names(made, metadata)
    made = completed(made.with_columns(category.alias("category")), task="bbq", kind="bbq", own_key=False)
    wanted = reading.answers or _answer_columns(frame, file, reading)
    kept = list(range(1, frame.height + 1))
    if absent := [c for c in wanted if c not in frame.columns]:
        raise ValidationError(
            "The file has no such column of answers", file=file, variable=absent[0],
            remedy=f"choose of {', '.join(c for c in frame.columns if c not in _BBQ_FIELDS) or 'no column at all'}",
        )  # fmt: skip
    notes = []
    if metadata is not None:
        known = made.get_column("option_bias").list.drop_nulls().list.len() == len(bbq.ANSWERS)
        if dropped := int((~known).sum()):
            notes.append(f"{dropped} rows without a target in {metadata.name} are left out, as in the paper")
        kept = [row for row, target in zip(kept, known, strict=True) if target]
        made, frame, rows = made.filter(known), frame.filter(known), rows.filter(known)
    items = made.unique("item_id", keep="first", maintain_order=True)
    placed = pl.DataFrame(
        {
            "item_id": made["item_id"],
            "ambiguous": rows["context_condition"] == "ambig",
            ROW: pl.Series(kept, dtype=pl.UInt32),
        }
    )
    carried = [c for c in _carried(frame, reading) if c not in wanted and c not in placed.columns]
    given = placed.hstack(frame.select(carried))
    parts = []
    for name in wanted:
        part = given.with_columns(_matched(rows, frame.get_column(name)))
        if "model" not in carried:
            part = part.with_columns(pl.lit(name).alias("model"))
        if name.endswith("_qonly"):
            part = part.filter("ambiguous")
            notes.append(f"{name}: without a context every question is ambiguous; only ambiguous ones count")
        parts.append(part.drop("ambiguous"))
    known_items = Known(ITEMS.conform(items.select(list(ITEMS.schema))))
    # What the authors' script cannot match is left out of the paper's figures.
    told = replace(
        reading,
        replies=False,
        answers=(),
        columns={"item_id": "item_id", "answer": "answer", **_roles(reading, carried)},
    )
    answers = from_table(pl.concat(parts), file, known_items, told)
    shown = {**answers.roles, "item_id": "category and example_id (BBQ's own fields)", "answer": ", ".join(wanted)}
    return replace(answers, notes=(*notes, *answers.notes), roles=shown)


def _roles(reading: Reading, carried: list[str]) -> dict[str, str]:
    return {role: column for role, column in reading.columns.items() if column in carried}


def _carried(frame: pl.DataFrame, reading: Reading) -> list[str]:
    """Return the columns that are neither BBQ's nor answers: the respondent, and groups."""
    names = {alias for role in _CARRIED for alias in ALIASES[role]}
    own = {*reading.bases, *reading.columns.values()}
    return [c for c in frame.columns if (c in own or (plain(c) in names and c not in _BBQ_FIELDS - {"model"}))]


def _answer_columns(frame: pl.DataFrame, file: Path, reading: Reading) -> tuple[str, ...]:
    if "answer" in reading.columns:
        return (reading.columns["answer"],)
    carried = set(_carried(frame, reading))
    others = [c for c in frame.columns if c not in _BBQ_FIELDS and c not in carried]
    named = [c for c in others if c in ANSWER_NAMES or "pred" in c.lower()]
    # If a model's prediction is given as text and as label, the label is redundant.
    texts = [c for c in named if "label" not in c and "idx" not in c and "cat" not in c]
    found = texts or named or others
    if not found:
        raise ValidationError(
            "The file contains BBQ's items, but no answers",
            file=file,
            remedy="give a column of answers for each model, e.g. unifiedqa-t5-11b_pred_race, or name it with --answer",
        )
    return tuple(found)


def _bbq_rows(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Return the rows in the structure of BBQ's data files, from nested or flattened fields."""
    n = frame.height
    info: list[Any]
    if "answer_info" in frame.columns:
        info = [_told(v) for v in frame.get_column("answer_info").to_list()]
    elif all(f"{a}_info" in frame.columns for a in bbq.ANSWERS):
        text = [f"{a}_text" if f"{a}_text" in frame.columns else a for a in bbq.ANSWERS]
        flat = frame.select(*text, *(f"{a}_info" for a in bbq.ANSWERS)).rows()
        info = [dict(zip(bbq.ANSWERS, zip(row[:3], row[3:], strict=True), strict=True)) for row in flat]
    else:
        raise _not_bbq(file, "answer_info", None)
    extra = (
        [_told(v) for v in frame["additional_metadata"].to_list()]
        if "additional_metadata" in frame.columns
        else [{}] * n
    )
    groups = (
        [_told(v) for v in frame["stereotyped_groups"].to_list()]
        if "stereotyped_groups" in frame.columns
        else [None] * n
    )
    index = "question_index" if "question_index" in frame.columns else None
    out = []
    for i, (answer_info, given, own) in enumerate(zip(info, extra, groups, strict=True)):
        more = given if isinstance(given, dict) else {}
        stereotyped = own if own is not None else more.get("stereotyped_groups")
        stereotyped = [stereotyped] if isinstance(stereotyped, str) else stereotyped
        if (
            not isinstance(answer_info, dict)
            or any(not isinstance(answer_info.get(a), list) for a in bbq.ANSWERS)
            or not isinstance(stereotyped, list)
        ):
            raise _not_bbq(file, "answer_info" if stereotyped is not None else "stereotyped_groups", f"row {i + 1}")
        out.append(
            {
                "answer_info": {a: [str(t) for t in answer_info[a]] for a in bbq.ANSWERS},
                "additional_metadata": {
                    "subcategory": str(more.get("subcategory", "")),
                    "stereotyped_groups": [str(g) for g in stereotyped],
                    "version": str(more.get("version", "")),
                },
            }
        )
    nested = pl.DataFrame(out, schema={c: bbq.SCHEMA[c] for c in ("answer_info", "additional_metadata")})
    try:
        plain = frame.select(
            pl.col("example_id").cast(pl.Int64),
            (pl.col(index).cast(pl.String) if index else pl.lit("0")).alias("question_index"),
            pl.col("question_polarity", "context_condition", "category").cast(pl.String).str.strip_chars(),
            *(
                (pl.col(c).cast(pl.String) if c in frame.columns else pl.lit("")).alias(c)
                for c in ("context", "question")
            ),
            *(pl.col(a).cast(pl.String).str.replace_all(r"[{}]", "") for a in bbq.ANSWERS),
            pl.col("label").cast(pl.Int64),
        )
    except UNREADABLE as failure:
        raise ValidationError(
            f"The rows are not BBQ's: {str(failure).splitlines()[0]}",
            file=file,
            remedy="example_id and label are whole numbers; give the file as published",
        ) from None
    needed = ("example_id", "question_polarity", "context_condition", "category", *bbq.ANSWERS, "label")
    for column, allowed in (
        *((c, None) for c in needed),
        ("question_polarity", ("neg", "nonneg")),
        ("context_condition", ("ambig", "disambig")),
        ("label", (0, 1, 2)),
    ):
        values = plain.get_column(column)
        wrong = values.is_null() if allowed is None else ~values.is_in(allowed)
        if wrong.any():
            place = int(wrong.arg_true()[0])
            raise _not_bbq(file, column, f"row {place + 1}: {values[place]!r}")
    return plain.hstack(nested)


def _not_bbq(file: Path, variable: str, value: str | None) -> ValidationError:
    return ValidationError(
        "The file has BBQ's columns, but one of its fields is invalid",
        file=file,
        variable=variable,
        value=value,
        remedy="keep the fields as BBQ's repository publishes them (results/UnifiedQA/preds_*.jsonl)",
    )


def _with_names(made: pl.DataFrame, metadata: Path | None) -> pl.Series:
    """Return categories, with templates that name people as categories of their own, as in the paper.

    The paper recognizes them by `label_type` of its metadata; without it, templates beyond the 25th have names.
    """
    category = made.get_column("category")
    if metadata is not None and "label_type" in (told := pl.read_csv(metadata, infer_schema=False)).columns:
        kinds = told.select("category", pl.col("example_id").cast(pl.Int64, strict=False), "label_type").unique(
            ["category", "example_id"], keep="first", maintain_order=True
        )
        named = (
            made.join(kinds, on=["category", "example_id"], how="left", maintain_order="left")["label_type"] == "name"
        )
    else:
        number = made.get_column("question_index").cast(pl.Int64, strict=False)
        named = (number > 25) & ~category.str.contains("_x_")
    return made.select(
        pl.when(pl.Series(named.fill_null(False))).then(pl.format("{} (names)", "category")).otherwise("category")
    ).to_series()


def _matched(rows: pl.DataFrame, given: pl.Series) -> pl.Series:
    """Return each answer as the text of its option, else as given; null if there is none.

    After analysis_scripts/BBQ_calculate_bias_score.R: full stop and case do not matter; else the first option whose
    first two words (as in `answer_info`) the answer contains. Two spellings of UnifiedQA are corrected, as there.
    """

    def tidy(text: pl.Expr) -> pl.Expr:
        return text.str.strip_chars().str.replace(r"\.$", "").str.to_lowercase().str.strip_chars()

    said = tidy(pl.col("said").str.replace("pantsu$", "pantsuit")).str.replace("o'brien", "obrien", literal=True)
    frame = rows.with_columns(given.cast(pl.String).alias("said"))
    two = {
        a: tidy(pl.col("answer_info").struct.field(a).list.first().str.replace_all(r"[{}]", "")).str.extract(
            r"^(\S+ \S+)", 1
        )
        for a in bbq.ANSWERS
    }
    whole = [pl.when(said == tidy(pl.col(a))).then(pl.col(a)) for a in bbq.ANSWERS]
    part = [
        pl.when(said.str.contains(words, literal=True).fill_null(False)).then(pl.col(a)) for a, words in two.items()
    ]
    return frame.select(pl.coalesce(*whole, *part, "said").alias("answer")).to_series()
