"""Distances between the model's answers for a group and the survey's own distribution of that group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpta_pipeline.metrics.statistics.arrays import Floats, Reals


def total_variation(p: Reals, q: Reals) -> Floats:
    """½ Σ |p − q| over the first axis."""
    return np.asarray(0.5 * np.abs(p - q).sum(axis=0))


def jensen_shannon(p: Reals, q: Reals) -> Floats:
    """Jensen–Shannon distance over the first axis: square root of the divergence to base 2, in [0, 1]."""
    divergence = ((_plogp(p) + _plogp(q)) / 2 - _plogp((p + q) / 2)).sum(axis=0) / np.log(2)
    return np.asarray(np.sqrt(np.clip(divergence, 0.0, 1.0)))


def _plogp(p: Reals) -> Reals:
    return np.asarray(p * np.log(np.maximum(p, np.finfo(p.dtype).tiny)))


def wasserstein(p: Reals, q: Reals, places: Reals) -> Floats:
    """Wasserstein-1 distance over the first axis divided by the range of the options' places, in [0, 1].

    Args:
        p: (K × …) distribution.
        q: (K × …) distribution.
        places: (K × …) or (K,) place of each option; options with a negative or nan place ("not sure") are dropped
            and both distributions renormalised, as OpinionQA and SubPOP do. nan where no mass or fewer than two places
            remain.
    """
    places = np.asarray(places)
    used = np.isfinite(places) & (places >= 0)
    x = np.where(used, places, np.inf)
    a, b = (np.where(used, d, 0.0) for d in (p, q))
    if (x[1:] < x[:-1]).any():
        order = np.argsort(x, axis=0, kind="stable")
        x = np.take_along_axis(x, order, axis=0)
        a, b = (np.take_along_axis(d, np.broadcast_to(order, d.shape), axis=0) for d in (a, b))
    x = np.where(np.isfinite(x), x, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = np.cumsum(a, axis=0) / a.sum(axis=0)
        b = np.cumsum(b, axis=0) / b.sum(axis=0)
        step = np.nan_to_num(np.diff(x, axis=0))
        span = np.where(used, places, -np.inf).max(axis=0) - np.where(used, places, np.inf).min(axis=0)
        return np.asarray(np.where(span > 0, (np.abs(a - b)[:-1] * step).sum(axis=0) / span, np.nan))


Distance = Callable[[Floats, Floats], Floats]


def total_variation_slope(p: Floats, q: Floats) -> Floats:
    """Derivative of `total_variation` by p, of p's shape; that by q is its negative."""
    return np.asarray(0.5 * np.sign(p - q))


def jensen_shannon_slope(p: Floats, q: Floats) -> Floats:
    """Derivative of `jensen_shannon` by p; 0 where p has no mass, which no answer of its own can change, or p = q."""
    d = jensen_shannon(p, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = 0.5 * np.log2(p / ((p + q) / 2)) / (2 * d)
    return np.asarray(np.where((p > 0) & (d > 1e-9), slope, 0.0))


def wasserstein_slope(p: Floats, q: Floats, places: Floats) -> Floats:
    """Derivative of `wasserstein` by p, renormalization over the options with a place included; nan where it is."""
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
        # An option's share enters all cumulative shares from its own place on.
        reach = np.concatenate([np.cumsum(sides[::-1], axis=0)[::-1], np.zeros((1, *sides.shape[1:]))])
        slope = (reach - (reach * a).sum(axis=0)) / mass
    back = np.empty_like(slope)
    np.put_along_axis(back, order, slope, axis=0)
    return np.asarray(np.where(used, back, 0.0) + np.where(span > 0, 0.0, np.nan))


def sampled_distance(
    guess: Floats, people: Floats, n_model: Floats, distances: dict[str, Distance], *, seed: int, draws: int
) -> dict[str, Floats]:
    """Expected distance to people of as many answers as the model gave, drawn from another distribution.

    A few answers lie further from people than the distribution that they come from: a baseline that is to stand beside
    the model's distance needs answers as few as the model's.

    Args:
        guess: (cells × K) distribution that the answers are drawn from.
        people: (cells × K) the people's distribution.
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
    for _ in range(draws):
        drawn = rng.multinomial(n, guess).T / n
        for name, distance in distances.items():
            totals[name] += distance(drawn, people.T)
    return {name: total / draws for name, total in totals.items()}


def sampling_floor(
    pooled: Floats, n_people: Floats, n_model: Floats, distances: dict[str, Distance], *, seed: int, draws: int
) -> dict[str, Floats]:
    """Expected distance of two samples from one distribution: what finitely many answers give when nothing differs.

    Parametric bootstrap.

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
        a = rng.multinomial(people, pooled).T / people
        b = rng.multinomial(model, pooled).T / model
        for name, distance in distances.items():
            totals[name] += distance(a, b)
    return {name: total / draws for name, total in totals.items()}


# Cells with fewer answers than this on a side are extrapolated by a line: half a sample of them is none.
_LEAST_HALVED = 4.0


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
    """What sampling adds to the distance of two samples: it less the distance that endless samples would show.

    Simulation and extrapolation (Cook and Stefanski 1994): both sides are sampled anew, with once and twice the error
    that they have, and the distance as a quadratic function of the error's variance is followed back to none. Unlike a
    floor it is right where the distributions differ; where they do not, it finds about half of the floor.

    Args:
        people: (cells × K) distribution of the people's answers.
        model: (cells × K) distribution of the model's.
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
    halved = np.minimum(n_people, n_model) >= _LEAST_HALVED
    means = []
    for blur in (1.0, 2.0):
        sizes = [np.maximum(np.rint(n / blur), 1).astype(np.int64) for n in (n_people, n_model)]
        totals = {name: np.zeros(len(people)) for name in distances}
        for _ in range(draws):
            a, b = (rng.multinomial(n, p).T / n for n, p in zip(sizes, sides, strict=True))
            for name, distance in distances.items():
                totals[name] += distance(a, b)
        means.append({name: total / draws for name, total in totals.items()})
    out = {}
    for name, distance in distances.items():
        d, once, twice = distance(sides[0].T, sides[1].T), means[0][name], means[1][name]
        bias = np.where(halved, 3 * once - twice - 2 * d, once - d)
        out[name] = np.minimum(bias, d)
    return out
