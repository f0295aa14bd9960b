"""From somebody's file to answers that can be scored: rows, items, what people answered, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mpta_pipeline.errors import ValidationError
from mpta_pipeline.external import columns as c
from mpta_pipeline.external.match import SetAside, match
from mpta_pipeline.external.people import People
from mpta_pipeline.hashing import digest
from mpta_pipeline.metrics.external import FILE, ROW
from mpta_pipeline.tables import GOLD, GROUPS, ITEMS, STATUSES

TASK = "external"
_NO_GROUPS = ("persona_id", "item_id", "model", "condition", "answer", "own_answer", "survey", "weight")
# With more codes than this, or with fractions, an answer is a number and no option.
MOST_CODES = 26
_PEOPLE_AS_MODEL = ("human", "humans", "people", "respondent", "respondents", "participant", "participants")
_PAIRS = {
    "own_answer": ("human", "own", "true", "actual", "real", "respondent", "participant", "gt", "observed"),
    "answer": ("model", "llm", "ai", "pred", "predicted", "prediction", "twin", "simulated", "sim", "gpt", "synthetic"),
}


@dataclass(frozen=True)
class Known:
    """Items that are known before the file is read.

    Attributes:
        items: ITEMS.
        gold: GOLD; empty where every item has its key.
        groups: Groups of the study's personas, or None.
        own_order: Their canonical order is the item file's, so that letters and numbers may count in it.
    """

    items: pl.DataFrame
    gold: pl.DataFrame = field(default_factory=GOLD.empty)
    groups: pl.DataFrame | None = None
    own_order: bool = True


@dataclass(frozen=True)
class Reading:
    """How a file is to be read: what the user says of it.

    Attributes:
        answers: Columns of answers, one a model.
        columns: Role → column.
        by: Dimensions: columns, or columns crossed with ×.
        questions: Questions that stand in a column each.
        count_from: What numbers count options from; None: by the numbers.
        ordered: The options, in the order given, are steps of a scale.
    """

    answers: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    count_from: int | None = None
    ordered: bool = False

    @property
    def bases(self) -> tuple[str, ...]:
        """The columns that the dimensions are made of."""
        return tuple(dict.fromkeys(base for dimension in self.by for base in dimension.split("×")))


@dataclass(frozen=True)
class Answers:
    """Answers with the items they belong to.

    Attributes:
        frame: `item_id`, `answer`, `model`, `pred_idx` and whatever else `metrics.score_answers` takes.
        items: ITEMS.
        gold: GOLD; empty where every item has its key.
        groups: persona_id, survey and one column per base dimension, of the personas and of the people.
        numeric: Answers that are numbers: item_id, model, persona_id, answer, own_answer, weight; None where none are.
        numeric_people: What people answered to these: item_id, persona_id, own_answer; None where `numeric` holds it.
        notes: What a reader should know of how they were read, a sentence each.
        left_out: What the figures do not rest on.
        roles: Role → column of the file.
        unused: Columns that play no part.
        support: item_id, model, n, answered, readable and what else the look at a file shows.
    """

    frame: pl.DataFrame
    items: pl.DataFrame
    gold: pl.DataFrame = field(default_factory=GOLD.empty)
    groups: pl.DataFrame | None = None
    numeric: pl.DataFrame | None = None
    numeric_people: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[SetAside, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    support: pl.DataFrame | None = None


def from_table(
    frame: pl.DataFrame,
    file: Path,
    known: Known | None = None,
    reading: Reading | None = None,
    people: People | None = None,
) -> Answers:
    """Answers of a table, to items that are known or that the table brings along.

    Args:
        frame: Rows as read, one an answer or one a person.
        file: For messages.
        known: Items; None makes them of the table.
        reading: What the user says of the file.
        people: What people answered, from a file of theirs.

    Raises:
        ValidationError: What the rows mean cannot be told. The message names the column and what to say.
    """
    reading = reading or Reading()
    notes: list[str] = list(people.notes) if people else []
    rows, roles, unused, said = _rows(frame, file, known, reading, people)
    notes += said
    rows, gone = _people_among_models(rows)
    notes += gone
    left: list[SetAside] = []
    if known is None:
        items, numeric_ids, said = _items_of(rows, file, people, ordered=reading.ordered)
        notes += said
    else:
        items, numeric_ids = known.items, []
        rows, said = _with_item_id(rows, file, items)
        notes += said
    if "item_id" not in rows.columns:
        rows = rows.with_columns(_ids(rows.get_column("question")).alias("item_id"))
    own = _own_of_people(people, items, known, file)
    rows, own, numeric = _numbers_apart(rows, own, numeric_ids)
    rows = _with_model(rows)
    if rows.is_empty():
        return Answers(
            rows,
            items.clear(),
            numeric=numeric,
            numeric_people=own,
            groups=_groups(numeric, own, reading, file),
            notes=tuple(notes),
            left_out=tuple(left),
            roles=roles,
            unused=unused,
        )
    if (lost := rows.join(items, on="item_id", how="anti", maintain_order="left")).height:
        if known is not None:
            raise ValidationError(
                f"{lost.height} answers are to items that the task does not have",
                file=file,
                variable="item_id",
                value=f"{lost.item(0, 'item_id')} (row {lost.item(0, ROW)})",
                remedy="use the item ids of the items, or give the questions' texts in a column question",
            )
        rows = rows.join(items, on="item_id", how="semi", maintain_order="left")
    rows = _joined_own(rows, own)
    matched = match(rows, file, items, count_from=reading.count_from, own_order=known is None or known.own_order)
    notes += matched.notes
    left += matched.left_out
    groups = _groups(rows, own, reading, file, known)
    made, items, gold, said, gone_too = _keys(matched.frame, items, known, own, reading, file)
    notes += said
    left += gone_too
    used = items.join(made.select("item_id").unique(), on="item_id", how="semi", maintain_order="left")
    notes += _coverage(made, items, known, file)
    return Answers(
        made,
        used if known is None else items,
        gold,
        groups,
        numeric,
        own if numeric is not None else None,
        tuple(dict.fromkeys(notes)),
        tuple(left),
        roles,
        unused,
        matched.support,
    )


# --- rows -----------------------------------------------------------------------------------------------------------


def _rows(
    frame: pl.DataFrame, file: Path, known: Known | None, reading: Reading, people: People | None
) -> tuple[pl.DataFrame, Mapping[str, str], tuple[str, ...], list[str]]:
    """One row an answer, columns named by their roles."""
    for column in reading.bases:
        if (
            column not in frame.columns
            and (people is None or column not in people.frame.columns)
            and not (known and known.groups is not None and column in known.groups.columns)
        ):
            raise ValidationError(
                "The file has no such column to group by",
                file=file,
                variable=column,
                remedy=f"choose of {', '.join(frame.columns)}",
            )
    bases = [b for b in reading.bases if b in frame.columns]
    if absent := [x for x in reading.answers if x not in frame.columns]:
        raise ValidationError(
            "The file has no such column of answers",
            file=file,
            variable=absent[0],
            remedy=f"choose of {', '.join(frame.columns)}",
        )
    if ROW not in frame.columns:
        frame = frame.with_row_index(ROW, offset=1)
    frame = frame.with_columns(pl.lit(str(file)).alias(FILE))
    named = dict(reading.columns)
    if len(reading.answers) > 1:
        index = [x for x in frame.columns if x not in reading.answers]
        frame = frame.with_columns(pl.col(x).cast(pl.String) for x in reading.answers).unpivot(
            on=list(reading.answers),
            index=[x for x in index if c.plain(x) != "model"],
            variable_name="model",
            value_name="answer",
        )
        named |= {"answer": "answer", "model": "model"}
    elif reading.answers:
        named["answer"] = reading.answers[0]
    wide = () if "answer" in named else _wide(frame, known, reading, people)
    if wide:
        layout = _of_persons(frame.drop(wide), file, named, bases)
        kept = frame.select(wide).hstack(layout.frame)
        long = kept.with_columns(pl.col(q).cast(pl.String) for q in wide).unpivot(
            on=list(wide), index=layout.frame.columns, variable_name="item_id", value_name="answer"
        )
        said = f"{file.name}: {len(wide)} questions stand in a column each: {_some(wide)}"
        shown = {**layout.roles, "item_id": "one column per question", "answer": _some(wide)}
        # A person who was not asked a question has no answer to it.
        return long.filter(pl.col("answer").is_not_null()), shown, layout.unused, [said, *layout.notes]
    if not named.get("answer") and (pairs := _pairs(frame)):
        return _from_pairs(frame, file, pairs, named, bases)
    layout = c.understand(frame, file, named=named, keep=bases)
    if not {"answer", "probabilities", "logprobs"} & set(layout.roles):
        raise ValidationError(
            "The file has no column of answers",
            file=file,
            remedy=f"name it `answer`, or say which it is with --answer; there are {', '.join(x for x in frame.columns if x not in (FILE, ROW))}",
        )
    made = layout.frame
    if "answer" in made.columns:
        made = made.with_columns(_as_text(made.get_column("answer")).alias("answer"))
    for name in ("own_answer", "key", "status"):
        if name in made.columns:
            made = made.with_columns(_as_text(made.get_column(name)).alias(name))
    return made, layout.roles, layout.unused, list(layout.notes)


def _as_text(values: pl.Series) -> pl.Series:
    """Answers as text; a list of one answer, as some tools write it, is that answer."""
    if isinstance(values.dtype, pl.List):
        return values.cast(pl.List(pl.String)).list.join(", ")
    if values.dtype == pl.Boolean:
        return values.cast(pl.String)
    return values.cast(pl.String)


def _wide(frame: pl.DataFrame, known: Known | None, reading: Reading, people: People | None) -> tuple[str, ...]:
    """Columns that are questions: those the user names, those the people's file has too, or the ids of known items."""
    if reading.questions:
        return tuple(q for q in reading.questions if q in frame.columns)
    names = {c.plain(x) for x in frame.columns}
    if names & set(c.ALIASES["item_id"][:6] + c.ALIASES["question"][:3]):
        return ()
    if people is not None and people.wide:
        return tuple(q for q in people.wide if q in frame.columns)
    if people is not None:
        asked = set(
            people.frame.get_column("item_id" if "item_id" in people.frame.columns else "question").cast(pl.String)
        )
        found = tuple(x for x in frame.columns if x in asked)
        if found:
            return found
    if known is not None:
        ids = set(known.items["item_id"]) | set(known.items["column"].drop_nulls())
        found = tuple(x for x in frame.columns if x in ids)
        if len(found) > 1 or (found and not names & set(c.ALIASES["answer"])):
            return found
    return ()


