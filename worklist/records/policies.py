"""Triage policies: the newest of each scorer is in force, and none is ever forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from sqlalchemy import exists, func, select, text
from sqlalchemy.orm import Session

from worklist.card import ScorerCard, card_of_json, card_to_json
from worklist.finding import Analysis, merge
from worklist.reading import SYSTEM, Actor
from worklist.records.documents import readable
from worklist.records.events import EventKind, record
from worklist.records.images import is_of_instance
from worklist.records.tables import AnalysisRow, CardRow, InstanceRow, PolicyRow, ReportRow, StudyRow
from worklist.triage import SiteChoices, TriagePolicy, assess

BUDGET_STUDIES = 1000  # a site's own scores replace the card's reference from here on ...
BUDGET_EVERY = timedelta(hours=24)  # ... and are looked at this often
_AT_ONCE = 500
_LOCK = 7_319_004  # advisory lock on PostgreSQL: one process at a time says what is in force


_KNOWN: Final[dict[str, TriagePolicy]] = {}  # by digest: few, and none ever changes


@lru_cache(maxsize=32)
def _policy(document: str) -> TriagePolicy | None:
    try:
        return TriagePolicy.from_json(json.loads(document))
    except (ValueError, KeyError, TypeError):
        return None  # only a later version can read it, which must stop nothing


def policies_in_force(session: Session) -> Mapping[str, TriagePolicy]:
    """The policy in force for each scorer, by the digest of its weights."""
    return {row.scorer_sha256: policy for row in rows_in_force(session) if (policy := _policy(row.document))}


def rows_in_force(session: Session) -> Sequence[PolicyRow]:
    """The rows of the policies in force."""
    newest = select(func.max(PolicyRow.policy_id)).group_by(PolicyRow.scorer_sha256)
    return session.scalars(select(PolicyRow).where(PolicyRow.policy_id.in_(newest))).all()


def policy_of_digest(session: Session, digest: str | None) -> TriagePolicy | None:
    """The policy of a digest, in force or not."""
    if digest is None:
        return None
    if digest not in _KNOWN:  # it is the digest of all that the policy says, whichever database holds it
        row = session.scalars(select(PolicyRow).where(PolicyRow.digest == digest).limit(1)).one_or_none()
        policy = _policy(row.document) if row else None
        if policy is None:
            return None
        _KNOWN[digest] = policy
    return _KNOWN[digest]


def newest_policy(session: Session) -> TriagePolicy | None:
    """The policy that came into force last; None before any worker has started."""
    row = session.scalars(select(PolicyRow).order_by(PolicyRow.policy_id.desc()).limit(1)).one_or_none()
    return _policy(row.document) if row else None


def one_at_a_time(session: Session) -> None:
    """Wait until nobody else brings anything into force; SQLite has one writer at a time anyway.

    Before any study is locked, see the order of locks in studies.py.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def keep_card(session: Session, card: ScorerCard, now: datetime) -> None:
    """Keep a scorer's own card, which the site's choices are laid over."""
    document = json.dumps(card_to_json(card), sort_keys=True)
    row = session.get(CardRow, card.sha256)
    if row is None or row.document != document:
        session.merge(CardRow(scorer_sha256=card.sha256, document=document, kept_at=now))


def own_cards(session: Session) -> dict[str, ScorerCard]:
    """The own cards of the scorers whose policies are in force, as far as they are known, by digest."""
    kept = {row.scorer_sha256: row.document for row in session.scalars(select(CardRow))}
    cards: dict[str, ScorerCard] = {}
    for sha256, policy in policies_in_force(session).items():
        card = _card(kept[sha256]) if sha256 in kept else None
        if card is None and not policy.site.changes_cards:
            card = policy.card  # nothing was laid over it
        if card:
            cards[sha256] = card
    return cards


@lru_cache(maxsize=32)
def _card(document: str) -> ScorerCard | None:
    try:
        return card_of_json(json.loads(document))
    except (ValueError, KeyError, TypeError):
        return None  # see _policy


