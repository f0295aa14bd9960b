"""Make items from any multiple-choice file, given a few lines of configuration that describe its columns.

The kind `multiple_choice` takes these lines from the task's options in study.yaml. A YAML file in this folder, or in
`task_kinds/` of the configuration folder, defines a new kind with them. Texts are templates over the file's
columns: "{scenario}".
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, field_validator

from mpta_pipeline.core.configuration import StrictModel, read_yaml, validated
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import hash_rows, hash_uniform
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.tasks.item_files import Download, ItemFile, version
from mpta_pipeline.tasks.item_gaps import Gaps
from mpta_pipeline.tasks.task_kind import AS_ASKED, AS_THE_PERSON, Example, ItemRequest, TaskKind

_FIELD = re.compile(r"\{([^{}]+)\}")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class Structure(StrictModel):
    """The columns of a file and their meaning.

    Attributes:
        question: Template of the question.
        options: Templates of the options, or one template of a column that holds a list of them.
        gold: Column with the answer key.
        gold_values: Value of that column → position of the right option; null: the column holds the position, from 0.
        id: Template of an item's id; null: a hash of question and options.
        context: Template of the text before the question.
        category: Template.
        cluster: Template; items of one cluster are not independent. Null: each item is its own cluster.
        ordinal: The options are ordered.
        shuffle: Set the canonical order by a hash, for files whose key is always at the same position.
        as_person: The question is to be answered as the person would, not by what is right.
    """

    question: str
    options: tuple[str, ...] = Field(min_length=1)
    gold: str
    gold_values: dict[str, int] | None = None
    id: str | None = None
    context: str | None = None
    category: str | None = None
    cluster: str | None = None
    ordinal: bool = False
    shuffle: bool = False
    as_person: bool = False

    @field_validator("options", mode="before")
    @classmethod
    def _words(cls, options: Any) -> Any:
        """Accept true and false for yes and no, because YAML reads a bare yes or no as true or false."""
        said = {True: "yes", False: "no"}
        return (
            [said[o] if isinstance(o, bool) else o for o in options] if isinstance(options, list | tuple) else options
        )


def _template(text: str) -> pl.Expr:
    """A template as an expression over the columns it names."""
    names = _FIELD.findall(text)
    return pl.format(_FIELD.sub("{}", text), *(pl.col(n).cast(pl.String) for n in names)) if names else pl.lit(text)


def read_file(path: Path) -> pl.DataFrame:
    """Read CSV, TSV, JSON Lines, JSON or Parquet; columns of CSV and TSV are text.

    Raises:
        TaskError: It has another format, or its content does not match its suffix.
    """
    ending = path.suffix.lower()
    try:
        if ending in _SEPARATORS:
            return pl.read_csv(path, separator=_SEPARATORS[ending], infer_schema=False)
        if ending in (".jsonl", ".ndjson"):
            return pl.read_ndjson(path, infer_schema_length=None)
        if ending == ".json":
            return pl.read_json(path, infer_schema_length=None)
        if ending == ".parquet":
            return pl.read_parquet(path)
    except (*UNREADABLE, UnicodeDecodeError) as failure:
        problem = str(failure).splitlines()[0]
        raise TaskError(f"The item file cannot be read: {problem}", file=path, remedy="get the file again") from None
    raise TaskError(
        "The item file has an unknown ending", file=path, remedy="use .csv, .tsv, .jsonl, .json or .parquet"
    )


def items_of(
    frame: pl.DataFrame, structure: Structure, files: tuple[Path, ...], *, name: str, licence: str, gaps: Gaps
) -> pl.DataFrame:
    """Make items by a structure; those without options or key are left out and noted.

    Raises:
        TaskError: A column of the structure is absent, no key matches its options, or an id repeats.
    """
    texts = (
        structure.question,
        *structure.options,
        structure.id,
        structure.context,
        structure.category,
        structure.cluster,
    )
    named = [f"{{{structure.gold}}}", *(t for t in texts if t)]
    for field in dict.fromkeys(f for text in named for f in _FIELD.findall(text)):
        if field not in frame.columns:
            raise TaskError(
                "The item file lacks a column that its structure names",
                file=files[0],
                variable=field,
                remedy=f"correct the structure or the file; it has {', '.join(frame.columns[:30])}",
            )
    one_list = len(structure.options) == 1
    if one_list:
        (column,) = _FIELD.findall(structure.options[0]) or [structure.options[0]]
        frame = frame.with_columns(_lists(frame.get_column(column)).alias(column))
        options = pl.col(column)
    else:
        options = pl.concat_list(_template(t).fill_null("") for t in structure.options)
    key = pl.col(structure.gold).cast(pl.String)
    places = structure.gold_values or {str(i): i for i in range(100)}
    frame = frame.select(
        _template(structure.question).alias("question"),
        options.alias("options"),
        key.alias("key"),
        key.replace_strict(places, default=None, return_dtype=pl.Int64).alias("gold_idx"),
        *(
            (_template(text) if text else pl.lit(None, pl.String)).alias(part)
            for part, text in (
                ("own_id", structure.id),
                ("context", structure.context),
                ("category", structure.category),
                ("cluster", structure.cluster),
            )
        ),
    )
    frame = _answerable(frame.with_row_index("row", offset=1), structure, files[0], gaps)
    frame = frame.with_columns(
        hash_rows(frame, ["question", "context", pl.col("options").list.join("\x1e")], length=10).alias("hash")
    )
    frame = frame.with_columns(pl.format("{}_{}", pl.lit(name), pl.coalesce("own_id", "hash")).alias("item_id"))
    again = ~pl.struct("item_id", "hash", "gold_idx").is_first_distinct()
    for row, item in frame.filter(again).select("row", "item_id").iter_rows():
        gaps.leave_out(files[0], f"{item} (row {row})", "id", "it repeats an earlier item")
    frame = frame.filter(~again)
    if (repeated := frame.filter(pl.col("item_id").is_duplicated())).height:
        raise TaskError(
            "Two items have the same id",
            file=files[0],
            variable="id",
            value=repeated["item_id"][0],
            remedy="give the structure an id that is unique, or remove the repeated item",
        )
    if structure.shuffle:
        frame = _shuffled(frame)
    return frame.with_columns(
        pl.col("options").alias("option_values"),
        pl.coalesce("cluster", "item_id").alias("cluster_id"),
        pl.lit(structure.ordinal).alias("ordinal"),
        pl.lit(version(files, None)).alias("item_file"),
        pl.lit(licence).alias("licence"),
    )


def _lists(values: pl.Series) -> pl.Series:
    """Options in one cell: a list, or a list written as JSON or Python; null for anything else."""
    if isinstance(values.dtype, pl.List | pl.Array):
        return values.cast(pl.List(pl.String))
    read: list[list[str] | None] = []
    for text in values.cast(pl.String).to_list():
        found: Any = None
        for parse in (json.loads, ast.literal_eval):
            try:
                found = parse(text or "")
                break
            except (ValueError, SyntaxError):
                continue
        read.append([str(v) for v in found] if isinstance(found, list | tuple) else None)
    return pl.Series(values.name, read, dtype=pl.List(pl.String))


def _answerable(frame: pl.DataFrame, structure: Structure, file: Path, gaps: Gaps) -> pl.DataFrame:
    """Items with options and a key among them.

    Raises:
        TaskError: No key matches an option, or the structure does not know a key.
    """
    named = pl.format("row {} ({})", "row", pl.col("question").fill_null("").str.slice(0, 60))
    lacking = pl.col("options").is_null()
    columns = ", ".join(dict.fromkeys(f for text in structure.options for f in _FIELD.findall(text))) or "options"
    for item in frame.filter(lacking).select(named).to_series():
        gaps.leave_out(file, item, columns, "its options are not a list")
    frame = frame.filter(~lacking)
    bad = frame.filter(pl.col("gold_idx").is_null() | (pl.col("gold_idx") >= pl.col("options").list.len()))
    # A value that the structure does not know is an error in the structure; an empty key is an error in the item.
    wrong = bad.filter(pl.col("key").fill_null("").str.strip_chars() != "") if structure.gold_values else bad
    if wrong.height and (structure.gold_values or wrong.height == frame.height):
        raise TaskError(
            f"{wrong.height} item(s) have a key that does not name one of their options",
            file=file,
            variable=structure.gold,
            value=wrong["key"][0],
            remedy="map every value to the position of an option in gold_values",
        )
    for item, key in bad.select(named.alias("item"), "key").iter_rows():
        gaps.leave_out(
            file,
            item,
            structure.gold,
            "the key is empty" if not key else f"the key {key!r} does not name one of its options",
        )
    return frame.join(bad.select("row"), on="row", how="anti", maintain_order="left")


def _shuffled(frame: pl.DataFrame) -> pl.DataFrame:
    """Order each item's options by a hash of item and option."""
    long = frame.select("item_id", "options", "gold_idx").explode("options")
    long = long.with_columns(
        (pl.int_range(pl.len()).over("item_id") == pl.col("gold_idx")).alias("right"),
        hash_uniform(long, ["item_id", "options"], key="canonical-order").alias("order"),
    )
    ordered = (
        long.sort("item_id", "order")
        .group_by("item_id")
        .agg(pl.col("options"), pl.col("right").arg_max().cast(pl.Int64).alias("gold_idx"))
    )
    return frame.drop("options", "gold_idx").join(ordered, on="item_id", maintain_order="left")


