"""Which studies a slow language model takes, so that no report waits for words."""

from __future__ import annotations

from worker.explaining import Pace
from worklist.records import ReportLoad


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The present second."""
        return self.now_s


def paced(film_s: float, *, every_s: float, count: int = 60) -> Pace:
    """The pace of a model that takes so long a film, where a study comes every so many seconds."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(count):
        clock.now_s += every_s
        pace.arrive()
    pace.note(film_s)
    return pace


def load(waiting: int = 1, first: int = 0) -> ReportLoad:
    """What waits."""
    return ReportLoad(waiting=waiting, waiting_first=first)


def test_a_model_of_unknown_pace_is_tried() -> None:
    """The first film tells how fast it is."""
    assert Pace(Clock()).why_skip(load(500), comes_first=False) == ""


def test_a_fast_model_explains_everything() -> None:
    """A second and a half a film, a study every minute."""
    assert paced(1.5, every_s=60).why_skip(load(10), comes_first=False) == ""


def test_a_model_slower_than_arrivals_explains_what_comes_first() -> None:
    """Two minutes a film, a study every minute: flagged and STAT studies alone, and the reason says so."""
    slow = paced(120, every_s=60)
    assert "flagged and STAT studies first" in slow.why_skip(load(1), comes_first=False)
    assert slow.why_skip(load(3, first=3), comes_first=True) == ""


def test_a_slow_model_keeps_up_with_a_quiet_department() -> None:
    """Two minutes a film, a study every ten: everything, unless reports have piled up before it."""
    slow = paced(120, every_s=600)
    assert slow.why_skip(load(1), comes_first=False) == ""
    assert slow.why_skip(load(9), comes_first=False) != ""


def test_even_what_comes_first_does_not_pile_up() -> None:
    """Where flagged studies alone are more than half an hour of work, reports go out without the model's words."""
    slow = paced(120, every_s=60)
    assert slow.why_skip(load(20, first=10), comes_first=True) == ""
    assert "even with flagged" in slow.why_skip(load(40, first=20), comes_first=True)


def test_a_burst_after_the_start_is_no_rush_hour() -> None:
    """Five studies in the first ten seconds do not make a model of twenty seconds slow; fifty an hour do not either."""
    assert paced(20, every_s=2, count=5).why_skip(load(1), comes_first=False) == ""
    assert paced(20, every_s=72, count=50).why_skip(load(1), comes_first=False) == ""


def test_the_pace_follows_the_model() -> None:
    """A model that becomes faster explains again."""
    pace = paced(120, every_s=60)
    for _ in range(20):
        pace.note(2)
    assert pace.why_skip(load(1), comes_first=False) == ""


def test_a_failure_counts_as_far_as_it_holds_up() -> None:
    """A server that refuses at once makes no model fast, and one that runs into its time limit is slow."""
    pace = paced(120, every_s=60)
    for _ in range(20):
        pace.note(0.1, has_explained=False)
    assert pace.why_skip(load(1), comes_first=False) != ""
    late = paced(2, every_s=60)
    for _ in range(5):
        late.note(300, has_explained=False)
    assert late.why_skip(load(1), comes_first=False) != ""
