"""How many patients are enough to fit an output, and what is said where there are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.evaluation.films import URGENT
from models.evaluation.intervals import LEAST, Indices, Numbers
from worklist.errors import InvalidInput

LEAST_TEACHING = 20  # patients with a finding, and without it, from whom an output is fitted
LEAST_JUDGING = LEAST  # of the patients held out: below that there is no interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Patients:
    """Of how many patients a label is known to be there on a film, and absent from one."""

    positive: int
    negative: int

    @property
    def least(self) -> int:
        """The smaller of both."""
        return min(self.positive, self.negative)


def patients_of(label: Numbers, patient: Indices) -> Patients:
    """Of how many patients a label (N,) is known, by whose each film (N,) is."""
    return Patients(positive=len(np.unique(patient[label > 0])), negative=len(np.unique(patient[label == 0])))


def is_enough(teaching: Patients, judging: Patients) -> bool:
    """Whether an output can be fitted, and judged with an interval."""
    return teaching.least >= LEAST_TEACHING and judging.least >= LEAST_JUDGING


def require_enough(counts: Sequence[tuple[str, Patients, Patients]], labels: Path) -> None:
    """Refuse films that teach nothing, or of which no honest card could be measured.

    Raises:
        InvalidInput: one_class, too_few_films.
    """
    usable = [key for key, teaching, judging in counts if is_enough(teaching, judging)]
    if URGENT in usable and len(usable) > 1:
        return
    stated = [each for each in counts if each[1].positive + each[1].negative + each[2].positive + each[2].negative]
    if all(min(part.positive + other.positive, part.negative + other.negative) == 0 for _, part, other in stated):
        raise one_class(labels, [key for key, *_ in stated])
    said = "; ".join(
        f"{key} {teaching.positive} with and {teaching.negative} without to teach, {judging.positive} and "
        f"{judging.negative} to judge"
        for key, teaching, judging in stated
        if key not in usable
    )
    raise InvalidInput(
        "too_few_films",
        f"urgent and one finding at least need {LEAST_TEACHING} patients with and without it to teach, and "
        f"{LEAST_JUDGING} to judge: {labels} has {said}",
    )


def one_class(labels: Path, keys: Sequence[str]) -> InvalidInput:
    """What is said where labels say the same of every film."""
    return InvalidInput(
        "one_class",
        f"{labels} says the same of every film that can be used ({', '.join(keys)}): have films with and without",
    )
