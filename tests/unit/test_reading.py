"""A reading: every event in every state, and what claims, returns and priors mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records import ANN, BEN, DAY, HOUR, NOON, SECOND
from worklist.errors import Conflict
from worklist.procedure_step import ProcedureStepState
from worklist.reading import (
    READING_TRANSITIONS,
    SYSTEM,
    Actor,
    ActorSource,
    HowRead,
    Reading,
    ReadingEvent,
    ReadingState,
    prior,
    unread,
)
from worklist.study import first_reading, reading_after
from worklist.triage import Urgency

LEASE = timedelta(minutes=15)
DOCTOR = Actor(name="Dr Roe", source=ActorSource.REPORT)

# What follows on each event in unread, reading, read and prior: a state, or the status code of PS3.4 Annex CC.
TABLE = {
    "claim": ("reading", "reading", "C300", "reading"),
    "claim, foreign": ("C301", "C301", "C301", "C301"),
    "complete": ("read", "read", "B306", "read"),
    "complete, foreign": ("C301", "C301", "C301", "C301"),
    "put back": ("unread", "unread", "unread", "unread"),
    "put back, foreign": ("C301", "C301", "C301", "C301"),
    "lapse": ("C310", "unread", "C300", "C310"),
    "report": ("read", "read", "B306", "read"),
    "return": ("unread", "reading", "unread", "prior"),
    "return, old": ("unread", "reading", "prior", "prior"),
}


@pytest.mark.parametrize(("state", "event"), list(product(ReadingState, ReadingEvent)))
def test_every_event_in_every_state(state: ReadingState, event: ReadingEvent) -> None:
    """Each pair leads to the state, or to the status code, that the table gives."""
    outcome = READING_TRANSITIONS[state, event]
    assert outcome == TABLE[event.value][list(ReadingState).index(state)]
    assert isinstance(outcome, ReadingState) == (outcome in set(ReadingState))


def test_a_reading_is_a_procedure_step() -> None:
    """Unread is SCHEDULED, being read IN PROGRESS, read COMPLETED; a prior is no step."""
    assert [state.step_state for state in ReadingState] == [
        ProcedureStepState.SCHEDULED,
        ProcedureStepState.IN_PROGRESS,
        ProcedureStepState.COMPLETED,
        None,
    ]


def test_a_claim_is_somebodys_until_it_lapses() -> None:
    """It says who and since when; the same reader renews it, another one is told whose it is."""
    claimed = unread(NOON).claim(ANN, NOON + SECOND, LEASE)
    assert claimed == Reading(
        state=ReadingState.READING, reader="Ann", since=NOON + SECOND, lease_until=NOON + SECOND + LEASE
    )
    renewed = claimed.claim(replace(ANN, source=ActorSource.PROXY), NOON + HOUR, LEASE)
    assert renewed == replace(claimed, lease_until=NOON + HOUR + LEASE)
    foreign: tuple[Callable[[], Reading], ...] = (
        lambda: claimed.claim(BEN, NOON + 2 * SECOND, LEASE),
        lambda: claimed.complete(BEN, NOON + 2 * SECOND, HowRead.BY_HAND),
        lambda: claimed.complete(BEN, NOON + 2 * SECOND, HowRead.WORKITEM),
        lambda: claimed.put_back(BEN, NOON + 2 * SECOND),
    )
    for step in foreign:
        with pytest.raises(Conflict, match=r"Ann is reading this study since 12:00 UTC") as refusal:
            step()
        assert (refusal.value.code, refusal.value.status) == ("being_read", "C301")


def test_a_claim_lapses_at_its_time_and_not_before() -> None:
    """What nobody reads does not lapse at all."""
    claimed = unread(NOON).claim(ANN, NOON, LEASE)
    assert claimed.lapse(NOON + LEASE - timedelta(microseconds=1)) is claimed
    assert claimed.lapse(NOON + LEASE) == Reading(state=ReadingState.UNREAD, since=NOON + LEASE, number=2)
    for other in (unread(NOON), prior(NOON), unread(NOON).complete(ANN, NOON, HowRead.BY_HAND)):
        assert other.lapse(NOON + DAY) is other


@pytest.mark.parametrize("how", list(HowRead))
def test_what_is_read_says_by_whom_and_how(how: HowRead) -> None:
    """Without a claim too; saying it again changes nothing, and it can only be claimed once it is put back."""
    read = unread(NOON).complete(ANN, NOON + SECOND, how)
    assert read == Reading(state=ReadingState.READ, reader="Ann", since=NOON + SECOND, how=how)
    assert read.complete(BEN, NOON + HOUR, HowRead.BY_HAND) is read
    assert read.complete(DOCTOR, NOON + HOUR, HowRead.REPORT) is read
    with pytest.raises(Conflict, match="Ann has read this study: put it back first") as refusal:
        read.claim(BEN, NOON + HOUR, LEASE)
    assert (refusal.value.code, refusal.value.status) == ("already_read", "C300")


@pytest.mark.parametrize("how", [HowRead.REPORT, HowRead.MESSAGE])
def test_a_report_completes_whoever_claimed(how: HowRead) -> None:
    """A radiologist's report is the reading, and its author the reader."""
    claimed = unread(NOON).claim(ANN, NOON, LEASE)
    assert claimed.complete(DOCTOR, NOON + SECOND, how) == Reading(
        state=ReadingState.READ, reader="Dr Roe", since=NOON + SECOND, how=how
    )


