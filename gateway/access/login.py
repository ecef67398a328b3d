"""Who is there: asked of every request before anything of it is read, and what they may do.

A machine shows a key or a token in the Authorization header, a trusted reverse proxy names whom it has logged in, and
a browser has the cookie of its session. What is shown and is not good is refused, and counted by address, so that
nobody can try for long.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, quote

import structlog
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.actors import HEADER, LOGGED_IN_ACTOR, WHO, Actors
from gateway.access.issuer import IssuerUnavailable, TokenRefused
from gateway.access.keys import KEY, PREFIX, ApiKeys
from gateway.access.oidc import Client
from gateway.access.rates import Rate
from gateway.access.rights import ANYBODY, Right, RouteRights
from gateway.access.sessions import Sessions
from gateway.access.trials import Trials
from gateway.problems import Problem, problem
from gateway.search.order import PATH as ORDER_PATH
from worklist.errors import InvalidInput, NotPermitted
from worklist.reading import Actor, ActorSource
from worklist.records import OpeningRecords
from worklist.roles import Role, UseCase
from worklist.sight import Sites, seeing

ROLES_HEADER: Final = "X-Remote-Roles"
LOGIN_PATH: Final = "/login"
_NAMES_OF_KEYS: Final = frozenset({"access_token", "api_key", "api-key", "apikey", "x-api-key"})
_PARTS: Final = re.compile("[,;]")

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleNames:
    """What the hospital calls the roles.

    Attributes:
        names: roles by the hospital's own words; the roles' own names hold anyway.
        default: the role of people for whom none is named.
    """

    names: Mapping[str, Role] = field(default_factory=dict)
    default: Role | None = None

    def roles(self, told: Iterable[str], *, is_person: bool = True) -> frozenset[Role]:
        """The roles among the words that a login tells; words that mean nothing here are passed over."""
        known = {**{role.value: role for role in Role}, **self.names}
        found = frozenset(known[word] for word in told if word in known)
        return found or (frozenset({self.default}) if self.default and is_person else frozenset())


@dataclass(frozen=True, kw_only=True, slots=True)
class WaysIn:
    """How one may log in at this site.

    Attributes:
        role_names: what logins call the roles.
        sites: that share the list, and who sees which.
        keys: of machines; None for none.
        is_proxy_believed: whether X-Remote-User of a trusted proxy logs in.
        client: of the hospital's identity provider; None for none.
        sessions: of browsers that have logged in there.
        openings: of studies in an emergency.
        plugin_secret: by which Orthanc's plug-in asks for the order; empty for none.
        requests_per_min: of one user or machine.
        trials: how often an address may fail.
    """

    role_names: RoleNames
    sites: Sites = field(default_factory=Sites)
    keys: ApiKeys | None = None
    is_proxy_believed: bool = False
    client: Client | None = None
    sessions: Sessions | None = None
    openings: OpeningRecords | None = None
    plugin_secret: str = ""
    requests_per_min: int = 3000
    trials: Trials = field(default_factory=Trials)


class Login:
    """Lets nobody past without a login, nor to what their role does not permit.

    Args:
        app: the application behind it.
        ways: how one may log in.
        actors: knows which proxies are trusted.
        rights: of each route.
        refusal_page: the page for a browser that may not see what it asked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        ways: WaysIn,
        actors: Actors,
        rights: RouteRights,
        refusal_page: Callable[[str, Actor | None], Response],
    ) -> None:
        self._app = app
        self._ways = ways
        self._actors = actors
        self._rights = rights
        self._refusal_page = refusal_page
        self._trials = ways.trials
        self._requests = Rate(ways.requests_per_min)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with who asks, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection, right, actor = HTTPConnection(scope), self._rights.of(scope), None
        try:
            self._refuse_key_in_address(connection)
            if right != ANYBODY:
                actor = await self._logged_in(connection)
                await self._check(actor, right, scope)
        except Problem as refused:
            await self._refuse(refused, actor, scope, receive, send)
            return
        except SQLAlchemyError as error:
            log.error("the database failed a login", error=type(error).__name__)  # noqa: TRY400 - it may quote values
            detail = "the database does not answer: GET /ready and the gateway's log say why"
            unanswered = Problem(503, "Service Unavailable", detail, code="database_unavailable")
            await self._refuse(unanswered, actor, scope, receive, send)
            return
        if actor:
            scope = {**scope, LOGGED_IN_ACTOR: actor}
        with seeing(actor.sight if actor else None):
            if self._ways.sessions and actor and actor.source is ActorSource.SESSION:
                await self._ways.sessions.watched(self._app, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _logged_in(self, connection: HTTPConnection) -> Actor:
        actor = await self._who(connection)
        if actor is None:
            raise Problem(401, "not logged in", f"log in at {LOGIN_PATH}, or send an API key", code="not_logged_in")
        if not self._requests.take(f"{actor.source} {actor.name}"):
            raise Problem(429, "too many requests", f"{actor.name} asks too often: wait a minute", code="too_many")
        connection.scope.get(WHO, []).append(actor)
        return actor

    async def _check(self, actor: Actor, right: Right, scope: Scope) -> None:
        if isinstance(right, UseCase):
            try:
                actor.require(right)
            except NotPermitted as error:
                if right is UseCase.OPEN_STUDY and await self._has_opened(actor, self._rights.study(scope)):
                    return
                log.warning("not permitted", by=actor.name, address=actor.address, what=right.value)
                raise Problem(403, "not permitted", error.message, code=error.code) from error

    async def _has_opened(self, actor: Actor, study: str) -> bool:
        openings = self._ways.openings
        if not study or openings is None or not actor.may(UseCase.OPEN_IN_EMERGENCY):
            return False
        with seeing(actor.sight):
            return await run_in_threadpool(openings.is_open, actor, study)

    # ---- Who it is ----

    async def _who(self, connection: HTTPConnection) -> Actor | None:
        if "authorization" in connection.headers:
            return await self._by_authorization(connection)
        if connection.headers.get(HEADER, "").strip():
            return self._by_proxy(connection)
        if self._ways.sessions:
            return await self._ways.sessions.actor(connection, self._actors.address(connection))
        return None

    async def _by_authorization(self, connection: HTTPConnection) -> Actor:
        address = self._actors.address(connection)
        self._trials.require(address)
        scheme, _, shown = connection.headers["authorization"].partition(" ")
        shown = shown.strip()
        if scheme.lower() != "bearer" or not shown:
            raise self._trials.failed(address, "the Authorization header must be: Bearer, and a key or a token")
        if self._is_plugin(connection, shown):
            return Actor(
                name="Orthanc's plug-in",
                source=ActorSource.PLUGIN,
                roles=frozenset({Role.SERVICE}),
                address=address,
            )
        if shown.startswith(PREFIX):
            holder = self._ways.keys.holder(shown) if self._ways.keys else None
            if holder is None:
                raise self._trials.failed(address, "this API key is not good: firstread keys new makes one")
            return Actor(
                name=holder.name,
                source=ActorSource.KEY,
                roles=frozenset({holder.role}),
                address=address,
                sight=self._ways.sites.sight(self._ways.sites.of_key(holder.name)),
            )
        if self._ways.client is None:
            raise self._trials.failed(address, f"this is no API key, which begin with {PREFIX}")
        return await self._by_token(shown, address, self._ways.client)

    async def _by_token(self, shown: str, address: str, client: Client) -> Actor:
        try:
            claims = await client.machine(shown)
            groups = client.groups(claims)
            return Actor(
                name=client.name(claims),
                source=ActorSource.TOKEN,
                roles=self._ways.role_names.roles(groups, is_person=False),
                address=address,
                sight=self._ways.sites.sight(self._ways.sites.of_groups(groups)),
            )
        except TokenRefused as error:
            raise self._trials.failed(address, error.message, code=error.code) from error
        except IssuerUnavailable as error:
            raise Problem(503, "no identity provider", error.message, code=error.code) from error

    def _is_plugin(self, connection: HTTPConnection, shown: str) -> bool:
        secret = self._ways.plugin_secret
        is_asked = connection.scope["path"] == ORDER_PATH
        return is_asked and bool(secret) and hmac.compare_digest(shown.encode(), secret.encode())

    def _by_proxy(self, connection: HTTPConnection) -> Actor:
        address = self._actors.address(connection)
        if not (self._ways.is_proxy_believed and self._actors.is_trusted(connection)):
            self._trials.require(address)
            raise self._trials.failed(
                address,
                f"{HEADER} is believed from no one here but the hospital's own proxy, after FIRSTREAD_PROXY_LOGIN",
                code="header_refused",
                status=403,
            )
        try:
            name = self._actors.named_by_proxy(connection)
        except InvalidInput as error:
            raise self._trials.failed(address, error.message, code=error.code) from error
        told = [word.strip() for value in connection.headers.getlist(ROLES_HEADER) for word in _PARTS.split(value)]
        return Actor(
            name=name,
            source=ActorSource.PROXY,
            roles=self._ways.role_names.roles(told),
            address=address,
            sight=self._ways.sites.sight(self._ways.sites.of_groups(told)),
        )

    # ---- Refusals ----

    def _refuse_key_in_address(self, connection: HTTPConnection) -> None:
        query = connection.scope.get("query_string", b"").decode("latin-1")
        if KEY.search(query) or KEY.search(connection.scope["path"]) or _has_key(query):
            raise self._trials.failed(
                self._actors.address(connection),
                "a key or token in an address is kept by logs and browsers: send it in the Authorization header, "
                "and have this one replaced",
                code="key_in_address",
                status=400,
            )

    async def _refuse(self, refused: Problem, actor: Actor | None, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused.title})
            return
        answer: Response = problem(refused.status_code, refused.title, str(refused.detail), **refused.more)
        if _is_shown(scope):
            if refused.more.get("code") == "not_logged_in":
                answer = RedirectResponse(f"{LOGIN_PATH}?next={_here(scope)}", 303)
            else:
                answer = self._refusal_page(str(refused.detail), actor)
                answer.status_code = refused.status_code
        if refused.status_code == HTTPStatus.UNAUTHORIZED:
            answer.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 section 11.6.1
        elif refused.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            answer.headers["Retry-After"] = "60"
        await answer(scope, receive, send)


def _has_key(query: str) -> bool:
    return any(name.lower() in _NAMES_OF_KEYS for name, _ in parse_qsl(query, keep_blank_values=True))


def _is_shown(scope: Scope) -> bool:
    """Whether a browser asks for a page that it is to show."""
    accept = HTTPConnection(scope).headers.get("accept", "")
    return scope["method"] == "GET" and "text/html" in accept


def _here(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return quote(scope["path"] + (f"?{query}" if query else ""), safe="/")
