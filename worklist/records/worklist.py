"""The reading list as people and viewers see it: in order, in pages, and as it changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from worklist.finding import Analysis, merge
from worklist.order import OrderPriority
from worklist.reading import ON_THE_LIST as LISTED_STATES
from worklist.reading import Reading, ReadingState
from worklist.records.database import Database
from worklist.records.documents import analysis_of_document
from worklist.records.events import changed_studies, newest_sequence
from worklist.records.policies import policy_of_digest
from worklist.records.tables import (
    ON_THE_LIST,
    PRESENT,
    PRIORS,
    AnalysisRow,
    InstanceRow,
    ReportRow,
    ResultRow,
    StudyRow,
)
from worklist.site import SiteRules
from worklist.study import Failure, StudyState, reason_with_places
from worklist.triage import Triage, TriagePolicy, Urgency, assess

_KEPT_IN_MEMORY = 1024
_COUNTED_SINGLY = 8  # more places are found by one walk along the list
_BY_READING = (StudyRow.stat_rank, StudyRow.queue_at, StudyRow.received_at, StudyRow.study_instance_uid)
_BY_ARRIVAL = (StudyRow.received_at, StudyRow.study_instance_uid)


class Shown(StrEnum):
    """Which studies are asked for, by their reading."""

    LIST = "list"  # unread and being read: the reading list itself
    UNREAD = "unread"
    READING = "reading"
    READ = "read"
    PRIOR = "prior"
    ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedStudy:
    """One line of the reading list.

    Attributes:
        rank: counts from 1 over what is to be read; over what was asked for where the study is not to be read.
        is_overdue: whether it waits longer than the site's target.
        reason: why it stands where it stands, places included; empty where it stands as it arrived.
        analysis: of all images, explained once the report of the present revision is written.
        triage: what the rule made of it under the policy in force then.
    """

    rank: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_sex: str
    patient_age: str
    accession_number: str
    study_description: str
    modality: str
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ListCounts:
    """How many studies stand where."""

    listed: int
    overdue: int
    priors: int


class Worklist:
    """The gateway's side of the records.

    Args:
        database: where they are kept.
        rules: the site's choices.
    """

    def __init__(self, database: Database, rules: SiteRules) -> None:
        self._database = database
        self._rules = rules

    def page(
        self,
        *,
        shown: Shown = Shown.LIST,
        state: StudyState | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[int, list[ListedStudy]]:
        """How many studies are asked for, and one page of them in reading order."""
        wanted = _wanted(shown) if state is None else and_(_wanted(shown), StudyRow.state == state)
        with self._database.read() as session:
            total = session.scalar(select(func.count()).select_from(StudyRow).where(wanted)) or 0
            rows = session.scalars(
                select(StudyRow).where(wanted).order_by(*_order(shown)).limit(limit).offset(offset)
            ).all()
            if shown is Shown.LIST and state is None:
                ranks = {row.study_instance_uid: offset + place for place, row in enumerate(rows, start=1)}
            else:
                ranks = _ranks(session, rows) or {
                    row.study_instance_uid: offset + place for place, row in enumerate(rows, start=1)
                }
            return total, self._listed(session, rows, ranks, offset)

    def counts(self) -> ListCounts:
        """How many studies are on the list, wait beyond the target, and stand aside as priors."""
        with self._database.read() as session:
            before = self._database.now(session) - self._rules.target_wait
            return ListCounts(
                listed=_count(session, ON_THE_LIST),
                overdue=_count(session, and_(ON_THE_LIST, StudyRow.received_at < before)),
                priors=_count(session, PRIORS),
            )

    def newest(self) -> int:
        """The number of the last event."""
        with self._database.read() as session:
            return newest_sequence(session)

    def changed_after(self, sequence: int) -> tuple[int, list[ListedStudy], list[str]]:
        """What happened to the list after a number: the last number, the lines that changed, and who left it."""
        with self._database.read() as session:
            newest, uids = changed_studies(session, sequence)
            if not uids:
                return newest, [], []
            rows = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid.in_(uids), ON_THE_LIST)).all()
            present = {row.study_instance_uid for row in rows}
            lines = self._listed(session, rows, _ranks(session, rows), 0)
            return newest, lines, [uid for uid in uids if uid not in present]

    def find(self, study_instance_uid: str) -> ListedStudy | None:
        """One study's line; None where the PACS has none of it."""
        with self._database.read() as session:
            row = session.scalars(
                select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid, PRESENT)
            ).one_or_none()
            return self._listed(session, [row], _ranks(session, [row]), 0)[0] if row else None

    def crop(self, study_instance_uid: str, position: int) -> tuple[str, str] | None:
        """Series and SOP Instance UID of a crop of the current results, counted from 1."""
        with self._database.read() as session:
            row = session.execute(
                select(ResultRow.series_instance_uid, ResultRow.sop_instance_uid)
                .join(StudyRow, StudyRow.study_instance_uid == ResultRow.study_instance_uid)
                .where(
                    ResultRow.study_instance_uid == study_instance_uid,
                    ResultRow.position == position,
                    ResultRow.revision == StudyRow.reported_revision,
                )
            ).one_or_none()
            return (row[0], row[1]) if row else None

    def _listed(
        self, session: Session, rows: Sequence[StudyRow], ranks: dict[str, int], offset: int
    ) -> list[ListedStudy]:
        uids = [row.study_instance_uid for row in rows]
        overdue_before = self._database.now(session) - self._rules.target_wait
        arrivals = _ranks_by_arrival(session, [row for row in rows if row.reason])
        analyses, results = _analyses(session, rows), _results(session, uids)
        policies = {digest: policy_of_digest(session, digest) for digest in {row.policy_digest for row in rows}}
        lines = []
        for place, row in enumerate(rows, start=1):
            uid = row.study_instance_uid
            rank = ranks.get(uid, offset + place)
            policy, analysis = policies[row.policy_digest], analyses.get(uid)
            current = [result for result in results[uid] if result.revision == row.reported_revision]
            highest = {result.series_instance_uid: result.position for result in current}
            is_listed = uid in ranks and row.reading_state in LISTED_STATES
            lines.append(
                ListedStudy(
                    rank=rank,
                    study_instance_uid=uid,
                    patient_id=row.patient_id,
                    patient_name=row.patient_name,
                    patient_sex=row.patient_sex,
                    patient_age=row.patient_age,
                    accession_number=row.accession_number,
                    study_description=row.study_description,
                    modality=row.modality,
                    acquired_at=row.acquired_at,
                    received_at=row.received_at,
                    order_priority=row.order_priority,
                    urgency=row.urgency,
                    score=row.score,
                    harm=row.harm,
                    state=row.state,
                    reading=_reading(row),
                    is_overdue=is_listed and row.received_at < overdue_before,
                    queue_at=row.queue_at,
                    reason=reason_with_places(
                        row.reason, row.returned_for, rank, arrivals.get(uid, rank) if is_listed else rank
                    ),
                    failure=(
                        Failure(code=row.failure_code, message=row.failure_message or "") if row.failure_code else None
                    ),
                    analysis=analysis,
                    triage=assess(analysis, policy) if analysis and policy else None,
                    policy=policy,
                    result_series_uids=tuple(sorted(highest, key=highest.__getitem__)),
                    crop_count=sum(1 for result in current if result.position),
                    updated_at=row.updated_at,
                )
            )
        return lines


