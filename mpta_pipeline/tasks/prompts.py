"""Build prompts: item × persona × condition × option order, each with its text and independent of any model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from mpta_pipeline.core.hashing import hash_rows, hash_uniform
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.core.tables import PROMPTS
from mpta_pipeline.core.vocabulary import GROUP_CONDITION, LETTERS
from mpta_pipeline.personas import PLACEBO, SHUFFLES, CrosswalkTables, masks, render, stand_ins
from mpta_pipeline.tasks.assignment import balanced_blocks, sweep
from mpta_pipeline.tasks.group_prompts import ASK as GROUP_ASK
from mpta_pipeline.tasks.group_prompts import ELICITATION as GROUP_ELICITATION
from mpta_pipeline.tasks.group_prompts import group_texts
from mpta_pipeline.tasks.kind_registry import kind_of
from mpta_pipeline.tasks.option_orders import item_orders
from mpta_pipeline.tasks.task_kind import TaskKind

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


def shown_items(items: pl.DataFrame, design: str, elicitation: str, request: str | None = None) -> pl.DataFrame:
    """Return each item in each order.

    Args:
        items: ITEMS.
        design: `orders` of the task.
        elicitation: How the answer is requested.
        request: The sentence that requests it; None for that of the elicitation.

    Returns:
        item_id, order_id, option_order, n_orders, options as shown, and the user message.
    """
    shown = (
        items.select("item_id", "context", "question", "options", pl.col("options").list.len().alias("k"))
        .join(item_orders(items, design), on="item_id")
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
    ask = pl.when(pl.col("k") > 0).then(pl.lit(request or _ASK[elicitation]))
    user = pl.concat_str(["context", "question", "lines", ask], separator="\n", ignore_nulls=True)
    return shown.join(lines, on=["item_id", "order_id"], how="left", maintain_order="left").select(
        "item_id", "order_id", "option_order", "n_orders", "options", user.alias("user")
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
    groups: pl.DataFrame | None = None,
    crosswalk: CrosswalkTables | None = None,
) -> pl.DataFrame:
    """Cross items, panel, conditions, styles, framings and option orders.

    The system message holds the persona, and the user message the item, which is the same under every condition: a
    persona's prompts share their prefix and form one group. Every persona prompt has a twin without persona with the
    same item, order and respondent_id. A persona is asked only items on which it can be scored. The condition `group`
    asks about the groups of these personas instead, for tasks whose items people answered.

    Args:
        name: Task.
        study: Its conditions, styles, framings, seed and the task's configuration.
        items: ITEMS of the task.
        gold: GOLD of the task; empty if the items carry the answer key.
        panel: PANEL.
        personas: PERSONAS (at least the panel's).
        base: Configuration folder; None for that of the environment.
        groups: GROUPS; needed for the condition `group` only, as is `crosswalk`.
        crosswalk: Concepts and options.

    Returns:
        PROMPTS. The key begins with the group, so that the table's order keeps groups together.
    """
    config = study.tasks[name]
    kind = kind_of(name, config, base)
    asked = panel.select("respondent_id", "weight").join(
        personas.select("respondent_id", "survey", "wave", "codebook"), on="respondent_id"
    )
    own_key = kind.gold is not None and items["gold_idx"].null_count() > 0
    pairs = _pairs(config, study.seed, asked, items, gold if own_key else None)
    if pairs.is_empty():
        return PROMPTS.empty()
    elicitation = OPEN if items["options"].list.len().max() == 0 else config.elicitation

    facts = items.select("item_id", "cluster_id")
    facts = facts.with_columns(hash_rows(facts, ["item_id"], key=f"item\x1f{name}", length=12).alias("item_hash"))
    conditions = study.task_conditions(name)
    parts = []
    if GROUP_CONDITION in conditions and _answered_by_people(kind, items):
        if groups is None or crosswalk is None:
            raise ValueError("the condition `group` needs groups and crosswalk")
        asked_groups = group_texts(
            pairs,
            items,
            groups=groups,
            personas=personas,
            dimensions=study.figures.dimensions,
            crosswalk=crosswalk,
        )
        parts.append(
            _crossed(
                _with_first(asked_groups, study.seed),
                shown_items(items, config.orders, GROUP_ELICITATION, GROUP_ASK),
                facts,
                config=config,
                elicitation=GROUP_ELICITATION,
            )
        )
    told = [condition for condition in conditions if condition != GROUP_CONDITION]
    # Items that hide the same columns share the persona's text, which is made once per set of columns.
    hidden = masks(items, _shown_columns(personas)).with_columns(
        pl.col("hidden").list.join("\x1f").rank("dense").cast(pl.Int64).alias("mask_id")
    )
    pairs = pairs.join(hidden, on=["item_id", "codebook"])
    if told:
        texts = _persona_texts(pairs, personas, study, told, kind.closing)
        parts.append(
            _crossed(
                _with_first(pairs, study.seed).join(texts.lazy(), on=["respondent_id", "mask_id"]),
                shown_items(items, config.orders, elicitation),
                facts,
                config=config,
                elicitation=elicitation,
            )
        )
    if not parts:
        return PROMPTS.empty()
    prompts = pl.concat(parts, how="vertical_relaxed").with_columns(pl.lit(name).alias("task"))
    prompts = prompts.with_columns(_gold_position(prompts).alias("gold_pos"))
    prompts = prompts.with_columns(
        hash_rows(prompts, ["text_hash", "user_hash", "elicitation", "repeat_id"], key="content").alias("content_hash")
    )
    cell = [
        "task", "item_id", "respondent_id", "condition", "style", "framing", "paraphrase_id", "repeat_id", "order_id",
        "content_hash",
    ]  # fmt: skip
    prompts = prompts.with_columns(
        pl.format("{}-{}-{}", "group", pl.col("item_hash").str.head(6), hash_rows(prompts, cell, key="prompt")).alias(
            "prompt_id"
        )
    )
    return PROMPTS.conform(prompts.select(list(PROMPTS.schema)))


def _with_first(pairs: pl.DataFrame, seed: int) -> pl.LazyFrame:
    """Add where the choice of option orders starts, by hash of person (or group) and item."""
    first = hash_uniform(pairs, ["respondent_id", "item_id"], key=f"first\x1f{seed}")
    return pairs.lazy().with_columns(first.alias("first"))


def _answered_by_people(kind: TaskKind, items: pl.DataFrame) -> bool:
    """Whether people's own distribution of answers is known, from the survey or a poll."""
    polled = "poll" in items.columns and items["poll"].null_count() < items.height
    return (kind.gold is not None and items["gold_idx"].null_count() > 0) or polled


_CROSSED = (
    "item_id", "respondent_id", "survey", "wave", "condition", "style", "framing", "paraphrase_id",
    "shown_respondent_id", "system", "text_hash", "data_use", "masked", "gold_idx", "weight", "order_id",
    "option_order", "options", "user", "user_hash", "cluster_id", "item_hash", "repeat_id", "elicitation", "group",
)  # fmt: skip


def _crossed(
    texts: pl.LazyFrame, shown: pl.DataFrame, facts: pl.DataFrame, *, config: TaskConfig, elicitation: str
) -> pl.DataFrame:
    """Cross texts about a person or group with the orders of their items and the repeats.

    Args:
        texts: One row per text and item, with `first`: where the choice of orders starts.
        shown: `shown_items`.
        facts: item_id, cluster_id and item_hash.
        config: The task's configuration.
        elicitation: How the answer is requested.
    """
    shown = shown.with_columns(hash_rows(shown, ["user"], key=elicitation).alias("user_hash"))
    repeats = pl.LazyFrame({"repeat_id": range(int(config.options.get("repeats", 1)))}, schema={"repeat_id": pl.Int64})
    return (
        texts.join(shown.lazy(), on="item_id")
        .filter(_asked_orders(config))
        .join(facts.lazy(), on="item_id")
        .join(repeats, how="cross")
        .with_columns(
            pl.lit(elicitation).alias("elicitation"),
            # Prompts without a persona share the item.
            pl.coalesce("text_hash", "item_hash").alias("group"),
        )
        .select(_CROSSED)
        .collect()
    )


def count_requests(prompts: pl.DataFrame, items: pl.DataFrame, config: TaskConfig, *, orders: str, seed: int) -> int:
    """Count the different requests that a task's prompts would be with other option orders.

    Args:
        prompts: PROMPTS of the task, in any order design.
        items: ITEMS of the task.
        config: The task's configuration.
        orders: The design to count.
        seed: The study's seed.
    """
    cells = prompts.select("item_id", "respondent_id", "group", "repeat_id").unique()
    asked = _with_first(cells, seed).join(item_orders(items, orders).lazy(), on="item_id").filter(_asked_orders(config))
    return int(asked.select(pl.struct("group", "item_id", "repeat_id", "order_id").n_unique()).collect().item())


def _asked_orders(config: TaskConfig) -> pl.Expr:
    """Which orders of a persona × item are asked: all, or `max_orders` evenly spaced ones from a start set by hash.

    With fewer orders than options, positions are balanced over personas, not for each of them.
    """
    most = config.options.get("max_orders")
    if most is None:
        return pl.col("order_id") >= 0
    n = pl.col("n_orders")
    step = (pl.col("order_id") - (pl.col("first") * n).cast(pl.Int64)) % n
    return (n <= int(most)) | ((step * int(most)) % n < int(most))


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


def _persona_texts(
    pairs: pl.DataFrame, personas: pl.DataFrame, study: Study, conditions: Sequence[str], closing: Mapping[str, str]
) -> pl.DataFrame:
    """Write every text that precedes an item.

    Returns:
        respondent_id, mask_id, condition, style, framing, paraphrase_id, shown_respondent_id, system, text_hash,
        data_use.
    """
    needed = pairs.select("respondent_id", "mask_id", "hidden").unique(["respondent_id", "mask_id"])
    needed = needed.sort("respondent_id", "mask_id")
    parts = []
    for condition in conditions:
        people = _people(needed, personas, condition, study.seed)
        # Only the persona is paraphrased: controls are compared with the first wording.
        wordings = range(study.paraphrases if condition == "persona" else 1)
        for style, framing, paraphrase in itertools.product(study.styles, study.framings, wordings):
            text = render(
                people,
                style=style,
                framing=framing,
                masked=people["hidden"],
                condition=condition,
                paraphrase=paraphrase,
            )
            told = text.is_not_null() if condition != PLACEBO else pl.lit(False)
            says = closing.get(framing, closing["third_person"]) if condition != PLACEBO else ""
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


def _people(needed: pl.DataFrame, personas: pl.DataFrame, condition: str, seed: int) -> pl.DataFrame:
    """Choose whose traits a condition shows.

    Returns:
        respondent_id, mask_id, hidden, shown_respondent_id, traits, data_use.
    """
    if condition in SHUFFLES:
        needed = needed.join(
            stand_ins(personas, SHUFFLES[condition], seed=seed), on="respondent_id", maintain_order="left"
        )
    else:
        needed = needed.with_columns(pl.col("respondent_id").alias("shown_respondent_id"))
    told = personas.select(pl.col("respondent_id").alias("shown_respondent_id"), "traits", "data_use")
    return needed.join(told, on="shown_respondent_id", maintain_order="left")


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
