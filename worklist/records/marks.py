"""What is written beside studies in the PACS, so that whatever lists them there may sort by it: order and flag."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, literal, select

from worklist.records.among import Texts, among
from worklist.records.database import Database
from worklist.records.events import changed_studies, newest_sequence
from worklist.records.tables import ON_THE_LIST, StudyRow
from worklist.triage import Urgency

_COLUMNS: Final = (
    StudyRow.orthanc_id,
    StudyRow.stat_rank,
    StudyRow.queue_at,
    StudyRow.received_at,
    StudyRow.study_instance_uid,
    StudyRow.urgency,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyMark:
    """The mark of one study.

    Attributes:
        orthanc_id: Orthanc's identifier of it.
        order: a text; sorted by it, studies stand in reading order. It depends on no other study. "" off the list.
        urgency: what it is flagged as; None where it was not assessed, and off the list.
    """

    orthanc_id: str
    order: str
    urgency: Urgency | None


class StudyMarks:
    """Tells the marks of studies.

    Args:
        database: where the records are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(self) -> tuple[int, list[StudyMark]]:
        """The number of the last event, and the marks of all studies on the list."""
        with self._database.read() as session:
            number = newest_sequence(session)
            return number, [_mark(row) for row in session.execute(select(*_COLUMNS).where(ON_THE_LIST))]

    def changed_after(self, sequence: int) -> tuple[int, list[StudyMark]]:
        """The number of the last event, and the marks of the studies that anything happened to after a number."""
        with self._database.read() as session:
            number, studies = changed_studies(session, sequence)
            rows = session.execute(select(*_COLUMNS).where(ON_THE_LIST, _among(studies))).all()
        marks = {row.orthanc_id: _mark(row) for row in rows}
        gone = (StudyMark(orthanc_id=one, order="", urgency=None) for one in studies if one not in marks)
        return number, [*marks.values(), *gone]


def _among(orthanc_ids: Collection[str]) -> ColumnElement[bool]:
    return among(StudyRow.orthanc_id, literal(list(orthanc_ids), Texts()))


def _mark(row: Any) -> StudyMark:  # noqa: ANN401 - a row of these columns
    moments = f"{row.queue_at:%Y%m%dT%H%M%S.%f} {row.received_at:%Y%m%dT%H%M%S.%f}"
    order = f"{row.stat_rank} {moments} {row.study_instance_uid}"
    return StudyMark(orthanc_id=row.orthanc_id, order=order, urgency=row.urgency)
