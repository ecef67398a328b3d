"""Events of workitems over WebSockets (PS3.18 sections 11.10 to 11.13), heard by an independent client."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.gateways import served
from tests.lists import FilledList
from tests.workitems import (
    STATE,
    change,
    created,
    element,
    of_reading,
    value,
    workitem_app,
)
from worklist.workitems.identity import FILTERED_GLOBAL, GLOBAL

client = pytest.importorskip("websockets.sync.client", reason="install websockets")

AFFECTED, EVENT_TYPE = "00001000", "00001002"
STATE_REPORT, CANCEL_REQUESTED, PROGRESS, ASSIGNED = 1, 2, 3, 5
_LONG_S = 120.0  # a slow machine fails no test


class Listener:
    """A connected application."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - of an optional library
        self._connection = connection

    def next(self) -> dict[str, Any]:
        """The next event."""
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=_LONG_S))
        assert value(message, "00000002") == "1.2.840.10008.5.1.4.34.6.4"
        return message

    def states(self, count: int) -> list[tuple[str, str]]:
        """UID and state of the next events, which must be State Reports."""
        heard = [self.next() for _ in range(count)]
        assert {value(one, EVENT_TYPE) for one in heard} == {STATE_REPORT}
        return [(value(one, AFFECTED), value(one, STATE)) for one in heard]


@contextmanager
def listening(web: httpx.Client, ae_title: str) -> Iterator[Listener]:
    """An application whose connection is open."""
    address = str(web.base_url).replace("http", "ws", 1) + f"subscribers/{ae_title}"
    with client.connect(address, subprotocols=["dicom"], proxy=None, open_timeout=_LONG_S) as connection:
        assert connection.subprotocol == "dicom"
        yield Listener(connection)


def subscribe(web: httpx.Client, ae_title: str, uid: str, query: str = "") -> httpx.Response:
    """Subscribe, which must work."""
    answer = web.post(f"/workitems/{uid}/subscribers/{ae_title}{query}")
    assert answer.status_code == 201, answer.text
    return answer


def test_a_subscriber_hears_of_its_workitem_alone(web: httpx.Client, studies: dict[str, str]) -> None:
    """First how it stands, then each change: claimed, how far, asked to cancel, completed; where to listen is told."""
    uid = of_reading(studies["critical"])
    with listening(web, "ONE") as one:
        answer = subscribe(web, "ONE", uid)
        assert answer.headers["Content-Location"].startswith("ws://")
        assert answer.headers["Content-Location"].endswith("/dicom-web/subscribers/ONE")
        assert one.states(1) == [(uid, "SCHEDULED")]
        change(web, of_reading(studies["plain"]), "IN PROGRESS", "1.2.1")
        change(web, uid, "IN PROGRESS", "1.2.2")
        assert one.states(1) == [(uid, "IN PROGRESS")]
        web.post(
            f"/workitems/{uid}?transaction-uid=1.2.2", json={"00741002": element("SQ", {"00741004": element("DS", 5)})}
        )
        progress = one.next()
        assert (value(progress, EVENT_TYPE), value(value(progress, "00741002"), "00741004")) == (PROGRESS, 5)
        web.post(f"/workitems/{uid}/cancelrequest?requester=RIS", json={"00741238": element("LT", "wrong patient")})
        asked = one.next()
        assert value(asked, EVENT_TYPE) == CANCEL_REQUESTED
        assert (value(asked, "00741236"), value(asked, "00741238")) == ("RIS", "wrong patient")
        change(web, uid, "COMPLETED", "1.2.2")
        assert one.states(1) == [(uid, "COMPLETED")]


def test_what_happens_on_the_page_is_heard(web: httpx.Client, listed: FilledList, studies: dict[str, str]) -> None:
    """A claim that is given up cancels its workitem and schedules the next; what is new is told to who hears of all."""
    study = studies["urgent"]
    with listening(web, "ALL") as all_of_them:
        subscribe(web, "ALL", GLOBAL)
        listed.claim(study, "Ann")
        listed.put_back(study, "Ann")
        listed.read(study, "Ann")
        assert all_of_them.states(4) == [
            (of_reading(study), "IN PROGRESS"),
            (of_reading(study), "CANCELED"),
            (of_reading(study, 2), "SCHEDULED"),
            (of_reading(study, 2), "COMPLETED"),
        ]
        listed.withdraw(studies["plain"])
        assert all_of_them.states(1) == [(of_reading(studies["plain"]), "CANCELED")]
        new = created(web, **{"00404025": element("SQ", {"00080100": element("SH", "CAD1")})})
        assert all_of_them.states(1) == [(new, "SCHEDULED")]
        assigned = all_of_them.next()
        assert (value(assigned, EVENT_TYPE), value(assigned, AFFECTED)) == (ASSIGNED, new)
    assert web.delete(f"/workitems/{GLOBAL}/subscribers/ALL").status_code == 200


def test_with_a_lock_all_is_told_at_once_and_a_filter_tells_less(web: httpx.Client, studies: dict[str, str]) -> None:
    """Every open workitem comes first; one that meets no filter is never heard of, whatever becomes of its state."""
    with listening(web, "LOCKED") as locked:
        query = "?deletionlock=true&filter=ProcedureStepState=SCHEDULED,ScheduledProcedureStepPriority=HIGH,MEDIUM"
        subscribe(web, "LOCKED", FILTERED_GLOBAL, query)
        wanted = [of_reading(studies["critical"]), of_reading(studies["urgent"])]
        assert locked.states(2) == [(uid, "SCHEDULED") for uid in wanted]
        for uid in (of_reading(studies["plain"]), wanted[0]):
            change(web, uid, "IN PROGRESS", "1.2.3")
        heard = []  # of other tests' workitems, too
        while wanted[0] not in heard:
            heard.append(value(locked.next(), AFFECTED))
        assert of_reading(studies["plain"]) not in heard
    web.delete(f"/workitems/{FILTERED_GLOBAL}/subscribers/LOCKED")


