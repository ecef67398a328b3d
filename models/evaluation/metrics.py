"""Figures of one finding on labelled films, each with its 95 % interval or the reason why it is not defined.

Films without a patient are independent: DeLong's interval of the AUC, Wilson's of proportions. Films with a patient
are not, and every interval comes from a bootstrap that draws patients. Figures at a threshold that is chosen on the
same films always have a bootstrap interval, for Wilson's would take the threshold as known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from models.evaluation.intervals import (
    LEAST,
    TOO_FEW,
    Estimate,
    Flags,
    Indices,
    Numbers,
    Z,
    delong,
    percentiles,
    perfect,
    proportion,
    resample,
    wilson,
)

SPECIFICITY = 0.95
SENSITIVITIES = (0.90, 0.95)

_BINS = 10
_NO_PREVALENCE = 0.5  # rank() needs one for its alarm rates alone
_LEAST_IN_BIN = 10
_NARROW_BINS = 50
_NEVER_ONE = 1e-6  # a probability of 0 or 1 has no log odds
_ROUNDING = 1e-9

NO_FILM = "no labelled film with a prediction"
NO_POSITIVE = "no positive film"
NO_NEGATIVE = "no negative film"
CONSTANT = "all films have the same score"
SEPARATED = "the scores separate positive from negative films"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """The films on which one finding is judged.

    Attributes:
        truth: bool, shape (N,).
        probability: float64, shape (N,), 0 to 1.
        called: bool, shape (N,), what the model called positive; None where that is not known of every film.
        patient: int64, shape (N,), films of one number are of one patient; None where films are independent.
    """

    truth: Flags
    probability: Numbers
    called: Flags | None
    patient: Indices | None

    @property
    def lacks(self) -> str:
        """Why films cannot be ranked against their labels; empty where they can."""
        if not len(self.truth):
            return NO_FILM
        if not self.truth.any():
            return NO_POSITIVE
        if self.truth.all():
            return NO_NEGATIVE
        return CONSTANT if np.ptp(self.probability) == 0 else ""

    def where(self, films: Flags) -> Sample:
        """The sample of some of the films."""
        return Sample(
            truth=self.truth[films],
            probability=self.probability[films],
            called=None if self.called is None else self.called[films],
            patient=None if self.patient is None else self.patient[films],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenThreshold:
    """What a threshold chosen on these films gives: positive at or above it; None calls no film positive.

    The one of sensitivity and specificity that was aimed at has no interval. The alarm rate is the share of films
    called positive at the stated prevalence.
    """

    threshold: float | None
    sensitivity: Estimate
    specificity: Estimate
    alarm_rate: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Figures that depend on the order of the scores alone; at_sensitivity has one entry for each of SENSITIVITIES."""

    auc: Estimate
    at_specificity: ChosenThreshold
    at_sensitivity: tuple[ChosenThreshold, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """What the model's own calls give: counts of films, in these films, and predictive values at a prevalence."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    ppv_at_prevalence: Estimate
    npv_at_prevalence: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How far probabilities can be taken at their word.

    Attributes:
        mean_probability: to be held against the share of positive films.
        brier: mean squared error of the probability (Brier 1950).
        ece: expected calibration error over bins of equal count (Naeini et al., AAAI 2015).
        slope: of the logistic regression of the truth on the log odds (Cox 1958); 1 is ideal.
        intercept: of the same regression; 0 is ideal.
    """

    mean_probability: Estimate
    brier: Estimate
    ece: Estimate
    slope: Estimate
    intercept: Estimate


def rank(sample: Sample, prevalence: float) -> Ranking:
    """AUC, sensitivity at a specificity of 0.95, specificity and alarm rate at sensitivities of 0.90 and 0.95."""
    if sample.lacks:
        nothing = Estimate(value=None, note=sample.lacks)
        chosen = ChosenThreshold(threshold=None, sensitivity=nothing, specificity=nothing, alarm_rate=nothing)
        return Ranking(auc=nothing, at_specificity=chosen, at_sensitivity=(chosen,) * len(SENSITIVITIES))
    order = np.argsort(-sample.probability, kind="stable")
    levels, ends = np.unique(-sample.probability[order], return_index=True)
    last = np.append(ends[1:], len(order)) - 1  # of each level, from the highest
    truth = sample.truth[order]

    def figures(weights: Numbers) -> tuple[Numbers, Indices]:
        tp, fp = (
            np.pad(np.cumsum(weights[:, order] * flags, axis=1)[:, last], ((0, 0), (1, 0))) for flags in (truth, ~truth)
        )
        usable = (tp[:, -1] > 0) & (fp[:, -1] > 0)
        tpr, fpr = (counts[usable] / counts[usable, -1:] for counts in (tp, fp))
        area = np.sum(np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1]) / 2, axis=1)
        chosen = [np.sum(fpr <= 1 - SPECIFICITY + _ROUNDING, axis=1) - 1]
        chosen += [np.argmax(tpr >= aim - _ROUNDING, axis=1) for aim in SENSITIVITIES]
        rows = np.arange(len(area))
        at = [(tpr[rows, index], fpr[rows, index]) for index in chosen]
        columns = [(sens, 1 - alarm, prevalence * sens + (1 - prevalence) * alarm) for sens, alarm in at]
        return np.column_stack([area, *(values for column in columns for values in column)]), np.column_stack(chosen)

    (values,), (indices,) = figures(np.ones((1, len(order))))
    positives, negatives, pairs = _independent(sample)
    note = "" if min(positives, negatives) >= LEAST else TOO_FEW
    draws = None if note else np.concatenate([figures(weights)[0] for weights in resample(_clusters(sample))])

    def estimate(column: int, units: int = 0) -> Estimate:
        value = float(values[column])
        if draws is None:
            return Estimate(value=value, note=note)
        if units and value in (0.0, 1.0):
            return wilson(value, units)
        return percentiles(value, draws[:, column])

    def choice(number: int, *, aims_at_sensitivity: bool) -> ChosenThreshold:
        column, index = 1 + 3 * number, int(indices[number])
        sensitivity, specificity = estimate(column, positives), estimate(column + 1, negatives)
        return ChosenThreshold(
            threshold=float(-levels[index - 1]) if index else None,
            sensitivity=Estimate(value=sensitivity.value) if aims_at_sensitivity else sensitivity,
            specificity=specificity if aims_at_sensitivity else Estimate(value=specificity.value),
            alarm_rate=estimate(column + 2),
        )

    area = estimate(0)
    if draws is not None and area.value in (0.0, 1.0):
        area = perfect(area.value, pairs)
    elif draws is not None and sample.patient is None:
        area = delong(sample.probability[sample.truth], sample.probability[~sample.truth])
    return Ranking(
        auc=area,
        at_specificity=choice(0, aims_at_sensitivity=False),
        at_sensitivity=tuple(choice(1 + i, aims_at_sensitivity=True) for i in range(len(SENSITIVITIES))),
    )


