"""Metrics of polls: published definitions on toys whose values popfidelity and the papers' code give too."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mpta_pipeline.core.described_groups import covers
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import GOLD, ITEMS, SCORES, TEXT_SCORES
from mpta_pipeline.metrics import compute_estimates, rivals
from mpta_pipeline.metrics.estimators.batteries import alpha, congruence, covariance, loadings
from mpta_pipeline.metrics.estimators.fidelity import binding, parts, score
from mpta_pipeline.metrics.samples.published_polls import polls_of
from mpta_pipeline.metrics.statistics import distances as d
from tests.factories.scores import world

RULES = EstimateRules(dimensions=(), bootstrap=60)


def answers(picks: dict[str, list[int]], own: dict[str, list[int]], **columns: object) -> pl.DataFrame:
    """SCORES in which person i picks `picks[item][i]` and answered `own[item][i]`."""
    rows = [
        {"item_id": item, "respondent_id": f"r{i:04d}", "pred_idx": pick, "gold_idx": own[item][i]}
        for item, chosen in picks.items()
        for i, pick in enumerate(chosen)
    ]
    fixed = {
        "model": "m", "task": "t", "request_hash": "h", "condition": "persona", "survey": "s", "wave": "w",
        "kind": "value_alignment", "scoring": "key", "answer_set": None, "category": None, "style": "prose",
        "framing": "you_are", "paraphrase_id": 0, "repeat_id": 0, "elicitation": "letter", "order_id": 0,
        "k_options": 4, "ordinal": True, "status": "ok", "bias": None, "weight": None,
        "condescending": None, "score": 0.0,
    }  # fmt: skip
    frame = pl.DataFrame(rows).with_columns(
        pl.lit(value).alias(name) for name, value in (fixed | columns).items() if not isinstance(value, pl.Expr)
    )
    frame = frame.with_columns(
        pl.col("item_id").alias("cluster_id"),
        pl.col("gold_idx").alias("gold_pos"),
        pl.col("pred_idx").alias("pred_pos"),
        pl.lit(None, pl.List(pl.Float64)).alias("p_vec"),
        pl.lit(None, TEXT_SCORES).alias("text_scores"),
        pl.lit(None, pl.Float64).alias("letter_share"),
        pl.lit(None, pl.String).alias("unparsed_reason"),
    ).with_columns(value.alias(name) for name, value in columns.items() if isinstance(value, pl.Expr))
    frame = frame.with_columns(pl.format("{}{}{}", "item_id", "respondent_id", "framing").alias("prompt_id"))
    return SCORES.conform(frame)


def spread(shares: list[float], n: int) -> list[int]:
    """n answers with just these shares."""
    return [option for option, share in enumerate(shares) for _ in range(round(share * n))]


def gold_of(scores: pl.DataFrame) -> pl.DataFrame:
    return GOLD.conform(
        scores.unique(["item_id", "respondent_id"])
        .select("task", "item_id", "respondent_id", "survey", "gold_idx")
        .with_columns(pl.lit(None, pl.Float64).alias("weight"))
    )


def everyone(scores: pl.DataFrame) -> pl.DataFrame:
    return scores.select("respondent_id", "survey").unique()


PEOPLE = {"a": [0.1, 0.2, 0.3, 0.4], "b": [0.25] * 4}
MODEL = {"a": [0.4, 0.3, 0.2, 0.1], "b": [0.7, 0.1, 0.1, 0.1]}


@pytest.fixture(scope="module")
def found():
    own = {item: spread(shares, 20) for item, shares in PEOPLE.items()}
    scores = answers({item: spread(shares, 20) for item, shares in MODEL.items()}, own)
    estimates = compute_estimates(scores, everyone(scores), gold_of(scores), rules=RULES)
    return {(r["metric"], r["baseline"]): r for r in estimates.filter(dimensions="all").to_dicts()}


class TestPublished:
    def test_globalopinionqa(self, found):
        assert found["js_similarity", ""]["estimate"] == pytest.approx((0.608132 + 0.610242) / 2, abs=1e-6)

    def test_meister(self, found):
        assert found["tv", ""]["estimate"] == pytest.approx(0.425)
        assert found["tv", "uniform"]["baseline_estimate"] == pytest.approx(0.1)
        assert found["tv", "majority"]["baseline_estimate"] == pytest.approx(0.675)

    def test_simbench_by_popfidelity(self, found):
        assert found["simbench", ""]["estimate"] == pytest.approx(-325.0)
        assert found["simbench", "chance"]["baseline_estimate"] == pytest.approx(0.0)

    def test_opinionqa_by_popfidelity(self, found):
        assert found["representativeness", ""]["estimate"] == pytest.approx((2 / 3 + 0.7) / 2)

    def test_nearness_has_its_floor_and_interval(self, found):
        for metric in ("representativeness", "js_similarity", "simbench"):
            own, floor = found[metric, ""], found[metric, "sampling_floor"]
            assert own["ci_low"] <= own["estimate"] <= own["ci_high"]
            assert floor["baseline_estimate"] > own["estimate"]

    def test_equal_to_popfidelity(self):
        pf = pytest.importorskip("popfidelity", reason="the package popfidelity is not installed")
        rng = np.random.default_rng(0)
        people, model = rng.dirichlet(np.ones(4), 6), rng.dirichlet(np.ones(4), 6)
        assert 1 - d.jensen_shannon(people.T, model.T) == pytest.approx(
            pf.alignment.globalopinionqa_similarity(people, model)
        )
        places = np.tile(np.arange(4.0)[:, None], (1, 6))
        assert 1 - d.wasserstein(people.T, model.T, places) == pytest.approx(
            pf.alignment.opinionqa_alignment(people, model)
        )
        cells = [
            pf.Cells(labels=tuple("abcdef"), options=tuple("1234"), shares=x, counts=None, question="q")
            for x in (people, model)
        ]
        theirs = pf.score(*cells, pf.Variant(round_pairs=10))
        ours = parts(people, model, np.arange(4.0))
        assert ours == pytest.approx([theirs[f"score_{n}"] for n in ("accuracy", "adaptability", "structure")])
        assert score(ours[None]) == pytest.approx(theirs["pfs"])
        assert binding(ours) == theirs["binding_component"]


class TestFidelity:
    """The toy of four groups: shares of yes among people .2 .4 .6 .8."""

    YES_NO = np.array([0.0, 1.0])

    @staticmethod
    def shares(yes):
        return np.stack([np.array(yes), 1 - np.array(yes)], axis=1)

    @pytest.mark.parametrize(
        ("model", "expected", "pfs", "binds"),
        [
            ([0.15, 0.25, 0.35, 0.45], (0.8, 0.5, 1.0), 0.736806, "adaptability"),
            # The true structure is 1: unrounded distances have ties that are none, and ρ = .753702.
            ([0.0, 0.2, 0.4, 0.6], (0.8, 1.0, 1.0), 0.928318, "accuracy"),
            ([0.0, 0.3, 0.6, 0.3], (0.8, 1.0, 0.0), 0.0, "structure"),
            ([0.5, 0.5, 0.5, 0.5], (0.8, 0.0, 0.0), 0.0, "adaptability"),
        ],
    )
    def test_toys(self, model, expected, pfs, binds):
        made = parts(self.shares([0.2, 0.4, 0.6, 0.8]), self.shares(model), self.YES_NO)
        assert made == pytest.approx(expected)
        assert score(made[None]) == pytest.approx(pfs, abs=1e-6)
        assert binding(made) == binds

    def test_the_estimate_says_which_part_binds_beside_a_second_sample(self):
        n = 100
        groups, picks, own = [], [], []
        for people, model in zip((0.2, 0.4, 0.6, 0.8), (0.15, 0.25, 0.35, 0.45), strict=True):
            groups += [f"{people}"] * n
            own += spread([people, 1 - people], n)
            picks += spread([model, 1 - model], n)
        scores = answers({"q": picks}, {"q": own}, k_options=2)
        people = everyone(scores).sort("respondent_id").with_columns(region=pl.Series(groups))
        rules = EstimateRules(dimensions=("region",), bootstrap=60)
        estimates = compute_estimates(scores, people, gold_of(scores), rules=rules)
        rows = {
            (r["metric"], r["baseline"]): r for r in estimates.filter(dimensions="region", subgroup="all").to_dicts()
        }
        for metric, value in (
            ("pfs", 0.736806),
            ("pfs_accuracy", 0.8),
            ("pfs_adaptability", 0.5),
            ("pfs_structure", 1),
        ):
            assert rows[metric, ""]["estimate"] == pytest.approx(value, abs=1e-6)
            assert 0 < rows[metric, "second_sample"]["baseline_estimate"] <= 1
        assert "adaptability binds" in rows["pfs", ""]["method"]
        assert rows["pfs_adaptability", "second_sample"]["baseline_estimate"] > 0.8


def items_of(rows: list[dict[str, object]]) -> pl.DataFrame:
    fixed = {
        "task": "t", "kind": "global_opinions", "cluster_id": "c", "codebook": None, "category": None, "context": None,
        "question": "?", "ordinal": False, "gold_idx": None, "column": None, "reveals": [], "licence": "l",
        "scoring": "key", "sample_item": False,
    }  # fmt: skip
    return ITEMS.conform(
        pl.DataFrame(
            [fixed | {"option_values": r["options"], "option_scores": None} | r for r in rows], infer_schema_length=None
        )
    )


class TestPolls:
    """Tasks whose people are a published poll: its shares count, not the most frequent answers that are their keys."""

    def test_shares_of_the_personas_countries(self):
        shares = {"USA": [0.5, 0.5, 0.0, 0.0], "NGA": [0.1, 0.1, 0.4, 0.4]}
        poll = [{"sample": country, "shares": s, "n": None} for country, s in shares.items()]
        items = items_of([{"item_id": "q", "options": list("abcd"), "poll": poll}])
        # Ten Americans and ten Nigerians; the keys, their countries' most frequent answers, are all of one kind.
        scores = answers({"q": [0] * 10 + [2] * 10}, {"q": [0] * 10 + [2] * 10}, kind="global_opinions", ordinal=False)
        groups = everyone(scores).sort("respondent_id").with_columns(
            sample=pl.Series(["USA"] * 10 + ["NGA"] * 10),
            country=pl.Series(["USA"] * 10 + ["NGA"] * 10),
            sex=pl.lit("f"),
        )  # fmt: skip
        rules = EstimateRules(dimensions=("country", "sex"), bootstrap=60)
        estimates = compute_estimates(scores, groups, gold_of(scores), rules=rules, items=items)
        tv = estimates.filter(metric="tv", baseline="")
        told = {(r["dimensions"], r["subgroup"]): r["estimate"] for r in tv.to_dicts()}
        people = np.array([0.3, 0.3, 0.2, 0.2])
        assert told["all", "all"] == pytest.approx(np.abs(np.array([0.5, 0, 0.5, 0]) - people).sum() / 2)
        assert told["country", "USA"] == pytest.approx(0.5)
        assert told["country", "NGA"] == pytest.approx(0.6)
        # The poll does not say what women answered.
        assert ("sex", "f") not in told
        assert tv.filter(dimensions="all")["n_people"].to_list() == [None]

    def test_opinionqas_own_places_and_number_of_people(self):
        poll = [{"sample": "all", "shares": [0.1, 0.5, 0.4], "n": 900.4}]
        items = items_of([{"item_id": "q", "options": list("abc"), "option_scores": [1.0, 2.0, 1.5], "poll": poll}])
        scores = answers({"q": spread([0.2, 0.3, 0.5], 20)}, {"q": [1] * 20}, ordinal=False, k_options=3)
        estimates = compute_estimates(scores, everyone(scores), GOLD.empty(), rules=RULES, items=items)
        row = estimates.filter(metric="representativeness", dimensions="all", baseline="").row(0, named=True)
        assert row["estimate"] == pytest.approx(1 - 0.15)  # SubPOP's check value
        assert row["n_people"] == 900

    def test_rivals_are_compared_with_the_poll_and_not_with_its_most_frequent_answers(self):
        """The keys of such tasks are the countries' most frequent answers; people's answers are its shares."""
        shares = {"USA": [0.5, 0.3, 0.2, 0.0], "NGA": [0.1, 0.1, 0.4, 0.4]}
        poll = [{"sample": country, "shares": s, "n": None} for country, s in shares.items()]
        items = items_of([{"item_id": "q", "options": list("abcd"), "poll": poll}])
        picks = [0] * 6 + [1] * 4 + [2] * 10
        scores = answers({"q": picks}, {"q": [0] * 10 + [2] * 10}, kind="global_opinions", ordinal=False)
        countries = pl.Series(["USA"] * 10 + ["NGA"] * 10)
        groups = (
            everyone(scores).sort("respondent_id").with_columns(sample=countries, country=countries, sex=pl.lit("f"))
        )
        stated = {
            ("all", "all"): [0.4, 0.2, 0.2, 0.2],
            ("country", "USA"): [0.6, 0.2, 0.1, 0.1],
            ("sex", "f"): [1.0, 0, 0, 0],
        }
        about = pl.concat(
            scores.head(1).with_columns(
                prompt_id=pl.lit(f"g{i}"), condition=pl.lit("group"), elicitation=pl.lit("verbalized"),
                respondent_id=pl.lit(f"group:s:{d}={v}"), p_vec=pl.lit(p, pl.List(pl.Float64)),
                gold_idx=pl.lit(None, pl.Int64), gold_pos=pl.lit(None, pl.Int64), score=pl.lit(None, pl.Float64),
            )
            for i, ((d, v), p) in enumerate(stated.items())
        )  # fmt: skip
        both = SCORES.conform(pl.concat([scores, about]))
        rules = EstimateRules(dimensions=("country", "sex"), bootstrap=60, min_personas=5)
        ladder = rivals(both, groups, gold_of(scores), rules=rules, items=items)
        far = {(r["subgroup"], r["rival"]): r["distance"] for r in ladder.filter(item_id="q").to_dicts()}
        mix = np.array([0.3, 0.2, 0.3, 0.2])

        def tv(p, q):
            return 0.5 * np.abs(np.array(p) - np.array(q)).sum()

        assert far["all", "direct_estimate"] == pytest.approx(tv(stated["all", "all"], mix))
        assert far["all", "persona"] == pytest.approx(tv([0.3, 0.2, 0.5, 0], mix))
        assert far["all", "chance"] == pytest.approx(tv([0.25] * 4, mix))
        assert far["USA", "direct_estimate"] == pytest.approx(tv(stated["country", "USA"], shares["USA"]))
        assert far["USA", "persona"] == pytest.approx(tv([0.6, 0.4, 0, 0], shares["USA"]))
        assert far["USA", "group_mode"] == pytest.approx(tv([1, 0, 0, 0], shares["USA"]))
        # Everyone's most frequent answers, in the mix of both countries, are the first and the third.
        assert far["USA", "item_mode"] == pytest.approx(tv([0.5, 0, 0.5, 0], shares["USA"]))
        # A poll has no women, no wave before, and no single persons.
        assert {r["dimensions"] for r in ladder.to_dicts()} == {"all", "country"}
        assert "last_wave" not in set(ladder["rival"]) and ladder["accuracy"].null_count() == ladder.height
        assert ladder["n_people"].null_count() == ladder.height
        estimates = compute_estimates(both, groups, gold_of(scores), rules=rules, items=items)
        gain = estimates.filter(metric="panel_gain", baseline="", dimensions="country", subgroup="USA")[
            "estimate"
        ].item()
        assert gain == pytest.approx(far["USA", "direct_estimate"] - far["USA", "persona"])

    def test_what_a_poll_covers(self):
        assert covers("all")
        assert covers("country")
        assert not covers("country×sex")

    def test_items_without_shares_are_no_poll(self):
        assert polls_of(None) is None
        assert polls_of(items_of([{"item_id": "q", "options": list("ab")}])) is None


class TestSteering:
    def test_the_best_of_two_wordings_question_by_question(self):
        own = {"a": spread(PEOPLE["a"], 20), "b": spread(PEOPLE["b"], 20)}
        near_a = answers({"a": own["a"], "b": [0] * 20}, own, framing="you_are")
        near_b = answers({"a": [0] * 20, "b": own["b"]}, own, framing="respond_as")
        scores = pl.concat([near_a, near_b])
        estimates = compute_estimates(scores, everyone(scores), gold_of(scores), rules=RULES)
        rows = {r["baseline"]: r for r in estimates.filter(metric="steerability", dimensions="all").to_dicts()}
        assert rows[""]["estimate"] == pytest.approx(1.0)
        zero = np.array([1.0, 0, 0, 0])
        far = [1 - float(d.wasserstein(zero, np.array(PEOPLE[i]), np.arange(4.0))) for i in ("a", "b")]
        assert rows["mean_wording"]["baseline_estimate"] == pytest.approx((1 + np.mean(far)) / 2)

    def test_one_wording_steers_nothing(self, found):
        assert ("steerability", "") not in found

    def test_consistency_is_the_share_of_topics_with_the_same_best_group(self):
        # Women are answered for exactly in topics x and y, men in z: women are best over all, in two topics of three.
        own = {item: spread([0.5, 0.5], 20) * 2 for item in ("x", "y", "z")}
        exact, off = spread([0.5, 0.5], 20), [0] * 20
        picks = {"x": exact + off, "y": exact + off, "z": off + exact}
        scores = answers(picks, own, k_options=2, category=pl.col("item_id"))
        groups = everyone(scores).sort("respondent_id").with_columns(sex=pl.Series(["f"] * 20 + ["m"] * 20))
        rules = EstimateRules(dimensions=("sex",), bootstrap=60)
        estimates = compute_estimates(scores, groups, gold_of(scores), rules=rules).filter(metric="consistency")
        assert estimates.filter(baseline="")["estimate"].to_list() == pytest.approx([2 / 3])
        assert estimates.filter(baseline="chance")["baseline_estimate"].to_list() == [0.5]
        assert "best represented: f" in estimates["method"][0]


class TestBatteries:
    def test_alpha_and_loadings_by_hand(self):
        rng = np.random.default_rng(0)
        trait = rng.normal(size=300)
        x = trait[:, None] * np.array([0.9, 0.7, 0.5]) + rng.normal(size=(300, 3))
        c = covariance(x, np.ones(300))
        assert c == pytest.approx(np.cov(x.T, bias=True))
        k = 3
        by_hand = k / (k - 1) * (1 - x.var(axis=0, ddof=1).sum() / x.sum(axis=1).var(ddof=1))
        assert alpha(c) == pytest.approx(by_hand)
        values, vectors = np.linalg.eigh(np.corrcoef(x.T))
        first = vectors[:, -1] * np.sqrt(values[-1])
        assert loadings(c) == pytest.approx(first * np.sign(first.sum()))
        assert congruence(np.array([1.0, 2.0]), np.array([2.0, 1.0])) == pytest.approx(4 / 5)

    def test_alpha_equal_to_popfidelity(self):
        pf = pytest.importorskip("popfidelity", reason="the package popfidelity is not installed")
        x = np.random.default_rng(1).normal(size=(50, 4)) + np.random.default_rng(2).normal(size=(50, 1))
        assert alpha(covariance(x, np.ones(50))) == pytest.approx(pf.reliability.cronbach_alpha(x))

    def test_weights_and_gaps_are_pairwise(self):
        x = np.random.default_rng(1).normal(size=(60, 3))
        w = np.random.default_rng(2).integers(1, 4, 60).astype(float)
        assert covariance(x, w) == pytest.approx(covariance(np.repeat(x, w.astype(int), axis=0), np.ones(int(w.sum()))))
        x[:50, 0] = np.nan
        assert covariance(x, w) is None

    def test_estimates_beside_the_people_themselves(self):
        rng = np.random.default_rng(4)
        trait, n = rng.normal(size=200), 200
        own = {
            f"i{j}": np.clip(np.round(1.5 + trait + rng.normal(size=n)), 0, 3).astype(int).tolist() for j in range(4)
        }
        # The third question runs the other way, and the model answers everything from the trait alone.
        own["i2"] = [3 - a for a in own["i2"]]
        alone = np.clip(np.round(1.5 + trait + 0.2 * rng.normal(size=n)), 0, 3).astype(int)
        picks = {item: (3 - alone if item == "i2" else alone).tolist() for item in own}
        scores = answers(picks, own, cluster_id=pl.lit("battery"))
        groups = everyone(scores)
        estimates = compute_estimates(scores, groups, gold_of(scores), rules=RULES)
        rows = {(r["metric"], r["baseline"]): r for r in estimates.filter(dimensions="all").to_dicts()}
        table = np.array([own[f"i{j}"] for j in range(4)], dtype=float).T
        table[:, 2] = 3 - table[:, 2]
        by_hand = 4 / 3 * (1 - table.var(axis=0, ddof=1).sum() / table.sum(axis=1).var(ddof=1))
        assert rows["cronbach_alpha", "human"]["baseline_estimate"] == pytest.approx(by_hand)
        assert rows["cronbach_alpha", ""]["estimate"] > by_hand + 0.1
        assert rows["factor_congruence", ""]["estimate"] > 0.95
        assert rows["cronbach_alpha", ""]["ci_low"] < rows["cronbach_alpha", ""]["estimate"] <= 1


class TestCorrelation:
    @pytest.mark.parametrize("weights", [False, True])
    def test_equal_to_scipy_within_items(self, weights):
        scores, groups, gold = world(
            personas=80, items=9, options=4, orders=1, weights=weights, conditions=("persona",), seed=6
        )
        estimates = compute_estimates(scores, groups, gold, rules=RULES).filter(dimensions="all", weighted=False)
        frame = scores.filter(pl.col("ordinal"))
        for metric, statistic in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            each = [
                statistic(part["pred_idx"].to_numpy(), part["gold_idx"].to_numpy()).statistic
                for part in frame.partition_by("item_id")
            ]
            row = estimates.filter(metric=metric).row(0, named=True)
            assert row["estimate"] == pytest.approx(np.nanmean(each))
            assert row["ci_low"] < row["estimate"] < row["ci_high"]

    def test_weights_count_people(self):
        scores, groups, gold = world(personas=80, items=4, orders=1, weights=True, conditions=("persona",), seed=6)
        row = compute_estimates(scores, groups, gold, rules=RULES).filter(
            metric="pearson", dimensions="all", weighted=True
        )
        each = []
        for part in scores.filter(pl.col("ordinal")).partition_by("item_id"):
            c = np.cov(part["pred_idx"], part["gold_idx"], aweights=part["weight"])
            each.append(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]))
        assert row["estimate"].to_list() == pytest.approx([np.mean(each)])

    def test_a_key_that_is_the_same_for_all_correlates_with_nothing(self):
        own = {"a": [1] * 20}
        scores = answers({"a": spread(MODEL["a"], 20)}, own)
        estimates = compute_estimates(scores, everyone(scores), gold_of(scores), rules=RULES)
        assert estimates.filter(metric="pearson")["estimate"].null_count() == estimates.filter(metric="pearson").height


def test_slopes_are_the_distances_derivatives():
    rng = np.random.default_rng(0)
    p, q = (rng.dirichlet(np.ones(4) * 2, 8).T for _ in range(2))
    places = np.tile(np.array([1.0, 0.0, 3.0, np.nan])[:, None], (1, 8))
    h = 1e-6
    for measure, slope in (
        (d.total_variation, d.total_variation_slope),
        (d.jensen_shannon, d.jensen_shannon_slope),
        (lambda a, b: d.wasserstein(a, b, places), lambda a, b: d.wasserstein_slope(a, b, places)),
    ):
        by = slope(p, q)
        for option in range(4):
            way = (np.arange(4) == option)[:, None] - p
            seen = (measure(p + h * way, q) - measure(p - h * way, q)) / (2 * h)
            assert by[option] - (by * p).sum(axis=0) == pytest.approx(seen, abs=1e-5)


def test_what_sampling_adds_to_a_distance_is_found():
    # Two samples of 60 from distributions .25 apart: the mean distance is above .25, and less the bias it is not.
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.35, 0.2, 0.45])
    a, b = (rng.multinomial(60, x, 4000) / 60 for x in (p, q))
    n = np.full(4000, 60.0)
    bias = d.sampling_bias(a, b, n, n, {"tv": d.total_variation}, seed=1, draws=10)["tv"]
    seen = d.total_variation(a.T, b.T)
    assert seen.mean() > 0.2 + 0.01
    assert (seen - bias).mean() == pytest.approx(0.2, abs=0.006)
