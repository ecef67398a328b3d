"""How large a request may be, asked before anything of it is read, and how long it may take: on every path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import Problem, problem

LEAST_BYTES: Final = 64_000  # of every path that is not named: no form or document of ours comes near
_PATIENCE_S, _BYTES_A_S = 20.0, 600_000  # so long in all, and a second more for each so many bytes that came


class BodyLimit:
    """Refuses what is too large with 413: at once where the request says its size, else as soon as it is read so far.

    What comes too slowly is refused with 408; only the time in which nothing came is counted.

    Args:
        app: the application behind it.
        limits: bytes that may be sent to the paths that begin so; the longest beginning counts.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self._app = app
        self._limits = dict(sorted(limits.items(), key=lambda limit: -len(limit[0])))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, as long as it is not too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        stated, most = headers.get(b"content-length", b"0"), self._most(scope["path"])
        is_whole, received, waited = stated == b"0" and b"transfer-encoding" not in headers, 0, 0.0

        async def counted() -> Message:
            nonlocal is_whole, received, waited
            if is_whole:  # what comes now is the caller's leaving
                return await receive()
            started, patience = time.monotonic(), _PATIENCE_S + received / _BYTES_A_S
            try:
                async with asyncio.timeout(max(0.0, patience - waited)):
                    message = await receive()
            except TimeoutError:
                detail = f"the request was not whole after {patience:.0f} s of waiting for it"
                raise Problem(408, "too slow", detail, code="upload_too_slow") from None
            waited += time.monotonic() - started
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > most:
                is_whole = False
                raise _too_large(most)
            return message

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_whole:  # nobody reads the rest
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        if not stated.isdigit() or int(stated) > most:
            refused = _too_large(most)
            refusal = problem(refused.status_code, refused.title, str(refused.detail), **refused.more)
            await refusal(scope, receive, answer)
            return
        await self._app(scope, counted, answer)

    def _most(self, path: str) -> int:
        return next((most for beginning, most in self._limits.items() if path.startswith(beginning)), LEAST_BYTES)


def _too_large(most: int) -> Problem:
    limit = f"{most / 1_000_000:g} MB" if most >= 1_000_000 else f"{most / 1000:g} kB"  # noqa: PLR2004 - 10^6
    return Problem(
        413, "too large", f"the request is larger than {limit}, the most that is taken here", code="too_large"
    )
