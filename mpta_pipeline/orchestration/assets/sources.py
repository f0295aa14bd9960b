"""What comes from outside: survey files, the crosswalk, the study, model and task cards.

External assets: nothing here is run. A sensor (or the command line) reports a new data version when a file or a
configuration entry changes, and that is what sets everything below in motion.
"""

from __future__ import annotations

import dagster as dg

from mpta_pipeline.orchestration.metadata import CONFIGURATION, MICRODATA, OWNERS
from mpta_pipeline.orchestration.partitions import MODEL, SURVEY_WAVE

GROUP = "sources"


def specs(tasks: dg.StaticPartitionsDefinition) -> list[dg.AssetSpec]:
    """The external assets."""
    cards: list[tuple[str, str, dg.PartitionsDefinition | None, str]] = [
        (
            "survey_file",
            "A survey file in the survey folder, recognized by its content; one partition a wave.",
            SURVEY_WAVE,
            "file",
        ),
        (
            "crosswalk_card",
            "The crosswalk's rows for the codebook of a wave: how its variables become concepts.",
            SURVEY_WAVE,
            "yaml",
        ),
        ("study_card", "The study of study.yaml: traits, panel, conditions, seeds, figures.", None, "yaml"),
        ("figures_card", "How figures are computed: figures of study.yaml and its retest table.", None, "yaml"),
        (
            "departure_card",
            "Models and tasks that left the study: comparison, warehouse and report are made again without them.",
            None,
            "yaml",
        ),
        (
            "task_card",
            "A task of study.yaml with the content hash of its item file; one partition a task.",
            tasks,
            "yaml",
        ),
        (
            "model_card",
            "An entry of models.yaml: provider, model, revision, parameters; one partition a model.",
            MODEL,
            "yaml",
        ),
    ]
    return [
        dg.AssetSpec(
            name,
            description=description,
            partitions_def=partitions,
            group_name=GROUP,
            owners=OWNERS,
            kinds={kind},
            tags=MICRODATA if name == "survey_file" else CONFIGURATION,
        )
        for name, description, partitions, kind in cards
    ]
