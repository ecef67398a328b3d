"""A line between two programs that a test can freeze: bytes wait and nothing is closed, as when a host hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536


class Relay:
    """Passes bytes between a loopback port and a server, until it is frozen.

    Args:
        port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def freeze(self) -> None:
        """Let everything wait."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let it go on."""
        self._flows.set()

    def cut(self) -> None:
        """End every connection that is open now."""
        for end in list(self._open):
            _shut(end)

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        self.thaw()
        _shut(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            self._open |= {near, far}
            answers = self._start(self._pass_on, far, near)
            self._pass_on(near, far)
            answers.join()
            self._open -= {near, far}

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                self._flows.wait()
                target.sendall(chunk)
        for end in (source, target):
            _shut(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):  # it is shut already
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay_to(url: str) -> Iterator[tuple[Relay, str]]:
    """A relay to a server on loopback, and the server's root by way of it, with a slash at the end."""
    relay = Relay(int(url.rstrip("/").rpartition(":")[2]))
    try:
        yield relay, f"http://127.0.0.1:{relay.port}/"
    finally:
        relay.close()
