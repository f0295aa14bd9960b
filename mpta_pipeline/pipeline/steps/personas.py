"""Steps from harmonized waves to personas and the panel."""

from __future__ import annotations

from mpta_pipeline import personas as domain
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
    """Draw the personas that models are asked about."""
    study = inputs.study
    return Output(domain.draw_panel(inputs.table("personas"), inputs.table("groups"), study.panel, study.seed))
