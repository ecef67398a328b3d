"""Urgency classes: where they begin, and that more evidence never lowers one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.finding import Analysis, FindingType
from worklist.urgency import Urgency, UrgencyPolicy, assess_urgency

MakeAnalysis = Callable[..., Analysis]
RANK = {Urgency.ROUTINE: 0, Urgency.URGENT: 1, Urgency.CRITICAL: 2}

PROBABILITIES = st.floats(0, 1)
FINDINGS = st.dictionaries(st.sampled_from(FindingType), PROBABILITIES)
POLICIES = st.builds(
    UrgencyPolicy,
    urgent_threshold=st.none() | PROBABILITIES,
    critical_threshold=PROBABILITIES,
    critical_findings=st.frozensets(st.sampled_from(FindingType)),
    critical_finding_threshold=PROBABILITIES,
)


@pytest.mark.parametrize(
    ("score", "findings", "expected"),
    [
        (0.0, {}, Urgency.ROUTINE),
        (math.nextafter(0.5, 0), {}, Urgency.ROUTINE),
        (0.5, {}, Urgency.URGENT),
        (math.nextafter(0.8, 0), {}, Urgency.URGENT),
        (0.8, {}, Urgency.CRITICAL),
        (0.5, {FindingType.PNEUMOTHORAX: 0.6}, Urgency.CRITICAL),
        (0.5, {FindingType.PNEUMOTHORAX: math.nextafter(0.6, 0)}, Urgency.URGENT),
        (0.1, {FindingType.PNEUMOTHORAX: 0.6}, Urgency.CRITICAL),
        (0.5, {FindingType.CARDIOMEGALY: 0.99}, Urgency.URGENT),
    ],
)
def test_default_thresholds(
    score: float, findings: dict[FindingType, float], expected: Urgency, make_analysis: MakeAnalysis
) -> None:
    """Urgent from the model's operating point, critical from 0.8, or from 0.6 for a pneumothorax."""
    assert assess_urgency(make_analysis(score, findings), UrgencyPolicy()) is expected


@pytest.mark.parametrize(("score", "expected"), [(0.29, Urgency.ROUTINE), (0.3, Urgency.URGENT)])
def test_a_site_may_set_the_operating_point(score: float, expected: Urgency, make_analysis: MakeAnalysis) -> None:
    """A site's own threshold replaces the model's."""
    assert assess_urgency(make_analysis(score), UrgencyPolicy(urgent_threshold=0.3)) is expected


@given(st.tuples(PROBABILITIES, PROBABILITIES), FINDINGS, FINDINGS, POLICIES)
def test_more_evidence_never_lowers_the_class(
    make_analysis: MakeAnalysis,
    scores: tuple[float, float],
    findings: dict[FindingType, float],
    others: dict[FindingType, float],
    policy: UrgencyPolicy,
) -> None:
    """Raising the score, or any finding's probability, keeps the urgency or raises it."""
    low, high = sorted(scores)
    raised = {kind: max(p, others.get(kind, 0)) for kind, p in findings.items()}
    before = assess_urgency(make_analysis(low, findings), policy)
    for analysis in (make_analysis(high, findings), make_analysis(low, raised), make_analysis(high, raised)):
        assert RANK[assess_urgency(analysis, policy)] >= RANK[before]


def test_classes_are_the_acr_categories() -> None:
    """Critical, urgent and routine are the ACR categories 1, 2 and 3."""
    assert {urgency: urgency.acr_category for urgency in Urgency} == {
        Urgency.CRITICAL: 1,
        Urgency.URGENT: 2,
        Urgency.ROUTINE: 3,
    }
