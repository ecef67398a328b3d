"""Where in the chest findings lie."""

from __future__ import annotations

from worklist.finding import FindingType

IN_A_LUNG = frozenset(
    {FindingType.PNEUMOTHORAX, FindingType.PLEURAL_EFFUSION, FindingType.CONSOLIDATION, FindingType.PNEUMONIA}
)
"""Findings that lie in one lung, so that a side can be told."""
