"""The deployment as one object: its folders, its configuration, and the version of each part of it.

No Dagster here: the command line and the tests use it without an orchestrator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline import harmonize, inference, surveys, tasks
from mpta_pipeline.core import tables
from mpta_pipeline.core.configuration import config_dir
from mpta_pipeline.core.errors import ConfigError, DamagedError, SurveyFileError
from mpta_pipeline.core.hashing import content_hash, digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.multiverse import (
    Configuration,
    Level,
    is_variant,
    model_levels,
    prompt_levels,
    task_variant_name,
)
from mpta_pipeline.core.own_records import SetAside, keep
from mpta_pipeline.core.provenance import read_record, read_table
from mpta_pipeline.core.published_figures import FILE as PUBLISHED
from mpta_pipeline.core.published_figures import PublishedStudy, load_published
from mpta_pipeline.core.storage import Layout, listed, read_checked_json, write_checked_json
from mpta_pipeline.core.study import Study, TaskConfig, load_study
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.core.untrusted_text import one_line


@dataclass(frozen=True)
class WavePart:
    """A file that contributes respondents to a wave, as the last scan of the survey folder found it.

    Attributes:
        countries: The countries that it contributes.
        limited: It contains further countries, which another file contributes.
    """

    codebook: str
    path: str
    sha256: str
    countries: tuple[str, ...] = ()
    limited: bool = False

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class WaveFiles:
    """The files that a wave is read from: one, or several that contribute different countries."""

    wave: str
    survey: str
    parts: tuple[WavePart, ...]

    @property
    def codebooks(self) -> list[str]:
        """Codebooks that the files follow."""
        return sorted({part.codebook for part in self.parts})


def _wave_file(stored: dict[str, Any]) -> WaveFiles:
    """Read a wave's files from the catalogue, also from one of an earlier version.

    Those had other names, or a single file per wave.
    """
    single = {key: value for key, value in stored.items() if key not in ("wave", "survey")}
    listed_parts = stored.get("parts", [single])
    named = ({tables.WAVES.earlier_names.get(key, key): value for key, value in part.items()} for part in listed_parts)
    parts = tuple(WavePart(**{**part, "countries": tuple(part.get("countries", ()))}) for part in named)
    return WaveFiles(stored["wave"], stored["survey"], parts)


@dataclass(frozen=True)
class Catalogue:
    """The result of a scan of the survey folder.

    Attributes:
        waves: Wave → its files, for waves whose source may be used.
        problems: File name → why it is not used.
        models: Models of the study at that time.
        tasks: Tasks of the study at that time.
        removed: Wave, model or task (`wave gss-2016`) → how often it has left the study, even if it came back.
    """

    waves: dict[str, WaveFiles] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)

    @property
    def units(self) -> set[str]:
        """The waves, models and tasks of the study, named as in `removed`."""
        kinds = (("wave", self.waves), ("model", self.models), ("task", self.tasks))
        return {f"{kind} {key}" for kind, keys in kinds for key in keys}


@dataclass(frozen=True)
class Deployment:
    """Data folder and configuration. Files are read on first use and cached in the object."""

    layout: Layout
    config: Path

    @classmethod
    def from_env(cls) -> Deployment:
        """The deployment that `MPTA_DATA_DIR` and `MPTA_CONFIG_DIR` name."""
        return cls(Layout.from_env(), config_dir())

    @cached_property
    def study(self) -> Study:
        """The study."""
        return load_study(self.config / "study.yaml")

    @cached_property
    def sources(self) -> surveys.SourceRegistry:
        """The survey sources with this deployment's data-use policy."""
        return surveys.load_sources(self.config / "surveys.yaml", kept=self.layout.records / "sources")

    @cached_property
    def models(self) -> dict[str, inference.ModelSpec]:
        """The models of the study in the order of models.yaml."""
        registry = inference.load_models(self.config / "models.yaml")
        wanted = self.study.models
        for name in wanted or ():
            if name not in registry:
                file = self.config / "study.yaml"
                raise unknown_name(
                    "model", name, registry, variable="models", file=file, hint="or add it to models.yaml"
                )
        own = {name: spec for name, spec in registry.items() if wanted is None or name in wanted}
        multiverse = self.study.multiverse
        for name in () if multiverse is None else multiverse.factors.model:
            if name not in own:
                file = self.config / "study.yaml"
                raise unknown_name("model", name, own, variable="multiverse.factors.model", file=file)
        return inference.with_variants(own, multiverse)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """The configurations of the multiverse, for each task that it varies and each model that is asked."""
        multiverse = self.study.multiverse
        return [] if multiverse is None else self.configurations_at(multiverse.configurations)

    def configurations_at(self, combinations: Sequence[Mapping[str, Level]]) -> list[Configuration]:
        """The configurations that some combinations of levels would be, for each task and model of the multiverse."""
        multiverse, found = self.study.multiverse, []
        if multiverse is None:
            return []
        models = {name: spec for name, spec in self.models.items() if not is_variant(name)}
        for task in multiverse.tasks or self.study.own_tasks:
            for levels in combinations:
                asked = task_variant_name(task, prompt_levels(levels))
                chosen = levels.get("model")
                for name, spec in models.items():
                    if chosen in (None, name):
                        at = inference.at_levels(spec, model_levels(levels)).name
                        found.append(Configuration(task, name, levels, asked, at, chosen is not None))
        return found

    def asks(self, model: str, task: str) -> bool:
        """Whether a model is asked a task: models and tasks of a multiverse are not crossed with all others."""
        if not is_variant(task):
            return not is_variant(model)
        return ModelTask(model, task) in self._asked

    @cached_property
    def _asked(self) -> frozenset[ModelTask]:
        return frozenset(ModelTask(c.asked_model, c.asked_task) for c in self.configurations)

    def asked_version(self, task: str) -> str:
        """Version of which models a task of the multiverse is asked of; empty for the study's own tasks."""
        if not is_variant(task):
            return ""
        return digest(*sorted(model for model, asked in self._asked if asked == task))

    def multiverse_version(self) -> str:
        """Version of the configurations and named figures."""
        if self.study.multiverse is None:
            return ""
        return digest(self.study.multiverse.model_dump_json(), *(str(c) for c in self.configurations))

    @cached_property
    def crosswalk(self) -> harmonize.Crosswalk:
        """The compiled crosswalk."""
        return harmonize.load_crosswalk(
            sources=self.sources, own=self.config / "concepts", kept=self.layout.records / "concepts"
        )

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """Sources, concepts and task kinds in the configuration folder that are not used as they stand."""
        concepts = self.crosswalk.set_aside if self.has_own_concepts else ()
        return (*self.sources.set_aside, *concepts, *tasks.task_kinds(self.config).set_aside)

    @property
    def has_own_concepts(self) -> bool:
        """Whether the configuration folder holds concepts, or sources with rows of concepts.

        The crosswalk takes a second or more to compile, which a look into the survey folder need not wait for.
        """
        folders = (self.config / "concepts", self.layout.records / "concepts")
        return any(own.record.concepts for own in self.sources.own.values()) or any(
            listed(folder, "*.yaml") for folder in folders
        )

    def model(self, name: str) -> inference.ModelSpec:
        """A model of the study.

        Raises:
            ConfigError: models.yaml has no such entry, or the study does not include it.
        """
        try:
            return self.models[name]
        except KeyError:
            raise ConfigError(
                "There is no such model in this study",
                file=self.config / "models.yaml",
                variable="model",
                value=name,
                remedy=f"add an entry of that name to models.yaml; registered: {', '.join(self.models) or 'none'}",
            ) from None

    def task(self, name: str) -> TaskConfig:
        """A task of the study.

        Raises:
            ConfigError: The study has no such task.
        """
        try:
            return self.study.tasks[name]
        except KeyError:
            raise ConfigError(
                "There is no such task in this study",
                file=self.config / "study.yaml",
                variable="tasks",
                value=name,
                remedy=f"choose one of {', '.join(self.study.tasks)}, or add it to study.yaml; if the daemon still has "
                "it, reload the code location",
            ) from None

    # The catalogue is kept in a file: the process that scans the survey folder (sensor, command line) is another one
    # than the one that reads the wave.

    @property
    def _catalogue_file(self) -> Path:
        return self.layout.catalogue

    def look(self) -> Catalogue:
        """Scan the survey folder and store the catalogue of waves, models and tasks.

        A wave whose file has become unusable stays in the study as it was last read.
        """
        before = self.last_look() or Catalogue()
        states = surveys.scan(surveys.folders(self.layout, self.sources), self.sources)
        problems = {one_line(state.path.name): state.problem for state in states if state.problem is not None}
        problems |= {aside.name: str(aside) for aside in self.set_aside}
        waves: dict[str, WaveFiles] = {}
        for found in surveys.assign(states):
            recognition = found.state.recognition
            if found.role != "used" or recognition is None or found.state.sha256 is None:
                continue
            if self.study.surveys is None or recognition.source.id in self.study.surveys:
                limited = found.countries != recognition.parts[found.wave].countries
                part = WavePart(
                    recognition.codebook, str(found.state.path), found.state.sha256, found.countries, limited
                )
                others = waves[found.wave].parts if found.wave in waves else ()
                parts = tuple(sorted((*others, part), key=lambda p: (p.countries, p.path)))
                waves[found.wave] = WaveFiles(found.wave, recognition.source.id, parts)
        unusable = {state.path.name for state in states if state.status == "unusable"}
        for wave, file in before.waves.items():
            waves |= _with_unusable(waves.get(wave), file, unusable)
        now = Catalogue(dict(sorted(waves.items())), problems, list(self.models), list(self.study.tasks))
        left = {unit: before.removed.get(unit, 0) + 1 for unit in sorted(before.units - now.units)}
        catalogue = replace(now, removed=before.removed | left)
        if catalogue != before or not self._catalogue_file.exists():
            shown = {
                w: {"wave": f.wave, "survey": f.survey, "parts": [vars(p) for p in f.parts]}
                for w, f in catalogue.waves.items()
            }
            write_checked_json(vars(catalogue) | {"waves": shown}, self._catalogue_file)
        keep(self.sources.own, self.sources.set_aside, self.layout.records / "sources")
        if self.has_own_concepts:
            keep(self.crosswalk.own, self.crosswalk.set_aside, self.layout.records / "concepts")
        return catalogue

    def last_look(self) -> Catalogue | None:
        """The stored catalogue; None before the first scan."""
        try:
            document = read_checked_json(self._catalogue_file)
            waves = {w: _wave_file(f) for w, f in document["waves"].items()}
            return Catalogue(**(document | {"waves": waves}))
        except (FileNotFoundError, DamagedError, ValueError, KeyError, TypeError, AttributeError):  # scan again
            return None

    def catalogue(self) -> Catalogue:
        """The stored catalogue; scans the survey folder if there is none."""
        return self.last_look() or self.look()

    def wave_file(self, wave: str) -> WaveFiles:
        """The files of a wave.

        Raises:
            SurveyFileError: The survey folder has no usable file of the wave.
        """
        catalogue = self.catalogue()
        if wave not in catalogue.waves:
            raise SurveyFileError(
                f"The survey folder has no usable file of wave {wave}",
                file=self.layout.surveys,
                value=wave,
                remedy=f"put its file there; waves found: {', '.join(catalogue.waves) or 'none'}",
            )
        return catalogue.waves[wave]

    def wave_version(self, wave: str) -> str:
        """Version of a wave's source: its files, their data-use policy, and which of its respondents withdrew."""
        withdrawn = surveys.load_withdrawals(self.layout).version_of(wave)
        parts = self.wave_file(wave).parts
        policy = self.sources.permitted
        if len(parts) == 1 and not parts[0].limited:
            files = parts[0].sha256[:16]
        else:
            files = digest(*sorted(f"{part.sha256} {' '.join(part.countries)}" for part in parts))
        kept_here = sorted({part.codebook for part in parts if policy.get(part.codebook) != "any"})
        # Records of the package are part of the version of the code; its conventions can be replaced, too.
        versions = {part.codebook: self.sources.record_version(part.codebook) for part in parts}
        packaged = surveys.packaged_sources()
        own = sorted(c for c, v in versions.items() if c in self.sources.own or v != packaged.record_version(c))
        records = " ".join(versions[codebook] for codebook in own)
        return "-".join(part for part in (files, " ".join(kept_here), withdrawn, records) if part)

    def harmonizing_version(self, file: WaveFiles) -> str:
        """Version of a wave's harmonization: the crosswalk's rules for its files, and the accepted releases."""
        versions = [self.part_harmonizing_version(file.wave, part) for part in file.parts]
        return versions[0] if len(versions) == 1 else digest(*sorted(set(versions)))

    def part_harmonizing_version(self, wave: str, part: WavePart) -> str:
        """As `harmonizing_version`, for one of the wave's files."""
        rules = digest(self.crosswalk.digest(part.codebook), self.sources.record_version(part.codebook))
        accepted = self.accepted(wave, part)
        return rules if accepted is None else digest(rules, accepted)

    def accepted(self, wave: str, part: WavePart) -> str | None:
        """Why the release in a file may differ much from the previous one; None if it may not."""
        return self.sources.accepted(part.codebook, surveys.release_id(wave, part.sha256))

    def in_use(self) -> dict[str, surveys.InUse]:
        """Codebook → what the study uses of it: waves, version stamps and hashes of their files."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        for wave, file in self.catalogue().waves.items():
            path = self.layout.table("raw_wave", wave)
            known = dict(read_table(path).select("sha256", "version").rows()) if path.exists() else {}
            for part in file.parts:
                found.setdefault(part.codebook, []).append((wave, known.get(part.sha256) or "", part.sha256))
        return {
            codebook: surveys.InUse(
                tuple(dict.fromkeys(wave for wave, _, _ in files)),
                tuple(sorted({version for _, version, _ in files if version})),
                tuple(sorted({sha for _, _, sha in files})),
            )
            for codebook, files in found.items()
        }

    def harmonizing_notes(self) -> dict[str, Mapping[str, Any]]:
        """Wave → the notes of its harmonized table: what was set aside, and which of its releases are held."""
        found = {wave: read_record(self.layout.harmonized(wave)) for wave in self.harmonized_waves()}
        return {wave: record.notes for wave, record in found.items() if record is not None}

    def held_version(self) -> str:
        """Version of the releases that are held."""
        held = {wave: notes["held"] for wave, notes in self.harmonizing_notes().items() if notes.get("held")}
        return digest(json.dumps(held, sort_keys=True))

    def harmonized_waves(self) -> list[str]:
        """The waves of the catalogue that have a harmonized table, in order."""
        return [w for w in self.catalogue().waves if self.layout.harmonized(w).exists()]

    def no_wave(self) -> SurveyFileError:
        """The error for a study without respondents."""
        return SurveyFileError(
            "No wave has been harmonized yet",
            file=self.layout.surveys,
            remedy="put a survey file there, or run `mpta demo`; `mpta surveys` shows what was recognized",
        )

    def waves(self) -> pl.DataFrame:
        """The WAVES rows of the harmonized waves: the releases in use, with the current data-use policy."""
        paths = [self.layout.table("waves", w) for w in self.harmonized_waves()]
        stored = pl.concat([tables.WAVES.with_current_names(read_table(path)) for path in paths])
        return stored.with_columns(self.permitted_use("codebook"))

    def permitted_use(self, codebook: str) -> pl.Expr:
        """Column `data_use`: where personas of a source may be sent by the current `surveys.yaml`.

        Args:
            codebook: Column that names the codebook; an unknown or missing one is `local_only`.
        """
        policy = self.sources.permitted
        return pl.col(codebook).replace_strict(policy, default="local_only", return_dtype=pl.String).alias("data_use")

    def policy_version(self) -> str:
        """Version of the data-use policy of the waves in use."""
        policy = self.sources.permitted
        codebooks = sorted({codebook for file in self.catalogue().waves.values() for codebook in file.codebooks})
        return digest(*(f"{codebook} {policy.get(codebook, 'local_only')}" for codebook in codebooks))

    def model_version(self, name: str) -> str:
        """Version of a model: everything that can change its answers, and what may be sent to it, and how."""
        spec = self.model(name)
        reach = "any" if spec.may_receive("local_only") else "permitted"
        asked = () if spec.panel_share == 1 else (f"panel_share {spec.panel_share}",)
        truth = self._truth_versions() if spec.control else ()
        return digest(inference.card_version(spec), reach, *sorted(spec.elicitations), *asked, *truth)

    def _truth_versions(self) -> list[str]:
        """Versions of what simulated respondents know: people's groups, and their answers to the items of each task.

        Tasks of the multiverse have the items and answers of the task that they vary.
        """
        paths = [self.layout.table("groups"), *(self.layout.table("gold", task) for task in self.study.own_tasks)]
        records = [read_record(path) for path in paths]
        return ["" if record is None else record.version for record in records]

    def spending_permission(self, name: str) -> inference.Permission:
        """Whether a model may be asked without a person at the keyboard; read anew each time."""
        return inference.permission(self.model(name), self.layout.approvals)

    def models_version(self) -> str:
        """Version of the list of models: what the table `models` says about each."""
        return digest(*(json.dumps(inference.table_row(spec), sort_keys=True) for spec in self.models.values()))

    # Versions of the configuration: an edit changes only the version of the part that was edited.

    def task_version(self, task: str) -> str:
        """Version of a task: its configuration, its conditions, and its item file."""
        config = self.task(task)
        return digest(
            config.model_dump_json(),
            *self.study.task_conditions(task),
            tasks.item_file_version(config, base=self.config),
        )

    def experiments_version(self) -> str:
        """Version of what the arms of the study's experiments are drawn by; "" without experiments."""
        drawn = {
            task: tasks.drawn_from(config, self.study.seed)
            for task, config in self.study.own_tasks.items()
            if config.arms and config.arm_design == "one"
        }
        return digest(*(part for pair in drawn.items() for part in pair)) if drawn else ""

    def crosswalk_version(self) -> str:
        """Version of the crosswalk's rows for the codebooks that are in use."""
        codebooks = sorted({codebook for file in self.catalogue().waves.values() for codebook in file.codebooks})
        return digest(*(self.crosswalk.digest(codebook) for codebook in codebooks))

    @property
    def retest_file(self) -> Path | None:
        """The file of test-retest accuracies that the study names."""
        named = self.study.figures.retest
        return None if named is None else self.config / named

    def figures_version(self) -> str:
        """Version of how estimates are computed: the study's rules and its file of test-retest accuracies."""
        rules, table = self.study_version("figures", "name", "seed"), self.retest_file
        if table is None:
            return rules
        return digest(rules, table.read_bytes() if table.is_file() else "absent")

    @property
    def published(self) -> tuple[PublishedStudy | None, str]:
        """The published study of published.yaml, read anew each time, and why it cannot be used; empty if it can."""
        try:
            return load_published(self.config), ""
        except ConfigError as problem:
            return None, str(problem)

    def published_version(self) -> str:
        """Version of the published figures beside those of the study."""
        path = self.config / PUBLISHED
        return digest(path.read_bytes()) if path.is_file() else "absent"

    def report_version(self) -> str:
        """Version of what is published beyond the estimates.

        Tasks and their order, warnings, titles of surveys and kinds of task, the deployment's own records of sources,
        prices of models, and the concepts of all codebooks.
        """
        kinds = tasks.task_kinds(self.config).kinds
        benchmarks = (kinds[task.kind].title if task.kind in kinds else "" for task in self.study.tasks.values())
        titles = sorted(f"{source.family} {source.title}" for source in self.sources)
        return digest(
            *self.study.tasks,
            *benchmarks,
            str(self.study.least_readable),
            *titles,
            *(self.sources.record_version(codebook) for codebook in sorted(self.sources.own)),
            *(f"{name} {spec.price}" for name, spec in self.models.items() if spec.price is not None),
            content_hash(self.crosswalk.concepts),
            content_hash(self.crosswalk.options),
        )

    def study_version(self, *keys: str) -> str:
        """Version of keys of study.yaml, e.g. `traits`; a dot leads to a nested key: `panel.strata`."""
        document = self.study.model_dump(mode="json")
        values = (reduce(lambda value, part: value[part], key.split("."), document) for key in keys)
        return digest(*(json.dumps(value, sort_keys=True) for value in values))


def _with_unusable(now: WaveFiles | None, before: WaveFiles, unusable: set[str]) -> dict[str, WaveFiles]:
    """Add files that became unusable to a wave: their countries stay in the study as they were last read."""
    others = () if now is None else now.parts
    given = {country for part in others for country in part.countries}
    kept = []
    for part in before.parts:
        left = tuple(country for country in part.countries if country not in given)
        if part.name in unusable and (left or now is None):
            kept.append(replace(part, countries=left, limited=part.limited or left != part.countries))
    parts = tuple(sorted((*others, *kept), key=lambda p: (p.countries, p.path)))
    return {before.wave: WaveFiles(before.wave, before.survey, parts)} if parts else {}
