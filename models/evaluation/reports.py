"""The table that `firstread report --all` writes, a row a finding, folded to a row a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Cells = Mapping[str, Any]

_LONG = ("finding", "probability", "study_instance_uid")
_OF_A_STUDY = ("study_instance_uid", "accession_number", "score", "harm", "urgency", "state")
_OF_A_MODEL = ("name", "version", "sha256")
_OF_A_FINDING = ("probability", "threshold", "named")


def is_long(rows: Sequence[Cells]) -> bool:
    """Whether rows are those of findings and not those of films."""
    return bool(rows) and all(column in rows[0] for column in _LONG)


def fold(rows: Sequence[tuple[str, Cells]]) -> list[tuple[str, Cells]]:
    """One row a study, as `firstread triage --json` writes it, from the last revision of its report.

    Args:
        rows: where each row stands, and its cells.
    """
    studies: dict[str, list[tuple[str, Cells]]] = {}
    for where, row in rows:
        studies.setdefault(str(row["study_instance_uid"]), []).append((where, row))
    return [_study(findings) for findings in studies.values()]


def _study(rows: Sequence[tuple[str, Cells]]) -> tuple[str, Cells]:
    last = max(_revision(row) for _, row in rows)
    current = [(where, row) for where, row in rows if _revision(row) == last]
    where, first = current[0]
    study = {column: _plain(first[column]) for column in _OF_A_STUDY if column in first}
    sources = dict.fromkeys(_plain(row.get("source_sop_instance_uid", "")) for _, row in current)
    findings = [
        {"name": row["finding"]} | {column: row[column] for column in _OF_A_FINDING if row.get(column, "") != ""}
        for _, row in current
        if row["finding"]
    ]
    folded: dict[str, Any] = {**study, "source_sop_instance_uid": list(sources), "findings": findings}
    model = {key: first.get(f"model_{key}", "") for key in _OF_A_MODEL}
    return where, folded | ({"model": model} if model["sha256"] else {})


def _revision(row: Cells) -> tuple[int, str]:
    number = str(row.get("revision", ""))
    return int(number) if number.isdecimal() else 0, str(row.get("reported", ""))


def _plain(cell: str) -> str:
    """A cell without the apostrophe that keeps a spreadsheet from taking it for a formula."""
    return cell.removeprefix("'")
