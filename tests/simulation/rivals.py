"""Known truth of scales and rivals: planted effects of order and direction, and panels beside asking once.

`python -m tests.simulation.rivals [seeds]` draws people, questions and respondents anew for each seed (default: 20). A
short form is in `tests/metrics/test_planted_rivals.py`.

The survey knows 500 people and the model is asked about 250 of them. What it states of groups are the shares among
3,000, so that the survey's people are a sample that it has not seen.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline import inference, metrics, tasks
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.verdicts import BETTER, NO_BETTER, WORSE, rival_verdict
from tests.factories.simulated_study import DIMENSIONS, PlantedStudy, respondent, study, told

EVERYBODY, SURVEYED, PANEL, ITEMS = 3000, 500, 250, 20
RULES = EstimateRules(dimensions=DIMENSIONS, bootstrap=50, min_personas=25)
# Mean distance of people's shares from equal ones: three options, of two races (3 : 7), each Dirichlet(3, 3, 3).
_LEAN = np.random.default_rng(1).dirichlet(np.full(3, 3.0), (200_000, 2))
FROM_EVEN = float(0.5 * np.abs(0.3 * _LEAN[:, 0] + 0.7 * _LEAN[:, 1] - 1 / 3).sum(axis=1).mean())
# People of one race are further from equal shares than a mixture is.
OF_ONE_RACE = float(0.5 * np.abs(_LEAN[:, 0] - 1 / 3).sum(axis=1).mean()) / FROM_EVEN
DIRECTION, FIRST = 0.4, 0.3


@dataclass(frozen=True)
class Planted:
    """A simulated respondent, and what must come out.

    Attributes:
        properties: What is planted.
        directions: Questions are shown forward and reversed, not in cyclic orders.
        truth: Metric → its value for everyone and every group; panel_gain times `OF_ONE_RACE` for races.
        verdict: The verdict on the panel for everyone and every group.
    """

    properties: dict[str, Any]
    directions: bool
    truth: dict[str, float]
    verdict: str = NO_BETTER


def _gain(accuracy: float, of_groups: float) -> float:
    """How much nearer the panel is to people: a share of misses moves it 1.5 times as far as equal shares do."""
    return (1 - of_groups - 1.5 * (1 - accuracy)) * FROM_EVEN


PLANTED = {
    "nothing, forward and reversed": Planted(
        {"accuracy": 0.8, "noise": 0.1}, True, {"scale_direction": 0.0, "panel_gain": 0.0}
    ),
    # One place of three towards the first: half of the scale, unless the answer is there already.
    "direction": Planted(
        {"direction": DIRECTION}, True, {"scale_direction": DIRECTION / 2 * (2 - 2 / 3), "panel_gain": 0.0}
    ),
    # Two orders agree if neither is taken by place, or one is and shows the answer first.
    "order": Planted(
        {"position_bias": FIRST},
        False,
        {
            "position_tv": FIRST * 2 / 3,
            "order_flip_rate": 1 - (1 - FIRST) ** 2 - 2 * FIRST * (1 - FIRST) / 3,
            "panel_gain": 0.0,
        },
    ),
    "order, forward and reversed": Planted({"position_bias": FIRST}, True, {"scale_direction": FIRST}),
    "a panel as good as asking once": Planted({"accuracy": 0.7}, False, {"panel_gain": 0.0}),
    "a better panel": Planted({"accuracy": 0.9, "group_accuracy": 0.2}, False, {"panel_gain": _gain(0.9, 0.2)}, BETTER),
    "a worse panel": Planted({"accuracy": 0.5, "group_accuracy": 1.0}, False, {"panel_gain": _gain(0.5, 1.0)}, WORSE),
}
"""What is planted, by name. Without accuracy or groups' shares of its own, a respondent states what it would answer."""


@dataclass
class Counts:
    """How often each thing was seen, of how often it could be.

    Attributes:
        held: Metric → intervals that hold the truth, and all intervals: for everyone, and for groups.
        verdicts: Verdicts by name, for everyone, and for groups.
        elsewhere: Studies with a confirmed pocket, with a gap between groups (accuracy, direction), and all studies.
    """

    held: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    verdicts: list[dict[str, int]] = field(default_factory=lambda: [{}, {}])
    elsewhere: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, metric: str, rows: pl.DataFrame) -> None:
        """Count the intervals of one study."""
        before = self.held.get(metric, [(0, 0), (0, 0)])
        everyone = rows.get_column("dimensions") == "all"
        now = []
        for (hits, n), part in zip(before, (rows.filter(everyone), rows.filter(~everyone)), strict=True):
            inside = part.filter(
                (pl.col("ci_low") <= pl.col("truth") + 1e-9) & (pl.col("ci_high") >= pl.col("truth") - 1e-9)
            ).height
            now.append((hits + inside, n + part.height))
        self.held[metric] = now


