"""What each request leaves in the audit trail, by the use case of its route; see rights.py."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_plus

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.actors import WHO, Actors
from gateway.access.rights import RouteRights
from gateway.audit.recorder import AuditRecorder
from worklist.audit import NOBODY, WORKITEM, AuditEntry, AuditKind, Outcome
from worklist.reading import Actor
from worklist.roles import UseCase

_KINDS: Final[Mapping[UseCase, AuditKind]] = {
    UseCase.SEE_LIST: AuditKind.QUERY,
    UseCase.SEARCH: AuditKind.QUERY,
    UseCase.OPEN_STUDY: AuditKind.ACCESS,
    UseCase.OPEN_IN_EMERGENCY: AuditKind.EMERGENCY,
    UseCase.READ: AuditKind.CHANGE,
    UseCase.SCHEDULE: AuditKind.CHANGE,
    UseCase.SUBSCRIBE: AuditKind.QUERY,
    UseCase.STORE: AuditKind.IMPORT,
    UseCase.TRY: AuditKind.IMPORT,
    UseCase.RETRY: AuditKind.SETTINGS,
    UseCase.CHANGE_TRIAGE: AuditKind.SETTINGS,
}
"""Use cases that leave an entry where they succeed; the others tell of no patient and change nothing."""
_CALLBACK, _LOGOUT = "/login/callback", "/logout"
_FIRST_ERROR: Final = 400
_LONGEST: Final = 500  # characters of a query that are kept


class Audited:
    """Watches how each request ends.

    Args:
        app: the application behind it, the log-in included.
        recorder: takes the entries.
        rights: know the use case of each route.
        actors: know from where a request comes.
    """

    def __init__(self, app: ASGIApp, recorder: AuditRecorder, rights: RouteRights, actors: Actors) -> None:
        self._app = app
        self._recorder = recorder
        self._rights = rights
        self._actors = actors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it begins to be answered: a stream of events may never end."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        who: list[Actor] = []
        scope = {**scope, WHO: who}

        async def noted(message: Message) -> None:
            status = _status(message)
            if status:
                entry = self._entry(scope, who[-1] if who else None, status)
                if entry:
                    self._recorder.add(entry)
            await send(message)

        await self._app(scope, receive, noted)

    def _entry(self, scope: Scope, actor: Actor | None, status: int) -> AuditEntry | None:
        kind = self._kind(scope, actor, status)
        outcome = Outcome.SUCCESS if status < _FIRST_ERROR else Outcome.MINOR_FAILURE
        if kind is None:
            return None
        connection = HTTPConnection(scope)
        workitem = self._rights.workitem(scope)
        return AuditEntry(
            at=datetime.now(UTC),
            kind=kind,
            outcome=outcome,
            actor=actor.name if actor else NOBODY,
            actor_source=actor.source if actor else "",
            roles=tuple(sorted(actor.roles)) if actor and self._actors.is_login_required else (),
            address=self._actors.address(connection),
            study_instance_uid=self._rights.study(scope),
            detail=_detail(scope, kind, status) | ({WORKITEM: workitem} if workitem else {}),
        )

    def _kind(self, scope: Scope, actor: Actor | None, status: int) -> AuditKind | None:
        path = scope["path"]
        if path in {_CALLBACK, _LOGOUT} and status < _FIRST_ERROR:
            return AuditKind.LOGIN if path == _CALLBACK else AuditKind.LOGOUT
        if (
            status == HTTPStatus.UNAUTHORIZED
        ):  # a browser that has yet to log in is sent on, and shows nothing that is wrong
            shows = any(name == b"authorization" for name, _ in scope["headers"])
            return AuditKind.LOGIN if shows or path == _CALLBACK else None
        if status == HTTPStatus.FORBIDDEN:
            return AuditKind.REFUSED
        if status == HTTPStatus.NOT_FOUND and actor and actor.sight is not None and self._rights.study(scope):
            return AuditKind.REFUSED  # of another site, or of none: who asks is not told which
        right = self._rights.of(scope)
        if status >= _FIRST_ERROR or not isinstance(right, UseCase):
            return None
        is_page_of_trials = right is UseCase.TRY and scope.get("method") == "GET"
        return None if is_page_of_trials else _KINDS.get(right)


def _status(message: Message) -> int:
    if message["type"] == "http.response.start":
        return int(message["status"])
    return 101 if message["type"] == "websocket.accept" else 0


def _detail(scope: Scope, kind: AuditKind, status: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"method": scope.get("method", "WEBSOCKET"), "path": scope["path"]}
    if kind in {AuditKind.QUERY, AuditKind.ACCESS}:
        query = unquote_plus(scope.get("query_string", b"").decode("latin-1"))
        if kind is AuditKind.ACCESS:  # a viewer asks dozens of times for what is one look at a study
            return {}
        return {**asked, **({"query": query[:_LONGEST]} if query else {})}
    return {**asked, **({"status": status} if status >= _FIRST_ERROR else {})}
