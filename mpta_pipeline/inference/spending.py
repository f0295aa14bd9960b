"""Keep a run within its budgets: estimate costs, reserve them before requests are sent, account what was spent."""

from __future__ import annotations

from collections.abc import Sequence

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference.providers.base import ModelResponse, Provider
from mpta_pipeline.inference.requests import ModelRequest, calls_needed
from mpta_pipeline.inference.run_control import Budget

BYTES_PER_TOKEN = 3.0  # cautious for English (4); used for reservations only, accounts use the provider's count
TYPICAL_BYTES_PER_TOKEN = 4.0  # used for estimates


class Spending:
    """What one model may spend, and has spent, in one run.

    Args:
        provider: The model's provider.
        budgets: Budgets of the caller; they may be shared with other models.
    """

    def __init__(self, provider: Provider, budgets: Sequence[Budget]) -> None:
        self.provider = provider
        self.spec = provider.spec
        self.budgets = list(budgets)
        self.exceeded: Budget | None = None
        """The budget that did not allow a request."""
        self.closed = False
        """Nothing may be spent now: the model waits for an approval."""
        self._excess = 1.0
        """How much more than estimated a request has cost at most. The first is sent alone, so later ones profit."""

    def add_own_budget(self, spent: float) -> None:
        """Add the budget of the model's entry, of which earlier runs have `spent` some.

        Raises:
            ModelError: There is a budget, but the entry names no price.
        """
        if self.spec.budget is not None:
            own = Budget(self.spec.budget)
            own.spent = spent
            self.budgets.append(own)
        if self.spec.price is None and self.spec.budget is None and self.spec.is_local:
            self.budgets.clear()  # a model on this machine without a price costs nothing
        if self.budgets and self.spec.price is None:
            raise ModelError(
                f"Model {self.spec.name} has a budget but no price",
                file=self.spec.source,
                variable=f"models.{self.spec.name}.price",
                remedy="give its price per million tokens, or remove the budget",
            )

    def tokens(self, request: ModelRequest) -> int:
        """Return an upper estimate of a request's prompt tokens."""
        sent = len(request.user.encode()) + len((request.system or "").encode()) + request.told
        return int(sent / BYTES_PER_TOKEN) + 16

    def estimate(self, request: ModelRequest, *, typical: bool = False) -> float:
        """Return the US dollars that a request costs at most, or `typical`ly, by its length and its token limit."""
        price = self.spec.price
        if price is None:
            return 0.0
        tokens = self.tokens(request)
        tokens = int(tokens * BYTES_PER_TOKEN / TYPICAL_BYTES_PER_TOKEN) if typical else tokens
        calls = calls_needed(request.elicitation, len(request.options))
        return calls * price.of(tokens, self.provider.limit(request.elicitation), batch=self.spec.batch)

    def reserve(self, request: ModelRequest) -> float | None:
        """Reserve the most that a request can cost; None if a budget, or a missing approval, does not allow it."""
        if self.closed:
            return None
        most = self.estimate(request) * self._excess if self.budgets else 0.0
        for i, budget in enumerate(self.budgets):
            if not budget.reserve(most):
                for earlier in self.budgets[:i]:
                    earlier.settle(most, 0.0)
                self.exceeded = budget
                return None
        return most

    def settle(self, reserved: float, spent: float) -> None:
        """Replace a reservation by what was spent."""
        for budget in self.budgets:
            budget.settle(reserved, spent)

    def cost(self, request: ModelRequest, response: ModelResponse) -> float:
        """Return the US dollars that a response cost, by the provider's count of tokens, else by our estimate."""
        if self.spec.price is None:
            return 0.0
        prompt, completion = response.prompt_tokens, response.completion_tokens
        prompt = self.tokens(request) if prompt is None else prompt
        completion = self.provider.limit(request.elicitation) if completion is None else completion
        return self.spec.price.of(prompt, completion, min(response.cached_tokens, prompt), batch=self.spec.batch)

    def learn(self, request: ModelRequest, response: ModelResponse, cost: float) -> None:
        """Reserve more for later requests if this one cost more than estimated."""
        if self.budgets and response.prompt_tokens is not None:
            self._excess = max(self._excess, cost / max(self.estimate(request), 1e-12))
