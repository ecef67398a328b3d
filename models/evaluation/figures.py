"""Predictions held against labels: the figures of the command `evaluate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation.films import (
    FINDINGS,
    SUBGROUPS,
    TARGETS,
    URGENT,
    Label,
    Prediction,
    read_labels,
    read_predictions,
)
from models.evaluation.matching import match
from models.evaluation.triage import Triaged
from worklist.errors import InvalidInput, PermanentError

try:
    from models.evaluation.boxes import OVERLAPS, Localization, localize
    from models.evaluation.intervals import BOOTSTRAPS, SEED, Estimate, Indices, Numbers, proportion
    from models.evaluation.metrics import SENSITIVITIES, SPECIFICITY, Sample, calibrate, operate, rank
    from models.evaluation.order import flagged_without_words, judge_order, judge_words
    from models.evaluation.plots import save_plots
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in {"matplotlib", "sklearn"}:
        raise
    raise PermanentError(
        "extra_missing", f"firstread evaluate needs {error.name}: run pip install 'firstread[evaluation]'"
    ) from error

TITLES = {URGENT: "Any urgent finding"} | {kind.key: kind.label for kind in FINDINGS}
TOO_FEW = "too few"  # the note of a subgroup that is not ranked
_LEAST_IN_SUBGROUP = 10  # positive films, and as many negative ones
Film = tuple[Prediction, Label]


def evaluate_files(predictions: Path, labels: Path, *, prevalence: float, plots: Path | None) -> dict[str, Any]:
    """The figures of docs/evaluation.md, ready for JSON.

    Args:
        predictions: what `firstread triage --json` wrote, or JSON lines or CSV.
        labels: CSV or JSON lines.
        prevalence: share of positive films for which predictive values and alarm rates are stated.
        plots: folder for the pictures; None draws none.

    Raises:
        InvalidInput: a file cannot be used, no film is in both, or the prevalence is not between 0 and 1.
    """
    if not 0 < prevalence < 1:
        raise InvalidInput("bad_prevalence", f"the prevalence is {prevalence}: choose one between 0 and 1")
    predicted, labelled = read_predictions(predictions), read_labels(labels)
    matched = match(predicted, labelled)
    scored = [film for film in matched.films if not film[0].abstention]
    abstained = [film for film in matched.films if film[0].abstention]
    samples = {target: _sample(scored, target) for target in TARGETS}
    has_patients = matched.films[0][1].patient is not None
    if plots:
        save_plots(samples, TITLES, plots)
    return {
        "films": {
            "predictions": len(predicted),
            "labels": len(labelled),
            "matched": len(matched.films),
            "scored": len(scored),
            "coverage": len(scored) / len(matched.films),
            "abstentions": {
                reason: [prediction.file for prediction, _ in abstained if prediction.abstention == reason]
                for reason in ("out_of_scope", "failed", "no_prediction")
            },
            "abstained_urgent": sum(label.truth.get(URGENT, False) for _, label in abstained),
            "unmatched_predictions": list(matched.unmatched_predictions),
            "unmatched_labels": list(matched.unmatched_labels),
        },
        "patients": len({label.patient for _, label in scored}) if has_patients else None,
        "intervals": {"confidence": 0.95, "draws": "patients" if has_patients else "films"}
        | {"bootstraps": BOOTSTRAPS, "seed": SEED},
        "prevalence": prevalence,
        "models": [
            dict(zip(("name", "version", "sha256"), model, strict=True)) | {"films": count}
            for model, count in Counter(prediction.model for prediction, _ in scored if prediction.model).items()
        ],
        "targets": {target: _figures(samples[target], scored, target, prevalence) for target in TARGETS},
        "list": _list(scored),
        "subgroups": {key: _subgroups(scored, key, samples, prevalence) for key in SUBGROUPS},
        "localization": {target: _located(found) for target, found in localize(scored).items()},
        "foreign_boxes": sum(label.foreign_boxes for _, label in matched.films),
    }


def _labelled(films: Sequence[Film], target: str) -> list[Film]:
    return [
        (prediction, label)
        for prediction, label in films
        if target in label.truth and target in prediction.probabilities
    ]


def _sample(films: Sequence[Film], target: str) -> Sample:
    judged = _labelled(films, target)
    calls = [prediction.calls.get(target) for prediction, _ in judged]
    return Sample(
        truth=np.array([label.truth[target] for _, label in judged], dtype=np.bool_),
        probability=np.array([prediction.probabilities[target] for prediction, _ in judged], dtype=np.float64),
        called=None if None in calls else np.array(calls, dtype=np.bool_),
        patient=_patients([label for _, label in judged]),
    )


def _figures(sample: Sample, films: Sequence[Film], target: str, prevalence: float) -> dict[str, Any]:
    ranking, point = rank(sample, prevalence), operate(sample, prevalence)
    thresholds = {prediction.thresholds.get(target) for prediction, _ in _labelled(films, target)}
    return {
        "n": len(sample.truth),
        "positives": int(sample.truth.sum()),
        "without_label": sum(target not in label.truth for _, label in films),
        "without_probability": sum(target not in prediction.probabilities for prediction, _ in films),
        "auc": asdict(ranking.auc),
        "at_specificity": {f"{SPECIFICITY:.2f}": asdict(ranking.at_specificity)},
        "at_sensitivity": {
            f"{aim:.2f}": asdict(at) for aim, at in zip(SENSITIVITIES, ranking.at_sensitivity, strict=True)
        },
        "operating_point": asdict(point) | {"threshold": thresholds.pop() if len(thresholds) == 1 else None}
        if point
        else None,
        "calibration": asdict(calibrate(sample)),
    }


def _list(films: Sequence[Film]) -> dict[str, Any]:
    """What the reading list makes of the films: which it moves, how far up sick films come, what it says of them."""
    known = [(prediction.triaged, label) for prediction, label in films if prediction.triaged]
    triaged = [each for each, _ in known]
    patient = _patients([label for _, label in known])
    key = np.array([each.sort_key for each in triaged], dtype=np.float64)
    worded = [(each.named, label.truth) for each, label in known if each.named is not None]
    says = len(worded) == len(known) > 0
    return {
        "films": len(known),
        "without_triage": len(films) - len(known),
        "moved": asdict(proportion(key > 0, patient, note="no film whose place is known")),
        "order": {target: _placed(known, key, target) for target in TARGETS},
        "named": {
            target: asdict(words)
            for target, words in judge_words([n for n, _ in worded], [t for _, t in worded], patient).items()
        }
        if says
        else None,
        "flagged_without_words": asdict(flagged_without_words(triaged, patient)) if says else None,
    }


def _placed(known: Sequence[tuple[Triaged, Label]], key: Numbers, target: str) -> dict[str, Any]:
    """The order, held against one finding."""
    judged = np.array([target in label.truth for _, label in known], dtype=np.bool_)
    labels = [label for _, label in known if target in label.truth]
    truth = np.array([label.truth[target] for label in labels], dtype=np.bool_)
    return asdict(judge_order(key[judged], truth, _patients(labels)))


def _patients(labels: Sequence[Label]) -> Indices | None:
    names = [label.patient or "" for label in labels]
    return np.unique(names, return_inverse=True)[1] if any(names) else None


def _subgroups(
    films: Sequence[Film], key: str, samples: Mapping[str, Sample], prevalence: float
) -> dict[str, dict[str, Any]]:
    groups = sorted({label.groups[key] for _, label in films if key in label.groups})
    return {
        group: {
            target: _subgroup(
                sample.where(
                    np.array([label.groups.get(key) == group for _, label in _labelled(films, target)], np.bool_)
                ),
                prevalence,
            )
            for target, sample in samples.items()
        }
        for group in groups
    }


def _subgroup(sample: Sample, prevalence: float) -> dict[str, Any]:
    positives, count = int(sample.truth.sum()), len(sample.truth)
    few = min(positives, count - positives) < _LEAST_IN_SUBGROUP
    auc = Estimate(value=None, note=TOO_FEW) if few else rank(sample, prevalence).auc
    return {"n": count, "positives": positives, "auc": asdict(auc)}


def _located(found: Localization) -> dict[str, Any]:
    figures = asdict(found)
    return figures | {"overlapping": dict(zip(map(str, OVERLAPS), figures["overlapping"], strict=True))}
