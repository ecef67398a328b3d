"""The lines of the reading list, from the rows of their studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Row, String, and_, bindparam, cast, func, select
from sqlalchemy.orm import Session

from worklist.finding import Analysis, merge
from worklist.order import OrderPriority
from worklist.reading import Reading
from worklist.records.addresses import IS_SHARED
from worklist.records.among import Texts, among
from worklist.records.documents import readable
from worklist.records.images import is_of_instance
from worklist.records.places import is_listed
from worklist.records.policies import policy_of_digest
from worklist.records.priors import NEWEST, NEWEST_ID, PRIOR_COUNT, PriorStudy
from worklist.records.tables import AnalysisRow, InstanceRow, ReportRow, ResultRow, StudyRow
from worklist.study import Failure, StudyState, reason_with_places
from worklist.triage import Triage, TriagePolicy, Urgency, assess

_KEPT_IN_MEMORY = 4096
_STUDIES: Final = bindparam("studies", type_=Texts())
# Built once: building them takes longer than running them. One question for all that lies beside the rows, because
# each one costs a way to the database and back.
_RESULTS: Final = (
    select(
        func.aggregate_strings(cast(ResultRow.position, String).concat(" ").concat(ResultRow.series_instance_uid), "\n")
    )
    .where(ResultRow.study_orthanc_id == StudyRow.orthanc_id, ResultRow.revision == StudyRow.reported_revision)
    .correlate(StudyRow)
    .scalar_subquery()
)
_BESIDE: Final = (
    select(
        StudyRow.orthanc_id,
        IS_SHARED.label("is_uid_shared"),
        ReportRow.document,
        _RESULTS.label("results"),
        NEWEST.study_instance_uid.label("prior_uid"),
        NEWEST.study_date.label("prior_date"),
        NEWEST.study_description.label("prior_description"),
        NEWEST.modality.label("prior_modality"),
        PRIOR_COUNT.label("prior_count"),
    )
    .outerjoin(
        ReportRow,
        and_(
            ReportRow.study_orthanc_id == StudyRow.orthanc_id,
            ReportRow.revision == StudyRow.revision,
            ReportRow.revision == StudyRow.reported_revision,
        ),
    )
    .outerjoin(NEWEST, NEWEST.orthanc_id == NEWEST_ID)
    .where(among(StudyRow.orthanc_id, _STUDIES))
)
_ANALYSES: Final = (
    select(AnalysisRow.study_orthanc_id, AnalysisRow.sop_instance_uid, AnalysisRow.document)
    .join(InstanceRow, is_of_instance())
    .where(among(AnalysisRow.study_orthanc_id, _STUDIES), InstanceRow.scope_code.is_(None))
    .order_by(AnalysisRow.scored_at, AnalysisRow.scorer_sha256)
)


@dataclass(frozen=True, eq=False, slots=True)
class Judgement:
    """What was found on a study's images, and what the rule made of it under a policy.

    One and the same object as long as nothing of it changes, so that what is made of it can be kept.
    """

    analysis: Analysis
    triage: Triage | None


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
        judgement: of all images, explained once the report of the present revision is written; None before it is
            scored.
        policy: in force when it was judged.
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
    judgement: Judgement | None
    policy: TriagePolicy | None
    result_series_uids: tuple[str, ...]
    crop_count: int
    updated_at: datetime

    @property
    def address(self) -> str:
        """What names this study and no other: its Study Instance UID, unless two patients bear it."""
        return self.orthanc_id if self.is_uid_shared else self.study_instance_uid

    @property
    def analysis(self) -> Analysis | None:
        """What was found on its images."""
        return self.judgement.analysis if self.judgement else None

    @property
    def triage(self) -> Triage | None:
        """What the rule made of it."""
        return self.judgement.triage if self.judgement else None


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
    beside = _beside(session, rows)
    documents = _documents(session, rows, {orthanc_id: other.document for orthanc_id, other in beside.items()})
    policies = {digest: policy_of_digest(session, digest) for digest in {row.policy_digest for row in rows}}
    return [
        _line(
            row,
            rank=ranks[row.orthanc_id],
            rank_by_arrival=arrivals.get(row.orthanc_id, 0),
            is_overdue=is_listed(row) and row.received_at < overdue_before,
            documents=documents.get(row.orthanc_id, ()),
            policy=policies[row.policy_digest],
            beside=beside[row.orthanc_id],
        )
        for row in rows
    ]


def analysis_of(session: Session, row: StudyRow) -> Analysis | None:
    """A study's analysis as a line has it; None without one."""
    of_revision = (ReportRow.study_orthanc_id == row.orthanc_id, ReportRow.revision == row.revision)
    is_reported = row.reported_revision == row.revision
    said = session.scalar(select(ReportRow.document).where(*of_revision)) if is_reported else None
    judgement = _judged(_documents(session, [row], {row.orthanc_id: said}).get(row.orthanc_id, ()), None)
    return judgement.analysis if judgement else None


def _line(  # noqa: PLR0913 - what a line is made of
    row: StudyRow,
    *,
    rank: int,
    rank_by_arrival: int,
    is_overdue: bool,
    documents: tuple[str, ...],
    policy: TriagePolicy | None,
    beside: Row[Any],
) -> ListedStudy:
    results = _results(beside.results)
    highest = dict(results)  # the last position of each series counts
    is_uid_shared = beside.is_uid_shared
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
        prior=PriorStudy(
            study_instance_uid=beside.prior_uid,
            study_date=beside.prior_date,
            study_description=beside.prior_description,
            modality=beside.prior_modality,
        )
        if beside.prior_uid
        else None,
        prior_count=beside.prior_count,
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
        judgement=_judged(documents, policy),
        policy=policy,
        result_series_uids=tuple(sorted(highest, key=highest.__getitem__)),
        crop_count=sum(1 for _, position in results if position),
        updated_at=row.updated_at,
    )


def _beside(session: Session, rows: Sequence[StudyRow]) -> dict[str, Row[Any]]:
    """What lies in other rows of each study, by Orthanc's identifier."""
    return {row.orthanc_id: row for row in session.execute(_BESIDE, {"studies": [row.orthanc_id for row in rows]})}


def _results(said: str | None) -> list[tuple[str, int]]:
    """Series Instance UID and position of each object of the current results, by position."""
    pairs = [line.split(" ", 1) for line in said.split("\n")] if said else []
    return sorted(((series, int(position)) for position, series in pairs), key=lambda pair: (pair[1], pair[0]))


def _documents(
    session: Session, rows: Sequence[StudyRow], explained: Mapping[str, str | None]
) -> dict[str, tuple[str, ...]]:
    """Of each study what its present revision says in words, or else what the scorer says of each of its images."""
    scored = [row for row in rows if row.score is not None]
    said = {row.orthanc_id: explained[row.orthanc_id] for row in scored}
    found = {orthanc_id: (words,) for orthanc_id, words in said.items() if words and readable(words)}
    parts: dict[str, dict[str, str]] = {}
    others = [row.orthanc_id for row in scored if row.orthanc_id not in found]
    for orthanc_id, image, document in session.execute(_ANALYSES, {"studies": others}) if others else ():
        parts.setdefault(orthanc_id, {})[image] = document
    return found | {orthanc_id: tuple(documents.values()) for orthanc_id, documents in parts.items()}


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def _judged(documents: tuple[str, ...], policy: TriagePolicy | None) -> Judgement | None:
    analyses = [analysis for document in documents if (analysis := readable(document))]
    if not analyses:
        return None
    analysis = analyses[0] if len(analyses) == 1 else merge(analyses)
    return Judgement(analysis, assess(analysis, policy) if policy else None)
