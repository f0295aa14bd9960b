"""Assign personas to the arms of an experiment, and write the items of each arm."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import hash_uniform
from mpta_pipeline.core.study import Arm, TaskConfig

_TEXTS = ("context", "question", "stem", "statement")


def assigned(pairs: pl.DataFrame, panel: pl.DataFrame, config: TaskConfig, *, seed: int, task: str) -> pl.DataFrame:
    """Add the arm of each persona, or cross personas and arms if each is asked in every arm.

    Permuted blocks within the strata of the panel: the personas of a stratum follow each other by the hash that drew
    them, and each run of as many personas as there are arms has every arm once, in an order set by hash. The arms are
    therefore balanced within strata, and personas keep their arm when the panel grows.

    Args:
        pairs: Rows with respondent_id.
        panel: respondent_id, survey, stratum and rank.
        config: The task's configuration; without arms, the pairs stay as they are.
        seed: The study's seed.
        task: The task, so that two experiments of a study are independent.
    """
    names = sorted(config.arms)
    if not names:
        return pairs
    arms = pl.DataFrame({"arm": names, "treated": [name != config.control_arm for name in names]})
    if config.arm_design == "every":
        return pairs.join(arms, how="cross")
    k = len(names)
    places = panel.sort("survey", "stratum", "rank", "respondent_id").with_columns(
        pl.int_range(pl.len()).over("survey", "stratum").alias("turn")
    )
    places = places.select(
        "respondent_id", "survey", "stratum", (pl.col("turn") // k).alias("block"), (pl.col("turn") % k).alias("place")
    )
    orders = places.select("survey", "stratum", "block").unique(maintain_order=True).join(arms, how="cross")
    key = ["survey", "stratum", "block"]
    named: list[str | pl.Expr] = [*key[:2], pl.col("block").cast(pl.String), "arm"]
    orders = orders.with_columns(hash_uniform(orders, named, key=f"arm\x1f{task}\x1f{seed}").alias("hash"))
    orders = orders.with_columns((pl.col("hash").rank("ordinal").over(key) - 1).cast(pl.Int64).alias("place"))
    own = places.join(orders, on=[*key, "place"]).select("respondent_id", "arm", "treated")
    return pairs.join(own, on="respondent_id", how="left", maintain_order="left")


def items_by_arm(items: pl.DataFrame, arms: Mapping[str, Arm], task: str) -> list[tuple[str | None, pl.DataFrame]]:
    """The items of a task as each arm words them; the items themselves under None without arms.

    Raises:
        TaskError: A field of the arms occurs in no item, so that the arms would not differ.
    """
    if not arms:
        return [(None, items)]
    texts = ["context", "question", "options"]
    for name in next(iter(arms.values())).fields:
        mark = "{{" + name + "}}"
        if not any(mark in str(text) for column in texts for text in items[column].explode().drop_nulls()):
            raise TaskError(
                "The arms of the experiment give a text to a field that no question has",
                variable=f"tasks.{task}.arms.*.fields",
                value=name,
                remedy=f"write {mark} into the questions, or use `text`, which precedes each question",
            )
    return [(name, _worded(items, arm)) for name, arm in sorted(arms.items())]


def _worded(items: pl.DataFrame, arm: Arm) -> pl.DataFrame:
    texts = {name: pl.col(name) for name in _TEXTS if name in items.columns}
    option = pl.element()
    for name, text in arm.fields.items():
        mark = "{{" + name + "}}"
        texts = {column: words.str.replace_all(mark, text, literal=True) for column, words in texts.items()}
        option = option.str.replace_all(mark, text, literal=True)
    if arm.text is not None:
        texts["context"] = pl.concat_str(pl.lit(arm.text), texts["context"], separator="\n", ignore_nulls=True)
    return items.with_columns(pl.col("options").list.eval(option).alias("options"), **texts)
