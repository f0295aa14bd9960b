"""The steps from a survey file to the report: read tables, call the domain, store tables with their record.

Each `make_…` function makes one asset (or one partition of it) and returns its record. `parents` says what an asset's
partition is made from, with versions; `is_current` compares that with the record. No Dagster here: assets call these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import polars as pl

from mpta_pipeline import harmonize, inference, metrics, personas, report, surveys, tasks
from mpta_pipeline.core import named_sql, tables
from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.errors import ConfigError, DamagedError, MptaError, SurveyFileError, ValidationError
from mpta_pipeline.core.estimate_ids import FIGURE_KEY, figure_ids_by_key
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.provenance import (
    Node,
    Record,
    checksum,
    code_version,
    discard,
    read_record,
    read_table,
    store,
    write_record,
)
from mpta_pipeline.core.storage import at_work, listed, read_parquet, shared, write_parquet, write_text
from mpta_pipeline.pipeline.deployment import Deployment, PartFile
from mpta_pipeline.publication import warehouse


@dataclass(frozen=True)
class Asking:
    """How models are asked in a run.

    Attributes:
        progress: Called a few times a second for each model; null shows nothing.
        budget: US dollars that all models of the run may spend together; null sets no limit.
        retry_errors: Ask again what failed for good before.
        stop: Ends it from another thread.
    """

    progress: Callable[[inference.Progress], None] | None = None
    budget: inference.Budget | None = None
    retry_errors: bool = False
    stop: inference.Stop = field(default_factory=inference.Stop)


# The command line says how (a bar, its own budget); where nothing is said, a run decides for itself.
_asking: ContextVar[Asking | None] = ContextVar("asking", default=None)


@contextmanager
def asking(how: Asking) -> Iterator[None]:
    """Ask models this way in this context."""
    token = _asking.set(how)
    try:
        yield
    finally:
        _asking.reset(token)


def how_to_ask(
    deployment: Deployment, progress: Callable[[inference.Progress], None] | None = None, *, retry_errors: bool = False
) -> Asking:
    """What the context says, else as given and with the study's budget."""
    limit = deployment.study.budget
    return _asking.get() or Asking(progress, None if limit is None else inference.Budget(limit), retry_errors)


def lane(deployment: Deployment, model: str) -> str:
    """What a model keeps busy: models with weights on this machine take turns, each endpoint is its own."""
    spec = deployment.models.get(model)
    return "this machine" if spec is not None and spec.provider == "embedded" else model


# --- where partitions lie -------------------------------------------------------------------------------------------


def path_of(deployment: Deployment, node: Node) -> Path:
    """The file that holds a node's table (or document)."""
    layout = deployment.layout
    match node.asset:
        case "raw_wave":
            return layout.table("waves", node.partition)
        case "harmonized_wave":
            return layout.harmonized(node.partition)
        case "warehouse":
            return layout.warehouse
        case "report":
            return layout.report
        case _:
            return layout.table(node.asset, *([] if not node.partition else node.partition.split("|")))


def made(deployment: Deployment, node: Node) -> Record | None:
    """The record of a node, or None where it has not been made."""
    return read_record(path_of(deployment, node))


def read(deployment: Deployment, asset: str, partition: str = "") -> pl.DataFrame:
    """A stored table partition.

    Raises:
        ConfigError: It has not been made yet.
    """
    node = Node(asset, partition)
    try:
        return read_table(path_of(deployment, node))
    except FileNotFoundError:
        raise ConfigError(
            f"{asset} has not been made yet",
            variable="partition" if partition else None,
            value=partition or None,
            remedy="make it first, in the UI or by `mpta run`, which makes all that is out of step",
        ) from None


# --- what is made from what -----------------------------------------------------------------------------------------


def cells(deployment: Deployment) -> list[str]:
    """Partition keys model|task of the study."""
    return [f"{model}|{task}" for model in deployment.models for task in deployment.study.tasks]


def _nodes(deployment: Deployment, node: Node) -> list[Node]:
    """The stored tables that a node is made from."""
    part = node.partition
    waves = deployment.harmonized_waves
    match node.asset:
        case "harmonized_wave" | "survey_changelog":
            return [Node("raw_wave", part)]
        case "personas" | "items":
            return [Node("harmonized_wave", w) for w in waves()]
        case "panel":
            return [Node("personas"), Node("groups")]
        case "prompts":
            return [Node("items", part), Node("gold", part), Node("personas"), Node("panel")]
        case "responses":
            return [Node("prompts", part.split("|")[1])]
        case "scores":
            task = part.split("|")[1]
            return [Node("responses", part), Node("prompts", task), Node("items", task)]
        case "subgroup_metrics" | "pockets":
            task = part.split("|")[1]
            return [Node("scores", part), Node("gold", task), Node("items", task), Node("groups")]
        case "people_shares" | "ceiling":
            shares = node.asset == "people_shares"
            others = [Node("items", part), Node("groups")] if shares else [Node("prompts", part), Node("personas")]
            return [Node("gold", part), *others]
        case "model_comparison":
            return [
                *(Node("scores", c) for c in cells(deployment) if made(deployment, Node("scores", c))),
                Node("groups"),
            ]
        case "warehouse":
            return [
                *(Node(a, w) for w in waves() for a in ("harmonized_wave", "survey_changelog")),
                *(Node(a) for a in ("personas", "panel", "model_comparison")),
                *(Node(a, t) for t in deployment.study.tasks for a in ("items", "gold", "prompts")),
                *(
                    Node(a, c)
                    for c in cells(deployment)
                    for a in ("responses", "scores", "subgroup_metrics", "pockets")
                ),
            ]
        case "report":
            return [Node("warehouse")]
        case _:
            return []


