"""A study as the reading list shows it: its state, class, place and reason, from the facts of its images alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from worklist.finding import Analysis, merge
from worklist.order import OrderPriority
from worklist.reading import Reading, ReadingState, prior, unread
from worklist.triage import NO_GROUNDS, Grounds, SiteChoices, Triage, TriagePolicy, Urgency, assess, queue_at


class StudyState(StrEnum):
    """How far Firstread has come with a study."""

    WAITING = "waiting"
    SCORED = "scored"
    REPORTED = "reported"
    OUT_OF_SCOPE = "out_of_scope"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a study or job has no result: a stable code, and a line that a radiologist understands."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """One eligible image of a study: scored, failed, out of scope by its pixels (refusal), or none of these yet."""

    analysis: Analysis | None = None
    failure: Failure | None = None
    refusal: Failure | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """Everything that decides what the list shows of a study, but for its reading.

    Attributes:
        received_at: when the work arrived: its first image, or the one that brought a read study back.
        order_priority: the requisition's.
        images: its eligible images; none makes the study out of scope.
        is_prior: whether it is taken for a prior, which nothing raises.
        scope_failure: why its images are out of scope, where none is eligible.
        is_reported: whether the results of the current revision lie in the PACS.
        report_failure: why they do not and will not.
        earlier: what spoke for it beside its scores in any of its revisions.
    """

    received_at: datetime
    order_priority: OrderPriority
    images: tuple[ImageFacts, ...] = ()
    is_prior: bool = False
    scope_failure: Failure | None = None
    is_reported: bool = False
    report_failure: Failure | None = None
    earlier: Grounds = NO_GROUNDS


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyStatus:
    """What the list shows of a study, and why.

    Attributes:
        state: how far Firstread has come.
        analysis: what the scorer says of all its images together.
        triage: what the rule makes of that; None where nothing was scored.
        queue_at: the moment by which it is sorted.
        reason: in a radiologist's words, without the places that it moved up; empty where there is none.
        failure: why it has no result.
    """

    state: StudyState
    analysis: Analysis | None
    triage: Triage | None
    queue_at: datetime
    reason: str
    failure: Failure | None


def assess_study(
    facts: StudyFacts, policies: Mapping[str, TriagePolicy], site: SiteChoices | None = None
) -> StudyStatus:
    """What the list shows of a study.

    Args:
        facts: of the study.
        policies: those in force, by the digest of the scorer's weights.
        site: the site's choices where no policy is known yet.
    """
    analyses = [image.analysis for image in facts.images if image.analysis]
    analysis = merge(analyses) if analyses else None
    policy = policies.get(analysis.scorer.sha256) if analysis else None
    triage = assess(analysis, policy, facts.earlier) if analysis and policy else None
    state, failure = _state(facts, analysis)
    choices = policy.site if policy else site or SiteChoices()
    return StudyStatus(
        state=state,
        analysis=analysis,
        triage=triage,
        queue_at=(
            facts.received_at if facts.is_prior else queue_at(facts.received_at, facts.order_priority, triage, choices)
        ),
        reason=_reason(facts, analysis, triage, failure),
        failure=failure,
    )


def first_reading(
    study_date: date | None, received_at: datetime, now: datetime, prior_after: timedelta | None
) -> Reading:
    """The reading of a study that has arrived: unread, or a prior where its study date lies too far back.

    Args:
        study_date: Study Date (0008,0020), None where it is absent or unreadable: such a study is work.
        received_at: when its first image arrived.
        now: the present moment.
        prior_after: age from which a study is taken for a prior; None takes none for one.
    """
    return prior(now) if is_old_study(study_date, received_at, prior_after) else unread(now)


def is_old_study(study_date: date | None, received_at: datetime, prior_after: timedelta | None) -> bool:
    """Whether a study's date lies so far before its arrival that it is taken for a prior."""
    return prior_after is not None and study_date is not None and received_at.date() - study_date > prior_after


def reading_after(  # noqa: PLR0913 - what the decision depends on
    reading: Reading,
    *,
    new_image: bool,
    was: Urgency | None,
    now_is: Urgency | None,
    now: datetime,
    is_old: bool = False,
) -> Reading:
    """The reading after an image came in or the triage changed: what was read comes back for news that matter."""
    if reading.state is not ReadingState.READ:
        return reading
    if new_image:
        return reading.come_back("new image", now, is_old=is_old)
    is_new_emergency = now_is is Urgency.CRITICAL and was is not Urgency.CRITICAL
    return reading.come_back("new critical finding", now, is_old=is_old) if is_new_emergency else reading


def reason_with_places(
    reason: str, returned_for: str, rank: int, rank_by_arrival: int, *, is_uid_shared: bool = False
) -> str:
    """The reason, and how many places the study moved up; both counted from 1 over what is to be read.

    Empty where there is nothing to say: the study stands where it arrived. A Study Instance UID that another patient
    bears too is said first: a viewer may show the images of both.
    """
    risen = rank_by_arrival - rank
    places = f"Up {risen} place{'s' if risen > 1 else ''} ({_ordinal(rank_by_arrival)} by arrival)"
    back = f"Read before, back for a {returned_for}" if returned_for else ""
    doubt = _SHARED_UID if is_uid_shared else ""
    parts = [doubt, back, reason, places if risen > 0 and reason else ""]
    return ". ".join(part for part in parts if part)


_SHARED_UID = "Another patient has the same Study Instance UID, and a viewer shows both: check name and ID"


def _state(facts: StudyFacts, analysis: Analysis | None) -> tuple[StudyState, Failure | None]:
    if not facts.images:
        return StudyState.OUT_OF_SCOPE, facts.scope_failure
    if analysis is None:
        return _unscored(facts.images)
    if facts.report_failure:
        return StudyState.FAILED, facts.report_failure
    return (StudyState.REPORTED if facts.is_reported else StudyState.SCORED), None


def _unscored(images: tuple[ImageFacts, ...]) -> tuple[StudyState, Failure | None]:
    failures = [image.failure for image in images if image.failure]
    refusals = [image.refusal for image in images if image.refusal]
    if len(failures) + len(refusals) < len(images):
        return StudyState.WAITING, None
    # What is broken can be mended, so it is told before what is not looked at.
    return (StudyState.FAILED, failures[0]) if failures else (StudyState.OUT_OF_SCOPE, refusals[0])


def _reason(facts: StudyFacts, analysis: Analysis | None, triage: Triage | None, failure: Failure | None) -> str:
    stated = {OrderPriority.STAT: "STAT order", OrderPriority.HIGH: "HIGH order"}.get(facts.order_priority, "")
    if analysis is None:
        return "; ".join(filter(None, (stated, failure.message if failure else "")))
    return "; ".join(filter(None, (stated, triage.evidence if triage else "", *_gaps(facts.images))))


def _gaps(images: tuple[ImageFacts, ...]) -> list[str]:
    # A score speaks for the images behind it alone, and the reader must know where one is missing.
    failed = sum(1 for image in images if image.failure)
    refused = sum(1 for image in images if image.refusal)
    awaited = sum(1 for image in images if not (image.failure or image.refusal or image.analysis))
    return [
        f"{count} of {len(images)} images {what}"
        for count, what in (
            (failed, "could not be scored"),
            (refused, "out of scope"),
            (awaited, "not scored yet"),
        )
        if count
    ]


def _ordinal(number: int) -> str:
    tens = number % 100
    suffix = "th" if 10 < tens < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")  # noqa: PLR2004 - English
    return f"{number}{suffix}"
