"""The work: claimed under a lease, completed behind a fence, retried within bounds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from worklist.card import ScorerCard
from worklist.choices import Choices
from worklist.errors import FirstreadError, PacsUnavailable, TransientError
from worklist.finding import Analysis
from worklist.job import JobEvent, JobLimits, Queue, next_state
from worklist.procedure_step import ProcedureStepState
from worklist.reading import SYSTEM, Actor
from worklist.records import adoption, failures, reports
from worklist.records.choices import choices_in_force
from worklist.records.database import Database
from worklist.records.documents import analysis_to_document
from worklist.records.due import IMPOSSIBLE, LONGEST_PAUSE, due_jobs, is_undelivered, retried_in_vain, waiting_in_vain
from worklist.records.events import EventKind, record
from worklist.records.failures import FailedWork
from worklist.records.found import FoundReports, take_over
from worklist.records.images import image_is_open
from worklist.records.leases import is_gone, living_workers, say_alive, say_ended
from worklist.records.policies import newest_policy, policies_in_force
from worklist.records.reports import ReportSubject, StoredResult
from worklist.records.studies import Study
from worklist.records.tables import OPEN, InstanceRow, JobRow, StudyRow
from worklist.scope import SEEN_OUT_OF_SCOPE
from worklist.site import SiteRules
from worklist.study import Failure
from worklist.triage import TriagePolicy

_WORKER_LOST = Failure(
    code="worker_lost",
    message="the worker died or hung on this image each time; see its log, then run: firstread retry",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One claimed piece of work.

    Attributes:
        study_orthanc_id: Orthanc's identifier of its study, which a Study Instance UID of two patients is not.
        image_orthanc_id: Orthanc's identifier of its image, as far as it is known; None for a report.
        created_at: stays the same however often it is delivered.
    """

    job_id: str
    queue: Queue
    study_orthanc_id: str
    image_orthanc_id: str | None
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    revision: int
    created_at: datetime


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

    def due(
        self, limit: int, queue: Queue | None = None, *, with_past: bool = True, nothing_waits: bool = False
    ) -> list[tuple[str, Queue]]:
        """The jobs that the broker should hold a message for and may not: STAT first, then in reading order.

        A report waits until no image of its study is still to be scored.

        Args:
            limit: how many at most.
            queue: of this queue alone; None for all.
            with_past: with what a look back found and nobody has flagged.
            nothing_waits: no message waits in the broker, so that those which were sent a while ago, and whose jobs
                nobody has claimed, are lost.
        """
        patience = self.limits.resend_after if nothing_waits else self.limits.requeue_after
        with self._database.read() as session:
            return due_jobs(session, self._database.now(session), limit, patience, queue, with_past=with_past)

    def record_enqueued(self, job_ids: Iterable[str]) -> None:
        """Note that the broker took a message for each of these jobs."""
        with self._database.write() as session:
            free = _scheduled().where(JobRow.job_id.in_(list(job_ids)))
            session.execute(
                update(JobRow)
                .where(JobRow.job_id.in_(free))
                .values(enqueued_at=self._database.now(session), enqueues=JobRow.enqueues + 1)
            )

    def forget_enqueued(self) -> None:
        """The broker may have lost its memory: send every open message again."""
        with self._database.write() as session:
            session.execute(update(JobRow).where(JobRow.job_id.in_(_scheduled())).values(enqueued_at=None, enqueues=0))

    def sweep(self) -> None:
        """Put back the jobs whose holder died or has not renewed its lease, and fail those it happens to each time."""
        with self._database.read() as session:
            now = self._database.now(session)
            held = session.scalars(select(JobRow).where(OPEN, JobRow.state == ProcedureStepState.IN_PROGRESS))
            lapsed = [row.job_id for row in held if self._is_lapsed(row, now)]
        for job_id in lapsed:
            with self._database.write() as session:
                now = self._database.now(session)
                row, study = self._lock(session, job_id, now)
                if row is None or study is None or not self._is_lapsed(row, now):
                    continue
                if row.attempts >= self.limits.max_attempts:
                    _cancel(session, row, study.row, _WORKER_LOST, now)
                else:
                    _postpone(row, now)
                study.recompute()

    def claim(self, job_id: str, holder: str) -> Job | None:
        """Take a job under a lease; None where it is done, not yet due, or in other hands.

        A report whose study has an image to score is not yet due, whenever its message was sent.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            row, study = self._lock(session, job_id, now)  # an image that arrives now is the next report's
            if row is None or study is None:
                return None
            can_begin = row.state == ProcedureStepState.SCHEDULED and not now < row.not_before <= now + IMPOSSIBLE
            can_go_on = self._is_lapsed(row, now) and row.attempts < self.limits.max_attempts  # else the sweep fails it
            if not (can_begin or can_go_on):
                return None
            if row.queue is Queue.REPORT and session.scalar(select(image_is_open(row.study_orthanc_id))):
                row.enqueued_at = None  # so that it is sent again once that image is scored
                return None
            row.state = next_state(row.state, JobEvent.CLAIM)
            row.attempts += 1
            row.holder = holder
            row.lease_until = now + self.limits.lease
            instance = session.get(InstanceRow, (row.sop_instance_uid, row.study_orthanc_id))
            return Job(
                job_id=row.job_id,
                queue=row.queue,
                study_orthanc_id=row.study_orthanc_id,
                image_orthanc_id=instance.orthanc_id if instance else None,
                study_instance_uid=study.row.study_instance_uid,
                series_instance_uid=instance.series_instance_uid if instance else "",
                sop_instance_uid=row.sop_instance_uid,
                revision=row.revision,
                created_at=row.created_at,
            )

    def renew(self, job_id: str, holder: str) -> bool:
        """Extend the lease; False where it has been lost."""
        with self._database.write() as session:
            row = session.get(JobRow, job_id, with_for_update=True)
            if row is None or not _is_held(row, holder):
                return False
            row.lease_until = self._database.now(session) + self.limits.lease
            return True

    def complete_score(self, job_id: str, holder: str, analysis: Analysis) -> bool:
        """Keep what the scorer said of an image and triage its study again; False where the lease has been lost."""
        document = analysis_to_document(analysis)
        with self._database.write() as session:
            now = self._database.now(session)
            row, study = self._lock(session, job_id, now)
            if row is None or study is None or not _is_held(row, holder):
                return False
            _finish(row, JobEvent.COMPLETE, now)
            study.keep_analysis(row.sop_instance_uid, row.digest, analysis, document, now - row.created_at)
            study.recompute()
            return True

    def report_subject(self, job: Job) -> ReportSubject:
        """What the report of a claimed job is to say; the same each time once it has been kept."""
        with self._database.read() as session:
            return reports.report_subject(session, job.study_orthanc_id, job.revision, self._database.now(session))

    def take_over(self, job: Job, holder: str, found: FoundReports, subject: ReportSubject) -> Job | None:
        """Take over what the PACS has of a claimed report, instead of writing it again.

        Returns:
            The job, under the next free revision where the PACS has something else; None where nothing is left to do.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            row, study = self._lock(session, job.job_id, now)
            if row is None or study is None or not _is_held(row, holder):
                return None
            if take_over(session, study, row, found, subject):
                return replace(job, revision=row.revision)
            _finish(row, JobEvent.COMPLETE, now)
            study.recompute()
            return None

    def is_reported(self, subject: ReportSubject) -> bool:
        """Whether the site wants a report of it: of an image that its pixels put out of scope it may want none."""
        why = None if subject.analysis else subject.failed
        return self._rules.report_out_of_scope or why is None or why.failure.code not in SEEN_OUT_OF_SCOPE

    def keep_report(
        self, job_id: str, holder: str, subject: ReportSubject, explained: Analysis | None
    ) -> datetime | None:
        """Keep what a report says before anything of it is stored; returns its time, None where the lease is lost."""
        with self._database.write() as session:
            row, _ = self._lock(session, job_id, self._database.now(session))
            if row is None or not _is_held(row, holder):
                return None
            return reports.keep_report(session, row, subject, explained)

    def complete_report(self, job_id: str, holder: str, results: Iterable[StoredResult]) -> bool:
        """Note what was stored for a revision, and when; False where the lease has been lost."""
        with self._database.write() as session:
            now = self._database.now(session)
            row, study = self._lock(session, job_id, now)
            if row is None or study is None or not _is_held(row, holder):
                return False
            stored = list(results)
            kept = reports.keep_results(session, row, stored, now)
            _finish(row, JobEvent.COMPLETE, now)
            if row.revision >= (study.row.reported_revision or 0):  # a slow report may end after the next one
                study.row.reported_revision = row.revision
            record(
                session,
                EventKind.REPORTED,
                study.row,
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
            row, study = self._lock(session, job_id, now)
            if row is None or study is None or not _is_held(row, holder):
                return
            if isinstance(error, PacsUnavailable) and now < row.created_at + self.limits.pacs_patience:
                _postpone(row, now + min(self.limits.first_pause * 2**row.attempts, timedelta(seconds=10)), error)
                row.attempts = min(row.attempts, self.limits.max_attempts - 1)
            elif isinstance(error, TransientError) and row.attempts < self.limits.max_attempts:
                _postpone(row, now + min(self.limits.first_pause * 2 ** (row.attempts - 1), LONGEST_PAUSE), error)
            else:
                _cancel(session, row, study.row, Failure(code=error.code, message=error.message), now)
            study.recompute()

    def retry(self, addresses: Collection[str], by: Actor = SYSTEM) -> int:
        """Schedule the failed jobs of these studies again, of all studies where none is named; returns how many.

        A study is named by its Study Instance UID, which may be that of several patients, or by Orthanc's identifier.
        """
        return failures.retry(self._database, self._rules, addresses, by)

    def failed(self, limit: int = 100, offset: int = 0) -> tuple[int, list[FailedWork]]:
        """How much has failed and may be tried again, and a page of it, what failed last first."""
        with self._database.read() as session:
            return failures.count_failed(session), failures.failed_work(session, limit, offset)

    def count_failed(self) -> int:
        """How much has failed and may be tried again."""
        with self._database.read() as session:
            return failures.count_failed(session)

    def count_open(self) -> int:
        """How many jobs are neither done nor failed."""
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(JobRow).where(OPEN)) or 0

    def waiting_in_vain(self) -> dict[Queue, timedelta]:
        """Of each queue whose due jobs nobody has taken for a while, how long the oldest of them has waited."""
        with self._database.read() as session:
            return waiting_in_vain(session, self._database.now(session))

    def retried_in_vain(self, age: timedelta) -> dict[tuple[str, str], int]:
        """Codes and messages for which work of that age is still tried again, and how many jobs of each."""
        with self._database.read() as session:
            return retried_in_vain(session, self._database.now(session) - age)

    def say_alive(self, queues: tuple[Queue, ...]) -> None:
        """This process lives, and serves some queues."""
        with self._database.write() as session:
            say_alive(session, queues, self._database.now(session))

    def say_ended(self) -> None:
        """This process served some queues, and ends by itself."""
        with self._database.write() as session:
            say_ended(session)

    def living_workers(self) -> dict[Queue, int]:
        """How many workers' processes serve each queue, as far as they have said lately."""
        with self._database.read() as session:
            return living_workers(session, self._database.now(session))

    def is_undelivered(self, queues: tuple[Queue, ...]) -> bool:
        """Whether messages of some queues were sent long ago, and nobody has taken any of their jobs since."""
        with self._database.read() as session:
            return is_undelivered(session, queues, self._database.now(session))

    def adopt_policy(self, policy: TriagePolicy) -> bool:
        """Bring a scorer's policy into force and triage all that is to be read by it; False where it is already.

        What was chosen at run time takes the place of its choices.
        """
        return adoption.adopt_policy(self._database, self._rules, policy)

    def follow_budget(self) -> bool:
        """Once a day, set the alert budget by the site's own last scores; whether that changed anything."""
        return adoption.follow_budget(self._database, self._rules)

    def policy(self) -> TriagePolicy | None:
        """The policy that came into force last; None before any worker has started."""
        with self._database.read() as session:
            return newest_policy(session)

    def policies(self) -> Mapping[str, TriagePolicy]:
        """The policies in force, by the digest of the scorer's weights."""
        with self._database.read() as session:
            return policies_in_force(session)

    def choices(self) -> Choices:
        """What the site has chosen of the triage rule and of the scope."""
        with self._database.read() as session:
            return choices_in_force(session, self._rules.start)

    def policy_of(self, card: ScorerCard) -> TriagePolicy:
        """The policy in force for a scorer, or that which would come into force were a worker to bring its card."""
        with self._database.read() as session:
            known = policies_in_force(session).get(card.sha256)
            return known or TriagePolicy.of(card, choices_in_force(session, self._rules.start).triage.known_to(card))

    def _is_lapsed(self, row: JobRow, now: datetime) -> bool:
        if row.state != ProcedureStepState.IN_PROGRESS or row.lease_until is None:
            return False
        is_in_time = now <= row.lease_until <= now + self.limits.lease + IMPOSSIBLE
        return not is_in_time or is_gone(row.holder or "")

    def _lock(self, session: Session, job_id: str, now: datetime) -> tuple[JobRow | None, Study | None]:
        # The study first, then the job: see the order of locks in studies.py.
        orthanc_id = session.scalar(select(JobRow.study_orthanc_id).where(JobRow.job_id == job_id))
        study = Study.lock(session, orthanc_id, self._rules, now) if orthanc_id is not None else None
        row = session.get(JobRow, job_id, with_for_update=True)
        return row, study


def _scheduled() -> Select[str]:
    # Without their studies: so a job that somebody holds, and is about to change, is passed over and not waited for.
    waiting = select(JobRow.job_id).where(JobRow.state == ProcedureStepState.SCHEDULED)
    return waiting.with_for_update(skip_locked=True)


def _is_held(row: JobRow, holder: str) -> bool:
    return row.state == ProcedureStepState.IN_PROGRESS and row.holder == holder


def _postpone(row: JobRow, not_before: datetime, why: FirstreadError | None = None) -> None:
    row.state = next_state(row.state, JobEvent.POSTPONE)
    row.not_before = not_before
    row.holder = row.lease_until = row.enqueued_at = None
    row.enqueues = 0
    if why:
        row.failure_code, row.failure_message = why.code, why.message


def _cancel(session: Session, row: JobRow, study: StudyRow, failure: Failure, now: datetime) -> None:
    row.failure_code = failure.code
    row.failure_message = failure.message
    record(
        session,
        EventKind.FAILED,
        study,
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
    if event is JobEvent.COMPLETE:
        row.failure_code = row.failure_message = None  # of the tries before
