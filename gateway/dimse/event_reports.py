"""UPS Event as SCP (PS3.4 section CC.2.4): what subscribers hear of workitems, by N-EVENT-REPORT over DIMSE.

The same subscriptions and the same messages as by WebSocket. Only destinations that the site names are called, since
whoever may subscribe could else have us call anybody. An association is opened when there is something to tell, and
released when nothing more comes for a while.
"""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from pydicom import Dataset
from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at import
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPush,
)
from sqlalchemy.exc import SQLAlchemyError

from gateway.dimse.admission import is_title
from gateway.dimse.associate import associate
from worklist.errors import InvalidInput
from worklist.records import Database, Lease, WorkitemEvents
from worklist.records.leases import EVENT_REPORTS
from worklist.workitems.datasets import DicomJson

RETRIES_S: Final = (1.0, 5.0, 20.0)
"""After so long each an event report is sent again that nobody took; after the last one it is given up."""
_WAITING: Final = 1000  # event reports for one destination
_LINGER_S: Final = 10.0  # after the last one, before the association is released
_CONNECT_S, _ANSWER_S = 10, 20
_HIGHEST_PORT: Final = 65_535
_COMMAND_GROUP: Final = "0000"

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """An application that listens for event reports."""

    ae_title: str
    host: str
    port: int


def read_destinations(named: Iterable[str]) -> dict[str, Destination]:
    """Destinations by AE title.

    Args:
        named: "TITLE@HOST:PORT" each.

    Raises:
        InvalidInput: bad_dimse_subscribers.
    """
    found = {}
    for text in named:
        title, _, place = text.strip().partition("@")
        host, _, port = place.strip().rpartition(":")
        title, host = title.strip(), host.strip().removeprefix("[").removesuffix("]")
        is_port = port.isascii() and port.isdigit() and 0 < int(port) <= _HIGHEST_PORT
        if not (is_title(title) and host and is_port):
            raise InvalidInput(
                "bad_dimse_subscribers", f'FIRSTREAD_DIMSE_SUBSCRIBERS: {text!r} is not as "WS1@10.1.2.3:104"'
            )
        found[title] = Destination(ae_title=title, host=host, port=int(port))
    return found


class EventReports:
    """Tells destinations what happened to the workitems that they subscribed to, from start to close.

    Args:
        database: whose commits are waited for.
        destinations: by AE title.
        ae_title: ours.
        tls: None for none.
        retries_s: after so long each an event report is sent again.
    """

    def __init__(
        self,
        database: Database,
        destinations: Mapping[str, Destination],
        ae_title: str,
        tls: ssl.SSLContext | None = None,
        retries_s: tuple[float, ...] = RETRIES_S,
    ) -> None:
        self._database = database
        self._events = WorkitemEvents(database)
        self._lease = Lease(database, EVENT_REPORTS)
        self._stopped = threading.Event()
        self._lines = {
            title: _Line(one, ae_title, tls, retries_s, self._stopped) for title, one in destinations.items()
        }
        self._seen: int | None = None  # while another process tells
        self._looking = threading.Thread(target=self._look_on, name="event reports", daemon=True)

    def start(self) -> None:
        """Begin with what happens from now on."""
        if self._lines:
            self._look()
            self._looking.start()
            for line in self._lines.values():
                line.start()

    def close(self) -> None:
        """End; what waits is not told any more."""
        self._stopped.set()
        if self._lines:
            self._looking.join()
            for line in self._lines.values():
                line.close()

    def _look_on(self) -> None:
        while not self._stopped.is_set():
            try:
                for _ in self._database.commits(self._stopped.is_set):
                    self._look()
            except SQLAlchemyError as error:
                log.warning("events of workitems cannot be looked at", error=type(error).__name__)
                self._stopped.wait(1)
        with suppress(SQLAlchemyError):
            self._lease.release()

    def _look(self) -> None:
        if not self._lease.hold():
            self._seen = None
            return
        if self._seen is None:
            self._seen = self._events.newest()
            return
        try:
            number, heard = self._events.after(self._seen, frozenset(self._lines))
        except (KeyError, TypeError, ValueError) as error:  # of a later version
            log.warning("events of workitems cannot be told", error=type(error).__name__)
            number, heard = self._events.newest(), {}
        self._seen = number
        for title, messages in heard.items():
            for message in messages:
                self._lines[title].put(message)


