"""The one triage rule: from what a scorer says of a study to its class and its place.

harm = the highest over findings of (weight x calibrated probability)
head_start = H * max(0, 2 * sigmoid(k * (logit harm - logit pivot)) - 1), zero below the least head start that counts

Class and place both follow from the harm, so they cannot disagree: urgent is what has a head start. A study is
critical, and its head start is H, where an emergency finding reaches a threshold whose predictive value is known.
Weights and thresholds come from the scorer's card, or from the site. More images or higher probabilities never lower
a study.

Where a site allows it, a finding that a language model states on the film, or whose score is clearly worse than on an
earlier film, counts as a harm at which a study is just flagged, if the finding could flag one at all: it raises to the
least flag, never further, and lowers nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from worklist.account import Change
from worklist.card import FindingCard, Precision, ScorerCard, card_of_json, card_to_json
from worklist.errors import InvalidInput
from worklist.finding import Analysis, Finding, Side
from worklist.order import OrderPriority

_NEVER_ONE = 1e-9
_THRESHOLDS = ("flag_from", "named_from", "critical_from")  # of a site


class Urgency(StrEnum):
    """What a study is flagged as. NONE says that nothing was flagged, which is never a negative."""

    CRITICAL = "critical"
    URGENT = "urgent"
    NONE = "none"

    @property
    def acr_category(self) -> int | None:
        """The ACR category of actionable findings (CID 7035); None where nothing is flagged."""
        return {Urgency.CRITICAL: 1, Urgency.URGENT: 2}.get(self)

    @property
    def label(self) -> str:
        """The flag in words, the same on every page and in every document."""
        return {
            Urgency.CRITICAL: "Critical finding suspected",
            Urgency.URGENT: "Urgent finding suspected",
            Urgency.NONE: "No AI flag",
        }[self]


NOT_ASSESSED = "Not assessed"


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteChoices:
    """What a site may choose of the triage rule.

    Attributes:
        horizon: H, the longest head start; zero leaves the order to arrival.
        steepness: k, how fast the head start grows with the log odds of the harm.
        least_head_start: a shorter one counts as none.
        high_head_start: the head start of an order of priority HIGH.
        alert_budget: the largest share of studies that may be flagged, 0 to 1.
        weights: harm of waiting by finding key, instead of the card's.
        language_model_may_raise: whether what a language model states on a film may flag its study.
        prior_raises: whether a change for the worse since an earlier film may.
        flag_from: harm from which a study is flagged, instead of the card's; the alert budget may still raise it.
        named_from: probability from which a finding is put into words, by its key; never below the card's, from which
            on it is known how often such words are right.
        critical_from: probability from which an emergency finding makes a study critical; the same goes for it.
    """

    horizon: timedelta = timedelta(hours=16)
    steepness: float = 1.5
    least_head_start: timedelta = timedelta(minutes=30)
    high_head_start: timedelta = timedelta(hours=4)
    alert_budget: float = 0.2
    weights: Mapping[str, float] | None = None
    language_model_may_raise: bool = False
    prior_raises: bool = False
    flag_from: float | None = None
    named_from: Mapping[str, float] | None = None
    critical_from: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        """Refuse choices that contradict each other."""
        zero = timedelta(0)
        if self.horizon < zero or self.least_head_start < zero or self.high_head_start < zero:
            raise ValueError("head starts are never negative")
        if self.horizon and not self.least_head_start:
            raise ValueError("the least head start must be above 0, or a flagged study might stand where it arrived")
        if self.horizon and self.least_head_start >= self.horizon:
            raise ValueError(
                f"the least head start ({_hours(self.least_head_start)}) must be shorter than the longest, "
                f"H ({_hours(self.horizon)}), or no study would ever move"
            )
        if self.horizon and self.high_head_start > self.horizon:
            raise ValueError(
                f"the head start of HIGH orders ({_hours(self.high_head_start)}) must not exceed the longest, "
                f"H ({_hours(self.horizon)})"
            )
        if not 0 < self.steepness < math.inf:
            raise ValueError(f"the steepness must be above 0, got {self.steepness}")
        if not 0 < self.alert_budget <= 1:
            raise ValueError(f"the alert budget is a share above 0 and at most 1, got {self.alert_budget}")
        self._check_card_values()
        for name in ("weights", "named_from", "critical_from"):
            if not getattr(self, name):
                object.__setattr__(self, name, None)

    def _check_card_values(self) -> None:
        if any(not 0 <= weight <= 1 for weight in (self.weights or {}).values()):
            raise ValueError("weights lie between 0 and 1")
        if self.flag_from is not None and not 0 < self.flag_from < 1:
            raise ValueError(f"the harm from which a study is flagged lies between 0 and 1, got {self.flag_from}")
        if any(
            not 0 < limit <= 1 for limits in (self.named_from, self.critical_from) for limit in (limits or {}).values()
        ):
            raise ValueError("thresholds are above 0 and at most 1")

    def known_to(self, card: ScorerCard) -> SiteChoices:
        """As much of it as a scorer's card can follow: a choice may be of another scorer's findings."""
        cards = {found.type.key: found for found in card.findings}

        def above(own: str) -> dict[str, float]:
            chosen: Mapping[str, float] = getattr(self, own) or {}
            least = {key: getattr(cards[key], own) for key in chosen if key in cards}
            return {key: chosen[key] for key, limit in least.items() if limit is not None and chosen[key] > limit}

        return replace(
            self,
            weights={key: weight for key, weight in (self.weights or {}).items() if key in cards},
            named_from=above("named_from"),
            critical_from=above("critical_from"),
        )

    def laid_over(self, card: ScorerCard) -> ScorerCard:
        """A scorer's card with the site's weights and thresholds in the place of its own.

        Raises:
            ValueError: nothing that is shown would have a weight.
        """
        weights, named_from, critical_from = self.weights or {}, self.named_from or {}, self.critical_from or {}
        return replace(
            card,
            findings=tuple(
                replace(
                    found,
                    weight=weights.get(found.type.key, found.weight),
                    named_from=named_from.get(found.type.key, found.named_from),
                    critical_from=critical_from.get(found.type.key, found.critical_from),
                )
                for found in card.findings
            ),
        )

    @property
    def changes_cards(self) -> bool:
        """Whether it changes anything of a scorer's card."""
        return bool(self.weights or self.named_from or self.critical_from)

    @property
    def hears_more(self) -> bool:
        """Whether anything beside the scores may flag a study."""
        return self.language_model_may_raise or self.prior_raises


