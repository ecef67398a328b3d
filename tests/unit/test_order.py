"""The reading order: what it may do to a study, and what it must never do."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.order import OrderKey, OrderPolicy, OrderPriority, head_start, queue_at

SIX_O_CLOCK = datetime(2026, 11, 22, 6, tzinfo=UTC)

PROBABILITIES = st.floats(0, 1)
SCORES = st.none() | PROBABILITIES
MOMENTS = st.integers(0, 7 * 24 * 3600).map(lambda seconds: SIX_O_CLOCK + timedelta(seconds=seconds))
POLICIES = st.builds(
    OrderPolicy,
    horizon=st.integers(0, 100 * 3600).map(lambda seconds: timedelta(seconds=seconds)),
    steepness=st.floats(0.01, 20),
    prevalence=st.floats(0.001, 0.999),
)
Arrival = tuple[datetime, float | None, OrderPriority]
ARRIVALS = st.tuples(MOMENTS, SCORES, st.sampled_from(OrderPriority))


def keys(arrivals: list[Arrival], policy: OrderPolicy) -> list[OrderKey]:
    """The arrivals' keys."""
    return [
        OrderKey(
            order_priority=priority,
            queue_at=queue_at(received_at, score, policy),
            received_at=received_at,
            study_instance_uid=f"1.2.{number}",
        )
        for number, (received_at, score, priority) in enumerate(arrivals)
    ]


def order(arrivals: list[Arrival], policy: OrderPolicy) -> list[int]:
    """The arrivals' positions in the input, in reading order."""
    sort_keys = [key.sort_key for key in keys(arrivals, policy)]
    return sorted(range(len(arrivals)), key=lambda number: sort_keys[number])


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        # logit p - logit 0.3 = ln(odds ratio), so 2 * sigmoid(1.5 * ln r) - 1 = (r**1.5 - 1) / (r**1.5 + 1).
        # p = 0.93: r = (0.93 / 0.07) / (0.3 / 0.7) = 31, r**1.5 = 172.601, 171.601 / 173.601 * 57600 s = 56936 s.
        (0.93, timedelta(hours=15, minutes=48, seconds=56)),
        # p = 0.5: r = 7 / 3, r**1.5 = 3.56422, 2.56422 / 4.56422 * 57600 s = 32360 s.
        (0.5, timedelta(hours=8, minutes=59, seconds=20)),
        # p = 10 / 13: r = (10 / 3) / (3 / 7) = 70 / 9, r**1.5 = 21.6918, 20.6918 / 22.6918 * 57600 s = 52523 s.
        (10 / 13, timedelta(hours=14, minutes=35, seconds=23)),
        (0.3, timedelta(0)),
        (0.05, timedelta(0)),
        (None, timedelta(0)),
        (0.0, timedelta(0)),
        (1.0, timedelta(hours=16)),
    ],
)
def test_head_start_has_the_promised_size(score: float | None, expected: timedelta) -> None:
    """With H = 16 h and k = 1.5, at a prevalence of 0.3, each score has the head start that a hand can compute."""
    policy = OrderPolicy(prevalence=0.3)
    assert (policy.horizon, policy.steepness) == (timedelta(hours=16), 1.5)
    assert head_start(score, policy) == expected
    assert queue_at(SIX_O_CLOCK, score, policy) == SIX_O_CLOCK - expected


@given(PROBABILITIES, POLICIES)
def test_head_start_is_the_formula(score: float, policy: OrderPolicy) -> None:
    """Within the rounding to a second the head start is H * max(0, 2 * sigmoid(k * (logit p - logit q)) - 1)."""
    p = min(max(score, 1e-9), 1 - 1e-9)
    exponent = policy.steepness * (math.log(p / (1 - p)) - math.log(policy.prevalence / (1 - policy.prevalence)))
    sigmoid = 1 / (1 + math.exp(-exponent)) if exponent > -700 else 0.0
    expected = policy.horizon.total_seconds() * max(0.0, 2 * sigmoid - 1)
    assert abs(head_start(score, policy).total_seconds() - expected) <= 0.5 + 1e-6


