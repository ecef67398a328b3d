"""Who may knock at all, with a login or without: asked before anything else of a request is looked at.

A browser carries what a page of any site asks to whatever that browser reaches. It can be tricked in two ways: by a
name of the attacker's that suddenly leads here (DNS rebinding), which the Host header gives away, and by a form or
script of another site, which Sec-Fetch-Site and Origin give away. A request that names an address instead of a name
cannot be rebound, and one without these headers does not come from a browser.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Problem, problem
from worklist.errors import InvalidInput
from worklist.finding import DISCLAIMER

ON_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
_HARMLESS = {"GET", "HEAD", "OPTIONS"}
_OWN_PAGES = {"same-origin", "none"}  # none: typed, or a bookmark
_HOST = re.compile(r"(?P<name>[\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_NAME = re.compile(r"[\w.-]+", re.ASCII)
# Where an answer says nothing else of its own: it is for this caller, is what it says it is, and runs nothing.
_USUAL: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "firstread-disclaimer": DISCLAIMER,  # with every answer, of whatever form: a list, a picture, a stream
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_HSTS: Final = "max-age=31536000"


class Door:
    """Refuses what is addressed to somebody else (421) and changes that another site asks for (403).

    Args:
        app: the application behind it.
        hosts: names by which this gateway is called, beside those of this machine and every address.
        is_https: whether browsers shall call it by https alone from now on (HSTS, RFC 6797).

    Raises:
        InvalidInput: bad_allowed_hosts, one of them is no name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], *, is_https: bool = False) -> None:
        self._app = app
        self._usual = {**_USUAL, "strict-transport-security": _HSTS} if is_https else _USUAL
        self._hosts = {_named(host) for host in (*ON_THIS_MACHINE, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._usual.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refused(HTTPConnection(scope))
        if refused is None:
            await self._app(scope, receive, guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused.title})
        else:
            answer = problem(refused.status_code, refused.title, str(refused.detail), **refused.more)
            await answer(scope, receive, guarded)

    def _refused(self, connection: HTTPConnection) -> Problem | None:
        headers = connection.headers
        hosts = headers.getlist("host")
        told = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if told is None:
            return Problem(400, "no usable Host", "the Host header must hold a name or address, and a port if need be")
        name = _plain(told["name"])
        if name not in self._hosts and not _is_address(name):
            detail = f"this gateway is not called {name[:100]}: where it is, add the name to FIRSTREAD_ALLOWED_HOSTS"
            return Problem(421, "misdirected request", detail, code="unknown_host")
        is_change = connection.scope["type"] == "websocket" or connection.scope["method"] not in _HARMLESS
        if is_change and not _is_own_page(headers, hosts[0]):
            detail = "another site's page asks for this change: open this gateway's own page and try there"
            return Problem(403, "cross-site request", detail, code="cross_site")
        return None


def _is_own_page(headers: Headers, host: str) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site.lower() in _OWN_PAGES
    return origin is None or origin.partition("://")[2].lower() == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _plain(host: str) -> str:
    """A name or address without what may be written either way."""
    return host.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")


def _named(host: str) -> str:
    """The same of a setting, which must be one."""
    name = _plain(host)
    if not _NAME.fullmatch(name) and not _is_address(name):
        raise InvalidInput(
            "bad_allowed_hosts", f'FIRSTREAD_ALLOWED_HOSTS: {host!r} is no name: give names alone, as ["pacs.hospital"]'
        )
    return name
