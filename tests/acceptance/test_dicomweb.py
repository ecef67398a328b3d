"""The DICOMweb service of the gateway before a real Orthanc, and before a stand-in that misbehaves on purpose."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from dicomweb_client.api import DICOMwebClient
from fastapi import FastAPI
from PIL import Image
from pydicom import Dataset, dcmread

from gateway.access.actors import Actors
from gateway.dicomweb.passthrough import DicomWebOrigin, build_dicomweb
from gateway.intake.orthanc import OrthancClient
from gateway.list.hub import ListHub
from gateway.list.worklist import build_worklist
from gateway.problems import install_problems
from tests.bad_films import chest
from tests.gateways import running_gateway, served
from tests.servers import OrthancServer
from worklist.job import JobLimits
from worklist.records import Database, JobRecords, ReadingRecords, Worklist
from worklist.site import SiteRules

BIG_MB = 96
PIECE = bytes(1024 * 1024)
STORED = b'{"00081199": {"vr": "SQ", "Value": [{}]}}'  # what STOW-RS answers, in short


@pytest.fixture(scope="module")
def gateway(orthanc_server: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Root of a gateway before the tests' Orthanc."""
    orthanc_server.start()
    folder, names = tmp_path_factory.mktemp("gateway"), {"reading.hospital.example"}
    with running_gateway(folder, orthanc_server.url, accept_stow=True, allowed_hosts=names) as url:
        yield url


