"""How well a network tells an opacity of the lung, and where: by what radiologists of the RSNA challenge said and drew.

Of a film with several copies the sharpest counts. Areas and their intervals are over patients, shares over films.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from models.evaluation.boxes import holds_center
from models.evaluation.films import Box
from models.evaluation.intervals import Estimate, wilson
from models.evaluation.metrics import rank
from models.training.judge import Judged, sample, with_boxes
from worklist.finding import FindingType

_KEY = FindingType.LUNG_OPACITY.key
_CHANCE = 0.5
THRESHOLDS = (0.5, 0.6, 0.8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Of so many films, how many are it."""

    right: int
    n: int

    @property
    def estimate(self) -> Estimate:
        """The share, with Wilson's interval."""
        return wilson(self.right / self.n, self.n) if self.n else Estimate(value=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opacities:
    """What was measured on films of one split that radiologists read.

    Attributes:
        films: how many there are.
        positives: how many show an opacity.
        area: under the ROC curve.
        precision: by the probability that a film reaches, how many such films show one.
        pointed: of the films that reach one half and show one, those on which the box's center lies in a radiologist's.
        unread: of the films of the split that no radiologist read, how many reach one half.
    """

    films: int
    positives: int
    area: Estimate
    precision: Mapping[float, Share]
    pointed: Share
    unread: Share


def read_by_radiologists(films: Sequence[Judged], read: Mapping[str, bool]) -> list[Judged]:
    """Films of which radiologists said whether they show an opacity, with that label, the sharpest copy of each."""
    labelled = []
    for film in _sharpest(films):
        listed = film.listed
        if listed.original in read:
            truth = {**listed.label.truth, _KEY: read[listed.original]}
            labelled.append(replace(film, listed=replace(listed, label=replace(listed.label, truth=truth))))
    return labelled


def measure_opacities(
    films: Sequence[Judged], read: Mapping[str, bool], drawn: Mapping[str, tuple[Box, ...]]
) -> Opacities | None:
    """The figures of some films; None where no radiologist read any.

    Args:
        films: all of a split, judged by one network that tells opacities.
        read: by name of the original, whether radiologists saw one.
        drawn: by the same name, their boxes, see `judge.read_boxes`.
    """
    known = read_by_radiologists(films, read)
    if not known:
        return None
    reached = {level: [film for film in known if film.probability(_KEY) >= level] for level in THRESHOLDS}
    true = [film for film in reached[_CHANCE] if film.listed.label.truth[_KEY]]
    others = [film for film in _sharpest(films) if film.listed.original not in read]
    return Opacities(
        films=len(known),
        positives=sum(film.listed.label.truth[_KEY] for film in known),
        area=rank(sample(known, _KEY), _CHANCE).auc,
        precision={
            level: Share(right=sum(film.listed.label.truth[_KEY] for film in some), n=len(some))
            for level, some in reached.items()
        },
        pointed=Share(right=sum(_points(film, drawn) for film in true), n=len(true)),
        unread=Share(right=sum(film.probability(_KEY) >= _CHANCE for film in others), n=len(others)),
    )


def _sharpest(films: Sequence[Judged]) -> list[Judged]:
    return list({film.listed.original: film for film in sorted(films, key=lambda film: film.is_sharp)}.values())


def _points(film: Judged, drawn: Mapping[str, tuple[Box, ...]]) -> bool:
    readers = with_boxes(film, drawn.get(film.listed.original, ())).boxes
    own = [box for box in film.prediction.boxes if box.target == _KEY]
    return any(holds_center(box, place) for place in own for box in readers if box.target == _KEY)
