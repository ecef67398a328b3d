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
from gateway.access.door import Door
from gateway.access.login import Login, WaysIn
from gateway.access.login_pages import build_login_pages, refusal_page
from gateway.access.proxies import ForwardedAddress
from gateway.access.rights import RouteRights
from gateway.audit.guard import Audited
from gateway.audit.recorder import AuditRecorder
from gateway.audit.syslog import AuditTeller
from gateway.choices.page import build_settings_page
from gateway.choices.routes import build_choices
from gateway.dicomweb.guards import OneSlash
from gateway.dicomweb.passthrough import DicomWebOrigin, build_dicomweb
from gateway.dicomweb.searches import build_searches
from gateway.dictation.routes import REQUEST_BYTES as SPEECH_BYTES
from gateway.dictation.routes import Dictation, build_dictation
from gateway.fhir import build_fhir
from gateway.heads import Heads
from gateway.health import Health, build_health
from gateway.intake.dispatch import Dispatcher
from gateway.intake.doorbell import build_doorbell
from gateway.intake.feed import Intake
from gateway.intake.marks import Marker
from gateway.intake.orthanc import OrthancClient
from gateway.list.hub import ListHub
from gateway.list.interface import build_interface
from gateway.list.openings import build_openings
from gateway.list.pages import SiteFacts, build_pages, mount_static
from gateway.list.viewer import mount_viewer
from gateway.list.worklist import build_worklist
from gateway.metrics import Metrics, build_metrics
from gateway.notes.routes import REQUEST_BYTES, build_notes
from gateway.notes.words import NoteModel
from gateway.predict.routes import PredictLimits, build_predict, sweep
from gateway.problems import install_problems
from gateway.room import Room
from gateway.search.order import build_order
from gateway.search.studies import StudySearch
from gateway.simulate.routes import SimulatedModel, build_simulate
from gateway.workitems.requests import MOST_BYTES
from gateway.workitems.routes import WorkitemService, build_workitems
from gateway.workitems.subscribers import SubscriberService, build_subscribers
from worklist.records import (
    ChoiceRecords,
    Database,
    IntakeRecords,
    JobRecords,
    OpeningRecords,
    PredictionRecords,
    ReadingRecords,
    Worklist,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayParts:
    """What the composition root puts together for one gateway; ways_in is None where nobody is asked to log in."""

    database: Database
    records: IntakeRecords
    worklist: Worklist
    readings: ReadingRecords
    choices: ChoiceRecords
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
    hosts: frozenset[str]
    workitems: WorkitemService
    subscribers: SubscriberService
    stow_bytes: int
    doorbell_secret: str
    room: Room
    metrics: Metrics
    recorder: AuditRecorder
    openings: OpeningRecords
    teller: AuditTeller | None = None
    ways_in: WaysIn | None = None
    is_https: bool = False
    viewer_dir: Path | None = None
    is_speech_heard: bool = False
    explainer_url: str = ""
    has_language_model: bool = False
    marker: Marker | None = None


def build_app(parts: GatewayParts) -> FastAPI:
    """The FastAPI application; its intake runs from start-up to shutdown."""
    prefixes = parts.dicomweb.prefixes
    app = FastAPI(
        title="Firstread",
        version=parts.site.version,
        lifespan=lambda _: _running(parts),
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # addresses and queries name patients
    )
    app.include_router(build_openings(parts.openings, parts.actors))
    app.include_router(build_order(parts.search))  # before the list, which takes whatever else follows /worklist/
    app.include_router(
        build_worklist(parts.worklist, parts.readings, parts.jobs, parts.orthanc, parts.hub, parts.actors)
    )
    app.include_router(build_health(_health(parts)))
    app.include_router(build_metrics(parts.metrics))
    app.include_router(build_fhir(parts.worklist))
    app.include_router(build_predict(parts.predictions, parts.dispatcher, parts.predict_limits))
    app.include_router(build_notes(parts.worklist, _note_model(parts)))
    app.include_router(build_dictation(_dictation(parts)))
    app.include_router(build_pages(parts.worklist, parts.jobs, parts.site, parts.actors))
    app.include_router(build_interface(app.openapi))
    app.include_router(build_simulate(parts.jobs, parts.simulated, parts.site))
    app.include_router(build_choices(parts.choices, parts.actors))
    app.include_router(build_settings_page(parts.choices, parts.site, parts.actors))
    app.include_router(build_searches(parts.search, prefixes))
    app.include_router(build_workitems(parts.workitems, prefixes))
    app.include_router(build_subscribers(parts.subscribers, prefixes))
    app.include_router(build_dicomweb(parts.dicomweb))
    app.include_router(build_doorbell(parts.intake, parts.doorbell_secret))
    app.include_router(build_login_pages(parts.actors, parts.ways_in))
    mount_static(app)
    mount_viewer(app, parts.viewer_dir, parts.actors)
    _add_guards(app, parts)
    return app


@asynccontextmanager
async def _running(parts: GatewayParts) -> AsyncIterator[None]:
    """Everything that goes on beside the answers, from start-up to shutdown."""
    thread = threading.Thread(target=parts.intake.run, name="intake", daemon=True)
    thread.start()
    marking = threading.Thread(target=parts.marker.run, name="marks", daemon=True) if parts.marker else None
    if marking:
        marking.start()
    parts.hub.start()
    parts.metrics.start()
    parts.recorder.start()
    if parts.teller:
        parts.teller.start()
    workitem_hub = parts.subscribers.hub
    workitem_hub.start()
    sweepers = [
        asyncio.create_task(sweep(parts.predictions, parts.predict_limits.keep)),
        asyncio.create_task(workitem_hub.sweep()),
    ]
    if parts.ways_in and parts.ways_in.sessions:
        sweepers.append(asyncio.create_task(parts.ways_in.sessions.sweep()))
    yield
    for sweeper in sweepers:
        sweeper.cancel()
    if parts.teller:
        parts.teller.stop()
    parts.recorder.stop()
    workitem_hub.stop()
    parts.hub.stop()
    parts.intake.stop()
    if parts.marker and marking:
        parts.marker.stop()
        marking.join(timeout=10)
    thread.join(timeout=10)
    parts.orthanc.close()
    parts.database.close()


def _add_guards(app: FastAPI, parts: GatewayParts) -> None:
    """What each request passes before it reaches its route; the last one is asked first."""
    prefixes = parts.dicomweb.prefixes
    rights = RouteRights(app, prefixes)
    install_problems(app)
    dicomweb = dict.fromkeys(prefixes, parts.stow_bytes) | {f"{one}workitems": MOST_BYTES for one in prefixes}
    uploads = {"/predict": parts.predict_limits.request_bytes, "/text": REQUEST_BYTES, "/dictate": SPEECH_BYTES}
    app.add_middleware(BodyLimit, limits={**uploads, **dicomweb})
    if parts.ways_in:  # before anything of a body is read
        app.add_middleware(Login, ways=parts.ways_in, actors=parts.actors, rights=rights, refusal_page=refusal_page)
    app.add_middleware(Audited, recorder=parts.recorder, rights=rights, actors=parts.actors)
    app.add_middleware(Heads, prefixes=prefixes)
    app.add_middleware(OneSlash, prefixes=prefixes)  # before sizes and rights are looked at, which go by the path
    app.add_middleware(Door, hosts=parts.hosts, is_https=parts.is_https)
    app.add_middleware(ForwardedAddress, actors=parts.actors)


def _dictation(parts: GatewayParts) -> Dictation:
    return Dictation(
        worklist=parts.worklist,
        speeches=parts.predictions,
        dispatcher=parts.dispatcher,
        jobs=parts.jobs,
        is_heard=parts.is_speech_heard,
    )


def _note_model(parts: GatewayParts) -> NoteModel | None:
    if not parts.has_language_model:
        return None
    return NoteModel(records=parts.predictions, dispatcher=parts.dispatcher, limits=parts.predict_limits)


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
