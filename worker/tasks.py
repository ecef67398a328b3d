"""The Celery application: two queues, served by separate processes.

Messages carry the identifier of a job or of an upload and nothing else; what is to be done, and whether it still
is, stands in the records. A message may therefore come twice, late, or never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from celery import Celery
from celery.signals import setup_logging, worker_process_init

from worker.pipeline import Pipeline
from worklist.queues import PREDICT, TASKS
from worklist.study import JobPath

_VISIBILITY_S = 3600  # Redis hands an unacknowledged message to another worker after this long


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLimits:
    """Seconds after which a task's process is ended, by path; both below the broker's visibility time-out."""

    score_s: int = 60
    report_s: int = 600

    def __post_init__(self) -> None:
        """Refuse limits under which a message could be delivered while its task still runs."""
        if not (0 < self.score_s < _VISIBILITY_S and 0 < self.report_s < _VISIBILITY_S):
            raise ValueError(f"time limits must lie between 0 and {_VISIBILITY_S} seconds, got {self}")


def build_worker(broker_url: str, build_pipeline: Callable[[], Pipeline], limits: TimeLimits) -> Celery:
    """The Celery application of a worker.

    Args:
        broker_url: Redis or RabbitMQ.
        build_pipeline: called once in each worker process, before its first task; loads the model.
        limits: how long a task may take.
    """
    app = Celery("firstread", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"visibility_timeout": _VISIBILITY_S, "socket_connect_timeout": 5},
    )
    pipelines: list[Pipeline] = []

    def pipeline() -> Pipeline:
        if not pipelines:
            pipelines.append(build_pipeline())
        return pipelines[0]

    @worker_process_init.connect(weak=False)
    def _load(**_: object) -> None:
        pipeline()  # before the first film, not with it

    @app.task(name=TASKS[JobPath.SCORE], time_limit=limits.score_s)
    def score_study(job_id: str) -> None:
        pipeline().score(job_id)

    @app.task(name=TASKS[JobPath.REPORT], time_limit=limits.report_s)
    def report_study(job_id: str) -> None:
        pipeline().report(job_id)

    @app.task(name=PREDICT, time_limit=limits.score_s)
    def predict(prediction_id: str) -> None:
        pipeline().predict(prediction_id)

    return app


@setup_logging.connect(weak=False)
def _keep_our_logging(**_: object) -> None:
    """Keep Celery from replacing the logging that the command has set up."""
