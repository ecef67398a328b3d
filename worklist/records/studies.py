"""A study with its images, jobs, report and reading: changed here, together, under one lock.

A revision is one set of images that is reported together. The first image opens the first. An image that is new,
replaced or gone opens the next one as soon as the report of the present one has begun; before that it joins it. The
report of a revision is scheduled once the study is complete, and begins once none of its images is still to be scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import uuid4

from sqlalchemy import ColumnElement, Select, and_, case, delete, exists, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from worklist.finding import Analysis
from worklist.job import OPEN_JOBS, Queue
from worklist.order import OrderPriority
from worklist.procedure_step import ProcedureStepState
from worklist.reading import ON_THE_LIST, SYSTEM, Actor, Reading
from worklist.records.documents import analysis_of_document
from worklist.records.events import EventKind, record
from worklist.records.policies import policies_in_force
from worklist.records.tables import AnalysisRow, InstanceRow, JobRow, ReportRow, ResultRow, StudyRow
from worklist.scope import REFUSED_RADIOGRAPHS, TELLING
from worklist.site import SiteRules
from worklist.study import Failure, ImageFacts, StudyFacts, StudyState, assess_study, first_reading, reading_after


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedInstance:
    """One SOP Instance as the PACS tells of it; orthanc_id is the study's."""

    orthanc_id: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    digest: str
    received_at: datetime
    patient_id: str
    patient_name: str
    accession_number: str
    study_description: str
    modality: str
    order_priority: OrderPriority
    scope_failure: Failure | None
    patient_sex: str = ""
    patient_age: str = ""
    study_date: str = ""
    acquired_at: datetime | None = None


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
    def lock(cls, session: Session, study_instance_uid: str, rules: SiteRules, now: datetime) -> Study | None:
        """A known study."""
        row = session.get(StudyRow, study_instance_uid, with_for_update=True)
        return cls(session, row, rules, now) if row else None

    @classmethod
    def create(cls, session: Session, instance: ReceivedInstance, rules: SiteRules, now: datetime) -> Study:
        """A study of which the first instance has arrived."""
        reading = first_reading(_date(instance.study_date), instance.received_at, now, rules.prior_after)
        row = StudyRow(
            study_instance_uid=instance.study_instance_uid,
            orthanc_id=instance.orthanc_id,
            received_at=instance.received_at,
            order_priority=instance.order_priority,
            queue_at=instance.received_at,
            state=StudyState.WAITING,
            stat_rank=1,
            reason="",
            revision=1,
            checked_at=now,
            modality="",
        )
        study = cls(session, row, rules, now)
        study._describe(instance)
        study.reading = reading
        study.recompute()
        session.add(row)
        session.flush()
        record(session, EventKind.ARRIVED, row.study_instance_uid, reading=reading.state)
        return study

    @property
    def reading(self) -> Reading:
        """The human side."""
        row = self.row
        return Reading(
            state=row.reading_state,
            since=row.reading_since,
            reader=row.reader,
            lease_until=row.reading_until,
            how=row.how_read,
            returned_for=row.returned_for,
            number=row.reading_number,
        )

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

        One that is known with the same digest changes nothing.
        """
        row = self.row
        row.orthanc_id = instance.orthanc_id
        has_returned = row.withdrawn_at is not None
        if has_returned:
            self._forget_everything(instance.received_at)
        known = self._session.get(InstanceRow, (instance.sop_instance_uid, instance.study_instance_uid))
        if known is not None and known.digest == instance.digest:
            return has_returned
        self._describe(instance)
        was_scored = known is not None and known.scope_code is None
        self._session.merge(_instance_row(instance))
        if instance.scope_failure is None or was_scored:
            self._open_revision()
        if instance.scope_failure is None:
            self._await_completion()
            self._schedule_score(instance.sop_instance_uid, instance.digest)
            back = reading_after(self.reading, new_image=True, was=row.urgency, now_is=row.urgency, now=self._now)
            if back != self.reading:
                row.received_at = instance.received_at
                self._change_reading(EventKind.RETURNED, back, why=back.returned_for)
            record(self._session, EventKind.IMAGE, row.study_instance_uid, image=instance.sop_instance_uid)
        elif self._rules.report_out_of_scope and instance.scope_failure.code in REFUSED_RADIOGRAPHS:
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
            record(self._session, EventKind.COMPLETE, row.study_instance_uid, revision=row.revision)

    def recompute(self) -> None:
        """Bring state, class, place and reason up to date with images, jobs and the policy in force."""
        row, before = self.row, (self.row.urgency, self.row.queue_at, self.row.state, self.row.reason)
        facts = self._facts()
        status = assess_study(facts, policies_in_force(self._session), self._rules.triage)
        was = row.urgency
        row.state = status.state
        row.score = status.analysis.score if status.analysis else None
        row.harm = status.triage.harm if status.triage else None
        row.urgency = status.triage.urgency if status.triage else None
        row.policy_digest = status.triage.policy_digest if status.triage else None
        row.queue_at = status.queue_at
        row.stat_rank = 0 if row.order_priority is OrderPriority.STAT and not facts.is_prior else 1
        row.reason = status.reason
        row.failure_code = status.failure.code if status.failure else None
        row.failure_message = status.failure.message if status.failure else None
        row.updated_at = self._now
        back = reading_after(self.reading, new_image=False, was=was, now_is=row.urgency, now=self._now)
        if back != self.reading:
            self._change_reading(EventKind.RETURNED, back, why=back.returned_for)
        if before != (row.urgency, row.queue_at, row.state, row.reason):
            record(
                self._session,
                EventKind.TRIAGED,
                row.study_instance_uid,
                state=row.state,
                urgency=row.urgency,
                score=row.score,
                harm=row.harm,
                queue_at=row.queue_at,
                order_priority=row.order_priority,
                policy=row.policy_digest,
            )

    def keep_analysis(self, sop_instance_uid: str, digest: str, analysis: Analysis, document: str) -> None:
        """Keep what a scorer said of an image, and have the others scored again that another scorer judged."""
        row = self.row
        self._session.merge(
            AnalysisRow(
                study_instance_uid=row.study_instance_uid,
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
            row.study_instance_uid,
            image=sop_instance_uid,
            score=analysis.score,
            scorer=analysis.scorer.sha256,
        )
        self._session.flush()
        for instance, found in self._session.execute(_current_analyses(row.study_instance_uid)):
            if found.scorer_sha256 != analysis.scorer.sha256:
                self._schedule_score(instance.sop_instance_uid, instance.digest)

    def withdraw(self) -> None:
        """It is no longer in the PACS: take it off every list."""
        self.row.withdrawn_at = self.row.updated_at = self._now
        record(self._session, EventKind.WITHDRAWN, self.row.study_instance_uid)

    def reopen_report(self) -> None:
        """The PACS has lost the results of the present revision: have them written again, under the same UIDs."""
        row = self.row
        row.reported_revision = None
        job = self.report_job()
        if job:
            self._session.delete(job)
            self._session.flush()
        self._await_completion()
        record(self._session, EventKind.LOST, row.study_instance_uid, revision=row.revision)
        self.recompute()

    def begin_next_revision(self) -> None:
        """What the present report says is no longer so: report again."""
        self.row.revision += 1
        self._session.add(self._new_job(Queue.REPORT))

    def report_job(self) -> JobRow | None:
        """The report job of the current revision."""
        return self._session.scalars(
            select(JobRow).where(
                JobRow.study_instance_uid == self.row.study_instance_uid,
                JobRow.queue == Queue.REPORT,
                JobRow.revision == self.row.revision,
            )
        ).one_or_none()

    def change_reading(self, kind: EventKind, reading: Reading, by: Actor) -> None:
        """What a person did with the study."""
        self._change_reading(kind, reading, by=by)
        self.recompute()

    def _change_reading(self, kind: EventKind, reading: Reading, *, by: Actor = SYSTEM, **detail: object) -> None:
        self.reading = reading
        record(
            self._session,
            kind,
            self.row.study_instance_uid,
            by=by,
            reading=reading.state,
            number=reading.number,
            how=reading.how,
            urgency=self.row.urgency,
            queue_at=self.row.queue_at,
            **detail,
        )

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
        if instance.order_priority is not OrderPriority.ROUTINE:
            row.order_priority = instance.order_priority

    def _forget_everything(self, received_at: datetime) -> None:
        # Its images and our results left with it, and not all of them need come back.
        row = self.row
        row.withdrawn_at = row.reported_revision = None
        row.received_at = received_at
        for table in (InstanceRow, JobRow, ResultRow, AnalysisRow, ReportRow):
            self._session.execute(delete(table).where(table.study_instance_uid == row.study_instance_uid))
        self.reading = first_reading(_date(row.study_date), received_at, self._now, self._rules.prior_after)
        record(self._session, EventKind.ARRIVED, row.study_instance_uid, again=True)

    def _open_revision(self) -> None:
        report = self.report_job()
        if report and report.state != ProcedureStepState.SCHEDULED:
            self.row.revision += 1

    def _await_completion(self) -> None:
        self.row.incomplete_since = self._now

    def _schedule_score(self, sop_instance_uid: str, digest: str) -> None:
        job = self._new_job(Queue.SCORE, sop_instance_uid=sop_instance_uid, digest=digest)
        self._session.execute(  # where these pixels come back after others under the same UID
            delete(JobRow).where(
                JobRow.study_instance_uid == job.study_instance_uid,
                JobRow.sop_instance_uid == job.sop_instance_uid,
                JobRow.digest == job.digest,
            )
        )
        self._session.add(job)

    def _new_job(self, queue: Queue, *, sop_instance_uid: str = "", digest: str = "") -> JobRow:
        return JobRow(
            job_id=str(uuid4()),
            study_instance_uid=self.row.study_instance_uid,
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

    def _facts(self) -> StudyFacts:
        row, session = self.row, self._session
        session.flush()
        images = {
            (instance.sop_instance_uid, instance.digest): ImageFacts()
            for instance in session.scalars(eligible(row.study_instance_uid))
        }
        for failed in session.scalars(
            select(JobRow).where(
                JobRow.study_instance_uid == row.study_instance_uid,
                JobRow.queue == Queue.SCORE,
                JobRow.state == ProcedureStepState.CANCELED,
            )
        ):
            if (failed.sop_instance_uid, failed.digest) in images:
                images[failed.sop_instance_uid, failed.digest] = ImageFacts(failure=failure_of(failed))
        for analysis in current_analyses(session, row.study_instance_uid):
            images[analysis[0]] = ImageFacts(analysis=analysis[1])
        report = self.report_job()
        refused = None if images else refused_instance(session, row.study_instance_uid)
        return StudyFacts(
            received_at=row.received_at,
            order_priority=row.order_priority,
            images=tuple(images.values()),
            is_prior=row.reading_state == "prior",
            scope_failure=scope_failure(refused) if refused else None,
            is_reported=row.reported_revision == row.revision,
            report_failure=failure_of(report) if report and report.state == ProcedureStepState.CANCELED else None,
        )


def eligible(study_instance_uid: str) -> Select[InstanceRow]:
    """The images of a study that are scored, by SOP Instance UID."""
    return (
        select(InstanceRow)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.scope_code.is_(None))
        .order_by(InstanceRow.sop_instance_uid)
    )


def current_analyses(session: Session, study_instance_uid: str) -> list[tuple[tuple[str, str], Analysis]]:
    """The newest Analysis of each image as it is now, by SOP Instance UID and digest."""
    newest = {
        (instance.sop_instance_uid, instance.digest): found.document
        for instance, found in session.execute(_current_analyses(study_instance_uid))
    }
    return [(image, analysis_of_document(document)) for image, document in newest.items()]


def _current_analyses(study_instance_uid: str) -> Select[InstanceRow, AnalysisRow]:
    return (
        select(InstanceRow, AnalysisRow)
        .join(
            AnalysisRow,
            and_(
                AnalysisRow.study_instance_uid == InstanceRow.study_instance_uid,
                AnalysisRow.sop_instance_uid == InstanceRow.sop_instance_uid,
                AnalysisRow.digest == InstanceRow.digest,
            ),
        )
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.scope_code.is_(None))
        .order_by(AnalysisRow.scored_at, AnalysisRow.scorer_sha256)
    )


def image_is_open(study_instance_uid: ColumnElement[str] | InstrumentedAttribute[str] | str) -> ColumnElement[bool]:
    """Whether an image of a study is still to be scored."""
    score = aliased(JobRow)
    return exists().where(
        score.study_instance_uid == study_instance_uid, score.queue == Queue.SCORE, score.state.in_(OPEN_JOBS)
    )


def refused_instance(session: Session, study_instance_uid: str) -> InstanceRow | None:
    """The instance out of scope that says most about its study: a lateral film, not the dose report beside it."""
    ranks = case({code: rank for rank, code in enumerate(TELLING)}, value=InstanceRow.scope_code, else_=len(TELLING))
    return session.scalars(
        select(InstanceRow)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.scope_code.is_not(None))
        .order_by(ranks, InstanceRow.sop_instance_uid)
        .limit(1)
    ).one_or_none()


def scope_failure(refused: InstanceRow) -> Failure:
    """Why an instance is out of scope."""
    return Failure(code=refused.scope_code or "", message=refused.scope_message or "")


def failure_of(job: JobRow) -> Failure:
    """Why a job was given up."""
    return Failure(code=job.failure_code or "", message=job.failure_message or "")


def _instance_row(instance: ReceivedInstance) -> InstanceRow:
    failure = instance.scope_failure
    return InstanceRow(
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        digest=instance.digest,
        scope_code=failure.code if failure else None,
        scope_message=failure.message if failure else None,
    )


def _date(study_date: str) -> date | None:
    try:
        return date.fromisoformat(study_date)
    except ValueError:
        return None
