"""From Orthanc's change log to studies, instances, readings and jobs: the only way in.

The log is read from a stored cursor; instances, jobs and the new cursor are written in one transaction. Where
none of the changes that the cursor remembers is found again, Orthanc was emptied or replaced: everything it
holds is then looked at afresh. Reading a change twice changes nothing.

Whoever holds the feed also keeps time for all: studies that are complete, claims that lapse, jobs of dead workers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from gateway.intake.arrivals import received_instance, received_report
from gateway.intake.dispatch import Dispatcher
from gateway.intake.orthanc import Change, OrthancClient
from worklist.errors import FirstreadError
from worklist.records import (
    ExclusiveLock,
    FeedCursor,
    IntakeRecords,
    JobRecords,
    ReadingRecords,
    ReceivedInstance,
    ReceivedReport,
)
from worklist.scope import ScopeRules, is_own_object

FEED = "orthanc"
_HEADERS_AT_ONCE = 4
_STRETCH = 50  # changes written in one transaction: a burst shows up film by film, not all at its end
_MARKS = 16  # that are remembered; ...
_MOST_MARKS = 4 * _MARKS  # ... that are gathered before they are thinned
_SILENCE = timedelta(seconds=60)  # a round ends long before this, unless the database or a neighbour holds it
_PATROL_EVERY = timedelta(seconds=60)  # a study's presence in the PACS is checked no more often than this
_TICK_S = 0.25  # how often it is looked whether a study has become complete
_HOUSEKEEPING_EVERY_S = 3.0
_BUDGET_EVERY_S = 3600.0

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakePace:
    """How often and how far the intake looks.

    Attributes:
        poll: pause between two readings when the doorbell is silent.
        lookback: how old an image may be when a whole PACS is looked at afresh.
    """

    poll: timedelta = timedelta(seconds=1)
    lookback: timedelta = timedelta(days=7)


class Intake:
    """Reads the feed, keeps time and hands out the work, in one thread, in one process at a time.

    Args:
        orthanc: where the feed is read.
        records: what is written of it.
        readings: whose claims lapse.
        jobs: whose holders may die, and whose policy follows the alert budget.
        dispatcher: hands out the work.
        lock: held by the one process that does all this.
        rules: which images are looked at.
        report_titles: titles of the site's own reports in the PACS.
        pace: how often and how far it looks.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        *,
        orthanc: OrthancClient,
        records: IntakeRecords,
        readings: ReadingRecords,
        jobs: JobRecords,
        dispatcher: Dispatcher,
        lock: ExclusiveLock,
        rules: ScopeRules,
        report_titles: frozenset[str],
        pace: IntakePace,
    ) -> None:
        self._orthanc = orthanc
        self._records = records
        self._readings = readings
        self._jobs = jobs
        self._dispatcher = dispatcher
        self._lock = lock
        self._rules = rules
        self._report_titles = report_titles
        self._pace = pace
        self._next: dict[str, float] = {}
        self._bell = threading.Event()
        self._stop = threading.Event()
        self._deleted: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._is_ours = False
        self._has_looked = False
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
        """Look on every ring, and every second anyway, and tick in between, until stopped; no failure ends it."""
        next_look = 0.0
        try:
            while not self._stop.is_set():
                has_rung = self._bell.wait(max(0.0, min(_TICK_S, next_look - time.monotonic())))
                self._bell.clear()
                if self._stop.is_set():
                    return
                if has_rung or time.monotonic() >= next_look:
                    self.look()
                    next_look = time.monotonic() + self._pace.poll.total_seconds()
                else:
                    self.tick()
        finally:
            self._lock.release()

    def look(self) -> None:
        """One round, where the feed is ours; a step that fails is logged once, and tried again in the next round."""
        self._is_ours = self._attempt(self._take_feed)
        self._has_looked = True
        if not self._is_ours:
            self._deleted.clear()  # whoever has the feed finds out by patrol
            self._troubles = {step: trouble for step, trouble in self._troubles.items() if step == "take_feed"}
            return
        self._attempt(self._read_feed)
        self.tick()
        self._attempt(self._patrol)

    def tick(self) -> None:
        """What has come due by time alone, where the feed is ours; costs a few reads while nothing has."""
        if not self._is_ours:
            return
        self._attempt(self._complete_quiet)
        for step, every_s in (
            (self._lapse_claims, _HOUSEKEEPING_EVERY_S),
            (self._sweep_jobs, _HOUSEKEEPING_EVERY_S),
            (self._follow_budget, _BUDGET_EVERY_S),
        ):
            if time.monotonic() >= self._next.get(step.__name__, 0.0) and self._attempt(step):
                self._next[step.__name__] = time.monotonic() + every_s
        self._attempt(self._dispatch)

    @property
    def is_reading(self) -> bool:
        """Whether this process holds the feed and read it lately and without trouble."""
        is_recent = self.last_read_at is not None and datetime.now(UTC) - self.last_read_at < _SILENCE
        return self._is_ours and is_recent and not self._troubles

    @property
    def is_standing_by(self) -> bool:
        """Whether another process holds the feed, and this one only waits for its turn."""
        return self._has_looked and not self._is_ours and not self._troubles

    def _attempt(self, step: Callable[[], bool | None]) -> bool:
        name = step.__name__.strip("_")
        try:
            outcome = step()
        except Exception as error:
            trouble = str(getattr(error, "orig", None) or error)
            if self._troubles.get(name) != trouble:
                is_known = isinstance(error, (FirstreadError, SQLAlchemyError))
                log.warning("will be tried again", step=name, error=trouble, exc_info=None if is_known else error)
            self._troubles[name] = trouble
            return False
        if self._troubles.pop(name, None):
            log.info("works again", step=name)
        return outcome is not False

    def _take_feed(self) -> bool:
        return self._lock.hold()

    def _complete_quiet(self) -> None:
        self._records.complete_quiet()

    def _lapse_claims(self) -> None:
        self._readings.lapse()

    def _sweep_jobs(self) -> None:
        self._jobs.sweep()

    def _follow_budget(self) -> None:
        self._jobs.follow_budget()

    def _dispatch(self) -> None:
        self._dispatcher.run()

    def _read_feed(self) -> None:
        cursor = self._records.cursor(FEED) or self._look_at_everything(is_first=True)
        while not self._stop.is_set():
            changes = self._news(cursor)
            if changes is None:
                log.warning("the change log is another one: Orthanc was emptied or replaced, looking at all it holds")
                cursor = self._look_at_everything(is_first=False)
                continue
            if changes:
                last = changes[-1]
                cursor = FeedCursor(sequence=last.sequence, marks=_thinned([last.mark, *cursor.marks]))
                self._ingest(changes, cursor)
            self.last_read_at = datetime.now(UTC)
            if len(changes) < _STRETCH:
                return
            self._attempt(self._dispatch)  # an absent broker keeps no film off the list

    def _news(self, cursor: FeedCursor) -> Sequence[Change] | None:
        """The changes after a cursor; None where the log is another one."""
        if cursor.marks:
            found = self._orthanc.changes(_sequence(cursor.marks[0]) - 1, _STRETCH + 1)
            if found and found[0].mark == cursor.marks[0]:
                return found[1:]
        # Deleting a study deletes its changes too, so the newest mark may be missing for a good reason.
        return self._orthanc.changes(cursor.sequence, _STRETCH) if self._is_same_feed(cursor) else None

    def _is_same_feed(self, cursor: FeedCursor) -> bool:
        for mark in cursor.marks:
            found = self._orthanc.changes(_sequence(mark) - 1, 1)
            if found and found[0].mark == mark:
                return True
        return not cursor.marks and cursor.sequence == 0

    def _ingest(self, changes: Sequence[Change], following: FeedCursor | None = None) -> None:
        # A study that is new to Orthanc, and reported by us, was deleted and sent again while nobody looked.
        self._reopen_lost_reports([change.orthanc_id for change in changes if change.change_type == "NewStudy"])
        arrived = [(change.orthanc_id, change.date) for change in changes if change.change_type == "NewInstance"]
        stable = [change.orthanc_id for change in changes if change.change_type == "StableStudy"]
        try:
            self._records.ingest(self._receive(arrived), stable, feed=FEED, cursor=following)
        except (DataError, IntegrityError):
            if len(changes) > 1:  # find the one that the database refuses, so that it blocks no other
                for change in changes:
                    self._ingest([change])
            else:
                log.exception("passed over: the database refuses what this change brings", change=changes[0].mark)
            if following:
                self._records.ingest([], [], feed=FEED, cursor=following)

    def _receive(self, arrived: Sequence[tuple[str, datetime]]) -> list[ReceivedInstance | ReceivedReport]:
        # Several at once, because a CT of a thousand slices may stand before the next film.
        with ThreadPoolExecutor(_HEADERS_AT_ONCE) as readers:
            found = list(readers.map(self._orthanc.instance, [orthanc_id for orthanc_id, _ in arrived]))
        received: list[ReceivedInstance | ReceivedReport] = []
        for (orthanc_id, received_at), facts in zip(arrived, found, strict=True):
            if facts is None or is_own_object(facts.header):
                continue
            if not facts.header.get("StudyInstanceUID"):
                log.error("an instance without a Study Instance UID cannot be listed", orthanc_id=orthanc_id)
                continue
            received.append(received_instance(facts, received_at, self._rules))
            report = received_report(facts, received_at, self._report_titles)
            if report:
                received.append(report)
        return received

    def _look_at_everything(self, *, is_first: bool) -> FeedCursor:
        horizon = datetime.now(UTC) - self._pace.lookback
        undated = self._orthanc.instance_ids()
        recent: list[Change] = []
        marks: list[str] = []
        for change in self._orthanc.all_changes():
            marks.insert(0, change.mark)
            if len(marks) > _MOST_MARKS:
                marks = list(_thinned(marks))
            if change.change_type == "NewInstance" and change.orthanc_id in undated:
                undated.discard(change.orthanc_id)
                if change.date >= horizon:
                    recent.append(change)
        for orthanc_id in undated:  # the log of these was deleted
            date = self._orthanc.reception_date(orthanc_id)
            if date and date >= horizon:
                recent.append(Change(sequence=0, change_type="NewInstance", orthanc_id=orthanc_id, date=date))
        if not is_first:
            self._part_with_the_absent()
        recent.sort(key=lambda change: change.date)
        for start in range(0, len(recent), _STRETCH):
            self._ingest(recent[start : start + _STRETCH])
            self._attempt(self._dispatch)
        if not is_first:
            self._reopen_lost_reports(self._records.listed())
        cursor = FeedCursor(sequence=_sequence(marks[0]) if marks else 0, marks=_thinned(marks))
        self._records.ingest([], [], feed=FEED, cursor=cursor)
        return cursor

    def _part_with_the_absent(self) -> None:
        for orthanc_id in self._records.listed():
            if self._orthanc.study(orthanc_id) is None:
                self._records.record_presence(orthanc_id, is_present=False)

    def _reopen_lost_reports(self, orthanc_ids: Collection[str]) -> None:
        for study_instance_uid, sop_instance_uid in self._records.reported_documents(orthanc_ids):
            if not self._orthanc.lookup(sop_instance_uid):
                self._records.reopen_report(study_instance_uid)

    def _patrol(self) -> None:
        for orthanc_id in tuple(self._deleted):
            self._check_presence(orthanc_id)
            self._deleted.discard(orthanc_id)
        overdue = self._records.longest_unchecked(_PATROL_EVERY)
        if overdue:
            self._check_presence(overdue)

    def _check_presence(self, orthanc_id: str) -> None:
        is_present = self._orthanc.study(orthanc_id) is not None
        self._records.record_presence(orthanc_id, is_present=is_present)


def _sequence(mark: str) -> int:
    return int(mark.split(maxsplit=1)[0])


def _thinned(marks: Sequence[str]) -> tuple[str, ...]:
    """A few of the marks, newest first: close together at the near end, far apart at the other.

    So the deletion of the newest studies, which deletes their changes, leaves others to know the feed by.
    """
    kept = list(marks)
    while len(kept) > _MARKS:
        numbers = [_sequence(mark) for mark in kept]
        gaps = [(newer - older) / (numbers[0] - older + 1) for newer, older in zip(numbers, numbers[2:], strict=False)]
        del kept[1 + gaps.index(min(gaps))]
    return tuple(kept)
