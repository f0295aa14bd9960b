"""Find the items of a table's answers among known ones, or take them from the table itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.tables import ITEMS
from mpta_pipeline.external import column_roles as c
from mpta_pipeline.external.human_answers import PeopleAnswers
from mpta_pipeline.external.scoring_inputs import TASK, some
from mpta_pipeline.external.table_shapes import ids_of
from mpta_pipeline.metrics.samples.external_scores import FILE, ROW
from mpta_pipeline.tasks import completed

# With more codes than this, or with fractions, answers are numbers, not options.
MOST_CODES = 26
# Codes beyond a scale by which surveys write "no answer": repeated digits, or the last numbers before a power of 10.
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
    """Items that a table contains.

    Attributes:
        items: ITEMS.
        numeric: Ids of items whose answers are numbers; they are not in `items`.
        notes: What was assumed.
        no_answer: item_id, code: codes that mean "no answer" in people's answers.
        own_order: Letters and numbers may refer to the items' order. False if the options are people's texts, whose
            order is unknown.
    """

    items: pl.DataFrame
    numeric: tuple[str, ...]
    notes: tuple[str, ...]
    no_answer: pl.DataFrame
    own_order: bool


def items_of_rows(rows: pl.DataFrame, file: Path, people: PeopleAnswers | None, *, ordered: bool = False) -> OwnItems:
    """Make items from the rows: options as shown, else people's answers, codes as an ordered scale.

    Raises:
        ValidationError: The rows name no item, or the items' options are unknown.
    """
    if not {"item_id", "question"} & set(rows.columns):
        raise _no_item(rows, file)
    frame = rows.with_columns(ids_of(rows).alias("item_id"))
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
            "The options of the questions are unknown",
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
    """Return options as shown; if rows show them in different orders, in the order of the first row."""
    if "options" not in frame.columns:
        return {}
    listed = c.listed(frame.get_column("options"))
    first = pl.DataFrame({"item_id": frame["item_id"], "options": listed}).drop_nulls()
    return dict(first.unique("item_id", keep="first", maintain_order=True).iter_rows())


def _places(frame: pl.DataFrame) -> dict[str, list[float]]:
    """Return the places of the options on their scale, if the file has a list of numbers."""
    if "places" not in frame.columns:
        return {}
    listed, _ = c.numbers(frame.get_column("places"))
    first = pl.DataFrame({"item_id": frame["item_id"], "places": listed}).drop_nulls()
    first = first.filter(pl.col("places").list.eval(pl.element().is_finite()).list.all())
    return dict(first.unique("item_id", keep="first", maintain_order=True).iter_rows())


def _values_of_people(frame: pl.DataFrame, people: PeopleAnswers | None) -> dict[str, list[str]]:
    """Return item → the different answers of people (and keys) to it."""
    sides = [frame.select("item_id", pl.col(n).alias("said")) for n in ("own_answer", "key") if n in frame.columns]
    if people is not None:
        said = people.frame.get_column("own_answer")
        sides.append(pl.DataFrame({"item_id": ids_of(people.frame), "said": said}))
    if not sides:
        return {}
    whole = pl.col("said").cast(pl.String).str.strip_chars().str.replace(r"^([+-]?\d+)\.0+$", "$1")
    every = pl.concat(sides, how="vertical_relaxed").drop_nulls().with_columns(whole)
    return dict(
        every.group_by("item_id", maintain_order=True).agg(pl.col("said").unique(maintain_order=True)).iter_rows()
    )


def _facts(frame: pl.DataFrame) -> tuple[dict[str, dict[str, str | None]], list[str]]:
    """Return facts about items: by name, item → value. Values that differ within an item are not facts about it."""
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
    """Return options and their places from people's answers; None if the answers are numbers, not options."""
    codes = [x for x in map(_code, values) if x is not None]
    if not codes or len(codes) < len(values):
        return list(values) if given_order else sorted(values), None
    numbers = sorted(set(codes))
    if len(numbers) > MOST_CODES or any(x != int(x) for x in numbers):
        return None
    return [str(int(x)) for x in numbers], [float(x) for x in numbers] if len(numbers) > 2 else None


def _codes_of_models(frame: pl.DataFrame) -> dict[str, set[float]]:
    """Return item → the different numbers that models answered."""
    if "answer" not in frame.columns:
        return {}
    number = pl.col("answer").cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    found = frame.select("item_id", number.alias("said")).drop_nulls().group_by("item_id").agg(pl.col("said").unique())
    return {name: set(said) for name, said in found.iter_rows()}


def _no_answer(values: Sequence[str], of_models: set[float]) -> set[float]:
    """Return people's codes that are not answers: negative ones, and usual ones separated from the scale by a gap.

    Codes of one digit may be an end of the scale that few chose: they count as "no answer" only beyond a scale without
    gaps, and if no model gave them. The same holds for negative codes, which may be half of a scale.
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
    """Return options for questions to which all people gave the same answer: those of the one scale containing it."""
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


def _no_item(rows: pl.DataFrame, file: Path) -> ValidationError:
    columns = ", ".join(x for x in rows.columns if x not in (FILE, ROW))
    return ValidationError(
        "The file does not say which item each answer belongs to",
        file=file,
        variable="item_id",
        remedy=f"give item_id, example_id with category, or question; its columns are {columns}",
    )


def with_item_id(rows: pl.DataFrame, file: Path, items: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Find the item of each row: by id, BBQ's example and category, the item's column, or the question's text."""
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
                remedy="give BBQ's category as well",
            )
        found = rows.join(ids.select(*on, "_found"), on=on, how="left", maintain_order="left")
        if (lost := found.filter(pl.col("_found").is_null())).height:
            raise ValidationError(
                f"{lost.height} answers belong to examples that the items do not have",
                file=file,
                variable="example_id",
                value=f"{lost.item(0, 'example_id')} (row {lost.item(0, ROW)})",
                remedy="give the item file of their category",
            )
        return found.rename({"_found": "item_id"}).drop(*on), []
    if "question" not in rows.columns:
        raise _no_item(rows, file)

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
            "Several items have the same question, so it is unclear which one was answered",
            file=file,
            variable="question",
            value=twice.item(0, "_asked"),
            remedy="give item_id, or the context beside the question",
        )
    found = rows.drop("item_id", strict=False).join(ids.select(*on, "_found"), on=on, how="left", maintain_order="left")
    if (lost := found.filter(pl.col("_found").is_null())).height:
        raise ValidationError(
            f"{lost.height} answers belong to questions that the items do not have",
            file=file,
            variable="question",
            value=lost.item(0, "question"),
            remedy="give the item file that the answers were made with",
        )
    said = ["items were found by the question's text"] if "item_id" in rows.columns else []
    return found.rename({"_found": "item_id"}).drop(on), said
