"""The Celery application of a worker: a task a queue, a few lines each.

Messages carry the identifier of a job or of an upload and nothing else; what is to be done, and whether it still
is, stands in the records. A message may therefore come twice, late, or never.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from celery import Celery
from celery.apps import worker as celery_worker
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

from worker.broker import TRANSPORT_OPTIONS, VISIBILITY_S, WorkerAmqp
from worker.memory import FreedMemory
from worklist.job import Queue

if TYPE_CHECKING:
    from worker.heartbeat import Heartbeat  # and with it the database, which the main process does without

_LOADING_S = 600  # in which a process may load its models; Celery's own 4 s would kill it, again and again
_AGAIN_S = 2.0  # between two tries to begin where the database is away

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """How a queue is served.

    Attributes:
        build: gives what does the work of an identifier; called in each worker process, before its first task; loads
            what the work needs, and raises at once where the database is away.
        time_limit_s: after which a task's process is ended; below the broker's visibility time-out.
    """

    build: Callable[[], Callable[[str], None]]
    time_limit_s: int

    def __post_init__(self) -> None:
        """Refuse a limit under which a message could be delivered while its task still runs."""
        if not 0 < self.time_limit_s < VISIBILITY_S:
            raise ValueError(f"the time limit must lie between 0 and {VISIBILITY_S} seconds, got {self.time_limit_s}")


def build_worker(
    broker_url: str, services: Mapping[Queue, Service], build_heartbeat: Callable[[], Heartbeat]
) -> Celery:
    """The Celery application of one process, which serves one task at a time.

    Args:
        broker_url: Redis or RabbitMQ.
        services: how each of its queues is served.
        build_heartbeat: called once in each worker process.
    """
    app = Celery("firstread", broker=broker_url, amqp=WorkerAmqp, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_proc_alive_timeout=_LOADING_S,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=TRANSPORT_OPTIONS,
    )
    freed, database = FreedMemory(), _Database()
    loaded: dict[Queue, Callable[[str], None]] = {}
    hearts: list[Heartbeat] = []  # none, or that of this process

    def begin() -> Heartbeat:
        """Load what is not loaded yet; the heart beats once all is."""
        for queue in services:
            if queue not in loaded:
                loaded[queue] = services[queue].build()
        if not hearts:
            hearts.append(build_heartbeat())
            hearts[0].start()
        return hearts[0]

    @worker_process_init.connect(weak=False)
    def _begin(**_: object) -> None:  # before the first image, not with it
        _once_the_database_answers(begin)
        freed.give_back_soon()

    _stop_with_the_process(hearts)

    def add_task(queue: Queue) -> None:
        @app.task(name=queue.task, time_limit=services[queue].time_limit_s, shared=False)
        def work(identifier: str) -> None:
            try:
                with database.troubles_told(), begin().working():
                    loaded[queue](identifier)
            finally:  # one that fails has read an image all the same
                freed.give_back_soon()

    for queue in services:
        add_task(queue)
    return app


def _stop_with_the_process(hearts: Sequence[Heartbeat]) -> None:
    @worker_process_shutdown.connect(weak=False)
    def _stop(**_: object) -> None:
        for heart in hearts:
            heart.stop()


class _Database:
    """What is wrong with the database, told in one line each time that it changes.

    The work is not lost: its claim lapses, or was never made, and it is handed out again. Celery would write a hundred
    lines about each try, and a traceback holds all that the try had in memory.
    """

    def __init__(self) -> None:
        self._told = ""

    @contextmanager
    def troubles_told(self) -> Iterator[None]:
        """The time of one task; whatever else fails is raised."""
        from worklist.records import is_of_the_database  # noqa: PLC0415 - see Heartbeat

        try:
            yield
        except Exception as error:
            if not is_of_the_database(error):
                raise
            trouble = _in_a_line(error)
            if trouble != self._told:
                log.warning("the database takes no work, which will be tried again", error=trouble)
            self._told = trouble
        else:
            if self._told:
                log.info("the database takes work again")
            self._told = ""


def _once_the_database_answers(begin: Callable[[], object]) -> None:
    """Begin, again and again while the database is away: a process that gave up would serve without a heart.

    Whatever else fails is logged by Celery, and tried again with the first task.
    """
    from worklist.records import is_of_the_database  # noqa: PLC0415 - see Heartbeat

    told = ""
    while True:
        try:
            begin()
        except Exception as error:
            if not is_of_the_database(error):
                raise
            if told != (told := _in_a_line(error)):
                log.warning("the worker waits for the database", error=told)
            time.sleep(_AGAIN_S)
        else:
            return


def _in_a_line(error: Exception) -> str:
    """What the database itself said, without the statement and its values."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


@setup_logging.connect(weak=False)
def _keep_our_logging(**_: object) -> None:
    """Keep Celery from replacing the logging that the command has set up, and from writing beside it as it ends."""
    celery_worker.safe_say = _say_nothing


def _say_nothing(*_: object) -> None:
    """What is said instead of "Warm shutdown", which is no line of a log in JSON."""
