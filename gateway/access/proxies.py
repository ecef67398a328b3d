"""Behind a reverse proxy with TLS: the scheme that the browser used, so that addresses in answers begin with https."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.actors import Actors

_LOOPBACK = {"127.0.0.1", "::1"}


class ForwardedScheme:
    """Takes the scheme from X-Forwarded-Proto of a trusted proxy, or of one on this machine, and from nobody else.

    A scheme that is not so does no harm but in the addresses of the answer; a name does, and is not believed for that.

    Args:
        app: the application behind it.
        actors: knows which proxies are trusted.
    """

    def __init__(self, app: ASGIApp, actors: Actors) -> None:
        self._app = app
        self._actors = actors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the scheme that its reader sees."""
        if scope["type"] == "http":
            connection = HTTPConnection(scope)
            stated = connection.headers.get("X-Forwarded-Proto", "").strip().lower()
            is_near = connection.client is not None and connection.client.host in _LOOPBACK
            if stated in {"http", "https"} and (is_near or self._actors.is_trusted(connection)):
                scope = {**scope, "scheme": stated}
        await self._app(scope, receive, send)
