"""Compute weighted means of slices, with errors clustered by persona and item, and gaps of each slice to the rest.

Two-way clustering after Cameron, Gelbach and Miller (2011): V = V_persona + V_item − V_cell, each with C/(C − 1), but
at least the larger of V_persona and V_item. It equals statsmodels' OLS and WLS on a constant with `cov_type="cluster"`
and two groups. If the survey sampled people in primary sampling units, these units are the person clusters, because
people of one unit are alike. The t distribution has the smaller side's degrees of freedom: C − 1, or fewer if single
clusters dominate the variance (`effective_df`). Both rules are conservative. If items are few and hardly differ, 95 %
intervals cover 96 to 98 % (`tests/simulation`): the floor is then the larger of two noisy variances, and the few items
alone determine the degrees of freedom. A slice with a single item is clustered by persona alone, and its error holds
for this item only. Sums run over canonically sorted rows, so that the input's row order does not matter.

Everything is computed from the clusters' sums a = Σwx and b = Σw. A cluster's score about a mean m is a − m·b, so that
a sum of squared scores is Σa² − 2mΣab + m²Σb². Rows are therefore read once per metric, not once per metric and
dimension. For slices of people without sampling units, the sums merge over chunks of personas (`sums.Sums`,
`means_of_sums`, `gaps_of_sums`). Sampling units and slices of questions need the rows: a unit's crossings with items,
and a persona's answers in several slices, are not sums of single personas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse, special

from mpta_pipeline.metrics.statistics.arrays import MANY_ROWS, Flags, Floats, Ints, narrow, sums
from mpta_pipeline.metrics.statistics.sums import Exact, PersonaSums, Sums, exact_parts


@dataclass(frozen=True)
class Means:
    """Means of slices, with one entry per slice.

    Attributes:
        estimate: Weighted mean; nan without rows.
        se: Two-way clustered standard error; nan with fewer than two clusters on either side.
        df: Degrees of freedom of the smaller side, at most its number of clusters minus 1.
        n_eff: Size of a simple random sample with the same error, at most the number of rows.
        n_persona: Number of persona clusters.
        n_item: Number of item clusters.
        n_rows: Number of rows.
        one_item: The slice has one item cluster; it is clustered by persona alone, for this item only.
    """

    estimate: Floats
    se: Floats
    df: Floats
    n_eff: Floats
    n_persona: Ints
    n_item: Ints
    n_rows: Ints
    one_item: Flags


@dataclass(frozen=True)
class SliceGaps:
    """Difference between each slice and all other rows that have a slice, with error and degrees of freedom.

    Attributes:
        difference: Slice minus rest.
        mean: The slice's mean.
        se: The difference's error.
        df: Degrees of freedom.
        share: The slice's share of the weight.
    """

    difference: Floats
    mean: Floats
    se: Floats
    df: Floats
    share: Floats

    @property
    def deviation_variance(self) -> Floats:
        """Error variance of the slice's difference from the mean of all slices, in which shared items cancel."""
        return ((1 - self.share) * self.se) ** 2


