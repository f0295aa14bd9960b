"""Protects the ladder of rivals: each rung by hand, on the same people and questions, and the wave before."""

import textwrap

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import GOLD, RIVALS, SCORES
from mpta_pipeline.core.tables.tasks import POLL
from mpta_pipeline.metrics import compute_estimates, rivals
from mpta_pipeline.metrics.baselines import rivals as engine
from mpta_pipeline.metrics.baselines import rungs
from mpta_pipeline.metrics.baselines.rival import load
from tests.factories.scores import world
from tests.metrics.test_rivals import about_groups, people_of

RULES = EstimateRules(dimensions=("sex",), min_personas=10, bootstrap=50)
ITEMS = [f"i{j:04d}" for j in range(6)]
STATED = [0.5, 0.3, 0.2]


def items():
    """ITEMS as far as the ladder reads them."""
    return pl.DataFrame(
        {"item_id": ITEMS, "column": ITEMS},
    ).with_columns(
        pl.lit(None, pl.List(pl.Float64)).alias("option_bias"),
        pl.lit(None, pl.List(pl.Float64)).alias("option_credit"),
        pl.lit(None, pl.List(pl.Float64)).alias("option_scores"),
        pl.lit(None, pl.String).alias("story_country"),
        pl.lit(None, pl.String).alias("context_condition"),
        pl.lit(None, pl.String).alias("context_level"),
        pl.lit(None, pl.List(POLL)).alias("poll"),
    )


@pytest.fixture(scope="module")
def tables():
    """Two waves of people; personas of the second, and shares stated for everyone and women."""
    scores, groups, gold = world(
        personas=60, items=6, options=3, orders=1, skill=0.5, respondents=400, seed=7,
        conditions=("persona", "no_persona", "demographics_only"),
    )  # fmt: skip
    first = pl.Series([i % 2 == 1 for i in range(groups.height)])
    groups = groups.with_columns(
        pl.when(first).then(pl.lit("gss-1")).otherwise(pl.lit("gss-2")).alias("sample_wave"),
        pl.lit(None, pl.String).alias("psu"),
    )
    wave = groups.select("respondent_id", pl.col("sample_wave").alias("wave"))
    scores = scores.drop("wave").join(wave, on="respondent_id")
    stated = {("all", "all", i): STATED for i in ITEMS} | {("sex", "sex0", i): STATED for i in ITEMS[:3]}
    scores = SCORES.conform(pl.concat([scores, about_groups(scores, stated)], how="diagonal"))
    return scores, groups, GOLD.conform(gold)


@pytest.fixture(scope="module")
def ladder(tables):
    scores, groups, gold = tables
    ceiling = scores.filter(condition="persona").select(
        "survey", "item_id", "respondent_id", (pl.col("gold_idx") == 1).cast(pl.Float64).alias("ceiling")
    )
    retest = pl.DataFrame({"column": ITEMS, "retest": [0.7] * 6})
    return rivals(scores, groups, gold, rules=RULES, items=items(), ceiling=ceiling, retest=retest)


def rung(ladder, rival, item="all", dimensions="all", subgroup="all"):
    rows = ladder.filter(rival=rival, item_id=item, dimensions=dimensions, subgroup=subgroup, weighted=False)
    return rows.row(0, named=True)


def distance(p, q):
    return 0.5 * sum(abs(a - b) for a, b in zip(p, q, strict=True))


def test_it_conforms_and_covers_what_was_asked(ladder):
    RIVALS.validate(ladder)
    assert set(ladder.filter(dimensions="all")["item_id"]) == {*ITEMS, "all"}
    assert set(ladder.filter(dimensions="sex").select("subgroup", "item_id").iter_rows()) == {
        ("sex0", item) for item in [*ITEMS[:3], "all"]
    }
    assert ladder.sort("rung")["rival"].unique(maintain_order=True).to_list() == [
        "chance", "item_mode", "group_mode", "last_wave", "direct_estimate", "demographics_only", "persona", "ceiling",
        "retest", "second_sample",
    ]  # fmt: skip


def test_distances_of_one_question_by_hand(tables, ladder):
    scores, groups, gold = tables
    item = ITEMS[2]
    people = people_of(gold, groups, item)
    mode = [float(p == max(people)) for p in people]
    assert rung(ladder, "chance", item)["distance"] == pytest.approx(distance([1 / 3] * 3, people))
    assert rung(ladder, "item_mode", item)["distance"] == pytest.approx(distance(mode, people))
    assert rung(ladder, "direct_estimate", item)["distance"] == pytest.approx(distance(STATED, people))
    for condition in ("persona", "demographics_only"):
        picks = scores.filter(condition=condition, item_id=item)["pred_idx"]
        shares = [(picks == i).mean() for i in range(3)]
        assert rung(ladder, condition, item)["distance"] == pytest.approx(distance(shares, people))
    assert rung(ladder, "ceiling", item)["distance"] is None
    assert 0 < rung(ladder, "second_sample", item)["distance"] < 0.2