def area(sample: Sample) -> Estimate:
    """The AUC alone."""
    return rank(sample, _NO_PREVALENCE).auc


def operate(sample: Sample, prevalence: float) -> OperatingPoint | None:
    """What the model's own calls give; None where the calls are not known."""
    called, truth, patient = sample.called, sample.truth, sample.patient
    if called is None:
        return None

    def share(success: Flags, among: Flags, note: str) -> Estimate:
        return proportion(
            success[among], None if patient is None else patient[among], note=note if len(truth) else NO_FILM
        )

    sensitivity, specificity = share(called, truth, NO_POSITIVE), share(~called, ~truth, NO_NEGATIVE)
    return OperatingPoint(
        true_positives=int(np.sum(called & truth)),
        false_positives=int(np.sum(called & ~truth)),
        false_negatives=int(np.sum(~called & truth)),
        true_negatives=int(np.sum(~called & ~truth)),
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=share(truth, called, "no film called positive"),
        npv=share(~truth, ~called, "no film called negative"),
        ppv_at_prevalence=_predictive(sensitivity, specificity, prevalence, "no film called positive"),
        npv_at_prevalence=_predictive(specificity, sensitivity, 1 - prevalence, "no film called negative"),
    )


def calibrate(sample: Sample) -> Calibration:
    """Mean probability, Brier score, expected calibration error, and slope and intercept of recalibration.

    Slope and intercept have Wald's interval with the cluster-robust variance (Liang and Zeger 1986), films of one
    patient being a cluster.
    """
    if not len(sample.truth):
        nothing = Estimate(value=None, note=NO_FILM)
        return Calibration(mean_probability=nothing, brier=nothing, ece=nothing, slope=nothing, intercept=nothing)
    mean, positives, count = calibration_bins(sample)
    slope, intercept = _recalibrate(sample)
    return Calibration(
        mean_probability=Estimate(value=float(sample.probability.mean())),
        brier=Estimate(value=float(np.mean((sample.probability - sample.truth) ** 2))),
        ece=Estimate(value=float(np.sum(np.abs(mean * count - positives)) / count.sum())),
        slope=slope,
        intercept=intercept,
    )