_CODE = {
    "raw_wave": ("mpta_pipeline.surveys",),
    "harmonized_wave": ("mpta_pipeline.harmonize.recode",),
    "survey_changelog": ("mpta_pipeline.surveys.releases",),
    "personas": ("mpta_pipeline.personas",),
    "panel": ("mpta_pipeline.personas.panel",),
    "items": ("mpta_pipeline.tasks",),
    "prompts": ("mpta_pipeline.tasks", "mpta_pipeline.personas"),
    # How replies become a table. What is asked is said by the request's hash, never by a version of code.
    "responses": ("mpta_pipeline.inference.responses",),
    "scores": ("mpta_pipeline.tasks", "mpta_pipeline.core.reasoning_text"),
    "ceiling": ("mpta_pipeline.metrics.baselines.ceiling",),
    "people_shares": (
        "mpta_pipeline.metrics.baselines.people_shares",
        "mpta_pipeline.metrics.statistics.linearization",
    ),
    "subgroup_metrics": ("mpta_pipeline.metrics", "mpta_pipeline.core.estimate_ids"),
    "pockets": ("mpta_pipeline.metrics", "mpta_pipeline.core.estimate_ids"),
    "model_comparison": ("mpta_pipeline.metrics",),
    "warehouse": ("mpta_pipeline.publication.warehouse", "mpta_pipeline.core.tables"),
    "report": ("mpta_pipeline.report",),
}


def code(asset: str) -> str | None:
    """Version of the code that makes an asset: a hash of its modules and SQL. None for what comes from outside."""
    if asset not in _CODE:
        return None
    modules = code_version(*_CODE[asset])
    return digest(modules, named_sql.version("views"), length=12) if asset == "warehouse" else modules


def _configured(deployment: Deployment, node: Node) -> dict[str, str]:
    """The configuration and code that a node is made from, with versions."""
    parents = {}
    if version := code(node.asset):
        parents["code"] = version
    match node.asset:
        case "raw_wave":
            parents[f"survey_file|{node.partition}"] = deployment.wave_version(node.partition)
        case "harmonized_wave":
            file = deployment.wave_file(node.partition)
            parents[f"crosswalk_card|{node.partition}"] = deployment.harmonizing_version(file)
        case "personas":
            parents["study_card|traits"] = deployment.study_version("traits", "panel", "figures")
            parents["crosswalk"] = deployment.crosswalk_version()
            parents["data_use"] = deployment.policy_version()
        case "panel" | "ceiling":
            parents["study_card|panel"] = deployment.study_version("panel", "seed")
        case "items":
            parents[f"task_card|{node.partition}"] = deployment.task_version(node.partition)
            # Wording is no part of a harmonized wave, but of the items made from it.
            parents["crosswalk"] = deployment.crosswalk_version()
        case "prompts":
            parents[f"task_card|{node.partition}"] = deployment.task_version(node.partition)
            parents["study_card|prompts"] = deployment.study_version("styles", "framings", "conditions", "seed")
        case "responses":
            model = node.partition.split("|")[0]
            parents[f"model_card|{model}"] = deployment.model_version(model)
        case "subgroup_metrics" | "people_shares" | "pockets" | "model_comparison" | "warehouse" | "report":
            parents["figures_card"] = deployment.figures_version()
    return parents


def parents(deployment: Deployment, node: Node) -> dict[str, str]:
    """Name → version of all that a node is made from as things stand now; "" for what has not been made."""
    versions = {}
    for parent in _nodes(deployment, node):
        record = made(deployment, parent)
        versions[str(parent)] = record.version if record else ""
    return versions | _configured(deployment, node)


def is_current(deployment: Deployment, node: Node) -> bool:
    """Whether a node stands and was made from what is there now."""
    record = made(deployment, node)
    return record is not None and record.parents == parents(deployment, node)


def needs_run(deployment: Deployment, node: Node) -> bool:
    """Whether a node is to be made: it is out of step, or a budget left requests, or failed ones are to be asked."""
    record = made(deployment, node)
    if record is None or record.parents != parents(deployment, node):
        return True
    if node.asset != "responses":
        return False
    again = how_to_ask(deployment).retry_errors and bool(record.notes.get("errors"))
    return again or bool(record.notes.get("left"))