class Rows:
    """Persona and item-cluster codes (from 0) of some rows, and their crossings.

    Args:
        persona: Persona of each row.
        item: Item cluster of each row.
        unit: Primary sampling unit of each row's persona; None: personas were sampled individually.
        n_persona: Number of personas of the whole study, if the rows are a chunk of it; None: the largest code plus 1.
        n_item: Number of its item clusters.
    """

    def __init__(
        self,
        persona: Ints,
        item: Ints,
        unit: Ints | None = None,
        *,
        n_persona: int | None = None,
        n_item: int | None = None,
    ) -> None:
        self.persona = persona.astype(np.int64, copy=False)
        self.item = item.astype(np.int64, copy=False)
        self.unit = unit if unit is None else unit.astype(np.int64, copy=False)
        self.n_persona = int(self.persona.max(initial=-1)) + 1 if n_persona is None else n_persona
        self.n_item = int(self.item.max(initial=-1)) + 1 if n_item is None else n_item
        self._weights: tuple[Floats, Exact] | None = None

    def exact_weights(self, w: Floats) -> Exact:
        """Split weights into parts that add up exactly; cached for the last weights, which most values share."""
        known = self._weights
        if known is None or known[0] is not w:
            self._weights = known = (w, exact_parts(w))
        return known[1]

    @cached_property
    def _cells(self) -> tuple[Ints, Ints]:
        """Crossing of each row, and the persona of each crossing."""
        key = self.persona * self.n_item + self.item
        if self.n_persona * self.n_item <= 16 * len(key):
            present = np.zeros(self.n_persona * self.n_item, dtype=bool)
            present[key] = True
            unique = np.flatnonzero(present)
            return (np.cumsum(present) - 1)[key], unique // max(self.n_item, 1)
        unique, code = np.unique(key, return_inverse=True)
        return code, unique // self.n_item

    @property
    def cell(self) -> Ints:
        """Crossing of persona and item cluster of each row."""
        return self._cells[0]

    @property
    def n_cell(self) -> int:
        """Number of crossings."""
        return len(self._cells[1])

    @property
    def persona_of_cell(self) -> Ints:
        """Persona of each crossing."""
        return self._cells[1]

    @cached_property
    def one_row_each(self) -> bool:
        """Each crossing is one row, and rows come in the crossings' order."""
        return self.n_cell == len(self.persona) and bool((np.diff(self.cell) > 0).all())


class Moments:
    """A value and a weight over rows, summed by persona. Unusable rows (nan, weight 0) are excluded."""

    def __init__(self, rows: Rows, x: Floats, w: Floats) -> None:
        usable = np.isfinite(x) & (w > 0)
        self.rows = rows
        # Many of these exist at a time, so they share one weight array that excludes the unusable rows.
        self.w = w if bool((usable | (w == 0)).all()) else np.where(usable, w, 0.0)
        self.value = np.where(usable, self.w * np.where(usable, x, 0.0), 0.0)
        self.usable = usable
        self.by_dimension: dict[int, tuple[Floats, Floats]] = {}

    def summed(self, together: Together) -> None:
        """Sum by slice and item cluster for all dimensions at once. If nothing else needs the rows, they are released.

        Many of these exist at a time, and their rows would take most of the memory.
        """
        if together.rows is None:
            return
        self.by_dimension = together.by_item(self.exact, self.w)
        del self.exact
        if together.complete:
            self.by_persona  # noqa: B018  the last sums that need rows
            self.value, self.usable = np.zeros(0), np.zeros(0, dtype=bool)

    @cached_property
    def persona(self) -> PersonaSums:
        """Sums by persona."""
        return PersonaSums.from_rows(self.rows, self.value, self.w, self.usable)

    @property
    def centre(self) -> float:
        """Mean of all rows."""
        return self.persona.centre

    @cached_property
    def by_persona(self) -> Floats:
        """(9 × personas) `PersonaSums.about` the centre, which avoids cancellation in sums of squares."""
        return self.persona.about(self.centre)

    @property
    def wx(self) -> Floats:
        """Weighted value of each row, about the centre."""
        return np.where(self.usable, self.value - self.centre * self.w, 0.0)

    @cached_property
    def exact(self) -> Exact:
        """Weighted values in parts that add up exactly."""
        return exact_parts(self.value)


class Totals:
    """A value and a weight over rows, for means without errors. Unusable rows (nan, weight 0) are excluded."""

    def __init__(self, rows: Rows, x: Floats, w: Floats) -> None:
        self.rows, self.x, self.w = rows, x, w

    def of(self, codes: Ints, n: int) -> Floats:
        """(2 × codes) Σwx and Σw."""
        use = np.isfinite(self.x) & (self.w > 0)
        w = np.where(use, self.w, 0.0)
        return np.stack([sums(codes, v, n) for v in (np.where(use, w * self.x, 0.0), w)])

    @cached_property
    def by_persona(self) -> Floats:
        """(2 × personas) Σwx and Σw."""
        return self.of(self.rows.persona, self.rows.n_persona)

    def summed(self, together: Together) -> None:
        """Sum by persona. If nothing else needs the rows, they are released."""
        if together.complete:
            self.by_persona  # noqa: B018
            self.x = np.zeros(0)


