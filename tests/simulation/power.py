"""Whether differences of the size that `metrics.detectable` names are found as often as it says (80 %).

`python -m tests.simulation.power [seeds]` plants a subgroup gap and a pocket of just that size (default: 40 seeds).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import detectable as d
from tests.factories.simulated_study import DIMENSIONS, ask, respondent, study

DIMENSION, GROUP, ACCURACY = "sex×age_band", "female×65+", 0.8
POCKET = ("age_band×sex", "65+×female")


def main(seeds: int) -> None:
    """Print how often each was found."""
    found = dict.fromkeys((d.GAP, d.POCKET), 0)
    for seed in range(seeds):
        world = study(people=300, items=12, seed=seed)
        assumed = d.Assumed(accuracy=ACCURACY, person_sd=0.0, gap_sd=0.0)
        sizes = d.detectable(world.prompts, world.groups, rules=EstimateRules(dimensions=DIMENSIONS), assumed=assumed)
        for what in found:
            size = sizes.filter(what=what, dimensions=DIMENSION, subgroup=GROUP)["detectable"][0]
            planted = respondent(accuracy=ACCURACY, accuracy_by={DIMENSION: {GROUP: ACCURACY - size}}, seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                out = ask(world, planted, Path(folder))
            gap = out.figure("accuracy", DIMENSION, GROUP)
            found[what] += POCKET in out.confirmed() if what == d.POCKET else gap["gap"] < 0 and gap["gap_q"] <= 0.05
        print(f"seed {seed}: {found}", file=sys.stderr, flush=True)
    print(pl.DataFrame({"what": list(found), "found": list(found.values()), "of": seeds}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
