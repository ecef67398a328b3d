"""When films arrive: at random by the hour of the day, or at the times that a file states."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from worklist.csv_cells import plain
from worklist.errors import InvalidInput
from worklist.simulation.staffing import DAY_S, HOUR_S

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
"""Midnight of the Monday from which simulated seconds count; the date itself means nothing."""

_TIME_COLUMNS = ("received_at", "arrived_at", "received", "acquired_at", "time")
_MOST = 200_000
_HOURS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomArrivals:
    """A Poisson process whose rate follows the hour of the day.

    Attributes:
        per_day: films on an average day.
        by_hour: 24 weights, one an hour from midnight on; only their proportions count.
    """

    per_day: float
    by_hour: tuple[float, ...] = (1.0,) * _HOURS

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        if not 0 < self.per_day <= _MOST:
            raise ValueError(f"films arrive at a rate above 0 and at most {_MOST} a day, got {self.per_day:g}")
        if len(self.by_hour) != _HOURS or min(self.by_hour) < 0 or sum(self.by_hour) <= 0:
            raise ValueError("a day needs 24 weights, none below 0 and one above")

    def times(self, rng: random.Random, days: int) -> Iterator[float]:
        """Seconds after the first Monday 00:00 at which films arrive, rising, for so many days."""
        rates = [self.per_day * weight / sum(self.by_hour) / HOUR_S for weight in self.by_hour]
        at = 0.0  # in films to come: a Poisson process of rate 1, which the clock stretches
        passed = 0.0
        for hour in range(days * _HOURS):
            rate = rates[hour % _HOURS]
            within = rate * HOUR_S
            while at < passed + within:
                if at > 0:
                    yield hour * HOUR_S + (at - passed) / rate
                at += rng.expovariate(1.0)
            passed += within


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedArrivals:
    """Films that arrive when a file says so.

    Attributes:
        at_s: seconds after 00:00 of the Monday before the first, rising.
    """

    at_s: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse none, and disorder."""
        if not self.at_s or list(self.at_s) != sorted(self.at_s) or self.at_s[0] < 0:
            raise ValueError("arrivals need at least one time, and times that rise")

    @property
    def days(self) -> int:
        """Days from the first Monday to the end of the last day on which a film arrives."""
        return int(self.at_s[-1] // DAY_S) + 1

    @property
    def span_s(self) -> float:
        """From the midnight before the first to the midnight after the last, seconds."""
        return self.days * DAY_S - self.at_s[0] // DAY_S * DAY_S


def read_arrivals(text: str, name: str) -> StatedArrivals:
    """Times of arrival from CSV: a column of ISO 8601 times, the hospital's own clock, in any order.

    The column is the first of received_at, arrived_at, received, acquired_at and time, or the only one. Time zones are
    left aside, since shifts keep the clock on the wall, too.

    Args:
        text: of the file.
        name: what to call it in an error.

    Raises:
        InvalidInput: bad_arrivals, there is no such column, or a row holds no time; the message names the line.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InvalidInput("bad_arrivals", f"{name} line {reader.line_num} is no CSV ({error}): mend it") from error
    if not rows:
        raise InvalidInput("bad_arrivals", f"{name} is empty: give a time a line, such as 2026-03-02T14:10")
    column, stated = _column(rows, name)
    if not stated:
        raise InvalidInput("bad_arrivals", f"{name} has no times under its heading: give a time a line")
    if len(stated) > _MOST:
        raise InvalidInput("bad_arrivals", f"{name} has {len(stated)} times, more than {_MOST}: give fewer days")
    times = sorted(_time(row, column, f"{name} line {line}") for line, row in stated)
    monday = datetime.combine(times[0].date() - timedelta(days=times[0].weekday()), time())
    if times[-1] - monday > timedelta(days=366):
        raise InvalidInput(
            "bad_arrivals", f"{name} reaches from {times[0]} to {times[-1]}: a year is the most that is simulated"
        )
    return StatedArrivals(at_s=tuple((each - monday).total_seconds() for each in times))


def _column(rows: Sequence[tuple[int, list[str]]], name: str) -> tuple[int, Sequence[tuple[int, list[str]]]]:
    heading = [cell.strip().lower().replace(" ", "_") for cell in rows[0][1]]
    for wanted in _TIME_COLUMNS:
        if wanted in heading:
            return heading.index(wanted), rows[1:]
    if len(heading) == 1:
        return 0, rows if _parsed(heading[0]) else rows[1:]
    raise InvalidInput("bad_arrivals", f"{name} has no column of times: name it received_at")


def _time(row: Sequence[str], column: int, where: str) -> datetime:
    cell = plain(row[column]).strip() if column < len(row) else ""
    found = _parsed(cell)
    if found is None:
        raise InvalidInput("bad_arrivals", f"{where} has {cell!r} for a time: write it as 2026-03-02T14:10")
    return found


def _parsed(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell.upper()).replace(tzinfo=None)
    except ValueError:
        return None
