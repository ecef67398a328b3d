"""What a revision's report says, kept before anything of it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, func, literal, select
from sqlalchemy.orm import Session

from worklist.finding import Analysis, merge
from worklist.procedure_step import ProcedureStepState
from worklist.records.among import Texts, among
from worklist.records.documents import analysis_of_document, analysis_to_document, readable
from worklist.records.images import current_analyses, failure_of, orthanc_ids, refused_instance, scope_failure
from worklist.records.policies import policies_in_force, policy_of_digest
from worklist.records.tables import InstanceRow, JobRow, ReportRow, ResultRow
from worklist.scope import REFUSED_RADIOGRAPHS, SEEN_OUT_OF_SCOPE
from worklist.study import Failure
from worklist.triage import NO_GROUNDS, Grounds, TriagePolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredResult:
    """An object that now lies in the PACS; position counts crops from 1 and is 0 for everything else."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedImage:
    """An image that could not be scored or is out of scope, and why; orthanc_id is its own, as far as it is known."""

    orthanc_id: str | None
    series_instance_uid: str
    sop_instance_uid: str
    failure: Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSubject:
    """What a revision's report is to say.

    Attributes:
        analysis: of all scored images, merged; explained already where an earlier try has kept it. None for a failure.
        policy: the triage rule that is in force for it, or was when it was kept.
        earlier: what spoke for the study beside its scores in earlier revisions.
        is_new: whether no try before has kept anything.
        is_kept: whether analysis and times are those of an earlier try, and not to be made anew.
        reported_at: when it was kept.
        failed: why there is no Analysis.
        unscored: how many images of the study have none, in words that a reader needs.
        orthanc_ids: Orthanc's identifiers of these images by SOP Instance UID, as far as they are known.
        predecessors: the documents of the latest revision before this one.
    """

    analysis: Analysis | None
    policy: TriagePolicy | None
    earlier: Grounds
    is_new: bool
    is_kept: bool
    reported_at: datetime
    failed: FailedImage | None
    unscored: int
    orthanc_ids: Mapping[str, str]
    predecessors: tuple[StoredResult, ...]


def report_subject(session: Session, study_orthanc_id: str, revision: int, now: datetime) -> ReportSubject:
    """What the report of a revision is to say; the same each time once it has been kept."""
    kept = session.get(ReportRow, (study_orthanc_id, revision))
    if kept and kept.document:
        analysis: Analysis | None = analysis_of_document(kept.document)
        policy = policy_of_digest(session, kept.policy_digest)
        unscored = kept.unscored
    else:
        analyses = current_analyses(session, study_orthanc_id)
        analysis = merge(analyses) if analyses else None
        policy = policies_in_force(session).get(analysis.scorer.sha256) if analysis else None
        images = session.scalar(
            select(func.count()).where(
                InstanceRow.study_orthanc_id == study_orthanc_id, InstanceRow.scope_code.is_(None)
            )
        )
        unscored = (images or 0) - len(analyses)
    hears_more = policy is not None and policy.site.hears_more
    earlier = grounds_of_reports(session, [study_orthanc_id]) if hears_more else {}
    return ReportSubject(
        analysis=analysis,
        policy=policy,
        earlier=earlier.get(study_orthanc_id, NO_GROUNDS),
        is_new=kept is None,
        is_kept=bool(kept and kept.document),
        reported_at=kept.reported_at if kept else now,
        failed=None if analysis else _failed_image(session, study_orthanc_id),
        unscored=unscored,
        orthanc_ids=orthanc_ids(session, study_orthanc_id, analysis.images) if analysis else {},
        predecessors=_predecessors(session, study_orthanc_id, revision),
    )


def grounds_of_reports(session: Session, study_orthanc_ids: Sequence[str]) -> dict[str, Grounds]:
    """What spoke for studies beside their scores in any revision: a new film does not take back what raised them."""
    grounds: dict[str, Grounds] = {}
    rows = session.execute(
        select(ReportRow.study_orthanc_id, ReportRow.document).where(
            among(ReportRow.study_orthanc_id, literal(list(study_orthanc_ids), Texts()))
        )
    )
    for orthanc_id, document in rows:
        if document and (analysis := readable(document)):
            grounds[orthanc_id] = grounds.get(orthanc_id, NO_GROUNDS) | Grounds.of(analysis)
    return grounds


def keep_report(session: Session, job: JobRow, subject: ReportSubject, explained: Analysis | None) -> datetime:
    """Keep what a report says; returns its time, which stays that of the first try."""
    kept = session.get(ReportRow, (job.study_orthanc_id, job.revision))
    if kept is None or (kept.document is None) != (explained is None):
        kept = session.merge(
            ReportRow(
                study_orthanc_id=job.study_orthanc_id,
                revision=job.revision,
                document=analysis_to_document(explained) if explained else None,
                policy_digest=subject.policy.digest if subject.policy else None,
                unscored=subject.unscored,
                reported_at=subject.reported_at,
                stored_at=None,
            )
        )
    return kept.reported_at


def keep_results(session: Session, job: JobRow, results: Iterable[StoredResult], now: datetime) -> ReportRow | None:
    """Note what was stored for a revision, in place of what an earlier run stored and the PACS has lost."""
    of_revision = and_(ResultRow.study_orthanc_id == job.study_orthanc_id, ResultRow.revision == job.revision)
    session.execute(delete(ResultRow).where(of_revision))
    for result in results:
        session.merge(
            ResultRow(
                sop_instance_uid=result.sop_instance_uid,
                study_orthanc_id=job.study_orthanc_id,
                series_instance_uid=result.series_instance_uid,
                sop_class_uid=result.sop_class_uid,
                revision=job.revision,
                position=result.position,
            )
        )
    kept = session.get(ReportRow, (job.study_orthanc_id, job.revision))
    if kept:
        kept.stored_at = now
    return kept


def _failed_image(session: Session, study_orthanc_id: str) -> FailedImage | None:
    """An image that could not be scored, or else the most telling of those out of scope, and why."""
    row = session.execute(
        select(InstanceRow, JobRow)
        .join(
            JobRow,
            and_(
                JobRow.study_orthanc_id == InstanceRow.study_orthanc_id,
                JobRow.sop_instance_uid == InstanceRow.sop_instance_uid,
                JobRow.digest == InstanceRow.digest,
            ),
        )
        .where(InstanceRow.study_orthanc_id == study_orthanc_id, JobRow.state == ProcedureStepState.CANCELED)
        .order_by(JobRow.failure_code.in_(SEEN_OUT_OF_SCOPE), InstanceRow.sop_instance_uid)  # what is broken first
        .limit(1)
    ).one_or_none()
    if row:
        instance, failure = row[0], failure_of(row[1])
    else:
        refused = refused_instance(session, study_orthanc_id)
        if refused is None or refused.scope_code not in REFUSED_RADIOGRAPHS:
            return None
        instance, failure = refused, scope_failure(refused)
    return FailedImage(
        orthanc_id=instance.orthanc_id,
        series_instance_uid=instance.series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        failure=failure,
    )


def _predecessors(session: Session, study_orthanc_id: str, revision: int) -> tuple[StoredResult, ...]:
    rows = session.scalars(
        select(ResultRow)
        .where(
            ResultRow.study_orthanc_id == study_orthanc_id,
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
