"""What every answer and every request of the DICOMweb service is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

GUARDS: Final = {
    # What a stored object holds is never run as a page of ours, and no cache on the way keeps it.
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}


class OneSlash:
    """Takes several slashes behind the root of the service for one: a root that ends in a slash is common.

    Args:
        app: the application behind it.
        prefixes: the beginnings of the service's paths.
    """

    def __init__(self, app: ASGIApp, prefixes: Sequence[str]) -> None:
        self._app = app
        self._prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        path = scope.get("path", "")
        for prefix in self._prefixes:
            if scope["type"] == "http" and path.startswith(f"{prefix}/"):
                scope = {**scope, "path": prefix + path.removeprefix(prefix).lstrip("/")}
        await self._app(scope, receive, send)
