"""Which jobs are due: a message for each should be in the broker; and which of them nobody seems to take."""

from __future__ import annotations

import functools
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, and_, bindparam, func, or_, select, true
from sqlalchemy.orm import Session

from worklist.job import Queue
from worklist.procedure_step import ProcedureStepState
from worklist.records.events import EventKind, lately
from worklist.records.images import image_is_open
from worklist.records.places import BY_READING
from worklist.records.tables import OPEN, JobRow, StudyRow

LONGEST_PAUSE: Final = timedelta(minutes=1)  # before the next try of a job; ...
IMPOSSIBLE: Final = 2 * LONGEST_PAUSE  # ... a moment further ahead was written before the clock was set back
_DOUBLINGS = 6  # of the wait before a message is sent again ...
_LONGEST_WAIT = timedelta(minutes=10)  # ... and then each time after this long
_LATELY = timedelta(seconds=30)  # in which a worker that is at work has ended some job
_ENDS = {Queue.SCORE: {EventKind.SCORED, EventKind.FAILED}, Queue.REPORT: {EventKind.REPORTED, EventKind.FAILED}}


def due_jobs(
    session: Session, now: datetime, limit: int, requeue_after: timedelta, queue: Queue | None
) -> list[tuple[str, Queue]]:
    """The jobs that the broker should hold a message for and may not: STAT first, then in reading order.

    Args:
        session: of the transaction.
        now: the present moment.
        limit: how many at most.
        requeue_after: how long the first message of a job may lie in the broker.
        queue: of this queue alone; None for all.
    """
    waits = {f"sent_{sent}": now - requeue_after * 2**sent for sent in range(_DOUBLINGS)}
    moments = {"now": now, "impossible": now + IMPOSSIBLE, "longest": now - _LONGEST_WAIT, **waits}
    return [(job_id, found) for job_id, found in session.execute(_statement(queue), {"most": limit, **moments})]


def waiting_in_vain(session: Session, now: datetime) -> dict[Queue, timedelta]:
    """Of each queue whose due jobs nobody takes, how long the oldest of them has waited.

    Where somebody works, or just did, a long queue is no fault.
    """
    is_ready = or_(JobRow.queue == Queue.SCORE, ~image_is_open(JobRow.study_orthanc_id))
    oldest = session.execute(
        select(JobRow.queue, func.min(JobRow.not_before))
        .join(StudyRow, StudyRow.orthanc_id == JobRow.study_orthanc_id)
        .where(OPEN, JobRow.state == ProcedureStepState.SCHEDULED, JobRow.not_before <= now, is_ready)
        .group_by(JobRow.queue)
    ).all()
    is_worked_on = and_(JobRow.state == ProcedureStepState.IN_PROGRESS, JobRow.lease_until >= now)
    busy = set(session.scalars(select(JobRow.queue).where(OPEN, is_worked_on)))
    ended = lately(session, {kind for kinds in _ENDS.values() for kind in kinds}, now - _LATELY)
    busy |= {queue for queue, kinds in _ENDS.items() if kinds & ended}
    return {queue: now - since for queue, since in oldest if queue not in busy}


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
def _statement(queue: Queue | None) -> Select[str, Queue]:
    # Built once: it is asked several times a second, and building it takes six times as long as running it.
    enqueued_at, moment = JobRow.enqueued_at, JobRow.not_before.type
    waits = [
        and_(JobRow.enqueues == sent, enqueued_at < bindparam(f"sent_{sent}", type_=moment))
        for sent in range(_DOUBLINGS)
    ]
    now, impossible = bindparam("now", type_=moment), bindparam("impossible", type_=moment)
    forgotten = or_(enqueued_at.is_(None), *waits, enqueued_at < bindparam("longest", type_=moment), enqueued_at > now)
    is_ready = and_(JobRow.queue == Queue.REPORT, ~image_is_open(JobRow.study_orthanc_id))
    return (
        select(JobRow.job_id, JobRow.queue)
        .join(StudyRow, StudyRow.orthanc_id == JobRow.study_orthanc_id)
        .where(OPEN, JobRow.state == ProcedureStepState.SCHEDULED)
        .where(or_(JobRow.not_before <= now, JobRow.not_before > impossible), forgotten)
        .where(JobRow.queue == queue if queue else true())
        .where(or_(JobRow.queue == Queue.SCORE, is_ready))
        .order_by(*BY_READING, JobRow.created_at, JobRow.sop_instance_uid)
        .limit(bindparam("most"))
    )
