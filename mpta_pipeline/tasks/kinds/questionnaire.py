"""Make items from a questionnaire: a study's own instrument, from YAML, CSV or Qualtrics' QSF.

Each question, and each statement of a battery, is an item. A question that names a `column` of the surveys has people's
own answers as its key; the others have none, and the result is the distribution of the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.tables.tasks import EARLIER, PLACE
from mpta_pipeline.core.unknown_names import closest
from mpta_pipeline.harmonize import with_option
from mpta_pipeline.personas import answers, column_facts
from mpta_pipeline.personas.dimensions import VALUES
from mpta_pipeline.tasks.item_files import ItemFile, version
from mpta_pipeline.tasks.option_meanings import plain, values_by_text
from mpta_pipeline.tasks.option_orders import layouts
from mpta_pipeline.tasks.questionnaires import Condition, Instrument, Note, Question, read_instrument
from mpta_pipeline.tasks.questionnaires.conversation import check_conversation, earlier_answers, in_order
from mpta_pipeline.tasks.questionnaires.instrument import ASKED_OF_ALL, LEFT_OUT, NO_EFFECT, fields_of, scale_places
from mpta_pipeline.tasks.task_kind import AS_THE_PERSON, Example, ItemRequest, TaskKind

FILE = ItemFile(
    name="a questionnaire (.yaml, .csv or .qsf)",
    address="your own survey, for example an export from Qualtrics",
    licence="as the questionnaire's",
    pattern="*.*",
)
MATCHED, UNMATCHED, ALL = "matched", "unmatched", "all"
QUESTION, BATTERY, CONVERSATION = "question", "battery", "conversation"


def questionnaire_items(request: ItemRequest) -> pl.DataFrame:
    """One item per question or statement, and per codebook for questions with a column."""
    asked = _asked_by(request)
    instrument = _instrument(request, asked)
    chosen = _chosen(instrument, request)
    _note_what_is_shown(chosen, request)
    rows: list[dict[str, Any]] = []
    for question in chosen:
        made = _with_column(question, request) if question.column else [_row(question)]
        hidden = _hidden(question, request) if question.hides else {}
        rows += [row | _with_hidden(row, hidden) for row in made]
    if not rows:
        return pl.DataFrame()
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "codebook": pl.String,
        "context": pl.String,
        "stem": pl.String,
        "option_scores": pl.List(pl.Float64),
        "column": pl.String,
        "concept": pl.String,
        "label": pl.String,
        "reveals": pl.List(pl.String),
        "variables": pl.List(pl.String),
        "hides": pl.List(pl.String),
        "asked_if": pl.List(pl.Struct({"name": pl.String, "values": pl.List(pl.String)})),
        "sequence": pl.List(PLACE),
        "asked_after": pl.List(EARLIER),
    }
    if asked == CONVERSATION:
        rows = _with_known_questions(rows, request)
    items = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    absent = {"gold_idx": pl.Int64(), **schema}
    items = items.with_columns(pl.lit(None, t).alias(n) for n, t in absent.items() if n not in items.columns)
    items = items.with_columns(pl.col("reveals").fill_null(pl.lit([], pl.List(pl.String))))
    places = [
        _places(layout.along, len(options)) for layout, options in zip(layouts(items), items["options"], strict=True)
    ]
    own = pl.Series("places", places, dtype=pl.List(pl.Float64))
    numbered = asked == BATTERY
    if numbered and (some := [q.id for q in chosen if q.battery and q.conditions]):
        effect = "shown to everyone with its battery; the answer counts for those who meet it"
        request.gaps.not_used.append(Note("condition of a statement", effect, tuple(some)).text())
    items = _numbered(items) if numbered else items.drop("stem", "statement")
    return items.with_columns(
        pl.when(pl.col("ordinal") & pl.col("column").is_null())
        .then(own)
        .when("ordinal")
        .then(pl.coalesce("option_scores", own))
        .alias("option_scores"),
        pl.lit(version(request.files, None)).alias("item_file"),
        pl.lit(str(request.option("licence", FILE.licence))).alias("licence"),
        pl.col("column").is_not_null().alias("own_key"),
    )


def _asked_by(request: ItemRequest) -> str:
    """How the statements of a battery are asked.

    Raises:
        TaskError: In a way that is not supported.
    """
    by = str(request.option("asked", QUESTION))
    if by not in (QUESTION, BATTERY, CONVERSATION):
        raise TaskError(
            "The task's option asked has a value that is not supported",
            variable="options.asked",
            value=by,
            remedy=f"use {QUESTION} (each question in a request of its own), {BATTERY} (all statements of a battery "
            f"in one request) or {CONVERSATION} (one after the other, and the model sees its earlier answers)",
        )
    if by == CONVERSATION:
        check_conversation(request.config)
    elif "randomize" in request.config.options:
        raise TaskError(
            "The order of the questions has no effect where each question is asked alone",
            variable="options.randomize",
            remedy=f"leave it out, or use asked: {CONVERSATION}",
        )
    if by == BATTERY and "max_orders" in request.config.options:
        raise TaskError(
            "max_orders would give the statements of a battery different orders, but they are asked in one request",
            variable="options.max_orders",
            remedy=f"leave it out, or use asked: {QUESTION}",
        )
    return by


def _numbered(items: pl.DataFrame) -> pl.DataFrame:
    """Number the statements of each battery, per codebook.

    A battery of one statement is asked as a question, and so is each statement if their options differ, as between two
    poles.
    """
    battery = ["cluster_id", "codebook"]
    alike = pl.col("options").list.join("\x1f").n_unique().over(battery) == 1
    several = pl.col("stem").is_not_null() & (pl.len().over(battery) > 1) & alike
    return items.with_columns(
        pl.when(several).then(pl.int_range(1, pl.len() + 1).over(battery)).cast(pl.Int64).alias("line"),
        pl.when(several).then("stem").alias("stem"),
        pl.when(several).then("statement").alias("statement"),
    )


def _places(along: Sequence[int], k: int) -> list[float | None]:
    """Places of a scale's options from 0 to 1; None beside the scale."""
    places: list[float | None] = [None] * k
    for rank, i in enumerate(along):
        places[i] = rank / max(len(along) - 1, 1)
    return places


