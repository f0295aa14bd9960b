"""Benchmark: a million prompts by table operations, beside a row-wise loop on a tenth of them.

Run with `python -m tests.benchmarks.bench_prompts`. Prints seconds and peak memory; fails above 60 s or 4 GB.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import polars as pl

from mpta_pipeline import personas, tasks
from mpta_pipeline.core.hashing import digest
from tests.factories import small_survey

WANTED = 1_000_000


def fabricated() -> dict[str, object]:
    """A study that makes a little over a million value-alignment prompts."""
    crosswalk = small_survey.crosswalk()
    people = small_survey.respondents(n=4700)
    study = small_survey.study(panel={"size": 14100, "strata": ["sex", "age_band"]})
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    dimensions = personas.derived_dimensions(people, study.panel.strata, crosswalk)
    panel = personas.draw_panel(frame, dimensions, study.panel, study.seed)
    config = study.tasks["value_alignment"]
    items = tasks.build_items("value_alignment", config, crosswalk=crosswalk, respondents=people, study=study)
    gold = tasks.build_gold("value_alignment", config, items, crosswalk=crosswalk, respondents=people)
    return {"study": study, "items": items, "gold": gold, "panel": panel, "personas": frame}


def row_wise(parts: dict[str, object], limit: int) -> int:
    """The same prompts one by one, as a plain loop writes them."""
    items = {row["item_id"]: row for row in parts["items"].to_dicts()}
    people = {row["respondent_id"]: row for row in parts["personas"].to_dicts()}
    made = 0
    for respondent_id, item_id in parts["gold"].select("respondent_id", "item_id").iter_rows():
        item, person = items[item_id], people[respondent_id]
        hidden = set(item["reveals"])
        for condition in ("persona", "no_persona", "demographics_only"):
            traits = [
                t
                for t in person["traits"]
                if t["column"] != item["column"]
                and not hidden & set(t["reveals"])
                and (condition == "persona" or t["domain"] == "demographic")
            ]
            system = None if condition == "no_persona" else " ".join(t["statement"] for t in traits)
            for shift in range(len(item["options"])):
                order = item["options"][shift:] + item["options"][:shift]
                lines = [f"{chr(65 + i)}) {text}" for i, text in enumerate(order)]
                user = "\n".join([item["question"], *lines, "Answer with the letter of one option only."])
                json.dumps({"id": digest(respondent_id, item_id, condition, shift, system, user), "user": user})
                made += 1
                if made == limit:
                    return made
    return made


def main() -> int:
    """Run the benchmark."""
    parts = fabricated()
    start = time.perf_counter()
    prompts = tasks.build_prompts("value_alignment", **parts)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start = time.perf_counter()
    made = row_wise(parts, WANTED // 10)
    loop = (time.perf_counter() - start) / made * prompts.height
    start = time.perf_counter()
    people = parts["personas"]
    many = people.sample(100_000, with_replacement=True, seed=1)
    personas.render(many, style="prose", framing="user_is", masked=["age"])
    rendering = time.perf_counter() - start
    print(
        f"{prompts.height:,} prompts in {seconds:.1f} s, peak {peak:.2f} GB, "
        f"{prompts['content_hash'].n_unique():,} different; a loop would take {loop:.0f} s"
        f"\n100,000 personas rendered in {rendering:.1f} s"
    )
    assert isinstance(prompts, pl.DataFrame)
    return 0 if prompts.height >= WANTED and seconds < 60 and peak < 4 else 1


if __name__ == "__main__":
    sys.exit(main())
