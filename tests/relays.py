"""A line between two programs that a test can spoil: it freezes, goes silent, is slow, cuts, or loses answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_CHUNK = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How a line treats what passes.

    Attributes:
        delay_s: how long each piece is held.
        bytes_per_s: how fast it is, in each direction; None for as fast as it can.
        to: which requests the rest is about, those that hold these bytes; all where empty.
        loses_answer: the request arrives, and the connection ends before a byte of the answer comes through.
        swallows: the request does not arrive, and nothing is said.
        cuts_after: the connection ends after so many bytes of the request; None for never.
    """

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    to: bytes = b""
    loses_answer: bool = False
    swallows: bool = False
    cuts_after: int | None = None


class Relay:
    """Passes bytes between a loopback port and a server.

    Args:
        port: where the server listens.

    Attributes:
        manner: how it treats what passes from now on.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._flows = threading.Event()
        self._flows.set()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: set[_Line] = set()
        self._threads: list[threading.Thread] = []
        self.manner = Manner()
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def freeze(self) -> None:
        """Let everything wait; nothing is closed, as when a host hangs."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let it go on."""
        self._flows.set()

    def go_silent(self) -> None:
        """Pass nothing more on any connection that is open now, not even its end; new ones work.

        So does a connection whose other host has vanished, or whose state a firewall has forgotten.
        """
        for line in list(self._open):
            line.is_silent = True

    def cut(self) -> None:
        """End every connection that is open now."""
        for line in list(self._open):
            line.end()

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        self._closing.set()
        self.thaw()
        _shut(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError), near, socket.create_connection(("127.0.0.1", self._target)) as far:
            line = _Line(near, far)
            self._open.add(line)
            answers = self._start(self._pass_answers, line)
            self._pass_requests(line)
            answers.join()
            self._open.discard(line)

    def _pass_requests(self, line: _Line) -> None:
        with suppress(OSError):
            while chunk := line.near.recv(_CHUNK):
                manner = self._hold(line, len(chunk))
                line.is_meant = line.is_meant or manner.to in chunk
                if line.is_meant and manner.swallows:
                    line.is_silent = True
                    self._hold(line, 0)
                if line.is_meant and manner.cuts_after is not None:
                    line.passed += len(chunk)
                    if line.passed > manner.cuts_after:
                        line.far.sendall(chunk[: manner.cuts_after - line.passed])
                        break
                line.far.sendall(chunk)
        self._end(line)

    def _pass_answers(self, line: _Line) -> None:
        with suppress(OSError):
            while chunk := line.far.recv(_CHUNK):
                manner = self._hold(line, len(chunk))
                if line.is_meant and manner.loses_answer:
                    break
                line.is_meant, line.passed = False, 0
                line.near.sendall(chunk)
        self._end(line)

    def _hold(self, line: _Line, size: int) -> Manner:
        manner = self.manner
        time.sleep(manner.delay_s + (size / manner.bytes_per_s if manner.bytes_per_s else 0))
        self._flows.wait()
        if line.is_silent:
            self._closing.wait()
        return manner

    def _end(self, line: _Line) -> None:
        if line.is_silent:  # the other side does not hear of it
            self._closing.wait()
        line.end()


class _Line:
    """One connection."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.is_silent = False
        self.is_meant = False  # the present request is one that the manner is about
        self.passed = 0

    def end(self) -> None:
        for end in (self.near, self.far):
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
