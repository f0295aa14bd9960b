"""What each answer is scored against: the item's key, the person's own answer, or people's most frequent one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.tables import GOLD
from mpta_pipeline.external.human_answers import PeopleAnswers
from mpta_pipeline.external.item_lookup import with_item_id
from mpta_pipeline.external.option_matching import Exclusion, match
from mpta_pipeline.external.scoring_inputs import Known, Reading, survey_of
from mpta_pipeline.external.table_shapes import ids_of, with_model
from mpta_pipeline.metrics.samples.external_scores import ROW


@dataclass
class KeyedAnswers:
    """Answers and what they are scored against.

    Attributes:
        rows: The answers that can be scored.
        items: ITEMS, with the keys that the file gives.
        gold: GOLD.
        notes: What was assumed.
        left_out: Answers without a key.
    """

    rows: pl.DataFrame
    items: pl.DataFrame
    gold: pl.DataFrame
    notes: list[str] = field(default_factory=list)
    left_out: list[Exclusion] = field(default_factory=list)


def own_of_people(
    people: PeopleAnswers | None, items: pl.DataFrame, known: Known | None, file: Path
) -> pl.DataFrame | None:
    """Return people's answers with `item_id`."""
    if people is None:
        return None
    frame = people.frame
    if known is None:
        frame = frame.with_columns(ids_of(frame).alias("item_id"))
    else:
        frame, _ = with_item_id(frame.with_row_index(ROW, offset=1), file, items)
    frame = frame.with_columns(pl.col("item_id").cast(pl.String), pl.col("respondent_id").cast(pl.String))
    if (twice := frame.filter(pl.struct("respondent_id", "item_id").is_duplicated())).height:
        raise ValidationError(
            "A person has two answers to the same question",
            file=None,
            variable="respondent_id",
            value=f"{twice.item(0, 'respondent_id')}: {twice.item(0, 'item_id')}",
            remedy="keep one of them in the file of people",
        )
    return frame