def answered(deployment: Deployment, model: str, task: str) -> Record | None:
    """The record of a model's stored answers if there is nothing to ask: none is missing, nothing changed since."""
    node = Node("responses", f"{model}|{task}")
    record = made(deployment, node)
    if record is None or record.parents != parents(deployment, node):
        return None
    requests, asked, reused = (record.notes.get(name, -1) for name in ("requests", "asked", "reused"))
    return record if requests == asked + reused else None


@dataclass(frozen=True)
class _Start:
    """What held when a step began: versions of everything that its asset is made from, and who had withdrawn."""

    parents: Mapping[str, str]
    withdrawn: str


_started: ContextVar[_Start | None] = ContextVar("started", default=None)
P = ParamSpec("P")
T = TypeVar("T")


def _makes(asset: str, *keys: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a step that makes a partition of an asset.

    Parents' versions are taken before the step reads anything, and the record names these. A parent that changes while
    the step works thereby leaves the asset stale; versions taken at the end would hide the change for good. A
    withdrawal waits for the step, and the step for a withdrawal (`storage.at_work`).

    Args:
        asset: The asset.
        keys: The step's parameters that name the partition.
    """

    def decorate(step: Callable[P, T]) -> Callable[P, T]:
        parameters = signature(step)

        @wraps(step)
        def made_from_start(*args: P.args, **kwargs: P.kwargs) -> T:
            given = parameters.bind(*args, **kwargs).arguments
            deployment: Deployment = given["deployment"]
            nested = _started.get() is not None
            with nullcontext() if nested else at_work(deployment.layout):
                start = _Start(
                    parents(deployment, Node(asset, "|".join(given[key] for key in keys))),
                    surveys.load_withdrawals(deployment.layout).version,
                )
                token = _started.set(start)
                try:
                    return step(*args, **kwargs)
                finally:
                    _started.reset(token)

        return made_from_start

    return decorate


def _start(deployment: Deployment) -> _Start:
    """What held when the step began that is about to store something.

    Raises:
        ConfigError: Somebody withdrew since, from another machine; what the step read may hold their answers.
    """
    start = _started.get()
    assert start is not None, "a step that stores is decorated by _makes"
    if surveys.load_withdrawals(deployment.layout).version != start.withdrawn:
        raise ConfigError(
            "A respondent withdrew while this table was being made; nothing was stored",
            remedy="run it again: everything is then read without them",
        )
    return start


def standing(deployment: Deployment, asset: str, model: str, task: str) -> Record | None:
    """The record of a model × task partition that was made from what is there now; None: it is to be made."""
    node = Node(asset, f"{model}|{task}")
    return made(deployment, node) if is_current(deployment, node) else None


def _store(
    deployment: Deployment, node: Node, frame: pl.DataFrame, notes: Mapping[str, Any] | None = None, *, beside: str = ""
) -> Record:
    return store(frame, path_of(deployment, node), node, _start(deployment).parents, notes=notes, beside=beside)


def _or_accept(release: Mapping[str, Any], checks: Sequence[Any]) -> str:
    """What to do about a wave that fails: a release that rightly changes much can be accepted by its id."""
    if {c.name for c in checks if not c.passed and c.severity == "error"} - harmonize.AGAINST_LAST:
        return _CORRECT
    return (
        f"{_CORRECT}. If the release is right as it is, say why in surveys.yaml: sources: {{{release['codebook']}: "
        f'{{accept: {{"{release["release_id"]}": "why so much may change"}}}}}}'
    )


_CORRECT = "correct what the check names; the table as it was stored before stays in use"


def _raise_blocking(what: str, checks: Sequence[Any], file: str | None = None, remedy: str = _CORRECT) -> None:
    """Stop before a stored table is replaced by one that fails a blocking check."""
    failed = [c for c in checks if not c.passed and c.severity == "error"]
    if failed:
        raise ValidationError(
            f"{what} fails {len(failed)} blocking check(s): "
            + "; ".join(f"{c.name}: {c.description} {dict(c.metadata) or ''}".strip() for c in failed),
            file=file,
            remedy=remedy,
        )


# --- surveys --------------------------------------------------------------------------------------------------------


@_makes("raw_wave", "wave")
def make_raw_wave(deployment: Deployment, wave: str) -> Record:
    """Read the wave's files into immutable raw snapshots; one that was read before is not read again."""
    file = deployment.wave_file(wave)
    raws = surveys.ingest_parts(
        [surveys.PartFile(Path(p.path), p.countries if p.limited else None) for p in file.parts],
        wave,
        deployment.layout,
        deployment.sources,
    )
    names = tables.WAVES.schema.names()
    frame = pl.DataFrame(
        [{name: raw.release[name] for name in names} for raw in raws], schema_overrides=dict(tables.WAVES.schema)
    )
    told = {raw.release["file_name"]: raw.release["notes"] for raw in raws if raw.release["notes"]}
    return _store(
        deployment,
        Node("raw_wave", wave),
        tables.WAVES.conform(frame),
        {
            "variables": sum(raw.variables.height for raw in raws),
            "respondents": sum(int(raw.release["n_respondents"]) for raw in raws),
            "told": told,
        },
    )


@_makes("harmonized_wave", "wave")
def make_harmonized_wave(deployment: Deployment, wave: str) -> tuple[Record, Sequence[Any]]:
    """Harmonize a raw wave, part by part; the stored wave is replaced only if no blocking check fails.

    A part that was harmonized before in the same way is taken over as it is. Where one of several parts fails, the
    others go on: of its countries what is stored stays, and the record says so (`left_out`).

    Raises:
        ValidationError: A blocking check failed in every part; the wave as it was stays.
    """
    node, path = Node("harmonized_wave", wave), deployment.layout.harmonized(wave)
    raws = surveys.load_parts(deployment.layout, wave)
    stored = _previous(path)
    record = made(deployment, node)
    known: Mapping[str, Any] = {} if record is None else record.notes.get("parts", {})
    files = {part.sha256: part for part in deployment.wave_file(wave).parts}
    frames: list[pl.DataFrame] = []
    checks: list[Any] = []
    parts: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    failure: MptaError | None = None
    for raw in raws:
        version = _part_version(deployment, wave, raw, files.get(raw.release["sha256"]))
        before = None if stored is None else _rows_of(stored, raw)
        same = known.get(raw.release_id)
        try:
            if same is not None and same["version"] == version and stored is not None:
                frame, facts = _taken_over(stored, raw, same["columns"]), dict(same)
                found = [CheckResult(**check) for check in same["checks"]]
            else:
                _no_negative_weight(raw)
                frame = harmonize.harmonize(raw, deployment.crosswalk)
                file = files.get(raw.release["sha256"])
                found = harmonize.check_wave(
                    frame,
                    raw,
                    deployment.crosswalk,
                    previous=before,
                    accepted=None if file is None else deployment.accepted(wave, file),
                )
                file_name, remedy = raw.release["file_name"], _or_accept(raw.release, found)
                _raise_blocking(f"Wave {wave}", found, file=file_name, remedy=remedy)
                facts = _facts(frame, raw, deployment) | {"version": version, "checks": [vars(c) for c in found]}
        except MptaError as problem:
            failure = problem
            name = str(raw.release["file_name"])
            left_out[name] = str(problem)
            told = f"The wave is made without {name}: {problem}"
            checks.append(CheckResult("schema", False, "warn", told, {"file": name}))
            if before is not None and len(raws) > 1:  # of its countries what is stored stays
                frames.append(before)
                parts |= {r: known[r] for r in before["release_id"].unique() if r in known}
            continue
        frames.append(frame)
        checks += found
        parts[raw.release_id] = facts | {"warnings": [c.name for c in found if not c.passed]}
    if failure is not None and len(left_out) == len(raws):
        raise failure
    frame = tables.RESPONDENTS.conform(pl.concat(frames, how="diagonal_relaxed"))
    several = len(parts) > 1
    notes = {
        "columns": sum(1 for c in frame.columns if f"{c}__missing" in frame.columns),
        "weight": " and ".join(sorted({p["weight"] for p in parts.values() if p["weight"]})) or None,
        "warnings": list(dict.fromkeys(w for p in parts.values() for w in p["warnings"])),
        # Columns, or parts of them, that this wave lacks although its files have the answers, with what the file says.
        "set_aside": [f"{p['file']}: {said}" if several else said for p in parts.values() for said in p["set_aside"]],
        "variables_set_aside": sum(p["variables_set_aside"] for p in parts.values()),
        "left_out": left_out,
        "parts": parts,
    }
    return _store(deployment, node, frame, notes), checks


def _no_negative_weight(raw: surveys.RawWave) -> None:
    """Stop where a weight is below zero and no missing code: no table may hold it."""
    wrong = surveys.respondents(raw).filter(pl.col("weight") < 0)["weight"]
    if len(wrong):
        raise SurveyFileError(
            f"{len(wrong):,} respondent(s) have a weight below zero",
            file=raw.release["file_name"],
            variable=raw.release["weight_name"],
            value=wrong[0],
            remedy=_CORRECT,
        )


def _facts(frame: pl.DataFrame, raw: surveys.RawWave, deployment: Deployment) -> dict[str, Any]:
    """What the record keeps of a harmonized part."""
    aside = harmonize.columns_set_aside(raw, deployment.crosswalk)
    return {
        "file": raw.release["file_name"],
        "columns": frame.columns,
        "weight": raw.release["weight_name"],
        "set_aside": harmonize.describe_set_aside(aside),
        "variables_set_aside": len({p.variable for p in aside}),
    }


def _part_version(deployment: Deployment, wave: str, raw: surveys.RawWave, file: PartFile | None) -> str:
    """Version of all that a part of a harmonized wave is made from."""
    rules = "" if file is None else deployment.part_harmonizing_version(wave, file)
    withdrawn = str(raw.release.get("withdrawals", ""))
    return digest(code("harmonized_wave") or "", rules, raw.release_id, " ".join(raw.countries or ()), withdrawn)


def _rows_of(stored: pl.DataFrame, raw: surveys.RawWave) -> pl.DataFrame | None:
    """What the stored wave holds of a part's countries, of its source if that gave some of them; null: nothing."""
    rows = stored.filter(pl.col("country").is_in(list(raw.release["countries"])))
    own = rows.filter(pl.col("codebook") == raw.release["codebook"])
    rows = own if own.height else rows
    return _without_empty(rows) if rows.height else None


def _taken_over(stored: pl.DataFrame, raw: surveys.RawWave, columns: Sequence[str]) -> pl.DataFrame:
    """A part as the stored wave holds it."""
    return stored.filter(pl.col("release_id") == raw.release_id).select(columns)


def _without_empty(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a wave without the columns that only its other parts have."""
    absent = {
        c
        for c in rows.columns
        if f"{c}__missing" in rows.columns and rows[c].is_null().all() and rows[f"{c}__missing"].is_null().all()
    }
    return rows.drop([name for c in absent for name in (c, f"{c}__missing", f"{c}__code") if name in rows.columns])


def part_of(stored: pl.DataFrame, raw: surveys.RawWave) -> pl.DataFrame:
    """What a harmonized wave holds of one of its files."""
    return _without_empty(stored.filter(pl.col("release_id") == raw.release_id))


def _previous(path: Path) -> pl.DataFrame | None:
    """The wave as it was harmonized before; None where there is none, or none that can be read."""
    try:
        return read_table(path)
    except (FileNotFoundError, DamagedError):
        return None


@_makes("survey_changelog", "wave")
def make_survey_changelog(deployment: Deployment, wave: str) -> Record:
    """What the wave's releases in use changed against those that they superseded; empty for first releases."""
    node = Node("survey_changelog", wave)
    older = surveys.previous_releases(deployment.layout, wave)
    frames = [tables.CHANGELOG.empty()]
    for new in surveys.load_parts(deployment.layout, wave):
        previous = older.get(str(new.release["sha256"])[:12], [])
        for release, countries in previous:
            old = surveys.load_raw(deployment.layout, wave, release)
            # One file in the place of one: all of both is compared, so that countries that came or went are seen.
            whole = len(previous) == 1 and new.countries is None and set(countries) == set(old.release["countries"])
            pair = (old, new) if whole else (surveys.limited(old, countries), surveys.limited(new, countries))
            frames.append(surveys.diff_releases(*pair))
    names = sorted({release for found in older.values() for release, _ in found})
    frame = tables.CHANGELOG.conform(pl.concat(frames))
    return _store(deployment, node, frame, {"previous_release": ", ".join(names) or None})


def forget_wave(deployment: Deployment, wave: str) -> None:
    """Take a wave out of the study: its harmonized table goes, raw snapshots and answers stay."""
    for asset in ("raw_wave", "harmonized_wave", "survey_changelog"):
        discard(path_of(deployment, Node(asset, wave)))


# --- personas -------------------------------------------------------------------------------------------------------


@_makes("personas")
def make_personas(deployment: Deployment) -> tuple[Record, Sequence[Any]]:
    """Turn the harmonized waves into personas; checked before the stored table is replaced."""
    respondents = deployment.respondents()
    frame = personas.build_personas(respondents, deployment.crosswalk, deployment.study, deployment.waves())
    checks = personas.check_personas(frame, respondents)
    _raise_blocking("The personas table", checks)
    base = dict.fromkeys(part for d in deployment.study.figures.dimensions for part in d.split("×"))
    groups = personas.derived_dimensions(
        respondents,
        tuple(base | dict.fromkeys(deployment.study.panel.strata)),
        deployment.crosswalk,
        country_groups=deployment.study.figures.country_groups,
    ).join(personas.sampling_design(respondents), on="respondent_id", how="left")
    node = Node("personas")
    group_record = _store(deployment, Node("groups"), tables.GROUPS.conform(groups))
    # The groups are part of this asset: what depends on it must hear of a change in either table. One record says both,
    # for a run may be killed between two.
    record = _store(deployment, node, frame, beside=group_record.version)
    return record, checks


@_makes("panel")
def make_panel(deployment: Deployment) -> Record:
    """Draw who is asked."""
    study = deployment.study
    frame = personas.draw_panel(read(deployment, "personas"), read(deployment, "groups"), study.panel, study.seed)
    return _store(deployment, Node("panel"), frame)


# --- tasks ----------------------------------------------------------------------------------------------------------


@_makes("items", "task")
def make_items(deployment: Deployment, task: str) -> Record:
    """Make a task's items and, beside them, what every respondent answered to them."""
    config = deployment.task(task)
    respondents = deployment.respondents()
    gaps = tasks.Gaps()
    items = tasks.build_items(
        task,
        config,
        crosswalk=deployment.crosswalk,
        respondents=respondents,
        study=deployment.study,
        base=deployment.config,
        cache_dir=deployment.layout.item_files,
        gaps=gaps,
    )
    gold = tasks.build_gold(task, config, items, crosswalk=deployment.crosswalk, respondents=respondents)
    _store(deployment, Node("gold", task), gold)
    return _store(deployment, Node("items", task), items, {"respondents_answers": gold.height, **gaps.notes()})


def items_left_out(deployment: Deployment) -> list[tuple[str, str]]:
    """Task and sentence, for tasks whose item file has items that cannot be asked."""
    told = []
    for task in deployment.study.tasks:
        record = made(deployment, Node("items", task))
        notes = record.notes if record else {}
        if left := notes.get("left_out"):
            told.append(
                (
                    task,
                    f"{left:,} items cannot be asked and are left out: {notes['left_out_items']}. Complete them in the "
                    "item file, or get it again",
                )
            )
    return told


@_makes("prompts", "task")
def make_prompts(deployment: Deployment, task: str) -> tuple[Record, Sequence[Any]]:
    """Cross items, personas, conditions and option orders into prompts."""
    frame = tasks.build_prompts(
        task,
        deployment.study,
        items=read(deployment, "items", task),
        gold=read(deployment, "gold", task),
        panel=read(deployment, "panel"),
        personas=read(deployment, "personas"),
    )
    checks = tasks.check_prompts(frame)
    _raise_blocking(f"The prompts of {task}", checks)
    notes = {"contents": frame["content_hash"].n_unique(), "personas": frame["respondent_id"].n_unique()}
    return _store(deployment, Node("prompts", task), frame, notes), checks


# --- inference ------------------------------------------------------------------------------------------------------


@_makes("responses", "model", "task")
def make_responses(deployment: Deployment, model: str, task: str, how: Asking | None = None) -> Record:
    """Ask a model the prompts that its ledger holds no answer to, and store the answers."""
    spec = deployment.model(model)
    prompts = as_permitted(deployment, read(deployment, "prompts", task))
    ledger = deployment.layout.ledger(model)
    how = how or how_to_ask(deployment)
    outcome = inference.ask(
        spec,
        prompts,
        ledger,
        progress=how.progress,
        budget=how.budget,
        retry_errors=how.retry_errors,
        cache_dir=deployment.layout.models,
        stop=how.stop,
        judge=_statuses_of,
    )
    frame = inference.responses(spec, prompts, ledger)
    return _store(deployment, Node("responses", f"{model}|{task}"), frame, outcome.as_notes())


def as_permitted(deployment: Deployment, prompts: pl.DataFrame) -> pl.DataFrame:
    """Prompts with the `data_use` of today: that of the source of the persona that they show.

    What stands in the stored prompts was true when they were made; `surveys.yaml` is read again here, because a
    permission may have been withdrawn while a process was running.
    """
    today = replace(deployment)  # nothing is remembered of what was read before
    shown = read(deployment, "personas").select(pl.col("respondent_id").alias("shown_respondent_id"), "codebook")
    return (
        prompts.join(shown, on="shown_respondent_id", how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("shown_respondent_id").is_null())
            .then(pl.lit("any"))
            .otherwise(today.permitted_use("codebook"))
            .alias("data_use")
        )
        .select(prompts.columns)
    )


def _statuses_of(replies: pl.DataFrame) -> pl.Series:
    """Status of each of a few replies as scoring will say it; `inference.ask` calls this in a run's first minute."""
    prompts = replies.select(
        pl.col("request_hash").alias("prompt_id"),
        "options",
        pl.int_ranges(pl.col("options").list.len()).alias("option_order"),
        "elicitation",
    )
    given = replies.select(
        pl.lit("").alias("model"),
        pl.col("request_hash").alias("prompt_id"),
        "request_hash",
        pl.lit(None, pl.String).alias("error"),
        pl.all().exclude("request_hash", "options", "elicitation"),
    )
    parsed = tasks.parse_replies(prompts, given).select("prompt_id", "status")
    return prompts.join(parsed, on="prompt_id", how="left", maintain_order="left")["status"]


# --- figures --------------------------------------------------------------------------------------------------------


@_makes("scores", "model", "task")
def make_scores(deployment: Deployment, model: str, task: str) -> tuple[Record, Sequence[Any]]:
    """Parse a model's answers and compare them with what counts."""
    cell = f"{model}|{task}"
    frame = tasks.score(
        read(deployment, "prompts", task), read(deployment, "items", task), read(deployment, "responses", cell)
    )
    statuses = dict(frame["status"].value_counts().sort("status").rows())
    checks = tasks.check_scores(frame, deployment.study.least_readable)
    if unreadable := [check.description for check in checks if not check.passed]:
        statuses["warning"] = unreadable[0]
    return _store(deployment, Node("scores", cell), frame, statuses), checks


@_makes("subgroup_metrics", "model", "task")
def make_subgroup_metrics(deployment: Deployment, model: str, task: str) -> tuple[Record, Sequence[Any]]:
    """Compute the figures of a model on a task, for everyone and for each subgroup."""
    cell = f"{model}|{task}"
    _people_shares(deployment, task)
    frame = metrics.compute_figures(
        read(deployment, "scores", cell),
        read(deployment, "groups"),
        read(deployment, "gold", task),
        rules=deployment.study.figures,
        releases=deployment.waves().select("survey", "wave", "release_id", "weight_name"),
        items=read(deployment, "items", task),
        ceiling=_ceiling(deployment, task),
        retest=None if (table := deployment.retest_file) is None else metrics.read_retest(table),
        study=deployment.study.name,
    )
    checks = metrics.check_figures(frame)
    _raise_blocking(f"The figures of {cell}", checks)
    _remember_figures(deployment, Node("subgroup_metrics", cell), frame)
    return _store(deployment, Node("subgroup_metrics", cell), frame), checks


def _remember_figures(deployment: Deployment, node: Node, now: pl.DataFrame) -> None:
    """Keep the id and the number of each figure that is about to be replaced by another one.

    Before the figures are stored: a process killed in between has remembered figures that still stand, which harms
    nothing.
    """
    before = _previous(path_of(deployment, node))
    if before is None:
        return
    if "figure_id" not in before.columns:
        before = before.with_columns(figure_ids_by_key(before)).sort("weighted", descending=True, maintain_order=True)
    gone = before.unique("figure_id", keep="first", maintain_order=True).join(now, on="figure_id", how="anti")
    kept = deployment.layout.figures_before(*node.partition.split("|"))
    known = read_parquet(kept) if kept.exists() else tables.FIGURES_BEFORE.empty()
    gone = gone.select(
        "figure_id", pl.concat_str(*FIGURE_KEY, separator="/").alias("figure_key"), "metric", "weighted", "estimate",
        "n_answers", "release_ids", pl.lit(f"{datetime.now(UTC):%Y-%m-%d %H:%M}").alias("until"),
    ).join(known, on="figure_id", how="anti")  # fmt: skip
    if gone.height:
        write_parquet(tables.FIGURES_BEFORE.conform(pl.concat([known, gone])), kept)


def _people_shares(deployment: Deployment, task: str) -> None:
    """Store what people answered to a task's items, made once for all models; as `_ceiling`, it is no asset."""
    if not is_current(deployment, Node("people_shares", task)):
        _make_people_shares(deployment, task)


@_makes("people_shares", "task")
def _make_people_shares(deployment: Deployment, task: str) -> None:
    frame = metrics.people_shares(
        read(deployment, "items", task),
        read(deployment, "gold", task),
        read(deployment, "groups"),
        rules=deployment.study.figures,
    )
    _store(deployment, Node("people_shares", task), frame)


def _ceiling(deployment: Deployment, task: str) -> pl.DataFrame | None:
    """What the visible traits could foretell of the panel's answers: made once a task, read for every model.

    It is no asset: it is a part of the figures that does not depend on the model.
    """
    if is_current(deployment, Node("ceiling", task)):
        return read(deployment, "ceiling", task)
    return _make_ceiling(deployment, task)


@_makes("ceiling", "task")
def _make_ceiling(deployment: Deployment, task: str) -> pl.DataFrame | None:
    gold = read(deployment, "gold", task)
    if gold.is_empty():
        return None
    prompts = read(deployment, "prompts", task).select("item_id", "respondent_id", "masked")
    masked = prompts.select("item_id", "masked").explode("masked").drop_nulls().unique()
    told = read(deployment, "personas").select("respondent_id", pl.col("traits")).explode("traits").drop_nulls()
    told = told.unnest("traits").unique(["respondent_id", "column"], keep="first", maintain_order=True)
    traits = told.pivot(on="column", index="respondent_id", values="value")
    frame = metrics.cross_fitted(
        gold,
        traits.select("respondent_id", *sorted(c for c in traits.columns if c != "respondent_id")),
        hidden={str(item): part["masked"].to_list() for (item,), part in masked.sort("masked").group_by("item_id")},
        seed=deployment.study.seed,
        people=prompts["respondent_id"].unique().to_list(),
    )
    _store(deployment, Node("ceiling", task), frame)
    return frame


@_makes("pockets", "model", "task")
def make_pockets(deployment: Deployment, model: str, task: str) -> tuple[Record, Sequence[Any]]:
    """Search for subgroups where a model does worse on one half of the data and confirm them on the other."""
    cell = f"{model}|{task}"
    frame = metrics.find_pockets(
        read(deployment, "scores", cell),
        read(deployment, "groups"),
        read(deployment, "gold", task),
        rules=deployment.study.figures,
        seed=deployment.study.seed,
        study=deployment.study.name,
    )
    checks = metrics.check_pockets(frame)
    _raise_blocking(f"The pockets of {cell}", checks)
    return _store(deployment, Node("pockets", cell), frame, {"confirmed": int(frame["confirmed"].sum())}), checks


@_makes("model_comparison")
def make_model_comparison(deployment: Deployment) -> tuple[Record, Sequence[Any]]:
    """Compare the models pairwise on the prompts that both answered."""
    frame = metrics.compare_models(
        stacked(deployment, "scores"), rules=deployment.study.figures, groups=read(deployment, "groups")
    )
    checks = metrics.check_comparison(frame)
    _raise_blocking("The comparison of models", checks)
    return _store(deployment, Node("model_comparison"), frame), checks


# --- publication ----------------------------------------------------------------------------------------------------


def leave_out_unused(deployment: Deployment) -> None:
    """Publish no tables of tasks and models that left the study. They stay where they are, for when these come back."""
    used = {
        path_of(deployment, Node(asset, partition))
        for assets, partitions in (
            (("items", "gold", "prompts", "ceiling", "people_shares"), list(deployment.study.tasks)),
            (("responses", "scores", "subgroup_metrics", "pockets"), cells(deployment)),
        )
        for asset in assets
        for partition in partitions
    }
    stored = (
        path
        for asset in (
            "items",
            "gold",
            "prompts",
            "ceiling",
            "people_shares",
            "responses",
            "scores",
            "subgroup_metrics",
            "pockets",
        )
        for path in listed(deployment.layout.store / "tables" / asset, "**/*.parquet")
    )
    warehouse.leave_out(deployment.layout, [path for path in stored if path not in used])


@_makes("warehouse")
def make_warehouse(deployment: Deployment) -> Record:
    """Publish all tables as one DuckDB file, built beside and swapped in."""
    leave_out_unused(deployment)
    crosswalk = deployment.crosswalk
    for name, frame in (("concepts", crosswalk.concepts), ("options", crosswalk.options)):
        store(frame, deployment.layout.table(name), Node(name), {})
    lineage = _lineage(deployment)
    store(lineage, deployment.layout.table("lineage"), Node("lineage"), {})
    before = _start(deployment).parents
    path = warehouse.publish(deployment.layout)
    version = digest("".join(sorted(before.values())))
    notes = {"tables": len(tables.PUBLISHED)}
    return write_record(path, Record("warehouse", version, None, before, notes, checksum(path)))


def _lineage(deployment: Deployment) -> pl.DataFrame:
    rows = []
    todo = _nodes(deployment, Node("warehouse"))
    seen = set()
    while todo:
        node = todo.pop()
        record = made(deployment, node)
        if node in seen or record is None:
            continue
        seen.add(node)
        todo += _nodes(deployment, node)
        rows += [(str(node), parent, record.version, version or None) for parent, version in record.parents.items()]
    return tables.LINEAGE.conform(pl.DataFrame(rows, schema=tables.LINEAGE.schema, orient="row"))


@_makes("report")
def make_report(deployment: Deployment) -> Record:
    """Write the report from the stored figures."""
    figures = {
        name: stacked(deployment, name) for name in ("subgroup_metrics", "pockets", "items", "scores", "people_shares")
    }
    figures["model_comparison"] = read(deployment, "model_comparison")
    figures["waves"] = deployment.waves()
    figures["panel"] = read(deployment, "panel")
    figures["options"] = deployment.crosswalk.options
    html = report.render_report(
        figures,
        study=deployment.study,
        metrics=metrics.METRICS,
        title=f"Study {deployment.study.name}",
        generated=datetime.now(UTC),
        set_aside={
            wave: record.notes.get("set_aside", [])
            for wave in sorted(figures["waves"]["wave"].unique())
            if (record := made(deployment, Node("harmonized_wave", wave))) is not None
        },
    )
    before = _start(deployment).parents
    path = shared(deployment.layout, write_text(html, deployment.layout.report))
    version = digest("".join(sorted(before.values())))
    return write_record(path, Record("report", version, None, before, {"bytes": len(html)}, checksum(path)))


def stacked(deployment: Deployment, asset: str) -> pl.DataFrame:
    """All partitions of a task- or model×task-partitioned table, one below the other."""
    table = next(t for t in tables.PUBLISHED if t.name == asset)
    partitions = (
        list(deployment.study.tasks) if asset in ("items", "prompts", "gold", "people_shares") else cells(deployment)
    )
    frames = [read(deployment, asset, p) for p in partitions if made(deployment, Node(asset, p))]
    return pl.concat(frames, how="vertical") if frames else table.empty()
