"""QA's table: an AI triage report as rows, one a finding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom import Dataset

from dicom_sr.parse import TriageReport
from dicom_sr.source import Acquisition, Source
from worklist.card import FindingCard
from worklist.finding import Analysis, Finding, FindingType
from worklist.triage import Triage

COLUMNS: Final = (
    "study_instance_uid", "accession_number", "study_date", "patient_id", "patient_sex", "patient_age", "view",
    "station", "manufacturer", "ward", "order_priority", "received", "model_name", "model_version", "model_sha256",
    "explainer_version", "finding", "finding_code", "probability", "threshold", "side", "box", "shown", "named",
    "weight", "named_from", "critical_from", "urgency", "score", "score_threshold", "harm", "flag_from", "head_start_s",
    "raised_by", "state", "revision", "images", "unscored_images", "quality", "failure_code", "reader_feedback",
    "source_sop_instance_uid", "policy_sha256", "reported", "stored", "report_sop_instance_uid",
)  # fmt: skip
Row = dict[str, str]


def rows_of(dataset: Dataset, report: TriageReport, *, received: str, stored: str) -> Iterator[Row]:
    """A row for each finding that was scored; in a failed report, for each that was to be scored.

    Args:
        dataset: the report as the PACS holds it.
        report: what it says.
        received: when the PACS received the leading image; "" where it is not known.
        stored: when the PACS received the report; "" where it is not known.
    """
    study = _study(dataset, report) | {"received": received, "stored": stored}
    if report.analysis:
        for finding in report.analysis.findings:
            yield study | _of(report, finding.type) | _found(report, finding)
    elif report.looked_for:
        yield from (study | _of(report, kind) for kind in report.looked_for)
    else:
        yield study


def _study(dataset: Dataset, report: TriageReport) -> Row:
    header, scorer = Source(dataset), report.scorer
    day = header.text("StudyDate")
    return {
        "study_instance_uid": report.study_instance_uid,
        "accession_number": header.text("AccessionNumber"),
        "study_date": f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == len("YYYYMMDD") and day.isdigit() else day,
        "patient_id": header.text("PatientID"),
        "patient_sex": header.text("PatientSex"),
        "patient_age": header.text("PatientAge"),
        "model_name": scorer.name if scorer else "",
        "model_version": scorer.version if scorer else "",
        "model_sha256": scorer.sha256 if scorer else "",
        "urgency": report.urgency or "",
        "state": "failed" if report.failure else "reported",
        "revision": str(report.revision),
        "failure_code": report.failure.code if report.failure else "",
        "reader_feedback": "",
        **_made(report, report.source.sop_instance_uid),
        "reported": report.reported_at.isoformat(),
        "report_sop_instance_uid": report.sop_instance_uid,
    } | (_scored(report, report.analysis) if report.analysis else {})


def _scored(report: TriageReport, analysis: Analysis) -> Row:
    explainer = analysis.explainer
    row = {
        "explainer_version": f"{explainer.name} {explainer.version}" if explainer else "",
        "score": repr(analysis.score),
        "score_threshold": repr(analysis.threshold),
        "images": str(len(analysis.images)),
        "unscored_images": str(report.unscored),
        "quality": " ".join(note.code for note in analysis.quality),
    }
    if report.triage:
        row["harm"] = repr(report.triage.harm)
        row["head_start_s"] = repr(report.triage.head_start.total_seconds())
        row["raised_by"] = _raised_by(report.triage)
        row["policy_sha256"] = report.triage.policy_digest
    if report.policy:
        row["flag_from"] = repr(report.policy.flag_from)
    return row


def _raised_by(triage: Triage) -> str:
    by = {"language_model": triage.is_raised_by_words, "change": triage.is_raised_by_change}
    return " ".join(name for name, is_so in by.items() if is_so)


def _of(report: TriageReport, kind: FindingType) -> Row:
    card = report.card.of(kind) if report.card else None
    return {"finding": kind.label, "finding_code": kind.code.value} | (_rule(card) if card else {})


def _rule(card: FindingCard) -> Row:
    return {
        "weight": repr(card.weight),
        "named_from": "" if card.named_from is None else repr(card.named_from),
        "critical_from": "" if card.critical_from is None else repr(card.critical_from),
    }


def _found(report: TriageReport, finding: Finding) -> Row:
    told = report.told[finding.type.key]
    box = told.box
    return {
        "probability": repr(finding.probability),
        "threshold": repr(finding.threshold),
        "side": told.side or "",
        "box": f"{box.x} {box.y} {box.width} {box.height}" if box else "",
        "shown": _yes(answer=report.is_shown(finding)),
        "named": _yes(answer=report.is_named(finding)),
        **_made(report, finding.sop_instance_uid or report.source.sop_instance_uid),
    }


def _made(report: TriageReport, sop_instance_uid: str) -> Row:
    """An image, and how and for whom it was made."""
    made = report.acquisitions.get(sop_instance_uid, Acquisition())
    return {
        "source_sop_instance_uid": sop_instance_uid,
        "view": made.view,
        "station": made.station,
        "manufacturer": made.manufacturer,
        "ward": made.ward,
        "order_priority": made.order_priority or "",
    }


def _yes(*, answer: bool) -> str:
    return "yes" if answer else "no"
