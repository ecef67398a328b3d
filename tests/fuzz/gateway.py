"""The gateway's doors: what Orthanc answers, and what anybody may ask of QIDO-RS, UPS-RS, /predict and the doorbell.

The application runs in this process, without sockets. Its Orthanc is a stand-in that answers each request with what the
input says, for nothing else can be made to answer a thousand odd things a second.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
from fastapi import FastAPI

import migrations
from gateway.access.actors import Actors
from gateway.access.bodies import BodyLimit
from gateway.dicomweb.datasets import native
from gateway.dicomweb.guards import OneSlash
from gateway.dicomweb.searches import build_searches
from gateway.intake.changelog import ChangeLog
from gateway.intake.dispatch import Dispatcher, build_sender
from gateway.intake.doorbell import build_doorbell
from gateway.intake.feed import Intake, IntakePace
from gateway.intake.orthanc import OrthancClient
from gateway.predict.routes import PredictLimits, build_predict
from gateway.problems import install_problems
from gateway.search.pacs import PacsStudies
from gateway.search.studies import StudySearch
from gateway.workitems.requests import MOST_BYTES
from gateway.workitems.routes import WorkitemService, build_workitems
from tests.fuzz import mutate
from tests.fuzz.targets import Target, films, pictures
from tests.workitems import PERFORMED, STATE, TRANSACTION, detection, element
from worklist.job import JobLimits
from worklist.records import (
    Database,
    FeedCursor,
    IntakeRecords,
    JobRecords,
    Lease,
    PredictionRecords,
    ReadingRecords,
    StudySearches,
    UploadFiles,
    WorkitemRecords,
    WorkitemSearches,
)
from worklist.site import SiteRules

_ID: Final = "-".join(["0123abcd"] * 5)
_CHANGES: Final = [
    {
        "Changes": [
            {"Seq": number, "ChangeType": kind, "ID": _ID, "Date": "20260102T030405", "Path": f"/instances/{_ID}"}
            for number, kind in enumerate(("NewInstance", "StableStudy", "NewStudy"), start=1)
        ],
        "Done": True,
        "Last": 3,
    }
]
_STUDY: Final = {
    "ID": _ID,
    "MainDicomTags": {"StudyInstanceUID": "1.2.3", "StudyDate": "20260102", "AccessionNumber": "A1"},
    "PatientMainDicomTags": {"PatientID": "1", "PatientName": "Müller^Jörg"},
    "LastUpdate": "20260102T030405",
}
_SERIES: Final = {"ID": _ID, "ParentStudy": _ID, "MainDicomTags": {"Modality": "DX"}, "Instances": [_ID]}
_QUERIES: Final = tuple(
    query.encode()
    for query in (
        *("", "limit=5&offset=2", "PatientName=M%C3%BCller*&fuzzymatching=true", "00100020=0815", "includefield=all"),
        *("StudyDate=20260101-20261231&StudyTime=0300-", "ModalitiesInStudy=CR%5CDX", "includefield=00081030,00180015"),
        *("StudyInstanceUID=1.2.3,1.2.4", "AccessionNumber=A%3F1", "PatientBirthDate=-19600101&accept=*/*"),
        *("ScheduledProcedureStepSequence.Modality=DX", "StudyDescription=%22x%22&limit=0", "0040A30A=1"),
    )
)
_ACCEPTS: Final = (
    *(b"application/dicom+json", b"*/*", b"", b'multipart/related; type="application/dicom+xml"', b"a/b;q=2,;;"),
    *(b"application/json;q=0.1, application/dicom+json", b"\xff/\xfe", b"," * 3000, b'x/y; q="'),
)
_BOUNDARY: Final = b"firstread"
_RINGS: Final[tuple[object, ...]] = ({}, {"deleted_studies": []}, {"deleted_studies": [_ID, _ID]})
_STEPS: Final = (
    *(("POST", "workitems"), ("POST", "workitems?workitem=1.2.3"), ("POST", "workitems/1.2.3?transaction-uid=1.2.9")),
    *(("PUT", "workitems/1.2.3/state"), ("POST", "workitems/1.2.3/cancelrequest"), ("GET", "workitems/1.2.3")),
)
_WORKITEMS: Final[tuple[dict[str, Any], ...]] = (
    detection(),
    {STATE: element("CS", "IN PROGRESS"), TRANSACTION: element("UI", "1.2.9")},
    {STATE: element("CS", "COMPLETED"), TRANSACTION: element("UI", "1.2.9")},
    {"00741002": element("SQ", {"00741004": element("DS", 50)}), "00741216": PERFORMED},
    {"00741238": element("LT", "sent twice"), "0074100E": element("SQ", {"00080100": element("SH", "110513")})},
)
_WRITTEN: Final = (b"application/dicom+json", b"application/dicom+xml", b"application/json")
_WORKITEM_QUERIES: Final = tuple(
    query.encode()
    for query in (
        *("", "limit=5&offset=2", "ProcedureStepState=SCHEDULED,CANCELED", "00741200=HIGH&includefield=all"),
        *("ScheduledWorkitemCodeSequence.CodeValue=110004", "00404018.00080100=110005&PatientName=M%C3%BCl*"),
        *("ScheduledProcedureStepStartDateTime=20260101-20271231235959%2B0100", "StudyInstanceUID=1.2.3&limit=0"),
    )
)
_PATIENCE_S: Final = 300.0
_CONNECTION: Final = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "scheme": "http",
    "root_path": "",
    "client": ("127.0.0.1", 1),
    "server": ("gateway", 80),
}


@dataclass
class _Gateway:
    """An application with its stand-in of Orthanc.

    Attributes:
        app: the application.
        orthanc: its connection to the stand-in.
        answers: what the stand-in answers, by the request's path; else an empty list.
    """

    app: FastAPI
    orthanc: OrthancClient
    answers: dict[str, bytes] = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def ask(self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a request; whatever ends in 500 is a fault, and so is no answer."""
        status, told = self.loop.run_until_complete(self._ask(method, path, query, headers, body))
        if status >= 500 and status != 503:
            raise AssertionError(f"{method} {path} is answered {status}: {told[:200]!r}")

    async def _ask(
        self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, bytes]:
        scope = {
            **_CONNECTION,
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query,
            "headers": [(b"host", b"gateway"), *headers],
        }
        received = iter([{"type": "http.request", "body": body, "more_body": False}])
        status, told = 0, b""

        async def receive() -> Any:  # noqa: ANN401 - ASGI
            return next(received, {"type": "http.disconnect"})

        async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
            nonlocal status, told
            status = message.get("status", status)
            told += message.get("body", b"")

        async with asyncio.timeout(_PATIENCE_S):
            await self.app(scope, receive, send)
        return status, told