def test_putting_back_gives_up_reopens_and_makes_work() -> None:
    """A claim that is given up and a read study open the next round, a prior becomes work."""
    claimed = unread(NOON).claim(ANN, NOON, LEASE)
    assert claimed.put_back(ANN, NOON + SECOND) == Reading(state=ReadingState.UNREAD, since=NOON + SECOND, number=2)
    read = claimed.complete(ANN, NOON + SECOND, HowRead.BY_HAND)
    assert read.put_back(BEN, NOON + HOUR) == Reading(state=ReadingState.UNREAD, since=NOON + HOUR, number=2)
    assert prior(NOON).put_back(ANN, NOON + HOUR) == unread(NOON + HOUR)
    fresh = unread(NOON)
    assert fresh.put_back(ANN, NOON + HOUR) is fresh


def test_a_mark_stays_until_the_study_is_read_again() -> None:
    """A returned study that is claimed, given up, or read by mistake and put back is still marked."""
    back = unread(NOON).complete(ANN, NOON, HowRead.BY_HAND).come_back("new image", NOON + SECOND)
    claimed = back.claim(BEN, NOON + HOUR, LEASE)
    assert (claimed.returned_for, claimed.number) == ("new image", 2)
    for reading in (claimed.put_back(BEN, NOON + HOUR), claimed.lapse(NOON + DAY)):
        assert (reading.returned_for, reading.number) == ("new image", 3)
    undone = claimed.complete(BEN, NOON + HOUR, HowRead.BY_HAND).put_back(BEN, NOON + HOUR)
    assert (undone.returned_for, undone.number) == ("new image", 3)


@pytest.mark.parametrize(
    ("new_image", "was", "now_is", "returned_for"),
    [
        (True, None, None, "new image"),
        (True, Urgency.CRITICAL, Urgency.CRITICAL, "new image"),
        (False, None, Urgency.CRITICAL, "new critical finding"),
        (False, Urgency.URGENT, Urgency.CRITICAL, "new critical finding"),
        (False, Urgency.CRITICAL, Urgency.CRITICAL, ""),
        (False, Urgency.NONE, Urgency.URGENT, ""),
        (False, Urgency.CRITICAL, None, ""),
        (False, None, None, ""),
    ],
)
def test_a_read_study_returns_for_what_its_reader_has_not_seen(
    new_image: bool,  # noqa: FBT001 - a fact
    was: Urgency | None,
    now_is: Urgency | None,
    returned_for: str,
) -> None:
    """For a new image, even 1 ms later, and for a new critical finding; others stay as they are."""
    later = NOON + timedelta(milliseconds=1)

    def after(reading: Reading, *, is_old: bool = False) -> Reading:
        return reading_after(reading, new_image=new_image, was=was, now_is=now_is, now=later, is_old=is_old)

    read = unread(NOON).complete(ANN, NOON, HowRead.BY_HAND)
    returned = Reading(state=ReadingState.UNREAD, since=later, returned_for=returned_for, number=2)
    assert after(read) == (returned if returned_for else read)
    assert after(read, is_old=True) == (replace(returned, state=ReadingState.PRIOR) if returned_for else read)
    for other in (unread(NOON), prior(NOON), unread(NOON).claim(ANN, NOON, LEASE)):
        assert after(other) is other


