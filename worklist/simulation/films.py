"""What films show and what the model says of them: made up from prevalence and ROC, or drawn from labelled films."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from worklist.errors import InvalidInput
from worklist.simulation.roc import CalibratedRoc, Roc

_ROUNDS = 2000  # of fitting the weights of films to prevalences; a few dozen are usual
_NEAR = 1e-6
_BLOCK = 256  # films drawn at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """A film: the findings that are there, by key, and the calibrated probability of each that the model looks for."""

    present: frozenset[str]
    probabilities: tuple[tuple[str, float], ...]


class Films(Protocol):
    """Where films come from."""

    @property
    def findings(self) -> tuple[str, ...]:
        """Keys of what a film may have."""

    @property
    def sick_share(self) -> float:
        """Share of films with at least one of them."""

    def draw(self, rng: random.Random) -> Iterator[Film]:
        """Films without end, one independent of another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingModel:
    """How often a finding is there, and how well the model sees it."""

    key: str
    prevalence: float
    roc: Roc


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeUpFilms:
    """Films whose findings come and are seen independently of each other, by a model that is calibrated."""

    models: tuple[FindingModel, ...]

    def __post_init__(self) -> None:
        """Refuse no finding, and one twice."""
        if not self.models or len(set(self.findings)) < len(self.models):
            raise ValueError("name at least one finding, and each once")

    @property
    def findings(self) -> tuple[str, ...]:
        """Keys of what a film may have."""
        return tuple(model.key for model in self.models)

    @property
    def sick_share(self) -> float:
        """Share of films with at least one of them."""
        well = 1.0
        for model in self.models:
            well *= 1 - model.prevalence
        return 1 - well

    def draw(self, rng: random.Random) -> Iterator[Film]:
        """Films without end. Two numbers are drawn a finding, whatever the curves: films stay the same under others."""
        curves = [(model.key, model.prevalence, CalibratedRoc(model.roc, model.prevalence)) for model in self.models]
        while True:
            present, said = [], []
            for key, prevalence, curve in curves:
                is_present = rng.random() < prevalence
                if is_present:
                    present.append(key)
                said.append((key, curve.probability(rng.random(), is_present=is_present)))
            yield Film(present=frozenset(present), probabilities=tuple(said))


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledFilm:
    """A film that a model has judged.

    Attributes:
        present: the findings that are there; None where nobody says it.
        probabilities: what the model said, by key.
        patient: whose film it is.
    """

    present: frozenset[str] | None
    probabilities: tuple[tuple[str, float], ...]
    patient: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnFilms:
    """Films drawn whole from judged ones, so that findings keep the company they have.

    Each stream weighs the patients anew at random (the Bayesian bootstrap, Rubin 1981), so that what few films leave
    open shows between streams; then it weighs the films so that the stated prevalences hold. Where nobody says what is
    there, it is drawn by the probabilities, which takes the model at its word.

    Attributes:
        films: all labelled or none.
        prevalence: share of films with a finding, by key; what is left out keeps its share of these films.
    """

    films: tuple[LabelledFilm, ...]
    prevalence: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse no film, a mixture, and a prevalence that no choice among these films has."""
        if not self.films:
            raise ValueError("there is no film to draw from")
        labelled = [film.present is not None for film in self.films]
        if any(labelled) and not all(labelled):
            raise ValueError("of some films it is said what is there, of others not")
        if self.prevalence and not any(labelled):
            raise InvalidInput("no_labels", "a prevalence needs labels, which say which films have the finding")
        for key in self.prevalence:
            having = sum(key in (film.present or ()) for film in self.films)
            if having in {0, len(self.films)}:
                raise InvalidInput(
                    "bad_prevalence",
                    f"{having} of {len(self.films)} films have {key}, so no other prevalence can be made of them",
                )

    @property
    def findings(self) -> tuple[str, ...]:
        """Keys of what a film may have."""
        keys = {key for film in self.films for key in (*(film.present or ()), *(key for key, _ in film.probabilities))}
        return tuple(sorted(keys))

    @property
    def sick_share(self) -> float:
        """Share of films with at least one of them."""
        if self.films[0].present is None:
            return sum(1 - _none_of(film) for film in self.films) / len(self.films)
        weights = self._weights([1.0] * len(self.films))
        return sum(w for w, film in zip(weights, self.films, strict=True) if film.present) / sum(weights)

    def draw(self, rng: random.Random) -> Iterator[Film]:
        """Films without end."""
        of_patients = {film.patient: rng.expovariate(1.0) for film in self.films}
        cumulative = list(accumulate(self._weights([of_patients[film.patient] for film in self.films])))
        while True:
            for film in rng.choices(self.films, cum_weights=cumulative, k=_BLOCK):
                present = film.present
                if present is None:
                    present = frozenset(key for key, p in film.probabilities if rng.random() < p)
                yield Film(present=present, probabilities=film.probabilities)

    def _weights(self, weights: Sequence[float]) -> list[float]:
        """The weights, fitted to the prevalences in turn until all hold (raking, Deming and Stephan 1940)."""
        fitted = list(weights)
        having = {
            key: [index for index, film in enumerate(self.films) if key in (film.present or ())]
            for key in self.prevalence
        }
        for _ in range(_ROUNDS):
            furthest = 0.0
            for key, wanted in self.prevalence.items():
                total = sum(fitted)
                share = sum(fitted[index] for index in having[key]) / total
                furthest = max(furthest, abs(share - wanted) / wanted)
                fitted = [weight * (1 - wanted) / (1 - share) for weight in fitted]
                for index in having[key]:
                    fitted[index] *= wanted / share * (1 - share) / (1 - wanted)
            if furthest < _NEAR:
                return fitted
        raise InvalidInput(
            "bad_prevalence", "no choice among these films has all of these prevalences at once: state fewer"
        )


def _none_of(film: LabelledFilm) -> float:
    nothing = 1.0
    for _, probability in film.probabilities:
        nothing *= 1 - probability
    return nothing
