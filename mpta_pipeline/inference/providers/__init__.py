"""Providers by the name that `models.yaml` uses; one file each."""

from __future__ import annotations

from collections.abc import Mapping

from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.providers.anthropic import Anthropic
from mpta_pipeline.inference.providers.base import Provider
from mpta_pipeline.inference.providers.embedded import Embedded
from mpta_pipeline.inference.providers.gemini import Gemini
from mpta_pipeline.inference.providers.openai import OpenAI

PROVIDERS: Mapping[str, type[Provider]] = {
    "embedded": Embedded,
    "openai": OpenAI,
    "anthropic": Anthropic,
    "gemini": Gemini,
}


def provider_for(spec: ModelSpec) -> Provider:
    """The provider of a model."""
    return PROVIDERS[spec.provider](spec)
