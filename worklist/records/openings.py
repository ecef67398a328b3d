"""Opening a study in an emergency (break glass): who may not otherwise opens one, and it stands in its history.

The right is that of one person, for one study, for a while. Nobody is asked; everybody who sees the list sees it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from worklist.errors import Conflict, InvalidInput
from worklist.reading import Actor
from worklist.records.addresses import study_at
from worklist.records.database import Database
from worklist.records.events import EventKind, record
from worklist.records.tables import EventRow, StudyRow
from worklist.roles import UseCase

LASTS: Final = timedelta(hours=4)
LONGEST_REASON: Final = 300  # characters
SHORTEST_REASON: Final = 10  # a word is none
_SHOWN: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Who opened a study in an emergency, when, and why."""

    by: str
    at: datetime
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OpeningRecords:
    """Opens studies in an emergency; a study is named by an address (addresses.py)."""

    database: Database

    def open(self, actor: Actor, address: str, reason: str) -> datetime:
        """Open a study, for a reason; returns until when.

        Raises:
            NotPermitted: not_permitted.
            InvalidInput: no_reason; unknown_study.
            Conflict: shared_uid.
        """
        actor.require(UseCase.OPEN_IN_EMERGENCY)
        stated = " ".join(reason.split())
        if not SHORTEST_REASON <= len(stated) <= LONGEST_REASON:
            raise InvalidInput(
                "no_reason", f"say why you must see this study, in {SHORTEST_REASON} to {LONGEST_REASON} characters"
            )
        with self.database.write() as session:
            orthanc_id = study_at(session, address)
            study = session.get(StudyRow, orthanc_id) if orthanc_id else None
            if study is None:
                raise InvalidInput("unknown_study", f"there is no study {address}: check the address")
            record(session, EventKind.OPENED, study, by=actor, reason=stated, address=actor.address)
            return self.database.now(session) + LASTS

    def is_open(self, actor: Actor, address: str) -> bool:
        """Whether somebody has opened a study a while ago."""
        with self.database.read() as session:
            try:
                orthanc_id = study_at(session, address)
            except Conflict:
                return False
            opened = _opened(orthanc_id or "").where(
                EventRow.actor == actor.name,
                EventRow.actor_source == actor.source,
                EventRow.at > self.database.now(session) - LASTS,
            )
            return session.scalars(opened.limit(1)).first() is not None

    def of(self, address: str) -> Sequence[Opening]:
        """Who opened a study, the last first.

        Raises:
            InvalidInput: unknown_study.
            Conflict: shared_uid.
        """
        with self.database.read() as session:
            orthanc_id = study_at(session, address, is_present=False)
            if orthanc_id is None:
                raise InvalidInput("unknown_study", f"there is no study {address}: check the address")
            return [_opening(row) for row in _rows(session, orthanc_id)]


def _opened(orthanc_id: str) -> Select[EventRow]:
    return select(EventRow).where(EventRow.study_orthanc_id == orthanc_id, EventRow.kind == EventKind.OPENED)


def _rows(session: Session, orthanc_id: str) -> Sequence[EventRow]:
    return session.scalars(_opened(orthanc_id).order_by(EventRow.sequence.desc()).limit(_SHOWN)).all()


def _opening(row: EventRow) -> Opening:
    return Opening(by=row.actor, at=row.at, reason=str(json.loads(row.detail).get("reason", "")))
