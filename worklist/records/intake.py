"""What the change feed writes: studies, instances, jobs and the cursor, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, literal, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from worklist.reading import Actor, HowRead
from worklist.records.among import Texts, among
from worklist.records.choices import choices_in_force
from worklist.records.database import Database
from worklist.records.events import EventKind
from worklist.records.leases import Lease
from worklist.records.received import ReceivedInstance
from worklist.records.studies import Study
from worklist.records.tables import CHECKED, INCOMPLETE, PRESENT, FeedRow, InstanceRow, ResultRow, StudyRow
from worklist.scope import ScopeRules
from worklist.site import SiteRules

_TEST, _SCOPE = "write test", "scope"  # rows that are of no feed
_CLOCKS_APART = timedelta(seconds=5)  # a moment further ahead was written before the clock was set back
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedCursor:
    """How far a feed has been read.

    Attributes:
        sequence: number of the last change that was read.
        marks: that change and some before it, newest first, each in a form by which to know it again.
    """

    sequence: int
    marks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedReport:
    """A radiologist's own report that lies in a study in the PACS: what arrived before it is read."""

    orthanc_id: str
    reader: Actor
    received_at: datetime


class IntakeRecords:
    """The intake's side of the records.

    Args:
        database: where they are kept.
        rules: the site's choices.
    """

    def __init__(self, database: Database, rules: SiteRules) -> None:
        self._database = database
        self._rules = rules

    def scope(self) -> ScopeRules:
        """Which images are looked at now."""
        with self._database.read() as session:
            return choices_in_force(session, self._rules.start).scope

    def cursor(self, feed: str) -> FeedCursor | None:
        """How far the feed has been read; None before the first time."""
        with self._database.read() as session:
            row = session.get(FeedRow, feed)
            return FeedCursor(sequence=row.sequence, marks=tuple(row.marks.splitlines())) if row else None

    def scopes(self) -> tuple[str | None, str]:
        """Which images were looked at when that was last noted, if ever, and which are now; each as a text."""
        with self._database.read() as session:
            noted = session.get(FeedRow, _SCOPE)
            scope = choices_in_force(session, self._rules.start).scope
        words = [scope.accept_secondary_capture, sorted(scope.modalities), sorted(scope.chest_words)]
        return noted.marks if noted else None, json.dumps(words, ensure_ascii=False)

    def note_scope(self, scope: str) -> None:
        """Note which images are looked at."""
        with self._database.write() as session:
            session.merge(FeedRow(name=_SCOPE, sequence=0, marks=scope, read_at=self._database.now(session)))

    def note_read(self, feed: str) -> None:
        """The feed was read to its end just now, also where it told of nothing."""
        with self._database.write() as session:
            session.execute(update(FeedRow).where(FeedRow.name == feed).values(read_at=self._database.now(session)))

    def silence(self, feed: str) -> timedelta | None:
        """How long ago the feed was read, by whichever process; None where it never was."""
        with self._database.read() as session:
            row = session.get(FeedRow, feed)
            return self._database.now(session) - row.read_at if row else None

    def write_test(self) -> None:
        """Write something, to learn whether that is possible: a full disk still reads."""
        with suppress(IntegrityError), self._database.write() as session:  # another one writes it for the first time
            now = self._database.now(session)
            session.merge(FeedRow(name=_TEST, sequence=0, marks="", read_at=now))

    def ingest(
        self,
        received: Iterable[ReceivedInstance | ReceivedReport],
        stable: Iterable[str],
        *,
        feed: str = "",
        cursor: FeedCursor | None = None,
        lease: Lease | None = None,
    ) -> None:
        """Write one stretch of the feed, all of it or nothing.

        Args:
            received: what arrived; an instance that is known with the same digest changes nothing.
            stable: Orthanc's identifiers of studies that have become stable.
            feed: the feed's name, with ...
            cursor: ... how far this stretch goes.
            lease: of the feed.

        Raises:
            TransientError: lease_lost, another process reads the feed by now.
        """
        with self._database.write() as session:
            if lease:
                lease.require(session)
            now = self._database.now(session)
            arrivals, stable_ids = list(received), set(stable)
            studies = self._lock(session, stable_ids.union(one.orthanc_id for one in arrivals), now)
            changed = self._receive(session, arrivals, studies, now)
            for study in changed.values():  # once a study: a CT has thousands of instances
                study.recompute()
            for study in studies.values():
                if study.row.orthanc_id in stable_ids:
                    study.complete()
            if cursor:
                session.merge(FeedRow(name=feed, sequence=cursor.sequence, marks="\n".join(cursor.marks), read_at=now))

    def _receive(
        self,
        session: Session,
        arrivals: Iterable[ReceivedInstance | ReceivedReport],
        studies: dict[str, Study],
        now: datetime,
    ) -> dict[str, Study]:
        """Give each arrival to its study, which may be new; the studies that changed."""
        changed: dict[str, Study] = {}
        for one in arrivals:  # as they came: an image after a report is one that its author has not seen
            study = studies.get(one.orthanc_id)
            if isinstance(one, ReceivedReport):
                if study:
                    self._complete_reading(study, one, now)
                continue
            if study is None:
                if one.is_past and self._rules.keep_for and one.received_at < now - self._rules.keep_for:
                    continue  # it has been removed, or would be
                study = studies[one.orthanc_id] = Study.create(session, one, self._rules, now)
            if study.receive(one):
                changed[one.orthanc_id] = study
        return changed

    def _lock(self, session: Session, orthanc_ids: set[str], now: datetime) -> dict[str, Study]:
        locked = ((one, Study.lock(session, one, self._rules, now)) for one in sorted(orthanc_ids))
        return {one: study for one, study in locked if study}

    @staticmethod
    def _complete_reading(study: Study, report: ReceivedReport, now: datetime) -> None:
        returned_at = study.reading.since if study.reading.returned_for else study.row.received_at
        if report.received_at < max(study.row.received_at, returned_at):
            return  # a feed that is read afresh tells of reports again, and this one knew nothing of what came since
        read = study.reading.complete(report.reader, now, HowRead.REPORT)
        if read != study.reading and study.row.withdrawn_at is None:
            study.change_reading(EventKind.READ, read, report.reader)

    def complete_quiet(self, limit: int = 200) -> int:
        """Schedule the reports of studies without a new image for the site's quiet time; returns how many."""
        with self._database.read() as session:
            now = self._database.now(session)
            is_quiet = StudyRow.incomplete_since <= now - self._rules.quiet
            quiet = session.scalars(
                select(StudyRow.orthanc_id)
                .where(INCOMPLETE, or_(is_quiet, StudyRow.incomplete_since > now + _CLOCKS_APART))
                .order_by(StudyRow.incomplete_since)
                .limit(limit)
            ).all()
        for orthanc_id in quiet:
            with self._database.write() as session:
                now = self._database.now(session)
                study = Study.lock(session, orthanc_id, self._rules, now)
                since = study.row.incomplete_since if study else None
                if study and since is not None and not now - self._rules.quiet < since <= now + _CLOCKS_APART:
                    study.complete()
        return len(quiet)

    def longest_unchecked(self, age: timedelta, limit: int) -> list[str]:
        """Orthanc's identifiers of the studies that were compared with the PACS longest ago, and longer than that."""
        with self._database.read() as session:
            return list(
                session.scalars(
                    select(StudyRow.orthanc_id)
                    .where(CHECKED, StudyRow.checked_at < self._database.now(session) - age)
                    .order_by(StudyRow.checked_at)
                    .limit(limit)
                )
            )

    def expected(self, orthanc_id: str) -> set[str]:
        """SOP Instance UIDs that a study's images and current results have, as far as the records know."""
        with self._database.read() as session:
            of_study = and_(StudyRow.orthanc_id == orthanc_id, PRESENT)
            images = select(InstanceRow.sop_instance_uid).join(
                StudyRow, StudyRow.orthanc_id == InstanceRow.study_orthanc_id
            )
            results = (
                select(ResultRow.sop_instance_uid)
                .join(StudyRow, StudyRow.orthanc_id == ResultRow.study_orthanc_id)
                .where(ResultRow.revision == StudyRow.reported_revision)
            )
            return {*session.scalars(images.where(of_study)), *session.scalars(results.where(of_study))}

    def record_presence(
        self, orthanc_id: str, *, is_present: bool, missing: Collection[str] = (), elsewhere: Collection[str] = ()
    ) -> None:
        """Note what of a study still lies in the PACS.

        Args:
            orthanc_id: the study's.
            is_present: whether any of it does; otherwise it leaves the list.
            missing: SOP Instance UIDs of it that do not: results are written again, images leave the study.
            elsewhere: those of them that lie in another study: results are written into their own, once.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            study = Study.lock(session, orthanc_id, self._rules, now)
            if study is None:
                return
            study.row.checked_at = now
            if study.row.withdrawn_at is not None:
                return
            if not is_present:
                study.withdraw()
            elif missing:
                study.part_with(missing, elsewhere)

    def record_whole(self, orthanc_ids: Sequence[str]) -> None:
        """Note that all of some studies lies in the PACS."""
        if not orthanc_ids:
            return
        with self._database.write() as session:
            _set_checked(session, and_(StudyRow.orthanc_id.in_(orthanc_ids), PRESENT), self._database.now(session))

    def listed_of(self, orthanc_ids: Sequence[str]) -> set[str]:
        """Those of Orthanc's identifiers whose studies are thought to be in the PACS."""
        if not orthanc_ids:
            return set()
        with self._database.read() as session:
            listed = select(StudyRow.orthanc_id).where(StudyRow.orthanc_id.in_(orthanc_ids), PRESENT)
            return set(session.scalars(listed))

    def without_institution(self, limit: int) -> list[str]:
        """Orthanc's identifiers of some studies in the PACS of which a version that kept no institution wrote."""
        with self._database.read() as session:
            asked = select(StudyRow.orthanc_id).where(PRESENT, StudyRow.institution.is_(None)).limit(limit)
            return list(session.scalars(asked))

    def note_institutions(self, stated: Mapping[str, str]) -> None:
        """Note where some studies were made, by Orthanc's identifier, as far as nobody has meanwhile."""
        with self._database.write() as session:
            key = StudyRow.orthanc_id
            unknown = select(StudyRow).where(key.in_(list(stated)), StudyRow.institution.is_(None)).order_by(key)
            for row in session.scalars(unknown.with_for_update()):
                row.institution = stated[row.orthanc_id]

    def forget_checks(self) -> None:
        """Have every study compared with the PACS anew, as soon as the patrol comes to it."""
        with self._database.write() as session:
            _set_checked(session, CHECKED, _LONG_AGO)

    def listed(self) -> list[str]:
        """Orthanc's identifiers of every study that is thought to be in the PACS."""
        with self._database.read() as session:
            return list(session.scalars(select(StudyRow.orthanc_id).where(PRESENT)))


def _set_checked(session: Session, condition: ColumnElement[bool], checked_at: datetime) -> None:
    key = StudyRow.orthanc_id
    locked = session.scalars(select(key).where(condition).order_by(key).with_for_update()).all()
    session.execute(update(StudyRow).where(among(key, literal(locked, Texts()))).values(checked_at=checked_at))