@dataclass(frozen=True)
class _Sides:
    """Means and weights of each slice and of the rest."""

    mean: Floats
    rest: Floats
    own: Floats
    others: Floats


class Slices:
    """Rows in disjoint slices, with their persona and item clusters.

    Args:
        slices: Slice of each row, from 0; −1 for rows without a slice.
        n_slices: Number of slices.
        persona: Persona code of each row, from 0.
        item: Item-cluster code of each row, from 0.
        rows: The rows' codes, if they exist already, instead of `persona` and `item`.
    """

    def __init__(
        self,
        slices: Ints,
        n_slices: int,
        persona: Ints | None = None,
        item: Ints | None = None,
        *,
        rows: Rows | None = None,
    ) -> None:
        assert rows is not None or (persona is not None and item is not None)
        self.n = n_slices
        self.rows = Rows(persona, item) if rows is None else rows  # type: ignore[arg-type]
        self.inside: Flags = slices >= 0
        self._kept = narrow(np.where(self.inside, slices, n_slices), n_slices)
        self._kept_pairs: Ints | None = None
        self._made_from: tuple[Slices, Ints] | None = None
        self._last: tuple[Moments, Floats] | None = None
        self._last_weights: tuple[Floats, Floats] | None = None

    @cached_property
    def _slice_of_persona(self) -> Ints | None:
        """Slice of each persona (`n` for none), or None if a persona is in several slices, as with slices of items."""
        owner = np.full(self.rows.n_persona, self.n)
        owner[self.rows.persona] = self._slot
        return owner if bool((owner[self.rows.persona] == self._slot).all()) else None

    @property
    def _slot(self) -> Ints:
        """Slice of each row, `n` for none."""
        return self._kept.astype(np.int64, copy=False)

    @property
    def _slice_item(self) -> Ints:
        if self._kept_pairs is not None:
            return self._kept_pairs
        made = self._slot * self.rows.n_item + self.rows.item
        if len(made) <= MANY_ROWS:
            self._kept_pairs = made
        return made

    @property
    def by_persona_alone(self) -> bool:
        """Whether sums by persona and by item cluster are all that means and gaps need of the rows."""
        return self.rows.unit is None and self._slice_of_persona is not None

    @property
    def owner(self) -> Ints:
        """Slice of each persona, `n` for none, if no persona is in several."""
        assert self._slice_of_persona is not None
        return self._slice_of_persona

    def regrouped(self, group: Ints, n: int) -> Slices:
        """Put slices together or leave them out.

        Args:
            group: New slice of each slice, −1 to leave it out.
            n: Number of new slices.
        """
        new = np.append(group, -1)
        if not self.by_persona_alone:
            return Slices(new[self._slot], n, rows=self.rows)
        made = Slices(np.zeros(0, dtype=np.int64), n, rows=self.rows)
        of_persona = new[self.owner]
        made.__dict__["_slice_of_persona"] = np.where(of_persona >= 0, of_persona, n)
        made._made_from = (self, group)
        return made

    def sum(self, values: Floats) -> Floats:
        """Sum of a row vector by slice."""
        return sums(self._slot, values, self.n + 1)[: self.n]

    def mean(self, x: Floats, w: Floats) -> Floats:
        """Compute weighted means without errors."""
        return self.mean_of(Totals(self.rows, x, w))

    def mean_of(self, totals: Totals) -> Floats:
        """As `mean`, from a value's totals. If each persona is in one slice, it sums over personas, which are fewer."""
        owner = self._slice_of_persona
        if owner is None:
            wx, w = totals.of(self._slot, self.n + 1)[:, : self.n]
        else:
            wx, w = _by_slice(owner, totals.by_persona, self.n)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(wx / w)

    def means(self, x: Floats, w: Floats) -> Means:
        """Compute weighted means and two-way clustered errors of all slices.

        Args:
            x: Value of each row; nan excludes the row.
            w: Weight of each row; 0 excludes the row.
        """
        return self.means_of(Moments(self.rows, x, w))

    def gaps(self, x: Floats, w: Floats) -> SliceGaps:
        """Compute the mean of each slice minus the mean of the rest, with the error of the difference."""
        return self.gaps_of(Moments(self.rows, x, w))

    def means_of(self, moments: Moments) -> Means:
        """As `means`, from a value's moments."""
        if self._slice_of_persona is None:
            moments, owner = self._split(moments)
        else:
            owner = self._slice_of_persona
        units = None
        if self.rows.unit is not None:
            units = self._units(moments)
        return _means(self.n, owner, moments.by_persona, self.by_item(moments), moments.centre, units=units)

    def sums_of(self, moments: Moments) -> Sums:
        """Sums that merge with those of other personas (`sums.Sums`), for slices of people without sampling units."""
        owner = self._slice_of_persona
        if owner is None or self.rows.unit is not None:
            raise ValueError("slices of questions and sampling units need rows")
        return Sums(self.n, owner, moments.persona, *self._exact_by_item(moments))

    def gaps_of(self, moments: Moments) -> SliceGaps:
        """As `gaps`, from a value's moments.

        Clusters that both sides share (usually all items) enter with their covariance. C/(C − 1) and the degrees of
        freedom use the number of clusters of the smaller side.
        """
        nested = self._slice_of_persona
        split, owner = self._split(moments) if nested is None else (moments, nested)
        by_item = self.by_item(moments)
        if self.rows.unit is not None:
            units = self._units(moments)
            return _gaps(self.n, owner, split.by_persona, by_item, moments.centre, units=units)
        if nested is None:
            size = (self.n + 1) * self.rows.n_persona
            place = self._slot * self.rows.n_persona + self.rows.persona
            grids = [sums(place, values, size).reshape(self.n + 1, -1)[: self.n] for values in (moments.wx, moments.w)]
            # A crossing can be on both sides (slices by paraphrase). Omitting it is conservative.
            shared = split.rows.n_cell > self.rows.n_cell
            several = _Several(grids[0], grids[1], crossings_shared=shared)
            return _gaps(self.n, owner, split.by_persona, by_item, moments.centre, several=several)
        return _gaps(self.n, owner, split.by_persona, by_item, moments.centre)

    def cell_variance(self, moments: Moments) -> Floats:
        """Error variance of each slice's mean by single crossings of persona and item cluster."""
        owner = self._slice_of_persona
        if owner is None:
            moments, owner = self._split(moments)
        a, b, _, _, cells, aa, ab, bb, _ = _by_slice(owner, moments.by_persona, self.n)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = a / b
            return _corrected(np.maximum(aa - 2 * mean * ab + mean**2 * bb, 0.0) / b**2, cells)

    def by_item(self, moments: Moments) -> tuple[Floats, Floats]:
        """(slices × item clusters) Σwx and Σw, with x about the centre."""
        value, weight = (both.sum(axis=0) for both in self._exact_by_item(moments))
        return value - moments.centre * weight, weight

    def _exact_by_item(self, moments: Moments) -> tuple[Floats, Floats]:
        """Exact sums by slice and item cluster, cached for the last value and weight, because several need them."""
        if id(self) in moments.by_dimension:
            return moments.by_dimension[id(self)]
        if self._made_from is not None:
            slices, group = self._made_from
            both = np.stack(slices._exact_by_item(moments))
            added = np.zeros((*both.shape[:2], self.n, both.shape[3]))
            for i in np.flatnonzero(group >= 0):
                added[:, :, group[i]] += both[:, :, i]
            return added[0], added[1]
        # Threads share these: what one has looked up must not be what another puts in its place.
        last, weights = self._last, self._last_weights
        if last is None or last[0] is not moments:
            self._last = last = (moments, self._grid(moments.exact))
        if weights is None or weights[0] is not moments.w:
            self._last_weights = weights = (moments.w, self._grid(self.rows.exact_weights(moments.w)))
        return last[1], weights[1]

    def _grid(self, values: Exact) -> Floats:
        """(2 × slices × item clusters) sums."""
        size = (self.n + 1) * self.rows.n_item
        return values.sums(self._slice_item, size).reshape(2, self.n + 1, -1)[:, : self.n]

    def _units(self, moments: Moments) -> _Units:
        a, b = self._by_unit(moments)
        owner, crossing, cell_a, cell_b = self._by_cell(moments)
        return _Units(a, b, owner, crossing, cell_a, cell_b)

    def _by_unit(self, moments: Moments) -> tuple[Floats, Floats]:
        """(slices × units) Σwx and Σw."""
        unit = self.rows.unit
        assert unit is not None
        width = int(unit.max(initial=-1)) + 1
        place = self._slot * width + unit
        a, b = (sums(place, v, (self.n + 1) * width).reshape(self.n + 1, -1)[: self.n] for v in (moments.wx, moments.w))
        return a, b

    @cached_property
    def _unit_cells(self) -> tuple[Ints, Ints, Ints]:
        """Code of each row's slice × unit × item, and the slice and the unit × item crossing of each code."""
        assert self.rows.unit is not None
        crossing = self.rows.unit * self.rows.n_item + self.rows.item
        known, crossing = np.unique(crossing, return_inverse=True)
        key, code = np.unique(self._slot * len(known) + crossing, return_inverse=True)
        return code, key // max(len(known), 1), key % max(len(known), 1)

    def _by_cell(self, moments: Moments) -> tuple[Ints, Ints, Floats, Floats]:
        """Slice, crossing of unit and item, and Σwx and Σw of the slice's rows in the crossing."""
        code, owner, crossing = self._unit_cells
        return owner, crossing, sums(code, moments.wx, len(owner)), sums(code, moments.w, len(owner))

    @cached_property
    def _split_rows(self) -> tuple[Rows, Ints]:
        """Rows with a separate persona code in each slice, and the slice of each code."""
        key, code = np.unique(self._slot * self.rows.n_persona + self.rows.persona, return_inverse=True)
        return Rows(code, self.rows.item, self.rows.unit), key // max(self.rows.n_persona, 1)

    def _split(self, moments: Moments) -> tuple[Moments, Ints]:
        rows, owner = self._split_rows
        with np.errstate(divide="ignore", invalid="ignore"):
            x = moments.value / moments.w
        return Moments(rows, np.where(moments.usable, x, np.nan), moments.w), owner


