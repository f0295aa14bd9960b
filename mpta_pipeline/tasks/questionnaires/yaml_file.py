"""Read a questionnaire from YAML: blocks of questions and batteries, scales by name, conditions and piped fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from mpta_pipeline.core.configuration import StrictModel, parse_record, validated
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.unknown_names import closest
from mpta_pipeline.tasks.questionnaires.instrument import (
    MOST_OPTIONS,
    NO_EFFECT,
    Condition,
    Instrument,
    Notes,
    Question,
    scale_points,
    with_fields,
)


class _Text(StrictModel):
    """A record of texts. Numbers are texts, too: `options: [1, 2, 3]`."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


class Scale(_Text):
    """The options of a question: listed, or a numbered scale with words at its ends.

    Attributes:
        options: The options' texts.
        values: Harmonized value of each option, for questions with a column.
        ordinal: The options are points of a scale; true for a numbered scale.
        first: First number of a numbered scale.
        last: Its last number.
        low: Words at the first number.
        high: Words at the last number.
        beside: Options after the scale: "don't know".
    """

    options: tuple[str, ...] | None = None
    values: tuple[str, ...] | None = None
    ordinal: bool | None = None
    first: int | None = None
    last: int | None = None
    low: str = ""
    high: str = ""
    beside: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_form(self) -> Scale:
        numbered = self.first is not None and self.last is not None
        if numbered == (self.options is not None):
            raise ValueError("a scale has either options, or first and last")
        points = abs((self.last or 0) - (self.first or 0)) + 1 if self.options is None else len(self.options)
        n = points + len(self.beside)
        if points < 2 or n > MOST_OPTIONS:
            raise ValueError(f"a scale has 2 to {MOST_OPTIONS} options, not {n:,}")
        if self.values is not None and len(self.values) != n:
            raise ValueError(f"values names {len(self.values)} values for {n} options")
        return self

    def texts(self) -> tuple[str, ...]:
        """The options' texts."""
        if self.options is not None:
            return (*self.options, *self.beside)
        return (*scale_points(self.first or 0, self.last or 0, self.low, self.high), *self.beside)

    @property
    def is_ordinal(self) -> bool:
        """Whether the options are points of a scale."""
        return self.options is None if self.ordinal is None else self.ordinal


class _Asked(_Text):
    scale: str | Scale | None = None
    options: tuple[str, ...] | None = None
    values: tuple[str, ...] | None = None
    ordinal: bool | None = None
    show_if: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)


class Statement(_Text):
    """A statement of a battery.

    Attributes:
        id: Unique in the questionnaire.
        text: The statement.
        column: Concept or harmonized column that holds people's own answers.
        hides: Concepts or harmonized columns that a persona must not show, in addition to those of the battery.
        show_if: When it is asked.
    """

    id: str
    text: str
    column: str | None = None
    hides: tuple[str, ...] = ()
    show_if: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)


class Entry(_Asked):
    """A question, or a battery of statements with one stem and one scale.

    Attributes:
        id: Unique in the questionnaire.
        question: The question.
        battery: Id of a battery.
        stem: What its statements share.
        statements: Its statements.
        introduction: Text before the question.
        column: Concept or harmonized column that holds people's own answers.
        hides: Concepts or harmonized columns that a persona must not show, because they give the answer away.
        shuffle: The statements' order is random.
        scale: Name of a scale, or the scale itself.
        options: The options' texts.
        values: Harmonized value of each option, for questions with a column.
        ordinal: The options are points of a scale.
        show_if: Id of an earlier question, or a dimension of people → the values for which it is asked.
    """

    id: str | None = None
    question: str | None = None
    battery: str | None = None
    stem: str | None = None
    statements: tuple[Statement, ...] = ()
    introduction: str | None = None
    column: str | None = None
    hides: tuple[str, ...] = ()
    shuffle: bool = False

    @model_validator(mode="after")
    def _one_form(self) -> Entry:
        if self.statements:
            if not (self.battery and self.stem) or self.question or self.id or self.column:
                raise ValueError("a battery has battery, stem and statements; its statements have id, text and column")
        elif not (self.id and self.question) or self.battery or self.stem:
            raise ValueError("a question has id and question; a battery has battery, stem and statements")
        if (self.scale is None) == (self.options is None):
            raise ValueError("give either options or scale")
        return self