def _instrument(request: ItemRequest, asked: str) -> Instrument:
    """The questionnaire with what the task's options add: columns of questions, and which options are scales."""
    if len(request.files) != 1:
        raise TaskError(
            f"A questionnaire is one file, and the folder has {len(request.files)}",
            file=request.files[0].parent if request.files else None,
            remedy="set the task's path to the file",
        )
    path = request.files[0]
    fields: dict[str, str | None] = {}
    for name, text in _mapping(request, "fields").items():
        if not isinstance(text, (str, int, float)):
            raise TaskError(
                f"The text of the piped field {name} is no text",
                file=path,
                variable=f"options.fields.{name}",
                value=str(text),
                remedy=f'write one text: fields: {{{name}: "…"}}',
            )
        fields[name] = str(text)
    fields |= {name: None for arm in request.config.arms.values() for name in arm.fields}
    instrument = read_instrument(path, fields)
    if asked == CONVERSATION:
        # Texts may name earlier questions, and these others: {{often}} is the answer given to `often`.
        own: dict[str, None] = {}
        while len(own) < len(instrument.questions):
            own = {question.id: None for question in instrument.questions}
            instrument = read_instrument(path, own | fields)
    ids = [question.id for question in instrument.questions]
    batteries = [question.battery for question in instrument.questions if question.battery]
    columns = {name: str(column) for name, column in _mapping(request, "columns").items()}
    ordinal, leave_out = (_names(request, option, request.option(option, [])) for option in ("ordinal", "leave_out"))
    hides = {name: _names(request, f"hides.{name}", traits) for name, traits in _mapping(request, "hides").items()}
    for option, names, known in (
        ("columns", columns, ids),
        ("ordinal", ordinal, [*ids, *batteries]),
        ("leave_out", leave_out, [*ids, *batteries]),
        ("hides", hides, [*ids, *batteries]),
    ):
        for name in names:
            if name not in known:
                near = closest(name, known)
                raise TaskError(
                    f"The task's option {option} names a question that the questionnaire does not have",
                    file=path,
                    variable=f"options.{option}",
                    value=name,
                    remedy=(f'did you mean "{near}"? ' if near else "") + f"its questions are {', '.join(known[:40])}",
                )
    made = tuple(
        replace(
            question,
            column=columns.get(question.id, question.column),
            ordinal=question.ordinal or question.id in ordinal or question.battery in ordinal,
            hides=(*question.hides, *hides.get(question.id, ()), *hides.get(str(question.battery), ())),
        )
        for question in instrument.questions
        if question.id not in leave_out and question.battery not in leave_out
    )
    notes = list(instrument.notes)
    by_id = {
        question.id: replace(question, column=columns.get(question.id, question.column))
        for question in instrument.questions
    }
    own_ids: set[str] = set()
    if asked == CONVERSATION:
        notes = [note for note in notes if note.effect != NO_EFFECT or not note.what.startswith("random order")]
        made = _with_answers_to_name(made, request, notes)
        own_ids = {question.id for question in _of_part(made, request)}
        made = in_order(made, request.option("randomize", ()), own_ids, path)
    return replace(instrument, questions=_routed(made, by_id, request, notes, own_ids), notes=tuple(notes))


