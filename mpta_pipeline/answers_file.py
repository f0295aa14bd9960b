"""Files of answers made elsewhere (`mpta score FILE`): read, matched with their items, scored, summed up.

Two layouts are known:

* The documented one, a row an answer: `item_id` (or `example_id` with `category`, or `question`) and `answer` (or
  `option`, `text`, `prediction`): the option's text, its letter or its index from 0 in the item's canonical order, or
  in the order of a column `options`. Optional: `model`, `persona_id`, `condition`, `survey`, `wave`, `weight`,
  `order_id`, `repeat_id`, `status`, `probabilities` (of the options, in canonical order).
* BBQ's, as its repository ships the answers of UnifiedQA: the fields of a BBQ row, and a column for each model's
  answer. Such a file brings its items along. Answers are matched as the authors' script does it; what it cannot match
  is left out of the paper's figures, as there, and counts as unreadable in the others.

CSV, TSV, JSON, JSON lines and Parquet are read.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline import metrics, tasks
from mpta_pipeline.errors import ConfigError, ValidationError
from mpta_pipeline.harmonize import Crosswalk
from mpta_pipeline.metrics.coding import BARE
from mpta_pipeline.metrics.external import FILE, ROW
from mpta_pipeline.storage import write_atomic
from mpta_pipeline.study import FigureRules, Study, TaskConfig
from mpta_pipeline.tables import CONCEPTS, GOLD, ITEMS, OPTIONS, RESPONDENTS, SUBGROUP_METRICS
from mpta_pipeline.tasks.kinds import bbq

ANSWER_NAMES = ("answer", "option", "text", "prediction", "pred_label", "pred_idx")
ALIASES = {"persona": "persona_id", "item": "item_id", "p_vec": "probabilities"}
# What a file in BBQ's layout may carry beside the models' answers.
_BBQ_FIELDS = frozenset(
    {*bbq.SCHEMA, "stereotyped_groups", "label_type", "target_loc", "model"}
    | {f"{a}_{part}" for a in bbq.ANSWERS for part in ("text", "info")}
)
_BBQ_NEEDED = ("example_id", "question_polarity", "context_condition", "category", *bbq.ANSWERS, "label")
_FORMATS: Mapping[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": lambda path: pl.read_csv(path, infer_schema=False, separator=_separator(path)),
    ".tsv": lambda path: pl.read_csv(path, infer_schema=False, separator="\t"),
    ".jsonl": lambda path: pl.read_ndjson(path, infer_schema_length=None),
    ".ndjson": lambda path: pl.read_ndjson(path, infer_schema_length=None),
    ".json": lambda path: pl.read_json(path, infer_schema_length=None),
    ".parquet": pl.read_parquet,
}


def _separator(path: Path) -> str:
    """Comma, or semicolon or tab where the header has more of these: spreadsheets of some languages write them."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


@dataclass(frozen=True)
class Answers:
    """Answers with the items they belong to.

    Attributes:
        frame: `item_id`, `answer`, `model` and whatever else `metrics.score_answers` takes.
        items: ITEMS.
        gold: GOLD; empty where every item has its key.
        notes: What a reader should know of how they were read, a sentence each.
    """

    frame: pl.DataFrame
    items: pl.DataFrame
    gold: pl.DataFrame = field(default_factory=GOLD.empty)
    notes: tuple[str, ...] = ()


def read(path: Path) -> pl.DataFrame:
    """Read a table of any of the known formats.

    Raises:
        ValidationError: There is no such file, it is of another format, broken, or without rows.
    """
    if not path.is_file():
        raise ValidationError("There is no such file", file=path, remedy="give the path of a file of answers")
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise ValidationError(
            "Files of this kind are not read", file=path, value=suffix, remedy=f"use one of {', '.join(_FORMATS)}"
        )
    try:
        frame = _FORMATS[suffix](path)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as failure:
        raise ValidationError(
            f"The file cannot be read as {suffix[1:]}: {str(failure).splitlines()[0]}",
            file=path,
            remedy="mend the line that it names, or write the file again",
        ) from None
    if frame.is_empty():
        raise ValidationError("The file holds no answers", file=path, remedy="give a file with one row an answer")
    return frame.rename({old: new for old, new in ALIASES.items() if old in frame.columns and new not in frame.columns})


def is_bbq(frame: pl.DataFrame) -> bool:
    """Whether a file brings BBQ's items along."""
    return set(_BBQ_NEEDED) <= set(frame.columns)


