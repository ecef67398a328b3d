"""The rule behind the flag as it was in force: the site's policy and the scorer's card, for people and to the last bit.

Sentences say what the rule did with this study; below them every value stands under its own concept, so that the
policy can be read back, its digest computed again, and the class of the study explained years later.
"""

from __future__ import annotations

import functools
from datetime import timedelta

from highdicom.sr import ContentItem
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.content import CONTAINS, code, number, section, text
from worklist.card import FindingCard, Precision, ScorerCard
from worklist.finding import KNOWN_FINDINGS, FindingType
from worklist.triage import SiteChoices, Triage, TriagePolicy
from worklist.words import two_places

_HOUR = timedelta(hours=1)
_FOR_MACHINES = "The same, coded for machines:"
_YES = "yes"
_BY_FINDING = ("weights", "named_from", "critical_from")


def policy_section(policy: TriagePolicy, triage: Triage) -> list[ContentItem]:
    """The site's policy, and what it made of the study."""
    site = policy.site
    return section(
        codes.POLICY,
        text(codes.COMMENT, _what_it_did(policy, triage)),
        text(codes.COMMENT, _what_it_says(site)),
        text(
            codes.COMMENT,
            f"At most {site.alert_budget * 100:g} % of studies are to be flagged, by {policy.budget_basis}.",
        ),
        text(codes.COMMENT, _FOR_MACHINES),
        [
            number(codes.HARM, triage.harm, codes.HARM_UNIT, relationship=CONTAINS),
            number(codes.HEAD_START, triage.head_start / _HOUR, codes.HOUR, relationship=CONTAINS),
            number(codes.FLAG_FROM, policy.flag_from, codes.HARM_UNIT, relationship=CONTAINS),
            number(codes.HORIZON, site.horizon / _HOUR, codes.HOUR, relationship=CONTAINS),
            number(codes.STEEPNESS, float(site.steepness), codes.NO_UNITS, relationship=CONTAINS),
            number(codes.LEAST_HEAD_START, site.least_head_start / _HOUR, codes.HOUR, relationship=CONTAINS),
            number(codes.HIGH_HEAD_START, site.high_head_start / _HOUR, codes.HOUR, relationship=CONTAINS),
            number(codes.ALERT_BUDGET, float(site.alert_budget), codes.SHARE, relationship=CONTAINS),
            *(
                [number(codes.SITE_FLAG_FROM, site.flag_from, codes.HARM_UNIT, relationship=CONTAINS)]
                if site.flag_from is not None
                else []
            ),
        ],
        text(codes.BUDGET_BASIS, policy.budget_basis),
        text(codes.MAY_RAISE, _YES if site.language_model_may_raise else ""),
        text(codes.RAISED, _YES if triage.is_raised_by_words else ""),
        text(codes.PRIOR_RAISES, _YES if site.prior_raises else ""),
        text(codes.RAISED_BY_CHANGE, _YES if triage.is_raised_by_change else ""),
        text(codes.LEADING_FINDING, triage.leading.type.key if triage.leading else ""),
        *(text(codes.NAMED_FINDING, named.finding.type.key) for named in triage.named),
        text(codes.POLICY_SHA256, triage.policy_digest),
    )


def card_section(card: ScorerCard, site: SiteChoices | None = None) -> list[ContentItem]:
    """The scorer's card; where a site is given, with the weights and thresholds that it chose in it."""
    chosen = {name: getattr(site, name) or () for name in _BY_FINDING} if site else {}
    return list(_card_section(card, frozenset((name, key) for name, keys in chosen.items() for key in keys)))


@functools.lru_cache(maxsize=8)
def _card_section(card: ScorerCard, chosen: frozenset[tuple[str, str]]) -> tuple[ContentItem, ...]:
    """Half of a report, and the same in each: built once, and changed by nobody."""
    items = section(
        codes.CARD,
        text(codes.COMMENT, f"Weights and thresholds of {card.name} {card.version}, from {card.reference}:"),
        *(text(codes.COMMENT, _in_words(found, _chosen(found, chosen))) for found in card.findings),
        text(codes.COMMENT, _FOR_MACHINES),
        *(_weighed(found, _chosen(found, chosen)) for found in card.findings),
        *(text(codes.NOT_LOOKED_FOR, name) for name in card.not_looked_for),
        [number(codes.CARD_FLAG_FROM, float(card.flag_from), codes.HARM_UNIT, relationship=CONTAINS)],
        text(codes.REFERENCE, card.reference),
        text(codes.REFERENCE_HARMS, " ".join(map(repr, card.reference_harms))),
        text(codes.CARD_NAME, card.name),
        text(codes.CARD_VERSION, card.version),
        text(codes.CARD_SHA256, card.sha256),
    )
    return tuple(items)


