"""Which jobs are due: a message for each should be in the broker; and which of them nobody seems to take."""

from __future__ import annotations

import functools
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, and_, bindparam, case, func, not_, or_, select, true
from sqlalchemy.orm import Session

from worklist.job import Patience, Queue
from worklist.procedure_step import ProcedureStepState
from worklist.records.events import EventKind, lately
from worklist.records.images import image_is_open
from worklist.records.places import BY_READING
from worklist.records.tables import OPEN, JobRow, StudyRow
from worklist.triage import Urgency

LONGEST_PAUSE: Final = timedelta(minutes=1)  # before the next try of a job; ...
IMPOSSIBLE: Final = 2 * LONGEST_PAUSE  # ... a moment further ahead was written before the clock was set back
_COUNTED = range(1, 7)  # messages that were sent in vain; after more of them the wait is the longest
_MOST_REASONS = 3
_LATELY = timedelta(seconds=30)  # in which a worker that is at work has ended some job
_CAN_WAIT = and_(StudyRow.is_past, or_(StudyRow.urgency.is_(None), StudyRow.urgency == Urgency.NONE))
_URGENT_FIRST: Final = (
    # What can wait comes last, STAT and then the newest first; the rest, for which the two cases are null, in the order
    # of reading.
    _CAN_WAIT,
    case((_CAN_WAIT, StudyRow.stat_rank)),
    case((_CAN_WAIT, StudyRow.received_at)).desc(),
    *BY_READING,
)
_ENDS = {Queue.SCORE: {EventKind.SCORED, EventKind.FAILED}, Queue.REPORT: {EventKind.REPORTED, EventKind.FAILED}}


def due_jobs(  # noqa: PLR0913 - each says which
    session: Session,
    now: datetime,
    limit: int,
    patience: Patience,
    queue: Queue | None,
    *,
    with_past: bool,
) -> list[tuple[str, Queue]]:
    """The jobs that the broker should hold a message for and may not: STAT first, then in reading order.

    What the look back found, and nobody has flagged, comes after all that arrived since, the newest first.

    Args:
        session: of the transaction.
        now: the present moment.
        limit: how many at most.
        patience: with a message that was sent, and brought nothing so far.
        queue: of this queue alone; None for all.
        with_past: whether what can wait is among them.
    """
    waits = {f"sent_{sent}": now - patience.after(sent) for sent in _COUNTED}
    moments = {"now": now, "impossible": now + IMPOSSIBLE, "longest": now - patience.longest, **waits}
    return [
        (job_id, found)
        for job_id, found in session.execute(_statement(queue, with_past=with_past), {"most": limit, **moments})
    ]


def waiting_in_vain(session: Session, now: datetime) -> dict[Queue, timedelta]:
    """Of each queue whose due jobs nobody takes, how long the oldest of them has waited.

    Where somebody works, or just did, a long queue is no fault. What can wait waits from when it was handed out.
    """
    since = case((_CAN_WAIT, JobRow.enqueued_at), else_=JobRow.not_before)
    is_ready = or_(JobRow.queue == Queue.SCORE, ~image_is_open(JobRow.study_orthanc_id))
    oldest = session.execute(
        select(JobRow.queue, func.min(since))
        .join(StudyRow, StudyRow.orthanc_id == JobRow.study_orthanc_id)
        .where(OPEN, JobRow.state == ProcedureStepState.SCHEDULED, JobRow.not_before <= now, is_ready)
        .group_by(JobRow.queue)
    ).all()
    is_worked_on = and_(JobRow.state == ProcedureStepState.IN_PROGRESS, JobRow.lease_until >= now)
    busy = set(session.scalars(select(JobRow.queue).where(OPEN, is_worked_on)))
    ended = lately(session, {kind for kinds in _ENDS.values() for kind in kinds}, now - _LATELY)
    busy |= {queue for queue, kinds in _ENDS.items() if kinds & ended}
    return {queue: now - begun for queue, begun in oldest if begun and queue not in busy}


def retried_in_vain(session: Session, before: datetime) -> dict[tuple[str, str], int]:
    """Codes and messages of why open jobs from before a moment failed so far, and how many of each, most first."""
    is_retried = and_(JobRow.created_at < before, JobRow.failure_code.is_not(None))
    counted = session.execute(
        select(JobRow.failure_code, JobRow.failure_message, func.count())
        .where(OPEN, is_retried)
        .group_by(JobRow.failure_code, JobRow.failure_message)
        .order_by(func.count().desc(), JobRow.failure_code, JobRow.failure_message)
        .limit(_MOST_REASONS)
    )
    return {(code or "", message or ""): count for code, message, count in counted}


def is_undelivered(session: Session, queues: Collection[Queue], now: datetime) -> bool:
    """Whether messages of some queues were sent long ago, and nobody has taken any of their jobs since."""
    sent = session.scalar(
        select(func.min(JobRow.enqueued_at)).where(
            OPEN,
            JobRow.queue.in_(queues),
            JobRow.state == ProcedureStepState.SCHEDULED,
            JobRow.not_before <= now,
            JobRow.enqueued_at < now - _LATELY,
        )
    )
    return sent is not None and bool(waiting_in_vain(session, now).keys() & set(queues))


@functools.lru_cache
def _statement(queue: Queue | None, *, with_past: bool) -> Select[str, Queue]:
    # Built once: it is asked several times a second, and building it takes six times as long as running it.
    enqueued_at, moment = JobRow.enqueued_at, JobRow.not_before.type
    waits = [and_(JobRow.enqueues == sent, enqueued_at < bindparam(f"sent_{sent}", type_=moment)) for sent in _COUNTED]
    now, impossible = bindparam("now", type_=moment), bindparam("impossible", type_=moment)
    forgotten = or_(enqueued_at.is_(None), *waits, enqueued_at < bindparam("longest", type_=moment), enqueued_at > now)
    is_ready = and_(JobRow.queue == Queue.REPORT, ~image_is_open(JobRow.study_orthanc_id))
    return (
        select(JobRow.job_id, JobRow.queue)
        .join(StudyRow, StudyRow.orthanc_id == JobRow.study_orthanc_id)
        .where(OPEN, JobRow.state == ProcedureStepState.SCHEDULED)
        .where(or_(JobRow.not_before <= now, JobRow.not_before > impossible), forgotten)
        .where(JobRow.queue == queue if queue else true(), true() if with_past else not_(_CAN_WAIT))
        .where(or_(JobRow.queue == Queue.SCORE, is_ready))
        .order_by(*_URGENT_FIRST, JobRow.created_at, JobRow.sop_instance_uid)
        .limit(bindparam("most"))
    )
