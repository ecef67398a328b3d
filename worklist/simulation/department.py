"""The reading room and what comes into it: one week like another, and the studies of a run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from worklist.errors import InvalidInput
from worklist.order import OrderPriority
from worklist.simulation.arrivals import RandomArrivals, StatedArrivals
from worklist.simulation.films import Film, Films
from worklist.simulation.staffing import DAY_S, WEEK_S, Staffing, read_staffing

COOL_DOWN_DAYS = 7  # films go on arriving while the last counted ones are read
_MOST_UTILISATION = 0.99

DEFAULT_SHIFTS = "mon-fri 07-22 1, mon-fri 08-16 1, sat-sun 08-19 1"
_BY_HOUR = (1, 1, 1, 1, 1, 3, 6, 8, 9, 9, 9, 8, 7, 7, 7, 6, 5, 4, 4, 3, 3, 2, 2, 1)
"""Films of a hospital by the hour: portable films before the morning round, most before noon, few at night."""


def usual_arrivals(per_day: float) -> RandomArrivals:
    """Films as they come to a hospital by the hour, so many on an average day."""
    return RandomArrivals(per_day=per_day, by_hour=tuple(map(float, _BY_HOUR)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingTimes:
    """How long a reader takes for a study, until the next is begun.

    Attributes:
        mean_min: minutes, of a study without any finding.
        sick_min: minutes, of one with a finding.
        variation: standard deviation beside the mean, of a gamma distribution: 0 all alike, 1 exponential.
    """

    mean_min: float
    sick_min: float
    variation: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        if not (0 < self.mean_min <= 600 and 0 < self.sick_min <= 600):  # noqa: PLR2004 - ten hours
            raise ValueError(f"a reading takes more than 0 and at most 600 min, got {self.mean_min}, {self.sick_min}")
        if not 0 <= self.variation <= 5:  # noqa: PLR2004
            raise ValueError(f"the variation of reading times lies between 0 and 5, got {self.variation:g}")

    def draw_s(self, rng: random.Random, *, is_sick: bool) -> float:
        """A reading time, seconds."""
        mean_s = 60 * (self.sick_min if is_sick else self.mean_min)
        if self.variation == 0:
            return mean_s
        if self.variation == 1:
            return mean_s * rng.expovariate(1.0)
        shape = self.variation**-2
        return rng.gammavariate(shape, mean_s / shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Department:
    """A reading room.

    Attributes:
        arrivals: when films come.
        staffing: who reads when. A reading that has begun is ended after its shift, and none is broken off.
        reading: how long readings take.
        stat_share: share of studies whose order says STAT, which are read first under every way of ordering.
        days: days whose studies are counted, of random arrivals; stated ones are all counted.
        warm_up_days: days before, whose studies are read and not counted.
    """

    arrivals: RandomArrivals | StatedArrivals = field(default_factory=lambda: usual_arrivals(120))
    staffing: Staffing = field(default_factory=lambda: read_staffing(DEFAULT_SHIFTS))
    reading: ReadingTimes = field(default_factory=lambda: ReadingTimes(mean_min=5.0, sick_min=5.0))
    stat_share: float = 0.0
    days: int = 28
    warm_up_days: int = 7

    def __post_init__(self) -> None:
        """Refuse what is no share, and no time."""
        if not 0 <= self.stat_share < 1:
            raise ValueError(f"the share of STAT orders lies between 0 and 1, got {self.stat_share:g}")
        if not 1 <= self.days <= 3660 or not 0 <= self.warm_up_days <= 366:  # noqa: PLR2004 - ten years, one year
            raise ValueError("a run counts 1 to 3660 days, after at most 366 to warm up")

    def utilisation(self, films: Films) -> float:
        """Hours of reading that arrive beside the hours that readers are there."""
        reading = self.reading
        mean_s = 60 * (reading.mean_min + films.sick_share * (reading.sick_min - reading.mean_min))
        if isinstance(self.arrivals, StatedArrivals):
            a_week = len(self.arrivals.at_s) * WEEK_S / self.arrivals.span_s
        else:
            a_week = 7 * self.arrivals.per_day
        return a_week * mean_s / self.staffing.reader_seconds

    def require_time_enough(self, films: Films) -> None:
        """Refuse a room in which the list grows without end.

        Raises:
            InvalidInput: overload, more reading arrives than readers can do.
        """
        utilisation = self.utilisation(films)
        if utilisation > _MOST_UTILISATION:
            hours = self.staffing.reader_seconds / 3600
            raise InvalidInput(
                "overload",
                f"more arrives than can be read: {utilisation * hours:.0f} h of reading a week and {hours:.0f} h of "
                f"readers (utilisation {utilisation:.2f}), so the list grows without end under any order; add "
                "readers, or take fewer films or shorter readings",
            )

    def studies(self, films: Films, seed: int) -> list[SimulatedStudy]:
        """The studies of a run, in order of arrival.

        Times, films, orders and readings have random numbers of their own, so that a change of one leaves the others.
        """
        rngs = {name: random.Random(f"{name} {seed}") for name in ("arrivals", "films", "orders", "readings")}  # noqa: S311
        return [
            SimulatedStudy(
                at_s=at_s,
                reading_s=self.reading.draw_s(rngs["readings"], is_sick=bool(film.present)),
                order_priority=(
                    OrderPriority.STAT if rngs["orders"].random() < self.stat_share else OrderPriority.ROUTINE
                ),
                film=film,
                is_counted=is_counted,
            )
            for (at_s, is_counted), film in zip(self._times(rngs["arrivals"]), films.draw(rngs["films"]), strict=False)
        ]

    def _times(self, rng: random.Random) -> Iterator[tuple[float, bool]]:
        if isinstance(self.arrivals, StatedArrivals):
            return ((at_s, True) for at_s in self.arrivals.at_s)
        first, end = self.warm_up_days * DAY_S, (self.warm_up_days + self.days) * DAY_S
        days = self.warm_up_days + self.days + COOL_DOWN_DAYS
        return ((at_s, first <= at_s < end) for at_s in self.arrivals.times(rng, days))


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedStudy:
    """A study of one film.

    Attributes:
        at_s: when it arrives, seconds after the first Monday 00:00.
        reading_s: how long its reading takes.
        order_priority: of its order.
        film: what it shows and what the model says.
        is_counted: whether its wait counts.
    """

    at_s: float
    reading_s: float
    order_priority: OrderPriority
    film: Film
    is_counted: bool