def _mapping(request: ItemRequest, option: str) -> dict[str, Any]:
    """An option that is a mapping.

    Raises:
        TaskError: It is something else.
    """
    value = request.option(option, {})
    if not isinstance(value, Mapping):
        raise TaskError(
            f"The task's option {option} is not a mapping",
            file=request.files[0],
            variable=f"options.{option}",
            value=str(value),
            remedy=f"write one entry per name: {option}: {{NAME: …}}",
        )
    return {str(name): one for name, one in value.items()}


def _names(request: ItemRequest, option: str, value: object) -> list[str]:
    """A list of names, or a single one.

    Raises:
        TaskError: It is something else.
    """
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return [str(value)]
    if not isinstance(value, (list, tuple)) or any(isinstance(one, (list, dict)) or one is None for one in value):
        raise TaskError(
            f"The task's option {option} is not a list of names",
            file=request.files[0],
            variable=f"options.{option}",
            value=str(value),
            remedy=f"write a list: {option.rpartition('.')[2]}: [NAME, NAME]",
        )
    return [str(one) for one in value]


def _routed(
    questions: tuple[Question, ...],
    by_id: Mapping[str, Question],
    request: ItemRequest,
    notes: list[Note],
    own_ids: Set[str],
) -> tuple[Question, ...]:
    """Keep the conditions that can be known when the question is asked, and note the others.

    These are conditions on dimensions of people, on questions with a column, whose answers people gave themselves, and,
    in a conversation, on its questions (`own_ids`), which the model has answered itself. Elsewhere each question is
    asked alone, so that what the model answers to another is not known.
    """
    unknown: dict[str, list[str]] = {}
    made = []
    for question in questions:
        kept = []
        for condition in question.conditions:
            if condition.options is None:  # conditions on own answers are checked with the order (`in_order`)
                _check_condition(condition, question, by_id, request)
            other = by_id.get(condition.name)
            if other is None or other.id in own_ids:
                kept.append(condition)
            elif other.column is None:
                unknown.setdefault(other.id, []).append(question.id)
            else:
                kept.append(_on_column(condition, other, request))
        made.append(replace(question, conditions=tuple(kept)))
    notes += [
        Note(f"condition on the answer to {other}, which has no column", ASKED_OF_ALL, tuple(names))
        for other, names in unknown.items()
    ]
    return tuple(made)


def _check_condition(
    condition: Condition, question: Question, by_id: Mapping[str, Question], request: ItemRequest
) -> None:
    """Check that a condition can hold: a mistyped value would let nobody be asked, without a word.

    Raises:
        TaskError: A value is no option of the question, or no value of the dimension, that the condition names.
    """
    other = by_id.get(condition.name)
    if other is None:
        facts = column_facts(request.crosswalk).filter(pl.col("scale") != "numeric")
        named = facts.filter((pl.col("column") == condition.name) | (pl.col("concept") == condition.name))
        options = request.crosswalk.options.join(named.select("codebook", "column"), on=["codebook", "column"])
        known = {*options["value"], *(value for name, value in VALUES if name == condition.name)}
    else:
        known = {*other.options, *(other.values or ())}
        if other.column is not None:
            known |= {*request.crosswalk.options.filter(pl.col("column").str.starts_with(str(other.column)))["value"]}
    wrong = [value for value in condition.values if known and value not in known]
    if question.id == condition.name or wrong or not condition.values:
        near = closest(wrong[0], known) if wrong else None
        raise TaskError(
            f"The condition of question {question.id} can never hold",
            file=request.files[0],
            variable=f"show_if.{condition.name}",
            value=wrong[0] if wrong else ", ".join(condition.values),
            remedy="name an earlier question"
            if question.id == condition.name
            else (f'did you mean "{near}"? ' if near else "") + f"its values are {', '.join(sorted(known)[:20])}",
        )


