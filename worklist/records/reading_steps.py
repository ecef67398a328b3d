"""The readings of studies as workitems (PS3.3 section B.26): which study a UID means, and what is told of it.

Nothing of this is kept: it follows from the study's row, and of readings that are over from the study's history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from worklist.procedure_step import ProcedureStepState
from worklist.reading import ReadingState
from worklist.records.events import Event, EventKind, histories, history
from worklist.records.searches import REPORTING_PRIORITY
from worklist.records.tables import ON_THE_LIST, READ, StudyRow
from worklist.workitems import rules
from worklist.workitems.datasets import DicomJson, code, element, moment, name_element
from worklist.workitems.identity import UPS_PUSH, ReadingName, reading_uid

INTERPRETATION: Final = ("110005", "DCM", "Interpretation")  # CID 9231
_READY, _INCOMPLETE = "READY", "INCOMPLETE"
# LOW says that nothing raises the study, and nothing of what is on the film: the attribute has no word for that.
PRIORITY: Final = case((REPORTING_PRIORITY == "", "LOW"), else_=REPORTING_PRIORITY)
_STATE: Final = case(
    (StudyRow.reading_state == ReadingState.READING, ProcedureStepState.IN_PROGRESS.value),
    (StudyRow.reading_state == ReadingState.READ, ProcedureStepState.COMPLETED.value),
    else_=ProcedureStepState.SCHEDULED.value,
)
_READINESS: Final = case((StudyRow.incomplete_since.is_(None), _READY), else_=_INCOMPLETE)
COLUMNS: Final[Mapping[str, ColumnElement[Any] | InstrumentedAttribute[Any]]] = {
    rules.STATE: _STATE,
    rules.PRIORITY: PRIORITY,
    rules.READINESS: _READINESS,
    rules.START: StudyRow.received_at,
    rules.MODIFIED: StudyRow.updated_at,
    "00100010": StudyRow.patient_name,
    "00100020": StudyRow.patient_id,
    "00100040": StudyRow.patient_sex,
    f"{rules.REQUEST}.0020000D": StudyRow.study_instance_uid,
    f"{rules.INPUT}.0020000D": StudyRow.study_instance_uid,
    f"{rules.REQUEST}.00080050": StudyRow.accession_number,
    f"{rules.REQUEST}.00321060": StudyRow.study_description,
}
"""What the workitems of readings are searched by, by path."""

CONSTANTS: Final[Mapping[str, str]] = {
    rules.SOP_CLASS: UPS_PUSH,
    rules.WORKLIST_LABEL: rules.DEFAULT_WORKLIST,
    rules.LABEL: INTERPRETATION[2],
    f"{rules.WORKITEM_CODES}.00080100": INTERPRETATION[0],
    f"{rules.WORKITEM_CODES}.00080102": INTERPRETATION[1],
    f"{rules.WORKITEM_CODES}.00080104": INTERPRETATION[2],
}
"""What is the same of all of them, by path."""

SAID_BESIDES: Final = frozenset(
    {
        rules.PROGRESS_SEQUENCE,
        rules.PERFORMED_SEQUENCE,
        rules.STATIONS,
        rules.PERFORMERS,
        "00404011",
        "00404026",
        "00404027",
        "00741210",
    }
)
"""What a performer or a scheduler may say of a reading's workitem; all else follows from the study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingStep:
    """One reading of a study, as a procedure step.

    Attributes:
        number: of the reading.
        state: of the step.
        performer: who reads or read it; empty where nobody did.
        began: when it was claimed; None where it was not.
        ended: when it was completed or canceled; None before.
        why: why it was canceled; empty where it was not.
    """

    number: int
    state: ProcedureStepState
    performer: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    why: str = ""


def orthanc_id_of(session: Session, name: ReadingName) -> str | None:
    """Orthanc's identifier of the study that a workitem's UID means, whether or not the PACS still has it."""
    above = f"{name.beginning}g"  # behind every hexadecimal digit
    found = select(StudyRow.orthanc_id).where(StudyRow.orthanc_id >= name.beginning, StudyRow.orthanc_id < above)
    return session.scalars(found.limit(1)).one_or_none()


def step_of(session: Session, row: StudyRow, number: int) -> ReadingStep | None:
    """A reading of a study; None where there is no such one, or it is that of a prior."""
    if not 1 <= number <= row.reading_number:
        return None
    reading = row.reading
    state = reading.state.step_state
    past = _past(history(session, row.orthanc_id), number)
    if number < row.reading_number:
        is_read = past.state is ProcedureStepState.COMPLETED
        return past if is_read else replace(past, state=ProcedureStepState.CANCELED)
    if state is None:
        return None
    if row.withdrawn_at is not None and state is not ProcedureStepState.COMPLETED:
        gone = "the study has left the PACS"
        return replace(past, state=ProcedureStepState.CANCELED, ended=row.withdrawn_at, why=gone)
    if state is ProcedureStepState.SCHEDULED:
        return ReadingStep(number=number, state=state)
    began = reading.since if state is ProcedureStepState.IN_PROGRESS else past.began
    ended = reading.since if state is ProcedureStepState.COMPLETED else None
    return ReadingStep(number=number, state=state, performer=reading.reader, began=began, ended=ended)


