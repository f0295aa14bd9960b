"""Protects the estimates: what they mean, that they can be recomputed by hand, that nothing but the data shows."""

import math
from collections import Counter, defaultdict

import polars as pl
import pytest
from scipy import stats

from mpta_pipeline.core.errors import ConfigError, ValidationError
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import GOLD, SUBGROUP_METRICS
from mpta_pipeline.metrics import METRICS, compute_estimates, headline
from tests.factories.scores import world

pytestmark = pytest.mark.slow

RULES = EstimateRules(dimensions=("sex", "age_band", "sex×age_band", "category"), bootstrap=50)


@pytest.fixture(scope="module")
def plain():
    return world(personas=50, items=8, respondents=200, bad=0.1, probabilities=True)


@pytest.fixture(scope="module")
def weighted():
    return world(personas=50, items=8, items_per_persona=4, respondents=200, bad=0.1, weights=True, seed=2)


@pytest.fixture(scope="module")
def estimates(plain):
    return compute_estimates(*plain, rules=RULES)


def cell(estimates, **key):
    key = {"baseline": "", "weighted": False, "condition": "persona", "dimensions": "all", "subgroup": "all", **key}
    rows = estimates.filter(**key)
    assert rows.height == 1, key
    return rows.row(0, named=True)


class TestByHand:
    """Three cells recomputed from the scores in plain Python."""

    def test_strict_accuracy_of_women(self, plain, estimates):
        scores, groups, _ = plain
        sex = dict(groups.select("respondent_id", "sex").iter_rows())
        right, total, personas, items = 0.0, 0, set(), set()
        for row in scores.iter_rows(named=True):
            if row["condition"] == "persona" and sex[row["respondent_id"]] == "sex1":
                total += 1
                right += row["status"] == "ok" and row["pred_idx"] == row["gold_idx"]
                personas.add(row["respondent_id"])
                items.add(row["item_id"])
        found = cell(estimates, metric="accuracy_strict", dimensions="sex", subgroup="sex1")
        assert found["estimate"] == pytest.approx(right / total)
        assert (found["n_answers"], found["n_personas"], found["n_items"]) == (total, len(personas), len(items))

    def test_balanced_accuracy_and_its_error(self, plain, estimates):
        scores, groups, _ = plain
        sex = dict(groups.select("respondent_id", "sex").iter_rows())
        orders = defaultdict(list)
        for row in scores.filter(condition="persona").iter_rows(named=True):
            if sex[row["respondent_id"]] == "sex0":
                orders[row["respondent_id"], row["item_id"]].append(row)
        credit = {}
        for key, rows in orders.items():
            read = [r for r in rows if r["status"] == "ok"]
            mass = [sum(r["p_vec"][j] for r in read) for j in range(rows[0]["k_options"])]
            best = [j for j, m in enumerate(mass) if read and m > max(mass) - 1e-9]
            share = (rows[0]["gold_idx"] in best) / len(best) if best else 0.0
            credit[key] = share * len(read) / len(rows)
        n, mean = len(credit), sum(credit.values()) / len(credit)

        def variance(cluster):
            sums = defaultdict(float)
            for key, x in credit.items():
                sums[cluster(key)] += x - mean
            c, squares = len(sums), sum(s * s for s in sums.values())
            df = min(c - 1, 2 * squares**2 / (sum(s**4 for s in sums.values()) - squares**2 / c))
            return c / (c - 1) * squares / n**2, df

        (v_p, df_p), (v_i, df_i), (v_c, _) = (variance(f) for f in (lambda k: k[0], lambda k: k[1], lambda k: k))
        se = math.sqrt(max(v_p + v_i - v_c, v_p, v_i))
        reach = stats.t.ppf(0.975, min(df_p, df_i)) * se / mean / (1 - mean)
        # On the logit, as svyciprop(method="logit") of R's survey.
        ends = [1 / (1 + math.exp(-(math.log(mean / (1 - mean)) + side))) for side in (-reach, reach)]
        found = cell(estimates, metric="accuracy", dimensions="sex", subgroup="sex0")
        assert found["estimate"] == pytest.approx(mean)
        assert found["se"] == pytest.approx(se)
        assert (found["ci_low"], found["ci_high"]) == pytest.approx(ends)

    def test_item_mode_and_persona_effect_with_weights(self, weighted):
        scores, groups, gold = weighted
        estimates = compute_estimates(scores, groups, gold, rules=RULES)
        by_item = defaultdict(list)
        for row in gold.iter_rows(named=True):
            by_item[row["item_id"]].append((row["respondent_id"], row["gold_idx"], row["weight"]))
        votes, keys, weight = defaultdict(Counter), {}, {}
        for row in scores.iter_rows(named=True):
            key = row["respondent_id"], row["item_id"]
            keys[key], weight[key] = row["gold_idx"], row["weight"]
            if row["status"] == "ok":
                votes[row["condition"], *key][row["pred_idx"]] += 1
        numerator = mode_right = effect = total = 0.0
        for (persona, item), gold_idx in keys.items():
            w = weight[persona, item]
            others = Counter()
            for who, answer, own in by_item[item]:
                if who != persona:
                    others[answer] += own
            top = max(others.values())
            modes = [a for a, v in others.items() if v > top - 1e-9]
            credit = {}
            for condition in ("persona", "no_persona"):
                counted = votes[condition, persona, item]
                best = [a for a, v in counted.items() if v == max(counted.values())]
                credit[condition] = (gold_idx in best) / len(best) * counted.total() / 3 if best else 0.0
            total += w
            numerator += w * credit["persona"]
            mode_right += w * (gold_idx in modes) / len(modes)
            effect += w * (credit["persona"] - credit["no_persona"])
        found = cell(estimates, metric="accuracy", baseline="item_mode", weighted=True)
        assert found["estimate"] == pytest.approx(numerator / total)
        assert found["baseline_estimate"] == pytest.approx(mode_right / total)
        assert found["effect"] == pytest.approx(effect / total)