@dataclass(frozen=True, kw_only=True, slots=True)
class Grounds:
    """What speaks for a study beside its scores, as keys of findings; each counts only where the site allows it.

    Attributes:
        stated: stated on the film by a language model that was shown nothing else.
        worse: with a score that is new or worsened since an earlier film, both by the same weights.
    """

    stated: frozenset[str] = frozenset()
    worse: frozenset[str] = frozenset()

    @classmethod
    def of(cls, analysis: Analysis) -> Grounds:
        """Those of an Analysis."""
        account, prior = analysis.account, analysis.prior
        statements = account.statements if account and account.saw_film_alone else ()
        return cls(
            stated=frozenset(one.type.key for one in statements),
            worse=frozenset(one.type.key for one in prior.compared if one.change in _WORSE) if prior else frozenset(),
        )

    def __or__(self, other: Grounds) -> Grounds:
        """Both together: what raised a study in one revision goes on to do so in the next."""
        return Grounds(stated=self.stated | other.stated, worse=self.worse | other.worse)


_WORSE = {Change.NEW, Change.WORSENED}
NO_GROUNDS = Grounds()


@dataclass(frozen=True, kw_only=True, slots=True)
class TriagePolicy:
    """Everything that the rule depends on, in force from a moment on; its digest stands in every result.

    Attributes:
        card: the scorer's, with the site's weights and thresholds in it.
        site: the site's choices.
        flag_from: harm from which a study is flagged: the card's or the site's, or higher where the alert budget asks
            for it.
        budget_basis: on which scores the alert budget was computed, in words.
        own_card: the scorer's without the site's choices; None where only the policy is known, as after it was read
            back.
        digest: SHA-256 of the policy as JSON.
    """

    card: ScorerCard
    site: SiteChoices
    flag_from: float
    budget_basis: str
    own_card: ScorerCard | None = field(default=None, compare=False, repr=False)
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the digest once: every line of every page states it."""
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
        object.__setattr__(self, "digest", digest)

    def __hash__(self) -> int:
        """That of the digest."""
        return hash(self.digest)

    @classmethod
    def of(cls, card: ScorerCard, site: SiteChoices, harms: Sequence[float] | None = None) -> TriagePolicy:
        """The policy of a site with a scorer.

        Args:
            card: the scorer's.
            site: the site's choices.
            harms: those of the site's own last studies, as many as count; None takes the card's reference.

        Raises:
            InvalidInput: unknown_finding, the site weighs a finding that the scorer does not know.
        """
        chosen = dict(site.weights or {})
        unknown = sorted(set(chosen) - {found.type.key for found in card.findings})
        if unknown:
            raise InvalidInput(
                "unknown_finding",
                f"FIRSTREAD_WEIGHTS names {', '.join(unknown)}, which {card.name} does not look for; it knows "
                f"{', '.join(found.type.key for found in card.findings)}",
            )
        try:
            weighed = site.laid_over(card)
        except ValueError as error:
            raise InvalidInput("no_weights", f"FIRSTREAD_WEIGHTS: {error}: give at least one above 0") from error
        basis = f"the last {len(harms)} studies of this site" if harms is not None else f"the card: {card.reference}"
        limit = _exceeded_by(harms if harms is not None else card.reference_harms, site.alert_budget)
        return cls(
            card=weighed,
            site=site,
            flag_from=max(card.flag_from if site.flag_from is None else site.flag_from, limit),
            budget_basis=basis,
            own_card=card,
        )

    @property
    def pivot(self) -> float:
        """The harm at which the head start begins to grow, so that it is the least that counts at flag_from."""
        return _sigmoid(_logit(self.flag_from) - self._least_excess / self.site.steepness)

    def flags(self, finding: Finding, card: FindingCard) -> bool:
        """Whether a finding flags its study by itself."""
        return card.is_critical(finding) or card.weight * finding.probability >= self.flag_from

    def words_flag(self, grounds: Grounds) -> bool:
        """Whether findings that a language model states flag a study: one of them must be able to, were it certain."""
        able = {card.type.key for card in self.card.findings if card.weight >= self.flag_from}
        return self.site.language_model_may_raise and not able.isdisjoint(grounds.stated)

    def change_flags(self, grounds: Grounds) -> bool:
        """Whether findings that are worse than on an earlier film flag a study: as words do, and only shown ones."""
        able = {card.type.key for card in self.card.findings if card.is_shown and card.weight >= self.flag_from}
        return self.site.prior_raises and not able.isdisjoint(grounds.worse)

    def head_start(self, harm: float) -> timedelta:
        """How much earlier than it arrived a study of this harm is queued; zero below flag_from."""
        site = self.site
        if harm < self.flag_from or not site.horizon:
            return timedelta(0)
        excess = site.steepness * (_logit(harm) - _logit(self.flag_from)) + self._least_excess
        share = math.tanh(excess / 2)  # tanh(x / 2) is 2 * sigmoid(x) - 1
        grown = timedelta(seconds=round(site.horizon.total_seconds() * share))
        return min(max(grown, site.least_head_start), site.horizon)

    @property
    def _least_excess(self) -> float:
        # k * (logit flag_from - logit pivot): what makes the head start at flag_from the least that counts.
        return 2 * math.atanh(self.site.least_head_start / self.site.horizon) if self.site.horizon else 0.0

    def to_json(self) -> dict[str, Any]:
        """The policy as JSON values."""
        return {
            "card": card_to_json(self.card),
            "horizon_s": self.site.horizon.total_seconds(),
            "steepness": self.site.steepness,
            "least_head_start_s": self.site.least_head_start.total_seconds(),
            "high_head_start_s": self.site.high_head_start.total_seconds(),
            "alert_budget": self.site.alert_budget,
            "weights": dict(self.site.weights) if self.site.weights else None,
            "flag_from": self.flag_from,
            "budget_basis": self.budget_basis,
            # Only where it is so: a policy of before these choices keeps its digest.
            **({"language_model_may_raise": True} if self.site.language_model_may_raise else {}),
            **({"prior_raises": True} if self.site.prior_raises else {}),
            **{f"site_{name}": value for name in _THRESHOLDS if (value := getattr(self.site, name)) is not None},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TriagePolicy:
        """The policy of to_json."""
        return cls(
            card=card_of_json(values["card"]),
            site=SiteChoices(
                horizon=timedelta(seconds=values["horizon_s"]),
                steepness=values["steepness"],
                least_head_start=timedelta(seconds=values["least_head_start_s"]),
                high_head_start=timedelta(seconds=values["high_head_start_s"]),
                alert_budget=values["alert_budget"],
                weights=values["weights"],
                language_model_may_raise=values.get("language_model_may_raise", False),
                prior_raises=values.get("prior_raises", False),
                **{name: values.get(f"site_{name}") for name in _THRESHOLDS},
            ),
            flag_from=values["flag_from"],
            budget_basis=values["budget_basis"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFinding:
    """A finding that may be put into words, how often such words are right, and whether it alone flags the study.

    side is the one that may be told with it (Analysis.side_of).
    """

    finding: Finding
    likelihood: str
    side: Side | None
    precision: Precision
    is_reason: bool = True

    @property
    def words(self) -> str:
        """The finding in a radiologist's words: 'Pleural effusion likely, right'."""
        side = f", {self.side}" if self.side else ""
        return f"{self.finding.type.label} {self.likelihood}{side}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Triage:
    """What the rule says of a study.

    Attributes:
        urgency: its class.
        harm: the number behind class and place.
        head_start: how much earlier than it arrived it is queued.
        leading: the finding that the harm comes from; None where none counts.
        shown: the findings that may be shown, most probable first.
        named: those of them that may be put into words: critical ones first, then the most harmful.
        policy_digest: of the policy that was in force.
        is_raised_by_words: whether what a language model states flags a study that its scores do not.
        is_raised_by_change: whether a change for the worse since an earlier film does.
    """

    urgency: Urgency
    harm: float
    head_start: timedelta
    leading: Finding | None
    shown: tuple[Finding, ...]
    named: tuple[NamedFinding, ...]
    policy_digest: str
    is_raised_by_words: bool = False
    is_raised_by_change: bool = False

    @property
    def flag(self) -> str:
        """The class in words, and by what where the scores alone do not bear it out."""
        words = ["the language model"] * self.is_raised_by_words
        change = ["the change since an earlier film"] * self.is_raised_by_change
        by = " and ".join((*words, *change))
        return f"{self.urgency.label} by {by} alone" if by else self.urgency.label

    @property
    def evidence(self) -> str:
        """Why the study is flagged, in a radiologist's words; empty where it is not."""
        if self.urgency is Urgency.NONE:
            return ""
        if any(named.is_reason for named in self.named):
            return "; ".join(named.words for named in self.named)
        return f"{self.flag}, none certain enough to name"


