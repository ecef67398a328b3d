"""Where studies stand among those that are to be read: in reading order, and by arrival alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from worklist.reading import ON_THE_LIST as LISTED_STATES
from worklist.records.tables import ON_THE_LIST, StudyRow
from worklist.sight import Sight, sight

BY_READING: Final = (
    StudyRow.stat_rank,
    StudyRow.queue_at,
    StudyRow.received_at,
    StudyRow.study_instance_uid,
    StudyRow.orthanc_id,
)
BY_ARRIVAL: Final = (StudyRow.received_at, StudyRow.study_instance_uid, StudyRow.orthanc_id)
_COUNTED_SINGLY = 4  # more places are found by one walk along the list
_NO_ARRIVALS: Final[tuple[int, dict[str, int]]] = (-1, {})


def is_listed(row: StudyRow) -> bool:
    """Whether a study is to be read."""
    return row.withdrawn_at is None and row.reading_state in LISTED_STATES


def count(session: Session, condition: ColumnElement[bool]) -> int:
    """How many studies meet a condition."""
    return session.scalar(select(func.count()).select_from(StudyRow).where(condition)) or 0


class Places:
    """Where each study stands among those that are seen, counted from 1.

    The order of arrival is found once after each change of the list.
    """

    def __init__(self) -> None:
        self._arrivals: dict[Sight | None, tuple[int, dict[str, int]]] = {}

    def by_reading(self, session: Session, rows: Iterable[StudyRow]) -> dict[str, int]:
        """The rank of each of these studies that is to be read."""
        wanted = [row for row in rows if is_listed(row)]
        if len(wanted) <= _COUNTED_SINGLY:
            return _singly(session, wanted, BY_READING)
        return _of(wanted, _walk(session, BY_READING))

    def total(self, sequence: int) -> int | None:
        """How many studies are to be read; None where that is not known as of this event."""
        known, places = self._arrivals.get(sight(), _NO_ARRIVALS)
        return len(places) if known == sequence else None

    def by_arrival(self, session: Session, rows: Iterable[StudyRow], sequence: int) -> dict[str, int]:
        """Where each of these studies that is to be read would stand by its arrival alone, as of an event."""
        wanted = [row for row in rows if is_listed(row)]
        known, places = self._arrivals.get(sight(), _NO_ARRIVALS)
        if known != sequence or any(row.orthanc_id not in places for row in wanted):
            if len(wanted) <= _COUNTED_SINGLY:
                return _singly(session, wanted, BY_ARRIVAL)
            places = _walk(session, BY_ARRIVAL)
            self._arrivals[sight()] = (sequence, places)
        return _of(wanted, places)


def _of(rows: Iterable[StudyRow], places: dict[str, int]) -> dict[str, int]:
    # A study that was read in this very moment has no place any more.
    return {row.orthanc_id: places[row.orthanc_id] for row in rows if row.orthanc_id in places}


def _walk(session: Session, key: Sequence[InstrumentedAttribute[Any]]) -> dict[str, int]:
    order = session.scalars(select(StudyRow.orthanc_id).where(ON_THE_LIST).order_by(*key))
    return {uid: place for place, uid in enumerate(order, start=1)}


def _singly(session: Session, rows: Iterable[StudyRow], key: Sequence[InstrumentedAttribute[Any]]) -> dict[str, int]:
    return {row.orthanc_id: 1 + count(session, and_(ON_THE_LIST, _before(row, key))) for row in rows}


def _before(row: StudyRow, key: Sequence[InstrumentedAttribute[Any]]) -> ColumnElement[bool]:
    return tuple_(*key) < tuple_(*(getattr(row, one.key) for one in key))
