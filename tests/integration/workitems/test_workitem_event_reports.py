"""Event reports by DIMSE (PS3.4 section CC.2.4): pynetdicom subscribes as a workstation, and listens as a receiver."""

from __future__ import annotations

import json
import queue
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import UnifiedProcedureStepEvent  # type: ignore[attr-defined] # made at import

from gateway.dimse.event_reports import Destination, EventReports, read_destinations
from gateway.dimse.server import receiver_tls_context, tls_context
from tests.left_sockets import LEFT_SOCKETS
from tests.lists import FilledList
from tests.servers import REPOSITORY, find_program, free_ports
from tests.workitem_stations import PUSH, RECEIVER, WATCH, associated, change
from tests.workitems import of_reading
from worklist.errors import InvalidInput
from worklist.workitems.identity import FILTERED_GLOBAL, GLOBAL

pytestmark = LEFT_SOCKETS

SUBSCRIBE, UNSUBSCRIBE = 3, 4
DCMJS = Path(sys.prefix) / "share" / "dcmjs"  # where make setup puts it
_LONG_S = 60.0
_RETRIES_S = (0.1, *(0.2,) * 1000)

Heard = tuple[str, int, Dataset]
"""Of an event report: the workitem's UID, its type, and what it says."""


@contextmanager
def receiver(port: int, tls: ssl.SSLContext | None = None) -> Iterator[queue.Queue[Heard]]:
    """What an application hears that listens at a port."""
    heard: queue.Queue[Heard] = queue.Queue()

    def hear(event: evt.Event) -> tuple[int, None]:
        request: Any = event.request
        assert request.AffectedSOPClassUID == PUSH
        assert event.context.abstract_syntax == UnifiedProcedureStepEvent
        heard.put((str(request.AffectedSOPInstanceUID), int(request.EventTypeID), event.event_information))
        return 0x0000, None

    entity = AE(ae_title=RECEIVER)
    entity.require_calling_aet = ["FIRSTREAD"]
    entity.require_called_aet = True
    entity.add_supported_context(UnifiedProcedureStepEvent, scu_role=False, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)], ssl_context=tls
    )
    assert server is not None
    try:
        yield heard
    finally:
        server.shutdown()


@pytest.fixture
def place(listed: FilledList) -> Iterator[int]:
    """The port at which the receiver is known to listen; its event reports are sent there."""
    (port,) = free_ports(1)
    destination = Destination(ae_title=RECEIVER, host="127.0.0.1", port=port)
    with closing(EventReports(listed.database, {RECEIVER: destination}, "FIRSTREAD", retries_s=_RETRIES_S)) as reports:
        reports.start()
        yield port


def ask(port: int, action: int, uid: str, **more: str) -> int:
    """Subscribe or unsubscribe the receiver; the status."""
    asked = Dataset()
    asked.ReceivingAE = RECEIVER
    if action == SUBSCRIBE:
        asked.DeletionLock = "FALSE"
    for keyword, text in more.items():
        setattr(asked, keyword, text)
    with associated(port) as association:
        answer, _ = association.send_n_action(asked, action, PUSH, uid, meta_uid=WATCH)
        return int(answer.Status)


def test_who_subscribes_hears_until_it_unsubscribes(
    port: int, place: int, listed: FilledList, studies: dict[str, str]
) -> None:
    """First how the workitem stands, then each change, by whichever way it was made."""
    uid = of_reading(studies["urgent"])
    with receiver(place) as heard:
        assert ask(port, SUBSCRIBE, uid) == 0
        told, kind, said = heard.get(timeout=_LONG_S)
        assert (told, kind, said.ProcedureStepState, said.InputReadinessState) == (uid, 1, "SCHEDULED", "READY")
        with associated(port) as association:
            assert change(association, uid, "IN PROGRESS", "1.2.3") == 0
        assert heard.get(timeout=_LONG_S)[2].ProcedureStepState == "IN PROGRESS"
        listed.put_back(studies["urgent"], "STATION")
        told, _, said = heard.get(timeout=_LONG_S)
        assert (told, said.ProcedureStepState) == (uid, "CANCELED")
        assert ask(port, UNSUBSCRIBE, uid) == 0
        assert ask(port, UNSUBSCRIBE, uid) == 0xC307
        listed.claim(studies["critical"], "Dr. A")
        assert ask(port, SUBSCRIBE, of_reading(studies["plain"])) == 0
        assert heard.get(timeout=_LONG_S)[0] == of_reading(studies["plain"])
        assert ask(port, UNSUBSCRIBE, of_reading(studies["plain"])) == 0


def test_a_filter_decides_what_is_heard(port: int, place: int, listed: FilledList, studies: dict[str, str]) -> None:
    """Of all workitems only those that meet the keys; keys without the UID for them are refused."""
    assert ask(port, SUBSCRIBE, GLOBAL, ScheduledProcedureStepPriority="HIGH") == 0x0106
    assert ask(port, SUBSCRIBE, FILTERED_GLOBAL, ScheduledProcedureStepPriority="HIGH") == 0
    with receiver(place) as heard:
        listed.claim(studies["plain"], "Dr. A")
        listed.claim(studies["critical"], "Dr. A")
        told, _, said = heard.get(timeout=_LONG_S)
        assert (told, said.ProcedureStepState) == (of_reading(studies["critical"]), "IN PROGRESS")
    assert ask(port, UNSUBSCRIBE, FILTERED_GLOBAL) == 0


