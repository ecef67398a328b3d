"""What the tables say of a study's images: which are scored, what was said of them, and why others were not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from worklist.finding import Analysis, ImageReference
from worklist.job import OPEN_JOBS, Queue
from worklist.procedure_step import ProcedureStepState
from worklist.reading import ReadingState
from worklist.records.among import Texts, among
from worklist.records.documents import readable
from worklist.records.tables import AnalysisRow, InstanceRow, JobRow, StudyRow
from worklist.scope import NOT_AN_IMAGE, SEEN_OUT_OF_SCOPE, TELLING
from worklist.study import Failure, ImageFacts, StudyFacts

_STUDIES: Final = bindparam("studies", type_=Texts())


def eligible(study_orthanc_id: str) -> Select[InstanceRow]:
    """The images of a study that are scored, by SOP Instance UID."""
    return (
        select(InstanceRow)
        .where(InstanceRow.study_orthanc_id == study_orthanc_id, InstanceRow.scope_code.is_(None))
        .order_by(InstanceRow.sop_instance_uid)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """An image in the PACS.

    Attributes:
        orthanc_id: Orthanc's identifier of it; None where it was taken in by a version that kept none.
        is_decoded: whether a worker has read its pixels as they are now, whole.
    """

    study_orthanc_id: str
    orthanc_id: str | None
    series_instance_uid: str
    sop_instance_uid: str
    is_decoded: bool


def orthanc_ids(session: Session, study_orthanc_id: str, images: Iterable[ImageReference]) -> dict[str, str]:
    """Orthanc's identifiers of some images of a study, as far as they are known, by SOP Instance UID."""
    rows = session.execute(
        select(InstanceRow.sop_instance_uid, InstanceRow.orthanc_id).where(
            InstanceRow.study_orthanc_id == study_orthanc_id,
            InstanceRow.sop_instance_uid.in_([image.sop_instance_uid for image in images]),
        )
    )
    return {row[0]: row[1] for row in rows if row[1] is not None}


def unscored_images(session: Session, study_orthanc_id: str) -> list[StoredImage]:
    """What is looked at of a study without an analysis, or else all that may be images, by SOP Instance UID."""
    seen = exists().where(
        JobRow.study_orthanc_id == InstanceRow.study_orthanc_id,
        JobRow.sop_instance_uid == InstanceRow.sop_instance_uid,
        JobRow.digest == InstanceRow.digest,
        JobRow.failure_code.in_(SEEN_OUT_OF_SCOPE),
    )
    rows = session.execute(
        select(InstanceRow, seen)
        .where(
            InstanceRow.study_orthanc_id == study_orthanc_id,
            or_(InstanceRow.scope_code.is_(None), InstanceRow.scope_code != NOT_AN_IMAGE),
        )
        .order_by(InstanceRow.sop_instance_uid)
    ).all()
    return [
        StoredImage(
            study_orthanc_id=study_orthanc_id,
            orthanc_id=row.orthanc_id,
            series_instance_uid=row.series_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            is_decoded=is_seen,
        )
        for row, is_seen in [pair for pair in rows if pair[0].scope_code is None] or rows
    ]


def current_documents(session: Session, study_orthanc_id: str) -> dict[tuple[str, str], AnalysisRow]:
    """The newest Analysis of each image as it is now, by SOP Instance UID and digest."""
    rows = session.scalars(
        select(AnalysisRow)
        .join(InstanceRow, is_of_instance())
        .where(InstanceRow.study_orthanc_id == study_orthanc_id, InstanceRow.scope_code.is_(None))
        .order_by(AnalysisRow.scored_at, AnalysisRow.scorer_sha256)
    )
    return {(row.sop_instance_uid, row.digest): row for row in rows}


def current_analyses(session: Session, study_orthanc_id: str) -> list[Analysis]:
    """The newest Analysis of each image as it is now, without those that only a later version can read."""
    rows = current_documents(session, study_orthanc_id).values()
    return [analysis for row in rows if (analysis := readable(row.document))]


def scored_by(session: Session, study_orthanc_id: str, scorer_sha256: str) -> set[tuple[str, str]]:
    """The images that a scorer has judged, by SOP Instance UID and digest."""
    rows = session.execute(
        select(AnalysisRow.sop_instance_uid, AnalysisRow.digest).where(
            AnalysisRow.study_orthanc_id == study_orthanc_id, AnalysisRow.scorer_sha256 == scorer_sha256
        )
    )
    return {(row[0], row[1]) for row in rows}


def is_of_instance() -> ColumnElement[bool]:
    """An Analysis belongs to an instance where both speak of the same pixels."""
    return and_(
        AnalysisRow.study_orthanc_id == InstanceRow.study_orthanc_id,
        AnalysisRow.sop_instance_uid == InstanceRow.sop_instance_uid,
        AnalysisRow.digest == InstanceRow.digest,
    )


