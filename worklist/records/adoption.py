"""How a triage policy comes into force, and all that is to be read under it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import literal, or_, select
from sqlalchemy.orm import Session

from worklist.records.among import Texts, among
from worklist.records.assessing import assess_rows
from worklist.records.choices import choice_number, choices_in_force
from worklist.records.database import Database
from worklist.records.policies import (
    BUDGET_EVERY,
    is_in_force,
    keep_card,
    one_at_a_time,
    own_harms,
    policies_in_force,
    put_in_force,
    rows_in_force,
)
from worklist.records.studies import Study
from worklist.records.tables import ON_THE_LIST, PRESENT, PolicyRow, StudyRow
from worklist.site import SiteRules
from worklist.triage import TriagePolicy

_AT_ONCE = 500  # studies that one transaction brings under a new policy


def adopt_policy(database: Database, rules: SiteRules, policy: TriagePolicy) -> bool:
    """Bring a scorer's policy into force; False where card and choices are those in force already.

    What was chosen at run time takes the place of the policy's own choices. The alert budget goes by the site's own
    scores as soon as there are enough of them.
    """
    with database.read() as session:
        policy = _as_chosen(session, rules, policy)
        harms = None if is_in_force(session, policy) else own_harms(session, policy)
    with database.write() as session:
        one_at_a_time(session)
        now = database.now(session)
        policy = _as_chosen(session, rules, policy)  # somebody may have chosen meanwhile
        is_known = is_in_force(session, policy)  # by another worker, meanwhile
        if policy.own_card:
            keep_card(session, policy.own_card, now)
        if not is_known:
            own_card = policy.own_card or policy.card
            put_in_force(session, TriagePolicy.of(own_card, policy.site, harms), now)
    triage_again(database, rules)
    return not is_known


def _as_chosen(session: Session, rules: SiteRules, policy: TriagePolicy) -> TriagePolicy:
    if choice_number(session) is None:
        return policy
    card = policy.own_card or policy.card
    return TriagePolicy.of(card, choices_in_force(session, rules.start).triage.known_to(card))


def follow_budget(database: Database, rules: SiteRules) -> bool:
    """Once a day, set each alert budget by the site's last scores; whether that changed anything."""
    with database.read() as session:
        before = database.now(session) - BUDGET_EVERY
        due = [row.scorer_sha256 for row in rows_in_force(session) if row.budget_checked_at <= before]
        known = policies_in_force(session)
        harms = {sha256: own_harms(session, known[sha256]) for sha256 in due if sha256 in known}
    has_changed = False
    for sha256, own in harms.items():
        with database.write() as session:
            one_at_a_time(session)
            now = database.now(session)
            row = next(row for row in rows_in_force(session) if row.scorer_sha256 == sha256)
            row = session.get_one(PolicyRow, row.policy_id, with_for_update=True, populate_existing=True)
            if row.budget_checked_at > before or row.digest != known[sha256].digest:
                continue  # another process has looked, meanwhile
            row.budget_checked_at = now
            policy = TriagePolicy.of(known[sha256].card, known[sha256].site, own)
            if own is not None and policy != known[sha256]:
                put_in_force(session, policy, now)
                has_changed = True
    if has_changed:
        triage_again(database, rules)
    return has_changed


def triage_again(database: Database, rules: SiteRules, *, priors_too: bool = False) -> None:
    """Triage all that is to be read and was triaged by a policy which is no longer in force, or by none."""
    which = PRESENT if priors_too else ON_THE_LIST
    with database.read() as session:
        in_force = [policy.digest for policy in policies_in_force(session).values()]
        is_outdated = or_(StudyRow.policy_digest.is_(None), StudyRow.policy_digest.not_in(in_force))
        found = session.scalars(
            select(StudyRow.orthanc_id).where(which, StudyRow.score.is_not(None), is_outdated)
        ).all()
    ordered = sorted(found)
    for start in range(0, len(ordered), _AT_ONCE):
        with database.write() as session:
            now = database.now(session)
            rekey(session, rules, now, ordered[start : start + _AT_ONCE], priors_too=priors_too)


def rekey(
    session: Session, rules: SiteRules, now: datetime, orthanc_ids: Sequence[str], *, priors_too: bool = False
) -> None:
    """Judge studies anew by what is in force; of those that left the list meanwhile, priors alone."""
    rows = session.scalars(
        select(StudyRow)
        .where(among(StudyRow.orthanc_id, literal(list(orthanc_ids), Texts())))
        .order_by(StudyRow.orthanc_id)  # the order of locks, see studies.py
        .with_for_update()
    ).all()
    studies = [Study(session, row, rules, now) for row in rows]
    studies = [study for study in studies if priors_too or study.is_on_the_list]
    statuses = assess_rows(session, [study.row for study in studies], rules.start)
    for study in studies:
        study.show(statuses[study.row.orthanc_id])
