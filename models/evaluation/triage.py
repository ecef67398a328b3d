"""What the triage rule makes of a prediction: as its file states it, else by the card of a model that ships."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.evaluation.shipped import shipped_card
from worklist.finding import Algorithm, Analysis, Finding, ImageReference
from worklist.triage import SiteChoices, Triage, TriagePolicy, Urgency, assess

_CRITICAL = 2.0  # beyond any harm


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The findings that are put into words, by target, and those of them that flag the film by themselves."""

    named: frozenset[str]
    reasons: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Triaged:
    """What a list does with a film.

    Attributes:
        urgency: its class.
        harm: what it is ordered by where head starts are not known: 0 where nothing is flagged, else the harm of
            waiting, or 2 where the film is critical.
        head_start_s: how much earlier than it arrived the film is queued; None where that is not known.
        words: what is said of it; None where that is not known.
    """

    urgency: Urgency
    harm: float
    head_start_s: float | None
    words: Words | None

    @property
    def is_flagged(self) -> bool:
        """Whether the film bears a flag."""
        return self.urgency is not Urgency.NONE

    @classmethod
    def of(cls, triage: Triage) -> Triaged:
        """What the rule says."""
        return cls(
            urgency=triage.urgency,
            harm=_order_harm(triage.urgency, triage.harm),
            head_start_s=triage.head_start.total_seconds(),
            words=Words(
                named=frozenset(named.finding.type.key for named in triage.named),
                reasons=frozenset(named.finding.type.key for named in triage.named if named.is_reason),
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stated:
    """What a file of predictions says itself of a film's class, harm of waiting, head start and words."""

    urgency: Urgency | None
    harm: float | None
    head_start_s: float | None
    words: Words | None


def triaged(probabilities: Mapping[str, float], sha256: str, stated: Stated) -> Triaged | None:
    """What a list does with a film; None where neither the file nor a card says it.

    Args:
        probabilities: of the findings, by key.
        sha256: digest of the model's weights; empty where it is not known.
        stated: what counts before what follows from the card. Head starts are a site's, and no card has them.
    """
    urgency, harm, words = stated.urgency, stated.harm, stated.words
    if computed := _by_card(probabilities, sha256):
        urgency = computed.urgency if urgency is None else urgency
        harm = computed.harm if harm is None else harm
        words = Triaged.of(computed).words if words is None else words
    if urgency is None or (harm is None and urgency is Urgency.URGENT):
        return None
    return Triaged(
        urgency=urgency, harm=_order_harm(urgency, harm or 0.0), head_start_s=stated.head_start_s, words=words
    )


def sort_keys(films: Sequence[Triaged]) -> npt.NDArray[np.float64]:
    """What films are ordered by, float64, shape (N,), larger first, 0 where a film stays in order of arrival.

    Head starts where every film states its own, else what grows with them: the harm of those that are flagged.
    """
    head_starts = [film.head_start_s for film in films]
    known = None not in head_starts
    return np.array(head_starts if known else [film.harm for film in films], dtype=np.float64)


def _order_harm(urgency: Urgency, harm: float) -> float:
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
    weighed = {card.type.key for card in policy.card.findings if card.weight > 0}  # the others decide no place
    if not weighed <= set(probabilities):
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
    card = shipped_card(sha256)
    return TriagePolicy.of(card, SiteChoices()) if card else None
