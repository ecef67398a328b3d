"""The rule behind a flag, read back from the sections that dicom_sr.policy_sections writes."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.tree import Section, below, key_of, name_of, number_of
from worklist.card import FindingCard, Precision, ScorerCard
from worklist.finding import Analysis, Finding, FindingType, Side
from worklist.triage import NamedFinding, SiteChoices, Triage, TriagePolicy, Urgency


def parsed_card(section: Section) -> ScorerCard | None:
    """The scorer's card, with the weights that the site chose; None where the report has none (format 1)."""
    if section.find(codes.CARD_NAME) is None:
        return None
    return ScorerCard(
        name=section.text(codes.CARD_NAME),
        version=section.text(codes.CARD_VERSION),
        sha256=section.text(codes.CARD_SHA256),
        findings=tuple(_finding_card(item, kind) for item, kind in section.findings()),
        not_looked_for=section.texts(codes.NOT_LOOKED_FOR),
        flag_from=section.number(codes.CARD_FLAG_FROM),
        reference=section.text(codes.REFERENCE),
        reference_harms=tuple(map(float, section.text(codes.REFERENCE_HARMS).split())),
    )


def parsed_policy(section: Section, card_section: Section, card: ScorerCard) -> TriagePolicy:
    """The site's policy."""

    def chosen(name: Code) -> dict[str, float]:
        values = ((kind.key, below(item).number_or_none(name)) for item, kind in card_section.findings())
        return {key: value for key, value in values if value is not None}

    return TriagePolicy(
        card=card,
        site=SiteChoices(
            horizon=section.hours(codes.HORIZON),
            steepness=section.number(codes.STEEPNESS),
            least_head_start=section.hours(codes.LEAST_HEAD_START),
            high_head_start=section.hours(codes.HIGH_HEAD_START),
            alert_budget=section.number(codes.ALERT_BUDGET),
            weights=chosen(codes.SITE_WEIGHT),
            language_model_may_raise=section.find(codes.MAY_RAISE) is not None,
            prior_raises=section.find(codes.PRIOR_RAISES) is not None,
            flag_from=section.number_or_none(codes.SITE_FLAG_FROM),
            named_from=chosen(codes.SITE_NAMED_FROM),
            critical_from=chosen(codes.SITE_CRITICAL_FROM),
        ),
        flag_from=section.number(codes.FLAG_FROM),
        budget_basis=section.text(codes.BUDGET_BASIS),
    )


def parsed_triage(  # noqa: PLR0913 - what a triage was made of
    policy_section: Section,
    numbers: Section,
    *,
    urgency: Urgency,
    analysis: Analysis,
    policy: TriagePolicy,
    sides: Mapping[str, Side | None],
) -> Triage:
    """What the rule made of the study when the report was written; nothing of it is computed again."""
    by_key = {finding.type.key: finding for finding in analysis.findings}
    hidden = {kind.key for item, kind in numbers.findings() if name_of(item) == key_of(codes.UNRELIABLE)}
    leading = policy_section.text(codes.LEADING_FINDING)
    return Triage(
        urgency=urgency,
        harm=policy_section.number(codes.HARM),
        head_start=policy_section.hours(codes.HEAD_START),
        leading=by_key[leading] if leading else None,
        shown=tuple(finding for finding in analysis.findings if finding.type.key not in hidden),
        named=tuple(_named(by_key[key], policy, sides[key]) for key in policy_section.texts(codes.NAMED_FINDING)),
        policy_digest=policy_section.text(codes.POLICY_SHA256),
        is_raised_by_words=policy_section.find(codes.RAISED) is not None,
        is_raised_by_change=policy_section.find(codes.RAISED_BY_CHANGE) is not None,
    )


def _named(finding: Finding, policy: TriagePolicy, side: Side | None) -> NamedFinding:
    card = policy.card.of(finding.type)
    if card is None or card.precision is None:
        raise LookupError(f"it names {finding.type.key}, of which its card knows no precision")
    return NamedFinding(
        finding=finding,
        likelihood=card.likelihood,
        side=side,
        precision=card.precision,
        is_reason=policy.flags(finding, card),
    )


def _finding_card(item: Dataset, kind: FindingType) -> FindingCard:
    numbers = below(item)
    chosen = numbers.number_or_none(codes.SITE_WEIGHT)
    return FindingCard(
        type=kind,
        weight=numbers.number(codes.WEIGHT) if chosen is None else chosen,
        is_shown=name_of(item) != key_of(codes.UNRELIABLE),
        named_from=numbers.number_or_none(codes.NAMED_FROM),
        precision=_precision(numbers, codes.NAMED_PRECISION),
        critical_from=numbers.number_or_none(codes.CRITICAL_FROM),
        critical_precision=_precision(numbers, codes.CRITICAL_PRECISION),
    )


def _precision(numbers: Section, name: Code) -> Precision | None:
    item = numbers.find(name)
    if item is None:
        return None
    parts = below(item)
    low, high = parts.number_or_none(codes.LOWER), parts.number_or_none(codes.UPPER)
    interval = None if low is None or high is None else (low, high)
    return Precision(value=number_of(item), n=int(parts.number(codes.FILMS)), interval=interval)
