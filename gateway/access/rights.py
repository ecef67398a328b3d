"""Which use case each route is: whoever calls it must be permitted that, by the one table of roles.

The table is asked for every route that the application has when it is built, mounts and WebSockets included: one that
has no row here stops the gateway before it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, compile_path
from starlette.types import Scope

from worklist.roles import UseCase

ANYBODY: Final = "anybody"
"""No login is asked for."""
LOGGED_IN: Final = "whoever is logged in"
"""Nothing of a patient is told."""
WEBSOCKET: Final = "WEBSOCKET"
MOUNT: Final = "MOUNT"
DICOMWEB: Final = "{dicomweb}"
"""Stands for each beginning of the DICOMweb service's paths."""
OPEN_FILES: Final = frozenset({"/static/page.css", "/static/login.css", "/static/icon.svg"})
"""Of the log-in page."""

Right = UseCase | str

_C: Final = UseCase
_READS: Final = ("GET", "HEAD", "OPTIONS")
_EVERY: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


def _each(methods: Iterable[str], right: Right, **others: Right) -> Mapping[str, Right]:
    return {**dict.fromkeys(methods, right), **others}


_STUDY: Final = "/worklist/{study_instance_uid}"
_WORKITEM: Final = f"{DICOMWEB}workitems/{{workitem}}"
_SUBSCRIBER: Final = f"{_WORKITEM}/subscribers/{{ae_title}}"
RIGHTS: Final[Mapping[str, Mapping[str, Right]]] = {
    "/health": _each(["GET"], ANYBODY),
    "/ready": _each(["GET"], ANYBODY),
    "/metrics": _each(["GET"], _C.SEE_METRICS),
    "/events/orthanc": _each(["POST"], ANYBODY),  # whoever knows the doorbell's secret
    "/login": _each(["GET"], ANYBODY),
    "/login/start": _each(["GET"], ANYBODY),
    "/login/callback": _each(["GET"], ANYBODY),
    "/logout": _each(["POST"], LOGGED_IN),
    "/me": _each(["GET"], LOGGED_IN),
    "/openapi.json": _each(["GET", "HEAD"], LOGGED_IN),
    "/docs": _each(["GET"], LOGGED_IN),
    "/static": _each([MOUNT], LOGGED_IN),
    "/viewer": _each([MOUNT, "GET"], LOGGED_IN),  # OHIF's own files; it asks below for what it shows
    "/viewer/{_:path}": _each(["GET"], LOGGED_IN),
    "/": _each(["GET"], _C.SEE_LIST),
    "/try": _each(["GET"], _C.TRY),
    "/simulate": _each(["GET"], _C.TRY),
    "/failures": _each(["GET"], _C.SEE_FAILURES),
    "/settings": _each(["GET"], _C.SEE_TRIAGE),
    "/settings/triage": _each(["GET", "OPTIONS"], _C.SEE_TRIAGE, PUT=_C.CHANGE_TRIAGE),
    "/settings/triage/preview": _each(["POST", "OPTIONS"], _C.SEE_TRIAGE),
    "/settings/triage/history": _each(["GET", "OPTIONS"], _C.SEE_TRIAGE),
    "/worklist": _each(_READS, _C.SEE_LIST),
    "/worklist/order": _each(["GET"], _C.SEE_LIST),
    "/worklist/scope": _each(["GET", "OPTIONS"], LOGGED_IN),
    "/worklist/events": _each(_READS, _C.SEE_LIST),
    "/worklist/failures": _each(["GET", "OPTIONS"], _C.SEE_FAILURES),
    "/worklist/failures/retry": _each(["PUT", "OPTIONS"], _C.RETRY),
    _STUDY: _each(["GET", "OPTIONS"], _C.SEE_LIST),
    f"{_STUDY}/state": _each(["PUT", "OPTIONS"], _C.READ),
    f"{_STUDY}/feedback": _each(["GET", "OPTIONS"], _C.OPEN_STUDY, POST=_C.READ),
    f"{_STUDY}/opening": _each(["PUT"], _C.OPEN_IN_EMERGENCY),
    f"{_STUDY}/openings": _each(["GET"], _C.SEE_LIST),
    f"{_STUDY}/priors": _each(["GET", "OPTIONS"], _C.OPEN_STUDY),
    f"{_STUDY}/steps": _each(["GET", "OPTIONS"], _C.OPEN_STUDY),
    f"{_STUDY}/crops/{{position}}.png": _each(["GET"], _C.OPEN_STUDY),
    f"{_STUDY}/images/{{position}}.png": _each(["GET"], _C.OPEN_STUDY),
    "/fhir/DiagnosticReport": _each(["GET"], _C.OPEN_STUDY),
    "/fhir/DiagnosticReport/{study_instance_uid}": _each(["GET"], _C.OPEN_STUDY),
    "/predict": _each(["POST"], _C.TRY),
    "/predict/{prediction_id}/film.png": _each(["GET"], _C.TRY),
    "/predict/{prediction_id}/crop-{position}.png": _each(["GET"], _C.TRY),
    "/text": _each(["POST"], _C.TRY),
    "/text/{study_instance_uid}": _each(["GET", "POST"], _C.OPEN_STUDY),
    "/dictate": _each(["POST"], _C.TRY),
    "/dictate/{study_instance_uid}": _each(["POST"], _C.OPEN_STUDY),
    f"{DICOMWEB}studies": _each(["GET", "HEAD"], _C.SEARCH),
    f"{DICOMWEB}workitems": _each(_EVERY, _C.SCHEDULE, GET=_C.SEARCH, HEAD=_C.SEARCH, OPTIONS=_C.SEARCH),
    _WORKITEM: _each(_EVERY, _C.SCHEDULE, GET=_C.SEARCH, HEAD=_C.SEARCH, OPTIONS=_C.SEARCH),
    f"{_WORKITEM}/state": _each(_EVERY, _C.SCHEDULE),
    f"{_WORKITEM}/cancelrequest": _each(_EVERY, _C.SCHEDULE),
    _SUBSCRIBER: _each(_EVERY, _C.SUBSCRIBE),
    f"{_SUBSCRIBER}/suspend": _each(_EVERY, _C.SUBSCRIBE),
    f"{DICOMWEB}subscribers/{{ae_title}}": _each([*_EVERY, WEBSOCKET], _C.SUBSCRIBE),
    f"{DICOMWEB}{{path:path}}": _each(_EVERY, _C.STORE, **dict.fromkeys(_READS, _C.OPEN_STUDY)),
}
"""The use case of each route by its template and method; a slash at the end makes no difference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteRight:
    """A route of the application with the right that it needs."""

    template: str
    method: str
    right: Right
    pattern: re.Pattern[str]


class RouteRights:
    """Tells the right that a request needs.

    Args:
        app: with all its routes.
        prefixes: the beginnings of the DICOMweb service's paths.

    Raises:
        RuntimeError: a route has no row in the table.
    """

    def __init__(self, app: FastAPI, prefixes: Iterable[str]) -> None:
        beginnings = tuple(prefixes)
        self.rows = tuple(_rows(app, beginnings))
        studies = "|".join(re.escape(f"{prefix}studies/") for prefix in beginnings)
        workitems = "|".join(re.escape(f"{prefix}workitems/") for prefix in beginnings)
        self._workitem = re.compile(f"({workitems})(?P<workitem>[^/]+)")
        self._study = re.compile(f"(/worklist/|/fhir/DiagnosticReport/|/text/|/dictate/|{studies})(?P<study>[^/]+)")

    def study(self, scope: Scope) -> str:
        """The address of the one study that a request is about; "" where there is none."""
        found = self._study.match(scope["path"])
        return found["study"] if found else ""

    def workitem(self, scope: Scope) -> str:
        """The UID of the one workitem that a request is about; "" where there is none."""
        found = self._workitem.match(scope["path"])
        return found["workitem"] if found else ""

    def of(self, scope: Scope) -> Right:
        """The right for a request; what no route serves is answered 404 to whoever is logged in."""
        path = scope["path"]
        if path in OPEN_FILES:
            return ANYBODY
        method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
        for row in self.rows:
            if row.method in {method, MOUNT} and row.pattern.match(path):
                return row.right
        return LOGGED_IN


def _rows(app: FastAPI, prefixes: tuple[str, ...]) -> Iterable[RouteRight]:
    for route in iter_route_contexts(app.routes):
        template = route.path or "/"
        kinds = _kinds(route)
        row = RIGHTS.get(_named(template, prefixes), {})
        pattern, _, _ = compile_path(f"{template}/{{path:path}}" if kinds == {MOUNT} else template)
        for method in sorted(kinds):
            if method not in row:
                raise RuntimeError(f"nobody has said who may {method} {template}: give it a row in {__name__}")
            yield RouteRight(template=template, method=method, right=row[method], pattern=pattern)


def _kinds(route: Any) -> set[str]:  # noqa: ANN401 - of a route of FastAPI, Starlette, or a mount
    if isinstance(route.original_route, Mount):
        return {MOUNT}
    return set(route.methods or {WEBSOCKET})


def _named(template: str, prefixes: tuple[str, ...]) -> str:
    """A template as the table has it."""
    for prefix in prefixes:
        if template.startswith(prefix):
            return DICOMWEB + template.removeprefix(prefix).removesuffix("/")
    return template
