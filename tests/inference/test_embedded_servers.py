"""Protects what makes responses of the embedded model depend on the prompt alone, with several servers side by side.

The servers are fakes that keep llama.cpp's state, and refuse a prompt that does not start from its pinned prefix. What
the real model makes of it is in test_embedded.py.
"""

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpta_pipeline import inference
from mpta_pipeline.inference import engine
from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers import embedded
from mpta_pipeline.inference.requests import ModelRequest

REPOSITORY = Path(__file__).parents[2]
MODEL = inference.load_models(REPOSITORY / "dagster_home" / "models.yaml")["smollm2"]


def _spec(**options: int) -> inference.ModelSpec:
    return MODEL.model_copy(update={"options": MODEL.options.model_copy(update=options)})


def _request(persona: int, item: int) -> ModelRequest:
    return ModelRequest(f"{persona}-{item}", f"You are {persona}.", f"Item {item}", ("a", "b"), "letter", str(persona))


@dataclass
class Slots:
    """The state of each server's slot: the prefix that is pinned, and whether only that is in the slot."""

    failures: random.Random | None = None
    busy: set[str] = field(default_factory=set)
    pinned: dict[str, str | None] = field(default_factory=dict)
    clean: dict[str, bool] = field(default_factory=dict)
    evaluated: Counter[str] = field(default_factory=Counter)
    started: itertools.count = field(default_factory=itertools.count)

    def start(self) -> SimpleNamespace:
        return SimpleNamespace(listening_address=f"http://127.0.0.1:{next(self.started)}")

    async def call(self, path, body, read):
        address, _, kind = path.removeprefix("http://").partition("/")
        assert address not in self.busy, "a server evaluates one request at a time"
        self.busy.add(address)
        await asyncio.sleep(0)
        try:
            if self.failures is not None and self.failures.random() < 0.1:
                self.pinned[address], self.clean[address] = None, False
                raise ProviderError(ErrorKind.SERVER, "a fault")
            return read(self.answer(address, kind, body))
        finally:
            self.busy.discard(address)

    def answer(self, address, kind, body):
        if kind == "apply-template":
            return {"prompt": "".join(m["content"] for m in body["messages"])}
        if kind == "tokenize":
            return {"tokens": [body["content"]]}
        if kind == "completion":
            (prefix,) = body["prompt"]
            if not body["cache_prompt"]:
                self.pinned[address], self.clean[address] = prefix, False
                self.evaluated[prefix] += 1
            else:
                assert self.pinned[address] == prefix, "cut back to a prefix that was not evaluated from an erased slot"
                self.clean[address] = True
            return {"content": ""}
        assert kind == "v1/chat/completions"
        assert self.clean[address] and self.pinned[address] == body["messages"][0]["content"], "not its own prefix"
        self.clean[address] = False
        text = {"message": {"content": body["messages"][1]["content"]}, "finish_reason": "stop"}
        return {"choices": [text], "model": "m"}


async def _ask(requests: list[ModelRequest], slots: Slots, workers: int, servers: int) -> list[str | None]:
    provider = embedded.Embedded(_spec(servers=servers))
    provider._start = slots.start
    left, texts = iter(requests), {}

    async def work() -> None:
        for request in left:
            while request.request_hash not in texts:
                try:
                    texts[request.request_hash] = (await provider.complete(request, slots.call)).text
                except ProviderError:
                    assert slots.failures is not None

    await asyncio.gather(*(work() for _ in range(workers)))
    assert len(provider._servers) <= servers
    return [texts[request.request_hash] for request in requests]


@pytest.mark.parametrize("seed", range(6))
def test_each_prompt_starts_from_its_pinned_prefix_whatever_the_order(seed: int):
    """Shuffled, with more workers than servers, and with server errors at random."""
    chance = random.Random(seed)
    requests = [_request(persona, item) for persona in range(4) for item in range(5)]
    chance.shuffle(requests)
    slots = Slots(failures=chance if seed % 2 else None)
    texts = asyncio.run(_ask(requests, slots, workers=5, servers=1 + seed % 3))
    assert texts == [request.user for request in requests]


def test_a_persona_keeps_its_server():
    """Two workers with whole personas: each prefix is evaluated once."""
    requests = [_request(persona, item) for persona in range(6) for item in range(4)]
    slots = Slots()

    async def ask() -> None:
        provider = embedded.Embedded(_spec(servers=2))
        provider._start = slots.start
        pieces = engine._by_group(iter(requests), None)

        async def work() -> None:
            for piece in pieces:
                for request in piece:
                    await provider.complete(request, slots.call)

        await asyncio.gather(work(), work())

    asyncio.run(ask())
    assert set(slots.evaluated.values()) == {1} and len(slots.evaluated) == 6


def test_a_large_group_is_divided_among_workers():
    requests = [_request(persona, item) for persona, n in ((0, 70), (1, 3)) for item in range(n)]
    pieces = list(engine._by_group(iter(requests), 32))
    assert [len(piece) for piece in pieces] == [32, 32, 6, 3]
    assert [request for piece in pieces for request in piece] == requests


def test_servers_are_as_many_as_the_entry_says():
    assert (_spec().concurrency, _spec(servers=5).concurrency) == (1, 5)