@pytest.mark.parametrize(
    ("study_date", "prior_after", "state"),
    [
        (date(2026, 11, 22), 30 * DAY, ReadingState.UNREAD),
        (date(2026, 10, 23), 30 * DAY, ReadingState.UNREAD),
        (date(2026, 10, 22), 30 * DAY, ReadingState.PRIOR),
        (date(1999, 1, 1), None, ReadingState.UNREAD),
        (date(2026, 11, 21), timedelta(0), ReadingState.PRIOR),
        (date(2026, 11, 22), timedelta(0), ReadingState.UNREAD),
        (date(2027, 1, 1), 30 * DAY, ReadingState.UNREAD),
        (None, 30 * DAY, ReadingState.UNREAD),
    ],
)
def test_a_study_of_long_ago_is_taken_for_a_prior(
    study_date: date | None, prior_after: timedelta | None, state: ReadingState
) -> None:
    """From the day after the site's limit on; a study without a readable date is work."""
    assert first_reading(study_date, NOON, NOON + SECOND, prior_after) == Reading(state=state, since=NOON + SECOND)


def test_a_prior_can_be_read_without_becoming_work_first() -> None:
    """It can be claimed, completed, and reported on."""
    assert prior(NOON).claim(ANN, NOON, LEASE).state is ReadingState.READING
    assert prior(NOON).complete(ANN, NOON, HowRead.BY_HAND).state is ReadingState.READ
    assert prior(NOON).complete(DOCTOR, NOON, HowRead.REPORT).state is ReadingState.READ


def test_half_made_readings_are_refused() -> None:
    """A lease belongs to being read, how it is known to having been read, and an actor has a name."""
    with pytest.raises(ValueError, match="lease"):
        Reading(state=ReadingState.READING, since=NOON)
    with pytest.raises(ValueError, match="lease"):
        Reading(state=ReadingState.UNREAD, since=NOON, lease_until=NOON)
    with pytest.raises(ValueError, match="known how"):
        Reading(state=ReadingState.READ, since=NOON)
    with pytest.raises(ValueError, match="known how"):
        Reading(state=ReadingState.PRIOR, since=NOON, how=HowRead.BY_HAND)
    with pytest.raises(ValueError, match="name"):
        Actor(name="  ", source=ActorSource.TYPED)
    assert SYSTEM.name == "Firstread"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "complete", "report", "put back", "lapse", "image"]),
        st.sampled_from([ANN, BEN]),
        st.integers(0, 2000),
    ),
    max_size=30,
)


def after_step(reading: Reading, what: str, actor: Actor, now: datetime) -> Reading:
    """The reading after a step, or unchanged where the step is refused."""
    try:
        if what == "claim":
            return reading.claim(actor, now, LEASE)
        if what in {"complete", "report"}:
            return reading.complete(actor, now, HowRead.REPORT if what == "report" else HowRead.BY_HAND)
        if what == "put back":
            return reading.put_back(actor, now)
    except Conflict:
        return reading
    return reading.lapse(now) if what == "lapse" else reading.come_back("new image", now)


@given(STEPS)
def test_whatever_happens_a_reading_is_whole_and_rounds_only_rise(steps: list[tuple[str, Actor, int]]) -> None:
    """No sequence of events makes a half-made reading, steals a claim, or changes a round that is over."""
    reading, now = unread(NOON), NOON
    for what, actor, pause_s in steps:
        now += pause_s * SECOND
        before = reading.lapse(now)
        reading = after_step(before, what, actor, now)
        begun = {ReadingState.READING, ReadingState.READ}
        was_over = (before.state in begun) and reading.state not in begun
        assert reading.number == before.number + was_over
        if before.state is ReadingState.READING and actor.name != before.reader and what != "report":
            assert reading == before
