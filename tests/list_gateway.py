"""The reading list as the gateway serves it, before a real database, for tests and benchmarks of list and page.

Of the gateway's other parts there is what the page asks for: GET /ready, and a PACS that draws crops and images.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from fastapi import APIRouter, FastAPI, Response
from PIL import Image, ImageDraw, ImageFilter

from gateway.access.actors import Actors
from gateway.choices.page import build_settings_page
from gateway.choices.routes import build_choices
from gateway.intake.orthanc import OrthancClient
from gateway.list.hub import ListHub
from gateway.list.pages import SiteFacts, build_pages, mount_static
from gateway.list.worklist import build_worklist
from gateway.notes.routes import build_notes
from gateway.problems import install_problems
from tests.gateways import served
from tests.lists import FilledList
from worklist.records import ChoiceRecords

SITE = SiteFacts(
    version="0.1.0",
    dicom_host="pacs.example.org",
    dicom_port=4242,
    dicom_aet="ORTHANC",
    viewer="viewer/viewer?StudyInstanceUIDs=",
)


@dataclass
class ListGateway:
    """A running gateway.

    Attributes:
        url: its root, with a slash at the end.
        listed: what it lists.
        away: which of its parts GET /ready says do not answer.
    """

    url: str
    listed: FilledList
    away: set[str] = field(default_factory=set)


def list_app(
    listed: FilledList,
    orthanc: OrthancClient,
    *,
    trusted_proxies: tuple[str, ...] = (),
    heartbeat: timedelta = timedelta(seconds=10),
    site: SiteFacts = SITE,
) -> FastAPI:
    """The application: list, events and pages, put together as the gateway does it."""
    hub = ListHub(listed.database, listed.worklist, heartbeat)
    actors = Actors(trusted_proxies)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        hub.start()
        yield
        hub.stop()

    app = FastAPI(lifespan=lifespan)
    install_problems(app)
    app.include_router(build_worklist(listed.worklist, listed.readings, listed.jobs, orthanc, hub, actors))
    choices = ChoiceRecords(database=listed.database, rules=listed.rules)
    app.include_router(build_choices(choices, actors))
    app.include_router(build_settings_page(choices, site, actors))
    app.include_router(build_notes(listed.worklist, None))
    app.include_router(build_pages(listed.worklist, listed.jobs, site, actors))
    mount_static(app)
    return app


@contextmanager
def running_list(
    listed: FilledList,
    *,
    trusted_proxies: tuple[str, ...] = (),
    heartbeat: timedelta = timedelta(seconds=10),
    site: SiteFacts = SITE,
    beside: Sequence[APIRouter] = (),
) -> Iterator[ListGateway]:
    """The list on a free loopback port, with further routes beside it."""
    gateway = ListGateway(url="", listed=listed)
    with served(_pacs()) as pacs, closing(OrthancClient(pacs, auth=None)) as orthanc:
        app = list_app(listed, orthanc, trusted_proxies=trusted_proxies, heartbeat=heartbeat, site=site)
        for router in beside:
            app.include_router(router)

        @app.get("/ready")
        def ready() -> dict[str, dict[str, dict[str, bool]]]:
            parts = ("database", "broker", "orthanc", "feed", "work", "disk", "pacs_disk")
            return {"checks": {part: {"ok": part not in gateway.away} for part in parts}}

        with served(app) as url:
            gateway.url = f"{url}/"
            yield gateway


def _pacs() -> FastAPI:
    app = FastAPI()

    @app.get("/dicom-web/studies/{study}/series/{series}/instances/{instance}/rendered")
    def rendered(study: str, series: str, instance: str) -> Response:
        del study, series, instance
        return Response(_picture(), media_type="image/png")

    @app.get("/instances/{instance}")
    def instance(instance: str) -> dict[str, str]:
        return {"ID": instance}

    @app.get("/instances/{instance}/content/{tag}")
    def element(instance: str, tag: str) -> Response:
        del instance
        return Response(b"\x08\x00", status_code=404 if tag == "0028-0008" else 200)

    @app.get("/instances/{instance}/rendered")
    def drawn(instance: str) -> Response:
        del instance
        return Response(_picture(), media_type="image/png")

    return app


def _picture() -> bytes:
    image = Image.new("L", (240, 240), 130)
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 10, 290, 420), fill=45)
    for rib in range(6):
        draw.arc((-90, 10 + rib * 42, 300, 190 + rib * 42), 190, 340, fill=105, width=11)
    stream = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(6)).save(stream, "PNG")
    return stream.getvalue()
