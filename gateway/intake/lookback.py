"""What Orthanc held before its feed was read: newest first, in steps, each of which is remembered.

A hospital's PACS may hold years. So the feed begins at its present end, and the past is taken in beside it, a little
at a time: what arrives meanwhile is listed at once, and a restart goes on where the last process stopped. First the
change log is walked backwards, by which the studies come newest first; then all studies that Orthanc holds are gone
through, for those of which the log tells nothing any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from gateway.intake.changelog import ChangeLog
from gateway.intake.orthanc import Change, OrthancClient
from worklist.records import FeedCursor, IntakeRecords

PAST = "orthanc past"
_BY_CHANGES, _BY_STUDIES = "changes", "studies"  # the two walks, as the cursor's mark
_SPAN = 200  # numbers of changes looked at in one step
_PAGE = 50  # studies asked for in one step
_STRETCH = 50  # instances taken in at once
_AT_ONCE = 4  # questions to Orthanc
_BUDGET_S = 0.5  # for the steps of one round, after which the feed is read again


class LookBack:
    """The walk through the past of one Orthanc.

    Args:
        orthanc: whose past it is.
        records: where the walk's place is kept.
        ingest: takes in instances, oldest first.
        lookback: how long ago a study may have changed to be listed.
    """

    def __init__(
        self,
        orthanc: OrthancClient,
        records: IntakeRecords,
        ingest: Callable[[Sequence[Change]], None],
        lookback: timedelta,
    ) -> None:
        self._orthanc = orthanc
        self._log = ChangeLog(orthanc)
        self._records = records
        self._ingest = ingest
        self._lookback = lookback
        self._waiting: list[str] = []  # studies of the present step, in the order in which they are taken in
        self._arrived: list[Change] = []  # instances of the first of them
        self._following = (0, "")  # where the step after this one begins

    def begin(self, end: FeedCursor) -> None:
        """Look back from here, from the beginning."""
        self._waiting, self._arrived = [], []
        self._keep(end.sequence + 1, _BY_CHANGES)

    def go_on(self) -> bool:
        """Some steps; whether more are left."""
        until = time.monotonic() + _BUDGET_S
        while place := self._records.cursor(PAST):
            if not place.marks:
                return False
            self._step(place)
            if time.monotonic() >= until:
                return True
        return False

    def _step(self, place: FeedCursor) -> None:
        if not self._waiting:
            walk = self._older if place.marks == (_BY_CHANGES,) else self._further
            self._following = walk(place.sequence)
        if self._waiting:
            self._take_in()
        if not self._waiting:
            self._keep(*self._following)

    def _older(self, sequence: int) -> tuple[int, str]:
        changes, lowest = self._log.before(sequence, _SPAN)
        horizon = datetime.now(UTC) - self._lookback
        self._waiting = [change.orthanc_id for change in changes if change.change_type == "NewStudy"]
        is_over = lowest == 1 or bool(changes and changes[0].date < horizon)
        return (0, _BY_STUDIES) if is_over else (lowest, _BY_CHANGES)

    def _further(self, offset: int) -> tuple[int, str]:
        horizon = datetime.now(UTC) - self._lookback
        page = self._orthanc.studies(offset, _PAGE)
        known = self._records.listed_of([orthanc_id for orthanc_id, _ in page])
        self._waiting = [
            orthanc_id for orthanc_id, updated_at in page if updated_at >= horizon and orthanc_id not in known
        ]
        return (offset + len(page), _BY_STUDIES if page else "")

    def _take_in(self) -> None:
        """A stretch of the first study that waits."""
        if not self._arrived:
            arrived = arrivals_of(self._orthanc, self._waiting[0])
            is_recent = bool(arrived) and arrived[-1].date >= datetime.now(UTC) - self._lookback
            self._arrived = arrived if is_recent else []
        stretch, self._arrived = self._arrived[:_STRETCH], self._arrived[_STRETCH:]
        if stretch:
            self._ingest(stretch)
        if not self._arrived:
            del self._waiting[0]

    def _keep(self, sequence: int, walk: str) -> None:
        marks = (walk,) if walk else ()
        self._records.ingest([], [], feed=PAST, cursor=FeedCursor(sequence=sequence, marks=marks))


def arrivals_of(orthanc: OrthancClient, study_orthanc_id: str, without: Collection[str] = ()) -> list[Change]:
    """The instances of a study as if the log told of them, oldest first, but for some that are known."""
    ids = [one for one in orthanc.study_instances(study_orthanc_id) or () if one not in without]
    with ThreadPoolExecutor(_AT_ONCE) as askers:  # one question each: a CT has thousands
        dates = list(askers.map(orthanc.reception_date, ids))
    dated = sorted((date, one) for one, date in zip(ids, dates, strict=True) if date)
    return [
        Change(sequence=0, change_type="NewInstance", orthanc_id=orthanc_id, date=date) for date, orthanc_id in dated
    ]