class _Line:
    """One destination, and a thread that tells it one thing after the other."""

    def __init__(
        self,
        destination: Destination,
        ae_title: str,
        tls: ssl.SSLContext | None,
        retries_s: tuple[float, ...],
        stopped: threading.Event,
    ) -> None:
        self._to = destination
        self._tls = tls
        self._retries_s = retries_s
        self._stopped = stopped
        self._entity = AE(ae_title=ae_title)
        self._entity.connection_timeout = self._entity.acse_timeout = _CONNECT_S
        self._entity.dimse_timeout = self._entity.network_timeout = _ANSWER_S
        self._entity.add_requested_context(UnifiedProcedureStepEvent)
        self._waiting: queue.Queue[DicomJson | None] = queue.Queue(_WAITING)
        self._association: Association | None = None
        self._thread = threading.Thread(target=self._run, name=f"event reports to {destination.ae_title}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, message: DicomJson) -> None:
        """Let it be told in its turn; it is lost where too much waits."""
        try:
            self._waiting.put_nowait(message)
        except queue.Full:
            log.warning("an event report is lost: too many wait", to=self._to.ae_title)

    def close(self) -> None:
        """End at once, but for what is being sent."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_CONNECT_S + _ANSWER_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                message = self._waiting.get(timeout=_LINGER_S)
            except queue.Empty:
                self._hang_up()
                continue
            if message is not None and not self._told(message) and not self._stopped.is_set():
                log.warning(
                    "event reports are lost: the destination does not take them",
                    to=self._to.ae_title,
                    host=self._to.host,
                    port=self._to.port,
                    lost=1 + self._forget(),
                )
        self._hang_up()

    def _told(self, message: DicomJson) -> bool:
        for delay in (0.0, *self._retries_s):
            if self._stopped.wait(delay):
                return False
            try:
                if self._sent(message):
                    return True
            except (OSError, ValueError, RuntimeError) as error:  # no such host; no such context; gone meanwhile
                log.info("an event report is not taken", to=self._to.ae_title, error=str(error))
            self._hang_up()
        return False

    def _sent(self, message: DicomJson) -> bool:
        """Whether the destination answered, with whatever status: what it refuses it refuses again."""
        association = self._opened()
        if not association.is_established:
            return False
        (number,), (uid,), (kind,) = (message[tag]["Value"] for tag in ("00000110", "00001000", "00001002"))
        said = {tag: held for tag, held in message.items() if not tag.startswith(_COMMAND_GROUP)}
        information = Dataset.from_json({**said, "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}})
        status, _ = association.send_n_event_report(
            information, kind, UnifiedProcedureStepPush, uid, number, meta_uid=UnifiedProcedureStepEvent
        )
        if "Status" in status and status.Status:
            log.warning("an event report is refused", to=self._to.ae_title, status=f"{status.Status:04X}")
        return "Status" in status

    def _opened(self) -> Association:
        if self._association is None or not self._association.is_established:
            self._association, _ = associate(
                self._entity,
                self._to.host,
                self._to.port,
                ae_title=self._to.ae_title,
                ext_neg=[build_role(UnifiedProcedureStepEvent, scp_role=True)],
                tls_args=(self._tls, self._to.host) if self._tls else None,
            )
        return self._association

    def _hang_up(self) -> None:
        if self._association and self._association.is_established:
            self._association.release()
        self._association = None

    def _forget(self) -> int:
        """Empty the queue of one that is not there: what it would hear in an hour it can search for."""
        lost = 0
        with suppress(queue.Empty):
            while self._waiting.get_nowait() is not None:
                lost += 1
        return lost
