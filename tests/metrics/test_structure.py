"""Structure of answers: statistics without each of the items, against eigendecompositions without each of the items."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.metrics.estimators import flattening


def without(matrix, j):
    return np.delete(np.delete(matrix, j, 0), j, 1)


def of_answers(rows, items, *, alike=0.0):
    rng = np.random.default_rng(items)
    x = rng.normal(size=(rows, items)) + alike * rng.normal(size=(rows, 1))
    return np.corrcoef(x, rowvar=False)


UNCORRELATED = np.eye(6)
# Of two pairs of items, one is correlated by ½: the largest eigenvalue without one of that pair is 1, else 1.5.
ONE_PAIR = np.array([[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
ALL_ALIKE = np.full((5, 5), 0.3) + 0.7 * np.eye(5)


@pytest.mark.parametrize(
    "whole", [of_answers(200, 12), of_answers(400, 40, alike=2.0), UNCORRELATED, ONE_PAIR, ALL_ALIKE]
)
@pytest.mark.parametrize("statistic", flattening.WITHOUT_EACH, ids=lambda one: one.__name__)
def test_without_each_item_is_what_numpy_computes_without_it(whole, statistic):
    expected = [statistic(without(whole, j)) for j in range(len(whole))]
    assert flattening.WITHOUT_EACH[statistic](whole) == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    assert flattening.pc1_share_without_each(ONE_PAIR) == pytest.approx([1 / 3, 1 / 3, 1.5 / 3, 1.5 / 3])
    # |R| is ¾, and 1 without an item of the pair.
    dependence = flattening.effective_dependence_without_each(ONE_PAIR)
    assert dependence == pytest.approx([0, 0, 1 - 0.75 ** (1 / 3), 1 - 0.75 ** (1 / 3)])


def test_many_items_are_left_out_in_parts_that_depend_on_their_names_alone():
    ids = pl.Series([f"i{i:04d}" for i in range(250)])
    parts = flattening._item_parts(ids)
    assert sorted(np.bincount(parts).tolist()) == [2] * 50 + [3] * 50
    backwards = flattening._item_parts(ids.reverse())
    assert (backwards[::-1] == parts).all()
    assert flattening._item_parts(ids.head(100)).tolist() == list(range(100))


def test_the_error_by_parts_is_that_by_single_items():
    """60 items of 50 people contradict each other: the error of 30 parts is near that of 60 single items."""
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(50, 60)) + rng.normal(size=(50, 1))
    matrix[rng.random(matrix.shape) < 0.4] = np.nan
    group = np.arange(50) % 10
    errors = []
    for n in (30, 60):
        made = flattening._structures(matrix, np.ones(50), group, np.arange(60) % n)["pc1_share"]
        assert "contradict each other" in made.note
        errors.append(made.se)
    assert errors[0] == pytest.approx(errors[1], rel=0.15)


def test_sums_of_pairs_are_the_same_over_parts_of_the_people(monkeypatch):
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(100, 7)) + rng.normal(size=(100, 1))
    matrix[rng.random(matrix.shape) < 0.3] = np.nan
    weight = rng.uniform(0.5, 2, 100)
    whole = flattening.correlation(matrix, weight)
    monkeypatch.setattr(flattening, "MOST_PERSONS", 30)
    assert flattening.correlation(matrix, weight) == pytest.approx(whole, abs=1e-14)
    assert flattening.usable_items(matrix).tolist() == list(range(7))
