"""A line of the reading list as JSON, and the models that describe it in OpenAPI.

The models are for readers of the interface and for the tests that hold them to the JSON: validating each line of each
answer would cost more than reading it from the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel, Field
from pydantic_core import to_json

from gateway.schemas import FindingSchema, ModelSchema
from worklist.answers import finding_answer, model_answer
from worklist.finding import Analysis, Finding
from worklist.order import OrderPriority
from worklist.reading import Reading, ReadingState
from worklist.records import GoneStudy, Judgement, ListCounts, ListedStudy, PriorLine, PriorStudy
from worklist.study import StudyState
from worklist.triage import Urgency

_KEPT_IN_MEMORY: Final = 4096
_NOT_JUDGED: Final[Mapping[str, Any]] = {
    "findings": [],
    "images": [],
    "explanation": "",
    "explained": None,
    "quality": [],
    "comparison": None,
    "model": None,
}


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


class ItemExplained(BaseModel, extra="forbid"):
    """Who wrote the explanation, and when.

    Attributes:
        by: name and version.
        at: null for one of an earlier version.
        instead_of: the language model in whose place the template wrote; empty where it was to write.
        why: why that model did not.
        added: what a language model states beside its line, a sentence each.
    """

    by: str
    at: datetime | None
    instead_of: str
    why: str
    added: list[str]


class ItemBox(BaseModel, extra="forbid"):
    """Where a finding was seen, in pixels of the source image: x and y of the upper left corner.

    Attributes:
        image: position in the item's images, from 1.
    """

    image: int
    x: int
    y: int
    w: int
    h: int


class ItemFinding(FindingSchema):
    """A finding with its box; null where the finding is not named, or nothing is known of its place."""

    box: ItemBox | None


class ItemImage(BaseModel, extra="forbid"):
    """The size in pixels of a source image, which lies at /worklist/{address}/images/1.png and on."""

    rows: int
    columns: int


class ItemPrior(BaseModel, extra="forbid"):
    """The newest other study with the same Patient ID whose study date is not after this one's."""

    study_instance_uid: str
    study_date: date
    study_description: str
    modality: str


class PriorItem(ItemPrior):
    """An earlier study with the same Patient ID, and what is known of it."""

    acquired_at: datetime | None
    received_at: datetime
    urgency: Urgency | None
    reading: ItemReading


class PriorsPage(BaseModel, extra="forbid"):
    """The newest earlier studies, newest first."""

    items: list[PriorItem]


class ItemQuote(BaseModel, extra="forbid"):
    """A sentence of an earlier report, word for word; source is its SOP Instance UID."""

    source: str
    snippet: str


class ItemComparison(BaseModel, extra="forbid"):
    """The study beside the patient's newest earlier chest film that was found in the PACS.

    Attributes:
        study_instance_uid: of the earlier study; empty where none is used, as with a clash.
        study_date: of it; null where none is used.
        lines: what changed by the scores that may be shown, a sentence each; a score that fell excludes nothing.
        clash: why an earlier study under the same Patient ID is not used; empty where there is no such thing.
        not_compared: why scores are not compared, or what could not be found out; empty where there is no such thing.
        report: what kind of document the report on the earlier film is; empty where none was found.
        report_limits: what of it was not read.
        quotes: its sentences that mention a finding.
    """

    study_instance_uid: str
    study_date: date | None
    lines: list[str]
    clash: str
    not_compared: str
    report: str
    report_limits: str
    quotes: list[ItemQuote]


class WorklistItem(BaseModel, extra="forbid"):
    """One study of the reading list. What it says of findings is not a diagnosis.

    Attributes:
        rank: place among all that is to be read, from 1.
        orthanc_id: Orthanc's identifier of the study, which belongs to one patient always.
        address: what names it at /worklist/{study}: its Study Instance UID, or its orthanc_id where another patient's
            study in the PACS has the same UID.
        urgency: null where it was not assessed; "none" says that nothing was flagged, which is never a negative.
        score: calibrated probability of any urgent finding.
        harm: the number behind class and place.
        queue_at: the moment by which it is sorted.
        overdue: whether it waits longer than the site's target.
        reason: why it stands where it stands; empty where it stands as it arrived.
        explained: who wrote the explanation; null before it is written.
        crop_count: crops of the evidence, at /worklist/{address}/crops/1.png and on.
        ward: who asks for the study, or where the patient lies; like station, view and question of the newest image,
            and empty where its header does not say.
        station: name of the modality's station.
        view: View Position, such as "AP".
        question: what the referrer asks, one line.
        prior: null where there is none, and where the study has no patient ID or date.
        prior_count: how many there are, counted to 1000.
        comparison: null before the report is written, and where the PACS has no earlier chest film of the patient.
        images: those that were scored, the one with the highest score first.
    """

    rank: int
    study_instance_uid: str
    orthanc_id: str
    address: str
    patient_id: str
    patient_name: str
    patient_sex: str
    patient_age: str
    accession_number: str
    study_description: str
    modality: str
    ward: str
    station: str
    view: str
    question: str
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
    failure: ItemFailure | None
    result_series_uids: list[str]
    crop_count: int
    prior: ItemPrior | None
    prior_count: int
    findings: list[ItemFinding]
    images: list[ItemImage]
    explanation: str
    explained: ItemExplained | None
    quality: list[ItemQuality]
    comparison: ItemComparison | None
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


