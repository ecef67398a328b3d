"""How far an order puts sick films first, and how often the words beside its flags are right.

Films that are flagged come first, by their head start; the others follow in order of arrival, which says nothing of
them: among films of one head start every order is as likely, and figures are the mean over those orders. What a list
does over a day, as films arrive and are read, depends on its length and is not measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluation.intervals import (
    LEAST,
    TOO_FEW,
    Estimate,
    Flags,
    Indices,
    Numbers,
    percentiles,
    proportion,
    resample,
)
from models.evaluation.metrics import NO_FILM, NO_POSITIVE, Sample, area
from models.evaluation.triage import Triaged

TOP = 0.25  # of the list

_NOT_FLAGGED = "no film is flagged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What an order does for the films that have something.

    Attributes:
        n: films.
        positives: of them, those that have it.
        moved: share of the positive films that move up (sensitivity of the flag).
        right: share of the films that move up that are positive (its precision).
        auc: chance that a positive film stands before a negative one, ties counted half.
        top_quarter: share of the positive films that stand in the top quarter of the list: 0.25 is chance.
        lift: the same beside a quarter: 1 is chance, 4 the most.
    """

    n: int
    positives: int
    moved: Estimate
    right: Estimate
    auc: Estimate
    top_quarter: Estimate
    lift: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """How often findings that are put into words are there: how many were named, and the share that is right."""

    n: int
    right: Estimate


def judge_order(sort_key: Numbers, truth: Flags, patient: Indices | None) -> Order:
    """An order held against what films have.

    Args:
        sort_key: float64, shape (N,), of each film, larger first, 0 where it is not flagged.
        truth: bool, shape (N,), whether the film has it.
        patient: int64, shape (N,), films of one number are of one patient; None where films are independent.
    """
    flagged = sort_key > 0

    def share(success: Flags, among: Flags, note: str) -> Estimate:
        return proportion(success[among], None if patient is None else patient[among], note=note)

    lift = _lift(sort_key, truth, patient)
    return Order(
        n=len(truth),
        positives=int(truth.sum()),
        moved=share(flagged, truth, NO_POSITIVE),
        right=share(truth, flagged, _NOT_FLAGGED),
        auc=area(Sample(truth=truth, probability=sort_key, called=None, patient=patient)),
        top_quarter=Estimate(value=_of_top(lift.value), low=_of_top(lift.low), high=_of_top(lift.high), note=lift.note),
        lift=lift,
    )


def _of_top(lift: float | None) -> float | None:
    return None if lift is None else TOP * lift


def judge_words(
    named: Sequence[frozenset[str]], truths: Sequence[Mapping[str, bool]], patient: Indices | None
) -> dict[str, Naming]:
    """The findings that were named on films, by target, and all together under `all`.

    Args:
        named: the targets named on each film.
        truths: what is true of each film, by target; a named finding of which nothing is known is left out.
        patient: as for judge_order.
    """
    found = [
        (target, truth[target], index)
        for index, (targets, truth) in enumerate(zip(named, truths, strict=True))
        for target in sorted(targets)
        if target in truth
    ]
    # Two findings of one film are no more independent than two films of one patient.
    cluster = np.arange(len(named)) if patient is None else patient

    def words(chosen: Sequence[tuple[str, bool, int]]) -> Naming:
        right = np.array([is_right for _, is_right, _ in chosen], dtype=np.bool_)
        indices = np.array([index for *_, index in chosen], dtype=np.int64)
        return Naming(n=len(chosen), right=proportion(right, cluster[indices], note="no finding is named"))

    targets = sorted({target for target, *_ in found})
    return {"all": words(found)} | {target: words([each for each in found if each[0] == target]) for target in targets}


def flagged_without_reason(films: Sequence[Triaged], patient: Indices | None) -> Estimate:
    """Share of the flagged films of which no finding is named that flags them."""
    flagged = np.array([film.is_flagged for film in films], dtype=np.bool_)
    silent = np.array([not (film.words and film.words.reasons) for film in films], dtype=np.bool_)
    return proportion(silent[flagged], None if patient is None else patient[flagged], note=_NOT_FLAGGED)


def _lift(sort_key: Numbers, truth: Flags, patient: Indices | None) -> Estimate:
    if not len(truth):
        return Estimate(value=None, note=NO_FILM)
    if not truth.any():
        return Estimate(value=None, note=NO_POSITIVE)
    order = np.argsort(-sort_key, kind="stable")
    _, starts = np.unique(-sort_key[order], return_index=True)

    def lifts(weights: Numbers) -> Numbers:
        films, positives = (
            np.pad(np.cumsum(np.add.reduceat(counts[:, order], starts, axis=1), axis=1), ((0, 0), (1, 0)))
            for counts in (weights, weights * truth)
        )
        top: Numbers = np.array(
            [np.interp(TOP * all_[-1], all_, with_it) for all_, with_it in zip(films, positives, strict=True)]
        )
        ill, lifted = positives[:, -1], np.full(len(films), np.nan)
        np.divide(top, TOP * ill, out=lifted, where=ill > 0)
        return lifted

    (value,) = lifts(np.ones((1, len(truth))))
    clusters = np.arange(len(truth)) if patient is None else patient
    if len(np.unique(clusters[truth])) < LEAST:
        return Estimate(value=float(value), note=TOO_FEW)
    draws = np.concatenate([lifts(weights) for weights in resample(clusters)])
    return percentiles(float(value), draws[np.isfinite(draws)])