@cache
def _gateway() -> _Gateway:
    folder = Path(tempfile.mkdtemp(prefix="firstread-fuzz-"))
    database = Database(f"sqlite:///{folder / 'firstread.db'}")
    migrations.upgrade(database)
    rules, orthanc = SiteRules(), OrthancClient("http://orthanc", auth=None)
    jobs = JobRecords(database, rules, JobLimits())
    dispatcher = Dispatcher(jobs, build_sender("memory://"))
    intake = Intake(
        orthanc=orthanc,
        records=IntakeRecords(database, rules),
        readings=ReadingRecords(database=database, rules=rules),
        jobs=jobs,
        dispatcher=dispatcher,
        lease=Lease(database, "orthanc"),
        report_titles=frozenset(),
        pace=IntakePace(poll=timedelta(seconds=1), lookback=timedelta(hours=1)),
    )
    app = FastAPI()
    install_problems(app)
    app.add_middleware(OneSlash, prefixes=["/dicom-web/"])
    app.add_middleware(BodyLimit, limits={"/predict": 1_000_000, "/dicom-web/workitems": MOST_BYTES})
    search = StudySearch(StudySearches(database), PacsStudies(orthanc))
    app.include_router(build_searches(search, ["/dicom-web/"]))
    records, searches = WorkitemRecords(database=database, rules=rules), WorkitemSearches(database)
    service = WorkitemService(records=records, searches=searches, actors=Actors())
    app.include_router(build_workitems(service, ["/dicom-web/"]))
    limits = PredictLimits(upload_bytes=500_000, in_hand_bytes=1_000_000, wait_s=0, keep=timedelta(hours=1))
    app.include_router(build_predict(PredictionRecords(database, UploadFiles(folder)), dispatcher, limits))
    app.include_router(build_doorbell(intake, ""))
    made = _Gateway(app=app, orthanc=orthanc)
    orthanc.rest._transport = httpx.MockTransport(  # noqa: SLF001 - the library makes its client inside
        lambda request: httpx.Response(200, content=made.answers.get(request.url.path, b"[]"))
    )
    return made


