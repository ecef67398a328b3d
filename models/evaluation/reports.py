"""The table that `firstread report --all` writes, a row a finding, folded to a row a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worklist.scope import SEEN_OUT_OF_SCOPE, TELLING

Cells = Mapping[str, Any]

_LONG = ("finding", "probability", "study_instance_uid")
_OF_A_STUDY = {
    **{key: key for key in ("study_instance_uid", "accession_number", "score", "urgency", "harm", "head_start_s")},
    **{key: key for key in ("flag_from", "policy_sha256", "state")},
    "explainer_version": "explainer_version",
    "patient_id": "patient",
    "patient_sex": "sex",
    "patient_age": "age",
}
_OF_AN_IMAGE = ("view", "station", "manufacturer", "ward", "order_priority")
_OF_A_MODEL = ("name", "version", "sha256")
_OF_A_FINDING = ("probability", "threshold", "named", "weight", "critical_from")


def is_long(rows: Sequence[Cells]) -> bool:
    """Whether rows are those of findings and not those of films."""
    return bool(rows) and all(column in rows[0] for column in _LONG)


def fold(rows: Sequence[tuple[str, Cells]]) -> list[tuple[str, Cells]]:
    """One row a study, as `firstread triage --json` writes it, from the newest revision of its report.

    Args:
        rows: where each row stands, and its cells.
    """
    studies: dict[str, list[tuple[str, Cells]]] = {}
    for where, row in rows:
        studies.setdefault(str(row["study_instance_uid"]), []).append((where, row))
    return [_study(findings) for findings in studies.values()]


def _study(rows: Sequence[tuple[str, Cells]]) -> tuple[str, Cells]:
    newest = max(_revision(row) for _, row in rows)
    current = [(where, row) for where, row in rows if _revision(row) == newest]
    where, first = current[0]
    study: dict[str, Any] = {name: first[column] for column, name in _OF_A_STUDY.items() if column in first}
    for column in _OF_AN_IMAGE:
        if column in first:
            study[column] = " + ".join(sorted({row[column] for _, row in current if row[column]}))
    study["source_sop_instance_uid"] = list(dict.fromkeys(row.get("source_sop_instance_uid", "") for _, row in current))
    study["findings"] = [
        {"name": row["finding"]} | {column: row[column] for column in _OF_A_FINDING if row.get(column, "") != ""}
        for _, row in current
        if row["finding"]
    ]
    if code := first.get("failure_code", ""):
        is_refusal = code in {*TELLING, *SEEN_OUT_OF_SCOPE}
        study |= {"failure": {"code": code}, "state": "out_of_scope" if is_refusal else "failed"}
    if first.get("model_sha256", ""):
        study["model"] = {key: first.get(f"model_{key}", "") for key in _OF_A_MODEL}
    return where, study


def _revision(row: Cells) -> tuple[int, str, str]:
    number = str(row.get("revision", ""))
    reported, report = str(row.get("reported", "")), str(row.get("report_sop_instance_uid", ""))
    return int(number) if number.isdecimal() else 0, reported, report
