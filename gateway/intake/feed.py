"""From Orthanc's change log to studies, instances, readings and jobs: the only way in.

The log is read from a stored cursor; instances, jobs and the new cursor are written in one transaction. Where the log
is not the one that the cursor is of, Orthanc was emptied, replaced or restored: everything it holds is then looked at
again, newest first, beside what arrives. Reading a change twice changes nothing.

Whoever holds the feed also keeps time for all: studies that are complete, claims that lapse, jobs of dead workers. And
it patrols: study by study it compares what the records know with what Orthanc holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

import structlog
from sqlalchemy.exc import SQLAlchemyError, StatementError

from gateway.intake.arrivals import read_arrivals
from gateway.intake.changelog import ChangeLog, advanced
from gateway.intake.dispatch import Dispatcher
from gateway.intake.lookback import LookBack
from gateway.intake.orthanc import Change, OrthancClient
from gateway.intake.retention import remove_old
from worklist.errors import FirstreadError
from worklist.records import (
    FeedCursor,
    IntakeRecords,
    JobRecords,
    Lease,
    ReadingRecords,
    ReceivedInstance,
    ReceivedReport,
    RetentionRecords,
    is_of_the_database,
)
from worklist.sight import institution_key

FEED = "orthanc"
_STRETCH = 50  # changes written in one transaction: a burst shows up film by film, not all at its end
_SILENCE = timedelta(seconds=60)  # a round ends long before this, unless the database or a neighbour holds it
_PATROL_EVERY = timedelta(seconds=15)  # a study is compared with the PACS no more often than this ...
_FEW_COMPARED = 4  # ... and so many a round, ...
_OVERDUE = timedelta(minutes=30)  # ... unless there are so many that this much has passed: then
_MOST_COMPARED = 30  # so many a round, which is 100,000 an hour
_ABSENT_AT_ONCE = 100  # of a study, each of which is looked up
_HINTS_A_ROUND = 20  # of deleted studies that are checked
_UNPLACED_A_ROUND = 500
_MOST_HINTS = 1000  # that are kept; the patrol finds the rest
_REST_S = 0.1  # between two rounds: a burst rings five times a film, and each round has its price
_TICK_S = 0.25  # how often it is looked whether a study has become complete
_LONGEST_HELD_S = 120.0  # that the work of a look back waits for its end
_SWEEP_EVERY_S = 1.0
_LAPSE_EVERY_S = 3.0
_SAY_READ_EVERY_S = 10.0
_BUDGET_EVERY_S = 3600.0
_SCOPE_EVERY_S = 5.0
_REMOVE_EVERY_S = 3600.0

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakePace:
    """How often and how far the intake looks.

    Attributes:
        poll: pause between two readings when the doorbell is silent.
        lookback: how long ago a study may have changed when a whole PACS is looked at.
        past: how long a round goes on with the past, before the feed is read again.
    """

    poll: timedelta = timedelta(seconds=1)
    lookback: timedelta = timedelta(days=7)
    past: timedelta = timedelta(seconds=0.5)


class Intake:
    """Reads the feed, keeps time and hands out the work, in one thread, in one process at a time.

    Args:
        orthanc: where the feed is read.
        records: what is written of it.
        readings: whose claims lapse.
        jobs: whose holders may die, and whose policy follows the alert budget.
        dispatcher: hands out the work.
        lease: held by the one process that does all this.
        report_titles: titles of the site's own reports in the PACS.
        pace: how often and how far it looks.
        retention: what is read and old leaves the records; None where all stays.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        *,
        orthanc: OrthancClient,
        records: IntakeRecords,
        readings: ReadingRecords,
        jobs: JobRecords,
        dispatcher: Dispatcher,
        lease: Lease,
        report_titles: frozenset[str],
        pace: IntakePace,
        retention: RetentionRecords | None = None,
    ) -> None:
        self._orthanc = orthanc
        self._records = records
        self._readings = readings
        self._jobs = jobs
        self._dispatcher = dispatcher
        self._lease = lease
        self._report_titles = report_titles
        self._pace = pace
        self._retention = retention
        self._log = ChangeLog(orthanc)
        self._past = LookBack(orthanc, records, partial(self._ingest, is_past=True), pace.lookback, pace.past)
        self._has_past = True  # until a look back says otherwise
        self._has_unplaced = True  # the same of studies of which nobody has asked where they were made
        self._hurries = False
        self._past_held_until = time.monotonic() + _LONGEST_HELD_S
        self._next: dict[str, float] = {}
        self._bell = threading.Event()
        self._stop = threading.Event()
        self._deleted: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._is_ours = False
        self._has_looked = False
        self.last_read_at: datetime | None = None
        self.last_rung_at: datetime | None = None
        self.last_refused_at: datetime | None = None

    def ring(self, deleted_studies: Iterable[str] = ()) -> None:
        """The doorbell: look now. What it says of deleted studies is checked, not believed."""
        self.last_rung_at = datetime.now(UTC)
        self._deleted.update(islice(deleted_studies, max(0, _MOST_HINTS - len(self._deleted))))
        self._bell.set()

    def refuse_ring(self) -> None:
        """Somebody rang who may not."""
        self.last_refused_at = datetime.now(UTC)

    def stop(self) -> None:
        """End `run` after its present round."""
        self._stop.set()
        self._bell.set()

    def run(self) -> None:
        """Look on every ring, and every second anyway, and tick in between, until stopped; no failure ends it.

        After silence the first ring is answered at once, and those that follow closely together.
        """
        next_look = rested_at = 0.0
        try:
            while not self._stop.is_set():
                has_rung = self._bell.wait(max(0.0, min(_TICK_S, next_look - time.monotonic())))
                if has_rung and not self._hurries:
                    self._stop.wait(max(0.0, rested_at - time.monotonic()))
                self._bell.clear()
                if self._stop.is_set():
                    return
                if has_rung or time.monotonic() >= next_look:
                    self.look()
                    next_look = time.monotonic() + (0 if self._hurries else self._pace.poll.total_seconds())
                    rested_at = time.monotonic() + _REST_S
                else:
                    self.tick()
        finally:
            self._lease.release()

    def look(self) -> None:
        """One round, where the feed is ours; a step that fails is logged once, and tried again in the next round."""
        self._is_ours = self._attempt(self._take_feed)
        self._has_looked = True
        if not self._is_ours:
            self._hurries = False
            self._deleted.clear()  # whoever has the feed finds out by patrol
            self._troubles = {step: trouble for step, trouble in self._troubles.items() if step == "take_feed"}
            return
        is_read = self._attempt(self._read_feed)
        self._hurries = is_read and self._has_past and self._attempt(self._look_back) and self._has_past
        self.tick()
        if is_read:  # else Orthanc or the database is away, and is asked again in the next round
            self._attempt(self._check_hints)
            if time.monotonic() >= self._next.get("patrol", 0.0):  # not at each ring: a burst has many
                self._next["patrol"] = time.monotonic() + self._pace.poll.total_seconds()
                self._attempt(self._patrol)
                self._attempt(self._ask_institutions)

    def tick(self) -> None:
        """What has come due by time alone, where the feed is ours; costs a few reads while nothing has."""
        if not self._is_ours:
            return
        self._attempt(self._complete_quiet)
        for step, every_s in (
            (self._lapse_claims, _LAPSE_EVERY_S),
            (self._sweep_jobs, _SWEEP_EVERY_S),
            (self._follow_budget, _BUDGET_EVERY_S),
            (self._follow_scope, _SCOPE_EVERY_S),
            (self._remove_old, _REMOVE_EVERY_S),
        ):
            if time.monotonic() >= self._next.get(step.__name__, 0.0) and self._attempt(step):
                self._next[step.__name__] = time.monotonic() + every_s
        self._attempt(self._dispatch)

    @property
    def is_reading(self) -> bool:
        """Whether this process holds the feed and read it lately, without trouble; a broker's is told as its own."""
        is_recent = self.last_read_at is not None and datetime.now(UTC) - self.last_read_at < _SILENCE
        return self._is_ours and is_recent and self._troubles.keys() <= {"dispatch"}

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
        return self._lease.hold()

    def _complete_quiet(self) -> None:
        self._records.complete_quiet()

    def _lapse_claims(self) -> None:
        self._readings.lapse()

    def _sweep_jobs(self) -> None:
        self._jobs.sweep()

    def _follow_budget(self) -> None:
        self._jobs.follow_budget()

    def _remove_old(self) -> bool:
        return self._retention is None or remove_old(self._retention, self._lease)  # the rest in the next tick

    def _follow_scope(self) -> None:
        """Where other images are looked at than before, the last days' are looked at again."""
        before, now = self._records.scopes()
        if before == now:
            return
        if before is not None:
            log.info("other images are looked at than before: looking at the last ones again")
            self._begin_past(self._log.end())
        self._records.note_scope(now)

    def _dispatch(self) -> None:
        # First a whole list, then its scores: together they would take several times as long.
        is_held = self._hurries and time.monotonic() < self._past_held_until
        self._dispatcher.run(with_past=not is_held)

    def _read_feed(self) -> None:
        cursor = self._records.cursor(FEED)
        if cursor is None:
            cursor = self._begin()
        while not self._stop.is_set():
            changes = self._log.after(cursor, _STRETCH)
            if changes is None:
                log.warning("the change log is another one: Orthanc was emptied, replaced or restored; looking again")
                cursor = self._begin_again()
                continue
            if changes:
                cursor = advanced(cursor, changes)
                self._ingest(changes, cursor)
            self.last_read_at = datetime.now(UTC)
            if len(changes) < _STRETCH:
                self._say_read()
                return
            self._attempt(self._dispatch)  # an absent broker keeps no film off the list

    def _say_read(self) -> None:
        # For those that stand by, in another process or on another host.
        if time.monotonic() >= self._next.get(FEED, 0.0):
            self._records.note_read(FEED)
            self._next[FEED] = time.monotonic() + _SAY_READ_EVERY_S

    def _begin(self) -> FeedCursor:
        # The end first: what arrives from here on is told by the feed, whatever the look back finds meanwhile.
        end = self._log.end()
        self._begin_past(end)
        self._write([], [], end)
        return end

    def _begin_past(self, end: FeedCursor) -> None:
        self._past.begin(end)
        self._has_past = True
        self._past_held_until = time.monotonic() + _LONGEST_HELD_S

    def _begin_again(self) -> FeedCursor:
        end = self._begin()
        for orthanc_id in set(self._records.listed()) - self._orthanc.study_ids():
            self._records.record_presence(orthanc_id, is_present=False)
        self._records.forget_checks()  # so that the patrol looks for the results of those that are still there
        return end

    def _look_back(self) -> None:
        self._has_past = self._past.go_on()

    def _ingest(self, changes: Sequence[Change], following: FeedCursor | None = None, *, is_past: bool = False) -> None:
        # A study that is new to Orthanc, and known here, was deleted and sent again while nobody looked.
        begun = [change.orthanc_id for change in changes if change.change_type == "NewStudy"]
        for orthanc_id in sorted(self._records.listed_of(begun)):
            self._is_whole(orthanc_id)
        arrived = [(change.orthanc_id, change.date) for change in changes if change.change_type == "NewInstance"]
        stable = [change.orthanc_id for change in changes if change.change_type == "StableStudy"]
        try:
            self._write(self._read(arrived, is_past=is_past), stable, following)
        except (StatementError, ValueError) as error:
            if is_of_the_database(error):
                raise
            if len(changes) > 1:  # find the one that the database refuses, so that it blocks no other
                for change in changes:
                    self._ingest([change], is_past=is_past)
            else:
                log.exception("passed over: the database refuses what this change brings", change=changes[0].mark)
            if following:
                self._write([], [], following)

    def _write(
        self, received: Sequence[ReceivedInstance | ReceivedReport], stable: Sequence[str], cursor: FeedCursor | None
    ) -> None:
        self._records.ingest(received, stable, feed=FEED if cursor else "", cursor=cursor, lease=self._lease)

    def _read(
        self, arrived: Sequence[tuple[str, datetime]], *, is_past: bool
    ) -> list[ReceivedInstance | ReceivedReport]:
        return read_arrivals(self._orthanc, arrived, self._records.scope(), self._report_titles, is_past=is_past)

    def _check_hints(self) -> None:
        if not self._deleted:
            return
        self._deleted &= self._records.listed_of(tuple(self._deleted))
        for orthanc_id in sorted(self._deleted)[:_HINTS_A_ROUND]:
            self._is_whole(orthanc_id)
            self._deleted.discard(orthanc_id)

    def _patrol(self) -> None:
        overdue = self._records.longest_unchecked(_OVERDUE, _MOST_COMPARED)
        due = overdue or self._records.longest_unchecked(_PATROL_EVERY, _FEW_COMPARED)
        whole = [orthanc_id for orthanc_id in due if self._is_whole(orthanc_id)]
        self._records.record_whole(whole)  # in one transaction, since nearly all are

    def _ask_institutions(self) -> None:
        """Ask the PACS where studies were made that an earlier version took in: some a round, until there are none."""
        if not self._has_unplaced:
            return
        unplaced = self._records.without_institution(_UNPLACED_A_ROUND)
        self._has_unplaced = bool(unplaced)
        if unplaced:
            stated = self._orthanc.institutions(unplaced)
            self._records.note_institutions({one: institution_key(name) for one, name in stated.items()})

    def _is_whole(self, orthanc_id: str) -> bool:
        """Whether Orthanc holds all that the records know of a study; what it lacks is written down."""
        expected = self._records.expected(orthanc_id)
        found = self._orthanc.study_instances(orthanc_id)
        if found is None:
            self._records.record_presence(orthanc_id, is_present=False)
            return False
        # So many at once, the rest in the study's next turn.
        missing = sorted(expected.difference(found.values()))[:_ABSENT_AT_ONCE]
        if missing:
            elsewhere = {uid: places for uid in missing if (places := self._places_of(uid))}
            self._records.record_presence(orthanc_id, is_present=True, missing=missing, elsewhere=elsewhere)
            # It may lie in another patient's study, which an earlier version took for the same one, and did not list.
            listed_nowhere = [place for places in elsewhere.values() for place in places]
            self._write(self._read(listed_nowhere, is_past=True), [], None)
        return not missing

    def _places_of(self, sop_instance_uid: str) -> list[tuple[str, datetime]]:
        """Orthanc's identifiers of the instances with a UID, and when they arrived."""
        ids = [str(one["ID"]) for one in self._orthanc.lookup(sop_instance_uid) if one["Type"] == "Instance"]
        return [(one, date) for one in ids if (date := self._orthanc.reception_date(one))]
