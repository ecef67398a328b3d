"""Where the network points on simulated chests, beside where the finding was drawn: counts, and a picture of each kind.

What is drawn is known to the pixel, so that anybody can see whether a box is right. A simulated consolidation or
pneumonia is a lung opacity to the network. How often boxes are right on real films stands elsewhere in the card.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.embedded.scorer import EmbeddedScorer
from models.training.failures import CARD_PX, Simulated, drawn_at, panels
from worklist.card import ScorerCard
from worklist.finding import Finding, FindingType

_SEEN_AS = {
    FindingType.PLEURAL_EFFUSION: FindingType.PLEURAL_EFFUSION,
    FindingType.CARDIOMEGALY: FindingType.CARDIOMEGALY,
    FindingType.CONSOLIDATION: FindingType.LUNG_OPACITY,
    FindingType.PNEUMONIA: FindingType.LUNG_OPACITY,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Simulated chests with one finding.

    Attributes:
        drawn: the finding.
        seen_as: what the network calls it.
        films: how many there are.
        named: those on which it is put into words.
        boxed: those of them that have a box.
        right: those whose box's center lies in the frame of what was drawn.
        shown: the first of these; None where there is none.
    """

    drawn: FindingType
    seen_as: FindingType
    films: int
    named: int
    boxed: int
    right: int
    shown: Simulated | None

    @property
    def name(self) -> str:
        """The picture's file name."""
        return f"place-{self.drawn.key.replace('_', '-')}.png"


def places(cases: Sequence[Simulated], card: ScorerCard) -> list[Place]:
    """The counts, by what was drawn.

    Args:
        cases: of `failures.simulate`.
        card: of the network, which says what is put into words.
    """
    found = []
    for drawn, seen_as in _SEEN_AS.items():
        if card.of(seen_as) is None:
            continue  # a network that does not tell it
        films = [case for case in cases if case.drawn == drawn and not case.decoy]
        named = list(_named(films, seen_as, card))
        boxed = [(case, finding) for case, finding in named if finding.region]
        right = [case for case, finding in boxed if _is_inside(case, finding)]
        counts = {"films": len(films), "named": len(named), "boxed": len(boxed), "right": len(right)}
        found.append(Place(drawn=drawn, seen_as=seen_as, shown=right[0] if right else None, **counts))
    return found


def save_places(found: Sequence[Place], weights: Path, folder: Path) -> None:
    """Write the picture of each kind into a folder, beside those of the failures."""
    scorer = EmbeddedScorer(weights)
    for place in found:
        if place.shown:
            finding = _of(place.shown, place.seen_as)
            picture = panels(place.shown.film, finding, scorer, drawn_at(place.shown), CARD_PX)
            picture.save(folder / place.name, optimize=True)


def _named(films: Sequence[Simulated], kind: FindingType, card: ScorerCard) -> Iterator[tuple[Simulated, Finding]]:
    known = card.of(kind)
    for case in films:
        if known and known.may_name(finding := _of(case, kind)):
            yield case, finding


def _of(case: Simulated, kind: FindingType) -> Finding:
    return next(found for found in case.analysis.findings if found.type == kind)


def _is_inside(case: Simulated, finding: Finding) -> bool:
    """Whether the center of the box lies in the frame of what was drawn."""
    frame, box = drawn_at(case), finding.region
    if frame is None or box is None:
        return False
    left, top, right, bottom = frame
    rows, columns = case.film.pixels.shape
    x, y = (box.x + box.width / 2) / columns, (box.y + box.height / 2) / rows
    return left <= x <= right and top <= y <= bottom