def test_accuracies_are_those_of_the_same_answers(tables, ladder):
    scores, groups, _ = tables
    rows = scores.filter(condition="persona")
    assert rung(ladder, "persona")["accuracy"] == pytest.approx(rows["score"].mean())
    other = scores.filter(condition="demographics_only")
    assert rung(ladder, "demographics_only")["accuracy"] == pytest.approx(other["score"].mean())
    assert rung(ladder, "chance")["accuracy"] == pytest.approx(1 / 3)
    # The largest stated share is that of the first option.
    assert rung(ladder, "direct_estimate")["accuracy"] == pytest.approx((rows["gold_idx"] == 0).mean())
    assert rung(ladder, "ceiling")["accuracy"] == pytest.approx((rows["gold_idx"] == 1).mean())
    assert rung(ladder, "retest")["accuracy"] == pytest.approx(0.7)
    women = rows.join(groups, on="respondent_id").filter(pl.col("sex") == "sex0", pl.col("item_id").is_in(ITEMS[:3]))
    found = rung(ladder, "persona", dimensions="sex", subgroup="sex0")
    assert found["accuracy"] == pytest.approx(women["score"].mean())
    assert (found["n_personas"], found["n_items"]) == (women["respondent_id"].n_unique(), 3)


def test_all_questions_are_the_mean_over_questions(ladder):
    for rival in ("direct_estimate", "persona", "last_wave"):
        each = [rung(ladder, rival, item)["distance"] for item in ITEMS]
        assert rung(ladder, rival)["distance"] == pytest.approx(np.mean(each))


def test_the_last_wave_is_foretold_by_the_one_before(tables, ladder):
    scores, groups, gold = tables
    item = ITEMS[0]
    by_wave = [people_of(gold, groups.filter(pl.col("sample_wave") == f"gss-{w}"), item) for w in (1, 2)]
    found = rung(ladder, "last_wave", item)
    assert found["distance"] == pytest.approx(distance(*by_wave))
    assert found["note"] == "compared with the people of the last wave alone: gss-1 for gss-2"
    last = scores.filter(condition="persona", item_id=item, wave="gss-2")
    assert found["accuracy"] == pytest.approx((last["gold_idx"] == int(np.argmax(by_wave[0]))).mean())


def test_without_the_rival_there_is_no_ladder(tables):
    scores, groups, gold = tables
    alone = scores.filter(pl.col("condition") != "group")
    assert rivals(alone, groups, gold, rules=RULES, items=items()).is_empty()


def test_groups_of_few_people_have_no_row(tables):
    scores, groups, gold = tables
    strict = RULES.model_copy(update={"min_personas": 300})
    made = rivals(scores, groups, gold, rules=strict, items=items())
    assert set(made["dimensions"]) == {"all"}


def test_refusals_are_wrong_answers_of_the_panel(tables):
    """As in the estimates: a reply that cannot be read is no answer to compare, but it is not right either."""
    scores, groups, gold = tables
    nothing = (pl.col("condition") == "persona") & (pl.col("item_id") == ITEMS[0]) & (pl.col("gold_idx") == 0)
    scores = scores.with_columns(
        pl.when(nothing).then(pl.lit("refused")).otherwise("status").alias("status"),
        *(pl.when(nothing).then(None).otherwise(c).alias(c) for c in ("pred_idx", "pred_pos", "score", "p_vec")),
    )
    made = rivals(scores, groups, gold, rules=RULES, items=items())
    asked = scores.filter(condition="persona", item_id=ITEMS[0])
    found = rung(made, "persona", ITEMS[0])
    assert found["accuracy"] == pytest.approx(asked["score"].fill_null(0).mean())
    picks = asked["pred_idx"].drop_nulls()
    assert 0 < len(picks) < asked.height
    shares = [(picks == i).mean() for i in range(3)]
    assert found["distance"] == pytest.approx(distance(shares, people_of(gold, groups, ITEMS[0])))
    # Each rival is judged on the same answers of the same persons.
    mode = int(np.argmax(people_of(gold, groups, ITEMS[0])))
    assert rung(made, "item_mode", ITEMS[0])["accuracy"] == pytest.approx((asked["gold_idx"] == mode).mean())
    assert rung(made, "chance", ITEMS[0])["accuracy"] == pytest.approx(1 / 3)
    estimates = compute_estimates(scores, groups, gold, rules=RULES, items=items())
    everyone = estimates.filter(metric="accuracy", dimensions="all", condition="persona", baseline="", weighted=False)
    assert rung(made, "persona")["accuracy"] == pytest.approx(everyone["estimate"].item())


def test_waves_of_different_countries_are_told(tables):
    scores, groups, gold = tables
    first = pl.col("sample_wave") == "gss-1"
    alone = groups.with_columns(pl.when(first).then(pl.lit("CAN")).otherwise(pl.lit("USA")).alias("sample"))
    made = rivals(scores, alone, gold, rules=RULES, items=items())
    assert rung(made, "last_wave")["note"].endswith("gss-1 for gss-2; the waves have different countries")


def test_one_file_adds_a_rival(tables, tmp_path, monkeypatch):
    """The recipe that the folder documents, followed word by word."""
    lines = [line for line in rungs.__doc__.splitlines() if line.startswith("    ") or not line]
    (tmp_path / "first_option.py").write_text(textwrap.dedent("\n".join(lines)).strip() + "\n", encoding="utf-8")
    monkeypatch.setattr(rungs, "__path__", [*rungs.__path__, str(tmp_path)])
    monkeypatch.setattr(engine, "LADDER", load())
    scores, groups, gold = tables
    ladder = rivals(scores, groups, gold, rules=RULES, items=items())
    found = rung(ladder, "first_option", ITEMS[0])
    assert (found["title"], found["rung"]) == ("always the first option", 1)
    assert found["distance"] == pytest.approx(1 - people_of(gold, groups, ITEMS[0])[0])
    asked = scores.filter(condition="persona", item_id=ITEMS[0])
    assert found["accuracy"] == pytest.approx((asked["gold_idx"] == 0).mean())
    assert rung(ladder, "item_mode")["rung"] == 2
