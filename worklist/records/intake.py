"""What the change feed writes: studies, instances, jobs and the cursor, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from worklist.order import OrderPriority
from worklist.records.database import Database
from worklist.records.standing import REFUSED_RADIOGRAPHS, lock_study, new_job, report_job, restate
from worklist.records.tables import FeedRow, InstanceRow, JobRow, ResultRow, StudyRow
from worklist.study import Failure, JobPath, JobState, ReadingPolicy, StudyState


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedCursor:
    """How far a feed has been read.

    Attributes:
        sequence: number of the last change that was read.
        marks: that change and some before it, newest first, each in a form by which to know it again.
    """

    sequence: int
    marks: tuple[str, ...]


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


class IntakeRecords:
    """The intake's side of the records.

    Args:
        database: where they are kept.
        policy: the site's choices.
        report_out_of_scope: whether a study of radiographs that are not looked at is reported too.
    """

    def __init__(self, database: Database, policy: ReadingPolicy, *, report_out_of_scope: bool = True) -> None:
        self._database = database
        self._policy = policy
        self._reported_refusals = REFUSED_RADIOGRAPHS if report_out_of_scope else ()

    def cursor(self, feed: str) -> FeedCursor | None:
        """How far the feed has been read; None before the first time."""
        with self._database.read() as session:
            row = session.get(FeedRow, feed)
            return FeedCursor(sequence=row.sequence, marks=tuple(row.marks.splitlines())) if row else None

    def admit(
        self,
        received: Iterable[ReceivedInstance],
        stable: Iterable[str],
        now: datetime,
        *,
        feed: str = "",
        cursor: FeedCursor | None = None,
    ) -> None:
        """Write one stretch of the feed, all of it or nothing.

        Args:
            received: the instances that arrived; one that is known with the same digest changes nothing.
            stable: Orthanc's identifiers of studies that have become stable.
            now: the present moment.
            feed: the feed's name, with ...
            cursor: ... how far this stretch goes.
        """
        with self._database.write() as session:
            changed = [self._admit_instance(session, instance, now) for instance in received]
            # Once a study: this reads all of its instances, and a CT has thousands.
            for study in {study.study_instance_uid: study for study in changed if study}.values():
                restate(session, study, self._policy, now)
            for orthanc_id in stable:
                self._settle(session, orthanc_id, now)
            if cursor:
                session.merge(FeedRow(name=feed, sequence=cursor.sequence, marks="\n".join(cursor.marks), read_at=now))

    def unsettled(self, before: datetime, limit: int) -> list[str]:
        """Orthanc's identifiers of studies to report, silent since a moment, that nobody has called stable yet."""
        with self._database.read() as session:
            reported = (
                select(JobRow.job_id)
                .where(
                    JobRow.study_instance_uid == StudyRow.study_instance_uid,
                    JobRow.path == JobPath.REPORT,
                    JobRow.revision == StudyRow.revision,
                )
                .exists()
            )
            return list(
                session.scalars(
                    select(StudyRow.orthanc_id)
                    .where(
                        StudyRow.withdrawn_at.is_(None),
                        or_(
                            StudyRow.state != StudyState.OUT_OF_SCOPE,
                            StudyRow.failure_code.in_(self._reported_refusals),
                        ),
                        StudyRow.last_image_at < before,
                        ~reported,
                    )
                    .order_by(StudyRow.last_image_at)
                    .limit(limit)
                )
            )

    def longest_unchecked(self, before: datetime) -> str | None:
        """Orthanc's identifier of the listed study whose presence in the PACS was checked longest ago."""
        with self._database.read() as session:
            return session.scalars(
                select(StudyRow.orthanc_id)
                .where(StudyRow.withdrawn_at.is_(None), StudyRow.checked_at < before)
                .order_by(StudyRow.checked_at)
                .limit(1)
            ).one_or_none()

    def record_presence(self, orthanc_id: str, now: datetime, *, is_present: bool) -> None:
        """Note that a study still lies in the PACS, or take it off the list."""
        with self._database.write() as session:
            for study in session.scalars(select(StudyRow).where(StudyRow.orthanc_id == orthanc_id)):
                study.checked_at = now
                if not is_present and study.withdrawn_at is None:
                    study.withdrawn_at = now
                    study.updated_at = now

    def listed(self) -> list[str]:
        """Orthanc's identifiers of every study on the list."""
        with self._database.read() as session:
            return list(session.scalars(select(StudyRow.orthanc_id).where(StudyRow.withdrawn_at.is_(None))))

    def reported_documents(self, orthanc_ids: Collection[str]) -> list[tuple[str, str]]:
        """Pairs of Study Instance UID and SOP Instance UID of the current results of listed studies."""
        pairs = []
        with self._database.read() as session:
            for orthanc_id in orthanc_ids:
                rows = session.execute(
                    select(ResultRow.study_instance_uid, ResultRow.sop_instance_uid)
                    .join(StudyRow, StudyRow.study_instance_uid == ResultRow.study_instance_uid)
                    .where(
                        StudyRow.orthanc_id == orthanc_id,
                        StudyRow.withdrawn_at.is_(None),
                        ResultRow.revision == StudyRow.reported_revision,
                    )
                )
                pairs += [(row[0], row[1]) for row in rows]
        return pairs

    def reopen_report(self, study_instance_uid: str, now: datetime) -> None:
        """Have a revision's results written again, under the same UIDs, because the PACS has lost them."""
        with self._database.write() as session:
            study = lock_study(session, study_instance_uid)
            if study:
                _forget_report(session, study)
                restate(session, study, self._policy, now)

    def _admit_instance(self, session: Session, instance: ReceivedInstance, now: datetime) -> StudyRow | None:
        """The study to restate; None where nothing is new."""
        study = lock_study(session, instance.study_instance_uid)
        if study is None:
            study = _new_study(instance, now)
            _describe(study, instance)
            restate(session, study, self._policy, now)
            session.add(study)
            session.flush()
        study.orthanc_id = instance.orthanc_id
        returned = study.withdrawn_at is not None
        if returned:
            _welcome_back(session, study, instance.received_at)
        row = session.get(InstanceRow, (instance.sop_instance_uid, instance.study_instance_uid))
        is_new = row is None or row.digest != instance.digest
        if is_new:
            _describe(study, instance)
            was_film = row is not None and row.scope_code is None
            session.merge(_new_instance(instance))
            if instance.scope_failure is None or was_film:
                _open_revision(session, study)
            if instance.scope_failure is None:
                self._schedule_score(session, study, instance, now)
        return study if is_new or returned else None

    def _schedule_score(self, session: Session, study: StudyRow, instance: ReceivedInstance, now: datetime) -> None:
        study.last_image_at = instance.received_at
        job = new_job(study, JobPath.SCORE, now, sop_instance_uid=instance.sop_instance_uid, digest=instance.digest)
        session.execute(  # where these pixels come back after others under the same UID
            delete(JobRow).where(
                JobRow.study_instance_uid == job.study_instance_uid,
                JobRow.sop_instance_uid == job.sop_instance_uid,
                JobRow.digest == job.digest,
            )
        )
        session.add(job)

    def _settle(self, session: Session, orthanc_id: str, now: datetime) -> None:
        for study in session.scalars(select(StudyRow).where(StudyRow.orthanc_id == orthanc_id).with_for_update()):
            is_reported = study.state != StudyState.OUT_OF_SCOPE or study.failure_code in self._reported_refusals
            if is_reported and report_job(session, study) is None:
                session.add(new_job(study, JobPath.REPORT, now))
                study.updated_at = now


