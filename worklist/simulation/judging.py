"""What the shipped triage rule says of simulated films."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from worklist.card import ScorerCard
from worklist.finding import Algorithm, Analysis, Finding, ImageReference
from worklist.simulation.arrivals import MONDAY
from worklist.simulation.department import SimulatedStudy
from worklist.simulation.films import Film, Films
from worklist.triage import SiteChoices, Triage, TriagePolicy, assess

_BUDGET_FILMS = 1000  # as many as a site's own alert budget looks at
_IMAGE = ImageReference(
    study_instance_uid="", series_instance_uid="", sop_class_uid="", sop_instance_uid="", rows=1, columns=1
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A study and what the triage rule says of it."""

    study: SimulatedStudy
    triage: Triage


class Judge:
    """The triage rule, with the alert budget that a site would come to, asked once for films that are alike.

    Args:
        card: the model's.
        site: the site's choices.
        films: of which the alert budget is found, as a site finds it of its last studies.
    """

    def __init__(self, card: ScorerCard, site: SiteChoices, films: Films) -> None:
        self._known: dict[tuple[tuple[str, float], ...], Triage] = {}
        self._kinds = {found.type.key: found.type for found in card.findings if found.is_shown}
        self.policy = TriagePolicy.of(card, site)
        last = islice(films.draw(random.Random("budget")), _BUDGET_FILMS)  # noqa: S311 - of no run's films
        self.policy = TriagePolicy.of(card, site, [self.triage(film).harm for film in last])
        self._known.clear()

    def judged(self, studies: Sequence[SimulatedStudy]) -> list[Judged]:
        """Studies with their triage."""
        return [Judged(study=study, triage=self.triage(study.film)) for study in studies]

    def triage(self, film: Film) -> Triage:
        """What the rule says of a film."""
        said = tuple(each for each in film.probabilities if each[0] in self._kinds)  # others never count
        known = self._known.get(said)
        if known is None:
            known = self._known[said] = assess(self._analysis(said), self.policy)
        return known

    def _analysis(self, said: Sequence[tuple[str, float]]) -> Analysis:
        card = self.policy.card
        return Analysis(
            images=(_IMAGE,),
            scorer=Algorithm(name=card.name, version=card.version, sha256=card.sha256, device_uid=""),
            findings=tuple(
                Finding(type=self._kinds[key], probability=probability, threshold=0.5) for key, probability in said
            ),
            score=0.0,
            threshold=0.5,
            completed_at=MONDAY,
            elapsed_ms=0.0,
        )
