"""Deletion locks (PS3.4 section CC.2.3): what is completed or canceled stays as long as a subscriber asks for it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from worklist.records.tables import SubscriptionRow, WorkitemRow
from worklist.workitems.identity import WELL_KNOWN


def is_locked(session: Session, workitem_uid: str, created_at: datetime | None = None) -> bool:
    """Whether some subscriber keeps a workitem.

    Args:
        session: of the transaction.
        workitem_uid: which.
        created_at: since when it is there, where that is known: a suspended subscription keeps no later one.
    """
    named = SubscriptionRow.workitem_uid.in_([workitem_uid, *WELL_KNOWN])
    rows = session.scalars(select(SubscriptionRow).where(named, or_(SubscriptionRow.has_lock, ~SubscriptionRow.is_on)))
    found = list(rows)
    unlocked = {row.ae_title for row in found if row.workitem_uid == workitem_uid and not row.is_on}
    return any(
        row.has_lock
        and row.is_on
        and (row.workitem_uid == workitem_uid or row.ae_title not in unlocked)
        and not (row.suspended_at and created_at and created_at > row.suspended_at)
        for row in found
    )


def delete_ended(session: Session, before: datetime) -> int:
    """Delete other systems' workitems that ended before a moment and that nobody keeps; returns how many."""
    ended = session.scalars(select(WorkitemRow).where(WorkitemRow.final_at < before)).all()
    gone = [row.workitem_uid for row in ended if not is_locked(session, row.workitem_uid, row.created_at)]
    for uid in gone:
        session.execute(delete(WorkitemRow).where(WorkitemRow.workitem_uid == uid))
        session.execute(delete(SubscriptionRow).where(SubscriptionRow.workitem_uid == uid))
    return len(gone)
