"""A finding planted in 3 of 8 configurations holds in these 3 and in nothing else, and the joint test has its size.

`python -m tests.simulation.multiverse [seeds] [null studies]` (default: 20 and 400).
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter

import numpy as np
import polars as pl

from mpta_pipeline.core.multiverse import Configuration, NamedFigure, variant_name
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics.multiverse import figure_estimates, findings
from tests.factories.scores import world

FACTORS = {"framing": ("you_are", "user_is"), "style": ("prose", "bullets"), "elicitation": ("letter", "verbalized")}
PLANTED = (0, 3, 5)
GAP = -0.2
FIGURES = (
    NamedFigure(what="gap", dimensions="sex", subgroup="sex0"),
    NamedFigure(what="gap", dimensions="age_band", subgroup="age_band1"),
)


def configurations() -> list[Configuration]:
    """All eight."""
    found = []
    for row in itertools.product(*FACTORS.values()):
        levels = dict(zip(FACTORS, row, strict=True))
        found.append(Configuration("t", "m", levels, variant_name("t", levels), "m", model_is_factor=False))
    return found


def study(seed: int, *, planted: tuple[int, ...], gap: float = GAP, personas: int = 240, items: int = 24):
    """Estimates, sums by person and groups of eight configurations, with a gap of women in some of them.

    Persons, questions, and how easy they are together are the same in all configurations.
    """
    base, groups, gold = world(
        personas=personas,
        items=items,
        orders=1,
        conditions=("persona",),
        traits=(("sex", 2), ("age_band", 4)),
        seed=seed,
    )
    rng = np.random.default_rng([seed, 1])
    who = base["respondent_id"].cast(pl.Categorical).to_physical().to_numpy()
    item = base["item_id"].cast(pl.Categorical).to_physical().to_numpy()
    women = (base.join(groups, on="respondent_id", how="left", maintain_order="left")["sex"] == "sex0").to_numpy()
    ease = rng.normal(0, 0.08, who.max() + 1)[who] + rng.normal(0, 0.1, item.max() + 1)[item]
    alike = rng.random(base.height)  # half of the answers are alike in all configurations
    estimates, people = [], []
    for number, configuration in enumerate(configurations()):
        share = np.clip(0.6 + ease + (gap * women if number in planted else 0.0), 0, 1)
        own = np.where(rng.random(base.height) < 0.5, alike, rng.random(base.height))
        right = pl.Series(own < share)
        scores = base.with_columns(
            pl.lit(configuration.asked_task).alias("task"),
            pl.when(right).then("gold_idx").otherwise((pl.col("gold_idx") + 1) % 3).alias("pred_idx"),
            right.cast(pl.Float64).alias("score"),
        ).with_columns(pl.col("pred_idx").alias("pred_pos"))
        made = figure_estimates(
            scores, groups, gold, figures=FIGURES, rules=EstimateRules(dimensions=("sex", "age_band"), min_personas=5)
        )
        estimates.append(made.estimates)
        people.append(made.people)
    return pl.concat(estimates), pl.concat(people), groups


def found_in(seed: int, *, planted: tuple[int, ...], permutations: int = 199, **size: int):
    """The multiverse's findings in one study."""
    estimates, people, groups = study(seed, planted=planted, **size)
    return findings(configurations(), estimates, people, groups, figures=FIGURES, permutations=permutations, seed=seed)


def main(seeds: int, nulls: int) -> None:
    """Print how often the planted finding held, and what else did."""
    start = time.process_time()
    names = [c.name for c in configurations()]
    counts: Counter[str] = Counter()
    for seed in range(seeds):
        found = found_in(seed, planted=PLANTED)
        held = found.curve.filter("holds").select("figure", "configuration").rows()
        sex = {names.index(name) for figure, name in held if figure == FIGURES[0].title}
        counts["holds in all 3 planted configurations"] += sex >= set(PLANTED)
        counts["holds in another configuration as well"] += bool(sex - set(PLANTED))
        counts["exactly in the 3 planted"] += sex == set(PLANTED)
        counts["the other figure holds anywhere"] += any(figure == FIGURES[1].title for figure, _ in held)
        p = dict(found.findings.select("figure", "p_count").rows())
        counts["joint test (number) of the planted figure below .05"] += p[FIGURES[0].title] <= 0.05
        counts["joint test (number) of the other figure below .05"] += p[FIGURES[1].title] <= 0.05
        print(f"seed {seed}: {time.process_time() - start:.0f} CPU s", file=sys.stderr, flush=True)
    for what, times in counts.items():
        print(f"{what:55s} {times} of {seeds}")
    size = Counter[str]()
    for seed in range(nulls):
        found = found_in(1000 + seed, planted=(), personas=60, items=8)
        for p_median, p_count in found.findings.select("p_median", "p_count").rows():
            size["median"] += p_median <= 0.05
            size["number"] += p_count <= 0.05
        size["any configuration holds"] += bool(found.curve["holds"].sum())
    tests = nulls * len(FIGURES)
    for what in ("median", "number"):
        print(f"joint test ({what}) below .05, nothing planted: {size[what] / max(tests, 1):.3f} of {tests} tests")
    print(f"a configuration holds, nothing planted: {size['any configuration holds']} of {nulls} studies")
    print(f"{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*(given + [20, 400][len(given) :]))