def configured_items(request: ItemRequest) -> pl.DataFrame:
    """Items of the kind `multiple_choice`, whose structure is in the task's options."""
    structure = validated(
        Structure,
        {k: v for k, v in request.config.options.items() if k in Structure.model_fields},
        "The structure of a multiple-choice task is not valid",
        file=None,
        key="options",
        remedy=f"its keys are {', '.join(Structure.model_fields)}",
    )
    frame = pl.concat([read_file(path) for path in request.files], how="diagonal_relaxed")
    licence = str(request.option("licence", "as the file's"))
    return items_of(frame, structure, request.files, name="mc", licence=licence, gaps=request.gaps)


class _Download(StrictModel):
    url: str
    sha256: str


class _File(StrictModel):
    """The published item file of a kind: see `ItemFile`."""

    name: str
    address: str
    licence: str
    pattern: str
    versions: dict[str, str] = Field(default_factory=dict)
    downloads: tuple[_Download, ...] = ()


class _Example(StrictModel):
    files: dict[str, str]


class KindFile(StrictModel):
    """A YAML file that defines a task kind.

    Attributes:
        title: What the kind measures, in one line.
        file: The published item file: name, address, licence and pattern, optionally versions and downloads.
        structure: The columns of the file and their meaning.
        example: Invented content for the documentation's example prompt: `files`, file name → text.
    """

    title: str
    file: _File
    structure: Structure
    example: _Example | None = None


