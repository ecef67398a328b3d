"""The audit trail of a real gateway, and how the hospital's repository hears of it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from gateway.access.keys import make_key
from gateway.audit.message import Source
from gateway.audit.recorder import AuditRecorder
from gateway.audit.syslog import AuditTeller, Repository, SyslogSender
from tests.gateways import running_gateway
from tests.lists import NOTHING, FilledList
from tests.workitems import hash_of, of_reading
from worklist.audit import NOBODY, AuditEntry, AuditKind, Outcome
from worklist.errors import InvalidInput
from worklist.records import AuditRecords, Database, Kept, Lease
from worklist.roles import Role

PATIENCE_S = 120.0
ENTRY = AuditEntry(at=datetime(2026, 11, 22, tzinfo=UTC), kind=AuditKind.ACCESS, actor="Ann", study_instance_uid="1.2")


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl in a folder."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def trail_of(folder: Path) -> list[Kept]:
    """All entries of a gateway's trail but for its start."""
    with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
        return [kept for kept in AuditRecords(database=database).after(0) if kept.entry.kind is not AuditKind.START]


def test_who_looked_and_who_was_refused_is_kept(tmp_path: Path) -> None:
    """A look at the list and at a study once each, a refusal, a wrong key; health and one's own page leave nothing."""
    file = tmp_path / "keys"
    reader = make_key(file, "ws1", Role.RADIOLOGIST)
    technician = make_key(file, "room 2", Role.TECHNOLOGIST)
    with running_gateway(tmp_path, "http://127.0.0.1:9", auth="on", api_keys_file=file) as url:
        with closing(Database(f"sqlite:///{tmp_path / 'firstread.db'}")) as database:
            listed = FilledList(database)
            listed.orthanc_id = hash_of  # in the form of Orthanc's, as workitems want it
            uid = listed.add(1, "Roe^Jane", findings=NOTHING)

        def ask(method: str, path: str, key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            more: dict[str, Any] = {"json": {"state": "reading"}} if method == "PUT" else {}
            return httpx.request(
                method, f"{url}{path}", headers=headers, trust_env=False, timeout=PATIENCE_S, **more
            ).status_code

        assert ask("GET", "/health", "") == 200
        assert ask("GET", "/me", reader) == 200
        assert [ask("GET", "/worklist?limit=5", reader) for _ in range(3)] == [200] * 3
        assert [ask("GET", f"/worklist/{uid}/steps", reader) for _ in range(2)] == [200] * 2
        assert ask("GET", f"/dicom-web/workitems/{of_reading(uid)}", reader) == 200
        assert ask("PUT", f"/worklist/{uid}/state", reader) == 200
        assert ask("GET", f"/worklist/{uid}/steps", technician) == 403
        assert ask("GET", "/worklist", "frk_wrong") == 401
        until(lambda: len(trail_of(tmp_path)) >= 6)
    kept = trail_of(tmp_path)
    told = [(one.entry.kind, one.entry.actor, one.entry.study_instance_uid, one.entry.outcome) for one in kept]
    assert told == [
        (AuditKind.QUERY, "ws1", "", Outcome.SUCCESS),
        (AuditKind.ACCESS, "ws1", uid, Outcome.SUCCESS),
        (AuditKind.QUERY, "ws1", uid, Outcome.SUCCESS),
        (AuditKind.CHANGE, "ws1", uid, Outcome.SUCCESS),
        (AuditKind.REFUSED, "room 2", uid, Outcome.MINOR_FAILURE),
        (AuditKind.LOGIN, NOBODY, "", Outcome.MINOR_FAILURE),
        (AuditKind.STOP, "Firstread", "", Outcome.SUCCESS),
    ]
    assert kept[1].entry.patient_id
    assert kept[0].entry.detail == {"method": "GET", "path": "/worklist", "query": "limit=5"}
    assert {one.entry.address for one in kept[:6]} == {"127.0.0.1"}


def test_without_a_login_whoever_says_a_name_has_it(tmp_path: Path) -> None:
    """Else it is nobody who said so, from an address."""
    with running_gateway(tmp_path, "http://127.0.0.1:9") as url:
        with closing(Database(f"sqlite:///{tmp_path / 'firstread.db'}")) as database:
            uid = FilledList(database).add(1, "Roe^Jane", findings=NOTHING)
        httpx.get(f"{url}/worklist", trust_env=False, timeout=60).raise_for_status()
        body = {"state": "reading", "by": "Dr Roe"}
        httpx.put(f"{url}/worklist/{uid}/state", json=body, trust_env=False, timeout=60).raise_for_status()
        until(lambda: len(trail_of(tmp_path)) >= 2)
    assert [(one.entry.kind, one.entry.actor) for one in trail_of(tmp_path)[:2]] == [
        (AuditKind.QUERY, NOBODY),
        (AuditKind.CHANGE, "Dr Roe"),
    ]


@pytest.fixture
def records(tmp_path: Path, migrated_sqlite: bytes) -> Iterator[AuditRecords]:
    """A trail of its own."""
    (tmp_path / "trail.db").write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{tmp_path / 'trail.db'}")) as database:
        yield AuditRecords(database=database)


def test_what_cannot_be_written_is_written_later(records: AuditRecords) -> None:
    """While the database takes nothing, entries wait, in their order; nobody who asks is held up."""
    recorder = AuditRecorder(records, "test")
    with records.database.write() as session:
        session.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    with capture_logs() as logs:
        recorder.start()
        recorder.add(ENTRY)
        until(lambda: bool(logs))
    assert [log["event"] for log in logs] == ["the audit trail cannot be written; entries wait"]
    with records.database.write() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO audit"))
    until(lambda: records.newest() == 2)
    recorder.stop()
    assert [one.entry.kind for one in records.after(0)] == [AuditKind.START, AuditKind.ACCESS, AuditKind.STOP]


@contextmanager
def repository(folder: Path, *, reads: bool = True) -> Iterator[tuple[int, list[bytes]]]:
    """A TLS listener under a certificate of its own: its port, and all that it has heard."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "audit.pem")
    heard: list[bytes] = []
    done = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)

    def listen() -> None:
        while not done.is_set():
            try:
                plain, _ = listener.accept()
            except TimeoutError:
                continue
            if not reads:
                done.wait(PATIENCE_S)
                plain.close()
                return
            try:
                with context.wrap_socket(plain, server_side=True) as peer:
                    while part := peer.recv(65_536):
                        heard.append(part)
            except OSError:
                plain.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1]), heard
    finally:
        done.set()
        thread.join(PATIENCE_S)
        listener.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, which vouches for itself, with its key: audit.pem and audit.crt."""
    folder = tmp_path_factory.mktemp("tls")
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "audit.key", "-out", "audit.crt", "-days", "2")
    openssl(folder, *made, "-subj", "/CN=audit", "-addext", "subjectAltName=IP:127.0.0.1")
    (folder / "audit.pem").write_bytes((folder / "audit.crt").read_bytes() + (folder / "audit.key").read_bytes())
    return folder


