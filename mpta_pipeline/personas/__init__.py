"""Personas: word the answers of real respondents, hide what an item asks about, and draw who is asked."""

from mpta_pipeline.personas.controls import MEANING, PLACEBO, SHUFFLES, stand_ins
from mpta_pipeline.personas.dimensions import country_group as check_country_groups
from mpta_pipeline.personas.dimensions import derived_dimensions, dimension_names
from mpta_pipeline.personas.export import Exported, export_personas
from mpta_pipeline.personas.masking import masks
from mpta_pipeline.personas.panel import draw_panel
from mpta_pipeline.personas.persona_checks import check_personas
from mpta_pipeline.personas.render import FRAMINGS, PARAPHRASES, STYLES, render
from mpta_pipeline.personas.sampling_design import sampling_design
from mpta_pipeline.personas.traits import CrosswalkTables, answers, build_personas, column_facts

__all__ = [
    "FRAMINGS",
    "MEANING",
    "PARAPHRASES",
    "PLACEBO",
    "SHUFFLES",
    "STYLES",
    "CrosswalkTables",
    "Exported",
    "answers",
    "build_personas",
    "check_country_groups",
    "check_personas",
    "column_facts",
    "derived_dimensions",
    "dimension_names",
    "draw_panel",
    "export_personas",
    "masks",
    "render",
    "sampling_design",
    "stand_ins",
]
