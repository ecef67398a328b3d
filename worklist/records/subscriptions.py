"""Who hears of which workitems (PS3.4 section CC.2.3), kept so that a restart forgets nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worklist.matching import Key
from worklist.procedure_step import Status
from worklist.reading import Actor
from worklist.records.database import Database
from worklist.records.events import EventKind, record
from worklist.records.tables import SubscriptionRow
from worklist.records.workitem_documents import retrieved
from worklist.roles import UseCase
from worklist.workitems import rules
from worklist.workitems.datasets import DicomJson, element, texts
from worklist.workitems.identity import FILTERED_GLOBAL, GLOBAL, WELL_KNOWN
from worklist.workitems.keys import workitem_key
from worklist.workitems.refusal import WorkitemRefused
from worklist.workitems.reports import state_report

Filter = Sequence[tuple[str, str]]
MOST: Final = 10_000
"""Subscriptions of one application: beyond them it wants the one to all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionRecords:
    """Subscribes and unsubscribes applications; who may not is refused with NotPermitted.

    Attributes:
        database: where the records are kept.
    """

    database: Database

    def subscribe(
        self, actor: Actor, ae_title: str, workitem_uid: str, *, has_lock: bool = False, keys: Filter = ()
    ) -> None:
        """Have an application hear of a workitem, or of all by a well-known UID; it hears first how that stands now.

        Args:
            actor: who asks.
            ae_title: of the application that is to hear.
            workitem_uid: of what; with FILTERED_GLOBAL of all that meet the keys.
            has_lock: whether what has ended is kept until the application unsubscribes. All that there is is told at
                once only with it, where the subscription is to all (PS3.4 section CC.2.4.3).
            keys: names and values of what must be met.

        Raises:
            WorkitemRefused: there is no such workitem, or the application has too many subscriptions.
            InvalidInput: bad_key.
        """
        actor.require(UseCase.SUBSCRIBE)
        for name, value in keys:
            workitem_key(name, value)
        with self.database.write() as session:
            now = self.database.now(session)
            dataset = None if workitem_uid in WELL_KNOWN else retrieved(session, workitem_uid)
            row = session.get(SubscriptionRow, (ae_title, workitem_uid))
            if row is None:
                row = SubscriptionRow(ae_title=ae_title, workitem_uid=workitem_uid, created_at=now)
                of_it = select(SubscriptionRow.workitem_uid).where(SubscriptionRow.ae_title == ae_title).limit(MOST)
                if len(session.scalars(of_it).all()) == MOST:
                    raise WorkitemRefused(
                        Status.UNKNOWN_INSTANCE, f"{ae_title} has {MOST} subscriptions: subscribe to all workitems"
                    )
                session.add(row)
            row.is_on, row.has_lock, row.suspended_at = True, has_lock, None
            row.filter = json.dumps(list(keys), ensure_ascii=False)
            if dataset is not None:
                report = state_report(dataset)
                record(
                    session,
                    EventKind.WORKITEM,
                    None,
                    by=actor,
                    workitem=workitem_uid,
                    type=report.type.value,
                    said=report.said,
                    to=ae_title,
                )
            elif has_lock:
                record(session, EventKind.WORKITEM, None, by=actor, everything=workitem_uid, to=ae_title)

    def unsubscribe(self, actor: Actor, ae_title: str, workitem_uid: str) -> None:
        """Have an application hear no more of a workitem; by a well-known UID, of any.

        Raises:
            WorkitemRefused: it heard nothing of it.
        """
        actor.require(UseCase.SUBSCRIBE)
        with self.database.write() as session:
            of_it = session.scalars(select(SubscriptionRow).where(SubscriptionRow.ae_title == ae_title)).all()
            by_uid = {row.workitem_uid: row for row in of_it if row.is_on}
            hears_all = bool(WELL_KNOWN & set(by_uid))
            if workitem_uid not in by_uid and not (hears_all and workitem_uid not in WELL_KNOWN):
                raise WorkitemRefused(Status.UNKNOWN_INSTANCE, f"{ae_title} is not subscribed to {workitem_uid[:64]}")
            if workitem_uid in WELL_KNOWN:
                session.execute(delete(SubscriptionRow).where(SubscriptionRow.ae_title == ae_title))
            elif hears_all:
                row = by_uid.get(workitem_uid) or SubscriptionRow(
                    ae_title=ae_title,
                    workitem_uid=workitem_uid,
                    filter="[]",
                    created_at=self.database.now(session),
                )
                row.is_on = row.has_lock = False
                session.add(row)
            else:
                session.delete(by_uid[workitem_uid])

    def suspend(self, actor: Actor, ae_title: str, well_known_uid: str) -> None:
        """Have an application hear of no workitem that is new from now on; of those that are there it goes on to.

        Raises:
            WorkitemRefused: it heard of nothing by that UID.
        """
        actor.require(UseCase.SUBSCRIBE)
        with self.database.write() as session:
            row = session.get(SubscriptionRow, (ae_title, well_known_uid))
            if row is None or well_known_uid not in WELL_KNOWN:
                raise WorkitemRefused(Status.UNKNOWN_INSTANCE, f"{ae_title} is not subscribed to {well_known_uid[:64]}")
            row.suspended_at = row.suspended_at or self.database.now(session)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscriptions:
    """What some applications hear of, as it stands in one transaction."""

    _rows: Mapping[str, Mapping[str, SubscriptionRow]] = field(default_factory=dict)

    @classmethod
    def of(cls, session: Session, ae_titles: Collection[str]) -> Subscriptions:
        """Of some applications."""
        rows: dict[str, dict[str, SubscriptionRow]] = {}
        for row in session.scalars(select(SubscriptionRow).where(SubscriptionRow.ae_title.in_(ae_titles))):
            rows.setdefault(row.ae_title, {})[row.workitem_uid] = row
        return cls(_rows=rows)

    def hearers(
        self, workitem_uid: str, dataset: Callable[[], DicomJson | None], created_at: Callable[[], datetime | None]
    ) -> list[str]:
        """Which of them hear of a workitem.

        Args:
            workitem_uid: of which.
            dataset: tells it, where a filter asks; None where it is gone.
            created_at: since when it is there, where a suspended subscription asks.
        """
        return [ae_title for ae_title, rows in self._rows.items() if _hears(rows, workitem_uid, dataset, created_at)]


def _hears(
    rows: Mapping[str, SubscriptionRow],
    workitem_uid: str,
    dataset: Callable[[], DicomJson | None],
    created_at: Callable[[], datetime | None],
) -> bool:
    # What is said of one workitem goes before what is said of all (PS3.4 Table CC.2.3-2).
    if workitem_uid in rows:
        return rows[workitem_uid].is_on
    for uid in (GLOBAL, FILTERED_GLOBAL):
        row = rows.get(uid)
        if row is None or (row.suspended_at and ((since := created_at()) is None or since > row.suspended_at)):
            continue
        if uid == GLOBAL or meets(dataset(), _keys(row.filter)):
            return True
    return False


@lru_cache(maxsize=256)
def _keys(document: str) -> tuple[Key, ...]:
    keys = (workitem_key(name, value) for name, value in json.loads(document))
    return tuple(key for key in keys if key)


def meets(dataset: DicomJson | None, keys: Sequence[Key]) -> bool:
    """Whether a workitem meets a filter, which is asked as of its creation: its state counts as SCHEDULED."""
    if dataset is None:
        return False
    asked = {**dataset, rules.STATE: element("CS", "SCHEDULED")}
    return all(any(map(key.matches, texts(asked, key.attribute.tag))) for key in keys)
