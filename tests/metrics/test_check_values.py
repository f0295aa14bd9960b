"""Every value that the specification of the metrics names must come out (numbers from papers and peers' code)."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.special import betaln
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import GOLD
from mpta_pipeline.metrics import compute_estimates, score_answers
from mpta_pipeline.metrics.estimators import disparity
from mpta_pipeline.metrics.statistics import distances, equivalence, multiplicity, shrinkage
from mpta_pipeline.metrics.statistics.proportions import kish, wilson
from tests.factories.benchmark_items import make_items
from tests.shared_data import gss_file, needs

GSS_2024 = gss_file(2024)


class TestProportions:
    @pytest.mark.parametrize(
        ("y", "low", "high"), [(0, 0, 0.2775), (3, 0.1078, 0.6032), (8, 0.4902, 0.9433), (10, 0.7225, 1)]
    )
    def test_wilson(self, y, low, high):
        ends = wilson(np.array([y / 10]), np.array([10.0]))
        assert ends[0][0] == pytest.approx(low, abs=5e-5)
        assert ends[1][0] == pytest.approx(high, abs=5e-5)
        assert (ends[0][0], ends[1][0]) == pytest.approx(proportion_confint(y, 10, method="wilson"))

    def test_kish(self):
        w = np.array([1, 1, 1, 1, 2, 2, 4, 4.0])
        assert kish(w) == pytest.approx(5.818, abs=5e-4)
        assert len(w) / kish(w) == pytest.approx(1.375)


class TestDistances:
    def test_wasserstein_of_peers_code(self):
        d = distances.wasserstein(np.array([0.1, 0.5, 0.4]), np.array([0.2, 0.3, 0.5]), np.array([1, 2, 1.5]))
        assert d == pytest.approx(0.15)

    def test_wasserstein_drops_not_sure_and_renormalises(self):
        d = distances.wasserstein(np.array([0.2, 0.5, 0.3]), np.array([0.3, 0.4, 0.3]), np.array([1, 2, -1]))
        assert d == pytest.approx(0.142857, abs=1e-6)

    def test_wasserstein_equals_scipy(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            p, q, x = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5)), rng.integers(0, 10, 5).astype(float)
            if np.ptp(x) > 0:
                expected = stats.wasserstein_distance(x, x, p, q) / np.ptp(x)
                assert distances.wasserstein(p, q, x) == pytest.approx(expected)

    def test_wasserstein_without_order_is_undefined(self):
        p = np.array([0.5, 0.5])
        assert np.isnan(distances.wasserstein(p, p, np.array([np.nan, np.nan])))

    def test_jensen_shannon_is_to_base_two(self):
        p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
        assert distances.jensen_shannon(p, q) == pytest.approx(0.3831, abs=5e-5)
        assert distances.jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, 2))
        assert distances.jensen_shannon(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(1.0)
        # To base e it would be .3190, and at most .8326 (metrics.md 4.1).
        assert distances.jensen_shannon(p, q) * np.sqrt(np.log(2)) == pytest.approx(0.3190, abs=5e-5)

    def test_total_variation(self):
        assert distances.total_variation(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(1.0)
        assert distances.total_variation(np.array([0.5, 0.5]), np.array([0.9, 0.1])) == pytest.approx(0.4)

    def test_sampling_floor_is_the_expectation_under_equal_distributions(self):
        # Two options: TV is |difference of two binomial shares|, whose expectation can be summed exactly.
        n, m, p = 40, 15, 0.3
        a, b = np.arange(n + 1), np.arange(m + 1)
        exact = (np.abs(a[:, None] / n - b / m) * stats.binom.pmf(a, n, p)[:, None] * stats.binom.pmf(b, m, p)).sum()
        cells = np.tile([p, 1 - p], (400, 1))
        floor = distances.sampling_floor(
            cells, np.full(400, n), np.full(400, m), {"tv": distances.total_variation}, seed=1, draws=50
        )
        assert floor["tv"].mean() == pytest.approx(exact, abs=0.002)


class TestMultiplicity:
    P = np.array(
        [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
         0.7590, 1.0]
    )  # fmt: skip

    def test_benjamini_and_hochbergs_own_example(self):
        assert (multiplicity.benjamini_hochberg(self.P) <= 0.05).sum() == 4
        assert (multiplicity.bonferroni(self.P) <= 0.05).sum() == 3
        assert (multiplicity.benjamini_yekutieli(self.P) <= 0.05).sum() == 3
        assert multiplicity.benjamini_hochberg(self.P)[:5] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625, 0.0603])

    def test_equal_to_statsmodels_in_any_order(self):
        p = np.random.default_rng(0).permutation(self.P)
        assert multiplicity.benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])
        assert multiplicity.benjamini_yekutieli(p) == pytest.approx(multipletests(p, method="fdr_by")[1])

    def test_undefined_tests_do_not_count(self):
        with_nan = multiplicity.benjamini_hochberg(np.append(self.P, np.nan))
        assert np.isnan(with_nan[-1])
        assert with_nan[:-1] == pytest.approx(multiplicity.benjamini_hochberg(self.P))

    def test_e_values(self):
        e = np.array([250, 120, 90, 10, 1, 0.5, 0.2, 0.1, 0, 0])
        assert multiplicity.e_benjamini_hochberg(e, 0.1).tolist() == [True] * 3 + [False] * 7


class TestShrinkage:
    # Rats of Tarone (1982), as in Gelman et al., BDA3, table 5.1; the last is the current experiment, 4 of 14.
    Y = np.array(
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 5, 2, 5, 3,
         2, 7, 7, 3, 3, 2, 9, 10, 4, 4, 4, 4, 4, 4, 4, 10, 4, 4, 4, 5, 11, 12, 5, 5, 6, 5, 6, 6, 6, 6, 16, 15, 15, 9, 4]
    )  # fmt: skip
    N = np.array(
        [20, 20, 20, 20, 20, 20, 20, 19, 19, 19, 19, 18, 18, 17, 20, 20, 20, 20, 19, 19, 18, 18, 25, 24, 23, 20, 20, 20,
         20, 20, 20, 10, 49, 19, 46, 27, 17, 49, 47, 20, 20, 13, 48, 50, 20, 20, 20, 20, 20, 20, 20, 48, 19, 19, 19, 22,
         46, 49, 20, 20, 23, 19, 22, 20, 20, 20, 52, 46, 47, 24, 14]
    )  # fmt: skip

    def test_beta_binomial_of_the_rats(self):
        shrunken, prior = shrinkage.beta_binomial(self.Y, self.N)
        assert prior.alpha == pytest.approx(2.3416, abs=5e-4)
        assert prior.beta == pytest.approx(14.1148, abs=5e-3)
        assert prior.log_likelihood == pytest.approx(-156.569, abs=1e-3)
        assert shrunken.estimate[-1] == pytest.approx(0.2082, abs=5e-5)
        assert shrunken.low[-1] == pytest.approx(0.086, abs=5e-4)
        assert shrunken.high[-1] == pytest.approx(0.366, abs=5e-4)

    def test_other_estimates_of_the_rats_priors(self):
        # Of the 70 historical experiments by moments, and of all 71 under BDA3's prior (α + β)^(−5/2) on its grid of
        # log(α/β) and log(α + β): that data and likelihood are the book's, and that ours lies where it must.
        share = self.Y[:70] / self.N[:70]
        size = share.mean() * (1 - share.mean()) / share.var(ddof=1) - 1
        assert (share.mean() * size, (1 - share.mean()) * size) == pytest.approx((1.356, 8.615), abs=5e-4)
        u, v = np.meshgrid(np.arange(-230, -130) / 100, np.arange(100, 500) / 100, indexing="ij")
        a, b = np.exp(v) / (1 + np.exp(-u)), np.exp(v) / (1 + np.exp(u))
        log_p = sum(betaln(a + y, b + n - y) - betaln(a, b) for y, n in zip(self.Y, self.N, strict=True))
        log_p = log_p - 2.5 * np.log(a + b) + np.log(a) + np.log(b)
        at = np.unravel_index(log_p.argmax(), log_p.shape)
        assert (u[at], v[at]) == pytest.approx((-1.79, 2.74))
        assert (a[at], b[at]) == pytest.approx((2.216, 13.271), abs=5e-4)
        p = np.exp(log_p - log_p.max())
        means = [(x * p).sum() / p.sum() for x in (a, b)]
        assert means == pytest.approx((2.403, 14.319), abs=1.5e-3)

    def test_beta_binomial_pools_groups_that_do_not_differ(self):
        shrunken, _ = shrinkage.beta_binomial(np.array([5.0, 5, 5]), np.array([10.0, 10, 10]))
        assert shrunken.estimate == pytest.approx([0.5] * 3, abs=1e-3)

    def test_normal_normal_with_dersimonian_and_laird(self):
        # Eight schools (Rubin 1981): Q = 4.7 < 7, so τ² = 0 and all estimates are the precision-weighted mean, 7.69.
        y, se = np.array([28, 8, -3, 7, -1, 1, 18, 12.0]), np.array([15, 10, 16, 11, 9, 11, 10, 18.0])
        assert shrinkage.normal_normal(y, se**2).tau2 == 0
        assert shrinkage.normal_normal(y, se**2).estimate == pytest.approx([7.686] * 8, abs=1e-3)
        wide = shrinkage.normal_normal(y, (se / 4) ** 2)
        assert wide.tau2 > 0
        centre = np.average(y, weights=1 / (se**2 / 16 + wide.tau2))
        assert np.all(np.abs(wide.estimate - centre) < np.abs(y - centre))


class TestDisparity:
    @pytest.mark.parametrize(
        ("n", "expected"), [(5, 0.568), (10, 0.443), (20, 0.324), (50, 0.209), (100, 0.149), (200, 0.106)]
    )
    def test_range_that_chance_alone_makes(self, n, expected):
        rng = np.random.default_rng(n)
        means = rng.binomial(n, 0.8, (4000, 20)) / n
        assert disparity.spread(means).range.mean() == pytest.approx(expected, abs=0.006)
        # The permutation null of one data set estimates the same from the data alone.
        x = (rng.random(20 * n) < 0.8).astype(float)
        null = disparity.permuted_means(x, np.ones(20 * n), np.repeat(np.arange(20), n), 20, draws=200, seed=1)
        assert disparity.spread(null).range.mean() == pytest.approx(expected, abs=0.12 * expected + 0.02)

    def test_generalized_entropy(self):
        b, group = np.array([1, 1, 1, 0.0]), np.array([0, 0, 1, 1])
        assert disparity.generalized_entropy(b) == pytest.approx(0.1667, abs=5e-5)
        between, within = disparity.entropy_parts(b, group, 2)
        assert between == pytest.approx(0.0556, abs=5e-5)
        assert between + within == pytest.approx(0.1667, abs=5e-5)

    def test_between_variance_is_unbiased(self):
        rng = np.random.default_rng(0)
        found = []
        for _ in range(3000):
            p = np.clip(rng.normal(0.6, 0.05, 12), 0, 1)
            y = rng.binomial(40, p) / 40
            found.append(disparity.between_variance(y, y * (1 - y) / 39))
        assert np.mean(found) == pytest.approx(0.0025, abs=1.5e-4)

    def test_double_correction_is_unbiased_on_replicates(self):
        rng = np.random.default_rng(1)
        found = []
        for _ in range(4000):
            y = rng.binomial(40, 0.6, 12) / 40
            again = rng.binomial(40, y) / 40
            found.append(disparity.double_corrected_variance(again, y * (1 - y) / 39, np.full(12, 40.0)))
        assert np.mean(found) == pytest.approx(0.0, abs=2e-4)

    def test_range_and_ratio_equal_fairlearn(self):
        from fairlearn.metrics import MetricFrame

        rng = np.random.default_rng(3)
        y, group = (rng.random(500) < 0.7).astype(float), rng.integers(0, 4, 500)
        frame = MetricFrame(metrics=lambda t, p: p.mean(), y_true=y, y_pred=y, sensitive_features=group)
        means = np.array([y[group == k].mean() for k in range(4)])
        assert disparity.spread(means).range == pytest.approx(frame.difference())
        assert disparity.spread(means).ratio == pytest.approx(frame.ratio())
        assert disparity.spread(means).worst == pytest.approx(frame.group_min())


class TestPower:
    def test_planned_answers(self):
        assert equivalence.planned_answers(0.25, 0.03) == 2181

    def test_minimal_detectable(self):
        assert equivalence.minimal_detectable(np.array([0.01]))[0] == pytest.approx(0.028016, abs=1e-5)
        # Tables of t with 1 degree of freedom: 12.706 (.975) and 1.376 (.80).
        few = equivalence.minimal_detectable(np.array([0.01, 0.0]), np.array([1.0, 1.0]))
        assert few[0] == pytest.approx(0.14082, abs=1e-5)
        assert np.isnan(few[1]), "no error seen is not a detectable difference of 0"

    def test_verdicts(self):
        words = equivalence.verdicts(
            np.array([0.0, 0.2, 0.04, 0.0]),
            np.array([0.01, 0.03, 0.03, np.nan]),
            np.full(4, 50.0),
            np.array([0.9, 0.001, 0.3, np.nan]),
            margin=0.05,
            level=0.05,
        )
        assert words == ["no_gap", "gap", "inconclusive", None]


class TestBaselines:
    @staticmethod
    def always(own, answer, k, *, ordinal=True, **columns):
        """All estimates of a model that gives everybody one answer, against people's own."""
        item = {
            "task": "t", "kind": "trait_inference", "item_id": "q", "cluster_id": "q", "category": "c",
            "question": "Which?", "options": [f"option {i}" for i in range(k)], "ordinal": ordinal,
            "gold_idx": None, **columns,
        }  # fmt: skip
        items = make_items([item])
        ids = [f"r{i:05d}" for i in range(len(own))]
        gold = GOLD.conform(
            pl.DataFrame(
                {"task": "t", "item_id": "q", "respondent_id": ids, "survey": "gss", "gold_idx": own}
            ).with_columns(pl.lit(None, pl.Float64).alias("weight"))
        )
        answers = pl.DataFrame({"item_id": "q", "respondent_id": ids, "survey": "gss", "answer": str(answer)})
        groups = pl.DataFrame({"respondent_id": ids, "survey": "gss"})
        estimates = compute_estimates(
            score_answers(answers, items, gold),
            groups,
            gold,
            rules=EstimateRules(dimensions=(), bootstrap=50),
            items=items,
        )
        return dict(estimates.filter(baseline="").select("metric", "estimate").iter_rows())

    def test_a_constant_answer_to_normads_stories(self):
        # metrics.md 3: 815 of 2,633 stories have the label that several models always give, .309533.
        found = self.always([0] * 909 + [1] * 909 + [2] * 815, 2, 3, answer_set="acceptability", ordinal=False)
        assert found["accuracy"] == pytest.approx(815 / 2633, abs=1e-12) == pytest.approx(0.309533, abs=5e-7)
        assert found["label_macro_f1"] == pytest.approx(2 * 815 / (2633 + 815) / 3)
        assert found["recall_neither"] == 1 and found["recall_yes"] == 0

    @needs(GSS_2024)
    @pytest.mark.parametrize(
        ("column", "codes", "accuracy", "macro_f1", "mae"),
        [
            ("polviews", range(1, 8), 0.363, 0.076, 1.14),
            ("partyid", range(7), 0.260, 0.059, 1.598),
            ("attend", range(9), 0.314, 0.053, 2.88),
            ("sex", range(1, 3), 0.554, 0.357, None),
        ],
    )
    def test_the_most_frequent_answer_of_the_gss(self, column, codes, accuracy, macro_f1, mae):
        """metrics.md 5: accuracy, macro-F1, kappa and mean error in steps of always giving it."""
        import pyreadstat

        frame, _ = pyreadstat.read_dta(str(GSS_2024), usecols=[column])
        own = [codes.index(int(v)) for v in frame[column].dropna() if int(v) in codes]
        mode = max(range(len(codes)), key=own.count)
        found = self.always(own, mode, len(codes))
        assert found["accuracy"] == pytest.approx(accuracy, abs=6e-4)
        assert found["macro_f1"] == pytest.approx(macro_f1, abs=6e-4)
        assert found["qwk"] == pytest.approx(0, abs=1e-9)
        if mae is not None:
            assert found["mae_n"] * (len(codes) - 1) == pytest.approx(mae, abs=6e-3)
