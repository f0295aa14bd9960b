"""Known truth, the long form: what is planted in simulated respondents is found, and nothing else.

`python -m tests.simulation.planted [seeds]` draws people, questions and respondents anew for each seed (default: 20).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import polars as pl

from tests.factories.simulated_study import ask, respondent, study
from tests.metrics.test_planted_truth import PLANTED, POCKET

RIGHT = 0.8


def main(seeds: int) -> None:
    """Print how often what was planted was found, and what else was."""
    start = time.perf_counter()
    found: Counter[str] = Counter()
    for seed in range(seeds):
        world = study(seed=seed)
        with tempfile.TemporaryDirectory() as folder:

            def asked(name: str, **planted: object):
                return ask(world, respondent(name, seed=seed, **planted), Path(folder) / name)  # noqa: B023

            planted, alike = asked("planted", **PLANTED), asked("alike", accuracy=RIGHT, noise=0.1)
            first, flat = asked("first", position_bias=0.3), asked("flat", flattening=0.5)
            copies = asked("copies", copying=0.5, group="race")
        found["the planted pocket is confirmed"] += POCKET in planted.confirmed()
        found["another pocket is confirmed beside it"] += bool(set(planted.confirmed("score")) - {POCKET})
        refusals = planted.figure("refusal_rate", "race", "black")
        found["the planted refusal gap is a gap"] += refusals["verdict"] == "gap" and refusals["gap"] > 0
        women = planted.figure("accuracy", "sex×age_band", "female×65+")
        found["the pocket's interval holds the planted accuracy"] += women["ci_low"] <= 0.98 * 0.45 <= women["ci_high"]
        found["a pocket where nothing is planted"] += bool(alike.confirmed("score"))
        gaps = alike.estimates.filter(metric="accuracy", condition="persona", baseline="", verdict="gap")
        found["a gap where nothing is planted"] += gaps.filter(pl.col("gap") < 0).height > 0
        found["position bias: position_tv is .20 ± .01"] += abs(first.figure("position_tv")["estimate"] - 0.2) <= 0.01
        found["flattening: variance_ratio is below 1"] += flat.figure("variance_ratio")["ci_high"] < 1
        found["copying: eta2_ratio is above 1"] += (copies.figure("eta2_ratio", "race")["ci_low"] or 0) > 1
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    for what, times in found.items():
        print(f"{what:55s} {times} of {seeds}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
