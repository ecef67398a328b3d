"""Who reads when: shifts of a week, as text that people write and as the changes that an event loop needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from worklist.errors import InvalidInput

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
WEEK_S = 7 * DAY_S
MOST_READERS = 100

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHIFT = re.compile(
    r"(?P<first>[a-z]{3,5})(?:-(?P<last>[a-z]{3}))?\s+(?P<start>\d{1,2}(?::\d\d)?)-(?P<end>\d{1,2}(?::\d\d)?)"
    r"\s+(?P<readers>\d{1,3})"
)
_HINT = "write shifts as in: mon-fri 08-17 2, daily 22:30-06 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """Readers who come at one time of some days and go at another.

    Attributes:
        days: weekdays on which it begins, 0 for Monday.
        start_s: seconds after midnight.
        length_s: at most a day.
        readers: how many.
    """

    days: frozenset[int]
    start_s: float
    length_s: float
    readers: int

    def __post_init__(self) -> None:
        """Refuse a shift without days, time or readers."""
        if not self.days or not self.days <= frozenset(range(7)):
            raise ValueError(f"a shift begins on some of the days 0 to 6, got {sorted(self.days)}")
        if not 0 <= self.start_s < DAY_S or not 0 < self.length_s <= DAY_S:
            raise ValueError("a shift begins within its day and takes at most a day")
        if not 1 <= self.readers <= MOST_READERS:
            raise ValueError(f"a shift has 1 to {MOST_READERS} readers, got {self.readers}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Staffing:
    """The shifts of a week; where they overlap, their readers add up."""

    shifts: tuple[Shift, ...]

    def __post_init__(self) -> None:
        """Refuse a room in which nobody ever reads."""
        if not self.shifts:
            raise ValueError("a reading room needs at least one shift")

    @classmethod
    def always(cls, readers: int) -> Staffing:
        """So many readers around the clock."""
        return cls(shifts=(Shift(days=frozenset(range(7)), start_s=0.0, length_s=DAY_S, readers=readers),))

    @property
    def reader_seconds(self) -> float:
        """Seconds of readers in a week, which is what can be read in it."""
        return sum(len(shift.days) * shift.length_s * shift.readers for shift in self.shifts)

    def changes(self) -> Iterator[tuple[float, int]]:
        """From when on how many readers are there, without end: seconds after Monday 00:00 of the first week.

        The first change is at 0, with those whose shift began on the Sunday before.
        """
        steps: dict[float, int] = {0.0: 0}
        for shift in self.shifts:
            for day in shift.days:
                start = day * DAY_S + shift.start_s
                end = start + shift.length_s
                steps[start] = steps.get(start, 0) + shift.readers
                steps[end % WEEK_S] = steps.get(end % WEEK_S, 0) - shift.readers
                if end >= WEEK_S:  # it reaches into the week after, and so one reaches into this one
                    steps[0.0] += shift.readers
        readers, week = 0, list[tuple[float, int]]()
        for at, step in sorted(steps.items()):
            readers += step
            if not week or step:
                week.append((at, readers))
        if len(week) == 1:
            yield week[0]
            return
        start = 0.0
        while True:
            yield from ((start + at, count) for at, count in week)
            start += WEEK_S


def read_staffing(text: str) -> Staffing:
    """Shifts as people write them, apart by commas or lines: `mon-fri 08-17 2, daily 22:30-06 1`.

    A shift that ends at or before the hour at which it begins ends on the next day.

    Raises:
        InvalidInput: bad_shift, a part is no shift, or there is none.
    """
    parts = [part.strip().lower() for part in re.split(r"[,;\n]", text) if part.strip()]
    if not parts:
        raise InvalidInput("bad_shift", f"nobody reads: {_HINT}")
    return Staffing(shifts=tuple(_shift(part) for part in parts))


def _shift(text: str) -> Shift:
    parts = _SHIFT.fullmatch(text)
    days = _days(parts["first"], parts["last"]) if parts else frozenset[int]()
    if not parts or not days:
        raise InvalidInput("bad_shift", f"{text!r} is no shift: {_HINT}")
    start, end = _seconds(parts["start"]), _seconds(parts["end"])
    if start is None or end is None or start == DAY_S:
        raise InvalidInput("bad_shift", f"{text!r} names no time of a day: {_HINT}")
    try:
        return Shift(
            days=days,
            start_s=start,
            length_s=end - start if end > start else end - start + DAY_S,
            readers=int(parts["readers"]),
        )
    except ValueError as error:
        raise InvalidInput("bad_shift", f"{text!r}: {error}") from error


def _days(first: str, last: str | None) -> frozenset[int]:
    if first == "daily" and last is None:
        return frozenset(range(7))
    if first not in _DAYS or (last or first) not in _DAYS:
        return frozenset()
    begin, end = _DAYS.index(first), _DAYS.index(last or first)
    return frozenset((begin + step) % 7 for step in range((end - begin) % 7 + 1))


def _seconds(text: str) -> float | None:
    hours, _, minutes = text.partition(":")
    seconds = int(hours) * HOUR_S + int(minutes or 0) * 60
    return seconds if int(minutes or 0) < 60 and seconds <= DAY_S else None  # noqa: PLR2004 - minutes of an hour
