"""A stream of small simulated chest films, as a night's work brings them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from imaging.simulated.phantom import simulate_film
from imaging.wrapping import complete_file_meta
from tests.bad_films import chest
from worklist.finding import FindingType

_SIDE = 512
_LOOKS: Sequence[tuple[int, FindingType | None]] = (
    (0, None),
    (3, FindingType.PLEURAL_EFFUSION),
    (2, None),
    (5, FindingType.CARDIOMEGALY),
    (5, FindingType.PLEURAL_EFFUSION),
    (4, FindingType.PNEUMOTHORAX),
)
_SECOND_EVERY, _BEHIND = 5, 3  # each fifth film is the second one of a study that began three films before
_LATERAL_EVERY, _STAT_EVERY = 11, 9


def films(seed: int) -> Iterator[Dataset]:
    """Films without end: most of a new study, some the second of theirs, some lateral, some of a STAT order."""
    choice = random.Random(seed)  # noqa: S311 - which pixels come in which order is no secret
    before: list[Dataset] = []
    number = 0
    while True:
        number += 1
        film = chest(0)
        film.PatientID = film.PatientName = f"SIMULATED-{seed}-{number}"
        film.PixelData = np.roll(_pixels(choice.randrange(len(_LOOKS))), number % 7, axis=1).tobytes()
        if number % _SECOND_EVERY == 0:
            _join(film, before[-_BEHIND])
        elif number % _LATERAL_EVERY == 0:
            film.ViewPosition = "LL"
        if number % _STAT_EVERY == 0:
            film.RequestedProcedurePriority = "STAT"
        before.append(film)
        yield film


def is_scored(image: Dataset) -> bool:
    """Whether an image of the stream is one that is scored."""
    return bool(image.SOPClassUID != CTImageStorage and image.ViewPosition != "LL")


def second_film(first: Dataset) -> Dataset:
    """Another film of the same study, with another finding."""
    film = chest(0)
    film.PixelData = _pixels(1).tobytes()
    _join(film, first)
    return film


def ct_slices(count: int) -> list[Dataset]:
    """A CT of the chest of 64 x 64."""
    first = chest(0)
    slices = []
    for number in range(count):
        one = chest(0)
        _join(one, first)
        one.SeriesInstanceUID = first.SeriesInstanceUID
        one.SOPClassUID, one.Modality, one.StudyDescription = CTImageStorage, "CT", "CT Chest"
        one.ImageType, one.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1
        one.Rows = one.Columns = 64
        one.PixelData = bytes(2 * 64 * 64)
        complete_file_meta(one)
        slices.append(one)
    return slices


def _join(film: Dataset, first: Dataset) -> None:
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        setattr(film, keyword, first[keyword].value)
    film.SeriesInstanceUID = generate_uid()
    if "RequestedProcedurePriority" in first:
        film.RequestedProcedurePriority = first.RequestedProcedurePriority


@cache
def _pixels(look: int) -> npt.NDArray[np.uint16]:
    seed, finding = _LOOKS[look]
    return simulate_film(seed, finding=finding, rows=_SIDE, columns=_SIDE)