class TestMeaning:
    def test_always_naming_one_position_comes_out_at_chance(self, plain):
        scores, groups, gold = plain
        first = scores.with_columns(
            pred_idx=(pl.lit(0) - pl.col("order_id")) % pl.col("k_options"), pred_pos=0, status=pl.lit("ok"), p_vec=None
        ).with_columns(
            score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64), p_vec=pl.lit(None, pl.List(pl.Float64))
        )
        estimates = compute_estimates(first, groups, gold, rules=RULES)
        found = cell(estimates, metric="accuracy", baseline="chance")
        assert found["estimate"] == pytest.approx(found["baseline_estimate"]) == pytest.approx(1 / 3)
        assert cell(estimates, metric="position_tv")["estimate"] == pytest.approx(2 / 3)
        assert cell(estimates, metric="order_flip_rate")["estimate"] == pytest.approx(1.0)
        assert cell(estimates, metric="accuracy_strict", baseline="always_first")["baseline_estimate"] == pytest.approx(
            cell(estimates, metric="accuracy_strict")["estimate"]
        )

    def test_refusing_everything_is_wrong_and_has_no_answered_accuracy(self, plain):
        scores, groups, gold = plain
        silent = scores.with_columns(
            pl.lit("refused").alias("status"),
            *(pl.lit(None, scores.schema[c]).alias(c) for c in ("pred_idx", "pred_pos", "score", "p_vec")),
        )
        estimates = compute_estimates(silent, groups, gold, rules=RULES)
        assert cell(estimates, metric="accuracy")["estimate"] == 0
        assert cell(estimates, metric="accuracy_strict")["estimate"] == 0
        assert cell(estimates, metric="refusal_rate")["estimate"] == 1
        assert estimates.filter(metric="accuracy_answered").is_empty()
        assert estimates.filter(metric="tv").is_empty()

    def test_failed_requests_are_no_wrong_answers(self, plain):
        scores, groups, gold = plain
        lost = scores.with_columns(
            pl.when(pl.col("item_id") == "i0000").then(pl.lit("error")).otherwise("status").alias("status"),
            *(
                pl.when(pl.col("item_id") == "i0000").then(None).otherwise(c).alias(c)
                for c in ("pred_idx", "pred_pos", "score", "p_vec")
            ),
        )
        with_lost = compute_estimates(lost, groups, gold, rules=RULES)
        without = compute_estimates(scores.filter(pl.col("item_id") != "i0000"), groups, gold, rules=RULES)
        for metric in ("accuracy", "accuracy_strict", "parse_rate"):
            assert cell(with_lost, metric=metric)["estimate"] == pytest.approx(cell(without, metric=metric)["estimate"])
        assert cell(with_lost, metric="error_rate")["estimate"] == pytest.approx(1 / 8)

    def test_answering_as_everyone_did_leaves_no_distance_but_the_samplings(self):
        scores, groups, gold = world(personas=300, items=6, skill=1.0, seed=4)
        estimates = compute_estimates(scores, groups, gold, rules=RULES)
        for name in ("tv", "js", "w1n", "mae_n"):
            assert cell(estimates, metric=name)["estimate"] == pytest.approx(0, abs=1e-6)
        assert cell(estimates, metric="tv_excess")["estimate"] < 0
        assert cell(estimates, metric="accuracy")["estimate"] == 1
        assert cell(estimates, metric="variance_ratio")["estimate"] == pytest.approx(1)
        assert cell(estimates, metric="entropy_ratio")["estimate"] == pytest.approx(1)
        assert cell(estimates, metric="pc1_share", baseline="human")["baseline_estimate"] == pytest.approx(
            cell(estimates, metric="pc1_share")["estimate"]
        )

    def test_always_giving_the_most_frequent_answer_equals_the_baseline(self):
        scores, groups, gold = world(personas=200, items=6, seed=5)
        mode = gold.group_by("item_id").agg(pl.col("gold_idx").mode().first().alias("mode"))
        scores = (
            scores.join(mode, on="item_id")
            .with_columns(pred_idx="mode", score=(pl.col("mode") == pl.col("gold_idx")).cast(pl.Float64))
            .drop("mode")
        )
        estimates = compute_estimates(scores, groups, gold, rules=RULES)
        found = cell(estimates, metric="accuracy", baseline="item_mode")
        assert found["estimate"] == pytest.approx(found["baseline_estimate"])
        assert cell(estimates, metric="accuracy", baseline="item_mode", dimensions="sex", subgroup="sex0")[
            "gap"
        ] == pytest.approx(0)
        table = headline(estimates)
        assert "not better than always giving the most frequent answer" in table.item(0, "verdict")

    def test_without_weights_there_is_no_weighted_row_and_the_method_says_so(self, estimates):
        assert not estimates.get_column("weighted").any()
        assert estimates.get_column("method").str.ends_with("no survey weights").sum() >= estimates.height * 0.9

    def test_one_item_has_the_error_of_its_people_and_says_so(self, plain):
        scores, groups, gold = plain
        estimates = compute_estimates(scores.filter(item_id="i0001"), groups, gold, rules=RULES)
        found = cell(estimates, metric="parse_rate")
        rate = (
            scores.filter(item_id="i0001", condition="persona")
            .group_by("respondent_id")
            .agg((pl.col("status") == "ok").mean())
        )
        # One-way clustered by persona, each with as many answers: the error of a mean of the personas' own means.
        assert found["se"] == pytest.approx(rate["status"].std() / math.sqrt(rate.height))
        assert found["note"].startswith("this item")
        assert found["ci_low"] < found["estimate"] < found["ci_high"]
        gap = cell(estimates, metric="accuracy", dimensions="sex", subgroup="sex0")
        assert gap["gap_se"] is not None and gap["verdict"] is not None

    def test_benchmark_items_have_no_survey_baselines(self, plain):
        scores, groups, _ = plain
        estimates = compute_estimates(scores, groups, GOLD.empty(), rules=RULES)
        assert set(estimates.filter(metric="accuracy").get_column("baseline")) == {"", "chance"}
        assert estimates.filter(metric="tv").is_empty()

    def test_nothing_without_n_and_every_interval_holds_its_estimate(self, estimates):
        assert estimates.filter(pl.col("n_answers") < 1).is_empty()
        odd = estimates.filter(
            (pl.col("ci_low") > pl.col("estimate") + 1e-9) | (pl.col("ci_high") < pl.col("estimate") - 1e-9)
        )
        assert odd.is_empty()
        for name, metric in METRICS.items():
            rows = estimates.filter(metric=name).drop_nulls("estimate").get_column("estimate")
            if len(rows) and metric.low is not None:
                assert rows.min() >= metric.low - 1e-12
            if len(rows) and metric.high is not None:
                assert rows.max() <= metric.high + 1e-12

    def test_slices_of_people_add_up(self, estimates):
        everyone = cell(estimates, metric="accuracy")["n_answers"]
        for dimension in ("sex", "age_band", "sex×age_band", "category"):
            parts = estimates.filter(metric="accuracy", baseline="", condition="persona", dimensions=dimension)
            assert parts.get_column("n_answers").sum() == everyone

    def test_unknown_groups_are_left_out_not_made_up(self, plain):
        scores, groups, gold = plain
        some = groups.with_columns(
            pl.when(pl.col("respondent_id") < "r_gss_00010").then(None).otherwise("sex").alias("sex")
        )
        estimates = compute_estimates(scores, some, gold, rules=RULES)
        rows = estimates.filter(metric="accuracy", baseline="", condition="persona", dimensions="sex")
        assert rows.get_column("n_personas").sum() == 40
        assert set(rows.get_column("subgroup")) == {"sex0", "sex1"}

    def test_an_unknown_dimension_is_named(self, plain):
        with pytest.raises(ConfigError, match="shoe_size"):
            compute_estimates(*plain, rules=EstimateRules(dimensions=("sex×shoe_size",)))

    def test_two_models_at_once_are_refused(self, plain):
        scores, groups, gold = plain
        both = pl.concat([scores, scores.with_columns(model=pl.lit("other"))])
        with pytest.raises(ValidationError, match="one model"):
            compute_estimates(both, groups, gold, rules=RULES)

    def test_every_metric_of_the_table_is_in_the_registry(self, estimates):
        assert set(estimates.get_column("metric")) <= set(METRICS)
        for metric in METRICS.values():
            assert metric.definition
            assert metric.source


