"""Workitems: those of readings, which follow from the studies, and those of other systems, which are kept.

One state table (worklist/procedure_step.py) holds for both. Who claims a reading's workitem claims the study, who
completes it has read the study, and who cancels it puts the study back: its next reading is another workitem. So is
that of a study to which a film came while it was read: no state of the table keeps its performer from completing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from worklist.procedure_step import ProcedureStepEvent, ProcedureStepState, Status
from worklist.reading import SYSTEM, Actor, HowRead, Reading
from worklist.records.database import Database
from worklist.records.deletion_locks import delete_ended
from worklist.records.events import EventKind, film_after, record
from worklist.records.reading_steps import (
    SAID_BESIDES,
    ReadingStep,
    orthanc_id_of,
    step_of,
)
from worklist.records.studies import Study
from worklist.records.tables import StudyRow, WorkitemRow
from worklist.records.workitem_documents import dataset_of, document_of, gone, reading_dataset, retrieved
from worklist.roles import UseCase
from worklist.site import SiteRules
from worklist.workitems import reports, rules
from worklist.workitems.datasets import DicomJson, element, moment
from worklist.workitems.identity import WELL_KNOWN, new_uid, reading_name, reading_uid
from worklist.workitems.refusal import Refusal, WorkitemRefused

LEASES: Final = 4
"""So many leases of a page's claim does a claim by UPS hold: a workstation renews it by updates alone, if at all."""

KEPT: Final = timedelta(hours=24)
"""How long other systems' workitems are kept that have ended, as IHE AIW-I wants it."""

