"""The attack campaigns: `python -m tests.attack`, or with other counts `--kills 100 --flips 0 --seed 7`.

A count of 0 leaves a campaign out. Policies are tried for every source, endpoint and change. Ends with 1 if anything
did not hold.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.attack.campaigns import Outcome
from tests.attack.campaigns.files import files
from tests.attack.campaigns.flips import flips, losses
from tests.attack.campaigns.kills import kills, kills_in_chunks
from tests.attack.campaigns.policies import policies
from tests.attack.campaigns.replies import replies

CAMPAIGNS = {
    "kills": kills,
    "chunks": kills_in_chunks,
    "flips": flips,
    "losses": losses,
    "files": files,
    "replies": replies,
}
COUNTS = {"kills": 56, "chunks": 50, "flips": 507, "losses": 52, "files": 520, "replies": 156}
STEP = 50
"""Attacks after which the progress is told."""


def main() -> int:
    """Run the campaigns and print the table of what was tried and what held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N", help=f"attacks (default {count})")
    parser.add_argument("--sources", type=int, default=None, metavar="N", help="sources of the policies (default all)")
    parser.add_argument("--seed", type=int, default=19, metavar="N", help="another seed makes other attacks")
    wanted = parser.parse_args()
    rows: list[tuple[str, str, int, int]] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mpta-attack-") as folder:
        for name, campaign in CAMPAIGNS.items():
            if count := getattr(wanted, name):
                root = Path(folder) / name
                root.mkdir()
                rows += _tally(name, campaign(count, root, wanted.seed), problems)
        if wanted.sources != 0:
            root = Path(folder) / "policies"
            root.mkdir()
            rows += _tally("policies", policies(root, wanted.sources), problems)
    print(f"\n{'campaign':<10} {'target':<26} {'tried':>6} {'held':>6}")
    for campaign_name, target, tried, held in rows:
        print(f"{campaign_name:<10} {target:<26} {tried:>6} {held:>6}")
    print(f"{'all':<10} {'':<26} {sum(r[2] for r in rows):>6} {sum(r[3] for r in rows):>6}")
    for problem in problems:
        print(f"did not hold: {problem}")
    return 1 if problems else 0


def _tally(name: str, outcomes: Iterator[Outcome], problems: list[str]) -> list[tuple[str, str, int, int]]:
    tried: Counter[str] = Counter()
    held: Counter[str] = Counter()
    began = time.monotonic()
    for target, problem in outcomes:
        tried[target] += 1
        held[target] += not problem
        if tried.total() % STEP == 0:
            print(f"{name}: {tried.total()} attacks, {held.total()} held", flush=True)
        if problem:
            problems.append(f"{name}, {target}: {problem}")
            print(f"did not hold: {problems[-1]}", flush=True)
    print(f"{name}: {tried.total()} attacks in {time.monotonic() - began:.0f} s", flush=True)
    return [(name, target, tried[target], held[target]) for target in tried]


if __name__ == "__main__":
    sys.exit(main())
