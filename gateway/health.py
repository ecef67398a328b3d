"""`GET /health` and `GET /ready`: whether the gateway lives, and whether the whole site gets its work done.

Readiness looks at progress, not at connections alone: who reads the feed, whichever process that is; how long the
oldest work has waited while nobody does any; and whether the database takes a write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import httpx
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from gateway.intake.dispatch import Dispatcher
from gateway.intake.feed import FEED, Intake
from gateway.intake.orthanc import OrthancClient
from gateway.room import Room
from worklist.errors import PACS_FULL, FirstreadError
from worklist.job import Queue
from worklist.records import Database, IntakeRecords, JobRecords

_MOST_BEHIND = 1000  # changes that are counted; beyond it the number no longer matters
_TOO_LONG = timedelta(seconds=60)  # that work waits, or the feed is not read, before somebody should look
_DISK_FRESH_S = 10.0  # the same for the PACS's disk, of which Orthanc has to count what it holds
_PATIENCE_S = 2.0  # with the language model's server
_FRESH_S = 1.0  # for which an answer of a neighbour is believed, so that many who ask cost no more than one


class Check(BaseModel):
    """One thing the site needs."""

    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether the site can do its work, and what keeps it from it.

    Attributes:
        oldest_job_s: how long the oldest job that could be done has waited.
        doorbell_rang_s: how long ago Orthanc's doorbell rang at this gateway; None where it never did.
    """

    ready: bool
    changes_behind: int | None
    open_jobs: int | None
    oldest_job_s: float | None
    doorbell_rang_s: float | None
    checks: dict[str, Check]


class Health:
    """What readiness is told from.

    Args:
        version: Firstread's.
        database: to be written to.
        records: know when the feed was read last.
        jobs: know what waits.
        dispatcher: reaches the broker.
        orthanc: the PACS.
        intake: of this process.
        room: on the disks.
        explainer_url: of the language model's server; "" where the explanation needs none.
    """

    def __init__(  # noqa: PLR0913 - everything that can fail
        self,
        *,
        version: str,
        database: Database,
        records: IntakeRecords,
        jobs: JobRecords,
        dispatcher: Dispatcher,
        orthanc: OrthancClient,
        intake: Intake,
        room: Room,
        explainer_url: str = "",
    ) -> None:
        self.version = version
        self._database = database
        self._records = records
        self._jobs = jobs
        self._orthanc = orthanc
        self._intake = intake
        self._ask_database = _Shared(self._check_database)
        self._ask_broker = _Shared(lambda: _checked(dispatcher.check_broker))
        self._ask_orthanc = _Shared(lambda: _checked(self._describe_orthanc))
        self._ask_disk = _Shared(lambda: _checked(room.ours))
        self._ask_pacs_disk = _Shared(lambda: _checked(lambda: room.of_pacs(orthanc)), _DISK_FRESH_S)
        self._ask_explainer = _Shared(lambda: _explainer(explainer_url)) if explainer_url else None

    def readiness(self) -> Readiness:
        """Ask all parts."""
        orthanc = self._ask_orthanc()
        checks = {
            "database": self._ask_database(),
            "broker": self._ask_broker(),
            "orthanc": orthanc,
            "disk": self._ask_disk(),
        }
        if orthanc.ok:
            checks["pacs_disk"] = self._ask_pacs_disk()
        if self._ask_explainer:
            checks["explainer"] = self._ask_explainer()
        behind, oldest, open_jobs = None, None, None
        feed = unread = Check(ok=False, detail="cannot be read without the database and Orthanc")
        if checks["database"].ok and orthanc.ok:
            behind, feed = self._check_feed()
        if checks["database"].ok:
            try:
                open_jobs = self._jobs.count_open()  # after the feed: what it took in meanwhile is among them
                waiting = self._jobs.waiting_in_vain()
                oldest = max((span.total_seconds() for span in waiting.values()), default=0.0)
                checks["work"] = _work(waiting, self._jobs.living_workers(), self._jobs.retried_in_vain(_TOO_LONG))
            except SQLAlchemyError as error:  # it has gone away since it was asked
                checks["database"] = _no_database("read", error)
                behind, feed = None, unread
        checks["feed"] = feed
        is_ready = all(check.ok for check in checks.values())
        return Readiness(
            ready=is_ready,
            changes_behind=behind,
            open_jobs=open_jobs,
            oldest_job_s=oldest,
            doorbell_rang_s=_ago(self._intake.last_rung_at),
            checks=checks,
        )

    def _check_database(self) -> Check:
        try:
            self._records.write_test()
        except SQLAlchemyError as error:
            return _no_database("written", error)
        return Check(ok=True, detail=self._database.url.get_backend_name())

    def _describe_orthanc(self) -> str:
        return f"Orthanc {self._orthanc.system().get('Version', '')} at {self._orthanc.url}"

    def _check_feed(self) -> tuple[int | None, Check]:
        try:
            cursor = self._records.cursor(FEED)
            behind = len(self._orthanc.changes(cursor.sequence if cursor else 0, _MOST_BEHIND))
            silent = self._records.silence(FEED)
        except (FirstreadError, SQLAlchemyError) as error:
            return None, Check(ok=False, detail=str(error))
        bell = _bell(self._intake)
        count = f"{behind} changes" if behind < _MOST_BEHIND else f"{behind} changes or more"
        detail = f"{count} behind, {bell}"
        if self._intake.is_standing_by:
            if silent is None or silent > _TOO_LONG:
                since = "ever" if silent is None else f"for {silent.total_seconds():.0f} s"
                return behind, Check(
                    ok=False, detail=f"{detail}; another gateway holds it and has not read it {since}: see its log"
                )
            return behind, Check(ok=True, detail=f"{detail}; another gateway reads it, this one stands by")
        if not self._intake.is_reading:
            return behind, Check(ok=False, detail=f"{detail}; this gateway does not read it: see its log")
        return behind, Check(ok=True, detail=detail)


