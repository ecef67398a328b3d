"""What is read and old leaves the database, as the site says: a study's own rows.

Nothing leaves the PACS, and nothing the audit trail. What is to be read stays for however long it waits; what the PACS
no longer has nobody can read, so that it counts from the moment at which it left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from worklist.audit import AuditEntry, AuditKind
from worklist.reading import SYSTEM
from worklist.records.addresses import others_of
from worklist.records.audit import AuditRecords
from worklist.records.database import Database
from worklist.records.events import EventKind, record
from worklist.records.leases import Lease
from worklist.records.tables import (
    OPEN,
    PRIORS,
    READ,
    WITHDRAWN,
    AnalysisRow,
    EventRow,
    InstanceRow,
    JobRow,
    ReportRow,
    ResultRow,
    StudyRow,
    SubscriptionRow,
    WorkitemRow,
)
from worklist.workitems.identity import reading_uid

AT_ONCE: Final = 100  # studies in one transaction: it holds the one writer of SQLite for a moment
_OF_A_STUDY: Final = (AnalysisRow, ReportRow, ResultRow, JobRow, InstanceRow, EventRow)


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """Studies that go, or would go.

    Attributes:
        read: of them, that were read.
        priors: that stood aside as priors.
        withdrawn: that had left the PACS.
        earliest: when the first of them arrived.
        latest: when the last did.
    """

    read: int = 0
    priors: int = 0
    withdrawn: int = 0
    earliest: datetime | None = None
    latest: datetime | None = None

    @property
    def studies(self) -> int:
        """All of them."""
        return self.read + self.priors + self.withdrawn

    def plus(self, other: Removed) -> Removed:
        """Both together."""
        moments = [one for one in (self.earliest, other.earliest, self.latest, other.latest) if one]
        return Removed(
            read=self.read + other.read,
            priors=self.priors + other.priors,
            withdrawn=self.withdrawn + other.withdrawn,
            earliest=min(moments, default=None),
            latest=max(moments, default=None),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionRecords:
    """The site's retention.

    Attributes:
        database: where the records are kept.
        keep_for: how long a study stays once it has arrived, and once it is read.
    """

    database: Database
    keep_for: timedelta

    def due(self) -> Removed:
        """What would go now, all of it; looks at every row that it counts."""
        with self.database.read() as session:
            before = self.database.now(session) - self.keep_for
            total = Removed()
            for kind in _kinds(before):
                span = func.count(), func.min(StudyRow.received_at), func.max(StudyRow.received_at)
                count, earliest, latest = session.execute(select(*span).where(kind.condition)).one()
                total = total.plus(Removed(**{kind.name: count}, earliest=earliest, latest=latest))
        return total

    def remove(self, lease: Lease, limit: int = AT_ONCE) -> Removed:
        """Remove what is due, so much of it at once, and say so in the audit trail.

        Args:
            lease: of the feed, so that one process removes.
            limit: studies; where so many went, more may be due.

        Raises:
            TransientError: lease_lost.
        """
        with self.database.read() as session:
            found = _some(session, self.database.now(session) - self.keep_for, limit)
        if not found:
            return Removed()
        with self.database.write() as session:
            lease.require(session)
            if self.database.is_sqlite:
                session.execute(text("PRAGMA secure_delete = ON"))  # else names stay readable in the file's free pages
            now = self.database.now(session)
            of_them = StudyRow.orthanc_id.in_(found)
            session.execute(select(StudyRow.orthanc_id).where(of_them).order_by(StudyRow.orthanc_id).with_for_update())
            removed = Removed()
            for kind in _kinds(now - self.keep_for):  # as they are now, under the lock
                rows = session.scalars(select(StudyRow).where(of_them, kind.condition)).all()
                moments = [row.received_at for row in rows]
                removed = removed.plus(
                    Removed(
                        **{kind.name: len(rows)}, earliest=min(moments, default=None), latest=max(moments, default=None)
                    )
                )
                _delete(session, rows)
            if removed.studies:
                record(session, EventKind.REMOVED, None, studies=removed.studies)
                AuditRecords(database=self.database).append_within(session, [self._entry(removed, now)])
        return removed

    def _entry(self, removed: Removed, now: datetime) -> AuditEntry:
        return AuditEntry(
            at=now,
            kind=AuditKind.DELETE,
            actor=SYSTEM.name,
            actor_source=SYSTEM.source,
            detail={
                "studies": removed.studies,
                "read": removed.read,
                "priors": removed.priors,
                "left the PACS": removed.withdrawn,
                "arrived from": day_of(removed.earliest),
                "arrived to": day_of(removed.latest),
                "kept for days": self.keep_for.days,
            },
        )


def day_of(moment: datetime | None) -> str:
    """A day, in UTC; empty for none."""
    return moment.astimezone(UTC).date().isoformat() if moment else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    name: str
    condition: ColumnElement[bool]
    by: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]


def _kinds(before: datetime) -> tuple[_Kind, ...]:
    """What is due, each kind by an index of its own."""
    idle = and_(
        StudyRow.incomplete_since.is_(None), ~exists().where(JobRow.study_orthanc_id == StudyRow.orthanc_id, OPEN)
    )
    old = and_(StudyRow.received_at < before, StudyRow.reading_since < before, idle)
    left = and_(WITHDRAWN, StudyRow.withdrawn_at < before, idle)
    return (
        _Kind(name="read", condition=and_(READ, old), by=StudyRow.reading_since),
        _Kind(name="priors", condition=and_(PRIORS, old), by=StudyRow.received_at),
        _Kind(name="withdrawn", condition=left, by=StudyRow.withdrawn_at),
    )


def _some(session: Session, before: datetime, limit: int) -> list[str]:
    found: list[str] = []
    for kind in _kinds(before):
        wanted = select(StudyRow.orthanc_id).where(kind.condition).order_by(kind.by).limit(limit - len(found))
        found += session.scalars(wanted) if len(found) < limit else ()
    return found


def _delete(session: Session, rows: Iterable[StudyRow]) -> None:
    gone = list(rows)
    ids = [row.orthanc_id for row in gone]
    for row in gone:
        if row.withdrawn_at is None:
            for other in others_of(session, row):
                if other.orthanc_id not in ids:
                    record(session, EventKind.UID_ALONE, other)  # its line says whether another bears its UID
    uids = [uid for row in gone for uid in _workitem_uids(row)]
    for workitems in (WorkitemRow, SubscriptionRow):
        session.execute(delete(workitems).where(workitems.workitem_uid.in_(uids)))
    for table in _OF_A_STUDY:
        session.execute(delete(table).where(table.study_orthanc_id.in_(ids)))
    session.execute(delete(StudyRow).where(StudyRow.orthanc_id.in_(ids)))


def _workitem_uids(row: StudyRow) -> list[str]:
    try:
        return [reading_uid(row.orthanc_id, number) for number in range(1, row.reading_number + 1)]
    except ValueError:  # an identifier that Orthanc did not give has no workitem
        return []
