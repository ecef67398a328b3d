"""The DICOM server and peers that misbehave: who is let in, and that nobody costs the others anything."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from gateway.audit.refusals import RefusedAssociations
from gateway.dimse.admission import Admission
from gateway.dimse.associate import associate
from gateway.dimse.find import Finder
from gateway.dimse.retrieve import Retriever
from gateway.dimse.server import DimseServer, Listening, tls_context
from gateway.dimse.services import Services
from gateway.dimse.workitems import WorkitemServices
from gateway.search.studies import FoundStudy
from tests.left_sockets import LEFT_SOCKETS
from tests.servers import find_program
from worklist.audit import NOBODY, AuditEntry, AuditKind, Outcome

STUDY_ROOT = StudyRootQueryRetrieveInformationModelFind

pytestmark = LEFT_SOCKETS


class Endless:
    """A search that finds a study after the other, for ever; counts how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def every(self, _keys: Sequence[object]) -> Iterator[FoundStudy]:
        """Studies without end."""
        for number in count(1):
            self.taken = number
            texts = {"StudyInstanceUID": f"1.2.{number}", "StudyDescription": "x" * 60_000}
            yield FoundStudy(orthanc_id=str(number), texts=texts, record=None, place=number)


@contextmanager
def serving(
    search: Any = None,  # noqa: ANN401
    admission: Admission | None = None,
    keep: Callable[[AuditEntry], None] = lambda _: None,
    **listening: Any,  # noqa: ANN401
) -> Iterator[DimseServer]:
    """A server before a search, on a free port."""
    services = Services(
        Finder(search=search or Endless(), ae_title="FIRSTREAD"),  # type: ignore[arg-type]
        Retriever(retrieval=None),  # type: ignore[arg-type]
        WorkitemServices(records=None, searches=None, subscriptions=None),  # type: ignore[arg-type]
    )
    where = Listening(**{"host": "127.0.0.1", "port": 0, "ae_title": "FIRSTREAD", **listening})
    with closing(DimseServer(where, admission or Admission(), services, RefusedAssociations(keep).note)) as server:
        yield server


def caller(title: str) -> AE:
    """Who asks, and for what."""
    entity = AE(ae_title=title)
    entity.add_requested_context(Verification)
    entity.add_requested_context(STUDY_ROOT)
    return entity


def calling(server: DimseServer, title: str = "TEST", **named: Any) -> Association:  # noqa: ANN401
    """An association, or what has become of the wish for one."""
    return associate(caller(title), "127.0.0.1", server.port, ae_title="FIRSTREAD", **named)[0]


def refusal_of(server: DimseServer, title: str = "TEST", called: str = "FIRSTREAD") -> tuple[int | None, int | None]:
    """Result and reason of the A-ASSOCIATE-RJ that answers the wish for an association (PS3.8 Table 9-21)."""
    association, refusal = associate(caller(title), "127.0.0.1", server.port, ae_title=called)
    assert not association.is_established
    assert refusal is not None
    return refusal.result, refusal.reason_diagnostic


def is_answered(server: DimseServer) -> bool:
    """Whether somebody else gets an answer."""
    other = calling(server)
    status = other.send_c_echo().get("Status") if other.is_established else None
    other.release()
    return status == 0