def canceled_since(session: Session, moment: datetime) -> list[tuple[StudyRow, str, ReadingStep]]:
    """The readings that were given up or lapsed since a moment, the latest first: study, its priority, and the step.

    What has left the PACS is gone with all its readings.
    """
    found = []
    for there in ((ON_THE_LIST,), (READ, StudyRow.reading_since >= moment)):
        rows = session.execute(select(StudyRow, PRIORITY).where(*there, StudyRow.reading_number > 1)).all()
        told = histories(session, [row.orthanc_id for row, _ in rows]) if rows else {}
        for row, priority in rows:
            for number in range(1, row.reading_number):
                step = _past(told.get(row.orthanc_id, ()), number)
                if step.state is not ProcedureStepState.COMPLETED and step.ended and step.ended >= moment:
                    found.append((step.ended, row, priority, replace(step, state=ProcedureStepState.CANCELED)))
    found.sort(key=lambda one: (one[0], one[1].orthanc_id, one[3].number), reverse=True)
    return [(row, priority, step) for _, row, priority, step in found]


def _past(events: Sequence[Event], number: int) -> ReadingStep:
    step = ReadingStep(number=number, state=ProcedureStepState.SCHEDULED)
    for event in events:
        at, of = event.at, event.detail.get("number")
        if event.kind == EventKind.CLAIMED and of == number:
            step = replace(step, performer=event.actor, began=at)
        elif event.kind == EventKind.READ and of == number:
            step = replace(step, state=ProcedureStepState.COMPLETED, performer=event.actor, ended=at)
        elif step.ended is None and of == number + 1:
            why = _WHY_CANCELED.get(event.kind, "the study left the PACS and came back")
            step = replace(step, ended=at, why=why)
    return step


_WHY_CANCELED: Final[Mapping[str, str]] = {
    EventKind.PUT_BACK: "the reader gave up the claim",
    EventKind.LAPSED: "the claim lapsed: its reader gave no sign of life",
}


def light(row: StudyRow, state: ProcedureStepState, priority: str) -> DicomJson:
    """What a search tells of the workitem of a study's present reading."""
    label = f"{INTERPRETATION[2]}: {row.study_description}" if row.study_description else INTERPRETATION[2]
    study = element("UI", row.study_instance_uid)
    return {
        "00080005": element("CS", "ISO_IR 192"),
        rules.SOP_CLASS: element("UI", UPS_PUSH),
        "00100010": name_element(row.patient_name),
        "00100020": element("LO", row.patient_id),
        "00100030": element("DA"),
        "00100040": element("CS", row.patient_sex),
        "00380010": element("LO"),
        "00400400": element("LT", row.reason),
        rules.START: element("DT", moment(row.received_at)),
        rules.MODIFIED: element("DT", moment(row.updated_at)),
        rules.WORKITEM_CODES: element("SQ", code(*INTERPRETATION)),
        rules.INPUT: element("SQ", {"0020000D": study, "0040E020": element("CS", "DICOM")}),
        rules.STATIONS: element("SQ"),
        "00404026": element("SQ"),
        "00404027": element("SQ"),
        rules.PERFORMERS: element("SQ"),
        rules.READINESS: element("CS", _READY if row.incomplete_since is None else _INCOMPLETE),
        rules.REQUEST: element(
            "SQ",
            {
                "00080050": element("SH", row.accession_number),
                "0020000D": study,
                "00321060": element("LO", row.study_description),
                "00321064": element("SQ"),
                "00401001": element("SH"),
            },
        ),
        rules.STATE: element("CS", state.value),
        rules.PRIORITY: element("CS", priority),
        rules.WORKLIST_LABEL: element("LO", rules.DEFAULT_WORKLIST),
        rules.LABEL: element("LO", label[:64]),
        "00741210": element("SQ"),
    }


def whole(row: StudyRow, step: ReadingStep, priority: str, said: DicomJson) -> DicomJson:
    """The workitem of one reading of a study, with what was said of it by UPS."""
    dataset = light(row, step.state, priority)
    dataset[rules.SOP_INSTANCE] = element("UI", reading_uid(row.orthanc_id, step.number))
    dataset[rules.PROGRESS_SEQUENCE] = element("SQ")
    dataset[rules.PERFORMED_SEQUENCE] = element("SQ", _performed(step)) if step.performer else element("SQ")
    dataset |= said
    if step.state is ProcedureStepState.CANCELED:
        told = {rules.CANCELED_AT: _moment(step.ended), rules.CANCEL_REASON: element("LT", step.why)}
        items = list(dataset[rules.PROGRESS_SEQUENCE].get("Value", ())) or [{}]
        items[0] = {**told, **items[0]}
        dataset[rules.PROGRESS_SEQUENCE] = {"vr": "SQ", "Value": items}
    return dict(sorted(dataset.items()))


def _performed(step: ReadingStep) -> DicomJson:
    """What is known of what was performed: all that a completed step must say (PS3.4 Table CC.2.5-3)."""
    performer = {"00404037": name_element(step.performer), "00404036": element("LO")}
    return {
        "00404019": element("SQ", code(*INTERPRETATION)),
        "00404028": element("SQ", code("READER", "99FIRSTREAD", step.performer[:64])),
        "00404033": element("SQ"),
        "00404035": element("SQ", performer),
        "00404050": _moment(step.began or step.ended),
        "00404051": _moment(step.ended),
    }


def _moment(at: datetime | None) -> DicomJson:
    return element("DT", moment(at) if at else "")
