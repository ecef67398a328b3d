"""A worker's sign of life, and its own watch over the broker's silence.

Each process says every few seconds in the database that it lives. Where messages were sent for its queues long ago, and
none came while it had nothing to do, its connection to the broker is dead without knowing it, as behind a proxy that
hangs: the worker ends itself, and whoever runs it starts a new one.
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
from sqlalchemy.exc import SQLAlchemyError

from worklist.job import Queue
from worklist.records import JobRecords

EVERY_S: Final = 10.0
_DEAF_AFTER_S: Final = 60.0

log = structlog.get_logger()


class Heartbeat:
    """The heart of one worker process.

    Args:
        jobs: where it says that it lives, and learns what was sent.
        queues: which it serves.
        end: ends the worker, its parent included.
    """

    def __init__(self, jobs: JobRecords, queues: Sequence[Queue], end: Callable[[], None] | None = None) -> None:
        self._jobs = jobs
        self._queues = tuple(queues)
        self._end = end or _end_worker
        self._working = 0
        self._heard_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """End the beats."""
        self._stop.set()
        self._thread.join()

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
        log.error("no message came though some were sent: the connection to the broker is dead, the worker ends itself")
        self._end()

    def _beat(self) -> None:
        while True:
            try:
                self.beat()
            except SQLAlchemyError as error:
                log.warning("no sign of life", error=type(error).__name__)
            if self._stop.wait(EVERY_S):
                return


def _end_worker() -> None:
    # The parent holds the connection, and would wait for it for ever if asked politely.
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)
