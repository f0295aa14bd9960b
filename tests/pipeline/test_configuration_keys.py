"""Every key of every configuration file: what the graph calls stale is rebuilt, and ends as if made from scratch.

A change of one key is followed by what `mpta run` makes, and the result is compared, byte for byte, with tables that
are made from nothing but the snapshots and the ledger. So a key that a step reads behind the graph's back is found.
The suite tries some keys of each file; `MPTA_KEYS=all pytest tests/pipeline/test_configuration_keys.py` tries them all
(about ten minutes).
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.core.provenance import Node, discard
from mpta_pipeline.core.study import Study
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import made
from mpta_pipeline.surveys.source_registry import SurveyConfig
from tests.factories.deployment import World, model, respondents, serving, write_wave
from tests.plain_run import bring_up_to_date

TASK = {"kind": "value_alignment", "items": 3, "items_per_persona": 2}
STUDY: dict[str, Any] = {
    "name": "test",
    "panel": {"size": 12, "strata": ["sex"]},
    "conditions": ["persona", "no_persona"],
    "tasks": {"value_alignment": TASK},
    "figures": {"dimensions": ["sex"], "min_personas": 5, "bootstrap": 50},
}


@dataclass(frozen=True)
class Change:
    """A key of a configuration file and another value than that of the base deployment.

    Attributes:
        key: The key, with dots.
        value: The value.
        stored: Whether the content of any stored table changes. A key of which none does is declared as such here.
        beside: Further keys that go with it, where a value needs them.
    """

    key: str
    value: Any
    stored: bool = True
    beside: Mapping[str, Any] = field(default_factory=dict)


def nothing(key: str, value: Any) -> Change:
    """A key that changes nothing that is stored."""
    return Change(key, value, stored=False)


IN_STUDY = [
    Change("name", "another"),
    Change("seed", 7),
    nothing("surveys", ["gss_extract"]),
    Change("models", ["loopback"]),
    nothing("budget", 3.0),
    Change("panel.size", 8),
    Change("panel.strata", ["age_band"]),
    Change("panel.allocation", "equal"),
    Change("traits.min", 9),
    Change("traits.max", 4),
    Change("traits.domains", ["demographic", "value"]),
    Change("traits.columns", ["sex", "age", "race", "abortion_poor", "abortion_rape"]),
    Change("traits.k_anonymity", 2),
    Change("styles", ["bullets"]),
    Change("framings", ["user_is"]),
    Change("conditions", ["persona", "no_persona", "placebo"]),
    Change("paraphrases", 2),
    nothing("least_readable", 0.3),
    Change("tasks.kind", "truthfulqa_binary"),
    Change("tasks.path", "myths.csv", beside={"tasks.kind": "truthfulqa_binary"}),
    Change("tasks.items", 2),
    Change("tasks.items_per_persona", 1),
    Change("tasks.orders", "given"),
    Change("tasks.elicitation", "verbalized"),
    Change("tasks.conditions", ["persona", "no_persona", "placebo"]),
    Change("tasks.options", {"columns": ["abortion_poor"]}),
    Change("figures.dimensions", ["sex", "age_band"]),
    Change("figures.min_personas", 7),
    Change("figures.min_items", 4),
    Change("figures.equivalence_margin", 0.3),
    Change("figures.level", 0.1),
    Change("figures.bootstrap", 60),
    Change("figures.country_groups", {"North": ["USA"]}),
    Change("figures.retest", "retest.csv"),
    *(
        nothing(f"schedules.{key}", value)
        for key, value in {
            "watch": None,
            "check": None,
            "refresh": "0 1 * * *",
            "timezone": "Europe/Berlin",
            "waves_stale_after": 3,
            "figures_stale_after": 4,
        }.items()
    ),
]
IN_MODELS = [
    Change("provider", "anthropic"),
    Change("api", "completions"),
    Change("base_url", "http://localhost:{port}/v1"),
    Change("model", "another"),
    Change("revision", "2026-01-01"),
    nothing("key_env", "MPTA_TEST_KEY"),
    nothing("key_header", "api-key"),
    nothing("headers", {"X-Title": "study"}),
    nothing("query", {"api-version": "1"}),
    nothing("elicitations", ["letter"]),
    Change("parameters", {"temperature": 0.5}),
    Change("max_tokens", 7),
    Change("reasoning", {"budget": 0, "switch": "none"}),
    nothing("max_tokens_field", "max_completion_tokens"),
    Change("top_logprobs", 0),
    Change("system_role", False),
    Change("structured", True),
    Change("option_scoring", "echo"),
    nothing("connections", 3),
    nothing("slots", 2),
    nothing("requests_per_minute", 100_000),
    nothing("tokens_per_minute", 100_000_000),
    nothing("attempts", 2),
    nothing("timeouts", {"connect": 5, "first_byte": 50, "whole": 100, "patience": 100}),
    nothing("batch", False),
    nothing("batch_poll", 1.0),
    nothing("price", {"input": 1.0, "output": 2.0, "cached_input": 0.5, "batch": 0.4}),
    nothing("budget", 100.0),
    nothing("trusted", True),
    nothing("seconds_per_request", 2.0),
]
IN_SURVEYS = [
    Change("directories", ["more"]),
    nothing("sources.acknowledged", "by the archive, for this study, in 2026"),
    Change("sources.data_use", "local_only"),
    nothing("sources.accept", {"gss_extract-2016@000000000000": "another release"}),
    nothing("sources.watch", []),
    nothing("sources.download", False),
]
NOT_A_KEY = {"name", "source", "options"}  # of a model's entry: made from where it stands and from its other fields


def keys_of(model_class: type[BaseModel], path: str = "") -> Iterator[str]:
    """The keys of a configuration file, those of its nested mappings included."""
    for name, info in model_class.model_fields.items():
        nested = [t for t in (info.annotation, *get_args(info.annotation)) if isinstance(t, type)]
        inner = [t for t in nested if issubclass(t, BaseModel)]
        if inner and model_class is not ModelSpec:
            yield from keys_of(inner[0], f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_every_key_of_every_configuration_file_is_tried():
    assert {c.key for c in IN_STUDY} == set(keys_of(Study))
    assert {c.key for c in IN_SURVEYS} | {"sources.use"} == set(keys_of(SurveyConfig))
    assert {c.key for c in IN_MODELS} == set(keys_of(ModelSpec)) - NOT_A_KEY


def put(document: dict[str, Any], key: str, value: Any) -> None:
    head, _, rest = key.partition(".")
    if rest:
        put(document.setdefault(head, {}), rest, value)
    else:
        document[head] = value


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A deployment that has run, with its server."""
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        world = World(tmp_path_factory.mktemp("keys"), server.url)
        for name, value in (world.environment | {"MPTA_TEST_KEY": "not-a-secret-key"}).items():
            patch.setenv(name, value)
        world.study(STUDY)
        world.models({"loopback": model(server.url), "second": model(server.url) | {"model": "second"}})
        write_wave(world.surveys, respondents(2016))
        write_wave(world.config / "more", respondents(2014))
        (world.config / "retest.csv").write_text("column,retest\nabany,0.9\n")
        (world.config / "myths.csv").write_text(
            "Type,Category,Question,Best Answer,Best Incorrect Answer\n"
            + "".join(f"Adversarial,Myths,Is it so with {n}?,No,Yes\n" for n in range(4))
        )
        bring_up_to_date()
        yield world, server


