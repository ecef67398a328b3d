"""Reports of ours that lie in the PACS and that the records do not know: the database is older than the PACS, or new.

Nothing that was once stored is written again. A report that says of a study's images what would be said now stands;
one that says something else is followed by the next revision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worklist.finding import Analysis
from worklist.job import JobEvent, Queue, next_state
from worklist.procedure_step import ProcedureStepState
from worklist.reading import ReadingState, prior
from worklist.records.documents import analysis_to_document
from worklist.records.events import EventKind, record
from worklist.records.images import eligible
from worklist.records.policies import keep_policy
from worklist.records.reports import ReportSubject, StoredResult
from worklist.records.studies import Study
from worklist.records.tables import AnalysisRow, InstanceRow, JobRow, ReportRow, ResultRow
from worklist.study import Failure
from worklist.triage import TriagePolicy

_SAME: Final = 1e-3  # of a probability, which another processor may compute a little differently


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundReport:
    """One revision of a study's results, as it lies in the PACS.

    Attributes:
        analysis: with its explanation; None for a failure.
        failure: why there is none.
        source_sop_instance_uid: the leading image, or the one that failed.
        policy: by which the study was flagged; None where the report does not tell.
        unscored: how many further images could not be scored.
        results: all its objects.
    """

    revision: int
    analysis: Analysis | None
    failure: Failure | None
    source_sop_instance_uid: str
    policy: TriagePolicy | None
    unscored: int
    reported_at: datetime
    results: tuple[StoredResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundReports:
    """What the PACS holds of a study's results.

    Attributes:
        reports: those that can be read, the newest last.
        highest: the highest revision, that of a report which cannot be read included; 0 where there is none.
    """

    reports: tuple[FoundReport, ...] = ()
    highest: int = 0


def take_over(session: Session, study: Study, job: JobRow, found: FoundReports, subject: ReportSubject) -> bool:
    """Take over the reports that the PACS has of a revision that is about to be reported, or of later ones.

    Returns:
        Whether the report is still to be written; its revision is then the next free one.
    """
    if found.highest < job.revision:
        return True
    unknown = [report for report in found.reports if report.revision >= job.revision]
    for report in unknown:
        _keep(session, study, report)
    if job.revision < study.row.revision:
        return False  # the next one, which is due already, tells all of it
    newest = unknown[-1] if unknown else None
    if newest:
        study.row.reported_revision = newest.revision
    is_told = newest is not None and newest.revision == found.highest and _tells(newest, subject)
    study.row.revision = job.revision = found.highest if is_told else found.highest + 1
    session.flush()
    study.recompute()
    return not is_told


def take_in(  # noqa: PLR0913 - what a study is put together from
    session: Session,
    study: Study,
    found: FoundReports,
    received_at: Mapping[str, datetime],
    *,
    aside_before: datetime,
    now: datetime,
) -> None:
    """Take in the reports of a study whose images have just been received by an empty database.

    What the newest report tells of an image alone is its Analysis, and it is not scored again. Of several images a
    report tells each finding once: which of them had which other probability is not known, and they are scored again.

    Args:
        session: of the transaction.
        study: locked.
        found: what the PACS has.
        received_at: when each image came, by SOP Instance UID.
        aside_before: what arrived before stands aside as a prior does: nobody knows whether it was read.
        now: the present moment.
    """
    row = study.row
    for report in found.reports:
        _keep(session, study, report)
    if found.highest:
        newest = found.reports[-1] if found.reports else None
        images = {image.sop_instance_uid: image for image in session.scalars(eligible(row.orthanc_id))}
        for report in found.reports:
            _keep_scores(session, report, images, received_at)
        if newest:
            row.reported_revision = newest.revision
        is_whole = newest is not None and newest.revision == found.highest and _covers(newest, images, received_at)
        row.revision = found.highest if is_whole else found.highest + 1
        if is_whole:
            row.incomplete_since = None
    if row.received_at < aside_before and row.reading_state is ReadingState.UNREAD:
        study.reading = prior(now)
    study.recompute()


def _keep(session: Session, study: Study, report: FoundReport) -> None:
    orthanc_id = study.row.orthanc_id
    if report.policy:
        keep_policy(session, report.policy, report.reported_at)
    session.merge(
        ReportRow(
            study_orthanc_id=orthanc_id,
            revision=report.revision,
            document=analysis_to_document(report.analysis) if report.analysis else None,
            policy_digest=report.policy.digest if report.policy else None,
            unscored=report.unscored,
            reported_at=report.reported_at,
            stored_at=report.reported_at,
        )
    )
    for result in report.results:
        session.merge(
            ResultRow(
                sop_instance_uid=result.sop_instance_uid,
                study_orthanc_id=orthanc_id,
                series_instance_uid=result.series_instance_uid,
                sop_class_uid=result.sop_class_uid,
                revision=report.revision,
                position=result.position,
            )
        )
    record(session, EventKind.FOUND, study.row, revision=report.revision, objects=len(report.results))


def _tells(report: FoundReport, subject: ReportSubject) -> bool:
    """Whether a report says what would be said now."""
    now_is, was = subject.analysis, report.analysis
    if now_is is None or was is None:
        failed = subject.failed
        is_same_image = failed is not None and failed.sop_instance_uid == report.source_sop_instance_uid
        return now_is is was and is_same_image and failed is not None and failed.failure.code == _code(report)
    numbers, old_numbers = _numbers(now_is), _numbers(was)
    return (
        _images(now_is) == _images(was)
        and now_is.scorer.sha256 == was.scorer.sha256
        and subject.unscored == report.unscored
        and numbers.keys() == old_numbers.keys()
        and all(abs(numbers[key] - old_numbers[key]) <= _SAME for key in numbers)
    )


def _covers(report: FoundReport, images: Collection[str], received_at: Mapping[str, datetime]) -> bool:
    """Whether a report is of a study as it is: all its images, and none that came or was replaced since."""
    if any(moment > report.reported_at for uid, moment in received_at.items() if uid in images):
        return False
    if report.analysis is None:
        return report.source_sop_instance_uid in received_at
    told = _images(report.analysis)
    return told <= set(images) and len(images) == len(told) + report.unscored


def _keep_scores(
    session: Session, report: FoundReport, images: Mapping[str, InstanceRow], received_at: Mapping[str, datetime]
) -> None:
    uid = report.source_sop_instance_uid
    image, analysis = images.get(uid), report.analysis
    if (
        image is None
        or received_at.get(uid, report.reported_at) > report.reported_at
        or (analysis and len(analysis.images) > 1)
    ):
        return
    job = session.scalars(
        select(JobRow).where(
            JobRow.study_orthanc_id == image.study_orthanc_id,
            JobRow.queue == Queue.SCORE,
            JobRow.sop_instance_uid == uid,
            JobRow.digest == image.digest,
        )
    ).one_or_none()
    if analysis is None:
        if job and job.state is ProcedureStepState.SCHEDULED:
            job.state = next_state(job.state, JobEvent.FAIL)
            job.failure_code, job.failure_message = _code(report), report.failure.message if report.failure else ""
            job.finished_at = report.reported_at
        return
    if job:
        session.execute(delete(JobRow).where(JobRow.job_id == job.job_id))
    scored = replace(analysis, explanation="", explainer=None, prompt_version="", snippets=(), account=None)
    session.merge(
        AnalysisRow(
            study_orthanc_id=image.study_orthanc_id,
            sop_instance_uid=uid,
            digest=image.digest,
            scorer_sha256=analysis.scorer.sha256,
            scored_at=analysis.completed_at,
            document=analysis_to_document(scored),
        )
    )


def _code(report: FoundReport) -> str:
    return report.failure.code if report.failure else ""


def _images(analysis: Analysis) -> set[str]:
    return {image.sop_instance_uid for image in analysis.images}


def _numbers(analysis: Analysis) -> dict[str, float]:
    return {"": analysis.score} | {finding.type.key: finding.probability for finding in analysis.findings}
