"""Check responses early in a run, so that problems that make them useless are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from mpta_pipeline.core.vocabulary import CUT_OFF_FINISHES
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.provider_errors import ModelUnusableError
from mpta_pipeline.inference.providers.base import ModelResponse, Provider
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_diagnostics import cut_prompts, was_cut

FIRST_LOOK = 24  # responses after which they are checked for the first time
FIRST_LOOK_SECONDS = 40.0  # after which fewer responses are checked as well
NEXT_LOOK = 480  # further responses until the next check
LEAST_JUDGED = 4  # fewest responses of which "most" has a meaning
BUDGET = 8192  # tokens of thought recommended for a model whose thought was cut off
REFUSALS = ("content_filter", "refusal", "safety")

StatusReader = Callable[[pl.DataFrame], pl.Series]
"""Reads responses (STATUS_INPUT) as they will be scored and returns their status: `unparsed` if they cannot be used."""
STATUS_INPUT = pl.Schema(
    {
        "request_hash": pl.String(),
        "options": pl.List(pl.String()),
        "elicitation": pl.String(),
        "text": pl.String(),
        "option_logprobs": pl.List(pl.Float64()),
        "finish_reason": pl.String(),
        "completion_tokens": pl.Int64(),
        "letter_share": pl.Float64(),
        "thought": pl.Boolean(),
    }
)


class EarlyWarnings:
    """Checks the responses of one run.

    Args:
        provider: The model's provider.
        read_status: Reads responses as they will be scored; without it only empty responses count as unusable.
    """

    def __init__(self, provider: Provider, read_status: StatusReader | None) -> None:
        self.provider = provider
        self.spec = provider.spec
        self.read_status = read_status
        self.warnings: list[str] = []
        self._told: set[str] = set()
        self.judged = 0
        """Checks so far."""
        self.sample: list[tuple[ModelRequest, ModelResponse]] = []
        """Responses since the last check."""
        self.sizes: list[tuple[int, int]] = []
        """Characters sent and prompt tokens counted, per response of this run."""

    def watch(self, request: ModelRequest, response: ModelResponse) -> None:
        """Take a response; check once there are enough."""
        if (
            request.user
            and response.prompt_tokens
            and request.elicitation != "option_logprob"
            and len(self.sizes) < NEXT_LOOK
        ):
            self.sizes.append((request.characters, response.prompt_tokens))
        if request.elicitation == "option_logprob":
            return  # scored, not written
        self.sample.append((request, response))
        if not self.spec.batch and len(self.sample) >= (NEXT_LOOK if self.judged else FIRST_LOOK):
            self.look()

    def look(self) -> None:
        """Check the latest responses: stop if most were cut off, warn if most cannot be used.

        Raises:
            ModelUnusableError: Most were cut off.
        """
        sample, self.sample = self.sample, []
        self.judged += 1
        n = len(sample)
        unusable = [response for bad, (_, response) in zip(self._unusable(sample), sample, strict=True) if bad]
        cut = [response for response in unusable if was_cut(response)]
        if 2 * len(cut) > n:
            raise self._cut_off(
                len(cut), n, cut[0].finish_reason or "", thinks=any(response.thought for response in cut)
            )
        if 2 * len(unusable) > n:
            # Without an example: a response may contain what no log may hold about a respondent.
            reasons = sorted({response.finish_reason or "none" for response in unusable})[:3]
            self._warn(
                "unusable",
                f"{len(unusable)} of the {n} latest responses name none of the options (finish reason "
                f"{', '.join(reasons)}): `mpta models --probe` shows what the model can do",
            )
        self.look_at_sizes()

    def look_at_sizes(self) -> None:
        """Warn if the counted prompt tokens do not fit what was sent."""
        if self.sizes and (doubt := cut_prompts(*zip(*self.sizes, strict=True))):
            self._warn(
                "cut prompts",
                f"the prompts may have been cut before the model read them: {doubt}. Check the server's context "
                "(Ollama: num_ctx, llama.cpp: -c divided by the slots, vLLM: --max-model-len) and run again with "
                "another `revision`",
            )

    def _unusable(self, answers: Sequence[tuple[ModelRequest, ModelResponse]]) -> list[bool]:
        """Return for each response whether it cannot be used."""
        empty = [
            not (response.text or "").strip() and response.finish_reason not in REFUSALS for _, response in answers
        ]
        if self.read_status is None:
            return empty
        columns = [
            (
                *(request.request_hash, request.options, request.elicitation),
                *(response.text, response.option_logprobs, response.finish_reason),
                *(response.completion_tokens, response.letter_share, response.thought),
            )
            for request, response in answers
        ]
        status = self.read_status(pl.DataFrame(columns, schema=STATUS_INPUT, orient="row"))
        return [said == "unparsed" for said in status]

    def look_at_earlier(
        self, requests: pl.DataFrame, ledger: Ledger, complete: Callable[[pl.DataFrame], Iterator[pl.DataFrame]]
    ) -> None:
        """Check a few responses of earlier runs: if most were cut off, further ones would be as well.

        Args:
            requests: All requests of the run.
            ledger: The model's ledger.
            complete: Adds the texts of some of the requests; may give them in several frames.

        Raises:
            ModelUnusableError: Most were cut off.
        """
        if self.read_status is None:
            return
        some = requests.filter(pl.col("elicitation") != "option_logprob").head(FIRST_LOOK * 4)
        if some.is_empty():
            return
        some = pl.concat(list(complete(some)))
        settled = ledger.read(some["request_hash"]).filter(pl.col("error").is_null())
        judged = some.join(settled, on="request_hash").head(FIRST_LOOK).select(list(STATUS_INPUT))
        if judged.height < LEAST_JUDGED:
            return
        finish = pl.col("finish_reason").str.to_lowercase()
        cut = judged.filter(
            (self.read_status(judged) == "unparsed") & judged.select(finish.is_in(CUT_OFF_FINISHES)).to_series()
        )
        if 2 * cut.height > judged.height:
            raise self._cut_off(cut.height, judged.height, str(cut["finish_reason"][0]), thinks=False)

    def _cut_off(self, cut: int, of: int, finish: str, *, thinks: bool) -> ModelUnusableError:
        limit = ", ".join(f"{e} {self.provider.limit(e)}" for e in self.spec.elicitations if e != "option_logprob")
        why = "its thought used the tokens" if thinks else "they reached the token limit before an answer"
        off = "`reasoning: off` if it can be switched off (`mpta models --probe` says how), else " if thinks else ""
        return ModelUnusableError(
            f"Model {self.spec.name}: {cut} of {of} responses were cut off (finish reason {finish}): {why} "
            f"(limit by elicitation: {limit}). Responses received are kept, and no more requests are sent",
            nothing_answered=False,
            file=self.spec.source,
            variable=f"models.{self.spec.name}",
            remedy=(
                f"set {off}`reasoning: {{budget: {BUDGET}}}` if it thinks, or a larger max_tokens, in its entry; "
                "its prompts are then sent again"
            ),
        )

    def _warn(self, kind: str, text: str) -> None:
        """Add a warning, for the progress and the report; one per kind."""
        if kind not in self._told:
            self._told.add(kind)
            self.warnings.append(text)