class _Shared:
    """A question whose answer is shared by all who ask at about the same time."""

    def __init__(self, ask: Callable[[], Check], fresh_s: float = _FRESH_S) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._answer: Check | None = None
        self._answered_at = 0.0

    def __call__(self) -> Check:
        with self._lock:
            if self._answer is None or time.monotonic() - self._answered_at > self._fresh_s:
                self._answer = self._ask()
                self._answered_at = time.monotonic()
            return self._answer


def build_health(health: Health) -> APIRouter:
    """The two routes."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def alive() -> dict[str, str]:
        """The gateway is alive."""
        return {"status": "ok", "version": health.version}

    @router.get("/ready", response_model=Readiness)
    def ready() -> JSONResponse:
        """Database, broker, Orthanc, feed and work; 503 where one of them is missing or stands still."""
        answer = health.readiness()
        return JSONResponse(answer.model_dump(), status_code=200 if answer.ready else 503)

    return router


def _no_database(done: str, error: SQLAlchemyError) -> Check:
    todo = "check FIRSTREAD_DATABASE_URL and its disk, run: firstread db upgrade"
    return Check(ok=False, detail=f"cannot be {done} ({type(error).__name__}): {todo}")


def _checked(ask: Callable[[], str]) -> Check:
    try:
        return Check(ok=True, detail=ask())
    except FirstreadError as error:
        return Check(ok=False, detail=error.message)


def _explainer(url: str) -> Check:
    """Whether the language model's server answers at all. Where it does not, reports are written without it."""
    try:
        httpx.get(url, trust_env=False, timeout=_PATIENCE_S)
    except httpx.HTTPError as error:
        away = f"{url} does not answer ({type(error).__name__}): the template explains until it does"
        return Check(ok=True, detail=away)
    return Check(ok=True, detail=f"{url} answers")


def _bell(intake: Intake) -> str:
    rung, refused = intake.last_rung_at, intake.last_refused_at
    if refused and (rung is None or refused > rung):
        ago = (datetime.now(UTC) - refused).total_seconds()
        same = "FIRSTREAD_DOORBELL_SECRET is to be the same for the gateway and for Orthanc"
        return f"doorbell never rang rightly, one was refused {ago:.0f} s ago: {same}"
    return f"doorbell rang {_ago(rung):.0f} s ago" if rung else "doorbell never rang"


def _ago(moment: datetime | None) -> float | None:
    return max(0.0, (datetime.now(UTC) - moment).total_seconds()) if moment else None


def _work(
    waiting: Mapping[Queue, timedelta], workers: Mapping[Queue, int], retried: Mapping[tuple[str, str], int]
) -> Check:
    unserved = [queue for queue in (Queue.SCORE, Queue.REPORT) if not workers.get(queue)]
    stalled = {queue: span for queue, span in waiting.items() if span > _TOO_LONG}
    alive = ", ".join(f"{count} of {queue}" for queue, count in workers.items() if count) or "none"
    if stalled:
        parts = ", ".join(f"{queue} for {span.total_seconds():.0f} s" for queue, span in sorted(stalled.items()))
        detail = f"nobody takes work of the queue {parts} (workers alive: {alive}): see the workers' logs"
        return Check(ok=False, detail=detail)
    if unserved:
        detail = f"no worker of the queue {' and '.join(unserved)} is alive: run firstread worker, or see its log"
        return Check(ok=False, detail=detail)
    tried = "".join(
        f"; {count} {'jobs are' if count > 1 else 'job is'} tried again: {why}" for (_, why), count in retried.items()
    )
    is_full = any(code == PACS_FULL for code, _ in retried)
    return Check(ok=not is_full, detail=f"workers alive: {alive}{tried}")