def _pairs(frame: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Question → its columns of the person's and the model's answer, by ends or beginnings as q1_human and q1_llm."""
    found: dict[str, dict[str, str]] = {}
    for column in frame.columns:
        for role, marks in _PAIRS.items():
            name = c.plain(column)
            for mark in marks:
                for stem in (name.removesuffix(f"_{mark}"), name.removeprefix(f"{mark}_")):
                    if stem != name and stem not in ("answer", "response", "id", ""):
                        found.setdefault(stem, {}).setdefault(role, column)
    return {q: (of["own_answer"], of["answer"]) for q, of in found.items() if len(of) == 2}


def _from_pairs(
    frame: pl.DataFrame, file: Path, pairs: dict[str, tuple[str, str]], named: Mapping[str, str], bases: Sequence[str]
) -> tuple[pl.DataFrame, Mapping[str, str], tuple[str, ...], list[str]]:
    both = [x for pair in pairs.values() for x in pair]
    layout = _of_persons(frame.drop(both), file, named, bases)
    parts = [
        layout.frame.with_columns(
            pl.lit(question).alias("item_id"),
            frame.get_column(own).cast(pl.String).alias("own_answer"),
            frame.get_column(answer).cast(pl.String).alias("answer"),
        )
        for question, (own, answer) in pairs.items()
    ]
    question, (own, answer) = next(iter(pairs.items()))
    said = f"{file.name}: {len(pairs)} questions stand in two columns each, e.g. {question}: {own} of the person, {answer} of the model"
    shown = {**layout.roles, "item_id": "two columns per question", "own_answer": own, "answer": answer}
    rows = pl.concat(parts)
    if "persona_id" not in rows.columns:
        rows = rows.with_columns(pl.format("row {}", ROW).alias("persona_id"))
        said += "; each row is taken as one person"
    return rows.filter(pl.col("answer").is_not_null()), shown, layout.unused, [said, *layout.notes]


def _of_persons(frame: pl.DataFrame, file: Path, named: Mapping[str, str], bases: Sequence[str]) -> c.Layout:
    """The columns of a table with one row a person, apart from its questions; `id` is then the person's."""
    roles = tuple(r for r in c.ALIASES if r not in ("item_id", "question", "answer", "own_answer", "key", "options"))
    said = {r: x for r, x in named.items() if r in roles}
    own = next((x for x in frame.columns if c.plain(x) == "id" and not frame[x].is_duplicated().any()), None)
    if own is not None and not {c.plain(x) for x in frame.columns} & set(c.ALIASES["persona_id"]):
        said.setdefault("persona_id", own)
    return c.understand(frame, file, named=said, keep=bases, roles=roles)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")


def _people_among_models(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Answers of a "model" that is the people themselves, as own answers beside the models'."""
    if "model" not in rows.columns or "own_answer" in rows.columns or "persona_id" not in rows.columns:
        return rows, []
    human = pl.col("model").cast(pl.String).str.to_lowercase().is_in(_PEOPLE_AS_MODEL)
    of_people, of_models = rows.filter(human), rows.filter(~human | pl.col("model").is_null())
    if of_people.is_empty() or of_models.is_empty():
        return rows, []
    item = "item_id" if "item_id" in rows.columns else "question"
    own = of_people.select("persona_id", item, pl.col("answer").alias("own_answer")).unique(
        ["persona_id", item], keep="first", maintain_order=True
    )
    made = of_models.join(own, on=["persona_id", item], how="left", maintain_order="left")
    return made, [f"answers of the model {of_people.item(0, 'model')} are taken as people's own answers"]


def _ids(questions: pl.Series) -> pl.Series:
    """An id a question: its text where that is short, else a hash with the text's beginning."""
    unique = {q: (q if len(q) <= 40 else f"{q[:30]}… {digest(q, length=6)}") for q in questions.drop_nulls().unique()}
    return pl.Series("item_id", [unique.get(q) for q in questions.to_list()], dtype=pl.String)


def _with_model(rows: pl.DataFrame) -> pl.DataFrame:
    if "model" not in rows.columns:
        return rows.with_columns(pl.lit(TASK).alias("model"))
    return rows.with_columns(pl.col("model").cast(pl.String))


# --- items ----------------------------------------------------------------------------------------------------------


def _items_of(
    rows: pl.DataFrame, file: Path, people: People | None, *, ordered: bool = False
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """ITEMS of the rows themselves, the ids of those whose answers are numbers, and what was assumed."""
    item = "item_id" if "item_id" in rows.columns else "question" if "question" in rows.columns else None
    if item is None:
        raise ValidationError(
            "The file does not say which item each answer is to",
            file=file,
            variable="item_id",
            remedy="give item_id, example_id with category, or question"
            f"; there are {', '.join(x for x in rows.columns if x not in (FILE, ROW))}",
        )
    ids = _ids(rows.get_column("question")) if item == "question" else rows.get_column("item_id").cast(pl.String)
    frame = rows.with_columns(ids.alias("item_id"))
    theirs = None
    if people is not None:
        of = people.frame
        given = of.get_column("item_id").cast(pl.String) if "item_id" in of.columns else _ids(of.get_column("question"))
        theirs = of.select("own_answer").with_columns(given.alias("item_id"))
    # Options that rows show in different orders have the order of the first row.
    shown = c.listed(frame.get_column("options")) if "options" in frame.columns else None
    options: dict[str, list[str]] = {}
    if shown is not None:
        first = pl.DataFrame({"item_id": frame["item_id"], "options": shown}).drop_nulls("options")
        options = dict(first.unique("item_id", keep="first", maintain_order=True).iter_rows())
    sides = [frame.select("item_id", pl.col(n).alias("said")) for n in ("own_answer", "key") if n in frame.columns]
    if theirs is not None:
        sides.append(theirs.select("item_id", pl.col("own_answer").alias("said")))
    of_people = pl.concat(sides, how="vertical_relaxed").drop_nulls() if sides else None
    notes: list[str] = []
    values: dict[str, list[str]] = {}
    if of_people is not None:
        clean = of_people.with_columns(
            pl.col("said").cast(pl.String).str.strip_chars().str.replace(r"^([+-]?\d+)\.0+$", "$1")
        )
        values = dict(
            clean.group_by("item_id", maintain_order=True).agg(pl.col("said").unique(maintain_order=True)).iter_rows()
        )
    values, said = _shared_scales(values)
    notes += said
    texts = (
        dict(
            frame.drop_nulls("item_id")
            .unique("item_id", keep="first", maintain_order=True)
            .select("item_id", "question")
            .iter_rows()
        )
        if "question" in frame.columns
        else {}
    )
    facts: dict[str, dict[str, str | None]] = {}
    for name in ("category", "cluster", "context"):
        if name not in frame.columns:
            continue
        of = frame.group_by("item_id", maintain_order=True).agg(pl.col(name).cast(pl.String).drop_nulls().unique())
        if of.filter(pl.col(name).list.len() > 1).height:
            notes.append(f"{name} differs within an item and is not taken as the item's")
            continue
        facts[name] = dict(of.with_columns(pl.col(name).list.first()).iter_rows())
    made, numeric, scales, unknown = [], [], [], []
    for name in frame["item_id"].drop_nulls().unique(maintain_order=True):
        own = options.get(name)
        scores = None
        if own is None:
            codes = [x for x in map(_code, values.get(name, [])) if x is not None]
            if codes and len(codes) == len(values[name]):
                # Negative codes are how surveys write no answer, unless all are negative.
                numbers = sorted({x for x in codes if x >= 0} or set(codes))
                if len(numbers) > MOST_CODES or any(x != int(x) for x in numbers):
                    numeric.append(name)
                    continue
                own = [str(int(x)) for x in numbers]
                scores = [float(x) for x in numbers] if len(numbers) > 2 else None
                scales += [name] if scores else []
            elif values.get(name):
                # Published shares come in the order of the questionnaire.
                own = values[name] if ordered or (people is not None and people.published) else sorted(values[name])
        if own is None or len(own) < 2:
            unknown.append(name)
            continue
        if ordered and scores is None and len(own) > 2:
            scores = [float(place) for place in range(len(own))]
        made.append(
            {
                "item_id": name,
                "cluster_id": facts.get("cluster", {}).get(name) or name,
                "category": facts.get("category", {}).get(name),
                "context": facts.get("context", {}).get(name),
                "question": texts.get(name) or name,
                "options": own,
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
        notes.append(
            f"{len(unknown)} items have fewer than two options that anybody names and are left out: {_some(unknown)}"
        )
    if scales:
        notes.append(
            f"{len(scales)} items have whole numbers for answers: their options are the codes that people gave, taken "
            "as an ordered scale; negative codes count as no answer"
        )
    if numeric:
        notes.append(f"{len(numeric)} items have numbers for answers, compared as numbers: {_some(numeric)}")
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "item_id": pl.String,
        "cluster_id": pl.String,
        "category": pl.String,
        "context": pl.String,
        "question": pl.String,
        "options": pl.List(pl.String),
        "ordinal": pl.Boolean,
        "option_scores": pl.List(pl.Float64),
    }
    items = pl.DataFrame(made, schema=schema, orient="row").with_columns(
        pl.lit(TASK).alias("task"),
        pl.lit(TASK).alias("kind"),
        pl.lit(None, pl.String).alias("dialect"),
        pl.col("options").alias("option_values"),
        pl.lit(None, pl.Int64).alias("gold_idx"),
        pl.lit(None, pl.String).alias("column"),
        pl.lit([], pl.List(pl.String)).alias("reveals"),
        pl.lit("{}").alias("metadata"),
        pl.lit("as the file's").alias("licence"),
    )
    return ITEMS.conform(items.select(list(ITEMS.schema))), numeric, notes


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
    said = f"{len(found)} items have one answer of all people: their options are those of the other items: {_some(list(found))}"
    return {**values, **found}, [said]


def _code(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _with_item_id(rows: pl.DataFrame, file: Path, items: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
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
    if "example_id" in rows.columns and items["kind"].is_in(["bbq"]).all():
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
            remedy=f"give item_id, example_id with category, or question; there are {', '.join(x for x in rows.columns if x not in (FILE, ROW))}",
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


# --- people ---------------------------------------------------------------------------------------------------------


def _own_of_people(people: People | None, items: pl.DataFrame, known: Known | None, file: Path) -> pl.DataFrame | None:
    """The people's answers with `item_id`."""
    if people is None:
        return None
    frame = people.frame
    if "item_id" not in frame.columns:
        if known is None:
            frame = frame.with_columns(_ids(frame.get_column("question")).alias("item_id"))
        else:
            frame, _ = _with_item_id(frame.with_row_index(ROW, offset=1), file, items)
    elif known is not None:
        frame, _ = _with_item_id(frame.with_row_index(ROW, offset=1), file, items)
    frame = frame.with_columns(pl.col("item_id").cast(pl.String), pl.col("persona_id").cast(pl.String))
    if (twice := frame.filter(pl.struct("persona_id", "item_id").is_duplicated())).height:
        raise ValidationError(
            "A person has two answers to one question",
            file=None,
            variable="persona_id",
            value=f"{twice.item(0, 'persona_id')}: {twice.item(0, 'item_id')}",
            remedy="keep one of them in the file of people",
        )
    return frame


def _numbers_apart(
    rows: pl.DataFrame, own: pl.DataFrame | None, numeric: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None]:
    """The answers that are numbers, apart from those that are options."""
    if not numeric:
        return rows, own, None
    is_number = pl.col("item_id").is_in(list(numeric))
    of = _with_model(rows.filter(is_number))
    if own is not None and "own_answer" not in of.columns and "persona_id" in of.columns:
        of = of.with_columns(pl.col("persona_id").cast(pl.String)).join(
            own.select("persona_id", "item_id", "own_answer"),
            on=["persona_id", "item_id"],
            how="left",
            maintain_order="left",
        )
    if "own_answer" not in of.columns:
        of = of.with_columns(
            pl.col("key").alias("own_answer") if "key" in of.columns else pl.lit(None, pl.String).alias("own_answer")
        )
    return rows.filter(~is_number), own, of


def _joined_own(rows: pl.DataFrame, own: pl.DataFrame | None) -> pl.DataFrame:
    """Own answers of the people's file beside the model's, where their persona is the same."""
    if own is None or "own_answer" in rows.columns or "persona_id" not in rows.columns:
        return rows
    rows = rows.with_columns(pl.col("persona_id").cast(pl.String))
    return rows.join(
        own.select("persona_id", "item_id", "own_answer"),
        on=["persona_id", "item_id"],
        how="left",
        maintain_order="left",
    )


def _groups(
    rows: pl.DataFrame | None, own: pl.DataFrame | None, reading: Reading, file: Path, known: Known | None = None
) -> pl.DataFrame:
    """One row a persona with its groups.

    Raises:
        ValidationError: Groups without personas, of a column that groups nobody, or a persona in two groups.
    """
    wrong = next((b for b in reading.bases if b in _NO_GROUPS), None)
    if wrong is not None:
        why = {"survey": "figures are made for each survey by itself, and never pooled"}.get(
            wrong, "it tells answers apart, and groups nobody"
        )
        raise ValidationError(
            f"Personas cannot be grouped by {wrong}: {why}",
            file=file,
            variable="--by",
            value=wrong,
            remedy="name a column that groups people, such as sex or region",
        )
    design = [x for x in ("stratum", "psu") if x in GROUPS.schema]
    parts = []
    for frame in (rows, own):
        if frame is None or "persona_id" not in frame.columns:
            continue
        bases = [b for b in reading.bases if b in frame.columns]
        have = [d for d in design if d in frame.columns]
        survey = pl.col("survey").cast(pl.String).fill_null("none") if "survey" in frame.columns else pl.lit("none")
        parts.append(
            frame.filter(pl.col("persona_id").is_not_null()).select(
                pl.col("persona_id").cast(pl.String),
                survey.alias("survey"),
                *(pl.col(b).cast(pl.String) for b in dict.fromkeys([*bases, *have])),
            )
        )
    together = (
        pl.concat(parts, how="diagonal")
        if parts
        else pl.DataFrame(schema={"persona_id": pl.String, "survey": pl.String})
    )
    if reading.by and together.is_empty():
        raise ValidationError(
            "Groups are groups of personas, and the answers name none",
            file=file,
            variable="persona_id",
            remedy="give persona_id, or leave --by out",
        )
    columns = [x for x in together.columns if x not in ("persona_id", "survey")]
    for column in columns:
        several = together.filter(pl.col(column).drop_nulls().n_unique().over("persona_id") > 1)
        if several.height:
            person = several.item(0, "persona_id")
            values = several.filter(persona_id=person)[column].drop_nulls().unique(maintain_order=True)
            raise ValidationError(
                f"A persona is in several groups of {column}",
                file=file,
                variable="persona_id",
                value=f"{person}: {', '.join(values)}",
                remedy=f"give each persona one {column}, or people that differ in it different ids",
            )
    made = together.group_by("persona_id", maintain_order=True).agg(
        pl.col("survey").drop_nulls().first(), *(pl.col(x).drop_nulls().first() for x in columns)
    )
    if known is not None and known.groups is not None:
        theirs = known.groups.drop([x for x in columns if x in known.groups.columns])
        made = (
            theirs.join(made.drop("survey"), on="persona_id", how="left", maintain_order="left") if columns else theirs
        )
        if made.height < together["persona_id"].n_unique() or columns:
            more = together.join(made, on="persona_id", how="anti").unique(
                "persona_id", keep="first", maintain_order=True
            )
            made = pl.concat([made, more], how="diagonal") if more.height else made
    return made


def _keys(
    rows: pl.DataFrame,
    items: pl.DataFrame,
    known: Known | None,
    own: pl.DataFrame | None,
    reading: Reading,
    file: Path,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, list[str], list[SetAside]]:
    """What each answer is scored against: the item's key, the person's own answer, or people's most frequent one."""
    notes: list[str] = []
    left: list[SetAside] = []
    task = str(items.item(0, "task"))
    gold = GOLD.empty() if known is None else known.gold
    if "own_idx" not in rows.columns and "key_idx" in rows.columns:
        spread = rows.drop_nulls("key_idx").group_by("item_id").agg(pl.col("key_idx").n_unique().alias("n"))
        if "persona_id" in rows.columns and bool((spread["n"] > 1).any()):
            rows = rows.rename({"key_idx": "own_idx", "key": "own_answer"})
            notes.append("the key differs between people within an item: it is taken as the person's own answer")
        elif bool((spread["n"] > 1).any()):
            several = spread.filter(pl.col("n") > 1).item(0, "item_id")
            raise ValidationError(
                "An item has several keys",
                file=file,
                variable="key",
                value=several,
                remedy="give each item one key, or persona_id where the key is the person's own answer",
            )
        else:
            keys = (
                rows.drop_nulls("key_idx")
                .unique("item_id", keep="first")
                .select("item_id", pl.col("key_idx").alias("_key"))
            )
            differ = items.join(keys, on="item_id").filter(
                pl.col("gold_idx").is_not_null() & (pl.col("gold_idx") != pl.col("_key"))
            )
            if differ.height:
                notes.append(
                    f"the file's key differs from the item file's in {differ.height} items; the item file's counts"
                )
            items = items.join(keys, on="item_id", how="left", maintain_order="left")
            items = items.with_columns(pl.coalesce("gold_idx", "_key").alias("gold_idx")).drop("_key")
    survey = pl.col("survey").cast(pl.String).fill_null("none") if "survey" in rows.columns else pl.lit("none")
    mine = pl.DataFrame(schema=GOLD.schema)
    if "own_idx" in rows.columns and "persona_id" in rows.columns:
        weight = (
            pl.col("weight").cast(pl.Float64, strict=False) if "weight" in rows.columns else pl.lit(None, pl.Float64)
        )
        mine = (
            rows.filter(pl.col("own_idx").is_not_null() & pl.col("persona_id").is_not_null())
            .select(
                pl.lit(task).alias("task"),
                "item_id",
                pl.col("persona_id").cast(pl.String),
                survey.alias("survey"),
                pl.col("own_idx").alias("gold_idx"),
                weight.alias("weight"),
            )
            .unique(maintain_order=True)
        )
        if (twice := mine.filter(pl.struct("item_id", "persona_id").is_duplicated())).height:
            differ = (
                twice.group_by("item_id", "persona_id")
                .agg(pl.col("gold_idx").n_unique().alias("n"))
                .filter(pl.col("n") > 1)
            )
            if differ.height:
                raise ValidationError(
                    "A person has two own answers to one item",
                    file=file,
                    variable="own_answer",
                    value=f"{differ.item(0, 'persona_id')}: {differ.item(0, 'item_id')}",
                    remedy="give each person one own answer per item",
                )
            mine = mine.unique(["item_id", "persona_id"], keep="first", maintain_order=True)
    if own is not None:
        mine = _gold_of_people(own, items, rows, mine, task, reading, file, notes)
    if mine.height:
        gold = GOLD.conform(mine.select(list(GOLD.schema)))
        asked = rows.filter(pl.col("persona_id").is_not_null()) if "persona_id" in rows.columns else rows.clear()
        met = asked.join(gold, on="persona_id", how="semi").height
        if met == 0:
            rows, items, said = _by_mode(rows, items, gold)
            notes += said
            return rows, items, gold, notes, left
    if gold.height:
        keyed = rows.with_columns(pl.col("persona_id").cast(pl.String)) if "persona_id" in rows.columns else rows
        if "persona_id" in keyed.columns:
            keyed = keyed.join(
                gold.select("item_id", "persona_id", pl.lit(True).alias("_own")),
                on=["item_id", "persona_id"],
                how="left",
                maintain_order="left",
            )
            keyed = keyed.join(
                items.select("item_id", pl.col("gold_idx").alias("_item")),
                on="item_id",
                how="left",
                maintain_order="left",
            )
            # Answers of nobody stand beside those of everybody who answered.
            lacks = pl.col("_own").is_null() & pl.col("_item").is_null() & pl.col("persona_id").is_not_null()
            n = keyed.filter(lacks).height
            if n:
                who = keyed.filter(lacks)["persona_id"].unique(maintain_order=True).to_list()
                left.append(
                    SetAside(
                        "answers",
                        n,
                        "the person gave no own answer to the question that could be read",
                        tuple(who[:5]),
                        "nothing, if they were not asked or did not answer; else see that ids and codes agree",
                    )
                )
            rows = keyed.filter(~lacks).drop("_own", "_item")
    keyless = rows.join(items.filter(pl.col("gold_idx").is_not_null()), on="item_id", how="anti")
    if gold.is_empty() and keyless.height:
        lost = keyless["item_id"].unique(maintain_order=True).to_list()
        if keyless.height == rows.height:
            raise ValidationError(
                "No answer has a key to be scored against",
                file=file,
                variable="key",
                value=lost[0],
                remedy="give own_answer or key in the file, what people answered with --people FILE, or the item file with --items",
            )
        left.append(
            SetAside(
                "answers",
                keyless.height,
                "their items have no key",
                tuple(lost[:5]),
                "give a key or own_answer for them",
            )
        )
        rows = rows.join(
            items.filter(pl.col("gold_idx").is_not_null()), on="item_id", how="semi", maintain_order="left"
        )
    return rows, items, gold, notes, left


def _gold_of_people(
    own: pl.DataFrame,
    items: pl.DataFrame,
    rows: pl.DataFrame,
    mine: pl.DataFrame,
    task: str,
    reading: Reading,
    file: Path,
    notes: list[str],
) -> pl.DataFrame:
    """GOLD of everybody in the people's file."""
    here = own.join(items.select("item_id"), on="item_id", how="semi", maintain_order="left").drop(
        "options", strict=False
    )
    here = here.with_columns(pl.lit("people").alias("model"))
    read = match(here, file, items, count_from=reading.count_from)
    frame = read.frame
    lost = frame.filter(pl.col("own_idx").is_null())
    if lost.height:
        notes.append(
            f"{lost.height:,} of {frame.height:,} answers of people are no option of their item and count as no answer "
            f"(e.g. {lost.item(0, 'item_id')}: {lost.item(0, 'own_answer')})"
        )
    surveys = (
        rows["survey"].cast(pl.String).fill_null("none").unique().to_list() if "survey" in rows.columns else ["none"]
    )
    if "survey" in frame.columns:
        survey = pl.col("survey").cast(pl.String).fill_null("none")
    elif len(surveys) == 1:
        survey = pl.lit(surveys[0])
    else:
        raise ValidationError(
            "The answers are of several surveys, and the people's file does not say of which each person is",
            file=file,
            variable="survey",
            value=", ".join(sorted(surveys)),
            remedy="give the people's file a column survey",
        )
    weight = pl.col("weight").cast(pl.Float64, strict=False) if "weight" in frame.columns else pl.lit(None, pl.Float64)
    if "weight" not in frame.columns and "weight" in rows.columns and "persona_id" in rows.columns:
        per = rows.select(pl.col("persona_id").cast(pl.String), pl.col("weight").cast(pl.Float64, strict=False)).unique(
            "persona_id", keep="first"
        )
        frame, weight = frame.join(per, on="persona_id", how="left", maintain_order="left"), pl.col("weight")
    made = frame.drop_nulls("own_idx").select(
        pl.lit(task).alias("task"),
        "item_id",
        "persona_id",
        survey.alias("survey"),
        pl.col("own_idx").alias("gold_idx"),
        weight.alias("weight"),
    )
    if mine.height:
        made = pl.concat([mine, made.join(mine, on=["item_id", "persona_id"], how="anti", maintain_order="left")])
    return made


def _by_mode(
    rows: pl.DataFrame, items: pl.DataFrame, gold: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Where no persona is among the people, the key of an item is people's most frequent answer."""
    weight = pl.col("weight").fill_null(1.0)
    mode = (
        gold.group_by("item_id", "gold_idx")
        .agg(weight.sum().alias("w"))
        .sort("item_id", "w", "gold_idx", descending=[False, True, False])
        .unique("item_id", keep="first", maintain_order=True)
        .select("item_id", pl.col("gold_idx").alias("_mode"))
    )
    items = items.join(mode, on="item_id", how="left", maintain_order="left")
    items = items.with_columns(pl.coalesce("gold_idx", "_mode").alias("gold_idx")).drop("_mode")
    before = rows.height
    rows = rows.join(items.filter(pl.col("gold_idx").is_not_null()), on="item_id", how="semi", maintain_order="left")
    notes = [
        "no persona of the answers is one of the people: accuracy is agreement with people's most frequent answer to "
        "the item, and distances compare the answers with people's distribution"
    ]
    if rows.height < before:
        notes.append(f"{before - rows.height:,} answers are to items that the people were not asked, and are left out")
    return rows, items, notes


def _coverage(rows: pl.DataFrame, items: pl.DataFrame, known: Known | None, file: Path) -> list[str]:
    """What of the items and answers the figures do not rest on."""
    notes = []
    asked = rows["item_id"].n_unique()
    if known is not None and asked < items.height:
        notes.append(f"{asked:,} of {items.height:,} items are answered; the others count for nothing")
    told = [pl.col(x).is_null() for x in ("probabilities", "status") if x in rows.columns]
    if empty := rows.filter(pl.col("answer").is_null(), *told).height:
        notes.append(f"{empty:,} of {rows.height:,} answers are empty: failed requests (error_rate), not wrong answers")
    unread = pl.col("answer").is_not_null() & pl.col("pred_idx").is_null()
    fine = (
        [pl.col("status").is_null() | ~pl.col("status").is_in([s for s in STATUSES if s != "ok"])]
        if "status" in rows.columns
        else []
    )
    lost = rows.filter(unread, *fine)
    if lost.height:
        first = lost.row(0, named=True)
        notes.append(
            f"{lost.height:,} of {rows.height:,} answers name no option of their item: unreadable, wrong in accuracy "
            f"(e.g. row {first[ROW]}, {first['item_id']}: {str(first['answer'])[:60]!r})"
        )
    if "weight" in rows.columns and "persona_id" in rows.columns:
        weight = pl.col("weight").cast(pl.Float64, strict=False)
        without = rows.filter(weight.is_null() & pl.col("persona_id").is_not_null())
        if 0 < without.height < rows.height:
            notes.append(
                f"{without.height:,} answers of {without['persona_id'].n_unique():,} people have no weight: they count in "
                f"unweighted figures only (e.g. {without.item(0, 'persona_id')})"
            )
    if any(x in rows.columns for x in ("stratum", "psu")) and "psu" not in GROUPS.schema:
        notes.append("stratum and psu are read, and have no part in the errors")
    return notes
