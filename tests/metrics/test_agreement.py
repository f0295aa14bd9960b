"""Protects kappa, F1 and recall against scikit-learn, and the bootstrap errors against the exact ones."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score, recall_score

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import GOLD
from mpta_pipeline.metrics import METRICS, compute_estimates
from mpta_pipeline.metrics.metric import describe
from mpta_pipeline.metrics.samples.balancing import balance
from mpta_pipeline.metrics.statistics.arrays import dense
from mpta_pipeline.metrics.statistics.bootstrap import Replicates, combined_se
from mpta_pipeline.metrics.statistics.clustered import Slices
from tests.factories.scores import world


@pytest.fixture(scope="module")
def study():
    return world(personas=80, items=6, options=4, orders=1, seed=7, persona_sd=0.2, item_sd=0.1)


@pytest.fixture(scope="module")
def found(study):
    estimates = compute_estimates(*study, rules=EstimateRules(dimensions=(), bootstrap=100)).filter(
        condition="persona", baseline=""
    )
    return {row["metric"]: row for row in estimates.iter_rows(named=True)}


def test_equal_to_scikit_learn(study, found):
    rows = study[0].filter(condition="persona")
    ordinal = rows.filter("ordinal")
    kappa = cohen_kappa_score(ordinal["gold_idx"].to_numpy(), ordinal["pred_idx"].to_numpy(), weights="quadratic")
    assert found["qwk"]["estimate"] == pytest.approx(kappa)
    per_item = [
        (
            f1_score(part["gold_idx"].to_numpy(), part["pred_idx"].to_numpy(), average="macro"),
            balanced_accuracy_score(part["gold_idx"].to_numpy(), part["pred_idx"].to_numpy()),
        )
        for _, part in rows.group_by("item_id")
    ]
    f1, recall = np.mean(per_item, axis=0)
    assert found["macro_f1"]["estimate"] == pytest.approx(f1)
    assert found["balanced_accuracy"]["estimate"] == pytest.approx(recall)
    half = (ordinal["gold_idx"] <= 1) == (ordinal["pred_idx"] <= 1)
    assert found["accuracy_collapsed"]["estimate"] == pytest.approx(half.mean())


def test_bootstrap_error_of_a_mean_equals_the_two_way_error():
    from scipy import sparse

    scores, _, _ = world(
        personas=300, items=40, items_per_persona=12, orders=1, persona_sd=0.2, item_sd=0.2, weights=True
    )
    units = balance(scores.filter(condition="persona"))
    x, w = units.frame["credit"].to_numpy(), units.frame["weight"].to_numpy()
    replicates = Replicates(units.frame["respondent_id"], units.frame["cluster_id"], replicates=2000, seed=0)
    slices = np.zeros(len(x), dtype=np.int64)
    features = sparse.csr_matrix(np.column_stack([w * x, w]))
    se = combined_se(replicates, slices, 1, features, lambda t, _s: t[..., 0] / t[..., 1])
    exact = Slices(slices, 1, dense(units.frame["respondent_id"]), dense(units.frame["cluster_id"])).means(x, w)
    assert se[0] == pytest.approx(exact.se[0], rel=0.06)


def test_bootstrap_weights_do_not_depend_on_partitions():
    ids = pl.Series([f"r{i}" for i in range(20)])
    whole = Replicates(ids, ids, replicates=50, seed=3).persona
    part = Replicates(ids[5:9], ids[5:9], replicates=50, seed=3).persona
    assert np.array_equal(whole.weights[:, whole.code[5:9]], part.weights[:, part.code])
    assert whole.weights.mean() == pytest.approx(1, abs=0.1)


def test_every_metric_has_its_record():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.definition and metric.unit and metric.source and metric.chance and metric.family
        assert metric.direction in {"higher", "lower", "zero", "none"}
        assert (metric.features is None) == (metric.statistic is None and metric.parts is None)
        assert (metric.parts is None) == (metric.meaningless == "")


def test_the_table_of_metrics_has_a_line_for_each():
    lines = describe().splitlines()[2:]
    assert len(lines) == len(METRICS)
    assert all(line.count(" | ") == 4 for line in lines)


def test_the_reference_shows_the_table():
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
    shown = page.split("<!-- Metrics: made by python -m mpta_pipeline.metrics -->")[1].split(
        "<!-- end of the metrics -->"
    )[0]
    assert shown.strip() == describe().strip(), (
        "run python -m mpta_pipeline.metrics and put its output into docs/reference/metrics.md"
    )


def test_normad_and_mc2_have_their_own_scores(study):
    scores, groups, _ = study
    rules = EstimateRules(dimensions=(), bootstrap=50)
    rows = scores.filter(condition="persona")
    stories = rows.filter(pl.col("gold_idx") < 3, pl.col("pred_idx") < 3).with_columns(
        answer_set=pl.lit("acceptability"), k_options=3
    )
    estimates = compute_estimates(stories, groups, GOLD.empty(), rules=rules)
    found = {row["metric"]: row["estimate"] for row in estimates.filter(baseline="").iter_rows(named=True)}
    key, pick = stories["gold_idx"].to_numpy(), stories["pred_idx"].to_numpy()
    assert found["label_macro_f1"] == pytest.approx(f1_score(key, pick, average="macro"))
    assert found["yes_bias"] == pytest.approx((pick == 0).mean() - (key == 0).mean())
    assert found["recall_no"] == pytest.approx(recall_score(key, pick, labels=[1], average="macro"))
    mass = rows.with_columns(scoring=pl.lit("probability_mass"), score=pl.lit(0.25))
    estimates = compute_estimates(mass, groups, GOLD.empty(), rules=rules)
    assert estimates.filter(metric="mc2_mass", baseline="").item(0, "estimate") == pytest.approx(0.25)
    assert estimates.filter(metric="accuracy").is_empty()
