"""A study's state, class, place and reason, from its facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.records import HOUR, LATERAL, NOON, OTHER_SCORER, SCORER, policy
from worklist.finding import Analysis, FindingType, merge
from worklist.order import OrderPriority
from worklist.study import (
    Failure,
    ImageFacts,
    StudyFacts,
    StudyState,
    StudyStatus,
    assess_study,
    reason_with_places,
)
from worklist.triage import SiteChoices, Urgency

MakeAnalysis = Callable[..., Analysis]

UNDECODABLE = Failure(code="undecodable", message="the pixels cannot be decoded")
NO_CHEST = Failure(code="not_chest_film", message="does not look like a chest film")
NOT_STORED = Failure(code="pacs_error", message="the PACS took no report")
POLICIES = {SCORER: policy()}


def status(
    *images: ImageFacts,
    order_priority: OrderPriority = OrderPriority.ROUTINE,
    is_reported: bool = False,
    is_prior: bool = False,
    report_failure: Failure | None = None,
) -> StudyStatus:
    """What the list shows of a study with these images."""
    facts = StudyFacts(
        received_at=NOON,
        order_priority=order_priority,
        images=images,
        is_prior=is_prior,
        scope_failure=None if images else LATERAL,
        is_reported=is_reported,
        report_failure=report_failure,
    )
    return assess_study(facts, POLICIES)


def test_a_study_without_eligible_images_is_out_of_scope() -> None:
    """It keeps its place in the queue, and says why it has no score."""
    assert status() == StudyStatus(
        state=StudyState.OUT_OF_SCOPE, analysis=None, triage=None, queue_at=NOON, reason="lateral view", failure=LATERAL
    )


def test_a_study_with_images_to_score_is_waiting() -> None:
    """One image that failed does not fail the study while another is still to be scored, and nothing is said yet."""
    for images in ([ImageFacts()], [ImageFacts(failure=UNDECODABLE), ImageFacts()]):
        assert status(*images) == StudyStatus(
            state=StudyState.WAITING, analysis=None, triage=None, queue_at=NOON, reason="", failure=None
        )


def test_a_study_of_failed_images_is_failed() -> None:
    """It keeps its place in the queue, and says what went wrong."""
    assert status(ImageFacts(failure=UNDECODABLE), ImageFacts(failure=NOT_STORED)) == StudyStatus(
        state=StudyState.FAILED,
        analysis=None,
        triage=None,
        queue_at=NOON,
        reason="the pixels cannot be decoded",
        failure=UNDECODABLE,
    )


def test_a_study_that_its_pixels_put_out_of_scope_is_not_failed() -> None:
    """It keeps its place and says why; beside an image that is broken, which somebody can mend, the study is failed."""
    assert status(ImageFacts(refusal=NO_CHEST), ImageFacts(refusal=LATERAL)) == StudyStatus(
        state=StudyState.OUT_OF_SCOPE,
        analysis=None,
        triage=None,
        queue_at=NOON,
        reason="does not look like a chest film",
        failure=NO_CHEST,
    )
    mixed = status(ImageFacts(refusal=NO_CHEST), ImageFacts(failure=UNDECODABLE))
    assert (mixed.state, mixed.failure) == (StudyState.FAILED, UNDECODABLE)
    assert status(ImageFacts(refusal=NO_CHEST), ImageFacts()).state is StudyState.WAITING


def test_a_scored_study_says_which_images_are_out_of_scope(make_analysis: MakeAnalysis) -> None:
    """It stays scored, and the reason counts what was refused apart from what failed and what is awaited."""
    scored = ImageFacts(analysis=make_analysis(0.9, {FindingType.PNEUMOTHORAX: 0.95}))
    found = status(scored, ImageFacts(refusal=NO_CHEST))
    assert (found.state, found.failure) == (StudyState.SCORED, None)
    assert found.reason == "Pneumothorax likely; 1 of 2 images out of scope"
    found = status(scored, ImageFacts(refusal=NO_CHEST), ImageFacts(failure=UNDECODABLE), ImageFacts())
    assert found.reason == (
        "Pneumothorax likely; 1 of 4 images could not be scored; 1 of 4 images out of scope; "
        "1 of 4 images not scored yet"
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
    """Class, place and reason follow from the images; the report only decides the state."""
    image = ImageFacts(analysis=make_analysis(0.9, {FindingType.PNEUMOTHORAX: 0.95, FindingType.PNEUMONIA: 0.3}))
    found = status(image, is_reported=is_reported, report_failure=report_failure)
    assert found.triage is not None
    assert (found.state, found.failure, found.triage.urgency) == (state, report_failure, Urgency.CRITICAL)
    assert (found.queue_at, found.reason) == (NOON - 16 * HOUR, "Pneumothorax likely")


def test_a_study_is_judged_by_all_its_images(make_analysis: MakeAnalysis) -> None:
    """An image with a higher score hides no finding of another, whatever their order."""
    first = make_analysis(0.75, {FindingType.PNEUMOTHORAX: 0.95}, sop_instance_uid="1.1")
    late = make_analysis(0.79, {FindingType.PNEUMOTHORAX: 0.05}, sop_instance_uid="1.2")
    for images in ([first, late], [late, first]):
        found = status(*(ImageFacts(analysis=analysis) for analysis in images))
        assert found.analysis == merge([first, late])
        assert found.triage is not None
        assert found.triage.urgency is Urgency.CRITICAL


def test_nothing_raises_a_prior(make_analysis: MakeAnalysis) -> None:
    """It stands by its arrival, whatever was found or ordered."""
    image = ImageFacts(analysis=make_analysis(0.9, {FindingType.PNEUMOTHORAX: 0.95}))
    for order_priority in OrderPriority:
        assert status(image, is_prior=True, order_priority=order_priority).queue_at == NOON


@pytest.mark.parametrize(
    ("others", "gaps"),
    [
        ([], ""),
        ([ImageFacts(failure=UNDECODABLE)], "1 of 2 images could not be scored"),
        ([ImageFacts()], "1 of 2 images not scored yet"),
        (
            [ImageFacts(failure=UNDECODABLE), ImageFacts()],
            "1 of 3 images could not be scored; 1 of 3 images not scored yet",
        ),
    ],
)
def test_the_reason_names_images_without_a_score(
    others: list[ImageFacts], gaps: str, make_analysis: MakeAnalysis
) -> None:
    """A low score says nothing of the images that have none, under STAT orders as well."""
    image = ImageFacts(analysis=make_analysis(0.05))
    assert status(image, *others).reason == gaps
    stat = status(image, *others, order_priority=OrderPriority.STAT)
    assert stat.reason == "; ".join(filter(None, ("STAT order", gaps)))


@pytest.mark.parametrize(
    ("order_priority", "reason", "hours"),
    [(OrderPriority.STAT, "STAT order", 0), (OrderPriority.HIGH, "HIGH order", 4), (OrderPriority.MEDIUM, "", 0)],
)
def test_an_order_moves_a_study_without_a_score(order_priority: OrderPriority, reason: str, hours: int) -> None:
    """Its reason is the order; what the study lacks, its state and failure still tell."""
    found = status(ImageFacts(), order_priority=order_priority)
    assert (found.reason, found.queue_at) == (reason, NOON - hours * HOUR)
    failed = status(ImageFacts(failure=UNDECODABLE), order_priority=order_priority)
    assert failed.reason == "; ".join(filter(None, (reason, UNDECODABLE.message)))


def test_a_scorer_without_a_policy_moves_nothing(make_analysis: MakeAnalysis) -> None:
    """Its Analysis is kept; a HIGH order still has the head start that this site gives."""
    image = ImageFacts(analysis=make_analysis(0.9, {FindingType.PNEUMOTHORAX: 0.95}, scorer_sha256=OTHER_SCORER))
    facts = StudyFacts(received_at=NOON, order_priority=OrderPriority.HIGH, images=(image,))
    found = assess_study(facts, POLICIES, SiteChoices(high_head_start=timedelta(hours=1)))
    assert (found.state, found.triage, found.queue_at) == (StudyState.SCORED, None, NOON - HOUR)
    assert found.analysis is not None


def test_the_reason_counts_places_and_tells_of_a_return() -> None:
    """Only upward, only where there is a reason, and in English."""
    assert reason_with_places("Effusion likely", "", 3, 24) == "Effusion likely. Up 21 places (24th by arrival)"
    assert reason_with_places("Effusion likely", "", 1, 2) == "Effusion likely. Up 1 place (2nd by arrival)"
    assert reason_with_places("Effusion likely", "", 5, 5) == "Effusion likely"
    assert reason_with_places("", "", 3, 24) == ""
    assert reason_with_places("STAT order", "new image", 1, 112) == (
        "Read before, back for a new image. STAT order. Up 111 places (112th by arrival)"
    )
    assert reason_with_places("", "new critical finding", 4, 4) == "Read before, back for a new critical finding"


def test_facts_are_values(make_analysis: MakeAnalysis) -> None:
    """The same facts give the same status, which is what makes a triage reproducible."""
    image = ImageFacts(analysis=make_analysis(0.9, {FindingType.PLEURAL_EFFUSION: 0.8}))
    assert status(image) == status(replace(image))