_STATES, _EVENTS = ProcedureStepState, ProcedureStepEvent
_FINAL: Final = frozenset({_STATES.COMPLETED, _STATES.CANCELED})
_CHANGES: Final = {
    _STATES.IN_PROGRESS: (_EVENTS.START_OWNED, _EVENTS.START_FOREIGN),
    _STATES.COMPLETED: (_EVENTS.COMPLETE_OWNED, _EVENTS.COMPLETE_FOREIGN),
    _STATES.CANCELED: (_EVENTS.CANCEL_OWNED, _EVENTS.CANCEL_FOREIGN),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class StateChange:
    """What a change of state led to.

    Attributes:
        warning: the workitem was in that state already, and nothing changed; None where it was not.
        next_workitem: UID of the one under which the study is to be read again, since a film came after it was claimed
            that its performer may not have seen; "" where none did.
    """

    warning: Status | None = None
    next_workitem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkitemRecords:
    """What is done with workitems; each use case takes who asks, and refuses with WorkitemRefused or NotPermitted.

    Who schedules may create and change workitems; a reading's is claimed and completed by who may read studies.

    Attributes:
        database: where the records are kept.
        rules: the site's choices.
    """

    database: Database
    rules: SiteRules

    def create(self, actor: Actor, given: DicomJson, workitem_uid: str = "") -> tuple[str, bool]:
        """Create a workitem of another system; its UID, and whether something was filled in that was missing."""
        actor.require(UseCase.SCHEDULE)
        actor.require_every_site("create workitems")  # one of another system is of no site
        uid = workitem_uid or new_uid()
        with self.database.write() as session:
            now = self.database.now(session)
            name = reading_name(uid)
            is_known = session.get(WorkitemRow, uid) or (name and orthanc_id_of(session, name)) or uid in WELL_KNOWN
            state = _STATES.SCHEDULED if is_known else None
            rules.following(state, _EVENTS.CREATE)
            dataset, is_changed = rules.created(given, uid, now)
            row = WorkitemRow(
                workitem_uid=uid, state=_STATES.SCHEDULED, transaction_uid="", created_at=now, updated_at=now
            )
            row.document = document_of(dataset)
            session.add(row)
            try:
                session.flush()
            except IntegrityError:  # somebody else created it at the same moment
                rules.following(_STATES.SCHEDULED, _EVENTS.CREATE)
            _tell(session, actor, uid, reports.state_report(dataset))
            if assigned := reports.assigned_report(dataset, {}):
                _tell(session, actor, uid, assigned)
        return uid, is_changed

    def retrieve(self, workitem_uid: str) -> DicomJson:
        """A workitem; its Transaction UID is told to nobody."""
        with self.database.read() as session:
            return retrieved(session, workitem_uid)

    def update(self, actor: Actor, workitem_uid: str, given: DicomJson, transaction_uid: str = "") -> bool:
        """Change a workitem: anybody's that is SCHEDULED, one's own that is IN PROGRESS.

        Returns:
            Whether something of what was given was left out, since it follows from the study.
        """
        actor.require(UseCase.SCHEDULE)
        rules.check_update(given)
        if transaction_uid:
            rules.check_transaction_uid(transaction_uid)
        with self.database.write() as session:
            now = self.database.now(session)
            if found := self._locked_reading(session, workitem_uid, now):
                return self._update_reading(session, actor, found, given, transaction_uid)
            row = _locked(session, workitem_uid)
            _require_updatable(_state(row), row.transaction_uid, transaction_uid)
            before = dataset_of(row.document)
            after = {**before, **given, rules.MODIFIED: element("DT", moment(now))}
            row.document, row.updated_at = document_of(after), now
            _tell_changes(session, actor, workitem_uid, before, after)
        return False

    def change_state(
        self, actor: Actor, workitem_uid: str, state: ProcedureStepState, transaction_uid: str
    ) -> StateChange:
        """Claim, complete or cancel a workitem."""
        actor.require(UseCase.SCHEDULE)
        if state is _STATES.SCHEDULED:
            with self.database.read() as session:
                retrieved(session, workitem_uid)
            rules.following(_STATES.SCHEDULED, _EVENTS.SCHEDULE)
        rules.check_transaction_uid(transaction_uid)
        with self.database.write() as session:
            now = self.database.now(session)
            if found := self._locked_reading(session, workitem_uid, now):
                return self._change_reading(session, actor, found, state, transaction_uid)
            row = _locked(session, workitem_uid)
            following = _following(_state(row), state, row.transaction_uid, transaction_uid)
            if isinstance(following, Status):
                return StateChange(warning=following)
            dataset = dataset_of(row.document) | {rules.STATE: element("CS", state.value)}
            if state is _STATES.CANCELED:
                dataset = rules.canceled(dataset, now)
            rules.check_final(dataset, state)
            row.state, row.updated_at, row.document = state, now, document_of(dataset)
            row.transaction_uid = transaction_uid
            row.final_at = now if state in _FINAL else None
            _tell(session, actor, workitem_uid, reports.state_report(dataset))
        return StateChange()

    def request_cancel(self, actor: Actor, workitem_uid: str, given: DicomJson, ae_title: str = "") -> Status | None:
        """Ask that a workitem be canceled: its performer is told, and one that nobody has begun is canceled at once.

        Nobody but who reads it takes a study off the list, so that a reading that nobody has begun is not canceled.
        """
        actor.require(UseCase.SCHEDULE)
        with self.database.write() as session:
            now = self.database.now(session)
            if found := self._locked_reading(session, workitem_uid, now):
                state, row = found.step.state, None
            else:
                row = _locked(session, workitem_uid)
                state = _state(row)
            following = rules.following(state, _EVENTS.REQUEST_CANCEL)
            if isinstance(following, Status):
                return following
            if following is _STATES.IN_PROGRESS:
                study = found.study.row if found else None
                _tell(session, actor, workitem_uid, reports.cancel_requested(given, ae_title), study=study)
            elif row is None:
                raise WorkitemRefused(
                    Refusal.PERFORMER_WILL_NOT, "a study leaves the reading list when it is read, and not before"
                )
            else:
                dataset = rules.canceled(
                    reports.with_reason(dataset_of(row.document), given)
                    | {rules.STATE: element("CS", _STATES.CANCELED.value)},
                    now,
                )
                row.state, row.updated_at, row.final_at, row.document = _STATES.CANCELED, now, now, document_of(dataset)
                _tell(session, actor, workitem_uid, reports.state_report(dataset))
        return None

    def sweep(self) -> int:
        """Delete what other systems' workitems ended a day ago and are kept by nobody; returns how many."""
        with self.database.write() as session:
            return delete_ended(session, self.database.now(session) - KEPT)

    # ---- Readings ----

    def _locked_reading(self, session: Session, workitem_uid: str, now: datetime) -> _FoundReading | None:
        name = reading_name(workitem_uid)
        orthanc_id = orthanc_id_of(session, name) if name else None
        study = Study.lock(session, orthanc_id, self.rules, now) if orthanc_id else None
        if name is None or study is None:
            return None
        if study.reading.lapse(now) != study.reading:
            study.change_reading(EventKind.LAPSED, study.reading.lapse(now), SYSTEM)
            session.flush()
        step = step_of(session, study.row, name.number)
        if step is None:
            raise rules.unknown(workitem_uid)
        said = session.get(WorkitemRow, workitem_uid)
        if study.row.withdrawn_at is not None:
            raise gone(workitem_uid)
        return _FoundReading(uid=workitem_uid, study=study, step=step, said=said, now=now)

    def _update_reading(
        self, session: Session, actor: Actor, found: _FoundReading, given: DicomJson, transaction_uid: str
    ) -> bool:
        actor.require(UseCase.READ)
        _require_updatable(found.step.state, found.transaction_uid, transaction_uid)
        said = {tag: held for tag, held in given.items() if tag in SAID_BESIDES}
        row, before = found.row_to_change(session), found.dataset(session)
        row.document, row.updated_at = document_of(dataset_of(row.document) | said), found.now
        if found.step.state is _STATES.IN_PROGRESS:
            reading = found.study.reading
            found.study.reading = reading.claim(
                _performer(actor, reading), found.now, self.rules.reading_lease * LEASES
            )
        _tell_changes(session, actor, found.uid, before, before | said, study=found.study.row)
        return len(said) < len(given)

    def _change_reading(
        self, session: Session, actor: Actor, found: _FoundReading, state: ProcedureStepState, transaction_uid: str
    ) -> StateChange:
        actor.require(UseCase.READ)
        following = _following(found.step.state, state, found.transaction_uid, transaction_uid)
        if isinstance(following, Status):
            return StateChange(warning=following)
        study, reading, now = found.study, found.study.reading, found.now
        owner = _performer(actor, reading)
        if state is _STATES.IN_PROGRESS:
            after, kind = reading.claim(actor, now, self.rules.reading_lease * LEASES), EventKind.CLAIMED
            row = found.row_to_change(session)
            row.transaction_uid, row.updated_at = transaction_uid, now
        elif state is _STATES.COMPLETED:
            after, kind = reading.complete(owner, now, HowRead.WORKITEM), EventKind.READ
        else:
            after, kind = reading.put_back(owner, now), EventKind.PUT_BACK
        study.change_reading(kind, after, owner)
        came_at = film_after(session, study.row, reading.since) if state is _STATES.COMPLETED else None
        if came_at is None:
            return StateChange()
        study.return_for_film(came_at)
        return StateChange(next_workitem=reading_uid(study.row.orthanc_id, study.reading.number))


@dataclass(frozen=True, kw_only=True, slots=True)
class _FoundReading:
    """The reading that a workitem's UID means, its study locked."""

    uid: str
    study: Study
    step: ReadingStep
    said: WorkitemRow | None
    now: datetime

    @property
    def transaction_uid(self) -> str:
        return self.said.transaction_uid if self.said else ""

    def row_to_change(self, session: Session) -> WorkitemRow:
        row = self.said or WorkitemRow(
            workitem_uid=self.uid,
            transaction_uid="",
            document="{}",
            created_at=self.now,
            updated_at=self.now,
        )
        session.add(row)
        return row

    def dataset(self, session: Session) -> DicomJson:
        return reading_dataset(session, self.study.row, self.step, self.said)


def _locked(session: Session, workitem_uid: str) -> WorkitemRow:
    row = session.get(WorkitemRow, workitem_uid, with_for_update=True)
    if row is None or row.state is None:
        raise rules.unknown(workitem_uid)
    return row


def _state(row: WorkitemRow) -> ProcedureStepState:
    return row.state or _STATES.CANCELED  # only rows of readings have none, and those are not asked


def _performer(actor: Actor, reading: Reading) -> Actor:
    """Whoever knows the Transaction UID goes on as the one who claimed it; who is logged in is nobody else."""
    return actor if actor.is_known or not reading.reader else replace(actor, name=reading.reader)


def _following(
    now_is: ProcedureStepState, wanted: ProcedureStepState, kept: str, given: str
) -> ProcedureStepState | Status:
    """What the state table says; the one who starts makes the Transaction UID, so that any is right."""
    owned, foreign = _CHANGES[wanted]
    is_owned = wanted is _STATES.IN_PROGRESS or now_is is _STATES.SCHEDULED or bool(kept and kept == given)
    return rules.following(now_is, owned if is_owned else foreign, given)


def _require_updatable(state: ProcedureStepState, kept: str, given: str) -> None:
    if state in _FINAL:
        raise WorkitemRefused(Status.NO_LONGER_UPDATED, "the workitem is completed or canceled and changes no more")
    if state is _STATES.SCHEDULED and given:
        raise WorkitemRefused(
            Status.NOT_YET_IN_PROGRESS, "nobody has claimed the workitem: update it without Transaction UID"
        )
    if state is _STATES.IN_PROGRESS and not (kept and kept == given):
        raise rules.wrong_transaction(given)


def _tell_changes(  # noqa: PLR0913, PLR0917 - before and after
    session: Session, actor: Actor, uid: str, before: DicomJson, after: DicomJson, study: StudyRow | None = None
) -> None:
    for report in (
        reports.progress_report(after, before),
        reports.assigned_report(after, before),
        reports.readiness_report(after, before),
    ):
        if report:
            _tell(session, actor, uid, report, study=study)


def _tell(
    session: Session,
    actor: Actor,
    uid: str,
    report: reports.Report,
    *,
    study: StudyRow | None = None,
) -> None:
    record(
        session,
        EventKind.WORKITEM,
        study,
        by=actor,
        workitem=uid,
        type=report.type.value,
        said=report.said,
    )
