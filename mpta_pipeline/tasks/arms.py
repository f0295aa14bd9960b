"""Assign personas to the arms of an experiment, and write the items of each arm."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import digest, hash_uniform
from mpta_pipeline.core.study import Arm, TaskConfig
from mpta_pipeline.core.tables import ARM_DRAWS

_TEXTS = ("context", "question", "stem", "statement")


def drawn(
    panel: pl.DataFrame, config: TaskConfig, *, seed: int, task: str, before: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Draw the arm of each persona of the panel. Who was drawn before keeps the arm.

    Permuted blocks within the strata of the panel: the personas of a stratum follow each other by the hash that drew
    them, and each run of as many personas as there are arms has every arm once, in an order set by hash. The arms are
    therefore balanced within strata. Who is new, because somebody left or the panel grew, fills the places that are
    free in the blocks, the first ones first; nobody else's arm changes.

    Args:
        panel: respondent_id, survey, stratum and rank.
        config: The task's configuration.
        seed: The study's seed.
        task: The task, so that two experiments of a study are independent.
        before: ARM_DRAWS as they were; None if nobody was drawn yet. Draws by another seed or between other arms do not
            count.

    Returns:
        ARM_DRAWS of the task, also of people who left the panel and may come back; empty without arms and if each
        persona is asked in every arm.
    """
    arms = draw_ids(config)
    if not arms or config.arm_design == "every":
        return ARM_DRAWS.empty()
    drawn_by, key, k = drawn_from(config, seed), ["survey", "stratum"], len(arms)
    kept = ARM_DRAWS.empty() if before is None else before.filter(task=task, drawn_by=drawn_by)
    people = panel.select("respondent_id", *key, "rank").join(
        kept.select("respondent_id", "arm"), on="respondent_id", how="left"
    )
    new = people.filter(pl.col("arm").is_null()).sort(*key, "rank", "respondent_id")
    new = new.drop("arm").with_columns(pl.int_range(pl.len()).over(key).alias("turn"))
    # Each arm's places in the blocks begin behind those that are taken; as many blocks as the new people need.
    taken = people.drop_nulls("arm").group_by(*key, "arm").agg(pl.len().cast(pl.Int64).alias("taken"))
    blocks = (
        new.group_by(key).agg(pl.len().cast(pl.Int64).alias("n")).join(pl.DataFrame({"arm": sorted(arms)}), how="cross")
    )
    blocks = blocks.join(taken, on=[*key, "arm"], how="left").with_columns(pl.col("taken").fill_null(0))
    # Those before the fullest arm may all be free, and one round takes k people.
    last = pl.col("taken").max().over(key) + (pl.col("n") + k - 1) // k
    places = (
        blocks.with_columns(pl.int_ranges(pl.col("taken"), last).alias("block")).explode("block").drop_nulls("block")
    )
    named: list[str | pl.Expr] = [*key, pl.col("block").cast(pl.String), "arm"]
    places = places.with_columns(hash_uniform(places, named, key=f"arm\x1f{task}\x1f{seed}").alias("hash"))
    places = places.sort(*key, "block", "hash").with_columns(pl.int_range(pl.len()).over(key).alias("turn"))
    given = new.join(places.select(*key, "turn", "arm"), on=[*key, "turn"])
    given = given.with_columns(pl.lit(task).alias("task"), pl.lit(drawn_by).alias("drawn_by"))
    return ARM_DRAWS.conform(pl.concat([kept, given.select(list(ARM_DRAWS.schema))]))


def draw_ids(config: TaskConfig) -> dict[str, str]:
    """What each arm is drawn by, its `id` or else its name → its name."""
    return {arm.id or name: name for name, arm in config.arms.items()}


def drawn_from(config: TaskConfig, seed: int) -> str:
    """Digest of all that a draw depends on beside the panel: seed and arms."""
    return digest("arms", seed, *sorted(draw_ids(config)))


def assigned(pairs: pl.DataFrame, draws: pl.DataFrame, config: TaskConfig, *, task: str) -> pl.DataFrame:
    """Add the arm of each persona, or cross personas and arms if each is asked in every arm.

    Args:
        pairs: Rows with respondent_id.
        draws: ARM_DRAWS of the study.
        config: The task's configuration; without arms, the pairs stay as they are.
        task: The task.
    """
    arms = draw_ids(config)
    if not arms:
        return pairs
    treated = (pl.col("arm") != config.control_arm).alias("treated")
    if config.arm_design == "every":
        return pairs.join(pl.DataFrame({"arm": sorted(config.arms)}).with_columns(treated), how="cross")
    own = draws.filter(task=task).select("respondent_id", pl.col("arm").replace_strict(arms, return_dtype=pl.String))
    return pairs.join(own.with_columns(treated), on="respondent_id", how="left", maintain_order="left")


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
        if items.height and not any(
            mark in str(text) for column in texts for text in items[column].explode().drop_nulls()
        ):
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
