"""The items that a table's answers are to: found among known ones, or made of the table itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.tables import ITEMS
from mpta_pipeline.external import columns as c
from mpta_pipeline.external.human_answers import People
from mpta_pipeline.external.rows import question_ids
from mpta_pipeline.external.types import TASK, some
from mpta_pipeline.metrics.samples.external_scores import FILE, ROW
from mpta_pipeline.tasks import completed

# With more codes than this, or with fractions, an answer is a number and no option.
MOST_CODES = 26
# How surveys write no answer in codes behind a scale, by their repeated or last digits.
_NO_ANSWER = {
    *(7.0, 8.0, 9.0),
    *(float(f"{digit}" * width) for width in (2, 3, 4) for digit in (6, 7, 8, 9)),
    *(10.0**width - back for width in (2, 3, 4) for back in range(1, 6)),
}
_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "item_id": pl.String,
    "cluster_id": pl.String,
    "category": pl.String,
    "context": pl.String,
    "question": pl.String,
    "options": pl.List(pl.String),
    "ordinal": pl.Boolean,
    "option_scores": pl.List(pl.Float64),
}


@dataclass(frozen=True)
class OwnItems:
    """Items that a table brings along.

    Attributes:
        items: ITEMS.
        numeric: Ids of those whose answers are numbers; they are none of `items`.
        notes: What was assumed.
        no_answer: item_id, code: what people's answers hold in place of an answer.
        own_order: Letters and numbers may count in the items' order. False where people's texts are the options, whose
            order nobody gave.
    """

    items: pl.DataFrame
    numeric: tuple[str, ...]
    notes: tuple[str, ...]
    no_answer: pl.DataFrame
    own_order: bool


def items_of_rows(rows: pl.DataFrame, file: Path, people: People | None, *, ordered: bool = False) -> OwnItems:
    """Make the items of the rows: options as shown, else the answers of people, codes as an ordered scale.

    Raises:
        ValidationError: The rows name no item, or nobody says which options the items have.
    """
    if not {"item_id", "question"} & set(rows.columns):
        there = ", ".join(x for x in rows.columns if x not in (FILE, ROW))
        raise ValidationError(
            "The file does not say which item each answer is to",
            file=file,
            variable="item_id",
            remedy=f"give item_id, example_id with category, or question; there are {there}",
        )
    named = "item_id" in rows.columns
    ids = rows.get_column("item_id").cast(pl.String) if named else question_ids(rows.get_column("question"))
    frame = rows.with_columns(ids.alias("item_id"))
    shown, places = _shown(frame), _places(frame)
    values = _values_of_people(frame, people)
    of_models = _codes_of_models(frame)
    apart = {
        name: codes
        for name, given in values.items()
        if name not in shown and (codes := _no_answer(given, of_models.get(name, set())))
    }
    values = {name: [x for x in given if _code(x) not in apart.get(name, ())] for name, given in values.items()}
    values, notes = _shared_scales(values)
    facts, said = _facts(frame)
    notes += said
    # Published shares come in the order of the questionnaire.
    given_order = ordered or (people is not None and people.published)
    made, numeric, scales, unknown, texts = [], [], [], [], []
    for name in frame["item_id"].drop_nulls().unique(maintain_order=True):
        own = (shown[name], None) if name in shown else _scale(values.get(name, []), given_order=given_order)
        if own is None:
            numeric.append(name)
            continue
        options, scores = own
        if name not in shown and not given_order and any(_code(x) is None for x in options):
            texts.append(name)
        scales += [name] if scores else []
        if len(options) < 2:
            unknown.append(name)
            continue
        if len(places.get(name, ())) == len(options):
            scores = places[name]
        elif ordered and scores is None and len(options) > 2:
            scores = [float(place) for place in range(len(options))]
        made.append(
            {
                "item_id": name,
                "cluster_id": facts["cluster"].get(name) or name,
                "category": facts["category"].get(name),
                "context": facts["context"].get(name),
                "question": facts["question"].get(name) or name,
                "options": options,
                "ordinal": scores is not None,
                "option_scores": scores,
            }
        )
    if unknown and not made and not numeric:
        raise ValidationError(
            "It is not known which options the questions have",
            file=file,
            variable="options",
            value=unknown[0],
            remedy="give a column options (or own_answer, or --people FILE), or the item file with --items",
        )
    if unknown:
        notes.append(f"{len(unknown)} items have fewer than two known options and are left out: {some(unknown)}")
    if scales:
        notes.append(
            f"{len(scales)} items have whole numbers for answers: their options are the codes that people gave, taken "
            "as an ordered scale"
        )
    if apart:
        name, codes = next(iter(apart.items()))
        notes.append(
            f"codes that stand apart from the scale, as surveys write no answer, count as none in {len(apart)} items "
            f"(e.g. {name}: {', '.join(f'{x:g}' for x in sorted(codes))}); if they are answers, give a column options"
        )
    if numeric:
        notes.append(f"{len(numeric)} items have numbers for answers, compared as numbers: {some(numeric)}")
    items = completed(
        pl.DataFrame(made, schema=_SCHEMA, orient="row").with_columns(
            pl.col("options").alias("option_values"), pl.lit("as the file's").alias("licence")
        ),
        task=TASK,
        kind=TASK,
        own_key=True,
    )
    pairs = [(name, code) for name, codes in apart.items() for code in sorted(codes)]
    no_answer = pl.DataFrame(pairs, schema={"item_id": pl.String, "code": pl.Float64}, orient="row")
    own_order = not texts
    return OwnItems(ITEMS.conform(items.select(list(ITEMS.schema))), tuple(numeric), tuple(notes), no_answer, own_order)


def _shown(frame: pl.DataFrame) -> dict[str, list[str]]:
    """Options as shown; those that rows show in different orders have the order of the first row."""
    if "options" not in frame.columns:
        return {}
    listed = c.listed(frame.get_column("options"))
    first = pl.DataFrame({"item_id": frame["item_id"], "options": listed}).drop_nulls()
    return dict(first.unique("item_id", keep="first", maintain_order=True).iter_rows())


def _places(frame: pl.DataFrame) -> dict[str, list[float]]:
    """Places of the options on their scale, where the file gives a list of numbers."""
    if "places" not in frame.columns:
        return {}
    listed, _ = c.numbers(frame.get_column("places"))
    first = pl.DataFrame({"item_id": frame["item_id"], "places": listed}).drop_nulls()
    first = first.filter(pl.col("places").list.eval(pl.element().is_finite()).list.all())
    return dict(first.unique("item_id", keep="first", maintain_order=True).iter_rows())


def _values_of_people(frame: pl.DataFrame, people: People | None) -> dict[str, list[str]]:
    """Item → the different answers of people (and keys) to it."""
    sides = [frame.select("item_id", pl.col(n).alias("said")) for n in ("own_answer", "key") if n in frame.columns]
    if people is not None:
        of = people.frame
        named = "item_id" in of.columns
        ids = of.get_column("item_id").cast(pl.String) if named else question_ids(of.get_column("question"))
        sides.append(pl.DataFrame({"item_id": ids, "said": of.get_column("own_answer")}))
    if not sides:
        return {}
    whole = pl.col("said").cast(pl.String).str.strip_chars().str.replace(r"^([+-]?\d+)\.0+$", "$1")
    every = pl.concat(sides, how="vertical_relaxed").drop_nulls().with_columns(whole)
    return dict(
        every.group_by("item_id", maintain_order=True).agg(pl.col("said").unique(maintain_order=True)).iter_rows()
    )


def _facts(frame: pl.DataFrame) -> tuple[dict[str, dict[str, str | None]], list[str]]:
    """What the rows say of their item: by name, item → value. What differs within an item is none of the item's."""
    found: dict[str, dict[str, str | None]] = {}
    notes = []
    for name in ("question", "category", "cluster", "context"):
        found[name] = {}
        if name not in frame.columns:
            continue
        of = frame.drop_nulls("item_id").group_by("item_id", maintain_order=True)
        values = of.agg(pl.col(name).cast(pl.String).drop_nulls().unique(maintain_order=True))
        if name != "question" and values.filter(pl.col(name).list.len() > 1).height:
            notes.append(f"{name} differs within an item and is not taken as the item's")
            continue
        found[name] = dict(values.with_columns(pl.col(name).list.first()).iter_rows())
    return found, notes


