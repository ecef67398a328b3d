"""Behind a reverse proxy: the scheme and the name that the caller used, of which addresses in answers are made."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.actors import Actors

_LOOPBACK = {"127.0.0.1", "::1"}


class ForwardedAddress:
    """Takes the scheme from X-Forwarded-Proto of a trusted proxy, or of one on this machine, and from nobody else.

    The name is taken from X-Forwarded-Host of a trusted proxy alone: a scheme that is not so does no harm but in the
    addresses of the answer; a name may, and anybody on this machine can send one.

    Args:
        app: the application behind it.
        actors: knows which proxies are trusted.
    """

    def __init__(self, app: ASGIApp, actors: Actors) -> None:
        self._app = app
        self._actors = actors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the scheme and the name that its reader sees."""
        if scope["type"] in {"http", "websocket"}:
            connection = HTTPConnection(scope)
            stated = connection.headers.get("X-Forwarded-Proto", "").strip().lower()
            is_near = connection.client is not None and connection.client.host in _LOOPBACK
            is_trusted = self._actors.is_trusted(connection)
            if scope["type"] == "http" and stated in {"http", "https"} and (is_near or is_trusted):
                scope = {**scope, "scheme": stated}
            host = connection.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
            if host and is_trusted:
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                scope = {**scope, "headers": [(b"host", host.encode("latin-1")), *others]}
        await self._app(scope, receive, send)
