"""Tables of a study's tasks: everything up to the prompts, and responses of a model that never varies."""

from types import SimpleNamespace

import polars as pl

from mpta_pipeline import personas, tasks
from tests.factories import small_survey


def made(people, crosswalk, study, names=None):
    """Everything up to the prompts of a study."""
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    dimensions = personas.derived_dimensions(people, study.panel.strata, crosswalk)
    panel = personas.draw_panel(frame, dimensions, study.panel, study.seed)
    world = SimpleNamespace(
        people=people, crosswalk=crosswalk, study=study, personas=frame, panel=panel, items={}, gold={}, prompts={}
    )
    for name in names or study.tasks:
        config = study.tasks[name]
        facts = {"crosswalk": crosswalk, "respondents": people}
        world.items[name] = tasks.build_items(name, config, study=study, **facts)
        world.gold[name] = tasks.build_gold(name, config, world.items[name], **facts)
        world.prompts[name] = tasks.build_prompts(
            name, study, items=world.items[name], gold=world.gold[name], panel=panel, personas=frame
        )
    return world


def answered(prompts, text=None, logprobs=None, error=None):
    """RESPONSES of a model that always says the same."""
    return prompts.select(
        pl.lit("constant").alias("model"),
        "task",
        "prompt_id",
        pl.lit("h").alias("request_hash"),
        pl.lit(text, pl.String).alias("text"),
        pl.lit(logprobs, pl.List(pl.Float64)).alias("option_logprobs"),
        pl.lit(None, pl.String).alias("finish_reason"),
        pl.lit(error, pl.String).alias("error"),
    )
