"""`GET /worklist`, its events, what the model looks for, what failed, and a study's images, crops, priors and steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from gateway.access.actors import Actors
from gateway.intake.orthanc import OrthancClient
from gateway.list.failures import build_failures
from gateway.list.feedback import build_feedback
from gateway.list.hub import ListHub
from gateway.list.items import PriorsPage, WorklistItem, WorklistPage, item_json, page_json, priors_json
from gateway.list.readings import build_readings, problem_responses
from gateway.list.scope import ModelScope, scope_of
from gateway.list.steps import StepsPage, steps_json
from gateway.problems import Problem
from worklist.errors import UnusableImage
from worklist.records import JobRecords, ReadingRecords, Shown, Worklist
from worklist.study import StudyState

_IMAGE_PX: Final = 1024  # the longer side of an image as it is shown
_NO_PINGS_S: Final = 86_400  # heartbeats are events of the hub
_METHODS: Final = {
    "": "GET, HEAD, OPTIONS",
    "/scope": "GET, OPTIONS",
    "/events": "GET, HEAD, OPTIONS",
    "/failures": "GET, OPTIONS",
    "/failures/retry": "PUT, OPTIONS",
    "/{study_instance_uid}": "GET, OPTIONS",
    "/{study_instance_uid}/state": "PUT, OPTIONS",
    "/{study_instance_uid}/feedback": "GET, POST, OPTIONS",
    "/{study_instance_uid}/priors": "GET, OPTIONS",
    "/{study_instance_uid}/steps": "GET, OPTIONS",
}

ReadingWord = Literal["unread", "reading", "read", "prior", "all"]


def build_worklist(  # noqa: PLR0913, PLR0917 - everything that the list is made of
    worklist: Worklist,
    readings: ReadingRecords,
    jobs: JobRecords,
    orthanc: OrthancClient,
    hub: ListHub,
    actors: Actors,
) -> APIRouter:
    """The routes below /worklist; whoever serves them starts and stops the hub.

    {study_instance_uid} may also be Orthanc's identifier of a study, and must be where two patients share the UID:
    such a UID answers 409 and names both.
    """
    router = APIRouter(prefix="/worklist", tags=["worklist"])
    _add_list(router, worklist, jobs)
    _add_events(router, hub)
    _add_pictures(router, worklist, orthanc)
    _add_priors(router, worklist)
    _add_steps(router, worklist)
    router.include_router(build_readings(worklist, readings, actors))
    router.include_router(build_feedback(readings, actors))
    router.include_router(build_failures(jobs, actors))
    _add_item(router, worklist)  # last, since it takes whatever is left
    for path, methods in _METHODS.items():
        router.add_api_route(path, _allowing(methods), methods=["OPTIONS"], include_in_schema=False)
    return router


def _add_list(router: APIRouter, worklist: Worklist, jobs: JobRecords) -> None:
    @router.head("", include_in_schema=False)
    @router.get("", response_class=Response, responses={200: {"model": WorklistPage}, **problem_responses(422, 503)})
    def listed(
        state: StudyState | None = None,
        reading: Annotated[ReadingWord | None, Query(description="Unread and being read where absent.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> Response:
        """The studies in reading order; those that were read, latest first; priors by arrival."""
        shown = Shown(reading) if reading else Shown.LIST
        total, studies = worklist.page(shown=shown, state=state, limit=limit, offset=offset)
        content = page_json(total, worklist.counts(), studies)
        return Response(content, media_type="application/json")

    @router.get("/scope")
    def scope() -> ModelScope:
        """What the model looks for, what it does not find reliably, and what it does not look for."""
        return scope_of(jobs.policy())


def _add_events(router: APIRouter, hub: ListHub) -> None:
    @router.get("/events", response_class=EventSourceResponse, responses=problem_responses(422))
    async def events(
        last_event_id: Annotated[str, Header(description="The last number that was seen.")] = "",
        after: Annotated[int | None, Query(ge=0, description="The same, for a new connection.")] = None,
    ) -> Response:
        """Server-sent events: `item`, `gone`, `heartbeat` every ten seconds, and `resync`."""
        seen = int(last_event_id) if last_event_id.isascii() and last_event_id.isdecimal() else after
        return EventSourceResponse(hub.stream(seen), ping=_NO_PINGS_S)

    @router.head("/events", include_in_schema=False)
    def head() -> Response:
        return Response(media_type="text/event-stream")


def _add_pictures(router: APIRouter, worklist: Worklist, orthanc: OrthancClient) -> None:
    @router.get(
        "/{study_instance_uid}/crops/{position}.png",
        response_class=Response,
        responses=problem_responses(404, 422, 503),
    )
    def crop(study_instance_uid: str, position: Annotated[int, Path(ge=1, le=1000)]) -> Response:
        """One evidence crop as PNG, drawn by Orthanc from the Secondary Capture."""
        uids = worklist.crop(study_instance_uid, position)
        path = "studies/{}/series/{}/instances/{}/rendered"
        image = orthanc.dicomweb_get(path.format(*uids), "image/png") if uids else None
        if image is None:
            raise Problem(404, "no such crop", f"study {study_instance_uid} has no crop {position}")
        return _picture(image)

    @router.get(
        "/{study_instance_uid}/images/{position}.png",
        response_class=Response,
        responses=problem_responses(404, 422, 503),
    )
    def image(study_instance_uid: str, position: Annotated[int, Path(ge=1, le=1000)]) -> Response:
        """One image of a study as PNG, drawn by Orthanc, its longer side 1024 pixels.

        Positions are those of the item's images; a study that was not scored has its images in the order of their UIDs.
        """
        stored = worklist.image(study_instance_uid, position)
        if stored is None:
            raise Problem(404, "no such image", f"study {study_instance_uid} has no image {position}")
        try:
            return _picture(orthanc.rendered(stored, _IMAGE_PX))
        except UnusableImage as error:
            raise Problem(404, "image not drawn", error.message, code=error.code) from error


def _add_priors(router: APIRouter, worklist: Worklist) -> None:
    @router.get(
        "/{study_instance_uid}/priors",
        response_class=Response,
        responses={200: {"model": PriorsPage}, **problem_responses(404, 503)},
    )
    def priors(study_instance_uid: str) -> Response:
        """The 50 newest other studies with the same Patient ID and a study date not after this one's, newest first."""
        found = worklist.priors(study_instance_uid)
        if found is None:
            raise Problem(404, "no such study", f"there is no study {study_instance_uid}", code="unknown_study")
        return Response(priors_json(found), media_type="application/json")


