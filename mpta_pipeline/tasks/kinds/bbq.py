"""Make items from BBQ: does the model fall back on stereotypes?

The biased answer is derived from the items themselves (answer_info, stereotyped_groups, polarity), as in Parrish et
al. 2022: the stereotyped group in a negative question, the other group in a non-negative one.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.tasks.item_files import Download, ItemFile, is_sample, version
from mpta_pipeline.tasks.task_kind import Example, ItemFileSignature, ItemRequest, TaskKind

# Categories with a pinned file; any other file of the same structure is read from `path`.
_SHA = {
    "Age": "46e805b3fc2d8cbd26eeb8e8430d98cf7b2dc9c83574ff3674e8ce4f0fca2a60",
    "Disability_status": "375d40d9b71f056150264445ec189b13934998f3f49a1e311aa7578eb3b45e5f",
    "Religion": "cb9555f9f3454a52cd2df85956b59bd7fcca5aa922c8527693b1164d08417616",
}
FILE = ItemFile(
    name="BBQ's data/*.jsonl",
    address="https://github.com/nyu-mll/BBQ (folder data)",
    licence="CC BY 4.0 (nyu-mll/BBQ)",
    pattern="*.jsonl",
    sample="sample_stereotypes.jsonl",
    versions={digest: f"BBQ {category}" for category, digest in _SHA.items()},
    downloads=tuple(
        Download(f"https://raw.githubusercontent.com/nyu-mll/BBQ/main/data/{category}.jsonl", digest)
        for category, digest in _SHA.items()
    ),
)
# It is not in the folder of the items, `data`.
METADATA = "supplemental/additional_metadata.csv of https://github.com/nyu-mll/BBQ"
ANSWERS = ("ans0", "ans1", "ans2")
# Columns that identify a file of BBQ rows.
NEEDED = ("example_id", "question_polarity", "context_condition", "category", *ANSWERS, "label")
_INFO = pl.List(pl.String)
SCHEMA = pl.Schema(
    {
        "example_id": pl.Int64(),
        "question_index": pl.String(),
        "question_polarity": pl.String(),
        "context_condition": pl.String(),
        "category": pl.String(),
        "answer_info": pl.Struct(dict.fromkeys(ANSWERS, _INFO)),
        "additional_metadata": pl.Struct(
            {"subcategory": pl.String(), "stereotyped_groups": pl.List(pl.String), "version": pl.String}
        ),
        "context": pl.String(),
        "question": pl.String(),
        "ans0": pl.String(),
        "ans1": pl.String(),
        "ans2": pl.String(),
        "label": pl.Int64(),
    }
)


def read_items(path: Path) -> pl.DataFrame:
    """Read the file of one category.

    Raises:
        TaskError: It is not JSON Lines of the published structure.
    """
    problem, frame = "", pl.DataFrame()
    try:
        frame = pl.read_ndjson(path, schema=SCHEMA)
    except UNREADABLE as failure:
        problem = str(failure).splitlines()[0]
    needed = [c for c in SCHEMA if c not in frame.columns or frame[c].null_count() == frame.height]
    if problem or frame.is_empty() or needed:
        raise TaskError(
            f"The item file does not have the structure of BBQ {problem}".strip(),
            file=path,
            variable=needed[0] if needed else None,
            remedy=f"get the file again from {FILE.address}",
        )
    return frame


def _plain(name: pl.Expr) -> pl.Expr:
    """Normalize the spelling of a group's name: "low SES", "lowSES" and "low-SES" are equal."""
    return name.str.to_lowercase().str.replace_all(r"[^a-z0-9]+", "")


def _groups(answer: str) -> pl.Expr:
    """Names of an answer's group, in all spellings that BBQ uses for stereotyped groups.

    Intersections are also known by their parts (lowSES-F-Black by low SES, F and Black), women and men by F and M, and
    trans_F by transgender women.
    """
    said = pl.col("answer_info").struct.field(answer)
    crossed = r"^(?:(lowSES|highSES)[-_])?(?:(M|F)[-_])?(.+)$"
    gender = (
        pl.when(pl.element().str.contains(r"(?i)\b(?:woman|girl)\b"))
        .then(pl.lit("f"))
        .when(pl.element().str.contains(r"(?i)\b(?:man|boy)\b"))
        .then(pl.lit("m"))
    )
    trans = pl.when(pl.element() == "trans_F").then(pl.lit("transgenderwomen")).otherwise(pl.lit("transgendermen"))
    names = pl.concat_list(
        said.list.eval(_plain(pl.element())),
        *(said.list.eval(_plain(pl.element().str.extract(crossed, part))) for part in (1, 2, 3)),
        said.list.eval(gender),
        *(said.list.eval(pl.when(pl.element().str.starts_with("trans_")).then(e)) for e in (pl.lit("trans"), trans)),
    )
    return names.list.drop_nulls()


def option_bias(answer: str) -> pl.Expr:
    """+1 if the answer agrees with the stereotype, -1 if it contradicts it, 0 for the unknown option.

    Null if neither person of the item belongs to a stereotyped group by these names.
    """
    stereotyped = pl.col("additional_metadata").struct.field("stereotyped_groups").list.eval(_plain(pl.element()))

    def target(name: str) -> pl.Expr:
        return _groups(name).list.set_intersection(stereotyped).list.len() > 0

    known = pl.any_horizontal(target(name) for name in ANSWERS)
    biased = target(answer) ^ (pl.col("question_polarity") == "nonneg")
    return (
        pl.when(_groups(answer).list.contains("unknown"))
        .then(0)
        .when(~known)
        .then(None)
        .when(biased)
        .then(1)
        .otherwise(-1)
    ).cast(pl.Int64)


