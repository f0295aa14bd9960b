import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mpta_pipeline import inference
from mpta_pipeline.inference import http_client
from tests.factories.model_calls import make_spec
from tests.factories.provider_server import Answer, Request, Server


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backoff in hundredths of seconds, and no proxy or key of this machine."""
    monkeypatch.setattr(http_client, "FIRST_WAIT", 0.01)
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server().running() as running:
        yield running


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server that decides by a function of the request (and of the server itself)."""
    with contextlib.ExitStack() as stack:

        def start(decide: Callable[[Server, Request], Answer], **values: Any) -> Server:
            server = Server(**values)
            server.decide = lambda request: decide(server, request)
            return stack.enter_context(server.running())

        yield start


@pytest.fixture
def spec(server: Server) -> inference.ModelSpec:
    return make_spec(server.url)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "mock"
