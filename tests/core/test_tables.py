"""The declared tables are what the warehouse publishes and what checks are made from."""

import polars as pl
import pytest
from pandera.errors import SchemaErrors

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.tables import GOLD, PUBLISHED, RESPONDENTS, SUBGROUP_METRICS, Column, Table

# Section 3 of the design: names that users rely on.
CONTRACT_TABLES = {
    "waves", "variables", "concepts", "respondents", "survey_changelog", "personas", "panel", "items", "prompts",
    "responses", "scores", "subgroup_metrics", "pockets", "model_comparison", "lineage",
}  # fmt: skip
CONTRACT_COLUMNS = {
    "model", "task", "metric", "condition", "dimensions", "subgroup", "estimate", "se", "ci_low", "ci_high", "method",
    "n_answers", "n_personas", "n_items", "n_eff", "weighted", "baseline", "baseline_estimate", "effect", "effect_se",
    "p_value", "q_value", "shrunken_estimate", "verdict", "release_ids",
}  # fmt: skip


def gold(**changes):
    row = {"task": "t", "item_id": "i", "respondent_id": "p", "survey": "s", "gold_idx": 0, "weight": None}
    return pl.DataFrame([row | changes])


def test_the_contract_is_kept():
    assert {t.name for t in PUBLISHED} >= CONTRACT_TABLES
    assert set(SUBGROUP_METRICS.schema) >= CONTRACT_COLUMNS


@pytest.mark.parametrize("table", PUBLISHED, ids=lambda t: t.name)
def test_each_table_is_well_declared(table):
    assert table.conform(table.empty()).is_empty()
    assert set(table.key) <= set(table.schema)
    assert len(table.schema) == len(table.columns), "a column is declared twice"
    assert all(c.description for c in table.columns)


def test_conform_casts_orders_and_sorts():
    frame = pl.concat([gold(item_id="b"), gold(item_id="a")]).select(reversed(gold().columns))
    conformed = GOLD.conform(frame)
    assert conformed.schema == GOLD.schema
    assert conformed["item_id"].to_list() == ["a", "b"]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (gold(gold_idx=-1), ["gold", "gold_idx", "-1"]),
        (gold(task=None), ["gold", "task", "not_nullable"]),
        (pl.concat([gold(), gold()]), ["gold", "repeats its key", "task+item_id+respondent_id"]),
        (gold().drop("survey"), ["gold", "survey", "missing"]),
        (gold().with_columns(x=1), ["gold", "undeclared", "x"]),
    ],
)
def test_a_broken_row_is_refused_with_table_column_and_value(frame, words):
    with pytest.raises(ValidationError) as failure:
        GOLD.conform(frame)
    assert all(word in str(failure.value) for word in [*words, "Remedy"])


def test_an_eager_frame_is_checked_by_value_not_only_by_schema():
    # pandera looks only at the schema of a LazyFrame; a table checked that way would let every bad value pass.
    table = Table("t", "test", ("a",), (Column("a", pl.Int64, "a", ge=0),))
    with pytest.raises(ValidationError):
        table.validate(pl.DataFrame({"a": [-1]}))


def test_open_tables_carry_further_columns():
    assert RESPONDENTS.open
    frame = RESPONDENTS.empty().with_columns(pl.lit(None, pl.String).alias("sex"))
    assert RESPONDENTS.conform(frame).columns[-1] == "sex"


RULED = Table(
    "ruled",
    "test",
    (),
    (
        Column("share", pl.Float64, "a share", nullable=True, ge=0, le=1),
        Column("mean", pl.Float64, "a mean"),
        Column("n", pl.Int64, "a count", ge=0),
        Column("kind", pl.String, "a kind", nullable=True, isin=("a", "b")),
        Column("list", pl.List(pl.String), "values"),
    ),
)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("share", v) for v in (None, 0.0, 1.0, 1.1, -0.1, float("nan"), float("inf"))),
        *(("mean", v) for v in (None, -3.0, float("nan"), float("inf"))),
        *(("n", v) for v in (None, 0, -1)),
        *(("kind", v) for v in (None, "b", "c", "")),
        *(("list", v) for v in (None, [], [None])),
    ],
)
def test_the_pass_over_all_rules_accepts_only_what_pandera_accepts(column, value):
    good = {"share": 0.5, "mean": 0.0, "n": 1, "kind": "a", "list": ["x"]}
    frame = pl.DataFrame([good, good | {column: value}], schema=RULED.schema)
    try:
        RULED._pandera.validate(frame, lazy=True)
        accepted = True
    except SchemaErrors:
        accepted = False
    assert RULED._holds_for(frame) <= accepted
    if accepted:
        assert RULED.validate(frame) is frame
    else:
        with pytest.raises(ValidationError, match=column):
            RULED.validate(frame)


def test_a_column_of_another_type_is_refused():
    frame = RULED.empty().with_columns(pl.col("n").cast(pl.Float64))
    with pytest.raises(ValidationError, match="n"):
        RULED.validate(frame)
