"""Sessions of browsers: a cookie that says nothing by itself, and what it stands for in the database.

The cookie goes with whatever a page of ours asks for, server-sent events, WebSockets and OHIF included, and with no
change that another site's page asks for (door.py). What is already open when its session ends is ended too.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final

import structlog
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.rates import MOST_NAMES
from worklist.reading import Actor, ActorSource
from worklist.records import LoginSession, SessionRecords
from worklist.sight import Sites

_FRESH_S: Final = 5.0  # so long a session is believed without a look into the database: another gateway may end it
_LOOK_S: Final = 5.0  # how often the session of an open stream is looked at
_GOOD_BYE: Final = 1008
_SECURE: Final = "__Host-firstread"  # which no other site of the same domain can set (RFC 6265bis, section 4.1.3.2)
_PLAIN: Final = "firstread"

log = structlog.get_logger()


class Sessions:
    """Knows the sessions of browsers.

    Args:
        records: of sessions.
        is_https: whether people call this gateway by https, also where its proxy does not say so.
        sites: that share the list.
    """

    def __init__(self, records: SessionRecords, *, is_https: bool = False, sites: Sites | None = None) -> None:
        self._records = records
        self._sites = sites or Sites()
        self._is_https = is_https
        self._known: OrderedDict[str, tuple[float, LoginSession]] = OrderedDict()

    async def actor(self, connection: HTTPConnection, address: str) -> Actor | None:
        """Who asks, by the cookie; None where there is no session."""
        secret = self._secret(connection)
        session = await self._session(secret) if secret else None
        if session is None:
            return None
        return Actor(
            name=session.name,
            source=ActorSource.SESSION,
            roles=session.roles,
            address=address,
            sight=self._sites.sight(session.sites),
        )

    async def begin(self, scope: Scope, answer: Response, session: LoginSession) -> None:
        """Log somebody in, by the answer to their request."""
        secret = await run_in_threadpool(self._records.begin, session.name, session.roles, session.sites)
        is_https = self.is_https(scope)
        answer.set_cookie(
            _SECURE if is_https else _PLAIN, secret, secure=is_https, httponly=True, samesite="lax", path="/"
        )

    async def end(self, connection: HTTPConnection) -> None:
        """Log out whoever asks."""
        secret = self._secret(connection)
        if secret:
            self._known.pop(secret, None)
            await run_in_threadpool(self._records.end, secret)

    def forget(self, scope: Scope, answer: Response) -> None:
        """Have the browser forget the cookie, by the answer to its request."""
        is_https = self.is_https(scope)
        answer.delete_cookie(_SECURE if is_https else _PLAIN, secure=is_https, httponly=True, samesite="lax", path="/")

    async def sweep(self, every_s: float = 600.0) -> None:
        """Delete from time to time what has ended, for ever."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await run_in_threadpool(self._records.sweep)
            except SQLAlchemyError as error:
                log.warning("ended sessions cannot be deleted", error=type(error).__name__)

    async def watched(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; once it is whole, the end of its session is told as the caller's leaving."""
        secret = self._secret(HTTPConnection(scope))
        is_whole = scope["type"] == "websocket"
        has_ended = is_open = False
        gone: Message = {"type": "websocket.disconnect", "code": _GOOD_BYE} if is_whole else {"type": "http.disconnect"}

        async def received() -> Message:
            nonlocal is_whole, has_ended
            if not is_whole:
                message = await receive()
                is_whole = not message.get("more_body", False)
                return message
            coming = asyncio.ensure_future(receive())
            try:
                while not (await asyncio.wait({coming}, timeout=_LOOK_S))[0]:
                    if not await self._goes_on(secret):
                        has_ended = True
                        return gone
                return coming.result()
            finally:
                coming.cancel()

        async def sent(message: Message) -> None:
            nonlocal is_open
            is_open = message["type"].startswith("http.response.") and (
                message["type"] == "http.response.start" or message.get("more_body", False)
            )
            await send(message)

        await app(scope, received, sent)
        if has_ended and is_open:
            await send({"type": "http.response.body", "body": b""})

    def is_https(self, scope: Scope) -> bool:
        """Whether a request came by https to whatever stands before this gateway."""
        return self._is_https or scope["scheme"] in {"https", "wss"}

    def _secret(self, connection: HTTPConnection) -> str:
        cookies, is_https = connection.cookies, self.is_https(connection.scope)
        return cookies.get(_SECURE) or ("" if is_https else cookies.get(_PLAIN, ""))

    async def _goes_on(self, secret: str) -> bool:
        """Whether a session goes on, of somebody who merely listens and is not thereby seen."""
        try:
            return await run_in_threadpool(self._records.find, secret, is_seen=False) is not None
        except SQLAlchemyError:
            return True  # it is looked at again soon

    async def _session(self, secret: str) -> LoginSession | None:
        known = self._known.get(secret)
        if known and time.monotonic() - known[0] < _FRESH_S:
            return known[1]
        session = await run_in_threadpool(self._records.find, secret)
        self._known.pop(secret, None)
        if session:
            self._known[secret] = (time.monotonic(), session)
            if len(self._known) > MOST_NAMES:
                self._known.popitem(last=False)
        return session