def _chosen(found: FindingCard, chosen: frozenset[tuple[str, str]]) -> set[str]:
    """What of a finding's card the site chose."""
    return {name for name, key in chosen if key == found.type.key}


def kind_items(kind: FindingType) -> list[ContentItem]:
    """What must follow the code of a finding that a reader of this version could not name: its key and name."""
    if KNOWN_FINDINGS.get(kind.key) == kind:
        return []
    return [*text(codes.FINDING_KEY, kind.key), *text(codes.FINDING_LABEL, kind.label)]


def _what_it_did(policy: TriagePolicy, triage: Triage) -> str:
    harm = f"Harm of waiting {two_places(triage.harm)}, flagged from {two_places(policy.flag_from)} on"
    words = ["what the language model states"] * triage.is_raised_by_words
    change = ["the change since an earlier film"] * triage.is_raised_by_change
    if words or change:
        harm = f"{harm}, by {' and '.join((*words, *change))} alone"
    if not triage.head_start:
        return f"{harm}: the AI does not move the study."
    return f"{harm}: the AI places the study as if it had arrived {_span(triage.head_start)} earlier."


def _what_it_says(site: SiteChoices) -> str:
    if not site.horizon:
        return "At this site the AI moves no study (H is 0)."
    return (
        f"A study is placed at most {_span(site.horizon)} earlier (H), at least {_span(site.least_head_start)}, with "
        f"steepness k = {site.steepness:g}; an order of priority HIGH counts as {_span(site.high_head_start)}."
    )


def _in_words(found: FindingCard, chosen: set[str]) -> str:
    if not found.is_shown:
        return f"{found.type.label}: not found reliably, not counted."
    named = critical = ""
    if found.named_from is not None:
        right = _share(found.precision, is_chosen="named_from" in chosen)
        named = f"; {found.likelihood} from {two_places(found.named_from)} on{right}"
    if found.critical_from is not None:
        right = _share(found.critical_precision, is_chosen="critical_from" in chosen)
        critical = f"; critical from {two_places(found.critical_from)} on{right}"
    return f"{found.type.label}: weight {two_places(found.weight)}{named or '; never named'}{critical}."


def _share(precision: Precision | None, *, is_chosen: bool) -> str:
    """How often it is right; a threshold that the site chose is above the card's, and only that was measured."""
    lower = ", from the card's lower threshold on" if is_chosen else ""
    return f" ({correct_on(precision)}{lower})" if precision else ""


def correct_on(precision: Precision) -> str:
    """A precision as a natural frequency, which people read more rightly than a share."""
    return f"correct on {round(precision.value * precision.n)} of {precision.n} reference films"


def _weighed(found: FindingCard, chosen: set[str]) -> list[ContentItem]:
    """A finding as a CODE with the NUMs (TID 1404) of its card; a threshold that the site chose is said as that too."""
    weight = codes.SITE_WEIGHT if "weights" in chosen else codes.WEIGHT
    numbers = [number(weight, float(found.weight), codes.HARM_UNIT)]
    numbers += _threshold(codes.NAMED_FROM, found.named_from)
    numbers += _threshold(codes.SITE_NAMED_FROM, found.named_from if "named_from" in chosen else None)
    numbers += _precision(codes.NAMED_PRECISION, found.precision)
    numbers += _threshold(codes.CRITICAL_FROM, found.critical_from)
    numbers += _threshold(codes.SITE_CRITICAL_FROM, found.critical_from if "critical_from" in chosen else None)
    numbers += _precision(codes.CRITICAL_PRECISION, found.critical_precision)
    name = codes.WEIGHED_FINDING if found.is_shown else codes.UNRELIABLE
    return [code(name, codes.kind_of(found.type), *numbers), *kind_items(found.type)]


def _threshold(name: Code, value: float | None) -> list[ContentItem]:
    return [] if value is None else [number(name, float(value), codes.PROBABILITY_UNIT)]


def _precision(name: Code, precision: Precision | None) -> list[ContentItem]:
    if precision is None:
        return []
    parts = [number(codes.FILMS, precision.n, codes.IMAGES)]
    if precision.interval:
        low, high = map(float, precision.interval)
        parts += [number(codes.LOWER, low, codes.SHARE), number(codes.UPPER, high, codes.SHARE)]
    return [number(name, float(precision.value), codes.SHARE, *parts)]


def _span(span: timedelta) -> str:
    """A time in whole minutes: 14 h 20 min."""
    hours, minutes = divmod(round(span.total_seconds() / 60), 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or not hours))