def _wanted(shown: Shown) -> ColumnElement[bool]:
    if shown is Shown.LIST:
        return ON_THE_LIST
    if shown is Shown.ALL:
        return PRESENT
    if shown is Shown.PRIOR:
        return PRIORS
    one = StudyRow.reading_state == ReadingState(shown.value)
    return and_(ON_THE_LIST, one) if shown in {Shown.UNREAD, Shown.READING} else and_(PRESENT, one)


def _order(shown: Shown) -> tuple[ColumnElement[Any], ...]:
    if shown is Shown.READ:
        return (StudyRow.reading_since.desc(), StudyRow.study_instance_uid.asc())
    if shown is Shown.PRIOR:
        return tuple(column.asc() for column in _BY_ARRIVAL)
    columns: tuple[ColumnElement[Any], ...] = tuple(column.asc() for column in _BY_READING)
    return (case((ON_THE_LIST, 0), else_=1).asc(), *columns) if shown is Shown.ALL else columns


def _count(session: Session, condition: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(StudyRow).where(condition)) or 0


def _ranks(session: Session, rows: Iterable[StudyRow]) -> dict[str, int]:
    """The rank of each of these studies that is to be read."""
    return _places(session, rows, _BY_READING)


def _ranks_by_arrival(session: Session, rows: Iterable[StudyRow]) -> dict[str, int]:
    """Where each of these studies would stand by its arrival alone."""
    return _places(session, rows, _BY_ARRIVAL)


