"""Every source × endpoint × change of its policy: what is sent follows the policy at the moment of sending."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import polars as pl
import yaml

from mpta_pipeline import inference
from mpta_pipeline.core.errors import PolicyError
from mpta_pipeline.pipeline.steps.inference import as_permitted
from mpta_pipeline.surveys import SourceRegistry, load_sources
from tests.attack.campaigns import Outcome
from tests.factories.deployment import Server, serving
from tests.factories.model_calls import make_prompts, make_spec

# A model that the server on this machine passes on is elsewhere; the loopback server answers for it.
ENDPOINTS = {
    "local": {"model": "m"},
    "elsewhere": {"model": "m:cloud"},
    "elsewhere, trusted": {"model": "m:cloud", "trusted": True},
}
POLICIES = {"any": {"data_use": "any"}, "local_only": {"data_use": "local_only"}, "disabled": {"use": False}}
PERSONAS, ALL = 4, 6  # prompts, of which the first show a persona


def policies(root: Path, sources: int | None = None) -> Iterator[Outcome]:
    """Send prompts under one policy, then others under another, for all sources or the first few."""
    codebooks = [source.codebook for source in load_sources()][:sources]
    with serving() as server:
        for turn, (codebook, endpoint, change) in enumerate(product(codebooks, ENDPOINTS, product(POLICIES, POLICIES))):
            folder = root / str(turn)
            folder.mkdir()
            problem = ""
            for step, policy in enumerate(change):
                problem = problem or _step(server, folder, codebook, endpoint, policy, step)
            yield Outcome(f"{endpoint} endpoint", problem and f"{codebook}, {' → '.join(change)}: {problem}")


def _step(server: Server, folder: Path, codebook: str, endpoint: str, policy: str, step: int) -> str:
    file = folder / "surveys.yaml"
    file.write_text(yaml.safe_dump({"sources": {codebook: POLICIES[policy]}}))
    registry = load_sources(file)
    spec = make_spec(server.url, **ENDPOINTS[endpoint])
    prompts = _prompts(registry, codebook, step)
    server.asked.clear()
    try:
        inference.send_requests(spec, prompts, folder / "ledger")
    except PolicyError as refusal:
        return f"refused altogether: {refusal}"
    may = endpoint != "elsewhere" or (policy == "any" and registry.closed(registry[codebook]) is None)
    expected = ALL if may else ALL - PERSONAS
    if len(server.asked) != expected:
        return f"{len(server.asked)} instead of {expected} prompts were sent"
    return "" if all(times == 1 for times in server.asked.values()) else "a prompt was sent twice"


def _prompts(registry: SourceRegistry, codebook: str, step: int) -> pl.DataFrame:
    """Prompts as they were stored under the most open policy, with the policy of today."""
    ids = [f"r{i}" if i < PERSONAS else None for i in range(ALL)]
    stored = make_prompts([f"{codebook} {step} {i}" for i in range(ALL)], shown_respondent_id=ids)
    personas = pl.DataFrame({"respondent_id": ids[:PERSONAS], "codebook": [codebook] * PERSONAS})
    use = pl.col("codebook").replace_strict(registry.permitted, default="local_only", return_dtype=pl.String)
    return as_permitted(stored, personas, use)
