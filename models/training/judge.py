"""Labelled films as the product reads and scores them: imaging and EmbeddedScorer, never the training code."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from imaging.files import read_image
from imaging.radiograph import Radiograph, read_radiograph
from models.embedded.scorer import EmbeddedScorer
from models.evaluation.films import FINDINGS, URGENT, Box, Label, Prediction
from models.evaluation.intervals import LEAST, TOO_FEW, Estimate, percentiles, resample
from models.evaluation.labels import read_labels
from models.evaluation.measure import OUTPUTS
from models.evaluation.metrics import Sample, calibrate, rank
from models.evaluation.paired import mean_areas
from models.training.quantize import Int8Comparison, compare_int8
from worklist.errors import InvalidInput
from worklist.finding import Analysis, FindingType, ImageReference

# Of the sharp validation films: area under the ROC curve at least, calibration error and loss by int8 at most.
TARGETS = {"urgent": 0.78, "mean": 0.76, "pneumothorax": 0.74, "ece": 0.05, "int8": 0.01}

_SHARP_PX = 256  # the copies of ChestX-ray14 at hand have 512 px or 128
_ORIGINAL_PX = 1024  # of the films of ChestX-ray14, in which readers drew their boxes
_INT8_FILMS = 128  # training films that set the ranges of the activations
_ARCHIVE_NAMES = {"effusion": FindingType.PLEURAL_EFFUSION.key, "edema": FindingType.PULMONARY_EDEMA.key}
_NO_PREVALENCE = 0.5  # rank() asks for one for its alarm rate, which is not used here


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A row of a manifest.

    Attributes:
        label: the film's labels, and where it lies.
        split: train or val.
        original: the name of the film it is a copy of.
        file: as the manifest names it.
    """

    label: Label
    split: str
    original: str
    file: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A labelled film and what the model said of it."""

    listed: Listed
    analysis: Analysis

    @property
    def is_sharp(self) -> bool:
        """Whether the film has more than the archive's smallest resolution."""
        return is_sharp(self.analysis.image)

    def probability(self, output: str) -> float:
        """The calibrated probability of a finding, or of urgent."""
        return self.prediction.probabilities[output]

    @property
    def prediction(self) -> Prediction:
        """The same as `firstread evaluate` takes it."""
        analysis, findings = self.analysis, self.analysis.findings
        return Prediction(
            file=self.listed.label.file,
            abstention="",
            probabilities={URGENT: analysis.score, **{found.type.key: found.probability for found in findings}},
            thresholds={URGENT: analysis.threshold, **{found.type.key: found.threshold for found in findings}},
            calls={URGENT: analysis.is_urgent, **{found.type.key: found.is_positive for found in findings}},
            boxes=tuple(
                Box(x=box.x, y=box.y, w=box.width, h=box.height, target=found.type.key)
                for found in findings
                if (box := found.region)
            ),
            model=(analysis.scorer.name, analysis.scorer.version, analysis.scorer.sha256),
        )


def is_sharp(image: ImageReference) -> bool:
    """Whether an image has more than the archive's smallest resolution."""
    return max(image.rows, image.columns) > _SHARP_PX


def read_manifest(manifest: Path, folder: Path | None = None) -> list[Listed]:
    """Every film of a manifest: file, split, image (name of the original) and the columns of `read_labels`.

    Args:
        manifest: CSV, one row a film.
        folder: which holds the manifest and its films, and from which labels are to name them; where it is not given,
            they are named as in the manifest.

    Raises:
        InvalidInput: the file cannot be used, or a column is missing.
    """
    labels = {label.file: label for label in read_labels(manifest)}
    with manifest.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    for column in ("file", "split", "image", "patient"):
        if column not in rows[0]:
            raise InvalidInput("missing_column", f"{manifest} has no column {column}: it is no manifest of films")
    for label in labels.values():
        if missing := set(OUTPUTS) - set(label.truth):
            raise InvalidInput(
                "missing_label", f"{manifest} does not say of {label.file}: {', '.join(sorted(missing))}"
            )
    above = manifest.parent.relative_to(folder) if folder else Path()
    return [
        Listed(
            label=replace(labels[row["file"]], file=(above / row["file"]).as_posix()),
            split=row["split"],
            original=row["image"],
            file=row["file"],
        )
        for row in rows
    ]


def read_manifests(manifests: Iterable[Path], folder: Path) -> list[Listed]:
    """Every film of several manifests, named as seen from `folder` where a manifest lies in it, else as it names them.

    Raises:
        InvalidInput: as read_manifest.
    """
    above = folder.resolve()
    inside = [(each, each.resolve().is_relative_to(above)) for each in manifests]
    return [film for each, is_in in inside for film in read_manifest(each.resolve(), above if is_in else None)]


