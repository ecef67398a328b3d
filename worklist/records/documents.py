"""An Analysis as a JSON document with a version, so that it can be read years later and beside newer ones.

A document says everything of its findings, code and name included: a kind that this version does not know is read,
kept and written as it came. Fields that a later version adds are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any

from worklist.account import account_of_json, account_to_json
from worklist.comparison import comparison_of_json, comparison_to_json
from worklist.finding import (
    Algorithm,
    Analysis,
    Code,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Side,
    Snippet,
)
from worklist.step import step_of_json

VERSION = 2
_KEPT_IN_MEMORY = 4096


def analysis_to_document(analysis: Analysis) -> str:
    """The document; every float survives exactly."""
    values = asdict(analysis) | {
        "version": VERSION,
        "completed_at": analysis.completed_at.isoformat(),
        "account": account_to_json(analysis.account) if analysis.account else None,
        "prior": comparison_to_json(analysis.prior) if analysis.prior else None,
    }
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def analysis_of_document(document: str) -> Analysis:
    """The Analysis of a document of this version or a later one.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    values = json.loads(document)
    return Analysis(
        images=tuple(_of(ImageReference, image) for image in values["images"]),
        scorer=_of(Algorithm, values["scorer"]),
        findings=tuple(_finding(finding) for finding in values["findings"]),
        score=values["score"],
        threshold=values["threshold"],
        completed_at=datetime.fromisoformat(values["completed_at"]),
        elapsed_ms=values["elapsed_ms"],
        quality=tuple(_of(QualityNote, note) for note in values["quality"]),
        explanation=values["explanation"],
        explainer=_of(Algorithm, values["explainer"]) if values["explainer"] else None,
        prompt_version=values["prompt_version"],
        snippets=tuple(_of(Snippet, snippet) for snippet in values["snippets"]),
        account=account_of_json(values["account"]) if values.get("account") else None,
        prior=comparison_of_json(values["prior"]) if values.get("prior") else None,
        steps=tuple(step_of_json(step) for step in values.get("steps", ())),
    )


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def readable(document: str) -> Analysis | None:
    """The Analysis of a document; None for one that only a later version can read, which must stop nothing."""
    try:
        return analysis_of_document(document)
    except (ValueError, KeyError, TypeError):
        return None


def _finding(values: Mapping[str, Any]) -> Finding:
    kind = values["type"]
    return Finding(
        type=FindingType(key=kind["key"], code=_of(Code, kind["code"]), label=kind["label"]),
        probability=values["probability"],
        threshold=values["threshold"],
        side=Side(values["side"]) if values["side"] in set(Side) else None,
        region=_of(Region, values["region"]) if values["region"] else None,
        sop_instance_uid=values.get("sop_instance_uid", ""),
    )


def _of(kind: type[Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of the frozen dataclasses above
    return kind(**{name: values[name] for name in kind.__dataclass_fields__ if name in values})
