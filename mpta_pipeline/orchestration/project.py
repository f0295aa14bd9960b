"""The deployment as one object: where things are, what is configured, which version each source has.

No Dagster here: the command line and the tests use it without an orchestrator.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline import harmonize, inference, surveys, tasks
from mpta_pipeline.errors import ConfigError, SurveyFileError
from mpta_pipeline.foreign import one_line
from mpta_pipeline.hashing import digest
from mpta_pipeline.provenance import read_table
from mpta_pipeline.storage import Layout, read_text, write_json
from mpta_pipeline.study import Study, TaskConfig, config_dir, load_study


@dataclass(frozen=True)
class WaveFile:
    """The file that a wave is read from, as the last look into the survey folder found it."""

    wave: str
    survey: str
    dialect: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Catalogue:
    """What a look into the survey folder found.

    Attributes:
        waves: Wave → its file, for waves whose source may be used.
        problems: File name → why it is not used.
        models: Models of the study then.
        tasks: Tasks of the study then.
        removed: Wave, model or task (`wave gss-2016`) → how often it left the study, whether it came back or not.
    """

    waves: dict[str, WaveFile] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)

    @property
    def units(self) -> set[str]:
        """What can leave a study: its waves, models and tasks, as `removed` names them."""
        kinds = (("wave", self.waves), ("model", self.models), ("task", self.tasks))
        return {f"{kind} {key}" for kind, keys in kinds for key in keys}


@dataclass(frozen=True)
class Project:
    """Layout and configuration. Everything is read when first asked for and kept as long as the object."""

    layout: Layout
    config: Path

    @classmethod
    def from_env(cls) -> Project:
        """The deployment that `MPTA_DATA_DIR` and `MPTA_CONFIG_DIR` name."""
        return cls(Layout.from_env(), config_dir())

    @cached_property
    def study(self) -> Study:
        """The study."""
        return load_study(self.config / "study.yaml")

    @cached_property
    def sources(self) -> surveys.SourceRegistry:
        """Known survey sources with this deployment's data-use policy."""
        return surveys.load_sources(self.config / "surveys.yaml")

    @cached_property
    def models(self) -> dict[str, inference.ModelSpec]:
        """The models of the study, in the order of models.yaml."""
        registry = inference.load_models(self.config / "models.yaml")
        wanted = self.study.models
        for name in wanted or ():
            if name not in registry:
                raise ConfigError(
                    "The study names a model that is not registered",
                    file=self.config / "study.yaml",
                    variable="models",
                    value=name,
                    remedy=f"add it to models.yaml, or choose of {', '.join(registry)}",
                )
        return {name: spec for name, spec in registry.items() if wanted is None or name in wanted}

    @cached_property
    def crosswalk(self) -> harmonize.Crosswalk:
        """The compiled crosswalk."""
        return harmonize.load_crosswalk()

    def model(self, name: str) -> inference.ModelSpec:
        """One model.

        Raises:
            ConfigError: It is not in the registry or not in the study.
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
        """One task.

        Raises:
            ConfigError: It is not in the study.
        """
        try:
            return self.study.tasks[name]
        except KeyError:
            raise ConfigError(
                "There is no such task in this study",
                file=self.config / "study.yaml",
                variable="tasks",
                value=name,
                remedy=f"choose of {', '.join(self.study.tasks)}, or add it to study.yaml; a daemon that still has it "
                "reloads its code location",
            ) from None

    # What the survey folder held when it was last looked at. Kept in a file, because the process that looks (sensor,
    # command line) is not the one that reads the wave.

    @property
    def _catalogue_file(self) -> Path:
        return self.layout.catalogue

    def look(self) -> Catalogue:
        """Look into the survey folder and remember what it holds, and which models and tasks there are.

        A wave whose file has become unusable stays in the study as it was last read.
        """
        before = self.last_look() or Catalogue()
        states = surveys.scan(surveys.folders(self.layout, self.sources), self.sources)
        problems = {one_line(state.path.name): state.problem for state in states if state.problem is not None}
        waves = {}
        for found in surveys.assign(states):
            recognition = found.state.recognition
            if found.role != "used" or recognition is None or found.state.sha256 is None:
                continue
            if self.study.surveys is None or recognition.source.id in self.study.surveys:
                waves[found.wave] = WaveFile(
                    found.wave, recognition.source.id, recognition.dialect, str(found.state.path), found.state.sha256
                )
        unusable = {state.path.name for state in states if state.status == "unusable"}
        for wave, file in before.waves.items():
            if wave not in waves and Path(file.path).name in unusable:
                waves[wave] = file
        now = Catalogue(dict(sorted(waves.items())), problems, list(self.models), list(self.study.tasks))
        left = {unit: before.removed.get(unit, 0) + 1 for unit in sorted(before.units - now.units)}
        catalogue = replace(now, removed=before.removed | left)
        if catalogue != before or not self._catalogue_file.exists():
            document = vars(catalogue) | {"waves": {w: vars(f) for w, f in catalogue.waves.items()}}
            write_json(document, self._catalogue_file)
        return catalogue

    def last_look(self) -> Catalogue | None:
        """What the last look found; None before the first."""
        try:
            document: dict[str, Any] = json.loads(read_text(self._catalogue_file))
            waves = {w: WaveFile(**f) for w, f in document["waves"].items()}
            return Catalogue(**(document | {"waves": waves}))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # absent or damaged: look again
            return None

    def catalogue(self) -> Catalogue:
        """What the last look found; looks if none has been taken."""
        return self.last_look() or self.look()

    def wave_file(self, wave: str) -> WaveFile:
        """The file of a wave.

        Raises:
            SurveyFileError: The survey folder holds no file of it, or one that cannot be used.
        """
        catalogue = self.catalogue()
        if wave not in catalogue.waves:
            raise SurveyFileError(
                f"The survey folder holds no usable file of wave {wave}",
                file=self.layout.surveys,
                value=wave,
                remedy=f"drop its file there; waves found: {', '.join(catalogue.waves) or 'none'}",
            )
        return catalogue.waves[wave]

    def wave_version(self, wave: str) -> str:
        """Version of what a wave is read from: its file, and who of its respondents withdrew."""
        withdrawn = surveys.load_withdrawals(self.layout).version_of(wave)
        return self.wave_file(wave).sha256[:16] + (f"-{withdrawn}" if withdrawn else "")

    def harmonizing_version(self, file: WaveFile) -> str:
        """Version of how a wave is harmonized: the crosswalk's rules for its source, and a release accepted by hand."""
        rules = self.crosswalk.digest(file.dialect)
        accepted = self.accepted(file)
        return rules if accepted is None else digest(rules, accepted)

    def accepted(self, file: WaveFile) -> str | None:
        """Why the release in a file may differ much from the one before it; None: it may not."""
        return self.sources.accepted(file.dialect, surveys.release_id(file.wave, file.sha256))

    def in_use(self) -> dict[str, surveys.InUse]:
        """What the study uses of each source (dialect): waves, version stamps and hashes of their files."""
        found: dict[str, list[tuple[str, str, str]]] = {}
        for wave, file in self.catalogue().waves.items():
            path = self.layout.table("waves", wave)
            version = read_table(path)["version"][0] if path.exists() else None
            found.setdefault(file.dialect, []).append((wave, version or "", file.sha256))
        return {
            dialect: surveys.InUse(
                tuple(wave for wave, _, _ in files),
                tuple(sorted({version for _, version, _ in files if version})),
                tuple(sorted({sha for _, _, sha in files})),
            )
            for dialect, files in found.items()
        }

    def harmonized_waves(self) -> list[str]:
        """Waves that are catalogued and have a harmonized table, in order."""
        return [w for w in self.catalogue().waves if self.layout.harmonized(w).exists()]

    def respondents(self) -> pl.DataFrame:
        """All harmonized waves of the study, one below the other; a column that a wave lacks is null in it."""
        waves = self.harmonized_waves()
        if not waves:
            raise self.no_wave()
        return pl.concat([read_table(self.layout.harmonized(w)) for w in waves], how="diagonal_relaxed").sort(
            "respondent_id"
        )

    def no_wave(self) -> SurveyFileError:
        """The error that says that there is nobody to ask yet."""
        return SurveyFileError(
            "No wave has been harmonized yet",
            file=self.layout.surveys,
            remedy="drop a survey file there, or run `mpta demo`; `mpta surveys` tells what was recognized",
        )

    def waves(self) -> pl.DataFrame:
        """The WAVES rows of the harmonized waves, with the data-use policy of today."""
        stored = pl.concat([read_table(self.layout.table("waves", w)) for w in self.harmonized_waves()])
        return stored.with_columns(self.permitted_use("dialect"))

    def permitted_use(self, dialect: str) -> pl.Expr:
        """Column `data_use`: where personas of a source may be sent by the `surveys.yaml` of today.

        Args:
            dialect: Column that names the source; an unknown one, or none, is `local_only`.
        """
        policy = self.sources.permitted
        return pl.col(dialect).replace_strict(policy, default="local_only", return_dtype=pl.String).alias("data_use")

    def policy_version(self) -> str:
        """Version of where the personas of the waves in use may be sent."""
        policy = self.sources.permitted
        dialects = sorted({file.dialect for file in self.catalogue().waves.values()})
        return digest(*(f"{dialect} {policy[dialect]}" for dialect in dialects))

    def model_version(self, name: str) -> str:
        """Version of what a model answers and of what may be sent to it."""
        spec = self.model(name)
        reach = "any" if spec.may_receive("local_only") else "permitted"
        return digest(inference.card_version(spec), reach)

    # Versions of what is configured: an edit changes only the version of what reads the edited part.

    def task_version(self, task: str) -> str:
        """Version of a task: its configuration, the study's conditions for it, and its item file."""
        config = self.task(task)
        return digest(
            config.model_dump_json(),
            *self.study.task_conditions(task),
            tasks.item_file_version(config, base=self.config),
        )

    def crosswalk_version(self) -> str:
        """Version of the crosswalk's rows for the dialects that are in use."""
        dialects = sorted({file.dialect for file in self.catalogue().waves.values()})
        return digest(*(self.crosswalk.digest(dialect) for dialect in dialects))

    @property
    def retest_file(self) -> Path | None:
        """The table of test–retest accuracies that the study names."""
        named = self.study.figures.retest
        return None if named is None else self.config / named

    def figures_version(self) -> str:
        """Version of how figures are computed: the study's rules and its table of test–retest accuracies."""
        rules, table = self.study_version("figures"), self.retest_file
        if table is None:
            return rules
        return digest(rules, table.read_bytes() if table.is_file() else "absent")

    def study_version(self, *parts: str) -> str:
        """Version of parts of the study, e.g. `traits`."""
        return digest(*(json.dumps(self.study.model_dump(mode="json")[part], sort_keys=True) for part in parts))
