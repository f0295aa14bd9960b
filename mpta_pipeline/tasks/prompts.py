"""Build prompts: item × persona × condition × option order, each with its text and independent of any model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.core.chunks import chunk_numbers
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.hashing import digest, hash_rows, hash_uniform
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.core.tables import PROMPTS
from mpta_pipeline.core.vocabulary import LETTERS
from mpta_pipeline.personas import PLACEBO, SHUFFLES, masks, render, stand_ins
from mpta_pipeline.tasks.assignment import balanced_blocks, sweep
from mpta_pipeline.tasks.kind_registry import kind_of

_FULL_AT_MOST = 4  # 4! = 24 orders; five options would have 120

# The request for an answer at the end of the user message. Items without options ask for open text in their own
# words.
_ASK = {
    "letter": "Answer with the letter of one option only.",
    "option_logprob": "Answer with one of these options, word for word.",
    "verbalized": "Give the probability of each option in percent: JSON with a number for each letter, sum 100.",
    "free_text": "Answer in one short sentence that names one of these options.",
}
_LETTERED = ("letter", "verbalized")
OPEN = "free_text"


def option_orders(k: int, design: str) -> list[list[int]]:
    """List the orders in which `k` options are shown: for each order, the canonical index at each position.

    `cyclic` shows every option once at every position, `full` uses all permutations, `given` only the canonical order.

    Raises:
        ConfigError: `full` of more than 4 options.
    """
    if design == "given" or k == 0:
        return [list(range(k))]
    if design == "cyclic":
        return [[(position + shift) % k for position in range(k)] for shift in range(k)]
    if k > _FULL_AT_MOST:
        raise ConfigError(
            f"All orders of {k} options would be too many prompts",
            variable="tasks.*.orders",
            value="full",
            remedy=f"use cyclic, or items of at most {_FULL_AT_MOST} options",
        )
    return [list(order) for order in itertools.permutations(range(k))]


def shown_items(items: pl.DataFrame, design: str, elicitation: str) -> pl.DataFrame:
    """Return each item in each order: item_id, order_id, option_order, options as shown, and the user message."""
    sizes = items["options"].list.len().unique().to_list()
    orders = pl.DataFrame(
        [(k, i, order) for k in sizes for i, order in enumerate(option_orders(k, design))],
        schema={"k": pl.UInt32, "order_id": pl.Int64, "option_order": pl.List(pl.Int64)},
        orient="row",
    )
    shown = (
        items.select("item_id", "context", "question", "options", pl.col("options").list.len().alias("k"))
        .join(orders, on="k")
        .with_columns(pl.col("options").list.gather(pl.col("option_order")))
        .sort("item_id", "order_id")
    )
    marks = [f"{letter}) " for letter in LETTERS] if elicitation in _LETTERED else ["- "] * len(LETTERS)
    lines = (
        shown.select("item_id", "order_id", "options")
        .filter(pl.col("options").list.len() > 0)
        .explode("options")
        .with_columns((pl.int_range(pl.len()) % len(LETTERS)).over("item_id", "order_id").alias("position"))
        .with_columns(pl.col("position").replace_strict(dict(enumerate(marks)), return_dtype=pl.String).alias("mark"))
        .group_by("item_id", "order_id", maintain_order=True)
        .agg(pl.format("{}{}", "mark", "options").str.join("\n").alias("lines"))
    )
    ask = pl.when(pl.col("k") > 0).then(pl.lit(_ASK[elicitation]))
    user = pl.concat_str(["context", "question", "lines", ask], separator="\n", ignore_nulls=True)
    return shown.join(lines, on=["item_id", "order_id"], how="left", maintain_order="left").select(
        "item_id", "order_id", "option_order", "options", user.alias("user")
    )


def build_prompts(
    name: str,
    study: Study,
    *,
    items: pl.DataFrame,
    gold: pl.DataFrame,
    panel: pl.DataFrame,
    personas: pl.DataFrame,
    base: Path | None = None,
) -> pl.DataFrame:
    """Cross items, panel, conditions, styles, framings and option orders.

    The system message holds the persona, and the user message the item, which is the same under every condition: a
    persona's prompts share their prefix and form one group. Every persona prompt has a twin without persona with the
    same item, order and respondent_id. A persona is asked only items on which it can be scored.

    Args:
        name: Task.
        study: Its conditions, styles, framings, seed and the task's configuration.
        items: ITEMS of the task.
        gold: GOLD of the task; empty if the items carry the answer key.
        panel: PANEL.
        personas: PERSONAS (at least the panel's).
        base: Configuration folder; None for that of the environment.

    Returns:
        PROMPTS. The key begins with the group, so that the table's order keeps groups together.
    """
    return plan_prompts(name, study, items=items, gold=gold, panel=panel, personas=personas, base=base).build()


def plan_prompts(
    name: str,
    study: Study,
    *,
    items: pl.DataFrame,
    gold: pl.DataFrame,
    panel: pl.DataFrame,
    personas: pl.DataFrame,
    base: Path | None = None,
) -> PromptPlan:
    """Decide who is asked what, which all of a task's prompts share; the arguments are those of `build_prompts`."""
    config = study.tasks[name]
    kind = kind_of(name, config, base)
    asked = panel.select("respondent_id", "weight").join(
        personas.select("respondent_id", "survey", "wave", "codebook"), on="respondent_id"
    )
    own_key = kind.gold is not None and items["gold_idx"].null_count() > 0
    pairs = _pairs(config, study.seed, asked, items, gold if own_key else None)
    elicitation = OPEN if items["options"].list.len().max() == 0 else config.elicitation
    # Items that hide the same columns share the persona's text, which is made once per set of columns.
    hidden = masks(items, _shown_columns(personas)).with_columns(
        pl.col("hidden").list.join("\x1f").rank("dense").cast(pl.Int64).alias("mask_id")
    )
    shown = shown_items(items, config.orders, elicitation)
    shown = shown.with_columns(hash_rows(shown, ["user"], key=elicitation).alias("user_hash"))
    facts = items.select("item_id", "cluster_id")
    facts = facts.with_columns(hash_rows(facts, ["item_id"], key=f"item\x1f{name}", length=12).alias("item_hash"))
    conditions = study.task_conditions(name)
    return PromptPlan(
        name,
        study,
        pairs,
        personas.select("respondent_id", "survey", "wave", "codebook", "traits", "data_use"),
        elicitation,
        hidden,
        shown,
        facts,
        tuple(conditions),
        {c: stand_ins(personas, SHUFFLES[c], seed=study.seed) for c in conditions if c in SHUFFLES},
        kind.closing,
    )


@dataclass(frozen=True)
class PromptPlan:
    """Who is asked what, and all that the prompts of a task share. The prompts of any personas follow from it.

    Attributes:
        name: Task.
        study: The study.
        pairs: Which persona is asked which item: the persona's facts, item_id and gold_idx.
        personas: Their traits.
        elicitation: How the answers are requested.
        hidden: What a persona must not show for an item, by item and codebook.
        shown: Each item in each order.
        facts: Cluster and hash of each item.
        conditions: Conditions of the task.
        stand_ins: Condition → whose traits are shown instead of the persona's own.
        closing: Framing → words at the end of the persona's text.
    """

    name: str
    study: Study
    pairs: pl.DataFrame
    personas: pl.DataFrame
    elicitation: str
    hidden: pl.DataFrame
    shown: pl.DataFrame
    facts: pl.DataFrame
    conditions: tuple[str, ...]
    stand_ins: Mapping[str, pl.DataFrame]
    closing: Mapping[str, str]

    @property
    def config(self) -> TaskConfig:
        """Configuration of the task."""
        return self.study.tasks[self.name]

    @property
    def repeats(self) -> int:
        """How often each prompt is sent."""
        return int(self.config.options.get("repeats", 1))

    def height(self) -> int:
        """Number of prompts, at most: personas without a text for a condition count."""
        study, most = self.study, self.config.options.get("max_orders")
        orders = self.shown.group_by("item_id").agg(
            pl.len().alias("n"), pl.col("options").list.len().first().alias("k")
        )
        if most is not None:
            fewer = (pl.col("n") * int(most) / pl.col("k")).ceil().cast(pl.UInt32)
            orders = orders.with_columns(pl.when(pl.col("k") > int(most)).then(fewer).otherwise("n").alias("n"))
        wordings = sum(_wordings(study, condition) for condition in self.conditions)
        cells = wordings * len(study.styles) * len(study.framings) * self.repeats
        asked = self.pairs.group_by("item_id").len().join(orders, on="item_id")
        return int((asked["len"] * asked["n"]).sum()) * cells

    def in_chunks(self, names: Sequence[str]) -> Iterator[tuple[str, PromptPlan, str]]:
        """The plan for the personas of each chunk (`core.chunks`).

        Yields:
            Name of the chunk, plan, and a digest of the pairs and personas that its prompts are made from. Code,
            configuration and items are not part of it. The hashes of rows are those of polars: another version of it
            may compute others, and the chunks are then made again with the same rows.
        """
        shared = digest(_row_hashes(self.hidden).tobytes())
        numbers = chunk_numbers(self.pairs["respondent_id"], len(names))
        pairs = self.pairs.join(numbers, on="respondent_id").sort("chunk", "respondent_id", "item_id")
        rows = _row_hashes(pairs.join(self._told(), on="respondent_id", how="left", maintain_order="left"))
        sizes = dict(pairs.group_by("chunk").len().rows())
        pairs, start = pairs.drop("chunk"), 0
        for number, name in enumerate(names):
            end = start + sizes.get(number, 0)
            yield name, replace(self, pairs=pairs[start:end]), digest(shared, rows[start:end].tobytes())
            start = end

    def _told(self) -> pl.DataFrame:
        """A hash of all that is told about each persona in any condition: respondent_id, and one column per person."""
        own = self.personas.select("respondent_id", pl.struct(pl.all()).hash().alias("own"))
        told = own
        for condition, others in self.stand_ins.items():
            other = others.join(own.rename({"respondent_id": "shown_respondent_id"}), on="shown_respondent_id")
            other = other.select("respondent_id", pl.struct("shown_respondent_id", "own").hash().alias(condition))
            told = told.join(other, on="respondent_id", how="left")
        return told

    def build(self) -> pl.DataFrame:
        """PROMPTS of the plan's personas."""
        if self.pairs.is_empty():
            return PROMPTS.empty()
        name, pairs = self.name, self.pairs.join(self.hidden, on=["item_id", "codebook"])
        texts = self._persona_texts(pairs)
        repeats = pl.LazyFrame({"repeat_id": range(self.repeats)}, schema={"repeat_id": pl.Int64})
        pairs = pairs.with_columns(
            hash_uniform(pairs, ["respondent_id", "item_id"], key=f"first\x1f{self.study.seed}").alias("first")
        )
        prompts = (
            pairs.lazy()
            .join(texts.lazy(), on=["respondent_id", "mask_id"])
            .join(self.shown.lazy(), on="item_id")
            .filter(_asked_orders(self.config))
            .join(self.facts.lazy(), on="item_id")
            .join(repeats, how="cross")
            .with_columns(
                pl.lit(name).alias("task"),
                pl.lit(self.elicitation).alias("elicitation"),
                # Prompts without a persona share the item.
                pl.coalesce("text_hash", "item_hash").alias("group"),
            )
            .collect()
        )
        prompts = prompts.with_columns(_gold_position(prompts).alias("gold_pos"))
        sent = ["text_hash", "user_hash", "elicitation", "repeat_id"]
        prompts = prompts.with_columns(hash_rows(prompts, sent, key="content").alias("content_hash"))
        cell = [
            "task", "item_id", "respondent_id", "condition", "style", "framing", "paraphrase_id", "repeat_id",
            "order_id", "content_hash",
        ]  # fmt: skip
        ids = pl.format("{}-{}-{}", "group", pl.col("item_hash").str.head(6), hash_rows(prompts, cell, key="prompt"))
        return PROMPTS.conform(prompts.with_columns(ids.alias("prompt_id")).select(list(PROMPTS.schema)))

    def _persona_texts(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Write every text that precedes an item.

        Returns:
            respondent_id, mask_id, condition, style, framing, paraphrase_id, shown_respondent_id, system, text_hash,
            data_use.
        """
        study = self.study
        needed = pairs.select("respondent_id", "mask_id", "hidden").unique(["respondent_id", "mask_id"])
        needed = needed.sort("respondent_id", "mask_id")
        parts = []
        for condition in self.conditions:
            people = self._people(needed, condition)
            for style, framing in itertools.product(study.styles, study.framings):
                for paraphrase in range(_wordings(study, condition)):
                    text = render(
                        people,
                        style=style,
                        framing=framing,
                        masked=people["hidden"],
                        condition=condition,
                        paraphrase=paraphrase,
                    )
                    told = text.is_not_null() if condition != PLACEBO else pl.lit(False)
                    says = self.closing[framing] if condition != PLACEBO else ""
                    parts.append(
                        people.select(
                            "respondent_id",
                            "mask_id",
                            pl.lit(condition).alias("condition"),
                            pl.lit(style).alias("style"),
                            pl.lit(framing).alias("framing"),
                            pl.lit(paraphrase, pl.Int64).alias("paraphrase_id"),
                            pl.when(told).then("shown_respondent_id").alias("shown_respondent_id"),
                            (text + (f"\n{says}" if says else "")).alias("system"),
                            pl.when(told).then("data_use").otherwise(pl.lit("any")).alias("data_use"),
                        )
                    )
        texts = pl.concat(parts)
        hashed = hash_rows(texts, ["system"], key="system", length=12)
        return texts.with_columns(pl.when(pl.col("system").is_not_null()).then(hashed).alias("text_hash"))

    def _people(self, needed: pl.DataFrame, condition: str) -> pl.DataFrame:
        """Choose whose traits a condition shows.

        Returns:
            respondent_id, mask_id, hidden, shown_respondent_id, traits, data_use.
        """
        if condition in self.stand_ins:
            needed = needed.join(self.stand_ins[condition], on="respondent_id", maintain_order="left")
        else:
            needed = needed.with_columns(pl.col("respondent_id").alias("shown_respondent_id"))
        told = self.personas.select(pl.col("respondent_id").alias("shown_respondent_id"), "traits", "data_use")
        return needed.join(told, on="shown_respondent_id", maintain_order="left")


def _row_hashes(frame: pl.DataFrame) -> NDArray[np.uint64]:
    if frame.is_empty():
        return np.zeros(0, dtype=np.uint64)
    return frame.select(pl.struct(pl.all()).hash()).to_series().to_numpy()


def _wordings(study: Study, condition: str) -> int:
    """Wordings of a condition. Only the persona is paraphrased: controls are compared with the first wording."""
    return study.paraphrases if condition == "persona" else 1


def _asked_orders(config: TaskConfig) -> pl.Expr:
    """Which orders of a persona × item are asked: all, or `max_orders` evenly spaced ones from a start set by hash.

    With fewer orders than options, positions are balanced over personas, not for each of them.
    """
    most = config.options.get("max_orders")
    if most is None:
        return pl.col("order_id") >= 0
    k = pl.col("options").list.len().cast(pl.Int64)
    step = (pl.col("order_id") - (pl.col("first") * k).cast(pl.Int64)) % k
    return (k <= int(most)) | ((step * int(most)) % k < int(most))


def _pairs(
    config: TaskConfig, seed: int, asked: pl.DataFrame, items: pl.DataFrame, gold: pl.DataFrame | None
) -> pl.DataFrame:
    """Which persona is asked which item: the persona's facts, item_id and gold_idx."""
    items = items.select("item_id", pl.col("codebook").alias("item_codebook"), "gold_idx")
    if gold is None:
        pairs = asked.join(items, how="cross")
    else:
        pairs = asked.join(gold.select("respondent_id", "item_id", "gold_idx"), on="respondent_id").join(
            items.drop("gold_idx"), on="item_id"
        )
    pairs = pairs.filter(pl.col("item_codebook").is_null() | (pl.col("item_codebook") == pl.col("codebook")))
    pairs = pairs.drop("item_codebook").sort("respondent_id", "item_id")
    if config.items_per_persona is not None and pairs.height:
        pairs = balanced_blocks(pairs, config.items_per_persona, seed=seed)
    if (most := config.options.get("personas_per_item")) is not None:
        pairs = sweep(pairs, int(most), seed=seed)
    return pairs


def _shown_columns(personas: pl.DataFrame) -> pl.DataFrame:
    """The traits that any persona carries: codebook, column, label, variables, reveals."""
    traits = personas.select("codebook", "traits").explode("traits").drop_nulls("traits").unnest("traits")
    return (
        traits.select("codebook", "column", "label", "variable", "reveals")
        .unique(["codebook", "column"])
        .with_columns(pl.col("variable").str.split("+").alias("variables"))
    )


def _gold_position(prompts: pl.DataFrame) -> pl.Series:
    """The shown position of the answer key; null if there is none."""
    places = (
        prompts.select("option_order")
        .unique()
        .with_columns(pl.col("option_order").list.eval(pl.element().arg_sort()).alias("positions"))
    )
    return (
        prompts.select("option_order", "gold_idx")
        .join(places, on="option_order", how="left", maintain_order="left")
        .select(pl.col("positions").list.get(pl.col("gold_idx")).cast(pl.Int64))
        .to_series()
    )
