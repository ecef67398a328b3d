"""What the triage rule makes of a prediction: as its file states it, else by the card of a model that ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from models.card import CARD_FILE, load_card
from worklist.errors import ModelUnavailable
from worklist.finding import Algorithm, Analysis, Finding, ImageReference
from worklist.triage import SiteChoices, Triage, TriagePolicy, Urgency, assess

_MODELS = Path(__file__).parents[1]
_CRITICAL = 2.0  # beyond any harm


@dataclass(frozen=True, kw_only=True, slots=True)
class Triaged:
    """What a list does with a film.

    Attributes:
        sort_key: 0 where nothing is flagged, so that the film stays in order of arrival; else it rises with the head
            start: the harm of waiting, or 2 where the film is critical.
        named: the findings that are put into words, by target; None where that is not known.
    """

    sort_key: float
    named: frozenset[str] | None

    @property
    def is_flagged(self) -> bool:
        """Whether the film moves up."""
        return self.sort_key > 0

    @classmethod
    def of(cls, triage: Triage) -> Triaged:
        """What the rule says."""
        return cls(
            sort_key=_sort_key(triage.urgency, triage.harm),
            named=frozenset(named.finding.type.key for named in triage.named),
        )


def triaged(
    probabilities: Mapping[str, float],
    *,
    sha256: str,
    urgency: Urgency | None,
    harm: float | None,
    named: frozenset[str] | None,
) -> Triaged | None:
    """What a list does with a film; None where neither the file nor a card says it.

    Args:
        probabilities: of the findings, by key.
        sha256: digest of the model's weights; empty where it is not known.
        urgency: the class that the file states, if it does.
        harm: the harm of waiting that the file states, if it does.
        named: the findings that the file says were put into words, if it does.
    """
    computed = _by_card(probabilities, sha256)
    if computed:
        urgency = computed.urgency if urgency is None else urgency
        harm = computed.harm if harm is None else harm
        named = Triaged.of(computed).named if named is None else named
    if urgency is None or (harm is None and urgency is Urgency.URGENT):
        return None
    return Triaged(sort_key=_sort_key(urgency, harm or 0.0), named=named)


def _sort_key(urgency: Urgency, harm: float) -> float:
    return {Urgency.CRITICAL: _CRITICAL, Urgency.URGENT: harm, Urgency.NONE: 0.0}[urgency]


def _by_card(probabilities: Mapping[str, float], sha256: str) -> Triage | None:
    policy = _policy(sha256)
    if policy is None:
        return None
    findings = [
        Finding(type=card.type, probability=probabilities[card.type.key], threshold=0.5)
        for card in policy.card.findings
        if card.type.key in probabilities
    ]
    if len(findings) < len(policy.card.findings):
        return None
    analysis = Analysis(
        images=(_IMAGE,),
        scorer=Algorithm(name=policy.card.name, version=policy.card.version, sha256=sha256, device_uid=""),
        findings=tuple(findings),
        score=0.0,
        threshold=0.5,
        completed_at=datetime.now(UTC),
        elapsed_ms=0.0,
    )
    return assess(analysis, policy)


_IMAGE = ImageReference(
    study_instance_uid="", series_instance_uid="", sop_class_uid="", sop_instance_uid="", rows=1, columns=1
)


@lru_cache
def _policy(sha256: str) -> TriagePolicy | None:
    """The rule with the card of a model that ships with Firstread, a site's choices left as they come."""
    for file in _MODELS.glob(f"*/weights/{CARD_FILE}"):
        try:
            return TriagePolicy.of(load_card(file.parent, sha256=sha256), SiteChoices())
        except ModelUnavailable:
            continue
    return None
