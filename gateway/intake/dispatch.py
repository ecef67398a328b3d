"""The one place that hands work to the broker: by task name, after the commit, as often as it takes."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from worklist.errors import BrokerUnavailable
from worklist.queues import PREDICT, PREDICT_QUEUE, TASKS
from worklist.records import JobRecords

_AT_ONCE = 200

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
    try:
        with sender.connection_for_write() as connection:
            connection.ensure_connection(max_retries=0, timeout=2)
            connection.default_channel  # noqa: B018 - opening a channel is what talks to Redis
            return str(connection.transport.driver_type)
    except (OperationalError, OSError, KeyError) as error:  # KeyError: kombu knows no such transport
        raise _unavailable(error) from error


class Dispatcher:
    """Sends a message for each job that is due and not known to be in the broker."""

    def __init__(self, jobs: JobRecords, sender: Celery) -> None:
        self._jobs = jobs
        self._sender = sender
        self._broker_was_lost = False

    def run(self) -> int:
        """One round; returns how many messages were sent.

        Raises:
            BrokerUnavailable: the broker took none or only some; the rest stays due.
        """
        self._jobs.sweep(datetime.now(UTC))
        if self._broker_was_lost:
            self.check_broker()
            self._jobs.forget_enqueued()  # it may have come back empty
            self._broker_was_lost = False
        due = self._jobs.due(datetime.now(UTC), _AT_ONCE)
        sent: list[str] = []
        try:
            for job in due:
                self._sender.send_task(TASKS[job.path], args=[job.job_id], queue=str(job.path), retry=False)
                sent.append(job.job_id)
        except (OperationalError, OSError) as error:
            self._broker_was_lost = True
            raise _unavailable(error) from error
        finally:
            if sent:
                self._jobs.record_enqueued(sent, datetime.now(UTC))
        return len(sent)

    def send_prediction(self, prediction_id: str) -> None:
        """Ask for a prediction; this is no job of the list, so nobody asks again.

        Raises:
            BrokerUnavailable: the broker did not take the message.
        """
        try:
            self._sender.send_task(PREDICT, args=[prediction_id], queue=str(PREDICT_QUEUE), retry=False)
        except (OperationalError, OSError) as error:
            raise _unavailable(error) from error

    def count_open(self) -> int:
        """How many jobs are neither done nor failed."""
        return self._jobs.count_open()

    def check_broker(self) -> None:
        """Connect to the broker.

        Raises:
            BrokerUnavailable: it does not answer.
        """
        try:
            check_broker(self._sender)
        except BrokerUnavailable:
            self._broker_was_lost = True
            raise


def _unavailable(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(
        "broker_unavailable",
        f"the broker does not answer ({error}): start Redis, or set FIRSTREAD_BROKER_URL; no work is lost meanwhile",
    )