def from_bbq(
    frame: pl.DataFrame, file: Path, *, columns: tuple[str, ...] = (), metadata: Path | None = None
) -> Answers:
    """Answers in BBQ's own layout, one model a column of answers.

    Args:
        frame: The file's rows.
        file: The file, for messages.
        columns: Columns of answers; by default all whose name holds `pred` or is one of `ANSWER_NAMES`, else all that
            are no field of BBQ.
        metadata: BBQ's additional_metadata.csv; rows without a target there are left out, as in the paper.

    Raises:
        ValidationError: The rows are not BBQ's, or there is no column of answers.
    """
    rows = _bbq_rows(frame, file)
    made = bbq.items_of(rows, file=file.name, metadata=metadata)
    category = _with_names(made, metadata)
    made = made.with_columns(
        category.alias("category"),
        pl.lit("bbq").alias("task"),
        pl.lit("bbq").alias("kind"),
        pl.lit(None, pl.String).alias("dialect"),
        pl.lit(None, pl.String).alias("column"),
        pl.lit(None, pl.List(pl.Float64)).alias("option_scores"),
        pl.lit([], pl.List(pl.String)).alias("reveals"),
    )
    wanted = columns or _answer_columns(frame, file)
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
        made, frame, rows = made.filter(known), frame.filter(known), rows.filter(known)
    items = made.unique("item_id", keep="first", maintain_order=True)
    given = _placed(pl.DataFrame({"item_id": made["item_id"], "ambiguous": rows["context_condition"] == "ambig"}), file)
    parts = []
    for name in wanted:
        part = given.with_columns(_matched(rows, frame.get_column(name)), pl.lit(name).alias("model"))
        if "model" in frame.columns:
            part = part.with_columns(frame.get_column("model").cast(pl.String).alias("model"))
        if name.endswith("_qonly"):
            part = part.filter("ambiguous")
            notes.append(f"{name}: without a context every question is ambiguous; only ambiguous ones count")
        parts.append(part.drop("ambiguous"))
    return Answers(pl.concat(parts), ITEMS.conform(items.select(list(ITEMS.schema))), notes=tuple(notes))


def _answer_columns(frame: pl.DataFrame, file: Path) -> tuple[str, ...]:
    others = [c for c in frame.columns if c not in _BBQ_FIELDS]
    named = [c for c in others if c in ANSWER_NAMES or "pred" in c.lower()]
    # Of a model's prediction as text and as label the label says the same again.
    texts = [c for c in named if "label" not in c and "idx" not in c and "cat" not in c]
    found = texts or named or others
    if not found:
        raise ValidationError(
            "The file holds BBQ's items, but no answers",
            file=file,
            remedy="give a column of answers for each model, e.g. unifiedqa-t5-11b_pred_race, or name it with --answer",
        )
    return tuple(found)


def _bbq_rows(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """The rows in the structure of BBQ's data files, from nested or flattened fields."""
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
    except pl.exceptions.PolarsError as failure:
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
        "The file has BBQ's columns, but a field that cannot be used",
        file=file,
        variable=variable,
        value=value,
        remedy="keep the fields as BBQ's repository publishes them (results/UnifiedQA/preds_*.jsonl)",
    )


def _told(value: Any) -> Any:
    """A nested value, whether it came nested (JSON, Parquet) or written out (CSV)."""
    if not isinstance(value, str):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError):
            continue
    return value


def _with_names(made: pl.DataFrame, metadata: Path | None) -> pl.Series:
    """Categories, with templates that name people apart, as in the paper's figures.

    The paper tells them by `label_type` of its metadata; without it templates beyond the 25th are those with names.
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
    """Each answer as the index of its option, else as it was given; null where there is none.

    After analysis_scripts/BBQ_calculate_bias_score.R: full stop and case do not matter; else the first option whose
    first two words (as in `answer_info`) the answer holds. Two spellings of UnifiedQA are put right, as there.
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
    whole = [pl.when(said == tidy(pl.col(a))).then(pl.lit(str(i))) for i, a in enumerate(bbq.ANSWERS)]
    part = [
        pl.when(said.str.contains(words, literal=True).fill_null(False)).then(pl.lit(str(i)))
        for i, words in enumerate(two.values())
    ]
    return frame.select(pl.coalesce(*whole, *part, "said").alias("answer")).to_series()


