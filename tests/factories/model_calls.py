"""What the inference engine takes: a model specification with short timeouts, and prompts."""

from collections.abc import Callable
from typing import Any

import polars as pl

from mpta_pipeline import inference


def make_spec(url: str, **values: Any) -> inference.ModelSpec:
    """A model of the server at this URL, with timeouts of seconds."""
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
