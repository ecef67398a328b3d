"""What else is known of a study when its result is put into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worklist.comparison import PriorComparison

if TYPE_CHECKING:  # whoever names a context needs no numpy
    from imaging.radiograph import Radiograph


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorFilm:
    """An earlier frontal film of the same patient; source is its SOP Instance UID, taken when it was taken.

    radiograph decodes it, which may raise UnusableImage: only who looks at it pays for that.
    """

    radiograph: Callable[[], Radiograph]
    source: str
    taken: str = ""


def _still_wanted() -> str:
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyContext:
    """What an explainer may use beside film and scores. All texts are foreign: they may hold anything.

    Attributes:
        reason: the reason for the study, as the order states it.
        note: a clinical note that was given with the film.
        prior_reports: pairs of (source, text) of earlier reports, newest first.
        prior_film: the earlier film to compare with.
        comparison: what the scorer says of that film beside this one; None where there is none.
        identifiers: the patient's names and numbers, which no explanation may repeat.
        skip: why a slow model is not to be asked, in one line; "" where it may be.
        why_unwanted: asked now and then while a slow model works: why its words are of no use any more, "" while
            they are.
    """

    reason: str = ""
    note: str = ""
    prior_reports: tuple[tuple[str, str], ...] = ()
    prior_film: PriorFilm | None = None
    comparison: PriorComparison | None = None
    identifiers: tuple[str, ...] = ()
    skip: str = ""
    why_unwanted: Callable[[], str] = _still_wanted


NO_CONTEXT = StudyContext()
