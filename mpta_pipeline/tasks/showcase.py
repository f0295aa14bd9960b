"""What is asked of whom, shown: an invented respondent in every style, and one prompt of every task.

Run `python -m mpta_pipeline.tasks.showcase` for the README's section. The respondent is invented, answer by answer,
from the crosswalk's own options, because no real one belongs into a repository.
"""

from __future__ import annotations

import polars as pl

from mpta_pipeline.harmonize import load_crosswalk
from mpta_pipeline.hashing import hash_uniform
from mpta_pipeline.personas import FRAMINGS, STYLES, Crosswalk, build_personas, column_facts, draw_panel, render
from mpta_pipeline.study import PanelDesign, Study, TaskConfig
from mpta_pipeline.tables import RESPONDENTS, WAVES
from mpta_pipeline.tasks.items import build_gold, build_items
from mpta_pipeline.tasks.prompts import build_prompts

_AGE = 47.0
_TASKS = {
    "value_alignment": TaskConfig(kind="value_alignment", options={"max_options": 5}),
    "trait_inference": TaskConfig(kind="trait_inference", options={"max_options": 5}),
    "sample_myths": TaskConfig(kind="truthfulqa_binary"),
    "sample_stereotypes": TaskConfig(kind="bbq"),
}


def invented_respondents(crosswalk: Crosswalk, dialect: str, n: int = 2) -> tuple[pl.DataFrame, pl.DataFrame]:
    """RESPONDENTS and WAVES rows of people who do not exist: answers drawn from the crosswalk's options by hash."""
    people = pl.DataFrame({"respondent_id": [f"invented-{i}" for i in range(n)]})
    values: list[pl.Series] = []
    for row in column_facts(crosswalk).filter(pl.col("dialect") == dialect).sort("column").to_dicts():
        column = row["column"]
        options = crosswalk.options.filter((pl.col("dialect") == dialect) & (pl.col("column") == column)).sort(
            "position"
        )
        if row["concept"] == "country":
            home = options.filter(pl.col("value") == "USA")["code"].head(1)
            values += [pl.Series("country__code", [home[0]] * n)] if home.len() else []
        elif row["concept"] == "age":
            values += [pl.Series(column, [_AGE] * n), pl.Series(f"{column}__code", [f"{_AGE:.0f}"] * n)]
        elif row["scale"] == "numeric" or options.is_empty():
            continue
        else:
            drawn = (hash_uniform(people, ["respondent_id"], key=column) * options.height).cast(pl.Int64)
            values += [
                options[key].gather(drawn).alias(name) for key, name in (("value", column), ("code", f"{column}__code"))
            ]
    facts = {
        "revision": "", "survey": dialect, "dialect": dialect, "wave": f"{dialect}-0", "release_id": "invented",
        "country": "USA", "year": 2018, "weight": None, "stratum": None, "psu": None,
    }  # fmt: skip
    frame = people.with_columns(
        *(pl.lit(v).alias(k) for k, v in facts.items()),
        pl.col("respondent_id").alias("native_key"),
        pl.int_range(pl.len()).alias("row_index"),
        *values,
    )
    waves = pl.DataFrame(
        {
            "wave": [f"{dialect}-0"], "survey": [dialect], "dialect": [dialect], "release_id": ["invented"],
            "title": ["Invented"], "version": [None], "doi": [None], "file_name": ["none"], "sha256": [""],
            "n_respondents": [n], "countries": [["USA"]], "years": [[2018]], "weight_name": [None],
            "licence": ["invented"], "data_use": ["any"],
        },
        schema=WAVES.schema,
    )  # fmt: skip
    return RESPONDENTS.conform(frame), waves


def showcase(crosswalk: Crosswalk | None = None, *, dialect: str = "gss_extract", seed: int = 2025) -> str:
    """The README's section "What is asked of whom", in Markdown, made by the code that makes the study's prompts."""
    crosswalk = crosswalk or load_crosswalk()
    people, waves = invented_respondents(crosswalk, dialect)
    study = Study.model_validate({"name": "shown", "seed": seed, "traits": {"min": 1, "max": 9}, "tasks": _TASKS})
    personas = build_personas(people, crosswalk, study, waves)
    one = personas.head(1)
    parts = ["An invented respondent in each style:", ""]
    for style in STYLES:
        text = render(one, style=style)[0]
        parts += [f"*{style}*", "", *(f"> {line}  " for line in text.split("\n")), ""]
    parts += ["The same persona as the user, and in the third person:", ""]
    for framing in FRAMINGS[1:]:
        text = render(one, style="prose", framing=framing)[0]
        parts += [f"> {text}", ""]
    parts += ["One prompt of each task: the persona is the system message, the item the user message.", ""]
    everybody = pl.DataFrame({"persona_id": personas["persona_id"], "survey": personas["survey"]})
    panel = draw_panel(personas, everybody, PanelDesign(size=personas.height, strata=()), seed)
    for name, config in study.tasks.items():
        items = build_items(name, config, crosswalk=crosswalk, respondents=people, study=study)
        gold = build_gold(name, config, items, crosswalk=crosswalk, respondents=people)
        prompts = build_prompts(name, study, items=items, gold=gold, panel=panel, personas=personas)
        row = (
            prompts.filter(condition="persona", persona_id=one["persona_id"][0])
            .sort("item_id", "order_id")
            .row(0, named=True)
        )
        hidden = ", ".join(row["masked"]) or "nothing"
        parts += [
            f"*{name}* (hidden from the persona: {hidden})",
            "",
            "```text",
            row["system"],
            "",
            row["user"],
            "```",
            "",
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    print(showcase())
