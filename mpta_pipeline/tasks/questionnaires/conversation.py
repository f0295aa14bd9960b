"""Put the questions of a questionnaire in the order of a conversation, and find what depends on earlier answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.core.unknown_names import closest
from mpta_pipeline.tasks.option_meanings import plain
from mpta_pipeline.tasks.questionnaires.instrument import Condition, Question, fields_of

UNITS = ("blocks", "questions", "statements")
"""What can be in random order: blocks, the questions and batteries of a block, the statements of a battery."""
ELICITATIONS = ("letter", "free_text")
"""Ways of asking whose reply is an answer that can be said in a conversation."""


def check_conversation(config: TaskConfig) -> None:
    """Refuse what does not go with one conversation.

    Raises:
        TaskError: Another way of asking, or a design that takes questions out of the conversation.
    """
    remedy = "leave it out, or use asked: question"
    for name, value, why in (
        ("batch_items", config.batch_items, "it puts several questions into one request"),
        ("arms", sorted(config.arms) or None, "the text of an arm precedes one question, and later ones would show it"),
        ("items", config.items, "a conversation has all questions"),
        ("items_per_persona", config.items_per_persona, "a conversation has all questions"),
        ("options.personas_per_item", config.options.get("personas_per_item"), "a conversation has all questions"),
    ):
        if value is not None:
            raise TaskError(
                f"{name.removeprefix('options.')} does not go with asked: conversation: {why}",
                variable=f"tasks.*.{name}",
                value=value,
                remedy=remedy,
            )
    if config.elicitation not in ELICITATIONS:
        raise TaskError(
            f"A conversation cannot be held with the elicitation {config.elicitation}: its reply is no single answer",
            variable="tasks.*.elicitation",
            value=config.elicitation,
            remedy=f"use {' or '.join(ELICITATIONS)}, or asked: question",
        )


def in_order(questions: Sequence[Question], randomize: object, own_ids: Set[str], path: Path) -> tuple[Question, ...]:
    """Add the places in the conversation, and resolve what depends on the model's own answers.

    Args:
        questions: The questions in the order of the file.
        randomize: Units (`UNITS`) whose order is random, beside those that the file says.
        own_ids: Questions that the conversation asks.
        path: The file.

    Raises:
        TaskError: A question depends on one that may come after it, or on an answer that it does not offer.
    """
    units = [randomize] if isinstance(randomize, str) else list(randomize) if isinstance(randomize, Iterable) else [""]
    for unit in units:
        if unit not in UNITS:
            near = closest(str(unit), UNITS)
            raise TaskError(
                "The task's option randomize names something that has no order",
                file=path,
                variable="options.randomize",
                value=str(unit),
                remedy=(f'did you mean "{near}"? ' if near else "") + f"list some of {', '.join(UNITS)}",
            )
    placed = {one.id: one for one in _placed(questions, [unit in units for unit in UNITS])}
    return tuple(_resolved(one, placed, own_ids, path) if one.id in own_ids else one for one in placed.values())


def _placed(questions: Sequence[Question], random: Sequence[bool]) -> list[Question]:
    """The questions with their sequence: block, question or battery, statement."""
    numbers: dict[tuple[str, ...], int] = {}
    made = []
    for question in questions:
        block = f"block {question.block or ''}"
        path = (block, f"{block} / {question.battery or question.id}", question.id)
        places: list[Mapping[str, Any]] = []
        for level in range(3):
            above = path[level - 1] if level else ""
            place = numbers.setdefault((above, path[level]), sum(key[0] == above for key in numbers))
            shuffled = question.shuffled[level] or random[level]
            places.append({"unit": path[level], "place": place, "shuffled": shuffled})
        made.append(replace(question, sequence=tuple(places)))
    return made


def _resolved(question: Question, placed: Mapping[str, Question], own_ids: Set[str], path: Path) -> Question:
    """The question with the numbers of the answers that it depends on, and the questions that its texts name."""
    conditions = []
    for condition in question.conditions:
        if condition.name not in own_ids:
            conditions.append(condition)
            continue
        other = placed[condition.name]
        _check_before(other, question, path)
        conditions.append(replace(condition, options=_numbers(condition, other, question, path)))
    named = [name for name in fields_of(question.texts()) if name in own_ids]
    for name in named:
        _check_before(placed[name], question, path)
        if "{{" + name + "}}" in "".join(question.options):
            raise TaskError(
                f"An option of question {question.id} names the answer to {name}",
                file=path,
                variable="options",
                value="{{" + name + "}}",
                remedy="name it in the question's text: options are the same for everyone",
            )
    return replace(question, conditions=tuple(conditions), named=tuple(named))


def _numbers(condition: Condition, other: Question, question: Question, path: Path) -> tuple[int, ...]:
    known = {plain(text): i for i, text in enumerate(other.options)}
    known |= {plain(value): i for i, value in enumerate(other.values or ())}
    for value in condition.values or ("",):
        if plain(value) not in known:
            near = closest(value, other.options)
            raise TaskError(
                f"Question {question.id} depends on an answer that question {other.id} does not offer",
                file=path,
                variable="show_if",
                value=value,
                remedy=(f'did you mean "{near}"? ' if near else "") + f"its options are {', '.join(other.options)}",
            )
    return tuple(known[plain(value)] for value in condition.values)


def _check_before(earlier: Question, later: Question, path: Path) -> None:
    """Refuse a question that depends on one which may come after it.

    Raises:
        TaskError: It may.
    """
    for one, other in zip(earlier.sequence, later.sequence, strict=True):
        if one["unit"] == other["unit"]:
            continue
        if one["place"] < other["place"] and not one["shuffled"]:
            return
        break
    raise TaskError(
        f"Question {later.id} depends on the answer to {earlier.id}, which may come after it",
        file=path,
        variable="show_if",
        value=earlier.id,
        remedy="put it after that question, in a part of the questionnaire whose order is not random",
    )


def earlier_answers(question: Question, codebook: str | None) -> list[dict[str, Any]]:
    """What of the conversation decides whether a question is asked, or is named in its text (`core.tables.EARLIER`).

    Args:
        question: The question.
        codebook: Codebook of its item, if the questions have a column; their items are then made per codebook.
    """

    def entry(name: str, answers: Collection[int] | None) -> dict[str, Any]:
        item = name if codebook is None else f"{name}@{codebook}"
        return {"item_id": item, "name": name, "answers": None if answers is None else sorted(answers)}

    conditions = [entry(one.name, one.options) for one in question.conditions if one.options is not None]
    return conditions + [entry(name, None) for name in question.named]
