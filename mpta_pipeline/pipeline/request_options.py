"""How a run sends requests to models: progress, budget, retries, stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from mpta_pipeline import inference
from mpta_pipeline.pipeline.deployment import Deployment


@dataclass(frozen=True)
class RequestOptions:
    """Options of a run that sends requests. They decide what is sent now, never what a request contains.

    Attributes:
        progress: Called a few times per second for each model; null shows nothing.
        budget: US dollars that all models of the run may spend together; null sets no limit.
        retry_errors: Send requests again that failed for good before.
        stop: Ends the run from another thread.
        approved: A person started the run and was shown what it costs, so that no model waits for an approval. The
            daemon and scheduled runs do not set it.
    """

    progress: Callable[[inference.RequestProgress], None] | None = None
    budget: inference.Budget | None = None
    retry_errors: bool = False
    stop: inference.Stop = field(default_factory=inference.Stop)
    approved: bool = False


_current: ContextVar[RequestOptions | None] = ContextVar("request_options", default=None)


@contextmanager
def request_options(options: RequestOptions) -> Iterator[None]:
    """Use these options in this context."""
    token = _current.set(options)
    try:
        yield
    finally:
        _current.reset(token)


def current_options(
    deployment: Deployment,
    progress: Callable[[inference.RequestProgress], None] | None = None,
    *,
    retry_errors: bool = False,
) -> RequestOptions:
    """The options of the context; if it sets none, those given here, with the study's budget."""
    limit = deployment.study.budget
    return _current.get() or RequestOptions(progress, None if limit is None else inference.Budget(limit), retry_errors)


def queue_of(deployment: Deployment, model: str) -> str:
    """The queue in which a model's requests wait: models with weights on this machine share one and take turns."""
    spec = deployment.models.get(model)
    return "this machine" if spec is not None and spec.provider_class.in_process else model