@pytest.fixture
def web(gateway: str, orthanc: OrthancServer) -> Iterator[httpx.Client]:
    """A client of the gateway's DICOMweb service; Orthanc is empty at first."""
    del orthanc
    with httpx.Client(base_url=f"{gateway}/dicom-web", trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def film(orthanc: OrthancServer) -> Dataset:
    """A film that Orthanc holds."""
    stored = chest(1)
    orthanc.post(stored)
    return stored


def path_of(film: Dataset) -> str:
    """The instance's resource."""
    return f"/studies/{film.StudyInstanceUID}/series/{film.SeriesInstanceUID}/instances/{film.SOPInstanceUID}"


def part10(film: Dataset) -> bytes:
    """The film as a file."""
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


# ---- What is not believed ----


@pytest.mark.parametrize("hint", ["", "..", "?", "\0", "x" * 50_000])
def test_the_doorbell_takes_no_senseless_hint(gateway: str, film: Dataset, hint: str) -> None:
    """It is refused at once: the intake would ask Orthanc for it in every round from then on, and fail."""
    del film  # Orthanc holds a study
    answer = httpx.post(f"{gateway}/events/orthanc", json={"deleted_studies": [hint]}, trust_env=False)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")


# ---- What goes wrong in the records ----


@pytest.mark.parametrize("position", ["0", "-1", "99999999999999999999"])
def test_a_crop_that_cannot_be_is_refused(gateway: str, position: str) -> None:
    """Position 0 stands for the documents in the records, and is no crop."""
    answer = httpx.get(f"{gateway}/worklist/1.2.3/crops/{position}.png", trust_env=False)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")


def test_a_database_that_fails_is_told_as_a_problem(tmp_path: Path) -> None:
    """The answer is a problem document with a code, to be tried again, and never a bare 500."""
    app = FastAPI()
    install_problems(app)
    with (
        contextlib.closing(Database(f"sqlite:///{tmp_path / 'without-tables.db'}")) as database,
        contextlib.closing(OrthancClient("http://127.0.0.1:1", auth=None)) as orthanc,
    ):
        rules, worklist = SiteRules(), Worklist(database, SiteRules())
        app.include_router(
            build_worklist(
                worklist,
                ReadingRecords(database=database, rules=rules),
                JobRecords(database, rules, JobLimits()),
                orthanc,
                ListHub(database, worklist),
                Actors(),
            )
        )
        with served(app) as url:
            answer = httpx.get(f"{url}/worklist", trust_env=False)
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.json()["code"] == "database_unavailable"
    assert answer.headers["Retry-After"]


# ---- What DICOMweb offers ----


def test_search_finds_the_study_and_leads_back(web: httpx.Client, film: Dataset) -> None:
    """QIDO-RS answers a query with its own parameters, and every RetrieveURL leads back to the gateway."""
    (found,) = web.get("/studies", params={"PatientID": film.PatientID, "includefield": "00081030"}).json()
    assert found["0020000D"]["Value"] == [film.StudyInstanceUID]
    (address,) = found["00081190"]["Value"]
    assert address == f"{web.base_url}studies/{film.StudyInstanceUID}"
    assert httpx.get(f"{address}/series", trust_env=False).json()[0]["0020000E"]["Value"] == [film.SeriesInstanceUID]
    assert web.get("/studies", params={"PatientID": "nobody"}).json() == []


def test_metadata_names_bulk_data_that_can_be_fetched(web: httpx.Client, film: Dataset) -> None:
    """WADO-RS metadata hold the film's attributes, and its BulkDataURI gives the pixels by way of the gateway."""
    (metadata,) = web.get(f"{path_of(film)}/metadata", headers={"Accept": "application/dicom+json"}).json()
    assert metadata["00080018"]["Value"] == [film.SOPInstanceUID]
    address = metadata["7FE00010"]["BulkDataURI"]
    assert address.startswith(str(web.base_url))
    bulk = httpx.get(address, trust_env=False)
    assert film.PixelData in bulk.content


def test_addresses_follow_the_name_by_which_the_gateway_was_called(web: httpx.Client, film: Dataset) -> None:
    """Behind a reverse proxy with TLS the addresses carry the proxy's name and https, as Orthanc's own would."""
    headers = {"Host": "reading.hospital.example:8443", "X-Forwarded-Proto": "https"}
    (found,) = web.get("/studies", headers={**headers, "Forwarded": "host=evil.example"}).json()
    address = f"https://reading.hospital.example:8443/dicom-web/studies/{film.StudyInstanceUID}"
    assert found["00081190"]["Value"] == [address]
    for host in ("a;proto=x", 'a"b', "a b", "a,b", "a/b"):
        assert web.get("/studies", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(("trusted", "is_believed"), [(frozenset({"127.0.0.1"}), True), (frozenset(), False)])
def test_a_trusted_proxy_says_by_which_name_it_was_called(
    orthanc: OrthancServer, tmp_path: Path, trusted: frozenset[str], *, is_believed: bool
) -> None:
    """X-Forwarded-Host counts from a trusted proxy, for studies and for what Orthanc writes, and from nobody else."""
    film = chest(7)
    orthanc.post(film)
    headers = {"X-Forwarded-Host": "pacs.hospital.example", "X-Forwarded-Proto": "https"}
    names = {"pacs.hospital.example"}
    with running_gateway(tmp_path, orthanc.url, trusted_proxies=trusted, allowed_hosts=names) as url:
        for path in ("studies", "series"):
            (found,) = httpx.get(f"{url}/dicom-web/{path}", headers=headers, trust_env=False).json()
            (address,) = found["00081190"]["Value"]
            assert address.startswith("https://pacs.hospital.example/dicom-web/studies/") is is_believed


def test_a_common_client_retrieves_the_same_object(gateway: str, film: Dataset) -> None:
    """dicomweb-client, which knows nothing of us, gets the instance back with every element."""
    client = DICOMwebClient(f"{gateway}/dicom-web")
    uids = (film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID)
    retrieved = client.retrieve_instance(*uids)
    assert retrieved == dcmread(io.BytesIO(part10(film)))


def test_an_instance_is_the_stored_file(web: httpx.Client, film: Dataset, orthanc: OrthancServer) -> None:
    """It comes octet for octet as the one part of the answer; under another study it is not found."""
    answer = web.get(path_of(film))
    kind, _, boundary = answer.headers["content-type"].rpartition("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    head, end = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n", f"\r\n--{boundary}--\r\n"
    stored = orthanc.find(film.StudyInstanceUID)
    file = httpx.get(f"{orthanc.url}/instances/{stored}/file", trust_env=False).content
    assert answer.content == head.encode() + file + end.encode()
    assert answer.headers["content-length"] == str(len(answer.content))
    elsewhere = path_of(film).replace(film.StudyInstanceUID, "1.2.3")
    assert web.get(elsewhere).status_code == 404


def test_frames_are_the_stored_pixels(web: httpx.Client, film: Dataset) -> None:
    """WADO-RS frames give the very pixels as one part of a multipart answer."""
    answer = web.get(
        f"{path_of(film)}/frames/1", headers={"Accept": 'multipart/related; type="application/octet-stream"'}
    )
    assert answer.headers["content-type"].startswith("multipart/related;")
    assert film.PixelData in answer.content
    assert web.get(f"{path_of(film)}/frames/1%2C2").status_code == 400, "there is no second frame"


def test_rendered_is_a_picture_of_the_film(web: httpx.Client, film: Dataset) -> None:
    """WADO-RS rendered gives a picture of the film's size in the media type that was asked for."""
    answer = web.get(f"{path_of(film)}/rendered", headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (film.Columns, film.Rows)
    assert np.asarray(picture.convert("L")).std() > 20


def test_store_puts_films_into_orthanc(gateway: str, web: httpx.Client, orthanc: OrthancServer) -> None:
    """STOW-RS stores several films at once, and the answer names each with an address of the gateway."""
    films = [chest(2), chest(3)]
    answer = DICOMwebClient(f"{gateway}/dicom-web").store_instances(films)
    stored = {item.ReferencedSOPInstanceUID: item.RetrieveURL for item in answer.ReferencedSOPSequence}
    assert stored == {film.SOPInstanceUID: f"{str(web.base_url).rstrip('/')}{path_of(film)}" for film in films}
    assert len(orthanc.get("/instances")) == 2


def test_store_refuses_a_film_of_another_study(web: httpx.Client) -> None:
    """STOW-RS to a study takes no film of another one: Orthanc's own answer comes through with its status and body."""
    film = chest(4)
    answer = web.post("/studies/1.2.3", content=multipart([part10(film)]), headers=MULTIPART)
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/dicom+json")
    assert answer.json()["00081198"]["Value"][0]["00081155"]["Value"] == [film.SOPInstanceUID]
    answer = web.post(
        "/studies/1.2.3",
        content=multipart([part10(film)]),
        headers={**MULTIPART, "Accept": "application/dicom+xml"},
    )
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/dicom+xml")
    assert film.SOPInstanceUID in answer.text


@pytest.mark.parametrize(
    "sent",
    [
        {"content": b"", "headers": {"Content-Type": 'multipart/related; type="application/dicom"; boundary=a'}},
        {
            "content": b"--b\r\n\r\nx\r\n--b--",
            "headers": {"Content-Type": 'multipart/related; type="application/dicom"; boundary=a'},
        },
        {"content": None, "headers": {"Accept": "application/dicom+xml"}},
    ],
    ids=["empty", "another boundary", "no closing boundary"],
)
def test_nothing_stored_is_no_success(web: httpx.Client, orthanc: OrthancServer, sent: dict[str, Any]) -> None:
    """Where Orthanc answers 200 and names no instance, nothing was stored, and the answer says so."""
    if sent["content"] is None:
        whole = multipart([part10(chest(5))]).removesuffix(b"\r\n--firstread--")
        sent = {"content": whole, "headers": {**MULTIPART, **sent["headers"]}}
    answer = web.post("/studies", **sent)
    assert (answer.status_code, answer.json()["title"]) == (409, "nothing stored")
    assert orthanc.get("/instances") == []


def test_nothing_is_stored_to_what_is_no_study(web: httpx.Client) -> None:
    """A UID that is none is refused before anything is sent on."""
    for uid in ("nope", "1." + "2" * 63, "1..2"):
        answer = web.post(f"/studies/{uid}", content=multipart([part10(chest(6))]), headers=MULTIPART)
        assert (answer.status_code, answer.json()["title"]) == (400, "no usable UID")


MULTIPART = {
    "Content-Type": 'multipart/related; type="application/dicom"; boundary=firstread',
    "Accept": "application/dicom+json",
}


def multipart(files: list[bytes]) -> bytes:
    """The body of a STOW-RS request."""
    head = b"--firstread\r\nContent-Type: application/dicom\r\n\r\n"
    return b"\r\n".join([head + file for file in files] + [b"--firstread--"])


def test_thumbnails_are_small_pictures(web: httpx.Client, film: Dataset) -> None:
    """Orthanc has none: an image and a frame are drawn at 128 pixels, or in the size that is asked for."""
    for path, size in (("/thumbnail", 128), ("/frames/1/thumbnail", 128), ("/thumbnail?viewport=64,64", 64)):
        answer = web.get(f"{path_of(film)}{path}", headers={"Accept": "image/*"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert max(Image.open(io.BytesIO(answer.content)).size) == size
    assert web.get(f"{path_of(film)}/thumbnail?viewport=99999,9").status_code == 400


def test_a_root_that_ends_in_a_slash_is_served(gateway: str, film: Dataset) -> None:
    """A client that joins its root and the path with two slashes is understood."""
    for path in ("//studies", "///series", f"/{path_of(film)}/metadata"):
        answer = httpx.get(f"{gateway}/dicom-web{path}", trust_env=False)
        assert (answer.status_code, len(answer.json())) == (200, 1)


@pytest.mark.parametrize("path", ["/studies", "/series", "/metadata", "/rendered", ""])
def test_what_nobody_can_give_is_not_acceptable(web: httpx.Client, film: Dataset, path: str) -> None:
    """406 and what there is instead, where the caller takes nothing of it (PS3.18 section 8.7)."""
    address = path if path in {"/studies", "/series"} else f"{path_of(film)}{path}"
    refused = web.get(address, headers={"Accept": "text/html, application/pdf"})
    assert (refused.status_code, refused.headers["content-type"]) == (406, "application/problem+json")


# ---- What it keeps out ----


@pytest.mark.parametrize(
    "path",
    [
        "/../system",
        "/%2e%2e/system",
        "/studies/../../system",
        "/studies/%2e%2e/%2e%2e/system",
        "/studies/..%2f..%2fsystem",
        "/studies/1.2/..%5c..%5csystem",
        "/studies//../../instances",
        "/servers",
        "/servers/peer/stow",
        "/info",
        "/studies/1.2%00",
        "/studies/1.2%0d%0aX-Evil:1",
        "/studies/1.2/%3fa",
    ],
)
def test_nothing_outside_is_reached(gateway: str, path: str) -> None:
    """Neither Orthanc's REST interface nor the plug-in's peers are reached, however the path is written."""
    host, port = gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:  # a client library would tidy the path up
        raw.sendall(f"GET /dicom-web{path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = raw.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert b"ApiVersion" not in answer


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
def test_nothing_is_deleted_or_changed(web: httpx.Client, film: Dataset, method: str) -> None:
    """Methods that change what is stored are refused with a problem document that names the allowed ones."""
    answer = web.request(method, f"/studies/{film.StudyInstanceUID}")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert len(web.get("/studies").json()) == 1
    assert web.request("POST", f"{path_of(film)}/metadata").headers["allow"] == "GET, HEAD, OPTIONS"


def test_head_and_options_tell_without_a_body(web: httpx.Client, film: Dataset) -> None:
    """HEAD gives the headers of GET, which Orthanc itself does not offer; OPTIONS gives the methods."""
    head, get = web.head(path_of(film)), web.get(path_of(film))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert web.options("/studies").headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_stored_content_never_runs_as_a_page(web: httpx.Client, film: Dataset) -> None:
    """Every answer forbids scripts, type guessing and shared caches."""
    headers = web.get(f"{path_of(film)}/rendered").headers
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"].startswith("private")


# ---- Errors and size ----


@pytest.mark.parametrize(
    ("path", "status"), [("/studies/1.2.3/metadata", 404), ("/studies/1.2.3/bulk", 404), ("/series?limit=x", 400)]
)
def test_errors_of_orthanc_are_problem_documents(web: httpx.Client, path: str, status: int) -> None:
    """An error that Orthanc tells in its own way keeps its status and becomes a problem document with its reason."""
    answer = web.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


def test_an_absent_orthanc_is_said(gateway: str, web: httpx.Client, orthanc_server: OrthancServer) -> None:
    """While Orthanc is away the answer is a 503 problem that says what to do; once it is back all works."""
    orthanc_server.stop()
    try:
        for answer in (web.get("/studies"), web.post("/studies", content=multipart([b"x"]), headers=MULTIPART)):
            assert answer.status_code == 503
            assert answer.json()["code"] == "pacs_unavailable"
            assert "start it" in answer.json()["detail"]
        assert httpx.get(f"{gateway}/health", trust_env=False).is_success
    finally:
        orthanc_server.start()
    assert web.get("/studies").is_success


def test_big_images_pass_without_being_held() -> None:
    """A big image passes either way in pieces: the process does not grow by anything near its size."""
    length = {"Content-Length": str(BIG_MB * len(PIECE)), "Content-Type": "application/dicom"}
    received: list[int] = []

    def answer(asked: BaseHTTPRequestHandler) -> None:
        if asked.command == "POST":
            left = int(asked.headers["Content-Length"])
            while left > 0:
                left -= len(asked.rfile.read(min(left, len(PIECE))))
            received.append(int(asked.headers["Content-Length"]))
        asked.send_response(200)
        for name, value in (length if asked.command == "GET" else {"Content-Length": str(len(STORED))}).items():
            asked.send_header(name, value)
        asked.end_headers()
        if asked.command == "POST":
            asked.wfile.write(STORED)
        for _ in range(BIG_MB if asked.command == "GET" else 0):
            asked.wfile.write(PIECE)

    with before(answer) as web:
        memory = psutil.Process().memory_info
        start, peak = memory().rss, 0
        with web.stream("GET", "/studies/1.2") as down:
            total = 0
            for part in down.iter_raw(len(PIECE)):
                total, peak = total + len(part), max(peak, memory().rss)
        assert total == BIG_MB * len(PIECE)

        def pieces() -> Iterator[bytes]:
            nonlocal peak
            for _ in range(BIG_MB):
                peak = max(peak, memory().rss)
                yield PIECE

        assert web.post("/studies", content=pieces(), headers=length).is_success
    assert received == [BIG_MB * len(PIECE)]
    assert peak - start < BIG_MB / 3 * len(PIECE)


def test_an_answer_that_breaks_off_is_not_taken_for_whole() -> None:
    """Where Orthanc dies in the middle of an image, the caller's transfer fails too."""

    def answer(asked: BaseHTTPRequestHandler) -> None:
        asked.send_response(200)
        asked.send_header("Content-Type", "application/dicom")
        asked.send_header("Content-Length", str(2 * len(PIECE)))
        asked.end_headers()
        asked.wfile.write(PIECE)

    with before(answer) as web, pytest.raises(httpx.RemoteProtocolError):
        web.get("/studies/1.2")


INSTANCE = "/studies/1.2/series/1.3/instances/1.4"


def finding(asked: BaseHTTPRequestHandler, *instances: str) -> bool:
    """Answer Orthanc's search for an instance with these; whether it was one."""
    if asked.path != "/tools/find":
        return False
    query = json.loads(asked.rfile.read(int(asked.headers["Content-Length"])))["Query"]
    assert query == {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
    asked.send_response(200)
    asked.end_headers()
    asked.wfile.write(json.dumps(instances).encode())
    return True


def test_a_file_that_breaks_off_is_not_taken_for_whole() -> None:
    """Where Orthanc dies in the middle of an instance's file, no boundary ends it."""

    def answer(asked: BaseHTTPRequestHandler) -> None:
        if not finding(asked, "a"):
            assert asked.path == "/instances/a/file"
            asked.send_response(200)
            asked.send_header("Content-Length", str(2 * len(PIECE)))
            asked.end_headers()
            asked.wfile.write(PIECE)

    with before(answer) as web, pytest.raises(httpx.RemoteProtocolError):
        web.get(INSTANCE)


@pytest.mark.parametrize("instances", [(), ("a", "b"), ("gone",)])
def test_what_is_not_one_instance_is_left_to_the_plug_in(instances: tuple[str, ...]) -> None:
    """Orthanc's DICOMweb says what it has to say of none, of two patients' with the same UIDs, and of one just gone."""

    def answer(asked: BaseHTTPRequestHandler) -> None:
        if not finding(asked, *instances):
            is_file = asked.path == "/instances/gone/file"
            asked.send_response(404 if is_file else 200)
            asked.send_header("Content-Type", "application/dicom")
            asked.end_headers()
            asked.wfile.write(f"{asked.path} {asked.headers['Accept']}".encode())

    with before(answer) as web:
        answered = f'/dicom-web{INSTANCE} multipart/related; type="application/dicom"; transfer-syntax=*'
        assert web.get(INSTANCE).text == answered


def test_callers_who_hang_up_use_up_nothing() -> None:
    """More callers than there are connections to Orthanc leave in the middle of an image; the next one is served."""

    def answer(asked: BaseHTTPRequestHandler) -> None:
        asked.send_response(200)
        asked.send_header("Content-Length", str(8 * len(PIECE)))
        asked.end_headers()
        with contextlib.suppress(OSError):  # the gateway hangs up in turn
            for _ in range(8):
                asked.wfile.write(PIECE)

    with before(answer, patience_s=30) as web:
        for _ in range(120):
            with web.stream("GET", "/studies/1.2"):
                pass
        assert len(web.get("/studies/1.2").content) == 8 * len(PIECE)


def test_a_silent_orthanc_is_given_up() -> None:
    """Where Orthanc takes the request and says nothing, the caller hears so after the time-out."""
    told = threading.Event()

    def answer_late(_: BaseHTTPRequestHandler) -> None:
        told.wait(60)

    with before(answer_late, patience_s=3) as web:
        answer = web.get("/studies")
        told.set()
    assert answer.status_code == 503
    assert "ReadTimeout" in answer.json()["detail"]


def test_only_our_login_and_needed_headers_pass() -> None:
    """Orthanc gets the gateway's login and the headers of DICOMweb; the caller gets none of Orthanc's others."""
    heard: list[dict[str, str]] = []

    def answer(asked: BaseHTTPRequestHandler) -> None:
        heard.append({name.lower(): value for name, value in asked.headers.items()})
        asked.send_response(200)
        for name, value in {"Content-Length": "0", "Set-Cookie": "a=b", "ETag": '"7"', "X-Orthanc": "1"}.items():
            asked.send_header(name, value)
        asked.end_headers()

    with before(answer, auth=("firstread", "secret")) as web:
        sent = {"Authorization": "Bearer caller", "Cookie": "c=d", "X-Other": "1", "If-None-Match": '"7"'}
        got = web.get("/studies", headers=sent).headers
    (asked,) = heard
    assert asked["authorization"] == httpx.BasicAuth("firstread", "secret")._auth_header  # noqa: SLF001
    assert asked["if-none-match"] == '"7"'
    assert not {"cookie", "x-other"} & set(asked)
    assert got["etag"] == '"7"'
    assert not {"set-cookie", "x-orthanc"} & set(got)


def test_a_refused_login_is_the_gateways_trouble() -> None:
    """Where Orthanc refuses the gateway's login, no browser asks its reader for Orthanc's password."""

    def answer(asked: BaseHTTPRequestHandler) -> None:
        asked.send_response(401)
        asked.send_header("WWW-Authenticate", 'Basic realm="Orthanc"')
        asked.send_header("Content-Length", "0")
        asked.end_headers()

    with before(answer) as web:
        got = web.get("/studies")
    assert (got.status_code, got.json()["code"]) == (503, "pacs_refuses_login")
    assert "www-authenticate" not in got.headers


def test_another_root_of_orthanc_is_served_too() -> None:
    """Orthanc writes its own DICOMweb root into its answers; under that one the gateway answers as well."""
    asked_for: list[str] = []

    def answer(asked: BaseHTTPRequestHandler) -> None:
        asked_for.append(asked.path)
        asked.send_response(204)
        asked.end_headers()

    with before(answer, root="/pacs/web/") as web:
        assert web.get("/studies?limit=1").is_success
        assert web.get(f"{str(web.base_url).removesuffix('/dicom-web/')}/pacs/web/series").is_success
    assert asked_for == ["/pacs/web/studies?limit=1", "/pacs/web/series"]


@contextmanager
def before(
    answer: Callable[[BaseHTTPRequestHandler], None],
    *,
    root: str = "dicom-web",
    auth: tuple[str, str] | None = None,
    patience_s: float = 10.0,
) -> Iterator[httpx.Client]:
    """A client of the DICOMweb service before a stand-in for Orthanc that answers each request in this way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    stand_in = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=stand_in.serve_forever, args=(0.05,))
    thread.start()
    app = FastAPI()
    install_problems(app)
    url = f"http://127.0.0.1:{stand_in.server_port}"
    origin = DicomWebOrigin(
        url=url,
        root=root,
        auth=auth,
        check_drawable=lambda _: None,
        is_seen=lambda _: True,
        accepts=True,
        patience_s=patience_s,
    )
    app.include_router(build_dicomweb(origin))
    try:
        with (
            served(app) as gateway,
            httpx.Client(base_url=f"{gateway}/dicom-web", trust_env=False, timeout=60) as client,
        ):
            yield client
    finally:
        stand_in.shutdown()
        stand_in.server_close()
        thread.join()
