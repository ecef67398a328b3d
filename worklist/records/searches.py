"""The reading list as other systems search it: which studies meet some keys, and what is told of them.

The values that keys are matched against are read and matched here, so that both databases give the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, literal, select

from worklist.attributes import ATTRIBUTES
from worklist.matching import Key
from worklist.order import OrderPriority
from worklist.reading import ReadingState
from worklist.records.among import Texts, among
from worklist.records.database import Database
from worklist.records.places import BY_READING
from worklist.records.tables import ON_THE_LIST, PRESENT, StudyRow
from worklist.triage import Urgency

# Of what nothing raises nothing is said: the attribute has words for less than that, and no flag is never a negative.
REPORTING_PRIORITY: Final = case(
    (StudyRow.order_priority == OrderPriority.STAT, "HIGH"),
    (StudyRow.urgency == Urgency.CRITICAL, "HIGH"),
    (StudyRow.order_priority == OrderPriority.HIGH, "MEDIUM"),
    (StudyRow.urgency == Urgency.URGENT, "MEDIUM"),
    else_="",
)
_COLUMNS: Final[Mapping[str, ColumnElement[Any]]] = {
    one.column: REPORTING_PRIORITY if one.column == "reporting_priority" else getattr(StudyRow, one.column)
    for one in ATTRIBUTES
    if one.column
}
_KEYWORDS: Final = tuple(one.keyword for one in ATTRIBUTES if one.column)
_TOLD: Final = select(StudyRow.orthanc_id, StudyRow.urgency, StudyRow.reading_state, *_COLUMNS.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """What a search of the list found.

    Attributes:
        studies: Orthanc's identifiers of what meets the keys, in reading order.
        places: the place of every study on the list, counted from 1, by Orthanc's identifier.
    """

    studies: Sequence[str]
    places: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedStudy:
    """What the records tell of one study.

    Attributes:
        texts: by keyword, of the attributes that have a column; Reporting Priority only of what is on the list.
        urgency: what it is flagged as; None where it was not assessed.
        reading: where it stands between people.
    """

    texts: Mapping[str, str]
    urgency: Urgency | None
    reading: ReadingState


class StudySearches:
    """Searches of the reading list.

    Args:
        database: where the records are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def matched(self, keys: Sequence[Key]) -> Matched:
        """The studies on the list that meet all of some keys, each of which has a column."""
        columns = [_COLUMNS[key.attribute.column] for key in keys]
        matches = [key.matches for key in keys]
        with self._database.read() as session:
            rows = session.execute(select(StudyRow.orthanc_id, *columns).where(ON_THE_LIST).order_by(*BY_READING)).all()
        return Matched(
            studies=[row[0] for row in rows if all(match(held) for match, held in zip(matches, row[1:], strict=True))],
            places={row[0]: place for place, row in enumerate(rows, start=1)},
        )

    def order(self) -> list[str]:
        """Orthanc's identifiers of the studies on the list, in reading order."""
        with self._database.read() as session:
            return list(session.scalars(select(StudyRow.orthanc_id).where(ON_THE_LIST).order_by(*BY_READING)))

    def part(self, *, offset: int = 0, limit: int) -> dict[str, SearchedStudy]:
        """What the records tell of a part of the list, by Orthanc's identifier, in reading order."""
        ordered = _TOLD.where(ON_THE_LIST).order_by(*BY_READING)
        return self._tell(ordered.offset(offset).limit(limit))

    def told(self, orthanc_ids: Sequence[str]) -> dict[str, SearchedStudy]:
        """What the records tell of some studies, by Orthanc's identifier, as far as they know them."""
        if not orthanc_ids:
            return {}
        wanted = among(StudyRow.orthanc_id, literal(list(orthanc_ids), Texts()))
        return self._tell(_TOLD.where(wanted, PRESENT))

    def _tell(self, asked: Select[Any]) -> dict[str, SearchedStudy]:
        with self._database.read() as session:
            rows = session.execute(asked).all()
        return {row[0]: _told(row[1], row[2], dict(zip(_KEYWORDS, row[3:], strict=True))) for row in rows}


def _told(urgency: Urgency | None, reading: ReadingState, texts: dict[str, str]) -> SearchedStudy:
    if reading in {ReadingState.READ, ReadingState.PRIOR}:
        texts["ReportingPriority"] = ""
    return SearchedStudy(texts=texts, urgency=urgency, reading=reading)