def _welcome_back(session: Session, study: StudyRow, received_at: datetime) -> None:
    # Its films and our results left with it, and not all of them need come back.
    study.withdrawn_at = study.reported_revision = study.analysis = None
    study.received_at = study.last_image_at = received_at
    for table in (InstanceRow, JobRow, ResultRow):
        session.execute(delete(table).where(table.study_instance_uid == study.study_instance_uid))


def _open_revision(session: Session, study: StudyRow) -> None:
    report = report_job(session, study)
    if report and report.state != JobState.SCHEDULED:
        study.revision += 1  # the report has begun without what is new: that belongs to the next one


def _forget_report(session: Session, study: StudyRow) -> None:
    study.reported_revision = None
    job = report_job(session, study)
    if job:
        session.delete(job)
        session.flush()


def _new_study(instance: ReceivedInstance, now: datetime) -> StudyRow:
    return StudyRow(
        study_instance_uid=instance.study_instance_uid,
        orthanc_id=instance.orthanc_id,
        modality="",
        received_at=instance.received_at,
        last_image_at=instance.received_at,
        order_priority=instance.order_priority,
        revision=1,
        checked_at=now,
    )


def _new_instance(instance: ReceivedInstance) -> InstanceRow:
    failure = instance.scope_failure
    return InstanceRow(
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        digest=instance.digest,
        scope_code=failure.code if failure else None,
        scope_message=failure.message if failure else None,
        analysis=None,
    )


def _describe(study: StudyRow, instance: ReceivedInstance) -> None:
    if instance.scope_failure is None or not study.modality:  # films speak for a study, documents where none does
        study.patient_id = instance.patient_id
        study.patient_name = instance.patient_name
        study.accession_number = instance.accession_number
        study.study_description = instance.study_description
        study.modality = instance.modality
    if instance.order_priority is not OrderPriority.ROUTINE:
        study.order_priority = instance.order_priority
