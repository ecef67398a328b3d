"""Predictions of films: what `firstread triage --json` or `firstread report --all` wrote, or a CSV of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.evaluation.cells import (
    box_of,
    finding_of,
    groups_of,
    identifiers_of,
    seconds_of,
    share_of,
    truth_of,
)
from models.evaluation.films import NAMES, TARGETS, URGENT, Prediction
from models.evaluation.shipped import shipped_thresholds
from models.evaluation.tables import Row, read_rows
from models.evaluation.triage import Stated, Words, triaged
from worklist.errors import InvalidInput
from worklist.triage import Urgency

_COLUMNS = NAMES | {"score": URGENT, URGENT: URGENT}
_LABEL_OF_FILM = {"urgent": True, "non-urgent": False}
_ABSTENTIONS = ("out_of_scope", "failed")
_NO_PREDICTION = "no_prediction"


def read_predictions(path: Path) -> list[Prediction]:
    """Predictions from a JSON array or JSON lines of `firstread triage --json`, or from a CSV file.

    A CSV file is what `firstread report --all` writes, or has a row a film and the columns file (or image, or an
    identifier), score (or urgent) and one a finding; score_threshold and <finding>_threshold, label (Urgent or
    Non-Urgent), urgency, harm, head_start_s, state, patient, age and the columns of SUBGROUPS are optional.

    Raises:
        InvalidInput: the file cannot be read, or a row does not say what it must; the message names the row.
    """
    films = [_prediction(where, row) for where, row in read_rows(path, _COLUMNS)]
    if all(film.abstention == _NO_PREDICTION for film in films):
        raise InvalidInput("missing_column", f"{path} has neither a score nor a finding: see firstread triage --json")
    return films


def _prediction(where: str, row: Row) -> Prediction:
    cells = dict(row)
    harm = share_of(where, "harm", row.get("harm"))
    if "threshold" in row and harm is None:  # the site's, where it is not the model's
        cells.setdefault(f"{URGENT} threshold", row["threshold"])
    for finding in _items(where, row, "findings"):
        target = finding_of(finding.get("name"))
        if target and target in cells:
            raise InvalidInput("two_columns", f"{where} states {target} twice: leave one")
        if target:
            cells |= {target: finding.get("probability"), f"{target} threshold": finding.get("threshold")}
    probabilities = _shares(where, cells, "")
    state = str(row.get("state") or "").lower()
    if probabilities and (state in _ABSTENTIONS or row.get("failure")):
        raise InvalidInput("contradiction", f"{where} has probabilities and no prediction at once: remove one")
    model = _model(row.get("model"))
    thresholds = {**(shipped_thresholds(model[2]) if model else {}), **_shares(where, cells, " threshold")}
    calls = {key: p >= thresholds[key] for key, p in probabilities.items() if key in thresholds}
    stated = Stated(
        urgency=_urgency(where, row),
        harm=harm,
        head_start_s=seconds_of(where, "the head start", row.get("head start s")),
        words=_words(where, row),
    )
    place = triaged(probabilities, model[2] if model else "", stated)
    if harm is not None and place:  # the class follows from the harm, and no threshold of the score matters
        thresholds.pop(URGENT, None)
        calls[URGENT] = place.is_flagged
    label = str(row.get("label") or "").lower()
    if label and label not in _LABEL_OF_FILM:
        raise InvalidInput("bad_label", f"{where} has the label {row['label']!r}: write Urgent or Non-Urgent")
    if label:
        calls[URGENT] = _LABEL_OF_FILM[label]
    failure = row.get("failure")
    return Prediction(
        file=row["file"],
        abstention="" if probabilities else state if state in _ABSTENTIONS else _NO_PREDICTION,
        failure_code=str(failure.get("code") or "") if isinstance(failure, dict) else "",
        probabilities=probabilities,
        thresholds=thresholds,
        calls=calls,
        boxes=tuple(
            box_of(where, [crop.get(key) for key in ("x", "y", "w", "h")], crop.get("finding"))
            for crop in _items(where, row, "crops")
        ),
        model=model,
        policy=str(row.get("policy sha256") or ""),
        triaged=place,
        identifiers=identifiers_of(row),
        patient=str(row.get("patient") or "") or None,
        groups=groups_of(row),
    )


def _words(where: str, row: Row) -> Words | None:
    """The findings that the row says were put into words; None where it does not say it of any."""
    flag_from = share_of(where, "the harm of a flag", row.get("flag from"))
    said = [
        (target, finding)
        for finding in _items(where, row, "findings")
        if "named" in finding and (target := finding_of(finding.get("name")))
    ]
    if not said:
        return None
    named = {target: each for target, each in said if truth_of(where, "named", each["named"])}
    return Words(
        named=frozenset(named),
        reasons=frozenset(target for target, each in named.items() if _flags(where, each, flag_from)),
    )


def _flags(where: str, finding: Mapping[str, Any], flag_from: float | None) -> bool:
    """Whether a named finding flags its film by itself, as TriagePolicy.flags says; true where no rule is stated."""
    probability, weight, critical_from = (
        share_of(where, what, finding.get(what)) for what in ("probability", "weight", "critical_from")
    )
    if probability is None or weight is None or flag_from is None:
        return True
    return weight * probability >= flag_from or (critical_from is not None and probability >= critical_from)


def _urgency(where: str, row: Row) -> Urgency | None:
    cell = str(row.get("urgency") or "").lower()
    if cell and cell not in set(Urgency):
        raise InvalidInput("bad_label", f"{where} has the urgency {cell!r}: write {', '.join(Urgency)}")
    return Urgency(cell) if cell else None


def _model(value: object) -> tuple[str, str, str] | None:
    if not isinstance(value, dict):
        return None
    return str(value.get("name", "")), str(value.get("version", "")), str(value.get("sha256", ""))


def _items(where: str, row: Row, key: str) -> list[dict[str, Any]]:
    items = row.get(key) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidInput("bad_json", f"{where} has {key} that are no list of objects: see firstread triage --json")
    return items


def _shares(where: str, row: Row, suffix: str) -> dict[str, float]:
    shares = {target: share_of(where, target + suffix, row.get(target + suffix)) for target in TARGETS}
    return {target: share for target, share in shares.items() if share is not None}
