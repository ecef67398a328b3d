"""The work: claimed under a lease, completed behind a fence, retried within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, exists, func, or_, select, true, update
from sqlalchemy.orm import Session

from worklist.errors import FirstreadError, PacsUnavailable, TransientError
from worklist.finding import Analysis, merge
from worklist.job import JobEvent, JobLimits, Queue, next_state
from worklist.procedure_step import ProcedureStepState
from worklist.records.database import Database
from worklist.records.documents import analysis_of_document, analysis_to_document
from worklist.records.events import EventKind, record
from worklist.records.policies import (
    follow_budget,
    newest_policy,
    policies_in_force,
    policy_of_digest,
    put_in_force,
)
from worklist.records.studies import (
    Study,
    current_analyses,
    failure_of,
    image_is_open,
    refused_instance,
    scope_failure,
)
from worklist.records.tables import ON_THE_LIST, OPEN, InstanceRow, JobRow, ReportRow, ResultRow, StudyRow
from worklist.scope import REFUSED_RADIOGRAPHS
from worklist.site import SiteRules
from worklist.study import Failure
from worklist.triage import Triage, TriagePolicy, assess

_AT_ONCE = 100  # studies that one transaction brings under a new policy
_WORKER_LOST = Failure(
    code="worker_lost",
    message="the worker died or hung on this image each time; see its log, then run: firstread retry",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One claimed piece of work; created_at stays the same however often it is delivered."""

    job_id: str
    queue: Queue
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
class FailedImage:
    """An image that could not be scored or is out of scope, and why."""

    series_instance_uid: str
    sop_instance_uid: str
    failure: Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSubject:
    """What a revision's report is to say.

    Attributes:
        analysis: of all scored images, merged; explained already where an earlier try has kept it. None for a failure.
        triage: what the rule made of it ...
        policy: ... under this policy.
        is_kept: whether analysis and times are those of an earlier try, and not to be made anew.
        reported_at: when it was kept.
        failed: why there is no Analysis.
        unscored: how many images of the study have none, in words that a reader needs.
        predecessors: the documents of the latest revision before this one.
    """

    analysis: Analysis | None
    triage: Triage | None
    policy: TriagePolicy | None
    is_kept: bool
    reported_at: datetime
    failed: FailedImage | None
    unscored: int
    predecessors: tuple[StoredResult, ...]


