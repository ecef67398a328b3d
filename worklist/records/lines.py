"""The lines of the reading list, from the rows of their studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import Integer, and_, bindparam, select
from sqlalchemy.orm import Session

from worklist.finding import Analysis, merge
from worklist.order import OrderPriority
from worklist.reading import Reading
from worklist.records.addresses import shared_uids
from worklist.records.among import Texts, among
from worklist.records.documents import readable
from worklist.records.images import is_of_instance
from worklist.records.places import is_listed
from worklist.records.policies import policy_of_digest
from worklist.records.priors import PriorStudy, newest_priors
from worklist.records.tables import AnalysisRow, InstanceRow, ReportRow, ResultRow, StudyRow
from worklist.study import Failure, StudyState, reason_with_places
from worklist.triage import Triage, TriagePolicy, Urgency, assess

_KEPT_IN_MEMORY = 4096
_STUDIES: Final = bindparam("studies", type_=Texts())
# Built once: building them takes longer than running them.
_RESULTS: Final = (
    select(ResultRow.study_orthanc_id, ResultRow.series_instance_uid, ResultRow.position)
    .join(
        StudyRow,
        and_(
            StudyRow.orthanc_id == ResultRow.study_orthanc_id,
            StudyRow.reported_revision == ResultRow.revision,
        ),
    )
    .where(among(ResultRow.study_orthanc_id, _STUDIES))
    .order_by(ResultRow.position, ResultRow.series_instance_uid)
)
_ANALYSES: Final = (
    select(AnalysisRow.study_orthanc_id, AnalysisRow.sop_instance_uid, AnalysisRow.document)
    .join(InstanceRow, is_of_instance())
    .where(among(AnalysisRow.study_orthanc_id, _STUDIES), InstanceRow.scope_code.is_(None))
    .order_by(AnalysisRow.scored_at, AnalysisRow.scorer_sha256)
)
_REPORTS: Final = select(ReportRow.study_orthanc_id, ReportRow.document).where(
    ReportRow.revision == bindparam("revision", type_=Integer()), among(ReportRow.study_orthanc_id, _STUDIES)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedStudy:
    """One line of the reading list.

    Attributes:
        orthanc_id: Orthanc's identifier of the study, which belongs to one patient always.
        is_uid_shared: whether another patient's study in the PACS has the same Study Instance UID.
        ward: who asks for the study, or where the patient lies.
        view: View Position (0018,5101) of its newest image.
        question: what the referrer asks.
        prior: the newest other study of the same patient, see priors.py ...
        prior_count: ... of so many.
        rank: counts from 1 over what is to be read; over what was asked for where the study is not to be read.
        is_overdue: whether it waits longer than the site's target.
        reason: why it stands where it stands, places included; empty where it stands as it arrived.
        analysis: of all images, explained once the report of the present revision is written.
        triage: what the rule made of it under the policy in force then.
    """

    rank: int
    study_instance_uid: str
    orthanc_id: str
    is_uid_shared: bool = False
    patient_id: str
    patient_name: str
    patient_sex: str
    patient_age: str
    accession_number: str
    study_description: str
    modality: str
    ward: str
    station: str
    view: str
    question: str
    prior: PriorStudy | None
    prior_count: int
    acquired_at: datetime | None
    received_at: datetime
    order_priority: OrderPriority
    urgency: Urgency | None
    score: float | None
    harm: float | None
    state: StudyState
    reading: Reading
    is_overdue: bool
    queue_at: datetime
    reason: str
    failure: Failure | None
    analysis: Analysis | None
    triage: Triage | None
    policy: TriagePolicy | None
    result_series_uids: tuple[str, ...]
    crop_count: int
    updated_at: datetime

    @property
    def address(self) -> str:
        """What names this study and no other: its Study Instance UID, unless two patients bear it."""
        return self.orthanc_id if self.is_uid_shared else self.study_instance_uid


def lines(
    session: Session,
    rows: Sequence[StudyRow],
    *,
    ranks: Mapping[str, int],
    arrivals: Mapping[str, int],
    overdue_before: datetime,
) -> list[ListedStudy]:
    """The lines of some studies.

    Args:
        session: of the transaction.
        rows: the studies'.
        ranks: what each line says its rank is, by Orthanc's identifiers.
        arrivals: where those with a reason would stand by their arrival alone.
        overdue_before: what arrived before and is still to be read waits too long.
    """
    documents, results = _documents(session, rows), _results(session, rows)
    priors = newest_priors(session, [row.orthanc_id for row in rows if row.patient_id])
    shared = shared_uids(session, [row.study_instance_uid for row in rows])
    policies = {digest: policy_of_digest(session, digest) for digest in {row.policy_digest for row in rows}}
    return [
        _line(
            row,
            rank=ranks[row.orthanc_id],
            rank_by_arrival=arrivals.get(row.orthanc_id, 0),
            is_uid_shared=row.study_instance_uid in shared,
            is_overdue=is_listed(row) and row.received_at < overdue_before,
            documents=documents.get(row.orthanc_id, ()),
            policy=policies[row.policy_digest],
            results=results.get(row.orthanc_id, []),
            priors=priors.get(row.orthanc_id, (None, 0)),
        )
        for row in rows
    ]


def analysis_of(session: Session, row: StudyRow) -> Analysis | None:
    """A study's analysis as a line has it; None without one."""
    return _judged(_documents(session, [row]).get(row.orthanc_id, ()), None)[0]


