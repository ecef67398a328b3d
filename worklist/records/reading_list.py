"""The reading list as people and viewers see it: in order, in pages, and as it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from worklist.finding import Analysis
from worklist.order import OrderPriority
from worklist.records.database import Database
from worklist.records.tables import InstanceRow, ResultRow, StudyRow
from worklist.study import Failure, FilmFacts, StudyState, leading_analysis
from worklist.urgency import Urgency


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedStudy:
    """One line of the reading list; rank counts from 1 over the whole list."""

    rank: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_description: str
    modality: str
    received_at: datetime
    order_priority: OrderPriority
    urgency: Urgency | None
    score: float | None
    state: StudyState
    queue_at: datetime
    reason: str
    failure: Failure | None
    analysis: Analysis | None
    result_series_uids: tuple[str, ...]
    crop_count: int
    updated_at: datetime


class ReadingList:
    """The gateway's side of the records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, *, state: StudyState | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[int, list[ListedStudy]]:
        """How many studies there are in a state (or in all), and one page of them in reading order."""
        with self._database.read() as session:
            counting = select(func.count()).select_from(StudyRow).where(StudyRow.withdrawn_at.is_(None))
            ranked = _ranked()
            if state:
                counting = counting.where(StudyRow.state == state)
                ranked = ranked.where(StudyRow.state == state)
            rows = session.execute(ranked.limit(limit).offset(offset)).all()
            return session.scalar(counting) or 0, _listed(session, rows)

    def changed_since(
        self, moment: datetime, told: Mapping[str, datetime | None] = MappingProxyType({})
    ) -> tuple[list[ListedStudy], list[str]]:
        """The studies that changed at or after a moment, and the Study Instance UIDs that left the list.

        Args:
            moment: from when on.
            told: what is known already and left out: when each study changed last, None for one that left. Every open
                page asks four times a second, and ranking the whole list takes long.
        """
        with self._database.read() as session:
            touched = session.execute(
                select(StudyRow.study_instance_uid, StudyRow.updated_at, StudyRow.withdrawn_at).where(
                    StudyRow.updated_at >= moment
                )
            )
            changes = {uid: None if withdrawn_at else updated_at for uid, updated_at, withdrawn_at in touched}
            news = {uid: at for uid, at in changes.items() if uid not in told or told[uid] != at}
            gone = [uid for uid, at in news.items() if at is None]
            if len(gone) == len(news):
                return [], gone
            rows = session.execute(_ranked().where(StudyRow.study_instance_uid.in_(news))).all()
            return _listed(session, rows), gone

    def find(self, study_instance_uid: str) -> ListedStudy | None:
        """One study's line."""
        with self._database.read() as session:
            found = _listed(
                session, session.execute(_ranked().where(StudyRow.study_instance_uid == study_instance_uid)).all()
            )
            return found[0] if found else None

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


def _ranked() -> Select[StudyRow, int]:
    order = (StudyRow.stat_rank, StudyRow.queue_at, StudyRow.received_at, StudyRow.study_instance_uid)
    rank = (
        select(StudyRow.study_instance_uid.label("uid"), func.row_number().over(order_by=order).label("rank"))
        .where(StudyRow.withdrawn_at.is_(None))
        .subquery()
    )
    return select(StudyRow, rank.c.rank).join(rank, rank.c.uid == StudyRow.study_instance_uid).order_by(rank.c.rank)


def _listed(session: Session, rows: Iterable[Row[StudyRow, int]]) -> list[ListedStudy]:
    pairs = [(row[0], row[1]) for row in rows]
    uids = [study.study_instance_uid for study, _ in pairs]
    results: dict[str, list[ResultRow]] = {uid: [] for uid in uids}
    for result in session.scalars(
        select(ResultRow)
        .where(ResultRow.study_instance_uid.in_(uids))
        .order_by(ResultRow.position, ResultRow.series_instance_uid)
    ):
        results[result.study_instance_uid].append(result)
    films: dict[str, list[FilmFacts]] = {uid: [] for uid in uids}
    for instance in session.scalars(
        select(InstanceRow).where(InstanceRow.study_instance_uid.in_(uids), InstanceRow.analysis.is_not(None))
    ):
        films[instance.study_instance_uid].append(FilmFacts(analysis=instance.analysis))
    return [
        _line(study, rank, results[study.study_instance_uid], tuple(films[study.study_instance_uid]))
        for study, rank in pairs
    ]


def _line(study: StudyRow, rank: int, results: list[ResultRow], films: tuple[FilmFacts, ...]) -> ListedStudy:
    current = [result for result in results if result.revision == study.reported_revision]
    highest = {result.series_instance_uid: result.position for result in current}
    is_explained = study.reported_revision == study.revision
    return ListedStudy(
        rank=rank,
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        accession_number=study.accession_number,
        study_description=study.study_description,
        modality=study.modality,
        received_at=study.received_at,
        order_priority=study.order_priority,
        urgency=study.urgency,
        score=study.score,
        state=study.state,
        queue_at=study.queue_at,
        reason=study.reason,
        failure=(Failure(code=study.failure_code, message=study.failure_message or "") if study.failure_code else None),
        analysis=study.analysis if is_explained else leading_analysis(films),
        result_series_uids=tuple(sorted(highest, key=highest.__getitem__)),
        crop_count=sum(1 for result in current if result.position),
        updated_at=study.updated_at,
    )
