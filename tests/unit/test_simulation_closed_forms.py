"""The simulated reading room against closed forms and published cases; seeded, so that each run gives the same."""

from __future__ import annotations

import pytest

from tests.departments import FLAGGED_SHARE, SENSITIVITY, SPECIFICITY, always_open, cobham
from worklist.simulation.comparison import ALL, FLAGGED, MISSED, WELL, Comparison, compare
from worklist.simulation.judging import Judge
from worklist.simulation.orders import Order, queue_of
from worklist.simulation.room import wait_times

NEAR = 0.02  # of a closed form

pytestmark = pytest.mark.timeout(1800)  # many films, on a machine that may have much else to do


def mean(comparison: Comparison, order: Order, group: str) -> float:
    """The mean wait of a group, minutes."""
    return comparison.waits[order][group].mean.value


def test_cobham_gives_what_qucad_publishes() -> None:
    """The closed form of these tests is the published one: 40 min in order of arrival, 13.1 of the sick by class."""
    flagged, others = cobham([0.8 * FLAGGED_SHARE, 0.8 * (1 - FLAGGED_SHARE)])
    assert cobham([0.8]) == [pytest.approx(40)]
    assert SENSITIVITY * flagged + (1 - SENSITIVITY) * others == pytest.approx(13.1, abs=0.05)


def test_the_published_case_comes_out() -> None:
    """At a load of 0.8 flagged studies wait 9.3 min, the sick 13.1, the others 1.17 times as long as before.

    How long all wait swings by 2 % even between runs of this length, so the others are held against the same run in
    order of arrival, whose own waits the recursion below and the lower loads vouch for.
    """
    found = compare(always_open(0.8, days=700), (Order.FIRST_COME, Order.CLASSES))
    flagged, others = cobham([0.8 * FLAGGED_SHARE, 0.8 * (1 - FLAGGED_SHARE)])
    before = mean(found, Order.FIRST_COME, ALL)
    assert mean(found, Order.CLASSES, FLAGGED) == pytest.approx(flagged, rel=NEAR)
    missed = 40 * mean(found, Order.CLASSES, MISSED) / mean(found, Order.FIRST_COME, MISSED)
    sick = SENSITIVITY * mean(found, Order.CLASSES, FLAGGED) + (1 - SENSITIVITY) * missed
    assert sick == pytest.approx(13.1, rel=NEAR)
    well = (1 - SPECIFICITY) * flagged + SPECIFICITY * others
    assert mean(found, Order.CLASSES, WELL) / before == pytest.approx(well / 40, rel=NEAR)


@pytest.mark.parametrize(
    ("load", "readers", "variation", "days"),
    [(0.5, 1, 1.0, 1000), (0.5, 1, 0.0, 500), (0.5, 1, 1.5, 700), (0.6, 2, 1.0, 300), (0.6, 3, 1.0, 250)],
)
def test_priority_classes_wait_as_cobham_says(load: float, readers: int, variation: float, days: int) -> None:
    """One reader with any spread of reading times, and several: all studies, flagged ones and the others within 2 %."""
    found = compare(always_open(load, readers=readers, days=days, variation=variation), (Order.CLASSES,))
    (first_come,) = cobham([load], readers=readers, variation=variation)
    shares = [FLAGGED_SHARE * load, (1 - FLAGGED_SHARE) * load]
    flagged, others = cobham(shares, readers=readers, variation=variation)
    assert mean(found, Order.CLASSES, FLAGGED) == pytest.approx(flagged, rel=NEAR)
    assert mean(found, Order.CLASSES, ALL) == pytest.approx(first_come, rel=NEAR)
    well = (1 - SPECIFICITY) * flagged + SPECIFICITY * others
    assert mean(found, Order.CLASSES, WELL) == pytest.approx(well, rel=NEAR)


def test_stat_orders_are_a_class_before_all_others() -> None:
    """With a fifth of STAT orders there are three classes, and the flagged wait as Cobham says of the first two."""
    found = compare(always_open(0.6, days=400, stat_share=0.2), (Order.FIRSTREAD,))
    stat, flagged, _ = cobham([0.6 * share for share in (0.2, 0.8 * FLAGGED_SHARE, 0.8 * (1 - FLAGGED_SHARE))])
    assert mean(found, Order.FIRSTREAD, FLAGGED) == pytest.approx(0.2 * stat + 0.8 * flagged, rel=NEAR)


def test_first_come_first_served_is_lindleys_recursion() -> None:
    """Each single wait of one reader follows from the one before it (Lindley 1952), to the last digit but rounding."""
    scenario = always_open(0.8, days=20)
    studies = scenario.department.studies(scenario.films, seed=3)
    judged = Judge(scenario.card, scenario.site, scenario.films).judged(studies)
    queue = queue_of(Order.FIRST_COME, judged, scenario.site, scenario.longest_wait)
    waits = wait_times(studies, scenario.department.staffing, queue)
    free_s = 0.0
    for study, wait in zip(studies, waits, strict=True):
        begins_s = max(free_s, study.at_s)
        if study.is_counted:
            assert wait == pytest.approx(begins_s - study.at_s, abs=1e-6)
        free_s = begins_s + study.reading_s