def world(planted: Planted, seed: int, *, everybody: int = EVERYBODY) -> PlantedStudy:
    """All people, of whom the first are personas."""
    return study(people=everybody, items=ITEMS, seed=seed, directions=planted.directions, described=True, panel=PANEL)


def estimated(
    people: PlantedStudy, planted: Planted, folder: Path, *, seed: int, name: str = "planted"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Estimates and pockets of a respondent, with the people that the survey knows."""
    spec = respondent(name, seed=seed, **planted.properties)
    prompts = told(people, spec)
    inference.send_requests(spec, prompts, folder)
    scores = tasks.score(people.prompts, people.items, inference.responses(spec, prompts, folder))
    surveyed = people.groups.head(SURVEYED)
    gold = people.gold.filter(pl.col("respondent_id").is_in(surveyed.get_column("respondent_id").implode()))
    estimates = metrics.compute_estimates(scores, surveyed, gold, rules=RULES, items=people.items)
    return estimates, metrics.find_pockets(scores, surveyed, gold, rules=RULES, seed=seed)


def count(counts: Counts, planted: Planted, estimates: pl.DataFrame, pockets: pl.DataFrame) -> None:
    """Count what came out of one study."""
    own = estimates.filter((pl.col("condition") == "persona") & (pl.col("baseline") == "") & ~pl.col("small"))
    for metric, truth in planted.truth.items():
        rows = own.filter(metric=metric).drop_nulls("ci_low")
        factor = OF_ONE_RACE if metric == "panel_gain" else 1.0
        of_races = pl.col("dimensions") == "race"
        counts.add(metric, rows.with_columns(truth=pl.when(of_races).then(truth * factor).otherwise(truth)))
    for row in own.filter(metric="panel_gain").iter_rows(named=True):
        said = rival_verdict(row["ci_low"], row["ci_high"], q_value=row["q_value"], level=RULES.level)
        of = counts.verdicts[row["dimensions"] != "all"]
        of[said] = of.get(said, 0) + 1
    gaps = own.filter(pl.col("metric").is_in(["accuracy", "scale_direction"]) & (pl.col("verdict") == "gap"))
    counts.elsewhere[0] += bool(pockets.filter(pl.col("confirmed") & (pl.col("outcome") == "score")).height)
    counts.elsewhere[1] += bool(gaps.height)
    counts.elsewhere[2] += 1


def table(found: dict[str, Counts]) -> Iterable[str]:
    """The lines that say what came out."""
    yield f"{'planted':32s} {'figure':18s} {'value':>7s}  intervals that hold it: everyone, groups"
    for name, counts in found.items():
        for metric, held in counts.held.items():
            shares = "   ".join(f"{hits}/{n} ({hits / max(n, 1):.3f})" for hits, n in held)
            yield f"{name:32s} {metric:18s} {PLANTED[name].truth[metric]:7.3f}  {shares}"
    yield f"\n{'planted':32s} verdict on the panel: everyone; groups; studies with a pocket, and a gap (none is)"
    for name, counts in found.items():
        said = "; ".join(", ".join(f"{v} {n}" for v, n in sorted(part.items())) for part in counts.verdicts)
        pockets, gaps, n = counts.elsewhere
        yield f"{name:32s} {said}; {pockets} and {gaps} of {n}"


def main(seeds: int) -> None:
    """Print what came out."""
    start, found = time.perf_counter(), {name: Counts() for name in PLANTED}
    for seed in range(seeds):
        worlds = {directions: world(Planted({}, directions, {}), seed) for directions in (True, False)}
        for number, (name, planted) in enumerate(PLANTED.items()):
            with tempfile.TemporaryDirectory() as folder:
                made = estimated(worlds[planted.directions], planted, Path(folder), seed=seed, name=f"p{number}")
            count(found[name], planted, *made)
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        print(f"\n{seed + 1} seeds", *table(found), sep="\n", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
