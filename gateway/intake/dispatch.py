"""The one place that hands work to the broker: by task name, after the commit, as often as it takes.

The broker is first in, first out, so it holds few messages: the rest waits in the records, where a study that arrives
now can still come before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from worklist.errors import BrokerUnavailable
from worklist.job import Queue
from worklist.records import JobRecords

_QUEUES: Final = (Queue.SCORE, Queue.REPORT)
_MOST_A_WORKER = 16  # messages that wait in the broker for each of its workers
_COUNT_WORKERS_S = 5.0
_NO_ROOM, _READ_ONLY = "'maxmemory'", "read only replica"  # in what Redis says then

log = structlog.get_logger()


def build_sender(broker_url: str) -> Celery:
    """A Celery application that can only send."""
    sender = Celery("firstread", broker=broker_url, set_as_current=False)
    sender.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        broker_connection_timeout=2,
        broker_transport_options={"socket_timeout": 2, "socket_connect_timeout": 2},
    )
    return sender


def check_broker(sender: Celery) -> str:
    """Connect to the broker, and see that it takes what is written; returns what it is, such as redis.

    Raises:
        BrokerUnavailable: it does not answer, refuses writing as a replica or a full one does, or its URL names
            nothing that could.
    """
    with connected(sender) as connection:
        kind = str(connection.transport.driver_type)
        if kind == "redis":
            connection.default_channel.client.set("firstread-can-write", "1", ex=1)  # type: ignore[attr-defined]  # Redis
        return kind


class Dispatcher:
    """Sends a message for each job that is due and not known to be in the broker, as far as there is room."""

    def __init__(self, jobs: JobRecords, sender: Celery) -> None:
        self._jobs = jobs
        self._sender = sender
        self._broker_was_lost = False
        self._counting: Connection | None = None
        self._rooms = {queue: _Room() for queue in _QUEUES}
        self._workers: dict[Queue, int] = {}
        self._workers_counted_at = -_COUNT_WORKERS_S

    def close(self) -> None:
        """Close what is connected to the broker."""
        if self._counting:
            self._counting.release()  # type: ignore[no-untyped-call]  # kombu has types, but for this
            self._counting = None

    def run(self, *, with_past: bool = True) -> int:
        """One round; returns how many messages were sent.

        Args:
            with_past: whether the work that can wait, of what a look back found, is handed out too.

        Raises:
            BrokerUnavailable: the broker took none or only some; the rest stays due.
        """
        try:
            if self._broker_was_lost:
                check_broker(self._sender)
                self._jobs.forget_enqueued()  # it may have come back empty
                self._broker_was_lost = False
            return sum(self._hand_out(queue, with_past=with_past) for queue in _QUEUES)
        except BrokerUnavailable:
            self._broker_was_lost = True
            raise

    def send_prediction(self, prediction_id: str) -> None:
        """Ask for a prediction; this is no job of the list, so nobody asks again.

        Raises:
            BrokerUnavailable: the broker did not take the message.
        """
        self._send(Queue.PREDICT, prediction_id)

    def send_speech(self, speech_id: str) -> None:
        """Ask for the words of an upload of speech; nobody asks again here either.

        Raises:
            BrokerUnavailable: the broker did not take the message.
        """
        self._send(Queue.DICTATE, speech_id)

    def count_open(self) -> int:
        """How many jobs are neither done nor failed."""
        return self._jobs.count_open()

    def check_broker(self) -> str:
        """Connect to the broker; returns what it is, such as redis.

        Raises:
            BrokerUnavailable: it does not answer, or takes nothing.
        """
        try:
            return check_broker(self._sender)
        except BrokerUnavailable:
            self._broker_was_lost = True
            raise

    def _hand_out(self, queue: Queue, *, with_past: bool) -> int:
        workers = self._count_workers(queue)
        most = _MOST_A_WORKER * workers
        sent: list[str] = []
        try:
            # Mostly there is nothing to send or to miss, and the broker is not asked.
            due = self._jobs.due(most, queue, with_past=with_past, nothing_waits=True)
            waiting = self._count_waiting(queue) if due else 0
            if waiting:
                due = self._jobs.due(most, queue, with_past=with_past)
            room = self._rooms[queue].left(waiting, len(due), workers) if due else 0
            for job_id, _ in due[:room]:
                self._send(queue, job_id)
                sent.append(job_id)
        finally:
            if sent:
                self._jobs.record_enqueued(sent)
        return len(sent)

    def _count_workers(self, queue: Queue) -> int:
        """How many workers live, one at the least: work waits in the broker for the first one."""
        if time.monotonic() - self._workers_counted_at >= _COUNT_WORKERS_S:
            self._workers = self._jobs.living_workers()
            self._workers_counted_at = time.monotonic()
        return max(1, self._workers.get(queue, 0))

    def _send(self, queue: Queue, identifier: str) -> None:
        try:
            self._sender.send_task(queue.task, args=[identifier], queue=queue.task, retry=False)
        except _errors_of(self._sender.connection_for_write()) as error:
            raise _unavailable(error) from error

    def _count_waiting(self, queue: Queue) -> int:
        """How many messages wait, over a connection that is kept: to open one takes longer than to send a message."""
        if self._counting is None:
            self._counting = self._sender.connection_for_write()
        connection = self._counting
        try:
            connection.ensure_connection(max_retries=0, timeout=2)
            channel: Any = connection.default_channel
            declared = channel.queue_declare(queue=queue.task, durable=True, auto_delete=False)  # as the workers do
            return int(declared.message_count)
        except _errors_of(connection) as error:
            self.close()
            raise _unavailable(error) from error


class _Room:
    """How many messages of a queue may wait in the broker: as few as keep its workers busy between two rounds.

    Where the last round had more to send than there was room, and all was taken since, there may be twice as many;
    where half of them still wait, one less. So it is many for what takes milliseconds, and one for each worker where a
    job takes minutes.
    """

    def __init__(self) -> None:
        self._most = 1
        self._was_short = False

    def left(self, waiting: int, wanted: int, workers: int) -> int:
        """How many may be sent where so many wait and so many are wanted."""
        if waiting == 0 and self._was_short:
            self._most *= 2
        elif 2 * waiting > self._most:
            self._most -= 1
        self._most = min(max(self._most, workers), _MOST_A_WORKER * workers)
        left = max(0, self._most - waiting)
        self._was_short = wanted > left
        return left


@contextmanager
def connected(sender: Celery) -> Iterator[Connection]:
    """A connection to the broker, for the time of a block; what the broker refuses in it is told as ours.

    Raises:
        BrokerUnavailable: it does not answer, or refuses to work, as a read-only replica does.
    """
    try:
        with sender.connection_for_write() as connection:
            try:
                connection.ensure_connection(max_retries=0, timeout=2)
                connection.default_channel  # noqa: B018 - opening a channel is what talks to Redis
                yield connection
            except _errors_of(connection) as error:
                raise OperationalError(str(error)) from error
    except (OperationalError, OSError, KeyError) as error:  # KeyError: kombu knows no such transport
        raise _unavailable(error) from error


def _errors_of(connection: Connection) -> tuple[type[Exception], ...]:
    """What is raised where a connection is lost, or where the broker refuses to work, by kombu and its libraries."""
    return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)


def _unavailable(error: Exception) -> BrokerUnavailable:
    if _NO_ROOM in str(error):
        return BrokerUnavailable(
            "broker_full",
            "the broker has no room for a message: raise maxmemory in Redis, or free it; no work is lost meanwhile",
        )
    if _READ_ONLY in str(error):
        return BrokerUnavailable(
            "broker_read_only",
            "the broker is a read-only replica: promote it, or set FIRSTREAD_BROKER_URL to the Redis that it follows; "
            "no work is lost meanwhile",
        )
    return BrokerUnavailable(
        "broker_unavailable",
        f"the broker does not answer ({error}): start Redis, or set FIRSTREAD_BROKER_URL; no work is lost meanwhile",
    )
