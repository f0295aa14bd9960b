"""Write responses and errors of one run to the ledger, and count them in the run's report."""

from __future__ import annotations

from typing import Any

from mpta_pipeline.inference.early_warnings import REFUSALS, EarlyWarnings
from mpta_pipeline.inference.http_client import CallStats
from mpta_pipeline.inference.ledger import Writer
from mpta_pipeline.inference.provider_errors import redact, shorten
from mpta_pipeline.inference.providers.base import ModelResponse
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.response_diagnostics import starved
from mpta_pipeline.inference.run_control import RequestReport
from mpta_pipeline.inference.spending import Spending

MOST_NAMED = 20  # fingerprints and reasons that a report keeps
NAME_LENGTH = 200  # characters of a model's name or finish reason that are kept


class Recorder:
    """Writes the records of one run.

    Args:
        writer: The ledger's writer.
        report: Counts what is written.
        spending: Computes and learns costs.
        early_warnings: Sees each response.
        secrets: Texts that must not be stored.
    """

    def __init__(
        self,
        writer: Writer,
        report: RequestReport,
        spending: Spending,
        early_warnings: EarlyWarnings,
        secrets: tuple[str, ...],
    ) -> None:
        self.writer = writer
        self.report = report
        self.spending = spending
        self.early_warnings = early_warnings
        self.secrets = secrets

    def write_response(
        self, request: ModelRequest, response: ModelResponse, stats: CallStats, paid_before: float = 0.0
    ) -> float:
        """Write a response; return what it cost, including `paid_before` for responses without an answer."""
        report = self.report
        cost = None
        if self.spending.spec.price is not None:
            cost = self.spending.cost(request, response) + paid_before
            report.cost = (report.cost or 0.0) + cost
            self.spending.learn(request, response, cost)
        self._clean(response)
        self.writer.append(
            record_of(
                request,
                stats,
                text=response.text,
                option_logprobs=response.option_logprobs,
                finish_reason=response.finish_reason,
                prompt_tokens=response.prompt_tokens,
                completion_tokens=response.completion_tokens,
                cached_tokens=response.cached_tokens,
                provider_model=response.provider_model,
                letter_share=response.letter_share,
                thought=response.thought,
                cost=cost,
            )
        )
        report.answered += 1
        report.refused += response.finish_reason in REFUSALS
        report.prompt_tokens += response.prompt_tokens or 0
        report.completion_tokens += response.completion_tokens or 0
        report.cached_tokens += response.cached_tokens
        report.attempts += stats.attempts
        named = report.fingerprints
        if response.provider_model is not None and response.provider_model not in named and len(named) < MOST_NAMED:
            named.append(response.provider_model)
        report.cut_off += starved(response)
        self.early_warnings.watch(request, response)
        return cost or 0.0

    def _clean(self, response: ModelResponse) -> None:
        """Remove secrets, which an endpoint may echo in any field, and shorten names."""
        if self.secrets:
            response.text, response.finish_reason, response.provider_model = (
                None if value is None else redact(value, self.secrets)
                for value in (response.text, response.finish_reason, response.provider_model)
            )
        response.finish_reason, response.provider_model = (
            None if value is None else shorten(value, NAME_LENGTH)
            for value in (response.finish_reason, response.provider_model)
        )

    def write_error(self, record: dict[str, Any]) -> None:
        """Write a final error."""
        self.writer.append(record)
        self.report.errors += 1
        reasons, reason = self.report.error_reasons, record["error"]
        if reason not in reasons and len(reasons) >= MOST_NAMED:
            reason = "further reasons"
        reasons[reason] = reasons.get(reason, 0) + 1


def record_of(request: ModelRequest, stats: CallStats, **values: Any) -> dict[str, Any]:
    """Return the ledger's record of a request."""
    return {
        "request_hash": request.request_hash,
        **values,
        "latency": round(stats.latency, 6) if stats.latency else None,
        "attempts": stats.attempts,
        "asked_at": stats.sent_at,
    }