def test_what_a_receiver_does_not_take_at_once_is_sent_again(
    port: int, listed: FilledList, studies: dict[str, str]
) -> None:
    """One that begins to listen later hears of it; nobody waits for it meanwhile."""
    (place,) = free_ports(1)
    destination = Destination(ae_title=RECEIVER, host="127.0.0.1", port=place)
    sender = EventReports(listed.database, {RECEIVER: destination}, "FIRSTREAD", retries_s=_RETRIES_S)
    with closing(sender) as reports:
        reports.start()
        assert ask(port, SUBSCRIBE, of_reading(studies["plain"])) == 0
        with receiver(place) as heard:
            assert heard.get(timeout=_LONG_S)[0] == of_reading(studies["plain"])
    assert ask(port, UNSUBSCRIBE, of_reading(studies["plain"])) == 0


def certified(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that vouches for itself, for a host of that name, and its key."""
    certificate, key = (folder / f"{name.partition(':')[2]}.{kind}" for kind in ("pem", "key"))
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=receiver"]
    named = ["-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([find_program("openssl"), *made, *named], check=True, capture_output=True)
    return certificate, key


def test_by_tls_only_the_host_that_is_named_is_told(
    port: int, listed: FilledList, studies: dict[str, str], tmp_path: Path
) -> None:
    """Both sides show certificates; at a receiver whose certificate is for another host nothing arrives."""
    ours, its, anothers = (certified(tmp_path, name) for name in ("DNS:firstread", "IP:127.0.0.1", "DNS:elsewhere"))
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(its[0].read_bytes() + anothers[0].read_bytes())
    (place,) = free_ports(1)
    destination = Destination(ae_title=RECEIVER, host="127.0.0.1", port=place)
    tls = receiver_tls_context(*ours, trusted)
    wrong, met = tls_context(*anothers, ours[0]), queue.Queue[None]()
    wrong.sni_callback = lambda *_: met.put(None)
    with closing(EventReports(listed.database, {RECEIVER: destination}, "FIRSTREAD", tls, _RETRIES_S)) as reports:
        reports.start()
        with receiver(place, wrong) as heard:
            assert ask(port, SUBSCRIBE, of_reading(studies["plain"])) == 0
            for _ in range(2):  # so that one of them came to nothing
                met.get(timeout=_LONG_S)
            assert heard.empty()
        with receiver(place, tls_context(*its, ours[0])) as heard:
            listed.claim(studies["plain"], "Dr. A")
            for state in ("SCHEDULED", "IN PROGRESS"):
                told, _, said = heard.get(timeout=_LONG_S)
                assert (told, said.ProcedureStepState) == (of_reading(studies["plain"]), state)
    assert ask(port, UNSUBSCRIBE, of_reading(studies["plain"])) == 0


def test_one_process_tells_at_a_time(port: int, place: int, listed: FilledList, studies: dict[str, str]) -> None:
    """A second sender of the same process holds no lease while the first lives, so that nobody hears twice."""
    destination = Destination(ae_title=RECEIVER, host="127.0.0.1", port=place)
    other = EventReports(listed.database, {RECEIVER: destination}, "FIRSTREAD", retries_s=_RETRIES_S)
    with receiver(place) as heard, closing(other) as second:
        second.start()
        assert ask(port, SUBSCRIBE, of_reading(studies["plain"])) == 0
        assert heard.get(timeout=_LONG_S)[0] == of_reading(studies["plain"])
        listed.claim(studies["plain"], "Dr. A")
        assert heard.get(timeout=_LONG_S)[2].ProcedureStepState == "IN PROGRESS"
        listed.put_back(studies["plain"], "Dr. A")
        assert heard.get(timeout=_LONG_S)[2].ProcedureStepState == "CANCELED"
        assert heard.empty()
    assert ask(port, UNSUBSCRIBE, of_reading(studies["plain"])) == 0


@pytest.mark.skipif(not (DCMJS / "installed").is_file(), reason="dcmjs-dimse is not installed: make setup, with npm")
def test_an_independent_client_performs_a_workitem(port: int, place: int, studies: dict[str, str]) -> None:
    """dcmjs-dimse finds in reading order, subscribes, claims, tells of progress, completes, and hears of each step."""
    node, script = find_program("node"), REPOSITORY / "tests" / "dcmjs" / "ups.js"
    command = [node, str(script), str(DCMJS), "127.0.0.1", str(port), str(place)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    uid = of_reading(studies["critical"])
    assert told["found"][0] == [uid, "HIGH"]
    final = told["statuses"].pop("again")
    assert (set(told["statuses"].values()), final, told["state"]) == ({0}, 0xC300, "COMPLETED")
    assert told["heard"] == [[uid, 1, "SCHEDULED"], [uid, 1, "IN PROGRESS"], [uid, 3, ""], [uid, 1, "COMPLETED"]]
    assert ask(port, UNSUBSCRIBE, uid) == 0


@pytest.mark.parametrize("text", ["WS1", "WS1@", "WS1@host", "WS1@host:0", "WS1@host:70000", "@host:104", "W\\S@h:1"])
def test_a_destination_without_a_place_is_refused(text: str) -> None:
    """By name of the setting, when the server starts."""
    with pytest.raises(InvalidInput, match="FIRSTREAD_DIMSE_SUBSCRIBERS"):
        read_destinations([text])


def test_destinations_are_read() -> None:
    """A host by name or address, of version 6 in brackets."""
    found = read_destinations([" WS1@ws1.hospital:104", "WS 2@[::1]:11112"])
    assert found["WS1"] == Destination(ae_title="WS1", host="ws1.hospital", port=104)
    assert found["WS 2"] == Destination(ae_title="WS 2", host="::1", port=11112)
