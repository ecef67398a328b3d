"""What a model makes of films with a finding and without: its ROC curve, read as calibrated probabilities."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

_NORMAL = NormalDist()
_STEPS = 160  # pieces of a smooth curve: the probability of a film is then exact to some per cent of itself
_REACH = 4.5  # standard deviations beyond which no threshold of a smooth curve lies
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Roc:
    """A concave ROC curve of straight pieces; each piece is one value that the model may state of a film.

    Attributes:
        points: (1 - specificity, sensitivity), rising from (0, 0) to (1, 1), from the strictest threshold on.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Refuse a curve that does not rise, or whose probability would not fall along it."""
        if len(self.points) < 2 or self.points[0] != (0.0, 0.0) or self.points[-1] != (1.0, 1.0):  # noqa: PLR2004
            raise ValueError("a ROC curve goes from (0, 0) to (1, 1)")
        steps = [(right[0] - left[0], right[1] - left[1]) for left, right in pairwise(self.points)]
        if any(min(step) < 0 or max(step) <= 0 for step in steps):
            raise ValueError("a ROC curve rises from point to point")
        if any(after[1] * before[0] > before[1] * after[0] + _SLACK for before, after in pairwise(steps)):
            raise ValueError("a ROC curve is concave: take its convex hull")

    @classmethod
    def of_auc(cls, auc: float) -> Roc:
        """The binormal curve of equal variances with this area, 0.5 to below 1."""
        if not 0.5 <= auc <= 0.999:  # noqa: PLR2004 - chance, and what no model reaches
            raise ValueError(f"an AUC lies between 0.5 and 0.999, got {auc:g}")
        apart = math.sqrt(2) * _NORMAL.inv_cdf(auc)
        highest, lowest = apart + _REACH, -_REACH
        thresholds = [highest + (lowest - highest) * step / (_STEPS - 2) for step in range(_STEPS - 1)]
        inner = [(_NORMAL.cdf(-at), _NORMAL.cdf(apart - at)) for at in thresholds]
        return cls(points=((0.0, 0.0), *inner, (1.0, 1.0)))

    @classmethod
    def at(cls, sensitivity: float, specificity: float) -> Roc:
        """The curve of a model that only says yes or no."""
        if not (0 < sensitivity < 1 and 0 < specificity < 1 and sensitivity + specificity >= 1):
            raise ValueError(
                "sensitivity and specificity lie between 0 and 1 and are together at least 1, "
                f"got {sensitivity:g} and {specificity:g}"
            )
        return cls(points=((0.0, 0.0), (1 - specificity, sensitivity), (1.0, 1.0)))

    @property
    def auc(self) -> float:
        """The area under the curve."""
        return sum((right[0] - left[0]) * (right[1] + left[1]) / 2 for left, right in pairwise(self.points))


class CalibratedRoc:
    """A curve at a prevalence: what the model says of a film, which by Bayes is how often such films have the finding.

    Args:
        roc: the curve.
        prevalence: share of films with the finding, above 0 and below 1.
    """

    def __init__(self, roc: Roc, prevalence: float) -> None:
        if not 0 < prevalence < 1:
            raise ValueError(f"a prevalence lies between 0 and 1, got {prevalence:g}")
        without, with_it = (_ends([point[axis] for point in roc.points]) for axis in (0, 1))
        self._ends = {True: with_it, False: without}
        self._probabilities = [
            prevalence * sick / (prevalence * sick + (1 - prevalence) * well)
            for well, sick in ((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(roc.points))
        ]

    def probability(self, share: float, *, is_present: bool) -> float:
        """What the model says.

        Args:
            share: 0 to 1, drawn evenly: the share of such films of which it says at least as much.
            is_present: whether the film has the finding.
        """
        return self._probabilities[bisect_right(self._ends[is_present], share)]


def _ends(values: Sequence[float]) -> list[float]:
    """Where the pieces end, but the last, which takes what is left."""
    return list(values[1:-1])
