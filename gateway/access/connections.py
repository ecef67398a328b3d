"""How long a connection may be silent and how many there may be: what one caller cannot take from the others."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from typing import Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

UNREAD: Final = timedelta(minutes=5)
# Between two requests. Python's clients keep an idle connection for 5 s: were it closed here in the same second, a
# request would be on its way into it.
IDLE_S: Final = 12
HEADERS_S: Final = 15.0  # from the first byte of a request, or from connecting, to the end of its headers


def listening_socket(config: uvicorn.Config, unread: timedelta = UNREAD) -> socket.socket:
    """The socket of a server.

    A caller that stays connected and reads nothing would hold what is to be sent to it for ever, also after its
    connection was closed here: the system gives it up (RFC 5482).

    Args:
        config: host and port.
        unread: after how long.
    """
    listening = config.bind_socket()
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unread.total_seconds() * 1000))
    # asyncio sets it only on sockets that name their protocol; without, an event waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it; a connection whose request has no end is closed.

    Uvicorn itself waits for ever for the headers of a request. Between two requests its own limit holds.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request; wait on only where its headers are still to come."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._deadline is None and self.conn.trailing_data[0]:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(HEADERS_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
