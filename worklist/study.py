"""The states of a study and of its jobs, and how the first follow from the second."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from worklist.errors import PermanentError
from worklist.finding import Analysis
from worklist.order import OrderPolicy, OrderPriority, head_start
from worklist.urgency import Urgency, UrgencyPolicy, assess_urgency


class StudyState(StrEnum):
    """What the reading list shows of a study."""

    WAITING = "waiting"
    SCORED = "scored"
    REPORTED = "reported"
    OUT_OF_SCOPE = "out_of_scope"
    FAILED = "failed"


class JobPath(StrEnum):
    """The fast path scores one film, the slow path reports one study; they never share a queue."""

    SCORE = "score"
    REPORT = "report"


class JobState(StrEnum):
    """The procedure step states of UPS (PS3.4 CC.1.1)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class JobEvent(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    COMPLETE = "complete"
    POSTPONE = "postpone"
    FAIL = "fail"
    RERUN = "rerun"


TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (JobState.SCHEDULED, JobEvent.CLAIM): JobState.IN_PROGRESS,
    (JobState.IN_PROGRESS, JobEvent.CLAIM): JobState.IN_PROGRESS,  # only once the lease has run out
    (JobState.IN_PROGRESS, JobEvent.COMPLETE): JobState.COMPLETED,
    (JobState.IN_PROGRESS, JobEvent.POSTPONE): JobState.SCHEDULED,
    (JobState.IN_PROGRESS, JobEvent.FAIL): JobState.CANCELED,
    (JobState.SCHEDULED, JobEvent.FAIL): JobState.CANCELED,
    (JobState.CANCELED, JobEvent.RERUN): JobState.SCHEDULED,
}


def next_state(state: JobState, event: JobEvent) -> JobState:
    """The state that follows.

    Raises:
        PermanentError: the event is not legal in this state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise PermanentError("illegal_transition", f"a job that is {state} cannot {event}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a study or job has no result: a stable code, and a line that a radiologist understands."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmFacts:
    """One eligible film of a study: scored, failed, or neither yet."""

    analysis: Analysis | None = None
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """Everything that decides where a study stands.

    Attributes:
        received_at: when its first image arrived.
        order_priority: the requisition's.
        films: its eligible films; none makes the study out of scope.
        scope_failure: why its images are out of scope, where none is eligible.
        is_reported: whether the results of the current revision lie in the PACS.
        report_failure: why they do not and will not.
    """

    received_at: datetime
    order_priority: OrderPriority
    films: tuple[FilmFacts, ...] = ()
    scope_failure: Failure | None = None
    is_reported: bool = False
    report_failure: Failure | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a study stands on the reading list, and why."""

    state: StudyState
    score: float | None
    urgency: Urgency | None
    queue_at: datetime
    reason: str
    failure: Failure | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingPolicy:
    """A site's choices: how far scores move studies, and what is urgent."""

    order: OrderPolicy = field(default_factory=OrderPolicy)
    urgency: UrgencyPolicy = field(default_factory=UrgencyPolicy)


def leading_analysis(films: tuple[FilmFacts, ...]) -> Analysis | None:
    """The Analysis of the film with the highest score; a study is as urgent as its most urgent film."""
    analyses = [film.analysis for film in films if film.analysis]
    return max(analyses, key=lambda analysis: (analysis.score, analysis.image.sop_instance_uid), default=None)


def assess_standing(facts: StudyFacts, policy: ReadingPolicy) -> Standing:
    """Where a study stands, from its facts alone."""
    analysis = leading_analysis(facts.films)
    state, failure = _state(facts, analysis)
    score = analysis.score if analysis else None
    lead = head_start(score, policy.order)
    return Standing(
        state=state,
        score=score,
        urgency=assess_urgency(analysis, policy.urgency) if analysis else None,
        queue_at=facts.received_at - lead,
        reason=_reason(facts, analysis, lead, failure),
        failure=failure,
    )


def _state(facts: StudyFacts, analysis: Analysis | None) -> tuple[StudyState, Failure | None]:
    if not facts.films:
        return StudyState.OUT_OF_SCOPE, facts.scope_failure
    if analysis is None:
        failures = [film.failure for film in facts.films]
        return (StudyState.FAILED, failures[0]) if all(failures) else (StudyState.WAITING, None)
    if facts.report_failure:
        return StudyState.FAILED, facts.report_failure
    return (StudyState.REPORTED if facts.is_reported else StudyState.SCORED), None


def _reason(facts: StudyFacts, analysis: Analysis | None, lead: timedelta, failure: Failure | None) -> str:
    if facts.order_priority is OrderPriority.STAT:
        place = "STAT order: read first"
        return f"{place}; {_evidence(analysis)}{_gaps(facts.films)}" if analysis else place
    if analysis is None:
        return f"{failure.message}; in order of arrival" if failure else "waiting for its score"
    place = f"moved up as if received {_spell(lead)} earlier" if lead else "in order of arrival"
    return f"{_evidence(analysis)}: {place}{_gaps(facts.films)}"


def _gaps(films: tuple[FilmFacts, ...]) -> str:
    # A score speaks for the films behind it alone, and the reader must know where one is missing.
    failed = sum(1 for film in films if film.failure)
    awaited = sum(1 for film in films if not film.failure and not film.analysis)
    return "".join(
        f"; {count} of {len(films)} films {what}"
        for count, what in ((failed, "could not be scored"), (awaited, "not scored yet"))
        if count
    )


def _evidence(analysis: Analysis) -> str:
    # The number that is named is the one that moved the study.
    score = f"{analysis.score:.2f}"
    positive = analysis.positive_findings
    if not positive:
        return f"any urgent finding {score}"
    leading = positive[0]
    name = leading.type.label.lower()
    if f"{leading.probability:.2f}" == score:
        return f"{name} {score}"
    return f"any urgent finding {score}, first of all {name}"


def _spell(lead: timedelta) -> str:
    hours, minutes = divmod(round(lead.total_seconds() / 60), 60)
    if not hours:
        return f"{minutes} min" if minutes else "less than a minute"
    return f"{hours} h {minutes} min"
