"""The reading list as people and viewers see it: in order, in pages, and as it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, select
from sqlalchemy.orm import Session

from worklist.reading import ReadingState
from worklist.records.addresses import study_at
from worklist.records.among import Texts, among
from worklist.records.database import Database
from worklist.records.events import changed_studies, newest_sequence
from worklist.records.images import StoredImage, orthanc_ids, unscored_images
from worklist.records.lines import ListedStudy, analysis_of, lines
from worklist.records.places import BY_ARRIVAL, BY_READING, Places, count
from worklist.records.priors import PriorLine, prior_lines
from worklist.records.tables import ON_THE_LIST, PRESENT, PRIORS, READ, ResultRow, StudyRow
from worklist.site import SiteRules
from worklist.step import Step
from worklist.study import StudyState


class Shown(StrEnum):
    """Which studies are asked for, by their reading."""

    LIST = "list"  # unread and being read: the reading list itself
    UNREAD = "unread"
    READING = "reading"
    READ = "read"
    PRIOR = "prior"
    ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListCounts:
    """How many studies stand where."""

    listed: int
    overdue: int
    priors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GoneStudy:
    """A study that left the list; orthanc_id is told where another patient's has or had the same UID."""

    study_instance_uid: str
    orthanc_id: str | None = None


class Worklist:
    """The gateway's side of the records; a study is named by an address (addresses.py).

    Args:
        database: where they are kept.
        rules: the site's choices.
    """

    def __init__(self, database: Database, rules: SiteRules) -> None:
        self._database = database
        self._rules = rules
        self._places = Places()

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
            rows = session.scalars(
                select(StudyRow).where(wanted).order_by(*_order(shown)).limit(limit).offset(offset)
            ).all()
            places = {row.orthanc_id: offset + place for place, row in enumerate(rows, start=1)}
            if shown is not Shown.LIST or state is not None:
                places |= self._places.by_reading(session, rows)
            sequence = newest_sequence(session)
            is_list = shown is Shown.LIST and state is None
            total = (self._places.total(sequence) if is_list else None) or count(session, wanted)
            return total, self._lines(session, rows, places, sequence)

    def counts(self) -> ListCounts:
        """How many studies are on the list, wait beyond the target, and stand aside as priors."""
        with self._database.read() as session:
            before = self._database.now(session) - self._rules.target_wait
            return ListCounts(
                listed=count(session, ON_THE_LIST),
                overdue=count(session, and_(ON_THE_LIST, StudyRow.received_at < before)),
                priors=count(session, PRIORS),
            )

    def newest(self) -> int:
        """The number of the last event."""
        with self._database.read() as session:
            return newest_sequence(session)

    def changed_after(self, sequence: int) -> tuple[int, list[ListedStudy], list[GoneStudy]]:
        """What happened to the list after a number: the last number, the lines that changed, and who left it."""
        with self._database.read() as session:
            newest, uids = changed_studies(session, sequence)
            is_changed = among(StudyRow.orthanc_id, literal(list(uids), Texts()))
            rows = list(session.scalars(select(StudyRow).where(is_changed, ON_THE_LIST)))
            ranks = self._places.by_reading(session, rows)
            rows = [row for row in rows if row.orthanc_id in ranks]
            left = [one for one in uids if one not in {row.orthanc_id for row in rows}]
            return newest, self._lines(session, rows, ranks, newest), _gone(session, {one: uids[one] for one in left})

    def find(self, address: str) -> ListedStudy | None:
        """One study's line; None where the PACS has none of it.

        Raises:
            Conflict: shared_uid, the address is that of several patients' studies; so for crop, image and so on.
        """
        with self._database.read() as session:
            row = _row_at(session, address)
            if row is None:
                return None
            place = self._places.by_reading(session, [row]).get(row.orthanc_id, 1)
            return self._lines(session, [row], {row.orthanc_id: place}, newest_sequence(session))[0]

    def crop(self, address: str, position: int) -> tuple[str, str, str] | None:
        """Study, Series and SOP Instance UID of a crop of the current results, counted from 1."""
        with self._database.read() as session:
            row = _row_at(session, address)
            if row is None:
                return None
            found = session.execute(
                select(ResultRow.series_instance_uid, ResultRow.sop_instance_uid).where(
                    ResultRow.study_orthanc_id == row.orthanc_id,
                    ResultRow.position == position,
                    ResultRow.revision == row.reported_revision,
                )
            ).one_or_none()
            return (row.study_instance_uid, found[0], found[1]) if found else None

    def image(self, address: str, position: int) -> StoredImage | None:
        """An image of a study, counted from 1.

        Positions are those of the analysis. A study without one has the images that are looked at, or else all that
        may be images, in the order of their SOP Instance UIDs.
        """
        with self._database.read() as session:
            row = _row_at(session, address)
            if row is None:
                return None
            analysis = analysis_of(session, row)
            scored = analysis.images if analysis else ()
            known = orthanc_ids(session, row.orthanc_id, scored)
            images = [
                StoredImage(
                    study_orthanc_id=row.orthanc_id,
                    orthanc_id=known.get(image.sop_instance_uid),
                    series_instance_uid=image.series_instance_uid,
                    sop_instance_uid=image.sop_instance_uid,
                    is_decoded=True,
                )
                for image in scored
            ] or unscored_images(session, row.orthanc_id)
            return images[position - 1] if 1 <= position <= len(images) else None

    def priors(self, address: str, limit: int = 50) -> list[PriorLine] | None:
        """Earlier studies of the same patient, newest first; None where the PACS has none of the study itself."""
        with self._database.read() as session:
            orthanc_id = study_at(session, address)
            return prior_lines(session, orthanc_id, limit) if orthanc_id else None

    def steps(self, address: str) -> tuple[Step, ...] | None:
        """How what the list shows of a study came about; None where the PACS has none of it."""
        with self._database.read() as session:
            row = _row_at(session, address)
            if row is None:
                return None
            analysis = analysis_of(session, row)
            return analysis.steps if analysis else ()

    def _lines(
        self, session: Session, rows: Sequence[StudyRow], ranks: Mapping[str, int], sequence: int
    ) -> list[ListedStudy]:
        if not rows:
            return []
        return lines(
            session,
            rows,
            ranks=ranks,
            arrivals=self._places.by_arrival(session, [row for row in rows if row.reason], sequence),
            overdue_before=self._database.now(session) - self._rules.target_wait,
        )


