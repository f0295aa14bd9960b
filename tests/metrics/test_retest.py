"""Protects test–retest reliability: counted by hand, used where a file gives it and never assumed."""

import polars as pl
import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import ITEMS
from mpta_pipeline.metrics import compute_estimates, read_retest, retest
from tests.factories.scores import world

RULES = EstimateRules(dimensions=(), bootstrap=50)


def interview(answers):
    return pl.DataFrame(
        [(p, c, v) for c, values in answers.items() for p, v in values.items()],
        schema={"person": pl.String, "column": pl.String, "value": pl.String},
        orient="row",
    )


def test_share_who_answer_alike_of_those_who_answered_twice():
    first = interview({"happy": {"a": "1", "b": "2", "c": "1", "d": None}, "trust": {"a": "1"}})
    again = interview({"happy": {"a": "1", "b": "1", "c": "1", "d": "2", "e": "1"}, "trust": {"b": "1"}})
    assert retest(first, again).rows() == [("happy", pytest.approx(2 / 3), 3)]


def items(column):
    rows = [
        {
            "task": "t", "item_id": f"i{j:04d}", "kind": "value_alignment", "cluster_id": f"i{j:04d}", "codebook": None,
            "category": None, "context": None, "question": "?", "options": ["a", "b", "c"],
            "option_values": ["a", "b", "c"], "option_scores": None, "ordinal": False, "gold_idx": None,
            "column": column if j < 2 else None, "reveals": [], "licence": "test", "scoring": "key",
            "sample_item": False,
        }
        for j in range(4)
    ]  # fmt: skip
    return ITEMS.conform(pl.DataFrame(rows, infer_schema_length=None))


def test_accuracy_over_reliability_on_the_items_that_have_one(tmp_path):
    scores, groups, gold = world(personas=40, items=4, options=3)
    path = tmp_path / "retest.csv"
    path.write_text("column,retest,n\ntrust,0.8,120\n", encoding="utf-8")
    estimates = compute_estimates(scores, groups, gold, rules=RULES, items=items("trust"), retest=read_retest(path))
    rows = estimates.filter(condition="persona", dimensions="all")
    of_two = compute_estimates(scores.filter(pl.col("item_id") < "i0002"), groups, gold, rules=RULES)
    accuracy = of_two.filter(condition="persona", metric="accuracy", baseline="").item(0, "estimate")
    assert rows.filter(metric="normalized_accuracy").item(0, "estimate") == pytest.approx(accuracy / 0.8)
    assert rows.filter(metric="accuracy", baseline="retest").item(0, "baseline_estimate") == pytest.approx(0.8)
    without = compute_estimates(scores, groups, gold, rules=RULES, items=items("trust"))
    assert without.filter(metric="normalized_accuracy").is_empty()


@pytest.mark.parametrize(
    ("text", "named"),
    [("a,b\n1,2\n", "column"), ("column,retest\ntrust,1.2\n", "trust"), ("column,retest\nx,.5\nx,.6\n", "x")],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path, text, named):
    path = tmp_path / "retest.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as failure:
        read_retest(path)
    assert failure.value.variable == named
    with pytest.raises(ConfigError):
        read_retest(tmp_path / "absent.csv")
