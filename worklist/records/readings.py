"""What people do with studies: each use case takes who asks, and writes its event in the transaction of its change.

Who may not read studies is refused with NotPermitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worklist.errors import FilmArrived, InvalidInput
from worklist.reading import SYSTEM, Actor, HowRead, Reading, ReadingState
from worklist.records.addresses import study_at
from worklist.records.database import Database
from worklist.records.events import Event, EventKind, film_after, history
from worklist.records.feedback import Feedback, Verdict, judge, last_feedback
from worklist.records.studies import Study
from worklist.records.tables import ON_THE_LIST, StudyRow
from worklist.roles import UseCase
from worklist.site import SiteRules


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingRecords:
    """Claims, readings, and what was put back; a study is named by an address (addresses.py)."""

    database: Database
    rules: SiteRules

    def claim(self, actor: Actor, address: str) -> Reading:
        """Begin to read a study; the one who reads it already renews the lease.

        Raises:
            InvalidInput: unknown_study.
            Conflict: being_read by somebody else, already_read, or shared_uid.
        """
        return self._change(
            address,
            actor,
            EventKind.CLAIMED,
            lambda reading, now: reading.claim(actor, now, self.rules.reading_lease),
        )

    def complete(
        self, actor: Actor, address: str, how: HowRead = HowRead.BY_HAND, *, seen_at: datetime | None = None
    ) -> Reading:
        """Say that a study is read.

        Args:
            actor: who read it.
            address: the study's.
            how: how that is known.
            seen_at: films that came later the reader has not seen; None where that is not known.

        Raises:
            InvalidInput: unknown_study.
            FilmArrived: a film came later than that.
            Conflict: being_read by somebody else, or shared_uid.
        """

        def require_seen(session: Session, study: StudyRow) -> None:
            if seen_at and (came_at := film_after(session, study, seen_at)):
                raise FilmArrived(came_at)

        return self._change(
            address, actor, EventKind.READ, lambda reading, now: reading.complete(actor, now, how), require_seen
        )

    def put_back(self, actor: Actor, address: str) -> Reading:
        """Give up a claim, have a read study read again, or make a prior work.

        Raises:
            InvalidInput: unknown_study.
            Conflict: being_read by somebody else, or shared_uid.
        """
        return self._change(address, actor, EventKind.PUT_BACK, lambda reading, now: reading.put_back(actor, now))

    def lapse(self) -> int:
        """Give up the claims whose lease has run out; returns how many."""
        with self.database.read() as session:
            now = self.database.now(session)
            lapsed = session.scalars(
                select(StudyRow.orthanc_id).where(ON_THE_LIST, StudyRow.reading_until <= now)
            ).all()
        for orthanc_id in lapsed:
            with suppress(InvalidInput):  # it left the PACS meanwhile
                self._change(orthanc_id, SYSTEM, EventKind.LAPSED, lambda reading, _: reading)
        return len(lapsed)

    def history(self, address: str) -> list[Event]:
        """Everything that happened to a study, oldest first.

        Raises:
            Conflict: shared_uid.
        """
        with self.database.read() as session:
            orthanc_id = study_at(session, address, is_present=False)
            return list(history(session, orthanc_id)) if orthanc_id else []

    def judge(self, actor: Actor, address: str, finding: str, verdict: Verdict) -> Sequence[Feedback]:
        """Say of a finding of a study what a reader thinks of it; returns what is said of the study now.

        Raises:
            InvalidInput: unknown_study, or unknown_finding.
            Conflict: shared_uid.
        """
        actor.require(UseCase.READ)
        with self.database.write() as session:
            orthanc_id = study_at(session, address)
            row = session.get(StudyRow, orthanc_id) if orthanc_id else None
            if row is None:
                raise _unknown(address)
            judge(session, row, actor, finding, verdict)
        return self.feedback(address)

    def feedback(self, address: str) -> Sequence[Feedback]:
        """The last verdict of each reader on each finding of a study.

        Raises:
            InvalidInput: unknown_study.
            Conflict: shared_uid.
        """
        with self.database.read() as session:
            orthanc_id = study_at(session, address)
            if orthanc_id is None:
                raise _unknown(address)
            return last_feedback(session, orthanc_id)

    def _change(
        self,
        address: str,
        actor: Actor,
        kind: EventKind,
        step: Callable[[Reading, datetime], Reading],
        require: Callable[[Session, StudyRow], None] = lambda *_: None,
    ) -> Reading:
        actor.require(UseCase.READ)
        with self.database.write() as session:
            now = self.database.now(session)
            orthanc_id = study_at(session, address)
            study = Study.lock(session, orthanc_id, self.rules, now) if orthanc_id else None
            if study is None or study.row.withdrawn_at is not None:
                raise _unknown(address)
            before = study.reading.lapse(now)
            after = step(before, now)
            if after != before:
                require(session, study.row)
            if before != study.reading:
                study.change_reading(EventKind.LAPSED, before, SYSTEM)
            is_renewal = before.state is after.state is ReadingState.READING
            if is_renewal:
                study.reading = after
            elif after != before:
                study.change_reading(kind, after, actor)
            return after


def _unknown(address: str) -> InvalidInput:
    return InvalidInput("unknown_study", f"there is no study {address} on the list: check the address")
