"""Compute distances between two distributions of answers, their derivatives, and their sampling bias."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, Reals, ratio, sums


def total_variation(p: Reals, q: Reals) -> Floats:
    """Total variation distance, ½ Σ |p − q|, over the first axis."""
    return np.asarray(0.5 * np.abs(p - q).sum(axis=0))


def jensen_shannon(p: Reals, q: Reals) -> Floats:
    """Jensen–Shannon distance over the first axis: square root of the divergence to base 2, in [0, 1]."""
    divergence = ((_plogp(p) + _plogp(q)) / 2 - _plogp((p + q) / 2)).sum(axis=0) / np.log(2)
    return np.asarray(np.sqrt(np.clip(divergence, 0.0, 1.0)))


def _plogp(p: Reals) -> Reals:
    return np.asarray(p * np.log(np.maximum(p, np.finfo(p.dtype).tiny)))


def wasserstein(p: Reals, q: Reals, places: Reals) -> Floats:
    """Wasserstein-1 distance over the first axis, divided by the range of the options' positions, in [0, 1].

    Args:
        p: (K × …) distribution.
        q: (K × …) distribution.
        places: (K × …) or (K,) position of each option; options with a negative or nan position ("not sure") are
            dropped and both distributions renormalised, as OpinionQA and SubPOP do. The distance is nan if no mass or
            fewer than two positions remain.
    """
    return WassersteinOver(places)(p, q)


class WassersteinOver:
    """`wasserstein` over fixed positions, prepared once for many pairs of distributions."""

    def __init__(self, places: Reals) -> None:
        places = np.asarray(places)
        used = np.isfinite(places) & (places >= 0)
        self._used = None if used.all() else used
        x = np.where(used, places, np.inf)
        self._order = None
        if (x[1:] < x[:-1]).any():
            self._order = np.argsort(x, axis=0, kind="stable")
            x = np.take_along_axis(x, self._order, axis=0)
        x = np.where(np.isfinite(x), x, np.nan)
        self._step = np.nan_to_num(np.diff(x, axis=0))
        with np.errstate(invalid="ignore"):
            span = np.where(used, places, -np.inf).max(axis=0) - np.where(used, places, np.inf).min(axis=0)
        self._span = np.where(span > 0, span, np.nan)

    def __call__(self, p: Reals, q: Reals) -> Floats:
        """Compute the distance of two (K × …) distributions."""
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = self._cumulative(p) - self._cumulative(q)
            return np.asarray((np.abs(apart[:-1]) * self._step).sum(axis=0) / self._span)

    def _cumulative(self, d: Reals) -> Reals:
        if self._used is not None:
            d = np.where(self._used, d, 0.0)
        if self._order is not None:
            d = np.take_along_axis(d, np.broadcast_to(self._order, d.shape), axis=0)
        total = np.cumsum(d, axis=0)
        return np.asarray(total / total[-1])


Distance = Callable[[Floats, Floats], Floats]


def total_variation_slope(p: Floats, q: Floats) -> Floats:
    """Derivative of `total_variation` by p, with p's shape; the derivative by q is its negative."""
    return np.asarray(0.5 * np.sign(p - q))


