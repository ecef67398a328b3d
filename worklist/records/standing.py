"""From rows to facts and back: where a study stands after something about it changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from worklist.order import OrderPriority
from worklist.records.tables import InstanceRow, JobRow, StudyRow
from worklist.study import (
    Failure,
    FilmFacts,
    JobPath,
    JobState,
    ReadingPolicy,
    StudyFacts,
    assess_standing,
)

# Scope codes of radiographs that are not looked at; of several the first says most about a study.
REFUSED_RADIOGRAPHS = ("child", "lateral_view", "not_chest", "for_processing")
_TELLING = (*REFUSED_RADIOGRAPHS, "not_a_radiograph")


def lock_study(session: Session, study_instance_uid: str) -> StudyRow | None:
    """The study's row, held against other writers until the transaction ends."""
    return session.get(StudyRow, study_instance_uid, with_for_update=True)


def report_job(session: Session, study: StudyRow) -> JobRow | None:
    """The report job of the study's current revision."""
    return session.scalars(
        select(JobRow).where(
            JobRow.study_instance_uid == study.study_instance_uid,
            JobRow.path == JobPath.REPORT,
            JobRow.revision == study.revision,
        )
    ).one_or_none()


def new_job(study: StudyRow, path: JobPath, now: datetime, *, sop_instance_uid: str = "", digest: str = "") -> JobRow:
    """A piece of work on the study's current revision, to be added to the session."""
    return JobRow(
        job_id=str(uuid4()),
        study_instance_uid=study.study_instance_uid,
        path=path,
        revision=study.revision,
        sop_instance_uid=sop_instance_uid,
        digest=digest,
        state=JobState.SCHEDULED,
        attempts=0,
        enqueues=0,
        not_before=now,
        created_at=now,
    )


def restate(session: Session, study: StudyRow, policy: ReadingPolicy, now: datetime) -> None:
    """Bring state, score, urgency, place and reason of a study up to date with its films and jobs."""
    standing = assess_standing(_facts(session, study), policy)
    study.state = standing.state
    study.score = standing.score
    study.urgency = standing.urgency
    study.queue_at = standing.queue_at
    study.stat_rank = 0 if study.order_priority is OrderPriority.STAT else 1
    study.reason = standing.reason
    study.failure_code = standing.failure.code if standing.failure else None
    study.failure_message = standing.failure.message if standing.failure else None
    study.updated_at = now


def most_telling(refused: Sequence[InstanceRow]) -> InstanceRow | None:
    """The instance out of scope that says most about its study: a lateral film, not the dose report beside it."""
    ranks = {code: rank for rank, code in enumerate(_TELLING)}
    return min(refused, key=lambda row: ranks.get(row.scope_code or "", len(ranks)), default=None)


def scope_failure(refused: InstanceRow) -> Failure:
    """Why an instance is out of scope."""
    return Failure(code=refused.scope_code or "", message=refused.scope_message or "")


def _facts(session: Session, study: StudyRow) -> StudyFacts:
    session.flush()
    of_study = InstanceRow.study_instance_uid == study.study_instance_uid
    instances = session.scalars(select(InstanceRow).where(of_study).order_by(InstanceRow.sop_instance_uid)).all()
    canceled = {
        (job.sop_instance_uid, job.digest): Failure(code=job.failure_code or "", message=job.failure_message or "")
        for job in session.scalars(
            select(JobRow).where(
                JobRow.study_instance_uid == study.study_instance_uid,
                JobRow.path == JobPath.SCORE,
                JobRow.state == JobState.CANCELED,
            )
        )
    }
    report = report_job(session, study)
    refused = most_telling([row for row in instances if row.scope_code])
    return StudyFacts(
        received_at=study.received_at,
        order_priority=study.order_priority,
        films=tuple(
            FilmFacts(
                analysis=row.analysis,
                failure=None if row.analysis else canceled.get((row.sop_instance_uid, row.digest)),
            )
            for row in instances
            if not row.scope_code
        ),
        scope_failure=scope_failure(refused) if refused else None,
        is_reported=study.reported_revision == study.revision,
        report_failure=(
            Failure(code=report.failure_code or "", message=report.failure_message or "")
            if report and report.state == JobState.CANCELED
            else None
        ),
    )
