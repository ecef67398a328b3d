"""The gateway's application: intake thread, reading list, doorbell, health and pages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from gateway.access.actors import Actors
from gateway.access.proxies import ForwardedScheme
from gateway.dicomweb.passthrough import DicomWebOrigin, build_dicomweb
from gateway.fhir import build_fhir
from gateway.intake.dispatch import Dispatcher
from gateway.intake.feed import FEED, Intake
from gateway.intake.orthanc import OrthancClient
from gateway.list.hub import ListHub
from gateway.list.pages import SiteFacts, build_pages, mount_static
from gateway.list.viewer import mount_viewer
from gateway.list.worklist import build_worklist
from gateway.predict.routes import PredictLimits, build_predict, sweep
from gateway.problems import install_problems
from worklist.errors import FirstreadError
from worklist.records import Database, IntakeRecords, JobRecords, PredictionRecords, ReadingRecords, Worklist

_MOST_BEHIND = 1000  # changes that are counted; beyond it the number no longer matters


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayParts:
    """What the composition root puts together for one gateway."""

    database: Database
    records: IntakeRecords
    worklist: Worklist
    readings: ReadingRecords
    jobs: JobRecords
    hub: ListHub
    actors: Actors
    orthanc: OrthancClient
    dispatcher: Dispatcher
    intake: Intake
    predictions: PredictionRecords
    predict_limits: PredictLimits
    site: SiteFacts
    dicomweb: DicomWebOrigin
    viewer_dir: Path | None = None


OrthancId = Annotated[str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{8}){4}$")]  # anything else is no address to ask at


class Ring(BaseModel):
    """What the doorbell says; a hint, never believed."""

    deleted_studies: list[OrthancId] = Field(default_factory=list, max_length=1000)


class Check(BaseModel):
    """One thing the gateway needs."""

    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether the gateway can do its work, and what keeps it from it."""

    ready: bool
    changes_behind: int | None
    open_jobs: int | None
    checks: dict[str, Check]


def build_app(parts: GatewayParts) -> FastAPI:
    """The FastAPI application; its intake runs from start-up to shutdown."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        thread = threading.Thread(target=parts.intake.run, name="intake", daemon=True)
        thread.start()
        parts.hub.start()
        sweeper = asyncio.create_task(sweep(parts.predictions, parts.predict_limits.keep))
        yield
        sweeper.cancel()
        parts.hub.stop()
        parts.intake.stop()
        thread.join(timeout=10)
        parts.orthanc.close()
        parts.database.close()

    app = FastAPI(title="Firstread", version=parts.site.version, lifespan=lifespan)
    install_problems(app)
    app.add_middleware(ForwardedScheme, actors=parts.actors)
    app.include_router(
        build_worklist(parts.worklist, parts.readings, parts.jobs, parts.orthanc, parts.hub, parts.actors)
    )
    app.include_router(build_fhir(parts.worklist))
    app.include_router(build_predict(parts.predictions, parts.dispatcher, parts.predict_limits))
    app.include_router(build_pages(parts.worklist, parts.jobs, parts.site, parts.actors))
    app.include_router(build_dicomweb(parts.dicomweb))
    mount_static(app)
    mount_viewer(app, parts.viewer_dir)

    @app.post("/events/orthanc", status_code=202, tags=["intake"])
    def doorbell(ring: Ring | None = None) -> dict[str, str]:
        """Orthanc's doorbell: something changed, look now."""
        parts.intake.ring(ring.deleted_studies if ring else ())
        return {"status": "accepted"}

    @app.get("/health", tags=["health"])
    def health() -> dict[str, str]:
        """The gateway is alive."""
        return {"status": "ok", "version": parts.site.version}

    @app.get("/ready", tags=["health"], response_model=Readiness)
    def ready() -> JSONResponse:
        """Database, broker, Orthanc and feed; 503 where one of them is missing."""
        behind, feed = _check_feed(parts)
        checks = {
            "database": _check_database(parts.database),
            "broker": _check_broker(parts.dispatcher),
            "orthanc": _check_orthanc(parts.orthanc),
            "feed": feed,
        }
        is_ready = all(check.ok for check in checks.values())
        open_jobs = parts.dispatcher.count_open() if checks["database"].ok else None
        answer = Readiness(ready=is_ready, changes_behind=behind, open_jobs=open_jobs, checks=checks)
        return JSONResponse(answer.model_dump(), status_code=200 if is_ready else 503)

    return app


def _check_database(database: Database) -> Check:
    try:
        with database.read() as session:
            session.execute(text("SELECT 1 FROM studies LIMIT 1"))
    except SQLAlchemyError as error:
        return Check(
            ok=False, detail=f"{type(error).__name__}: check FIRSTREAD_DATABASE_URL, run: firstread db upgrade"
        )
    return Check(ok=True, detail=database.url.get_backend_name())


def _check_broker(dispatcher: Dispatcher) -> Check:
    try:
        dispatcher.check_broker()
    except FirstreadError as error:
        return Check(ok=False, detail=error.message)
    return Check(ok=True, detail="connected")


def _check_orthanc(orthanc: OrthancClient) -> Check:
    try:
        return Check(ok=True, detail=f"Orthanc {orthanc.system().get('Version', '')} at {orthanc.url}")
    except FirstreadError as error:
        return Check(ok=False, detail=error.message)


def _check_feed(parts: GatewayParts) -> tuple[int | None, Check]:
    try:
        cursor = parts.records.cursor(FEED)
        behind = len(parts.orthanc.changes(cursor.sequence if cursor else 0, _MOST_BEHIND))
    except (FirstreadError, SQLAlchemyError) as error:
        return None, Check(ok=False, detail=str(error))
    rung = parts.intake.last_rung_at
    bell = f"doorbell rang {(datetime.now(UTC) - rung).total_seconds():.0f} s ago" if rung else "doorbell never rang"
    count = f"{behind} changes" if behind < _MOST_BEHIND else f"{behind} changes or more"
    detail = f"{count} behind, {bell}"
    if parts.intake.is_standing_by:
        return behind, Check(ok=True, detail=f"{detail}; another gateway reads it, this one stands by")
    if not parts.intake.is_reading:
        return behind, Check(ok=False, detail=f"{detail}; this gateway does not read it: see its log")
    return behind, Check(ok=True, detail=detail)
