"""A viewer's list by QIDO-RS and UPS-RS: `GET /dicom-web/studies` and `/workitems` of a large site, over HTTP.

A real Orthanc holds the studies that are to be read, and no more: filling it with all would take an hour, and a page
of the list asks it for the studies of that page alone, by their identifiers. So pages beyond the list are not measured
here. Workitems come from the records alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from fastapi import APIRouter, FastAPI

import migrations
from bench.figures import Figure, percentile
from bench.large_pacs import films
from bench.lists import databases, fill_records, times
from gateway.access.actors import Actors
from gateway.dicomweb.searches import build_searches
from gateway.intake.orthanc import OrthancClient
from gateway.search.pacs import PacsStudies
from gateway.search.studies import StudySearch
from gateway.workitems.routes import WorkitemService, build_workitems
from tests.gateways import served
from tests.servers import OrthancServer, running
from worklist.records import Database, StudySearches, WorkitemRecords, WorkitemSearches
from worklist.site import SiteRules

STUDIES, UNREAD = 100_000, 5_000
_PAGE: Final = 101  # what OHIF asks for
_AT_ONCE: Final = 4
_PREFIXES: Final = ("/dicom-web/",)
_TARGETS: Final = {"first page": 30.0, "workitems, first page": 30.0}  # ms
_QUERIES: Final = {
    "first page": f"limit={_PAGE}",
    "a page in the middle": f"limit={_PAGE}&offset={UNREAD // 2}",
    "by a range of dates": f"limit={_PAGE}&StudyDate=20000101-",
    "by the beginning of a name": f"limit={_PAGE}&PatientName=Doe*",
    "one accession number, and none beyond the list": f"limit={_PAGE}&AccessionNumber=A7",
}
_WORKITEM_QUERIES: Final = {
    "workitems, first page": f"limit={_PAGE}",
    "workitems, a page in the middle": f"limit={_PAGE}&offset={UNREAD // 2}",
    "workitems to be read, by priority": f"limit={_PAGE}&ProcedureStepState=SCHEDULED&00741200=LOW",
    "workitem of one accession number": f"limit={_PAGE}&AccessionNumber=A7",
}


def measure_searches(studies: int = STUDIES, unread: int = UNREAD) -> list[Figure]:
    """Times of some searches, on both databases."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="firstread-bench-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "orthanc").mkdir()
        with (
            running(OrthancServer(root / "orthanc")) as server,
            closing(OrthancClient(server.url, auth=None)) as orthanc,
        ):
            known = stored(server, unread)
            for name, url in databases(root):
                with closing(Database(url)) as database:
                    migrations.upgrade(database)
                    fill_records(database, studies, unread, known)
                    search = StudySearch(StudySearches(database), PacsStudies(orthanc))
                    figures += _measure(name, build_searches(search, _PREFIXES), "studies", _QUERIES)
                    figures += _measure(name, _workitems(database), "workitems", _WORKITEM_QUERIES)
    return figures


def _times(ask: Callable[[], httpx.Response]) -> list[float]:
    return times(lambda _: ask().raise_for_status())


def stored(server: OrthancServer, count: int) -> list[tuple[str, str]]:
    """Identifier and UID of studies that Orthanc then holds."""
    with (
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http,
        ThreadPoolExecutor(_AT_ONCE) as senders,
    ):
        for answer in senders.map(lambda film: http.post("/instances", content=film), films(count)):
            answer.raise_for_status()
        found = http.get("/studies", params={"expand": ""}).raise_for_status().json()
    return [(study["ID"], study["MainDicomTags"]["StudyInstanceUID"]) for study in found]


def _workitems(database: Database) -> APIRouter:
    records = WorkitemRecords(database=database, rules=SiteRules())
    service = WorkitemService(records=records, searches=WorkitemSearches(database), actors=Actors())
    return build_workitems(service, _PREFIXES)


def _measure(name: str, router: APIRouter, resource: str, queries: Mapping[str, str]) -> list[Figure]:
    app = FastAPI()
    app.include_router(router)
    figures = []
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        for title, query in queries.items():
            ask = partial(http.get, f"/dicom-web/{resource}?{query}")
            if not ask().json():
                raise RuntimeError(f"{title}: nothing is found, so nothing would be measured")
            taken = _times(ask)
            most = _TARGETS.get(title)
            figures.append(Figure(name=f"{name}: {title}, p50", value=percentile(taken, 50), unit="ms"))
            figures.append(Figure(name=f"{name}: {title}, p95", value=percentile(taken, 95), unit="ms", at_most=most))
    return figures
