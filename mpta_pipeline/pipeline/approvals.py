"""Find the requests that wait for an approval: per model and task, how many and what they would cost. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import listed
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import model_tasks
from mpta_pipeline.pipeline.steps.inference import planned_prompts
from mpta_pipeline.pipeline.stored import made


@dataclass(frozen=True)
class Unsent:
    """Requests of a model and a task that were not sent yet and cost money.

    Attributes:
        pair: The model and the task.
        requests: Requests without a response that the data-use policy permits.
        dollars: What they are estimated to cost, in US dollars.
        because: Why they may not be sent without a person, as the end of a sentence; None if they may.
    """

    pair: ModelTask
    requests: int
    dollars: float
    because: str | None

    @property
    def text(self) -> str:
        """What waits, in words."""
        price = f"{self.requests:,} request(s), about {self.dollars:,.2f} US$"
        model = self.pair.model
        return (
            f"{price}, wait for an approval, because the model {self.because}; `mpta approve {model}` lets the daemon "
            f"send them, `mpta run --models {model}` sends them now"
        )


def unsent(
    deployment: Deployment, models: Sequence[str] = (), tasks: Sequence[str] = (), *, waiting: bool = False
) -> Iterator[Unsent]:
    """Requests that cost money and were not sent yet, as far as their prompts exist.

    Args:
        deployment: The deployment.
        models: Models to look at; none means all.
        tasks: Tasks to look at; none means all.
        waiting: Only those that wait for an approval.
    """
    for pair in model_tasks(deployment):
        spec = deployment.model(pair.model)
        if (models and pair.model not in models) or (tasks and pair.task not in tasks):
            continue
        if not inference.costs_money(spec) or made(deployment, Node("prompts", pair.task)) is None:
            continue
        permission = deployment.spending_permission(pair.model)
        if waiting and permission.granted:
            continue
        try:
            planned = inference.plan(
                spec, planned_prompts(deployment, spec, [pair.task]), deployment.layout.ledger(pair.model)
            )
        except ModelError:  # it cannot be asked these prompts; a run says why, and sends nothing
            continue
        if planned.calls:
            because = None if permission.granted else permission.because
            yield Unsent(pair, planned.calls, planned.price or 0.0, because)


def waiting_models(deployment: Deployment) -> dict[str, str]:
    """The models that may not be asked without a person, each with the reason. Looks at no prompt."""
    found = {name: deployment.spending_permission(name) for name in deployment.models}
    return {name: permission.because for name, permission in found.items() if not permission.granted}


def never_asked(deployment: Deployment) -> dict[str, str]:
    """As `waiting_models`, those whose ledger holds nothing: there is nothing to store before they are approved."""
    return {
        name: because
        for name, because in waiting_models(deployment).items()
        if not any(listed(deployment.layout.ledger(name), pattern) for pattern in ("part-*", "*.log", "*batches*"))
    }
