"""What is simulated: the room, its films, the model's card, and the site's choices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from worklist.card import ScorerCard
from worklist.errors import InvalidInput
from worklist.finding import FindingType
from worklist.simulation.department import Department
from worklist.simulation.films import Films, FindingModel, MadeUpFilms
from worklist.simulation.roc import Roc
from worklist.triage import SiteChoices

LEAST_SEEDS = 5

USUAL_PREVALENCE: Mapping[str, float] = {
    FindingType.PNEUMOTHORAX.key: 0.047,
    FindingType.PLEURAL_EFFUSION.key: 0.119,
    FindingType.CONSOLIDATION.key: 0.042,
    FindingType.PNEUMONIA.key: 0.013,
    FindingType.CARDIOMEGALY.key: 0.025,
    FindingType.PULMONARY_EDEMA.key: 0.021,
}
"""Shares of the 112,120 films of ChestX-ray14 by their labels (Wang and others, CVPR 2017, and its release)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """What is simulated.

    Attributes:
        department: the reading room.
        films: what comes into it, with what the model says.
        card: the model's, with its weights.
        site: the site's choices of the triage rule.
        longest_wait: of the order by score with a longest wait.
        seeds: how many runs, each with random numbers of its own that all orders share.
    """

    department: Department
    films: Films
    card: ScorerCard
    site: SiteChoices = field(default_factory=SiteChoices)
    longest_wait: timedelta = timedelta(hours=4)
    seeds: int = LEAST_SEEDS

    def __post_init__(self) -> None:
        """Refuse fewer runs than tell anything of the spread between them."""
        if not LEAST_SEEDS <= self.seeds <= 1000:  # noqa: PLR2004 - more would tell nothing new
            raise ValueError(f"{LEAST_SEEDS} to 1000 seeds are needed, got {self.seeds}")
        if self.longest_wait <= timedelta(0):
            raise ValueError("the longest wait lies above 0")


def made_up_films(card: ScorerCard, prevalence: Mapping[str, float], rocs: Mapping[str, Roc]) -> MadeUpFilms:
    """Films with those findings of a card that weigh anything: the others move no film.

    Args:
        card: what the model looks for.
        prevalence: by finding, instead of the usual one.
        rocs: how well the model sees each, by finding.

    Raises:
        InvalidInput: a finding is none of the card's, or its prevalence or curve is not known.
    """
    keys = [found.type.key for found in card.findings]
    if unknown := sorted({*prevalence, *rocs} - set(keys)):
        raise InvalidInput(
            "unknown_finding",
            f"{card.name} does not look for {', '.join(unknown)}: it knows {', '.join(keys)}",
        )
    shares = {**USUAL_PREVALENCE, **prevalence}
    keys = [found.type.key for found in card.findings if found.weight > 0]
    for key in keys:
        if key not in shares:
            raise InvalidInput("no_prevalence", f"it is not known how often films show {key}: state its prevalence")
        if key not in rocs:
            raise InvalidInput("no_roc", f"it is not known how well {card.name} sees {key}: state its AUC")
    return MadeUpFilms(models=tuple(FindingModel(key=key, prevalence=shares[key], roc=rocs[key]) for key in keys))


def supposing(card: ScorerCard, *, counted: Collection[str] = (), flag_from: float | None = None) -> ScorerCard:
    """A card as it would be if these findings were known to be seen better than chance.

    Args:
        card: the model's.
        counted: keys of findings that count as well.
        flag_from: harm from which a study is flagged, instead of the card's.
    """
    return replace(
        card,
        findings=tuple(replace(found, is_shown=found.is_shown or found.type.key in counted) for found in card.findings),
        flag_from=card.flag_from if flag_from is None else flag_from,
    )
