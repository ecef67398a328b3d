"""A viewer's list by QIDO-RS: `GET /dicom-web/studies` of a large site, over HTTP, before a real Orthanc.

Orthanc holds the studies that are to be read, and no more: filling it with all would take an hour, and a page of the
list asks it for the studies of that page alone, by their identifiers. So pages beyond the list are not measured here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from fastapi import FastAPI

import migrations
from bench.figures import Figure, percentile
from bench.large_pacs import films
from bench.lists import databases, fill_records, times
from gateway.dicomweb.searches import build_searches
from gateway.intake.orthanc import OrthancClient
from gateway.search.pacs import PacsStudies
from gateway.search.studies import StudySearch
from tests.gateways import served
from tests.servers import OrthancServer, running
from worklist.records import Database, StudySearches

STUDIES, UNREAD = 100_000, 5_000
_PAGE: Final = 101  # what OHIF asks for
_AT_ONCE: Final = 4
_TARGETS: Final = {"first page": 30.0}  # ms
_QUERIES: Final = {
    "first page": f"limit={_PAGE}",
    "a page in the middle": f"limit={_PAGE}&offset={UNREAD // 2}",
    "by a range of dates": f"limit={_PAGE}&StudyDate=20000101-",
    "by the beginning of a name": f"limit={_PAGE}&PatientName=Doe*",
    "one accession number, and none beyond the list": f"limit={_PAGE}&AccessionNumber=A7",
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
            known = _stored(server, unread)
            for name, url in databases(root):
                with closing(Database(url)) as database:
                    migrations.upgrade(database)
                    fill_records(database, studies, unread, known)
                    figures += _measure(name, StudySearch(StudySearches(database), PacsStudies(orthanc)))
    return figures


def _times(ask: Callable[[], httpx.Response]) -> list[float]:
    return times(lambda _: ask().raise_for_status())


def _stored(server: OrthancServer, count: int) -> list[tuple[str, str]]:
    """Identifier and UID of studies that Orthanc then holds."""
    with (
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http,
        ThreadPoolExecutor(_AT_ONCE) as senders,
    ):
        for answer in senders.map(lambda film: http.post("/instances", content=film), films(count)):
            answer.raise_for_status()
        found = http.get("/studies", params={"expand": ""}).raise_for_status().json()
    return [(study["ID"], study["MainDicomTags"]["StudyInstanceUID"]) for study in found]


def _measure(name: str, search: StudySearch) -> list[Figure]:
    app = FastAPI()
    app.include_router(build_searches(search, ["/dicom-web/"]))
    figures = []
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        for title, query in _QUERIES.items():
            ask = partial(http.get, f"/dicom-web/studies?{query}")
            if not ask().json():
                raise RuntimeError(f"{title}: nothing is found, so nothing would be measured")
            taken = _times(ask)
            most = _TARGETS.get(title)
            figures.append(Figure(name=f"{name}: {title}, p50", value=percentile(taken, 50), unit="ms"))
            figures.append(Figure(name=f"{name}: {title}, p95", value=percentile(taken, 95), unit="ms", at_most=most))
    return figures
