"""Reporting what came from outside: which waves, models, tasks there are and which version each has.

A version is reported as an `AssetMaterialization` with a `dagster/data_version` tag: an observation of a bare external
asset counts for nothing in automation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from mpta_pipeline import inference, surveys
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.orchestration.metadata import DATA_VERSION, data_version
from mpta_pipeline.orchestration.partitions import MODEL, SURVEY_WAVE
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Catalogue, Deployment


@dataclass(frozen=True)
class Look:
    """What a look at the outside found, compared with what the instance knows.

    Attributes:
        catalogue: What the survey folder holds.
        add: Partition set → keys that the instance lacks.
        remove: Partition set → keys that are gone.
        events: A materialization for each source whose version changed, and an observation for each new problem.
    """

    catalogue: Catalogue
    add: dict[str, list[str]]
    remove: dict[str, list[str]]
    events: list[dg.AssetMaterialization | dg.AssetObservation]


def look(deployment: Deployment, instance: dg.DagsterInstance, tasks: Collection[str] | None = None) -> Look:
    """Look at the survey folder and the configuration; changes nothing in the instance.

    Args:
        deployment: The deployment.
        instance: The Dagster instance.
        tasks: Tasks of the definitions that are loaded; null for the study's. A task that is not loaded yet is not told
            of, or the news would be lost on assets that do not know it.
    """
    loaded = set(deployment.study.tasks if tasks is None else tasks)
    models = list(deployment.models)  # a configuration that cannot be read is an error before anything is remembered
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
        dg.AssetMaterialization(asset, partition=partition or None, tags={DATA_VERSION: version}, metadata=metadata)
        for asset, partition, version, metadata in _versions(deployment, catalogue)
        if (asset != "task_card" or partition in loaded) and _known_version(instance, asset, partition) != version
    ]
    return Look(
        catalogue,
        {name: [k for k in wanted[name] if k not in known[name]] for name in wanted},
        {name: [k for k in known[name] if k not in wanted[name]] for name in wanted},
        events,
    )


def apply(found: Look, deployment: Deployment, instance: dg.DagsterInstance) -> None:
    """Record in the instance what was found; waves that are gone leave the study."""
    for name, keys in found.add.items():
        if keys:
            instance.add_dynamic_partitions(name, keys)
    for name, keys in found.remove.items():
        for key in keys:
            instance.delete_dynamic_partition(name, key)
    forget_removed(found, deployment)
    for event in found.events:
        instance.report_runless_asset_event(event)


def forget_removed(found: Look, deployment: Deployment) -> None:
    """Take the waves that are gone out of the study's tables."""
    for wave in found.remove[str(SURVEY_WAVE.name)]:
        steps.forget_wave(deployment, wave)


def _versions(deployment: Deployment, catalogue: Catalogue) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Asset, partition, version and what to show, for every source."""
    for asset, partition, version, shown in _sources(deployment, catalogue):
        yield asset, partition, data_version(Node(asset, partition), version, catalogue.removed), shown


def _sources(deployment: Deployment, catalogue: Catalogue) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    for wave, file in catalogue.waves.items():
        releases = [surveys.release_id(wave, part.sha256) for part in file.parts]
        yield (
            "survey_file",
            wave,
            deployment.wave_version(wave),
            {
                "file": ", ".join(part.name for part in file.parts),
                "sha256": ", ".join(part.sha256 for part in file.parts),
                "survey": file.survey,
                "release id": ", ".join(releases),
            },
        )
        yield "crosswalk_card", wave, deployment.harmonizing_version(file), {"codebook": ", ".join(file.codebooks)}
    study = deployment.study_version("traits", "panel", "styles", "framings", "conditions", "seed", "figures")
    # Prompts that wait for a permission are looked at again when the policy changes.
    study = digest(study, deployment.policy_version())
    # A wave that goes is no update of any asset: it shows as a change of who can be studied.
    removed = {unit: times for unit, times in catalogue.removed.items() if unit.startswith("wave ")}
    gone = ", ".join(sorted(removed.keys() - catalogue.units)) or "none"
    yield "study_card", "", digest(study, *(f"{u} {n}" for u, n in sorted(removed.items()))), {"removed": gone}
    yield "figures_card", "", deployment.figures_version(), {"level": str(deployment.study.figures.level)}
    left = {unit: times for unit, times in catalogue.removed.items() if not unit.startswith("wave ")}
    gone = ", ".join(sorted(left.keys() - catalogue.units)) or "none"
    yield "departure_card", "", digest(*(f"{u} {n}" for u, n in sorted(left.items()))), {"removed": gone}
    for task, config in deployment.study.tasks.items():
        yield "task_card", task, deployment.task_version(task), {"kind": config.kind}
    for name, spec in deployment.models.items():
        shown = {k: str(v) for k, v in inference.card(spec).items()}
        if (probed := inference.stored_probe(spec, deployment.layout.ledger(name))) is not None:
            shown |= _probed(probed)
        yield "model_card", name, deployment.model_version(name), shown


def report_probes(deployment: Deployment, instance: dg.DagsterInstance, probes: Sequence[inference.Probe]) -> None:
    """Show in the UI what probes of models found, as observations of their cards: no version changes by them."""
    known = set(instance.get_dynamic_partitions(str(MODEL.name)))
    for found in probes:
        if found.model in known:
            instance.report_runless_asset_event(
                dg.AssetObservation("model_card", partition=found.model, metadata=_probed(found))
            )


def _probed(found: inference.Probe) -> dict[str, str]:
    """What a probe found, as metadata."""
    shown = {"problem": found.problem} if found.problem else found.shown()
    return {f"probe: {name}": words for name, words in shown.items()}


def _known_version(instance: dg.DagsterInstance, asset: str, partition: str) -> str | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None),
        limit=1,
    ).records
    materialization = records[0].asset_materialization if records else None
    return (materialization.tags or {}).get(DATA_VERSION) if materialization else None
