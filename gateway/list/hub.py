"""The events of the reading list: one look at the database for all pages that watch it.

A single thread waits for commits, asks once what they changed, writes each changed line once, and hands the bytes to
every page; where several sites share the list, once for each set of sites that pages see. While no page is open it
only keeps the number. A page names the last number that it has seen (Last-Event-ID), so one that comes back misses
nothing.

    item       a line that is new or changed, as GET /worklist gives it
    gone       {"study_instance_uid"}: a study that is no longer to be read; with "orthanc_id" where another patient's
               has or had the same UID
    heartbeat  {"listed", "overdue", "priors"}: after each change, and every ten seconds as a sign of life; its id is
               the number up to which the page has now seen everything
    resync     the page has missed too much, or all of the list changes at once: it should ask for the whole list
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import psycopg
import structlog
from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError

from gateway.list.items import counts_of, gone_json, item_json
from worklist.records import Database, Worklist
from worklist.sight import Sight, seeing, sight

_WAITING_BATCHES = 64  # a page that is further behind is hung up on, and comes back with its number
_MOST_MISSED = 2000  # events; beyond them the whole list is cheaper
_GATHERED_S = 0.15  # a film that arrives mostly has its score by then, and its line is told once, where it stands
_AGAIN_S = 1.0  # after the database failed
_STOP_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What happened up to a number, as the bytes of an event stream.

    The heartbeat bears the number and comes last: a page that hears only half of a batch asks for all of it again.
    """

    number: int
    changes: bytes = b""
    heartbeat: bytes = b""

    @property
    def content(self) -> bytes:
        """All of it."""
        return self.changes + self.heartbeat


@dataclass(eq=False, slots=True)
class _Audience:
    """The pages that see the same studies.

    Attributes:
        pages: what each of them is to hear.
        number: up to which all of them have seen everything; None where that is not known.
        beat_at: when they hear next that the list is alive.
    """

    pages: set[asyncio.Queue[Batch | None]] = field(default_factory=set)
    number: int | None = None
    beat_at: float = 0.0


class ListHub:
    """The events of the reading list, for all pages of this process.

    Args:
        database: whose commits are waited for.
        worklist: what is asked then.
        heartbeat: how often pages hear that the list is alive.
        beside: called after each look, by the same thread: whoever else asks what was committed.
    """

    def __init__(
        self,
        database: Database,
        worklist: Worklist,
        heartbeat: timedelta = timedelta(seconds=10),
        beside: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._worklist = worklist
        self._heartbeat_s = heartbeat.total_seconds()
        self._beside = beside
        self._audiences: dict[Sight | None, _Audience] = {None: _Audience()}  # those who see all, always
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._watch, name="list events", daemon=True)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to watch; to be called where the application's event loop runs."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """End all streams."""
        self._stopping.set()
        for audience in list(self._audiences.values()):
            for page in list(audience.pages):
                _hang_up(page)
        self._thread.join(_STOP_S)

    async def stream(self, after: int | None) -> AsyncIterator[bytes]:
        """What a page hears of the studies that are seen, until it is too slow or the hub stops.

        Args:
            after: the last number that it has seen; None for a page that asks for the whole list next.
        """
        page: asyncio.Queue[Batch | None] = asyncio.Queue(_WAITING_BATCHES)
        sees = sight()
        audience = await self._audience(sees)
        audience.pages.add(page)
        try:
            seen = -1
            try:
                first = await run_in_threadpool(self._missed, after)
            except SQLAlchemyError:
                if after is not None:
                    return  # the page tries again; one that has nothing yet waits for the first heartbeat
            else:
                seen = first.number
                yield first.content
            while not self._stopping.is_set() and (batch := await page.get()) is not None:
                if batch.number > seen:
                    seen = batch.number
                    yield batch.content
                elif batch.number == seen:  # which its own look has told it
                    yield batch.heartbeat
        finally:
            audience.pages.discard(page)
            if sees is not None and not audience.pages:
                self._audiences.pop(sees, None)

    async def _audience(self, sees: Sight | None) -> _Audience:
        """The pages that see so much; the first of them is told by its own look, which comes later, what it missed."""
        known = self._audiences.get(sees)
        if known is None or known.number is None:
            number = None
            with suppress(SQLAlchemyError):
                number = await run_in_threadpool(self._worklist.newest)
            known = self._audiences.setdefault(sees, _Audience())
            if known.number is None:  # nor has the thread looked meanwhile
                known.number = number
        return known

    # ---- The thread ----

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                for _ in self._database.commits(self._is_over, _GATHERED_S):
                    self._look()
                    self._beside()
            except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
                # No heartbeat until it is back, so that no page takes silence for peace.
                log.warning("the list cannot be watched", error=str(getattr(error, "orig", None) or error))
                self._stopping.wait(_AGAIN_S)

    def _is_over(self) -> bool:
        # The database asks this between its looks, at least once a second: the moment for a sign of life.
        for sees, audience in list(self._audiences.items()):
            is_due = audience.number is not None and time.monotonic() >= audience.beat_at
            if audience.pages and is_due and not self._stopping.is_set():
                with seeing(sees):
                    self._send(audience, self._heartbeat(audience.number or 0))
        return self._stopping.is_set()

    def _look(self) -> None:
        for sees, audience in list(self._audiences.items()):
            with seeing(sees):
                self._look_for(audience)

    def _look_for(self, audience: _Audience) -> None:
        newest = self._worklist.newest()
        if not audience.pages:
            audience.number = newest  # whoever comes now is told the rest by its own first look, which is later
        elif audience.number is None:
            self._send(audience, self._resync(newest))  # these came earlier, and who knows what happened since
        elif newest != audience.number:  # most commits are of jobs, and change no list
            self._send(audience, self._since(audience.number, newest))

    def _send(self, audience: _Audience, batch: Batch) -> None:
        audience.number = batch.number
        audience.beat_at = time.monotonic() + self._heartbeat_s
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fan_out, audience, batch)

    def _fan_out(self, audience: _Audience, batch: Batch) -> None:
        for page in audience.pages:
            try:
                page.put_nowait(batch)
            except asyncio.QueueFull:
                _hang_up(page)

    # ---- What is said ----

    def _changes(self, after: int) -> Batch:
        number, studies, gone = self._worklist.changed_after(after)
        events = [_event("item", item_json(study)) for study in studies]
        events += [_event("gone", gone_json(study)) for study in gone]
        return replace(self._heartbeat(number), changes=b"".join(events))

    def _missed(self, after: int | None) -> Batch:
        newest = self._worklist.newest()
        return self._heartbeat(newest) if after is None else self._since(after, newest)

    def _since(self, after: int, newest: int) -> Batch:
        if 0 <= newest - after <= _MOST_MISSED:
            return self._changes(after)
        return self._resync(newest)  # or numbers of another database

    def _resync(self, newest: int) -> Batch:
        return replace(self._heartbeat(newest), changes=_event("resync", b"{}"))

    def _heartbeat(self, number: int) -> Batch:
        return Batch(number=number, heartbeat=_event("heartbeat", to_json(counts_of(self._worklist.counts())), number))


def _event(name: str, data: bytes, number: int | None = None) -> bytes:
    mark = b"" if number is None else b"id: %d\n" % number
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), mark, data)


def _hang_up(page: asyncio.Queue[Batch | None]) -> None:
    while not page.empty():
        page.get_nowait()
    page.put_nowait(None)
