"""From Orthanc's change log to studies, instances and jobs: the only way in.

The log is read from a stored cursor; instances, jobs and the new cursor are written in one transaction. Where
none of the changes that the cursor remembers is found again, Orthanc was emptied or replaced: everything it
holds is then looked at afresh. Reading a change twice changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError, StatementError

from gateway.dispatch import Dispatcher
from gateway.orthanc import Change, InstanceFacts, OrthancClient
from worklist.errors import FirstreadError
from worklist.order import OrderPriority
from worklist.records import ExclusiveLock, FeedCursor, IntakeRecords, ReceivedInstance
from worklist.scope import ScopeRules, assess_scope, is_own_object

FEED = "orthanc"
_STRETCH = 50  # changes written in one transaction: a burst shows up film by film, not all at its end
_MARKS = 16
_PATROL_EVERY = timedelta(seconds=60)  # a study's presence in the PACS is checked no more often than this

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakePace:
    """How often and how far the intake looks.

    Attributes:
        poll: pause between two readings when the doorbell is silent.
        lookback: how old an image may be when a whole PACS is looked at afresh.
        quiet: how long a study is silent before Orthanc is asked whether it is stable.
    """

    poll: timedelta = timedelta(seconds=1)
    lookback: timedelta = timedelta(days=7)
    quiet: timedelta = timedelta(seconds=90)


class Intake:
    """Reads the feed and hands out the work, in one thread, in one process at a time."""

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        *,
        orthanc: OrthancClient,
        records: IntakeRecords,
        dispatcher: Dispatcher,
        lock: ExclusiveLock,
        rules: ScopeRules,
        pace: IntakePace,
    ) -> None:
        self._orthanc = orthanc
        self._records = records
        self._dispatcher = dispatcher
        self._lock = lock
        self._rules = rules
        self._pace = pace
        self._bell = threading.Event()
        self._stop = threading.Event()
        self._deleted: set[str] = set()
        self._troubles: dict[str, str] = {}
        self.last_read_at: datetime | None = None
        self.last_rung_at: datetime | None = None

    def ring(self, deleted_studies: Iterable[str] = ()) -> None:
        """The doorbell: look now. What it says of deleted studies is checked, not believed."""
        self.last_rung_at = datetime.now(UTC)
        self._deleted.update(deleted_studies)
        self._bell.set()

    def stop(self) -> None:
        """End `run` after its present round."""
        self._stop.set()
        self._bell.set()

    def run(self) -> None:
        """Look on every ring, and every second anyway, until stopped; no failure ends it."""
        try:
            while not self._stop.is_set():
                self._bell.wait(self._pace.poll.total_seconds())
                self._bell.clear()
                if not self._stop.is_set() and self._lock.hold():
                    self.look()
        finally:
            self._lock.release()

    def look(self) -> None:
        """One round; a step that fails is logged once, and tried again in the next round."""
        for step in (self._read_feed, self._dispatch, self._ask_unsettled, self._patrol):
            try:
                step()
                if self._troubles.pop(step.__name__, None):
                    log.info("works again", step=step.__name__.strip("_"))
            except (FirstreadError, SQLAlchemyError) as error:
                trouble = str(getattr(error, "orig", None) or error)
                if self._troubles.get(step.__name__) != trouble:
                    log.warning("will be tried again", step=step.__name__.strip("_"), error=trouble)
                self._troubles[step.__name__] = trouble

    @property
    def is_reading(self) -> bool:
        """Whether this process holds the feed and read it without trouble the last time."""
        return self.last_read_at is not None and not self._troubles

    def _dispatch(self) -> None:
        self._dispatcher.run()

    def _read_feed(self) -> None:
        cursor = self._records.cursor(FEED)
        if cursor is None or not self._is_same_feed(cursor):
            if cursor:
                log.warning("the change log is another one: Orthanc was emptied or replaced, looking at all it holds")
            cursor = self._look_at_everything(is_first=cursor is None)
        while not self._stop.is_set():
            changes = self._orthanc.changes(cursor.sequence, _STRETCH)
            if changes:
                cursor = self._admit(changes, cursor)
            self.last_read_at = datetime.now(UTC)
            if len(changes) < _STRETCH:
                return
            self._dispatcher.run()

    def _is_same_feed(self, cursor: FeedCursor) -> bool:
        # Deleting a study deletes its changes too, so the newest mark alone may be missing for a good reason.
        for mark in cursor.marks:
            found = self._orthanc.changes(int(mark.split(maxsplit=1)[0]) - 1, 1)
            if found and found[0].mark == mark:
                return True
        return not cursor.marks and cursor.sequence == 0

    def _admit(self, changes: Sequence[Change], cursor: FeedCursor) -> FeedCursor:
        now = datetime.now(UTC)
        received = [(change.orthanc_id, change.date) for change in changes if change.change_type == "NewInstance"]
        last = changes[-1]
        following = FeedCursor(sequence=last.sequence, marks=(last.mark, *cursor.marks)[:_MARKS])
        stable = [change.orthanc_id for change in changes if change.change_type == "StableStudy"]
        try:
            self._records.admit(self._receive(received), stable, now, feed=FEED, cursor=following)
        except (DataError, IntegrityError, StatementError) as error:
            if isinstance(error, OperationalError):
                raise
            if len(changes) > 1:  # find the one that the database refuses, so that it blocks no other
                for change in changes:
                    cursor = self._admit([change], cursor)
                return cursor
            log.exception("passed over: the database refuses what this change brings", change=last.mark)
            self._records.admit([], [], now, feed=FEED, cursor=following)
        return following

    def _receive(self, received: Iterable[tuple[str, datetime]]) -> list[ReceivedInstance]:
        instances = []
        for orthanc_id, received_at in received:
            facts = self._orthanc.instance(orthanc_id)
            if facts is None or is_own_object(facts.header):
                continue
            if not facts.header.get("StudyInstanceUID"):
                log.error("an instance without a Study Instance UID cannot be listed", orthanc_id=orthanc_id)
                continue
            instances.append(self._describe(facts, received_at))
        return instances

    def _describe(self, facts: InstanceFacts, received_at: datetime) -> ReceivedInstance:
        header = facts.header
        return ReceivedInstance(
            orthanc_id=facts.study_orthanc_id,
            study_instance_uid=header["StudyInstanceUID"],
            series_instance_uid=header.get("SeriesInstanceUID", ""),
            sop_instance_uid=header.get("SOPInstanceUID", ""),
            digest=facts.digest,
            received_at=received_at,
            patient_id=header.get("PatientID", ""),
            patient_name=header.get("PatientName", ""),
            accession_number=header.get("AccessionNumber", ""),
            study_description=header.get("StudyDescription", ""),
            modality=header.get("Modality", ""),
            order_priority=OrderPriority.of(header.get("RequestedProcedurePriority", "")),
            scope_failure=assess_scope(header, self._rules),
        )

    def _look_at_everything(self, *, is_first: bool) -> FeedCursor:
        horizon = datetime.now(UTC) - self._pace.lookback
        undated = self._orthanc.instance_ids()
        recent: dict[str, datetime] = {}
        marks: list[str] = []
        for change in self._orthanc.all_changes():
            marks = [*marks[-_MARKS + 1 :], change.mark]
            if change.orthanc_id in undated and change.change_type == "NewInstance":
                undated.discard(change.orthanc_id)
                if change.date >= horizon:
                    recent[change.orthanc_id] = change.date
        for orthanc_id in undated:  # the log of these was deleted
            date = self._orthanc.reception_date(orthanc_id)
            if date and date >= horizon:
                recent[orthanc_id] = date
        if not is_first:
            self._part_with_the_absent()
        in_order = sorted(recent.items(), key=lambda pair: pair[1])
        for start in range(0, len(in_order), _STRETCH):
            self._records.admit(self._receive(in_order[start : start + _STRETCH]), [], datetime.now(UTC))
            self._dispatcher.run()
        if not is_first:
            self._reopen_lost_reports()
        sequence = int(marks[-1].split(maxsplit=1)[0]) if marks else 0
        cursor = FeedCursor(sequence=sequence, marks=tuple(reversed(marks)))
        self._records.admit([], [], datetime.now(UTC), feed=FEED, cursor=cursor)
        return cursor

    def _part_with_the_absent(self) -> None:
        for orthanc_id in self._records.listed():
            if self._orthanc.study(orthanc_id) is None:
                self._records.record_presence(orthanc_id, datetime.now(UTC), is_present=False)

    def _reopen_lost_reports(self) -> None:
        for study_instance_uid, sop_instance_uid in self._records.reported_documents():
            if not self._orthanc.lookup(sop_instance_uid):
                self._records.reopen_report(study_instance_uid, datetime.now(UTC))

    def _ask_unsettled(self) -> None:
        now = datetime.now(UTC)
        stable = []
        for orthanc_id in self._records.unsettled(now - self._pace.quiet, 20):
            study = self._orthanc.study(orthanc_id)
            if study and study.get("IsStable"):
                stable.append(orthanc_id)
        if stable:
            self._records.admit([], stable, now)

    def _patrol(self) -> None:
        while self._deleted:
            self._check_presence(self._deleted.pop())
        overdue = self._records.longest_unchecked(datetime.now(UTC) - _PATROL_EVERY)
        if overdue:
            self._check_presence(overdue)

    def _check_presence(self, orthanc_id: str) -> None:
        is_present = self._orthanc.study(orthanc_id) is not None
        self._records.record_presence(orthanc_id, datetime.now(UTC), is_present=is_present)
