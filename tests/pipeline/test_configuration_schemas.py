"""JSON schemas of the configuration files accept what the code accepts, refuse what it refuses, explain every key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mpta_pipeline import inference
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.study import load_study
from mpta_pipeline.pipeline import configuration_schemas as made
from mpta_pipeline.surveys import load_sources

ROOT = Path(__file__).parents[2]
SCHEMAS = made.schemas()
READ = {"study.yaml": load_study, "models.yaml": inference.load_models, "surveys.yaml": load_sources}
MODEL = "provider: openai, model: m"

# (file, text, whether it is valid). Every text goes through the schema and through the code that reads the file.
TEXTS = [
    ("study.yaml", "{name: a, tasks: {t: {kind: value_alignment}}}", True),
    ("study.yaml", "{name: a, tasks: {t: {kind: bbq, path: Age.jsonl, items: 4, options: {download: true}}}}", True),
    ("study.yaml", "{name: a, conditions: [persona, placebo], tasks: {t: {kind: bbq, conditions: null}}}", True),
    ("study.yaml", "{name: a, surveys: [gss], panel: {strata: []}, tasks: {t: {kind: bbq}}}", True),
    ("study.yaml", "{name: a, figures: {country_groups: {north: [SWE]}}, tasks: {t: {kind: bbq}}}", True),
    ("study.yaml", "{name: a, schedules: {watch: null}, budget: 3.5, tasks: {t: {kind: bbq}}}", True),
    ("study.yaml", "{name: a, tasks: {}}", False),
    ("study.yaml", "{tasks: {t: {kind: bbq}}}", False),
    ("study.yaml", "{name: a, tasks: {t: {path: x.csv}}}", False),
    ("study.yaml", "{name: a, panel: {sizes: 3}, tasks: {t: {kind: bbq}}}", False),
    ("study.yaml", "{name: a, panel: {size: 0}, tasks: {t: {kind: bbq}}}", False),
    ("study.yaml", "{name: a, conditions: [persona, shuffled], tasks: {t: {kind: bbq}}}", False),
    ("study.yaml", "{name: a, figures: {level: 1}, tasks: {t: {kind: bbq}}}", False),
    ("models.yaml", "models: {echo: {provider: simulated, accuracy: 0.8}}", True),
    ("models.yaml", f"models: {{a: {{{MODEL}}}}}", True),
    ("models.yaml", f"models: {{a: {{{MODEL}, reasoning: off}}, b: {{{MODEL}, reasoning: 512}}}}", True),
    ("models.yaml", f"models: {{a: {{{MODEL}, reasoning: {{effort: low}}, price: {{input: 1}}}}}}", True),
    ("models.yaml", "models: {a: {provider: embedded, model: m, file: x.gguf, threads: 2}}", True),
    ("models.yaml", f"models: {{a: {{{MODEL}, parameters: {{top_p: 0.5}}, trusted: true}}}}", True),
    ("models.yaml", "models: {a: {provider: simulated, accuracy: 0.8}}", True),
    ("models.yaml", "models: {a: {provider: openai}}", False),
    ("models.yaml", "models: {a: {model: m}}", False),
    ("models.yaml", f"models: {{a: {{{MODEL}, key: sk}}}}", False),
    ("models.yaml", f"models: {{a b: {{{MODEL}}}}}", False),
    ("models.yaml", f"models: {{a: {{{MODEL}, name: b}}}}", True),  # the code ignores it: see below
    ("models.yaml", f"models: {{a: {{{MODEL}, budget: -1}}}}", False),
    ("models.yaml", f"models: {{a: {{{MODEL}, elicitations: [letters]}}}}", False),
    ("models.yaml", "{}", False),
    ("surveys.yaml", "sources: {gss: {data_use: local_only}}", True),
    ("surveys.yaml", "{directories: [more], sources: {joint: {acknowledged: yes I may}}}", True),
    ("surveys.yaml", "sources: {gss: {watch: [{file: 'https://example.org/a.sav'}], accept: {x: why}}}", True),
    ("surveys.yaml", "sources: {gss: {data_use: nobody}}", False),
    ("surveys.yaml", "sources: {gss: {useful: true}}", False),
]
# Where the schema is stricter, on purpose: the code takes the entry's key in place of `name`.
STRICTER = {f"models: {{a: {{{MODEL}, name: b}}}}"}


def problems(file: str, document: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(SCHEMAS[file]).iter_errors(document)]


@pytest.mark.parametrize(("file", "text", "valid"), TEXTS)
def test_schema_and_code_agree(file: str, text: str, valid: bool, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    try:
        READ[file](tmp_path / file)
        accepted = True
    except MptaError:
        accepted = False
    assert accepted == valid
    found = problems(file, yaml.safe_load(text))
    assert (not found) == (valid and text not in STRICTER), found


@pytest.mark.parametrize("file", SCHEMAS)
def test_a_schema_is_a_schema_and_explains_every_key(file: str) -> None:
    schema = SCHEMAS[file]
    jsonschema.Draft7Validator.check_schema(schema)
    for name, one in {"": schema, **schema["definitions"]}.items():
        for key, value in one.get("properties", {}).items():
            explained = value.get("description") or set(value) == {"$ref"}
            assert explained, f"{file}: {name}.{key} has no meaning"


@pytest.mark.parametrize("file", SCHEMAS)
def test_the_files_that_init_writes_name_their_schema_and_conform_to_it(file: str) -> None:
    text = (ROOT / "dagster_home" / file).read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={made.file_name(file)}"
    assert problems(file, yaml.safe_load(text)) == []


def test_the_commented_examples_of_models_conform() -> None:
    text = (ROOT / "dagster_home/models.yaml").read_text(encoding="utf-8").split("# Examples:")[1].split("#\n", 1)[1]
    entries = yaml.safe_load("\n".join(line.strip().removeprefix("#")[1:] for line in text.splitlines()))
    assert len(entries) >= 6
    assert problems("models.yaml", {"models": entries}) == []


def test_records_of_the_deployment_are_suggested(tmp_path: Path) -> None:
    (tmp_path / "task_kinds").mkdir()
    recipes = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = recipes.split("`mpta_pipeline/tasks/kinds/rivers.yaml`\n\n```yaml\n")[1].split("```")[0]
    (tmp_path / "task_kinds/rivers.yaml").write_text(source, encoding="utf-8")
    (tmp_path / "surveys.yaml").write_text("not: [valid", encoding="utf-8")
    suggested = made.schemas(tmp_path)["study.yaml"]["definitions"]["TaskConfig"]["properties"]["kind"]["anyOf"][0]
    assert {"rivers", "bbq"} <= set(suggested["enum"])
