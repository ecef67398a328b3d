"""`PUT /worklist/{study_instance_uid}/opening`: a study is opened in an emergency; and who has done so, and why."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from gateway.access.actors import Actors
from gateway.list.readings import problem_responses
from worklist.records import OpeningRecords


class OpeningWanted(BaseModel, extra="forbid"):
    """Why somebody must see a study that their role does not show them."""

    reason: str = Field(description="10 to 300 characters.")


class OpenUntil(BaseModel, extra="forbid"):
    """Until when the study is open to whoever asked."""

    until: datetime


class OpeningItem(BaseModel, extra="forbid"):
    """Who opened a study in an emergency, when, and why."""

    by: str
    at: datetime
    reason: str


class OpeningsPage(BaseModel, extra="forbid"):
    """The last 50, the last first."""

    items: list[OpeningItem]


def build_openings(openings: OpeningRecords, actors: Actors) -> APIRouter:
    """The routes, below /worklist."""
    router = APIRouter(prefix="/worklist/{study_instance_uid}", tags=["worklist"])

    @router.put("/opening", responses=problem_responses(400, 404, 409, 413, 422, 503))
    def opening(study_instance_uid: str, wanted: OpeningWanted, request: Request) -> OpenUntil:
        """Open a study for four hours, to whoever asks alone; it stands in the study's history, with the reason."""
        return OpenUntil(until=openings.open(actors.of(request, None), study_instance_uid, wanted.reason))

    @router.get("/openings", responses=problem_responses(404, 409, 503))
    def listed(study_instance_uid: str) -> OpeningsPage:
        """Who opened a study in an emergency, when, and why."""
        found = openings.of(study_instance_uid)
        return OpeningsPage(items=[OpeningItem(by=one.by, at=one.at, reason=one.reason) for one in found])

    return router
