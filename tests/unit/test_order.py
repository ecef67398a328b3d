"""The reading order: what it may do to a study, and what it must never do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records import NOON, policy, scorer_card
from worklist.finding import Analysis, FindingType
from worklist.order import OrderKey, OrderPriority
from worklist.triage import SiteChoices, Triage, TriagePolicy, assess, queue_at

MakeAnalysis = Callable[..., Analysis]
Arrival = tuple[datetime, float | None, OrderPriority]

HARMS = st.none() | st.floats(0, 1)
MOMENTS = st.integers(0, 7 * 24 * 3600).map(lambda seconds: NOON + timedelta(seconds=seconds))
POLICIES = st.builds(
    lambda hours, steepness: policy(
        scorer_card(pneumothorax=0.9),
        SiteChoices(
            horizon=timedelta(hours=hours),
            steepness=steepness,
            least_head_start=timedelta(minutes=30),
            high_head_start=timedelta(hours=min(hours, 4)),
        ),
    ),
    st.integers(0, 100),
    st.floats(0.01, 20),
)
ARRIVALS = st.tuples(MOMENTS, HARMS, st.sampled_from(OrderPriority))


def triaged(make_analysis: MakeAnalysis, harm: float | None, by: TriagePolicy) -> Triage | None:
    """What the rule makes of an image with this harm; None for one that was not scored."""
    return None if harm is None else assess(make_analysis(0.5, {FindingType.PNEUMOTHORAX: harm}), by)


def keys(make_analysis: MakeAnalysis, arrivals: list[Arrival], by: TriagePolicy) -> list[OrderKey]:
    """The arrivals' keys."""
    return [
        OrderKey(
            order_priority=priority,
            queue_at=queue_at(received_at, priority, triaged(make_analysis, harm, by), by.site),
            received_at=received_at,
            study_instance_uid=f"1.2.{number}",
        )
        for number, (received_at, harm, priority) in enumerate(arrivals)
    ]


def order(make_analysis: MakeAnalysis, arrivals: list[Arrival], by: TriagePolicy) -> list[int]:
    """The arrivals' positions in the input, in reading order."""
    sort_keys = [key.sort_key for key in keys(make_analysis, arrivals, by)]
    return sorted(range(len(arrivals)), key=lambda number: sort_keys[number])


@given(st.lists(ARRIVALS, max_size=20), POLICIES)
def test_order_is_a_total_permutation(make_analysis: MakeAnalysis, arrivals: list[Arrival], by: TriagePolicy) -> None:
    """Every study has exactly one place, even where all else is equal."""
    assert sorted(order(make_analysis, arrivals, by)) == list(range(len(arrivals)))
    assert len({key.sort_key for key in keys(make_analysis, arrivals, by)}) == len(arrivals)


@given(st.lists(ARRIVALS, max_size=20), POLICIES, st.randoms(use_true_random=False))
def test_order_depends_on_nothing_but_the_studies(
    make_analysis: MakeAnalysis, arrivals: list[Arrival], by: TriagePolicy, random: Random
) -> None:
    """Shuffling the studies before sorting changes nothing."""
    in_order = sorted(keys(make_analysis, arrivals, by), key=lambda key: key.sort_key)
    shuffled = list(in_order)
    random.shuffle(shuffled)
    assert sorted(shuffled, key=lambda key: key.sort_key) == in_order


@given(st.lists(ARRIVALS, min_size=1, max_size=20), POLICIES, st.floats(0, 1), HARMS)
def test_more_harm_never_moves_a_study_down(
    make_analysis: MakeAnalysis, others: list[Arrival], by: TriagePolicy, one: float, another: float | None
) -> None:
    """Among the same other studies its place with more harm is at least as good, and never below the unscored one."""
    received_at, _, priority = others[0]
    less, more = (another, one) if another is None else sorted((one, another))
    place_with_less = order(make_analysis, [(received_at, less, priority), *others[1:]], by).index(0)
    place_with_more = order(make_analysis, [(received_at, more, priority), *others[1:]], by).index(0)
    assert place_with_more <= place_with_less


@given(st.lists(ARRIVALS, min_size=1, max_size=20), POLICIES, st.floats(0, 0.3999))
def test_a_study_without_a_flag_stands_where_it_would_unscored(
    make_analysis: MakeAnalysis, others: list[Arrival], by: TriagePolicy, harm: float
) -> None:
    """First come, first served, whatever its score."""
    received_at, _, priority = others[0]
    unscored = order(make_analysis, [(received_at, None, priority), *others[1:]], by)
    assert order(make_analysis, [(received_at, harm, priority), *others[1:]], by) == unscored


@given(st.lists(ARRIVALS, max_size=20), POLICIES)
def test_stat_orders_come_first(make_analysis: MakeAnalysis, arrivals: list[Arrival], by: TriagePolicy) -> None:
    """Every STAT order precedes everything else, whatever its findings and however late it came."""
    is_stat = [arrivals[number][2] is OrderPriority.STAT for number in order(make_analysis, arrivals, by)]
    assert is_stat == sorted(is_stat, reverse=True)


@given(st.lists(ARRIVALS, max_size=20), POLICIES)
def test_nobody_starves(make_analysis: MakeAnalysis, arrivals: list[Arrival], by: TriagePolicy) -> None:
    """STAT orders aside, nobody is overtaken by a study that arrived more than H later."""
    in_order = order(make_analysis, arrivals, by)
    routine = [number for number in in_order if arrivals[number][2] is not OrderPriority.STAT]
    for position, earlier_read in enumerate(routine):
        for later_read in routine[position + 1 :]:
            assert arrivals[earlier_read][0] - arrivals[later_read][0] <= by.site.horizon


@given(st.lists(MOMENTS, max_size=20), POLICIES)
def test_unscored_studies_are_first_come_first_served(
    make_analysis: MakeAnalysis, moments: list[datetime], by: TriagePolicy
) -> None:
    """Without findings, and without STAT and HIGH orders, the list is the queue as it came."""
    arrivals: list[Arrival] = [(at, None, OrderPriority.LOW) for at in moments]
    in_order = [moments[number] for number in order(make_analysis, arrivals, by)]
    assert all(one <= next_one for one, next_one in pairwise(in_order))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("STAT", OrderPriority.STAT),
        (" stat ", OrderPriority.STAT),
        ("High", OrderPriority.HIGH),
        ("LOW", OrderPriority.LOW),
        ("MEDIUM", OrderPriority.MEDIUM),
        ("", OrderPriority.ROUTINE),
        ("URGENT", OrderPriority.ROUTINE),
    ],
)
def test_order_priority_is_read_as_requisitions_write_it(stated: str, expected: OrderPriority) -> None:
    """Case and padding do not matter; an unknown or absent word is ROUTINE."""
    assert OrderPriority.of(stated) is expected
