"""A study with its images, jobs, report and reading: changed here, together, under one lock.

A revision is one set of images that is reported together. The first image opens the first. An image that is new,
replaced or gone opens the next one as soon as the report of the present one has begun; before that it joins it. The
report of a revision is scheduled once the study is complete, and begins once none of its images is still to be scored.

The order of locks, by which no two transactions wait for each other: the lease, then studies by rising identifier of
Orthanc's, then a study's jobs, then what is inserted or kept of it, which locks the study by its foreign key; the
events come last. Whoever holds no study locks one row alone, or passes over what somebody else holds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import and_, delete, select
from sqlalchemy.orm import Session

from worklist.finding import Analysis
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.procedure_step import ProcedureStepState
from worklist.reading import ON_THE_LIST, SYSTEM, Actor, HowRead, Reading, ReadingState
from worklist.records.addresses import others_of
from worklist.records.assessing import assess_rows, stands_as_it_was
from worklist.records.events import EventKind, has_happened, record
from worklist.records.images import (
    current_documents,
    eligible,
    refused_instance,
    scope_failure,
    scored_by,
)
from worklist.records.received import ReceivedInstance, date_of, instance_row
from worklist.records.tables import AnalysisRow, InstanceRow, JobRow, ReportRow, ResultRow, StudyRow
from worklist.scope import REFUSED_RADIOGRAPHS
from worklist.site import SiteRules
from worklist.step import StepName
from worklist.study import Failure, StudyState, StudyStatus, first_reading, is_old_study, reading_after
from worklist.triage import Urgency


class Study:
    """One study, locked against other writers until the transaction ends.

    Args:
        session: of the transaction.
        row: the study's.
        rules: the site's choices.
        now: the present moment.
    """

    def __init__(self, session: Session, row: StudyRow, rules: SiteRules, now: datetime) -> None:
        self.row = row
        self._session = session
        self._rules = rules
        self._now = now

    @classmethod
    def lock(cls, session: Session, orthanc_id: str, rules: SiteRules, now: datetime) -> Study | None:
        """A known study."""
        row = session.get(StudyRow, orthanc_id, with_for_update=True)
        return cls(session, row, rules, now) if row else None

    @classmethod
    def create(cls, session: Session, instance: ReceivedInstance, rules: SiteRules, now: datetime) -> Study:
        """A study of which the first instance has arrived."""
        reading = first_reading(date_of(instance.study_date), instance.received_at, now, rules.prior_after)
        row = StudyRow(
            orthanc_id=instance.orthanc_id,
            study_instance_uid=instance.study_instance_uid,
            received_at=instance.received_at,
            order_priority=instance.order_priority,
            queue_at=instance.received_at,
            state=StudyState.WAITING,
            stat_rank=1,
            reason="",
            revision=1,
            checked_at=now,
            modality="",
            is_past=instance.is_past,
        )
        study = cls(session, row, rules, now)
        study._describe(instance)
        study.reading = reading
        session.add(row)
        session.flush()
        record(session, EventKind.ARRIVED, row, reading=reading.state, number=reading.number)
        study._tell_others(EventKind.UID_SHARED)
        return study

    @property
    def reading(self) -> Reading:
        """The human side."""
        return self.row.reading

    @reading.setter
    def reading(self, reading: Reading) -> None:
        row = self.row
        row.reading_state = reading.state
        row.reading_since = reading.since
        row.reader = reading.reader
        row.reading_until = reading.lease_until
        row.how_read = reading.how
        row.returned_for = reading.returned_for
        row.reading_number = reading.number
        row.updated_at = self._now

    @property
    def is_on_the_list(self) -> bool:
        """Whether it is to be read."""
        return self.row.withdrawn_at is None and self.row.reading_state in ON_THE_LIST

    def receive(self, instance: ReceivedInstance) -> bool:
        """Take in an instance; whether anything is new, after which the study is to be recomputed.

        One that is known with the same digest changes nothing, unless it is looked at by now and was not.
        """
        row = self.row
        has_returned = row.withdrawn_at is not None
        if has_returned:
            self._forget_everything(instance.received_at)
        known = self._session.get(InstanceRow, (instance.sop_instance_uid, row.orthanc_id))
        is_same = known is not None and known.digest == instance.digest
        # The site may look at more images than before; what was scored stays.
        if known and is_same and (known.scope_code is None or instance.scope_failure is not None):
            return has_returned
        row.is_past = instance.is_past
        self._describe(instance)
        was_scored = known is not None and known.scope_code is None
        self._session.merge(instance_row(instance))
        if instance.scope_failure is None or was_scored:
            self._open_revision()
        if instance.scope_failure is None:
            self._await_completion()
            self._schedule_score(instance.sop_instance_uid, instance.digest)
            if not is_same:
                record(self._session, EventKind.IMAGE, row, image=instance.sop_instance_uid)
                self._consider_return(new_image=True, was=row.urgency, received_at=instance.received_at)
        elif self._is_reportable(instance.scope_failure) or (was_scored and self._has_images()):
            self._await_completion()
        return True

    def complete(self) -> None:
        """All images of the revision seem to be here: schedule its report, once."""
        row = self.row
        if row.incomplete_since is None:
            return
        row.incomplete_since = None
        if self.report_job() is None:
            self._session.add(self._new_job(Queue.REPORT))
            record(self._session, EventKind.COMPLETE, row, revision=row.revision)

    def recompute(self) -> None:
        """Bring state, class, place and reason up to date with images, jobs and the policy in force.

        What only a later version of Firstread can read is left as that version wrote it.
        """
        self.show(self._assess())

    def show(self, status: StudyStatus | None) -> None:
        """Bring it up to date with what was made of it; None leaves it as a later version wrote it."""
        if status is None:
            return
        row, before, was = self.row, self._shown, self.row.urgency
        self._apply(status)
        if self._consider_return(new_image=False, was=was, received_at=self._now):
            self._apply(self._assess() or status)
        row.updated_at = self._now
        if before != self._shown:
            record(
                self._session,
                EventKind.TRIAGED,
                row,
                state=row.state,
                urgency=row.urgency,
                score=row.score,
                harm=row.harm,
                queue_at=row.queue_at,
                order_priority=row.order_priority,
                reason=row.reason,
                policy=row.policy_digest,
            )

    def keep_analysis(
        self, sop_instance_uid: str, digest: str, analysis: Analysis, document: str, waited: timedelta
    ) -> None:
        """Keep what a scorer said of an image, and have the others scored again that another scorer judged."""
        row = self.row
        took_ms = [step.elapsed_ms for step in analysis.steps if step.name is StepName.SCORE]
        self._session.merge(
            AnalysisRow(
                study_orthanc_id=row.orthanc_id,
                sop_instance_uid=sop_instance_uid,
                digest=digest,
                scorer_sha256=analysis.scorer.sha256,
                scored_at=self._now,
                document=document,
            )
        )
        record(
            self._session,
            EventKind.SCORED,
            row,
            image=sop_instance_uid,
            score=analysis.score,
            scorer=analysis.scorer.sha256,
            waited_s=round(waited.total_seconds(), 3),
            scoring_s=sum(took_ms) / 1000 if took_ms else None,
        )
        self._session.flush()
        judged = scored_by(self._session, row.orthanc_id, analysis.scorer.sha256)
        for image, found in current_documents(self._session, row.orthanc_id).items():
            if found.scorer_sha256 != analysis.scorer.sha256 and image not in judged:
                self._schedule_score(*image)

    def withdraw(self) -> None:
        """It is no longer in the PACS: take it, and the work on it, off every list."""
        row = self.row
        row.withdrawn_at = row.updated_at = self._now
        row.incomplete_since = None
        self._session.execute(
            delete(JobRow).where(
                JobRow.study_orthanc_id == row.orthanc_id, JobRow.state == ProcedureStepState.SCHEDULED
            )
        )
        record(self._session, EventKind.WITHDRAWN, row, reading=row.reading_state, number=row.reading_number)
        self._tell_others(EventKind.UID_ALONE)

    def part_with(self, missing: Collection[str], elsewhere: Collection[str] = ()) -> None:
        """Some of it is no longer in the PACS: what was said of these images is no longer said, lost results are.

        Args:
            missing: SOP Instance UIDs that its study in the PACS does not have.
            elsewhere: those that another study has. A PACS that sorts our results into another study will do so again,
                so that they are written again once.
        """
        orthanc_id = self.row.orthanc_id
        of_missing = and_(InstanceRow.study_orthanc_id == orthanc_id, InstanceRow.sop_instance_uid.in_(missing))
        gone = self._session.scalars(select(InstanceRow).where(of_missing)).all()
        if any(row.scope_code is None for row in gone):
            self._open_revision()
            for row in gone:
                record(self._session, EventKind.IMAGE_GONE, self.row, image=row.sop_instance_uid)
            jobs = and_(JobRow.study_orthanc_id == orthanc_id, JobRow.sop_instance_uid.in_(missing))
            self._session.execute(delete(JobRow).where(jobs, JobRow.state == ProcedureStepState.SCHEDULED))
        self._session.execute(delete(InstanceRow).where(of_missing))
        if any(row.scope_code is None for row in gone):
            if self._has_images():
                self._await_completion()
            else:  # what is out of scope is told of in a report of its own
                self.row.incomplete_since = self.row.reported_revision = None
                refused = refused_instance(self._session, orthanc_id)
                if refused and self._is_reportable(scope_failure(refused)):
                    self._await_completion()
            self.recompute()
            return
        lost = self._session.scalars(
            select(ResultRow.sop_instance_uid).where(
                ResultRow.study_orthanc_id == orthanc_id,
                ResultRow.revision == self.row.reported_revision,
                ResultRow.sop_instance_uid.in_(missing),
            )
        ).all()
        is_sorted_away = bool(lost) and set(lost) <= set(elsewhere)
        if lost and not (
            is_sorted_away and has_happened(self._session, EventKind.LOST, self.row, revision=self.row.revision)
        ):
            self.reopen_report()

    def reopen_report(self) -> None:
        """The PACS has lost the results of the present revision: have them written again, under the same UIDs."""
        row = self.row
        row.reported_revision = None
        job = self.report_job()
        if job:
            self._session.delete(job)
            self._session.flush()
        self._await_completion()
        record(self._session, EventKind.LOST, row, revision=row.revision)
        self.recompute()

    def begin_next_revision(self) -> None:
        """What the present report says is no longer so: report again."""
        self.row.revision += 1
        self._session.add(self._new_job(Queue.REPORT))

    def report_job(self) -> JobRow | None:
        """The report job of the current revision."""
        return self._session.scalars(
            select(JobRow).where(
                JobRow.study_orthanc_id == self.row.orthanc_id,
                JobRow.queue == Queue.REPORT,
                JobRow.revision == self.row.revision,
            )
        ).one_or_none()

    @property
    def has_begun_report(self) -> bool:
        """Whether the report of the current revision was ever claimed or kept; what comes later is the next one's."""
        job = self.report_job()
        if job and job.state != ProcedureStepState.SCHEDULED:
            return True
        return self._session.get(ReportRow, (self.row.orthanc_id, self.row.revision)) is not None

    def change_reading(self, kind: EventKind, reading: Reading, by: Actor) -> None:
        """What a person did with the study."""
        self._change_reading(kind, reading, by=by)
        self.recompute()

    def return_for_film(self, came_at: datetime) -> None:
        """It was read, but perhaps not the film that came meanwhile: it is to be read again, marked."""
        self._consider_return(new_image=True, was=self.row.urgency, received_at=came_at)
        self.recompute()

    def _change_reading(self, kind: EventKind, reading: Reading, *, by: Actor = SYSTEM, **detail: object) -> None:
        row, was = self.row, self.row.reading_state
        self.reading = reading
        record(
            self._session,
            kind,
            row,
            by=by,
            was=was,
            reading=reading.state,
            number=reading.number,
            how=reading.how,
            received_at=row.received_at,
            urgency=row.urgency,
            queue_at=row.queue_at,
            policy=row.policy_digest,
            **detail,
        )

    def _consider_return(self, *, new_image: bool, was: Urgency | None, received_at: datetime) -> bool:
        row = self.row
        is_of_long_ago = is_old_study(date_of(row.study_date), row.received_at, self._rules.prior_after)
        back = reading_after(
            self.reading,
            new_image=new_image,
            was=was,
            now_is=row.urgency,
            now=self._now,
            is_old=is_of_long_ago and row.how_read in {HowRead.REPORT, HowRead.MESSAGE},  # nobody made it work here
        )
        if back == self.reading:
            return False
        row.received_at = max(row.received_at, received_at)
        self._change_reading(EventKind.RETURNED, back, why=back.returned_for)
        return True

    def _describe(self, instance: ReceivedInstance) -> None:
        row = self.row
        if instance.scope_failure is None or not row.modality:  # images speak for a study, documents where none does
            row.patient_id = instance.patient_id
            row.patient_name = instance.patient_name
            row.patient_sex = instance.patient_sex
            row.patient_age = instance.patient_age
            row.accession_number = instance.accession_number
            row.study_description = instance.study_description
            row.study_date = instance.study_date
            row.modality = instance.modality
            row.acquired_at = instance.acquired_at
            row.ward = instance.ward
            row.station = instance.station
            row.view = instance.view
            row.question = instance.question
        row.institution = row.institution or instance.institution  # the first word counts: no film moves a study
        if instance.order_priority is not OrderPriority.ROUTINE:
            row.order_priority = instance.order_priority

    def _forget_everything(self, received_at: datetime) -> None:
        # Its images and our results left with it, and not all of them need come back. What is said of those that do
        # is another revision and another reading, since the old ones were seen.
        row = self.row
        row.withdrawn_at = row.reported_revision = row.institution = None
        row.received_at = received_at
        row.revision += 1
        for table in (InstanceRow, JobRow, ResultRow, AnalysisRow, ReportRow):
            self._session.execute(delete(table).where(table.study_orthanc_id == row.orthanc_id))
        reading = first_reading(date_of(row.study_date), received_at, self._now, self._rules.prior_after)
        self.reading = replace(reading, number=row.reading_number + 1)
        record(self._session, EventKind.ARRIVED, row, reading=reading.state, number=row.reading_number, again=True)
        self._tell_others(EventKind.UID_SHARED)

    def _tell_others(self, kind: EventKind) -> None:
        # Their lines say whether another patient bears their Study Instance UID, so they change too.
        for other in others_of(self._session, self.row):
            record(self._session, kind, other)

    def _open_revision(self) -> None:
        if self.has_begun_report:
            self.row.revision += 1

    def _is_reportable(self, failure: Failure) -> bool:
        return self._rules.report_out_of_scope and failure.code in REFUSED_RADIOGRAPHS

    def _has_images(self) -> bool:
        self._session.flush()
        return self._session.scalars(eligible(self.row.orthanc_id).limit(1)).first() is not None

    def _await_completion(self) -> None:
        self.row.incomplete_since = self._now

    def _schedule_score(self, sop_instance_uid: str, digest: str) -> None:
        job = self._new_job(Queue.SCORE, sop_instance_uid=sop_instance_uid, digest=digest)
        self._session.execute(  # where these pixels come back after others under the same UID
            delete(JobRow).where(
                JobRow.study_orthanc_id == job.study_orthanc_id,
                JobRow.sop_instance_uid == job.sop_instance_uid,
                JobRow.digest == job.digest,
            )
        )
        self._session.add(job)

    def _new_job(self, queue: Queue, *, sop_instance_uid: str = "", digest: str = "") -> JobRow:
        return JobRow(
            job_id=str(uuid4()),
            study_orthanc_id=self.row.orthanc_id,
            queue=queue,
            revision=self.row.revision,
            sop_instance_uid=sop_instance_uid,
            digest=digest,
            state=ProcedureStepState.SCHEDULED,
            attempts=0,
            enqueues=0,
            not_before=self._now,
            created_at=self._now,
        )

    @property
    def _shown(self) -> tuple[object, ...]:
        row = self.row
        return (row.urgency, row.queue_at, row.stat_rank, row.state, row.reason)

    def _assess(self) -> StudyStatus | None:
        return assess_rows(self._session, [self.row], self._rules.start)[self.row.orthanc_id]

    def _apply(self, status: StudyStatus) -> None:
        row, triage = self.row, status.triage
        row.state = status.state
        row.score = status.analysis.score if status.analysis else None
        row.reason = status.reason
        row.failure_code = status.failure.code if status.failure else None
        row.failure_message = status.failure.message if status.failure else None
        is_stat = row.order_priority is OrderPriority.STAT and row.reading_state is not ReadingState.PRIOR
        row.stat_rank = 0 if is_stat else 1
        if stands_as_it_was(row, status):
            return
        row.harm = triage.harm if triage else None
        row.urgency = triage.urgency if triage else None
        row.policy_digest = triage.policy_digest if triage else None
        row.queue_at = status.queue_at
