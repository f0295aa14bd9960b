"""Define the record of a questionnaire: its questions in order, and what of its file the pipeline does not use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

MOST_OPTIONS = 26
"""Options that can be named by letters."""


@dataclass(frozen=True)
class Condition:
    """A condition for asking a question. All conditions of a question must hold.

    Attributes:
        name: Id of an earlier question, or a dimension of people (`sex`, `age_band`, a harmonized column).
        values: The question is asked if the answer, or the person's value, is one of these.
        options: Their numbers among the options of the earlier question, if the model's own answer decides; None if
            people's answers or traits do.
    """

    name: str
    values: tuple[str, ...]
    options: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Question:
    """A question with one answer, or one statement of a battery.

    Attributes:
        id: Unique in the questionnaire.
        text: The question, or the statement.
        options: Texts of the options in the questionnaire's order.
        stem: What all statements of the battery share.
        battery: Id of the battery; None outside a battery.
        block: Name of the block.
        introduction: Text that precedes the question.
        values: Harmonized value of each option, for questions with a column; None to find them by the options' texts.
        ordinal: The options are points of a scale.
        beside: Options that are no point of the scale ("never heard of it"), whatever their text.
        column: Concept or harmonized column that holds people's own answers.
        hides: Concepts or harmonized columns that a persona must not show, because they give the answer away.
        conditions: When it is asked.
        shuffled: Whether the file says that the order of the blocks, of the questions in its block and of the
            statements in its battery is random; used where the questions are asked in one conversation.
        sequence: Its places in a conversation (`core.tables.PLACE`): of its block, in the block, and in its battery.
        named: Earlier questions of the conversation whose answers its texts name.
    """

    id: str
    text: str
    options: tuple[str, ...]
    stem: str | None = None
    battery: str | None = None
    block: str | None = None
    introduction: str | None = None
    values: tuple[str, ...] | None = None
    ordinal: bool = False
    beside: tuple[str, ...] = ()
    column: str | None = None
    hides: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    shuffled: tuple[bool, bool, bool] = (False, False, False)
    sequence: tuple[Mapping[str, Any], ...] = ()
    named: tuple[str, ...] = ()

    @property
    def wording(self) -> str:
        """The question as it is asked alone: the battery's stem, then the statement."""
        return f"{self.stem}\n{self.text}" if self.stem else self.text

    def texts(self) -> tuple[str, ...]:
        """All texts that a person would read."""
        return tuple(t for t in (self.introduction, self.stem, self.text, *self.options) if t)


@dataclass(frozen=True)
class Note:
    """Something in a questionnaire's file that the pipeline does not use, or uses differently.

    Attributes:
        what: The feature.
        effect: What happens instead.
        names: The questions, blocks or other elements that have it.
    """

    what: str
    effect: str
    names: tuple[str, ...]

    def text(self) -> str:
        """The note in one sentence, with the number and names of the elements."""
        return f"{self.what} ({len(self.names):,}): {self.effect}: {', '.join(self.names)}"


@dataclass(frozen=True)
class Instrument:
    """A questionnaire.

    Attributes:
        title: Its name.
        questions: The questions that can be asked, in order.
        notes: What of the file is not used, or used differently.
    """

    title: str
    questions: tuple[Question, ...]
    notes: tuple[Note, ...] = ()


@dataclass
class Notes:
    """Collects notes while a file is read: one per feature and effect, with all names."""

    found: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, what: str, effect: str, *names: str) -> None:
        """Note a feature of the elements named."""
        listed = self.found.setdefault((what, effect), [])
        listed += [name for name in names if name not in listed]

    def all(self) -> tuple[Note, ...]:
        """The notes: what is left out first."""
        made = [Note(what, effect, tuple(names)) for (what, effect), names in self.found.items()]
        return tuple(sorted(made, key=lambda note: (note.effect != LEFT_OUT, note.what)))


LEFT_OUT = "left out"
ASKED_OF_ALL = "asked of everyone"
NOT_SHOWN = "not shown"
NO_EFFECT = "no effect, because each question is asked alone"


def scale_points(low: int, high: int, low_label: str, high_label: str) -> tuple[str, ...]:
    """Options of a numbered scale whose ends have words.

    >>> scale_points(1, 3, "never", "always")
    ('1 (never)', '2', '3 (always)')
    """
    step = 1 if high >= low else -1
    points = [str(n) for n in range(low, high + step, step)]
    for end, label in ((0, low_label), (-1, high_label)):
        if label:
            points[end] = f"{points[end]} ({label})"
    return tuple(points)


def scale_places(options: Sequence[str], beside: Sequence[str]) -> list[float | None] | None:
    """Places from 0 to 1 of a scale's options; None for one beside it, and None in all if nothing is beside it.

    >>> scale_places(["never", "often", "never tried it"], ["never tried it"])
    [0.0, 1.0, None]
    """
    if not beside:
        return None
    points = [option for option in options if option not in beside]
    return [points.index(option) / max(len(points) - 1, 1) if option in points else None for option in options]


def with_fields(questions: Iterable[Question], fields: Mapping[str, str | None], notes: Notes) -> tuple[Question, ...]:
    """Replace the piped fields of all texts; questions with a field that has no text are left out and noted.

    Args:
        questions: Questions whose texts may hold `{{name}}`.
        fields: Field → its text; None for a field that the arms of an experiment fill.
        notes: Where questions with other fields are noted.
    """
    kept = []
    for question in questions:
        texts = {name: _filled(getattr(question, name), fields) for name in ("text", "stem", "introduction")}
        options = tuple(_filled(option, fields) or "" for option in question.options)
        beside = tuple(_filled(option, fields) or "" for option in question.beside)
        conditions = tuple(
            replace(one, values=tuple(_filled(value, fields) or "" for value in one.values))
            for one in question.conditions
        )
        made = replace(question, **texts, options=options, beside=beside, conditions=conditions)  # type: ignore[arg-type]
        if missing := [name for name in fields_of(made.texts()) if name not in fields]:
            notes.add(f"piped text {', '.join(missing)} without a value in `fields`", LEFT_OUT, question.id)
        else:
            kept.append(made)
    return tuple(kept)


def _filled(text: str | None, fields: Mapping[str, str | None]) -> str | None:
    for name, value in fields.items():
        if text is not None and value is not None:
            text = text.replace("{{" + name + "}}", value)
    return text


def fields_of(texts: Sequence[str]) -> list[str]:
    """Names of the piped fields in texts: what stands between double braces."""
    found = []
    for text in texts:
        for part in text.split("{{")[1:]:
            name, closed, _ = part.partition("}}")
            if closed and name not in found:
                found.append(name)
    return found
