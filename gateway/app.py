"""The gateway's application: intake thread, reading list, doorbell and pages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from gateway.access.actors import Actors
from gateway.access.bodies import BodyLimit
from gateway.access.proxies import ForwardedAddress
from gateway.dicomweb.guards import OneSlash
from gateway.dicomweb.passthrough import DicomWebOrigin, build_dicomweb
from gateway.dicomweb.searches import build_searches
from gateway.fhir import build_fhir
from gateway.health import Health, build_health
from gateway.intake.dispatch import Dispatcher
from gateway.intake.doorbell import build_doorbell
from gateway.intake.feed import Intake
from gateway.intake.orthanc import OrthancClient
from gateway.list.hub import ListHub
from gateway.list.pages import SiteFacts, build_pages, mount_static
from gateway.list.viewer import mount_viewer
from gateway.list.worklist import build_worklist
from gateway.predict.routes import PredictLimits, build_predict, sweep
from gateway.problems import install_problems
from gateway.room import Room
from gateway.search.studies import StudySearch
from gateway.simulate.routes import SimulatedModel, build_simulate
from worklist.records import Database, IntakeRecords, JobRecords, PredictionRecords, ReadingRecords, Worklist


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
    simulated: SimulatedModel
    site: SiteFacts
    dicomweb: DicomWebOrigin
    search: StudySearch
    stow_bytes: int
    doorbell_secret: str
    room: Room
    viewer_dir: Path | None = None
    explainer_url: str = ""


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
    app.add_middleware(ForwardedAddress, actors=parts.actors)
    app.add_middleware(OneSlash, prefixes=parts.dicomweb.prefixes)
    stow = dict.fromkeys(parts.dicomweb.prefixes, parts.stow_bytes)
    app.add_middleware(BodyLimit, limits={"/predict": parts.predict_limits.request_bytes, **stow})
    app.include_router(
        build_worklist(parts.worklist, parts.readings, parts.jobs, parts.orthanc, parts.hub, parts.actors)
    )
    app.include_router(build_health(_health(parts)))
    app.include_router(build_fhir(parts.worklist))
    app.include_router(build_predict(parts.predictions, parts.dispatcher, parts.predict_limits))
    app.include_router(build_pages(parts.worklist, parts.jobs, parts.site, parts.actors))
    app.include_router(build_simulate(parts.jobs, parts.simulated, parts.site))
    app.include_router(build_searches(parts.search, parts.dicomweb.prefixes))
    app.include_router(build_dicomweb(parts.dicomweb))
    app.include_router(build_doorbell(parts.intake, parts.doorbell_secret))
    mount_static(app)
    mount_viewer(app, parts.viewer_dir)

    return app


def _health(parts: GatewayParts) -> Health:
    return Health(
        version=parts.site.version,
        database=parts.database,
        records=parts.records,
        jobs=parts.jobs,
        dispatcher=parts.dispatcher,
        orthanc=parts.orthanc,
        intake=parts.intake,
        room=parts.room,
        explainer_url=parts.explainer_url,
    )
