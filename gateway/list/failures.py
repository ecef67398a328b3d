"""`GET /worklist/failures`, and trying again what failed. Nothing here names a patient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway.access.actors import Actors
from gateway.list.items import ItemFailure
from gateway.list.readings import problem_responses
from gateway.problems import Problem
from worklist.job import Queue
from worklist.records import FailedWork, JobRecords
from worklist.remedy import remedy

SHOWN = 200
"""Rows of the page."""
_MOST_AT_ONCE = 1000
_WHAT = {Queue.SCORE: "Score an image", Queue.REPORT: "Write the report"}


class Failed(BaseModel, extra="forbid"):
    """A piece of work that failed: what, since when, after how many tries, why, and what to do."""

    study_instance_uid: str
    accession_number: str
    what: str
    sop_instance_uid: str | None = Field(description="The image's; null for a report.")
    since: datetime
    tries: int
    failure: ItemFailure
    to_do: str


class FailuresPage(BaseModel, extra="forbid"):
    """What failed last, first; total counts all of it."""

    total: int
    items: list[Failed]


class Retry(BaseModel, extra="forbid"):
    """Which studies' failed work is to be tried again, and who asks."""

    study_instance_uids: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, min_length=1, max_length=_MOST_AT_ONCE, description="All that failed where absent."
    )
    by: str | None = Field(
        default=None,
        description="Who: at most 64 characters. Not looked at where a trusted proxy says so in X-Remote-User.",
    )


class Retried(BaseModel, extra="forbid"):
    """How many jobs are scheduled again."""

    scheduled: int


def build_failures(jobs: JobRecords, actors: Actors) -> APIRouter:
    """The routes, below /worklist."""
    router = APIRouter(tags=["worklist"])

    @router.get("/failures", response_model=FailuresPage, responses=problem_responses(422, 503))
    def failures(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> JSONResponse:
        """What failed and may be tried again, what failed last first."""
        return JSONResponse(failures_answer(*jobs.failed(limit, offset)))

    @router.put("/failures/retry", response_model=Retried, responses=problem_responses(400, 404, 413, 422, 503))
    def retry(wanted: Retry, request: Request) -> Retried:
        """Try again what failed, of some studies or of all."""
        count = jobs.retry(wanted.study_instance_uids or [], actors.of(request, wanted.by))
        if wanted.study_instance_uids and not count:
            raise Problem(404, "nothing failed", "nothing of it has failed any more", code="nothing_failed")
        return Retried(scheduled=count)

    return router


def failures_answer(total: int, failed: Sequence[FailedWork]) -> dict[str, Any]:
    """A page of what failed as JSON values."""
    return {
        "total": total,
        "items": [
            {
                "study_instance_uid": work.study_instance_uid,
                "accession_number": work.accession_number,
                "what": _WHAT[work.queue],
                "sop_instance_uid": work.sop_instance_uid or None,
                "since": work.since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "tries": work.attempts,
                "failure": {"code": work.failure.code, "message": work.failure.message},
                "to_do": remedy(work.failure.code),
            }
            for work in failed
        ],
    }