def _row_at(session: Session, address: str) -> StudyRow | None:
    orthanc_id = study_at(session, address)
    return session.get(StudyRow, orthanc_id) if orthanc_id else None


def _gone(session: Session, left: Mapping[str, str]) -> list[GoneStudy]:
    bears = among(StudyRow.study_instance_uid, literal(list(left.values()), Texts()))
    several = select(StudyRow.study_instance_uid).where(bears).group_by(StudyRow.study_instance_uid)
    shared = set(session.scalars(several.having(func.count() > 1))) if left else set()
    return [
        GoneStudy(study_instance_uid=uid, orthanc_id=orthanc_id if uid in shared else None)
        for orthanc_id, uid in left.items()
    ]


def _wanted(shown: Shown) -> ColumnElement[bool]:
    return {
        Shown.LIST: ON_THE_LIST,
        Shown.UNREAD: and_(ON_THE_LIST, StudyRow.reading_state != ReadingState.READING),
        Shown.READING: and_(ON_THE_LIST, StudyRow.reading_state == ReadingState.READING),
        Shown.READ: READ,
        Shown.PRIOR: PRIORS,
        Shown.ALL: PRESENT,
    }[shown]


def _order(shown: Shown) -> tuple[ColumnElement[Any], ...]:
    if shown is Shown.READ:  # the last one first
        return (StudyRow.reading_since.desc(), StudyRow.study_instance_uid.desc(), StudyRow.orthanc_id.desc())
    if shown is Shown.PRIOR:
        return tuple(column.asc() for column in BY_ARRIVAL)
    columns: tuple[ColumnElement[Any], ...] = tuple(column.asc() for column in BY_READING)
    return (case((ON_THE_LIST, 0), else_=1).asc(), *columns) if shown is Shown.ALL else columns
