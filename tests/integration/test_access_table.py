"""The table of rights: every route, method and role, as it is promised; and what the page in docs says of it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp

from firstread.compose_gateway import build_gateway
from firstread.settings import Settings
from gateway.access.actors import Actors
from gateway.access.keys import ApiKeys, make_key
from gateway.access.login import Login, RoleNames, WaysIn
from gateway.access.rates import Rate
from gateway.access.rights import MOUNT, RouteRights
from tests.left_sockets import LEFT_SOCKETS
from worklist.reading import Actor
from worklist.roles import PERMITTED, Role, UseCase

pytestmark = LEFT_SOCKETS

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
PREFIX = "/dicom-web/"
EVERYBODY, LOGGED_IN, SOME = "-RTQIS", "RTQIS", "RTQS"
LETTERS = {"R": Role.RADIOLOGIST, "T": Role.TECHNOLOGIST, "Q": Role.QA, "I": Role.IT, "S": Role.SERVICE}
READ, CHANGE = ("GET", "HEAD", "OPTIONS"), ("POST", "PUT", "PATCH", "DELETE")
STUDY, WORKITEM = "/worklist/{study_instance_uid}", "/dicom-web/workitems/{workitem}"
SUBSCRIBER = f"{WORKITEM}/subscribers/{{ae_title}}"
# Who comes through to each route, by the letters of the roles; - is somebody who is not logged in.
EXPECTED: dict[str, dict[str, str]] = {
    "/health": {"GET": EVERYBODY},
    "/ready": {"GET": EVERYBODY},
    "/metrics": {"GET": "QIS"},
    "/settings": {"GET": "RQI"},
    "/settings/triage": {"GET": "RQI", "PUT": "Q"},
    "/settings/triage/history": {"GET": "RQI"},
    "/settings/triage/preview": {"POST": "RQI"},
    "/login": {"GET": EVERYBODY},
    "/login/start": {"GET": EVERYBODY},
    "/login/callback": {"GET": EVERYBODY},
    "/logout": {"POST": LOGGED_IN},
    "/events/orthanc": {"POST": EVERYBODY},
    "/me": {"GET": LOGGED_IN},
    "/openapi.json": {"GET": LOGGED_IN, "HEAD": LOGGED_IN},
    "/docs": {"GET": LOGGED_IN},
    "/static": {MOUNT: LOGGED_IN},
    "/viewer": {"GET": LOGGED_IN},
    "/viewer/{_:path}": {"GET": LOGGED_IN},
    "/": {"GET": SOME},
    "/try": {"GET": LOGGED_IN},
    "/simulate": {"GET": LOGGED_IN},
    "/failures": {"GET": "RTQI"},
    "/worklist": dict.fromkeys(READ, SOME),
    "/worklist/order": {"GET": SOME},
    "/worklist/scope": {"GET": LOGGED_IN, "OPTIONS": LOGGED_IN},
    "/worklist/events": dict.fromkeys(READ, SOME),
    "/worklist/failures": {"GET": "RTQI", "OPTIONS": "RTQI"},
    "/worklist/failures/retry": {"PUT": "TQI", "OPTIONS": "TQI"},
    STUDY: {"GET": SOME, "OPTIONS": SOME},
    f"{STUDY}/state": {"PUT": "R", "OPTIONS": "R"},
    f"{STUDY}/feedback": {"GET": "RQS", "POST": "R", "OPTIONS": "RQS"},
    f"{STUDY}/opening": {"PUT": "TI"},
    f"{STUDY}/openings": {"GET": SOME},
    f"{STUDY}/priors": {"GET": "RQS", "OPTIONS": "RQS"},
    f"{STUDY}/steps": {"GET": "RQS", "OPTIONS": "RQS"},
    f"{STUDY}/crops/{{position}}.png": {"GET": "RQS"},
    f"{STUDY}/images/{{position}}.png": {"GET": "RQS"},
    "/fhir/DiagnosticReport": {"GET": "RQS"},
    "/fhir/DiagnosticReport/{study_instance_uid}": {"GET": "RQS"},
    "/predict": {"POST": LOGGED_IN},
    "/predict/{prediction_id}/film.png": {"GET": LOGGED_IN},
    "/predict/{prediction_id}/crop-{position}.png": {"GET": LOGGED_IN},
    "/text": {"POST": LOGGED_IN},
    "/text/{study_instance_uid}": {"GET": "RQS", "POST": "RQS"},
    "/dictate": {"POST": LOGGED_IN},
    "/dictate/{study_instance_uid}": {"POST": "RQS"},
    "/dicom-web/studies": {"GET": SOME, "HEAD": SOME},
    "/dicom-web/workitems": dict.fromkeys(READ, SOME) | dict.fromkeys(CHANGE, "RTS"),
    WORKITEM: dict.fromkeys(READ, SOME) | dict.fromkeys(CHANGE, "RTS"),
    f"{WORKITEM}/state": dict.fromkeys((*READ, *CHANGE), "RTS"),
    f"{WORKITEM}/cancelrequest": dict.fromkeys((*READ, *CHANGE), "RTS"),
    SUBSCRIBER: dict.fromkeys((*READ, *CHANGE), SOME),
    f"{SUBSCRIBER}/suspend": dict.fromkeys((*READ, *CHANGE), SOME),
    "/dicom-web/subscribers/{ae_title}": dict.fromkeys((*READ, *CHANGE, "WEBSOCKET"), SOME),
    "/dicom-web/{path:path}": dict.fromkeys(READ, "RQS") | dict.fromkeys(CHANGE, "TS"),
}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The gateway's application, as its composition root builds it."""
    choices = {"auth": "on", "oidc_issuer": "https://sso.example", "public_url": "https://firstread.example"}
    return build_gateway(Settings.model_validate({"database_url": "sqlite://", **choices}))


