"""The one place that hands work to the broker: by task name, after the commit, as often as it takes.

The broker is first in, first out, so it holds few messages: the rest waits in the records, where a study that arrives
now can still come before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import structlog
from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from worklist.errors import BrokerUnavailable
from worklist.job import Queue
from worklist.records import JobRecords

_MOST_WAITING: Final[Mapping[Queue, int]] = MappingProxyType({Queue.SCORE: 64, Queue.REPORT: 8})
"""Messages of each queue that may wait in the broker; a round every quarter of a second tops them up."""

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
    """Connect to the broker; returns what it is, such as redis.

    Raises:
        BrokerUnavailable: it does not answer, or its URL names nothing that could.
    """
    with connected(sender) as connection:
        return str(connection.transport.driver_type)


class Dispatcher:
    """Sends a message for each job that is due and not known to be in the broker, as far as there is room."""

    def __init__(self, jobs: JobRecords, sender: Celery) -> None:
        self._jobs = jobs
        self._sender = sender
        self._broker_was_lost = False
        self._counting: Connection | None = None

    def close(self) -> None:
        """Close what is connected to the broker."""
        if self._counting:
            self._counting.release()  # type: ignore[no-untyped-call]  # kombu has types, but for this
            self._counting = None

    def run(self) -> int:
        """One round; returns how many messages were sent.

        Raises:
            BrokerUnavailable: the broker took none or only some; the rest stays due.
        """
        if self._broker_was_lost:
            self.check_broker()
            self._jobs.forget_enqueued()  # it may have come back empty
            self._broker_was_lost = False
        return sum(self._hand_out(queue, most) for queue, most in _MOST_WAITING.items())

    def send_prediction(self, prediction_id: str) -> None:
        """Ask for a prediction; this is no job of the list, so nobody asks again.

        Raises:
            BrokerUnavailable: the broker did not take the message.
        """
        self._send(Queue.PREDICT, prediction_id)

    def count_open(self) -> int:
        """How many jobs are neither done nor failed."""
        return self._jobs.count_open()

    def check_broker(self) -> str:
        """Connect to the broker; returns what it is, such as redis.

        Raises:
            BrokerUnavailable: it does not answer.
        """
        try:
            return check_broker(self._sender)
        except BrokerUnavailable:
            self._broker_was_lost = True
            raise

    def _hand_out(self, queue: Queue, most: int) -> int:
        due = self._jobs.due(most, queue)
        sent: list[str] = []
        try:
            for job_id, _ in due[: max(0, most - self._count_waiting(queue))] if due else ():
                self._send(queue, job_id)
                sent.append(job_id)
        except BrokerUnavailable:
            self._broker_was_lost = True
            raise
        finally:
            if sent:
                self._jobs.record_enqueued(sent)
        return len(sent)

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
    return BrokerUnavailable(
        "broker_unavailable",
        f"the broker does not answer ({error}): start Redis, or set FIRSTREAD_BROKER_URL; no work is lost meanwhile",
    )
