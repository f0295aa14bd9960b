"""Protects rows in little memory: the values of the frame they came from, and sums that equal those of rows."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compute_estimates, estimates
from mpta_pipeline.metrics.estimators import alignment
from mpta_pipeline.metrics.estimators.influence import Influences
from mpta_pipeline.metrics.samples import survey_answers
from mpta_pipeline.metrics.samples.answers import gather
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.survey_answers import View, blocks, cut_rows
from mpta_pipeline.metrics.statistics import arrays, clustered
from mpta_pipeline.metrics.statistics.arrays import ItemFeatures, dense, ratio
from mpta_pipeline.metrics.statistics.bootstrap import Replicates, reweighted, reweighted_items
from mpta_pipeline.metrics.statistics.clustered import Moments, Rows, Slices, Together
from tests.factories.scores import world


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    n = 500
    return pl.DataFrame(
        {
            "respondent_id": [f"r{i:03d}" for i in rng.integers(0, 40, n)],
            "item_id": [f"i{i:02d}" for i in rng.integers(0, 9, n)],
            "one": ["the same"] * n,
            "nothing": pl.Series([None] * n, dtype=pl.Float64),
            "few": rng.choice([0.0, 1 / 3, 0.5, 1.0], n),
            "gaps": pl.Series(rng.choice([1.0, 2.0, np.nan], n)).fill_nan(None),
            "undefined": rng.choice([1.0, np.nan], n),
            "many": rng.random(n),
            "whole": rng.integers(-2, 3, n),
            "whole_gaps": pl.Series(rng.integers(0, 3, n)).set(pl.Series(rng.random(n) < 0.2), None),
            "flag": pl.Series(rng.random(n) < 0.5).set(pl.Series(rng.random(n) < 0.2), None),
            "text": pl.Series(rng.choice(["a", "b"], n)).set(pl.Series(rng.random(n) < 0.2), None),
            "list": [[1.0, None]] * n,
        }
    )


def same(compact: CompactFrame, frame: pl.DataFrame) -> None:
    assert compact.height == frame.height
    for name in frame.columns:
        got, wanted = compact.get_column(name), frame.get_column(name)
        assert got.dtype == wanted.dtype
        assert got.equals(wanted, null_equal=True, check_names=True), name


def test_values_are_those_of_the_frame(frame):
    compact = CompactFrame.of(frame)
    same(compact, frame)
    chosen = np.flatnonzero(frame["few"].to_numpy() > 0.4)
    same(compact.rows(chosen), frame[chosen])
    same(compact.rows(slice(20, 70)), frame[20:70])
    same(compact.rows(np.arange(500) == 7), frame[7:8])
    same(compact.rows(np.zeros(500, dtype=bool)), frame.clear())


def test_expressions_are_evaluated_as_by_the_frame(frame):
    asked = [
        pl.when(pl.col("one") == "the same").then(pl.col("few") / pl.col("whole_gaps")).alias("a"),
        (pl.col("nothing") + pl.col("many")).alias("b"),
        (pl.col("flag") & (pl.col("text") == "a")).alias("c"),
        pl.col("nothing").is_not_null().alias("d"),
    ]
    assert CompactFrame.of(frame).select(*asked, "gaps").equals(frame.select(*asked, "gaps"), null_equal=True)
    assert CompactFrame.of(frame).select("one").equals(frame.select("one"))


def test_codes_number_the_values_that_are_there(frame):
    compact = CompactFrame.of(frame)
    for part, rows in ((compact, frame), (compact.rows(slice(0, 30)), frame[:30])):
        for name in ("respondent_id", "item_id", "one"):
            assert np.array_equal(part.codes(name), dense(rows[name]))
            assert part.distinct(name).to_list() == rows[name].unique().sort().to_list()


def test_parts_are_joined_and_sorted_as_frames(frame):
    heights = ((0, 200), (200, 201), (201, 500))
    parts = [CompactFrame.of(frame[a:b]) for a, b in heights]
    joined = CompactFrame.joined(parts)
    same(joined, frame)
    order = np.random.default_rng(2).permutation(500)
    same(joined.in_order(order), frame[order])


def test_columns_of_persons_are_stored_once_per_person(frame):
    persons = pl.DataFrame({"respondent_id": [f"r{i:03d}" for i in range(0, 40, 2)], "age": list(range(20))})
    compact = CompactFrame.of(frame).looked_up("respondent_id", persons)
    same(compact, frame.join(persons, on="respondent_id", how="left", maintain_order="left"))
    number, each = compact.rows(slice(5, 60)).of_each("respondent_id", ["age"])
    assert each["age"].gather(number).equals(compact.get_column("age")[5:60])
    with pytest.raises(ValueError, match="several rows"):
        compact.looked_up("respondent_id", pl.concat([persons, persons]))


def test_estimates_do_not_depend_on_how_many_rows_are_many(monkeypatch):
    scores, groups, gold = world(personas=24, items=6, options=3, orders=1, weights=True, bad=0.05)
    rules = EstimateRules(dimensions=("sex", "category"), bootstrap=50)
    expected = compute_estimates(scores, groups, gold, rules=rules)
    for module in (arrays, clustered, survey_answers, estimates):
        monkeypatch.setattr(module, "MANY_ROWS", 20)
    assert compute_estimates(scores, groups, gold, rules=rules).equals(expected)


def test_statistics_of_items_are_bootstrapped_as_those_of_a_wide_matrix():
    rng = np.random.default_rng(3)
    n, items, slices = 1500, 7, rng.integers(-1, 3, 1500)
    persona, item = rng.integers(0, 80, n), np.sort(rng.integers(0, items, n))
    values = rng.random((n, 4))
    replicates = Replicates(
        pl.Series([f"p{i}" for i in persona]), pl.Series([f"c{i}" for i in item]), replicates=60, seed=0
    )

    def mean(totals):
        return ratio(totals[0], totals[1]).mean(axis=0)

    def wide(totals, _slice):
        return mean(np.moveaxis(totals.reshape(len(totals), 2, items), 0, 2))

    features = ItemFeatures(np.arange(n), item, values, items, n)
    for levels in (replicates.persona, replicates.cell, replicates.item):
        made = reweighted_items(levels, slices, 3, features, [mean, mean])
        for i, columns in enumerate((values[:, :2], values[:, 2:])):
            matrix = np.zeros((n, 2 * items))
            for j in range(2):
                matrix[np.arange(n), j * items + item] = columns[:, j]
            expected = reweighted(levels, slices, 3, sparse.csr_matrix(matrix), wide)
            np.testing.assert_allclose(made[i], expected, rtol=1e-9, atol=1e-25)


def test_dimensions_summed_together_have_the_gaps_of_rows():
    rng = np.random.default_rng(4)
    persona = np.sort(rng.integers(0, 50, 800))
    item, x, w = rng.integers(0, 9, 800), rng.random(800), rng.gamma(1.0, 1.0, 800)
    rows = Rows(persona, item)
    dimensions = [rng.integers(-1, n, 50)[persona] for n in (4, 3)]
    together = [Slices(codes, n, rows=rows) for codes, n in zip(dimensions, (4, 3), strict=True)]
    moments = Moments(rows, x, w)
    moments.summed(Together(together))
    assert len(moments.value) == 0
    left_out = np.array([0, -1, 1, 1])
    for slices, codes, n in zip(together, dimensions, (4, 3), strict=True):
        of_rows = Slices(codes, n, rows=Rows(persona, item))
        for made, expected in (
            (slices.means_of(moments), of_rows.means(x, w)),
            (slices.gaps_of(moments), of_rows.gaps(x, w)),
        ):
            assert all(
                np.array_equal(a, b, equal_nan=True)
                for a, b in zip(vars(made).values(), vars(expected).values(), strict=True)
            )
    codes = np.append(left_out, -1)[dimensions[0]]
    expected = Slices(codes, 2, rows=Rows(persona, item)).gaps(x, w)
    made = together[0].regrouped(left_out, 2).gaps_of(moments)
    assert all(np.array_equal(a, b) for a, b in zip(vars(made).values(), vars(expected).values(), strict=True))


@pytest.mark.parametrize("everyone", [True, False])
def test_errors_of_distances_from_counts_are_those_of_rows(everyone):
    scores, groups, gold = world(
        personas=40,
        respondents=None if everyone else 70,
        items=9,
        items_per_persona=5,
        options=4,
        orders=1,
        weights=True,
    )
    # Clusters of single items in another order than the items, and an item without a readable answer.
    unreadable = pl.col("item_id") == "i0003"
    scores = scores.with_columns(
        pl.when(~unreadable).then(pl.col(c)).alias(c) for c in ("pred_idx", "pred_pos", "score")
    ).with_columns(
        status=pl.when(unreadable).then(pl.lit("unparsed")).otherwise(pl.col("status")),
        cluster_id=pl.format("c{}", 9 - pl.col("item_id").str.tail(1).cast(pl.Int64)),
    )
    made = gather(scores)
    rules = EstimateRules(dimensions=("sex",), bootstrap=50)
    for block in blocks(made.units, groups, gold, rules=rules):
        here = block.of("persona")
        view = View(here, cut_rows(here.frame, "sex"), "persona")
        used = here.compared
        item = np.where(used, here.matched_item, 0)
        cells = alignment.make_cells(view, item, np.where(used, here.weight, 0.0))
        influences = Influences(view, cells, used, item)
        rng = np.random.default_rng(5)
        d = np.where(rng.random(len(cells.owner)) < 0.2, np.nan, 0.5)
        slope = rng.normal(size=(2, *cells.human.shape))
        part = influences._parts(d, slope[0], slope[1])
        for got, expected in zip(
            influences._sides.variances([part])[0], influences._sides._variances(*part), strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-9)
        human, model = (
            list(slope[0].T[:, :, None] * slope[1][None]),
            [rng.random(len(influences._cell)) for _ in range(4)],
        )
        np.testing.assert_allclose(
            influences._sides.squares_of_counts(human, model), influences._sides.squares(human, model), rtol=1e-9
        )