def calibration_bins(sample: Sample) -> tuple[Numbers, Numbers, Numbers]:
    """Mean probability, positive films and films of up to 10 bins of equal count, at least 10 films in each.

    Films of one probability share a bin, so the bins do not depend on the order of the films.
    """
    return _binned(sample, min(max(len(sample.truth) // _LEAST_IN_BIN, 1), _BINS))


def _binned(sample: Sample, bins: int) -> tuple[Numbers, Numbers, Numbers]:
    edges = np.quantile(sample.probability, np.arange(1, bins) / bins)
    number = np.searchsorted(edges, sample.probability, side="right")
    count = np.bincount(number, minlength=bins).astype(np.float64)
    total = np.bincount(number, weights=sample.probability, minlength=bins)
    positives = np.bincount(number, weights=sample.truth, minlength=bins).astype(np.float64)
    full = count > 0
    return total[full] / count[full], positives[full], count[full]


def joined_bins(sample: Sample) -> tuple[Numbers, Numbers, Numbers]:
    """The same of narrow bins, joined from the highest down until each holds at least 5 positives.

    Fewer positives say nothing of a share. What is left over joins the lowest bin; there are at most 10, and none below
    5 positives.
    """
    least = max(LEAST, math.ceil(sample.truth.sum() / _BINS))
    joined: list[list[float]] = []  # probability x films, positives, films
    open_bin = [0.0, 0.0, 0.0]
    for mean, positives, count in reversed(list(zip(*_binned(sample, _NARROW_BINS), strict=True))):
        open_bin = [open_bin[0] + mean * count, open_bin[1] + positives, open_bin[2] + count]
        if open_bin[1] >= least:
            joined.append(open_bin)
            open_bin = [0.0, 0.0, 0.0]
    if joined:
        joined[-1] = [one + left for one, left in zip(joined[-1], open_bin, strict=True)]
    total, positive, films = np.array(joined[::-1], np.float64).reshape(-1, 3).T
    return total / films, positive, films


def _predictive(hit: Estimate, other: Estimate, share: float, note: str) -> Estimate:
    """Bayes: what a call is worth where its class has a share; the ends from those of both rates, so conservative."""

    def bayes(hit: float | None, other: float | None) -> float | None:
        if hit is None or other is None:
            return None
        calls = hit * share + (1 - other) * (1 - share)
        return hit * share / calls if calls else None

    value = bayes(hit.value, other.value)
    if value is None:
        return Estimate(value=None, note=hit.note or other.note or note)
    return Estimate(value=value, low=bayes(hit.low, other.low), high=bayes(hit.high, other.high))


def _recalibrate(sample: Sample) -> tuple[Estimate, Estimate]:
    likely = np.clip(sample.probability, _NEVER_ONE, 1 - _NEVER_ONE)
    log_odds = np.log(likely / (1 - likely))
    note = sample.lacks
    if not note:
        positive, negative = log_odds[sample.truth], log_odds[~sample.truth]
        note = "" if positive.min() < negative.max() and negative.min() < positive.max() else SEPARATED
    if note:
        return Estimate(value=None, note=note), Estimate(value=None, note=note)
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9).fit(log_odds[:, None], sample.truth)
    best = (float(fit.coef_[0, 0]), float(fit.intercept_[0]))
    design = np.column_stack([log_odds, np.ones_like(log_odds)])
    fitted = fit.predict_proba(log_odds[:, None])[:, 1]
    bread = np.linalg.pinv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    _, number = np.unique(_clusters(sample), return_inverse=True)
    clusters = int(number.max()) + 1
    if min(_independent(sample)) < LEAST:
        return Estimate(value=best[0], note=TOO_FEW), Estimate(value=best[1], note=TOO_FEW)
    pulls = [np.bincount(number, weights=column) for column in (design * (sample.truth - fitted)[:, None]).T]
    variance = bread @ np.cov(pulls, bias=True) @ bread * clusters**2 / (clusters - 1)
    slope, intercept = (
        Estimate(value=value, low=value - Z * error, high=value + Z * error)
        for value, error in zip(best, map(float, np.sqrt(np.diag(variance))), strict=True)
    )
    return slope, intercept


def _clusters(sample: Sample) -> Indices:
    return np.arange(len(sample.truth)) if sample.patient is None else sample.patient


def _independent(sample: Sample) -> tuple[int, int, int]:
    """How many patients have a positive film, a negative one, and how many pairs of one each share no patient."""
    clusters = _clusters(sample)
    positives, negatives = len(np.unique(clusters[sample.truth])), len(np.unique(clusters[~sample.truth]))
    return positives, negatives, min(positives, negatives, len(np.unique(clusters)) // 2)
