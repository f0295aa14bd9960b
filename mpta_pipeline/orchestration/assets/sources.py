"""What comes from outside: survey files, the crosswalk, the study, model and task cards.

External assets: nothing here is run. A sensor (or the command line) reports a new data version when a file or a
configuration entry changes, and that is what sets everything below in motion.
"""

from __future__ import annotations

import dagster as dg

from mpta_pipeline.orchestration.metadata import OWNERS
from mpta_pipeline.orchestration.partitions import MODEL, SURVEY_WAVE

GROUP = "sources"


def specs(tasks: dg.StaticPartitionsDefinition) -> list[dg.AssetSpec]:
    """The external assets."""
    return [
        dg.AssetSpec(
            "survey_file",
            description="A survey file in the survey folder, recognized by its content; one partition a wave.",
            partitions_def=SURVEY_WAVE,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"file"},
        ),
        dg.AssetSpec(
            "crosswalk_card",
            description="The crosswalk's rows for the dialect of a wave: how its variables become concepts.",
            partitions_def=SURVEY_WAVE,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"yaml"},
        ),
        dg.AssetSpec(
            "study_card",
            description="The study of study.yaml: traits, panel, conditions, seeds, figures.",
            group_name=GROUP,
            owners=OWNERS,
            kinds={"yaml"},
        ),
        dg.AssetSpec(
            "task_card",
            description="A task of study.yaml with the content hash of its item file; one partition a task.",
            partitions_def=tasks,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"yaml"},
        ),
        dg.AssetSpec(
            "model_card",
            description="An entry of models.yaml: provider, model, revision, parameters; one partition a model.",
            partitions_def=MODEL,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"yaml"},
        ),
    ]
