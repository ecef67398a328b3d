"""The work: claimed under a lease, completed behind a fence, retried within bounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Exists, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from worklist.errors import FirstreadError, PacsUnavailable, TransientError
from worklist.finding import Analysis
from worklist.records.database import Database
from worklist.records.standing import (
    REFUSED_RADIOGRAPHS,
    lock_study,
    most_telling,
    new_job,
    report_job,
    restate,
    scope_failure,
)
from worklist.records.tables import InstanceRow, JobRow, ResultRow, StudyRow
from worklist.study import Failure, FilmFacts, JobEvent, JobPath, JobState, ReadingPolicy, leading_analysis, next_state

_OPEN = (JobState.SCHEDULED, JobState.IN_PROGRESS)
_WORKER_LOST = Failure(
    code="worker_lost",
    message="the worker died or hung on this film each time; see its log, then run: firstread retry",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLimits:
    """How patient the work is.

    Attributes:
        lease: how long a claim holds unless it is renewed.
        max_attempts: claims after which a job fails.
        first_pause: pause before the second attempt; it doubles with each, up to a minute.
        pacs_patience: how long a job waits for an absent PACS before that counts as a failure.
        requeue_after: how long a message may lie in the broker before another is sent; doubles with each.
    """

    lease: timedelta = timedelta(seconds=15)
    max_attempts: int = 5
    first_pause: timedelta = timedelta(seconds=1)
    pacs_patience: timedelta = timedelta(hours=1)
    requeue_after: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One claimed or due piece of work; created_at stays the same however often it is delivered."""

    job_id: str
    path: JobPath
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    revision: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredResult:
    """An object that now lies in the PACS; position counts crops from 1 and is 0 for everything else."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedFilm:
    """A film that could not be scored or is out of scope, and why."""

    series_instance_uid: str
    sop_instance_uid: str
    failure: Failure


class JobRecords:
    """The workers' and the dispatcher's side of the records."""

    def __init__(self, database: Database, policy: ReadingPolicy, limits: JobLimits) -> None:
        self._database = database
        self._policy = policy
        self.limits = limits

    def due(self, now: datetime, limit: int) -> list[Job]:
        """The jobs that the broker should hold a message for and may not: STAT first, then the oldest.

        A report waits until no film of its study is still to be scored.
        """
        waits = [
            and_(JobRow.enqueues == sent, JobRow.enqueued_at < now - self.limits.requeue_after * 2**sent)
            for sent in range(6)
        ]
        forgotten = or_(JobRow.enqueued_at.is_(None), *waits, JobRow.enqueued_at < now - timedelta(minutes=10))
        with self._database.read() as session:
            rows = session.scalars(
                select(JobRow)
                .join(StudyRow, StudyRow.study_instance_uid == JobRow.study_instance_uid)
                .where(JobRow.state == JobState.SCHEDULED, JobRow.not_before <= now, forgotten)
                .where(or_(JobRow.path == JobPath.SCORE, ~_film_is_open(JobRow.study_instance_uid)))
                .order_by(StudyRow.stat_rank, JobRow.created_at)
                .limit(limit)
            )
            return [_job(session, row) for row in rows]

    def record_enqueued(self, job_ids: Iterable[str], now: datetime) -> None:
        """Note that the broker took a message for each of these jobs."""
        with self._database.write() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.job_id.in_(list(job_ids)), JobRow.state == JobState.SCHEDULED)
                .values(enqueued_at=now, enqueues=JobRow.enqueues + 1)
            )

    def forget_enqueued(self) -> None:
        """The broker may have lost its memory: send every open message again."""
        with self._database.write() as session:
            session.execute(
                update(JobRow).where(JobRow.state == JobState.SCHEDULED).values(enqueued_at=None, enqueues=0)
            )

    def sweep(self, now: datetime) -> None:
        """Put back the jobs whose holder has not renewed its lease, and fail those it happens to each time."""
        with self._database.write() as session:
            lapsed = select(JobRow).where(JobRow.state == JobState.IN_PROGRESS, JobRow.lease_until < now)
            for row in session.scalars(lapsed.with_for_update(skip_locked=True)):
                study = lock_study(session, row.study_instance_uid)
                if row.attempts >= self.limits.max_attempts:
                    _cancel(row, _WORKER_LOST, now)
                else:
                    _postpone(row, now)
                if study:
                    restate(session, study, self._policy, now)

    def claim(self, job_id: str, holder: str, now: datetime) -> Job | None:
        """Take a job under a lease; None where it is done, not yet due, or in other hands.

        A report whose study has a film to score is not yet due, whenever its message was sent.
        """
        with self._database.write() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None:
                return None
            lapsed = row.state == JobState.IN_PROGRESS and row.lease_until is not None and row.lease_until < now
            if not lapsed and (row.state != JobState.SCHEDULED or row.not_before > now):
                return None
            if row.path is JobPath.REPORT:
                lock_study(session, row.study_instance_uid)  # a film that arrives now belongs to the next revision
                if session.scalar(select(_film_is_open(row.study_instance_uid))):
                    row.enqueued_at = None  # so that it is sent again once that film is scored
                    return None
            row.state = next_state(row.state, JobEvent.CLAIM)
            row.attempts += 1
            row.holder = holder
            row.lease_until = now + self.limits.lease
            return _job(session, row)

    def renew(self, job_id: str, holder: str, now: datetime) -> bool:
        """Extend the lease; False where it has been lost."""
        with self._database.write() as session:
            row = _held(session, job_id, holder)
            if row:
                row.lease_until = now + self.limits.lease
            return row is not None

    def complete_score(self, job_id: str, holder: str, analysis: Analysis, now: datetime) -> bool:
        """Store a film's Analysis and move its study; False where the lease has been lost."""
        with self._database.write() as session:
            row = _held(session, job_id, holder)
            if row is None:
                return False
            study = lock_study(session, row.study_instance_uid)
            instance = session.get(InstanceRow, (row.sop_instance_uid, row.study_instance_uid))
            if instance and instance.digest == row.digest:
                instance.analysis = analysis
            _finish(row, JobEvent.COMPLETE, now)
            if study:
                restate(session, study, self._policy, now)
            return True

    def leading_analysis(self, study_instance_uid: str) -> Analysis | None:
        """The Analysis of the study's highest film."""
        with self._database.read() as session:
            rows = session.scalars(
                select(InstanceRow).where(
                    InstanceRow.study_instance_uid == study_instance_uid,
                    InstanceRow.scope_code.is_(None),
                )
            )
            return leading_analysis(tuple(FilmFacts(analysis=row.analysis) for row in rows))

    def failed_film(self, study_instance_uid: str) -> FailedFilm | None:
        """A film that could not be scored, or else the most telling of those out of scope, and why."""
        with self._database.read() as session:
            row = session.execute(
                select(InstanceRow, JobRow)
                .join(
                    JobRow,
                    and_(
                        JobRow.study_instance_uid == InstanceRow.study_instance_uid,
                        JobRow.sop_instance_uid == InstanceRow.sop_instance_uid,
                        JobRow.digest == InstanceRow.digest,
                    ),
                )
                .where(InstanceRow.study_instance_uid == study_instance_uid, JobRow.state == JobState.CANCELED)
                .order_by(InstanceRow.sop_instance_uid)
                .limit(1)
            ).one_or_none()
            if row:
                instance, job = row
                failure = Failure(code=job.failure_code or "", message=job.failure_message or "")
            else:
                of_study = InstanceRow.study_instance_uid == study_instance_uid
                refused = select(InstanceRow).where(of_study, InstanceRow.scope_code.in_(REFUSED_RADIOGRAPHS))
                found = most_telling(session.scalars(refused.order_by(InstanceRow.sop_instance_uid)).all())
                if found is None:
                    return None
                instance, failure = found, scope_failure(found)
            return FailedFilm(
                series_instance_uid=instance.series_instance_uid,
                sop_instance_uid=instance.sop_instance_uid,
                failure=failure,
            )

    def predecessors(self, study_instance_uid: str, revision: int) -> list[StoredResult]:
        """The documents of the latest revision before this one."""
        with self._database.read() as session:
            rows = session.scalars(
                select(ResultRow)
                .where(
                    ResultRow.study_instance_uid == study_instance_uid,
                    ResultRow.revision < revision,
                    ResultRow.position == 0,
                )
                .order_by(ResultRow.revision.desc(), ResultRow.sop_instance_uid)
            ).all()
            return [
                StoredResult(
                    sop_instance_uid=row.sop_instance_uid,
                    series_instance_uid=row.series_instance_uid,
                    sop_class_uid=row.sop_class_uid,
                    position=row.position,
                )
                for row in rows
                if row.revision == rows[0].revision
            ]

    def complete_report(
        self, job_id: str, holder: str, analysis: Analysis | None, results: Iterable[StoredResult], now: datetime
    ) -> bool:
        """Note what was stored for a revision; False where the lease has been lost.

        Without an Analysis it is the report of a failure, and the study stays failed or out of scope.
        """
        with self._database.write() as session:
            row = _held(session, job_id, holder)
            if row is None:
                return False
            study = lock_study(session, row.study_instance_uid)
            of_revision = and_(
                ResultRow.study_instance_uid == row.study_instance_uid, ResultRow.revision == row.revision
            )
            session.execute(delete(ResultRow).where(of_revision))  # of an earlier run, which the PACS has lost
            for result in results:
                session.merge(
                    ResultRow(
                        sop_instance_uid=result.sop_instance_uid,
                        study_instance_uid=row.study_instance_uid,
                        series_instance_uid=result.series_instance_uid,
                        sop_class_uid=result.sop_class_uid,
                        revision=row.revision,
                        position=result.position,
                    )
                )
            _finish(row, JobEvent.COMPLETE, now)
            if study:
                if row.revision >= (study.reported_revision or 0):  # a slow report may end after the next one
                    study.reported_revision = row.revision
                    study.analysis = analysis
                restate(session, study, self._policy, now)
            return True

    def give_up(self, job_id: str, holder: str, error: FirstreadError, now: datetime) -> None:
        """Retry later where trying again may help and attempts are left; otherwise fail, visibly."""
        with self._database.write() as session:
            row = _held(session, job_id, holder)
            if row is None:
                return
            study = lock_study(session, row.study_instance_uid)
            if isinstance(error, PacsUnavailable) and now < row.created_at + self.limits.pacs_patience:
                _postpone(row, now + min(self.limits.first_pause * 2**row.attempts, timedelta(seconds=10)))
                row.attempts = min(row.attempts, self.limits.max_attempts - 1)
            elif isinstance(error, TransientError) and row.attempts < self.limits.max_attempts:
                _postpone(row, now + min(self.limits.first_pause * 2 ** (row.attempts - 1), timedelta(minutes=1)))
            else:
                _cancel(row, Failure(code=error.code, message=error.message), now)
            if study:
                restate(session, study, self._policy, now)

    def retry(self, study_instance_uids: Iterable[str], now: datetime) -> int:
        """Schedule the failed jobs of these studies again, of all studies where none is named; returns how many.

        Jobs that a newer image or revision has overtaken stay failed, and so do those of studies that are gone.
        """
        uids = list(study_instance_uids)
        is_current_film = exists().where(
            InstanceRow.study_instance_uid == JobRow.study_instance_uid,
            InstanceRow.sop_instance_uid == JobRow.sop_instance_uid,
            InstanceRow.digest == JobRow.digest,
        )
        is_current_report = and_(JobRow.path == JobPath.REPORT, JobRow.revision == StudyRow.revision)
        with self._database.write() as session:
            failed = (
                select(JobRow)
                .join(StudyRow, StudyRow.study_instance_uid == JobRow.study_instance_uid)
                .where(JobRow.state == JobState.CANCELED, StudyRow.withdrawn_at.is_(None))
                .where(or_(is_current_film, is_current_report))
            )
            if uids:
                failed = failed.where(JobRow.study_instance_uid.in_(uids))
            rows = session.scalars(failed.with_for_update(of=JobRow)).all()
            for row in rows:
                row.state = next_state(row.state, JobEvent.RERUN)
                row.attempts = row.enqueues = 0
                row.enqueued_at = row.failure_code = row.failure_message = row.finished_at = None
                row.not_before = row.created_at = now
            for uid in sorted({row.study_instance_uid for row in rows}):
                study = lock_study(session, uid)
                if study is None:
                    continue
                report = report_job(session, study)
                if report and report.state in {JobState.IN_PROGRESS, JobState.COMPLETED}:
                    # It told of the failure: the next one will not.
                    study.revision += 1
                    session.add(new_job(study, JobPath.REPORT, now))
                restate(session, study, self._policy, now)
            return len(rows)

    def count_open(self) -> int:
        """How many jobs are neither done nor failed."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).where(JobRow.state.in_(_OPEN))) or 0


def _film_is_open(study_instance_uid: str | InstrumentedAttribute[str]) -> Exists:
    score = aliased(JobRow)
    return exists().where(
        score.study_instance_uid == study_instance_uid, score.path == JobPath.SCORE, score.state.in_(_OPEN)
    )


def _held(session: Session, job_id: str, holder: str) -> JobRow | None:
    row = session.get(JobRow, job_id, with_for_update=True)
    return row if row and row.state == JobState.IN_PROGRESS and row.holder == holder else None


def _postpone(row: JobRow, not_before: datetime) -> None:
    row.state = next_state(row.state, JobEvent.POSTPONE)
    row.not_before = not_before
    row.holder = row.lease_until = row.enqueued_at = None
    row.enqueues = 0


def _cancel(row: JobRow, failure: Failure, now: datetime) -> None:
    row.failure_code = failure.code
    row.failure_message = failure.message
    _finish(row, JobEvent.FAIL, now)


def _finish(row: JobRow, event: JobEvent, now: datetime) -> None:
    row.state = next_state(row.state, event)
    row.finished_at = now
    row.holder = row.lease_until = None


def _job(session: Session, row: JobRow) -> Job:
    instance = session.get(InstanceRow, (row.sop_instance_uid, row.study_instance_uid))
    return Job(
        job_id=row.job_id,
        path=row.path,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=instance.series_instance_uid if instance else "",
        sop_instance_uid=row.sop_instance_uid,
        revision=row.revision,
        created_at=row.created_at,
    )
