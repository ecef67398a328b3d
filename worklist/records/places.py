"""Where studies stand among those that are to be read: in reading order, and by arrival alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from worklist.reading import ON_THE_LIST as LISTED_STATES
from worklist.records.tables import ON_THE_LIST, StudyRow

BY_READING: Final = (StudyRow.stat_rank, StudyRow.queue_at, StudyRow.received_at, StudyRow.study_instance_uid)
BY_ARRIVAL: Final = (StudyRow.received_at, StudyRow.study_instance_uid)
_COUNTED_SINGLY = 4  # more places are found by one walk along the list
_AT_ONCE = 500


def in_pieces(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    """At most so many at once as one statement may name."""
    return (uids[start : start + _AT_ONCE] for start in range(0, len(uids), _AT_ONCE))


def is_listed(row: StudyRow) -> bool:
    """Whether a study is to be read."""
    return row.withdrawn_at is None and row.reading_state in LISTED_STATES


def count(session: Session, condition: ColumnElement[bool]) -> int:
    """How many studies meet a condition."""
    return session.scalar(select(func.count()).select_from(StudyRow).where(condition)) or 0


def ranks(session: Session, rows: Iterable[StudyRow]) -> dict[str, int]:
    """The rank of each of these studies that is to be read, counted from 1."""
    return _places(session, rows, BY_READING)


def ranks_by_arrival(session: Session, rows: Iterable[StudyRow]) -> dict[str, int]:
    """Where each of these studies that is to be read would stand by its arrival alone, counted from 1."""
    return _places(session, rows, BY_ARRIVAL)


def _places(session: Session, rows: Iterable[StudyRow], key: Sequence[InstrumentedAttribute[Any]]) -> dict[str, int]:
    wanted = [row for row in rows if is_listed(row)]
    if len(wanted) <= _COUNTED_SINGLY:
        return {row.study_instance_uid: 1 + count(session, and_(ON_THE_LIST, _before(row, key))) for row in wanted}
    place = func.row_number().over(order_by=key).label("place")
    order = select(StudyRow.study_instance_uid, place).where(ON_THE_LIST).subquery()
    places: dict[str, int] = {}
    for uids in in_pieces([row.study_instance_uid for row in wanted]):
        found = session.execute(select(order).where(order.c.study_instance_uid.in_(uids)))
        places |= {uid: int(number) for uid, number in found}
    return places


def _before(row: StudyRow, key: Sequence[InstrumentedAttribute[Any]]) -> ColumnElement[bool]:
    return tuple_(*key) < tuple_(*(getattr(row, one.key) for one in key))