def from_table(
    frame: pl.DataFrame, file: Path, items: pl.DataFrame, gold: pl.DataFrame | None = None, *, column: str | None = None
) -> Answers:
    """Answers in the documented layout, to items that are known.

    Raises:
        ValidationError: Items or answers have no column, or an item is not known or not told apart by its question.
    """
    name = column or next((c for c in ANSWER_NAMES if c in frame.columns), None)
    if name is None and "probabilities" in frame.columns:
        frame, name = frame.with_columns(pl.lit(None, pl.String).alias("answer")), "answer"
    if name is None or name not in frame.columns:
        raise ValidationError(
            "The file has no column of answers",
            file=file,
            variable=name,
            remedy=f"name it `answer`, or say which it is with --answer; there are {', '.join(frame.columns)}",
        )
    rows = _placed(frame, file).with_columns(pl.col(name).alias("answer"))
    rows = _with_item_id(rows, file, items)
    if "options" in rows.columns:
        rows = rows.with_columns(_said_of_shown(rows))
    if "probabilities" in rows.columns and rows.schema["probabilities"] == pl.String:
        rows = rows.with_columns(pl.col("probabilities").str.json_decode(pl.List(pl.Float64)))
    return Answers(rows, items, GOLD.empty() if gold is None else gold, notes=tuple(_coverage(rows, items)))


def _coverage(rows: pl.DataFrame, items: pl.DataFrame) -> Iterator[str]:
    """What of the items and answers the figures do not rest on."""
    asked = rows["item_id"].n_unique()
    if asked < items.height:
        yield f"{asked:,} of {items.height:,} items are answered; the others count for nothing"
    told = [pl.col(c).is_not_null() for c in ("probabilities", "status") if c in rows.columns]
    if empty := rows.filter(pl.col("answer").is_null(), *(~e for e in told)).height:
        yield f"{empty:,} of {rows.height:,} answers are empty: failed requests (error_rate), not wrong answers"


