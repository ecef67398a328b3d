"""A worker's sign of life, and its own watch over the broker's silence.

Each process says every few seconds in the database that it lives. Where messages were sent for its queues long ago,
none came while it had nothing to do, and the broker answers on a new connection, then its own connection is dead
without knowing it, as behind a proxy that hangs: the worker ends itself, and whoever runs it starts a new one. A broker
that is away is waited for.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from worklist.job import Queue
from worklist.records import JobRecords

_EVERY_S: Final = 10.0
_DEAF_AFTER_S: Final = 60.0
_PATIENCE_S: Final = 2.0
_PATIENCE: Final = {"socket_timeout": _PATIENCE_S, "socket_connect_timeout": _PATIENCE_S}

log = structlog.get_logger()


class Heartbeat:
    """The heart of one worker process.

    Args:
        jobs: where it says that it lives, and learns what was sent.
        queues: which it serves.
        broker_answers: whether a new connection to the broker can be opened.
        end: ends the worker, its parent included.
    """

    def __init__(
        self,
        jobs: JobRecords,
        queues: Sequence[Queue],
        broker_answers: Callable[[], bool],
        end: Callable[[], None] | None = None,
    ) -> None:
        self._jobs = jobs
        self._queues = tuple(queues)
        self._broker_answers = broker_answers
        self._end = end or _end_worker
        self._working = 0
        self._heard_at = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat from now on, until the process ends."""
        self._thread.start()

    def stop(self) -> None:
        """The process ends by itself: nobody need wait for half a minute to learn that it is gone."""
        self._ending.set()
        self._thread.join(_EVERY_S)
        try:
            self._jobs.say_ended()
        except Exception as error:  # noqa: BLE001 - it ends all the same, and is known to be gone a little later
            log.warning("no word that it ends", error=type(error).__name__)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The time of one task: the broker has spoken, and silence is no wonder."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._heard_at = time.monotonic()

    def beat(self) -> None:
        """Say that the worker lives, and end it where it is deaf."""
        self._jobs.say_alive(self._queues)
        silent_s = time.monotonic() - self._heard_at
        if self._working or silent_s < _DEAF_AFTER_S or not self._jobs.is_undelivered(self._queues):
            return
        if not self._broker_answers():
            return
        log.error("no message came though some were sent: the connection to the broker is dead, the worker ends itself")
        self._end()

    def _beat(self) -> None:
        while not self._ending.is_set():
            try:
                self.beat()
            except Exception as error:  # noqa: BLE001 - a heart that stops for whatever reason makes a worker seem dead
                log.warning("no sign of life", error=type(error).__name__)
            self._ending.wait(_EVERY_S)


def broker_answers(broker_url: str) -> bool:
    """Whether a new connection to the broker can be opened."""
    connecting = Connection(broker_url, transport_options=_PATIENCE)  # type: ignore[no-untyped-call]  # kombu has types, but for this
    with connecting as connection:
        try:
            connection.ensure_connection(max_retries=0, timeout=_PATIENCE_S)
            connection.default_channel  # noqa: B018 - opening a channel is what talks to Redis
        except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors):
            return False
        return True


def _end_worker() -> None:
    # The parent holds the connection, and would wait for it for ever if asked politely.
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)
