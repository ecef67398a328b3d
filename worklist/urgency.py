"""From an Analysis to an urgency class."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worklist.finding import Analysis, FindingType


class Urgency(StrEnum):
    """How soon a study should be read: ACR categories 1, 2 and 3 (CID 7035)."""

    CRITICAL = "critical"
    URGENT = "urgent"
    ROUTINE = "routine"

    @property
    def acr_category(self) -> int:
        """The ACR category of actionable findings, 1 to 3."""
        return {Urgency.CRITICAL: 1, Urgency.URGENT: 2, Urgency.ROUTINE: 3}[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class UrgencyPolicy:
    """A site's thresholds.

    Attributes:
        urgent_threshold: score from which a study is urgent; None takes the model's operating point.
        critical_threshold: score from which a study is critical.
        critical_findings: findings that make a study critical by themselves ...
        critical_finding_threshold: ... from this probability on.
    """

    urgent_threshold: float | None = None
    critical_threshold: float = 0.8
    critical_findings: frozenset[FindingType] = frozenset({FindingType.PNEUMOTHORAX})
    critical_finding_threshold: float = 0.6

    def urgent_from(self, analysis: Analysis) -> float:
        """The score from which an Analysis is urgent."""
        return analysis.threshold if self.urgent_threshold is None else self.urgent_threshold


def assess_urgency(analysis: Analysis, policy: UrgencyPolicy) -> Urgency:
    """The urgency class of an Analysis; never lower for a higher score or probability."""
    if analysis.score >= policy.critical_threshold or any(
        finding.type in policy.critical_findings and finding.probability >= policy.critical_finding_threshold
        for finding in analysis.findings
    ):
        return Urgency.CRITICAL
    return Urgency.URGENT if analysis.score >= policy.urgent_from(analysis) else Urgency.ROUTINE
