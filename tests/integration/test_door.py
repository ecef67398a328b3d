"""Who may knock: foreign names, pages of other sites, and callers that never come to an end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from gateway.access import bodies, connections
from gateway.access.door import Door
from tests.gateways import running_gateway
from tests.servers import REPOSITORY, OrthancServer
from worklist.errors import InvalidInput

PATHS = [
    "/",
    "/worklist",
    "/worklist/events",
    "/dicom-web/studies",
    "/viewer/",
    "/try",
    "/docs",
    "/simulate",
    "/failures",
    "/worklist/failures",
    "/health",
    "/ready",
]
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
]
CHANGES = [
    ("POST", "/predict"),
    ("PUT", "/worklist/1.2.3/state"),
    ("PUT", "/failures/retry"),
    ("PUT", "/worklist/failures/retry"),
    ("POST", "/events/orthanc"),
    ("POST", "/dicom-web/studies"),
    ("DELETE", "/dicom-web/studies/1.2.3"),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Root of a gateway that a hospital calls pacs.hospital.example, with no PACS behind it."""
    folder, names = tmp_path_factory.mktemp("gateway"), {"pacs.hospital.example"}
    with running_gateway(folder, "http://127.0.0.1:9", allowed_hosts=names, trusted_proxies={"127.0.0.2"}) as url:
        yield url