def _add_item(router: APIRouter, worklist: Worklist) -> None:
    @router.get(
        "/{study_instance_uid}",
        response_class=Response,
        responses={200: {"model": WorklistItem}, **problem_responses(404, 409, 503)},
    )
    def one(study_instance_uid: str) -> Response:
        """The item of one study, whether it is to be read, was read, or is a prior."""
        study = worklist.find(study_instance_uid)
        if study is None:
            raise Problem(404, "no such study", f"there is no study {study_instance_uid}", code="unknown_study")
        return Response(item_json(study), media_type="application/json")


def _add_steps(router: APIRouter, worklist: Worklist) -> None:
    @router.get(
        "/{study_instance_uid}/steps",
        response_class=Response,
        responses={200: {"model": StepsPage}, **problem_responses(404, 503)},
    )
    def steps(study_instance_uid: str) -> Response:
        """How the AI's result of a study came about, step by step; none before it is scored."""
        taken = worklist.steps(study_instance_uid)
        if taken is None:
            raise Problem(404, "no such study", f"there is no study {study_instance_uid}", code="unknown_study")
        return Response(steps_json(taken), media_type="application/json")


def _picture(png: bytes) -> Response:
    # A later revision has other pictures under the same address.
    return Response(png, media_type="image/png", headers={"Cache-Control": "no-cache"})


def _allowing(methods: str) -> Callable[[], Response]:
    def options() -> Response:
        return Response(status_code=204, headers={"Allow": methods})

    return options