def _on_column(condition: Condition, other: Question, request: ItemRequest) -> Condition:
    """A condition on a question's options as one on the values of its column."""
    facts = column_facts(request.crosswalk)
    facts = facts.filter((pl.col("column") == other.column) | (pl.col("concept") == other.column))
    values: list[str] = []
    for codebook, column in facts.select("codebook", "column").iter_rows():
        of_options = dict(zip(other.options, _values(other, codebook, column, request), strict=True))
        values += [of_options.get(value, value) for value in condition.values]
    return Condition(str(other.column), tuple(dict.fromkeys(values)))


def _of_part(questions: tuple[Question, ...], request: ItemRequest) -> tuple[Question, ...]:
    """The questions that the option `questions` chooses."""
    which = str(request.option("questions", ALL))
    return tuple(
        one for one in questions if which not in (MATCHED, UNMATCHED) or (which == MATCHED) == bool(one.column)
    )


def _with_answers_to_name(
    questions: tuple[Question, ...], request: ItemRequest, notes: list[Note]
) -> tuple[Question, ...]:
    """Leave out questions whose text names the answer to a question that the conversation does not ask."""
    while True:
        asked = {question.id for question in _of_part(questions, request)}
        gone = tuple(one.id for one in questions if set(fields_of(one.texts())) - asked)
        if not gone:
            return questions
        notes.append(Note("piped text of a question that is not asked", LEFT_OUT, gone))
        questions = tuple(one for one in questions if one.id not in gone)


def _with_known_questions(rows: list[dict[str, Any]], request: ItemRequest) -> list[dict[str, Any]]:
    """Drop conditions on items that are not in the conversation, and items whose text would name their answer."""
    known = {row["item_id"] for row in rows}
    kept, everyone, gone = [], [], []
    for row in rows:
        absent = [one for one in row["asked_after"] if one["item_id"] not in known]
        if any(one["answers"] is None for one in absent):
            gone.append(str(row["item_id"]))
            continue
        everyone += [str(row["item_id"])] if absent else []
        kept.append(row | {"asked_after": [one for one in row["asked_after"] if one["item_id"] in known]})
    for effect, names in ((ASKED_OF_ALL, everyone), (LEFT_OUT, gone)):
        if names:
            note = Note("earlier question that this survey does not have", effect, tuple(names))
            request.gaps.not_used.append(note.text())
    return kept


def _chosen(instrument: Instrument, request: ItemRequest) -> tuple[Question, ...]:
    """The questions that the task asks, and the notes of those that it does not."""
    which = str(request.option("questions", ALL))
    if which not in (ALL, MATCHED, UNMATCHED):
        raise TaskError(
            "The task's option questions has an unknown value",
            variable="options.questions",
            value=which,
            remedy=f"use {MATCHED} (those with a column), {UNMATCHED} or {ALL}",
        )
    matched = tuple(question for question in instrument.questions if question.column)
    others = tuple(question for question in instrument.questions if not question.column)
    if which == ALL and matched and others:
        raise TaskError(
            f"{len(matched)} questions have people's own answers (column) and {len(others)} do not; their results are "
            "different figures",
            file=request.files[0],
            variable="options.questions",
            remedy=f"make two tasks of the file, one with options: {{questions: {MATCHED}}} and one with "
            f"{{questions: {UNMATCHED}}}",
        )
    request.gaps.not_used += [note.text() for note in instrument.notes]
    return {ALL: instrument.questions, MATCHED: matched, UNMATCHED: others}[which]


def _row(question: Question, codebook: str | None = None) -> dict[str, Any]:
    return {
        "item_id": question.id,
        "cluster_id": question.battery or question.id,
        "category": question.block,
        "context": question.introduction,
        "question": question.wording,
        "options": list(question.options),
        "option_values": list(question.values or question.options),
        "ordinal": question.ordinal,
        "option_scores": scale_places(question.options, question.beside) if question.ordinal else None,
        "label": question.text,
        "stem": question.stem,
        "statement": question.text,
        "asked_if": [{"name": c.name, "values": list(c.values)} for c in question.conditions if c.options is None],
        "sequence": list(question.sequence) or None,
        "asked_after": earlier_answers(question, codebook) if question.sequence else None,
    }