def numbers_apart(
    rows: pl.DataFrame, own: pl.DataFrame | None, numeric: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Separate answers that are options from answers that are numbers."""
    if not numeric:
        return rows, None
    is_number = pl.col("item_id").is_in(list(numeric))
    of = joined_own(with_model(rows.filter(is_number)), own)
    if "own_answer" not in of.columns:
        of = of.with_columns(
            pl.col("key").alias("own_answer") if "key" in of.columns else pl.lit(None, pl.String).alias("own_answer")
        )
    return rows.filter(~is_number), of


def joined_own(rows: pl.DataFrame, own: pl.DataFrame | None) -> pl.DataFrame:
    """Add people's own answers beside the model's answers for the same persona."""
    if own is None or "own_answer" in rows.columns or "respondent_id" not in rows.columns:
        return rows
    rows = rows.with_columns(pl.col("respondent_id").cast(pl.String))
    return rows.join(
        own.select("respondent_id", "item_id", "own_answer"),
        on=["respondent_id", "item_id"],
        how="left",
        maintain_order="left",
    )


def keys_of(
    rows: pl.DataFrame,
    items: pl.DataFrame,
    own: pl.DataFrame | None,
    *,
    known: Known | None,
    reading: Reading,
    file: Path,
) -> KeyedAnswers:
    """Find what each answer is scored against: the item's key, the person's own answer, or people's most frequent one.

    Args:
        rows: Answers with `key_idx`, `own_idx` as far as they are there.
        items: ITEMS.
        own: Answers of the people's file.
        known: Items known before, with their people's answers.
        reading: What the user says about the file.
        file: For messages.

    Raises:
        ValidationError: An item has several keys, a person has two own answers, or no answer has a key.
    """
    made = KeyedAnswers(rows, items, GOLD.empty() if known is None else known.gold)
    _keys_of_items(made, file)
    mine = _own_gold(made, file)
    if own is not None:
        mine = _gold_of_people(made, own, mine, reading, file)
    if mine.height:
        made.gold = GOLD.conform(mine.select(list(GOLD.schema)))
        asked = (
            made.rows.filter(pl.col("respondent_id").is_not_null()) if "respondent_id" in made.rows.columns else None
        )
        if asked is None or asked.join(made.gold, on="respondent_id", how="semi").is_empty():
            _by_mode(made)
            return made
    if made.gold.height:
        _leave_out_keyless_personas(made)
    else:
        _leave_out_keyless_items(made, file)
    return made


def _keys_of_items(made: KeyedAnswers, file: Path) -> None:
    """Take keys from the file: the item's or, if they differ between people, the person's own answer."""
    rows, items = made.rows, made.items
    once = "own_idx" in rows.columns and "respondent_id" not in rows.columns
    if once and not rows.select(pl.struct("item_id", "model").is_duplicated().any()).item():
        # One answer per item and no persons: the right answer is the item's key.
        rows = rows.rename({"own_idx": "key_idx", "own_answer": "key"}) if "key_idx" not in rows.columns else rows
    if "own_idx" in rows.columns or "key_idx" not in rows.columns:
        return
    given = rows.drop_nulls("key_idx")
    spread = given.group_by("item_id").agg(pl.col("key_idx").n_unique().alias("n"))
    several = spread.filter(pl.col("n") > 1)
    if several.height and "respondent_id" in rows.columns:
        made.rows = rows.rename({"key_idx": "own_idx", "key": "own_answer"})
        made.notes.append("the key differs between people within an item: it is taken as the person's own answer")
        return
    if several.height:
        raise ValidationError(
            "An item has several keys",
            file=file,
            variable="key",
            value=several.item(0, "item_id"),
            remedy="give each item one key, or respondent_id if the key is the person's own answer",
        )
    keys = given.unique("item_id", keep="first").select("item_id", pl.col("key_idx").alias("_key"))
    items = items.join(keys, on="item_id", how="left", maintain_order="left")
    differ = items.filter(pl.col("gold_idx") != pl.col("_key")).height
    if differ:
        made.notes.append(f"the file's key differs from the item file's in {differ} items; the item file's counts")
    made.rows = rows
    made.items = items.with_columns(pl.coalesce("gold_idx", "_key").alias("gold_idx")).drop("_key")


def _own_gold(made: KeyedAnswers, file: Path) -> pl.DataFrame:
    """Return GOLD from own answers in the same rows."""
    rows = made.rows
    if "own_idx" not in rows.columns:
        return pl.DataFrame(schema=GOLD.schema)
    if "respondent_id" not in rows.columns:
        raise ValidationError(
            "The own answers have no respondent_id",
            file=file,
            variable="respondent_id",
            remedy="give respondent_id; if each row is another person, number the rows",
        )
    weight = _float(rows, "weight")
    mine = (
        rows.filter(pl.col("own_idx").is_not_null() & pl.col("respondent_id").is_not_null())
        .select(
            pl.lit(str(made.items.item(0, "task"))).alias("task"),
            "item_id",
            pl.col("respondent_id").cast(pl.String),
            survey_of(rows).alias("survey"),
            pl.col("own_idx").alias("gold_idx"),
            weight.alias("weight"),
        )
        .unique(maintain_order=True)
    )
    key = ["item_id", "respondent_id"]
    differ = mine.filter((pl.col("gold_idx").n_unique() > 1).over(key))
    if differ.height:
        raise ValidationError(
            "A person has two own answers to the same item",
            file=file,
            variable="own_answer",
            value=f"{differ.item(0, 'respondent_id')}: {differ.item(0, 'item_id')}",
            remedy="give each person one own answer per item",
        )
    return mine.unique(key, keep="first", maintain_order=True)


def _float(frame: pl.DataFrame, name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64, strict=False) if name in frame.columns else pl.lit(None, pl.Float64)


def _gold_of_people(
    made: KeyedAnswers, own: pl.DataFrame, mine: pl.DataFrame, reading: Reading, file: Path
) -> pl.DataFrame:
    """Return GOLD of everybody in the people's file."""
    rows = made.rows
    here = own.join(made.items.select("item_id"), on="item_id", how="semi", maintain_order="left")
    here = here.drop("options", strict=False).with_columns(pl.lit("people").alias("model"))
    frame = match(here, file, made.items, count_from=reading.count_from).frame
    lost = frame.filter(pl.col("own_idx").is_null())
    if lost.height:
        made.notes.append(
            f"{lost.height:,} of {frame.height:,} answers of people match no option of their item and count as none "
            f"(e.g. {lost.item(0, 'item_id')}: {lost.item(0, 'own_answer')})"
        )
    surveys = rows.select(survey_of(rows).unique().alias("s"))["s"].to_list()
    if "survey" not in frame.columns and len(surveys) > 1:
        raise ValidationError(
            "The answers come from several surveys, and the people's file does not name each person's survey",
            file=file,
            variable="survey",
            value=", ".join(sorted(surveys)),
            remedy="give the people's file a column survey",
        )
    survey = survey_of(frame) if "survey" in frame.columns else pl.lit(surveys[0] if surveys else "none")
    if "weight" not in frame.columns and {"weight", "respondent_id"} <= set(rows.columns):
        each = rows.select(pl.col("respondent_id").cast(pl.String), _float(rows, "weight"))
        frame = frame.join(
            each.unique("respondent_id", keep="first"), on="respondent_id", how="left", maintain_order="left"
        )
    theirs = frame.drop_nulls("own_idx").select(
        pl.lit(str(made.items.item(0, "task"))).alias("task"),
        "item_id",
        "respondent_id",
        survey.alias("survey"),
        pl.col("own_idx").alias("gold_idx"),
        _float(frame, "weight").alias("weight"),
    )
    return pl.concat([mine, theirs.join(mine, on=["item_id", "respondent_id"], how="anti", maintain_order="left")])


def _leave_out_keyless_personas(made: KeyedAnswers) -> None:
    """Leave out answers of personas who gave no own answer to an item that has no key of its own."""
    if "respondent_id" not in made.rows.columns:
        return
    rows = made.rows.with_columns(pl.col("respondent_id").cast(pl.String))
    key = ["item_id", "respondent_id"]
    rows = rows.join(made.gold.select(*key, pl.lit(True).alias("_own")), on=key, how="left", maintain_order="left")
    rows = rows.join(
        made.items.select("item_id", pl.col("gold_idx").alias("_item")), on="item_id", how="left", maintain_order="left"
    )
    # Answers without a persona serve as everyone's no-persona baseline.
    lacks = pl.col("_own").is_null() & pl.col("_item").is_null() & pl.col("respondent_id").is_not_null()
    lost = rows.filter(lacks)
    if lost.height:
        made.left_out.append(
            Exclusion(
                "answers",
                lost.height,
                "the person gave no own answer to the question that could be read",
                tuple(lost["respondent_id"].unique(maintain_order=True).head(5)),
                "none, if they were not asked or did not answer; else check that ids and codes agree",
            )
        )
    made.rows = rows.filter(~lacks).drop("_own", "_item")


def _leave_out_keyless_items(made: KeyedAnswers, file: Path) -> None:
    """Leave out answers to items without a key.

    Raises:
        ValidationError: No item has a key.
    """
    keyed = made.items.filter(pl.col("gold_idx").is_not_null())
    lost = made.rows.join(keyed, on="item_id", how="anti", maintain_order="left")
    if lost.is_empty():
        return
    names = lost["item_id"].unique(maintain_order=True).to_list()
    if lost.height == made.rows.height:
        raise ValidationError(
            "No answer has a key to be scored against",
            file=file,
            variable="key",
            value=names[0],
            remedy="give own_answer or key in the file (its values must be options of the item), what people answered "
            "with --people FILE, or the item file with --items",
        )
    made.left_out.append(
        Exclusion(
            "answers", lost.height, "their items have no key", tuple(names[:5]), "give a key or own_answer for them"
        )
    )
    made.rows = made.rows.join(keyed, on="item_id", how="semi", maintain_order="left")


def _by_mode(made: KeyedAnswers) -> None:
    """Use people's most frequent answer as an item's key, because no persona is among the people."""
    weight = pl.col("weight").fill_null(1.0)
    mode = (
        made.gold.group_by("item_id", "gold_idx")
        .agg(weight.sum().alias("w"))
        .sort("item_id", "w", "gold_idx", descending=[False, True, False])
        .unique("item_id", keep="first", maintain_order=True)
        .select("item_id", pl.col("gold_idx").alias("_mode"))
    )
    items = made.items.join(mode, on="item_id", how="left", maintain_order="left")
    made.items = items.with_columns(pl.coalesce("gold_idx", "_mode").alias("gold_idx")).drop("_mode")
    before = made.rows.height
    keyed = made.items.filter(pl.col("gold_idx").is_not_null())
    made.rows = made.rows.join(keyed, on="item_id", how="semi", maintain_order="left")
    made.notes.append(
        "no persona of the answers is one of the people: accuracy is agreement with people's most frequent answer to "
        "the item, and distances compare the answers with people's distribution"
    )
    if made.rows.height < before:
        n = before - made.rows.height
        made.notes.append(f"{n:,} answers belong to items that the people were not asked, and are left out")
