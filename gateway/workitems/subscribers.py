"""Subscribe, unsubscribe, suspend, and the connection for events (PS3.18 sections 11.10 to 11.13 and 8.10.4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, WebSocket
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from gateway.access.actors import Actors
from gateway.problems import Problem
from gateway.workitems.answers import Transaction, refusal, success
from gateway.workitems.hub import WorkitemHub
from gateway.workitems.requests import actor_of, checked_ae_title, checked_uid, pairs_of
from gateway.workitems.routes import Handler, add_resources, service_of
from worklist.errors import InvalidInput
from worklist.records import SubscriptionRecords
from worklist.workitems.identity import FILTERED_GLOBAL, WELL_KNOWN
from worklist.workitems.refusal import WorkitemRefused

_PARAMETERS: Final = frozenset({"deletionlock", "filter", "requester", "accept", "charset"})
_POLICY_VIOLATION: Final = 1008
_NEXT_KEY = re.compile(r",(?=[A-Za-z0-9.]+=)")  # a value may hold commas itself


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriberService:
    """What the routes stand on."""

    records: SubscriptionRecords
    hub: WorkitemHub
    actors: Actors


def build_subscribers(service: SubscriberService, prefixes: Iterable[str]) -> APIRouter:
    """The routes, under each beginning of the DICOMweb service's paths."""
    router, steps = APIRouter(), _Steps(service)
    one = "workitems/{workitem}/subscribers/{ae_title}"
    resources: dict[str, dict[str, Handler]] = {
        one: {"POST": steps.subscribe, "DELETE": steps.unsubscribe},
        f"{one}/suspend": {"POST": steps.suspend},
        "subscribers/{ae_title}": {"GET": _not_upgraded},
    }
    for prefix in prefixes:
        router.add_api_websocket_route(f"{prefix}subscribers/{{ae_title}}", steps.connect)
    add_resources(router, resources, prefixes)
    return router


class _Steps:
    def __init__(self, service: SubscriberService) -> None:
        self._records = service.records
        self._hub = service.hub
        self._actors = service.actors

    async def subscribe(self, request: Request) -> Response:
        uid, ae_title, pairs = *_target(request), pairs_of(request)
        lock = next((value for name, value in pairs if name.lower() == "deletionlock"), "false").lower()
        if lock not in {"true", "false"}:
            raise Problem(400, "no usable query", "deletionlock is true or false")
        keys = _filter(pairs)
        if bool(keys) != (uid == FILTERED_GLOBAL):
            detail = (
                f"a filter belongs to {FILTERED_GLOBAL}, which needs one: filter=ScheduledProcedureStepPriority=HIGH"
            )
            raise Problem(400, "no usable filter", detail)
        actor = actor_of(request, self._actors, pairs)
        root = service_of(request)
        address = f"{root.replace('http', 'ws', 1)}/subscribers/{ae_title}"

        def step() -> Response:
            try:
                self._records.subscribe(actor, ae_title, uid, has_lock=lock == "true", keys=keys)
            except InvalidInput as error:
                raise Problem(400, "no usable filter", error.message, code=error.code) from error
            return success(HTTPStatus.CREATED, root, **{"Content-Location": address})

        return await _answered(request, step)

    async def unsubscribe(self, request: Request) -> Response:
        uid, ae_title = _target(request)
        actor = actor_of(request, self._actors, pairs_of(request))

        def step() -> Response:
            self._records.unsubscribe(actor, ae_title, uid)
            return success(HTTPStatus.OK, service_of(request))

        return await _answered(request, step)

    async def suspend(self, request: Request) -> Response:
        uid, ae_title = _target(request)
        if uid not in WELL_KNOWN:
            raise Problem(404, "no such resource", f"only {' and '.join(sorted(WELL_KNOWN))} can be suspended")

        actor = actor_of(request, self._actors, pairs_of(request))

        def step() -> Response:
            self._records.suspend(actor, ae_title, uid)
            return success(HTTPStatus.OK, service_of(request))

        return await _answered(request, step)

    async def connect(self, websocket: WebSocket) -> None:
        try:
            ae_title = checked_ae_title(websocket.path_params["ae_title"])
        except Problem:
            await websocket.close(_POLICY_VIOLATION)
            return
        await self._hub.serve(websocket, ae_title)


async def _not_upgraded(request: Request) -> Response:
    checked_ae_title(request.path_params["ae_title"])
    raise Problem(426, "upgrade required", "events come over a WebSocket: connect with ws:// or wss://")


def _target(request: Request) -> tuple[str, str]:
    return checked_uid(request.path_params["workitem"]), checked_ae_title(request.path_params["ae_title"])


def _filter(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The keys of `filter`, and those that stand in the query by themselves, as PS3.18 had it until 2018.

    Raises:
        Problem: 400, a part is no key.
    """
    keys = [(name, value) for name, value in pairs if name.lower() not in _PARAMETERS]
    for text in (value for name, value in pairs if name.lower() == "filter"):
        for part in _NEXT_KEY.split(text):
            name, is_key, value = part.partition("=")
            if not is_key:
                raise Problem(400, "no usable filter", "filter takes attributes and values: filter=PatientID=4711,...")
            keys.append((name.strip(), value))
    return keys


async def _answered(request: Request, step: Callable[[], Response]) -> Response:
    try:
        return await run_in_threadpool(step)
    except WorkitemRefused as error:
        return refusal(error, Transaction.OTHER, service_of(request))