class JobRecords:
    """The workers' and the dispatcher's side of the records.

    Args:
        database: where they are kept.
        rules: the site's choices.
        limits: how patient the work is.
    """

    def __init__(self, database: Database, rules: SiteRules, limits: JobLimits) -> None:
        self._database = database
        self._rules = rules
        self.limits = limits

    def due(self, limit: int, queue: Queue | None = None) -> list[tuple[str, Queue]]:
        """The jobs that the broker should hold a message for and may not: STAT first, then in reading order.

        A report waits until no image of its study is still to be scored. Of one queue where one is named.
        """
        with self._database.read() as session:
            now = self._database.now(session)
            waits = [
                and_(JobRow.enqueues == sent, JobRow.enqueued_at < now - self.limits.requeue_after * 2**sent)
                for sent in range(6)
            ]
            forgotten = or_(JobRow.enqueued_at.is_(None), *waits, JobRow.enqueued_at < now - timedelta(minutes=10))
            rows = session.execute(
                select(JobRow.job_id, JobRow.queue)
                .join(StudyRow, StudyRow.study_instance_uid == JobRow.study_instance_uid)
                .where(OPEN, JobRow.state == ProcedureStepState.SCHEDULED, JobRow.not_before <= now, forgotten)
                .where(JobRow.queue == queue if queue else true())
                .where(or_(JobRow.queue == Queue.SCORE, ~image_is_open(JobRow.study_instance_uid)))
                .order_by(StudyRow.stat_rank, StudyRow.queue_at, JobRow.created_at)
                .limit(limit)
            )
            return [(job_id, queue) for job_id, queue in rows]

    def record_enqueued(self, job_ids: Iterable[str]) -> None:
        """Note that the broker took a message for each of these jobs."""
        with self._database.write() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.job_id.in_(list(job_ids)), JobRow.state == ProcedureStepState.SCHEDULED)
                .values(enqueued_at=self._database.now(session), enqueues=JobRow.enqueues + 1)
            )

    def forget_enqueued(self) -> None:
        """The broker may have lost its memory: send every open message again."""
        with self._database.write() as session:
            session.execute(
                update(JobRow).where(JobRow.state == ProcedureStepState.SCHEDULED).values(enqueued_at=None, enqueues=0)
            )

    def sweep(self) -> None:
        """Put back the jobs whose holder has not renewed its lease, and fail those it happens to each time."""
        with self._database.write() as session:
            now = self._database.now(session)
            lapsed = select(JobRow).where(
                OPEN, JobRow.state == ProcedureStepState.IN_PROGRESS, JobRow.lease_until < now
            )
            for row in session.scalars(lapsed.with_for_update(skip_locked=True)):
                study = Study.lock(session, row.study_instance_uid, self._rules, now)
                if row.attempts >= self.limits.max_attempts:
                    _cancel(session, row, _WORKER_LOST, now)
                else:
                    _postpone(row, now)
                if study:
                    study.recompute()

    def claim(self, job_id: str, holder: str) -> Job | None:
        """Take a job under a lease; None where it is done, not yet due, or in other hands.

        A report whose study has an image to score is not yet due, whenever its message was sent.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None:
                return None
            is_lapsed = (
                row.state == ProcedureStepState.IN_PROGRESS and row.lease_until is not None and row.lease_until < now
            )
            if not is_lapsed and (row.state != ProcedureStepState.SCHEDULED or row.not_before > now):
                return None
            if row.queue is Queue.REPORT:
                # Locked, so that an image which arrives now belongs to the next revision.
                Study.lock(session, row.study_instance_uid, self._rules, now)
                if session.scalar(select(image_is_open(row.study_instance_uid))):
                    row.enqueued_at = None  # so that it is sent again once that image is scored
                    return None
            row.state = next_state(row.state, JobEvent.CLAIM)
            row.attempts += 1
            row.holder = holder
            row.lease_until = now + self.limits.lease
            instance = session.get(InstanceRow, (row.sop_instance_uid, row.study_instance_uid))
            return Job(
                job_id=row.job_id,
                queue=row.queue,
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=instance.series_instance_uid if instance else "",
                sop_instance_uid=row.sop_instance_uid,
                revision=row.revision,
                created_at=row.created_at,
            )

    def renew(self, job_id: str, holder: str) -> bool:
        """Extend the lease; False where it has been lost."""
        with self._database.write() as session:
            row = _held(session, job_id, holder)
            if row:
                row.lease_until = self._database.now(session) + self.limits.lease
            return row is not None

    def complete_score(self, job_id: str, holder: str, analysis: Analysis) -> bool:
        """Keep what the scorer said of an image and triage its study again; False where the lease has been lost."""
        document = analysis_to_document(analysis)
        with self._database.write() as session:
            now = self._database.now(session)
            row = _held(session, job_id, holder)
            if row is None:
                return False
            study = Study.lock(session, row.study_instance_uid, self._rules, now)
            _finish(row, JobEvent.COMPLETE, now)
            if study:
                study.keep_analysis(row.sop_instance_uid, row.digest, analysis, document)
                study.recompute()
            return True

    def report_subject(self, job: Job) -> ReportSubject:
        """What the report of a claimed job is to say; the same each time once it has been kept."""
        uid = job.study_instance_uid
        with self._database.read() as session:
            kept = session.get(ReportRow, (uid, job.revision))
            analyses = [analysis for _, analysis in current_analyses(session, uid)]
            analysis = merge(analyses) if analyses else None
            policy = policies_in_force(session).get(analysis.scorer.sha256) if analysis else None
            if kept and kept.document:
                analysis = analysis_of_document(kept.document)
                policy = policy_of_digest(session, kept.policy_digest)
            images = session.scalar(
                select(func.count()).where(InstanceRow.study_instance_uid == uid, InstanceRow.scope_code.is_(None))
            )
            return ReportSubject(
                analysis=analysis,
                triage=assess(analysis, policy) if analysis and policy else None,
                policy=policy,
                is_kept=bool(kept and kept.document),
                reported_at=kept.reported_at if kept else self._database.now(session),
                failed=None if analysis else _failed_image(session, uid),
                unscored=(images or 0) - len(analyses),
                predecessors=_predecessors(session, uid, job.revision),
            )

    def keep_report(
        self, job_id: str, holder: str, subject: ReportSubject, explained: Analysis | None
    ) -> datetime | None:
        """Keep what a report says before anything of it is stored; returns its time, None where the lease is lost."""
        with self._database.write() as session:
            row = _held(session, job_id, holder)
            if row is None:
                return None
            kept = session.get(ReportRow, (row.study_instance_uid, row.revision))
            if kept is None or (kept.document is None) != (explained is None):
                kept = session.merge(
                    ReportRow(
                        study_instance_uid=row.study_instance_uid,
                        revision=row.revision,
                        document=analysis_to_document(explained) if explained else None,
                        policy_digest=subject.policy.digest if subject.policy else None,
                        reported_at=subject.reported_at,
                        stored_at=None,
                    )
                )
            return kept.reported_at

    def complete_report(self, job_id: str, holder: str, results: Iterable[StoredResult]) -> bool:
        """Note what was stored for a revision, and when; False where the lease has been lost."""
        with self._database.write() as session:
            now = self._database.now(session)
            row = _held(session, job_id, holder)
            if row is None:
                return False
            study = Study.lock(session, row.study_instance_uid, self._rules, now)
            of_revision = and_(
                ResultRow.study_instance_uid == row.study_instance_uid, ResultRow.revision == row.revision
            )
            session.execute(delete(ResultRow).where(of_revision))  # of an earlier run, which the PACS has lost
            stored = list(results)
            for result in stored:
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
            kept = session.get(ReportRow, (row.study_instance_uid, row.revision))
            if kept:
                kept.stored_at = now
            _finish(row, JobEvent.COMPLETE, now)
            if study:
                if row.revision >= (study.row.reported_revision or 0):  # a slow report may end after the next one
                    study.row.reported_revision = row.revision
                record(
                    session,
                    EventKind.REPORTED,
                    row.study_instance_uid,
                    revision=row.revision,
                    objects=len(stored),
                    policy=kept.policy_digest if kept else None,
                )
                study.recompute()
            return True

    def give_up(self, job_id: str, holder: str, error: FirstreadError) -> None:
        """Retry later where trying again may help and attempts are left; otherwise fail, visibly."""
        with self._database.write() as session:
            now = self._database.now(session)
            row = _held(session, job_id, holder)
            if row is None:
                return
            study = Study.lock(session, row.study_instance_uid, self._rules, now)
            if isinstance(error, PacsUnavailable) and now < row.created_at + self.limits.pacs_patience:
                _postpone(row, now + min(self.limits.first_pause * 2**row.attempts, timedelta(seconds=10)))
                row.attempts = min(row.attempts, self.limits.max_attempts - 1)
            elif isinstance(error, TransientError) and row.attempts < self.limits.max_attempts:
                _postpone(row, now + min(self.limits.first_pause * 2 ** (row.attempts - 1), timedelta(minutes=1)))
            else:
                _cancel(session, row, Failure(code=error.code, message=error.message), now)
            if study:
                study.recompute()

    def retry(self, study_instance_uids: Iterable[str]) -> int:
        """Schedule the failed jobs of these studies again, of all studies where none is named; returns how many.

        Jobs that a newer image or revision has overtaken stay failed, and so do those of studies that are gone.
        """
        uids = list(study_instance_uids)
        is_current_image = exists().where(
            InstanceRow.study_instance_uid == JobRow.study_instance_uid,
            InstanceRow.sop_instance_uid == JobRow.sop_instance_uid,
            InstanceRow.digest == JobRow.digest,
        )
        is_current_report = and_(JobRow.queue == Queue.REPORT, JobRow.revision == StudyRow.revision)
        with self._database.write() as session:
            now = self._database.now(session)
            failed = (
                select(JobRow)
                .join(StudyRow, StudyRow.study_instance_uid == JobRow.study_instance_uid)
                .where(JobRow.state == ProcedureStepState.CANCELED, StudyRow.withdrawn_at.is_(None))
                .where(or_(is_current_image, is_current_report))
            )
            if uids:
                failed = failed.where(JobRow.study_instance_uid.in_(uids))
            rows = session.scalars(failed.with_for_update(of=JobRow)).all()
            for row in rows:
                record(session, EventKind.RETRIED, row.study_instance_uid, failure=row.failure_code)
                row.state = next_state(row.state, JobEvent.RERUN)
                row.attempts = row.enqueues = 0
                row.enqueued_at = row.failure_code = row.failure_message = row.finished_at = None
                row.not_before = row.created_at = now
            for uid in sorted({row.study_instance_uid for row in rows}):
                study = Study.lock(session, uid, self._rules, now)
                if study is None:
                    continue
                report = study.report_job()
                if report and report.state in {ProcedureStepState.IN_PROGRESS, ProcedureStepState.COMPLETED}:
                    study.begin_next_revision()  # it told of the failure: the next one will not
                study.recompute()
            return len(rows)

    def count_open(self) -> int:
        """How many jobs are neither done nor failed."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(JobRow).where(OPEN)) or 0

    def adopt_policy(self, policy: TriagePolicy) -> bool:
        """Bring a scorer's policy into force and triage all that is to be read by it; False where it is already."""
        with self._database.write() as session:
            is_new = put_in_force(session, policy, self._database.now(session))
        if is_new:
            self._triage_again()
        return is_new

    def follow_budget(self) -> bool:
        """Once a day, set the alert budget by the site's own last scores; whether that changed anything."""
        with self._database.write() as session:
            changed = follow_budget(session, self._database.now(session))
        if changed:
            self._triage_again()
        return bool(changed)

    def policy(self) -> TriagePolicy | None:
        """The policy that came into force last; None before any worker has started."""
        with self._database.read() as session:
            return newest_policy(session)

    def policies(self) -> Mapping[str, TriagePolicy]:
        """The policies in force, by the digest of the scorer's weights."""
        with self._database.read() as session:
            return policies_in_force(session)

    def _triage_again(self) -> None:
        with self._database.read() as session:
            uids = session.scalars(select(StudyRow.study_instance_uid).where(ON_THE_LIST)).all()
        for start in range(0, len(uids), _AT_ONCE):
            with self._database.write() as session:
                now = self._database.now(session)
                for uid in sorted(uids[start : start + _AT_ONCE]):
                    study = Study.lock(session, uid, self._rules, now)
                    if study and study.is_on_the_list:
                        study.recompute()


