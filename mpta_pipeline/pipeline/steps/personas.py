"""Steps from harmonized waves to personas and the panel."""

from __future__ import annotations

import polars as pl

from mpta_pipeline import personas as domain
from mpta_pipeline import tasks
from mpta_pipeline.core import tables
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.step import Output, step


@step("personas")
def personas(inputs: Inputs) -> Output:
    """Turn the respondents of the harmonized waves into personas; store their groups and the releases with them."""
    respondents = inputs.respondents()
    study = inputs.study
    waves = inputs.stacked("waves").with_columns(inputs.permitted_use("codebook"))
    frame = domain.build_personas(respondents, inputs.crosswalk, study, waves)
    dimensions = dict.fromkeys(part for d in study.figures.dimensions for part in d.split("×"))
    groups = domain.derived_dimensions(
        respondents,
        tuple(dimensions | dict.fromkeys(study.panel.strata)),
        inputs.crosswalk,
        country_groups=study.figures.country_groups,
    ).join(domain.sampling_design(respondents), on="respondent_id", how="left")
    return Output(
        frame,
        checks=domain.check_personas(frame, respondents),
        companions={
            "groups": tables.GROUPS.conform(groups),
            "releases": waves.select("survey", "wave", "release_id", "weight_name"),
        },
    )


@step("panel")
def panel(inputs: Inputs) -> Output:
    """Draw the personas that models are asked about, and the arms of experiments."""
    study, before = inputs.study, inputs.previous("arm_draws")
    frame = domain.draw_panel(inputs.table("personas"), inputs.table("groups"), study.panel, study.seed)
    experiments = {task: config for task, config in study.own_tasks.items() if config.arms}
    draws = [
        tasks.drawn(frame, config, seed=study.seed, task=task, before=before) for task, config in experiments.items()
    ]
    if before is not None:  # those of tasks that left the study, which may come back
        draws.append(before.filter(~pl.col("task").is_in(list(experiments))))
    made = tables.ARM_DRAWS.conform(pl.concat([tables.ARM_DRAWS.empty(), *draws]))
    return Output(frame, companions={"arm_draws": made})
