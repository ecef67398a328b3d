"""Fitting the last layer to a site's labels, pulled towards the shipped one, with whole patients held out.

For each output the shipped logit is rescaled, and a weight for each feature is added to it:

    logit = slope * shipped + bias + weights . (features - mean) / scale

a logistic regression with a ridge on the added weights alone (Hoerl and Kennard 1970; towards given ones: Chelba
and Acero, EMNLP 2004). Without any added weight it is the shipped output, recalibrated. How strong the ridge is, and
whether a weight is added at all, is chosen by the log loss on patients that were held out of the fit; an output that
is not clearly better keeps the shipped weights to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from models.evaluation.intervals import Flags, Indices, Numbers
from models.evaluation.measure import Combination, calibrate, combine

Features = npt.NDArray[np.float32]

FOLDS = 5
STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)  # of the ridge, from the strongest

_SMOOTHING = 0.02  # some labels are wrong: none counts for certain, as in training
_CLEARLY = 2.0  # standard errors of the difference in log loss, over patients
_ITERATIONS = 200


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """Films to fit one output on.

    Attributes:
        features: (N, D), each with mean 0 and variance 1 over all films.
        shipped: (N,), logits of the shipped output.
        label: (N,), 1 or 0; NaN where it is not known, and the film is not learned from.
        fold: (N,), which part of the patients a film's is in, 0 to FOLDS - 1.
        patient: (N,), films of one number are of one patient.
    """

    features: Features
    shipped: Numbers
    label: Numbers
    fold: Indices
    patient: Indices

    @property
    def known(self) -> Flags:
        """Films whose label is known."""
        return np.isfinite(self.label)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """One output: the shipped logit rescaled, and what each feature adds; `weights` (D,) is None where none does."""

    slope: float
    bias: float
    weights: Numbers | None

    def logits(self, features: Features, shipped: Numbers) -> Numbers:
        """Logits (N,) of standardized features (N, D) and shipped logits (N,)."""
        added = 0.0 if self.weights is None else features.astype(np.float64) @ self.weights
        return np.asarray(self.slope * shipped + self.bias + added)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fitted:
    """What was fitted for one output.

    Attributes:
        row: fitted on all films; without weights where the shipped output stays.
        strength: of the ridge; None where the shipped output stays.
        held_out: (N,), the logit of each film by the rows that never saw its patient; the shipped logits where the
            shipped output stays.
        losses: mean log loss of films of patients held out, by strength, the shipped output recalibrated first.
    """

    row: Row
    strength: float | None
    held_out: Numbers
    losses: tuple[float, ...]


def deal(patient: Indices, positive: Flags) -> Indices:
    """A fold (N,) for each film, whole patients together, those with a positive film spread evenly."""
    count = int(patient.max()) + 1
    there = np.bincount(patient, weights=positive, minlength=count) > 0
    shuffled = np.random.default_rng(0).permutation(count)
    dealt = shuffled[np.argsort(~there[shuffled], kind="stable")]
    fold = np.empty(count, np.int64)
    fold[dealt] = np.arange(count) % FOLDS
    return fold[patient]


def fit_output(part: Part) -> Fitted:
    """Fit one output; both classes must be among the films of each four folds."""
    known = part.known
    label = part.label[known] * (1 - _SMOOTHING) + _SMOOTHING / 2
    tried: list[tuple[float | None, Numbers, Numbers]] = []  # strength, logits, loss by patient
    rows: list[Row | None] = [None] * FOLDS
    for strength in (None, *STRENGTHS):
        logits = np.empty(len(part.label))
        for number in range(FOLDS):
            held = part.fold == number
            learned = known & ~held
            # Each strength begins where the stronger one before it ended.
            rows[number] = row = _fit(
                part.features[learned], part.shipped[learned], label[~held[known]], strength, rows[number]
            )
            logits[held] = row.logits(part.features[held], part.shipped[held])
        loss = np.logaddexp(0, logits[known]) - part.label[known] * logits[known]
        tried.append((strength, logits, loss))
    losses = [float(loss.mean()) for _, _, loss in tried]
    best = int(np.argmin(losses))
    if best and _is_clear(tried[0][2] - tried[best][2], part.patient[known]):
        strength, held_out, _ = tried[best]
        row = _fit(part.features[known], part.shipped[known], label, strength, None)
        return Fitted(row=row, strength=strength, held_out=held_out, losses=tuple(losses))
    shipped = Row(slope=1.0, bias=0.0, weights=None)
    return Fitted(row=shipped, strength=None, held_out=part.shipped, losses=tuple(losses))


def fit_urgency(
    rows: Numbers, shipped: Numbers, label: Numbers, fold: Indices, patient: Indices
) -> tuple[Combination | None, Numbers]:
    """How much each output counts for urgency, and its logit (N,) for each film by weights that never saw its patient.

    Args:
        rows: (N, 7), logits of the findings and of urgency as it was learned, of patients held out.
        shipped: (N,), the urgency that the shipped weights make of them.
        label: (N,), 1 or 0; NaN where it is not known.
        fold: (N,), as in Part.
        patient: (N,), as in Part.

    Returns:
        None and the shipped logits where other weights are not clearly better.
    """
    known = np.isfinite(label)
    logits = np.empty(len(label))
    for number in range(FOLDS):
        held, learned = fold == number, known & (fold != number)
        logits[held] = combine(label[learned], rows[learned])(rows[held])
    before, after = (_losses(each[known], label[known], fold[known]) for each in (shipped, logits))
    if _is_clear(before - after, patient[known]):
        return combine(label[known], rows[known]), logits
    return None, shipped


def _losses(logits: Numbers, label: Numbers, fold: Indices) -> Numbers:
    """Log loss of each film (N,), calibrated on the patients of the other folds."""
    margin = np.empty(len(label))
    for number in range(FOLDS):
        held = fold == number
        calibration = calibrate(label[~held], logits[~held])
        margin[held] = calibration.scale * logits[held] + calibration.bias
    return np.asarray(np.logaddexp(0, margin) - label * margin)


def _is_clear(gain: Numbers, patient: Indices) -> bool:
    """Whether a mean gain (N,) exceeds its standard error, patients being independent and their films not."""
    _, number = np.unique(patient, return_inverse=True)
    pulls = np.bincount(number, weights=gain - gain.mean())
    error = float(np.sqrt(np.sum(pulls**2))) / len(gain)
    return float(gain.mean()) > _CLEARLY * error


def _fit(features: Features, shipped: Numbers, label: Numbers, strength: float | None, start: Row | None) -> Row:
    """The row with the least loss; a weak pull holds the slope near 1, as in models.evaluation.measure.calibrate."""
    count = len(label)
    adds, ridge = strength is not None, strength or 0.0

    def loss(parameters: Numbers) -> tuple[float, Numbers]:
        slope, bias, weights = parameters[0], parameters[1], parameters[2:]
        margin = slope * shipped + bias
        if adds:
            margin = margin + features @ weights.astype(np.float32)
        likely = 0.5 + 0.5 * np.tanh(margin / 2)
        miss = (likely - label) / count
        value = float(np.mean(np.logaddexp(0, margin) - label * margin)) + 0.5 * (slope - 1) ** 2 / count
        slopes = [miss @ shipped + (slope - 1) / count, miss.sum()]
        if not adds:
            return value, np.array(slopes)
        pulled = features.T @ miss.astype(np.float32) + ridge * weights
        return value + 0.5 * ridge * float(weights @ weights), np.concatenate([slopes, pulled])

    begun = np.zeros(2 + features.shape[1] * adds)
    begun[0] = 1.0
    if start is not None:
        begun[:2] = start.slope, start.bias
        if adds and start.weights is not None:
            begun[2:] = start.weights
    bounds = [(0.05, None)] + [(None, None)] * (len(begun) - 1)  # a slope below zero would turn the ranking round
    found = minimize(loss, begun, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS})
    return Row(slope=float(found.x[0]), bias=float(found.x[1]), weights=found.x[2:] if adds else None)