def _failed_image(session: Session, study_instance_uid: str) -> FailedImage | None:
    """An image that could not be scored, or else the most telling of those out of scope, and why."""
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
        .where(InstanceRow.study_instance_uid == study_instance_uid, JobRow.state == ProcedureStepState.CANCELED)
        .order_by(InstanceRow.sop_instance_uid)
        .limit(1)
    ).one_or_none()
    if row:
        instance, failure = row[0], failure_of(row[1])
    else:
        refused = refused_instance(session, study_instance_uid)
        if refused is None or refused.scope_code not in REFUSED_RADIOGRAPHS:
            return None
        instance, failure = refused, scope_failure(refused)
    return FailedImage(
        series_instance_uid=instance.series_instance_uid, sop_instance_uid=instance.sop_instance_uid, failure=failure
    )


def _predecessors(session: Session, study_instance_uid: str, revision: int) -> tuple[StoredResult, ...]:
    rows = session.scalars(
        select(ResultRow)
        .where(
            ResultRow.study_instance_uid == study_instance_uid,
            ResultRow.revision < revision,
            ResultRow.position == 0,
        )
        .order_by(ResultRow.revision.desc(), ResultRow.sop_instance_uid)
    ).all()
    return tuple(
        StoredResult(
            sop_instance_uid=row.sop_instance_uid,
            series_instance_uid=row.series_instance_uid,
            sop_class_uid=row.sop_class_uid,
            position=row.position,
        )
        for row in rows
        if row.revision == rows[0].revision
    )


def _held(session: Session, job_id: str, holder: str) -> JobRow | None:
    row = session.get(JobRow, job_id, with_for_update=True)
    return row if row and row.state == ProcedureStepState.IN_PROGRESS and row.holder == holder else None


def _postpone(row: JobRow, not_before: datetime) -> None:
    row.state = next_state(row.state, JobEvent.POSTPONE)
    row.not_before = not_before
    row.holder = row.lease_until = row.enqueued_at = None
    row.enqueues = 0


def _cancel(session: Session, row: JobRow, failure: Failure, now: datetime) -> None:
    row.failure_code = failure.code
    row.failure_message = failure.message
    record(
        session,
        EventKind.FAILED,
        row.study_instance_uid,
        queue=row.queue,
        image=row.sop_instance_uid,
        code=failure.code,
        message=failure.message,
    )
    _finish(row, JobEvent.FAIL, now)


def _finish(row: JobRow, event: JobEvent, now: datetime) -> None:
    row.state = next_state(row.state, event)
    row.finished_at = now
    row.holder = row.lease_until = None
