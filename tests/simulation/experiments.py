"""Known truth of experiments: planted effects of arms and attributes are found, and nothing else.

`python -m tests.simulation.experiments [seeds]` draws people, questions, profiles and answers anew for each seed
(default: 20).
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from mpta_pipeline import metrics
from tests.factories.experiments import RULES, WORTH, beside_own, choices, people, planted

LEVEL = RULES.level
BANNED = {("color", "blue"), ("price", "high")}


def main(seeds: int) -> None:
    """Print how often what was planted was found, and what else was."""
    start = time.perf_counter()
    found: Counter[str] = Counter()
    of: Counter[str] = Counter()

    def count(what: str, *outcomes: bool) -> None:
        found[what] += sum(outcomes)
        of[what] += len(outcomes)

    for seed in range(seeds):
        arm, null, apart = planted(seed), planted(seed, effect=0.0), planted(seed, more_in_women=0.2)
        whole = arm.filter(item_id="all", dimensions="all").row(0, named=True)
        count("arm effect .15 is found", whole["q_value"] <= LEVEL and whole["estimate"] > 0)
        count("its interval holds .15", whole["ci_low"] <= 0.15 <= whole["ci_high"])
        nothing = null.filter(item_id="all", dimensions="all").row(0, named=True)
        count("an effect of all questions where there is none", nothing["q_value"] <= LEVEL)
        count(
            "any effect, of one question too, where there is none",
            (null.filter(dimensions="all")["q_value"].min() or 1) <= LEVEL,
        )
        count("a group differs where none does", (arm.filter(dimensions="sex")["difference_q"].min() or 1) <= LEVEL)
        women = apart.filter(item_id="all", subgroup="female").row(0, named=True)
        count("women's larger effect (.20 more) is found", women["difference_q"] <= LEVEL and women["difference"] > 0)
        for name, banned in (("", None), (", with a restriction", BANNED)):
            scores, items, _ = choices(seed, n=600, pool=150, banned=banned)
            made = metrics.experiments(scores, people(600), rules=RULES, items=items)
            amce = made.filter(effect="amce", dimensions="all")
            rows = {row["level"]: row for row in amce.iter_rows(named=True)}
            holds = [row["ci_low"] <= WORTH[level] / 2 <= row["ci_high"] for level, row in rows.items()]
            count(f"AMCE: intervals hold the planted effect{name}", *holds)
            count(f"AMCE −.15 of the high price is found{name}", rows["high"]["q_value"] <= LEVEL)
            count(f"an effect of the size, which has none{name}", rows["large"]["q_value"] <= LEVEL)
            groups = made.filter(effect="amce", dimensions="sex")
            count(f"a group differs in an AMCE where none does{name}", (groups["difference_q"].min() or 1) <= LEVEL)
        # Beside people's own effects: the model moves as people do, half as far, not at all, or the other way.
        for share, word in ((1.0, "reproduces"), (0.5, "understates"), (0.0, "understates"), (-1.0, "reverses")):
            made, of_people = beside_own(seed, share=share)
            row = made.filter(item_id="all", dimensions="all").row(0, named=True)
            truth = 0.15 * (share - 1)
            count(
                f"model − people ({share:g} of people's effect): its interval holds the truth",
                row["beyond_people_low"] <= truth <= row["beyond_people_high"],
            )
            count("people's effect: its interval holds .15", of_people["ci_low"] <= 0.15 <= of_people["ci_high"])
            right = {word, "cannot_tell"}
            count(f"model moves {share:g} times as far: {word}", row["people_verdict"] == word)
            count(f"model moves {share:g} times as far: a wrong verdict", row["people_verdict"] not in right)
    for what, times in found.items():
        print(f"{what:66s} {times} of {of[what]}")
    print(f"{time.perf_counter() - start:.0f} s, {seeds} seeds", file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