class Together:
    """Slices of several dimensions of the same rows, summed by item cluster in one pass.

    Args:
        all_slices: The slices of each dimension.
    """

    def __init__(self, all_slices: Sequence[Slices]) -> None:
        nested = [slices for slices in all_slices if slices.by_persona_alone]
        self.complete = bool(nested) and len(nested) == len(all_slices)
        self.rows = nested[0].rows if nested else None
        if self.rows is None or (np.diff(self.rows.persona) < 0).any():
            self.rows, self.complete = None, False
            return
        self._ends = np.concatenate([[0], np.cumsum(np.bincount(self.rows.persona, minlength=self.rows.n_persona))])
        self._places: list[tuple[int, int, int]] = []
        column = 0
        for slices in nested:
            self._places.append((id(slices), column, slices.n))
            column += slices.n
        self._inside = np.zeros((self.rows.n_persona, column))
        for slices, (_, first, n) in zip(nested, self._places, strict=True):
            known = np.flatnonzero(slices.owner < n)
            self._inside[known, first + slices.owner[known]] = 1.0
        self._weights: tuple[Floats, Floats] | None = None

    def by_item(self, values: Exact, w: Floats) -> dict[int, tuple[Floats, Floats]]:
        """Exact sums of weighted values and of weights, as `Slices._exact_by_item`, by the identity of the slices."""
        assert self.rows is not None
        known = self._weights
        if known is None or known[0] is not w:
            self._weights = known = (w, self._summed(exact_parts(w)))
        made = self._summed(values)
        return {name: (made[:, first : first + n], known[1][:, first : first + n]) for name, first, n in self._places}

    def _summed(self, values: Exact) -> Floats:
        """(2 × slices × item clusters) sums."""
        assert self.rows is not None
        shape = (self.rows.n_persona, self.rows.n_item)
        out = np.zeros((2, self._inside.shape[1], self.rows.n_item))
        for i, part in enumerate((values.high, values.low)):
            if part is not None:
                by_persona = sparse.csr_matrix((part.astype(np.float64, copy=False), self.rows.item, self._ends), shape)
                out[i] = (by_persona.T @ self._inside).T
        return out


