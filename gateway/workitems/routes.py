"""`/dicom-web/workitems`: create, retrieve, update, change of state, request of cancellation, and search."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from gateway.access.actors import Actors
from gateway.dicomweb.datasets import native
from gateway.dicomweb.guards import GUARDS
from gateway.dicomweb.media import JSON, PLAIN_JSON, XML, chosen
from gateway.dicomweb.searches import found_answer, read_search
from gateway.problems import Problem
from gateway.workitems.answers import (
    CREATED_CHANGED,
    READ_AGAIN,
    UPDATED_CHANGED,
    Transaction,
    refusal,
    success,
    warning_of,
)
from gateway.workitems.requests import actor_of, body_of, checked_uid, dataset_of, named_uid, pairs_of
from worklist.procedure_step import ProcedureStepState
from worklist.records import WorkitemRecords, WorkitemSearches
from worklist.workitems import rules
from worklist.workitems.datasets import text
from worklist.workitems.keys import workitem_key
from worklist.workitems.refusal import WorkitemRefused

MOST_RESULTS: Final = 1000  # of one answer; a Warning tells of more
_OFFERED: Final = (JSON, PLAIN_JSON, XML)
_ALL_METHODS: Final = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkitemService:
    """What the routes of UPS-RS stand on."""

    records: WorkitemRecords
    searches: WorkitemSearches
    actors: Actors


def build_workitems(service: WorkitemService, prefixes: Iterable[str]) -> APIRouter:
    """The routes, under each beginning of the DICOMweb service's paths."""
    router = APIRouter()
    steps = _Steps(service)
    one = "workitems/{workitem}"
    resources: dict[str, dict[str, Handler]] = {
        "workitems": {"GET": steps.search, "POST": steps.create},
        one: {"GET": steps.retrieve, "POST": steps.update},
        f"{one}/state": {"PUT": steps.change_state},
        f"{one}/cancelrequest": {"POST": steps.request_cancel},
    }
    add_resources(router, resources, prefixes)
    return router


def add_resources(router: APIRouter, resources: dict[str, dict[str, Handler]], prefixes: Iterable[str]) -> None:
    """Routes of resources, each of which answers every method: with a handler, with what it has, or with 405."""
    for prefix in prefixes:
        for path, handlers in resources.items():
            for end in ("", "/"):
                router.add_api_route(
                    f"{prefix}{path}{end}", _dispatching(handlers), methods=_ALL_METHODS, include_in_schema=False
                )


def _dispatching(handlers: dict[str, Handler]) -> Handler:
    allowed = ", ".join(sorted({*handlers, "OPTIONS", *(["HEAD"] if "GET" in handlers else [])}))

    async def handle(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed})
        if method not in handlers:
            raise HTTPException(405, f"{request.method} is refused here: {allowed}", {"Allow": allowed})
        return await handlers[method](request)

    return handle


def service_of(request: Request) -> str:
    """Root of the service, as the caller names it."""
    # Not request.url, which cannot be had where the query is not in UTF-8.
    root = request.scope["path"].partition("/workitems")[0]
    return f"{request.scope['scheme']}://{request.headers['host']}{root}"


