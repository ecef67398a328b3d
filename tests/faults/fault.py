"""What a fault is: data, and a small function that makes it and ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.faults.hospital import DatabaseKind, Hospital, Plan

BOTH: tuple[DatabaseKind, ...] = ("sqlite", "postgresql")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What a fault's function is given.

    Attributes:
        hospital: in which it happens; films stream in meanwhile.
        random: what is left to chance, decided by the run's seed.
        longest_s: no pause is longer, so that a trial run is short.
        size: by how much a fault that has a size is made smaller, 1 for as it stands.
        broken: promises that were broken while it lasted, in words.
    """

    hospital: Hospital
    random: Random
    longest_s: float
    size: float = 1.0
    broken: list[str] = field(default_factory=list)

    def last(self, seconds: float) -> None:
        """Let the fault last."""
        time.sleep(min(seconds, self.longest_s))

    def require_final(self, within_s: float) -> None:
        """All that has been sent so far must be done soon, though the fault lasts."""
        if self.hospital.wait_for(set(self.hospital.stream.studies), within_s):
            self.broken.append(f"nothing went on within {within_s:.0f} s while the fault lasted")

    def count(self, number: int) -> int:
        """So many, or fewer in a trial run."""
        return max(1, round(number * self.size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A fault.

    Attributes:
        name: by which it is asked for.
        what: it is, in a line for people.
        inflict: makes it, lets it last, and ends it.
        plan: what the hospital consists of, but for its database.
        databases: with which it is made.
        tells: the checks of GET /ready of which one must fail while it lasts; none where nothing needs to be told.
        tells_within_s: how soon.
        recovers_within_s: after its end all that was sent must be final by then.
        seeds: how often it is made, each time at other moments.
        loses: whether the PACS itself loses films by it.
        is_load: whether it breaks nothing, and its recovery is the time that its work takes.
        is_quick: whether `make test` makes it, with few films.
    """

    name: str
    what: str
    inflict: Callable[[Moment], None]
    plan: Plan
    databases: tuple[DatabaseKind, ...]
    tells: tuple[str, ...]
    tells_within_s: float
    recovers_within_s: float
    seeds: int
    loses: bool
    is_load: bool
    is_quick: bool


FAULTS: dict[str, Fault] = {}


def fault(  # noqa: PLR0913 - see Fault
    what: str,
    *,
    plan: Plan | None = None,
    databases: tuple[DatabaseKind, ...] = ("sqlite",),
    tells: tuple[str, ...] = (),
    tells_within_s: float = 30.0,
    recovers_within_s: float = 60.0,
    seeds: int = 1,
    loses: bool = False,
    is_load: bool = False,
    is_quick: bool = False,
) -> Callable[[Callable[[Moment], None]], Callable[[Moment], None]]:
    """Make a fault of a function, which gives it its name."""

    def add(inflict: Callable[[Moment], None]) -> Callable[[Moment], None]:
        name = inflict.__name__
        FAULTS[name] = Fault(
            name=name,
            what=what,
            inflict=inflict,
            plan=plan or Plan(),
            databases=databases,
            tells=tells,
            tells_within_s=tells_within_s,
            recovers_within_s=recovers_within_s,
            seeds=seeds,
            loses=loses,
            is_load=is_load,
            is_quick=is_quick,
        )
        return inflict

    return add
