"""The audit trail: entries that are only ever added, each bound to all before it by a digest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from worklist.audit import WORKITEM, AuditEntry, AuditKind, Outcome, link, printable
from worklist.records.database import Database
from worklist.records.reading_steps import orthanc_id_of
from worklist.records.tables import AuditRow, FeedRow, StudyRow
from worklist.workitems.identity import reading_name

_LOCK: Final = 7_319_013  # advisory lock on PostgreSQL: the chain has one end
_TOLD: Final = "audit"  # among the feeds
_AT_ONCE: Final = 5_000  # rows that are read at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An entry with its number, and the digest of it and of all before it."""

    number: int
    entry: AuditEntry
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What a look at the whole trail found.

    Attributes:
        entries: how many there are.
        digest: of the last one; noted elsewhere, it shows later that none was cut off.
        broken_at: number of the first entry that is not as it was written; None where all are.
    """

    entries: int
    digest: str
    broken_at: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRecords:
    """The audit trail of a site."""

    database: Database

    def append(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries at the end, with the studies of their workitems and the patients of their studies."""
        if entries:
            with self.database.write() as session:
                self.append_within(session, entries)

    def append_within(self, session: Session, entries: Sequence[AuditEntry]) -> None:
        """The same, in the transaction of what they tell of."""
        if not self.database.is_sqlite:  # SQLite has one writer at a time
            session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        last = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
        number, digest = (last.number, last.digest) if last else (0, "")
        told = [_with_study(session, printable(entry)) for entry in entries]
        patients = _patients(session, {entry.study_instance_uid for entry in told} - {""})
        for entry in told:
            complete = replace(entry, patient_id=patients.get(entry.study_instance_uid, entry.patient_id))
            number, digest = number + 1, link(digest, complete)
            session.add(_row(number, complete, digest))

    def verify(self) -> Verified:
        """Look at every entry from the first on."""
        digest, count = "", 0
        for kept in self.after(0):
            digest, count = link(digest, kept.entry), count + 1
            if kept.number != count or kept.digest != digest:
                return Verified(entries=self._count(), digest=kept.digest, broken_at=count)
        return Verified(entries=count, digest=digest)

    def after(self, number: int, limit: int | None = None) -> Iterator[Kept]:
        """The entries behind a number, in their order."""
        seen = 0
        while limit is None or seen < limit:
            most = _AT_ONCE if limit is None else min(_AT_ONCE, limit - seen)
            with self.database.read() as session:
                rows = session.scalars(
                    select(AuditRow).where(AuditRow.number > number).order_by(AuditRow.number).limit(most)
                ).all()
            yield from map(_kept, rows)
            seen += len(rows)
            if len(rows) < most:
                return
            number = rows[-1].number

    def concerning(self, whom: str, since: datetime | None = None) -> Iterable[Kept]:
        """Everything about a patient or a study, by Patient ID or Study Instance UID, the oldest first."""
        is_about = or_(AuditRow.patient_id == whom, AuditRow.study_instance_uid == whom)
        wanted = select(AuditRow).where(is_about).order_by(AuditRow.number)
        with self.database.read() as session:
            rows = session.scalars(wanted.where(AuditRow.at >= since) if since else wanted).all()
        return map(_kept, rows)

    def newest(self) -> int:
        """The number of the last entry."""
        with self.database.read() as session:
            return session.scalar(select(func.max(AuditRow.number))) or 0

    def told(self) -> int:
        """The number up to which the hospital's audit repository knows the trail."""
        with self.database.read() as session:
            row = session.get(FeedRow, _TOLD)
            return row.sequence if row else 0

    def note_told(self, number: int) -> None:
        """It knows it up to here."""
        with self.database.write() as session:
            now = self.database.now(session)
            session.merge(FeedRow(name=_TOLD, sequence=number, marks="", read_at=now))

    def _count(self) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(AuditRow)) or 0


def _with_study(session: Session, entry: AuditEntry) -> AuditEntry:
    """An entry with the study whose reading's workitem it names."""
    name = reading_name(str(entry.detail.get(WORKITEM, "")))
    orthanc_id = orthanc_id_of(session, name) if name and not entry.study_instance_uid else None
    row = session.get(StudyRow, orthanc_id) if orthanc_id else None
    return replace(entry, study_instance_uid=row.study_instance_uid) if row else entry


def _patients(session: Session, studies: Iterable[str]) -> dict[str, str]:
    """Patient IDs by Study Instance UID; none where two patients' studies bear it, or none is known."""
    uids = sorted(studies)
    if not uids:
        return {}
    found = session.execute(
        select(StudyRow.study_instance_uid, func.min(StudyRow.patient_id), func.count(StudyRow.patient_id.distinct()))
        .where(StudyRow.study_instance_uid.in_(uids))
        .group_by(StudyRow.study_instance_uid)
    )
    return {uid: patient for uid, patient, count in found if count == 1}


def _row(number: int, entry: AuditEntry, digest: str) -> AuditRow:
    return AuditRow(
        number=number,
        at=entry.at,
        kind=entry.kind.value,
        outcome=int(entry.outcome),
        actor=entry.actor,
        actor_source=entry.actor_source,
        roles=" ".join(entry.roles),
        address=entry.address,
        study_instance_uid=entry.study_instance_uid,
        patient_id=entry.patient_id,
        detail=json.dumps(dict(entry.detail), ensure_ascii=False, sort_keys=True),
        digest=digest,
    )


def _kept(row: AuditRow) -> Kept:
    return Kept(
        number=row.number,
        digest=row.digest,
        entry=AuditEntry(
            at=row.at,
            kind=AuditKind(row.kind),
            outcome=Outcome(row.outcome),
            actor=row.actor,
            actor_source=row.actor_source,
            roles=tuple(row.roles.split()),
            address=row.address,
            study_instance_uid=row.study_instance_uid,
            patient_id=row.patient_id,
            detail=json.loads(row.detail),
        ),
    )
