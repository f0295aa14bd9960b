"""Make items from NormAd-Eti: is behaviour in a story acceptable in the culture in which it happens?

The `context` option sets how much cultural background precedes the story (Rao et al. 2024). The dimension `in_culture`
of the estimates tells whether a persona judges its own culture or another.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.core.countries import country_code
from mpta_pipeline.core.errors import ConfigError, TaskError
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.tasks.item_files import ItemFile, version
from mpta_pipeline.tasks.item_gaps import Gaps
from mpta_pipeline.tasks.task_kind import Example, ItemRequest, TaskKind

FILE = ItemFile(
    name="normad_etiquette_final_data.csv",
    address="https://huggingface.co/datasets/akhilayerukola/NormAd",
    licence="CC BY 4.0 (akhilayerukola/NormAd)",
    pattern="*.csv",
)
LABELS = ("yes", "no", "neutral")
_PLACES = {label: i for i, label in enumerate(LABELS)}
CONTEXTS = ("none", "country", "value", "country_value", "rule_of_thumb")
_COLUMNS = ("ID", "Country", "Value", "Rule-of-Thumb", "Story", "Gold Label")
# Country names in the file that are not ISO names.
_SPELLINGS = {"palestinian territories": "PSE", "somali": "SOM", "united states of america": "USA"}


def read_stories(path: Path, gaps: Gaps) -> pl.DataFrame:
    """Read the published CSV.

    Args:
        path: The file.
        gaps: Collects stories without a label, which are left out.

    Raises:
        TaskError: A column is absent, or a label is not yes, no or neutral.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (*UNREADABLE, UnicodeDecodeError):
        frame = pl.DataFrame()
    if absent := [c for c in _COLUMNS if c not in frame.columns]:
        raise TaskError(
            "The item file does not have the structure of NormAd",
            file=path,
            variable=absent[0],
            remedy=f"get {FILE.name} from {FILE.address}",
        )
    label = pl.col("Gold Label").str.strip_chars().str.to_lowercase()
    frame = frame.with_columns(label.replace({"neither": "neutral"}))
    unlabelled = pl.col("Gold Label").fill_null("") == ""
    for story in frame.filter(unlabelled)["ID"]:
        gaps.leave_out(path, story, "Gold Label", "it is empty")
    frame = frame.filter(~unlabelled)
    odd = frame.filter(~pl.col("Gold Label").is_in(LABELS))
    if odd.height:
        raise TaskError(
            "A story of NormAd has a label other than yes, no and neutral",
            file=path,
            variable="Gold Label",
            value=odd["Gold Label"][0],
            remedy=f"get {FILE.name} again from {FILE.address}",
        )
    return frame


def normad_items(request: ItemRequest) -> pl.DataFrame:
    """One item per story and context level of the study.

    Raises:
        ConfigError: The `context` option is neither one of `CONTEXTS` nor a list of them.
    """
    asked = request.option("context", "rule_of_thumb")
    levels = [str(level) for level in asked] if isinstance(asked, list) else [str(asked)]
    if unknown := [level for level in levels if level not in CONTEXTS]:
        raise ConfigError(
            "NormAd does not have this context level",
            variable="options.context",
            value=unknown[0],
            remedy=f"use one of {', '.join(CONTEXTS)}, or a list of them",
        )
    frame = pl.concat([read_stories(path, request.gaps) for path in request.files])
    return pl.concat([_with_context(frame, level, version(request.files, FILE)) for level in levels])


def _with_context(frame: pl.DataFrame, level: str, file: str) -> pl.DataFrame:
    """The stories with one level of background."""
    country = pl.col("Country").str.replace_all("_", " ").str.to_titlecase()
    codes = {name: country_code(name.replace("_", " "), _SPELLINGS) for name in frame["Country"].unique()}
    lines = {
        "none": [],
        "country": [pl.format("Country: {}", country)],
        "value": [pl.format("Value: {}", "Value")],
        "country_value": [pl.format("Country: {}", country), pl.format("Value: {}", "Value")],
        "rule_of_thumb": [pl.format("Rule of thumb: {}", "Rule-of-Thumb")],
    }[level]
    return frame.select(
        pl.format("normad_{}_{}", pl.lit(level), "ID").alias("item_id"),
        # Several stories share one rule of one country.
        pl.format("{}|{}", "Country", pl.col("Rule-of-Thumb").str.slice(0, 60)).alias("cluster_id"),
        pl.col("Country").alias("category"),
        (pl.concat_str(lines, separator="\n") if lines else pl.lit(None, pl.String)).alias("context"),
        pl.col("Story").alias("question"),
        pl.lit(["yes", "no", "it is neither acceptable nor unacceptable"], pl.List(pl.String)).alias("options"),
        pl.lit(list(LABELS), pl.List(pl.String)).alias("option_values"),
        pl.lit(False).alias("ordinal"),
        pl.col("Gold Label").replace_strict(_PLACES, return_dtype=pl.Int64).alias("gold_idx"),
        pl.lit("acceptability").alias("answer_set"),
        pl.col("Country").replace_strict(codes, return_dtype=pl.String).alias("story_country"),
        pl.lit(level).alias("context_level"),
        pl.lit(file).alias("item_file"),
        pl.lit(FILE.licence).alias("licence"),
        pl.col("Gold Label").alias("spread"),
    )


KINDS = (
    TaskKind(
        "normad",
        "NormAd: is behaviour acceptable in the culture in which it happens?",
        normad_items,
        file=FILE,
        options={
            "context": f"Background before the story: {', '.join(CONTEXTS)} (default rule_of_thumb); "
            "a list asks with each, for the metric adaptability"
        },
        example=Example(
            {
                "stories.csv": "ID,Country,Background,Axis,Subaxis,Value,Rule-of-Thumb,Story,Explanation,Gold Label\n"
                "0,iceland,,,,Consideration,It is polite to take off one's shoes at the door.,"
                "Anna is invited to dinner and walks into the living room with her shoes on. "
                "Is what she did acceptable?,,no\n"
            },
            {"context": "country"},
        ),
    ),
)
