"""Make JSON schemas of the configuration files, by which editors complete keys, show their meaning and mark mistakes.

`mpta init` writes them beside the files. They are made from the same classes that validate the files, so they
differ from those only where JSON schema cannot say the same. Names that a deployment may add to (task kinds, providers)
are suggestions, not limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mpta_pipeline.core.configuration import key_meanings
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.published_figures import FILE as PUBLISHED
from mpta_pipeline.core.published_figures import PublishedStudy
from mpta_pipeline.core.study import Study
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_registry import providers_of
from mpta_pipeline.surveys import load_sources
from mpta_pipeline.surveys.source_registry import Source, SurveyConfig, packaged_sources
from mpta_pipeline.tasks import task_kinds
from mpta_pipeline.tasks.task_kind import COMMON_OPTIONS

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that YAML language servers read."""

# A folder in which nobody has put anything of their own.
_PACKAGED = Path(__file__).parent
# Keys of an entry that `models.yaml` does not have: its name is the key of the mapping.
_NOT_IN_ENTRIES = ("name", "source", "options")
_SHORT_REASONING = [
    {"type": "integer", "minimum": 0, "description": "Tokens of thought, in addition to those of the answer"},
    {"type": "boolean", "description": "off: no thought, if the provider can; on: with the default budget"},
    {"enum": ["off", "on"]},
]


def file_name(configuration_file: str) -> str:
    """Name of the schema of a configuration file: study.yaml → study.schema.json."""
    return f"{Path(configuration_file).stem}.schema.json"


def schemas(config: Path = _PACKAGED) -> dict[str, dict[str, Any]]:
    """The schema of each configuration file: `study.yaml`, `models.yaml` and `surveys.yaml`.

    Args:
        config: Configuration folder whose own task kinds, providers and sources are suggested, too; by default none.
    """
    return {"study.yaml": _study(config), "models.yaml": _models(config), "surveys.yaml": _surveys(config)}


def write(folder: Path, config: Path = _PACKAGED) -> list[Path]:
    """Write the schemas into a folder, with that of `published.yaml` if the folder has one; returns the files."""
    written = []
    found = schemas(config) | ({PUBLISHED: published()} if (folder / PUBLISHED).exists() else {})
    for name, schema in found.items():
        path = folder / file_name(name)
        path.write_text(text(schema), encoding="utf-8")
        written.append(path)
    return written


def published() -> dict[str, Any]:
    """The schema of `published.yaml`, which few deployments have."""
    return _titled(_of(PublishedStudy), f"{PUBLISHED}: a published study beside this one")


def text(schema: Mapping[str, Any]) -> str:
    """A schema as it is written to its file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _study(config: Path) -> dict[str, Any]:
    schema = _of(Study)
    kinds = dict(sorted(task_kinds(config).kinds.items()))
    task = schema["definitions"]["TaskConfig"]
    task["properties"]["kind"] |= _suggested(kinds)
    task["properties"]["kind"]["description"] = "What is asked. " + "; ".join(
        f"{n}: {k.title}" for n, k in kinds.items()
    )
    task["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": name}}},
            "then": {
                "properties": {
                    "options": {
                        "properties": {
                            option: {"description": meaning}
                            for option, meaning in {**COMMON_OPTIONS, **kind.options}.items()
                        }
                    }
                }
            },
        }
        for name, kind in kinds.items()
    ]
    families = {source.family for source in _sources(config).values()}
    schema["properties"]["surveys"]["anyOf"] = [{"type": "array", "items": _suggested(families)}, {"type": "null"}]
    return _titled(schema, "study.yaml: the study")


def _models(config: Path) -> dict[str, Any]:
    entry = _of(ModelSpec)
    definitions = entry.pop("definitions", {})
    properties = {name: one for name, one in entry["properties"].items() if name not in _NOT_IN_ENTRIES}
    definitions = {name: one for name, one in definitions.items() if name != "ProviderOptions"}
    providers = providers_of(config).by_name
    any_key = False
    for name, provider in sorted(providers.items()):
        own = _of(provider.Options)
        any_key |= provider.Options.model_config.get("extra") == "allow"
        definitions |= own.get("definitions", {})
        for key, value in own.get("properties", {}).items():
            properties[key] = value | {"description": f"Provider {name} only. {value.get('description', '')}".strip()}
    properties["provider"] |= _suggested(providers)
    properties["reasoning"]["anyOf"] = [*properties["reasoning"]["anyOf"], *_SHORT_REASONING]
    entry |= {
        "properties": properties,
        "required": ["provider"],
        # A control needs no model's name.
        "if": {"properties": {"provider": {"enum": [name for name, one in providers.items() if one.control]}}},
        "else": {"required": ["model"]},
        "additionalProperties": any_key,
        "description": "One model.",
    }
    return _titled(
        {
            "type": "object",
            "properties": {
                "models": {
                    "type": "object",
                    "description": "Name → model. The name is the model's name in every table.",
                    "additionalProperties": {"$ref": "#/definitions/Model"},
                    "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]*$"},
                }
            },
            "required": ["models"],
            "additionalProperties": False,
            "definitions": {"Model": entry} | definitions,
        },
        "models.yaml: the models",
    )


def _surveys(config: Path) -> dict[str, Any]:
    schema = _of(SurveyConfig)
    known = _sources(config)
    # Under `properties`, names are completed; `additionalProperties` allows sources of one's own.
    schema["properties"]["sources"]["properties"] = {name: {"$ref": "#/definitions/Policy"} for name in sorted(known)}
    return _titled(schema, "surveys.yaml: folders, and what may be done with each source")


def _sources(config: Path) -> Mapping[str, Source]:
    """Codebook → source. Without a valid `surveys.yaml`, only the packaged ones are known."""
    try:
        return load_sources(config / "surveys.yaml").sources
    except ConfigError:
        return packaged_sources().sources


def _suggested(names: Any) -> dict[str, Any]:
    """A text for which names are suggested, and others allowed."""
    return {"anyOf": [{"enum": sorted(names)}, {"type": "string"}]}


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    return {"$schema": DRAFT, "title": title} | {k: v for k, v in schema.items() if k != "title"}


def _of(model: type[BaseModel]) -> dict[str, Any]:
    """Pydantic's schema of a class, in draft 7, with each key's meaning from the class's docstring."""
    schema = model.model_json_schema(ref_template="#/definitions/{model}")
    schema["definitions"] = schema.pop("$defs", {})
    for one in _classes(model):
        place = schema if one is model else schema["definitions"].get(one.__name__)
        if place is None:
            continue
        place["description"] = " ".join((one.__doc__ or "").split("Attributes:")[0].split())
        place.pop("title", None)
        meanings = key_meanings(one)
        for name, value in place.get("properties", {}).items():
            value.pop("title", None)
            if name in meanings:
                _describe(place["properties"], name, meanings[name])
    return schema


def _describe(properties: dict[str, Any], name: str, meaning: str) -> None:
    """Draft 7 ignores what stands beside `$ref`, so the reference moves into `allOf`."""
    value = properties[name]
    if "$ref" in value:
        value = {"allOf": [{"$ref": value["$ref"]}]} | {k: v for k, v in value.items() if k != "$ref"}
    properties[name] = {"description": meaning} | value


def _classes(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The class and those of its nested mappings."""
    yield model
    seen = {model}
    waiting = [field.annotation for field in model.model_fields.values()]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
            seen.add(annotation)
            yield annotation
            waiting += [field.annotation for field in annotation.model_fields.values()]
        waiting += list(getattr(annotation, "__args__", ()))
