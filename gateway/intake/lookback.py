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
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gateway.intake.changelog import ChangeLog
from gateway.intake.orthanc import Change, OrthancClient
from worklist.records import FeedCursor, IntakeRecords

PAST = "orthanc past"
_BY_CHANGES, _BY_STUDIES = "changes", "studies"  # the two walks, as the cursor's mark
_SPAN = 200  # numbers of changes looked at in one step
_PAGE = 50  # studies asked for in one step
_STUDIES_AT_ONCE = 16
_STRETCH = 50  # instances that are dated, or taken in, at once
_AT_ONCE = 4  # questions to Orthanc


@dataclass(slots=True)
class _Batch:
    """The studies that are being taken in.

    Attributes:
        studies: the first of those that wait.
        undated: their instances, by the study's place in the batch, of which it is not known yet when they came.
        dated: those of which it is, study by study, until all are.
        arrived: what is still to be taken in.
    """

    studies: list[str] = field(default_factory=list)
    undated: list[tuple[int, str]] = field(default_factory=list)
    dated: list[list[tuple[datetime, str]]] = field(default_factory=list)
    arrived: list[Change] = field(default_factory=list)


class LookBack:
    """The walk through the past of one Orthanc.

    Args:
        orthanc: whose past it is.
        records: where the walk's place is kept.
        ingest: takes in instances, oldest first.
        lookback: how long ago a study may have changed to be listed.
        at_once: how long the steps of one round may take.
    """

    def __init__(
        self,
        orthanc: OrthancClient,
        records: IntakeRecords,
        ingest: Callable[[Sequence[Change]], None],
        lookback: timedelta,
        at_once: timedelta,
    ) -> None:
        self._orthanc = orthanc
        self._log = ChangeLog(orthanc)
        self._records = records
        self._ingest = ingest
        self._lookback = lookback
        self._at_once_s = at_once.total_seconds()
        self._waiting: list[str] = []  # studies of the present step, in the order in which they are taken in
        self._following = (0, "")  # where the step after this one begins
        self._batch = _Batch()

    def begin(self, end: FeedCursor) -> None:
        """Look back from here, from the beginning."""
        self._waiting, self._batch = [], _Batch()
        self._keep(end.sequence + 1, _BY_CHANGES)

    def go_on(self) -> bool:
        """Some steps; whether more are left."""
        until = time.monotonic() + self._at_once_s
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
        """A part of the first studies that wait: they are listed, then dated, then taken in, some images at a time."""
        batch = self._batch
        if not batch.studies:
            batch.studies = self._waiting[:_STUDIES_AT_ONCE]
            batch.dated = [[] for _ in batch.studies]
            with ThreadPoolExecutor(_AT_ONCE) as askers:
                found = list(askers.map(self._orthanc.study_instances, batch.studies))
            batch.undated = [(number, one) for number, ids in enumerate(found) for one in ids or ()]
        elif batch.undated:
            asked = batch.undated[:_STRETCH]
            with ThreadPoolExecutor(_AT_ONCE) as askers:  # one question each: a CT has thousands
                dates = list(askers.map(self._orthanc.reception_date, [one for _, one in asked]))
            for (number, one), date in zip(asked, dates, strict=True):
                if date:
                    batch.dated[number].append((date, one))
            del batch.undated[:_STRETCH]
        if not batch.undated and batch.dated:
            batch.arrived = [change for dated in batch.dated for change in self._changes(dated)]
            batch.dated = []
        elif batch.arrived:
            self._ingest(batch.arrived[:_STRETCH])
            del batch.arrived[:_STRETCH]
        if not (batch.undated or batch.arrived):
            del self._waiting[: len(batch.studies)]
            self._batch = _Batch()

    def _changes(self, dated: list[tuple[datetime, str]]) -> list[Change]:
        """The instances of a study as if the log told of them, oldest first; none where it changed too long ago."""
        if not dated or max(dated)[0] < datetime.now(UTC) - self._lookback:
            return []
        return _as_told(dated)

    def _keep(self, sequence: int, walk: str) -> None:
        marks = (walk,) if walk else ()
        self._records.ingest([], [], feed=PAST, cursor=FeedCursor(sequence=sequence, marks=marks))


def arrivals_of(orthanc: OrthancClient, study_orthanc_id: str, without: Collection[str] = ()) -> list[Change]:
    """The instances of a study as if the log told of them, oldest first, but for some that are known."""
    ids = [one for one in orthanc.study_instances(study_orthanc_id) or () if one not in without]
    with ThreadPoolExecutor(_AT_ONCE) as askers:  # one question each: a CT has thousands
        dates = list(askers.map(orthanc.reception_date, ids))
    return _as_told([(date, one) for one, date in zip(ids, dates, strict=True) if date])


def _as_told(dated: Sequence[tuple[datetime, str]]) -> list[Change]:
    return [
        Change(sequence=0, change_type="NewInstance", orthanc_id=orthanc_id, date=date)
        for date, orthanc_id in sorted(dated)
    ]
