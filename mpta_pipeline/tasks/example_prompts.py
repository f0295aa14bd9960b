"""Write the documentation's example prompts: an invented respondent in every style, and one prompt per task kind.

Run `python -m mpta_pipeline.tasks.example_prompts` to print them. The respondent's answers are drawn from the
crosswalk's own options, because no real respondent may be in a repository.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.hashing import hash_uniform
from mpta_pipeline.core.study import PanelDesign, Study, TaskConfig
from mpta_pipeline.core.tables import RESPONDENTS, WAVES
from mpta_pipeline.harmonize import load_crosswalk
from mpta_pipeline.personas import FRAMINGS, STYLES, CrosswalkTables, build_personas, column_facts, draw_panel, render
from mpta_pipeline.tasks.items import build_gold, build_items
from mpta_pipeline.tasks.kind_registry import task_kinds
from mpta_pipeline.tasks.prompts import build_prompts
from mpta_pipeline.tasks.task_kind import Example, TaskKind

_AGE = 47.0
BEGIN = "<!-- Example prompts: made by python -m mpta_pipeline.tasks.example_prompts -->"
END = "<!-- end of the example prompts -->"


def _tasks(known: Iterable[TaskKind], folder: Path) -> dict[str, TaskConfig]:
    """One task of each kind that has an example; kinds that read files read the example's.

    Kinds that make items from the survey come first, then those with sample items.
    """
    kinds = [kind for kind in known if kind.example is not None]
    kinds.sort(key=lambda kind: (kind.file is not None, kind.file is None or kind.file.sample is None, kind.name))
    tasks = {}
    for kind in kinds:
        example = kind.example or Example()
        for name, text in example.files.items():
            path = folder / kind.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        files = folder / kind.name if example.files else None
        tasks[kind.name] = TaskConfig(kind=kind.name, path=files, options=dict(example.options))
    return tasks


def invented_respondents(crosswalk: CrosswalkTables, codebook: str, n: int = 2) -> tuple[pl.DataFrame, pl.DataFrame]:
    """RESPONDENTS and WAVES rows of invented people: answers drawn from the crosswalk's options by hash."""
    people = pl.DataFrame({"respondent_id": [f"invented-{i}" for i in range(n)]})
    values: list[pl.Series] = []
    for row in column_facts(crosswalk).filter(pl.col("codebook") == codebook).sort("column").to_dicts():
        column = row["column"]
        options = crosswalk.options.filter((pl.col("codebook") == codebook) & (pl.col("column") == column)).sort(
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
        "revision": "", "survey": codebook, "codebook": codebook, "wave": f"{codebook}-0", "release_id": "invented",
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
            "wave": [f"{codebook}-0"], "survey": [codebook], "codebook": [codebook], "release_id": ["invented"],
            "title": ["Invented"], "version": [None], "doi": [None], "file_name": ["none"], "sha256": [""],
            "n_respondents": [n], "countries": [["USA"]], "years": [[2018]], "weight_name": [None],
            "licence": ["invented"], "data_use": ["any"],
        },
        schema=WAVES.schema,
    )  # fmt: skip
    return RESPONDENTS.conform(frame), waves


def showcase(crosswalk: CrosswalkTables | None = None, *, codebook: str = "gss_extract", seed: int = 2025) -> str:
    """The example prompts in Markdown, made by the code that makes a study's prompts."""
    crosswalk = crosswalk or load_crosswalk()
    people, waves = invented_respondents(crosswalk, codebook)
    with tempfile.TemporaryDirectory() as folder:
        # Only the package's kinds: the documentation does not depend on a deployment.
        kinds = task_kinds(Path(folder)).kinds
        shown = _tasks(kinds.values(), Path(folder))
        study = Study.model_validate({"name": "shown", "seed": seed, "traits": {"min": 1, "max": 9}, "tasks": shown})
        personas = build_personas(people, crosswalk, study, waves)
        one = personas.head(1)
        prompts = {name: _one_prompt(name, study, people, personas, crosswalk) for name in shown}
    parts = [
        BEGIN,
        "## One persona in every style",
        "",
        "A persona is a real respondent; this one is invented, answer by answer, because no real one belongs into a",
        "repository. All styles state the same traits:",
        "",
    ]
    for style in STYLES:
        parts += [f"*{style}*", "", "```text", render(one, style=style)[0], "```", ""]
    parts += [
        "The same persona as the user (`user_is`) and as somebody else (`third_person`, and alike `forecast`):",
        "",
    ]
    for framing in FRAMINGS[1:3]:
        parts += ["```text", render(one, style="prose", framing=framing)[0], "```", ""]
    parts += [
        "One prompt of each kind of task follows. The persona is the system message; it is left out where it is the",
        "whole prose text above. Items of `truthfulqa_binary` and `bbq` are our samples, those of the other benchmarks",
        "are invented in the structure of their files.",
        "",
    ]
    whole = render(one, style="prose")[0]
    for name, row in prompts.items():
        hidden = ", ".join(f"`{column}`" for column in row["masked"])
        title = f"*{kinds[name].title}* (`{name}`" + (f"; hidden: {hidden})" if hidden else ")")
        system = row["system"].removeprefix(whole).strip() if not hidden else row["system"]
        parts += [title, "", "```text", *([system, ""] if system else []), row["user"], "```", ""]
    return "\n".join([*parts, END])


def _one_prompt(
    name: str, study: Study, people: pl.DataFrame, personas: pl.DataFrame, crosswalk: CrosswalkTables
) -> dict[str, Any]:
    """The first prompt of a task with the first persona."""
    config = study.tasks[name]
    everybody = pl.DataFrame({"respondent_id": personas["respondent_id"], "survey": personas["survey"]})
    panel = draw_panel(personas, everybody, PanelDesign(size=personas.height, strata=()), study.seed)
    items = build_items(name, config, crosswalk=crosswalk, respondents=people, study=study)
    gold = build_gold(name, config, items, crosswalk=crosswalk, respondents=people)
    prompts = build_prompts(name, study, items=items, gold=gold, panel=panel, personas=personas)
    mine = prompts.filter(condition="persona", respondent_id=personas["respondent_id"][0]).sort("item_id", "order_id")
    return mine.row(0, named=True)


if __name__ == "__main__":
    print(showcase())
