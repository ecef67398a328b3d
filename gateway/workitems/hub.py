"""Events of workitems over WebSockets: what the one look at the database after each commit finds, to all who hear it.

Whoever is connected to this process hears here, whoever is connected to another one hears there: both read the same
change sequence and the same subscriptions.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import structlog
from fastapi import WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from worklist.records import WorkitemEvents, WorkitemRecords

_WAITING_BATCHES: Final = 64  # a connection that is further behind is closed
_MOST_CONNECTIONS: Final = 500
_PATIENCE_S: Final = 30.0  # for a message to be taken
_SWEEP_S: Final = 600.0
_GOING_AWAY, _TRY_AGAIN_LATER, _TOO_SLOW = 1001, 1013, 1008

log = structlog.get_logger()

Batch = Sequence[str]


class WorkitemHub:
    """The events of workitems, for all connections of this process.

    Args:
        events: what happened.
        records: from which what ended long ago is deleted.
        patience: how long a connection may take over one message.
    """

    def __init__(
        self, events: WorkitemEvents, records: WorkitemRecords, patience: timedelta = timedelta(seconds=_PATIENCE_S)
    ) -> None:
        self._events = events
        self._records = records
        self._patience_s = patience.total_seconds()
        self._connections: dict[str, set[asyncio.Queue[Batch | None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()  # of what follows, which the looking thread reads
        self._listening: frozenset[str] = frozenset()
        self._seen: int | None = None  # None while nobody listens

    def start(self) -> None:
        """To be called where the application's event loop runs."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """End all connections."""
        for queues in self._connections.values():
            for queue in queues:
                _hang_up(queue)

    async def sweep(self) -> None:
        """Delete from time to time what other systems' workitems ended long ago."""
        while True:
            try:
                await run_in_threadpool(self._records.sweep)
            except SQLAlchemyError as error:
                log.warning("ended workitems cannot be deleted", error=type(error).__name__)
            await asyncio.sleep(_SWEEP_S)

    def look(self) -> None:
        """Send what was committed since the last look; called by the one thread that waits for commits."""
        with self._lock:
            listening, seen = self._listening, self._seen
        if not listening or seen is None:
            return
        try:
            number, heard = self._events.after(seen, listening)
        except (KeyError, TypeError, ValueError) as error:  # what only a later version understands stops no list
            log.warning("events of workitems cannot be told", error=type(error).__name__)
            number, heard = self._events.newest(), {}
        with self._lock:
            if self._seen is not None:
                self._seen = number
        if heard and self._loop and not self._loop.is_closed():
            batches = {name: [_text(one) for one in messages] for name, messages in heard.items()}
            self._loop.call_soon_threadsafe(self._fan_out, batches)

    async def serve(self, websocket: WebSocket, ae_title: str) -> None:
        """A connection, until its other side ends it, does not read, or the hub stops."""
        queue: asyncio.Queue[Batch | None] = asyncio.Queue(_WAITING_BATCHES)
        if sum(map(len, self._connections.values())) >= _MOST_CONNECTIONS:
            await websocket.close(_TRY_AGAIN_LATER)
            return
        await self._begin(ae_title, queue)
        try:
            wanted = websocket.scope.get("subprotocols") or []
            await websocket.accept("dicom" if "dicom" in wanted else None)
            await self._exchange(websocket, queue)
        finally:
            self._end(ae_title, queue)

    async def _exchange(self, websocket: WebSocket, queue: asyncio.Queue[Batch | None]) -> None:
        hearing = asyncio.create_task(_hear_out(websocket))
        sending = asyncio.create_task(self._send(websocket, queue))
        try:
            await asyncio.wait({hearing, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (hearing, sending):
                task.cancel()
            await asyncio.gather(hearing, sending, return_exceptions=True)

    async def _send(self, websocket: WebSocket, queue: asyncio.Queue[Batch | None]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            while (batch := await queue.get()) is not None:
                for message in batch:
                    try:
                        await asyncio.wait_for(websocket.send_text(message), self._patience_s)
                    except TimeoutError:
                        await websocket.close(_TOO_SLOW)
                        return
            await websocket.close(_GOING_AWAY)

    async def _begin(self, ae_title: str, queue: asyncio.Queue[Batch | None]) -> None:
        with self._lock:
            is_first = self._seen is None
        newest = await run_in_threadpool(self._events.newest) if is_first else 0
        self._connections.setdefault(ae_title, set()).add(queue)
        with self._lock:
            if self._seen is None:
                self._seen = newest
            self._listening = frozenset(self._connections)

    def _end(self, ae_title: str, queue: asyncio.Queue[Batch | None]) -> None:
        queues = self._connections.get(ae_title, set())
        queues.discard(queue)
        if not queues:
            self._connections.pop(ae_title, None)
        with self._lock:
            self._listening = frozenset(self._connections)
            if not self._listening:
                self._seen = None

    def _fan_out(self, batches: Mapping[str, Batch]) -> None:
        for ae_title, batch in batches.items():
            for queue in self._connections.get(ae_title, ()):
                try:
                    queue.put_nowait(batch)
                except asyncio.QueueFull:
                    _hang_up(queue)


async def _hear_out(websocket: WebSocket) -> None:
    """Nothing that a subscriber says means anything; only that it goes does."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass


def _hang_up(queue: asyncio.Queue[Batch | None]) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