def bbq_items(request: ItemRequest) -> pl.DataFrame:
    """One item per row. The cluster is category and template, within which errors are not independent."""
    metadata = request.option("metadata", None)
    return items_of(
        pl.concat([_whole(read_items(path), path, request) for path in request.files]),
        file=version(request.files, FILE),
        sample=is_sample(request.files),
        metadata=None if metadata is None else Path(metadata),
    )


def _whole(frame: pl.DataFrame, path: Path, request: ItemRequest) -> pl.DataFrame:
    """Keep rows with all fields and a key among the answers, and leave out the others."""
    rows = frame.with_row_index("_line", offset=1)
    name = pl.format("line {} (example_id {})", "_line", pl.col("example_id").cast(pl.String).fill_null("absent"))
    for column in SCHEMA:
        absent = pl.col(column).is_null()
        if column in ANSWERS or column == "question":
            absent |= pl.col(column).str.strip_chars() == ""
        for item in rows.filter(absent).select(name).to_series():
            request.gaps.leave_out(path, item, column, "it is empty")
        rows = rows.filter(~absent)
    wrong = ~pl.col("label").is_in(list(range(len(ANSWERS))))
    for item, label in rows.filter(wrong).select(name.alias("item"), "label").iter_rows():
        request.gaps.leave_out(path, item, "label", f"{label} is not one of its {len(ANSWERS)} answers (0 to 2)")
    return rows.filter(~wrong).drop("_line")


def items_of(frame: pl.DataFrame, *, file: str, sample: bool = False, metadata: Path | None = None) -> pl.DataFrame:
    """ITEMS columns of rows in BBQ's structure.

    Args:
        frame: Rows with the published fields.
        file: Version of the item file.
        sample: The items are this project's own samples.
        metadata: BBQ's additional_metadata.csv; None: the biased answers are derived from the rows themselves.
    """
    prefix = "sample_" if sample else "bbq_"
    bias = pl.concat_list(option_bias(name) for name in ANSWERS)
    unknown = pl.concat_list(_groups(name).list.contains("unknown") for name in ANSWERS)
    values = pl.concat_list(pl.col("answer_info").struct.field(name).list.last() for name in ANSWERS)
    frame = frame.with_columns(bias.alias("option_bias"), unknown.alias("unknown"))
    if metadata is not None:
        frame = _by_metadata(frame, metadata)
    made = frame.with_columns(
        pl.format("{}{}_{}", pl.lit(prefix), "category", "example_id").alias("item_id"),
        pl.format("{}|{}", "category", "question_index").alias("cluster_id"),
        pl.concat_list(ANSWERS).alias("options"),
        values.alias("option_values"),
        pl.lit(False).alias("ordinal"),
        pl.col("label").alias("gold_idx"),
        pl.format("{}/{}", "context_condition", "question_polarity").alias("spread"),
        pl.col("additional_metadata").struct.field("subcategory"),
        pl.lit(file).alias("item_file"),
        pl.lit(sample).alias("sample_item"),
        pl.lit("Apache-2.0 (sample items of this project)" if sample else FILE.licence).alias("licence"),
    )
    return made.drop("label")


def _by_metadata(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Take the biased answer from BBQ's own additional_metadata.csv, whose `target_loc` accounts for the polarity.

    Rows without a target there have none here, as in the paper.

    Raises:
        TaskError: The file is absent or lacks category, example_id or target_loc.
    """
    try:
        told = pl.read_csv(path, infer_schema=False)
    except (OSError, *UNREADABLE):
        told = pl.DataFrame()
    if absent := [c for c in ("category", "example_id", "target_loc") if c not in told.columns]:
        raise TaskError(
            "The metadata file of BBQ cannot be used",
            file=path,
            variable=absent[0],
            remedy=f"get {METADATA}, or remove the option metadata: the biased answers are then derived from the items",
        )
    told = told.select(
        "category",
        pl.col("example_id").cast(pl.Int64, strict=False),
        pl.col("target_loc").cast(pl.Float64, strict=False).cast(pl.Int64).alias("target"),
    ).unique(["category", "example_id"], keep="first", maintain_order=True)
    frame = frame.join(told, on=["category", "example_id"], how="left", maintain_order="left")
    bias = [
        pl.when(pl.col("unknown").list.get(i))
        .then(0)
        .when(pl.col("target") == i)
        .then(1)
        .when(pl.col("target").is_not_null())
        .then(-1)
        for i in range(len(ANSWERS))
    ]
    return frame.with_columns(pl.concat_list(e.cast(pl.Int64) for e in bias).alias("option_bias")).drop("target")


KINDS = (
    TaskKind(
        "bbq",
        "BBQ: stereotyped answers to ambiguous and disambiguated questions",
        bbq_items,
        file=FILE,
        options={"metadata": "BBQ's supplemental/additional_metadata.csv: biased answers as its authors marked them"},
        option_files=("metadata",),
        example=Example(),
        signature=ItemFileSignature(frozenset(NEEDED)),
    ),
)