def _scale(values: Sequence[str], *, given_order: bool) -> tuple[list[str], list[float] | None] | None:
    """Options and their places from what people answered; None where the answers are numbers and no options."""
    codes = [x for x in map(_code, values) if x is not None]
    if not codes or len(codes) < len(values):
        return list(values) if given_order else sorted(values), None
    numbers = sorted(set(codes))
    if len(numbers) > MOST_CODES or any(x != int(x) for x in numbers):
        return None
    return [str(int(x)) for x in numbers], [float(x) for x in numbers] if len(numbers) > 2 else None


def _codes_of_models(frame: pl.DataFrame) -> dict[str, set[float]]:
    """Item → the different numbers that models answered."""
    if "answer" not in frame.columns:
        return {}
    number = pl.col("answer").cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    found = frame.select("item_id", number.alias("said")).drop_nulls().group_by("item_id").agg(pl.col("said").unique())
    return {name: set(said) for name, said in found.iter_rows()}


def _no_answer(values: Sequence[str], of_models: set[float]) -> set[float]:
    """The codes of people that are no answers: negative ones, and usual ones that a gap parts from the scale.

    Codes of one digit may be a scale's end that few chose: they count as no answer behind a scale without gaps of its
    own, and where no model gave them. The same goes for negative ones, which may be half of a scale.
    """
    codes = [x for x in map(_code, values) if x is not None]
    if not codes or len(codes) < len(values):
        return set()
    below = {x for x in codes if x < 0}
    if below & of_models or len(below) == len(codes):
        below = set()
    rest = sorted(set(codes) - below)
    tail: list[float] = []
    while rest and rest[-1] in _NO_ANSWER:
        tail.insert(0, rest.pop())
    while tail:
        run = len(rest) > 1 and rest[0] in (0, 1) and rest[-1] - rest[0] == len(rest) - 1
        gap = len(rest) > 1 and tail[0] > rest[-1] + 1
        short = run and not of_models & set(tail)
        if gap and (short if tail[0] < 10 else tail[0] > 2 * rest[-1]):
            break
        rest.append(tail.pop(0))
    return below | set(tail)


