"""HEAD wherever there is a GET, as monitoring asks it: the same status and headers, and no body (RFC 9110, 9.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """Answers HEAD by what GET answers.

    Args:
        app: the application behind it.
        prefixes: the beginnings of paths that answer HEAD by themselves.
    """

    def __init__(self, app: ASGIApp, prefixes: Sequence[str]) -> None:
        self._app = app
        self._prefixes = tuple(prefixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def hang_up() -> Message:  # else a stream of events would never end
            return {"type": "http.disconnect"} if has_begun else await receive()

        async def without_body(message: Message) -> None:
            nonlocal has_begun
            if has_begun:
                return
            has_begun = True
            await send(message)
            await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, hang_up, without_body)
