"""Films to measure with: simulated, uncompressed, of the size of a real detector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset
from pydicom.uid import generate_uid

from imaging.simulated.phantom import simulate_film
from imaging.wrapping import chest_dx, complete_file_meta
from worklist.finding import FindingType

ROWS, COLUMNS = 2500, 2048
_MOST_SHIFTED = 128  # columns: what is shifted far is no chest film any more, and is not scored


def simulated_films(count: int) -> Iterator[Dataset]:
    """Studies of one film each, all different; one simulation serves several, a little shifted, to save time."""
    pixels = [simulate_film(seed, finding=finding, rows=ROWS, columns=COLUMNS) for seed, finding in _KINDS.items()]
    for number in range(count):
        down, right = divmod(number, _MOST_SHIFTED)
        film = chest_dx(np.roll(pixels[number % len(pixels)], (down, right), axis=(0, 1)), bits_stored=12)
        film.PatientID = film.PatientName = f"SIMULATED-BENCH-{number}"
        film.SyntheticData, film.ViewPosition = "YES", "PA"
        film.StudyDescription = "Chest PA"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(film, keyword, generate_uid(prefix=None))
        complete_file_meta(film)
        yield film


_KINDS: dict[int, FindingType | None] = {1: None, 2: FindingType.PLEURAL_EFFUSION, 3: FindingType.CARDIOMEGALY}
