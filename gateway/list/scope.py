"""What the model in force looks for, what it does not find reliably, and what it does not look for at all."""

from __future__ import annotations

from pydantic import BaseModel, Field

from worklist.triage import TriagePolicy


class WordsScope(BaseModel):
    """How often the words for a finding are right: a share of reference films, and of how many of them."""

    name: str
    code: str
    precision: float
    films: int


class ModelScope(BaseModel):
    """What a reader may and may not expect of the AI; empty before any worker has started.

    Attributes:
        model: name and version of the scorer.
        sha256: its weights'.
        looked_for: the findings whose scores are shown; those that weigh nothing flag no study.
        unreliable: findings that it was trained for and does not find better than chance: they flag nothing.
        not_looked_for: what a reader might expect and it does not look for.
        can_be_critical: whether any finding can make a study critical.
        named: how often the words for a finding are right, where that is known.
    """

    model: str = ""
    sha256: str = ""
    looked_for: list[str] = Field(default_factory=list)
    unreliable: list[str] = Field(default_factory=list)
    not_looked_for: list[str] = Field(default_factory=list)
    can_be_critical: bool = False
    named: list[WordsScope] = Field(default_factory=list)


def scope_of(policy: TriagePolicy | None) -> ModelScope:
    """The scope of the scorer whose policy came into force last."""
    if policy is None:
        return ModelScope()
    card = policy.card
    return ModelScope(
        model=f"{card.name} {card.version}",
        sha256=card.sha256,
        looked_for=[kind.label for kind in card.looked_for],
        unreliable=[kind.label for kind in card.unreliable],
        not_looked_for=list(card.not_looked_for),
        can_be_critical=card.can_be_critical,
        named=[
            WordsScope(
                name=found.type.label,
                code=found.type.code.value,
                precision=found.precision.value,
                films=found.precision.n,
            )
            for found in card.findings
            if found.is_shown and found.precision is not None and found.named_from is not None
        ],
    )
