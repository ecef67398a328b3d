"""Figures of a model on labelled films: ranking, calibration, operating points, intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from models.evaluation.films import FINDINGS, URGENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

OUTPUTS = (*(kind.key for kind in FINDINGS), URGENT)  # of a model, in the order of its logits

PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.35)  # at which a calibration is stated
_BOOTSTRAPS = 2000


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Platt scaling: probability = sigmoid(logit * scale + bias) (Platt 1999)."""

    scale: float
    bias: float

    def __call__(self, logit: Vector) -> Vector:
        """Turn logits (N,) into probabilities (N,)."""
        return np.asarray(1.0 / (1.0 + np.exp(-(logit * self.scale + self.bias))))


@dataclass(frozen=True, kw_only=True)
class Combination:
    """A logit that is a weighted sum of other logits, plus a bias."""

    weights: tuple[float, ...]
    bias: float

    def __call__(self, logits: NDArray[np.float64]) -> Vector:
        """Combine logits (N, k) into one (N,)."""
        return np.asarray(logits @ np.array(self.weights) + self.bias)


@dataclass(frozen=True, kw_only=True)
class OperatingPoints:
    """Thresholds on the calibrated probability; a film is positive at or above one."""

    youden: float
    sensitivity_95: float
    specificity_90: float
    specificity_95: float


def auc(label: Vector, score: Vector) -> float:
    """Area under the ROC curve, ties counted half; NaN without both classes."""
    positive = label > 0.5  # noqa: PLR2004 - halfway between the two labels
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def interval(
    figure: Callable[[Vector, Vector], float],
    label: Vector,
    score: Vector,
    patient: NDArray[np.str_],
    seed: int = 0,
) -> tuple[float, float]:
    """95 % bootstrap interval of `figure`, drawing patients and not films.

    Films of one patient resemble each other, so drawing films would give too narrow an interval.
    """
    generator = np.random.default_rng(seed)
    names, number = np.unique(patient, return_inverse=True)
    films = [np.flatnonzero(number == index) for index in range(len(names))]
    figures = []
    for _ in range(_BOOTSTRAPS):
        drawn = generator.integers(0, len(names), len(names))
        index = np.concatenate([films[name] for name in drawn])
        value = figure(label[index], score[index])
        if np.isfinite(value):
            figures.append(value)
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


def calibrate(label: Vector, logit: Vector, strength: float = 1.0) -> Calibration:
    """Fit Platt scaling with a Gaussian prior that holds the scale near 1.

    Without the prior, the two edema films of the calibration set would give an endless slope.
    """

    def loss(parameters: Vector) -> float:
        margin = logit * parameters[0] + parameters[1]
        likelihood = np.logaddexp(0.0, margin) - label * margin
        return float(likelihood.sum() + 0.5 * strength * (parameters[0] - 1.0) ** 2)

    # A slope below zero would turn the ranking round; the bound keeps calibration monotone.
    found = minimize(loss, np.array([1.0, 0.0]), bounds=[(0.05, None), (None, None)])
    return Calibration(scale=float(found.x[0]), bias=float(found.x[1]))


def shift_odds(probability: Vector, before: float, after: float) -> Vector:
    """Probabilities (N,) where a finding is as frequent as `after` and not as `before`, both in (0, 1)."""
    if not 0 < before < 1 or not 0 < after < 1:
        return probability
    odds = probability / (1 - probability) * (after / (1 - after)) * ((1 - before) / before)
    return np.asarray(odds / (1 + odds))