def test_suspended_and_unsubscribed(web: httpx.Client) -> None:
    """Nothing new is told any more, what is there goes on; and of one workitem alone nothing is wanted."""
    known, unwanted = created(web), created(web)
    with listening(web, "PAUSED") as paused:
        subscribe(web, "PAUSED", GLOBAL)
        assert web.post(f"/workitems/{GLOBAL}/subscribers/PAUSED/suspend").status_code == 200
        assert web.delete(f"/workitems/{unwanted}/subscribers/PAUSED").status_code == 200
        new = created(web)
        for uid in (new, unwanted, known):
            change(web, uid, "IN PROGRESS", "1.2.3")
        assert paused.states(1) == [(known, "IN PROGRESS")]
    assert web.delete(f"/workitems/{GLOBAL}/subscribers/PAUSED").status_code == 200
    assert web.delete(f"/workitems/{GLOBAL}/subscribers/PAUSED").status_code == 404
    assert web.post(f"/workitems/{GLOBAL}/subscribers/PAUSED/suspend").status_code == 404


def test_another_gateway_tells_the_same_after_a_restart(web: httpx.Client, listed: FilledList) -> None:
    """What was subscribed here is heard there, whoever changes it."""
    uid = created(web)
    subscribe(web, "MOVED", uid)
    with (
        served(workitem_app(listed)) as url,
        httpx.Client(base_url=f"{url}/dicom-web", trust_env=False, timeout=60) as other,
        listening(other, "MOVED") as there,
        listening(web, "MOVED") as here,
    ):
        change(web, uid, "IN PROGRESS", "1.2.3")
        change(other, uid, "CANCELED", "1.2.3")
        expected = [(uid, "IN PROGRESS"), (uid, "CANCELED")]
        assert (here.states(2), there.states(2)) == (expected, expected)


def test_one_that_never_reads_is_closed_and_costs_nobody_anything(listed: FilledList) -> None:
    """Its connection ends; another one hears everything meanwhile, and requests are answered."""
    patience = timedelta(seconds=10)  # with the one that reads, too, which a slow machine may hold up
    app = workitem_app(listed, patience=patience)
    with (
        served(app, unread=patience) as url,
        httpx.Client(base_url=f"{url}/dicom-web", trust_env=False, timeout=60) as web,
    ):
        uid = created(web)
        for name in ("DEAF", "KEEN"):
            subscribe(web, name, uid)
        change(web, uid, "IN PROGRESS", "1.2.3")
        with _deaf(url, "DEAF") as deaf, listening(web, "KEEN") as keen:
            big = "x" * 900_000
            until = time.monotonic() + _LONG_S
            for number in range(9):
                said = {"00741004": element("DS", number), "00741006": element("ST", big)}
                told = web.post(f"/workitems/{uid}?transaction-uid=1.2.3", json={"00741002": element("SQ", said)})
                assert told.status_code == 200
                assert value(value(keen.next(), "00741002"), "00741004") == number
            while _is_open(deaf):
                assert time.monotonic() < until
                time.sleep(0.1)


@contextmanager
def _deaf(url: str, ae_title: str) -> Iterator[socket.socket]:
    """A WebSocket that was opened and never reads."""
    host, port = url.removeprefix("http://").split(":")
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        asked = (
            f"GET /dicom-web/subscribers/{ae_title} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        connection.sendall("\r\n".join((*asked, "", "")).encode())
        yield connection


def _is_open(connection: socket.socket) -> bool:
    """Whether the other side still takes what is sent: a masked, empty pong."""
    try:
        connection.sendall(b"\x8a\x80\0\0\0\0")
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/workitems/1.2.3.4/subscribers/ONE", 404),
        ("POST", f"/workitems/{GLOBAL}/subscribers/{'A' * 17}", 400),
        ("POST", f"/workitems/{GLOBAL}/subscribers/ONE?deletionlock=perhaps", 400),
        ("POST", f"/workitems/{GLOBAL}/subscribers/ONE?filter=PatientID=1", 400),
        ("POST", f"/workitems/{FILTERED_GLOBAL}/subscribers/ONE", 400),
        ("POST", f"/workitems/{FILTERED_GLOBAL}/subscribers/ONE?filter=nonsense", 400),
        ("POST", f"/workitems/{FILTERED_GLOBAL}/subscribers/ONE?filter=Nonsense=1", 400),
        ("POST", "/workitems/1.2.3.4/subscribers/ONE/suspend", 404),
        ("DELETE", f"/workitems/{GLOBAL}/subscribers/NOBODY", 404),
        ("PUT", f"/workitems/{GLOBAL}/subscribers/ONE", 405),
        ("GET", "/subscribers/ONE", 426),
    ],
)
def test_bad_subscriptions(web: httpx.Client, method: str, path: str, status: int) -> None:
    """The standard's error, in one line."""
    answer = web.request(method, path)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True), answer.text


def test_a_page_of_another_site_hears_nothing(web: httpx.Client) -> None:
    """A browser says from where its page is."""
    address = str(web.base_url).replace("http", "ws", 1) + "subscribers/ONE"
    with (
        pytest.raises(Exception, match="403"),
        client.connect(address, origin="http://elsewhere", proxy=None, open_timeout=_LONG_S),
    ):
        pass
