"""Estimates with 95 % intervals: DeLong's, Wilson's, and those of a bootstrap that draws patients.

Films of one patient resemble each other. Where patients are known, whole patients are drawn, for drawing films would
give too narrow an interval. The bootstrap is seeded: the same films in the same order give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BOOTSTRAPS = 2000
SEED = 0
Z = NormalDist().inv_cdf(0.975)
TOO_FEW = "too few films for an interval"
LEAST = 5  # patients, or films, from which a bootstrap says anything

_TAIL = 0.025  # on either side of a 95 % interval
_CELLS = 2_000_000  # of a table of drawn films, so that it stays in some 10 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; note says why there is no value, or no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def proportion(success: Flags, patient: Indices | None, *, note: str) -> Estimate:
    """Share of successes (N,) with Wilson's interval, or that of a bootstrap of patients (N,).

    A bootstrap of equal films has no spread, and one of few patients too little: at 0 and 1, and below 5 patients,
    the interval is Wilson's with the patients as films.
    """
    if not len(success):
        return Estimate(value=None, note=note)
    value = float(success.mean())
    if patient is None:
        return wilson(value, len(success))
    _, number = np.unique(patient, return_inverse=True)
    films, hits = np.bincount(number), np.bincount(number, weights=success.astype(np.float64))
    if value in (0.0, 1.0) or len(films) < LEAST:
        return wilson(value, len(films))
    draws = [weights @ hits / (weights @ films) for weights in resample(np.arange(len(films)))]
    return percentiles(value, np.concatenate(draws))


def delong(positive: Numbers, negative: Numbers) -> Estimate:
    """AUC with the variance of DeLong et al. (Biometrics 1988), by the mid-ranks of Sun and Xu (IEEE SPL 2014)."""
    m, n = len(positive), len(negative)
    everyone = _mid_ranks(np.concatenate([positive, negative]))
    above = (everyone[:m] - _mid_ranks(positive)) / n  # share of negative films below each positive one
    below = 1 - (everyone[m:] - _mid_ranks(negative)) / m  # share of positive films above each negative one
    value = float(above.mean())
    reach = Z * math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    return Estimate(value=value, low=max(value - reach, 0.0), high=min(value + reach, 1.0))


def _mid_ranks(values: Numbers) -> Numbers:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Numbers = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def perfect(value: float, pairs: int) -> Estimate:
    """The interval of an AUC of 0 or 1, where DeLong's variance is 0.

    Pairs that share no patient are independent, so all of k pairs are in order with a probability of at most AUC ** k.
    """
    bound = _TAIL ** (1 / pairs)
    return Estimate(value=value, low=bound, high=1.0) if value else Estimate(value=value, low=0.0, high=1 - bound)


def wilson(value: float, count: int) -> Estimate:
    """A share of `count` films with the score interval of Wilson (JASA 1927), which has a width at 0 and 1 too."""
    center = (value + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z * math.sqrt(value * (1 - value) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    return Estimate(value=value, low=min(max(center - reach, 0.0), value), high=max(min(center + reach, 1.0), value))


def percentiles(value: float, draws: Numbers) -> Estimate:
    """A figure with the percentile interval of its bootstrap draws (N,)."""
    low, high = np.percentile(draws, [100 * _TAIL, 100 * (1 - _TAIL)])
    return Estimate(value=value, low=float(low), high=float(high))


def resample(clusters: Indices) -> Iterator[Numbers]:
    """How often each film is drawn, (draws, N), in a bootstrap that draws whole clusters; the same ones each time."""
    generator = np.random.default_rng(SEED)
    _, number = np.unique(clusters, return_inverse=True)
    count = int(number.max()) + 1
    step = max(1, min(BOOTSTRAPS, _CELLS // len(number)))
    for start in range(0, BOOTSTRAPS, step):
        size = min(step, BOOTSTRAPS - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield times[:, number].astype(np.float64)
