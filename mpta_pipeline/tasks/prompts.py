"""Build prompts: item × persona × condition × option order, each with its text and independent of any model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ParamSpec

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.core.chunks import chunk_numbers
from mpta_pipeline.core.described_groups import covers
from mpta_pipeline.core.hashing import digest, hash_rows, hash_uniform
from mpta_pipeline.core.multiverse import base_of
from mpta_pipeline.core.study import Study, TaskConfig, TaskVariant
from mpta_pipeline.core.tables import PROMPTS
from mpta_pipeline.core.vocabulary import DOMAINS, GROUP_CONDITION, LETTERS
from mpta_pipeline.personas import PLACEBO, SHUFFLES, CrosswalkTables, masks, render, stand_ins
from mpta_pipeline.tasks.arms import assigned, drawn, items_by_arm
from mpta_pipeline.tasks.asked_together import COLUMNS as TOGETHER
from mpta_pipeline.tasks.asked_together import check_items, grouped, hidden_together, texts_together
from mpta_pipeline.tasks.assignment import balanced_blocks, sweep
from mpta_pipeline.tasks.batteries import ELICITATION as LISTED
from mpta_pipeline.tasks.batteries import asked_at_once, of_batteries
from mpta_pipeline.tasks.conversations import COLUMNS as OF_TURNS
from mpta_pipeline.tasks.conversations import (
    are_conversations,
    as_turns,
    conversations_per_person,
    hidden_throughout,
    in_sequence,
    orders_of_conversations,
)
from mpta_pipeline.tasks.group_prompts import ASK as GROUP_ASK
from mpta_pipeline.tasks.group_prompts import ELICITATION as GROUP_ELICITATION
from mpta_pipeline.tasks.group_prompts import group_texts
from mpta_pipeline.tasks.items import keyed_by_persons
from mpta_pipeline.tasks.kind_registry import kind_of
from mpta_pipeline.tasks.option_orders import item_orders
from mpta_pipeline.tasks.routing import routed, routing
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


def plan_prompts(
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
    draws: pl.DataFrame | None = None,
) -> PromptPlan:
    """Decide who is asked what, which all of a task's prompts share.

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
        groups: GROUPS; needed for the condition `group` and for items with conditions.
        crosswalk: Concepts and options; needed for the condition `group`.
        draws: ARM_DRAWS of the study; None to draw the arms of an experiment anew.
    """
    config = study.tasks[name]
    check_items(name, config, items)
    kind = kind_of(name, config, base)
    if isinstance(config, TaskVariant):
        personas = _with_traits(personas, config.traits)
    facts_of_people = personas.select("respondent_id", "survey", "wave", "codebook")
    asked = panel.select("respondent_id", "weight").join(facts_of_people, on="respondent_id")
    pairs = _pairs(
        config, study.seed, asked, items, gold=gold if keyed_by_persons(kind, items) else None, groups=groups
    )
    if config.arms:
        if draws is None:
            strata = panel.drop("survey", strict=False).join(facts_of_people, on="respondent_id")
            draws = drawn(strata, config, seed=study.seed, task=base_of(name))
        # A configuration of a multiverse asks what its figures are about: the study's own people in the control.
        pairs = assigned(pairs, draws, config, task=base_of(name))
        if isinstance(config, TaskVariant):
            pairs = pairs.filter(~pl.col("treated"))
    elicitation = OPEN if items["options"].list.len().max() == 0 else config.elicitation
    # Items that hide the same columns share the persona's text, which is made once per set of columns.
    talk = are_conversations(items)
    hidden = of_batteries(masks(items, _shown_columns(personas)), items)
    hidden = (hidden_throughout(hidden) if talk else hidden).with_columns(
        pl.col("hidden").list.join("\x1f").rank("dense").cast(pl.Int64).alias("mask_id")
    )
    facts = items.select("item_id", "cluster_id")
    facts = facts.with_columns(hash_rows(facts, ["item_id"], key=f"item\x1f{name}", length=12).alias("item_hash"))
    conditions = study.task_conditions(name)
    about_groups = None
    if GROUP_CONDITION in conditions and _answered_by_people(kind, items):
        if groups is None or crosswalk is None:
            raise ValueError("the condition `group` needs groups and crosswalk")
        about_groups = group_texts(
            pairs.drop("arm", "treated", strict=False).unique(maintain_order=True) if config.arms else pairs,
            items,
            groups=groups,
            personas=personas,
            dimensions=_described_dimensions(study, items),
            crosswalk=crosswalk,
        )
        if config.arms:
            about_groups = about_groups.with_columns(
                pl.lit(config.control_arm).alias("arm"), pl.lit(False).alias("treated")
            )
    by_arm = items_by_arm(items, config.arms, name)
    shown = _shown_by_arm(by_arm, config.orders, elicitation)
    if config.batch_items is not None:
        pairs = grouped(pairs, shown, size=config.batch_items, seed=study.seed)
    if talk:
        pairs = in_sequence(pairs, items, seed=study.seed)
        conversations_per_person(config, shown)
    return PromptPlan(
        name,
        study,
        pairs,
        personas.select("respondent_id", "survey", "wave", "codebook", "traits", "data_use"),
        elicitation,
        hidden,
        shown,
        facts,
        tuple(condition for condition in conditions if condition != GROUP_CONDITION),
        {c: stand_ins(personas, SHUFFLES[c], seed=study.seed) for c in conditions if c in SHUFFLES},
        kind.closing,
        about_groups,
        _shown_by_arm(
            [one for one in by_arm if one[0] == config.control_arm], config.orders, GROUP_ELICITATION, GROUP_ASK
        ),
    )


_Inputs = ParamSpec("_Inputs")


def _building(plan: Callable[_Inputs, PromptPlan]) -> Callable[_Inputs, pl.DataFrame]:
    def build(*args: _Inputs.args, **kwargs: _Inputs.kwargs) -> pl.DataFrame:
        """Cross items, panel, conditions, styles, framings and option orders; the arguments are `plan_prompts`'s.

        Returns:
            PROMPTS. The key begins with the group, so that the table's order keeps groups together.
        """
        return plan(*args, **kwargs).build()

    return build


build_prompts = _building(plan_prompts)


@dataclass(frozen=True)
class PromptPlan:
    """Who is asked what, and all that the prompts of a task share. The prompts of any personas follow from it.

    Attributes:
        name: Task.
        study: The study.
        pairs: Which persona is asked which item: the persona's facts, item_id and gold_idx; with `batch_items`, also
            which items share a request (`asked_together.grouped`).
        personas: Their traits.
        elicitation: How the answers are requested.
        hidden: What a persona must not show for an item, by item and codebook.
        shown: Each item in each order.
        facts: Cluster and hash of each item.
        conditions: Conditions of the task that speak of a person, or of nobody.
        stand_ins: Condition → whose traits are shown instead of the persona's own.
        closing: Framing → words at the end of the persona's text.
        about_groups: What precedes each item for each group (`group_texts`); None if groups are not asked.
        shown_of_groups: Each item in each order, as it is asked about a group.
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
    about_groups: pl.DataFrame | None
    shown_of_groups: pl.DataFrame

    @property
    def config(self) -> TaskConfig:
        """Configuration of the task."""
        return self.study.tasks[self.name]

    @property
    def _texts(self) -> TaskVariant | Study:
        """What has the styles and framings: the study or, for a task of its multiverse, that task."""
        return self.config if isinstance(self.config, TaskVariant) else self.study

    def _wordings(self, condition: str) -> Sequence[int]:
        """Wordings of a condition. Only the persona is paraphrased: controls are compared with the first wording."""
        if condition != "persona":
            return (0,)
        return self.config.wordings if isinstance(self.config, TaskVariant) else range(self.study.paraphrases)

    @property
    def repeats(self) -> int:
        """How often each prompt is sent."""
        return int(self.config.options.get("repeats", 1))

    @staticmethod
    def _elicitation(elicitation: str, shown: pl.DataFrame) -> pl.Expr:
        """How each answer is requested: batteries in one request are answered with a list."""
        if "line" not in shown.columns:
            return pl.lit(elicitation)
        return pl.when(pl.col("line").is_null()).then(pl.lit(elicitation)).otherwise(pl.lit(LISTED))

    @property
    def _of_arms(self) -> tuple[str, ...]:
        """Columns that only prompts of an experiment have."""
        return ("arm", "treated") if self.config.arms else ()

    def height(self) -> int:
        """Number of prompts, at most: personas without a text for a condition count."""
        most = self.config.options.get("max_orders")
        orders = self.shown.group_by("item_id").agg(pl.col("n_orders").first().alias("n"))  # equal in all arms
        if "turn" in self.pairs.columns:
            orders = orders.with_columns(pl.lit(conversations_per_person(self.config, self.shown)).alias("n"))
        elif most is not None:
            orders = orders.with_columns(pl.col("n").clip(upper_bound=int(most)))
        wordings = sum(len(self._wordings(condition)) for condition in self.conditions)
        cells = wordings * len(self._texts.styles) * len(self._texts.framings)
        asked = self.pairs.group_by("item_id").agg((pl.len() * cells).alias("cells"))
        if self.about_groups is not None:
            asked = pl.concat([asked, self.about_groups.group_by("item_id").agg(pl.len().alias("cells"))])
        asked = asked.join(orders, on="item_id")
        return int((asked["cells"] * asked["n"]).sum()) * self.repeats

    def in_chunks(self, names: Sequence[str]) -> Iterator[tuple[str, Callable[[], PromptPlan], str]]:
        """The plan for the personas of each chunk (`core.chunks`).

        Yields:
            Name of the chunk, a function that gives its plan, and a digest of the pairs and personas that its prompts
            are made from. Code, configuration and items are not part of it. The hashes of rows are those of polars:
            another version of it may compute others, and the chunks are then made again with the same rows.
        """
        shared = digest(_row_hashes(self.hidden).tobytes())
        asked = self.pairs["respondent_id"].unique()
        told = self._told().join(asked.to_frame(), on="respondent_id", how="semi")
        groups = self.about_groups
        people = pl.concat(
            [frame["respondent_id"].unique() for frame in (asked.to_frame(), groups) if frame is not None]
        )
        numbers = chunk_numbers(people, len(names))
        pairs, persons = _cut(self.pairs, numbers, len(names)), _cut(told, numbers, len(names))
        about = None if groups is None else _cut(groups, numbers, len(names))
        for number, name in enumerate(names):
            made_from = [part.digests[number] for part in (pairs, persons, about) if part is not None]
            yield name, partial(self._part, number, pairs, about), digest(shared, *made_from)

    def _part(self, number: int, pairs: _Cut, about: _Cut | None) -> PromptPlan:
        return replace(self, pairs=pairs.rows(number), about_groups=None if about is None else about.rows(number))

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
        """PROMPTS of the plan's personas and groups."""
        parts = []
        if not self.pairs.is_empty() and self.conditions:
            pairs = self.pairs.join(self.hidden, on=["item_id", "codebook"])
            if "set" in pairs.columns:
                pairs = hidden_together(pairs)
            texts = self._persona_texts(pairs)
            about = self._with_first(pairs).join(texts.lazy(), on=["respondent_id", "mask_id"])
            parts.append(self._crossed(about, self.shown, self.elicitation))
        if self.about_groups is not None and not self.about_groups.is_empty():
            parts.append(self._crossed(self._with_first(self.about_groups), self.shown_of_groups, GROUP_ELICITATION))
        if not parts:
            return PROMPTS.empty()
        prompts = pl.concat(parts, how="diagonal_relaxed")
        prompts = prompts.with_columns(_gold_position(prompts).alias("gold_pos"))
        if "turn" in prompts.columns:
            prompts = as_turns(prompts)
        sent = ["text_hash", "user_hash", "elicitation", "repeat_id"]
        prompts = prompts.with_columns(hash_rows(prompts, sent, key="content").alias("content_hash"))
        cell = [
            "task", "item_id", "respondent_id", "condition", "style", "framing", "paraphrase_id", "repeat_id",
            "order_id", "content_hash", *self._of_arms[:1],
        ]  # fmt: skip
        ids = pl.format("{}-{}-{}", "group", pl.col("item_hash").str.head(6), hash_rows(prompts, cell, key="prompt"))
        facts = {"arm": pl.String(), "treated": pl.Boolean(), "line": pl.Int64(), "asked_together": pl.Int64()}
        facts |= {name: PROMPTS.schema[name] for name in OF_TURNS}
        absent = (pl.lit(None, dtype).alias(name) for name, dtype in facts.items() if name not in prompts.columns)
        prompts = prompts.with_columns(ids.alias("prompt_id"), *absent)
        return PROMPTS.conform(prompts.select(list(PROMPTS.schema)))

    def _with_first(self, pairs: pl.DataFrame) -> pl.LazyFrame:
        return _with_first(pairs, self.study.seed)

    def _crossed(self, texts: pl.LazyFrame, shown: pl.DataFrame, elicitation: str) -> pl.DataFrame:
        """Cross texts about persons or groups with the orders of their items and the repeats.

        Args:
            texts: One row per text and item, with `first`: where the choice of option orders starts.
            shown: Each item in each order.
            elicitation: How the answer is requested.
        """
        repeats = pl.LazyFrame({"repeat_id": range(self.repeats)}, schema={"repeat_id": pl.Int64})
        asked = texts.join(shown.lazy(), on=["item_id", "arm"] if self.config.arms else ["item_id"])
        further = [*self._of_arms, *(["line"] if "line" in shown.columns else [])]
        asks = self._elicitation(elicitation, shown)
        if "set" in texts.collect_schema():
            together = texts_together(self.pairs, shown, _ASK[elicitation])
            asked = asked.join(together.lazy(), on=["set", "order_id"], how="left", maintain_order="left").with_columns(
                pl.coalesce("user_together", "user").alias("user"),
                pl.coalesce("hash_together", "user_hash").alias("user_hash"),
            )
            asks, further = pl.when(pl.col("set").is_null()).then(asks).otherwise(pl.lit(LISTED)), list(TOGETHER[1:])
        if "turn" in texts.collect_schema():
            n = conversations_per_person(self.config, shown)
            asked = orders_of_conversations(asked.join(repeats, how="cross"), n, seed=self.study.seed)
            asked = asked.join(self.facts.lazy(), on="item_id")
            further += [name for name in OF_TURNS if name != "conversation"]
        else:
            asked = asked.filter(_asked_orders(self.config)).join(self.facts.lazy(), on="item_id")
            asked = asked.join(repeats, how="cross")
        return (
            asked.with_columns(
                pl.lit(self.name).alias("task"),
                asks.alias("elicitation"),
                # Prompts without a persona share the item.
                pl.coalesce("text_hash", "item_hash").alias("group"),
            )
            .select(*_CROSSED, *further)
            .collect()
        )

    def _persona_texts(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Write every text that precedes an item.

        Returns:
            respondent_id, mask_id, condition, style, framing, paraphrase_id, shown_respondent_id, system, text_hash,
            data_use.
        """
        needed = pairs.select("respondent_id", "mask_id", "hidden").unique(["respondent_id", "mask_id"])
        needed = needed.sort("respondent_id", "mask_id")
        parts = []
        for condition in self.conditions:
            people = self._people(needed, condition)
            for style, framing in itertools.product(self._texts.styles, self._texts.framings):
                for paraphrase in self._wordings(condition):
                    text = render(
                        people,
                        style=style,
                        framing=framing,
                        masked=people["hidden"],
                        condition=condition,
                        paraphrase=paraphrase,
                    )
                    told = text.is_not_null() if condition != PLACEBO else pl.lit(False)
                    says = self.closing.get(framing, self.closing["third_person"]) if condition != PLACEBO else ""
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


@dataclass(frozen=True)
class _Cut:
    """Rows divided by the chunk of their respondent.

    Attributes:
        frame: All rows.
        order: Their numbers, those of one chunk after those of another.
        ends: Where each chunk begins among them, and where the last one ends.
        digests: Digest of the rows of each chunk, whatever their order.
    """

    frame: pl.DataFrame
    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    digests: Sequence[str]

    def rows(self, number: int) -> pl.DataFrame:
        """The rows of a chunk."""
        return self.frame[self.order[self.ends[number] : self.ends[number + 1]]]


def _cut(frame: pl.DataFrame, numbers: pl.DataFrame, n: int) -> _Cut:
    """Divide rows into `n` chunks; `numbers` has that of each respondent (`chunk_numbers`)."""
    found = frame.select("respondent_id").join(numbers, on="respondent_id", how="left", maintain_order="left")
    # 16 bits are sorted by counting.
    chunk = found["chunk"].to_numpy().astype(np.uint16 if n <= 1 << 16 else np.int64)
    order = np.argsort(chunk, kind="stable")
    ends = np.searchsorted(chunk[order], np.arange(n + 1))
    # Sums modulo 2**64 do not depend on the order of rows, which need not be sorted for them.
    sums = np.zeros(frame.height + 1, dtype=np.uint64)
    np.cumsum(_row_hashes(frame)[order], out=sums[1:])
    counted = zip(np.diff(ends).tolist(), np.diff(sums[ends]).tolist(), strict=True)
    digests = [digest(rows, total) for rows, total in counted]
    return _Cut(frame, order, ends, digests)


def _shown_by_arm(
    by_arm: Sequence[tuple[str | None, pl.DataFrame]], design: str, elicitation: str, request: str | None = None
) -> pl.DataFrame:
    """Each item in each order, and in each arm if there are arms."""
    parts = []
    for arm, items in by_arm:
        shown = _with_user_hash(shown_items(items, design, elicitation, request), elicitation)
        if request is None:
            shown = asked_at_once(shown, items)
        parts.append(shown if arm is None else shown.with_columns(pl.lit(arm).alias("arm")))
    return pl.concat(parts)


def _with_user_hash(shown: pl.DataFrame, elicitation: str) -> pl.DataFrame:
    return shown.with_columns(hash_rows(shown, ["user"], key=elicitation).alias("user_hash"))


def _row_hashes(frame: pl.DataFrame) -> NDArray[np.uint64]:
    if frame.is_empty():
        return np.zeros(0, dtype=np.uint64)
    return frame.select(pl.struct(pl.all()).hash()).to_series().to_numpy()


def _with_traits(personas: pl.DataFrame, shown: str | int) -> pl.DataFrame:
    """The personas with some of their traits: all, those of a domain, or at most so many, the domains in turn."""
    if shown == "all":
        return personas
    rows = personas.select("respondent_id", "traits").explode("traits").drop_nulls("traits")
    rows = rows.with_row_index("place").with_columns(pl.col("traits").struct.field("domain").alias("domain"))
    if isinstance(shown, int):
        # As when the persona was made: one trait of each domain after another, so that fewer are a part of more.
        turn = pl.int_range(pl.len()).over("respondent_id", "domain")
        rank = pl.struct(turn, pl.col("domain").replace_strict(_DOMAIN_ORDER, default=len(_DOMAIN_ORDER)))
        kept = rows.with_columns(rank.alias("rank")).sort("respondent_id", "rank", "place")
        kept = kept.filter(pl.int_range(pl.len()).over("respondent_id") < shown).sort("place")
    else:
        kept = rows.filter(domain=shown)
    told = kept.group_by("respondent_id", maintain_order=True).agg("traits")
    return (
        personas.drop("traits")
        .join(told, on="respondent_id", how="left", maintain_order="left")
        .with_columns(pl.col("traits").fill_null(pl.lit([], dtype=personas.schema["traits"])))
        .select(personas.columns)
    )


_DOMAIN_ORDER = {domain: i for i, domain in enumerate(DOMAINS)}


def _with_first(pairs: pl.DataFrame, seed: int) -> pl.LazyFrame:
    """Add where the choice of option orders starts, by hash of person (or group) and item."""
    first = hash_uniform(pairs, ["respondent_id", "item_id"], key=f"first\x1f{seed}")
    if "set" not in pairs.columns:
        return pairs.lazy().with_columns(first.alias("first"))
    # The questions of a request are asked in the same orders: those of its first question.
    leads = pl.col("first").sort_by("line").first().over("respondent_id", "set")
    pairs = pairs.with_columns(first.alias("first"))
    return pairs.lazy().with_columns(pl.when(pl.col("set").is_null()).then("first").otherwise(leads).alias("first"))


def _described_dimensions(study: Study, items: pl.DataFrame) -> list[str]:
    """Dimensions by which groups are asked: of a poll, only those whose people's shares it has."""
    return [d for d in study.figures.dimensions if not _polled(items) or covers(d)]


def _polled(items: pl.DataFrame) -> bool:
    return "poll" in items.columns and items["poll"].null_count() < items.height


def _answered_by_people(kind: TaskKind, items: pl.DataFrame) -> bool:
    """Whether people's own distribution of answers is known, from the survey or a poll."""
    return keyed_by_persons(kind, items) or _polled(items)


_CROSSED = (
    "task", "item_id", "respondent_id", "survey", "wave", "condition", "style", "framing", "paraphrase_id",
    "shown_respondent_id", "system", "text_hash", "data_use", "masked", "gold_idx", "weight", "order_id",
    "option_order", "options", "user", "user_hash", "cluster_id", "item_hash", "repeat_id", "elicitation", "group",
)  # fmt: skip


def count_requests(prompts: pl.DataFrame, items: pl.DataFrame, config: TaskConfig, *, orders: str, seed: int) -> int:
    """Count the different requests that a task's prompts would be with other option orders.

    Args:
        prompts: PROMPTS of the task, in any order design.
        items: ITEMS of the task.
        config: The task's configuration.
        orders: The design to count.
        seed: The study's seed.
    """
    told = ["arm"] if "arm" in prompts.columns else []
    cells = prompts.select("item_id", "respondent_id", "group", "repeat_id", *told).unique()
    asked = _with_first(cells, seed).join(item_orders(items, orders).lazy(), on="item_id").filter(_asked_orders(config))
    request = pl.struct("group", "item_id", "repeat_id", "order_id", *told)
    return int(asked.select(request.n_unique()).collect().item())


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
    config: TaskConfig,
    seed: int,
    asked: pl.DataFrame,
    items: pl.DataFrame,
    *,
    gold: pl.DataFrame | None,
    groups: pl.DataFrame | None,
) -> pl.DataFrame:
    """Which persona is asked which item: the persona's facts, item_id and gold_idx."""
    routes = routing(items)
    items = items.select("item_id", pl.col("codebook").alias("item_codebook"), "gold_idx")
    if gold is None:
        pairs = asked.join(items, how="cross")
    else:
        pairs = asked.join(gold.select("respondent_id", "item_id", "gold_idx"), on="respondent_id").join(
            items.drop("gold_idx"), on="item_id"
        )
    pairs = pairs.filter(pl.col("item_codebook").is_null() | (pl.col("item_codebook") == pl.col("codebook")))
    pairs = routed(pairs.drop("item_codebook"), routes, groups)
    most = config.options.get("personas_per_item")
    if config.items_per_persona is None and most is None:
        return pairs
    pairs = pairs.sort("respondent_id", "item_id")
    if config.items_per_persona is not None and pairs.height:
        pairs = balanced_blocks(pairs, config.items_per_persona, seed=seed)
    if most is not None:
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