def read_boxes(boxes: Path, rsna: Path | None = None) -> dict[str, tuple[Box, ...]]:
    """Readers' boxes of the six findings, and of opacities, by original, in pixels of the 1024 px originals.

    Args:
        boxes: CSV: image, finding, x, y, w, h.
        rsna: CSV of the RSNA challenge of 2018: image, boxes_xywh_1024, JSON.

    Raises:
        InvalidInput: a row is no box.
    """
    found: dict[str, tuple[Box, ...]] = {}
    try:
        if rsna:
            with rsna.open(newline="", encoding="utf-8-sig") as stream:
                for row in csv.DictReader(stream):
                    places = json.loads(row["boxes_xywh_1024"])
                    drawn = tuple(Box(x=x, y=y, w=w, h=h, target=FindingType.LUNG_OPACITY.key) for x, y, w, h in places)
                    if drawn:
                        found[row["image"]] = drawn
        with boxes.open(newline="", encoding="utf-8-sig") as stream:
            for row in csv.DictReader(stream):
                name = row["finding"].lower()
                target = _ARCHIVE_NAMES.get(name, name)
                x, y, w, h = (float(row[key]) for key in "xywh")
                if target in {kind.key for kind in FINDINGS}:
                    found[row["image"]] = (*found.get(row["image"], ()), Box(x=x, y=y, w=w, h=h, target=target))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput("bad_box", f"{boxes} is no table of image, finding, x, y, w and h ({error})") from error
    return found


def read_opacities(rsna: Path) -> dict[str, bool]:
    """Whether radiologists saw an opacity on a film, by original.

    Args:
        rsna: CSV of the RSNA challenge of 2018: image, rsna_class.

    Raises:
        InvalidInput: it cannot be read, or a column is missing.
    """
    try:
        with rsna.open(newline="", encoding="utf-8-sig") as stream:
            return {row["image"]: row["rsna_class"] == "Lung Opacity" for row in csv.DictReader(stream)}
    except (OSError, KeyError) as error:
        raise InvalidInput("bad_readings", f"{rsna} is no table of image and rsna_class ({error})") from error


def with_boxes(film: Judged, boxes: Iterable[Box]) -> Label:
    """The film's labels with readers' boxes, scaled from the original to the copy that was judged."""
    across, down = (side / _ORIGINAL_PX for side in (film.analysis.image.columns, film.analysis.image.rows))
    scaled = (replace(box, x=box.x * across, w=box.w * across, y=box.y * down, h=box.h * down) for box in boxes)
    return replace(film.listed.label, boxes=tuple(scaled))


def load_film(folder: Path, file: str) -> Radiograph:
    """A film of a manifest, ready to be scored.

    Raises:
        InvalidInput: film_missing, or it is no image.
    """
    try:
        with (folder / file).open("rb") as content:
            return read_radiograph(read_image(content, file))
    except OSError as error:
        raise InvalidInput("film_missing", f"{folder / file} cannot be read: name the manifest's own folder") from error


def judge(weights: Path, folder: Path, films: Sequence[Listed]) -> list[Judged]:
    """Score films with the network in `weights`.

    Raises:
        InvalidInput: as load_film; no_films, there are none.
        ModelUnavailable: as EmbeddedScorer.
    """
    if not films:
        raise InvalidInput("no_films", "there is no film to judge: the manifest lists none of that split")
    scorer = EmbeddedScorer(weights)
    shown = track(films, "scoring", console=Console(stderr=True), transient=True)
    return [Judged(listed=film, analysis=scorer.score(load_film(folder, film.label.file))) for film in shown]


def sample(films: Sequence[Judged], output: str, threshold: float | None = None) -> Sample:
    """Films as models.evaluation.metrics takes them; called positive from `threshold` on, or from the model's own."""
    probability = np.array([film.probability(output) for film in films], dtype=np.float64)
    own = np.array([film.prediction.calls[output] for film in films], dtype=np.bool_)
    return Sample(
        truth=np.array([film.listed.label.truth[output] for film in films], dtype=np.bool_),
        probability=probability,
        called=own if threshold is None else probability >= threshold,
        patient=np.unique([film.listed.label.patient or "" for film in films], return_inverse=True)[1],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """Areas under the ROC curve by output, their mean over the findings that have one, and calibration errors."""

    auc: dict[str, Estimate]
    mean: Estimate
    ece: dict[str, Estimate]


def headline(films: Sequence[Judged]) -> Headline:
    """The figures by which the model is judged, on some films."""
    samples = {output: sample(films, output) for output in OUTPUTS}
    return Headline(
        auc={output: rank(each, _NO_PREVALENCE).auc for output, each in samples.items()},
        mean=mean_of_findings(films),
        ece={output: calibrate(each).ece for output, each in samples.items()},
    )


def mean_of_findings(films: Sequence[Judged]) -> Estimate:
    """Mean AUC of the findings of which there are films with and without, its interval from a bootstrap of patients."""
    samples = [each for kind in FINDINGS if not (each := sample(films, kind.key)).lacks]
    if not samples:
        return Estimate(value=None, note="no finding with both classes")
    (value,) = mean_areas(samples, np.ones((1, len(films))))
    patient = samples[0].patient
    if patient is None or len(np.unique(patient)) < LEAST:
        return Estimate(value=float(value), note=TOO_FEW)
    draws = np.concatenate([mean_areas(samples, weights) for weights in resample(patient)])
    return percentiles(float(value), draws[np.isfinite(draws)])


def judge_int8(weights: Path, folder: Path, films: Sequence[Listed], judged: Sequence[Judged]) -> Int8Comparison:
    """The network in int8 beside float32 on judged films; training films of `films` set the ranges, drawn by seed."""
    train = [film for film in films if film.split == "train"]
    drawn = np.random.default_rng(0).permutation(len(train))[:_INT8_FILMS]
    return compare_int8(
        weights,
        (load_film(folder, train[index].label.file).pixels for index in drawn),
        (load_film(folder, film.listed.label.file).pixels for film in judged),
        np.stack([sample(judged, output).truth for output in OUTPUTS], axis=1),
    )
