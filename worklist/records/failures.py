"""Work that failed and that may be tried again: what it was, since when, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from worklist.job import JobEvent, Queue, next_state
from worklist.reading import Actor
from worklist.records.database import Database
from worklist.records.events import EventKind, record
from worklist.records.images import failure_of
from worklist.records.studies import Study
from worklist.records.tables import FAILED, PRESENT, InstanceRow, JobRow, StudyRow
from worklist.roles import UseCase
from worklist.scope import SEEN_OUT_OF_SCOPE
from worklist.site import SiteRules
from worklist.study import Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedWork:
    """An image that could not be scored, or a study that could not be reported; nothing of it names the patient.

    Attributes:
        queue: what was to be done.
        sop_instance_uid: the image's; empty for a report.
        attempts: how often it was tried.
        since: when it was given up.
    """

    study_instance_uid: str
    accession_number: str
    queue: Queue
    sop_instance_uid: str
    attempts: int
    since: datetime
    failure: Failure


def count_failed(session: Session) -> int:
    """How much has failed."""
    return session.scalar(select(func.count()).select_from(_failed().subquery())) or 0


def failures_by_code(session: Session) -> dict[str, int]:
    """How much has failed, by the code of the failure."""
    failed = _failed().subquery()
    counted = session.execute(select(failed.c.failure_code, func.count()).group_by(failed.c.failure_code))
    return {code or "": count for code, count in counted}


def failed_work(session: Session, limit: int, offset: int = 0) -> list[FailedWork]:
    """A page of what has failed, what failed last first."""
    failed = _failed()
    rows = session.scalars(failed.order_by(JobRow.finished_at.desc(), JobRow.job_id).limit(limit).offset(offset)).all()
    named = select(StudyRow).where(StudyRow.orthanc_id.in_({row.study_orthanc_id for row in rows}))
    studies = {study.orthanc_id: study for study in session.scalars(named)}
    return [
        FailedWork(
            study_instance_uid=studies[row.study_orthanc_id].study_instance_uid,
            accession_number=studies[row.study_orthanc_id].accession_number,
            queue=row.queue,
            sop_instance_uid=row.sop_instance_uid,
            attempts=row.attempts,
            since=row.finished_at or row.created_at,
            failure=failure_of(row),
        )
        for row in rows
    ]


def retry(database: Database, rules: SiteRules, addresses: Collection[str], by: Actor) -> int:
    """Schedule the failed jobs of these studies again, or everything that failed where none is named; how many.

    Jobs that a newer image or revision has overtaken stay failed, and so do those of studies that are gone. An image
    that its pixels put out of scope did not fail: it is looked at again only where its study is named.

    Args:
        database: of the records.
        rules: the site's choices.
        addresses: Study Instance UIDs, which may each be that of several patients, or Orthanc's identifiers.
        by: who asks.

    Raises:
        NotPermitted: who asks may not.
    """
    by.require(UseCase.RETRY)
    named = set(addresses)
    is_named = or_(StudyRow.study_instance_uid.in_(named), StudyRow.orthanc_id.in_(named))
    failed = _failed(is_refused_too=bool(named))
    with database.read() as session:
        found = failed.where(is_named) if named else failed
        wanted = sorted({row.study_orthanc_id for row in session.scalars(found)})
    count = 0
    for orthanc_id in wanted:
        with database.write() as session:
            now = database.now(session)
            study = Study.lock(session, orthanc_id, rules, now)
            rows = session.scalars(failed.where(JobRow.study_orthanc_id == orthanc_id).with_for_update(of=JobRow)).all()
            if study is None or not rows:
                continue
            count += len(rows)
            _retry(session, study, rows, now, by)
    return count


def _retry(session: Session, study: Study, rows: Sequence[JobRow], now: datetime, by: Actor) -> None:
    has_told = study.has_begun_report
    for row in rows:
        record(session, EventKind.RETRIED, study.row, by=by, queue=row.queue, failure=row.failure_code)
        row.state = next_state(row.state, JobEvent.RERUN)
        row.attempts = row.enqueues = 0
        row.enqueued_at = row.failure_code = row.failure_message = row.finished_at = None
        row.not_before = row.created_at = now
    if has_told and any(row.queue is Queue.SCORE for row in rows):
        study.begin_next_revision()  # the present report told of the failure: the next one will not
    study.recompute()


def _failed(*, is_refused_too: bool = False) -> Select[JobRow]:
    is_current_image = exists().where(
        InstanceRow.study_orthanc_id == JobRow.study_orthanc_id,
        InstanceRow.sop_instance_uid == JobRow.sop_instance_uid,
        InstanceRow.digest == JobRow.digest,
    )
    is_current_report = and_(JobRow.queue == Queue.REPORT, JobRow.revision == StudyRow.revision)
    failed = (
        select(JobRow)
        .join(StudyRow, StudyRow.orthanc_id == JobRow.study_orthanc_id)
        .where(FAILED, PRESENT, or_(is_current_image, is_current_report))
    )
    return failed if is_refused_too else failed.where(JobRow.failure_code.not_in(SEEN_OUT_OF_SCOPE))
