"""Turns of conversations without a study, and a model that records what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
import polars as pl

from mpta_pipeline import inference, tasks
from mpta_pipeline.core.tables import PROMPTS
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers.base import ModelResponse
from mpta_pipeline.inference.providers.simulated import Simulated
from tests.factories.simulated_study import respondent

OPTIONS = ["agree", "neither", "disagree"]


def turns(people: int = 3, questions: int = 4, **changed: str) -> pl.DataFrame:
    """Prompts of conversations with persons p0, p1, … about questions q1, q2, …; `q2="text"` words one otherwise."""
    rows = [
        {
            "prompt_id": f"{person}-{turn}",
            "task": "talk",
            "item_id": f"q{turn}",
            "survey": "gss",
            "respondent_id": f"p{person}",
            "condition": "persona",
            "system": f"You are person {person}.",
            "user": changed.get(f"q{turn}", f"Question {turn}?") + "\nA) agree\nB) neither\nC) disagree",
            "options": OPTIONS,
            "option_order": [0, 1, 2],
            "elicitation": "letter",
            "repeat_id": 0,
            "group": f"g{person}",
            "data_use": "any",
            "conversation": f"c{person}",
            "turn": turn,
            "known": orjson.dumps({"person": person, "turn": turn}).decode(),
        }
        for person in range(people)
        for turn in range(1, questions + 1)
    ]
    after = pl.lit(None, PROMPTS.schema["asked_after"]).alias("asked_after")
    return pl.DataFrame(rows).with_columns(after)


def after(prompts: pl.DataFrame, item: str, earlier: str, answers: list[int] | None) -> pl.DataFrame:
    """Let a question depend on the answer to an earlier one; without `answers`, its text names the answer."""
    rule = pl.lit([{"item_id": earlier, "name": earlier, "answers": answers}], PROMPTS.schema["asked_after"])
    return prompts.with_columns(pl.when(item_id=item).then(rule).otherwise("asked_after").alias("asked_after"))


class Listener:
    """A model in this process whose replies a function decides, and which records the requests that it got.

    Args:
        monkeypatch: Replaces the simulated respondent's answers.
        reply: Text of the reply to a request; an exception is raised.
    """

    def __init__(self, monkeypatch, reply: Callable[[inference.requests.ModelRequest], str | Exception]) -> None:
        self.spec = respondent()
        self.asked: list[inference.requests.ModelRequest] = []
        self.stop, self.stop_after = inference.Stop(), 10**9

        async def complete(provider, request, call):
            del provider, call
            await asyncio.sleep(0)
            if len(self.asked) >= self.stop_after:
                self.stop.set()
                await asyncio.sleep(1)
            self.asked.append(request)
            said = reply(request)
            if isinstance(said, Exception):
                raise said
            return ModelResponse(said, finish_reason="stop", prompt_tokens=5, completion_tokens=1)

        monkeypatch.setattr(Simulated, "complete", complete)

    def parts(self, prompts: pl.DataFrame, ledger: Path, n: int = 1) -> inference.PromptParts:
        """Whole conversations in `n` parts, composed whenever they are read."""
        talk = tasks.Conversations(self.spec, ledger)
        people = prompts["conversation"].unique().sort()
        cut = [people.gather_every(n, offset=i) for i in range(n)]
        return inference.PromptParts(
            self.spec,
            [partial(talk.composed, prompts.filter(pl.col("conversation").is_in(some.implode()))) for some in cut],
        )

    def hold(self, prompts: pl.DataFrame, ledger: Path, n: int = 1, **values) -> inference.RequestReport:
        """Hold the conversations as far as they are not held yet."""
        return inference.send_requests(self.spec, self.parts(prompts, ledger, n), ledger, stop=self.stop, **values)

    def responses(self, prompts: pl.DataFrame, ledger: Path) -> pl.DataFrame:
        """RESPONSES of the conversations."""
        composed = tasks.Conversations(self.spec, ledger).composed(prompts)
        return inference.responses(self.spec, composed, ledger).sort("prompt_id")


def rejected(reason: str = "bad item") -> ProviderError:
    """A request that the model refuses to process."""
    return ProviderError(ErrorKind.REQUEST, f"HTTP 400: {reason}")