def policies_under(session: Session, cards: Iterable[ScorerCard], site: SiteChoices) -> list[TriagePolicy]:
    """The policies that some scorers would have under a site's choices, each with the alert budget by its own harms."""
    policies = [TriagePolicy.of(card, site.known_to(card)) for card in cards]
    harms = [own_harms(session, policy) for policy in policies]
    return [
        TriagePolicy.of(policy.own_card or policy.card, policy.site, own)
        for policy, own in zip(policies, harms, strict=True)
    ]


def is_in_force(session: Session, policy: TriagePolicy) -> bool:
    """Whether a scorer's card and the site's choices are those in force; the alert budget may have moved since."""
    known = policies_in_force(session).get(policy.card.sha256)
    return known is not None and (known.card, known.site) == (policy.card, policy.site)


def keep_policy(session: Session, policy: TriagePolicy, since: datetime) -> None:
    """Keep a policy by which a report was written, without bringing it into force over one that is."""
    if session.scalar(select(PolicyRow.policy_id).where(PolicyRow.digest == policy.digest).limit(1)) is not None:
        return
    lowest = session.scalar(select(func.min(PolicyRow.policy_id)))
    below = None if lowest is None else min(lowest, 1) - 1  # the highest of a scorer is in force
    session.add(_row(policy, since, policy_id=below))
    session.flush()


def put_last_reported_in_force(session: Session, now: datetime) -> None:
    """Bring the policies into force by which the last reports were written, of each scorer."""
    last: dict[str, str] = {}
    for row in session.execute(
        select(PolicyRow.scorer_sha256, PolicyRow.digest, func.max(ReportRow.reported_at).label("at"))
        .join(ReportRow, ReportRow.policy_digest == PolicyRow.digest)
        .group_by(PolicyRow.scorer_sha256, PolicyRow.digest)
        .order_by(func.max(ReportRow.reported_at))
    ):
        last[row.scorer_sha256] = row.digest
    for in_force in rows_in_force(session):
        digest = last.get(in_force.scorer_sha256, in_force.digest)
        policy = policy_of_digest(session, digest)
        if digest != in_force.digest and policy:
            put_in_force(session, policy, now)


def put_in_force(
    session: Session, policy: TriagePolicy, now: datetime, *, by: Actor = SYSTEM, **detail: object
) -> None:
    """Bring a scorer's policy into force."""
    session.add(_row(policy, now))
    session.flush()
    record(
        session,
        EventKind.POLICY,
        None,
        by=by,
        digest=policy.digest,
        scorer=policy.card.sha256,
        flag_from=policy.flag_from,
        budget_basis=policy.budget_basis,
        **detail,
    )


def own_harms(session: Session, policy: TriagePolicy) -> list[float] | None:
    """The harms, by this policy's weights, of the site's last studies that its scorer judged; None while too few."""
    is_judged = exists().where(
        AnalysisRow.study_orthanc_id == StudyRow.orthanc_id,
        AnalysisRow.scorer_sha256 == policy.card.sha256,
    )
    uids = session.scalars(
        select(StudyRow.orthanc_id)
        .where(StudyRow.score.is_not(None), is_judged)
        .order_by(StudyRow.received_at.desc())
        .limit(BUDGET_STUDIES)
    ).all()
    if len(uids) < BUDGET_STUDIES:
        return None
    judged: dict[str, list[Analysis]] = {}
    for start in range(0, len(uids), _AT_ONCE):
        found = session.execute(
            select(AnalysisRow.study_orthanc_id, AnalysisRow.document)
            .join(InstanceRow, is_of_instance())
            .where(
                AnalysisRow.study_orthanc_id.in_(uids[start : start + _AT_ONCE]),
                AnalysisRow.scorer_sha256 == policy.card.sha256,
                InstanceRow.scope_code.is_(None),
            )
        )
        for uid, document in found:
            analysis = readable(document)
            if analysis:
                judged.setdefault(uid, []).append(analysis)
    return [assess(merge(analyses), policy).harm for analyses in judged.values()]


def _row(policy: TriagePolicy, since: datetime, *, policy_id: int | None = None) -> PolicyRow:
    return PolicyRow(
        policy_id=policy_id,
        digest=policy.digest,
        scorer_sha256=policy.card.sha256,
        document=json.dumps(policy.to_json(), sort_keys=True),
        in_force_from=since,
        budget_checked_at=since,
    )
