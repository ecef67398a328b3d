"""QA's table: an AI triage report as rows, one a finding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom import Dataset

from dicom_sr.parse import TriageReport
from dicom_sr.source import Source
from worklist.finding import Finding, FindingType

COLUMNS: Final = (
    "study_instance_uid", "accession_number", "study_date", "received", "model_name", "model_version", "model_sha256",
    "finding", "finding_code", "probability", "threshold", "side", "urgency", "score", "state", "revision",
    "failure_code", "reader_feedback", "reported", "report_sop_instance_uid",
)  # fmt: skip
Row = dict[str, str]


def rows_of(dataset: Dataset, report: TriageReport, received: str) -> Iterator[Row]:
    """A row for each finding that was looked for; in a failed report, for each that was to be looked for."""
    header, analysis, scorer = Source(dataset), report.analysis, report.scorer
    day = header.text("StudyDate")
    study = {
        "study_instance_uid": report.study_instance_uid,
        "accession_number": header.text("AccessionNumber"),
        "study_date": f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == len("YYYYMMDD") and day.isdigit() else day,
        "received": received,
        "model_name": scorer.name if scorer else "",
        "model_version": scorer.version if scorer else "",
        "model_sha256": scorer.sha256 if scorer else "",
        "urgency": report.urgency or "",
        "score": repr(analysis.score) if analysis else "",
        "state": "failed" if report.failure else "reported",
        "revision": str(report.revision),
        "failure_code": report.failure.code if report.failure else "",
        "reader_feedback": "",
        "reported": report.reported_at.isoformat(),
        "report_sop_instance_uid": report.sop_instance_uid,
    }
    if analysis:
        yield from (study | _name(finding.type) | _numbers(finding) for finding in analysis.findings)
    elif report.looked_for:
        yield from (study | _name(kind) for kind in report.looked_for)
    else:
        yield study


def _name(kind: FindingType) -> Row:
    return {"finding": kind.label, "finding_code": kind.code.value}


def _numbers(finding: Finding) -> Row:
    return {
        "probability": repr(finding.probability),
        "threshold": repr(finding.threshold),
        "side": finding.side or "",
    }