class Block(_Text):
    """Questions that belong together.

    Attributes:
        name: Name of the block.
        introduction: Text before each of its questions.
        shuffle: The questions' order is random.
        questions: Questions and batteries.
        show_if: When its questions are asked.
    """

    name: str
    introduction: str | None = None
    shuffle: bool = False
    questions: tuple[Entry, ...] = Field(min_length=1)
    show_if: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)


class QuestionnaireFile(_Text):
    """A questionnaire in YAML.

    Attributes:
        title: Its name.
        introduction: Text before every question.
        scales: Name → scale, for several questions.
        fields: Piped field (`{{name}}` in texts) → its text.
        shuffle: The blocks' order is random.
        blocks: The blocks.
    """

    title: str = ""
    introduction: str | None = None
    scales: dict[str, Scale] = Field(default_factory=dict)
    fields: dict[str, str] = Field(default_factory=dict)
    shuffle: bool = False
    blocks: tuple[Block, ...] = Field(min_length=1)


def read_yaml_file(path: Path, fields: Mapping[str, str | None]) -> Instrument:
    """Read a questionnaire from YAML.

    Args:
        path: The file.
        fields: Texts of piped fields, which replace those of the file.

    Raises:
        TaskError: The file breaks the format.
    """
    record = validated(
        QuestionnaireFile,
        parse_record(path.read_text(encoding="utf-8-sig"), path, "A questionnaire", TaskError),
        "The questionnaire is not valid",
        file=path,
        remedy=f"its keys are {', '.join(QuestionnaireFile.model_fields)}",
        error=TaskError,
    )
    notes = Notes()
    if record.shuffle:
        notes.add("random order of blocks", NO_EFFECT, record.title or path.name)
    questions = [question for block in record.blocks for question in _of_block(block, record, path, notes)]
    filled = with_fields(questions, {**record.fields, **fields}, notes)
    return Instrument(record.title or path.stem, filled, notes.all())


def _of_block(block: Block, record: QuestionnaireFile, path: Path, notes: Notes) -> Iterator[Question]:
    if block.shuffle:
        notes.add("random order of questions in a block", NO_EFFECT, block.name)
    for entry in block.questions:
        scale = _scale(entry, record.scales, path)
        said = [text for text in (record.introduction, block.introduction, entry.introduction) if text]
        shared: dict[str, Any] = {
            "options": scale.texts(),
            "values": scale.values,
            "ordinal": scale.is_ordinal,
            "beside": scale.beside,
            "block": block.name,
            "introduction": "\n".join(said) or None,
            "shuffled": (record.shuffle, block.shuffle, entry.shuffle),
            "hides": entry.hides,
        }
        conditions = (*_conditions(block.show_if), *_conditions(entry.show_if))
        if entry.shuffle:
            notes.add("random order of statements", NO_EFFECT, entry.battery or str(entry.id))
        if not entry.statements:
            yield Question(str(entry.id), str(entry.question), column=entry.column, conditions=conditions, **shared)
        for one in entry.statements:
            own = shared | {"hides": (*entry.hides, *one.hides)}
            yield Question(
                one.id,
                one.text,
                stem=entry.stem,
                battery=entry.battery,
                column=one.column,
                conditions=(*conditions, *_conditions(one.show_if)),
                **own,
            )


def _scale(entry: Entry, scales: Mapping[str, Scale], path: Path) -> Scale:
    """The scale of a question: its own, a named one, or its list of options; values and ordinal may be its own."""
    if isinstance(entry.scale, str):
        if entry.scale not in scales:
            near = closest(entry.scale, scales)
            raise TaskError(
                "The questionnaire names a scale that it does not define",
                file=path,
                variable="scale",
                value=entry.scale,
                remedy=(f'did you mean "{near}"? ' if near else "") + "define it under scales",
            )
        shared: Scale | None = scales[entry.scale]
    else:
        shared = entry.scale
    own = {name: value for name in ("values", "ordinal") if (value := getattr(entry, name)) is not None}
    if shared is not None and not own:
        return shared
    raw = own | {"options": entry.options} if shared is None else shared.model_dump(exclude_unset=True) | own
    return validated(
        Scale,
        raw,
        f"The options of {entry.id or entry.battery} are not valid",
        file=path,
        remedy="correct them",
        error=TaskError,
    )


def _conditions(show_if: Mapping[str, str | tuple[str, ...]]) -> tuple[Condition, ...]:
    return tuple(Condition(name, (values,) if isinstance(values, str) else values) for name, values in show_if.items())
