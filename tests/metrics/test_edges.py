"""Protects figures where they are hardest: at 0 and 1, with one person's weight, with names and ties of any kind."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mpta_pipeline.errors import ConfigError
from mpta_pipeline.metrics import METRICS, compute_figures, cross_fitted, find_pockets
from mpta_pipeline.metrics.intervals import interval
from mpta_pipeline.study import FigureRules
from tests.metrics.synthetic import world
from tests.metrics.test_figures import cell
from tests.simulation import worlds

RULES = FigureRules(dimensions=("sex",), bootstrap=50, min_personas=20)


class TestBorder:
    @staticmethod
    def ends(wrong, *, n=26_881, items=47):
        """Interval of a rate of n answers to items, of which some are wrong, each of another person and item."""
        p = 1 - wrong / n
        se = np.sqrt(p * (1 - p) / n)
        n_eff = items if wrong == 0 else n
        low, high, _ = interval(
            METRICS["parse_rate"], np.array([p]), np.array([se]), np.array([items - 1.0]),
            n_eff=np.array([float(n_eff)]), level=0.05,
        )  # fmt: skip
        return float(low[0]), float(high[0])

    def test_one_departure_more_moves_the_interval_by_little(self):
        lows = [self.ends(wrong)[0] for wrong in range(13)]
        # 0 of 26,881: Wilson's interval of 47 of 47 with the t quantile of 46 degrees of freedom, by hand.
        t2 = stats.t.ppf(0.975, 46) ** 2
        assert lows[0] == pytest.approx(47 / (47 + t2)) == pytest.approx(0.9206, abs=5e-5)
        steps = np.diff(lows)
        assert (steps[:5] > 0).all() and steps.max() < 0.04
        assert lows[1] == pytest.approx(lows[0], abs=0.02)
        assert lows[5] == pytest.approx(0.9995, abs=1e-4)

    def test_far_from_the_border_the_interval_is_that_of_the_logit(self):
        # svyciprop(method="logit"): expit(logit p ± t · se / (p (1 − p))), by hand.
        p, se, t = 0.95, 0.012, stats.t.ppf(0.975, 39)
        low, high, few = interval(
            METRICS["accuracy"], np.array([p]), np.array([se]), np.array([39.0]), n_eff=np.array([330.0]), level=0.05
        )
        assert not few[0]
        ends = [1 / (1 + np.exp(-(np.log(19) + side * t * se / (0.95 * 0.05)))) for side in (-1, 1)]
        assert (low[0], high[0]) == pytest.approx(ends)

    @pytest.mark.parametrize("name", ["accuracy .95", "deff 3.9, items alike"])
    def test_intervals_cover(self, name):
        # 400 studies: the share's own error is .011.
        found = worlds.binary_coverage(worlds.BINARY[name], runs=400, seed=2024)
        assert 0.92 <= found["mean"] <= 0.985


def test_one_huge_weight_among_thirty_is_small_and_no_gap():
    scores, groups, gold = world(personas=30, items=8, orders=1, weights=True)
    first = scores["persona_id"].min()
    scores, gold = (
        f.with_columns(pl.when(pl.col("persona_id") == first).then(1e6).otherwise("weight").alias("weight"))
        for f in (scores, gold)
    )
    figures = compute_figures(scores, groups, gold, rules=RULES)
    everyone = cell(figures, metric="accuracy", weighted=True)
    assert everyone["n_personas"] == 30 and everyone["small"]
    assert not cell(figures, metric="accuracy", weighted=False)["small"]
    weighted = figures.filter(pl.col("weighted"), dimensions="sex", metric="accuracy", baseline="")
    assert "gap" not in weighted["verdict"].to_list()


class TestNames:
    """A trait may have any name: those of our own columns, and of the sums we make."""

    TRAITS = ("sex", "age_band", "race")
    NAMES = (
        ("a", "b", "w"), ("score", "credit", "gold_idx"), ("weight", "persona_code", "inside"),
        ("ordinal", "item_mode", "half_persona"), ("traits", "values", "rank"), ("item_id", "model", "count"),
    )  # fmt: skip

    @pytest.fixture(scope="class")
    def study(self):
        return world(personas=120, items=8, orders=1, traits=(("sex", 2), ("age_band", 3), ("race", 2)), seed=3)

    @pytest.mark.parametrize("names", NAMES)
    def test_figures(self, study, names):
        scores, groups, gold = study
        plain = compute_figures(scores, groups, gold, rules=FigureRules(dimensions=("sex", "age_band×race")))
        renamed = groups.rename(dict(zip(self.TRAITS, names, strict=True)))
        rules = FigureRules(dimensions=(names[0], f"{names[1]}×{names[2]}"))
        found = compute_figures(scores, renamed, gold, rules=rules)
        for old, new in (("sex", names[0]), ("age_band×race", f"{names[1]}×{names[2]}")):
            a, b = (f.filter(dimensions=d, metric="accuracy") for f, d in ((plain, old), (found, new)))
            assert a.height and a.drop("dimensions", "q_value", "gap_q").equals(b.drop("dimensions", "q_value", "gap_q"))

    @pytest.mark.parametrize("names", [*NAMES, ("category", "wave", "style")])
    def test_pockets(self, study, names):
        scores, groups, gold = study
        rules = FigureRules(dimensions=(), min_personas=10)
        # Half of the women are wrong, so that there is something to find.
        wrong = scores["persona_id"].is_in(groups.filter(sex="sex0")["persona_id"].implode()) & (scores["gold_idx"] > 0)
        scores = scores.with_columns(
            pred_idx=pl.when(wrong).then(0).otherwise("pred_idx"), score=pl.when(wrong).then(0.0).otherwise("score")
        )
        plain = find_pockets(scores, groups, gold, rules=rules, seed=1)
        found = find_pockets(
            scores, groups.rename(dict(zip(self.TRAITS, names, strict=True))), gold, rules=rules, seed=1
        )
        assert plain.filter("confirmed").height
        numbers = ["outcome", "n_answers", "difference", "p_value", "e_value"]
        order = ["outcome", "n_answers", "difference"]
        assert plain.select(numbers).sort(order).equals(found.select(numbers).sort(order))
        assert set("×".join(found["dimensions"]).split("×")) <= set(names)

    @pytest.mark.parametrize("names", NAMES)
    def test_ceiling(self, study, names):
        _, groups, gold = study
        plain = cross_fitted(gold, groups, hidden={"i0000": ["sex"]}, seed=1)
        renamed = groups.rename(dict(zip(self.TRAITS, names, strict=True)))
        assert plain.height
        assert cross_fitted(gold, renamed, hidden={"i0000": [names[0]]}, seed=1).equals(plain)

    def test_a_trait_and_a_dimension_of_questions_of_one_name_are_told(self, study):
        scores, groups, gold = study
        with pytest.raises(ConfigError, match="another name, for example own_category"):
            compute_figures(
                scores, groups.rename({"sex": "category"}), gold, rules=FigureRules(dimensions=("category",))
            )
