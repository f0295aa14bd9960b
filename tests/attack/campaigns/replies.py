"""Odd and mutated responses of each provider: an answer, an error row or one message about the model; nothing else."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpta_pipeline import inference
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference import http_client
from tests.attack.campaigns import Outcome
from tests.factories.model_calls import make_prompts, make_spec
from tests.factories.provider_server import Answer, Request, Server
from tests.inference.test_hostile_endpoints import ODD

WIRE = Path(__file__).parents[2] / "inference" / "wire"
PROVIDERS = ("openai", "anthropic", "gemini")
STATUSES = (200, 200, 400, 500)
VALUES: list[Any] = [None, True, -1, 1e308, "", "A" * 3000, [], {}, [None], {"a": [[]]}, "\ud800", 10**25]


def replies(n: int, root: Path, seed: int = 19) -> Iterator[Outcome]:
    """Answer `n` requests with the suite's odd responses and with mutations of recorded ones."""
    rng = random.Random(seed)
    bodies = [body for _, body in zip(range(n), _bodies(rng), strict=False)]

    def decide(request: Request) -> Answer:
        turn = int(request.text.split()[-1])
        status = STATUSES[turn % len(STATUSES)]
        return Answer(status, raw=json.dumps(bodies[turn]).encode("utf-8", "surrogatepass"))

    server = Server()
    server.decide = decide
    before, http_client.FIRST_WAIT = http_client.FIRST_WAIT, 0.01
    try:
        with server.running():
            for turn in range(n):
                provider = PROVIDERS[turn % len(PROVIDERS)]
                base = server.url.removesuffix("/v1") + ("/v1beta" if provider == "gemini" else "/v1")
                spec = make_spec(base, provider=provider, attempts=1)
                problem = _held(spec, turn, root / str(turn))
                yield Outcome(provider, problem and f"{json.dumps(bodies[turn])[:150]}: {problem}")
    finally:
        http_client.FIRST_WAIT = before


def _bodies(rng: random.Random) -> Iterator[Any]:
    yield from ODD
    recorded = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(WIRE.glob("*.json"))]
    while True:
        document = rng.choice(recorded)
        yield _mutated(document.get("response", document) if isinstance(document, dict) else document, rng)


def _mutated(value: Any, rng: random.Random) -> Any:
    """A copy in which one place, at any depth, is replaced, removed or doubled."""
    copy = json.loads(json.dumps(value))
    at = copy
    while isinstance(at, dict | list) and at:
        key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
        inner = at[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.75:
            at = inner
            continue
        how = rng.randrange(3)
        if how == 0:
            at[key] = rng.choice(VALUES)
        elif how == 1:
            del at[key]
        else:
            at[key] = [inner, inner]
        break
    return copy


def _held(spec: inference.ModelSpec, turn: int, ledger: Path) -> str:
    try:
        report = inference.send_requests(spec, make_prompts([f"x {turn}"]), ledger)
    except ModelError as failure:
        text = str(failure)
        return "" if "Remedy" in text and "unexpected error" not in text else f"an unclear message: {text[:200]}"
    except BaseException as failure:
        if isinstance(failure, KeyboardInterrupt):
            raise
        return f"{type(failure).__name__}: {str(failure)[:200]}"
    return "" if report.answered + report.errors == 1 else f"neither answer nor error: {report}"
