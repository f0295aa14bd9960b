"""Errors by the survey's design: check values, the package svy where it is installed, and their effect on estimates."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import SUBGROUP_METRICS
from mpta_pipeline.core.tables.tasks import POLL
from mpta_pipeline.metrics import compare_models, compute_estimates, find_pockets, people_shares
from mpta_pipeline.metrics.statistics.clustered import Rows, Slices
from mpta_pipeline.metrics.statistics.linearization import design_of, survey_mean
from mpta_pipeline.personas import sampling_design
from tests.factories.scores import world
from tests.shared_data import gss_file, present

Y = np.array([1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1.0])
W = np.array([1, 2, 1, 2, 1, 2, 2, 1, 2, 1, 2, 1.0])
STRATUM = pl.Series([1] * 6 + [2] * 6)
PSU = pl.Series([1, 1, 2, 2, 3, 3] * 2)
RULES = EstimateRules(dimensions=("sex",), bootstrap=60)


class TestMean:
    def test_the_check_value_by_svy_and_by_hand(self):
        mean = survey_mean(Y, W, stratum=STRATUM, psu=PSU)
        assert mean.estimate == pytest.approx(0.666667, abs=1e-6)
        assert mean.se == pytest.approx(0.157135, abs=1e-6)
        assert (mean.low, mean.high) == pytest.approx((0.2304, 1.1029), abs=1e-4)
        assert mean.df == 4

    def test_weights_alone_where_the_file_has_no_units(self):
        mean = survey_mean(Y, W)
        assert mean.se == pytest.approx(0.149822, abs=1e-6)
        assert mean.method == "people's by weights alone"

    def test_a_lonely_unit_is_centred_on_the_grand_mean_and_told(self):
        # The third stratum has one unit: its squared total counts as it is (R's survey.lonely.psu = "adjust").
        stratum = pl.Series([1] * 6 + [2] * 4 + [3] * 2)
        mean = survey_mean(Y, W, stratum=stratum, psu=PSU)
        z = W * (Y - mean.estimate) / W.sum()
        total = [z[i : i + 2].sum() for i in range(0, 12, 2)]
        first = 3 / 2 * sum((t - np.mean(total[:3])) ** 2 for t in total[:3])
        second = 2 * sum((t - np.mean(total[3:5])) ** 2 for t in total[3:5])
        assert mean.se**2 == pytest.approx(first + second + total[5] ** 2)
        assert "1 lonely" in mean.method

    def test_only_lonely_units_give_no_error_rather_than_none(self):
        mean = survey_mean(Y, W, stratum=pl.Series(range(12)), psu=pl.Series(range(12)))
        assert np.isnan(mean.se)

    def test_nobody_and_one_person(self):
        assert survey_mean(np.full(3, np.nan), np.ones(3)).n == 0
        assert np.isnan(survey_mean(np.array([1.0]), np.ones(1)).se)

    def test_units_are_nested_in_strata_whatever_their_names(self):
        named = design_of(pl.DataFrame({"stratum": ["a", "a", "b", "b"], "psu": ["1", "2", "1", "2"]}))
        assert named.n_units == 4

    @pytest.mark.parametrize("seed", range(3))
    def test_equal_to_the_package_svy(self, seed):
        svy = pytest.importorskip("svy", reason="the package svy is not installed")
        rng = np.random.default_rng(seed)
        n = 400
        stratum = rng.integers(0, 8, n)
        psu = stratum * 10 + rng.integers(0, 4, n)
        w = rng.uniform(0.5, 3, n)
        y = (rng.random(n) < 0.3 + 0.05 * (psu % 4)).astype(float)
        frame = pl.DataFrame({"y": y, "w": w, "stratum": stratum, "psu": psu})
        sample = svy.Sample(frame, svy.Design(stratum="stratum", psu="psu", wgt="w"))
        found = sample.estimation.mean("y").estimates[0]
        ours = survey_mean(y, w, stratum=frame["stratum"].cast(pl.String), psu=frame["psu"].cast(pl.String))
        assert ours.estimate == pytest.approx(found.est)
        assert ours.se == pytest.approx(found.se)


class TestNames:
    def people(self, **columns):
        base = {"respondent_id": [f"r{i}" for i in range(4)], "wave": "gss-2018", "country": "USA"}
        return sampling_design(pl.DataFrame(base | {"stratum": None, "psu": None} | columns).cast(
            {"stratum": pl.String, "psu": pl.String}
        ))  # fmt: skip

    def test_gss_numbers_units_anew_in_each_stratum(self):
        made = self.people(stratum=["1", "1", "2", "2"], psu=["1", "2", "1", "2"])
        assert made["psu"].n_unique() == 4
        assert made["stratum"].to_list()[0] == "gss-2018/USA/1"

    def test_a_missing_code_is_no_unit(self):
        made = self.people(psu=["-4", ".i", "12", "13"])
        assert made["psu"].to_list() == [None, None, "gss-2018/USA/12", "gss-2018/USA/13"]

    def test_the_only_unit_of_a_country_is_none(self):
        assert self.people(psu=["1"] * 4)["psu"].null_count() == 4


class TestFigures:
    """Where people of a sampling unit are alike, it is the cluster of persons."""

    @pytest.fixture(scope="class")
    @staticmethod
    def study():
        return world(personas=60, items=8, seed=3)

    def test_without_units_nothing_changes(self, study):
        scores, groups, gold = study
        plain = compute_estimates(scores, groups, gold, rules=RULES)
        nothing = groups.with_columns(pl.lit(None, pl.String).alias(c) for c in ("sample", "stratum", "psu"))
        assert compute_estimates(scores, nothing, gold, rules=RULES).equals(plain)
        models = pl.concat([scores, scores.with_columns(pl.lit("n").alias("model"))])
        assert compare_models(models, rules=RULES, groups=nothing).equals(compare_models(models, rules=RULES))
        pockets = [find_pockets(scores, frame, gold, rules=RULES, seed=0) for frame in (groups, nothing)]
        assert pockets[0].equals(pockets[1])

    def test_persons_as_units_give_what_persons_give(self, study):
        scores, groups, gold = study
        plain = compute_estimates(scores, groups, gold, rules=RULES)
        alone = compute_estimates(scores, groups.with_columns(psu=pl.col("respondent_id")), gold, rules=RULES)
        means = pl.col("metric").is_in(["accuracy", "mae_n", "parse_rate"])
        for column in ("estimate", "se", "ci_low", "effect_se", "gap", "gap_se"):
            a, b = (f.filter(means).get_column(column) for f in (plain, alone))
            assert (a.is_null() == b.is_null()).all()
            assert (a - b).abs().max() == pytest.approx(0, abs=1e-12), column

    def test_two_way_errors_by_unit_equal_statsmodels(self):
        sm = pytest.importorskip("statsmodels.api")
        rng = np.random.default_rng(2)
        person, item = np.repeat(np.arange(40), 10), np.tile(np.arange(10), 40)
        unit, group = person % 8, np.repeat(rng.integers(0, 2, 40), 10)
        x = rng.normal(size=400) + rng.normal(size=8)[unit] + rng.normal(size=10)[item]
        slices = Slices(group, 2, rows=Rows(person, item, unit))
        means, gaps = slices.means(x, np.ones(400)), slices.gaps(x, np.ones(400))
        kinds = (unit, item, unit * 10 + item)

        def by_statsmodels(y, design, groups, one):
            """Cameron, Gelbach and Miller's sum of three one-way variances of a coefficient, floored."""
            v = []
            for codes in kinds:
                fit = sm.OLS(y, design).fit(
                    cov_type="cluster", cov_kwds={"groups": codes[one], "use_correction": False}
                )
                clusters = min(len(np.unique(codes[one & (group == g)])) for g in groups)
                v.append(fit.bse[-1] ** 2 * clusters / (clusters - 1))
            return max(v[0] + v[1] - v[2], v[0], v[1]) ** 0.5

        for g in (0, 1):
            here = group == g
            assert means.se[g] == pytest.approx(by_statsmodels(x[here], np.ones(here.sum()), [g], here), rel=1e-6)
        everyone = np.ones(400, dtype=bool)
        design = sm.add_constant(group.astype(float))
        assert gaps.se[1] == pytest.approx(by_statsmodels(x, design, [0, 1], everyone), rel=1e-6)

    def test_units_widen_what_units_share(self):
        scores, groups, gold = world(personas=80, items=10, seed=5, conditions=("persona",))
        number = groups["respondent_id"].str.slice(-5).cast(pl.Int64) % 8
        groups = groups.with_columns(psu=number.cast(pl.String), stratum=pl.lit("s"))
        shares = scores.join(groups.select("respondent_id", "psu"), on="respondent_id")
        right = shares["psu"].cast(pl.Int64) < 4
        scores = scores.with_columns(
            pl.when(right).then("gold_idx").otherwise((pl.col("gold_idx") + 1) % 3).alias("pred_idx")
        ).with_columns(score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
        key = {"metric": "accuracy", "dimensions": "all", "baseline": ""}
        with_units = compute_estimates(scores, groups, gold, rules=RULES).filter(**key).row(0, named=True)
        without = compute_estimates(scores, groups.drop("psu"), gold, rules=RULES).filter(**key).row(0, named=True)
        assert with_units["estimate"] == without["estimate"]
        assert with_units["se"] > 2 * without["se"]
        assert with_units["n_personas"] == 80  # people are counted, not units


def test_weights_of_both_sides_are_in_every_record():
    scores, groups, gold = world(personas=60, items=8, weights=True, seed=1)
    waves = pl.DataFrame({"wave": ["gss-1"], "release_id": ["r"], "weight_name": ["wtssnrps"]})
    estimates = compute_estimates(scores, groups, gold, rules=RULES, releases=waves)
    told = dict(estimates.filter(metric="tv", dimensions="all", baseline="").select("weighted", "weights").rows())
    assert told[False] == "none"
    assert told[True] == ("model: wtssnrps over the chance of being in the panel; people: wtssnrps")
    assert estimates["weights"].null_count() == 0
    assert (estimates.filter(metric="accuracy", weighted=True)["weights"].str.contains("people") == False).all()  # noqa: E712


def test_joint_answers_carry_the_weights_of_both_sides():
    scores, groups, gold = world(personas=200, items=8, weights=True, seed=2, conditions=("persona",))
    once = compute_estimates(scores, groups, gold, rules=RULES)
    key = {"metric": "pc1_share", "dimensions": "all"}
    found = {(r["weighted"], r["baseline"]): r for r in once.filter(**key).to_dicts()}
    # A person of weight 2 counts as two of weight 1.
    weight = dict(scores.select("respondent_id", "weight").unique().rows())
    twice = [
        frame.with_columns(
            (pl.col("respondent_id") + f"_{copy}").alias("respondent_id"),
            *([pl.col("prompt_id") + f"_{copy}"] if "prompt_id" in frame.columns else []),
        ).filter(pl.col("respondent_id").str.slice(0, 11).replace_strict(weight) * 2 > copy)
        for frame in (scores, groups, gold)
        for copy in range(4)
    ]
    copies = [pl.concat(twice[i : i + 4]) for i in (0, 4, 8)]
    many = {r["baseline"]: r for r in compute_estimates(*copies, rules=RULES).filter(**key, weighted=False).to_dicts()}
    assert found[True, ""]["estimate"] == pytest.approx(many[""]["estimate"])
    assert found[True, "human"]["baseline_estimate"] == pytest.approx(many["human"]["baseline_estimate"])
    assert found[True, ""]["method"].endswith("; weighted")
    assert found[False, ""]["method"].endswith("; unweighted")


def test_estimates_for_few_people_are_marked():
    scores, groups, gold = world(personas=40, items=8, respondents=40, seed=1)
    few = gold.filter(pl.col("respondent_id") < "r_gss_00010")
    rules = EstimateRules(dimensions=(), min_personas=20, bootstrap=60)
    estimates = compute_estimates(scores, groups, few, rules=rules).filter(metric="tv", dimensions="all", baseline="")
    assert estimates["n_people"].to_list() == [10] * estimates.height
    assert estimates["small"].all()


def test_tables_made_before_these_columns_still_conform():
    made = SUBGROUP_METRICS.empty().drop("n_people", "weights")
    assert SUBGROUP_METRICS.conform(made).columns == list(SUBGROUP_METRICS.schema)


class TestShares:
    """What people answered, by group, as the poll that it is."""

    ITEMS = pl.DataFrame(
        {"task": ["t"] * 2, "item_id": ["i0000", "i0001"], "options": [["a", "b", "c"]] * 2}
    ).with_columns(poll=pl.lit(None, pl.List(POLL)))

    @pytest.mark.parametrize("units", [False, True])
    @pytest.mark.parametrize("weights", [False, True])
    def test_equal_to_the_mean_of_each_option(self, units, weights):
        _, groups, gold = world(personas=120, items=2, weights=weights, seed=9, conditions=("persona",))
        if units:
            number = groups["respondent_id"].str.slice(-5).cast(pl.Int64)
            groups = groups.with_columns(stratum=(number % 3).cast(pl.String), psu=(number % 12).cast(pl.String))
        rules = EstimateRules(dimensions=("sex",), min_personas=5)
        shares = people_shares(self.ITEMS, gold, groups, rules=rules)
        assert shares["weighted"].unique().sort().to_list() == ([False, True] if weights else [False])
        people = groups.join(gold.filter(item_id="i0000"), on="respondent_id").sort("respondent_id")
        weight = people["weight"].to_numpy() if weights else np.ones(people.height)
        design = {"stratum": people["stratum"], "psu": people["psu"]} if units else {}
        for subgroup, inside in (("all", np.ones(people.height, dtype=bool)), ("sex1", people["sex"] == "sex1")):
            for option in range(3):
                row = shares.filter(item_id="i0000", subgroup=subgroup, option=option, weighted=weights).row(
                    0, named=True
                )
                y = np.where(inside, (people["gold_idx"] == option).to_numpy(), np.nan)
                mean = survey_mean(y, weight, **design)
                assert row["share"] == pytest.approx(mean.estimate)
                assert row["se"] == pytest.approx(mean.se)
                assert 0 <= row["ci_low"] <= row["share"] <= row["ci_high"] <= 1
                assert row["n_people"] == mean.n

    def test_small_groups_and_published_polls_have_no_shares(self):
        _, groups, gold = world(personas=30, items=2, seed=9, conditions=("persona",))
        assert people_shares(self.ITEMS, gold, groups, rules=EstimateRules(dimensions=(), min_personas=31)).is_empty()
        poll = [{"sample": "all", "shares": [0.2, 0.3, 0.5], "n": None}]
        polled = self.ITEMS.with_columns(poll=pl.Series([poll] * 2, dtype=pl.List(POLL)))
        assert people_shares(polled, gold, groups, rules=EstimateRules(dimensions=())).is_empty()


def test_gss_2018_by_the_package_svy():
    """NORC's own strata and units: abortion for any reason, yes of yes and no, weighted with wtssall (svy 0.35.0)."""
    pyreadstat = pytest.importorskip("pyreadstat")
    path = present(gss_file(2018))
    _, meta = pyreadstat.read_dta(str(path), metadataonly=True)
    names = {n.lower(): n for n in meta.column_names}
    columns, _ = pyreadstat.read_dta(
        str(path), usecols=[names[n] for n in ("abany", "vstrat", "vpsu", "wtssall")], output_format="dict"
    )
    values = {n: np.array([x if isinstance(x, float | int) else np.nan for x in columns[names[n]]], dtype=float)
              for n in ("abany", "vstrat", "vpsu", "wtssall")}  # fmt: skip
    y = np.select([values["abany"] == 1, values["abany"] == 2], [1.0, 0.0], default=np.nan)
    mean = survey_mean(y, values["wtssall"], stratum=pl.Series(values["vstrat"]), psu=pl.Series(values["vpsu"]))
    assert mean.estimate == pytest.approx(0.499389, abs=1e-6)
    assert mean.se == pytest.approx(0.019217, abs=1e-6)
    assert (mean.n, mean.df) == (1524, 78)
    assert mean.deff == pytest.approx(2.25, abs=0.01)
