"""`/worklist/{study_instance_uid}/feedback`: what readers say of findings. It moves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway.access.actors import Actors
from gateway.list.readings import problem_responses
from worklist.records import Feedback, ReadingRecords, Verdict


class Judgement(BaseModel, extra="forbid"):
    """What a reader says of a finding that the AI tells, or has missed."""

    finding: str = Field(min_length=1, max_length=200, description="Its name, as in Pneumothorax, or its key.")
    verdict: Verdict
    by: str | None = Field(
        default=None,
        description="Who: at most 64 characters. Not looked at where a trusted proxy says so in X-Remote-User.",
    )


class FeedbackGiven(BaseModel, extra="forbid"):
    """The last verdict of a reader on a finding."""

    finding: str
    verdict: str
    by: str
    at: datetime


class FeedbackPage(BaseModel, extra="forbid"):
    """The last verdict of each reader on each finding of a study."""

    feedback: list[FeedbackGiven]


def build_feedback(readings: ReadingRecords, actors: Actors) -> APIRouter:
    """The routes, below /worklist."""
    router = APIRouter(tags=["worklist"])

    @router.get(
        "/{study_instance_uid}/feedback", response_model=FeedbackPage, responses=problem_responses(404, 409, 503)
    )
    def feedback(study_instance_uid: str) -> JSONResponse:
        """What readers have said of a study's findings."""
        return JSONResponse(_json(readings.feedback(study_instance_uid)))

    @router.post(
        "/{study_instance_uid}/feedback", response_model=FeedbackPage, responses=problem_responses(404, 409, 422, 503)
    )
    def judge(study_instance_uid: str, said: Judgement, request: Request) -> JSONResponse:
        """Agree or disagree with a finding, or say that it was missed or is on the other side; the last word counts."""
        actor = actors.of(request, said.by)
        return JSONResponse(_json(readings.judge(actor, study_instance_uid, said.finding, said.verdict)))

    return router


def _json(given: Sequence[Feedback]) -> dict[str, Any]:
    return {
        "feedback": [
            {
                "finding": one.name,
                "verdict": one.verdict,
                "by": one.by,
                "at": one.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            }
            for one in given
        ]
    }