def teller_of(records: AuditRecords, url: str, ca_file: Path | None) -> AuditTeller:
    """What tells a trail to a repository."""
    sender = SyslogSender(Repository.at(url, ca_file), Source(host="here"))
    return AuditTeller(records, Lease(records.database, "audit"), sender)


def test_the_repository_hears_each_entry_once_by_tls(records: AuditRecords, folder: Path) -> None:
    """In frames that say their length (RFC 5425); what was told before a restart is not told again."""
    records.append([ENTRY, ENTRY])
    with repository(folder) as (port, heard):
        teller = teller_of(records, f"tls://127.0.0.1:{port}", folder / "audit.crt")
        assert teller.tell() == 2
        teller.close()
        records.append([ENTRY])
        again = teller_of(records, f"tls://127.0.0.1:{port}", folder / "audit.crt")
        assert again.tell() == 1
        again.close()
        until(lambda: b"".join(heard).count(b"</AuditMessage>") == 3)
    stream, messages = b"".join(heard), []
    while stream:
        length, _, rest = stream.partition(b" ")
        messages.append(rest[: int(length)])
        stream = rest[int(length) :]
    assert all(message.startswith(b"<85>1 ") and message.endswith(b"</AuditMessage>") for message in messages)


def test_a_repository_that_nobody_vouches_for_is_told_nothing(records: AuditRecords, folder: Path) -> None:
    """Its certificate is not of an authority that the site trusts: the trail names patients."""
    records.append([ENTRY])
    with repository(folder) as (port, heard), pytest.raises(ssl.SSLCertVerificationError):
        teller_of(records, f"tls://127.0.0.1:{port}", None).tell()
    assert not heard
    assert records.told() == 0


def test_by_udp_each_entry_is_a_datagram(records: AuditRecords) -> None:
    """RFC 5426, where that is what the repository speaks."""
    records.append([ENTRY, ENTRY])
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(PATIENCE_S)
        teller = teller_of(records, f"udp://127.0.0.1:{listener.getsockname()[1]}", None)
        assert teller.tell() == 2
        teller.close()
        assert listener.recv(65_536).startswith(b"<85>1 2026-11-22T00:00:00.000Z here firstread ")


def test_a_repository_that_hangs_holds_up_nothing(tmp_path: Path, folder: Path) -> None:
    """The list answers and the trail grows; what the repository does not take waits in the trail."""
    with repository(folder, reads=False) as (port, _):
        where = {"audit_syslog": f"tls://127.0.0.1:{port}", "audit_ca_file": folder / "audit.crt"}
        with running_gateway(tmp_path, "http://127.0.0.1:9", **where) as url:  # type: ignore[arg-type]
            for number in range(3):
                httpx.get(f"{url}/worklist?limit={number + 1}", trust_env=False, timeout=60).raise_for_status()
            until(lambda: len(trail_of(tmp_path)) >= 3)
    with closing(Database(f"sqlite:///{tmp_path / 'firstread.db'}")) as database:
        assert AuditRecords(database=database).told() == 0


@pytest.mark.parametrize("url", ["audit.hospital", "http://a:1", "tls://", "tls://a:x", "udp://me:pw@a", "tls://a/b"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """In one line, with the two forms that are."""
    with pytest.raises(InvalidInput, match="tls://HOST:PORT or udp://HOST:PORT"):
        Repository.at(url)