@given(st.lists(ARRIVALS, max_size=20), POLICIES)
def test_order_is_a_total_permutation(arrivals: list[Arrival], policy: OrderPolicy) -> None:
    """Every study has exactly one place, even where all else is equal."""
    assert sorted(order(arrivals, policy)) == list(range(len(arrivals)))
    assert len({key.sort_key for key in keys(arrivals, policy)}) == len(arrivals)


@given(st.lists(ARRIVALS, max_size=20), POLICIES, st.randoms(use_true_random=False))
def test_order_depends_on_nothing_but_the_studies(arrivals: list[Arrival], policy: OrderPolicy, random: Random) -> None:
    """Shuffling the studies before sorting changes nothing."""
    in_order = sorted(keys(arrivals, policy), key=lambda key: key.sort_key)
    shuffled = list(in_order)
    random.shuffle(shuffled)
    assert sorted(shuffled, key=lambda key: key.sort_key) == in_order


@given(st.lists(ARRIVALS, min_size=1, max_size=20), POLICIES, PROBABILITIES, PROBABILITIES)
def test_a_higher_score_never_moves_a_study_down(
    others: list[Arrival], policy: OrderPolicy, one: float, another: float
) -> None:
    """Among the same other studies a study's place with the higher score is at least as good."""
    low, high = sorted((one, another))
    received_at, _, priority = others[0]
    place_with_low = order([(received_at, low, priority), *others[1:]], policy).index(0)
    place_with_high = order([(received_at, high, priority), *others[1:]], policy).index(0)
    assert place_with_high <= place_with_low


@given(st.lists(ARRIVALS, min_size=1, max_size=20), POLICIES, PROBABILITIES)
def test_a_score_never_puts_a_study_below_its_unscored_place(
    others: list[Arrival], policy: OrderPolicy, score: float
) -> None:
    """A study with a score stands at least where it would stand without one; at or below prevalence, exactly there."""
    received_at, _, priority = others[0]
    unscored = order([(received_at, None, priority), *others[1:]], policy)
    scored = order([(received_at, score, priority), *others[1:]], policy)
    assert scored.index(0) <= unscored.index(0)
    if score <= policy.prevalence:
        assert scored == unscored


@given(st.lists(ARRIVALS, max_size=20), POLICIES)
def test_stat_orders_come_first(arrivals: list[Arrival], policy: OrderPolicy) -> None:
    """Every STAT order precedes everything else, whatever its score and however late it came."""
    is_stat = [arrivals[number][2] is OrderPriority.STAT for number in order(arrivals, policy)]
    assert is_stat == sorted(is_stat, reverse=True)


@given(st.lists(ARRIVALS, max_size=20), POLICIES)
def test_nobody_starves(arrivals: list[Arrival], policy: OrderPolicy) -> None:
    """STAT orders aside, nobody is overtaken by a study that arrived more than H later."""
    routine = [number for number in order(arrivals, policy) if arrivals[number][2] is not OrderPriority.STAT]
    for position, earlier_read in enumerate(routine):
        for later_read in routine[position + 1 :]:
            assert arrivals[earlier_read][0] - arrivals[later_read][0] <= policy.horizon


@given(st.lists(MOMENTS, max_size=20), POLICIES)
def test_unscored_studies_are_first_come_first_served(moments: list[datetime], policy: OrderPolicy) -> None:
    """Without scores and STAT orders the list is the queue as it came."""
    arrivals: list[Arrival] = [(at, None, OrderPriority.LOW) for at in moments]
    in_order = [moments[number] for number in order(arrivals, policy)]
    assert all(one <= next_one for one, next_one in pairwise(in_order))


@pytest.mark.parametrize(
    ("horizon_h", "steepness", "prevalence"),
    [(-1, 1.5, 0.3), (16, 0, 0.3), (16, -1, 0.3), (16, 1.5, 0), (16, 1.5, 1), (16, 1.5, math.nan), (16, math.nan, 0.3)],
)
def test_a_policy_without_an_order_is_refused(horizon_h: float, steepness: float, prevalence: float) -> None:
    """A negative horizon, a steepness of zero or less, or a certain prevalence is an error at once."""
    with pytest.raises(ValueError, match="prevalence"):
        OrderPolicy(horizon=timedelta(hours=horizon_h), steepness=steepness, prevalence=prevalence)


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
