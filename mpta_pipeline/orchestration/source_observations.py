"""Report the sources to Dagster: which waves, models and tasks exist, and the version of each.

A version is reported as an `AssetMaterialization` with a `dagster/data_version` tag, because automation ignores
observations of external assets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from mpta_pipeline import inference, surveys
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.labels import CONTROL
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.orchestration.metadata import DATA_VERSION, data_version
from mpta_pipeline.orchestration.partitions import MODEL, SURVEY_WAVE
from mpta_pipeline.pipeline import approvals, graph
from mpta_pipeline.pipeline.deployment import Catalogue, Deployment
from mpta_pipeline.pipeline.graph import Partitioning
from mpta_pipeline.pipeline.stored import forget_departed_waves


@dataclass(frozen=True)
class Look:
    """The state of the sources compared with what the instance knows.

    Attributes:
        catalogue: The contents of the survey folder.
        add: Partition set → keys that the instance lacks.
        remove: Partition set → keys that no longer exist.
        events: A materialization per source whose version changed, and an observation per problem
            that appeared, changed or was solved.
        versions: Digest of all versions, and of the partitions that the instance has.
    """

    catalogue: Catalogue
    add: dict[str, list[str]]
    remove: dict[str, list[str]]
    events: list[dg.AssetMaterialization | dg.AssetObservation]
    versions: str


def look(
    deployment: Deployment,
    instance: dg.DagsterInstance,
    tasks: Collection[str] | None = None,
    known_problems: Mapping[str, str] | None = None,
    known_versions: str | None = None,
) -> Look:
    """Read the survey folder and the configuration; changes nothing in the instance.

    Args:
        deployment: The deployment.
        instance: The Dagster instance.
        tasks: Tasks of the loaded definitions; null for the study's. A task that is not loaded yet is not reported,
            because assets that do not know it would miss the event.
        known_problems: Problems that have been reported, by file; null for those of the last look.
        known_versions: `versions` of a look after which the instance was found to know all versions: while they are the
            same, it is not asked about each of them.
    """
    loaded = set(deployment.study.tasks if tasks is None else tasks)
    models = list(deployment.models)  # an unreadable configuration raises before anything is remembered
    if known_problems is None:
        before = deployment.last_look()
        known_problems = before.problems if before else {}
    catalogue = deployment.look()
    wanted = {str(SURVEY_WAVE.name): list(catalogue.waves), str(MODEL.name): models}
    known = {name: list(instance.get_dynamic_partitions(name)) for name in wanted}
    events: list[dg.AssetMaterialization | dg.AssetObservation] = [
        dg.AssetObservation("survey_file", metadata={"file": name, "problem": problem})
        for name, problem in catalogue.problems.items()
        if known_problems.get(name) != problem
    ]
    events += [
        dg.AssetObservation("survey_file", metadata={"file": name, "problem": "none any more", "it was": problem})
        for name, problem in known_problems.items()
        if name not in catalogue.problems
    ]
    sources = [found for found in _versions(deployment, catalogue) if found[0] != "task_card" or found[1] in loaded]
    versions = digest(*(f"{asset} {key} {version}" for asset, key, version, _ in sources), *map(str, known.values()))
    if versions != known_versions:
        events += [
            dg.AssetMaterialization(asset, partition=key or None, tags={DATA_VERSION: version}, metadata=metadata)
            for asset, key, version, metadata in sources
            if _known_version(instance, asset, key) != version
        ]
    return Look(
        catalogue,
        {name: [k for k in wanted[name] if k not in known[name]] for name in wanted},
        {name: [k for k in known[name] if k not in wanted[name]] for name in wanted},
        events,
        versions,
    )


def missing_partitions(deployment: Deployment, instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Partition set → keys that the study has and the instance lacks."""
    study = {str(SURVEY_WAVE.name): list(deployment.catalogue().waves), str(MODEL.name): list(deployment.models)}
    known = {name: set(instance.get_dynamic_partitions(name)) for name in study}
    lacking = {name: [key for key in keys if key not in known[name]] for name, keys in study.items()}
    return {name: keys for name, keys in lacking.items() if keys}


def apply(found: Look, deployment: Deployment, instance: dg.DagsterInstance) -> None:
    """Record the result of `look` in the instance; waves without a file leave the study."""
    for name, keys in found.add.items():
        if keys:
            instance.add_dynamic_partitions(name, keys)
    for name, keys in found.remove.items():
        for key in keys:
            instance.delete_dynamic_partition(name, key)
    forget_departed_waves(deployment)
    for event in found.events:
        instance.report_runless_asset_event(event)


