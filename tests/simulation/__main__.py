"""Run the simulations and print what came out beside what was asked for: python -m tests.simulation [runs] [seed]."""

from __future__ import annotations

import sys
import time

from tests.simulation import people, worlds


def main(runs: int, seed: int) -> None:
    """Print one line a simulation."""
    start = time.perf_counter()
    for name, design in worlds.DESIGNS.items():
        found = worlds.coverage(design, runs=runs, seed=seed)
        print(
            f"95 % intervals, {name:48s} mean {found['mean']:.3f}  gap {found['gap']:.3f}  (asked .94–.96)", flush=True
        )
    for name, binary in worlds.BINARY.items():
        found = worlds.binary_coverage(binary, runs=runs, seed=seed)
        print(
            f"95 % intervals, {name:48s} mean {found['mean']:.3f}  deff {found['deff']:.1f}  (asked .94–.96)",
            flush=True,
        )
    wrong = worlds.false_disparities(runs=max(runs // 4, 100), seed=seed)
    print(f"equal groups with questions of their own are found unequal: {wrong:.3f} (at most .05)", flush=True)
    for units in (20, 100):
        with_units, without = people.unit_coverage(units=units, runs=runs, seed=3)
        print(
            f"95 % intervals, people alike in {units} sampling units: {with_units:.3f} (asked .94–.96), "
            f"{without:.3f} if persons were drawn alone",
            flush=True,
        )
    for name, survey in people.SURVEYS.items():
        share = people.distance_coverage(survey, runs=max(runs // 5, 20), seed=7)
        print(
            f"95 % intervals of distances, {name:45s} "
            f"{'  '.join(f'{metric} {covered:.3f}' for metric, covered in share.items())}  (asked .94–.96)",
            flush=True,
        )
    few = max(runs // 20, 20)
    print(
        f"a pocket where there is none, {few} null studies: {worlds.false_pockets(runs=few, seed=10):.3f} (at most .05)"
    )
    for effect in (0.1, 0.2, 0.3):
        found, power = worlds.planted_pocket(effect=effect, runs=max(few // 2, 10), seed=50)
        print(f"a planted pocket of {effect:.2f} is found: {found:.2f}; power stated {power:.2f}", flush=True)
    print(f"two equal models differ, {few} studies: {worlds.equal_models(runs=few, seed=90):.3f} (at most .05)")
    print(f"{time.perf_counter() - start:.0f} s, {runs} runs, seed {seed}")


if __name__ == "__main__":
    main(*(int(given) for given in (sys.argv[1:] + ["2000", "1"][len(sys.argv) - 1 :])))