class TestNothingElseShows:
    """Metamorphic: the same data in another guise gives the same bytes."""

    @pytest.fixture(scope="class")
    @classmethod
    def base(cls, weighted):
        return compute_estimates(*weighted, rules=RULES)

    def test_row_order(self, weighted, base):
        shuffled = [frame.sample(fraction=1, shuffle=True, seed=3) for frame in weighted]
        assert compute_estimates(*shuffled, rules=RULES).equals(base)

    def test_chunks(self, weighted, base):
        pieces = [pl.concat([f[i::7] for i in range(7)], rechunk=False) for f in weighted]
        assert compute_estimates(*pieces, rules=RULES).equals(base)

    def test_names_of_groups(self, weighted, base):
        scores, groups, gold = weighted
        renamed = groups.with_columns(pl.col("sex").replace({"sex0": "z", "sex1": "a"}))
        estimates = compute_estimates(scores, renamed, gold, rules=RULES)
        key = {"metric": "accuracy", "dimensions": "sex", "weighted": True}
        for old, new in (("sex0", "z"), ("sex1", "a")):
            for column in ("estimate", "se", "effect", "gap", "gap_se", "verdict"):
                assert cell(estimates, subgroup=new, **key)[column] == pytest.approx(
                    cell(base, subgroup=old, **key)[column]
                )

    def test_weights_times_seven(self, weighted, base):
        scores, groups, gold = (f.with_columns(pl.col("weight") * 7) if "weight" in f.columns else f for f in weighted)
        estimates = compute_estimates(scores, groups, gold, rules=RULES)
        numbers = [c for c, t in SUBGROUP_METRICS.schema.items() if t == pl.Float64]
        for column in numbers:
            a, b = base.get_column(column), estimates.get_column(column)
            assert (a.is_null() == b.is_null()).all(), column
            assert (a - b).abs().fill_null(0).max() == pytest.approx(0, abs=1e-8), column
        assert estimates.get_column("verdict").to_list() == base.get_column("verdict").to_list()

    def test_another_dimension_in_the_study_changes_no_estimate(self, weighted, base):
        fewer = compute_estimates(*weighted, rules=EstimateRules(dimensions=("sex",), bootstrap=50))
        both = fewer.join(base, on=list(SUBGROUP_METRICS.key), how="inner")
        assert both.height == fewer.height
        for column in ("estimate", "se", "baseline_estimate", "effect", "p_value", "gap"):
            assert both.get_column(column).equals(both.get_column(f"{column}_right"), null_equal=True), column

    def test_order_of_options(self, plain, estimates):
        # The same answers with all canonical indices turned round: a property of the scale, not of its numbering.
        scores, groups, gold = plain
        turned = scores.with_columns(
            (pl.col("k_options") - 1 - pl.col(c)).alias(c) for c in ("gold_idx", "pred_idx")
        ).with_columns(pl.col("p_vec").list.reverse())
        again = compute_estimates(turned, groups, gold.with_columns(gold_idx=2 - pl.col("gold_idx")), rules=RULES)
        for metric in ("accuracy", "mae_n", "tv", "w1n", "js", "variance_ratio"):
            for column in ("estimate", "se"):
                a, b = (cell(f, metric=metric)[column] for f in (estimates, again))
                assert a == (pytest.approx(b) if b is not None else None)