def assess(analysis: Analysis, policy: TriagePolicy, earlier: Grounds = NO_GROUNDS) -> Triage:
    """Class and head start of what a scorer says of a study.

    Args:
        analysis: of all images of the study, merged.
        policy: the one in force for this scorer.
        earlier: what spoke for the study beside its scores in earlier revisions; it counts beside what the analysis
            holds of the kind, where the policy allows it.
    """
    known = [(finding, card) for finding in analysis.findings if (card := policy.card.of(finding.type))]
    counted = [(finding, card) for finding, card in known if card.is_shown]
    harms = {finding.type.key: card.weight * finding.probability for finding, card in counted}
    leading = max(
        (finding for finding, _ in counted),
        key=lambda finding: (harms[finding.type.key], finding.probability, finding.type.key),
        default=None,
    )
    harm = harms[leading.type.key] if leading else 0.0
    grounds, is_below = earlier | Grounds.of(analysis), harm < policy.flag_from
    by_words, by_change = is_below and policy.words_flag(grounds), is_below and policy.change_flags(grounds)
    if by_words or by_change:
        harm = policy.flag_from
    critical = {finding.type.key for finding, card in counted if card.is_critical(finding)}
    urgency = Urgency.CRITICAL if critical else Urgency.URGENT if harm >= policy.flag_from else Urgency.NONE
    in_words = [
        NamedFinding(
            finding=finding,
            likelihood=card.likelihood,
            side=analysis.side_of(finding),
            precision=card.precision,
            is_reason=policy.flags(finding, card),
        )
        for finding, card in counted
        if card.precision is not None and card.may_name(finding)
    ]

    def weight_of(one: NamedFinding) -> tuple[bool, float, str]:
        key = one.finding.type.key
        return (key not in critical, -harms[key], key)

    return Triage(
        urgency=urgency,
        harm=harm,
        head_start=policy.site.horizon if critical else policy.head_start(harm),
        leading=leading,
        shown=tuple(finding for finding, _ in counted),
        named=tuple(sorted(in_words, key=weight_of)),
        policy_digest=policy.digest,
        is_raised_by_words=by_words and not critical,
        is_raised_by_change=by_change and not critical,
    )


def queue_at(
    received_at: datetime, order_priority: OrderPriority, triage: Triage | None, site: SiteChoices
) -> datetime:
    """The moment by which a study is sorted: the longer head start of its triage and of its order counts."""
    stated = site.high_head_start if order_priority is OrderPriority.HIGH and site.horizon else timedelta(0)
    return received_at - max(stated, triage.head_start if triage else timedelta(0))


def _exceeded_by(harms: Sequence[float], share: float) -> float:
    """The least harm that at most this share of the given ones reaches."""
    falling = sorted(harms, reverse=True)
    allowed = math.floor(share * len(falling))
    return 0.0 if allowed >= len(falling) else math.nextafter(falling[allowed], math.inf)


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:g} h"


def _sigmoid(x: float) -> float:
    return (1 + math.tanh(x / 2)) / 2


def _logit(p: float) -> float:
    p = min(max(p, _NEVER_ONE), 1 - _NEVER_ONE)
    return math.log(p / (1 - p))
