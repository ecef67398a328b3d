"""The Celery application of a worker: a task a queue, a few lines each.

Messages carry the identifier of a job or of an upload and nothing else; what is to be done, and whether it still
is, stands in the records. A message may therefore come twice, late, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celery import Celery
from celery.signals import setup_logging, worker_process_init

from worker.broker import TRANSPORT_OPTIONS, VISIBILITY_S, WorkerAmqp
from worker.memory import FreedMemory
from worklist.job import Queue

if TYPE_CHECKING:
    from worker.heartbeat import Heartbeat  # and with it the database, which the main process does without

_LOADING_S = 600  # in which a process may load its models; Celery's own 4 s would kill it, again and again


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """How a queue is served.

    Attributes:
        build: gives what does the work of an identifier; called once in each worker process, before its first task;
            loads what the work needs.
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
    freed = FreedMemory()
    loaded: dict[Queue, Callable[[str], None]] = {}
    hearts: list[Heartbeat] = []  # none, or that of this process

    def load(queue: Queue) -> Callable[[str], None]:
        if queue not in loaded:
            loaded[queue] = services[queue].build()
        return loaded[queue]

    @worker_process_init.connect(weak=False)
    def _load(**_: object) -> None:
        for queue in services:  # before the first image, not with it
            load(queue)
        hearts.append(build_heartbeat())
        hearts[0].start()
        freed.give_back_soon()

    def add_task(queue: Queue) -> None:
        @app.task(name=queue.task, time_limit=services[queue].time_limit_s, shared=False)
        def work(identifier: str) -> None:
            with hearts[0].working() if hearts else nullcontext():
                load(queue)(identifier)
            freed.give_back_soon()

    for queue in services:
        add_task(queue)
    return app


@setup_logging.connect(weak=False)
def _keep_our_logging(**_: object) -> None:
    """Keep Celery from replacing the logging that the command has set up."""