def jensen_shannon_slope(p: Floats, q: Floats) -> Floats:
    """Derivative of `jensen_shannon` by p; 0 where p = q, or where p has no mass, as no answer there can change it."""
    d = jensen_shannon(p, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = 0.5 * np.log2(p / ((p + q) / 2)) / (2 * d)
    return np.asarray(np.where((p > 0) & (d > 1e-9), slope, 0.0))


def wasserstein_slope(p: Floats, q: Floats, places: Floats) -> Floats:
    """Derivative of `wasserstein` by p, including the renormalization over options with a position; nan where it is."""
    used = np.isfinite(places) & (places >= 0)
    x = np.where(used, places, np.inf)
    order = np.argsort(x, axis=0, kind="stable")
    x = np.take_along_axis(x, order, axis=0)
    a, b = (np.take_along_axis(np.where(used, d, 0.0), order, axis=0) for d in (p, q))
    with np.errstate(invalid="ignore", divide="ignore"):
        mass = a.sum(axis=0)
        a, b = a / mass, b / b.sum(axis=0)
        step = np.nan_to_num(np.diff(np.where(np.isfinite(x), x, np.nan), axis=0))
        span = np.where(used, places, -np.inf).max(axis=0) - np.where(used, places, np.inf).min(axis=0)
        sides = np.sign(np.cumsum(a, axis=0) - np.cumsum(b, axis=0))[:-1] * step / span
        # An option's share enters all cumulative shares from its own position on.
        reach = np.concatenate([np.cumsum(sides[::-1], axis=0)[::-1], np.zeros((1, *sides.shape[1:]))])
        slope = (reach - (reach * a).sum(axis=0)) / mass
    back = np.empty_like(slope)
    np.put_along_axis(back, order, slope, axis=0)
    return np.asarray(np.where(used, back, 0.0) + np.where(span > 0, 0.0, np.nan))


def sampled_distance(
    guess: Floats, people: Floats, n_model: Floats, distances: dict[str, Distance], *, seed: int, draws: int
) -> dict[str, Floats]:
    """Expected distance between people and a sample from another distribution, of the size of the model's answers.

    A small sample is further from people than the distribution that it is drawn from. A baseline for the model's
    distance must therefore have as few answers as the model.

    Args:
        guess: (cells × K) distribution that the answers are drawn from.
        people: (cells × K) distribution of the people's answers.
        n_model: (cells,) effective number of the model's answers.
        distances: Name → function of two (K × cells) arrays.
        seed: Seed of the draws; cells must come in canonical order.
        draws: Number of draws.

    Returns:
        Name → (cells,) mean distance.
    """
    rng = np.random.default_rng(seed)
    n = np.maximum(np.rint(n_model), 1).astype(np.int64)
    totals = {name: np.zeros(len(guess)) for name in distances}
    of_people = np.ascontiguousarray(people.T)
    for _ in range(draws):
        drawn = _shares(rng.multinomial(n, guess), n)
        for name, distance in distances.items():
            totals[name] += distance(drawn, of_people)
    return {name: total / draws for name, total in totals.items()}


def sampling_floor(
    pooled: Floats, n_people: Floats, n_model: Floats, distances: dict[str, Distance], *, seed: int, draws: int
) -> dict[str, Floats]:
    """Expected distance of two finite samples from one distribution, by parametric bootstrap.

    This is the distance that sampling alone gives if model and people do not differ.

    Args:
        pooled: (cells × K) distribution of both samples together.
        n_people: (cells,) effective number of people.
        n_model: (cells,) effective number of the model's answers.
        distances: Name → function of two (K × cells) arrays.
        seed: Seed of the draws; cells must come in canonical order.
        draws: Number of draws.

    Returns:
        Name → (cells,) mean distance.
    """
    rng = np.random.default_rng(seed)
    people, model = (np.maximum(np.rint(n), 1).astype(np.int64) for n in (n_people, n_model))
    totals = {name: np.zeros(len(pooled)) for name in distances}
    pooled = pooled / pooled.sum(axis=1, keepdims=True)
    for _ in range(draws):
        a = _shares(rng.multinomial(people, pooled), people)
        b = _shares(rng.multinomial(model, pooled), model)
        for name, distance in distances.items():
            totals[name] += distance(a, b)
    return {name: total / draws for name, total in totals.items()}


def _shares(counts: Ints, n: Ints) -> Floats:
    """(K × cells) shares of (cells × K) counts, with the cells of an option side by side in memory."""
    return np.ascontiguousarray(counts.T) / n


# Cells with fewer answers than this on either side are extrapolated linearly, because they cannot be halved.
LEAST_HALVED = 4.0


def sampling_bias(
    people: Floats,
    model: Floats,
    n_people: Floats,
    n_model: Floats,
    distances: dict[str, Distance],
    *,
    seed: int,
    draws: int,
) -> dict[str, Floats]:
    """Sampling bias of the distance of two samples: its excess over the distance of infinite samples.

    Simulation and extrapolation (Cook and Stefanski 1994): both sides are resampled with once and with twice their
    error variance, and the distance is extrapolated to an error variance of 0 as a quadratic function. Unlike a floor,
    it is right if the distributions differ. If they do not, it finds about half of the floor.

    Args:
        people: (cells × K) distribution of the people's answers.
        model: (cells × K) distribution of the model's answers.
        n_people: (cells,) number of independent people with the same error.
        n_model: (cells,) number of independent answers with the same error.
        distances: Name → function of two (K × cells) arrays.
        seed: Seed of the draws.
        draws: Number of draws.

    Returns:
        Name → (cells,) bias, at most the distance itself.
    """
    rng = np.random.default_rng(seed)
    sides = [d / d.sum(axis=1, keepdims=True) for d in (people, model)]
    halved = np.minimum(n_people, n_model) >= LEAST_HALVED
    means = []
    for blur in (1.0, 2.0):
        sizes = [np.maximum(np.rint(n / blur), 1).astype(np.int64) for n in (n_people, n_model)]
        totals = {name: np.zeros(len(people)) for name in distances}
        for _ in range(draws):
            a, b = (_shares(rng.multinomial(n, p), n) for n, p in zip(sizes, sides, strict=True))
            for name, distance in distances.items():
                totals[name] += distance(a, b)
        means.append({name: total / draws for name, total in totals.items()})
    out = {}
    for name, distance in distances.items():
        d, once, twice = distance(sides[0].T, sides[1].T), means[0][name], means[1][name]
        bias = np.where(halved, 3 * once - twice - 2 * d, once - d)
        out[name] = np.minimum(bias, d)
    return out


def bias_among_alike(
    people: Floats,
    model: Floats,
    n_people: Floats,
    n_model: Floats,
    distances: dict[str, Distance],
    *,
    owner: Ints,
    seed: int,
    draws: int,
) -> dict[str, Floats]:
    """Sampling bias of distances, right on average over an owner's cells whether the distributions differ or not.

    The observed differences are larger than the true ones, so that adding the sampling error to them shows too little
    of its effect, and about half of the floor if nothing differs (`sampling_bias`). All differences of an owner are
    therefore shrunk so that their mean square is that of the true ones (James and Stein 1961), and the error is added
    to these. In small groups this correction is noisy.

    Args:
        people: (cells × K) distribution of the people's answers.
        model: (cells × K) distribution of the model's answers.
        n_people: (cells,) number of independent people with the same error.
        n_model: (cells,) number of independent answers with the same error.
        distances: Name → function of two (K × cells) arrays.
        owner: (cells,) owner of each cell, from 0; below 0 for cells that are not used.
        seed: Seed of the draws.
        draws: Number of draws.

    Returns:
        Name → (cells,) bias.
    """
    people, model = (d / d.sum(axis=1, keepdims=True) for d in (people, model))
    slot = np.where(owner >= 0, owner, owner.max(initial=-1) + 1)
    n = int(slot.max(initial=-1)) + 1
    error = sum(
        (d * (1 - d)).sum(axis=1) / np.maximum(size - 1, 0.5) for d, size in ((people, n_people), (model, n_model))
    )
    seen = sums(slot, ((model - people) ** 2).sum(axis=1), n)
    true = np.clip(1 - ratio(sums(slot, error, n), np.maximum(seen, 1e-12)), 0.0, 1.0)
    shrunk = people + np.sqrt(true)[slot, None] * (model - people)
    rng = np.random.default_rng(seed)
    sizes = [np.maximum(np.rint(size), 1).astype(np.int64) for size in (n_people, n_model)]
    totals = {name: np.zeros(len(people)) for name in distances}
    for _ in range(draws):
        a, b = (_shares(rng.multinomial(size, p), size) for size, p in zip(sizes, (people, shrunk), strict=True))
        for name, distance in distances.items():
            totals[name] += distance(a, b)
    return {name: total / draws - distances[name](people.T, shrunk.T) for name, total in totals.items()}
