"""Sums of a value and its weight by persona and by slice and item cluster: they merge, and means and gaps need no rows.

Two halves of the personas, summed apart and merged, give the same bytes as all personas summed together:

* Sums by persona contain all rows of the persona, in the rows' order. A chunk therefore has to contain all rows of a
  persona. Squares are about the persona's own mean, because the mean of everyone is unknown until all chunks are
  merged, and squares about any other number would cancel. `PersonaSums.about` moves them to the mean of everyone.
* Sums by slice and item cluster run over personas. Rounded additions would depend on their order, so these sums are
  exact (`exact_parts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, sums

# Values are split at this quantum. Multiples of it add up exactly to 2^30, and the rest, rounded to the second quantum
# (7e-15), exactly over 2^30 rows. In single precision, the rest is exact, too.
_QUANTUM, _SECOND = 2.0**-23, 2.0**-47
# Adding and subtracting this number rounds to multiples of a quantum of 1.
_ROUND = 1.5 * 2.0**52


@dataclass(frozen=True)
class Exact:
    """Values of rows as multiples of two quanta, which bincount adds without rounding, in any order.

    Attributes:
        high: Multiples of the larger quantum.
        low: Rest in multiples of the smaller one; None if all are 0, as for whole numbers and halves.
    """

    high: Floats
    low: NDArray[np.float32] | None

    @property
    def value(self) -> Floats:
        """The values."""
        return self.high if self.low is None else self.high + self.low

    def sums(self, codes: Ints, n: int) -> Floats:
        """(2 × n) sums of both parts by code; adding up such sums is exact, too."""
        out = np.zeros((2, n))
        out[0] = sums(codes, self.high, n)
        if self.low is not None:
            out[1] = sums(codes, self.low, n)
        return out


def exact_parts(values: Floats) -> Exact:
    """Split finite values into parts that add up exactly; each value is rounded to a multiple of 7e-15."""
    high = values + _ROUND * _QUANTUM
    high -= _ROUND * _QUANTUM
    low = values - high
    low += _ROUND * _SECOND
    low -= _ROUND * _SECOND
    return Exact(high, low.astype(np.float32) if low.any() else None)


class Crossings(Protocol):
    """What the sums by persona need to know of rows (`clustered.Rows`)."""

    persona: Ints
    n_persona: int

    @property
    def cell(self) -> Ints:
        """Crossing of persona and item cluster of each row."""

    @property
    def n_cell(self) -> int:
        """Number of crossings."""

    @property
    def persona_of_cell(self) -> Ints:
        """Persona of each crossing."""

    @property
    def one_row_each(self) -> bool:
        """Each crossing is one row, and rows come in the crossings' order."""


@dataclass(frozen=True)
class PersonaSums:
    """Sums of a value and its weight by persona.

    Attributes:
        stats: (9 × personas) Σwx, Σw, rows, Σw(x − m)² about the persona's mean m, crossings with items, the
            crossings' Σ(a − mb)², Σ(a − mb)b and Σb² of their sums a = Σwx and b = Σw, and 1 if there is weight.
    """

    stats: Floats

    @classmethod
    def from_rows(cls, rows: Crossings, value: Floats, w: Floats, usable: Flags) -> PersonaSums:
        """Sum weighted values wx and weights w, both 0 on unusable rows."""
        n = rows.n_persona
        total, weight = sums(rows.persona, value, n), sums(rows.persona, w, n)
        mean = np.divide(total, weight, out=np.zeros(n), where=weight > 0)
        if rows.one_row_each:
            # There is nothing to sum.
            persona_of_cell, a, b = rows.persona, value, w
        else:
            persona_of_cell = rows.persona_of_cell
            a, b = (sums(rows.cell, v, rows.n_cell) for v in (value, w))
        # Residuals wx − wm of rows; their squares over w are w(x − m)².
        away = value - w * mean[rows.persona]
        squares = np.divide(away**2, w, out=np.zeros_like(away), where=usable)
        apart = away if rows.one_row_each else a - b * mean[persona_of_cell]
        return cls(
            np.stack(
                [
                    total,
                    weight,
                    sums(rows.persona, usable, n),
                    sums(rows.persona, squares, n),
                    *(sums(persona_of_cell, v, n) for v in (b > 0, apart**2, apart * b, b**2)),
                    (weight > 0).astype(float),
                ]
            )
        )

    def merge(self, other: PersonaSums) -> PersonaSums:
        """Combine the sums of two chunks. Every persona has rows in one chunk only."""
        mine, theirs = self.stats[2] > 0, other.stats[2] > 0
        if (mine & theirs).any():
            raise ValidationError(
                "Sums of two chunks cannot be merged",
                variable="respondent_id",
                value=f"{int((mine & theirs).sum())} personas are in both",
                remedy="put all answers of a persona into one chunk",
            )
        return PersonaSums(np.where(mine, self.stats, other.stats))

    @cached_property
    def centre(self) -> float:
        """Mean of everyone; 0 without weight."""
        total = float(self.stats[1].sum())
        return float(self.stats[0].sum()) / total if total > 0 else 0.0

    def about(self, centre: float) -> Floats:
        """Move the sums to values x − centre.

        Returns:
            (9 × personas) Σwx, Σw, rows, Σwx², crossings, the crossings' Σa², Σab, Σb², and 1 if there is weight.
        """
        total, weight, rows, squares, crossings, aa, ab, bb, present = self.stats
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        away = np.where(weight > 0, mean - centre, 0.0)
        return np.stack(
            [
                total - centre * weight,
                weight,
                rows,
                squares + weight * away**2,
                crossings,
                aa + 2 * away * ab + away**2 * bb,
                ab + away * bb,
                bb,
                present,
            ]
        )


@dataclass(frozen=True)
class Sums:
    """Sums of a value and its weight over slices of personas.

    Codes of slices, personas and item clusters are those of the whole study, so that the sums of all chunks have the
    same shape.

    Attributes:
        n: Number of slices.
        owner: Slice of each persona; `n` for personas without a slice or without rows.
        persona: Sums by persona.
        value: (2 × slices × item clusters) exact parts of Σwx.
        weight: (2 × slices × item clusters) exact parts of Σw.
    """

    n: int
    owner: Ints
    persona: PersonaSums
    value: Floats
    weight: Floats

    def merge(self, *others: Sums) -> Sums:
        """Combine the sums of several chunks, in any order."""
        merged = self
        for other in others:
            if (merged.n, merged.value.shape) != (other.n, other.value.shape):
                raise ValueError("sums of different studies: their slices or item clusters differ")
            merged = replace(
                merged,
                owner=np.minimum(merged.owner, other.owner),
                persona=merged.persona.merge(other.persona),
                value=merged.value + other.value,
                weight=merged.weight + other.weight,
            )
        return merged

    @cached_property
    def by_persona(self) -> Floats:
        """`PersonaSums.about` the mean of everyone."""
        return self.persona.about(self.persona.centre)

    @cached_property
    def by_item(self) -> tuple[Floats, Floats]:
        """(slices × item clusters) Σwx and Σw, with x about the mean of everyone."""
        value, weight = self.value.sum(axis=0), self.weight.sum(axis=0)
        return value - self.persona.centre * weight, weight

    def to_arrays(self) -> dict[str, Floats | Ints]:
        """All sums by name, to be stored."""
        return {
            "n": np.array(self.n),
            "owner": self.owner,
            "persona": self.persona.stats,
            "value": self.value,
            "weight": self.weight,
        }


def merged(parts: Sequence[Sums]) -> Sums:
    """Merge the sums of one or more chunks."""
    return parts[0].merge(*parts[1:])
