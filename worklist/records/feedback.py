"""What readers say of findings: events in the history of the study, which move nothing and teach no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from worklist.errors import InvalidInput
from worklist.reading import Actor
from worklist.records.events import EventKind, history, record
from worklist.records.lines import analysis_of
from worklist.records.policies import policy_of_digest
from worklist.records.tables import StudyRow


class Verdict(StrEnum):
    """What a reader says of a finding: it is so, it is not, the AI missed it, or it is on the other side."""

    AGREE = "agree"
    DISAGREE = "disagree"
    MISSED = "missed"
    SIDE = "side"


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """The last verdict of a reader on a finding of a study."""

    finding: str
    name: str
    verdict: str
    by: str
    at: datetime


def judge(session: Session, row: StudyRow, actor: Actor, finding: str, verdict: Verdict) -> None:
    """Note a reader's verdict on a finding, with what the AI said of it and by which policy.

    Args:
        session: of the transaction.
        row: the study's.
        actor: the reader.
        finding: its name, or its key.
        verdict: theirs.

    Raises:
        InvalidInput: unknown_finding, the AI says nothing of it on this study.
    """
    analysis, policy = analysis_of(session, row), policy_of_digest(session, row.policy_digest)
    told = {one.type: one for one in analysis.findings} if analysis else {}
    known = [*told, *((card.type for card in policy.card.findings) if policy else ())]
    kind = next((kind for kind in known if finding.strip().casefold() in {kind.key, kind.label.casefold()}), None)
    if kind is None or (kind not in told and verdict is not Verdict.MISSED):
        names = ", ".join(one.label for one in told) or "nothing, since it is not scored"
        raise InvalidInput("unknown_finding", f"the AI says nothing of that finding on this study; it tells {names}")
    card = policy.card.of(kind) if policy else None
    record(
        session,
        EventKind.FEEDBACK,
        row,
        by=actor,
        finding=kind.key,
        name=kind.label,
        verdict=verdict,
        probability=told[kind].probability if kind in told else None,
        is_named=bool(card and kind in told and card.may_name(told[kind])),
        scorer=analysis.scorer.sha256 if analysis else None,
        policy=row.policy_digest,
        revision=row.revision,
    )


def last_feedback(session: Session, orthanc_id: str) -> Sequence[Feedback]:
    """The last verdict of each reader on each finding, oldest first."""
    last: dict[tuple[str, str], Feedback] = {}
    for event in history(session, orthanc_id):
        if event.kind == EventKind.FEEDBACK:
            said = event.detail
            key = (said["finding"], event.actor)
            last.pop(key, None)
            last[key] = Feedback(
                finding=said["finding"], name=said["name"], verdict=said["verdict"], by=event.actor, at=event.at
            )
    return list(last.values())
