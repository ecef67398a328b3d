"""`GET /worklist`, its events, and the crops of a study."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent

from gateway.intake.orthanc import OrthancClient
from gateway.problems import Problem
from worklist.records import ListedStudy, ReadingList
from worklist.study import StudyState

_LOOK_EVERY_S = 0.25
_OVERLAP = timedelta(seconds=5)  # a slow transaction may commit an older moment after a newer one was seen


class Worklist(BaseModel):
    """One page of the reading list."""

    total: int
    items: list[dict[str, Any]]


def build_reading_list(reading_list: ReadingList, orthanc: OrthancClient) -> APIRouter:
    """The routes below /worklist."""
    router = APIRouter(prefix="/worklist", tags=["worklist"])

    @router.get("")
    def worklist(
        state: StudyState | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> Worklist:
        """The studies in reading order."""
        total, studies = reading_list.page(state=state, limit=limit, offset=offset)
        return Worklist(total=total, items=[item(study) for study in studies])

    @router.get("/events", response_class=EventSourceResponse)
    async def events() -> EventSourceResponse:
        """Server-sent events: `item` holds a changed item, `gone` a study that left the list."""
        return EventSourceResponse(_changes(reading_list))

    @router.get("/{study_instance_uid}/crops/{position}.png", response_class=Response)
    def crop(study_instance_uid: str, position: Annotated[int, Path(ge=1, le=1000)]) -> Response:
        """One evidence crop as PNG, drawn by Orthanc from the Secondary Capture."""
        uids = reading_list.crop(study_instance_uid, position)
        path = f"studies/{study_instance_uid}/series/{{}}/instances/{{}}/rendered"
        image = orthanc.dicomweb_get(path.format(*uids), "image/png") if uids else None
        if image is None:
            raise Problem(404, "no such crop", f"study {study_instance_uid} has no crop {position}")
        # A later revision has other crops under the same address.
        return Response(image, media_type="image/png", headers={"Cache-Control": "no-cache"})

    return router


def item(study: ListedStudy) -> dict[str, Any]:
    """A line of the reading list as JSON values."""
    analysis = study.analysis
    return {
        "rank": study.rank,
        "study_instance_uid": study.study_instance_uid,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name,
        "accession_number": study.accession_number,
        "study_description": study.study_description,
        "modality": study.modality,
        "received_at": _moment(study.received_at),
        "order_priority": study.order_priority,
        "urgency": study.urgency,
        "score": study.score,
        "state": study.state,
        "queue_at": _moment(study.queue_at),
        "reason": study.reason,
        "findings": [
            {
                "name": finding.type.label,
                "code": finding.type.code.value,
                "scheme": finding.type.code.scheme,
                "probability": finding.probability,
                "threshold": finding.threshold,
                "side": finding.side,
            }
            for finding in (analysis.findings if analysis else ())
        ],
        "failure": {"code": study.failure.code, "message": study.failure.message} if study.failure else None,
        "result_series_uids": list(study.result_series_uids),
        "crop_count": study.crop_count,
        "explanation": analysis.explanation if analysis else "",
        "quality": [{"code": note.code, "message": note.message} for note in (analysis.quality if analysis else ())],
        "model": (
            {
                "name": analysis.scorer.name,
                "version": analysis.scorer.version,
                "sha256": analysis.scorer.sha256,
            }
            if analysis
            else None
        ),
    }


async def _changes(reading_list: ReadingList) -> AsyncIterator[ServerSentEvent]:
    since = datetime.now(UTC)
    sent: dict[str, datetime | None] = {}
    while True:
        changed, gone = await run_in_threadpool(reading_list.changed_since, since - _OVERLAP, sent)
        for study in changed:
            sent[study.study_instance_uid] = study.updated_at
            yield ServerSentEvent(event="item", data=json.dumps(item(study)))
        for study_instance_uid in gone:
            sent[study_instance_uid] = None
            yield ServerSentEvent(event="gone", data=json.dumps({"study_instance_uid": study_instance_uid}))
        if changed:
            since = max(since, *(study.updated_at for study in changed))
        await asyncio.sleep(_LOOK_EVERY_S)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
