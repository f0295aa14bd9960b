"""Compare spread, differences between groups and correlations of the model's answers with the people's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl

from mpta_pipeline.metrics.estimators.means import THIS_ITEM
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.survey_answers import Block, View
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, dense, distinct, numbered, sums
from mpta_pipeline.metrics.statistics.bootstrap import hash_ids, mix
from mpta_pipeline.metrics.statistics.clustered import t_quantile
from mpta_pipeline.metrics.statistics.intervals import fieller, meaningless_words
from mpta_pipeline.metrics.statistics.jackknife import GROUPS, LeftOut, TwoWay, two_way

# Fewer common answers make a correlation of two items too imprecise.
LEAST_COMMON = 20
# With fewer items there are too few correlations to summarize.
LEAST_ITEMS = 3
# Largest number of counts in memory, groups × cells × options. With very many cells, there are fewer groups.
MOST_COUNTS = 6_000_000
# A variance per answer that is smaller than this, on the scale from 0 to 1, is a rounding error.
ALIKE = 1e-12
# A repaired matrix has this precision on its diagonal.
CLOSE = 1e-11
# Negative eigenvalues of correlations that are smaller than this are rounding errors.
ROUNDING = 1e-8
# Correlations whose smallest eigenvalue is above this can be inverted without losing more than a digit or two.
REGULAR = 1e-4
# Each repair of correlations takes several eigendecompositions. More items are left out in this many parts.
MOST_PARTS = 100
# Sums of pairs of items are made over so many persons at once.
MOST_PERSONS = 4096


def variance(p: Floats, places: Floats, n: Floats) -> Floats:
    """Variance of the answers' positions under (K × …) distributions, unbiased for samples of effective size n."""
    x = np.nan_to_num(places)
    return _variance((p * x).sum(axis=0), (p * x**2).sum(axis=0), n)


def _variance(mean: Floats, second: Floats, n: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(n > 1, (second - mean**2) * n / (n - 1), np.nan))


def entropy(p: Floats, n: Floats) -> Floats:
    """Entropy in bits of (K × …) distributions, with Miller and Madow's correction for samples of effective size n."""
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = -np.where(p > 0, p * np.log2(p), 0.0).sum(axis=0)
        return np.asarray(plain + ((p > 0).sum(axis=0) - 1) / (2 * n * np.log(2)))