def _shared_scales(values: dict[str, list[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """The options of questions to which all people gave one answer: those of the one scale on which it is an answer."""
    scales = {frozenset(given) for given in values.values() if 1 < len(given) <= MOST_CODES}
    widest = [s for s in scales if not any(s < other for other in scales)]
    found = {}
    for item, given in values.items():
        if len(given) == 1 and len(fits := [s for s in widest if given[0] in s]) == 1:
            found[item] = sorted(fits[0])
    if not found:
        return values, []
    names = some(list(found))
    said = f"{len(found)} items have one answer of all people: their options are those of the other items: {names}"
    return {**values, **found}, [said]


def _code(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def with_item_id(rows: pl.DataFrame, file: Path, items: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The item of each row: by id, by BBQ's example and category, by the item's column, or by the question's text."""
    known = set(items["item_id"])
    if "item_id" in rows.columns:
        rows = rows.with_columns(pl.col("item_id").cast(pl.String).str.strip_chars().str.replace(r"^(\d+)\.0$", "$1"))
        named = set(rows["item_id"].drop_nulls())
        if named <= known or "question" not in rows.columns or named & known:
            by_column = items.filter(pl.col("column").is_not_null()).select("column", pl.col("item_id").alias("own_id"))
            if (
                not named & known
                and named <= set(by_column["column"])
                and not by_column["column"].is_duplicated().any()
            ):
                rows = rows.join(by_column, left_on="item_id", right_on="column", how="left", maintain_order="left")
                return rows.with_columns(pl.col("own_id").alias("item_id")).drop("own_id"), []
            return rows, []
    if "example_id" in rows.columns and items["context_condition"].null_count() == 0:
        whole = pl.col("example_id").cast(pl.String).str.replace(r"\.0$", "")
        ids = items.select(
            pl.col("item_id").str.extract(r"_(\d+)$").alias("_example"),
            pl.col("category").str.to_lowercase().alias("_category"),
            pl.col("item_id").alias("_found"),
        )
        rows = rows.drop("item_id", strict=False).with_columns(whole.alias("_example"))
        if "category" in rows.columns:
            rows = rows.with_columns(
                pl.col("category").cast(pl.String).str.to_lowercase().str.strip_chars().alias("_category")
            )
            on = ["_example", "_category"]
        elif items["category"].n_unique() == 1:
            on = ["_example"]
        else:
            raise ValidationError(
                "example_id alone does not say which item was answered",
                file=file,
                variable="category",
                remedy="give BBQ's category beside it",
            )
        found = rows.join(ids.select(*on, "_found"), on=on, how="left", maintain_order="left")
        if (lost := found.filter(pl.col("_found").is_null())).height:
            raise ValidationError(
                f"{lost.height} answers are to examples that the items do not have",
                file=file,
                variable="example_id",
                value=f"{lost.item(0, 'example_id')} (row {lost.item(0, ROW)})",
                remedy="give the item file of their category",
            )
        return found.rename({"_found": "item_id"}).drop(*on), []
    if "question" not in rows.columns:
        raise ValidationError(
            "The file does not say which item each answer is to",
            file=file,
            variable="item_id",
            remedy="give item_id, example_id with category, or question; there are "
            f"{', '.join(x for x in rows.columns if x not in (FILE, ROW))}",
        )

    def asked(name: str) -> pl.Expr:
        return pl.col(name).str.replace_all(r"\s+", " ").str.strip_chars().str.to_lowercase()

    on = ["_asked"]
    ids = items.select(
        asked("question").alias("_asked"), pl.col("item_id").alias("_found"), asked("context").alias("_context")
    )
    rows = rows.with_columns(asked("question").alias("_asked"))
    if ids["_asked"].is_duplicated().any() and "context" in rows.columns:
        rows, on = rows.with_columns(asked("context").alias("_context")), ["_asked", "_context"]
    twice = ids.filter(pl.struct(on).is_duplicated())
    twice = twice.join(rows.select(on), on=on, how="semi", nulls_equal=True)
    if twice.height:
        raise ValidationError(
            "Several items have the same question, so that it does not say which one was answered",
            file=file,
            variable="question",
            value=twice.item(0, "_asked"),
            remedy="give the answers by item_id, or the context beside the question",
        )
    found = rows.drop("item_id", strict=False).join(ids.select(*on, "_found"), on=on, how="left", maintain_order="left")
    if (lost := found.filter(pl.col("_found").is_null())).height:
        raise ValidationError(
            f"{lost.height} answers are to questions that the items do not have",
            file=file,
            variable="question",
            value=lost.item(0, "question"),
            remedy="give the item file that the answers were made with",
        )
    said = ["items are found by the question's text"] if "item_id" in rows.columns else []
    return found.rename({"_found": "item_id"}).drop(on), said