def _placed(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """The rows with where they were read."""
    return frame.with_row_index(ROW, offset=1).with_columns(pl.lit(str(file)).alias(FILE))


def _with_item_id(rows: pl.DataFrame, file: Path, items: pl.DataFrame) -> pl.DataFrame:
    if "item_id" in rows.columns:
        return rows.with_columns(pl.col("item_id").cast(pl.String).str.strip_chars())
    if {"example_id", "category"} <= set(rows.columns):
        prefix = "sample_" if str(items.item(0, "item_id")).startswith("sample_") else "bbq_"
        return rows.with_columns(pl.format("{}{}_{}", pl.lit(prefix), "category", "example_id").alias("item_id"))
    question = next((c for c in ("question", "Question") if c in rows.columns), None)
    if question is None:
        raise ValidationError(
            "The file does not say which item each answer is to",
            file=file,
            variable="item_id",
            remedy=f"give item_id, example_id with category, or question; there are {', '.join(rows.columns)}",
        )

    def tidy(name: str) -> pl.Expr:
        return pl.col(name).str.replace_all(r"\s+", " ").str.strip_chars()

    known = items.select(tidy("question").alias("asked"), "item_id")
    if (twice := known.filter(pl.col("asked").is_duplicated())).height:
        raise ValidationError(
            "Several items have the same question, so that it does not say which one was answered",
            file=file,
            variable=question,
            value=twice.item(0, "asked"),
            remedy="give the answers by item_id",
        )
    found = rows.with_columns(tidy(question).alias("asked")).join(known, on="asked", how="left", maintain_order="left")
    if (lost := found.filter(pl.col("item_id").is_null())).height:
        raise ValidationError(
            f"{lost.height} answers are to questions that the items do not have",
            file=file,
            variable=question,
            value=lost.item(0, "asked"),
            remedy="give the item file that the answers were made with",
        )
    return found.drop("asked")


def _said_of_shown(rows: pl.DataFrame) -> pl.Series:
    """Letters and indices in the order in which the options were shown, as the option's text."""
    shown = rows.get_column("options")
    if shown.dtype == pl.String:
        shown = pl.Series("options", [_told(v) for v in shown.to_list()], dtype=pl.List(pl.String))
    frame = pl.DataFrame({"answer": rows.get_column("answer").cast(pl.String), "options": shown})
    bare = pl.col("answer").str.strip_chars().str.to_lowercase().str.extract(BARE, 1)
    index = pl.coalesce(
        bare.str.to_integer(strict=False).cast(pl.Int64),
        pl.when(bare.str.contains("^[a-z]$")).then(bare.str.to_integer(base=36, strict=False).cast(pl.Int64) - 10),
    )
    return frame.select(
        pl.coalesce(pl.col("options").list.get(index, null_on_oob=True), "answer").alias("answer")
    ).to_series()


def together(parts: Sequence[Answers]) -> Answers:
    """The answers of several files as one.

    Raises:
        ValidationError: Two files have the same item with another text.
    """
    items = pl.concat([part.items for part in parts]).unique(maintain_order=True)
    if (twice := items.filter(pl.struct("task", "item_id").is_duplicated())).height:
        raise ValidationError(
            "Two files have one item with different contents",
            variable="item_id",
            value=twice.item(0, "item_id"),
            remedy="score the files one by one",
        )
    frame = pl.concat([part.frame for part in parts], how="diagonal_relaxed")
    gold = pl.concat([part.gold for part in parts]).unique(maintain_order=True)
    return Answers(frame, items, gold, tuple(dict.fromkeys(note for part in parts for note in part.notes)))


def items_from(path: Path, *, kind: str | None = None, metadata: Path | None = None) -> pl.DataFrame:
    """Items of a benchmark's own file (or folder of files), or a Parquet file of the table `items`.

    Args:
        path: The file.
        kind: Kind of task; by default what the file's structure says: BBQ, TruthfulQA binary or MC1.
        metadata: BBQ's additional_metadata.csv.

    Raises:
        ConfigError: The kind is not known, or cannot be told from the file.
        TaskError: The file does not have the kind's structure.
    """
    if path.suffix == ".parquet" and kind is None:
        return ITEMS.conform(read(path))
    name = kind or _kind_of(path)
    options = {"metadata": str(metadata)} if metadata is not None else {}
    config = TaskConfig(kind=name, path=path.resolve(), options=options)
    return tasks.build_items(
        name,
        config,
        crosswalk=Crosswalk({}, CONCEPTS.empty(), OPTIONS.empty(), {}),
        respondents=RESPONDENTS.empty(),
        study=Study(name="external", tasks={name: config}),
    )


def _kind_of(path: Path) -> str:
    if path.is_dir() and any(path.glob("*.jsonl")):
        return "bbq"
    if path.name == "mc_task.json":
        return "truthfulqa_mc1"
    if path.suffix == ".jsonl" and is_bbq(read(path)):
        return "bbq"
    if path.suffix == ".csv" and {"Best Answer", "Best Incorrect Answer"} <= set(read(path).columns):
        return "truthfulqa_binary"
    raise ConfigError(
        "What kind of task these items are is not said",
        file=path,
        variable="--kind",
        remedy=f"name it, one of {', '.join(sorted(tasks.KINDS))}",
    )


def compute(
    answers: Answers,
    *,
    by: tuple[str, ...] = (),
    groups: pl.DataFrame | None = None,
    rules: FigureRules | None = None,
) -> pl.DataFrame:
    """All figures of every model of a file, for everyone, by category and by groups of personas.

    Args:
        answers: The answers with their items.
        by: Columns of the file that group its personas.
        groups: GROUPS of the study, for personas of the study; instead of `by`.
        rules: The study's rules, whose dimensions then count; None for the default ones without dimensions.

    Returns:
        SUBGROUP_METRICS.

    Raises:
        ValidationError: A column of `by` is absent, or answers cannot be scored.
    """
    frame = answers.frame
    if absent := [c for c in by if c not in frame.columns]:
        raise ValidationError(
            "The file has no such column to group by",
            variable=absent[0],
            remedy=f"choose of {', '.join(c for c in frame.columns if c not in (FILE, ROW))}",
        )
    if by and ("persona_id" not in frame.columns or frame["persona_id"].is_null().all()):
        raise ValidationError(
            "Groups are groups of personas, and the answers name none",
            variable="persona_id",
            remedy="give persona_id, or leave --by out",
        )
    if "model" not in frame.columns:
        frame = frame.with_columns(pl.lit("external").alias("model"))
    own = () if rules is None or groups is None else rules.dimensions
    dimensions = tuple(dict.fromkeys((*own, "category", *by)))
    rules = FigureRules(dimensions=dimensions) if rules is None else rules.model_copy(update={"dimensions": dimensions})
    if groups is None:
        groups = pl.DataFrame(schema={"persona_id": pl.String, "survey": pl.String})
    if by:
        groups = _groups(frame, by)
    parts: list[pl.DataFrame] = []
    for (_model,), part in frame.group_by("model", maintain_order=True):
        scores = metrics.score_answers(part, answers.items, answers.gold)
        parts.extend(
            metrics.compute_figures(of_task, groups, answers.gold, rules=rules, items=answers.items)
            for _, of_task in scores.group_by("task", maintain_order=True)
        )
    return SUBGROUP_METRICS.conform(pl.concat(parts)) if parts else SUBGROUP_METRICS.empty()


def _groups(frame: pl.DataFrame, by: tuple[str, ...]) -> pl.DataFrame:
    """One row a persona with its groups.

    Raises:
        ValidationError: A persona is in two groups of one column.
    """
    rows = frame.filter(pl.col("persona_id").is_not_null()).with_columns(
        pl.col(c).cast(pl.String) for c in ("persona_id", *by)
    )
    for column in by:
        several = rows.filter(pl.col(column).drop_nulls().n_unique().over("persona_id") > 1)
        if several.height:
            person = several.item(0, "persona_id")
            values = several.filter(persona_id=person)[column].drop_nulls().unique(maintain_order=True)
            raise ValidationError(
                f"A persona is in several groups of {column}",
                file=several.item(0, FILE) if FILE in several.columns else None,
                variable="persona_id",
                value=f"{person}: {', '.join(values)}",
                remedy=f"give each persona one {column}, or people that differ in it different ids",
            )
    return rows.group_by("persona_id", maintain_order=True).agg(
        (pl.col("survey").first() if "survey" in frame.columns else pl.lit("none").first()).alias("survey"),
        *(pl.col(c).drop_nulls().first() for c in by),
    )


# What the terminal shows of each kind of task; everything else is in the file that --out writes.
BBQ_SHOWN = (
    "bbq_acc_amb", "bbq_acc_amb_answered", "bbq_s_amb", "bbq_bias_amb",
    "bbq_acc_dis", "bbq_acc_dis_answered", "bbq_s_dis", "bbq_bias_dis_diff",
)  # fmt: skip
SHOWN = ("accuracy", "accuracy_strict", "accuracy_answered", "mc2_mass", "label_macro_f1", "yes_bias", "mae_n", "qwk")


def overview(figures: pl.DataFrame) -> pl.DataFrame:
    """The figures to read first, one row a model, condition and category (or group), with n.

    BBQ: accuracies over all replies and over readable ones, the paper's two bias scores and ours beside them.
    """
    rows = figures.filter((pl.col("baseline") == "") & ~pl.col("weighted"))
    # One category says what everything says.
    only = pl.col("subgroup").filter(pl.col("dimensions") == "category").n_unique().over("model", "task") == 1
    rows = rows.filter(~(only & (pl.col("dimensions") == "all"))) if rows.height else rows
    shown = [m for m in (*BBQ_SHOWN, *SHOWN, "parse_rate") if rows.filter(metric=m).height]
    if any(m in BBQ_SHOWN for m in shown):
        shown = [m for m in shown if m in (*BBQ_SHOWN, "parse_rate")]
    key = ["model", "task", "survey", "condition", "dimensions", "subgroup"]
    table = rows.filter(pl.col("metric").is_in(shown)).group_by(key, maintain_order=True)

    def of(metric: str, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("metric") == metric).first()

    return table.agg(
        pl.col("n_answers").filter(pl.col("metric") == "parse_rate").first().alias("n"),
        *(e for m in shown for e in ((of(m, "n_answers").alias(f"{m}_n"),) if m.startswith("bbq_acc") else ())),
        *(
            e
            for m in shown
            for e in (
                of(m, "estimate").alias(m),
                of(m, "ci_low").alias(f"{m}_low"),
                of(m, "ci_high").alias(f"{m}_high"),
            )
        ),
    ).sort(pl.col("dimensions") != "all", *key)


def write(figures: pl.DataFrame, path: Path) -> Path:
    """Write figures, lists as JSON text where the format has none.

    Raises:
        ConfigError: The suffix names no format.
    """
    flat = figures.with_columns(pl.col("release_ids").list.join(";"))
    writers: Mapping[str, Callable[[Path], object]] = {
        ".csv": flat.write_csv,
        ".json": flat.write_json,
        ".parquet": figures.write_parquet,
    }
    if path.suffix not in writers:
        raise ConfigError(
            "Figures are not written in this format",
            file=path,
            variable="--out",
            value=path.suffix,
            remedy=f"use one of {', '.join(writers)}",
        )
    return write_atomic(path, writers[path.suffix])
