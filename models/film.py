"""The film a model looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worklist.finding import ImageReference, QualityNote


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Film:
    """One radiograph, ready to be judged.

    Attributes:
        image: which DICOM image it is, with its size in source pixels.
        pixels: float32, shape (rows, columns), 0..1, MONOCHROME2 sense (0 is black, air), full resolution,
            windowed as the radiologist would see it.
        quality: what the pixel preparation noticed.
    """

    image: ImageReference
    pixels: npt.NDArray[np.float32]
    quality: tuple[QualityNote, ...] = ()
