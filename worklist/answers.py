"""A finding and a model as JSON values: the same on the reading list, of an upload, and of a report read back."""

from __future__ import annotations

from typing import Any

from worklist.finding import Algorithm, Finding, Side


def finding_answer(finding: Finding, *, side: Side | None, is_named: bool, is_shown: bool) -> dict[str, Any]:
    """One finding that was looked for.

    Args:
        finding: what was found.
        side: the side of it that may be told.
        is_named: whether it may be put into words.
        is_shown: whether it may be shown to people at all.
    """
    return {
        "name": finding.type.label,
        "code": finding.type.code.value,
        "scheme": finding.type.code.scheme,
        "probability": finding.probability,
        "threshold": finding.threshold,
        "side": side.value if side else None,
        "named": is_named,
        "shown": is_shown,
    }


def model_answer(algorithm: Algorithm) -> dict[str, Any]:
    """What computed the probabilities; sha256 is its weights'."""
    return {"name": algorithm.name, "version": algorithm.version, "sha256": algorithm.sha256}
