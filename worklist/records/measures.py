"""What IT watches: how many studies and jobs stand where, how long they wait, and how long films took on their way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import and_, func, not_, select
from sqlalchemy.orm import Session

from worklist.job import Queue
from worklist.procedure_step import ProcedureStepState
from worklist.reading import ReadingState
from worklist.records.database import Database
from worklist.records.events import EventKind, newest_sequence
from worklist.records.failures import failures_by_code
from worklist.records.leases import living_workers
from worklist.records.places import count
from worklist.records.tables import ON_THE_LIST, OPEN, EventRow, JobRow, StudyRow
from worklist.triage import Urgency

_MOST_EVENTS: Final = 20_000  # at once: what came before them is left uncounted, and no scrape takes seconds


class Milestone(StrEnum):
    """How far something came on its way from the modality to the reader."""

    SCORED = "scored"
    REPORTED = "reported"
    READ = "read"


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """A milestone that was reached.

    Attributes:
        urgency: the study's as it stands now; None where it was not assessed.
        after_s: seconds since the image (scored) or the study (reported, read) was taken in.
        scoring_s: seconds that the scorer itself took for it; None of another milestone, or where it is not known.
    """

    milestone: Milestone
    urgency: Urgency | None
    after_s: float
    scoring_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The studies of one urgency in one state of reading that are on the list."""

    urgency: Urgency | None
    reading: ReadingState
    studies: int
    oldest_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """The open jobs of a queue: how many wait and are worked on, and how long the oldest that could be done waits.

    What a look back found counts as waiting, and not as long.
    """

    waiting: int = 0
    working: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """All that is counted at one moment.

    Attributes:
        overdue: studies on the list that wait beyond the site's target.
        failed: work that failed and may be tried again, by the code of the failure.
        workers: living processes by queue.
    """

    listed: tuple[Standing, ...]
    overdue: int
    queues: Mapping[Queue, Depth]
    failed: Mapping[str, int]
    workers: Mapping[Queue, int]


class Measures:
    """Counts for monitoring; nothing of them names a patient or a study.

    Args:
        database: of the records.
        target_wait: from the site's rules.
    """

    def __init__(self, database: Database, target_wait: timedelta) -> None:
        self._database = database
        self._target_wait = target_wait

    def newest(self) -> int:
        """The number of the last event."""
        with self._database.read() as session:
            return newest_sequence(session)

    def passed(self, after: int) -> tuple[int, list[Passed]]:
        """The number of the last event, and the milestones that were reached since the one with a number.

        What a look back found is none of them, since it lay in the PACS before Firstread looked.
        """
        with self._database.read() as session:
            newest = newest_sequence(session)
            rows = session.execute(
                select(EventRow.kind, EventRow.at, EventRow.detail, StudyRow.received_at, StudyRow.urgency)
                .join(StudyRow, StudyRow.orthanc_id == EventRow.study_orthanc_id)
                .where(
                    EventRow.sequence > max(after, newest - _MOST_EVENTS),
                    EventRow.sequence <= newest,
                    EventRow.kind.in_([EventKind.SCORED, EventKind.REPORTED, EventKind.READ]),
                    not_(StudyRow.is_past),
                )
            ).all()
        return newest, [one for row in rows for one in _passed(*row)]

    def now(self) -> Measured:
        """Everything that is counted, as it is now."""
        with self._database.read() as session:
            now = self._database.now(session)
            return Measured(
                listed=_listed(session, now),
                overdue=count(session, and_(ON_THE_LIST, StudyRow.received_at < now - self._target_wait)),
                queues=_queues(session, now),
                failed=failures_by_code(session),
                workers=living_workers(session, now),
            )


def _passed(kind: str, at: datetime, text: str, received_at: datetime, urgency: Urgency | None) -> Iterator[Passed]:
    detail: dict[str, Any] = json.loads(text)
    since_s = max(0.0, (at - received_at).total_seconds())
    if kind == EventKind.SCORED:
        if "waited_s" in detail:  # else it is of an earlier version
            yield Passed(
                milestone=Milestone.SCORED,
                urgency=urgency,
                after_s=detail["waited_s"],
                scoring_s=detail.get("scoring_s"),
            )
    elif kind == EventKind.REPORTED:
        if detail.get("revision") == 1:  # a later one waited for an image that came later
            yield Passed(milestone=Milestone.REPORTED, urgency=urgency, after_s=since_s)
    elif detail.get("number") == 1:
        yield Passed(milestone=Milestone.READ, urgency=urgency, after_s=since_s)


def _listed(session: Session, now: datetime) -> tuple[Standing, ...]:
    counted = session.execute(
        select(StudyRow.urgency, StudyRow.reading_state, func.count(), func.min(StudyRow.received_at))
        .where(ON_THE_LIST)
        .group_by(StudyRow.urgency, StudyRow.reading_state)
    )
    return tuple(
        Standing(urgency=urgency, reading=reading, studies=studies, oldest_s=_since(oldest, now))
        for urgency, reading, studies, oldest in counted
    )


def _queues(session: Session, now: datetime) -> dict[Queue, Depth]:
    # What a look back found may wait for hours behind what arrives, and nobody has to be woken for it.
    is_due = and_(JobRow.state == ProcedureStepState.SCHEDULED, JobRow.not_before <= now, not_(StudyRow.is_past))
    counted = session.execute(
        select(
            JobRow.queue,
            func.count().filter(JobRow.state == ProcedureStepState.SCHEDULED),
            func.count().filter(JobRow.state == ProcedureStepState.IN_PROGRESS),
            func.min(JobRow.not_before).filter(is_due),
        )
        .join(StudyRow, StudyRow.orthanc_id == JobRow.study_orthanc_id)
        .where(OPEN)
        .group_by(JobRow.queue)
    )
    depths = {
        queue: Depth(waiting=waiting, working=working, oldest_s=_since(oldest, now))
        for queue, waiting, working, oldest in counted
    }
    return {queue: depths.get(queue, Depth()) for queue in (Queue.SCORE, Queue.REPORT)}


def _since(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0
