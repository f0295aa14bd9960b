"""Hand a step the inputs and settings that its table declares, and nothing else.

A step that asks for an undeclared name gets an `UndeclaredInputError`, so that no table can depend on something that
the graph does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from pydantic import BaseModel

from mpta_pipeline import harmonize, inference, surveys
from mpta_pipeline.core.chunks import StoredChunk, chunks_by_inputs
from mpta_pipeline.core.errors import DamagedError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.multiverse import Configuration
from mpta_pipeline.core.provenance import Node, Record, read_table
from mpta_pipeline.core.published_figures import PublishedStudy
from mpta_pipeline.core.storage import Layout, listed
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment, WaveFiles, WavePart
from mpta_pipeline.pipeline.graph import Files, StoredTable
from mpta_pipeline.pipeline.held_releases import HeldRelease, held_releases
from mpta_pipeline.pipeline.request_options import RequestOptions, current_options
from mpta_pipeline.pipeline.staleness import inputs_digest, parent_nodes, read_partitions
from mpta_pipeline.pipeline.stored import (
    StoredParts,
    chunks_of,
    concatenated,
    frames_of,
    made,
    outside_the_study,
    path_of,
    read,
    reduced,
    with_current_names,
)

M = TypeVar("M", bound=BaseModel)


class UndeclaredInputError(RuntimeError):
    """A step asked for something that its table does not declare: a mistake in the graph or in the step."""

    def __init__(self, table: str, what: str) -> None:
        super().__init__(
            f"The step of table {table} reads {what}, which its declaration does not list. "
            f"Add it to the declaration of {table} in mpta_pipeline/pipeline/graph.py, or do not read it."
        )


@dataclass(frozen=True)
class Inputs:
    """The inputs of one step.

    Attributes:
        node: The table and partition to make.
        seen: Names of the tables and settings that the step has asked for so far.
    """

    _deployment: Deployment
    node: Node
    _make_on_demand: Callable[[Node], None] = field(repr=False)
    parents: Mapping[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set, repr=False)

    @property
    def _declared(self) -> StoredTable:
        return graph.TABLES[self.node.asset]

    @property
    def partition(self) -> str:
        """The partition to make."""
        return self.node.partition

    # --- tables ---

    def table(self, name: str) -> pl.DataFrame:
        """The partition of an upstream table that belongs to the step's own.

        Raises:
            UndeclaredInputError: The table is not declared, or its partitions are many.
            ConfigError: It has not been made yet.
        """
        (key,) = self.partitions(name)
        self._prepare(Node(name, key))
        return read(self._deployment, name, key)

    def columns(self, name: str, *columns: str) -> pl.DataFrame:
        """Some columns of the table that `table` gives; the others are not read."""
        (key,) = self.partitions(name)
        self._prepare(Node(name, key))
        return pl.concat([part.select(columns) for part in self.one_by_one(name, [key], columns)])

    def optional_table(self, name: str) -> pl.DataFrame | None:
        """As `table`; None where a step on demand had nothing to store."""
        (key,) = self.partitions(name)
        self._prepare(Node(name, key))
        return None if made(self._deployment, Node(name, key)) is None else read(self._deployment, name, key)

    def stacked(
        self, name: str, only: Callable[[pl.DataFrame], pl.DataFrame] | None = None, *, by_chunk: bool = False
    ) -> pl.DataFrame:
        """All partitions of an upstream table that belong to the step's own, one below the other.

        Args:
            name: The table.
            only: Reduces each partition as soon as it is read, so that they need not all fit into memory.
            by_chunk: `only` may reduce the chunks of a partition one by one.
        """
        if by_chunk and only is not None:
            return concatenated(name, [reduced(self._deployment, name, key, only) for key in self.partitions(name)])
        frames = (read(self._deployment, name, key) for key in self.partitions(name))
        return concatenated(name, [frame if only is None else only(frame) for frame in frames])

    def reduced(self, name: str, only: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """As `table`, reduced chunk by chunk, so that it need not fit into memory (`stored.reduced`)."""
        (key,) = self.partitions(name)
        return reduced(self._deployment, name, key, only)

    def one_by_one(
        self, name: str, partitions: Iterable[str] | None = None, columns: Collection[str] | None = None
    ) -> Iterator[pl.DataFrame]:
        """The rows of an upstream table, one chunk after another, so that they need not fit into memory.

        Args:
            name: The table.
            partitions: Its partitions to read; None for all that belong to the step's own.
            columns: Columns to read, as far as they are stored; None for all.
        """
        for key in self.partitions(name) if partitions is None else partitions:
            yield from frames_of(self._deployment, name, key, columns)

    def parts(self, name: str) -> StoredParts:
        """The rows of an upstream table, some at a time: parts that can be iterated over more than once."""
        (key,) = self.partitions(name)
        chunks_of(self._deployment, name, key)  # raises if it has not been made yet
        return StoredParts(name, path_of(self._deployment, Node(name, key)))

    def chunks(self, name: str) -> list[StoredChunk]:
        """The chunks of the partition that `table` gives as a whole; one without a name if it is in one file.

        Raises:
            UndeclaredInputError: The table is not declared, or its partitions are many.
            ConfigError: It has not been made yet.
        """
        (key,) = self.partitions(name)
        return chunks_of(self._deployment, name, key)

    def digest_without(self, *tables: str) -> str:
        """Digest of the versions of all that the step's table is made from, but for these upstream tables.

        A step that makes its table in chunks replaces them by what each chunk reads of them.
        """
        return inputs_digest({n: v for n, v in self.parents.items() if Node.parse(n).asset not in tables})

    def records(self, name: str) -> dict[str, Record]:
        """Partition → record of an upstream table."""
        found = {key: made(self._deployment, Node(name, key)) for key in self.partitions(name)}
        return {key: record for key, record in found.items() if record is not None}

    def partitions(self, name: str) -> list[str]:
        """The partitions of an upstream table that belong to the step's own."""
        if name not in self._declared.upstream:
            raise UndeclaredInputError(self.node.asset, f"the table {name}")
        self.seen.add(name)
        return read_partitions(self._deployment, self.node, name)

    def respondents(self) -> pl.DataFrame:
        """All harmonized waves, one below the other, by respondent.

        Raises:
            SurveyFileError: No wave has been harmonized yet.
        """
        if not self.partitions("harmonized_wave"):
            raise self._deployment.no_wave()
        return self.stacked("harmonized_wave").sort("respondent_id")

    def previous(self, companion: str | None = None) -> pl.DataFrame | None:
        """The table, or a companion, as it was stored before; None if there is none, or none that can be read."""
        node = self.node if companion is None else Node(companion, self.partition)
        if companion is not None and graph.TABLES[companion].companion_of != self.node.asset:
            raise UndeclaredInputError(self.node.asset, f"the table {companion}")
        try:
            return with_current_names(node.asset, read_table(path_of(self._deployment, node)))
        except (FileNotFoundError, DamagedError):
            return None

    def previous_record(self) -> Record | None:
        """The record of the table as it was stored before."""
        return made(self._deployment, self.node)

    def previous_chunks(self) -> dict[tuple[str, str], StoredChunk]:
        """Name and digest of its inputs → chunk of the table as it was stored before, or left by a run that ended."""
        return chunks_by_inputs(path_of(self._deployment, self.node))

    def snapshots(self) -> list[surveys.RawWave]:
        """The raw snapshots of the wave's files as they were read last, which belong to the table raw_wave."""
        self.partitions("raw_wave")
        return surveys.load_parts(self._files("snapshots"), self.partition, registry=self.sources)

    def snapshot(self, release: str) -> surveys.RawWave:
        """The raw snapshot of a release of the wave, which may have been superseded."""
        self.partitions("raw_wave")
        return surveys.load_raw(self._files("snapshots"), self.partition, release, registry=self.sources)

    def ancestors(self) -> Iterable[tuple[Node, Record]]:
        """Every stored partition that the table descends from, with its record."""
        todo, known = parent_nodes(self._deployment, self.node), set()
        while todo:
            node = todo.pop()
            record = made(self._deployment, node)
            if node in known or record is None:
                continue
            known.add(node)
            if graph.TABLES[node.asset].has_step:
                todo += parent_nodes(self._deployment, node)
            yield node, record

    def _prepare(self, node: Node) -> None:
        if graph.TABLES[node.asset].on_demand and graph.owner(node.asset) == self.node.asset:
            self._make_on_demand(node)

    # --- settings ---

    @cached_property
    def study(self) -> Study:
        """The study with the keys of study.yaml that the declared settings list; any other key raises."""
        keys = [key for name in self._declared.settings for key in graph.SETTINGS[name].keys]
        self.seen.update(name for name in self._declared.settings if graph.SETTINGS[name].keys)
        return _restricted(self._deployment.study, keys, self.node.asset)

    def _given(self, what: str) -> Deployment:
        givers = [name for name in self._declared.settings if what in graph.SETTINGS[name].gives]
        if not givers:
            raise UndeclaredInputError(self.node.asset, f"the setting that gives `{what}`")
        self.seen.update(givers)
        return self._deployment

    @property
    def crosswalk(self) -> harmonize.Crosswalk:
        """The compiled crosswalk."""
        return self._given("crosswalk").crosswalk

    @property
    def sources(self) -> surveys.SourceRegistry:
        """The survey sources with this deployment's policy."""
        return self._given("sources").sources

    @property
    def wave_file(self) -> WaveFiles:
        """The files of the wave."""
        return self._given("wave_file").wave_file(self.partition)

    @property
    def task(self) -> TaskConfig:
        """The task's configuration."""
        return self._given("task").task(self._key("task"))

    @property
    def config_folder(self) -> Path:
        """The folder of study.yaml, from which a task's relative path to its item file starts."""
        return self._given("config_folder").config

    @property
    def model(self) -> inference.ModelSpec:
        """The model's specification."""
        return self._given("model").model(self._key("model"))

    @property
    def asked(self) -> bool:
        """Whether the model is asked the task; configurations of a multiverse do not cross all models and tasks."""
        return self._given("asked").asks(self._key("model"), self._key("task"))

    @property
    def configurations(self) -> list[Configuration]:
        """The configurations of the multiverse."""
        return self._given("configurations").configurations

    @property
    def spending_permission(self) -> inference.Permission:
        """Whether the model may be asked without a person at the keyboard, at this moment."""
        return self._given("spending_permission").spending_permission(self._key("model"))

    @property
    def models(self) -> dict[str, inference.ModelSpec]:
        """The specifications of all models of the study."""
        return self._given("models").models

    @property
    def retest_file(self) -> Path | None:
        """The table of test-retest accuracies that the study names."""
        return self._given("retest_file").retest_file

    def accepted(self, part: WavePart) -> str | None:
        """Why the release in one of the wave's files may differ much from the one before; None: it may not."""
        return self._given("acceptance").accepted(self.partition, part)

    def harmonizing_version(self, part: WavePart) -> str:
        """Version of how one of the wave's files is harmonized."""
        return self._given("acceptance").part_harmonizing_version(self.partition, part)

    @property
    def held(self) -> list[HeldRelease]:
        """The releases that are read and not in use."""
        return held_releases(self._given("held"))

    @property
    def published(self) -> tuple[PublishedStudy | None, str]:
        """The published study of published.yaml, and why it cannot be used."""
        return self._given("published").published

    def permitted_use(self, codebook: str) -> pl.Expr:
        """Column `data_use` by the surveys.yaml of this moment, which may have changed since the run began."""
        return replace(self._given("permitted_use")).permitted_use(codebook)

    def _key(self, dimension: graph.Dimension) -> str:
        return self._declared.partitioning.values(self.partition)[dimension]

    # --- files beside the tables ---

    @property
    def layout(self) -> Layout:
        """The data folder, for steps that read raw snapshots or publish."""
        return self._files("snapshots", "published")

    @property
    def ledger(self) -> Path:
        """The ledger of the partition's model."""
        return self._files("ledger").ledger(self._key("model"))

    @property
    def model_files(self) -> Path:
        """The folder of files made from installed models."""
        return self._files("model_files").models

    @property
    def item_files(self) -> Path:
        """The folder of downloaded item files."""
        return self._files("item_files").item_files

    @property
    def replaced_estimates(self) -> Path:
        """The file of estimates of this partition that others have replaced."""
        return self._files("replaced_estimates").replaced_estimates(*ModelTask.parse(self.partition))

    @property
    def request_options(self) -> RequestOptions:
        """How the run sends requests."""
        self._only_with_requests("the options of requests")
        return current_options(self._deployment)

    # --- what may change while requests are sent ---

    def stamp(self) -> tuple[object, ...] | None:
        """What changes when the upstream tables or the configuration change; None while a table is being replaced.

        It is cheap: the upstream tables' records, and times and sizes of the configuration's files.
        """
        self._only_with_requests("the stamp of its inputs")
        records = [self.records(name).get(key) for name in self._declared.upstream for key in self.partitions(name)]
        if None in records:
            return None
        config = self._deployment.config
        files = [config / f"{name}.yaml" for name in ("models", "study", "surveys")]
        files += [*sorted(listed(config / "sources", "*.yaml")), *sorted(listed(config / "providers", "*.py"))]
        permission = self.spending_permission.version
        return (permission, *(r.version for r in records if r is not None), *map(_time_and_size, files))

    def as_of_now(self) -> Inputs | None:
        """These inputs with the configuration of this moment; None if their model or task has left the study.

        Raises:
            ConfigError: A file of the configuration cannot be used.
        """
        self._only_with_requests("its inputs as of now")
        deployment = replace(self._deployment)
        if self._key("model") not in deployment.models or self._key("task") not in deployment.study.tasks:
            return None
        return replace(self, _deployment=deployment)

    def _only_with_requests(self, what: str) -> None:
        if not self._declared.sends_requests:
            raise UndeclaredInputError(self.node.asset, f"{what} (`sends_requests`)")

    def stored_outside_the_study(self) -> list[Path]:
        """Stored partitions of models and tasks that left the study; they are kept and not published."""
        self._files("published")
        return outside_the_study(self._deployment)

    def _files(self, *one_of: Files) -> Layout:
        if not set(one_of) & set(self._declared.files):
            raise UndeclaredInputError(self.node.asset, f"files of kind `{' or '.join(one_of)}`")
        return self._deployment.layout


def _time_and_size(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def _restricted(model: M, keys: Iterable[str], table: str, path: str = "") -> M:
    """A copy of a configuration that has the given keys only; reading another one raises `UndeclaredInputError`."""
    below: dict[str, list[str]] = {}
    for key in keys:
        head, _, rest = key.partition(".")
        below.setdefault(head, []).append(rest)
    fields = frozenset(type(model).model_fields)

    class Restricted(type(model)):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if name in fields and name not in below:
                raise UndeclaredInputError(table, f"the key {path}{name} of study.yaml")
            return super().__getattribute__(name)

    values = {
        head: getattr(model, head) if "" in rests else _restricted(getattr(model, head), rests, table, f"{path}{head}.")
        for head, rests in below.items()
    }
    made: M = Restricted.model_construct(**values)
    return made
