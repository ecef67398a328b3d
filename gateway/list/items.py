"""A line of the reading list as JSON, and the models that describe it in OpenAPI.

The models are for readers of the interface and for the tests that hold them to the JSON: validating each line of each
answer would cost more than reading it from the database.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import to_json

from gateway.schemas import FindingSchema, ModelSchema
from worklist.answers import finding_answer, model_answer
from worklist.order import OrderPriority
from worklist.reading import Reading, ReadingState
from worklist.records import ListCounts, ListedStudy
from worklist.study import StudyState
from worklist.triage import Urgency


class ItemReading(BaseModel, extra="forbid"):
    """Where a study stands between people: by whom it is being read or was read, and since when."""

    state: ReadingState
    by: str | None
    since: datetime | None
    returned_for: str | None = Field(description="Why it is to be read again after it was read; null where it is not.")


class ItemFailure(BaseModel, extra="forbid"):
    """Why a study has no result: a stable code, and a line that a radiologist understands."""

    code: str
    message: str


class ItemQuality(BaseModel, extra="forbid"):
    """Something about an image that bears on how far its score can be trusted."""

    code: str
    message: str


class WorklistItem(BaseModel, extra="forbid"):
    """One study of the reading list. What it says of findings is not a diagnosis.

    Attributes:
        rank: place among all that is to be read, from 1.
        urgency: null where it was not assessed; "none" says that nothing was flagged, which is never a negative.
        score: calibrated probability of any urgent finding.
        harm: the number behind class and place.
        queue_at: the moment by which it is sorted.
        overdue: whether it waits longer than the site's target.
        reason: why it stands where it stands; empty where it stands as it arrived.
        crop_count: crops of the evidence, at /worklist/{study_instance_uid}/crops/1.png and on.
        prior: always null for now.
    """

    rank: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_sex: str
    patient_age: str
    accession_number: str
    study_description: str
    modality: str
    acquired_at: datetime | None
    received_at: datetime
    order_priority: OrderPriority
    urgency: Urgency | None
    score: float | None
    harm: float | None
    state: StudyState
    reading: ItemReading
    overdue: bool
    queue_at: datetime
    reason: str
    findings: list[FindingSchema]
    failure: ItemFailure | None
    result_series_uids: list[str]
    crop_count: int
    explanation: str
    quality: list[ItemQuality]
    prior: None
    model: ModelSchema | None


class WorklistCounts(BaseModel, extra="forbid"):
    """How many studies are to be read, of these wait beyond the site's target, and stand aside as priors."""

    listed: int
    overdue: int
    priors: int


class WorklistPage(BaseModel, extra="forbid"):
    """One page of what was asked for; total counts all of that, counts the whole list."""

    total: int
    counts: WorklistCounts
    items: list[WorklistItem]


def page_json(total: int, counts: ListCounts, studies: list[ListedStudy]) -> bytes:
    """The answer of GET /worklist."""
    return to_json({"total": total, "counts": counts_of(counts), "items": [item(study) for study in studies]})


def item_json(study: ListedStudy) -> bytes:
    """One item."""
    return to_json(item(study))


def counts_of(counts: ListCounts) -> dict[str, int]:
    """The counts as JSON values."""
    return {"listed": counts.listed, "overdue": counts.overdue, "priors": counts.priors}


def item(study: ListedStudy) -> dict[str, Any]:
    """A line of the reading list as JSON values."""
    analysis, failure = study.analysis, study.failure
    shown = {finding.type.key for finding in study.triage.shown} if study.triage else set()
    named = {one.finding.type.key for one in study.triage.named} if study.triage else set()
    return {
        "rank": study.rank,
        "study_instance_uid": study.study_instance_uid,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name,
        "patient_sex": study.patient_sex,
        "patient_age": study.patient_age,
        "accession_number": study.accession_number,
        "study_description": study.study_description,
        "modality": study.modality,
        "acquired_at": _moment(study.acquired_at) if study.acquired_at else None,
        "received_at": _moment(study.received_at),
        "order_priority": study.order_priority,
        "urgency": study.urgency,
        "score": study.score,
        "harm": study.harm,
        "state": study.state,
        "reading": _reading(study.reading),
        "overdue": study.is_overdue,
        "queue_at": _moment(study.queue_at),
        "reason": study.reason,
        "findings": [
            finding_answer(
                finding,
                side=analysis.side_of(finding),
                is_named=finding.type.key in named,
                is_shown=finding.type.key in shown,
            )
            for finding in analysis.findings
        ]
        if analysis
        else [],
        "failure": {"code": failure.code, "message": failure.message} if failure else None,
        "result_series_uids": study.result_series_uids,
        "crop_count": study.crop_count,
        "explanation": analysis.explanation if analysis else "",
        "quality": [{"code": note.code, "message": note.message} for note in (analysis.quality if analysis else ())],
        "prior": None,
        "model": model_answer(analysis.scorer) if analysis else None,
    }


def _reading(reading: Reading) -> dict[str, Any]:
    is_somebodys = reading.state in {ReadingState.READING, ReadingState.READ}
    return {
        "state": reading.state,
        "by": reading.reader if is_somebodys else None,
        "since": _moment(reading.since) if is_somebodys else None,
        "returned_for": reading.returned_for or None,
    }


def _moment(moment: datetime) -> str:
    # strftime, at three times the cost, is what one notices in a page of a hundred lines
    utc = moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
