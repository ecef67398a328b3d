"""Predictions and labels of films, and which belong together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.evaluation.tables import IDENTIFIERS, Row, read_rows
from models.evaluation.triage import Triaged, triaged
from worklist.errors import InvalidInput
from worklist.finding import FindingType
from worklist.triage import Urgency

URGENT = "urgent"
FINDINGS = (
    FindingType.PNEUMOTHORAX,
    FindingType.PLEURAL_EFFUSION,
    FindingType.CONSOLIDATION,
    FindingType.PNEUMONIA,
    FindingType.CARDIOMEGALY,
    FindingType.PULMONARY_EDEMA,
)
"""The six findings that are judged: any of them makes a film urgent by its labels."""
TARGETS = (URGENT, *(kind.key for kind in FINDINGS))
SUBGROUPS = ("sex", "age_band", "view")

_NAMES = {kind.label.lower(): kind.key for kind in FINDINGS} | {
    "effusion": FindingType.PLEURAL_EFFUSION.key,  # as ChestX-ray14 calls them (Wang et al., CVPR 2017)
    "edema": FindingType.PULMONARY_EDEMA.key,
}
_PREDICTED = _NAMES | {"score": URGENT, URGENT: URGENT}
_LABELLED = _NAMES | {URGENT: URGENT, "urgent6": URGENT}
_TRUTHS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
_LABEL_OF_FILM = {"urgent": True, "non-urgent": False}
_ABSTENTIONS = ("out_of_scope", "failed")
_NO_PREDICTION = "no_prediction"
_AGE = re.compile(r"(\d{1,3})(?:\.\d*)?([YMWD]?)", re.IGNORECASE)
_AGE_UNITS = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}  # in a year; Age String, PS3.5 6.2
_AGE_BANDS = ((17, "0-17"), (39, "18-39"), (59, "40-59"), (79, "60-79"), (120, "80+"))
_BOX_ITEMS = 5
_MODELS = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A box in source pixels, (x, y) its upper left corner; target is None where its finding is not stated."""

    x: float
    y: float
    w: float
    h: float
    target: str | None

    def __post_init__(self) -> None:
        """Refuse boxes without an area."""
        if not all(map(math.isfinite, (self.x, self.y, self.w, self.h))) or self.w <= 0 or self.h <= 0:
            raise ValueError("a box needs finite x, y and a width and height above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a model said of one film.

    Attributes:
        file: the film.
        abstention: why there is no prediction, such as out_of_scope or failed; empty where there is one.
        probabilities: 0 to 1, by target.
        thresholds: the model's operating points, by target, as far as they are known.
        calls: whether the model called the film positive, by target, as far as it is known.
        boxes: where it saw evidence.
        model: name, version and SHA-256 of the weights.
        triaged: what the list does with it; None where that is not known.
        identifiers: Study Instance UID, accession number and SOP Instance UIDs, as far as they are stated.
    """

    file: str
    abstention: str
    probabilities: Mapping[str, float]
    thresholds: Mapping[str, float]
    calls: Mapping[str, bool]
    boxes: tuple[Box, ...]
    model: tuple[str, str, str] | None
    triaged: Triaged | None = None
    identifiers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """What is true of one film, by target; what is not known is absent.

    Attributes:
        file: the film.
        truth: whether the finding is there, by target.
        patient: whose film it is; None in files without a patient column.
        groups: value of each of SUBGROUPS that the file states, `unknown` where its cell says nothing.
        boxes: where readers saw one of the six findings.
        foreign_boxes: how many boxes of other findings there were.
        identifiers: Study Instance UID, accession number and SOP Instance UIDs, as far as they are stated.
    """

    file: str
    truth: Mapping[str, bool]
    patient: str | None
    groups: Mapping[str, str]
    boxes: tuple[Box, ...]
    foreign_boxes: int
    identifiers: tuple[str, ...] = ()


def read_predictions(path: Path) -> list[Prediction]:
    """Predictions from a JSON array or JSON lines of `firstread triage --json`, or from a CSV file.

    A CSV file is what `firstread report --all` writes, or has a row a film and the columns file (or image, or an
    identifier), score (or urgent) and one a finding; score_threshold and <finding>_threshold, label (Urgent or
    Non-Urgent), urgency, harm and state are optional.

    Raises:
        InvalidInput: the file cannot be read, or a row does not say what it must; the message names the row.
    """
    films = [_prediction(where, row) for where, row in read_rows(path, _PREDICTED)]
    if all(film.abstention == _NO_PREDICTION for film in films):
        raise InvalidInput("missing_column", f"{path} has neither a score nor a finding: see firstread triage --json")
    return films


def read_labels(path: Path) -> list[Label]:
    """Labels from a CSV or JSON file: file (or image, or an identifier), and one column a finding.

    Optional are urgent (or urgent6; else any of the six findings), patient, sex, age, view and boxes, a JSON list of
    [x, y, w, h, finding] in source pixels. Other columns are not read.

    Raises:
        InvalidInput: the file cannot be read, or a row does not say what it must; the message names the row.
    """
    rows = read_rows(path, _LABELLED)
    if not any(target in row for _, row in rows for target in TARGETS):
        names = ", ".join(kind.key for kind in FINDINGS)
        raise InvalidInput("missing_column", f"{path} has no column to compare with: name one urgent, {names}")
    has_patients = any("patient" in row for _, row in rows)
    return [_label(where, row, has_patients=has_patients) for where, row in rows]


def _prediction(where: str, row: Row) -> Prediction:
    cells, named = dict(row), None
    harm = _number(where, "harm", row.get("harm"))
    if "threshold" in row and harm is None:  # the site's, where it is not the model's
        cells.setdefault(f"{URGENT} threshold", row["threshold"])
    for finding in _items(where, row, "findings"):
        target = _finding(finding.get("name"))
        if target and target in cells:
            raise InvalidInput("two_columns", f"{where} states {target} twice: leave one")
        if target:
            cells |= {target: finding.get("probability"), f"{target} threshold": finding.get("threshold")}
        if target and "named" in finding:
            named = (named or frozenset()) | ({target} if _truth(where, "named", finding["named"]) else set())
    probabilities = _numbers(where, cells, "")
    state = str(row.get("state") or "").lower()
    if probabilities and (state in _ABSTENTIONS or row.get("failure")):
        raise InvalidInput("contradiction", f"{where} has probabilities and no prediction at once: remove one")
    model = _model(row.get("model"))
    thresholds = {**(_operating_points(model[2]) if model else {}), **_numbers(where, cells, " threshold")}
    calls = {key: p >= thresholds[key] for key, p in probabilities.items() if key in thresholds}
    place = triaged(
        probabilities, sha256=model[2] if model else "", urgency=_urgency(where, row), harm=harm, named=named
    )
    if harm is not None and place:  # the class follows from the harm, and no threshold of the score matters
        thresholds.pop(URGENT, None)
        calls[URGENT] = place.is_flagged
    label = str(row.get("label") or "").lower()
    if label and label not in _LABEL_OF_FILM:
        raise InvalidInput("bad_label", f"{where} has the label {row['label']!r}: write Urgent or Non-Urgent")
    if label:
        calls[URGENT] = _LABEL_OF_FILM[label]
    return Prediction(
        file=row["file"],
        abstention="" if probabilities else state if state in _ABSTENTIONS else _NO_PREDICTION,
        probabilities=probabilities,
        thresholds=thresholds,
        calls=calls,
        boxes=tuple(
            _box(where, [crop.get(key) for key in ("x", "y", "w", "h")], crop.get("finding"))
            for crop in _items(where, row, "crops")
        ),
        model=model,
        triaged=place,
        identifiers=_identifiers(row),
    )


def _label(where: str, row: Row, *, has_patients: bool) -> Label:
    truth = {}
    for target in TARGETS:
        cell = row.get(target)
        if cell is None or cell == "":
            continue
        truth[target] = _truth(where, target, cell)
    findings = [truth.get(kind.key) for kind in FINDINGS]
    if URGENT not in truth and (any(findings) or None not in findings):
        truth[URGENT] = any(findings)
    patient = str(row.get("patient") or "")
    if has_patients and not patient:
        raise InvalidInput("missing_patient", f"{where} names no patient: fill the column or remove it")
    groups = {key: str(row[key] or "").upper() or "unknown" for key in ("sex", "view") if key in row}
    if "age" in row:
        groups["age_band"] = _age_band(str(row["age"] or ""))
    boxes = [_labelled_box(where, item) for item in _boxes(where, row.get("boxes"))]
    return Label(
        file=row["file"],
        truth=truth,
        patient=patient or None,
        groups=groups,
        boxes=tuple(box for box in boxes if box),
        foreign_boxes=boxes.count(None),
        identifiers=_identifiers(row),
    )


def _truth(where: str, what: str, cell: object) -> bool:
    if str(cell).lower() not in _TRUTHS:
        raise InvalidInput("bad_label", f"{where} says {cell!r} of {what}: write 1, 0 or nothing where unknown")
    return _TRUTHS[str(cell).lower()]


def _urgency(where: str, row: Row) -> Urgency | None:
    cell = str(row.get("urgency") or "").lower()
    if cell and cell not in set(Urgency):
        raise InvalidInput("bad_label", f"{where} has the urgency {cell!r}: write {', '.join(Urgency)}")
    return Urgency(cell) if cell else None


def _identifiers(row: Row) -> tuple[str, ...]:
    cells = (row.get(name) for name in IDENTIFIERS)
    texts = (text for cell in cells for text in (cell if isinstance(cell, list) else [cell]))
    return tuple(dict.fromkeys(str(text) for text in texts if text))


def _model(value: object) -> tuple[str, str, str] | None:
    if not isinstance(value, dict):
        return None
    return str(value.get("name", "")), str(value.get("version", "")), str(value.get("sha256", ""))


def _items(where: str, row: Row, key: str) -> list[dict[str, Any]]:
    items = row.get(key) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidInput("bad_json", f"{where} has {key} that are no list of objects: see firstread triage --json")
    return items


def _numbers(where: str, row: Row, suffix: str) -> dict[str, float]:
    numbers = {target: _number(where, target + suffix, row.get(target + suffix)) for target in TARGETS}
    return {target: number for target, number in numbers.items() if number is not None}


def _number(where: str, what: str, cell: Any) -> float | None:  # noqa: ANN401 - a cell holds anything
    if cell is None or cell == "":
        return None
    try:
        number = float(cell) if not isinstance(cell, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:  # a NaN is never between
        raise InvalidInput("bad_number", f"{where} has {cell!r} for {what}: write a number between 0 and 1")
    return number


def _boxes(where: str, cell: object) -> list[object]:
    try:
        boxes = json.loads(cell) if isinstance(cell, str) and cell else cell or []
    except (ValueError, RecursionError):
        boxes = None
    if not isinstance(boxes, list):
        raise InvalidInput("bad_box", f"{where} has boxes that are no list: write [[x, y, w, h, finding], ...]")
    return boxes


def _labelled_box(where: str, item: object) -> Box | None:
    """None for a finding that is none of the six."""
    if not isinstance(item, list) or len(item) != _BOX_ITEMS:
        raise InvalidInput("bad_box", f"{where} has a box {item!r}: write [x, y, w, h, finding]")
    box = _box(where, item[:4], item[4])
    return box if box.target else None


def _box(where: str, numbers: Sequence[Any], finding: object) -> Box:
    target = _finding(finding)
    try:
        x, y, w, h = map(float, numbers)
        return Box(x=x, y=y, w=w, h=h, target=target)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            "bad_box", f"{where} has a box {list(numbers)!r}: x, y, w and h are pixels, w and h above 0"
        ) from error


def _finding(name: object) -> str | None:
    return _NAMES.get(str(name).lower().replace("_", " "))


def _age_band(age: str) -> str:
    """The band of an age in years, or of an Age String (PS3.5 6.2) such as 034Y."""
    parts = _AGE.fullmatch(age)
    if not parts:
        return "unknown"
    years = int(parts[1]) // _AGE_UNITS[parts[2].upper()]
    return next((band for limit, band in _AGE_BANDS if years <= limit), "unknown")


@lru_cache
def _operating_points(sha256: str) -> Mapping[str, float]:
    """The thresholds of a model that is shipped with Firstread; none for any other."""
    for sidecar in sorted(_MODELS.glob("*/weights/*.json")):
        document = json.loads(sidecar.read_text(encoding="utf-8"))
        if document.get("sha256") == sha256 and "outputs" in document:
            return {output["key"]: float(output["threshold"]) for output in document["outputs"]}
    return {}