def combine(label: Vector, logits: NDArray[np.float64], strength: float = 10.0) -> Combination:
    """Fit urgency as a logistic regression with non-negative weights on logits (N, k).

    A weight below zero would let evidence for a finding lower the urgency of a film. The prior
    pulls towards equal weights of the standardized logits, which few films cannot overturn.
    """
    spread = logits.std(axis=0)
    scaled = (logits - logits.mean(axis=0)) / spread
    count = logits.shape[1]

    def loss(parameters: Vector) -> float:
        margin = scaled @ parameters[:count] + parameters[count]
        likelihood = np.logaddexp(0.0, margin) - label * margin
        pull = parameters[:count] - parameters[:count].mean()
        return float(likelihood.sum() + 0.5 * strength * (pull**2).sum())

    bounds = [(0.0, None)] * count + [(None, None)]
    found = minimize(loss, np.full(count + 1, 1.0 / count), bounds=bounds)
    weights = found.x[:count] / spread
    bias = float(found.x[count] - weights @ logits.mean(axis=0))
    return Combination(weights=tuple(float(weight) for weight in weights), bias=bias)


def cross_fitted(label: Vector, logit: Vector, patient: NDArray[np.str_], folds: int = 5) -> Vector:
    """Return probabilities (N,), each from a calibration that never saw its patient."""
    names, number = np.unique(patient, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(names))[number] % folds
    probability = np.zeros(len(label))
    for index in range(folds):
        held = fold == index
        probability[held] = calibrate(label[~held], logit[~held])(logit[held])
    return probability


def calibration_error(label: Vector, probability: Vector, bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal count (Naeini et al., AAAI 2015)."""
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, bins)
    gaps = [len(p) * abs(label[p].mean() - probability[p].mean()) for p in parts if len(p)]
    return float(sum(gaps) / len(label))


def operating_points(label: Vector, probability: Vector) -> OperatingPoints:
    """Choose the thresholds of Youden's index, of 95 % sensitivity, and of 90 and 95 % specificity.

    Each lies halfway between two films, so that none changes sides by the last digit of its probability.
    """
    positive = label > 0.5  # noqa: PLR2004 - halfway between the two labels
    found = np.unique(probability)
    levels = np.append(found[:1] / 2, (found[1:] + found[:-1]) / 2)
    sensitivity = np.array([(probability[positive] >= level).mean() for level in levels])
    specificity = np.array([(probability[~positive] < level).mean() for level in levels])
    enough = np.flatnonzero(sensitivity >= 0.95)  # noqa: PLR2004
    strict = [np.flatnonzero(specificity >= share) for share in (0.90, 0.95)]
    often, rarely = (float(levels[found[0]]) if len(found) else 1.0 for found in strict)
    return OperatingPoints(
        youden=float(levels[int(np.argmax(sensitivity + specificity))]),
        sensitivity_95=float(levels[enough[-1]]),
        specificity_90=often,
        specificity_95=rarely,
    )


def describe(key: str, label: Vector, logit: Vector, patient: NDArray[np.str_]) -> dict[str, Any]:
    """Calibration, thresholds and figures of one output on validation films (N,), as sidecars hold them.

    A finding is named only where few films without it would be: at Youden's point a rare finding is named at a
    probability of a few percent, which tells a reader nothing.
    """
    calibration = calibrate(label, logit)
    probability = calibration(logit)
    points = operating_points(label, probability)
    prevalence = float(label.mean())
    own = math.log(prevalence / (1 - prevalence))
    return {
        "key": key,
        "scale": round(calibration.scale, 6),
        "bias": round(calibration.bias, 6),
        "threshold": round(points.youden if key == "urgent" else points.specificity_95, 6),
        "threshold_sensitivity_95": round(points.sensitivity_95, 6),
        "threshold_specificity_90": round(points.specificity_90, 6),
        "threshold_specificity_95": round(points.specificity_95, 6),
        "prevalence": round(prevalence, 6),
        "bias_at": {
            f"{each:g}": round(calibration.bias + math.log(each / (1 - each)) - own, 6) for each in PREVALENCES
        },
        "auc": round(auc(label, logit), 4),
        "auc_ci95": [round(end, 4) for end in interval(auc, label, logit, patient)],
        "n_positive": int(label.sum()),
        "ece": round(calibration_error(label, probability), 4),
        "ece_cross_fitted": round(calibration_error(label, cross_fitted(label, logit, patient)), 4),
    }
