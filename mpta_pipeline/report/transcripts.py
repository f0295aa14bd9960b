"""Choose a persona, prompt and reply where a finding shows, and one where it does not.

Only prompts that may be shown: those that show no persona, or a persona whose survey's data-use policy, as of today, is
`any`. The texts themselves are read for the chosen prompts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from mpta_pipeline.core.labels import ALL, CROSS
from mpta_pipeline.report.findings import OF_REPLIES, Finding, Findings

CARDS = 8
"""Cards with transcripts: those of the first screen."""


@dataclass(frozen=True)
class Reply:
    """One prompt and reply.

    Attributes:
        shows: The reply shows what the card says; otherwise it is the one to compare with.
        prompt_id: Id for `mpta trace`.
        system: System message; None if there is none.
        user: User message.
        text: The reply; None on error.
        error: Why the request failed; None if it was answered.
        status: What became of the request.
        right: The text of the right option, or of what the person answered; None if nothing is right.
        chosen: The text of the option that was read from the reply; None if none was.
    """

    shows: bool
    prompt_id: str
    system: str | None
    user: str
    text: str | None
    error: str | None
    status: str
    right: str | None
    chosen: str | None


@dataclass(frozen=True)
class Transcript:
    """The replies of one card. `withheld` tells that the policy of the survey lets none be shown."""

    finding: Finding
    anchor: str
    replies: tuple[Reply, ...]
    withheld: bool = False


def chosen_prompts(found: Findings, frames: Mapping[str, pl.DataFrame]) -> list[tuple[Finding, list[str], bool]]:
    """Choose the prompts to show with each card.

    Args:
        found: The findings.
        frames: Published tables by name: scores, groups, and personas with today's `data_use`.

    Returns:
        Finding, prompt ids (where it shows, then where it does not), and whether the policy withholds them.
    """
    scores, groups, personas = frames["scores"], frames["groups"], frames["personas"]
    if scores.is_empty() or groups.is_empty():
        return []
    allowed = personas.filter(pl.col("data_use") == "any").select("respondent_id")
    out = []
    for f in found.cards[:CARDS]:
        if f.kind == "models":
            continue
        rows = scores.filter(
            pl.col("model") == f.model, pl.col("task") == f.task, pl.col("survey") == f.survey,
            pl.col("condition") == f.condition,
        ).join(groups.drop("survey", strict=False), on="respondent_id", how="left")  # fmt: skip
        inside = _inside(f, rows)
        if inside is None:
            continue
        shows, other = _outcomes(f)
        wrong, right = rows.filter(inside & shows), rows.filter((~inside if f.pairs else pl.lit(True)) & other)
        ids, withheld = [], False
        seen = wrong.join(allowed, on="respondent_id", how="semi").sort("prompt_id")
        withheld = seen.is_empty() and not wrong.is_empty()
        if seen.height:
            # Examples of the pocket search come first.
            first = seen.filter(pl.col("prompt_id").is_in(list(f.examples)))
            row = (first if first.height else seen).row(0, named=True)
            ids.append(row["prompt_id"])
            against = right.join(allowed, on="respondent_id", how="semi").sort(
                pl.col("item_id") != row["item_id"], pl.col("order_id") != row["order_id"], "prompt_id"
            )
            ids += against.head(1)["prompt_id"].to_list()
        if ids or withheld:
            out.append((f, ids, withheld))
    return out


def _outcomes(f: Finding) -> tuple[pl.Expr, pl.Expr]:
    """Which answers show a finding, and which do not."""
    status = pl.col("status")
    wrong, right = (status == "ok") & (pl.col("score") < 1), (status == "ok") & (pl.col("score") == 1)
    if f.outcome in OF_REPLIES:
        shows = {
            "refusal_rate": status == "refused",
            "parse_rate": status == "unparsed",
            "error_rate": status == "error",
            "condescension_rate": pl.col("condescending").fill_null(False),
        }[f.outcome]
        return shows, (status == "ok") & ~pl.col("condescending").fill_null(False)
    return wrong, right


def _inside(f: Finding, rows: pl.DataFrame) -> pl.Expr | None:
    if f.subgroup == ALL:
        return pl.lit(True)
    if len(f.dimensions.split(CROSS)) != len(f.subgroup.split(CROSS)):
        return None
    if any(name not in rows.columns for name, _ in f.pairs):
        return None
    return pl.all_horizontal(pl.col(name).cast(pl.String) == value for name, value in sorted(f.pairs)).fill_null(False)


def _asked(prompt: Mapping[str, Any]) -> str:
    """The user message; of a turn of a conversation, the question with its place."""
    turn, user = prompt.get("turn"), str(prompt["user"])
    if turn is None:
        return user
    return f"[Question {turn} of a conversation; the model also saw the questions before it and its answers.]\n{user}"


def transcripts(found: Findings, frames: Mapping[str, pl.DataFrame]) -> list[Transcript]:
    """The texts of the chosen prompts and of their replies, per card."""
    out = []
    prompts, responses, scores, items = (frames[name] for name in ("prompts", "responses", "scores", "items"))
    options = {(row[0], row[1]): row[2] for row in items.select("task", "item_id", "options").iter_rows()}
    for f, ids, withheld in chosen_prompts(found, frames):
        texts = {r["prompt_id"]: r for r in prompts.filter(pl.col("prompt_id").is_in(ids)).iter_rows(named=True)}
        asked = (pl.col("model") == f.model) & pl.col("prompt_id").is_in(ids)
        given = {r["prompt_id"]: r for r in responses.filter(asked).iter_rows(named=True)}
        results = {r["prompt_id"]: r for r in scores.filter(asked).iter_rows(named=True)}
        replies = []
        for i, prompt_id in enumerate(ids):
            prompt, response, result = texts.get(prompt_id), given.get(prompt_id), results.get(prompt_id)
            if prompt is None or response is None or result is None:
                continue
            names = options.get((f.task, prompt["item_id"])) or []

            def named(index: int | None, names: list[str] = names) -> str | None:
                return names[index] if index is not None and 0 <= index < len(names) else None

            replies.append(
                Reply(
                    i == 0, prompt_id, prompt["system"], _asked(prompt), response["text"], response["error"],
                    result["status"], named(result["gold_idx"]), named(result["pred_idx"]),
                )
            )  # fmt: skip
        # Without the reply that shows the finding, there is nothing to compare.
        if withheld or (replies and replies[0].shows):
            out.append(Transcript(f, f.anchor, tuple(replies), withheld))
    return out
