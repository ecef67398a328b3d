"""`make soak`: half an hour of work with many open lists, and then more and more of it until it is too much.

Films come one by one, and in bursts, each burst over one association. Each of the readers has a page open: it hears
the events, and asks for the list once a minute. What is measured is how long a film waits from the end of its C-STORE
until it has its score in the records, whether anything fails, and whether memory grows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.figures import Figure, as_table, markdown_lines, percentile
from bench.load import Arrivals, Memory, Readers, Wait, every
from firstread.demo import Site, running_site, wait_until_done
from tests.faults.report import PAGE, versions, write_block
from worklist.records import Database

_PORT_BASE = 19080
_PROGRAMS = ("gateway", "worker-score", "worker-report", "redis")
_BURSTS = 6  # evenly spread over the time
_WARM_SHARE = 0.2  # of the time, after which memory must not grow
_STEADY_S, _TOO_SLOW_S, _GROWTH = 3.0, 5.0, 5.0
_RATES = tuple(0.5 * 1.4**step for step in range(12))  # films a second
_HELD_SHARE, _HELD_S = 1 / 60, 15.0  # of the time, and at the least, for which each rate is held
_DRAINED_S = 120.0


@dataclass
class Course:
    """What has been seen.

    Attributes:
        minutes: seconds from C-STORE to score of the films of each minute, bursts among them.
        failures: everything that failed, in words.
        memory: of each program after the warm-up and at the end, MB.
        heard: events that the pages got.
        rates: films a second that were sent, and their 95th percentile, until that was too long.
    """

    minutes: list[list[float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    heard: int = 0
    rates: list[tuple[float, float]] = field(default_factory=list)


def main() -> None:
    """Measure and print; the table of docs/reliability.md where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=0.1, help="films a second, bursts aside")
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--burst", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    arguments = parser.parse_args()
    course = _soak(arguments)
    figures = _figures(course, arguments.burst)
    console = Console(width=130)
    console.print(as_table("Soak", figures))
    for failure in course.failures:
        console.print(failure, markup=False)
    if arguments.write:
        write_block(PAGE, "soak", _lines(course, figures, arguments))


def _soak(arguments: argparse.Namespace) -> Course:
    course = Course()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(state=Path(folder), port_base=_PORT_BASE, has_priors=False)
        with (
            running_site(site) as supervisor,
            closing(Database(site.database_url)) as database,
            Arrivals(site, database) as arrivals,
            Readers(site.gateway_url, arguments.readers) as readers,
        ):
            arrivals.send(3)  # to warm up, one of each kind
            wait_until_done(site, 3)
            arrivals.waits.clear()
            with Memory(supervisor, _PROGRAMS) as memory:
                _work(arrivals, course, arguments)
            course.memory = memory.growth(_WARM_SHARE)
            _raise(arrivals, course, max(_HELD_S, arguments.minutes * 60 * _HELD_SHARE))
            items = wait_until_done(site, len(arrivals.waits))["items"]
            course.failures += [f"a study: {item['failure']['message']}" for item in items if item["failure"]]
            course.failures += readers.failures
            course.heard = readers.heard
    return course


def _work(arrivals: Arrivals, course: Course, arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    lasts_s = arguments.minutes * 60
    bursts = [started + lasts_s * (number + 0.5) / _BURSTS for number in range(_BURSTS)]
    for now in every(1 / arguments.rate, until=lambda: time.monotonic() > started + lasts_s):
        arrivals.send(1)
        if bursts and now >= bursts[0]:
            del bursts[0]
            arrivals.send(arguments.burst)
    _drain(arrivals, course)
    course.minutes = [[] for _ in range(int(lasts_s / 60) + 2)]
    for wait in arrivals.waits:
        course.minutes[int((wait.stored_at - started) / 60)].append(wait.lasted_s)


def _raise(arrivals: Arrivals, course: Course, held_s: float) -> None:
    """More and more films a second, one association each second, until they wait too long or cannot be sent so fast."""
    for rate in _RATES:
        started, sent = time.monotonic(), 0
        already = len(arrivals.waits)
        for _ in every(1.0, until=lambda started=started: time.monotonic() > started + held_s):  # type: ignore[misc]
            due = int((time.monotonic() - started + 1) * rate) - sent
            if due:
                arrivals.send(due)
                sent += due
        took_s = time.monotonic() - started
        _drain(arrivals, course)
        p95_s = _p95(arrivals.waits[already:])
        course.rates.append((sent / took_s, p95_s))
        if p95_s > _TOO_SLOW_S or sent / took_s < rate / 1.4:
            return


def _drain(arrivals: Arrivals, course: Course) -> None:
    deadline = time.monotonic() + _DRAINED_S
    while arrivals.waiting:
        if time.monotonic() > deadline:
            course.failures.append(f"{arrivals.waiting} films have no score after {_DRAINED_S:.0f} s")
            return
        time.sleep(0.1)


def _p95(waits: Sequence[Wait | float]) -> float:
    values = [wait if isinstance(wait, float) else wait.lasted_s for wait in waits]
    return percentile([*values, max(values)], 95) if values else 0.0


def _figures(course: Course, burst: int) -> list[Figure]:
    every_film = [lasted for minute in course.minutes for lasted in minute]
    before, after = (sum(pair[place] for pair in course.memory.values()) for place in (0, 1))
    held = [(rate, p95_s) for rate, p95_s in course.rates if p95_s <= _TOO_SLOW_S]
    highest = max(held, default=(0.0, 0.0))
    return [
        Figure(name="Failures", value=len(course.failures), unit="", at_most=0),
        Figure(name="C-STORE to score, p50", value=percentile(every_film, 50), unit="s"),
        Figure(name="C-STORE to score, p95", value=_p95(every_film), unit="s", at_most=_STEADY_S),
        Figure(
            name=f"... in the worst minute, which had a burst of {burst}",
            value=max(_p95(minute) for minute in course.minutes),
            unit="s",
            at_most=_STEADY_S,
        ),
        Figure(name="Memory after the warm-up", value=before, unit="MB"),
        Figure(
            name="Growth of memory from there to the end", value=100 * (after / before - 1), unit="%", at_most=_GROWTH
        ),
        Figure(name=f"Highest rate with p95 within {_TOO_SLOW_S:g} s", value=highest[0], unit="films/s"),
        Figure(name="... its p95", value=highest[1], unit="s"),
    ]


def _lines(course: Course, figures: Sequence[Figure], arguments: argparse.Namespace) -> list[str]:
    films = sum(map(len, course.minutes))
    minutes = " ".join(f"{_p95(minute):.1f}" if minute else "-" for minute in course.minutes)
    rates = ", ".join(f"{rate:.2f}: {p95_s:.1f} s" for rate, p95_s in course.rates)
    memory = ", ".join(f"{name} {before:.0f} to {after:.0f}" for name, (before, after) in course.memory.items())
    end = "There the films waited too long" if course.rates[-1][1] > _TOO_SLOW_S else "More could not be sent"
    course_of_it = (
        f"Run on {datetime.now(UTC):%Y-%m-%d}: {arguments.minutes:g} minutes at {arguments.rate:g} films a second of "
        f"2500 x 2048 pixels with {_BURSTS} bursts of {arguments.burst}, {films} films, {arguments.readers} open lists "
        f"which heard {course.heard:,} events. {versions()}"
    )
    return [
        course_of_it,
        "",
        *markdown_lines(figures),
        "",
        f"p95 by minute, s: {minutes}. p95 by films a second: {rates}. {end}. Memory, MB: {memory}.",
    ]


if __name__ == "__main__":
    main()
