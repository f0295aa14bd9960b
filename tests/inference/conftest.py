import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mpta_pipeline import inference
from mpta_pipeline.inference import http_client
from tests.inference.server import Answer, Request, Server


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


def make_spec(url: str, **values: Any) -> inference.ModelSpec:
    fast = {"connect": 2, "first_byte": 1.0, "whole": 2.0, "patience": 20}
    given = {"name": "mock", "provider": "openai", "model": "mock-1", "base_url": url, "connections": 8, "attempts": 3}
    return inference.ModelSpec.model_validate(given | {"timeouts": fast} | values)


def make_prompts(users: list[str], *, group: Callable[[int], str] | None = None, **values: Any) -> pl.DataFrame:
    """Prompts with these user messages, three options, letters, one persona for four prompts."""
    n = len(users)
    columns: dict[str, Any] = {
        "prompt_id": [f"p{i:05d}" for i in range(n)],
        "task": "t",
        "survey": "gss",
        "system": [f"You are person {i // 4}." for i in range(n)],
        "user": users,
        "options": [["yes", "no", "maybe"]] * n,
        "elicitation": "letter",
        "group": [group(i) if group else f"g{i // 4}" for i in range(n)],
        "data_use": "any",
    }
    return pl.DataFrame(columns | values, schema_overrides={"system": pl.String})


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "mock"
