"""The card of a scorer: what is known of each of its outputs, and what it does not look for.

A finding is put into words only where it is known how often such words are right, and at least half of them are. An
output that is not shown to be better than chance is neither shown nor counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worklist.finding import Code, Finding, FindingType

_NAMED_PRECISION = 0.5
_LIKELY_PRECISION = 2 / 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """Of the reference films on which a finding reached a probability, the share that had it."""

    value: float
    n: int
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no share of films."""
        if not 0 <= self.value <= 1 or self.n < 1:
            raise ValueError(f"a precision is a share between 0 and 1 of at least one film, got {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingCard:
    """What is known of one output of a scorer.

    Attributes:
        type: the finding.
        weight: harm of waiting with it, 0 (may wait) to 1 (may not).
        is_shown: whether the output is shown to be better than chance; otherwise it is neither shown nor counted.
        named_from: probability from which it may be put into words; None where that is not known.
        precision: how often those words are right.
        critical_from: probability from which this emergency finding makes a study critical by itself; None for none.
        critical_precision: how often that is right.
    """

    type: FindingType
    weight: float
    is_shown: bool = True
    named_from: float | None = None
    precision: Precision | None = None
    critical_from: float | None = None
    critical_precision: Precision | None = None

    def __post_init__(self) -> None:
        """Refuse weights and thresholds that are none, and a critical threshold without known precision."""
        for value in (self.weight, self.named_from, self.critical_from):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"weights and thresholds lie between 0 and 1, got {value} for {self.type.key}")
        if self.critical_from is not None and self.critical_precision is None:
            raise ValueError(f"{self.type.key} is critical from {self.critical_from}, but its precision is not known")

    def may_name(self, finding: Finding) -> bool:
        """Whether a finding of this kind may be put into words."""
        return (
            self.is_shown
            and self.named_from is not None
            and self.precision is not None
            and self.precision.value >= _NAMED_PRECISION
            and finding.probability >= self.named_from
        )

    def is_critical(self, finding: Finding) -> bool:
        """Whether a finding of this kind makes a study critical by itself."""
        return self.critical_from is not None and finding.probability >= self.critical_from

    @property
    def likelihood(self) -> str:
        """The word for a named finding: likely or possible."""
        return "likely" if self.precision and self.precision.value >= _LIKELY_PRECISION else "possible"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerCard:
    """What is known of a scorer: what it looks for, what it does not, and from where on its outputs count.

    Attributes:
        name, version, sha256: the scorer's identity.
        findings: its outputs.
        not_looked_for: what a reader might expect and it does not look for, in plain words.
        flag_from: harm from which a study is flagged.
        reference: on which films the card's figures were found, in words.
        reference_harms: quantiles (0, 1, ... 100 %) of the harm on those films.
    """

    name: str
    version: str
    sha256: str
    findings: tuple[FindingCard, ...]
    not_looked_for: tuple[str, ...]
    flag_from: float
    reference: str
    reference_harms: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a card that weighs nothing."""
        if not self.findings or not any(card.is_shown and card.weight > 0 for card in self.findings):
            raise ValueError(f"the card of {self.name} has no weights")
        if not 0 < self.flag_from < 1:
            raise ValueError(f"flag_from must lie between 0 and 1, got {self.flag_from}")
        if list(self.reference_harms) != sorted(self.reference_harms):
            raise ValueError("the quantiles of the harm must rise")

    def of(self, kind: FindingType) -> FindingCard | None:
        """The card of one finding; None for one that this scorer does not know."""
        return next((card for card in self.findings if card.type.key == kind.key), None)

    @property
    def looked_for(self) -> tuple[FindingType, ...]:
        """The findings whose outputs are shown."""
        return tuple(card.type for card in self.findings if card.is_shown)

    @property
    def unreliable(self) -> tuple[FindingType, ...]:
        """The findings that the scorer was trained for and does not find better than chance."""
        return tuple(card.type for card in self.findings if not card.is_shown)

    @property
    def is_measured(self) -> bool:
        """Whether its numbers were calibrated on films; a zero-shot model's are not, and no quantiles tell of any."""
        return len(self.reference_harms) > 1

    @property
    def can_be_critical(self) -> bool:
        """Whether any finding can make a study critical."""
        return any(card.is_shown and card.critical_from is not None for card in self.findings)


def card_of_json(values: Mapping[str, Any]) -> ScorerCard:
    """A card as its file holds it.

    Raises:
        ValueError, KeyError, TypeError: it is none, or it has no weights.
    """
    return ScorerCard(
        name=values["name"],
        version=values["version"],
        sha256=values["sha256"],
        findings=tuple(_finding_card(entry) for entry in values["findings"]),
        not_looked_for=tuple(values["not_looked_for"]),
        flag_from=values["flag_from"],
        reference=values["reference"],
        reference_harms=tuple(values["reference_harms"]),
    )


def _finding_card(values: Mapping[str, Any]) -> FindingCard:
    return FindingCard(
        type=FindingType(key=values["key"], code=Code(**values["code"]), label=values["label"]),
        weight=values["weight"],
        is_shown=values["is_shown"],
        named_from=values["named_from"],
        precision=_precision(values["precision"]),
        critical_from=values["critical_from"],
        critical_precision=_precision(values["critical_precision"]),
    )


def _precision(values: Mapping[str, Any] | None) -> Precision | None:
    if values is None:
        return None
    low_high = values["interval"]
    return Precision(
        value=values["value"], n=values["n"], interval=(low_high[0], low_high[1]) if low_high is not None else None
    )


def card_to_json(card: ScorerCard) -> dict[str, Any]:
    """A card as JSON values."""
    return {
        "name": card.name,
        "version": card.version,
        "sha256": card.sha256,
        "findings": [
            {
                "key": found.type.key,
                "code": {
                    "value": found.type.code.value,
                    "scheme": found.type.code.scheme,
                    "meaning": found.type.code.meaning,
                },
                "label": found.type.label,
                "weight": found.weight,
                "is_shown": found.is_shown,
                "named_from": found.named_from,
                "precision": _precision_json(found.precision),
                "critical_from": found.critical_from,
                "critical_precision": _precision_json(found.critical_precision),
            }
            for found in card.findings
        ],
        "not_looked_for": list(card.not_looked_for),
        "flag_from": card.flag_from,
        "reference": card.reference,
        "reference_harms": list(card.reference_harms),
    }


def _precision_json(precision: Precision | None) -> dict[str, Any] | None:
    if precision is None:
        return None
    interval = list(precision.interval) if precision.interval else None
    return {"value": precision.value, "n": precision.n, "interval": interval}