def epsilon_parts(means: Floats, variances: Floats, n: Floats) -> Floats:
    """(2 × … × items) sum of squares between groups beyond chance, and the total; 0 with fewer than two groups.

    Args:
        means: (… × groups × items) means.
        variances: Unbiased variances of the groups.
        n: (Effective) group sizes; 0 for excluded groups.
    """
    counted = n > 0
    groups = counted.sum(axis=-2)
    total = n.sum(axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        grand = (n * means).sum(axis=-2) / total
        between = (n * (means - grand[..., None, :]) ** 2).sum(axis=-2)
        within = np.where(counted, (n - 1) * variances, 0.0).sum(axis=-2)
        error = within / (total - groups)
        made = np.stack([between - (groups - 1) * error, between + within])
        # If all answers are alike, weights leave rounding errors, and their ratio would be any number.
        differ = made[1] > ALIKE * total
    return np.where((groups > 1) & differ, made, 0.0)


@dataclass(frozen=True)
class _Model:
    """Answers of the model: row of the block, cell (slice × item), weight and share of each option."""

    block: Block
    row: Ints
    cell: Ints
    weight: Floats
    share: Floats

    def counts(self, kind: str | None, groups: int, cells: int) -> tuple[Floats, Floats]:
        """Sum (options × groups × cells) weights and (groups × cells) squared weights (`Block.random_groups`)."""
        place = self.cell
        if kind is not None:
            place = self.block.random_groups(kind, groups)[0][self.row].astype(np.int64) * cells + self.cell
        counted = np.stack([sums(place, self.weight * column, groups * cells) for column in self.share.T])
        return counted.reshape(-1, groups, cells), sums(place, self.weight**2, groups * cells).reshape(groups, cells)


@dataclass(frozen=True)
class _Human:
    """Answers of the survey's people in the cells of a view.

    Attributes:
        view: The view.
        kept: Slice × item of each cell.
        width: Number of options to count.
    """

    view: View
    kept: Ints
    width: int

    def counts(self, kind: str | None, groups: int) -> tuple[Floats, Floats]:
        """As `_Model.counts`."""
        people, cut = self.view.block.people, self.view.cut
        if kind is None:
            counted = people.counts(cut.dimension, cut.labels)[None]
            squared = people.counts(cut.dimension, cut.labels, squared=True).sum(axis=2)[None]
        else:
            group = self.view.block.random_groups(kind, groups)[1]
            counted, squared = people.counts_by_group(cut.dimension, cut.labels, group, groups)
        out = np.zeros((self.width, groups, len(self.kept)))
        out[: people.width] = np.moveaxis(counted.reshape(groups, -1, people.width)[:, self.kept], 2, 0)
        return out, squared.reshape(groups, -1)[:, self.kept]


@dataclass(frozen=True)
class _Cells:
    """Slice × item cells that model and people answered: slice, item, cluster code, positions scaled to 0–1."""

    slice: Ints
    item: Ints
    cluster: Ints
    places: Floats
    n_items: int
    n_slices: int

    @property
    def ordinal(self) -> Flags:
        """Cells of ordinal items."""
        return np.asarray(np.isfinite(self.places).any(axis=1))


def _sides(view: View) -> tuple[_Cells, _Model, _Human] | None:
    """Gather the cells, the model's answers and the people's; None if no cell has both."""
    block, people = view.block, view.block.people
    n_items = len(people.items)
    width = max(people.width, block.units.answer.shape[1])
    used = np.flatnonzero(block.compared & (view.cut.codes >= 0))
    clusters = block.matched_items.get_column("cluster_id").fill_null("")
    place = view.cut.codes[used] * n_items + block.people_item[used]
    size = view.n * n_items
    counts = people.counts(view.cut.dimension, view.cut.labels).sum(axis=2).ravel()
    kept = np.flatnonzero((np.bincount(place, minlength=size) > 0) & (counts > 0))
    if not len(kept):
        return None
    code = np.full(size, -1)
    code[kept] = np.arange(len(kept))
    inside = code[place] >= 0
    used, place = used[inside], place[inside]
    own = np.zeros((len(used), width))
    own[:, : block.units.answer.shape[1]] = block.units.answer[used]
    model = _Model(block, used, code[place], block.weight[used], own)
    human = _Human(view, kept, width)
    of_options = block.option_places(width)
    known = np.isfinite(of_options)
    top = np.where(known.sum(axis=1) > 1, np.where(known, of_options, -np.inf).max(axis=1), np.nan)
    item = kept % n_items
    cells = _Cells(kept // n_items, item, dense(clusters)[item], (of_options / top[:, None])[item], n_items, view.n)
    return cells, model, human


@dataclass(frozen=True)
class _Moments:
    """Mean, variance and entropy of the answers of (… × cells), and their effective number."""

    mean: Floats
    variance: Floats
    entropy: Floats
    n: Floats


def _moments(cells: _Cells, counted: Floats, squared: Floats) -> _Moments:
    """Summarize the distributions of (options × … × cells) counts with (… × cells) squared weights."""
    weight = counted.sum(axis=0)
    places = np.nan_to_num(cells.places.T).reshape(-1, *(1,) * (counted.ndim - 2), counted.shape[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        p = counted / weight
        n = np.where(squared > 1e-12, weight**2 / squared, 0.0)
        mean, second = (p * places).sum(axis=0), (p * places**2).sum(axis=0)
    return _Moments(mean, _variance(mean, second, n), entropy(p, n), n)


def _spread_of(cells: _Cells, model: _Moments, human: _Moments, name: str) -> list[Floats]:
    """(… × cells) variance or entropy of the model and of people; 0 if either is unknown."""
    made = (model.variance, human.variance) if name == "variance_ratio" else (model.entropy, human.entropy)
    both = np.isfinite(made[0]) & np.isfinite(made[1])
    if name == "variance_ratio":
        both &= cells.ordinal
    return [np.where(both, one, 0.0) for one in made]


def _between_of(cells: _Cells, model: _Moments, human: _Moments) -> Floats:
    """(… × 4 × items) `epsilon_parts` of the model and of people."""
    both = cells.ordinal & (model.n > 1) & (human.n > 1)
    place = cells.slice * cells.n_items + cells.item
    made = []
    for side in (model, human):
        grids = []
        for values in (side.mean, side.variance, side.n):
            grid = np.zeros((*values.shape[:-1], cells.n_slices * cells.n_items))
            grid[..., place] = np.where(both, values, 0.0)
            grids.append(grid.reshape(*values.shape[:-1], cells.n_slices, cells.n_items))
        made.append(epsilon_parts(*grids))
    return np.moveaxis(np.concatenate(made), 0, -2)


def _epsilons(parts: Floats) -> Floats:
    """(… × 2) ε² of both sides from (… × 4) sums."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([parts[..., 0] / parts[..., 1], parts[..., 2] / parts[..., 3]], axis=-1)


def _by_slice(cells: _Cells, values: Floats) -> Floats:
    """Sum (… × cells) by slice: (… × slices). Cells come sorted by slice."""
    present, first = np.unique(cells.slice, return_index=True)
    out = np.zeros((*values.shape[:-1], cells.n_slices))
    out[..., present] = np.add.reduceat(values, first, axis=-1)
    return out


def _both_by_slice(cells: _Cells, both: list[Floats]) -> Floats:
    """Sum the model's and the people's (… × cells) by slice: (… × slices × 2)."""
    return np.stack([_by_slice(cells, values) for values in both], axis=-1)


def spread_estimates(view: View) -> dict[str, pl.DataFrame]:
    """Compute the model's spread over people's within each slice, and the share between the dimension's slices.

    Errors come from jackknives by people (leaving out the same person's answers on both sides), items and crossings.
    Ratios have Fieller's intervals; they are undefined if people's own estimate is within its noise.
    """
    block = view.block
    if block.people.empty or block.polls is not None or not g.of_people(view.cut.dimension):
        return {}
    found = _sides(view)
    if found is None:
        return {}
    cells, model, human = found
    n_cells, width = len(cells.slice), model.share.shape[1]
    groups = int(np.clip(MOST_COUNTS // (n_cells * width), 10, GROUPS))
    counts = [model.counts(None, 1, n_cells), human.counts(None, 1)]
    model_whole, human_whole = (_moments(cells, counted[:, 0], squared[0]) for counted, squared in counts)
    left: dict[str, _Without] = {}
    for kind in ("person", "cell"):
        parts = [model.counts(kind, groups, n_cells), human.counts(kind, groups)]
        model_left, human_left = (
            # Rounding errors may be negative.
            _moments(cells, np.maximum(w - c, 0.0), np.maximum(w2 - c2, 0.0))
            for (w, w2), (c, c2) in zip(counts, parts, strict=True)
        )
        left[kind] = _Without(model_left, human_left, _by_slice(cells, parts[0][1] + parts[1][1]) > 0)
    out = {}
    for name in ("variance_ratio", "entropy_ratio"):
        of_cell = _spread_of(cells, model_whole, human_whole, name)
        total = _both_by_slice(cells, of_cell)
        estimates = {
            kind: LeftOut(_both_by_slice(cells, _spread_of(cells, without.model, without.human, name)), without.present)
            for kind, without in left.items()
        }
        items = _items_out(cells, np.stack(of_cell, axis=-1), total, lambda sums: sums)
        errors = two_way(estimates["person"], items, estimates["cell"])
        used = cells.ordinal if name == "variance_ratio" else np.ones(n_cells, dtype=bool)
        out[name] = _ratio_rows(
            view, cells, total, errors, used=used, slices=np.arange(view.n), words="people all give one answer"
        )
    if view.n > 1 and cells.ordinal.any():
        out |= _between_estimates(view, cells, _between_of(cells, model_whole, human_whole).T, left)
    return {name: frame for name, frame in out.items() if frame.height}


@dataclass(frozen=True)
class _Without:
    """Both sides without each jackknife group: (groups × cells) moments, and the slices that each group is part of."""

    model: _Moments
    human: _Moments
    present: Flags


def _items_out(cells: _Cells, of_cell: Floats, total: Floats, estimate: Callable[[Floats], Floats]) -> LeftOut:
    """Compute the estimates (slices × q) without each item cluster, from sums over cells."""
    n = int(cells.cluster.max()) + 1
    place = cells.cluster * cells.n_slices + cells.slice
    used = np.asarray(of_cell.any(axis=-1))
    of_cluster = np.stack([sums(place, column, n * cells.n_slices).reshape(n, -1) for column in of_cell.T], axis=-1)
    present = sums(place, used, n * cells.n_slices).reshape(n, -1) > 0
    return LeftOut(estimate(total - of_cluster), present)


def _between_estimates(
    view: View, cells: _Cells, of_item: Floats, left: dict[str, _Without]
) -> dict[str, pl.DataFrame]:
    """Make the rows of the model's ε² beside people's, of their difference and of their ratio.

    Args:
        view: The view.
        cells: Its cells.
        of_item: (items × 4) `_between_of` of all answers.
        left: The same answers without each jackknife group.
    """
    if not of_item[:, 1].any():
        return {}
    total = of_item.sum(axis=0)
    estimate = _epsilons(total)[None]
    replicates = {
        kind: LeftOut(
            _epsilons(_between_of(cells, without.model, without.human).sum(axis=-1))[:, None],
            np.asarray(without.present.any(axis=1, keepdims=True)),
        )
        for kind, without in left.items()
    }
    cluster = np.full(cells.n_items, -1)
    cluster[cells.item] = cells.cluster
    asked = np.flatnonzero(of_item[:, 1] > 0)
    n = int(cells.cluster.max()) + 1
    of_cluster = np.stack([sums(cluster[asked], column, n) for column in of_item[asked].T], axis=-1)
    items = LeftOut(_epsilons(total - of_cluster)[:, None], (of_cluster[:, 1] > 0)[:, None])
    errors = two_way(replicates["person"], items, replicates["cell"])
    level = view.block.rules.level
    slices = np.array([-1])

    def rows(estimate: Floats, weights: Floats, default: str) -> pl.DataFrame:
        se = np.sqrt(errors.variance(weights))
        reach = t_quantile(errors.df, level) * se
        values = {
            "estimate": estimate,
            "se": np.where(np.isfinite(errors.df), se, np.nan),
            "ci_low": estimate - reach,
            "ci_high": estimate + reach,
        }
        return _rows(view, cells, values, errors, used=cells.ordinal, slices=slices, default=default, notes=[None])

    jackknifed = "jackknife by people, items and crossings, t"
    model = rows(estimate[:, 0], np.array([[1.0, 0.0]]), jackknifed)
    people = model.with_columns(
        pl.lit("human").alias("baseline"), pl.Series("baseline_estimate", estimate[:, 1]).fill_nan(None)
    )
    return {
        "eta2": pl.concat([model, people], how="diagonal"),
        "eta2_difference": rows(estimate[:, 0] - estimate[:, 1], np.array([[1.0, -1.0]]), jackknifed),
        "eta2_ratio": _ratio_rows(
            view,
            cells,
            estimate,
            errors,
            used=cells.ordinal,
            slices=slices,
            words="people of these groups do not differ: ε²",
        ),
    }


def _ratio_rows(
    view: View, cells: _Cells, both: Floats, errors: TwoWay, *, used: Flags, slices: Ints, words: str
) -> pl.DataFrame:
    """Make the rows of the model's estimate over the people's."""
    found = fieller(both[:, 0], both[:, 1], errors.kinds, errors.df, level=view.block.rules.level)
    undefined = [
        meaningless_words(words, float(d), float(noise)) if bad else None
        for d, noise, bad in zip(both[:, 1], found.noise, found.meaningless, strict=True)
    ]
    values = {"estimate": found.estimate, "se": found.se, "ci_low": found.low, "ci_high": found.high}
    default = "jackknife by people, items and crossings, Fieller"
    return _rows(view, cells, values, errors, used=used, slices=slices, default=default, notes=undefined)


def _rows(
    view: View,
    cells: _Cells,
    values: dict[str, Floats],
    errors: TwoWay,
    *,
    used: Flags,
    slices: Ints,
    default: str,
    notes: list[str | None],
) -> pl.DataFrame:
    """Make rows of estimates. Slice −1 is the dimension as a whole."""
    block = view.block
    asked = np.zeros((view.n, cells.n_items), dtype=bool)
    asked[cells.slice[used], cells.item[used]] = True
    item = block.people_item
    rows = block.compared & (view.cut.codes >= 0) & asked[np.maximum(view.cut.codes, 0), np.maximum(item, 0)]
    sizes = view.sizes(rows)
    if slices[0] < 0:
        sizes = {
            "n_answers": np.array([round(float(block.orders[rows].sum()))]),
            "n_personas": np.array([distinct(block.persona[rows])]),
            "n_items": np.array([distinct(item[rows])]),
        }
    # If no group deviates, the observed error is 0 and the true error is unknown, so that there is no interval.
    alike = values["se"] < 1e-8
    values = values | {end: np.where(alike, np.nan, values[end]) for end in ("ci_low", "ci_high")}
    known = np.isfinite(values["se"])
    words = np.select([~known, alike], ["no error", "no interval: all groups alike"], default=default)
    one = [THIS_ITEM if only and k else None for only, k in zip(errors.one_item, known, strict=True)]
    return pl.DataFrame(
        {
            "slice": slices,
            "baseline": [""] * len(slices),
            **values,
            **sizes,
            "method": [f"{word}; {block.note}" for word in words],
            "note": pl.Series([n or o for n, o in zip(notes, one, strict=True)], dtype=pl.String),
        }
    ).filter((pl.col("n_answers") > 0) & (pl.col("estimate").is_not_nan() | pl.col("note").is_not_null()))


def pc1_share(correlation: Floats) -> float:
    """Largest eigenvalue over the sum of eigenvalues: 1/k for uncorrelated answers, 1 for perfectly correlated ones."""
    values = np.linalg.eigvalsh(correlation)
    return float(values[-1] / values.sum())


def effective_dependence(correlation: Floats) -> float:
    """1 − |R|^(1/k), 0 for independent answers (Peña and Rodríguez 2003)."""
    sign, log_determinant = np.linalg.slogdet(correlation)
    return float(1 - np.exp(log_determinant / len(correlation))) if sign > 0 else 1.0


def correlation(matrix: Floats, weight: Floats | None = None) -> Floats:
    """Pearson correlations of the columns, each pair over the rows that have both; 0 if a column does not vary.

    Args:
        matrix: (rows × columns) values; nan if missing.
        weight: Weight of each row; None for equal weights.
    """
    w = np.ones(len(matrix)) if weight is None else weight
    # Values are centred first to avoid cancellation.
    return _PairSums.of(matrix, w, np.nanmean(matrix, axis=0)).correlation()


@dataclass(frozen=True)
class _PairSums:
    """(columns × columns) sums over the rows that both columns have: Σw, Σwx, Σwx² of the first, and Σwxy."""

    common: Floats
    first: Floats
    second: Floats
    product: Floats

    @classmethod
    def of(cls, matrix: Floats, weight: Floats, centre: Floats) -> _PairSums:
        """Sum some rows, with values about a centre of each column."""
        if len(matrix) > MOST_PERSONS:
            parts = [slice(first, first + MOST_PERSONS) for first in range(0, len(matrix), MOST_PERSONS)]
            return reduce(cls.plus, (cls.of(matrix[part], weight[part], centre) for part in parts))
        known = np.isfinite(matrix)
        x = np.where(known, matrix - centre, 0.0)
        of_known = known.astype(float)
        known_w = of_known * weight[:, None]
        return cls(known_w.T @ of_known, x.T @ known_w, (x**2).T @ known_w, x.T @ (x * weight[:, None]))

    def plus(self, other: _PairSums) -> _PairSums:
        """The sums with further rows."""
        return _PairSums(
            self.common + other.common,
            self.first + other.first,
            self.second + other.second,
            self.product + other.product,
        )

    def without(self, other: _PairSums) -> _PairSums:
        """The sums without some of the rows."""
        # Rounding errors may be negative.
        common = np.where(self.common - other.common > 1e-12 * self.common, self.common - other.common, 0.0)
        return _PairSums(common, self.first - other.first, self.second - other.second, self.product - other.product)

    def correlation(self) -> Floats:
        """As `correlation`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.first / self.common
            spread = self.second / self.common - mean**2
            covariance = self.product / self.common - mean * mean.T
            made = np.where((spread > 1e-12) & (spread.T > 1e-12), covariance / np.sqrt(spread * spread.T), 0.0)
        np.fill_diagonal(made, 1.0)
        return np.asarray(np.clip((made + made.T) / 2, -1.0, 1.0))


def nearest_correlation(matrix: Floats) -> Floats:
    """Find the nearest correlation matrix, by squared differences, without negative eigenvalues (Higham 2002)."""
    return _nearest(matrix)[0]


def _nearest(matrix: Floats, start: Floats | None = None, *, steps: int = 50) -> tuple[Floats, Floats]:
    """Find the nearest correlation matrix with Newton's method on the dual problem (Qi and Sun 2006).

    The nearest matrix is the positive part of matrix + diag(y). Newton's method finds the y that makes its diagonal 1,
    in a few eigendecompositions, where alternating projections need 30 to 200. From the y of a similar matrix it needs
    two or three.

    Args:
        matrix: Correlations, of which pairs may contradict each other.
        start: Solution y of a similar matrix.
        steps: Largest number of steps.

    Returns:
        The matrix and y.
    """
    y = 1.0 - np.diag(matrix) if start is None else start
    values, vectors, diagonal, objective = _positive_part(matrix, y)
    for _ in range(steps):
        gradient = diagonal - 1.0
        worst = float(np.abs(gradient).max())
        if worst < CLOSE:
            break
        direction = _newton_direction(values, vectors, gradient)
        slope = float(gradient @ direction)
        # The step is halved until the objective falls; rounding errors hide the last falls.
        for halving in range(30):
            tried = y + 0.5**halving * direction
            made = _positive_part(matrix, tried)
            if made[3] <= objective + 1e-4 * 0.5**halving * slope + 1e-13 * abs(objective):
                break
        y, (values, vectors, diagonal, objective) = tried, made
    positive = values > 0
    nearest = (vectors[:, positive] * values[positive]) @ vectors[:, positive].T
    np.fill_diagonal(nearest, 1.0)
    return nearest, y


def _positive_part(matrix: Floats, y: Floats) -> tuple[Floats, Floats, Floats, float]:
    """Eigenvalues and vectors of matrix + diag(y), the diagonal of its positive part, and the dual objective."""
    values, vectors = np.linalg.eigh(matrix + np.diag(y))
    positive = np.maximum(values, 0.0)
    return values, vectors, (vectors**2) @ positive, float((positive**2).sum() / 2 - y.sum())


def _newton_direction(values: Floats, vectors: Floats, gradient: Floats) -> Floats:
    """Solve the Newton equation V h = −gradient with conjugate gradients, preconditioned by V's diagonal."""
    up = values > 0
    # V h is the sum over pairs of eigenvectors, each with a share: 1 if both values are positive, 0 if neither, else
    # between. The pairs without the smaller of the two sets add 0 or h.
    few = up if 2 * up.sum() <= len(values) else ~up
    apart = np.abs(values[few, None]) + np.abs(values[None, :])
    share = np.abs(values[few, None]) / np.where(apart > 0, apart, 1.0)
    share[:, few] = 0.5  # these pairs occur twice
    whole, sign = (0.0, 2.0) if few is up else (1.0, -2.0)
    chosen = vectors[:, few]
    squares = vectors**2
    scale = np.maximum(whole + sign * ((squares[:, few] @ share) * squares).sum(axis=1), 1e-10)

    def times(h: Floats) -> Floats:
        inner = (h[:, None] * chosen).T @ vectors
        # The slight ridge keeps the equation solvable where the diagonal does not determine the matrix.
        return np.asarray(sign * ((chosen @ (share * inner)) * vectors).sum(axis=1) + (whole + 1e-10) * h)

    direction, residual = np.zeros_like(gradient), -gradient
    goal = min(0.01, float(np.abs(gradient).max())) * float(np.sqrt(residual @ residual))
    scaled = residual / scale
    search, product = scaled, float(residual @ scaled)
    for _ in range(200):
        moved = times(search)
        step = product / float(search @ moved)
        direction = direction + step * search
        residual = residual - step * moved
        if float(np.sqrt(residual @ residual)) <= goal:
            break
        scaled = residual / scale
        before, product = product, float(residual @ scaled)
        search = scaled + product / before * search
    return direction


def usable_items(*matrices: Floats) -> Ints:
    """Select the columns of (personas × items) matrices that vary and share at least `LEAST_COMMON` personas pairwise.

    The column with the most pairs that share too few is dropped repeatedly, until no such pair is left.
    """
    keep = np.ones(matrices[0].shape[1], dtype=bool)
    few = np.zeros((len(keep), len(keep)), dtype=int)
    for matrix in matrices:
        known = np.isfinite(matrix)
        keep &= np.array([len(np.unique(matrix[known[:, j], j])) > 1 for j in range(len(keep))], dtype=bool)
        parts = (known[first : first + MOST_PERSONS].astype(float) for first in range(0, len(known), MOST_PERSONS))
        few |= sum(part.T @ part for part in parts) < LEAST_COMMON
    while (lacking := (few * keep).sum(axis=1) * keep).max(initial=0) > 0:
        keep[len(keep) - 1 - int(lacking[::-1].argmax())] = False
    return np.flatnonzero(keep)


def structure_estimates(view: View) -> dict[str, pl.DataFrame]:
    """Compute PC1 share and effective dependence of the model's answers over everyone, beside those of the same people.

    Uses all answers to ordinal items; a persona's answers to one item are averaged. Items without variance, or with too
    few personas who also answered other items, are left out and counted. Pairwise correlations that contradict each
    other are repaired for the PC1 share (`nearest_correlation`). After the repair their determinant would always be 0,
    so that effective dependence is null. Both sides have the weights of the block, because the persons are the same.
    Errors come from jackknives by people, in the survey's sampling units, and by items.
    """
    block = view.block
    if view.cut.dimension != g.ALL or block.people.empty or block.polls is not None:
        return {}
    frame = block.frame
    asked = (frame.get_column("ordinal") & (frame.get_column("n_ok") > 0)).to_numpy()
    rows = np.flatnonzero(asked & (view.cut.codes >= 0) & (block.weight > 0))
    persona, persons = numbered(block.persona[rows], int(block.persona.max(initial=-1)) + 1)
    item, items = numbered(block.item[rows], int(block.item.max(initial=-1)) + 1)
    if len(items) < LEAST_ITEMS:
        return {}
    place = (block.units.answer[rows] * np.arange(block.units.answer.shape[1])).sum(axis=1)
    gold = frame.get_column("gold_idx").cast(pl.Float64).to_numpy()[rows]
    sides = [_matrix(persona, item, values) for values in (place, gold)]
    used = usable_items(*sides)
    n_items = sides[0].shape[1]
    left_out = (
        f"{n_items - len(used)} of {n_items} items are left out: all answers are alike, or fewer than {LEAST_COMMON} "
        "people answered them together with another"
        if len(used) < n_items
        else ""
    )
    of_person = np.zeros(len(persons), dtype=np.int64)
    of_person[persona] = mix(block.person_hashes[0][rows]) % np.uint64(GROUPS)
    weight = np.ones(len(persons))
    weight[persona] = block.weight[rows]
    out = {}
    undefined = _Structure(float("nan"), float("nan"), float("nan"), f"undefined: {left_out}")
    nothing = dict.fromkeys(STRUCTURES, undefined)
    of_model = of_people = nothing
    if len(used) >= LEAST_ITEMS:
        own = sides.pop()[:, used]
        # The same people answer under each condition.
        key = hashlib.sha256(own.tobytes() + weight.tobytes() + of_person.tobytes()).digest()
        ids = frame.get_column("item_id").gather(rows[np.unique(item, return_index=True)[1]])
        parts = _item_parts(ids.gather(used))
        of_model = _structures(sides.pop()[:, used], weight, of_person, parts)
        if key not in block.people.structures:
            block.people.structures[key] = _structures(own, weight, of_person, parts)
        of_people = block.people.structures[key]
    for name in STRUCTURES:
        model, people = of_model[name], of_people[name]
        reach = float(t_quantile(np.array([model.df]), block.rules.level)[0]) * model.se
        notes = [
            left_out if len(used) >= LEAST_ITEMS else "",
            model.note,
            f"people's own: {people.note}" if people.note and people.note != model.note else "",
        ]
        base = pl.DataFrame(
            {
                "slice": [0],
                "baseline": [""],
                "estimate": [model.estimate],
                "se": [model.se],
                "ci_low": [max(model.estimate - reach, 0.0) if np.isfinite(reach) else float("nan")],
                "ci_high": [min(model.estimate + reach, 1.0) if np.isfinite(reach) else float("nan")],
                "n_answers": [int(block.orders[rows].sum())],
                "n_personas": [len(of_person)],
                "n_items": [len(used) if len(used) >= LEAST_ITEMS else n_items],
                "method": [f"Pearson correlations over personas, jackknife by people and items, t; {block.note}"],
                "note": pl.Series(["; ".join(filter(None, notes)) or None], dtype=pl.String),
            }
        )
        human = base.with_columns(
            pl.lit("human").alias("baseline"), pl.lit(people.estimate).fill_nan(None).alias("baseline_estimate")
        )
        out[name] = pl.concat([base, human], how="diagonal")
    return out


STRUCTURES: dict[str, Callable[[Floats], float]] = {
    "pc1_share": pc1_share,
    "effective_dependence": effective_dependence,
}


@dataclass(frozen=True)
class _Structure:
    """An estimate from correlations, with its error, its degrees of freedom and its note."""

    estimate: float
    se: float
    df: float
    note: str


def _structures(matrix: Floats, weight: Floats, group: Ints, parts: Ints) -> dict[str, _Structure]:
    """Compute statistics of the columns' correlations; nan with the reason if they are undefined."""
    centre = np.nanmean(matrix, axis=0)
    everyone = _PairSums.of(matrix, weight, centre)
    whole = everyone.correlation()
    without = [
        everyone.without(_PairSums.of(matrix[group == i], weight[group == i], centre)).correlation()
        for i in np.unique(group)
    ]
    lowest = float(np.linalg.eigvalsh(whole)[0])
    return {name: _structure(whole, without, parts, lowest, statistic) for name, statistic in STRUCTURES.items()}


def _item_parts(ids: pl.Series) -> Ints:
    """Part of each item, to leave out one part at a time: each item is one, or they are `MOST_PARTS` parts, by hash."""
    if len(ids) <= MOST_PARTS:
        return np.arange(len(ids))
    part = np.empty(len(ids), dtype=np.int64)
    part[np.argsort(hash_ids(ids, key="parts of items"), kind="stable")] = np.arange(len(ids)) % MOST_PARTS
    return part


def pc1_share_without_each(correlation: Floats) -> Floats:
    """`pc1_share` without each of the items, of correlations that do not contradict each other.

    The eigenvalues without item j are the roots m of Σ v_j² / (λ − m) = 0 over eigenvalues λ and eigenvectors v of all
    items (Golub and Van Loan 2013, 8.4). The largest is between the two largest of all items and found by bisection.
    """
    values, vectors = np.linalg.eigh(correlation)
    squares = vectors**2
    low, high = np.full(len(values), values[-2]), np.full(len(values), values[-1])
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            above = (squares / (values - middle[:, None])).sum(axis=1) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray((low + high) / 2 / (len(values) - 1))


def effective_dependence_without_each(correlation: Floats) -> Floats:
    """`effective_dependence` without each of the items: |R| without item j is |R| times the j-th diagonal of R⁻¹."""
    _, log_determinant = np.linalg.slogdet(correlation)
    rest = log_determinant + np.log(np.diag(np.linalg.inv(correlation)))
    return np.asarray(1 - np.exp(rest / (len(correlation) - 1)))


WITHOUT_EACH: dict[Callable[[Floats], float], Callable[[Floats], Floats]] = {
    pc1_share: pc1_share_without_each,
    effective_dependence: effective_dependence_without_each,
}


def _structure(
    whole: Floats, without: list[Floats], parts: Ints, lowest: float, statistic: Callable[[Floats], float]
) -> _Structure:
    """Compute one statistic, with its error without each group of people and each part of the items."""
    note = ""
    if lowest < -ROUNDING:
        contradict = (
            "pairwise correlations contradict each other, as they rest on different people (smallest eigenvalue "
            f"{lowest:.2g}".replace("-", "−")
            + ")"
        )
        if statistic is effective_dependence:
            return _Structure(float("nan"), float("nan"), float("nan"), f"undefined: {contradict}")
        note = f"{contradict}; the nearest correlation matrix is taken"

    # Repairs of similar matrices start from this one.
    repair = _nearest(whole)[1] if note else np.zeros(len(whole))

    def of(correlations: Floats, start: Floats) -> float:
        if np.linalg.eigvalsh(correlations)[0] < -ROUNDING:
            if statistic is effective_dependence:
                return float("nan")
            correlations = _nearest(correlations, start)[0]
        return statistic(correlations)

    k = len(whole)
    people = np.array([of(correlations, repair) for correlations in without])
    if k <= LEAST_ITEMS:
        items = np.array([])
    elif lowest > REGULAR:
        items = WITHOUT_EACH[statistic](whole)
    else:
        left = (np.flatnonzero(parts != part) for part in range(int(parts.max()) + 1))
        items = np.array([of(whole[np.ix_(rest, rest)], repair[rest]) for rest in left])
    variance = sum(
        float(
            LeftOut(values[:, None, None], np.ones((len(values), 1), dtype=bool)).covariance()[0, 0, 0]
        ) if len(values) else 0.0
        for values in (people, items)
    )  # fmt: skip
    df = min(len(people), len(items) or k) - 1.0
    return _Structure(of(whole, repair), float(np.sqrt(variance)), df if df >= 1 else float("nan"), note)


def _matrix(persona: Ints, item: Ints, values: Floats) -> Floats:
    """Compute the (personas × items) mean value of each pair; nan if there is none."""
    shape = (int(persona.max()) + 1, int(item.max()) + 1)
    place = persona * shape[1] + item
    known = np.isfinite(values)
    total, count = (sums(place[known], v, shape[0] * shape[1]) for v in (values[known], np.ones(int(known.sum()))))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total / count).reshape(shape)