def from_yaml(path: Path) -> TaskKind:
    """Read a task kind from a YAML file; its name is that of the file.

    Raises:
        ConfigError: The file breaks the format.
    """
    record = validated(
        KindFile,
        read_yaml(path),
        "The file does not define a task kind",
        file=path,
        remedy=f"give {', '.join(KindFile.model_fields)}; keys of the structure are "
        f"{', '.join(Structure.model_fields)}",
    )
    structure = record.structure
    published = ItemFile(
        **record.file.model_dump(exclude={"downloads"}),
        downloads=tuple(Download(d.url, d.sha256) for d in record.file.downloads),
    )

    def make(request: ItemRequest) -> pl.DataFrame:
        frame = pl.concat([read_file(p) for p in request.files], how="diagonal_relaxed")
        return items_of(frame, structure, request.files, name=path.stem, licence=published.licence, gaps=request.gaps)

    return TaskKind(
        path.stem,
        record.title,
        make,
        closing=AS_THE_PERSON if structure.as_person else AS_ASKED,
        file=published,
        example=None if record.example is None else Example(record.example.files),
        shuffles_options=structure.shuffle,
    )


_ANY = ItemFile("an item file", "where your file comes from", "as the file's", "*.*")
KINDS = (
    TaskKind(
        "multiple_choice",
        "Any multiple-choice file, described in the task's options",
        configured_items,
        file=_ANY,
        options={**{n: f"See {n} of the structure" for n in Structure.model_fields}, "licence": "Licence of the items"},
        example=Example(
            {"density.csv": "thing,answer\niron,heavier\n"},
            {
                "question": "Is {thing} heavier than water?",
                "options": ["yes", "no"],
                "gold": "answer",
                "gold_values": {"heavier": 0, "lighter": 1},
            },
        ),
    ),
)
