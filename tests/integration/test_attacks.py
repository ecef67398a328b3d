"""What somebody sends who wants something else than an answer; the list and the trail are afterwards as before.

docs/security.md names a test for each attack that was tried; here are those that belong nowhere else.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.access.keys import make_key
from tests.gateways import running_gateway
from tests.lists import NOTHING, FilledList
from tests.workitems import hash_of
from worklist.records import AuditRecords, Database
from worklist.roles import Role

HOSTILE = [
    "' OR '1'='1",
    "1'; DROP TABLE studies; --",
    '" UNION SELECT patient_name FROM studies --',
    "{{7*7}}${7*7}<%= 7*7 %>",
    "../../../../etc/passwd",
    "%00",
    "1.2%00.3",
    "%0d%0aSet-Cookie:%20a=b",
    "%ff%fe",
    "%ed%a0%80",
    "%e2%80%ae%1b%5b2J",
    "9" * 400,
    "*" * 60,
]
QUESTIONS = [
    "/worklist?state={}",
    "/worklist?reading={}",
    "/worklist?limit={}",
    "/worklist?offset={}",
    "/worklist/{}",
    "/worklist/{}/steps",
    "/worklist/{}/priors",
    "/worklist/{}/openings",
    "/worklist/{}/crops/1.png",
    "/worklist/1.2.3/images/{}.png",
    "/fhir/DiagnosticReport?study={}",
    "/fhir/DiagnosticReport?identifier={}",
    "/fhir/DiagnosticReport?_lastUpdated={}",
    "/fhir/DiagnosticReport/{}",
    "/dicom-web/workitems?PatientName={}",
    "/dicom-web/workitems?00100020={}",
    "/dicom-web/workitems?includefield={}",
    "/dicom-web/workitems/{}",
    "/predict/{}/film.png",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attacked:
    """A gateway where people log in, with one study; a radiologist's and a technologist's key."""

    url: str
    folder: Path
    reader: str
    technologist: str
    client: httpx.Client

    def ask(self, method: str, path: str, key: str, **more: Any) -> httpx.Response:  # noqa: ANN401
        """A request as it is written, by whoever has a key."""
        headers = {"Authorization": f"Bearer {key}"}
        return self.client.request(method, f"{self.url}{path}", headers=headers, **more)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """No PACS is behind it."""
    folder = tmp_path_factory.mktemp("attacked")
    keys = folder / "keys"
    reader, technologist = make_key(keys, "ws1", Role.RADIOLOGIST), make_key(keys, "room 2", Role.TECHNOLOGIST)
    with running_gateway(folder, "http://127.0.0.1:9", auth="on", api_keys_file=keys, requests_per_min=100_000) as url:
        with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
            listed = FilledList(database)
            listed.orthanc_id = hash_of
            listed.add(1, "Roe^Jane", findings=NOTHING)
        with httpx.Client(trust_env=False, timeout=60) as client:
            yield Attacked(url=url, folder=folder, reader=reader, technologist=technologist, client=client)


def is_as_before(attacked: Attacked) -> bool:
    """Whether the one study is there, and the audit trail whole."""
    page = attacked.ask("GET", "/worklist", attacked.reader).json()
    with closing(Database(f"sqlite:///{attacked.folder / 'firstread.db'}")) as database:
        is_whole = AuditRecords(database=database).verify().broken_at is None
    return is_whole and [item["patient_name"] for item in page["items"]] == ["Roe^Jane"]


def test_words_that_a_database_could_obey_are_words(attacked: Attacked) -> None:
    """Quotes, templates, NUL, half characters and numbers without end are refused or find nothing; nothing falls over.

    A technologist, who may open no study, asks the same: the refusals too are kept, with whatever they were of.
    """
    for question in QUESTIONS:
        for word in HOSTILE:
            path = question.format(word.replace(" ", "%20").replace("#", "%23"))
            answer = attacked.ask("GET", path, attacked.reader)
            assert answer.status_code < 500, (path, answer.status_code, answer.text)
            assert "Set-Cookie" not in answer.headers, path
            assert "49" not in answer.text or "{{7*7}}" not in word, path
    for word in HOSTILE:
        path = f"/worklist/{word}/steps".replace(" ", "%20")
        assert attacked.ask("GET", path, attacked.technologist).status_code in {403, 404}, path
    assert is_as_before(attacked)


@pytest.mark.parametrize("word", HOSTILE[:6])
def test_no_hostile_change_is_made(attacked: Attacked, word: str) -> None:
    """Names, states and reasons that are none."""
    study = attacked.ask("GET", "/worklist", attacked.reader).json()["items"][0]["study_instance_uid"]
    for path, body in (
        (f"/worklist/{word}/state", {"state": "read"}),
        (f"/worklist/{study}/state", {"state": word}),
        (f"/worklist/{study}/opening", {"reason": word}),
    ):
        answer = attacked.ask("PUT", path.replace(" ", "%20"), attacked.reader, json=body)
        assert 400 <= answer.status_code < 500, (path, answer.text)
    assert is_as_before(attacked)


def sent(url: str, head: bytes) -> bytes:
    """What comes back for bytes that no library would send."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as raw:
        try:
            raw.sendall(head)
            return raw.makefile("rb").read()
        except ConnectionError:  # closed while we were still sending
            return b""


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/static/..%2f..%2f..%2fpyproject.toml",
        "/static/..%5c..%5capp.py",
        "//etc/passwd",
        "/static//etc/passwd",
        "/predict/..%2f..%2ffirstread.db/film.png",
        "/predict/%2e%2e/film.png",
        "/worklist/..%2f..%2f/crops/1.png",
        "http://127.0.0.1/etc/passwd",
    ],
)
def test_no_file_of_the_machine_is_reached(attacked: Attacked, path: str) -> None:
    """However the path is written, by whoever is logged in."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {attacked.reader}\r\nConnection: close\r\n"
    answer = sent(attacked.url, f"{head}\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 4",)), answer[:200]
    assert b"root:" not in answer
    assert b"import" not in answer


def test_headers_without_measure_end_their_own_connection(attacked: Attacked) -> None:
    """A header of 2 MB or 100,000 of them are refused, and others are answered."""
    first = b"GET /worklist HTTP/1.1\r\nHost: localhost\r\n"
    for more in (b"X-Long: " + b"a" * 2_000_000 + b"\r\n", b"X-Many: a\r\n" * 100_000):
        answer = sent(attacked.url, first + more + b"Connection: close\r\n\r\n")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]
        assert is_as_before(attacked)


def test_what_holds_patients_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever the account's own umask says, nobody else may read the database."""
    environment = os.environ | {"FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path / 'firstread.db'}"}
    command = [sys.executable, "-m", "firstread", "db", "upgrade"]
    before = os.umask(0)
    try:
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    finally:
        os.umask(before)
    made = list(tmp_path.glob("firstread.db*"))
    assert made
    assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o600}
