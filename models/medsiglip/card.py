"""MedSigLIP's card: what may be said of its outputs, which is little until somebody has measured them.

A measured card.json beside the checkpoint counts, where there is one for these weights and prompts. Otherwise the card
follows from what is known without films:

- Nothing is named and nothing is critical: how often such words would be right is not known of any output.
- Google publishes areas under the ROC curve above chance for several of these findings on chest films, found with
  sentences that it does not publish. So what is asked for is shown, and counts; of the sentences here nothing is known
  yet. What a probe measured as no better than chance is not shown.
- Nothing is flagged at first. The alert budget is kept by reference films, and there are none; the site's own last
  1,000 studies take their place as soon as there are so many.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from models.card import CARD_FILE, load_card
from models.medsiglip.probe import LinearProbe
from models.medsiglip.prompts import PromptPair, PromptSet
from worklist.card import FindingCard, ScorerCard
from worklist.errors import ModelUnavailable
from worklist.finding import Algorithm

_NO_FILMS: Final = (1.0,)
"""Harms of the reference where there are no films: as if every one reached the highest, so that the budget is kept."""
_NEVER: Final = 1 - 1e-6
_UNMEASURED: Final = "no films, so nothing is calibrated, and nothing is flagged before 1,000 studies of this site"
_STAND_IN: Final = "no films, and random weights: nothing that they say means anything"


def card_of(
    folder: Path, algorithm: Algorithm, prompts: PromptSet, probe: LinearProbe | None, *, is_stand_in: bool
) -> ScorerCard:
    """The card of a scorer with these weights, prompts and probe.

    Args:
        folder: the checkpoint's.
        algorithm: the scorer's identity.
        prompts: what it asks for.
        probe: what replaces some of them.
        is_stand_in: whether the weights are random.

    Raises:
        ModelUnavailable: as load_card, or card_invalid where a measured card speaks of other findings.
    """
    if (folder / CARD_FILE).exists():
        return _measured(folder, algorithm, prompts)
    return ScorerCard(
        name=algorithm.name,
        version=algorithm.version,
        sha256=algorithm.sha256,
        findings=tuple(_finding(pair, probe) for pair in prompts.pairs),
        not_looked_for=prompts.not_looked_for,
        flag_from=_NEVER if is_stand_in else prompts.flag_from,
        reference=_STAND_IN if is_stand_in else _UNMEASURED,
        reference_harms=_NO_FILMS,
    )


def _measured(folder: Path, algorithm: Algorithm, prompts: PromptSet) -> ScorerCard:
    card = load_card(folder, sha256=algorithm.sha256)
    other = {pair.type.key for pair in prompts.pairs} ^ {found.type.key for found in card.findings}
    if other:
        raise ModelUnavailable(
            "card_invalid",
            f"{folder / CARD_FILE} and the prompts differ in {', '.join(sorted(other))}: put the card of these there",
        )
    return card


def _finding(pair: PromptPair, probe: LinearProbe | None) -> FindingCard:
    card = FindingCard(type=pair.type, weight=pair.weight)
    head = probe.head(pair.type.key) if probe else None
    return replace(card, is_shown=head.is_better_than_chance) if head else card