def _line(  # noqa: PLR0913 - what a line is made of
    row: StudyRow,
    *,
    rank: int,
    rank_by_arrival: int,
    is_uid_shared: bool,
    is_overdue: bool,
    documents: tuple[str, ...],
    policy: TriagePolicy | None,
    results: Sequence[tuple[str, int]],
    priors: tuple[PriorStudy | None, int],
) -> ListedStudy:
    highest = dict(results)  # the last position of each series counts
    analysis, triage = _judged(documents, policy)
    return ListedStudy(
        rank=rank,
        study_instance_uid=row.study_instance_uid,
        orthanc_id=row.orthanc_id,
        is_uid_shared=is_uid_shared,
        patient_id=row.patient_id,
        patient_name=row.patient_name,
        patient_sex=row.patient_sex,
        patient_age=row.patient_age,
        accession_number=row.accession_number,
        study_description=row.study_description,
        modality=row.modality,
        ward=row.ward,
        station=row.station,
        view=row.view,
        question=row.question,
        prior=priors[0],
        prior_count=priors[1],
        acquired_at=row.acquired_at,
        received_at=row.received_at,
        order_priority=row.order_priority,
        urgency=row.urgency,
        score=row.score,
        harm=row.harm,
        state=row.state,
        reading=row.reading,
        is_overdue=is_overdue,
        queue_at=row.queue_at,
        reason=reason_with_places(row.reason, row.returned_for, rank, rank_by_arrival, is_uid_shared=is_uid_shared),
        failure=Failure(code=row.failure_code, message=row.failure_message or "") if row.failure_code else None,
        analysis=analysis,
        triage=triage,
        policy=policy,
        result_series_uids=tuple(sorted(highest, key=highest.__getitem__)),
        crop_count=sum(1 for _, position in results if position),
        updated_at=row.updated_at,
    )


def _results(session: Session, rows: Sequence[StudyRow]) -> dict[str, list[tuple[str, int]]]:
    """Series Instance UID and position of each object of the current results, by study."""
    results: dict[str, list[tuple[str, int]]] = {}
    reported = [row.orthanc_id for row in rows if row.reported_revision is not None]
    for orthanc_id, series_instance_uid, position in (
        session.execute(_RESULTS, {"studies": reported}) if reported else ()
    ):
        results.setdefault(orthanc_id, []).append((series_instance_uid, position))
    return results


def _documents(session: Session, rows: Sequence[StudyRow]) -> dict[str, tuple[str, ...]]:
    """Of each study what its present revision says in words, or else what the scorer says of each of its images."""
    scored = [row for row in rows if row.score is not None]
    found = _explained(session, [row for row in scored if row.reported_revision == row.revision])
    parts: dict[str, dict[str, str]] = {}
    others = [row.orthanc_id for row in scored if row.orthanc_id not in found]
    for orthanc_id, image, document in session.execute(_ANALYSES, {"studies": others}) if others else ():
        parts.setdefault(orthanc_id, {})[image] = document
    return found | {orthanc_id: tuple(documents.values()) for orthanc_id, documents in parts.items()}


def _explained(session: Session, rows: Sequence[StudyRow]) -> dict[str, tuple[str, ...]]:
    by_revision: dict[int, list[str]] = {}
    for row in rows:
        by_revision.setdefault(row.revision, []).append(row.orthanc_id)
    found: dict[str, tuple[str, ...]] = {}
    for revision, reported in by_revision.items():
        documents = session.execute(_REPORTS, {"studies": reported, "revision": revision})
        found |= {orthanc_id: (document,) for orthanc_id, document in documents if document and readable(document)}
    return found


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def _judged(documents: tuple[str, ...], policy: TriagePolicy | None) -> tuple[Analysis | None, Triage | None]:
    analyses = [analysis for document in documents if (analysis := readable(document))]
    if not analyses:
        return None, None
    analysis = analyses[0] if len(analyses) == 1 else merge(analyses)
    return analysis, assess(analysis, policy) if policy else None
