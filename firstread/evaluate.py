"""Predictions held against labels: the figures of the command `evaluate`, as JSON or as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from firstread.tables import print_json
from models.evaluation.films import SUBGROUPS, TARGETS, URGENT, Label, Prediction, match, read_labels, read_predictions
from worklist.errors import InvalidInput, PermanentError
from worklist.finding import FindingType

try:
    from models.evaluation.boxes import OVERLAPS, Localization, localize
    from models.evaluation.intervals import BOOTSTRAPS, SEED, Estimate
    from models.evaluation.metrics import SENSITIVITIES, SPECIFICITY, Sample, calibrate, operate, rank
    from models.evaluation.plots import save_plots
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in {"matplotlib", "sklearn"}:
        raise
    raise PermanentError(
        "extra_missing", f"firstread evaluate needs {error.name}: run pip install 'firstread[evaluation]'"
    ) from error

_TITLES = {URGENT: "Any urgent finding"} | {type_.value: type_.label for type_ in FindingType}
_LEAST_IN_SUBGROUP = 10  # positive films, and as many negative ones
_TOO_FEW = "too few"
_NAMED = 5  # files in a line for people
_TITLE_WIDTH = 13  # of Consolidation
_INTERVAL_WIDTH = 11  # of [0.69,0.81], which is not to be broken

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
        save_plots(samples, _TITLES, plots)
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
        "subgroups": {key: _subgroups(scored, key, samples, prevalence) for key in SUBGROUPS},
        "localization": {target: _located(found) for target, found in localize(scored).items()},
        "foreign_boxes": sum(label.foreign_boxes for _, label in matched.films),
    }


def print_evaluation(result: Mapping[str, Any], *, as_json: bool) -> None:
    """The figures as JSON, or as tables with the films that were left out."""
    if as_json:
        print_json(result)
        return
    console = Console()
    for line in _lines(result):
        console.print(escape(line), highlight=False)
    for table in _tables(result):
        console.print(table)
    notes: dict[str, list[str]] = {}
    for target, figures in result["targets"].items():
        for note in dict.fromkeys(_notes(figures)):
            notes.setdefault(note, []).append(_TITLES[target])
    for note, titles in notes.items():
        console.print(f"{note.capitalize()}: {', '.join(titles)}", highlight=False)


def _notes(figures: Mapping[str, Any]) -> Iterator[str]:
    for value in figures.values():
        if isinstance(value, dict):
            yield from _notes(value)
    if figures.get("note"):
        yield figures["note"]


def _labelled(films: Sequence[Film], target: str) -> list[Film]:
    return [
        (prediction, label)
        for prediction, label in films
        if target in label.truth and target in prediction.probabilities
    ]


def _sample(films: Sequence[Film], target: str) -> Sample:
    judged = _labelled(films, target)
    calls = [prediction.calls.get(target) for prediction, _ in judged]
    patients = [label.patient or "" for _, label in judged]
    return Sample(
        truth=np.array([label.truth[target] for _, label in judged], dtype=np.bool_),
        probability=np.array([prediction.probabilities[target] for prediction, _ in judged], dtype=np.float64),
        called=None if None in calls else np.array(calls, dtype=np.bool_),
        patient=np.unique(patients, return_inverse=True)[1] if any(patients) else None,
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
    auc = Estimate(value=None, note=_TOO_FEW) if few else rank(sample, prevalence).auc
    return {"n": count, "positives": positives, "auc": asdict(auc)}


def _located(found: Localization) -> dict[str, Any]:
    figures = asdict(found)
    return figures | {"overlapping": dict(zip(map(str, OVERLAPS), figures["overlapping"], strict=True))}


def _lines(result: Mapping[str, Any]) -> list[str]:
    films = result["films"]
    lines = [
        f"Films in both files: {films['matched']}, with a prediction: {films['scored']} "
        f"(coverage {films['coverage']:.1%})" + (f", patients: {result['patients']}" if result["patients"] else "")
    ]
    lines += [
        f"Abstained, {reason.replace('_', ' ')}: {_some(files)}"
        for reason, files in films["abstentions"].items()
        if files
    ]
    if films["abstained_urgent"]:
        lines.append(f"Urgent films without a prediction: {films['abstained_urgent']}")
    for side in ("predictions", "labels"):
        if films[f"unmatched_{side}"]:
            other = {"predictions": "label", "labels": "prediction"}[side]
            lines.append(f"{side.capitalize()} without a {other}: {_some(films[f'unmatched_{side}'])}")
    if len(result["models"]) > 1:
        lines.append(f"Predictions of {len(result['models'])} models: evaluate them apart")
    draws = result["intervals"]["draws"]
    lines.append(f"In brackets 95 % intervals, {draws} taken as independent")
    lines.append(f"At a prevalence of {result['prevalence']:g}: alarms (share of films called positive), PPV and NPV")
    return lines


def _some(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED} more, see --json" if len(files) > _NAMED else ""
    return f"{len(files)} ({', '.join(files[:_NAMED])}{more})"


def _tables(result: Mapping[str, Any]) -> list[Table]:
    recall, aim = f"{SENSITIVITIES[0]:.2f}", f"{SPECIFICITY:.2f}"
    ranking = _table(
        "Ranking", ("Positive",), ("AUC", f"Sens. at spec. {aim}", f"Spec. at sens. {recall}", "Alarms there")
    )
    calls = _table("Operating point", ("Threshold",), ("Sensitivity", "Specificity", "PPV", "NPV"))
    trust = _table("Calibration", ("Mean", "Positive", "Brier", "ECE"), ("Slope", "Intercept"))
    for target, figures in result["targets"].items():
        title, n, positives = _TITLES[target], figures["n"], figures["positives"]
        high, low = figures["at_sensitivity"][recall], figures["at_specificity"][aim]
        shown = (figures["auc"], low["sensitivity"], high["specificity"], high["alarm_rate"])
        ranking.add_row(title, f"{positives} of {n}", *map(_cell, shown))
        point = figures["operating_point"]
        if point:
            names = ("sensitivity", "specificity", "ppv_at_prevalence", "npv_at_prevalence")
            threshold = "" if point["threshold"] is None else f"{point['threshold']:.3f}"
            calls.add_row(title, threshold, *(_cell(point[name]) for name in names))
        else:
            calls.add_row(title, "not stated")
        mean, *others = (
            _cell(figures["calibration"][name]) for name in ("mean_probability", "brier", "ece", "slope", "intercept")
        )
        trust.add_row(title, mean, f"{positives / n:.2f}" if n else "", *others)
    subgroups = _table("Any urgent finding in subgroups", ("Positive",), ("AUC",))
    for key, groups in result["subgroups"].items():
        for group, figures in groups.items():
            urgent = figures[URGENT]
            name = escape(f"{key.replace('_', ' ')} {group}")
            subgroups.add_row(name, f"{urgent['positives']} of {urgent['n']}", _cell(urgent["auc"]))
    overlaps = (f"IoU >= {least}" for least in OVERLAPS)
    boxes = _table("Boxes", ("Boxes", "Without crop", "Mean IoU"), (*overlaps, "Pointing game"))
    for target, figures in result["localization"].items():
        shares = (figures["mean_iou"], *figures["overlapping"].values(), figures["pointing_game"])
        boxes.add_row(_TITLES[target], str(figures["boxes"]), str(figures["without_crop"]), *map(_cell, shares))
    return [ranking, calls, trust, *(table for table in (subgroups, boxes) if table.row_count)]


def _table(title: str, numbers: Sequence[str], intervals: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", min_width=_TITLE_WIDTH)
    for heading in numbers:
        table.add_column(heading, justify="right")
    for heading in intervals:
        table.add_column(heading, justify="right", min_width=_INTERVAL_WIDTH)
    return table


def _cell(estimate: Mapping[str, Any]) -> Text:
    if estimate["value"] is None:
        return Text(_TOO_FEW if estimate["note"] == _TOO_FEW else "-")
    value = f"{estimate['value']:.2f}"
    return Text(value if estimate["low"] is None else f"{value} [{estimate['low']:.2f},{estimate['high']:.2f}]")
