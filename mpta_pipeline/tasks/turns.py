"""Compose the turns of conversations for a model: each question with what was asked and answered before it.

What a turn says depends on the model's earlier answers, which its ledger holds. A turn is therefore composed as far as
the ledger goes: the first question of a conversation at once, each further one when the one before it has a response.
The request's hash covers the whole history, so that an answer that changes makes all later turns new requests, and a
change of a late question leaves the earlier ones.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from mpta_pipeline.core.hashing import hash_rows
from mpta_pipeline.core.reasoning_text import read_thought
from mpta_pipeline.inference import ModelSpec, with_request_hashes
from mpta_pipeline.inference.known_truth import COLUMN as KNOWN
from mpta_pipeline.inference.ledger import RECORD, Ledger
from mpta_pipeline.inference.requests import BEHIND, HISTORY, HISTORY_HASH, HISTORY_TYPE, TOLD, TURN, request_hashes
from mpta_pipeline.tasks.scoring import parse_replies

NO_ANSWER = "(no answer)"
"""What the model is shown to have said where its reply is empty, such as after a content filter."""
_ANSWERS = pl.Schema({"conversation": pl.String(), "item_id": pl.String(), "picked": pl.Int64(), "words": pl.String()})
_STATE = ("open", "stopped", "said", "failed", "template", "before")
_SHORTEST_REPLY = 2  # bytes of a reply, to estimate the length of a history that is not known yet


def are_turns(prompts: pl.DataFrame) -> bool:
    """Whether some prompts are turns of conversations."""
    return "turn" in prompts.columns and prompts["turn"].null_count() < prompts.height


class Conversations:
    """The conversations of one model.

    Args:
        spec: The model.
        ledger: Its ledger folder.
    """

    def __init__(self, spec: ModelSpec, ledger: Path) -> None:
        self._spec, self._ledger = spec, Ledger(ledger)
        self._read: tuple[tuple[tuple[str, int], ...], pl.DataFrame] | None = None
        # Which shown option each reply picked, for questions that others depend on: reading replies takes long.
        self._picked = pl.DataFrame(schema={"request_hash": pl.String, "pred_pos": pl.Int64})

    def composed(self, prompts: pl.DataFrame) -> pl.DataFrame:
        """Add `request_hash` to prompts and compose turns as far as the ledger has the answers before them.

        Turns beyond that have a hash that begins with `TURN`, or with `BEHIND` after a turn that failed for good: it
        counts them, and is no request's. Turns that the model's own answers rule out are left out.

        Args:
            prompts: PROMPTS, whole conversations.
        """
        if not are_turns(prompts):
            return with_request_hashes(self._spec, prompts)
        rows = prompts.with_row_index("row")
        parts = [self._turns(rows.filter(pl.col("turn").is_not_null()))]
        alone = rows.filter(pl.col("turn").is_null())
        if alone.height:
            parts.append(with_request_hashes(self._spec, alone))
        return pl.concat(parts, how="diagonal").sort("row").drop("row")

    def _turns(self, rows: pl.DataFrame) -> pl.DataFrame:
        rows = self._with_template(rows.sort("conversation", "turn"))
        replies = self._replies()
        needed = rows["asked_after"].explode().drop_nulls()
        needed = needed.struct.field("item_id").unique() if needed.len() else pl.Series([], dtype=pl.String)
        state = rows.select("conversation").unique().with_columns(
            pl.lit(None, pl.String).alias(HISTORY_HASH), pl.lit(0, pl.Int64).alias(TOLD), pl.lit(True).alias("open"),
            pl.lit(False).alias("stopped"),
        )  # fmt: skip
        answers = _ANSWERS.to_frame()
        made, said = [], []
        for part in rows.partition_by("turn", maintain_order=True):
            here = part.join(state, on="conversation", maintain_order="left")
            live = _as_answered(here.filter("open"), answers) if needed.len() else here.filter("open")
            live = live.with_columns(request_hashes(self._spec, live))
            live = live.join(replies, on="request_hash", how="left", maintain_order="left")
            replied = live.filter(pl.col("said").is_not_null())
            if replied.height:
                replied = replied.with_columns(
                    hash_rows(replied, [HISTORY_HASH, "user", "said"], key="history", length=32).alias("next"),
                    (pl.col(TOLD) + pl.col("user").str.len_bytes() + pl.col("said").str.len_bytes()).cast(pl.Int64)
                    .alias("length"),
                )  # fmt: skip
                said.append(replied.select("conversation", "user", "said"))
                answers = pl.concat([answers, self._answers(replied, needed)])
            else:
                replied = replied.with_columns(
                    pl.lit(None, pl.String).alias("next"), pl.lit(0, pl.Int64).alias("length")
                )
            waiting = live.filter(pl.col("said").is_null())["conversation"]
            stopped = live.filter(pl.col("failed").fill_null(False))["conversation"]
            state = (
                state.join(replied.select("conversation", "next", "length"), on="conversation", how="left")
                .with_columns(
                    pl.coalesce("next", HISTORY_HASH).alias(HISTORY_HASH),
                    pl.coalesce("length", TOLD).alias(TOLD),
                    (pl.col("open") & ~pl.col("conversation").is_in(waiting.implode())).alias("open"),
                    (pl.col("stopped") | pl.col("conversation").is_in(stopped.implode())).alias("stopped"),
                )
                .drop("next", "length")
            )
            made += [live, _not_reached(here.filter(~pl.col("open")))]
        whole = pl.concat(made, how="diagonal")
        return _with_histories(whole, said).drop(HISTORY_HASH, *_STATE)

    def _with_template(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add `template`, which is equal for equal conversations, and `before`: bytes of the questions before."""
        options = pl.col("options").list.join("\x1e")
        after = pl.col("asked_after").list.len().fill_null(0)
        sent: list[str | pl.Expr] = ["system", "user", options, "elicitation", "repeat_id", after]
        sent += [KNOWN] if KNOWN in rows.columns else []
        rows = rows.with_columns(hash_rows(rows, sent, key="template").alias("one"))
        length = pl.col("user").str.len_bytes().cast(pl.Int64) + _SHORTEST_REPLY
        return rows.with_columns(
            pl.col("one").str.join("").over("conversation").alias("template"),
            (length.cum_sum().over("conversation") - length).alias("before"),
        ).drop("one")

    def _replies(self) -> pl.DataFrame:
        """What the model said to each request: request_hash, said (null if it failed for good), failed.

        The ledger is read again only if its files have changed.
        """
        state = self._ledger.state()
        if self._read is None or self._read[0] != state:
            found = self._ledger.texts()
            said = read_thought(pl.col("text").fill_null("")).struct.field("said").str.strip_chars()
            failed = pl.col("error").is_not_null()
            words = pl.when(failed).then(None).when(said == "").then(pl.lit(NO_ANSWER)).otherwise(said)
            found = found.select("request_hash", words.alias("said"), failed.alias("failed"))
            self._read = state, found
        return self._read[1]

    def _answers(self, replied: pl.DataFrame, needed: pl.Series) -> pl.DataFrame:
        """The options that replies picked, for questions that later ones depend on; null for none."""
        rows = replied.filter(pl.col("item_id").is_in(needed.implode()))
        if rows.is_empty():
            return _ANSWERS.to_frame()
        new = rows.join(self._picked, on="request_hash", how="anti").unique("request_hash")
        if new.height:
            records = self._ledger.read(new["request_hash"])
            given = new.select("prompt_id", "request_hash").join(records.select(list(RECORD)), on="request_hash")
            read = parse_replies(new, given.with_columns(pl.lit(self._spec.name).alias("model")))
            self._picked = pl.concat([self._picked, read.select("request_hash", pl.col("pred_pos").cast(pl.Int64))])
        place = pl.col("pred_pos")
        return rows.join(self._picked, on="request_hash").select(
            "conversation",
            "item_id",
            pl.col("option_order").list.get(place, null_on_oob=True).alias("picked"),
            pl.col("options").list.get(place, null_on_oob=True).alias("words"),
        )


