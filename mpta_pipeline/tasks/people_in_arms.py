"""Find the survey's people who were in the arms of an experiment themselves, and their answers.

Two shapes of files are read: a column that says who was assigned to what (`where`), and one column of answers per arm,
as the split-ballot wordings of the General Social Survey (`answers`). Both may be combined.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import Arm, TaskConfig
from mpta_pipeline.core.tables import ARM_ANSWERS
from mpta_pipeline.core.unknown_names import closest
from mpta_pipeline.personas import CrosswalkTables, answers, column_facts
from mpta_pipeline.tasks.option_meanings import plain, values_by_text
from mpta_pipeline.tasks.option_orders import scale_directions


def with_hidden_answers(name: str, config: TaskConfig, items: pl.DataFrame, crosswalk: CrosswalkTables) -> pl.DataFrame:
    """Add to the items which columns give away what people answered in the arms, or which arm they were in.

    These are the columns that the arms name, and every column with the same label, variable or `reveals` group.

    Raises:
        TaskError: A name is no column of any survey, or no question of the task.
    """
    people = _people_of(config)
    if not people:
        return items
    facts = column_facts(crosswalk)
    questions = {question for item in items["item_id"] for question in (item, _question(item))}
    for arm, of_arm in people.items():
        told = of_arm.people
        assert told is not None
        for question in told.answers:
            if question not in questions:
                known = sorted({_question(item) for item in items["item_id"]})
                raise _unknown("question of the task", question, known, f"tasks.{name}.arms.{arm}.people.answers")
        for key, columns in (("answers", told.answers.values()), ("where", told.where)):
            for column in columns:
                if _named(facts, column).is_empty():
                    known = [*facts["column"].unique(), *facts["concept"].drop_nulls().unique()]
                    raise _unknown("column of the surveys", column, known, f"tasks.{name}.arms.{arm}.people.{key}")
    hidden = {item: _giving_away(facts, _columns_of(people, item)) for item in items["item_id"]}
    return items.with_columns(
        pl.Series("answers_in_arms", [hidden[item] or None for item in items["item_id"]], dtype=pl.List(pl.String))
    )


def arm_answers(
    name: str,
    config: TaskConfig,
    items: pl.DataFrame,
    gold: pl.DataFrame,
    *,
    crosswalk: CrosswalkTables,
    respondents: pl.DataFrame,
) -> pl.DataFrame:
    """Gather the answers of the survey's people by the arm that they were in.

    Args:
        name: Task.
        config: Its configuration.
        items: ITEMS of the task.
        gold: GOLD of the task: the answers to the items' own columns.
        crosswalk: Concepts and options.
        respondents: RESPONDENTS rows of the study's waves.

    Returns:
        ARM_ANSWERS; empty for tasks whose arms do not name their people.

    Raises:
        TaskError: An arm has no people, or its column's answers are not the options of the question.
    """
    people = _people_of(config)
    if not people:
        return ARM_ANSWERS.empty()
    facts = column_facts(crosswalk)
    options = crosswalk.options.sort("position", "code")
    parts: list[pl.DataFrame] = []
    for arm, of_arm in people.items():
        found = list(_of_arm(name, arm, of_arm, items, gold, facts=facts, options=options, respondents=respondents))
        if not any(part.height for part in found):
            raise _nobody(name, arm, of_arm)
        parts += [
            part.with_columns(pl.lit(arm).alias("arm"), pl.lit(arm != config.control_arm).alias("treated"))
            for part in found
        ]
    places = (
        scale_directions(items)
        .select("item_id", "places")
        .explode("places")
        .with_columns(pl.int_range(pl.len()).over("item_id").cast(pl.Int64).alias("answer_idx"))
        .rename({"places": "scale_place"})
    )
    persons = respondents.select("respondent_id", "survey", "weight")
    made = (
        pl.concat(parts)
        .join(places, on=["item_id", "answer_idx"], how="left")
        .join(persons, on="respondent_id")
        .with_columns(pl.lit(name).alias("task"))
    )
    return ARM_ANSWERS.conform(made.select(list(ARM_ANSWERS.schema)))


def _people_of(config: TaskConfig) -> dict[str, Arm]:
    return {name: arm for name, arm in sorted(config.arms.items()) if arm.people is not None}


def _question(item_id: str) -> str:
    """The question of an item: items of several codebooks are named `question@codebook`."""
    return item_id.rpartition("@")[0] or item_id


def _columns_of(people: dict[str, Arm], item: str) -> list[str]:
    named = []
    for arm in people.values():
        assert arm.people is not None
        own = arm.people.answers.get(item) or arm.people.answers.get(_question(item))
        named += [*([own] if own else []), *arm.people.where]
    return list(dict.fromkeys(named))


def _named(facts: pl.DataFrame, name: str) -> pl.DataFrame:
    """The columns that a name means: a harmonized column, else a native variable, else a concept, per codebook."""
    rank = (
        pl.when(pl.col("column") == name)
        .then(0)
        .when(pl.col("variables").list.contains(name))
        .then(1)
        .when((pl.col("concept") == name).fill_null(False))
        .then(2)
    )
    found = facts.with_columns(rank.alias("rank")).drop_nulls("rank")
    return found.filter(pl.col("rank") == pl.col("rank").min().over("codebook"))


def _giving_away(facts: pl.DataFrame, names: list[str]) -> list[str]:
    if not names:
        return []
    named = pl.concat([_named(facts, name) for name in names])
    reveals, variables = (named[c].explode().drop_nulls().unique().implode() for c in ("reveals", "variables"))
    shares = [
        pl.col("column").is_in(named["column"].implode()),
        pl.col("label").is_in(named["label"].drop_nulls().implode()),
        pl.col("reveals").list.eval(pl.element().is_in(reveals)).list.any(),
        pl.col("variables").list.eval(pl.element().is_in(variables)).list.any(),
    ]
    return sorted(facts.filter(pl.any_horizontal(one.fill_null(False) for one in shares))["column"].unique())


def _of_arm(
    task: str,
    name: str,
    arm: Arm,
    items: pl.DataFrame,
    gold: pl.DataFrame,
    *,
    facts: pl.DataFrame,
    options: pl.DataFrame,
    respondents: pl.DataFrame,
) -> Iterator[pl.DataFrame]:
    """respondent_id, item_id and answer_idx of the people in an arm, by codebook and item."""
    told = arm.people
    assert told is not None
    where = f"tasks.{task}.arms.{name}.people"
    for (codebook,), persons in respondents.partition_by("codebook", as_dict=True).items():
        of_codebook = facts.filter(pl.col("codebook") == codebook)
        assigned = persons
        for column, wanted in told.where.items():
            values = [str(each) for each in wanted]
            value = _answers_to(assigned, of_codebook, column, f"{where}.where")
            known = options.filter(pl.col("codebook") == codebook, pl.col("column").is_in(value["column"].implode()))
            # What is no value of the column is a code.
            codes = [] if known.is_empty() else [v for v in values if v not in set(known["value"])]
            meant = pl.col("value").is_in([v for v in values if v not in codes]) | pl.col("code").is_in(codes)
            assigned = assigned.join(value.filter(meant), on="respondent_id", how="semi")
        mine = items.filter(pl.col("codebook").is_null() | (pl.col("codebook") == codebook))
        for item in mine.select("item_id", "options", "option_values", "column").iter_rows(named=True):
            own = told.answers.get(item["item_id"]) or told.answers.get(_question(item["item_id"]))
            if own is None:
                answered = gold.filter(pl.col("item_id") == item["item_id"])
                answered = answered.select("respondent_id", "item_id", pl.col("gold_idx").alias("answer_idx"))
                yield answered.join(assigned, on="respondent_id", how="semi")
                continue
            given = _answers_to(assigned, of_codebook, own, f"{where}.answers")
            if given.is_empty():
                continue
            column = str(given.item(0, "column"))
            index = _indices(item, options.filter(codebook=codebook, column=column), column, f"{where}.answers")
            idx = pl.col("value").replace_strict(index, default=None, return_dtype=pl.Int64)
            yield given.select(
                "respondent_id", pl.lit(item["item_id"]).alias("item_id"), idx.alias("answer_idx")
            ).drop_nulls("answer_idx")


def _answers_to(persons: pl.DataFrame, facts: pl.DataFrame, name: str, variable: str) -> pl.DataFrame:
    """respondent_id, column, value and code of the people with an answer in the column that a name means."""
    named = _named(facts, name)["column"].unique().sort().to_list()
    if len(named) > 1:
        raise TaskError(
            "Several columns of the survey have this concept",
            variable=variable,
            value=name,
            remedy=f"name one of {', '.join(named)}",
        )
    return answers(persons, named)


def _indices(item: dict[str, object], options: pl.DataFrame, column: str, variable: str) -> dict[str, int]:
    """Value of a column → index of the item's option that it is.

    Raises:
        TaskError: An option is no answer to the column.
    """
    known, names = options["value"].unique(maintain_order=True).to_list(), values_by_text(options)
    index: dict[str, int] = {}
    texts, values = item["options"], item["option_values"]
    assert isinstance(texts, list) and isinstance(values, list)
    for place, (text, value) in enumerate(zip(texts, values, strict=True)):
        meant = value if value in known else names.get(plain(str(text)))
        if meant is None or meant in index:
            raise TaskError(
                f"Option {text!r} of question {item['item_id']} is "
                + (f"not an answer to {column}" if meant is None else f"the same answer to {column} as another"),
                variable=variable,
                value=value,
                remedy="give the harmonized value of each option in values of the question; they are "
                + ", ".join(known),
            )
        index[meant] = place
    # Values at one position are one option: a collapsed category.
    position = dict(options.select("value", "position").iter_rows())
    at = {position[value]: place for value, place in index.items()}
    return {value: at[where] for value, where in position.items() if where in at}


def _unknown(what: str, name: str, known: list[str], variable: str) -> TaskError:
    near = closest(name, known)
    listed = f"; its questions are {', '.join(known[:40])}" if what.startswith("question") else ""
    return TaskError(
        f"The people of an arm name what is no {what}",
        variable=variable,
        value=name,
        remedy=(f'did you mean "{near}"? ' if near else "") + "correct the name" + listed,
    )


def _nobody(task: str, name: str, arm: Arm) -> TaskError:
    told = arm.people
    assert told is not None
    parts = [f"{column} is {' or '.join(map(str, values))}" for column, values in told.where.items()]
    parts += [f"an answer to {', '.join(dict.fromkeys(told.answers.values()))}"] if told.answers else []
    return TaskError(
        f"Nobody in the surveys of the study was in arm {name}",
        variable=f"tasks.{task}.arms.{name}.people",
        value="; ".join(parts),
        remedy="correct the values or the columns, add the survey with this experiment to the study, or leave people "
        "out of the arms",
    )