def _answered(path: str, answer: bytes) -> _Gateway:
    gateway = _gateway()
    gateway.answers = {"/studies": json.dumps([_ID]).encode(), path: answer}
    return gateway


def read_changes(data: bytes) -> None:
    """The change log, as Orthanc tells it."""
    gateway = _answered("/changes", data)
    log = ChangeLog(gateway.orthanc)
    log.after(FeedCursor(sequence=0, marks=()), 100)
    log.end()


def read_studies(data: bytes) -> None:
    """A search of studies, as Orthanc answers what the list does not know."""
    gateway = _answered("/tools/bulk-content", data)
    gateway.ask("GET", "/dicom-web/studies", b"includefield=all", [(b"accept", b"application/dicom+json")], b"")


def search(data: bytes) -> None:
    """A query; the first octet names what is accepted."""
    gateway = _answered("/tools/bulk-content", json.dumps([]).encode())
    accept = _ACCEPTS[data[0] % len(_ACCEPTS)] if data else b""
    gateway.ask("GET", "/dicom-web/studies", data[1:8000], [(b"accept", accept)], b"")


def work(data: bytes) -> None:
    """A request about workitems; the first octet says which, the second how its body is said to be written."""
    method, path = _STEPS[data[0] % len(_STEPS)] if data else _STEPS[0]
    media_type, body = _WRITTEN[data[1] % len(_WRITTEN) if len(data) > 1 else 0], data[2:]
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
    path, _, query = path.partition("?")
    _gateway().ask(method, f"/dicom-web/{path}", query.encode(), headers, body)


def search_work(data: bytes) -> None:
    """A query of workitems."""
    _gateway().ask("GET", "/dicom-web/workitems", data[:8000], [(b"accept", _ACCEPTS[len(data) % len(_ACCEPTS)])], b"")


def upload(data: bytes) -> None:
    """A form; nobody judges what is in it."""
    headers = [(b"content-type", b"multipart/form-data; boundary=" + _BOUNDARY)]
    _gateway().ask("POST", "/predict", b"", [*headers, (b"content-length", str(len(data)).encode())], data)


def ring(data: bytes) -> None:
    """What the doorbell says."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    _gateway().ask("POST", "/events/orthanc", b"", headers, data)


def _make_query(chance: random.Random) -> bytes:
    joined = b"&".join(chance.sample(_QUERIES, chance.randrange(1, 4)))
    return bytes([chance.randrange(256)]) + mutate.octets(chance, [joined, *_QUERIES])


@cache
def _forms() -> tuple[bytes, ...]:
    forms: list[bytes] = []
    for film in (films()[0][:4000], pictures()[0], b"", b"nothing"):
        parts = [_part('name="file"; filename="a.dcm"', film), _part('name="prior_report"', b"Pneumonie?")]
        forms.extend(
            b"".join((*chosen, b"--", _BOUNDARY, b"--\r\n")) for chosen in (parts, parts[:1], parts * 2, parts[::-1])
        )
    return tuple(forms)


def _part(disposition: str, content: bytes) -> bytes:
    head = f"Content-Disposition: form-data; {disposition}\r\n\r\n".encode()
    return b"--" + _BOUNDARY + b"\r\n" + head + content + b"\r\n"


def _make_step(chance: random.Random) -> bytes:
    given = chance.choice(_WORKITEMS)
    if chance.randrange(4):
        return bytes([chance.randrange(256), 3 * chance.randrange(85)]) + mutate.values(chance, [given])
    return bytes([chance.randrange(256), 3 * chance.randrange(85) + 1]) + mutate.octets(chance, [native(given)])


def _make_work_query(chance: random.Random) -> bytes:
    joined = b"&".join(chance.sample(_WORKITEM_QUERIES, chance.randrange(1, 4)))
    return mutate.octets(chance, [joined, *_WORKITEM_QUERIES])


def _json(*valid: object) -> Callable[[random.Random], bytes]:
    return lambda chance: mutate.values(chance, valid)


GATEWAY_TARGETS: Final = (
    Target(name="changes", make=_json(*_CHANGES), take=read_changes),
    Target(name="studies", make=_json([_STUDY, _SERIES], [_STUDY]), take=read_studies),
    Target(name="QIDO", make=_make_query, take=search),
    Target(name="UPS", make=_make_step, take=work),
    Target(name="UPS search", make=_make_work_query, take=search_work),
    Target(name="predict", make=lambda chance: mutate.octets(chance, _forms()), take=upload),
    Target(name="doorbell", make=_json(*_RINGS), take=ring),
)
