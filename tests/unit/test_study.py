"""A study's state and reason, from its facts; a job's states, from its events."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from firstread.settings import Settings
from worklist.errors import PermanentError
from worklist.finding import Analysis, FindingType
from worklist.order import OrderPolicy, OrderPriority
from worklist.study import (
    TRANSITIONS,
    Failure,
    FilmFacts,
    JobEvent,
    JobState,
    ReadingPolicy,
    Standing,
    StudyFacts,
    StudyState,
    assess_standing,
    leading_analysis,
    next_state,
)
from worklist.urgency import Urgency

MakeAnalysis = Callable[..., Analysis]

RECEIVED_AT = datetime(2026, 11, 22, 6, tzinfo=UTC)
UNDECODABLE = Failure(code="undecodable", message="the pixels cannot be decoded")
NOT_STORED = Failure(code="pacs_error", message="the PACS took no report")
LATERAL = Failure(code="lateral_view", message="lateral, oblique or decubitus view: only frontal films are scored")

# What follows in each state of a job, for each event; None where it is illegal.
FOLLOWING: dict[JobState, dict[JobEvent, JobState | None]] = {
    JobState.SCHEDULED: {
        JobEvent.CLAIM: JobState.IN_PROGRESS,
        JobEvent.COMPLETE: None,
        JobEvent.POSTPONE: None,
        JobEvent.FAIL: JobState.CANCELED,
        JobEvent.RERUN: None,
    },
    JobState.IN_PROGRESS: {
        JobEvent.CLAIM: JobState.IN_PROGRESS,
        JobEvent.COMPLETE: JobState.COMPLETED,
        JobEvent.POSTPONE: JobState.SCHEDULED,
        JobEvent.FAIL: JobState.CANCELED,
        JobEvent.RERUN: None,
    },
    JobState.COMPLETED: {
        JobEvent.CLAIM: None,
        JobEvent.COMPLETE: None,
        JobEvent.POSTPONE: None,
        JobEvent.FAIL: None,
        JobEvent.RERUN: None,
    },
    JobState.CANCELED: {
        JobEvent.CLAIM: None,
        JobEvent.COMPLETE: None,
        JobEvent.POSTPONE: None,
        JobEvent.FAIL: None,
        JobEvent.RERUN: JobState.SCHEDULED,
    },
}


@pytest.mark.parametrize(("state", "event"), list(product(JobState, JobEvent)))
def test_every_event_in_every_state(state: JobState, event: JobEvent) -> None:
    """Each pair of state and event leads where the table says, or is refused by name."""
    following = FOLLOWING[state][event]
    if following:
        assert next_state(state, event) is following
    else:
        with pytest.raises(PermanentError, match=f"a job that is {state} cannot {event}") as refusal:
            next_state(state, event)
        assert refusal.value.code == "illegal_transition"
        assert (state, event) not in TRANSITIONS


def test_a_site_that_sets_nothing_reads_by_the_documented_policy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The settings' defaults and the domain's own are the same numbers."""
    for name in [name for name in os.environ if name.startswith("FIRSTREAD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)  # where no .env lies
    assert Settings().reading_policy == ReadingPolicy()


def test_job_states_are_those_of_ups() -> None:
    """The words are the procedure step states of PS3.4 CC.1.1."""
    assert set(JobState) == {"SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"}


def stand(
    *films: FilmFacts,
    order_priority: OrderPriority = OrderPriority.ROUTINE,
    is_reported: bool = False,
    report_failure: Failure | None = None,
) -> Standing:
    """Where a study with these films stands."""
    return assess_standing(
        StudyFacts(
            received_at=RECEIVED_AT,
            order_priority=order_priority,
            films=films,
            scope_failure=None if films else LATERAL,
            is_reported=is_reported,
            report_failure=report_failure,
        ),
        ReadingPolicy(order=OrderPolicy(prevalence=0.3)),
    )


def test_a_study_without_eligible_films_is_out_of_scope() -> None:
    """It keeps its place in the queue, and says why it has no score."""
    assert stand() == Standing(
        state=StudyState.OUT_OF_SCOPE,
        score=None,
        urgency=None,
        queue_at=RECEIVED_AT,
        reason="lateral, oblique or decubitus view: only frontal films are scored; in order of arrival",
        failure=LATERAL,
    )


def test_a_study_with_films_to_score_is_waiting() -> None:
    """One film that failed does not fail the study while another is still to be scored."""
    for films in ([FilmFacts()], [FilmFacts(failure=UNDECODABLE), FilmFacts()]):
        assert stand(*films) == Standing(
            state=StudyState.WAITING,
            score=None,
            urgency=None,
            queue_at=RECEIVED_AT,
            reason="waiting for its score",
            failure=None,
        )


def test_a_study_of_failed_films_is_failed() -> None:
    """It keeps its place in the queue, and says what went wrong."""
    assert stand(FilmFacts(failure=UNDECODABLE), FilmFacts(failure=NOT_STORED)) == Standing(
        state=StudyState.FAILED,
        score=None,
        urgency=None,
        queue_at=RECEIVED_AT,
        reason="the pixels cannot be decoded; in order of arrival",
        failure=UNDECODABLE,
    )


@pytest.mark.parametrize(
    ("is_reported", "report_failure", "state"),
    [
        (False, None, StudyState.SCORED),
        (True, None, StudyState.REPORTED),
        (False, NOT_STORED, StudyState.FAILED),
        (True, NOT_STORED, StudyState.FAILED),
    ],
)
def test_a_scored_study_moves_up_whatever_becomes_of_its_report(
    is_reported: bool,  # noqa: FBT001 - a fact
    report_failure: Failure | None,
    state: StudyState,
    make_analysis: MakeAnalysis,
) -> None:
    """Score, place and reason follow from the films; the report only decides the state."""
    film = FilmFacts(analysis=make_analysis(0.93, {FindingType.PNEUMOTHORAX: 0.93, FindingType.PNEUMONIA: 0.6}))
    assert stand(film, is_reported=is_reported, report_failure=report_failure) == Standing(
        state=state,
        score=0.93,
        urgency=Urgency.CRITICAL,
        queue_at=RECEIVED_AT - timedelta(hours=15, minutes=48, seconds=56),
        reason="pneumothorax 0.93: moved up as if received 15 h 49 min earlier",
        failure=report_failure,
    )


@pytest.mark.parametrize(
    ("score", "findings", "reason"),
    [
        (0.66, {FindingType.PNEUMOTHORAX: 0.4}, "any urgent finding 0.66: moved up as if received 13 h 0 min earlier"),
        (0.52, {FindingType.PNEUMONIA: 0.521}, "pneumonia 0.52: moved up as if received 9 h 37 min earlier"),
        (0.305, {}, "any urgent finding 0.30: moved up as if received 17 min earlier"),
        (0.3001, {}, "any urgent finding 0.30: moved up as if received less than a minute earlier"),
        (0.3, {}, "any urgent finding 0.30: in order of arrival"),
        (0.05, {FindingType.PNEUMONIA: 0.02}, "any urgent finding 0.05: in order of arrival"),
        (
            0.28,
            {FindingType.CARDIOMEGALY: 0.6, FindingType.PULMONARY_EDEMA: 0.5},
            "any urgent finding 0.28, first of all cardiomegaly: in order of arrival",
        ),
    ],
)
def test_the_reason_names_the_evidence_and_the_move(
    score: float, findings: dict[FindingType, float], reason: str, make_analysis: MakeAnalysis
) -> None:
    """The number is the score that moved the study, and the name that of its leading positive finding."""
    assert stand(FilmFacts(analysis=make_analysis(score, findings))).reason == reason


@pytest.mark.parametrize(
    ("others", "gaps"),
    [
        ([], ""),
        ([FilmFacts(failure=UNDECODABLE)], "; 1 of 2 films could not be scored"),
        ([FilmFacts()], "; 1 of 2 films not scored yet"),
        (
            [FilmFacts(failure=UNDECODABLE), FilmFacts()],
            "; 1 of 3 films could not be scored; 1 of 3 films not scored yet",
        ),
    ],
)
def test_the_reason_names_films_without_a_score(
    others: list[FilmFacts], gaps: str, make_analysis: MakeAnalysis
) -> None:
    """A low score says nothing of the films that have none, under STAT orders as well."""
    film = FilmFacts(analysis=make_analysis(0.05))
    assert stand(film, *others).reason == f"any urgent finding 0.05: in order of arrival{gaps}"
    stat = stand(film, *others, order_priority=OrderPriority.STAT)
    assert stat.reason == f"STAT order: read first; any urgent finding 0.05{gaps}"


@pytest.mark.parametrize("films", [[], [FilmFacts()], [FilmFacts(failure=UNDECODABLE)]])
def test_a_stat_order_is_read_first_with_or_without_a_score(films: list[FilmFacts]) -> None:
    """Its reason is the order; what the study lacks, its state and failure still tell."""
    stat = stand(*films, order_priority=OrderPriority.STAT)
    routine = stand(*films)
    assert stat.reason == "STAT order: read first"
    assert (stat.state, stat.failure, stat.queue_at) == (routine.state, routine.failure, routine.queue_at)


def test_a_study_is_as_urgent_as_its_most_urgent_film(make_analysis: MakeAnalysis) -> None:
    """The film with the highest score leads; among equals always the same one, whatever their order."""
    low, high, same = (
        make_analysis(0.2, sop_instance_uid="1.9"),
        make_analysis(0.7, sop_instance_uid="1.1"),
        make_analysis(0.7, sop_instance_uid="1.2"),
    )
    films = [FilmFacts(analysis=low), FilmFacts(), FilmFacts(analysis=high), FilmFacts(analysis=same)]
    assert leading_analysis(tuple(films)) is same
    assert leading_analysis(tuple(reversed(films))) is same
    assert stand(*films).score == 0.7
    assert leading_analysis((FilmFacts(),)) is None
