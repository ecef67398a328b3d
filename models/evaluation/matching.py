"""Which prediction and which label speak of the same film."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from models.evaluation.films import Label, Prediction
from models.evaluation.tables import FILM_COLUMNS
from worklist.errors import InvalidInput

_IMAGE_SUFFIX = re.compile(r"\.(dcm|dicom|png|jpe?g)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """Films that both files know, sorted by the label's file, and those that only one knows.

    A label has the subgroups, and without any patient among the labels the patient, that its prediction states.
    """

    films: tuple[tuple[Prediction, Label], ...]
    unmatched_predictions: tuple[str, ...]
    unmatched_labels: tuple[str, ...]


class LabelsByName:
    """Labels, to be found by what their films are called."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self._files = [label.file for label in labels]
        self._by_key: dict[str, list[Label]] = {}
        for label in labels:
            for key in dict.fromkeys((_parts(label.file)[-1], *label.identifiers)):
                self._by_key.setdefault(key, []).append(label)

    @property
    def files(self) -> list[str]:
        """What the labels call their films."""
        return list(self._files)

    def of(self, file: str, identifiers: Sequence[str]) -> Label | None:
        """The label of a film, by its path or name, else by the first of its identifiers that finds one.

        Raises:
            InvalidInput: ambiguous_film, the path fits two labels equally.
        """
        candidates = next((self._by_key[key] for key in (_parts(file)[-1], *identifiers) if key in self._by_key), [])
        closeness = [_closeness(file, label.file) for label in candidates]
        closest = [label for label, close in zip(candidates, closeness, strict=True) if close == max(closeness)]
        if len(closest) > 1:
            raise InvalidInput(
                "ambiguous_film",
                f"{file} may be {closest[0].file} or {closest[1].file} of the labels: name it more exactly",
            )
        return closest[0] if closest else None


def match(predictions: Sequence[Prediction], labels: Sequence[Label]) -> Matched:
    """Predictions and labels of the same film: by path, or by name without the image suffix, or by an identifier.

    Of several labels of one name, the one that shares the most trailing folders is meant. Identifiers (Study Instance
    UID, accession number, SOP Instance UID) are asked in that order, and only where the name finds nothing.

    Raises:
        InvalidInput: ambiguous_film where that leaves more than one; no_match where no film is in both files.
    """
    known = LabelsByName(labels)
    found: dict[str, tuple[Prediction, Label]] = {}
    unmatched = []
    for prediction in predictions:
        label = known.of(prediction.file, prediction.identifiers)
        if label is None:
            unmatched.append(prediction.file)
            continue
        if label.file in found:
            raise InvalidInput(
                "ambiguous_film",
                f"{found[label.file][0].file} and {prediction.file} both match {label.file} of the labels: "
                "remove one prediction or name the film more exactly",
            )
        found[label.file] = (prediction, label)
    if not found:
        raise InvalidInput(
            "no_match",
            f"no film is in both files: predictions name {predictions[0].file}, labels {labels[0].file}, for example; "
            f"films are matched by {FILM_COLUMNS}",
        )
    return Matched(
        films=_completed([found[file] for file in sorted(found)]),
        unmatched_predictions=tuple(sorted(unmatched)),
        unmatched_labels=tuple(sorted(label.file for label in labels if label.file not in found)),
    )


def _completed(films: Sequence[tuple[Prediction, Label]]) -> tuple[tuple[Prediction, Label], ...]:
    """Labels with the subgroups and patients that only predictions state; a film without one is its own patient."""
    from_predictions = not any(label.patient for _, label in films) and any(film.patient for film, _ in films)
    return tuple(
        (
            prediction,
            replace(
                label,
                groups={**prediction.groups, **label.groups},
                patient=prediction.patient or prediction.file if from_predictions else label.patient,
            ),
        )
        for prediction, label in films
    )


def _parts(file: str) -> tuple[str, ...]:
    return PurePosixPath(_IMAGE_SUFFIX.sub("", file)).parts


def _closeness(one: str, other: str) -> tuple[bool, int, bool]:
    pairs = list(zip(reversed(_parts(one)), reversed(_parts(other)), strict=False))
    shared = next((count for count, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return one == other, shared, PurePosixPath(one).name == PurePosixPath(other).name