def gone_json(study: GoneStudy) -> bytes:
    """What is said of a study that left the list."""
    more = {"orthanc_id": study.orthanc_id} if study.orthanc_id else {}
    return to_json({"study_instance_uid": study.study_instance_uid, **more})


def item_json(study: ListedStudy) -> bytes:
    """One item."""
    return to_json(item(study))


def counts_of(counts: ListCounts) -> dict[str, int]:
    """The counts as JSON values."""
    return {"listed": counts.listed, "overdue": counts.overdue, "priors": counts.priors}


def item(study: ListedStudy) -> dict[str, Any]:
    """A line of the reading list as JSON values; words are plain texts, which are written three times as fast."""
    failure = study.failure
    return {
        "rank": study.rank,
        "study_instance_uid": study.study_instance_uid,
        "orthanc_id": study.orthanc_id,
        "address": study.address,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name,
        "patient_sex": study.patient_sex,
        "patient_age": study.patient_age,
        "accession_number": study.accession_number,
        "study_description": study.study_description,
        "modality": study.modality,
        "ward": study.ward,
        "station": study.station,
        "view": study.view,
        "question": study.question,
        "acquired_at": _moment(study.acquired_at) if study.acquired_at else None,
        "received_at": _moment(study.received_at),
        "order_priority": study.order_priority.value,
        "urgency": study.urgency.value if study.urgency else None,
        "score": study.score,
        "harm": study.harm,
        "state": study.state.value,
        "reading": _reading(study.reading),
        "overdue": study.is_overdue,
        "queue_at": _moment(study.queue_at),
        "reason": study.reason,
        "failure": {"code": failure.code, "message": failure.message} if failure else None,
        "result_series_uids": study.result_series_uids,
        "crop_count": study.crop_count,
        "prior": _prior(study.prior) if study.prior else None,
        "prior_count": study.prior_count,
        **(_judged(study.judgement) if study.judgement else _NOT_JUDGED),
    }


def priors_json(priors: list[PriorLine]) -> bytes:
    """The answer of GET /worklist/{study_instance_uid}/priors."""
    return to_json(
        {
            "items": [
                {
                    **_prior(prior),
                    "acquired_at": _moment(prior.acquired_at) if prior.acquired_at else None,
                    "received_at": _moment(prior.received_at),
                    "urgency": prior.urgency.value if prior.urgency else None,
                    "reading": _reading(prior.reading),
                }
                for prior in priors
            ]
        }
    )


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def _judged(judgement: Judgement) -> Mapping[str, Any]:
    # The greater part of a line, and the same in every page until the study is judged anew.
    analysis, triage = judgement.analysis, judgement.triage
    shown = {finding.type.key for finding in triage.shown} if triage else set()
    named = {one.finding.type.key for one in triage.named} if triage else set()
    return {
        "findings": [
            finding_answer(
                finding,
                side=analysis.side_of(finding),
                is_named=finding.type.key in named,
                is_shown=finding.type.key in shown,
            )
            | {"box": _box(analysis, finding) if finding.type.key in named else None}
            for finding in analysis.findings
        ],
        "images": [{"rows": image.rows, "columns": image.columns} for image in analysis.images],
        "explanation": analysis.explanation,
        "explained": _explained(analysis),
        "quality": [{"code": note.code, "message": note.message} for note in analysis.quality],
        "comparison": _comparison(analysis, shown),
        "model": model_answer(analysis.scorer),
    }


def _comparison(analysis: Analysis, shown: set[str]) -> dict[str, Any] | None:
    prior = analysis.prior
    if prior is None:
        return None
    return {
        "study_instance_uid": prior.study_instance_uid,
        "study_date": _day(prior.study_date) if prior.study_date else None,
        "lines": list(prior.lines(shown)),
        "clash": prior.clash,
        "not_compared": prior.not_compared,
        "report": prior.report.kind if prior.report else "",
        "report_limits": prior.report.limits if prior.report else "",
        "quotes": [{"source": one.source, "snippet": one.snippet} for one in analysis.snippets],
    }


def _prior(prior: PriorStudy) -> dict[str, Any]:
    return {
        "study_instance_uid": prior.study_instance_uid,
        "study_date": _day(prior.study_date),
        "study_description": prior.study_description,
        "modality": prior.modality,
    }


def _day(study_date: str) -> str:
    return f"{study_date[:4]}-{study_date[4:6]}-{study_date[6:]}"


def _explained(analysis: Analysis) -> dict[str, Any] | None:
    explainer, account = analysis.explainer, analysis.account
    if explainer is None:
        return None
    return {
        "by": f"{explainer.name} {explainer.version}",
        "at": _moment(account.explained_at) if account else None,
        "instead_of": account.instead_of if account else "",
        "why": account.why if account else "",
        "added": list(account.sentences) if account else [],
    }


def _box(analysis: Analysis, finding: Finding) -> dict[str, int] | None:
    region = analysis.box_of(finding)
    if region is None:
        return None
    position = 1 + analysis.images.index(analysis.image_of(finding))
    return {"image": position, "x": region.x, "y": region.y, "w": region.width, "h": region.height}


def _reading(reading: Reading) -> dict[str, Any]:
    is_somebodys = reading.state in {ReadingState.READING, ReadingState.READ}
    return {
        "state": reading.state.value,
        "by": reading.reader if is_somebodys else None,
        "since": _moment(reading.since) if is_somebodys else None,
        "returned_for": reading.returned_for or None,
    }


def _moment(moment: datetime) -> str:
    # strftime, at three times the cost, is what one notices in a page of a hundred lines
    utc = moment.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
