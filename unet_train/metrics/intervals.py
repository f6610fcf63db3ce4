"""How sure a score is: percentile bootstrap intervals over groups, with pooled counts added anew in every draw.

Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13. Groups (patients, videos) are drawn,
not the images within them, which resemble each other; see Field and Welsh, J. R. Stat. Soc. B 69 (2007) 369-390.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

DRAWS = 1000
LEVEL = 0.95
SEED = 0

FEWEST = 6
"""Of fewer groups no interval is given: their few combinations make it far too narrow."""

DEFINED = 0.95
"""Share of the draws in which a score must exist; a class of few groups is missing in many draws."""

Statistic = Callable[[np.ndarray], Mapping[str, float]]
"""Scores of a sample of groups, given as n whole numbers: how often each group is in it."""


def bootstrap(statistic: Statistic, n: int, *, draws: int = DRAWS, seed: int = SEED) -> dict[str, np.ndarray]:
    """Scores of samples of `n` groups drawn with replacement from `n`.

    Parameters
    ----------
    statistic : callable
        See `Statistic`.
    n : int
        Number of groups. The samples depend on `n`, `draws` and `seed` alone: those of two models on the same groups
        are the same, so that their differences are paired.
    draws : int
    seed : int

    Returns
    -------
    dict of str to ndarray
        `draws` float64 values by score; NaN where a sample has no such score. Empty for n = 0.
    """
    if n < 1:
        return {}
    random = np.random.default_rng(seed)
    rows = [statistic(np.bincount(random.integers(n, size=n), minlength=n)) for _ in range(draws)]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, math.nan) for row in rows], float) for name in names}


def contributing(statistic: Statistic, n: int) -> dict[str, int]:
    """In how many of the `n` groups, each taken by itself, there is each score: not NaN, and not missing."""
    found: dict[str, int] = {}
    for weights in np.eye(n, dtype=np.int64):
        for name, value in statistic(weights).items():
            found[name] = found.get(name, 0) + (not math.isnan(value))
    return found


def percentile_interval(values: np.ndarray, groups: int) -> tuple[float, float] | None:
    """The middle 95 % of bootstrapped scores.

    Parameters
    ----------
    values : ndarray
        Scores of the draws, NaN where one has none.
    groups : int
        Groups that have the score at all.

    Returns
    -------
    (low, high) or None
        None for fewer than `FEWEST` groups, or where more than 5 % of the draws have no score.
    """
    defined = values[~np.isnan(values)]
    if groups < FEWEST or defined.size < DEFINED * values.size:
        return None
    low, high = np.percentile(defined, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def interval_of_each(
    drawn: Mapping[str, np.ndarray], groups: Mapping[str, int]
) -> dict[str, tuple[float, float] | None]:
    """`percentile_interval` of every bootstrapped score, by the number of groups each rests on."""
    return {name: percentile_interval(values, groups.get(name, 0)) for name, values in drawn.items()}


def intervals(statistic: Statistic, n: int) -> dict[str, tuple[float, float] | None]:
    """95 % interval of every score of `n` groups; None where there is none to be had."""
    return interval_of_each(bootstrap(statistic, n), contributing(statistic, n))


def values_statistic(values: np.ndarray) -> Statistic:
    """Mean and median of one value per group (Dice per patient), as ``mean`` and ``median``; NaN is left out."""
    values = np.asarray(values, float)

    def statistic(weights: np.ndarray) -> dict[str, float]:
        sample = np.repeat(values, weights)
        sample = sample[~np.isnan(sample)]
        if not sample.size:
            return {"mean": math.nan, "median": math.nan}
        return {"mean": float(sample.mean()), "median": float(np.median(sample))}

    return statistic


def basis(n: int, unit: str) -> str:
    """One line on what the intervals rest on, or why there are none.

    Parameters
    ----------
    n : int
        Number of groups.
    unit : str
        What they are, in the plural: ``images``, ``groups``, ``patients``.
    """
    if n < FEWEST:
        units = unit if n != 1 else unit.removesuffix("s")
        return f"no intervals: {n} {units}, at least {FEWEST} are needed"
    return f"95 % intervals: {DRAWS:,} bootstrap draws of {n} {unit}"
