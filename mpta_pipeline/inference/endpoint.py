"""Open a model's endpoint: check its address, start it if it runs in this process, and connect to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mpta_pipeline.inference.http_client import HttpClient
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_errors import ModelUnusableError
from mpta_pipeline.inference.providers.base import Provider
from mpta_pipeline.inference.throttle import Throttle


def check_address(spec: ModelSpec) -> None:
    """Check that the entry's address can be one.

    Raises:
        ModelUnusableError: It cannot.
    """
    if problem := spec.address_problem:
        raise ModelUnusableError(
            f"Model {spec.name} has no valid address: {problem}",
            nothing_answered=True,
            file=spec.source,
            variable=f"models.{spec.name}.base_url",
            value=spec.url,
            remedy="correct it, e.g. http://127.0.0.1:8000/v1; other models are not affected",
        )


@asynccontextmanager
async def open_endpoint(
    spec: ModelSpec, provider: Provider, cache_dir: Path, key: str | None, secrets: tuple[str, ...]
) -> AsyncIterator[HttpClient]:
    """Start the endpoint if it runs in this process, and yield a client that is connected to it."""
    async with provider.running(cache_dir) as base_url:
        throttle = Throttle(
            spec.concurrency,
            spec.requests_per_minute,
            spec.tokens_per_minute,
            timeout=spec.timeouts.first_byte,
        )
        async with HttpClient(
            spec, base_url, provider.headers(key), secrets, provider.classify_error, throttle, provider.retries
        ) as client:
            yield client


def run_async(work: Any) -> None:
    """Run a coroutine to its end, in a thread of its own if the caller already runs an event loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    failure: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="mpta-inference")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