def _as_answered(live: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Leave out questions that the model's own answers rule out, and name its answers in the texts of the others."""
    needs = live.select("conversation", "asked_after").explode("asked_after").drop_nulls("asked_after")
    if needs.is_empty():
        return live
    needs = needs.unnest("asked_after").join(answers, on=["conversation", "item_id"], how="left")
    chosen = pl.col("answers").list.contains(pl.col("picked")) & pl.col("picked").is_not_null()
    met = pl.when(pl.col("answers").is_null()).then(pl.col("words").is_not_null()).otherwise(chosen)
    unmet = needs.filter(~met.fill_null(False))["conversation"].unique()
    live = live.filter(~pl.col("conversation").is_in(unmet.implode()))
    for (name,), part in needs.filter(pl.col("answers").is_null()).group_by("name", maintain_order=True):
        words = part.select("conversation", pl.col("words").alias("named"))
        live = live.join(words, on="conversation", how="left", maintain_order="left").with_columns(
            pl.when(pl.col("named").is_null())
            .then("user")
            .otherwise(pl.col("user").str.replace_all("{{" + str(name) + "}}", pl.col("named"), literal=True))
            .alias("user")
        ).drop("named")  # fmt: skip
    return live


def _not_reached(rows: pl.DataFrame) -> pl.DataFrame:
    """Turns whose history is not known yet. Equal turns of equal conversations have the same hash."""
    hashes = hash_rows(rows, ["template", "turn"], key="not reached", length=32)
    beginning = pl.when("stopped").then(pl.lit(BEHIND)).otherwise(pl.lit(TURN))
    return rows.with_columns((beginning + hashes).alias("request_hash"), pl.col("before").alias(TOLD))


def _with_histories(rows: pl.DataFrame, said: list[pl.DataFrame]) -> pl.DataFrame:
    """Add `history` to the turns that can be sent: what was asked and said before. Answered ones do without it."""
    waiting = pl.col("said").is_null() & ~pl.col("request_hash").str.starts_with(TURN)
    heads = rows.filter(waiting).select("conversation")
    spoken = (
        pl.concat(said)
        if said
        else pl.DataFrame(schema={"conversation": pl.String, "user": pl.String, "said": pl.String})
    )
    histories = (
        spoken.join(heads, on="conversation", how="semi", maintain_order="left")
        .group_by("conversation", maintain_order=True)
        .agg(pl.struct("user", "said").alias(HISTORY))
        .with_columns(pl.col(HISTORY).cast(HISTORY_TYPE))
    )
    rows = rows.join(histories, on="conversation", how="left", maintain_order="left")
    return rows.with_columns(pl.when(waiting).then(HISTORY).alias(HISTORY))
