"""Triage policies: the newest of each scorer is in force, and none is ever forgotten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worklist.records.events import EventKind, record
from worklist.records.tables import PolicyRow, StudyRow
from worklist.triage import TriagePolicy

BUDGET_STUDIES = 1000  # a site's own scores replace the card's reference from here on ...
_BUDGET_EVERY = timedelta(hours=24)  # ... and are looked at this often


@lru_cache(maxsize=32)
def _policy(document: str) -> TriagePolicy:
    return TriagePolicy.from_json(json.loads(document))


def policies_in_force(session: Session) -> Mapping[str, TriagePolicy]:
    """The policy in force for each scorer, by the digest of its weights."""
    newest = select(func.max(PolicyRow.policy_id)).group_by(PolicyRow.scorer_sha256)
    return {
        row.scorer_sha256: _policy(row.document)
        for row in session.scalars(select(PolicyRow).where(PolicyRow.policy_id.in_(newest)))
    }


def policy_of_digest(session: Session, digest: str | None) -> TriagePolicy | None:
    """The policy of a digest, in force or not."""
    row = session.scalars(select(PolicyRow).where(PolicyRow.digest == digest).limit(1)).one_or_none()
    return _policy(row.document) if row else None


def newest_policy(session: Session) -> TriagePolicy | None:
    """The policy that came into force last; None before any worker has started."""
    row = session.scalars(select(PolicyRow).order_by(PolicyRow.policy_id.desc()).limit(1)).one_or_none()
    return _policy(row.document) if row else None


def put_in_force(session: Session, policy: TriagePolicy, now: datetime) -> bool:
    """Bring a scorer's policy into force; False where card and choices are those in force already.

    The alert budget goes by the site's own scores as soon as there are enough of them.
    """
    known = policies_in_force(session).get(policy.card.sha256)
    if known and (known.card, known.site) == (policy.card, policy.site):
        return False
    _insert(session, TriagePolicy.of(policy.card, policy.site, _own_harms(session)), now)
    return True


def follow_budget(session: Session, now: datetime) -> list[TriagePolicy]:
    """Once a day, set each policy's alert budget by the site's last scores; returns what changed."""
    due = (
        select(PolicyRow.scorer_sha256)
        .group_by(PolicyRow.scorer_sha256)
        .having(func.max(PolicyRow.in_force_from) < now - _BUDGET_EVERY)
    )
    changed = []
    for sha256 in session.scalars(due).all():
        known, harms = policies_in_force(session)[sha256], _own_harms(session)
        policy = TriagePolicy.of(known.card, known.site, harms) if harms is not None else known
        if policy.flag_from != known.flag_from:
            _insert(session, policy, now)
            changed.append(policy)
    return changed


def _own_harms(session: Session) -> list[float] | None:
    harms = session.scalars(
        select(StudyRow.harm)
        .where(StudyRow.harm.is_not(None))
        .order_by(StudyRow.received_at.desc())
        .limit(BUDGET_STUDIES)
    ).all()
    return [harm for harm in harms if harm is not None] if len(harms) >= BUDGET_STUDIES else None


def _insert(session: Session, policy: TriagePolicy, now: datetime) -> None:
    session.add(
        PolicyRow(
            digest=policy.digest,
            scorer_sha256=policy.card.sha256,
            document=json.dumps(policy.to_json(), sort_keys=True),
            in_force_from=now,
        )
    )
    session.flush()
    record(session, EventKind.POLICY, None, digest=policy.digest, scorer=policy.card.sha256, flag_from=policy.flag_from)
