"""Orthanc's change log: what is new after a cursor, whether it is still the log that the cursor is of, and its past.

Changes are numbered, and the counter never turns back, but the changes of what is deleted are deleted too. So a log
is known again by a few of its changes, far apart: the newest that is still there must be as it was. A log whose
counter is behind the cursor, or that has another change under a number, is another one: Orthanc was emptied,
replaced, or restored from a backup.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.intake.orthanc import Change, OrthancClient
from worklist.records import FeedCursor

_MARKS = 16  # that are remembered


class ChangeLog:
    """The change log of one Orthanc."""

    def __init__(self, orthanc: OrthancClient) -> None:
        self._orthanc = orthanc

    def after(self, cursor: FeedCursor, limit: int) -> Sequence[Change] | None:
        """The changes after a cursor, oldest first; None where this is another log."""
        if cursor.marks:  # one request in the usual case: the newest mark, and what follows it
            found = self._orthanc.changes(_sequence(cursor.marks[0]) - 1, limit + 1)
            if found and found[0].mark == cursor.marks[0]:
                return found[1:]
        return self._orthanc.changes(cursor.sequence, limit) if self._is_of(cursor) else None

    def before(self, sequence: int, span: int) -> tuple[list[Change], int]:
        """The changes of the numbers before one, newest first, and the lowest number that was asked for.

        Args:
            sequence: where to begin, itself not included.
            span: how many numbers to go back; what was deleted leaves gaps.
        """
        lowest = max(1, sequence - span)
        found = [change for change in self._orthanc.changes(lowest - 1, span) if change.sequence < sequence]
        return found[::-1], lowest

    def end(self) -> FeedCursor:
        """The cursor behind all that has happened so far; to be taken before anything else is looked at."""
        counter = self._orthanc.last_sequence()
        marks: list[str] = []
        distance = 1
        while distance <= counter:
            found = self._orthanc.changes(counter - distance, 1)
            if found and found[0].sequence <= counter and found[0].mark not in marks:
                marks.append(found[0].mark)
            distance *= 2
        # Without any mark nothing is known of the log: it is read from its first change on.
        return FeedCursor(sequence=counter if marks else 0, marks=thinned(marks))

    def _is_of(self, cursor: FeedCursor) -> bool:
        if self._orthanc.last_sequence() < cursor.sequence:
            return False
        for mark in cursor.marks:
            found = self._orthanc.changes(_sequence(mark) - 1, 1)
            if found and found[0].sequence == _sequence(mark):
                return found[0].mark == mark
        return not cursor.marks and cursor.sequence == 0


def advanced(cursor: FeedCursor, changes: Sequence[Change]) -> FeedCursor:
    """The cursor behind some changes that follow it."""
    last = changes[-1]
    return FeedCursor(sequence=last.sequence, marks=thinned([last.mark, *cursor.marks]))


def thinned(marks: Sequence[str]) -> tuple[str, ...]:
    """A few of the marks, newest first: close together at the near end, far apart at the other.

    So the deletion of the newest studies, which deletes their changes, leaves others to know the log by.
    """
    kept = list(marks)
    while len(kept) > _MARKS:
        numbers = [_sequence(mark) for mark in kept]
        gaps = [(newer - older) / (numbers[0] - older + 1) for newer, older in zip(numbers, numbers[2:], strict=False)]
        del kept[1 + gaps.index(min(gaps))]
    return tuple(kept)


def _sequence(mark: str) -> int:
    return int(mark.split(maxsplit=1)[0])
