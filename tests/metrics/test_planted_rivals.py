"""Known truth of scales and rivals: what is planted comes out within its interval, with its verdict, and nothing else.

`python -m tests.simulation.rivals` repeats this with 20 seeds, more people and more that is planted.
"""

import pytest

from tests.simulation import rivals
from tests.simulation.rivals import PLANTED, Counts


@pytest.fixture(scope="module")
def world():
    """All questions forward and reversed; answers of a panel that is planted better or worse do not depend on it."""
    return rivals.world(PLANTED["direction"], 3, everybody=600)


@pytest.mark.parametrize("name", ["direction", "a better panel", "a worse panel"])
def test_what_is_planted_comes_out_and_nothing_else(world, tmp_path, name):
    planted, counts = PLANTED[name], Counts()
    rivals.count(counts, planted, *rivals.estimated(world, planted, tmp_path, seed=3))
    for metric, (everyone, groups) in counts.held.items():
        if metric != "panel_gain":
            assert everyone == (1, 1), metric
            assert groups[0] >= groups[1] - 2, metric
    everyone, groups = counts.verdicts
    assert everyone == {planted.verdict: 1}
    assert groups.get(planted.verdict, 0) >= 0.6 * sum(groups.values()), "86 % in 24 studies"
    assert set(groups) <= {planted.verdict, "no better"}, "never the other way"
    assert counts.elsewhere[0] == 0, "no pocket was planted"
