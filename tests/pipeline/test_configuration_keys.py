"""Every key of every configuration file: what a change reaches is rebuilt, and ends as if made from scratch.

Each key has an entry: another value, and the settings of the graph that the value reaches. A key without an entry
fails `test_every_key_…`. What a change makes stale is compared with the graph for every entry. Then the work of
`mpta run` is done, and every stored table, the published file and the report are compared with those made from nothing
but survey files and ledger; so a key that a step reads behind the graph's back is found. The suite does this for some
entries; `MPTA_KEYS=all pytest -n 0 tests/pipeline/test_configuration_keys.py` does it for all (some ten minutes).
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import duckdb
import polars as pl
import pytest
import yaml
from pydantic import BaseModel

from mpta_pipeline import harmonize, inference, surveys, tasks
from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.core.hashing import content_hash
from mpta_pipeline.core.provenance import Node, code_version
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.harmonize.concept_schema import CodebookRow, Concept
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_registry import providers_of
from mpta_pipeline.inference.providers.base import ProviderOptions
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import made
from mpta_pipeline.surveys.source_registry import Source, SurveyConfig
from mpta_pipeline.tasks.kinds.multiple_choice import KindFile
from tests.factories.deployment import Server, World
from tests.factories.whole_configuration import FILES, RIVERS, STUDY, deployed
from tests.plain_run import bring_up_to_date

ALL = os.environ.get("MPTA_KEYS") == "all"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    with deployed(tmp_path_factory.mktemp("keys"), STUDY) as both:
        yield both


@pytest.fixture(scope="module")
def rivers(tmp_path_factory):
    """A deployment whose only task is of its own kind."""
    task = {"rivers": {"kind": "rivers", "path": "rivers.csv"}}
    with deployed(tmp_path_factory.mktemp("rivers"), STUDY | {"tasks": task}) as both:
        yield both


# --- the entries ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Another value of a key, or an edit of a file, and what it reaches.

    Attributes:
        key: The key, with dots; for a file without keys, what is edited.
        value: The value; for a file without keys, old text → new text.
        settings: Settings of the graph whose versions change. None: waves, models or tasks come or go, too.
        stored: Whether the content of a stored table changes. Where settings change and no content does, the tables
            are made again and stay equal.
        shown: Whether the report changes although no table that it shows does.
        beside: Further keys that go with it, where a value needs them.
        why: Why no table can change.
    """

    key: str
    value: Any
    settings: tuple[str, ...] | None = ()
    stored: bool = True
    shown: bool = False
    beside: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


def to(key: str, value: Any, *settings: str, **further: Any) -> Change:
    """A key whose change reaches the tables that are made with these settings."""
    return Change(key, value, settings, **further)


def moving(key: str, value: Any, **further: Any) -> Change:
    """A key that adds or removes waves, models or tasks."""
    return Change(key, value, None, **further)


def nothing(key: str, value: Any, why: str) -> Change:
    """A key that no table is made with."""
    return Change(key, value, stored=False, why=why)


HOW = "how requests are sent, not what is asked"
VARIED = {"multiverse.factors.framing": ["you_are", "user_is"]}
ONE_FIGURE = VARIED | {"multiverse.figures.what": "gap", "multiverse.figures.dimensions": "sex",
                       "multiverse.figures.subgroup": "female"}  # fmt: skip