@dataclass(frozen=True)
class _Units:
    """Sums by slice and sampling unit, and by slice and crossing of unit and item (`Slices._by_cell`)."""

    a: Floats
    b: Floats
    owner: Ints
    crossing: Ints
    cell_a: Floats
    cell_b: Floats


def _means(
    n: int,
    owner: Ints,
    by_persona: Floats,
    by_item: tuple[Floats, Floats],
    centre: float,
    *,
    units: _Units | None = None,
) -> Means:
    """Compute means and errors of `n` slices.

    Args:
        n: Number of slices.
        owner: Slice of each persona; `n` for none.
        by_persona: (9 × personas) `Moments.by_persona`.
        by_item: (slices × item clusters) Σwx and Σw, with x about the centre.
        centre: Number that the values are about.
        units: Sums by sampling unit; None if personas were sampled individually.
    """
    a, b, count, xx, cells, aa, ab, bb, _ = _by_slice(owner, by_persona, n)
    of_persona, of_weight = by_persona[0], by_persona[1]
    item_a, item_b = by_item
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = a / b
        variance = np.maximum(xx / b - mean**2, 0.0) * count / (count - 1)
        score = of_persona - np.append(mean, 0.0)[owner] * of_weight
        persona = sums(owner, (of_weight > 0).astype(float), n + 1)[:n]
        items = (item_b > 0).sum(axis=1).astype(float)
        squares, fourths = (sums(owner, score**power, n + 1)[:n] for power in (2, 4))
        of_item = item_a - mean[:, None] * item_b
        v_persona = _corrected(squares / b**2, persona)
        v_item = _corrected((of_item**2).sum(axis=1) / b**2, items)
        v_cell = _corrected(np.maximum(aa - 2 * mean * ab + mean**2 * bb, 0.0) / b**2, cells)
        evenly = b**2 / sums(owner, of_weight**2, n + 1)[:n]
        if units is not None:
            persona = (units.b > 0).sum(axis=1).astype(float)
            of_unit = units.a - mean[:, None] * units.b
            squares, fourths = ((of_unit**power).sum(axis=1) for power in (2, 4))
            evenly = b**2 / (units.b**2).sum(axis=1)
            v_persona = _corrected(squares / b**2, persona)
            of_cell = (units.cell_a - np.append(mean, 0.0)[units.owner] * units.cell_b) ** 2
            cells = sums(units.owner, units.cell_b > 0, n + 1)[:n]
            v_cell = _corrected(sums(units.owner, of_cell, n + 1)[:n] / b**2, cells)
        v = np.maximum(v_persona + v_item - v_cell, np.maximum(v_persona, v_item))
        df_persona = np.minimum(effective_df(squares, fourths, persona), np.round(evenly, 9) - 1)
        df_item = effective_df((of_item**2).sum(axis=1), (of_item**4).sum(axis=1), items)
        one_item = items == 1
        v, df = np.where(one_item, v_persona, v), np.where(one_item, df_persona, np.minimum(df_persona, df_item))
        defined = (df >= 1) & (count > 0)
        se = np.where(defined, np.sqrt(v), np.nan)
        se = np.where(se < 1e-9, 0.0, se)
        n_eff = np.where(se > 0, np.minimum(variance / se**2, count), np.where(se == 0, df + 1, np.nan))
    return Means(
        estimate=mean + centre,
        se=se,
        df=np.where(defined, df, np.nan),
        n_eff=n_eff,
        n_persona=persona.astype(np.int64),
        n_item=items.astype(np.int64),
        n_rows=count.astype(np.int64),
        one_item=one_item & (persona > 1),
    )