def _versions(deployment: Deployment, catalogue: Catalogue) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Source, partition, version and metadata of every source of the graph."""
    keys = {Partitioning.WAVE: list(catalogue.waves)}
    for source in graph.SOURCES.values():
        for partition in keys.get(source.partitioning) or graph.partition_keys(deployment, source.partitioning):
            shown = _metadata(deployment, catalogue, source.name, partition)
            version = graph.version_of_source(deployment, source.name, partition)
            if departed := _departures(catalogue, source.name):
                version = digest(version, *(f"{unit} {times}" for unit, times in sorted(departed.items())))
            yield source.name, partition, data_version(Node(source.name, partition), version, catalogue.removed), shown


def _departures(catalogue: Catalogue, source: str) -> dict[str, int]:
    """What has left the study so far, of the dimensions whose departures a source reports: `wave gss-2016` → times."""
    dimensions = {f"{dimension} " for dimension, by in graph.DEPARTURES.items() if by == source}
    return {unit: n for unit, n in catalogue.removed.items() if unit.startswith(tuple(dimensions)) and dimensions}


def _metadata(deployment: Deployment, catalogue: Catalogue, source: str, partition: str) -> dict[str, str]:
    """What the UI shows of a source."""
    match source:
        case "survey_file":
            file = catalogue.waves[partition]
            return {
                "file": ", ".join(part.name for part in file.parts),
                "sha256": ", ".join(part.sha256 for part in file.parts),
                "survey": file.survey,
                "release id": ", ".join(surveys.release_id(partition, part.sha256) for part in file.parts),
            }
        case "crosswalk_card":
            return {"codebook": ", ".join(catalogue.waves[partition].codebooks)}
        case "study_card" | "departure_card":
            return {"removed": ", ".join(sorted(_departures(catalogue, source).keys() - catalogue.units)) or "none"}
        case "figures_card":
            return {"level": str(deployment.study.figures.level)}
        case "task_card":
            return {"kind": deployment.task(partition).kind}
        case "model_card":
            spec = deployment.models[partition]
            shown = {k: str(v) for k, v in inference.card(spec).items()}
            permission = deployment.spending_permission(partition)
            if not permission.granted:
                price = f"{inference.price_text(spec)}; `mpta approve {partition}`"
                shown["waits for an approval"] = f"the model {permission.because}: {price}"
            probed = inference.stored_probe(spec, deployment.layout.ledger(partition))
            return shown | (_probed(probed) if probed is not None else {})
        case "models_card":
            return {
                name: CONTROL if spec.control else f"model of provider {spec.provider}"
                for name, spec in deployment.models.items()
            }
        case _:
            return {}


def report_probes(deployment: Deployment, instance: dg.DagsterInstance, probes: Sequence[inference.Probe]) -> None:
    """Show the results of model probes in the UI, as observations of the model cards; versions do not change."""
    known = set(instance.get_dynamic_partitions(str(MODEL.name)))
    for found in probes:
        if found.model in known:
            instance.report_runless_asset_event(
                dg.AssetObservation("model_card", partition=found.model, metadata=_probed(found))
            )


def _probed(found: inference.Probe) -> dict[str, str]:
    """The result of a probe as metadata."""
    shown = {"problem": found.problem} if found.problem else found.shown()
    return {f"probe: {name}": words for name, words in shown.items()}


def _known_version(instance: dg.DagsterInstance, asset: str, partition: str) -> str | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None),
        limit=1,
    ).records
    materialization = records[0].asset_materialization if records else None
    return (materialization.tags or {}).get(DATA_VERSION) if materialization else None


def prices_that_wait(deployment: Deployment) -> Iterator[dg.AssetObservation]:
    """An observation per model and task whose requests wait for an approval of their price."""
    for found in approvals.unsent(deployment, waiting=True):
        yield price_that_waits(found.pair, found.requests, found.dollars, found.text)


def price_that_waits(pair: ModelTask, requests: int, dollars: float, why: str) -> dg.AssetObservation:
    """What the UI shows of responses whose requests wait for an approval."""
    shown: dict[str, str | int | float] = {
        "waits for an approval": f"`mpta approve {pair.model}`",
        "requests that wait": requests,
        "price that waits (US$)": round(dollars, 4),
        "why": why,
    }
    return dg.AssetObservation("responses", partition=str(pair), metadata=shown)
