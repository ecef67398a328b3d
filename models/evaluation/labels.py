"""Labels of films: what readers, or reports, say is there."""

from __future__ import annotations

import json
from pathlib import Path

from models.evaluation.cells import box_of, groups_of, identifiers_of, truth_of
from models.evaluation.films import FINDINGS, NAMES, TARGETS, URGENT, Box, Label
from models.evaluation.tables import Row, read_rows
from worklist.errors import InvalidInput

_COLUMNS = NAMES | {URGENT: URGENT, "urgent6": URGENT}
_BOX_ITEMS = 5


def read_labels(path: Path) -> list[Label]:
    """Labels from a CSV or JSON file: file (or image, or an identifier), and one column a finding.

    Optional are urgent (or urgent6; else any of the six findings), patient, age, the columns of SUBGROUPS, and boxes,
    a JSON list of [x, y, w, h, finding] in source pixels. Other columns are not read.

    Raises:
        InvalidInput: the file cannot be read, or a row does not say what it must; the message names the row.
    """
    rows = read_rows(path, _COLUMNS)
    if not any(target in row for _, row in rows for target in TARGETS):
        names = ", ".join(kind.key for kind in FINDINGS)
        raise InvalidInput("missing_column", f"{path} has no column to compare with: name one urgent, {names}")
    has_patients = any("patient" in row for _, row in rows)
    return [_label(where, row, has_patients=has_patients) for where, row in rows]


def _label(where: str, row: Row, *, has_patients: bool) -> Label:
    truth = {}
    for target in TARGETS:
        cell = row.get(target)
        if cell is None or cell == "":
            continue
        truth[target] = truth_of(where, target, cell)
    findings = [truth.get(kind.key) for kind in FINDINGS]
    if URGENT not in truth and (any(findings) or None not in findings):
        truth[URGENT] = any(findings)
    patient = str(row.get("patient") or "")
    if has_patients and not patient:
        raise InvalidInput("missing_patient", f"{where} names no patient: fill the column or remove it")
    boxes = [_box(where, item) for item in _boxes(where, row.get("boxes"))]
    return Label(
        file=row["file"],
        truth=truth,
        patient=patient or None,
        groups=groups_of(row),
        boxes=tuple(box for box in boxes if box),
        foreign_boxes=boxes.count(None),
        identifiers=identifiers_of(row),
    )


def _boxes(where: str, cell: object) -> list[object]:
    try:
        boxes = json.loads(cell) if isinstance(cell, str) and cell else cell or []
    except (ValueError, RecursionError):
        boxes = None
    if not isinstance(boxes, list):
        raise InvalidInput("bad_box", f"{where} has boxes that are no list: write [[x, y, w, h, finding], ...]")
    return boxes


def _box(where: str, item: object) -> Box | None:
    """None for a finding that is none of the six."""
    if not isinstance(item, list) or len(item) != _BOX_ITEMS:
        raise InvalidInput("bad_box", f"{where} has a box {item!r}: write [x, y, w, h, finding]")
    box = box_of(where, item[:4], item[4])
    return box if box.target else None
