"""Figures of two models on the same films, and their difference, with intervals that draw patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluation.intervals import Estimate, Numbers, percentiles, resample
from models.evaluation.metrics import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A figure of two networks on the same films, and their difference; one whose interval holds 0 is none."""

    name: str
    positives: int
    old: Estimate
    new: Estimate
    difference: Estimate


def paired(
    name: str, samples: Sequence[tuple[Sample, Sample]], figure: Callable[[Sequence[Sample], Numbers], Numbers]
) -> Row:
    """A figure of both, over pairs of samples of the same films whose patients are known.

    Args:
        name: of the figure.
        samples: the old model's and the new one's, a pair an output.
        figure: takes one model's samples and weights (draws, N) of the films, gives (draws,), NaN where undefined.
    """
    films = len(samples[0][0].truth)
    sides = [[pair[side] for pair in samples] for side in (0, 1)]
    values = [float(figure(side, np.ones((1, films)))[0]) for side in sides]
    patient = samples[0][0].patient
    if patient is None:
        raise ValueError("patients are known of every film of a manifest")
    parts = [[figure(side, weights) for side in sides] for weights in resample(patient)]
    draws = [np.concatenate([part[side] for part in parts]) for side in (0, 1)]
    known = np.isfinite(draws[0]) & np.isfinite(draws[1])
    return Row(
        name=name,
        positives=int(sum(pair[0].truth.sum() for pair in samples)),
        old=percentiles(values[0], draws[0][known]),
        new=percentiles(values[1], draws[1][known]),
        difference=percentiles(values[1] - values[0], (draws[1] - draws[0])[known]),
    )


def mean_areas(samples: Sequence[Sample], weights: Numbers) -> Numbers:
    """Mean AUC (draws,) over findings, films counted by weights (draws, N); a finding a draw has no pair of is left."""
    areas = []
    for each in samples:
        order = np.argsort(each.probability, kind="stable")
        _, starts = np.unique(each.probability[order], return_index=True)
        positive, negative = (
            np.add.reduceat(weights[:, order] * flags[order], starts, axis=1) for flags in (each.truth, ~each.truth)
        )
        # A tie counts half.
        pairs = np.sum(positive * (np.cumsum(negative, axis=1) - negative / 2), axis=1)
        possible = positive.sum(axis=1) * negative.sum(axis=1)
        areas.append(np.divide(pairs, possible, out=np.full(len(pairs), np.nan), where=possible > 0))
    table = np.stack(areas)
    known = np.isfinite(table)
    count = known.sum(axis=0)
    total = np.where(known, table, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
