"""Predictions held against labels: the figures of the command `evaluate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation.films import FINDINGS, SUBGROUPS, TARGETS, UNKNOWN, URGENT, Label, Prediction
from models.evaluation.labels import read_labels
from models.evaluation.matching import match
from models.evaluation.predictions import read_predictions
from models.evaluation.prevalence import Prevalence, prevalence_of
from worklist.errors import PermanentError

try:
    from models.evaluation.boxes import OVERLAPS, Localization, localize
    from models.evaluation.intervals import BOOTSTRAPS, SEED, Estimate
    from models.evaluation.listed import list_figures, patients_of
    from models.evaluation.metrics import SENSITIVITIES, SPECIFICITY, Sample, area, calibrate, operate, rank
    from models.evaluation.plots import Panel, save_plots
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in {"matplotlib", "sklearn"}:
        raise
    raise PermanentError(
        "extra_missing", f"firstread evaluate needs {error.name}: run pip install 'firstread[evaluation]'"
    ) from error

TITLES = {URGENT: "Any urgent finding"} | {kind.key: kind.label for kind in FINDINGS}
TOO_FEW = "too few"  # the note of a subgroup that is not ranked
_LEAST_IN_SUBGROUP = 10  # positive films, and as many negative ones
_DIGITS = 12  # of a digest, in a picture
Film = tuple[Prediction, Label]


def evaluate_files(
    predictions: Path, labels: Path, *, prevalence: Mapping[str, float], plots: Path | None
) -> dict[str, Any]:
    """The figures of docs/evaluation.md, ready for JSON.

    Args:
        predictions: what `firstread triage --json` or `firstread report --all` wrote, or JSON lines or CSV.
        labels: CSV or JSON lines.
        prevalence: by target, for predictive values and alarm rates; of a target left out, that of the films.
        plots: folder for the pictures; None draws none.

    Raises:
        InvalidInput: a file cannot be used, no film is in both, or the plots cannot be written.
    """
    predicted, labelled = read_predictions(predictions), read_labels(labels)
    matched = match(predicted, labelled)
    scored = [film for film in matched.films if not film[0].abstention]
    abstained = [film for film in matched.films if film[0].abstention]
    samples = {target: _sample(scored, target) for target in TARGETS}
    has_patients = matched.films[0][1].patient is not None
    result: dict[str, Any] = {
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
            "abstention_codes": dict(
                Counter(prediction.failure_code for prediction, _ in abstained if prediction.failure_code).most_common()
            ),
            "abstained_urgent": sum(label.truth.get(URGENT, False) for _, label in abstained),
            "unmatched_predictions": list(matched.unmatched_predictions),
            "unmatched_labels": list(matched.unmatched_labels),
        },
        "patients": len({label.patient for _, label in scored}) if has_patients else None,
        "intervals": {"confidence": 0.95, "draws": "patients" if has_patients else "films"}
        | {"bootstraps": BOOTSTRAPS, "seed": SEED},
        "models": [
            dict(zip(("name", "version", "sha256"), model, strict=True)) | {"films": count}
            for model, count in Counter(prediction.model for prediction, _ in scored if prediction.model).items()
        ],
        "policies": [
            {"sha256": policy, "films": count}
            for policy, count in Counter(prediction.policy for prediction, _ in scored if prediction.policy).items()
        ],
        "targets": {
            target: _figures(
                sample, scored, target, prevalence_of(target, prevalence, int(sample.truth.sum()), len(sample.truth))
            )
            for target, sample in samples.items()
        },
        "list": list_figures(scored),
        "subgroups": {key: _subgroups(scored, key, samples) for key in SUBGROUPS},
        "localization": {target: _located(found) for target, found in localize(scored).items()},
        "foreign_boxes": sum(label.foreign_boxes for _, label in matched.films),
    }
    if plots:
        panels = {
            target: Panel(title=TITLES[target], sample=sample, auc=Estimate(**result["targets"][target]["auc"]))
            for target, sample in samples.items()
        }
        save_plots(panels, _heading(result["models"], len(scored)), plots)
    return result


def _heading(models: Sequence[Mapping[str, Any]], films: int) -> str:
    """What the pictures show: model, version, the beginning of its digest, and how many films."""
    names = [f"{model['name']} {model['version']}, SHA-256 {model['sha256'][:_DIGITS]}" for model in models]
    return f"{' and '.join(names) or 'Model not stated'}: {films} films"


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
        patient=patients_of([label for _, label in judged]),
    )


def _figures(sample: Sample, films: Sequence[Film], target: str, prevalence: Prevalence) -> dict[str, Any]:
    share = prevalence.value or 0.0  # where it is 0 or not known, there is no sensitivity that it could weigh
    ranking, point = rank(sample, share), operate(sample, share)
    stated = {prediction.thresholds.get(target) for prediction, _ in _labelled(films, target)}
    thresholds = sorted(threshold for threshold in stated if threshold is not None)
    return {
        "n": len(sample.truth),
        "positives": int(sample.truth.sum()),
        "without_label": sum(target not in label.truth for _, label in films),
        "without_probability": sum(target not in prediction.probabilities for prediction, _ in films),
        "prevalence": asdict(prevalence),
        "auc": asdict(ranking.auc),
        "at_specificity": {f"{SPECIFICITY:.2f}": asdict(ranking.at_specificity)},
        "at_sensitivity": {
            f"{aim:.2f}": asdict(at) for aim, at in zip(SENSITIVITIES, ranking.at_sensitivity, strict=True)
        },
        "thresholds": thresholds,
        "operating_point": asdict(point) | {"threshold": thresholds[0] if len(stated) == len(thresholds) == 1 else None}
        if point
        else None,
        "calibration": asdict(calibrate(sample)),
    }


def _subgroups(films: Sequence[Film], key: str, samples: Mapping[str, Sample]) -> dict[str, dict[str, Any]]:
    groups = sorted({label.groups[key] for _, label in films if key in label.groups} - {UNKNOWN})
    if groups and any(label.groups.get(key) == UNKNOWN for _, label in films):
        groups.append(UNKNOWN)
    return {
        group: {
            target: _subgroup(
                sample.where(
                    np.array([label.groups.get(key) == group for _, label in _labelled(films, target)], np.bool_)
                )
            )
            for target, sample in samples.items()
        }
        for group in groups
    }


def _subgroup(sample: Sample) -> dict[str, Any]:
    positives, count = int(sample.truth.sum()), len(sample.truth)
    few = min(positives, count - positives) < _LEAST_IN_SUBGROUP
    auc = Estimate(value=None, note=TOO_FEW) if few else area(sample)
    return {"n": count, "positives": positives, "auc": asdict(auc)}


def _located(found: Localization) -> dict[str, Any]:
    figures = asdict(found)
    return figures | {"overlapping": dict(zip(map(str, OVERLAPS), figures["overlapping"], strict=True))}