def study_identifier() -> Dataset:
    """An identifier that every study meets."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID, identifier.StudyDescription = "STUDY", "", ""
    return identifier


def until(is_so: Any) -> None:  # noqa: ANN401
    """Wait for something that happens by itself."""
    ends = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_cancelled_search_ends_at_once() -> None:
    """C-CANCEL is answered with FE00 although the search would go on for ever, and the next request is served."""
    with serving() as server:
        association = calling(server)
        answers = association.send_c_find(study_identifier(), STUDY_ROOT, msg_id=3)
        assert next(answers)[0].Status == 0xFF00
        association.send_c_cancel(3, query_model=STUDY_ROOT)
        *_, (last, _) = answers
        assert last.Status == 0xFE00
        assert association.send_c_echo().Status == 0
        association.release()


def test_a_peer_that_stops_reading_costs_nobody_anything() -> None:
    """Its search stands still with little in memory, others are answered meanwhile, and after a time it is let go."""
    search = Endless()
    with serving(search, stall_s=1.0) as server:
        association = calling(server)
        stalled = threading.Event()
        association.dul._is_transport_event = lambda: stalled.wait(0.05) and False  # type: ignore[method-assign] # noqa: SLF001
        association.send_c_find(study_identifier(), STUDY_ROOT)
        until(lambda: search.taken)
        assert is_answered(server)
        until(lambda: not server.associations)
        assert search.taken < 10_000, "what the system's own buffers hold, and no more"
        association.dul.kill_dul()
        association._kill = True  # noqa: SLF001 - it was never to hear that it is alone


def test_requests_that_nobody_waited_for_are_all_answered() -> None:
    """A peer that sends fifty requests at once, which it has not negotiated, gets fifty answers, one by one."""
    with serving() as server:
        association = calling(server)
        context = next(one for one in association.accepted_contexts if one.abstract_syntax == Verification)
        association._reactor_checkpoint.clear()  # noqa: SLF001 - what the library does before it sends a request
        for number in range(1, 51):
            request = C_ECHO()
            request.MessageID, request.AffectedSOPClassUID = number, Verification
            association.dimse.send_msg(request, context.context_id or 0)
        answers = [association.dimse.get_msg(block=True)[1] for _ in range(50)]
        association._reactor_checkpoint.set()  # noqa: SLF001
        assert [one.MessageIDBeingRespondedTo for one in answers if isinstance(one, C_ECHO)] == [*range(1, 51)]
        association.release()


def test_a_peer_that_goes_away_ends_its_search() -> None:
    """An abort in the middle of the answers ends the search, and gives the place back."""
    search = Endless()
    with serving(search) as server:
        association = calling(server)
        next(association.send_c_find(study_identifier(), STUDY_ROOT))
        association.abort()
        until(lambda: not server.associations)
        taken = search.taken
        assert is_answered(server)
        assert search.taken == taken


def test_a_peer_that_never_releases_is_let_go() -> None:
    """After the idle time its association is ended, and so is a connection that never says what it wants."""
    with serving(idle_s=1.0) as server, socket.create_connection(("127.0.0.1", server.port)) as silent:
        association = calling(server)
        assert association.accepted_contexts, "it came about, and may have been ended since on a slow machine"
        until(lambda: not association.is_established)
        until(lambda: not server.associations)
        silent.settimeout(60)
        assert silent.recv(1) == b""


def test_there_are_so_many_places_and_no_more() -> None:
    """One beyond the limit of an address or of all is refused as too many; a place that is given back is free."""
    with serving(admission=Admission(most=2, most_of_one=2)) as server:
        first, second = calling(server), calling(server)
        assert first.is_established
        assert second.is_established
        assert refusal_of(server) == (2, 2)
        first.release()
        until(lambda: len(server.associations) == 1)
        assert is_answered(server)
        second.release()


def test_a_flood_of_connections_leaves_room() -> None:
    """Connections that say nothing hold no more places than their address has, and the rest is closed at once."""
    with serving(admission=Admission(most=5, most_of_one=2)) as server:
        flood = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
        until(lambda: sum(_is_closed(one) for one in flood) >= 24)
        for one in flood:
            one.close()
        until(lambda: not server.associations)
        assert is_answered(server)


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x01\x00\xff\xff\xff\xff" + bytes(10), id="a PDU of 4 GB"),
        pytest.param(b"\x04\x00\x00\x00\x00\x02\x00\x00", id="data without association"),
        pytest.param(bytes(300), id="zeros"),
    ],
)
def test_nonsense_ends_the_connection(sent: bytes) -> None:
    """What is no DICOM, or claims to be endless, is cut off; others are answered."""
    with serving(stall_s=1.0) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(60)
        connection.sendall(sent)
        try:
            while connection.recv(1000):
                pass
        except ConnectionResetError:
            pass
        assert is_answered(server)


@pytest.mark.parametrize(
    ("peers", "title", "is_let_in"),
    [
        ([], "ANY", True),
        (["WS1"], "WS1", True),
        (["WS1"], "WS2", False),
        (["WS1@127.0.0.1"], "WS1", True),
        (["*@127.0.0.0/8"], "WS2", True),
        (["WS1@10.1.2.3", "WS2@127.0.0.1"], "WS1", False),
    ],
)
def test_who_calls_must_be_known(peers: list[str], title: str, *, is_let_in: bool) -> None:
    """An AE title that the site does not name at this address is refused as not recognized."""
    with serving(admission=Admission(peers)) as server:
        if is_let_in:
            association = calling(server, title)
            assert association.is_established
            association.release()
        else:
            assert refusal_of(server, title) == (1, 3)


def test_strangers_are_not_even_heard() -> None:
    """From an address of which nobody may call, a connection is closed without a word."""
    with serving(admission=Admission(["WS1@10.1.2.3"])) as server:
        assert not calling(server, "WS1").is_established
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.settimeout(60)
            assert connection.recv(1) == b""


def test_who_is_refused_is_in_the_audit_trail_once() -> None:
    """An unknown title, another called title, an unknown address, one too many: each once, however often it knocks."""
    kept = list[AuditEntry]()
    with serving(admission=Admission(["WS1@127.0.0.1"], most=1, most_of_one=1), keep=kept.append) as server:
        for title in ("WS2", "WS3", "WS4"):
            assert refusal_of(server, title) == (1, 3)
        assert refusal_of(server, "WS1", "OTHER") == (1, 7)
        until(lambda: not server.associations)
        first = calling(server, "WS1")
        assert refusal_of(server, "WS1") == (2, 2)
        first.release()
    with serving(admission=Admission(["WS1@10.1.2.3"]), keep=kept.append) as server:
        assert not calling(server, "WS1").is_established
    told = [(one.actor, one.detail["why"], one.detail.get("called")) for one in kept]
    assert told == [
        ("WS2", "not in FIRSTREAD_DIMSE_PEERS", "FIRSTREAD"),
        ("WS1", "called by another AE title", "OTHER"),
        ("WS1", "too many associations", "FIRSTREAD"),
        (NOBODY, "address not in FIRSTREAD_DIMSE_PEERS", None),
    ]
    assert {(one.kind, one.outcome, one.address) for one in kept} == {
        (AuditKind.NODE, Outcome.MINOR_FAILURE, "127.0.0.1")
    }


def test_a_flood_of_refusals_does_not_fill_the_trail() -> None:
    """Of an address and a reason one in five minutes, which says how many went before; of all addresses some 200."""
    kept, now = list[AuditEntry](), [0.0]
    refused = RefusedAssociations(kept.append, lambda: now[0])
    for number in range(1000):
        refused.note("10.1.2.3", "unknown", f"WS{number}")
    assert [(one.actor, one.detail.get("not told before")) for one in kept] == [("WS0", None)]
    now[0] = 300.0
    refused.note("10.1.2.3", "unknown", "WS1000")
    assert [(one.actor, one.detail.get("not told before")) for one in kept[1:]] == [("WS1000", 999)]
    for number in range(10_000):
        refused.note(f"10.2.{number // 256}.{number % 256}", "unknown", "WS1")
    assert len(kept) == 2 + 199 + 1
    assert (kept[-1].address, kept[-1].actor) == ("", NOBODY)
    now[0] = 900.0
    refused.note("10.3.0.1", "unknown", "WS1")
    assert Counter(one.address for one in kept)["10.3.0.1"] == 1


def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    """DCMTK is answered with a certificate of the named authority, and refused without; nobody's handshake stops us."""
    kept = list[AuditEntry]()
    openssl = find_program("openssl")
    certificate, key = tmp_path / "one.pem", tmp_path / "one.key"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([openssl, *made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = tls_context(certificate, key, certificate)
    assert tls.minimum_version is ssl.TLSVersion.TLSv1_2
    with serving(tls=tls, keep=kept.append) as server, socket.create_connection(("127.0.0.1", server.port)):
        echo = [find_program("echoscu", Path("/usr/bin")), "-aec", "FIRSTREAD", "127.0.0.1", str(server.port)]
        secured = [*echo, "--enable-tls", str(key), str(certificate), "--add-cert-file", str(certificate)]
        answered = subprocess.run(secured, capture_output=True, text=True, check=False)
        assert answered.returncode == 0, answered.stderr
        anonymous = [*echo, "--anonymous-tls", "--add-cert-file", str(certificate)]
        for refused in (echo, anonymous):
            assert subprocess.run(refused, capture_output=True, check=False).returncode != 0
        until(lambda: len(server.associations) <= 1)
        until(lambda: len(kept) == 2)
    assert all(one.detail["why"].startswith("TLS: ") for one in kept)
    assert "TLS: peer did not return a certificate" in {one.detail["why"] for one in kept}
