"""Films for the simulation of a reading room, drawn from predictions and labels in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.evaluation.films import FINDINGS, Label, Prediction
from models.evaluation.labels import read_labels
from models.evaluation.matching import match
from models.evaluation.predictions import read_predictions
from worklist.errors import InvalidInput
from worklist.simulation.films import DrawnFilms, LabelledFilm

_KEYS = tuple(kind.key for kind in FINDINGS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Films that a model judged.

    Attributes:
        films: those to draw from.
        sha256: digest of the model; empty where the file does not say it.
        left_out: films without a prediction of every finding, or in one file alone, or without a label of every one.
    """

    films: DrawnFilms
    sha256: str
    left_out: int


def judged_films(predictions: Path, labels: Path | None, prevalence: Mapping[str, float]) -> Judged:
    """Films of files that `firstread evaluate` reads.

    Args:
        predictions: what `firstread triage --json` or `firstread report --all` wrote, or a CSV.
        labels: what is true of them; None takes the model at its word.
        prevalence: of findings, instead of their share of these films.

    Raises:
        InvalidInput: a file cannot be used, it speaks of several models, or no film is left.
    """
    predicted = read_predictions(predictions)
    models = {prediction.model for prediction in predicted if prediction.model and not prediction.abstention}
    if len(models) > 1:
        raise InvalidInput("several_models", f"{predictions} speaks of {len(models)} models: simulate them apart")
    pairs: Sequence[tuple[Prediction, Label | None]] = [(each, None) for each in predicted]
    if labels is not None:
        pairs = match(predicted, read_labels(labels)).films
    keys = [key for key in _KEYS if any(key in prediction.probabilities for prediction in predicted)]
    films = tuple(film for prediction, label in pairs if (film := _film(prediction, label, keys)))
    if not keys or not films:
        raise InvalidInput("no_films", f"{predictions} has no film whose findings are all known: nothing to draw from")
    return Judged(
        films=DrawnFilms(films=films, prevalence=dict(prevalence)),
        sha256=next((model[2] for model in models if model), ""),
        left_out=len(predicted) - len(films),
    )


def _film(prediction: Prediction, label: Label | None, keys: Sequence[str]) -> LabelledFilm | None:
    said = prediction.probabilities
    if prediction.abstention or not all(key in said for key in keys):
        return None
    if label is not None and not all(key in label.truth for key in _KEYS):
        return None
    patient = (label.patient if label else None) or prediction.patient or prediction.file
    return LabelledFilm(
        present=None if label is None else frozenset(key for key in _KEYS if label.truth[key]),
        probabilities=tuple((key, said[key]) for key in keys),
        patient=patient,
    )