@pytest.fixture(scope="module")
def client(gateway: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=gateway, trust_env=False, timeout=60) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_a_foreign_name_is_refused_on_every_path(client: httpx.Client, path: str) -> None:
    """A name that suddenly leads here, as by DNS rebinding, sees no patient and no page, and is told what to do."""
    answer = client.get(path, headers={"Host": "evil.example:8080"})
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")
    assert "FIRSTREAD_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1",
        "[::1]:8080",
        "10.1.2.3:8080",
        "pacs.hospital.example",
        "pacs.hospital.example.:443",
    ],
)
def test_own_names_and_addresses_are_served(client: httpx.Client, host: str) -> None:
    """This machine's names, those of the setting, and addresses, which nobody can rebind."""
    assert client.get("/worklist", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", [".", "[::::]", "[:", "-", "..", "localhost.evil.example", "127.0.0.1.evil.example"])
def test_what_is_no_name_of_ours_is_refused_quietly(gateway: str, host: str) -> None:
    """Whatever stands in the Host header, the answer says that it is not ours."""
    with connected(gateway) as raw:
        raw.sendall(f"GET /worklist HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert received(raw).startswith((b"HTTP/1.1 421 ", b"HTTP/1.1 400 "))


@pytest.mark.parametrize("head", ["", "Host: localhost\r\nHost: evil.example\r\n", "Host: a b\r\n", "Host: a/b\r\n"])
def test_no_host_or_two_are_refused(gateway: str, head: str) -> None:
    """RFC 9112 section 3.2: no Host, more than one, or one that cannot be, is a bad request."""
    with connected(gateway) as raw:
        raw.sendall(f"GET /worklist HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
        assert received(raw).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("headers", FOREIGN, ids=["cross-site", "same-site", "origin", "null"])
def test_no_other_site_changes_anything(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> None:
    """A form or script of another site's page is refused, whatever it asks for."""
    answer = client.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxied.example"}, {"Sec-Fetch-Site": "none"}]
)
def test_own_pages_and_programs_may_change(client: httpx.Client, headers: dict[str, str]) -> None:
    """What our own page asks for, and what no browser asks for, comes through to its own refusal."""
    answer = client.put("/worklist/1.2.3/state", headers=headers, json={"state": "read", "by": "Ann"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_study")
    own = {"Origin": str(client.base_url).rstrip("/")}
    assert client.put("/worklist/1.2.3/state", headers=own, json={"state": "read", "by": "A"}).status_code == 404


def test_reading_needs_no_origin(client: httpx.Client) -> None:
    """A link from the hospital's portal opens the list: what only reads is not refused, but no other site sees it."""
    answer = client.get("/worklist", headers={"Sec-Fetch-Site": "cross-site", "Origin": "http://portal.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/openapi.json", "/fhir/DiagnosticReport?study=1.2"])
def test_every_answer_is_kept_by_nobody_and_runs_nothing(client: httpx.Client, path: str) -> None:
    """No cache on the way keeps a patient's data, and no answer is taken for a page of ours that is none."""
    with client.stream("GET", path) as answer:
        assert answer.headers["cache-control"] in {"no-store", "no-cache", "private, no-cache"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"] or answer.is_error


def test_nothing_is_stored_unless_the_site_says_so(client: httpx.Client) -> None:
    """STOW-RS is off at first: modalities send to the PACS itself."""
    answer = client.post("/dicom-web/studies", content=b"x")
    assert answer.status_code == 405
    assert "FIRSTREAD_ACCEPT_STOW" in answer.json()["detail"]
    assert "POST" not in client.options("/dicom-web/studies").headers["allow"]


def test_the_interface_is_described_from_here(client: httpx.Client) -> None:
    """/docs names each path and field, and loads nothing from elsewhere."""
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in page
    assert "prior_count" in page
    assert "://" not in page.replace("http://www.w3.org", "")


def test_a_request_without_an_end_is_closed(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a header, or none at all, holds a connection for so long only; whoever is slow to read events is not hit."""
    monkeypatch.setattr(connections, "HEADERS_S", 0.3)
    for sent in (b"", b"GET /worklist HTTP/1.1\r\nHost: local"):
        with connected(gateway) as raw:
            raw.sendall(sent)
            assert received(raw) == b""
    with answered(gateway, "/worklist/events") as events:
        time.sleep(0.5)
        heard = b""
        while b"event: " not in heard:
            heard += (part := events.recv(65536))
            assert part
    with answered(gateway, "/health") as raw:  # and so for a second request on one connection
        raw.sendall(b"GET /health HT")
        assert received(raw).endswith(b"}") or received(raw) == b""


def test_nothing_waits_for_an_acknowledgement() -> None:
    """Each part of an answer is sent at once: an event of the list would else come 40 ms late."""
    config = uvicorn.Config(lambda: None, host="127.0.0.1", port=0)
    with connections.listening_socket(config) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_body_that_does_not_come_is_given_up(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that says its size and sends less is answered 408 on every path, and its connection is closed."""
    monkeypatch.setattr(bodies, "_PATIENCE_S", 0.3)
    for head in (
        "PUT /worklist/1.2.3/state HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 40",
        "POST /predict HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4000",
    ):
        with connected(gateway) as raw:
            raw.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode() + b"--b")
            answer = received(raw)
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert b"upload_too_slow" in answer


@pytest.mark.parametrize("name", ["http://pacs", "pacs/x", "a b", "*"])
def test_a_bad_name_in_the_setting_is_told(name: str) -> None:
    """What is no name would let nobody in, or everybody."""
    with pytest.raises(InvalidInput, match="FIRSTREAD_ALLOWED_HOSTS"):
        Door(lambda *_: None, [name])  # type: ignore[arg-type]


def test_the_demos_orthanc_serves_no_other_site(tmp_path: Path) -> None:
    """An Orthanc without a login, as the demo's, refuses what a foreign page asks for, and works as ever otherwise."""
    script = str(REPOSITORY / "orthanc" / "own_pages.lua")
    orthanc = OrthancServer(tmp_path, configuration={"LuaScripts": [script]})
    orthanc.start()
    try:
        ask = httpx.Client(base_url=orthanc.url, trust_env=False, timeout=60)
        with ask:
            assert ask.get("/system", headers={"Host": "evil.example"}).status_code == 403
            for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
                assert ask.post("/instances", content=b"x", headers=headers).status_code == 403
                assert ask.delete("/studies/x", headers=headers).status_code == 403
            own = {"Origin": orthanc.url, "Sec-Fetch-Site": "same-origin"}
            assert ask.get("/system", headers=own).status_code == 200
            assert ask.delete("/studies/x", headers=own).status_code == 404
            assert ask.post("/tools/find", json={"Level": "Study", "Query": {}}).json() == []
            assert ask.get("/dicom-web/studies", headers={"Host": "localhost"}).status_code == 200
    finally:
        orthanc.stop()


def connected(gateway: str) -> socket.socket:
    """A connection of its own."""
    address = urlsplit(gateway)
    return socket.create_connection((address.hostname, address.port), timeout=60)


@contextmanager
def answered(gateway: str, path: str) -> Iterator[socket.socket]:
    """A connection whose first request was answered; the next one where we were too slow with it."""
    until, head = time.monotonic() + 60, b""
    while not head.startswith(b"HTTP/1.1 200 "):
        assert time.monotonic() < until, head
        raw = connected(gateway)
        with suppress(ConnectionError):
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = raw.recv(65536)
        if not head:
            raw.close()
    with raw:
        yield raw


def received(raw: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    with suppress(ConnectionResetError):  # it was closed before we had sent all
        while part := raw.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("path", ["/", "/worklist", "/worklist/events", "/metrics", "/static/failures.css", "/none"])
def test_head_tells_what_get_would(client: httpx.Client, path: str) -> None:
    """Monitoring asks by HEAD; a stream of events answers it and ends."""
    head = client.head(path)
    with client.stream("GET", path) as get:
        assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
    assert head.content == b""


def test_no_request_is_traced(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses and queries name patients: no tracer, meter or logger of the machine's is handed any."""
    asked: list[str] = []
    for told in ("trace.get_tracer_provider", "metrics.get_meter_provider", "_logs.get_logger_provider"):
        monkeypatch.setattr(f"opentelemetry.{told}", partial(asked.append, told))
    assert client.get("/worklist?limit=1").is_success
    assert not asked