class _Steps:
    """One method for each transaction."""

    def __init__(self, service: WorkitemService) -> None:
        self._records = service.records
        self._searches = service.searches
        self._actors = service.actors

    async def create(self, request: Request) -> Response:
        root, pairs = service_of(request), pairs_of(request)
        uid = named_uid(pairs, "workitem", "affectedsopinstanceuid")
        actor = actor_of(request, self._actors, pairs)

        def step(body: bytes) -> Response:
            given = dataset_of(request, body)
            stated = text(given, rules.SOP_INSTANCE)
            if uid and stated and stated != uid:
                raise Problem(400, "two UIDs", "the query and the workitem name different UIDs")
            created, is_changed = self._records.create(actor, given, uid or (checked_uid(stated) if stated else ""))
            location = f"{root}/workitems/{created}"
            warnings = (CREATED_CHANGED,) if is_changed else ()
            return success(HTTPStatus.CREATED, root, *warnings, **{"Location": location, "Content-Location": location})

        return await _answered(request, Transaction.CREATE, step)

    async def retrieve(self, request: Request) -> Response:
        media_type = chosen(_accept(request), _OFFERED)
        uid = checked_uid(request.path_params["workitem"])

        def step(_: bytes) -> Response:
            dataset = self._records.retrieve(uid)
            body = native(dataset) if media_type == XML else _json([dataset])
            return Response(body, media_type=media_type, headers=GUARDS)

        return await _answered(request, Transaction.OTHER, step)

    async def update(self, request: Request) -> Response:
        root, pairs = service_of(request), pairs_of(request)
        uid = checked_uid(request.path_params["workitem"])
        asked = named_uid(pairs, "transaction-uid", "transactionuid", "transaction")
        actor = actor_of(request, self._actors, pairs)

        def step(body: bytes) -> Response:
            given = dataset_of(request, body)
            stated = text(given, rules.TRANSACTION)  # as PS3.18 had it until 2018
            given.pop(rules.TRANSACTION, None)
            if text(given, rules.SOP_INSTANCE) == uid:
                given.pop(rules.SOP_INSTANCE)
            is_changed = self._records.update(actor, uid, given, asked or stated)
            return success(HTTPStatus.OK, root, *((UPDATED_CHANGED,) if is_changed else ()))

        return await _answered(request, Transaction.UPDATE, step)

    async def change_state(self, request: Request) -> Response:
        root, pairs = service_of(request), pairs_of(request)
        uid = checked_uid(request.path_params["workitem"])
        actor = actor_of(request, self._actors, pairs)

        def step(body: bytes) -> Response:
            given = dataset_of(request, body)
            try:
                state = ProcedureStepState(text(given, rules.STATE))
            except ValueError as error:
                detail = "Procedure Step State (0074,1000) is IN PROGRESS, COMPLETED or CANCELED"
                raise Problem(400, "no usable state", detail) from error
            changed = self._records.change_state(actor, uid, state, text(given, rules.TRANSACTION))
            again = (READ_AGAIN.format(changed.next_workitem),) if changed.next_workitem else ()
            return success(HTTPStatus.OK, root, *warning_of(changed.warning), *again)

        return await _answered(request, Transaction.STATE, step)

    async def request_cancel(self, request: Request) -> Response:
        root, pairs = service_of(request), pairs_of(request)
        uid = checked_uid(request.path_params["workitem"])
        actor = actor_of(request, self._actors, pairs)
        ae_title = next((value for name, value in pairs if name.lower() == "requester"), "")[:16]

        def step(body: bytes) -> Response:
            given = dataset_of(request, body) if body.strip() else {}
            status = self._records.request_cancel(actor, uid, given, ae_title)
            return success(HTTPStatus.ACCEPTED, root, *warning_of(status))

        return await _answered(request, Transaction.CANCEL, step)

    async def search(self, request: Request) -> Response:
        root = service_of(request)
        asked = read_search(request.scope["query_string"], workitem_key)
        media_type = chosen(asked.accept or _accept(request), _OFFERED)
        limit = MOST_RESULTS if asked.limit is None else min(asked.limit, MOST_RESULTS)
        is_cut = asked.limit is None or asked.limit > limit

        def step(_: bytes) -> Response:
            page = self._searches.page(asked.keys, offset=asked.offset, limit=limit, is_counted=is_cut)
            return found_answer(page.workitems, media_type, root, remaining=page.remaining, is_fuzzy=asked.is_fuzzy)

        return await _answered(request, Transaction.OTHER, step)


async def _answered(request: Request, transaction: Transaction, step: Callable[[bytes], Response]) -> Response:
    body = await body_of(request)
    try:
        return await run_in_threadpool(step, body)
    except WorkitemRefused as error:
        return refusal(error, transaction, service_of(request))


def _accept(request: Request) -> str:
    return request.headers.get("accept", "")


def _json(datasets: list[dict[str, Any]]) -> bytes:
    return json.dumps(datasets, ensure_ascii=False, separators=(",", ":")).encode()
