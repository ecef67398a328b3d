"""What happened to workitems after a number of the change sequence, for those who hear of them.

Readings' workitems change with the studies: their history tells it. What else is told stands in events of its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from worklist.procedure_step import ProcedureStepState
from worklist.reading import ReadingState
from worklist.records.database import Database
from worklist.records.events import EventKind, history, newest_sequence
from worklist.records.places import BY_READING
from worklist.records.reading_steps import COLUMNS, orthanc_id_of
from worklist.records.subscriptions import Subscriptions
from worklist.records.tables import ON_THE_LIST, EventRow, StudyRow, WorkitemRow
from worklist.records.workitem_documents import dataset_of, retrieved
from worklist.workitems import rules
from worklist.workitems.datasets import DicomJson, element
from worklist.workitems.identity import reading_name, reading_uid
from worklist.workitems.refusal import WorkitemRefused
from worklist.workitems.reports import Report, ReportType, message, state_report

_KINDS: Final = (
    EventKind.ARRIVED,
    EventKind.COMPLETE,
    EventKind.CLAIMED,
    EventKind.READ,
    EventKind.PUT_BACK,
    EventKind.LAPSED,
    EventKind.RETURNED,
    EventKind.WITHDRAWN,
    EventKind.WORKITEM,
)
_OPEN: Final = frozenset({ReadingState.UNREAD.value, ReadingState.READING.value})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """One report about a workitem; to one application alone, or to all that hear of it."""

    uid: str
    report: Report
    to: str = ""


class WorkitemEvents:
    """Reads what happened.

    Args:
        database: where the records are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> int:
        """The number of the last event."""
        with self._database.read() as session:
            return newest_sequence(session)

    def after(self, number: int, ae_titles: Collection[str]) -> tuple[int, dict[str, list[DicomJson]]]:
        """What some applications are to hear of all that happened after a number.

        Returns:
            The last number, and messages (PS3.18 section 11.13) by AE title.
        """
        heard: dict[str, list[DicomJson]] = {}
        with self._database.read() as session:
            rows = session.scalars(select(EventRow).where(EventRow.sequence > number).order_by(EventRow.sequence)).all()
            subscriptions = Subscriptions.of(session, ae_titles)
            for row in (row for row in rows if row.kind in _KINDS):
                for told in _told(session, row, ae_titles, subscriptions):
                    hearers = [told.to] if told.to else _hearers(session, subscriptions, told.uid)
                    for ae_title in set(hearers) & set(ae_titles):
                        heard.setdefault(ae_title, []).append(message(told.uid, told.report, row.sequence))
            return (rows[-1].sequence if rows else number), heard


def _hearers(session: Session, subscriptions: Subscriptions, uid: str) -> list[str]:
    return subscriptions.hearers(uid, partial(_dataset, session, uid), partial(_created_at, session, uid))


def _dataset(session: Session, uid: str) -> DicomJson | None:
    try:
        return retrieved(session, uid)
    except WorkitemRefused:
        return None


def _created_at(session: Session, uid: str) -> datetime | None:
    name = reading_name(uid)
    orthanc_id = orthanc_id_of(session, name) if name else None
    if name and orthanc_id:
        of_it = (event.at for event in history(session, orthanc_id) if event.detail.get("number") == name.number)
        return next(of_it, None)
    row = session.get(WorkitemRow, uid)
    return row.created_at if row else None


def _told(session: Session, row: EventRow, ae_titles: Collection[str], subscriptions: Subscriptions) -> Iterator[_Told]:
    detail: Mapping[str, Any] = json.loads(row.detail)
    if row.kind == EventKind.WORKITEM:
        to = detail.get("to", "")
        if "everything" not in detail:
            report = Report(type=ReportType(detail["type"]), said=detail["said"])
            yield _Told(uid=detail["workitem"], report=report, to=to)
        elif to in ae_titles:
            yield from (
                _Told(uid=uid, report=report, to=to)
                for uid, report in _everything(session)
                if to in _hearers(session, subscriptions, uid)
            )
        return
    if row.study_orthanc_id is None:
        return
    for number, state, readiness, why in _changes(session, row, detail):
        said = {rules.READINESS: element("CS", readiness), rules.STATE: element("CS", state.value)}
        if why:
            said[rules.CANCEL_REASON] = element("LT", why)
        uid = reading_uid(row.study_orthanc_id, number)
        yield _Told(uid=uid, report=Report(type=ReportType.STATE, said=dict(sorted(said.items()))))


_Change = tuple[int, ProcedureStepState, str, str]


def _changes(session: Session, row: EventRow, detail: Mapping[str, Any]) -> Iterator[_Change]:
    """Number and state of each reading of the study that an event tells of, its readiness, and why it was canceled."""
    number, reading, was = detail.get("number"), detail.get("reading"), detail.get("was")
    if row.kind == EventKind.COMPLETE:  # the study is complete: its films are ready to be read
        study = session.get(StudyRow, row.study_orthanc_id)
        state = study.reading.state.step_state if study and study.withdrawn_at is None else None
        if study and state in {ProcedureStepState.SCHEDULED, ProcedureStepState.IN_PROGRESS}:
            yield study.reading_number, state, "READY", ""
        return
    if not isinstance(number, int):
        return  # of an earlier version
    if row.kind == EventKind.WITHDRAWN:
        if reading in _OPEN:
            yield number, ProcedureStepState.CANCELED, "UNAVAILABLE", "the study has left the PACS"
        return
    if row.kind in {EventKind.PUT_BACK, EventKind.LAPSED} and was == ReadingState.READING:
        why = "the claim lapsed" if row.kind == EventKind.LAPSED else "the reader gave up the claim"
        yield number - 1, ProcedureStepState.CANCELED, "READY", why
    state = ReadingState(reading).step_state if reading in set(ReadingState) else None
    if state is not None:
        readiness = "INCOMPLETE" if row.kind in {EventKind.ARRIVED, EventKind.RETURNED} else "READY"
        yield number, state, readiness, ""


def _everything(session: Session) -> Iterator[tuple[str, Report]]:
    columns = (COLUMNS[rules.READINESS], COLUMNS[rules.STATE])
    of_readings = select(StudyRow.orthanc_id, StudyRow.reading_number, *columns).where(ON_THE_LIST)
    for row in session.execute(of_readings.order_by(*BY_READING)):
        said = {rules.READINESS: element("CS", row[2]), rules.STATE: element("CS", row[3])}
        yield reading_uid(row[0], row[1]), Report(type=ReportType.STATE, said=said)
    for other in session.scalars(select(WorkitemRow).where(WorkitemRow.state.is_not(None))):
        yield other.workitem_uid, state_report(dataset_of(other.document))