def _with_column(question: Question, request: ItemRequest) -> list[dict[str, Any]]:
    """The question as one item per codebook that has its column."""
    facts = column_facts(request.crosswalk)
    named = facts.filter((pl.col("column") == question.column) | (pl.col("concept") == question.column))
    if named.is_empty():
        known = [*facts["concept"].drop_nulls().unique(), *facts["column"].unique()]
        near = closest(str(question.column), known)
        raise TaskError(
            f"Question {question.id} names a column that no survey has",
            file=request.files[0],
            variable="column",
            value=question.column,
            remedy=(f'did you mean "{near}"? ' if near else "") + "name a concept or a harmonized column",
        )
    here = set(request.respondents["codebook"].unique())
    rows = []
    for fact in named.filter(pl.col("codebook").is_in(here)).iter_rows(named=True):
        values = _values(question, fact["codebook"], fact["column"], request)
        options = _options(fact["codebook"], fact["column"], request)
        scores = dict(options.select("value", "score").iter_rows())
        rows.append(
            _row(question, fact["codebook"])
            | {
                "item_id": f"{question.id}@{fact['codebook']}",
                "codebook": fact["codebook"],
                "column": fact["column"],
                "concept": fact["concept"],
                "label": fact["label"],
                "variables": str(fact["variable"]).split("+"),
                "reveals": fact["reveals"],
                "option_values": list(values),
                "option_scores": [
                    None if option in question.beside else scores.get(value)
                    for option, value in zip(question.options, values, strict=True)
                ]
                if question.ordinal
                else None,
            }
        )
    if not rows:
        request.gaps.not_used.append(
            Note(f"column {question.column}, which no survey of the study has", LEFT_OUT, (question.id,)).text()
        )
    return rows


def _note_what_is_shown(questions: Sequence[Question], request: ItemRequest) -> None:
    """Note the questions with which a persona shows all its traits, and those that ask word for word for a trait."""
    shown = [question for question in questions if not question.column and not question.hides]
    if not shown:
        return
    facts = column_facts(request.crosswalk).filter(
        pl.col("codebook").is_in(request.respondents["codebook"].unique().implode())
    )
    asks = {plain(str(text)): str(name) for text, name in facts.select("question", "concept").drop_nulls().iter_rows()}
    alike = {question.id: asks[text] for question in shown if (text := plain(question.wording)) in asks}
    more = f" and {len(shown) - _NAMED:,} more" if len(shown) > _NAMED else ""
    said = (
        f"questions without `column` or `hides` ({len(shown):,}): their personas show every trait, also one that is "
        f"nearly the answer; name such traits in `hides`: {', '.join(q.id for q in shown[:_NAMED])}{more}"
    )
    if alike:
        said += f". Asked as a trait is: {', '.join(f'{one} ({concept})' for one, concept in alike.items())}"
    request.gaps.not_used.append(said)


_NAMED = 8


def _hidden(question: Question, request: ItemRequest) -> dict[str, list[str]]:
    """The harmonized columns that a question hides, and the groups of concepts that give each other away.

    Columns of another wording, with the label or a variable of one that is named, are hidden with it.
    """
    facts = column_facts(request.crosswalk)
    known = [*facts["concept"].drop_nulls().unique(), *facts["column"].unique()]
    for name in question.hides:
        if name not in known:
            near = closest(name, known)
            raise TaskError(
                f"Question {question.id} hides a trait that no survey has",
                file=request.files[0],
                variable="hides",
                value=name,
                remedy=(f'did you mean "{near}"? ' if near else "") + "name a concept or a harmonized column",
            )
    named = facts.filter(pl.col("column").is_in(question.hides) | pl.col("concept").is_in(question.hides))
    others = facts.select("codebook", pl.col("column").alias("other"), "label", "variables")
    same = named.join(others, on="codebook", suffix=" of other").filter(
        (pl.col("label") == pl.col("label of other"))
        | (pl.col("variables").list.set_intersection("variables of other").list.len() > 0)
    )
    return {
        "hides": pl.concat([named["column"], same["other"]]).unique().sort().to_list(),
        "reveals": named["reveals"].explode().drop_nulls().unique().sort().to_list(),
    }