@pytest.fixture(scope="module")
def guarded(app: FastAPI, tmp_path_factory: pytest.TempPathFactory) -> tuple[ASGIApp, dict[str, str]]:
    """The guard of all its routes with nothing behind it but 204, and a key of each role."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    keys = {letter: make_key(file, role, role) for letter, role in LETTERS.items()}
    ways = WaysIn(role_names=RoleNames(), keys=ApiKeys(file), requests_per_min=1_000_000)
    rights = RouteRights(app, [PREFIX])
    login = Login(_behind, ways, Actors(is_login_required=True), rights, _page)
    return login, keys


def _page(detail: str, actor: Actor | None) -> Response:
    del detail, actor
    return Response()


async def _behind(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await Response(status_code=204)(scope, receive, send)


def came_through(guard: ASGIApp, method: str, path: str, key: str | None) -> bool:
    """Whether a request reaches what is behind the guard; where not, it was refused as it should be."""
    status = status_of(guard, method, path, key)
    assert status in ({204, 403} if key else {204, 401, 403 if method == "WEBSOCKET" else 401})
    return status == 204


def status_of(guard: ASGIApp, method: str, path: str, key: str | None) -> int:
    """The answer to a request; of a WebSocket 204 where it is accepted."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's own
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("10.1.2.3", 1)}
    if method == "WEBSOCKET":
        scope["type"] = "websocket"
    asyncio.run(guard({**scope, "query_string": b""}, receive, send))  # type: ignore[arg-type] # lists what is looked at
    if method == "WEBSOCKET":
        return 204 if sent[0]["type"] == "websocket.accept" else 403
    return int(sent[0]["status"])


def test_every_route_has_its_row(app: FastAPI) -> None:
    """A route that is added without saying who may call it stops the gateway, and one that is changed fails here."""
    routes: dict[str, set[str]] = {}
    for row in RouteRights(app, [PREFIX]).rows:
        template = row.template if row.template == "/" else row.template.removesuffix("/")
        routes.setdefault(template, set()).add(row.method)
    assert routes == {template: set(methods) for template, methods in EXPECTED.items()}
    app_with_more = FastAPI(openapi_url=None)
    app_with_more.add_api_route("/worklist/more", lambda: None)
    with pytest.raises(RuntimeError, match="GET /worklist/more"):
        RouteRights(app_with_more, [PREFIX])


@pytest.mark.parametrize("template", EXPECTED)
def test_each_role_does_what_it_may_and_nothing_else(guarded: tuple[ASGIApp, dict[str, str]], template: str) -> None:
    """Each route, each of its methods, each role and nobody at all; a slash at the end makes no difference."""
    guard, keys = guarded
    path = re.sub(r"{[^}]*}", "1.2.3", template)
    for method, permitted in EXPECTED[template].items():
        asked = "GET" if method == MOUNT else method
        paths = [f"{path}/worklist.js"] if method == MOUNT else [path]
        paths += [f"{path}/"] if template.startswith(PREFIX) and method != "WEBSOCKET" else []
        for one in paths:
            through = {who for who in EVERYBODY if came_through(guard, asked, one, keys.get(who))}
            assert through == set(permitted), (method, one)


@pytest.mark.parametrize("path", ["/nothing", "/worklist/", "//worklist", "/WORKLIST", "/static/../worklist", "/.env"])
def test_what_no_route_serves_asks_for_a_login_too(guarded: tuple[ASGIApp, dict[str, str]], path: str) -> None:
    """Nobody learns without a login what there is, and no odd way of writing a path leads past it."""
    assert not came_through(guarded[0], "GET", path, None)


def test_the_log_in_page_has_its_looks(guarded: tuple[ASGIApp, dict[str, str]]) -> None:
    """Its own style sheets are there before the login, and no script is."""
    for name in ("page.css", "login.css", "icon.svg"):
        assert came_through(guarded[0], "GET", f"/static/{name}", None)
    assert not came_through(guarded[0], "GET", "/static/worklist.js", None)


def test_whoever_asks_too_often_waits(app: FastAPI, tmp_path: Path) -> None:
    """Each user and machine for itself: another one goes on."""
    keys = {name: make_key(tmp_path / "keys", name, Role.QA) for name in ("busy", "quiet")}
    ways = WaysIn(role_names=RoleNames(), keys=ApiKeys(tmp_path / "keys"), requests_per_min=60)
    rights = RouteRights(app, [PREFIX])
    guard = Login(_behind, ways, Actors(is_login_required=True), rights, _page)
    guard._requests = Rate(60, clock=lambda: 0.0)  # noqa: SLF001 - time stands, however slow the machine
    assert {status_of(guard, "GET", "/me", keys["busy"]) for _ in range(60)} == {204}
    assert status_of(guard, "GET", "/me", keys["busy"]) == 429
    assert status_of(guard, "GET", "/me", keys["quiet"]) == 204


def test_the_page_on_security_shows_the_table() -> None:
    """docs/security.md lists each use case with its roles, as the code has them."""
    rows = re.findall(
        r"^\| (.+?) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    shown = {row[0]: {role for role, mark in zip(Role, row[1:], strict=True) if mark == "yes"} for row in rows}
    for use_case in UseCase:
        assert shown[use_case.value] == PERMITTED[use_case], use_case
