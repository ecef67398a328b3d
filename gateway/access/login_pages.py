"""`GET /login`, the way to the identity provider and out again, and `GET /me`: who it is, and what they may do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse

from gateway.access.actors import Actors
from gateway.access.issuer import IssuerUnavailable, TokenRefused
from gateway.access.login import LOGIN_PATH, WaysIn
from gateway.access.oidc import CALLBACK_PATH, Client, local_path, new_secret
from gateway.access.sessions import Sessions
from gateway.list.pages import security_headers
from worklist.reading import Actor, ActorSource
from worklist.records import LoginSession
from worklist.roles import UseCase

START_PATH: Final = "/login/start"
_LEAVING: Final = {False: "firstread-leaving", True: "__Host-firstread-leaving"}  # by whether it is https
_LEAVING_S: Final = 600
_PAGES: Final = {
    "/": (UseCase.SEE_LIST, "Reading list"),
    "/failures": (UseCase.SEE_FAILURES, "What failed"),
    "/settings": (UseCase.SEE_TRIAGE, "Settings"),
    "/try": (UseCase.TRY, "Try a film"),
}

log = structlog.get_logger()

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Me(BaseModel, extra="forbid"):
    """Who asks, as this gateway knows it.

    `name` is null where nobody is logged in or signed in at a proxy; `may` names what the roles permit.
    """

    login: Literal["on", "off"]
    name: str | None
    source: str | None = Field(description="How the name became known: session, proxy, key or token.")
    roles: list[str]
    may: list[str]


def build_login_pages(actors: Actors, ways: WaysIn | None) -> APIRouter:
    """The routes.

    Args:
        actors: knows who asks.
        ways: how one may log in; None where nobody is asked to.
    """
    router = APIRouter(tags=["login"])

    @router.get(LOGIN_PATH, include_in_schema=False)
    def login(request: Request) -> Response:
        if ways is None:
            return RedirectResponse("/", 303)
        following = quote(local_path(request.query_params.get("next", "/")), safe="/")
        start = f"{START_PATH}?next={following}" if ways.client else ""
        return _page("Log in", lines=_lines(ways), start=start)

    if ways and ways.client and ways.sessions:
        _add_provider(router, actors, ways, ways.client, ways.sessions)

    @router.get("/me")
    def me(request: Request) -> Me:
        """Who is logged in, and what they may do."""
        actor = actors.signed_in(request)
        return Me(
            login="on" if ways else "off",
            name=actor.name if actor else None,
            source=actor.source if actor else None,
            roles=sorted(actor.roles) if ways and actor else [],
            may=[one.name.lower() for one in UseCase if not ways or (actor and actor.may(one))],
        )

    return router


def _add_provider(router: APIRouter, actors: Actors, ways: WaysIn, client: Client, sessions: Sessions) -> None:
    """The way to the hospital's identity provider, back from it, and out again."""

    @router.get(START_PATH, include_in_schema=False)
    async def start(request: Request) -> Response:
        secret = new_secret()
        try:
            answer: Response = RedirectResponse(await client.departure(secret), 303)
        except IssuerUnavailable as error:
            return _page("Log in", 503, message=error.message, start=START_PATH)
        following = local_path(request.query_params.get("next", "/"))
        _set_leaving(answer, f"{secret}.{quote(following, safe='')}", is_https=sessions.is_https(request.scope))
        return answer

    @router.get(CALLBACK_PATH, include_in_schema=False)
    async def callback(request: Request) -> Response:
        leaving = request.cookies.get(_LEAVING[sessions.is_https(request.scope)], "")
        secret, _, following = leaving.partition(".")
        address = actors.address(request)
        ways.trials.require(address)
        answer: Response
        try:
            claims = await client.arrival(secret, request.query_params)
            name = client.name(claims)
        except TokenRefused as error:
            refused = ways.trials.failed(address, error.message, code=error.code)
            answer = _page("Log in", refused.status_code, message=error.message, start=START_PATH)
        except IssuerUnavailable as error:
            answer = _page("Log in", 503, message=error.message, start=START_PATH)
        else:
            groups = client.groups(claims)
            session = LoginSession(name=name, roles=ways.role_names.roles(groups), sites=ways.sites.of_groups(groups))
            answer = RedirectResponse(local_path(unquote(following)), 303)
            await sessions.begin(request.scope, answer, session)
            log.info("logged in", by=name, roles=sorted(session.roles), address=address)
        _set_leaving(answer, "", is_https=sessions.is_https(request.scope))
        return answer

    @router.post("/logout")
    async def logout(request: Request) -> Response:
        """End this browser's session; answers where to go to log out at the identity provider too."""
        await sessions.end(request)
        following = LOGIN_PATH
        with suppress(IssuerUnavailable):
            following = await client.farewell() or LOGIN_PATH
        answer = JSONResponse({"next": following})
        sessions.forget(request.scope, answer)
        return answer


def _set_leaving(answer: Response, value: str, *, is_https: bool) -> None:
    """What a browser remembers while it is at the provider; "" has it forget."""
    answer.set_cookie(
        _LEAVING[is_https],
        value,
        max_age=_LEAVING_S if value else 0,
        path="/",
        secure=is_https,
        httponly=True,
        samesite="lax",
    )


def refusal_page(detail: str, actor: Actor | None) -> Response:
    """For a browser that may not see what it asked for, with what there is instead."""
    links = {path: text for path, (use_case, text) in _PAGES.items() if actor and actor.may(use_case)}
    has_session = actor is not None and actor.source is ActorSource.SESSION
    return _page("Not permitted", message=detail, links=links, has_session=has_session)


def _lines(ways: WaysIn) -> list[str]:
    lines = []
    if ways.is_proxy_believed:
        lines.append("The hospital's own sign-on logs you in: open Firstread by the address that IT has given you.")
    if ways.keys:
        lines.append("Machines send an API key: firstread keys new makes one.")
    return lines


def _page(title: str, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401 - what the template shows
    shown = {"message": "", "start": "", "lines": [], "links": {}, "has_session": False, **values}
    html = _TEMPLATES.get_template("login.html").render(title=title, **shown)
    return HTMLResponse(html, status, security_headers())