def _with_hidden(row: Mapping[str, Any], hidden: Mapping[str, list[str]]) -> dict[str, Any]:
    """What a question hides beside what its own column hides."""
    if not hidden:
        return {}
    return {"hides": hidden["hides"], "reveals": sorted({*(row.get("reveals") or ()), *hidden["reveals"]})}


def _options(codebook: str, column: str, request: ItemRequest) -> pl.DataFrame:
    options = request.crosswalk.options.filter((pl.col("codebook") == codebook) & (pl.col("column") == column))
    return options.sort("position", "code")


def _values(question: Question, codebook: str, column: str, request: ItemRequest) -> tuple[str, ...]:
    """The harmonized value of each option: as the questionnaire states, or that whose text or code is the option's."""
    options = _options(codebook, column, request)
    known = options["value"].unique(maintain_order=True).to_list()
    if question.values is not None:
        stated = question.values
    else:
        names = values_by_text(options)
        stated = tuple(names.get(plain(option), option) for option in question.options)
    for option, value in zip(question.options, stated, strict=True):
        if value not in known:
            raise TaskError(
                f"Option {option!r} of question {question.id} is not an answer to {column} in {codebook}",
                file=request.files[0],
                variable="values",
                value=value,
                remedy=f"give the harmonized value of each option in values; they are {', '.join(known)}",
            )
    if len(set(stated)) < len(stated):
        raise TaskError(
            f"Two options of question {question.id} are the same answer to {column} in {codebook}",
            file=request.files[0],
            variable="values",
            value=", ".join(stated),
            remedy="give each option a value of its own",
        )
    return stated


def questionnaire_gold(items: pl.DataFrame, request: ItemRequest) -> pl.DataFrame:
    """The option that each respondent chose in the survey; no row if it is none of the question's."""
    matched = items.filter(pl.col("column").is_not_null())
    places = (
        matched.select("item_id", "codebook", "column", "option_values")
        .explode("option_values")
        .with_columns(pl.int_range(pl.len()).over("item_id").cast(pl.Int64).alias("gold_idx"))
        .rename({"option_values": "answer"})
    )
    values = request.crosswalk.options.with_columns(pl.col("value").alias("answer"))
    parts = []
    for (codebook,), people in request.respondents.partition_by("codebook", as_dict=True).items():
        mine = places.filter(pl.col("codebook") == codebook)
        stated = answers(people, mine["column"].unique().sort().to_list()).with_columns(
            pl.lit(codebook, pl.String).alias("codebook")
        )
        coded = with_option(stated.lazy(), values, {"answer": "answer"}).collect()
        found = coded.join(mine, on=["codebook", "column", "answer"])
        parts.append(
            found.select("respondent_id", "item_id", "gold_idx").join(
                people.select("respondent_id", "survey", "weight"), on="respondent_id"
            )
        )
    return pl.concat(parts)


_EXAMPLE = """\
title: Trains
scales:
  agreement: {options: [agree, neither, disagree], ordinal: true}
blocks:
  - name: travel
    questions:
      - battery: trains
        stem: "Do you agree or disagree with this statement about trains?"
        scale: agreement
        statements:
          - {id: fast, text: "Trains are fast enough."}
          - {id: cheap, text: "Trains are cheap enough."}
"""

KINDS = (
    TaskKind(
        "questionnaire",
        "A study's own questionnaire, from YAML, CSV or Qualtrics",
        questionnaire_items,
        gold=questionnaire_gold,
        closing=AS_THE_PERSON,
        file=FILE,
        options={
            "questions": "`matched`: only questions with a column; `unmatched`: only the others; default: all",
            "columns": "Question → concept or harmonized column with people's own answers",
            "ordinal": "Questions and batteries whose options are points of a scale",
            "leave_out": "Questions and batteries that are not asked",
            "hides": "Question or battery → concepts or harmonized columns that a persona must not show with it",
            "fields": "Piped field → its text",
            "asked": "`question` (default): each statement of a battery in a request of its own; `battery`: all in "
            "one; `conversation`: one question after the other, with the earlier ones and the model's answers",
            "randomize": "What of a conversation is in random order: `blocks`, `questions` of a block, `statements`",
            "licence": "Licence of the questions' text",
        },
        example=Example({"trains.yaml": _EXAMPLE}),
    ),
)
