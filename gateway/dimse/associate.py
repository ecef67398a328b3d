"""Associations that we ask others for, without two races of pynetdicom 3 that a busy machine brings to light.

It takes a request's answer from its caller where the association's own thread was about to look for messages, so that
the caller waits in vain until its time is over. And it forgets a refusal that comes while the caller still learns that
it has connected.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ


def associate(entity: AE, host: str, port: int, **named: Any) -> tuple[Association, A_ASSOCIATE_RJ | None]:  # noqa: ANN401
    """Ask for an association.

    Args:
        entity: who asks.
        host: of the peer.
        port: of the peer.
        named: as AE.associate takes them, but for evt_handlers.

    Returns:
        The association, established or not, and the refusal where there is one.

    Raises:
        OSError: there is no such host.
    """
    refusals: list[A_ASSOCIATE_RJ] = []
    handlers = [(evt.EVT_CONN_OPEN, _prepare), (evt.EVT_PDU_RECV, _keep_refusal, [refusals])]
    association = entity.associate(host, port, evt_handlers=handlers, **named)  # type: ignore[arg-type]
    return association, refusals[0] if refusals else None


class Checkpoint(threading.Event):
    """Where an association's own thread waits while somebody else sends and waits for the answer.

    Whoever sends clears it, and then waits for `_is_paused`. The library's thread sets that before it comes here and
    takes it back after it went on: in between, it would pass for one that waits. Here it goes on and takes it back at
    once.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self._turn = threading.Lock()
        self.set()

    def clear(self) -> None:
        """Let nobody pass any more."""
        with self._turn:
            super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until somebody may pass, and pass."""
        while super().wait(timeout):
            with self._turn:
                if self.is_set():
                    self._association._is_paused = False  # noqa: SLF001 - as the library does after it went on
                    return True
        return False


def _prepare(event: evt.Event) -> None:
    """For a new connection, before the association's own thread begins."""
    event.assoc._reactor_checkpoint = Checkpoint(event.assoc)  # noqa: SLF001 - for the library has no other way
    if event.assoc.dul.socket and event.assoc.dul.socket.socket:
        # Else the system holds back the end of each message, up to 40 ms, for more to follow.
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _keep_refusal(event: evt.Event, refusals: list[A_ASSOCIATE_RJ]) -> None:
    if isinstance(event.pdu, A_ASSOCIATE_RJ):
        refusals.append(event.pdu)