class TestNoErrorSeen:
    """Where all answers agree an error of 0 was seen, not known: two people must not prove what two hundred would."""

    @staticmethod
    def answered(personas, right, *, items=6):
        """A world in which `right` says which answers are right, and the persona-less ones are all wrong."""
        scores, groups, gold = world(personas=personas, items=items, orders=1)
        right = right & (pl.col("condition") == "persona")
        scores = scores.join(groups.select("respondent_id", "sex"), on="respondent_id", maintain_order="left")
        scores = scores.with_columns(
            pred_idx=pl.when(right).then("gold_idx").otherwise((pl.col("gold_idx") + 1) % pl.col("k_options"))
        ).with_columns(score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
        return compute_estimates(scores.drop("sex"), groups, gold, rules=RULES)

    def test_intervals_are_wilsons_on_clusters(self):
        estimates = self.answered(20, pl.lit(True))
        for metric in ("accuracy", "accuracy_strict", "macro_f1", "mae_n"):
            row = cell(estimates, metric=metric)
            # Wilson's interval of n of n items (or 0 of n), with the t quantile of n − 1 degrees of freedom.
            n = row["n_items"]
            t2 = stats.t.ppf(0.975, n - 1) ** 2
            ends = (0.0, t2 / (n + t2)) if metric == "mae_n" else (n / (n + t2), 1.0)
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends), metric
            assert row["method"].startswith("all ")
        assert estimates.filter(pl.col("ci_low") == pl.col("ci_high")).is_empty()

    def test_few_that_agree_are_not_alike_yet_and_many_are(self):
        few = cell(self.answered(20, pl.lit(True)), metric="accuracy", dimensions="sex", subgroup="sex0")
        many = cell(self.answered(300, pl.lit(True), items=110), metric="accuracy", dimensions="sex", subgroup="sex0")
        assert (few["gap"], few["gap_se"], few["verdict"]) == (0, 0, "inconclusive")
        assert (many["gap"], many["gap_se"], many["verdict"]) == (0, 0, "no_gap")

    def test_a_complete_gap_is_one_and_two_people_do_not_prove_it(self):
        right = pl.col("sex") == "sex0"
        row = cell(self.answered(40, right), metric="accuracy", dimensions="sex", subgroup="sex0")
        assert (row["gap"], row["verdict"]) == (1, "gap")
        assert row["gap_q"] > 0
        two = cell(self.answered(8, right, items=2), metric="accuracy", dimensions="sex", subgroup="sex0")
        assert (two["gap"], two["verdict"]) == (1, "inconclusive")

    def test_a_complete_effect_has_an_interval_and_a_p_value_above_zero(self):
        row = cell(self.answered(20, pl.lit(True)), metric="accuracy")
        t2 = stats.t.ppf(0.975, 5) ** 2
        assert (row["effect"], row["effect_high"]) == (1, 1)
        assert row["effect_low"] == pytest.approx(1 - 2 * t2 / (6 + t2))
        # The level at which the interval just reaches 0: u = 1/2, t² = C.
        assert row["p_value"] == pytest.approx(2 * stats.t.sf(math.sqrt(6), 5))

    def test_rounding_does_not_leave_the_range(self):
        estimates = self.answered(20, pl.col("sex") == "sex0")
        assert estimates.filter(metric="accuracy")["estimate"].min() == 0
        assert estimates.filter(metric="accuracy")["estimate"].max() == 1


@pytest.mark.parametrize("size", [(1, 5), (2, 2), (5, 1)])
def test_very_few_personas_or_items_have_estimates_and_no_made_up_errors(size):
    scores, groups, gold = world(personas=size[0], items=size[1], bad=0.1)
    estimates = compute_estimates(scores, groups, gold, rules=RULES)
    numbers = estimates.select(pl.col(pl.Float64))
    assert not any(column.is_nan().any() or column.is_infinite().any() for column in numbers)
    if size[0] == 1:
        whole = estimates.filter(pl.col("dimensions").is_in(["all", "sex", "age_band"]))
        assert whole["se"].null_count() == whole.height
    if size[1] == 1:
        known = estimates.drop_nulls("se").filter(pl.col("dimensions") != "category")
        assert known.height and known["note"].str.starts_with("this item").all()
