"""What the policies make of studies: of one that changes, or of the whole list at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from worklist.choices import Choices
from worklist.records.choices import choices_in_force
from worklist.records.images import facts_of
from worklist.records.policies import policies_in_force
from worklist.records.reports import grounds_of_reports
from worklist.records.tables import StudyRow
from worklist.study import StudyStatus, assess_study
from worklist.triage import NO_GROUNDS, SiteChoices, TriagePolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """By what studies are judged.

    Attributes:
        policies: by the digest of the scorer's weights.
        site: the site's choices where a study has no score yet.
    """

    policies: Mapping[str, TriagePolicy]
    site: SiteChoices


def assess_rows(
    session: Session, rows: Sequence[StudyRow], start: Choices, rule: Rule | None = None
) -> dict[str, StudyStatus | None]:
    """What the list shows of some studies, by Orthanc's identifiers; None for what only a later version can read.

    Args:
        session: of the transaction.
        rows: the studies'.
        start: what holds until the first choice.
        rule: by what they are judged; by what is in force where None.
    """
    facts = facts_of(session, rows)
    rule = rule or Rule(policies=policies_in_force(session), site=choices_in_force(session, start).triage)
    hears_more = any(policy.site.hears_more for policy in rule.policies.values())
    earlier = grounds_of_reports(session, [row.orthanc_id for row in rows]) if hears_more else {}
    return {
        orthanc_id: assess_study(
            replace(known, earlier=earlier.get(orthanc_id, NO_GROUNDS)) if hears_more else known,
            rule.policies,
            rule.site,
        )
        if known
        else None
        for orthanc_id, known in facts.items()
    }


def stands_as_it_was(row: StudyRow, status: StudyStatus) -> bool:
    """Whether class and place stay as another version of Firstread found them by a policy that this one cannot read."""
    return status.analysis is not None and status.triage is None and row.urgency is not None