@dataclass(frozen=True)
class _Several:
    """(slices × personas) Σwx and Σw if a persona can be in several slices, and whether a crossing can, too."""

    a: Floats
    b: Floats
    crossings_shared: bool


def _gaps(
    n: int,
    owner: Ints,
    by_persona: Floats,
    by_item: tuple[Floats, Floats],
    centre: float,
    *,
    units: _Units | None = None,
    several: _Several | None = None,
) -> SliceGaps:
    """Compute the differences between each of `n` slices and the others, with the arguments of `_means`.

    Args:
        n: Number of slices.
        owner: Slice of each persona.
        by_persona: `Moments.by_persona`.
        by_item: Sums by slice and item cluster.
        centre: Number that the values are about.
        units: Sums by sampling unit.
        several: Sums by slice and persona, for slices of questions.
    """
    by_slice = _by_slice(owner, by_persona, n)
    a, b = by_slice[0], by_slice[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = _Sides(a / b, (a.sum() - a) / (b.sum() - b), b, b.sum() - b)
    item_a, item_b = by_item
    v_item, c_item = _shared_gap(item_a, item_b, sides, effective=True)
    v_cell, _ = _apart_gap(by_slice[5:8], by_slice[4], sides)
    if units is not None:
        # A unit can have people, and crossings with items, on both sides.
        v_persona, c_persona = _shared_gap(units.a, units.b, sides)
        v_cell = _shared_cells((units.owner, units.crossing, units.cell_a, units.cell_b), n, sides)
    elif several is not None:
        if several.crossings_shared:
            v_cell = np.zeros(n)
        v_persona, c_persona = _shared_gap(several.a, several.b, sides)
    else:
        p, q = by_persona[0], by_persona[1]
        squares = _by_slice(owner, np.stack([p**2, p * q, q**2]), n)
        v_persona, c_persona = _apart_gap(squares, by_slice[8], sides)
    with np.errstate(invalid="ignore", divide="ignore"):
        v = np.maximum(v_persona + v_item - v_cell, np.maximum(v_persona, v_item))
        # A side in which one person has nearly all weight counts as one person.
        even = _even_personas(sums(owner, by_persona[1] ** 2, n + 1)[:n], sides)
        df_persona = np.minimum(c_persona, np.round(even, 9)) - 1.0
        df = np.minimum(df_persona, c_item)
        if int(((item_b > 0).any(axis=0)).sum()) == 1:
            v, df = v_persona, df_persona
        defined = (df >= 1) & np.isfinite(sides.mean) & np.isfinite(sides.rest)
        se = np.where(defined, np.sqrt(np.maximum(v, 0.0)), np.nan)
    return SliceGaps(
        difference=np.where(np.isfinite(sides.rest), sides.mean - sides.rest, np.nan),
        mean=sides.mean + centre,
        se=np.where(se < 1e-9, 0.0, se),
        df=np.where(defined, df, np.nan),
        share=b / max(b.sum(), 1e-300),
    )


def means_of_sums(made: Sums) -> Means:
    """As `Slices.means`, from merged sums."""
    return _means(made.n, made.owner, made.by_persona, made.by_item, made.persona.centre)


def gaps_of_sums(made: Sums) -> SliceGaps:
    """As `Slices.gaps`, from merged sums."""
    return _gaps(made.n, made.owner, made.by_persona, made.by_item, made.persona.centre)


def _by_slice(owner: Ints, values: Floats, n: int) -> Floats:
    """Sum (k × personas) values by slice."""
    return np.stack([sums(owner, v, n + 1)[:n] for v in values])


def _corrected(squares: Floats, clusters: Floats) -> Floats:
    """Multiply a sum of squares by C/(C − 1); nan with fewer than two clusters."""
    return np.where(clusters > 1, clusters / (clusters - 1) * squares, np.nan)


def effective_df(squares: Floats, fourths: Floats, clusters: Floats) -> Floats:
    """Degrees of freedom of a sum of squared cluster scores: 2V²/Var(V), at most clusters − 1 (Satterthwaite 1946).

    Var(V) is computed from the scores' fourth powers. If few clusters carry most of the variance, as a few hard items
    do at an accuracy near 1, the variance is known less precisely than from the same number of equal clusters.

    Args:
        squares: Sum of squared scores.
        fourths: Sum of their fourth powers.
        clusters: Number of clusters.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = fourths - squares**2 / clusters
        found = np.where(spread > 1e-12 * squares**2, 2 * squares**2 / spread, np.inf)
    return np.minimum(found, clusters - 1)


def _even_personas(squares: Floats, sides: _Sides) -> Floats:
    """Kish's effective number of personas of the smaller side.

    Args:
        squares: Sum of the squared weights of each slice's personas.
        sides: Means and weights.
    """
    others = np.maximum(squares.sum() - squares, 0.0)
    own, rest = sides.own**2 / squares, np.where(others > 0, sides.others**2 / others, np.nan)
    return np.minimum(own, rest)


def _shared_gap(a: Floats, b: Floats, sides: _Sides, *, effective: bool = False) -> tuple[Floats, Floats]:
    """Variance of slice − rest for clusters that both sides share, and the number of clusters of the smaller side.

    Args:
        a: (slices × clusters) Σwx.
        b: (slices × clusters) Σw.
        sides: Means and weights.
        effective: Return the effective degrees of freedom instead of the number of clusters.
    """
    total_a, total_b = a.sum(axis=0), b.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (a - sides.mean[:, None] * b) / sides.own[:, None]
        v = (total_a - a - sides.rest[:, None] * (total_b - b)) / sides.others[:, None]
        inside = (b > 0).sum(axis=1)
        outside = (total_b - b > 1e-12 * total_b).sum(axis=1)
        clusters = np.minimum(inside, outside).astype(float)
        squares = ((u - v) ** 2).sum(axis=1)
        variance = _corrected(squares, clusters)
        return variance, effective_df(squares, ((u - v) ** 4).sum(axis=1), clusters) if effective else clusters


def _shared_cells(cells: tuple[Ints, Ints, Floats, Floats], n: int, sides: _Sides) -> Floats:
    """As `_shared_gap` for crossings, which are many: it visits only the crossings that a slice has.

    Args:
        cells: Slice (`n` for none) and crossing of each entry, Σwx and Σw of the slice in the crossing.
        n: Number of slices.
        sides: Means and weights.
    """
    own = cells[0] < n
    owner, crossing, a, b = cells[0][own], cells[1][own], cells[2][own], cells[3][own]
    size = int(crossing.max(initial=-1)) + 1
    total_a, total_b = sums(crossing, a, size), sums(crossing, b, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        everywhere = (
            (total_a**2).sum() - 2 * sides.rest * (total_a * total_b).sum() + sides.rest**2 * (total_b**2).sum()
        )
        a_all, b_all = total_a[crossing], total_b[crossing]
        u = (a - sides.mean[owner] * b) / sides.own[owner]
        v = (a_all - a - sides.rest[owner] * (b_all - b)) / sides.others[owner]
        alone = (a_all - sides.rest[owner] * b_all) / sides.others[owner]
        squares = everywhere / sides.others**2 + sums(owner, (u - v) ** 2 - alone**2, n)
        inside = sums(owner, b > 0, n)
        outside = sums(owner, b_all - b > 1e-12 * b_all, n) + (total_b > 0).sum() - inside
        return _corrected(np.maximum(squares, 0.0), np.minimum(inside, outside))


def _apart_gap(squares: Floats, clusters: Floats, sides: _Sides) -> tuple[Floats, Floats]:
    """Variance of slice − rest for clusters that are on one side each, and the number of clusters of the smaller side.

    Args:
        squares: (3 × slices) Σa², Σab, Σb² of the slice's clusters.
        clusters: Number of clusters of each slice.
        sides: Means and weights.
    """
    aa, ab, bb = squares
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.maximum(aa - 2 * sides.mean * ab + sides.mean**2 * bb, 0.0) / sides.own**2
        rest_aa, rest_ab, rest_bb = (s.sum() - s for s in (aa, ab, bb))
        v = np.maximum(rest_aa - 2 * sides.rest * rest_ab + sides.rest**2 * rest_bb, 0.0) / sides.others**2
        smaller = np.minimum(clusters, clusters.sum() - clusters)
        return _corrected(u + v, smaller), smaller


def t_quantile(df: Floats, level: float = 0.05) -> Floats:
    """Two-sided t quantile; nan where df is nan."""
    return np.asarray(special.stdtrit(df, 1 - level / 2), dtype=float)


def p_value(estimate: Floats, se: Floats, df: Floats) -> Floats:
    """Two-sided p-value of estimate/se with t(df); nan without an error; 0/0 gives 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.abs(estimate) < 1e-12, 0.0, np.abs(estimate) / se)
        return np.where(np.isfinite(se) & np.isfinite(df), 2 * special.stdtr(df, -t), np.nan)