# Built once, and the same for one study and for thousands.
_IMAGES: Final = (
    select(InstanceRow.study_orthanc_id, InstanceRow.sop_instance_uid, InstanceRow.digest)
    .where(among(InstanceRow.study_orthanc_id, _STUDIES), InstanceRow.scope_code.is_(None))
    .order_by(InstanceRow.study_orthanc_id, InstanceRow.sop_instance_uid)
)
_FAILED_JOBS: Final = select(JobRow).where(
    among(JobRow.study_orthanc_id, _STUDIES), JobRow.state == ProcedureStepState.CANCELED
)
_DOCUMENTS: Final = (
    select(AnalysisRow.study_orthanc_id, AnalysisRow.sop_instance_uid, AnalysisRow.digest, AnalysisRow.document)
    .join(InstanceRow, is_of_instance())
    .where(among(InstanceRow.study_orthanc_id, _STUDIES), InstanceRow.scope_code.is_(None))
    .order_by(AnalysisRow.scored_at, AnalysisRow.scorer_sha256)
)


def image_is_open(study_orthanc_id: ColumnElement[str] | InstrumentedAttribute[str] | str) -> ColumnElement[bool]:
    """Whether an image of a study is still to be scored."""
    score = aliased(JobRow)
    return exists().where(
        score.study_orthanc_id == study_orthanc_id, score.queue == Queue.SCORE, score.state.in_(OPEN_JOBS)
    )


def refused_instance(session: Session, study_orthanc_id: str) -> InstanceRow | None:
    """The instance out of scope that says most about its study: a lateral film, not the dose report beside it."""
    ranks = case({code: rank for rank, code in enumerate(TELLING)}, value=InstanceRow.scope_code, else_=len(TELLING))
    return session.scalars(
        select(InstanceRow)
        .where(InstanceRow.study_orthanc_id == study_orthanc_id, InstanceRow.scope_code.is_not(None))
        .order_by(ranks, InstanceRow.sop_instance_uid)
        .limit(1)
    ).one_or_none()


def scope_failure(refused: InstanceRow) -> Failure:
    """Why an instance is out of scope."""
    return Failure(code=refused.scope_code or "", message=refused.scope_message or "")


def failure_of(job: JobRow) -> Failure:
    """Why a job was given up."""
    return Failure(code=job.failure_code or "", message=job.failure_message or "")


def facts_of(session: Session, rows: Sequence[StudyRow]) -> dict[str, StudyFacts | None]:
    """Everything that decides what the list shows of some studies, by Orthanc's identifiers.

    None stands for a study that only a later version can read.
    """
    session.flush()
    wanted = {"studies": [row.orthanc_id for row in rows]}
    images: dict[str, dict[tuple[str, str], ImageFacts]] = {row.orthanc_id: {} for row in rows}
    for image in session.execute(_IMAGES, wanted):
        images[image.study_orthanc_id][image.sop_instance_uid, image.digest] = ImageFacts()
    current = {(row.orthanc_id, row.revision) for row in rows}
    unreported: dict[str, Failure] = {}
    for job in session.scalars(_FAILED_JOBS, wanted):
        why, of_study = failure_of(job), images[job.study_orthanc_id]
        if job.queue is Queue.REPORT and (job.study_orthanc_id, job.revision) in current:
            unreported[job.study_orthanc_id] = why
        elif job.queue is Queue.SCORE and (job.sop_instance_uid, job.digest) in of_study:
            is_refused = why.code in SEEN_OUT_OF_SCOPE
            of_study[job.sop_instance_uid, job.digest] = (
                ImageFacts(refusal=why) if is_refused else ImageFacts(failure=why)
            )
    unreadable = set()
    for said in session.execute(_DOCUMENTS, wanted):
        analysis = readable(said.document)
        if analysis is None:
            unreadable.add(said.study_orthanc_id)
        else:
            images[said.study_orthanc_id][said.sop_instance_uid, said.digest] = ImageFacts(analysis=analysis)
    return {
        row.orthanc_id: None
        if row.orthanc_id in unreadable
        else _facts(session, row, tuple(images[row.orthanc_id].values()), unreported.get(row.orthanc_id))
        for row in rows
    }


def _facts(
    session: Session, row: StudyRow, images: tuple[ImageFacts, ...], report_failure: Failure | None
) -> StudyFacts:
    refused = None if images else refused_instance(session, row.orthanc_id)
    return StudyFacts(
        received_at=row.received_at,
        order_priority=row.order_priority,
        images=images,
        is_prior=row.reading_state is ReadingState.PRIOR,
        scope_failure=scope_failure(refused) if refused else None,
        is_reported=row.reported_revision == row.revision,
        report_failure=report_failure,
    )