IN_STUDY = [
    to("name", "another", "figure_rules", "report_design"),
    to("seed", 7, "persona_design", "panel_design", "item_selection", "prompt_design", "figure_rules"),
    moving("surveys", ["gss_extract"]),
    moving("models", ["loopback"]),
    nothing("budget", 3.0, HOW),
    to("panel.size", 8, "panel_design"),
    to("panel.strata", ["age_band"], "persona_design", "panel_design"),
    to("panel.allocation", "equal", "panel_design"),
    to("traits.min", 4, "persona_design"),
    to("traits.max", 4, "persona_design"),
    to("traits.domains", ["demographic", "value"], "persona_design"),
    to("traits.columns", ["sex", "age", "race", "abortion_poor", "abortion_rape"], "persona_design"),
    to("traits.k_anonymity", 2, "persona_design"),
    to("styles", ["bullets"], "prompt_design"),
    to("framings", ["user_is"], "prompt_design"),
    to("conditions", ["persona", "no_persona", "placebo"], "task"),
    to("paraphrases", 2, "prompt_design"),
    # Half of the replies of the model `guest` name no option.
    to("least_readable", 0.3, "report_design", stored=False, shown=True),
    to("tasks.kind", "truthfulqa_binary", "task", "report_design"),
    to("tasks.path", "myths.csv", "task", "report_design", beside={"tasks.kind": "truthfulqa_binary"}),
    to("tasks.items", 2, "task"),
    to("tasks.items_per_persona", 1, "task"),
    to("tasks.orders", "given", "task"),
    to("tasks.batch_items", 2, "task"),
    to("tasks.elicitation", "verbalized", "task"),
    to("tasks.conditions", ["persona", "no_persona", "placebo"], "task"),
    to("tasks.options", {"columns": ["abortion_poor"]}, "task"),
    to("tasks.arms.text", "Think twice.", "task", "experiments", beside={"tasks.arms.plain": {}}),
    to("tasks.arms.id", "b", "task", "experiments", beside={"tasks.arms.plain": {}, "tasks.arms.text": "Think twice."}),
    to(
        "tasks.arms.people.where",
        {"sex": ["male"]},
        "task",
        "experiments",
        beside={"tasks.arms.plain": {"people": {"where": {"sex": ["female"]}}}, "tasks.arms.text": "Think twice."},
    ),
    to(
        "tasks.arms.people.answers",
        {"abortion_single_gss": "abortion_poor_gss"},
        "task",
        "experiments",
        beside={
            "tasks.arms.plain": {"people": {"answers": {"abortion_single_gss": "abortion_single_gss"}}},
            "tasks.arms.text": "Think twice.",
        },
    ),
    to(
        "tasks.arms.fields",
        {"vehicle": "bus"},
        "task",
        "experiments",
        "report_design",
        beside={
            "tasks.kind": "questionnaire",
            "tasks.path": "own.yaml",
            "tasks.control": "plain",
            "tasks.arms.plain": {"fields": {"vehicle": "train"}},
        },
    ),
    to(
        "tasks.control",
        "told",
        "task",
        "experiments",
        beside={"tasks.arms.plain": {}, "tasks.arms.text": "Think twice."},
    ),
    to("tasks.arm_design", "every", "task", beside={"tasks.arms.plain": {}, "tasks.arms.text": "Think twice."}),
    to("figures.dimensions", ["sex", "age_band"], "persona_design", "figure_rules"),
    to("figures.min_personas", 7, "figure_rules"),
    to("figures.min_items", 4, "figure_rules"),
    to("figures.equivalence_margin", 0.3, "figure_rules"),
    to("figures.level", 0.1, "figure_rules"),
    to("figures.bootstrap", 60, "figure_rules"),
    to(
        "figures.country_groups",
        {"North": ["SWE"]},
        "persona_design",
        "figure_rules",
        beside={"figures.dimensions": ["sex", "country_group"]},
    ),
    to("figures.retest", None, "figure_rules"),
    *(
        moving(f"multiverse.factors.{factor}", levels)
        for factor, levels in {
            "framing": ["you_are", "user_is"],
            "style": ["prose", "bullets"],
            "traits": ["all", 2],
            "elicitation": ["letter", "free_text"],
            "orders": ["cyclic", "given"],
            "scale_direction": ["forward", "reversed"],
            "paraphrase": [0, 1],
            "temperature": [0.0, 0.7],
            "reasoning": ["as_given", "low"],
            "model": ["loopback", "guest"],
        }.items()
    ),
    moving("multiverse.tasks", ["value_alignment"], beside=VARIED),
    moving("multiverse.design", "fractional", beside=VARIED | {"multiverse.factors.style": ["prose", "bullets"]}),
    moving(
        "multiverse.runs",
        3,
        beside=VARIED | {"multiverse.factors.style": ["prose", "bullets"], "multiverse.design": "fractional"},
    ),
    moving("multiverse.permutations", 99, beside=VARIED),
    *(
        moving(f"multiverse.figures.{key}", value, beside=ONE_FIGURE)
        for key, value in {
            "what": "gap",
            "metric": "refusal_rate",
            "condition": "no_persona",
            "dimensions": "sex",
            "subgroup": "male",
            "name": "women and men",
        }.items()
    ),
    *(
        nothing(f"schedules.{key}", value, "when jobs run")
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
IDENTITY = ("model", "models")
IN_MODELS = [
    to("provider", "anthropic", *IDENTITY, beside={"key_env": "MPTA_TEST_KEY"}),
    to("api", "completions", *IDENTITY),
    to("base_url", "http://localhost:{port}/v1", *IDENTITY),
    to("model", "another", *IDENTITY),
    to("revision", "2026-01-01", *IDENTITY),
    nothing("key_env", "MPTA_TEST_KEY", HOW),
    nothing("key_header", "api-key", HOW),
    nothing("headers", {"X-Title": "study"}, HOW),
    nothing("query", {"api-version": "1"}, HOW),
    to("elicitations", ["letter", "free_text"], "model", stored=False),
    to("panel_share", 0.5, *IDENTITY),
    to("parameters", {"temperature": 0.5}, *IDENTITY),
    to("max_tokens", 7, *IDENTITY),
    to("reasoning", {"budget": 0, "switch": "none", "effort": "low"}, *IDENTITY),
    nothing("max_tokens_field", "max_completion_tokens", HOW),
    to("top_logprobs", 0, *IDENTITY),
    to("system_role", False, *IDENTITY),
    to("structured", True, *IDENTITY),
    to("option_scoring", "echo", *IDENTITY),
    nothing("connections", 3, HOW),
    nothing("slots", 2, HOW),
    nothing("requests_per_minute", 100_000, HOW),
    nothing("tokens_per_minute", 100_000_000, HOW),
    nothing("attempts", 2, HOW),
    nothing("timeouts", {"connect": 5, "first_byte": 50, "whole": 100, "patience": 100}, HOW),
    nothing("batch", True, HOW),
    nothing("batch_poll", 1.0, HOW),
    # What the answers cost is on the page, and whether they may be asked for again waits for an approval.
    to(
        "price",
        {"input": 1.0, "output": 2.0, "cached_input": 0.5, "batch": 0.4},
        "approval",
        "report_design",
        stored=False,
        shown=True,
    ),
    nothing("budget", 100.0, HOW),
    nothing("trusted", True, "the model is on this machine, and receives everything in any case"),
    nothing("seconds_per_request", 2.0, "what the plan expects"),
]
NOT_A_KEY = {"name", "source", "options"}  # of a model's entry: made from where it stands and from its other fields
IN_SURVEYS = [
    moving("directories", ["more"]),
    moving("sources.use", False),
    moving("sources.acknowledged", ""),
    to("sources.data_use", "local_only", "survey_file", "data_use"),
    to("sources.accept", {"{release}": "another release"}, "harmonization_rules", stored=False),
    nothing("sources.watch", [], "where new releases are looked for"),
    nothing("sources.download", True, "whether new releases are fetched"),
]
WITHOUT_KEYS = {
    "published.yaml": [
        to("a published value", {"value: 0.5": "value: 0.6"}, "published_figures", stored=False, shown=True),
        to("an own estimate", {"condition: persona": "condition: no_persona"}, "published_figures", stored=False,
           shown=True),
    ],
    "sources/club.yaml": [
        to("title", {"Club survey {wave}": "Survey of the Club {wave}"}, "survey_file", "harmonization_rules",
           "report_design"),
        to("licence", {"free to use": "free for science"}, "survey_file", "harmonization_rules", "report_design"),
        to("data_use", {"data_use: any": "data_use: local_only"}, "survey_file", "harmonization_rules", "report_design",
           "data_use"),
        to("weights", {"[{variable: w}]": "[]"}, "survey_file", "harmonization_rules", "report_design"),
        moving("waves", {'constant: "1"': 'constant: "2"'}),
        to("column_suffix", {"codebook: club\n": "codebook: club\ncolumn_suffix: members\n"}, "survey_file",
           "harmonization_rules", "report_design", stored=False),
        to("a text of a concept's row", {"text: most people": "text: people"}, "harmonization_rules", "crosswalk",
           "report_design"),
        to("a value of a concept's row", {"{code: 1, label: man, value: male, text: male}":
           "{code: 1, label: man, value: female, text: male}"}, "harmonization_rules", "crosswalk", "report_design"),
        nothing("watch", {"codebook: club\n": "codebook: club\nwatch: [{file: 'http://127.0.0.1:9/a'}]\n"},
                "where new releases are looked for"),
        nothing("download", {"codebook: club\n": "codebook: club\ndownload: true\n"}, "whether releases are fetched"),
    ],
    "sources/missing.yaml": [
        to("codes", {'"9"': '"8"'}, "survey_file", "harmonization_rules", "report_design"),
        to("a packaged convention", {"own:\n": "none: {codes: {'1': dont_know}, declared_only: false}\nown:\n"},
           "survey_file", "harmonization_rules"),
    ],
    "concepts/owns_pet.yaml": [
        to("label", {"label: pet": "label: having a pet"}, "harmonization_rules", "crosswalk", "report_design"),
        to("statement", {"is {answer}": "was {answer}"}, "harmonization_rules", "crosswalk", "report_design"),
        to("reveals", {"question:": "reveals: [pets]\nopens: [pets]\nquestion:"}, "harmonization_rules", "crosswalk",
           "report_design"),
        to("domain", {"domain: value": "domain: demographic"}, "harmonization_rules", "crosswalk", "report_design"),
        to("absent", {"gss_extract: no such": "gss_extract: there is no such"}, "report_design"),
        to("a row of another codebook", {"sources:\n": "sources:\n  - {codebook: evs_trend, variable: petown, "
           "equivalence: source_specific, options: [{code: 1, value: owner, text: 'yes'}, "
           "{code: 2, value: none, text: 'no'}]}\n"}, "report_design"),
    ],
    "retest.csv": [to("a figure", {"0.9": "0.7"}, "figure_rules")],
}  # fmt: skip
IN_RIVERS = {
    "task_kinds/rivers.yaml": [
        to("title", {"Rivers: which": "Waters: which"}, "task", "report_design", stored=False, shown=True),
        to("licence", {"licence: CC0": "licence: CC-BY"}, "task"),
        to("question", {"Which river": "Which of both"}, "task"),
        to("gold_values", {'{"1": 0, "2": 1}': '{"1": 1, "2": 0}'}, "task"),
        to("shuffle", {"structure:\n": "structure:\n  shuffle: true\n"}, "task"),
    ],
    "rivers.csv": [to("a row", {"Elbe,Oder,1": "Elbe,Oder,2"}, "task")],
    "providers/parrot.py": [
        nothing("a comment", {"No change.": "Still none."}, "an answer is identified by its request, never by code")
    ],
}


# --- every key has an entry -----------------------------------------------------------------------------------------


def keys_of(model_class: type[BaseModel], path: str = "") -> Iterator[str]:
    """The keys of a configuration file, those of its nested mappings included."""
    for name, info in model_class.model_fields.items():
        annotated = [t for t in (info.annotation, *get_args(info.annotation)) if isinstance(t, type)]
        inner = [t for t in annotated if issubclass(t, BaseModel) and t is not ProviderOptions]
        yield from keys_of(inner[0], f"{path}{name}.") if inner else [f"{path}{name}"]


def named(changes: list[Change], model_class: type[BaseModel]) -> set[str]:
    """The keys that entries stand for; an entry whose value is a mapping of keys stands for these."""
    known = set(keys_of(model_class))
    return {
        key
        for change in changes
        for key in ([change.key] if change.key in known else [f"{change.key}.{name}" for name in change.value])
    }


def test_every_key_of_study_surveys_and_models_has_an_entry():
    assert named(IN_STUDY, Study) == set(keys_of(Study))
    assert named(IN_SURVEYS, SurveyConfig) == set(keys_of(SurveyConfig))
    assert named(IN_MODELS, ModelSpec) == set(keys_of(ModelSpec)) - NOT_A_KEY


def test_every_field_that_only_one_provider_has_has_an_entry(tmp_path):
    """What a respondent is counts in every request; how an embedded model runs does not."""
    weights = tmp_path / "a.gguf"
    weights.write_bytes(b"GGUF")
    (tmp_path / "b.gguf").write_bytes(b"GGUF, another")
    embedded = {"provider": "embedded", "model": "m", "file": str(weights)}
    simulated = {"provider": "simulated", "group": "sex"}
    how = {"embedded": {"context": 512, "threads": 1, "servers": 2}}
    identity = {
        "embedded": {"file": str(tmp_path / "b.gguf"), "sha256": "0" * 64, "quantization": "q8_0"},
        "simulated": {
            "answers_like": "key",
            "accuracy": 0.5,
            "accuracy_by": {"sex": {"female": 0.5}},
            "without_persona": 0.5,
            "refusals": 0.1,
            "refusals_by": {"sex": {"female": 0.5}},
            "position_bias": 0.1,
            "position": "last",
            "noise": 0.1,
            "flattening": 0.1,
            "copying": 0.1,
            "direction": 0.1,
            "carry_over": 0.1,
            "group_accuracy": 0.5,
            "group": "age_band",
            "seed": 7,
        },
    }
    known = providers_of(tmp_path).by_name
    fields = {name: set(one.Options.model_fields) for name, one in known.items() if one.Options.model_fields}
    assert fields == {name: {*identity[name], *how.get(name, {})} for name in identity}
    for given in (embedded, simulated):
        given |= {"name": "m", "source": tmp_path / "models.yaml"}
        name = given["provider"]
        before = inference.card_version(ModelSpec.model_validate(given))
        for key, value in (identity[name] | how.get(name, {})).items():
            after = inference.card_version(ModelSpec.model_validate(given | {key: value}))
            assert (after != before) == (key in identity[name]), (name, key)


# Records have too many keys for an entry each. Their versions are hashes of whole records, so that a new key counts by
# itself; what the hash leaves out is named here with the reason.
LEFT_OUT_OF_SOURCES = {
    "watch": "where new releases are looked for",
    "download": "whether new releases are fetched",
    "concepts": "part of the crosswalk's version",
}


LEFT_OUT_OF_CONCEPTS = {
    "sources": "each row counts in the version of its own codebook",
    "absent": "no wave is made with it; the published table of concepts is, and has a version of its own",
}


def other_than(record: BaseModel, key: str) -> BaseModel:
    """The record with something else under a key; it is not validated again."""
    return record.model_copy(update={key: "another" if getattr(record, key) != "another" else "a third"})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_key_of_a_source_counts_in_its_version_or_says_why_not():
    registry = surveys.packaged_sources()
    registry = replace(registry, conventions=registry.conventions | {"another": registry.conventions["gss"]})
    source, before = registry["gss"], registry.record_version("gss")

    def version(key: str) -> str:
        return replace(registry, sources={**registry.sources, "gss": other_than(source, key)}).record_version("gss")

    assert {key for key in Source.model_fields if version(key) == before} == set(LEFT_OUT_OF_SOURCES)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_key_of_a_concept_and_of_its_rows_counts_in_the_version_of_the_codebook_or_says_why_not():
    crosswalk = harmonize.load_crosswalk()
    rule = crosswalk.rules["gss"][0]

    def version(of_it: harmonize.Rule) -> str:
        return replace(crosswalk, rules={"gss": (of_it,)}).digest("gss")

    before = version(rule)
    concept = {k for k in Concept.model_fields if version(replace(rule, concept=other_than(rule.concept, k))) == before}
    assert concept == set(LEFT_OUT_OF_CONCEPTS)
    assert {
        k for k in CodebookRow.model_fields if version(replace(rule, row=other_than(rule.row, k))) == before
    } == set()


def test_a_kind_of_task_is_versioned_by_its_whole_file(tmp_path):
    """So that every key of it counts, a comment included."""
    assert set(keys_of(KindFile)) > {"title", "structure.question", "file.licence"}
    (tmp_path / "task_kinds").mkdir()
    file = tmp_path / "task_kinds" / "rivers.yaml"
    (tmp_path / "rivers.csv").write_text(FILES["rivers.csv"])
    config = TaskConfig(kind="rivers", path="rivers.csv")
    versions = set()
    for text in (RIVERS, RIVERS + "# a comment\n"):
        file.write_text(text)
        versions.add(tasks.item_file_version(config, base=tmp_path))
    assert len(versions) == 2


# --- packaged files ---------------------------------------------------------------------------------------------------

PACKAGED = {
    "harmonize/wordings.yaml": {"harmonized_wave"},
    "harmonize/marginals.csv": {"harmonized_wave"},
    "harmonize/gaps.csv": {"harmonized_wave"},
    "tasks/replies.yaml": {"items", "prompts", "scores"},
    "tasks/samples/sample_myths.csv": {"items", "prompts", "scores"},
    "tasks/samples/sample_stereotypes.jsonl": {"items", "prompts", "scores"},
    "tasks/kinds/ethics_justice.yaml": {"items", "prompts", "scores"},
    "tasks/kinds/ethics_commonsense.yaml": {"items", "prompts", "scores"},
    "personas/placebo.txt": {"personas", "prompts"},
    "report/**": {"report"},
    "surveys/sources/*.yaml": {"raw_wave"},
}
"""Data file of the package → tables whose version of code includes it."""
ELSEWHERE = {
    "harmonize/concepts/*.yaml": "the crosswalk's own version, per codebook",
    "ready_studies/**": "copied into a new configuration folder, and read there",
    "core/correlates_of_war.csv": "read into snapshots, which are never changed; a new one is read with the new file",
    "orchestration/workspace.yaml": "how Dagster is started",
    "orchestration/pages/**": "pages of the UI, which are stored nowhere",
    "py.typed": "for type checkers",
}


def test_every_packaged_file_counts_in_what_is_made_with_it(monkeypatch):
    package = Path(graph.__file__).parents[1]
    files: dict[str, list[Path]] = {}
    for path in package.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            name = path.relative_to(package).as_posix()
            many = path.suffix == ".yaml" and path.parent.name in ("concepts", "sources")
            name = next(
                (f"{room}/**" for room in ("report", "orchestration/pages", "ready_studies") if name.startswith(room)),
                name,
            )
            files.setdefault(f"{name.rpartition('/')[0]}/*.yaml" if many else name, []).append(path)
    assert set(files) == set(PACKAGED) | set(ELSEWHERE)
    code_of = {table.name: table.code for table in graph.TABLES.values() if table.has_step}
    original = Path.read_bytes
    # Read anew, as a process of another version of the package would.
    version = code_version.__wrapped__
    before = {name: version(*code) for name, code in code_of.items()}
    for name, tables in PACKAGED.items():
        edited = files[name][0]
        monkeypatch.setattr(Path, "read_bytes", lambda p, e=edited: original(p) + (b"#" if p == e else b""))
        assert {table for table, code in code_of.items() if version(*code) != before[table]} >= tables, name


# --- what a change reaches --------------------------------------------------------------------------------------------


def put(document: dict[str, Any], key: str, value: Any) -> None:
    head, _, rest = key.partition(".")
    if rest:
        put(document.setdefault(head, {}), rest, value)
    else:
        document[head] = value


def whole_key(file: str, key: str) -> str:
    """The key with the name of the model, task or source that it is tried on."""
    first, _, rest = key.partition(".")
    if rest in ("arms.text", "arms.fields", "arms.id", "arms.people.where", "arms.people.answers"):
        rest = rest.replace("arms.", "arms.told.")
    if file == "models.yaml":
        return f"models.loopback.{key}"
    return {"tasks": f"tasks.value_alignment.{rest}", "sources": f"sources.club.{rest}"}.get(first, key)


def with_places(value: Any, server: Server) -> Any:
    """A value with the port of the server and the release of the club's wave."""
    if isinstance(value, Mapping) and "{release}" in value:
        releases = Deployment.from_env().waves().filter(survey="club")["release_id"]
        return dict(zip(releases, value.values(), strict=True))
    return value.replace("{port}", str(server.server_address[1])) if isinstance(value, str) else value


def apply(change: Change, file: Path, server: Server) -> None:
    """Make a change in a configuration file."""
    if file.name not in ("study.yaml", "models.yaml", "surveys.yaml"):
        text = file.read_text()
        for old, new in change.value.items():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        return
    settings = yaml.safe_load(file.read_text()) or {}
    for key, value in {**change.beside, change.key: change.value}.items():
        put(settings, whole_key(file.name, key), with_places(value, server))
    varied = settings.get("multiverse", {})
    if "figures" in varied:
        varied["figures"] = [varied["figures"]]
    file.write_text(yaml.safe_dump(settings))


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Copies a deployment to where a test may change it, and points the environment there."""

    def copy(world: World, *folders: str) -> Path:
        for name, value in world.environment.items():  # the last deployment that was made has set its own
            monkeypatch.setenv(name, value)
        for name in folders:
            source = getattr(world, name)
            shutil.copytree(source, tmp_path / source.name, copy_function=shutil.copy2)
            monkeypatch.setenv(f"MPTA_{name.upper()}_DIR", str(tmp_path / source.name))
        return tmp_path / world.config.name

    return copy


def stale(deployment: Deployment) -> set[str]:
    return {node.asset for node in graph.nodes(deployment) if not is_current(deployment, node)}


def made_with(*settings: str) -> set[str]:
    """The assets that are made with one of these settings, by the graph."""
    return {asset for asset in graph.assets() if {*settings} & {*graph.settings_of(asset)}}


def entries(*tables: Mapping[str, list[Change]]) -> list[Any]:
    return [
        pytest.param(file, change, id=f"{file}: {change.key}")
        for table in tables
        for file, changes in table.items()
        for change in changes
    ]


OF_BASE = {"study.yaml": IN_STUDY, "models.yaml": IN_MODELS, "surveys.yaml": IN_SURVEYS, **WITHOUT_KEYS}


def reaches(world: World, server: Server, config: Path, file: str, change: Change) -> None:
    apply(change, config / file, server)
    found = stale(Deployment.from_env())
    if change.settings is None:
        return
    assert found == made_with(*change.settings)
    assert found or change.why, "an entry that reaches nothing says why"


@pytest.mark.parametrize("name", ["base", "rivers"])
def test_without_a_change_nothing_is_stale(request, copied, name):
    """The next tests begin with the same copy."""
    copied(request.getfixturevalue(name)[0], "config")
    assert stale(Deployment.from_env()) == set()


@pytest.mark.parametrize(("file", "change"), entries(OF_BASE))
def test_a_change_makes_stale_what_the_graph_says(base, copied, file, change):
    world, server = base
    reaches(world, server, copied(world, "config"), file, change)


@pytest.mark.parametrize(("file", "change"), entries(IN_RIVERS))
def test_a_change_of_a_kind_of_task_makes_stale_what_the_graph_says(rivers, copied, file, change):
    world, server = rivers
    reaches(world, server, copied(world, "config"), file, change)


# --- and ends as from scratch -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """Everything that is stored and published.

    Attributes:
        records: Partition → version, parents and notes.
        published: Table of the DuckDB file → hash of its rows.
        lineage: The published lineage.
        report: The page, without the time at which it was made.
    """

    records: Mapping[str, tuple[str, Mapping[str, str], Mapping[str, Any]]]
    published: Mapping[str, str]
    lineage: pl.DataFrame
    report: str

    def content(self) -> dict[str, str]:
        """The versions of the tables; those of documents follow from them."""
        return {
            name: version
            for name, (version, _, _) in self.records.items()
            if graph.TABLES[Node.parse(name).asset].schema is not None and Node.parse(name).asset != "lineage"
        }


def stored(deployment: Deployment) -> Stored:
    records = {}
    for node in graph.nodes(deployment):
        for name in (node.asset, *graph.companions(node.asset)):
            for key in graph.matching(node, graph.TABLES[name].partitioning, ()):
                record = made(deployment, Node(name, key))
                if record is not None:
                    # How many were asked, bytes of the page, and checks against what was stored are facts of a run.
                    of_a_run = graph.TABLES[name].sends_requests or graph.TABLES[name].is_document
                    notes = {key: note for key, note in record.notes.items() if key != "parts" and not of_a_run}
                    records[record.node] = (record.version, record.parents, notes)
    records.pop("lineage", None)
    with duckdb.connect(str(deployment.layout.warehouse), read_only=True) as con:
        names = con.sql("select table_name from duckdb_tables() where schema_name = 'main'").pl()["table_name"]
        frames = {name: con.sql(f'select * from "{name}"').pl() for name in names}
    lineage = frames.pop("lineage")
    report = re.sub(r"\d{1,2} \w+ \d{4}, \d\d:\d\d UTC", "", deployment.layout.report.read_text())
    return Stored(records, {name: content_hash(frame) for name, frame in frames.items()}, lineage, report)


def same_lineage(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether two lineages tell the same.

    A table that is made again and stays equal is not published again, so that the lineage may name the version of a
    setting with which the same content was made before.
    """
    keys = ["child", "parent", "child_version"]
    return one.select(keys).sort(keys).equals(other.select(keys).sort(keys))


def ends_as_from_scratch(world: World, server: Server, config: Path, file: str, change: Change) -> None:
    before = stored(Deployment.from_env())
    apply(change, config / file, server)
    Deployment.from_env().look()
    deployment, rebuilt = bring_up_to_date()
    after = stored(deployment)
    assert stale(Deployment.from_env()) == set()

    for folder in ("tables", "harmonized", "raw"):
        shutil.rmtree(deployment.layout.root / folder)
    for document in (deployment.layout.warehouse, deployment.layout.report):
        document.unlink()
    calls = server.calls
    deployment, _ = bring_up_to_date()
    assert server.calls == calls, "every answer was in the ledger"
    anew = stored(deployment)
    assert after.records.keys() == anew.records.keys()
    other = {n for n in anew.records if after.records[n] != anew.records[n]}
    assert not other, [(n, after.records[n], anew.records[n]) for n in sorted(other)]
    assert {n for n in anew.published if after.published[n] != anew.published[n]} == set(), "published otherwise"
    assert same_lineage(after.lineage, anew.lineage)
    assert after.report == anew.report
    differ = {n for n, version in anew.content().items() if before.content().get(n) != version}
    # What a step makes on demand belongs to whichever partition of its owner ran first.
    nodes = [node for node in map(Node.parse, differ) if not graph.TABLES[node.asset].on_demand]
    assert {str(Node(graph.owner(node.asset), node.partition)) for node in nodes} <= {*rebuilt}
    gone = before.content().keys() - anew.content().keys()
    assert bool(differ or gone) == change.stored, (differ, gone)
    assert (before.report != anew.report) >= change.shown
    if not change.stored and not change.settings:
        assert rebuilt == []


USUALLY = {"figures.min_personas", "statement"}
FULLY = [one for one in entries(OF_BASE) if ALL or one.values[1].key in USUALLY]


@pytest.mark.parametrize(("file", "change"), FULLY)
def test_a_change_ends_as_from_scratch(base, copied, file, change):
    world, server = base
    ends_as_from_scratch(world, server, copied(world, "data", "config"), file, change)


@pytest.mark.skipif(not ALL, reason="in the long form")
@pytest.mark.parametrize(("file", "change"), entries(IN_RIVERS))
def test_a_change_of_a_kind_of_task_ends_as_from_scratch(rivers, copied, file, change):
    world, server = rivers
    ends_as_from_scratch(world, server, copied(world, "data", "config"), file, change)


def test_all_keys_that_reach_nothing_leave_a_deployment_made_from_scratch_as_it_is(base, copied):
    """All at once: none of them is read by a step behind the graph's back."""
    world, server = base
    config = copied(world, "data", "config")
    before = stored(Deployment.from_env())
    for file, changes in OF_BASE.items():
        for change in changes:
            if change.settings == ():
                apply(change, config / file, server)
    deployment, rebuilt = bring_up_to_date()
    assert rebuilt == []
    for folder in ("tables", "harmonized", "raw"):
        shutil.rmtree(deployment.layout.root / folder)
    deployment, rebuilt = bring_up_to_date()
    anew = stored(deployment)
    assert anew.records == before.records and anew.published == before.published and anew.report == before.report


def test_an_elicitation_that_the_model_may_no_longer_be_asked_in_fails_as_from_scratch(base, copied):
    world, server = base
    config = copied(world, "data", "config")
    apply(Change("elicitations", ["verbalized"]), config / "models.yaml", server)
    assert stale(Deployment.from_env()) == {"responses"}
    with pytest.raises(ModelError, match="not used with elicitation letter"):
        bring_up_to_date()
