"""The card of an embedded network, measured on labelled films: which outputs are shown, and how often words are right.

Choices (weights, what is an emergency, what is not looked for) are read from card_choices.toml; the rest is measured.

- An output is shown where its area under the ROC curve is better than chance: the interval's lower end is above 0.5.
- A finding may be put into words from a probability of one half on, where at least 5 films reach that and at least
  half of them have it; the share stands in the card with its number of films and Wilson's interval.
- A finding of the emergencies makes a study critical from the lowest probability that at least 5 films reach, at least
  half of which have it. Where that threshold is chosen on the films that its precision is given for, that flatters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.evaluation.films import FINDINGS
from models.evaluation.intervals import wilson
from models.evaluation.metrics import Sample, area
from worklist.card import FindingCard, Precision, ScorerCard
from worklist.errors import InvalidInput
from worklist.finding import Analysis, FindingType
from worklist.triage import SiteChoices, TriagePolicy, assess

CHOICES = Path(__file__).with_name("card_choices.toml")
NAMED_FROM = 0.5  # probability
LEAST_FILMS = 5
LEAST_PRECISION = 0.5

_CHANCE = 0.5  # area under the ROC curve
_QUANTILES = 101


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a card says by choice: see card_choices.toml."""

    collection: str
    flag_from: float
    emergencies: tuple[str, ...]
    not_looked_for: tuple[str, ...]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse weights and emergencies that are not about the six findings and an opacity."""
        known = {kind.key for kind in (*FINDINGS, FindingType.LUNG_OPACITY)}
        if set(self.weights) != known or not set(self.emergencies) <= known:
            raise ValueError(f"weights and emergencies are about {', '.join(sorted(known))}")


def read_choices(file: Path = CHOICES) -> Choices:
    """The choices in a file.

    Raises:
        InvalidInput: bad_choices, it cannot be read, or a key is missing, unknown or about something else.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        lists = {key: tuple(document[key]) for key in ("emergencies", "not_looked_for")}
        return Choices(**(document | lists))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput("bad_choices", f"{file} does not say what a card needs ({error})") from error


def measure_card(  # noqa: PLR0913 - what a card is made of
    analyses: Sequence[Analysis],
    samples: Mapping[FindingType, Sample],
    choices: Choices,
    *,
    reference: str,
    chosen_on: Mapping[FindingType, Sample] | None = None,
    kept: Sequence[FindingCard] = (),
) -> ScorerCard:
    """The card of what judged the films.

    Args:
        analyses: of the reference films, at least one, all by one scorer.
        samples: by finding, the films of which it is known whether they have it.
        choices: what is not measured.
        reference: which films these are, in words.
        chosen_on: by finding, the films on which the threshold of a critical study is chosen; the same without it.
        kept: what is known of further outputs from elsewhere.

    Raises:
        ValueError: no output that weighs anything is better than chance.
    """
    algorithm = analyses[0].scorer
    card = ScorerCard(
        name=algorithm.name,
        version=algorithm.version,
        sha256=algorithm.sha256,
        findings=(
            *(_finding(kind, films, (chosen_on or samples)[kind], choices) for kind, films in samples.items()),
            *kept,
        ),
        not_looked_for=choices.not_looked_for,
        flag_from=choices.flag_from,
        reference=reference,
        reference_harms=(),
    )
    policy = TriagePolicy(card=card, site=SiteChoices(), flag_from=card.flag_from, budget_basis="")
    harms = [assess(analysis, policy).harm for analysis in analyses]
    quantiles = np.quantile(harms, np.linspace(0, 1, _QUANTILES))
    return replace(card, reference_harms=tuple(round(float(harm), 4) for harm in quantiles))


def _finding(kind: FindingType, films: Sample, chosen_on: Sample, choices: Choices) -> FindingCard:
    ranking = area(films)
    named = _precision(films, NAMED_FROM)
    card = FindingCard(
        type=kind,
        weight=choices.weights[kind.key],
        is_shown=ranking.low is not None and ranking.low > _CHANCE,
        named_from=NAMED_FROM if named else None,
        precision=named,
    )
    if not card.is_shown:
        return replace(card, named_from=None, precision=None)
    return _with_critical(card, films, chosen_on) if kind.key in choices.emergencies else card


def _with_critical(card: FindingCard, films: Sample, chosen_on: Sample) -> FindingCard:
    """The card with the lowest threshold from which the finding is there at least as often as not, if there is one."""
    levels = np.unique(chosen_on.probability)
    between = np.append(levels[:1], (levels[1:] + levels[:-1]) / 2)  # so that no film lies on a threshold
    for level in between:
        threshold = round(float(level), 6)
        if _precision(chosen_on, threshold) is None:
            continue
        precision = _precision(films, threshold)
        return replace(card, critical_from=threshold, critical_precision=precision) if precision else card
    return card


def _precision(films: Sample, threshold: float) -> Precision | None:
    """How often films that reach a probability have the finding; None where that is too seldom, or not known."""
    reached = films.truth[films.probability >= threshold]
    if len(reached) < LEAST_FILMS or reached.mean() < LEAST_PRECISION:
        return None
    share = wilson(float(reached.mean()), len(reached))
    low, high = (round(end, 3) for end in (share.low or 0.0, share.high or 1.0))
    return Precision(value=round(float(reached.mean()), 3), n=len(reached), interval=(low, high))