def _places(session: Session, rows: Iterable[StudyRow], key: Sequence[InstrumentedAttribute[Any]]) -> dict[str, int]:
    wanted = [row for row in rows if row.reading_state in LISTED_STATES and row.withdrawn_at is None]
    if len(wanted) <= _COUNTED_SINGLY:
        return {
            row.study_instance_uid: 1
            + _count(session, and_(ON_THE_LIST, tuple_(*key) < tuple_(*(getattr(row, one.key) for one in key))))
            for row in wanted
        }
    uids = {row.study_instance_uid for row in wanted}
    order = session.scalars(select(StudyRow.study_instance_uid).where(ON_THE_LIST).order_by(*key))
    return {uid: place for place, uid in enumerate(order, start=1) if uid in uids}


def _results(session: Session, uids: Sequence[str]) -> dict[str, list[ResultRow]]:
    results: dict[str, list[ResultRow]] = {uid: [] for uid in uids}
    for result in session.scalars(
        select(ResultRow)
        .where(ResultRow.study_instance_uid.in_(uids))
        .order_by(ResultRow.position, ResultRow.series_instance_uid)
    ):
        results[result.study_instance_uid].append(result)
    return results


def _analyses(session: Session, rows: Sequence[StudyRow]) -> dict[str, Analysis]:
    """Of each study the explained Analysis of its present revision, or else what the scorer says of its images."""
    reported = {row.study_instance_uid: row.revision for row in rows if row.reported_revision == row.revision}
    found = (
        {
            report.study_instance_uid: _decoded(report.document)
            for report in session.scalars(select(ReportRow).where(_of_revisions(reported)))
            if report.document
        }
        if reported
        else {}
    )
    others = [row.study_instance_uid for row in rows if row.score is not None and row.study_instance_uid not in found]
    parts: dict[str, dict[str, Analysis]] = {}
    for uid, image, document in session.execute(_documents(others)) if others else ():
        parts.setdefault(uid, {})[image] = _decoded(document)
    return found | {uid: merge(list(images.values())) for uid, images in parts.items()}


def _of_revisions(reported: dict[str, int]) -> ColumnElement[bool]:
    by_revision: dict[int, list[str]] = {}
    for uid, revision in reported.items():
        by_revision.setdefault(revision, []).append(uid)
    return or_(
        *(
            and_(ReportRow.revision == revision, ReportRow.study_instance_uid.in_(uids))
            for revision, uids in by_revision.items()
        )
    )


def _documents(uids: Sequence[str]) -> Select[str, str, str]:
    return (
        select(AnalysisRow.study_instance_uid, AnalysisRow.sop_instance_uid, AnalysisRow.document)
        .join(
            InstanceRow,
            and_(
                InstanceRow.study_instance_uid == AnalysisRow.study_instance_uid,
                InstanceRow.sop_instance_uid == AnalysisRow.sop_instance_uid,
                InstanceRow.digest == AnalysisRow.digest,
            ),
        )
        .where(AnalysisRow.study_instance_uid.in_(uids), InstanceRow.scope_code.is_(None))
        .order_by(AnalysisRow.scored_at, AnalysisRow.scorer_sha256)
    )


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def _decoded(document: str) -> Analysis:
    return analysis_of_document(document)


def _reading(row: StudyRow) -> Reading:
    return Reading(
        state=row.reading_state,
        since=row.reading_since,
        reader=row.reader,
        lease_until=row.reading_until,
        how=row.how_read,
        returned_for=row.returned_for,
        number=row.reading_number,
    )
