"""Choose a persona, prompt and reply where a finding shows, and one where it does not.

Only prompts that may be shown: those that show no persona, or a persona whose survey's data-use policy, as of today, is
`any`. The texts themselves are read for the chosen prompts alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mpta_pipeline.core.labels import ALL, CROSS
from mpta_pipeline.report.findings import OF_REPLIES, Finding, Findings
from mpta_pipeline.report.scores import Scores

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


@dataclass(frozen=True)
class Chosen:
    """The prompts to show with a card: where it shows, then where it does not; or none, because they are withheld."""

    finding: Finding
    prompts: tuple[str, ...]
    withheld: bool


def chosen_prompts(found: Findings, frames: Mapping[str, pl.DataFrame], scores: Scores) -> list[Chosen]:
    """Choose the prompts to show with each card.

    Args:
        found: The findings.
        frames: Published tables by name: groups, and personas with today's `data_use`.
        scores: The scores.
    """
    groups = frames["groups"].drop("survey", strict=False)
    if groups.is_empty():
        return []
    allowed = frames["personas"].filter(pl.col("data_use") == "any").select("respondent_id")
    cards = [_Card(f) for f in found.cards[:CARDS] if f.kind != "models"]
    told_by: dict[tuple[str, str], list[_Card]] = {}
    for card in cards:
        told_by.setdefault((card.finding.model, card.finding.task), []).append(card)
    for look in (_Card.look_for_the_finding, _Card.look_for_another):
        for (model, task), of_both in told_by.items():
            for part in scores.rows(_LOOKED_AT, model=model, task=task):
                rows = part.join(groups, on="respondent_id", how="left")
                for card in of_both:
                    look(card, rows, allowed)
    return [Chosen(card.finding, card.prompts, card.withheld) for card in cards if card.prompts or card.withheld]


_LOOKED_AT = (
    "survey", "condition", "respondent_id", "prompt_id", "item_id", "order_id", "status", "score", "condescending",
    "wave",
)  # fmt: skip


@dataclass
class _Card:
    """A card whose prompts are looked for in the scores of its model and task, part by part.

    Attributes:
        finding: The finding.
        shows: The first prompt where it shows, of those that may be shown: prompt_id, item_id, order_id.
        other: The prompt where it does not show that is most like it.
        any_shows: There are prompts where it shows, whether or not they may be shown.
    """

    finding: Finding
    shows: pl.DataFrame | None = None
    other: pl.DataFrame | None = None
    any_shows: bool = False

    @property
    def prompts(self) -> tuple[str, ...]:
        """Ids of the prompts that were found."""
        return tuple(row["prompt_id"][0] for row in (self.shows, self.other) if row is not None)

    @property
    def withheld(self) -> bool:
        """Whether the policy lets none be shown."""
        return self.shows is None and self.any_shows

    def look_for_the_finding(self, rows: pl.DataFrame, allowed: pl.DataFrame) -> None:
        """Look for a prompt where the finding shows; examples of the pocket search come first."""
        inside = _inside(self.finding, rows)
        if inside is None:
            return
        wrong = self._own(rows).filter(inside & _outcomes(self.finding)[0])
        self.any_shows = self.any_shows or not wrong.is_empty()
        place = [~pl.col("prompt_id").is_in(list(self.finding.examples)), pl.col("prompt_id")]
        self.shows = _first(self.shows, wrong.join(allowed, on="respondent_id", how="semi"), place)

    def look_for_another(self, rows: pl.DataFrame, allowed: pl.DataFrame) -> None:
        """Look for a prompt to compare with: of the same item and order of options, if there is one."""
        inside = _inside(self.finding, rows)
        if inside is None or self.shows is None:
            return
        outside = ~inside if self.finding.pairs else pl.lit(True)
        right = self._own(rows).filter(outside & _outcomes(self.finding)[1])
        item, order = self.shows.row(0)[1:]
        place = [pl.col("item_id") != item, pl.col("order_id") != order, pl.col("prompt_id")]
        self.other = _first(self.other, right.join(allowed, on="respondent_id", how="semi"), place)

    def _own(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(pl.col("survey") == self.finding.survey, pl.col("condition") == self.finding.condition)


def _first(known: pl.DataFrame | None, rows: pl.DataFrame, place: list[pl.Expr]) -> pl.DataFrame | None:
    """The first of the rows and of the one that is known, in an order."""
    rows = rows.select("prompt_id", "item_id", "order_id")
    rows = (rows if known is None else pl.concat([known, rows])).sort(place).head(1)
    return rows if rows.height else None


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


def transcripts(chosen: Sequence[Chosen], frames: Mapping[str, pl.DataFrame], scores: Scores) -> list[Transcript]:
    """The texts of the chosen prompts and of their replies, per card."""
    out = []
    prompts, responses, items = (frames[name] for name in ("prompts", "responses", "items"))
    options = {(row[0], row[1]): row[2] for row in items.select("task", "item_id", "options").iter_rows()}
    for one in chosen:
        f, ids, withheld = one.finding, one.prompts, one.withheld
        texts = {r["prompt_id"]: r for r in prompts.filter(pl.col("prompt_id").is_in(ids)).iter_rows(named=True)}
        asked = (pl.col("model") == f.model) & pl.col("prompt_id").is_in(ids)
        given = {r["prompt_id"]: r for r in responses.filter(asked).iter_rows(named=True)}
        results = {
            r["prompt_id"]: r
            for part in scores.rows(("prompt_id", "status", "gold_idx", "pred_idx"), model=f.model, task=f.task)
            for r in part.filter(pl.col("prompt_id").is_in(ids)).iter_rows(named=True)
        }
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
