"""`GET /metrics`: what Prometheus is told, in its text format; nothing of it names a patient or a study.

What stands and waits is read from the database at each scrape, and is the same whichever gateway is asked. The
histograms count what happened since this gateway started, and each gateway of a site counts all of it: of several,
one is to be taken.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from gateway.intake.feed import FEED, Intake
from worklist.records import IntakeRecords, Measures, Milestone
from worklist.triage import Urgency

_UNASSESSED: Final = "not_assessed"
_FAST_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_SLOW_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_HUMAN_S: Final = (60.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
_MODEL_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics(Collector):
    """All that one gateway tells.

    Args:
        version: Firstread's.
        measures: the counts.
        records: know when the feed was read last, by whichever gateway.
        intake: of this process.
        folders: whose disks are watched, by what they hold.
    """

    def __init__(
        self,
        *,
        version: str,
        measures: Measures,
        records: IntakeRecords,
        intake: Intake,
        folders: Mapping[str, Path],
    ) -> None:
        self._version = version
        self._measures = measures
        self._records = records
        self._intake = intake
        self._folders = folders
        self._lock = threading.Lock()
        self._seen: int | None = None
        # When each series began only doubles their number.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._paths = {
            Milestone.SCORED: self._histogram(
                "firstread_arrival_to_scored_seconds", "From the arrival of an image to its score.", _FAST_S
            ),
            Milestone.REPORTED: self._histogram(
                "firstread_arrival_to_reported_seconds",
                "From the arrival of a study to its first report in the PACS.",
                _SLOW_S,
            ),
            Milestone.READ: self._histogram(
                "firstread_arrival_to_read_seconds", "From the arrival of a study to its first reading.", _HUMAN_S
            ),
        }
        self._scoring = Histogram(
            "firstread_scoring_seconds",
            "What the model itself took for an image.",
            buckets=_MODEL_S,
            registry=self._registry,
        )
        self._registry.register(self)

    def start(self) -> None:
        """Count from now on; where the database does not answer, from the first scrape after it does."""
        with self._lock, suppress(SQLAlchemyError):
            self._seen = self._measures.newest()

    def text(self) -> bytes:
        """Everything, in the text format of Prometheus, version 0.0.4."""
        with self._lock:
            seen = self._measures.newest() if self._seen is None else self._seen
            self._seen, passed = self._measures.passed(seen)
            for one in passed:
                self._paths[one.milestone].labels(_urgency(one.urgency)).observe(one.after_s)
                if one.scoring_s is not None:
                    self._scoring.observe(one.scoring_s)
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: else the registry would ask the database as soon as this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What stands and waits now, as the registry asks for it."""
        yield InfoMetricFamily("firstread_build", "Which Firstread this is.", value={"version": self._version})
        now = self._measures.now()
        by_reading = ("urgency", "reading")
        yield _gauge(
            "firstread_listed_studies",
            "Studies on the reading list.",
            by_reading,
            {(_urgency(one.urgency), one.reading): one.studies for one in now.listed},
        )
        yield _gauge(
            "firstread_listed_oldest_seconds",
            "How long the study on the list that waits longest has waited.",
            by_reading,
            {(_urgency(one.urgency), one.reading): one.oldest_s for one in now.listed},
        )
        yield _gauge("firstread_overdue_studies", "Studies that wait beyond the site's target.", (), {(): now.overdue})
        queues = now.queues.items()
        jobs: dict[tuple[str, ...], float] = {}
        for queue, depth in queues:
            jobs |= {(queue, "waiting"): depth.waiting, (queue, "working"): depth.working}
        yield _gauge("firstread_jobs", "Open jobs of the workers.", ("queue", "state"), jobs)
        yield _gauge(
            "firstread_job_oldest_seconds",
            "How long the oldest job that could be done has waited.",
            ("queue",),
            {(queue,): depth.oldest_s for queue, depth in queues},
        )
        yield _gauge(
            "firstread_failed_jobs",
            "Work that failed and can be tried again, by what firstread failures calls it.",
            ("code",),
            {(code,): count for code, count in now.failed.items()},
        )
        yield _gauge(
            "firstread_workers",
            "Worker processes that live.",
            ("queue",),
            {(queue,): count for queue, count in now.workers.items()},
        )
        silence = self._records.silence(FEED)
        yield _gauge(
            "firstread_feed_age_seconds",
            "How long ago any gateway read Orthanc's changes.",
            (),
            {(): silence.total_seconds()} if silence is not None else {},
        )
        yield _gauge(
            "firstread_feed_reader",
            "1 where this gateway reads Orthanc's changes, 0 where it stands by or does not.",
            (),
            {(): int(self._intake.is_reading and not self._intake.is_standing_by)},
        )
        yield _gauge("firstread_disk_free_bytes", "Free on this machine's disks.", ("folder",), _free(self._folders))

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, help_, labelnames=["urgency"], buckets=buckets, registry=self._registry)


def build_metrics(metrics: Metrics) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response)
    def scrape() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


def _urgency(urgency: Urgency | None) -> str:
    return urgency.value if urgency else _UNASSESSED


def _gauge(name: str, help_: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def _free(folders: Mapping[str, Path]) -> dict[tuple[str, ...], Any]:
    return {(name,): shutil.disk_usage(folder).free for name, folder in folders.items() if folder.exists()}