def state(deployment: Deployment) -> dict[str, tuple[str, Mapping[str, str]]]:
    """Every stored partition of the study → the version of its content, and the versions of its parents."""
    found = {}
    for node in graph.nodes(deployment):
        for name in (node.asset, *graph.companions(node.asset)):
            for key in graph.matching(node, graph.TABLES[name].partitioning, ()):
                record = made(deployment, Node(name, key))
                if record is not None:
                    found[record.node] = (record.version, record.parents)
    return found


def content(found: Mapping[str, tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """The versions of the tables; those of documents follow from them."""
    return {n: version for n, (version, _) in found.items() if graph.TABLES[Node.parse(n).asset].schema is not None}


def tried(base, root: Path, file: str, change: Change, monkeypatch, entry: str = "") -> None:
    world, _ = base
    folders = {"MPTA_DATA_DIR": world.data, "MPTA_CONFIG_DIR": world.config}
    for name, folder in folders.items():
        shutil.copytree(folder, root / folder.name, copy_function=shutil.copy2)
        monkeypatch.setenv(name, str(root / folder.name))
    before = state(Deployment.from_env())
    path = root / world.config.name / file
    settings = yaml.safe_load(path.read_text()) or {}
    for key, value in {**change.beside, change.key: change.value}.items():
        head, dot, rest = key.partition(".")
        whole = f"{head}.{entry}{dot}{rest}" if entry and head in ("tasks", "sources") else key
        put(settings["models"]["loopback"] if file == "models.yaml" else settings, whole, value)
    path.write_text(yaml.safe_dump(settings))
    Deployment.from_env().look()
    changed = Deployment.from_env()
    stale = {str(node) for node in graph.nodes(changed) if not is_current(changed, node)}
    deployment, rebuilt = bring_up_to_date()
    after = state(deployment)

    for folder in ("tables", "harmonized"):
        shutil.rmtree(deployment.layout.store / folder)
    for document in (deployment.layout.warehouse, deployment.layout.report):
        discard(document)
    scratch, _ = bring_up_to_date()
    anew = state(scratch)
    assert after.keys() == anew.keys()
    assert {n for n in anew if after[n] != anew[n]} == set(), "what was rebuilt is not what is made from scratch"
    differ = {n for n, version in content(anew).items() if content(before).get(n) != version}
    # What a step makes on demand belongs to whichever partition of its owner ran first.
    nodes = [node for node in map(Node.parse, differ) if not graph.TABLES[node.asset].on_demand]
    unseen = {str(Node(graph.owner(node.asset), node.partition)) for node in nodes} - set(rebuilt)
    assert unseen == set(), "differs, and was not called stale"
    gone = content(before).keys() - content(anew).keys()
    assert bool(differ or gone) == change.stored, (stale, differ, gone)
    if not change.stored and change.key not in STALE_AND_EQUAL:
        assert stale == set()


STALE_AND_EQUAL = {"surveys", "least_readable", "elicitations"}
"""Keys that make tables stale although, for this deployment, their new value gives the same content."""


USUALLY = {
    "figures.min_personas", "tasks.kind", "tasks.options", "panel.size", "models", "surveys", "budget", "directories",
    "sources.data_use", "sources.accept", "parameters", "reasoning", "connections", "price",
}  # fmt: skip


def some(changes: list[Change]) -> list[Change]:
    return changes if os.environ.get("MPTA_KEYS") == "all" else [c for c in changes if c.key in USUALLY]


def called(change: Change) -> str:
    return change.key


@pytest.mark.parametrize("change", some(IN_STUDY), ids=called)
def test_a_key_of_the_study_ends_as_from_scratch(base, tmp_path, monkeypatch, change):
    tried(base, tmp_path, "study.yaml", change, monkeypatch, entry="value_alignment")


def test_a_study_whose_only_source_is_disabled_says_so(base, tmp_path, monkeypatch):
    with pytest.raises(SurveyFileError, match="No wave has been harmonized yet"):
        tried(base, tmp_path, "surveys.yaml", Change("sources.use", False), monkeypatch, entry="gss_extract")


@pytest.mark.parametrize("change", some(IN_SURVEYS), ids=called)
def test_a_key_of_the_survey_policy_ends_as_from_scratch(base, tmp_path, monkeypatch, change):
    tried(base, tmp_path, "surveys.yaml", change, monkeypatch, entry="gss_extract")


@pytest.mark.parametrize("change", some(IN_MODELS), ids=called)
def test_a_key_of_a_model_ends_as_from_scratch(base, tmp_path, monkeypatch, change):
    if isinstance(change.value, str):
        port = base[1].server_address[1]
        change = Change(change.key, change.value.format(port=port), change.stored, change.beside)
    tried(base, tmp_path, "models.yaml", change, monkeypatch)
