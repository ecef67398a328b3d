"""`PUT /worklist/{study_instance_uid}/state`: what people do with a study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import AwareDatetime, BaseModel, Field

from gateway.access.actors import Actors
from gateway.list.items import WorklistItem, item_json
from gateway.problems import MEDIA_TYPE, Problem
from worklist.errors import Conflict, FilmArrived, InvalidInput
from worklist.reading import Actor, Reading
from worklist.records import SHARED_UID, ReadingRecords, Worklist

_PROBLEMS = {
    400: "The body cannot be read.",
    404: "There is no such study.",
    409: (
        "Somebody else is reading it, or it has been read: `by` names them, `since` says since when. "
        "Or a film came after `seen_at`: `at` says when. "
        "Or several patients share the Study Instance UID: `detail` names their studies."
    ),
    413: "The body is larger than 64 kB.",
    422: "The request is not valid, or nobody is named.",
    503: "The database does not answer; try again after `Retry-After` seconds.",
}


class ReadingChange(BaseModel):
    """What somebody does with a study: begins to read it (or goes on), has read it, or puts it back."""

    state: Literal["reading", "read", "unread"]
    by: str | None = Field(
        default=None,
        description="Who: at most 64 characters. Not looked at where a trusted proxy says so in X-Remote-User.",
    )
    seen_at: AwareDatetime | None = Field(
        default=None,
        description="With `read`: up to when the reader has seen the films that came, as since when they read it. "
        "Where one came later, nothing is done and 409 film_arrived says when it came.",
    )


def build_readings(worklist: Worklist, readings: ReadingRecords, actors: Actors) -> APIRouter:
    """The route, below /worklist."""
    router = APIRouter(tags=["worklist"])
    steps: dict[str, Callable[[Actor, str, ReadingChange], Reading]] = {
        "reading": lambda actor, address, _: readings.claim(actor, address),
        "read": lambda actor, address, wanted: readings.complete(actor, address, seen_at=wanted.seen_at),
        "unread": lambda actor, address, _: readings.put_back(actor, address),
    }

    @router.put(
        "/{study_instance_uid}/state",
        response_class=Response,
        responses={200: {"model": WorklistItem}, **problem_responses(*_PROBLEMS)},
    )
    def change(study_instance_uid: str, wanted: ReadingChange, request: Request) -> Response:
        """Claim a study, renew the claim, say that it is read, or put it back; answers its item."""
        actor = actors.of(request, wanted.by)
        try:
            steps[wanted.state](actor, study_instance_uid, wanted)
        except FilmArrived as error:
            raise Problem(409, "a film arrived", error.message, code=error.code, at=error.at.isoformat()) from error
        except Conflict as error:
            if error.code == SHARED_UID:
                raise
            raise _conflict(error, worklist, study_instance_uid) from error
        except InvalidInput as error:
            raise _unknown(error.message) from error
        study = worklist.find(study_instance_uid)
        if study is None:
            raise _unknown("the study has just left the PACS")
        return Response(item_json(study), media_type="application/json")

    return router


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the problem documents of a route."""
    return {status: {"description": _PROBLEMS[status], "content": {MEDIA_TYPE: {}}} for status in statuses}


def _unknown(detail: str) -> Problem:
    return Problem(404, "no such study", detail, code="unknown_study")


def _conflict(error: Conflict, worklist: Worklist, study_instance_uid: str) -> Problem:
    study = worklist.find(study_instance_uid)
    return Problem(
        409,
        "being read" if error.code == "being_read" else "already read",
        error.message,
        code=error.code,
        by=study.reading.reader if study else "",
        since=study.reading.since.isoformat() if study else "",
    )
